//! A roll call as a JUnit report: a test case for each component. Nothing missing passes; what cannot be told is an
//! error, so that no pipeline takes it for a pass.
//!
//! The form is that of Jenkins' xUnit plugin (`junit-10.xsd`), which GitLab and others read too.

use std::fmt::Write;

use super::remark::{Level, Remark, remarks};
use super::{RollCallReport, name};
use crate::plan::upgrade::{Component, Readiness};
use crate::report::markup::xml;

/// Renders a roll call.
pub fn render(report: &RollCallReport<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut out, report);
    out
}

fn write_report(out: &mut String, report: &RollCallReport<'_>) -> std::fmt::Result {
    let components = &report.roll_call.components;
    let count = |wanted: Kind| components.iter().filter(|component| kind(component) == wanted).count();
    let left_out = report.excluded.iter().flatten().chain(report.passed_over());
    let skipped = count(Kind::Skipped) + left_out.clone().count();
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
        components.len() + left_out.clone().count(),
        count(Kind::Failure),
        count(Kind::Error),
    );
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    // The schema has `skipped` for a suite, and not for the whole.
    writeln!(out, "<testsuites name=\"rolecall check\" {counts}>")?;
    writeln!(out, "  <testsuite name=\"{}\" {counts} skipped=\"{skipped}\">", xml(&report.target))?;
    writeln!(out, "    <properties>")?;
    let verdict = ("verdict", report.roll_call.readiness().as_str().to_owned());
    for (name, value) in std::iter::once(verdict).chain(report.facts()) {
        writeln!(out, "      <property name=\"{name}\" value=\"{}\"/>", xml(&value))?;
    }
    writeln!(out, "    </properties>")?;
    components.iter().try_for_each(|component| write_case(out, component))?;
    for (name, because) in left_out {
        open(out, name)?;
        writeln!(out, "      <skipped message=\"{}\"/>\n    </testcase>", xml(because))?;
    }
    writeln!(out, "  </testsuite>\n</testsuites>")
}

/// What becomes of a test case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pass,
    Failure,
    Error,
    Skipped,
}

/// A retired component is skipped: nothing about it is tested.
fn kind(component: &Component) -> Kind {
    match component.verdict.readiness() {
        Readiness::NotReady => Kind::Failure,
        Readiness::Unknown => Kind::Error,
        Readiness::Ready if component.verdict == crate::plan::upgrade::ComponentVerdict::Retired => Kind::Skipped,
        Readiness::Ready => Kind::Pass,
    }
}

fn open(out: &mut String, name: &str) -> std::fmt::Result {
    writeln!(out, "    <testcase classname=\"rolecall.check\" name=\"{}\">", xml(name))
}

fn write_case(out: &mut String, component: &Component) -> std::fmt::Result {
    open(out, &name(component))?;
    let because = xml(&component.because);
    let element = match kind(component) {
        Kind::Pass => return writeln!(out, "    </testcase>"),
        Kind::Skipped => return writeln!(out, "      <skipped message=\"{because}\"/>\n    </testcase>"),
        Kind::Failure => "failure",
        Kind::Error => "error",
    };
    let verdict = component.verdict.as_str();
    writeln!(out, "      <{element} type=\"{verdict}\" message=\"{because}\">role {}", xml(&component.role))?;
    remarks(component).iter().filter(|r| r.rule.level() != Level::Note).try_for_each(|r| write_remark(out, r))?;
    writeln!(out, "</{element}>\n    </testcase>")
}

fn write_remark(out: &mut String, remark: &Remark) -> std::fmt::Result {
    writeln!(out, "{}: {}: {}", remark.rule.id(), xml(&remark.what), xml(&remark.why))
}
