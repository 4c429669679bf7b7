//! The comparison of what should be with what is, and its result: an ordered list of changes, as data.

pub mod change;
pub mod deletion;
mod draft;
pub mod drift;
pub mod effectiveness;
mod issuer;
mod issuer_in_force;
mod kept_request;
mod kept_statements;
mod leftover;
mod mark;
mod narrowing;
mod obstacle;
mod ownership;
mod published_keys;
mod role;
mod secret;
pub mod settling;
pub mod teardown;
#[cfg(test)]
mod tests;
pub mod upgrade;
pub mod verification;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use crate::api::cluster_identity::{AdoptedSettings, ManagementPolicy, UnknownKey};
use crate::desired::request::RequestId;
use crate::desired::retained::RetainedSecret;
use crate::desired::secret::SecretKey;
use crate::desired::{Desired, RequestVerdict};
use crate::observed::{Fault, Observed};
pub use change::{Change, Subject};
pub use deletion::{Deletion, Deletions, Hold, PriorDeletions, UseOfRoles};
use draft::{Draft, Frame};
pub use drift::{Cause, Difference, Field};
pub use effectiveness::{BoundarySetBy, Effectiveness, effectiveness};
pub use kept_request::KeptRequest;
pub use mark::Mark;
pub use obstacle::Obstacle;
pub use ownership::LostMark;
pub use published_keys::PublishedKeys;
pub use settling::Settling;
pub use teardown::teardown;
pub use verification::Verification;

/// What is known from before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prior {
    /// What was last seen to be true, as fingerprints by subject. It tells drift (someone changed it) from a change of
    /// what is wanted, and remembers what is ours though someone took our mark away.
    pub verified: BTreeMap<Subject, String>,
    /// What is known of the roles of requests.
    pub roles: BTreeMap<RequestId, KnownRole>,
    /// What others had set on the issuer when it was adopted.
    pub adopted: AdoptedSettings,
    /// Whether the served CustomResourceDefinition keeps nothing of that: whatever others have set may have been there at adoption.
    pub forgets_adopted: bool,
    /// The revision of `keys.json` that was last written; `None` where nothing is remembered of it.
    pub keys_revision: Option<i64>,
    /// Published keys that nobody knows.
    pub unknown_keys: Vec<UnknownKey>,
    /// What waits to be deleted, and what was deleted lately.
    pub deletions: PriorDeletions,
    /// When the youngest role of ours was made that the status remembers: one that is younger shows that the status was restored.
    pub newest_role: Option<Timestamp>,
    /// Names of roles that were about to be made.
    pub begun_roles: BTreeSet<String>,
    /// What was changed a moment ago.
    pub settling: Settling,
    /// The fingerprint of an issuer bucket that was about to be created.
    pub begun_bucket: Option<String>,
    /// Names of roles that were made ahead of an upgrade, for components that no request in force asks for.
    pub granted_ahead: BTreeSet<String>,
    /// The watch that fails just now, and why: what is asked for may not all be known, so nothing counts as left over.
    pub interrupted: Option<String>,
}

/// What is known of the role of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownRole {
    /// Its unique id when it was last verified; empty where it was not noted.
    pub id: String,
    /// Fingerprints of statements of others in its trust policy that are kept.
    pub adopted_statements: Vec<String>,
    /// When the request was made that asks for it now.
    pub request_created: Option<Timestamp>,
}

/// A plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whether the changes may be made.
    pub management: ManagementPolicy,
    /// The changes, in the order in which they are made.
    pub steps: Vec<Step>,
    /// What stands in the way of a subject. Other subjects go on.
    pub obstacles: Vec<(Subject, Obstacle)>,
    /// Whether an anonymous reader gets the right documents.
    pub verification: Verification,
    /// The fingerprint of each subject as it is wanted.
    pub fingerprints: BTreeMap<Subject, String>,
    /// The owner marks that are to be set, on what was seen to be right. They are no change of the plan.
    pub marks: Vec<Mark>,
    /// The marks that wait until the status remembers what they stand for.
    pub later_marks: Vec<Mark>,
    /// When the youngest role of ours was made, and the roles that were about to be made and were not seen yet; `None` when not all
    /// roles were read.
    pub youngest: Option<(Option<Timestamp>, BTreeSet<String>)>,
    /// What is published of keys.
    pub keys: Option<PublishedKeys>,
    /// What of others on the issuer is kept.
    pub adopted: AdoptedSettings,
    /// Fingerprints of statements of others that are kept in the trust policies of requests' roles.
    pub adopted_trust: BTreeMap<RequestId, Vec<String>>,
    /// Fingerprints of the trust policies of requests' roles as they are wanted, with the statements of others that are kept.
    pub trust_hashes: BTreeMap<RequestId, String>,
    /// The unique ids of the roles of requests, as they were read.
    pub role_ids: BTreeMap<RequestId, String>,
    /// What was seen of what refused requests keep.
    pub kept: BTreeMap<RequestId, KeptRequest>,
    /// What carries another owner's mark though it was verified before.
    pub lost: Vec<LostMark>,
    /// What is left over and may be deleted, and what it waits for.
    pub deletions: Deletions,
    /// What carries the cluster's mark and is asked for by nobody, in words.
    pub orphans: Vec<String>,
    /// Secrets that are kept for roles that are kept.
    pub retained: Vec<RetainedSecret>,
    /// The consents that this plan makes use of, and for what.
    pub consents: Vec<(&'static str, String)>,
    /// Reads that were denied and that could be done without.
    pub done_without: Vec<Fault>,
    /// What was changed a moment ago and this plan's reads did not show.
    pub settling: Settling,
    /// Whether calls are held back, because AWS throttles the account.
    pub throttled: bool,
    /// The subjects with steps or obstacles.
    busy: HashSet<Subject>,
}

