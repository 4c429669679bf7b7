//! A roll call for people and for machines. Pure: a result in, text out.

pub mod checked;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod remark;
pub mod sarif;
pub mod text;

use super::page::Mood;
use crate::plan::upgrade::{Component, ComponentVerdict, Readiness, RollCall};

/// Everything that a report of a roll call tells.
#[derive(Debug, Clone)]
pub struct RollCallReport<'a> {
    /// The result.
    pub roll_call: &'a RollCall,
    /// What was judged, in words: where the live roles were read.
    pub live: String,
    /// Which release was judged against it, in words.
    pub target: String,
    /// The issuer whose tokens the roles must admit.
    pub issuer: String,
    /// The requests that the cluster does not get, with the reason; told on demand only.
    pub excluded: Option<Vec<(String, String)>>,
    /// The roles that may be the cluster's by their names and were not looked at, with the reason; told on demand only.
    pub passed_over: Option<Vec<(String, String)>>,
}

impl RollCallReport<'_> {
    /// What was looked at, each with its name.
    fn facts(&self) -> [(&'static str, String); 3] {
        [("live", self.live.clone()), ("target", self.target.clone()), ("issuer", self.issuer.clone())]
    }

    /// The roles that were not looked at, if that is to be told.
    fn passed_over(&self) -> &[(String, String)] {
        self.passed_over.as_deref().unwrap_or_default()
    }
}

/// What is said where it was asked which requests the cluster does not get, and it gets all.
const NOTHING_EXCLUDED: &str = "Nothing: it gets every request of the release.";

/// The title of the roles that were not looked at.
const PASSED_OVER: &str = "Roles not looked at";

/// `namespace/name` of a component's Secret; the role's name where that is not known.
fn name(component: &Component) -> String {
    component.secret.as_ref().map_or_else(|| component.role.clone(), ToString::to_string)
}

/// The verdict on the whole, as a sentence.
fn headline(readiness: Readiness) -> (&'static str, Mood) {
    match readiness {
        Readiness::Ready => ("Ready: the live roles grant all that the target release needs.", Mood::Good),
        Readiness::NotReady => ("Not ready: the target release needs what the live roles do not grant.", Mood::Bad),
        Readiness::Unknown => ("Unknown: it cannot be told whether the live roles suffice.", Mood::Doubtful),
    }
}

/// The counts that are not zero, in a sentence: `9 components: 7 covered, 2 missing`.
fn counts(roll_call: &RollCall) -> String {
    use ComponentVerdict::{Conditional, Covered, Indeterminate, Missing, NewRole, Retired, TrustMissing};
    let of = [
        (Missing, "with missing permissions"),
        (NewRole, "without a role"),
        (TrustMissing, "with service accounts that are not admitted"),
        (Conditional, "granted under a condition"),
        (Indeterminate, "that cannot be told"),
        (Covered, "covered"),
        (Retired, "retired"),
    ];
    let told = of.iter().map(|(verdict, words)| (roll_call.count(*verdict), words)).filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, words)| format!("{count} {words}")).collect();
    let all = roll_call.components.len();
    let noun = if all == 1 { "component" } else { "components" };
    format!("{all} {noun}: {}", told.join(", "))
}

/// A component's verdict in words.
const fn in_words(verdict: ComponentVerdict) -> &'static str {
    match verdict {
        ComponentVerdict::Retired => "no longer needed",
        ComponentVerdict::Covered => "has what it needs",
        ComponentVerdict::Conditional => "granted under a condition",
        ComponentVerdict::Indeterminate => "cannot be told",
        ComponentVerdict::TrustMissing => "service account not admitted",
        ComponentVerdict::NewRole => "needs a new role",
        ComponentVerdict::Missing => "lacks permissions",
    }
}

const fn mood(verdict: ComponentVerdict) -> Mood {
    match verdict {
        ComponentVerdict::Retired => Mood::Quiet,
        ComponentVerdict::Covered => Mood::Good,
        ComponentVerdict::Conditional | ComponentVerdict::Indeterminate => Mood::Doubtful,
        ComponentVerdict::TrustMissing | ComponentVerdict::NewRole | ComponentVerdict::Missing => Mood::Bad,
    }
}
