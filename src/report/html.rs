//! A plan as one HTML file.

use maud::{Markup, html};

use super::markup::printable;
use super::page::{Mood, page};
use super::{IN_THE_WAY, PlanReport, cause_in_words, shows_differences, verification_in_words};
use crate::plan::{Difference, Step};

/// Renders a plan.
pub fn render(report: &PlanReport<'_>) -> String {
    let plan = report.plan;
    let body = html! {
        p { (printable(&verification_in_words(&plan.verification))) }
        @if !plan.steps.is_empty() {
            h2 { "Changes" }
            (changes(&plan.steps))
        }
        (section(IN_THE_WAY, report.obstacles()))
        @for (title, lines) in report.more_sections() { (section(title, lines.into_iter())) }
        (section("Passed over", report.ignored()))
        @if !report.passed_over.is_empty() { ul { @for line in report.passed_over { li { (printable(line)) } } } }
        @if !report.secrets_compared { p.quiet { "Secrets were not compared: there is no cluster to look in." } }
    };
    let blocked = !plan.obstacles.is_empty() || report.refused().next().is_some();
    let mood = if report.is_clean() {
        Mood::Good
    } else if blocked {
        Mood::Bad
    } else {
        Mood::Doubtful
    };
    page("Rolecall: plan", (&report.headline(), mood), &report.facts(), &body)
}

fn changes(steps: &[Step]) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { "Change" } th { "On" } th { "Why" } } }
            tbody {
                @for step in steps {
                    tr {
                        td { (step.change.name()) }
                        td { code { (printable(&step.change.target())) } }
                        td { (cause_in_words(step.cause)) }
                    }
                    @if shows_differences(step) && !step.differences.is_empty() {
                        (differences(&step.differences))
                    }
                }
            }
        } }
    }
}

/// A row of their own: whole documents beside names would leave these no room.
fn differences(differences: &[Difference]) -> Markup {
    html! {
        tr.more { td colspan="3" { ul { @for difference in differences {
            li {
                (difference.field.as_str())
                br; span.quiet { "found " } code { (printable(&difference.found)) }
                br; span.quiet { "wanted " } code { (printable(&difference.wanted)) }
            }
        } } } }
    }
}

fn section(title: &str, lines: impl Iterator<Item = (String, String)>) -> Markup {
    let lines: Vec<(String, String)> = lines.collect();
    html! {
        @if !lines.is_empty() {
            h2 { (title) }
            ul { @for (of, why) in &lines { li { code { (printable(of)) } br; (printable(why)) } } }
        }
    }
}
