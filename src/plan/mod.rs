//! The comparison of what should be with what is, and its result: an ordered list of changes, as data.

pub mod change;
pub mod drift;
mod issuer;
mod leftover;
mod role;
mod secret;
pub mod settling;
pub mod teardown;
#[cfg(test)]
mod tests;
pub mod upgrade;
pub mod verification;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::api::cluster_identity::{Adoption, ManagementPolicy};
use crate::desired::Desired;
use crate::desired::names::same_resource;
use crate::desired::retained::RetainedSecret;
use crate::desired::secret::SecretKey;
use crate::observed::{Fault, Observed};
pub use change::{Change, Subject};
pub use drift::{Cause, Difference, Field};
pub use settling::Settling;
pub use teardown::teardown;
pub use verification::Verification;

/// What is known from before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prior {
    /// What was last seen to be true, as fingerprints by subject. It tells drift (someone changed it) from a change of
    /// what is wanted, and remembers what is ours though someone took our mark away.
    pub verified: BTreeMap<Subject, String>,
    /// What was changed a moment ago.
    pub settling: Settling,
    /// The fingerprint of an issuer bucket that was about to be created.
    pub begun_bucket: Option<String>,
    /// Names of roles that were made ahead of an upgrade, for components that no request in force asks for.
    pub granted_ahead: BTreeSet<String>,
    /// The watch that fails just now, and why: what is asked for may not all be known, so nothing counts as left over.
    pub interrupted: Option<String>,
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
    /// What carries the cluster's mark and is asked for by nobody, in words.
    pub orphans: Vec<String>,
    /// Secrets that are kept for roles that are kept.
    pub retained: Vec<RetainedSecret>,
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
        "bucket {0} does not carry the cluster's tag and holds objects other than the issuer's documents, or cannot be listed: its policy would make all of them public, so it is not taken over; tag it if it is the issuer's, or choose another bucket"
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
    /// A role of another case has the name.
    #[error(
        "role {found} has the name {role} but for its case, and IAM keeps names unique without regard to case: remove it, or choose another infraName"
    )]
    OtherCase {
        /// The wanted name.
        role: String,
        /// The name as it is.
        found: String,
    },
    /// A watch fails, so that what is asked for may not be seen.
    #[error("nothing is deleted or put back before it answers again: {0}; what is asked for may not be seen")]
    WatchLost(String),
    /// It was changed a moment ago, and reads do not show that yet.
    #[error("{0} was done a moment ago and AWS's reads do not show it yet")]
    Settling(String),
    /// More would be deleted than the guardrail allows.
    #[error(
        "{wanted} roles or Secrets are left over and guardrails.maxDeletionsPerPass is {allowed}: nothing is deleted; see whether credentialsRequests still selects the right requests, then raise it"
    )]
    TooManyDeletions {
        /// How many.
        wanted: usize,
        /// How many are allowed.
        allowed: usize,
    },
    /// A request does not say what is its own, so nothing is known to be left over.
    #[error("the request {0} does not say which Secret it is for, so nothing is deleted: any of it may be its own")]
    ClaimUnknown(String),
    /// A role that was to be granted ahead of an upgrade is there already, otherwise than it would be made.
    #[error(
        "role {0} is to be granted ahead of an upgrade, but exists and was not made by an UpgradeCheck: it may belong to a request that is not served; mend or remove that one, or the role"
    )]
    NotPreGranted(String),
    /// A role serves someone else too.
    #[error(
        "role {role} is not deleted, because someone else uses it ({others}): take that off the role, or set deletionPolicy: Retain"
    )]
    RoleInUse {
        /// The role.
        role: String,
        /// What hangs on it.
        others: String,
    },
    /// The bucket keeps old versions, which Rolecall never deletes.
    #[error(
        "bucket {0} is versioned: neither it nor its documents are deleted; empty and delete it by hand, or set deletionPolicy: Retain"
    )]
    BucketVersioned(String),
    /// The bucket holds what is not ours.
    #[error(
        "bucket {bucket} also holds {others}: it is not deleted; remove those objects, or set deletionPolicy: Retain"
    )]
    BucketNotEmpty {
        /// The bucket.
        bucket: String,
        /// Some of the objects.
        others: String,
    },
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
    let mut draft = Draft::new(&desired.owner_tag, desired.adoption, prior);
    issuer::compare(&mut draft, desired, observed);
    for (id, wanted) in desired.wanted() {
        role::compare(&mut draft, id, wanted, observed.roles.get(&wanted.role.name));
        if let Some(secret) = &wanted.secret {
            secret::compare(&mut draft, id, secret, observed.secrets.get(&secret.key));
        }
    }
    leftover::compare(&mut draft, desired, observed);
    let verification = verification::verify(desired, observed, &draft);
    let plan = draft.finish(desired.management, verification, Some(desired));
    Plan { throttled: observed.throttled, ..plan }
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
    orphans: Vec<String>,
    retained: Vec<RetainedSecret>,
    done_without: Vec<Fault>,
}

impl<'a> Draft<'a> {
    fn new(owner_tag: &'a str, adoption: Adoption, prior: &'a Prior) -> Self {
        Self {
            owner_tag,
            adopt: adoption == Adoption::Adopt,
            prior,
            steps: Vec::new(),
            obstacles: Vec::new(),
            fingerprints: BTreeMap::new(),
            orphans: Vec::new(),
            retained: Vec::new(),
            done_without: Vec::new(),
        }
    }

    /// The plan. What was done a moment ago is not done again. A teardown desires nothing.
    fn finish(self, management: ManagementPolicy, verification: Verification, desired: Option<&Desired>) -> Plan {
        let mut plan = Plan {
            management,
            verification,
            steps: self.steps,
            obstacles: self.obstacles,
            fingerprints: self.fingerprints,
            orphans: self.orphans,
            retained: self.retained,
            done_without: self.done_without,
            settling: Settling::default(),
            throttled: false,
            busy: HashSet::new(),
        };
        let mut settling = self.prior.settling.clone();
        settling.hold_back(&mut plan, desired);
        plan.settling = settling;
        let obstructed = plan.obstacles.iter().map(|(subject, _)| subject);
        plan.busy = plan.steps.iter().map(|step| &step.subject).chain(obstructed).cloned().collect();
        plan
    }

    /// Whether anything stands in the way so far.
    fn is_held(&self) -> bool {
        !self.obstacles.is_empty()
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
        match (self.prior.verified.get(subject), self.fingerprints.get(subject)) {
            (Some(was), Some(is)) => same_resource(was, is),
            _ => false,
        }
    }

    /// Whether this very bucket was about to be created when somebody last looked.
    fn was_begun(&self, fingerprint: &str) -> bool {
        self.prior.begun_bucket.as_ref().is_some_and(|begun| same_resource(begun, fingerprint))
    }

    /// Why a difference of an existing subject is there.
    fn cause(&self, subject: &Subject) -> Cause {
        match (self.prior.verified.get(subject), self.fingerprints.get(subject)) {
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
        let differences = vec![Difference::new(field, drift::MISSING, "present")];
        self.steps.push(Step { subject: subject.clone(), change, cause, differences });
    }

    fn obstruct(&mut self, subject: &Subject, obstacle: Obstacle) {
        self.obstacles.push((subject.clone(), obstacle));
    }

    fn not_ours(&self, what: String) -> Obstacle {
        Obstacle::NotOurs { what, tag: self.owner_tag.to_owned() }
    }
}