/// A change and why it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// For what.
    pub subject: Subject,
    /// The change.
    pub change: Change,
    /// Why, as a class.
    pub cause: Cause,
    /// Why, field by field.
    pub differences: Vec<Difference>,
}

/// The differences among steps that are someone else's doing.
pub fn drift_among<'a>(steps: impl Iterator<Item = &'a Step>) -> impl Iterator<Item = (&'a Step, &'a Difference)> {
    steps
        .filter(|step| step.cause == Cause::Drift)
        .flat_map(|step| step.differences.iter().map(move |difference| (step, difference)))
}

/// Compares. Pure, total, and the same for the same arguments.
pub fn plan(desired: &Desired, observed: &Observed, prior: &Prior) -> Plan {
    let mut draft = Draft::new(Frame::of(desired), prior);
    issuer_in_force::judge(&mut draft, desired, observed);
    issuer::compare(&mut draft, desired, observed);
    let verification = verification::verify(desired, observed, &draft);
    draft.trust_may_be_given = issuer::may_be_trusted(&draft, &verification, observed, desired);
    for (id, wanted) in desired.wanted() {
        role::compare(&mut draft, id, wanted, desired, observed);
        if let Some(secret) = &wanted.secret {
            secret::compare(&mut draft, id, secret, observed.secrets.get(&secret.key));
        }
    }
    kept_request::observe(&mut draft, desired, observed);
    nothing_selected(&mut draft, desired);
    leftover::compare(&mut draft, desired, observed);
    let plan = draft.finish(verification, Some(desired));
    Plan { throttled: observed.throttled, ..plan }
}

/// An identity that serves nothing is, but for a new one, one whose selection was changed by mistake.
fn nothing_selected(draft: &mut Draft, desired: &Desired) {
    let for_aws = |verdict: &RequestVerdict| matches!(verdict, RequestVerdict::Wanted(_) | RequestVerdict::Refused(_));
    if !desired.allow_empty && !desired.requests.iter().any(|request| for_aws(&request.verdict)) {
        let (selection, others) = (desired.selection.clone(), desired.requests.len());
        draft.obstruct(&Subject::Requests, Obstacle::NothingSelected { selection, others });
    }
}

impl Plan {
    /// The plan as it stands, when its changes may not be made.
    pub fn withhold(self) -> Withheld {
        Withheld { plan: self }
    }

    /// The differences that are someone else's doing.
    pub fn drift(&self) -> impl Iterator<Item = (&Step, &Difference)> {
        drift_among(self.steps.iter())
    }

    /// The faults of all that could not be read.
    pub fn unreadable(&self) -> impl Iterator<Item = &Fault> {
        self.obstacles.iter().filter_map(|(_, obstacle)| obstacle.unreadable())
    }

    /// Whether nothing is to be done for a subject and nothing stands in its way.
    pub fn is_true(&self, subject: &Subject) -> bool {
        !self.busy.contains(subject)
    }

    /// Whether the role of a component was seen to be right.
    pub fn has_role(&self, desired: &Desired, component: &SecretKey) -> bool {
        let mut of_component = desired.wanted().filter(|(_, wanted)| wanted.read.secret == *component);
        of_component.all(|(id, _)| self.is_true(&Subject::Role(id.clone())))
    }

    /// Whether something is not done because a watch fails just now.
    pub fn waits_for_a_watch(&self) -> bool {
        self.obstacles.iter().any(|(_, obstacle)| matches!(obstacle, Obstacle::WatchLost(_)))
    }

    /// The names of the roles that it makes.
    pub fn roles_to_make(&self) -> impl Iterator<Item = &String> {
        self.steps.iter().filter_map(|step| match &step.change {
            Change::CreateRole(role) => Some(&role.name),
            _ => None,
        })
    }

    /// What stands in the way of a subject.
    pub fn obstacle(&self, subject: &Subject) -> Option<&Obstacle> {
        self.obstacles.iter().find(|(of, _)| of == subject).map(|(_, obstacle)| obstacle)
    }
}

/// A plan whose changes may not be made; with `Applied`, the only thing that a status can be made of.
#[derive(Debug, Clone)]
pub struct Withheld {
    plan: Plan,
}

impl Withheld {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
