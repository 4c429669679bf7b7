//! A roll call as text for a terminal: the verdict first, then what is wrong, then the rest in one line each.

use std::fmt::Write;

use super::remark::{Level, Remark, Rule, remarks};
use super::{NOTHING_EXCLUDED, PASSED_OVER, RollCallReport, counts, headline, mood, name};
use crate::plan::upgrade::Component;
use crate::report::markup::printable;
use crate::report::page::Mood;

/// What an ANSI escape paints; printing strips it where colours are not wanted.
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const GREEN: &str = "\u{1b}[32m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// Renders a roll call, with ANSI colours. No line is cut or broken: how wide a terminal is, is not known.
pub fn render(report: &RollCallReport<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut out, report);
    out
}

fn write_report(out: &mut String, report: &RollCallReport<'_>) -> std::fmt::Result {
    let roll_call = report.roll_call;
    let (words, mood) = headline(roll_call.readiness());
    writeln!(out, "{}{BOLD}{words}{PLAIN}", colour(mood))?;
    writeln!(out, "{}\n", counts(roll_call))?;
    for (name, value) in report.facts() {
        writeln!(out, "  {name:<6}  {}", printable(&value))?;
    }
    writeln!(out)?;
    let widest = roll_call.components.iter().map(|component| name(component).chars().count()).max().unwrap_or(0);
    for component in &roll_call.components {
        write_component(out, component, widest)?;
    }
    if let Some(excluded) = &report.excluded {
        writeln!(out, "\nNot for this cluster")?;
        if excluded.is_empty() {
            writeln!(out, "  {NOTHING_EXCLUDED}")?;
        }
        for (request, because) in excluded {
            writeln!(out, "  {}: {}", printable(request), printable(because))?;
        }
    }
    if !report.passed_over().is_empty() {
        writeln!(out, "\n{PASSED_OVER}")?;
    }
    for (role, because) in report.passed_over() {
        writeln!(out, "  {}: {}", printable(role), printable(because))?;
    }
    Ok(())
}

const fn colour(mood: Mood) -> &'static str {
    match mood {
        Mood::Good => GREEN,
        Mood::Doubtful => YELLOW,
        Mood::Bad => RED,
        Mood::Quiet => "",
    }
}

fn write_component(out: &mut String, component: &Component, widest: usize) -> std::fmt::Result {
    let (verdict, name, role) = (component.verdict.as_str(), name(component), printable(&component.role));
    let colour = colour(mood(component.verdict));
    writeln!(out, "  {colour}{verdict:<13}{PLAIN}  {:<widest$}  {role}", printable(&name))?;
    let remarks = remarks(component);
    for remark in remarks.iter().filter(|remark| remark.rule.level() != Level::Note) {
        write_remark(out, remark)?;
    }
    let surplus: Vec<&str> =
        remarks.iter().filter(|remark| remark.rule == Rule::Surplus).map(|remark| remark.what.as_str()).collect();
    if !surplus.is_empty() {
        writeln!(out, "      granted, and not asked for: {}", printable(&surplus.join(", ")))?;
    }
    // A remark about the whole component has said so.
    let whole = remarks.iter().any(|remark| matches!(remark.rule, Rule::NewRole | Rule::Unreadable));
    if let Some(several) = component.several().filter(|_| !whole) {
        writeln!(out, "      {}", printable(&several))?;
    }
    Ok(())
}

fn write_remark(out: &mut String, remark: &Remark) -> std::fmt::Result {
    let why = printable(&remark.why);
    // The component's own line says which.
    if matches!(remark.rule, Rule::NewRole | Rule::Unreadable) {
        return writeln!(out, "      {why}");
    }
    let sign = if remark.rule.level() == Level::Error { "-" } else { "?" };
    writeln!(out, "      {sign} {}\n        {why}", printable(&remark.what))
}
