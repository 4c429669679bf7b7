//! A plan as Markdown: for a pull request, a chat, a pipeline's summary.

use super::markup::{code, markdown, row};
use super::{IN_THE_WAY, PlanReport, cause_in_words, shows_differences, verification_in_words};
use crate::plan::Step;

/// Renders a plan.
pub fn render(report: &PlanReport<'_>) -> String {
    let mut out = format!("## {}\n\n", report.headline());
    for (name, value) in report.facts() {
        out += &format!("- {name}: {}\n", code(&value));
    }
    out += &format!("- documents: {}\n", markdown(&verification_in_words(&report.plan.verification)));
    if !report.plan.steps.is_empty() {
        out += "\n### Changes\n\n| Change | On | Why |\n|---|---|---|\n";
        out.extend(report.plan.steps.iter().map(step));
    }
    let pair = |(of, why): (String, String)| format!("- {}: {}\n", code(&of), markdown(&why));
    out += &section(IN_THE_WAY, report.obstacles().map(pair));
    for (title, lines) in report.more_sections() {
        out += &section(title, lines.into_iter().map(pair));
    }
    let over = report.passed_over.iter().map(|line| format!("- {}\n", markdown(line)));
    out += &section("Passed over", report.ignored().map(pair).chain(over));
    if !report.secrets_compared {
        out += "\nSecrets were not compared: there is no cluster to look in.\n";
    }
    out
}

fn step(step: &Step) -> String {
    let mut why = vec![cause_in_words(step.cause).to_owned()];
    if shows_differences(step) {
        why.extend(step.differences.iter().map(|difference| {
            format!(
                "{}: found {}, wanted {}",
                difference.field.as_str(),
                code(&difference.found),
                code(&difference.wanted)
            )
        }));
    }
    row(&[step.change.name().to_owned(), code(&step.change.target()), why.join("<br>")])
}

fn section(title: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\n### {title}\n\n{lines}") }
}
