//! A plan for people and for machines. Pure: text in, text out.

pub mod json;
pub mod text;

use crate::desired::{Desired, Ignored, RequestVerdict};
use crate::plan::{Plan, Verification};

/// Everything that a report tells.
pub struct PlanReport<'a> {
    /// What should be.
    pub desired: &'a Desired,
    /// What would be done about it.
    pub plan: &'a Plan,
    /// The account that was looked at.
    pub account: &'a str,
    /// Whether Secrets were compared.
    pub secrets_compared: bool,
    /// What was passed over before the plan, with the reason (excluded requests, for instance).
    pub passed_over: &'a [String],
}

impl PlanReport<'_> {
    /// The requests that are refused, with the reason.
    fn refused(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.desired.requests.iter().filter_map(|request| match &request.verdict {
            RequestVerdict::Refused(refused) => Some((request.id.to_string(), refused.to_string())),
            _ => None,
        })
    }

    /// The requests that rightly come to nothing, with the reason.
    fn ignored(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.desired.requests.iter().filter_map(|request| match &request.verdict {
            RequestVerdict::Ignored(ignored) => Some((request.id.to_string(), in_words(ignored))),
            _ => None,
        })
    }

    /// Whether nothing is to be done and nothing is in the way.
    pub fn is_clean(&self) -> bool {
        self.plan.steps.is_empty() && self.plan.obstacles.is_empty() && self.refused().next().is_none()
    }
}

fn in_words(ignored: &Ignored) -> String {
    match ignored {
        Ignored::OtherCloud(kind) => format!("for another cloud ({kind})"),
        Ignored::Candidate(release) => format!("a candidate of release {release}"),
        Ignored::Tombstone => "removed by its release (tombstone)".into(),
    }
}

fn verification_in_words(verification: &Verification) -> String {
    match verification {
        Verification::Verified => "verified: an anonymous HTTPS reader gets the right documents".into(),
        Verification::NotYet => "not verified: the documents are not in place yet".into(),
        Verification::Wrong(what) => format!("wrong: {what}"),
        Verification::Unreachable(why) => format!("not verified: {why}"),
    }
}
