//! A roll call as Markdown: for a pull request, a chat, a pipeline's summary.

use super::remark::{Level, Remark, remarks};
use super::{NOTHING_EXCLUDED, PASSED_OVER, RollCallReport, counts, headline, in_words, name};
use crate::report::markup::{code, markdown, row};

/// Renders a roll call.
pub fn render(report: &RollCallReport<'_>) -> String {
    let roll_call = report.roll_call;
    let mut out = format!("## {}\n\n", headline(roll_call.readiness()).0);
    for (name, value) in report.facts() {
        out += &format!("- {name}: {}\n", code(&value));
    }
    out += &format!("\n{}.\n\n", counts(roll_call));
    out += "| Component | Verdict | Role |\n|---|---|---|\n";
    for component in &roll_call.components {
        let verdict = format!("{} ({})", component.verdict.as_str(), in_words(component.verdict));
        out += &row(&[code(&name(component)), verdict, code(&component.role)]);
    }
    for component in &roll_call.components {
        let grave: Vec<Remark> = remarks(component).into_iter().filter(|r| r.rule.level() != Level::Note).collect();
        if !grave.is_empty() {
            out += &format!("\n### {}\n\n", code(&name(component)));
            out.extend(grave.iter().map(item));
        }
    }
    let notes = roll_call.components.iter().flat_map(|component| {
        let notes = remarks(component).into_iter().filter(|remark| remark.rule.level() == Level::Note);
        notes.map(move |remark| {
            format!("- {}: {} – {}\n", code(&name(component)), code(&remark.what), markdown(&remark.why))
        })
    });
    out += &section("Good to know", notes);
    if let Some(excluded) = &report.excluded {
        let nothing = excluded.is_empty().then(|| format!("{NOTHING_EXCLUDED}\n"));
        let lines = excluded.iter().map(|(request, why)| format!("- {}: {}\n", code(request), markdown(why)));
        out += &section("Not for this cluster", lines.chain(nothing));
    }
    let lines = report.passed_over().iter().map(|(role, why)| format!("- {}: {}\n", code(role), markdown(why)));
    out += &section(PASSED_OVER, lines);
    out
}

fn item(remark: &Remark) -> String {
    let sign = if remark.rule.level() == Level::Error { "**missing**" } else { "**in doubt**" };
    format!("- {sign} {}: {}\n", code(&remark.what), markdown(&remark.why))
}

fn section(title: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\n### {title}\n\n{lines}") }
}
