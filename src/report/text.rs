//! A plan as text for a terminal. `+` makes, `~` changes, `-` deletes, `!` stands in the way.

use std::fmt::Write;

use super::markup::printable;
use super::{IN_THE_WAY, PlanReport, shows_differences, verification_in_words};
use crate::plan::{Cause, Step};

/// Renders a plan.
pub fn render(report: &PlanReport<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut out, report);
    out
}

fn write_report(out: &mut String, report: &PlanReport<'_>) -> std::fmt::Result {
    let issuer = &report.desired.issuer;
    writeln!(out, "{}", report.headline())?;
    writeln!(out)?;
    writeln!(out, "ClusterIdentity {} in account {}", printable(&report.desired.identity), report.account)?;
    writeln!(out, "  issuer   {}", printable(&issuer.url))?;
    writeln!(out, "           {}", printable(&verification_in_words(&report.plan.verification)))?;
    writeln!(out, "  provider {}", printable(&issuer.provider.arn))?;
    if !report.plan.steps.is_empty() {
        writeln!(out, "\nChanges")?;
        report.plan.steps.iter().try_for_each(|step| write_step(out, step))?;
    }
    if !report.plan.obstacles.is_empty() {
        writeln!(out, "\n{IN_THE_WAY}")?;
        report.obstacles().try_for_each(|(of, obstacle)| line(out, "  ! ", &of, &obstacle))?;
    }
    for (title, lines) in report.more_sections() {
        section(out, title, lines.into_iter())?;
    }
    section(out, "Passed over", report.ignored())?;
    report.passed_over.iter().try_for_each(|line| writeln!(out, "    {}", printable(line)))?;
    if !report.secrets_compared {
        writeln!(out, "\nSecrets were not compared: there is no cluster to look in.")?;
    }
    Ok(())
}

fn write_step(out: &mut String, step: &Step) -> std::fmt::Result {
    let (sign, why) = match step.cause {
        Cause::Missing => ("+", ""),
        Cause::Differs => ("~", ""),
        Cause::Drift => ("~", "  (drift)"),
        Cause::LeftOver => ("-", ""),
    };
    writeln!(out, "  {sign} {:<21} {}{why}", step.change.name(), printable(&step.change.target()))?;
    for difference in step.differences.iter().filter(|_| shows_differences(step)) {
        let field = difference.field.as_str();
        writeln!(out, "      {field}: found  {}", printable(&difference.found))?;
        writeln!(out, "      {}  wanted {}", " ".repeat(field.len()), printable(&difference.wanted))?;
    }
    Ok(())
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = (String, String)>) -> std::fmt::Result {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        writeln!(out, "\n{title}")?;
    }
    lines.try_for_each(|(id, why)| line(out, "    ", &id, &why))
}

fn line(out: &mut String, before: &str, of: &str, why: &str) -> std::fmt::Result {
    writeln!(out, "{before}{}: {}", printable(of), printable(why))
}
