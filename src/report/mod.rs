//! A plan for people and for machines. Pure: text in, text out.

pub mod html;
pub mod json;
pub mod markdown;
pub mod markup;
mod page;
pub mod roll_call;
pub mod text;

use std::collections::BTreeSet;

use crate::desired::{Desired, Ignored, RequestVerdict};
use crate::plan::{Cause, Plan, Step, Subject, Verification};

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
    /// The owner marks that were found, resource and mark.
    pub marks: &'a [(String, String)],
}

/// The title of what stands in the way.
const IN_THE_WAY: &str = "In the way";

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

    /// What is in the way, with the request or the part that it concerns.
    fn obstacles(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let mut told = BTreeSet::new();
        let obstacles =
            self.plan.obstacles.iter().map(|(subject, obstacle)| (concerned(subject), obstacle.to_string()));
        obstacles.filter(move |line| told.insert(line.clone()))
    }

    /// What is left over and may be deleted: the component, and what would go, when, and what holds it.
    fn deletions(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.plan.deletions.pending.iter().map(|deletion| {
            let held = deletion
                .hold
                .as_ref()
                .map_or_else(|| "deleted next".to_owned(), |hold| format!("held by {}: {}", hold.reason, hold.message));
            (deletion.component.clone(), format!("{}; {held}", deletion.resources.join(", ")))
        })
    }

    /// What is left over and stays.
    fn orphans(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let goes = |orphan: &String| self.plan.deletions.pending.iter().any(|of| of.resources.contains(orphan));
        let kept = self.plan.orphans.iter().filter(move |orphan| !goes(orphan));
        kept.map(|orphan| (orphan.clone(), "asked for by no request".to_owned()))
    }

    /// Published keys that nobody knows.
    fn unknown_keys(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let keys = self.plan.keys.iter().flat_map(|keys| &keys.unknown);
        keys.map(|key| (key.kid.clone(), "published, in no source of signing keys: it is kept".to_owned()))
    }

    /// The sections that follow the changes and what is in the way, each with its title.
    fn more_sections(&self) -> Vec<(&'static str, Vec<(String, String)>)> {
        vec![
            ("Would be deleted", self.deletions().collect()),
            ("Left over", self.orphans().collect()),
            ("Unknown signing keys", self.unknown_keys().collect()),
            ("Owner marks", self.marks.to_vec()),
            ("Refused requests", self.refused().collect()),
        ]
    }

    /// What was looked at, each with its name.
    fn facts(&self) -> [(&'static str, String); 4] {
        let issuer = &self.desired.issuer;
        [
            ("ClusterIdentity", self.desired.identity.clone()),
            ("account", self.account.to_owned()),
            ("issuer", issuer.url.clone()),
            ("provider", issuer.provider.arn.clone()),
        ]
    }

    /// The verdict, as a sentence.
    fn headline(&self) -> String {
        if self.is_clean() {
            return "Nothing to do: everything is as wanted.".into();
        }
        let (changes, obstacles, refused) = (self.plan.steps.len(), self.obstacles().count(), self.refused().count());
        format!("{changes} to change, {obstacles} in the way, {refused} refused.")
    }

    /// Whether nothing is to be done and nothing is in the way.
    pub fn is_clean(&self) -> bool {
        self.plan.steps.is_empty() && self.plan.obstacles.is_empty() && self.refused().next().is_none()
    }
}

/// What an obstacle concerns, in words.
fn concerned(subject: &Subject) -> String {
    let part = match subject {
        Subject::Bucket => "issuer bucket",
        Subject::Discovery => "discovery document",
        Subject::Keys => "keys.json",
        Subject::Provider => "OIDC provider",
        Subject::Requests => "requests",
        Subject::Leftovers => "what is left over",
        Subject::Role(id) | Subject::Secret(id) => return id.to_string(),
        Subject::LeftoverRole(role) => return format!("role/{role}"),
        Subject::LeftoverSecret(key) => return format!("secret/{key}"),
    };
    part.to_owned()
}

fn in_words(ignored: &Ignored) -> String {
    match ignored {
        Ignored::OtherCloud(kind) => format!("for another cloud ({kind})"),
        Ignored::Candidate(release) => format!("a candidate of release {release}"),
        Ignored::Tombstone => "removed by its release (tombstone)".into(),
    }
}

/// What is made or left over differs from nothing in particular.
fn shows_differences(step: &Step) -> bool {
    !matches!(step.cause, Cause::Missing | Cause::LeftOver)
}

const fn cause_in_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Missing => "missing",
        Cause::Differs => "differs",
        Cause::Drift => "drift",
        Cause::LeftOver => "left over",
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
