//! The comparison of what should be with what is, and its result: an ordered list of changes, as data.

pub mod change;
pub mod drift;
mod issuer;
mod role;
mod secret;
#[cfg(test)]
mod tests;
pub mod verification;

use std::collections::BTreeMap;

use crate::api::cluster_identity::{Adoption, ManagementPolicy};
use crate::desired::Desired;
use crate::desired::names::same_resource;
use crate::observed::{Fault, Observed};
pub use change::{Change, Subject};
pub use drift::{Cause, Difference, Field};
pub use verification::Verification;

/// What was last seen to be true, as fingerprints by subject. It tells drift (someone changed it) from a change of
/// what is wanted, and remembers what is ours though someone took our mark away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prior(pub BTreeMap<Subject, String>);

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

/// What stands in the way of a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Something of the wanted name is not ours.
    #[error(
        "{what} exists and does not carry the tag {tag}: it is left alone; remove it, choose another name, or set adoption: Adopt"
    )]
    NotOurs {
        /// The resource.
        what: String,
        /// The tag that is missing.
        tag: String,
    },
    /// The bucket's name is taken by another account, or we may not look.
    #[error(
        "bucket {bucket} cannot be looked at: another account owns that name, or the operator lacks s3:GetBucketTagging on it ({fault})"
    )]
    BucketForbidden {
        /// The bucket.
        bucket: String,
        /// AWS's answer.
        fault: String,
    },
    /// The bucket is to be adopted, but holds more than our documents.
    #[error(
        "bucket {0} holds objects other than the issuer's documents, or cannot be listed: its policy would make all of them public, so it is not adopted; choose another bucket"
    )]
    BucketInUse(String),
    /// A role lies at another path.
    #[error(
        "role {role} lies at path {found}, not {wanted}, and IAM cannot move it: set roles.path to {found} in a new ClusterIdentity, or delete the role"
    )]
    OtherPath {
        /// The role.
        role: String,
        /// Its path.
        found: String,
        /// The wanted path.
        wanted: String,
    },
    /// A foreign Secret.
    #[error("Secret {secret} {problem}: it is left alone; remove it or give the request another secretRef")]
    ForeignSecret {
        /// The Secret.
        secret: String,
        /// What makes it foreign.
        problem: String,
    },
    /// The target namespace does not exist.
    #[error("target namespace {0} not found")]
    NamespaceMissing(String),
    /// The keys are refused, and so the document is not touched.
    #[error("{0}")]
    Keys(#[from] crate::desired::keys::KeysRefused),
    /// It rests on something that an obstacle stands before.
    #[error("it waits for {0}")]
    WaitsFor(&'static str),
    /// It could not be read, so nothing is concluded.
    #[error("{0}")]
    Unreadable(Fault),
}

impl Obstacle {
    /// The fault of something that could not be read.
    pub const fn unreadable(&self) -> Option<&Fault> {
        match self {
            Self::Unreadable(fault) => Some(fault),
            _ => None,
        }
    }
}

/// The differences among steps that are someone else's doing.
pub fn drift_among<'a>(steps: impl Iterator<Item = &'a Step>) -> impl Iterator<Item = (&'a Step, &'a Difference)> {
    steps
        .filter(|step| step.cause == Cause::Drift)
        .flat_map(|step| step.differences.iter().map(move |difference| (step, difference)))
}

/// Compares. Pure, total, and the same for the same arguments.
pub fn plan(desired: &Desired, observed: &Observed, prior: &Prior) -> Plan {
    let mut draft = Draft::new(desired, prior);
    issuer::compare(&mut draft, desired, observed);
    for (id, wanted) in desired.wanted() {
        role::compare(&mut draft, id, &wanted.role, observed.roles.get(&wanted.role.name));
        secret::compare(&mut draft, id, &wanted.secret, observed.secrets.get(&wanted.secret.key));
    }
    Plan {
        management: desired.management,
        verification: verification::verify(desired, observed, &draft),
        steps: draft.steps,
        obstacles: draft.obstacles,
        fingerprints: draft.fingerprints,
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
        self.steps.iter().all(|step| step.subject != *subject) && self.obstacle(subject).is_none()
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

/// A plan in the making.
struct Draft<'a> {
    owner_tag: &'a str,
    adopt: bool,
    prior: &'a Prior,
    steps: Vec<Step>,
    obstacles: Vec<(Subject, Obstacle)>,
    fingerprints: BTreeMap<Subject, String>,
}

impl<'a> Draft<'a> {
    fn new(desired: &'a Desired, prior: &'a Prior) -> Self {
        Self {
            owner_tag: &desired.owner_tag,
            adopt: desired.adoption == Adoption::Adopt,
            prior,
            steps: Vec::new(),
            obstacles: Vec::new(),
            fingerprints: BTreeMap::new(),
        }
    }

    /// Notes what is wanted of a subject.
    fn want(&mut self, subject: &Subject, fingerprint: String) {
        self.fingerprints.insert(subject.clone(), fingerprint);
    }

    /// Whether a resource with these tags may be changed: it is marked, was ours before, or is to be adopted.
    fn may_change(&self, subject: &Subject, tags: &BTreeMap<String, String>) -> bool {
        tags.contains_key(self.owner_tag) || self.was_ours(subject) || self.adopt
    }

    /// Whether this very resource was seen to be right before, and so is ours though its mark may be gone. A request
    /// that now asks for a role of another name, or in another account, was never seen to be right there.
    fn was_ours(&self, subject: &Subject) -> bool {
        match (self.prior.0.get(subject), self.fingerprints.get(subject)) {
            (Some(was), Some(is)) => same_resource(was, is),
            _ => false,
        }
    }

    /// Why a difference of an existing subject is there.
    fn cause(&self, subject: &Subject) -> Cause {
        match (self.prior.0.get(subject), self.fingerprints.get(subject)) {
            (Some(was), Some(is)) if was == is => Cause::Drift,
            _ => Cause::Differs,
        }
    }

    /// Adds a change for a subject that exists.
    fn update(&mut self, subject: &Subject, change: Change, differences: Vec<Difference>) {
        let cause = self.cause(subject);
        self.steps.push(Step { subject: subject.clone(), change, cause, differences });
    }

    /// Adds a change for a subject that does not exist.
    fn create(&mut self, subject: &Subject, change: Change, field: Field) {
        let cause = if self.cause(subject) == Cause::Drift { Cause::Drift } else { Cause::Missing };
        let differences = vec![Difference::new(field, "missing", "present")];
        self.steps.push(Step { subject: subject.clone(), change, cause, differences });
    }

    fn obstruct(&mut self, subject: &Subject, obstacle: Obstacle) {
        self.obstacles.push((subject.clone(), obstacle));
    }

    fn not_ours(&self, what: String) -> Obstacle {
        Obstacle::NotOurs { what, tag: self.owner_tag.to_owned() }
    }
}
