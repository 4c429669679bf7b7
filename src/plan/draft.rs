//! A plan in the making.

use std::collections::{BTreeMap, HashSet};

use super::deletion::Deletions;
use super::drift::{self, Cause, Difference, Field};
use super::narrowing::Loss;
use super::{Change, Mark, Obstacle, Plan, Prior, Settling, Step, Subject, Verification};
use crate::api::ALLOW_NARROWING;
use crate::api::cluster_identity::{AdoptedSettings, Adoption, ManagementPolicy};
use crate::desired::Desired;
use crate::desired::consent::Consents;
use crate::desired::names::same_resource;
use crate::desired::owner::Owners;

/// What another process may have done.
const UNKNOWN: &str = "something by another process";

/// What holds for all parts of a plan.
#[derive(Clone)]
pub(super) struct Frame<'a> {
    /// Key of the tag that says for which cluster a resource was made.
    pub owner_tag: &'a str,
    /// Whether unmarked resources are taken over.
    pub adopt: bool,
    /// Whether the changes may be made.
    pub management: ManagementPolicy,
    /// Who owns what.
    pub owners: &'a Owners,
    /// What may be taken away.
    pub consents: Consents,
}

impl<'a> Frame<'a> {
    pub(super) fn of(desired: &'a Desired) -> Self {
        Self {
            owner_tag: &desired.owner_tag,
            adopt: desired.adoption == Adoption::Adopt,
            management: desired.management,
            owners: &desired.owners,
            consents: desired.consents.clone(),
        }
    }
}

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub frame: Frame<'a>,
    pub prior: &'a Prior,
    /// Why nothing of the issuer, of trust policies and of Secrets may be changed: it is not known to be in force.
    pub gate: Option<Obstacle>,
    /// Whether the issuer may be written into trust policies that do not name it yet.
    pub trust_may_be_given: bool,
    /// Whether the status was restored from a backup, and how that shows.
    pub restored: Option<String>,
    pub plan: Plan,
    /// Marks to set where the resource turns out to be right.
    pub marks: Vec<Mark>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(frame: Frame<'a>, prior: &'a Prior) -> Self {
        let plan = Plan {
            management: frame.management,
            verification: Verification::NotYet,
            steps: Vec::new(),
            obstacles: Vec::new(),
            fingerprints: BTreeMap::new(),
            marks: Vec::new(),
            later_marks: Vec::new(),
            youngest: None,
            keys: None,
            adopted: AdoptedSettings::default(),
            adopted_trust: BTreeMap::new(),
            trust_hashes: BTreeMap::new(),
            role_ids: BTreeMap::new(),
            kept: BTreeMap::new(),
            lost: Vec::new(),
            deletions: Deletions::default(),
            orphans: Vec::new(),
            retained: Vec::new(),
            consents: Vec::new(),
            done_without: Vec::new(),
            settling: Settling::default(),
            throttled: false,
            busy: HashSet::new(),
        };
        Self { frame, prior, gate: None, trust_may_be_given: false, restored: None, plan, marks: Vec::new() }
    }

    /// The plan. What was done a moment ago is not done again. A teardown desires nothing.
    pub(super) fn finish(self, verification: Verification, desired: Option<&Desired>) -> Plan {
        let mut plan = Plan { verification, ..self.plan };
        let mut settling = self.prior.settling.clone();
        settling.hold_back(&mut plan, desired);
        let unseen = may_be_read_late(self.prior, &plan);
        plan.obstacles.extend(unseen.into_iter().map(|subject| (subject, Obstacle::Settling(UNKNOWN.to_owned()))));
        plan.settling = settling;
        let obstructed = plan.obstacles.iter().map(|(subject, _)| subject);
        plan.busy = plan.steps.iter().map(|step| &step.subject).chain(obstructed).cloned().collect();
        let right: Vec<Mark> = self.marks.into_iter().filter(|mark| mark.is_right(&plan)).collect();
        (plan.marks, plan.later_marks) = right.into_iter().partition(|mark| mark.is_remembered(&plan, self.prior));
        plan
    }

    /// Whether changes are only told.
    pub(super) fn observes(&self) -> bool {
        self.frame.management == ManagementPolicy::Observe
    }

    /// Whether anything stands in the way so far.
    pub(super) fn is_held(&self) -> bool {
        !self.plan.obstacles.is_empty()
    }

    /// Whether anything stands before a subject so far.
    pub(super) fn is_obstructed(&self, subject: &Subject) -> bool {
        self.plan.obstacles.iter().any(|(of, _)| of == subject)
    }

    /// Whether anything is to be done for a part of the issuer, whose steps are the first.
    pub(super) fn issuer_changes(&self, part: &Subject) -> bool {
        let of_issuer = self.plan.steps.iter().take_while(|step| step.subject.request().is_none());
        of_issuer.into_iter().any(|step| step.subject == *part)
    }

    /// Notes what is wanted of a subject.
    pub(super) fn want(&mut self, subject: &Subject, fingerprint: String) {
        self.plan.fingerprints.insert(subject.clone(), fingerprint);
    }

    /// Whether this very resource was seen to be right before, and so is ours though its mark may be gone. A request
    /// that now asks for a role of another name, or in another account, was never seen to be right there.
    pub(super) fn was_ours(&self, subject: &Subject) -> bool {
        match (self.prior.verified.get(subject), self.plan.fingerprints.get(subject)) {
            (Some(was), Some(is)) => same_resource(was, is),
            _ => false,
        }
    }

    /// Whether this very state of a subject was seen to be right before.
    pub(super) fn was_verified_as_it_is_wanted(&self, subject: &Subject) -> bool {
        let was = self.prior.verified.get(subject);
        was.is_some() && was == self.plan.fingerprints.get(subject)
    }

    /// Whether this very bucket was about to be created when somebody last looked.
    pub(super) fn was_begun(&self, fingerprint: &str) -> bool {
        self.prior.begun_bucket.as_ref().is_some_and(|begun| same_resource(begun, fingerprint))
    }

    /// Why a difference of an existing subject is there.
    pub(super) fn cause(&self, subject: &Subject) -> Cause {
        if self.was_verified_as_it_is_wanted(subject) { Cause::Drift } else { Cause::Differs }
    }

    /// Adds a change for a subject that exists.
    pub(super) fn update(&mut self, subject: &Subject, change: Change, differences: Vec<Difference>) {
        let cause = self.cause(subject);
        self.plan.steps.push(Step { subject: subject.clone(), change, cause, differences });
    }

    /// Adds a change for a subject that does not exist.
    pub(super) fn create(&mut self, subject: &Subject, change: Change, field: Field) {
        let cause = if self.cause(subject) == Cause::Drift { Cause::Drift } else { Cause::Missing };
        let differences = vec![Difference::new(field, drift::MISSING, "present")];
        self.plan.steps.push(Step { subject: subject.clone(), change, cause, differences });
    }

    pub(super) fn obstruct(&mut self, subject: &Subject, obstacle: Obstacle) {
        self.plan.obstacles.push((subject.clone(), obstacle));
    }

    /// Whether something may be taken away from a role, or from the provider, by consent; what is taken is noted.
    pub(super) fn is_narrowed_by_consent(&mut self, what: &str, loses: &Loss) -> bool {
        let allowed = self.frame.consents.allows_narrowing(&loses.consent(what));
        if allowed {
            self.plan.consents.push((ALLOW_NARROWING, format!("{what} loses {loses}")));
        }
        allowed
    }

    pub(super) fn not_ours(&self, what: String) -> Obstacle {
        Obstacle::NotOurs { what, tag: self.frame.owner_tag.to_owned() }
    }
}

/// What looks right after a change of the wish, while reads may hide what another process has made of it in between: it may be
/// what was there before, and is not known to be right.
fn may_be_read_late(prior: &Prior, plan: &Plan) -> Vec<Subject> {
    if !prior.settling.hides_the_unknown() {
        return Vec::new();
    }
    let steps = plan.steps.iter().map(|step| &step.subject);
    let busy: HashSet<&Subject> = steps.chain(plan.obstacles.iter().map(|(subject, _)| subject)).collect();
    let changed = |subject: &Subject, is: &String| prior.verified.get(subject).is_some_and(|was| was != is);
    let of_aws = plan.fingerprints.iter().filter(|(subject, _)| !matches!(subject, Subject::Secret(_)));
    let late = of_aws.filter(|(subject, is)| !busy.contains(subject) && changed(subject, is));
    late.map(|(subject, _)| subject.clone()).collect()
}
