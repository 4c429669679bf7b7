//! A roll call as one HTML file, for someone who decides: the verdict, a table, and why.

use maud::{Markup, html};

use super::remark::{Level, Remark, remarks};
use super::{NOTHING_EXCLUDED, PASSED_OVER, RollCallReport, counts, headline, in_words, mood, name};
use crate::plan::upgrade::Component;
use crate::report::markup::printable;
use crate::report::page::{Mood, page};

/// Renders a roll call.
pub fn render(report: &RollCallReport<'_>) -> String {
    let roll_call = report.roll_call;
    let body = html! {
        p { (counts(roll_call)) "." }
        (table(&roll_call.components))
        (details(&roll_call.components, "What is in the way", |level| level != Level::Note))
        (details(&roll_call.components, "Good to know", |level| level == Level::Note))
        @if let Some(excluded) = &report.excluded {
            h2 { "Not for this cluster" }
            @if excluded.is_empty() { p { (NOTHING_EXCLUDED) } }
            @else { (pairs(excluded)) }
        }
        @if !report.passed_over().is_empty() {
            h2 { (PASSED_OVER) }
            (pairs(report.passed_over()))
        }
    };
    page("Rolecall: before the upgrade", headline(roll_call.readiness()), &report.facts(), &body)
}

/// Names, each with a reason.
fn pairs(pairs: &[(String, String)]) -> Markup {
    html! { ul { @for (name, why) in pairs { li { code { (printable(name)) } br; (printable(why)) } } } }
}

fn table(components: &[Component]) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { "Component" } th { "Verdict" } th { "Role" } } }
            tbody {
                @for component in components {
                    tr {
                        td { code { (printable(&name(component))) } }
                        td class=(mood(component.verdict).class()) title=(component.verdict.as_str()) { (in_words(component.verdict)) }
                        td { code { (printable(&component.role)) } }
                    }
                }
            }
        } }
    }
}

fn details(components: &[Component], title: &str, wanted: impl Fn(Level) -> bool) -> Markup {
    let told: Vec<(&Component, Vec<Remark>)> = components
        .iter()
        .map(|component| (component, remarks(component)))
        .map(|(component, all)| (component, all.into_iter().filter(|r| wanted(r.rule.level())).collect()))
        .filter(|(_, remarks): &(_, Vec<Remark>)| !remarks.is_empty())
        .collect();
    html! {
        @if !told.is_empty() {
            h2 { (title) }
            @for (component, remarks) in &told {
                h3 { code { (printable(&name(component))) } }
                ul { @for remark in remarks { (item(remark)) } }
            }
        }
    }
}

fn item(remark: &Remark) -> Markup {
    let mood = match remark.rule.level() {
        Level::Error => Mood::Bad,
        Level::Warning => Mood::Doubtful,
        Level::Note => Mood::Quiet,
    };
    html! {
        li title=(remark.rule.meaning()) { code class=(mood.class()) { (printable(&remark.what)) } br; (printable(&remark.why)) }
    }
}
