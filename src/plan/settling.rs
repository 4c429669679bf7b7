//! Changes that were made and that AWS's reads may not show yet.
//!
//! IAM is eventually consistent (IAM User Guide, troubleshooting): for some seconds a read may tell what was before. A
//! plan made from such a read must neither make the same change again nor call the old state drift. So the changes that
//! were made are remembered until they are too old for that to be the reason. A read that shows a change proves little: the
//! next one may be answered by a replica that does not know of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use super::{Cause, Change, Difference, Obstacle, Plan, Step, Subject};
use crate::desired::owner::OWNER_MARK;
use crate::desired::role::DesiredRole;
use crate::desired::{Desired, RequestVerdict};

/// How exact the times of a status are.
const SECOND: Duration = Duration::from_secs(1);

/// The changes of one ClusterIdentity.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settling {
    changes: BTreeMap<Subject, Vec<Entry>>,
    /// When owner marks were set.
    marked: BTreeMap<Subject, Timestamp>,
    /// When something was last tried of which nobody knows whether it was made: no answer said so.
    unanswered: Option<Timestamp>,
    /// When something was last changed of which nobody here knows what it was: by the process before this one, or in a pass
    /// that was given up.
    unknown: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    at: Timestamp,
    change: Change,
    /// What it was made for: what was found before, and what was wanted.
    differences: Vec<Difference>,
    /// The same of the changes before it that it replaced: a read may still show what they found or made.
    earlier: Vec<(Timestamp, Vec<Difference>)>,
    /// A read has shown it. Another may still be answered by a replica that does not know of it.
    seen: bool,
    /// AWS said that it exists already though no read showed it: whose it is, is to be seen.
    in_doubt: bool,
}

impl Settling {
    /// Notes a change that was made.
    pub fn made(&mut self, step: &Step, at: Timestamp) {
        self.note(step, at, false);
    }

    /// Notes that a mark was set.
    pub fn marked(&mut self, subject: &Subject, at: Timestamp) {
        self.marked.insert(subject.clone(), at);
    }

    /// Whether a mark was set a moment ago: a read that does not show it may be older.
    pub(super) fn was_marked(&self, subject: &Subject) -> bool {
        self.marked.contains_key(subject)
    }

    /// Notes something that could not be made because it exists, though no read had shown it.
    pub fn found_existing(&mut self, step: &Step, at: Timestamp) {
        self.note(step, at, true);
    }

    /// Notes that something may have been made, though no answer said so. It is tried again at once, but a read that does
    /// not show it proves nothing.
    pub fn may_have_made(&mut self, at: Timestamp) {
        self.unanswered = self.unanswered.max(Some(at));
    }

    /// Notes that something was changed of which nobody here knows what it was: what seems to be drift may be a read that is
    /// older than that.
    pub fn changed_unknown(&mut self, at: Timestamp) {
        self.unknown = self.unknown.max(Some(at));
    }

    /// Notes the last change that a status tells of (`changed`), if a process made it before this one began. A time in a status
    /// has whole seconds: the change was made within the second that follows it.
    pub fn changed_before(&mut self, changed: &str, began: Timestamp) {
        let Ok(changed) = changed.parse::<Timestamp>() else { return };
        if let Some(end) = changed.checked_add(SECOND).ok().filter(|_| changed <= began) {
            self.changed_unknown(end.min(began));
        }
    }

    fn note(&mut self, step: &Step, at: Timestamp, in_doubt: bool) {
        if !step.change.is_of_aws() {
            return;
        }
        // A role that was made anew is no longer the one that was deleted.
        if let Change::CreateRole(role) = &step.change {
            self.changes.remove(&Subject::LeftoverRole(role.name.clone()));
        }
        // Nor is one that was deleted the one that was made before.
        if let Change::DeleteRole { role } = &step.change {
            self.changes.retain(|subject, entries| {
                entries
                    .retain(|entry| entry.change.role() != Some(role) || matches!(subject, Subject::LeftoverRole(_)));
                !entries.is_empty()
            });
        }
        let entries = self.changes.entry(step.subject.clone()).or_default();
        let mut earlier = Vec::new();
        entries.retain_mut(|entry| {
            let replaced = same_call(&entry.change, &step.change);
            if replaced {
                earlier.append(&mut entry.earlier);
                earlier.push((entry.at, std::mem::take(&mut entry.differences)));
            }
            !replaced
        });
        let (change, differences) = (step.change.clone(), step.differences.clone());
        entries.push(Entry { at, change, differences, earlier, seen: false, in_doubt });
    }

    /// Whether a role was deleted a moment ago: a read that shows it is older than that.
    pub(super) fn has_deleted(&self, role: &str) -> bool {
        let entries = self.entries(&Subject::LeftoverRole(role.to_owned()));
        entries.iter().any(|entry| matches!(entry.change, Change::DeleteRole { .. }))
    }

    /// Drops what is too old for a read not to show it.
    pub fn expire(&mut self, now: Timestamp, after: Duration) {
        let is_young = |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < after);
        self.changes.retain(|_, entries| {
            entries.retain_mut(|entry| {
                entry.earlier.retain(|(at, _)| is_young(*at));
                is_young(entry.at)
            });
            !entries.is_empty()
        });
        self.marked.retain(|_, at| is_young(*at));
        self.unanswered = self.unanswered.filter(|at| is_young(*at));
        self.unknown = self.unknown.filter(|at| is_young(*at));
    }

    /// Whether something was made, or may have been, that a read may not show.
    pub fn may_hide_something(&self) -> bool {
        self.unanswered.is_some() || self.changes.values().flatten().any(|entry| !entry.change.is_deletion())
    }

    /// Whether reads may hide a change of which nobody here knows what it was.
    pub const fn hides_the_unknown(&self) -> bool {
        self.unknown.is_some()
    }

    /// Whether a role was made, or may have been, that is not among those that were seen.
    pub(super) fn may_hide_a_role(&self, is_seen: impl Fn(&str) -> bool) -> bool {
        let mut changes = self.changes.values().flatten().map(|entry| &entry.change);
        self.unanswered.is_some()
            || changes.any(|made| matches!(made, Change::CreateRole(role) if !is_seen(&role.name)))
    }

    /// The roles of which a change was made that no read has shown, by name in lower case.
    pub fn unseen_roles(&self) -> BTreeSet<String> {
        let unseen = self.changes.values().flatten().filter(|entry| !entry.seen);
        unseen.filter_map(|entry| entry.change.role().map(str::to_ascii_lowercase)).collect()
    }

    /// When the first of what is remembered is too old to matter.
    pub fn next_expiry(&self, after: Duration) -> Option<Timestamp> {
        let of_changes = self.changes.values().flatten().map(|entry| entry.at);
        of_changes.chain(self.unanswered).chain(self.unknown).min()?.checked_add(after).ok()
    }

    /// Whether nothing is settling.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.marked.is_empty() && self.unanswered.is_none() && self.unknown.is_none()
    }

    /// Takes out of a plan what was done a moment ago, and says for whom it waits. What the plan does not ask for any more
    /// was seen; without `desired`, in a teardown, only what was deleted can be seen to be gone.
    pub(super) fn hold_back(&mut self, plan: &mut Plan, desired: Option<&Desired>) {
        if self.changes.is_empty() && self.unknown.is_none() {
            return;
        }
        let steps = std::mem::take(&mut plan.steps);
        // A change that nobody remembers shows as drift to a read that does not know of it.
        let outdated: HashSet<&Subject> =
            steps.iter().filter(|step| self.may_be_outdated(step)).map(|step| &step.subject).collect();
        let unseen: HashSet<&Subject> =
            steps.iter().filter(|step| self.exists_unseen(step)).map(|step| &step.subject).collect();
        let in_doubt = |subject: &Subject| {
            unseen.contains(subject) || rests_on(subject).is_some_and(|ground| unseen.contains(&ground))
        };
        // What is made anew has nothing of what was set on the one before it.
        let anew: HashSet<&Subject> = steps
            .iter()
            .filter(|step| step.change.is_creation() && !in_doubt(&step.subject) && !self.was_just_made(step))
            .map(|step| &step.subject)
            .collect();
        let mut held: BTreeMap<Subject, Vec<&'static str>> = BTreeMap::new();
        for step in &steps {
            if outdated.contains(&step.subject) && step.change.is_of_aws() {
                held.entry(step.subject.clone()).or_default().push(step.change.name());
            } else if anew.contains(&step.subject) {
                plan.steps.push(step.clone());
            } else if in_doubt(&step.subject) || self.was_just_made(step) {
                held.entry(step.subject.clone()).or_default().push(step.change.name());
            } else {
                plan.steps.push(Step { cause: self.cause(step), ..step.clone() });
            }
        }
        let mut by_subject: HashMap<&Subject, Vec<&Step>> = HashMap::new();
        for step in &steps {
            by_subject.entry(&step.subject).or_default().push(step);
        }
        for (subject, entries) in &mut self.changes {
            let of_subject = by_subject.get(subject);
            for entry in entries {
                let asked_for = of_subject.into_iter().flatten().any(|step| same_call(&step.change, &entry.change));
                let unclear = match desired {
                    // It is wanted again, and a read may still show the one that was deleted.
                    Some(desired) if is_wanted_again(&entry.change, desired) => continue,
                    Some(desired) => contradicts(&entry.change, subject, desired),
                    None => !entry.change.is_deletion(),
                };
                if !asked_for && unclear && desired.is_some() {
                    held.entry(subject.clone()).or_default().push(entry.change.name());
                }
                entry.seen |= !asked_for && !unclear;
            }
        }
        for (subject, mut names) in held {
            names.sort_unstable();
            names.dedup();
            plan.obstacles.push((subject, Obstacle::Settling(names.join(", "))));
        }
    }

    fn entries(&self, subject: &Subject) -> &[Entry] {
        self.changes.get(subject).map_or(&[], Vec::as_slice)
    }

    fn may_be_outdated(&self, step: &Step) -> bool {
        self.unknown.is_some() && step.cause == Cause::Drift && step.change.is_of_aws()
    }

    /// Whether a step would create what AWS said exists: it may be someone else's until a read shows it.
    fn exists_unseen(&self, step: &Step) -> bool {
        self.entries(&step.subject).iter().any(|entry| entry.in_doubt && same_call(&entry.change, &step.change))
    }

    /// Whether a step would only repeat what was done a moment ago. Nothing is created twice, whatever it is to be like.
    fn was_just_made(&self, step: &Step) -> bool {
        let entries = self.entries(&step.subject);
        let half_shown = may_be_half_shown(entries, step);
        entries.iter().any(|entry| entry.includes(&step.change) && (entry.explains(step) || half_shown))
    }

    /// What differs from a wish because we changed it for another is not someone else's doing.
    fn cause(&self, step: &Step) -> Cause {
        let entries = self.entries(&step.subject);
        let ours = entries.iter().any(|entry| same_call(&entry.change, &step.change) && entry.explains(step));
        if ours && step.cause == Cause::Drift { Cause::Differs } else { step.cause }
    }
}

/// Whether a step would add what is not there to something that was created a moment ago: a replica may know the thing, and
/// not yet all that was set on it.
fn may_be_half_shown(entries: &[Entry], step: &Step) -> bool {
    step.differences.iter().all(Difference::is_absence) && entries.iter().any(|entry| entry.change.is_creation())
}

impl Entry {
    /// Whether a step would do no more than this did.
    fn includes(&self, change: &Change) -> bool {
        match (&self.change, change) {
            // It was marked as it was made.
            (Change::CreateBucket(made), Change::TagBucket { tags, .. }) if !self.in_doubt => {
                let has = |key: &String, value: &String| {
                    made.tags.get(key) == Some(value) || key == OWNER_MARK && made.mark.as_ref() == Some(value)
                };
                tags.iter().all(|(key, value)| has(key, value))
            }
            (made, change) => made == change || change.is_creation() && same_call(made, change),
        }
    }

    /// Whether a read that does not know of the change would ask for such a step. Once a read has shown the change, that is
    /// so only if everything is again exactly as it was before, or as a change a moment before made it: anything else was done since.
    fn explains(&self, step: &Step) -> bool {
        !self.seen || self.differences == step.differences || self.has_passed_by(step)
    }

    /// Whether what a step has found was found or made by the changes that this one replaced. S3 shows an object as it was last
    /// written, so that what is found there is never an earlier one of ours.
    fn has_passed_by(&self, step: &Step) -> bool {
        if matches!(self.change, Change::PutObject { .. }) {
            return false;
        }
        let was = |now: &Difference| {
            let mut earlier = self.earlier.iter().flat_map(|(_, differences)| differences);
            earlier.any(|then| then.field == now.field && (then.found == now.found || then.wanted == now.found))
        };
        !step.differences.is_empty() && step.differences.iter().all(was)
    }
}

/// Whether what was deleted is a role that a request asks for again.
fn is_wanted_again(change: &Change, desired: &Desired) -> bool {
    change.is_deletion() && change.role().is_some_and(|role| desired.claims.roles.contains(&role.to_ascii_lowercase()))
}

/// Whether two changes are the same call on the same thing, with whatever contents.
fn same_call(left: &Change, right: &Change) -> bool {
    match (left, right) {
        (Change::AddAudience { audience: a, .. }, Change::RemoveAudience { audience: b, .. })
        | (Change::RemoveAudience { audience: a, .. }, Change::AddAudience { audience: b, .. })
        | (Change::AddAudience { audience: a, .. }, Change::AddAudience { audience: b, .. })
        | (Change::RemoveAudience { audience: a, .. }, Change::RemoveAudience { audience: b, .. }) => a == b,
        _ => left.name() == right.name() && left.target() == right.target(),
    }
}

/// What must surely be ours before a change of this subject makes sense.
fn rests_on(subject: &Subject) -> Option<Subject> {
    match subject {
        // A Secret must not point at a role that may be someone else's.
        Subject::Secret(id) => Some(Subject::Role(id.clone())),
        Subject::Discovery | Subject::Keys | Subject::Provider => Some(Subject::Bucket),
        _ => None,
    }
}

/// Whether a change made something otherwise than it is wanted now. A read that shows it as wanted all the same may be
/// older than the change.
fn contradicts(change: &Change, subject: &Subject, desired: &Desired) -> bool {
    let issuer = &desired.issuer;
    match change {
        Change::AddAudience { audience, .. } => !issuer.provider.audiences.contains(audience),
        Change::RemoveAudience { audience, .. } => issuer.provider.audiences.contains(audience),
        Change::TagProvider { tags, .. } => differ(tags, &issuer.provider.tags),
        Change::TagBucket { tags, .. } => differ(tags, &issuer.bucket.tags),
        Change::PutPublicAccessBlock { block, .. } => *block != issuer.bucket.public_access_block,
        Change::PutBucketPolicy { policy, .. } => *policy != issuer.bucket.policy,
        // S3 shows an object as it was last written (Amazon S3 data consistency model).
        Change::PutObject { .. } => false,
        _ => wanted_role(subject, desired).is_some_and(|role| contradicts_role(change, role)),
    }
}

fn contradicts_role(change: &Change, wanted: &DesiredRole) -> bool {
    match change {
        Change::UpdateTrust { policy, .. } => *policy != wanted.trust.text,
        Change::PutInlinePolicy { policy, .. } => *policy != wanted.permissions.text,
        Change::PutBoundary { boundary, .. } => wanted.boundary.as_ref().is_some_and(|wanted| wanted != boundary),
        Change::UpdateRole { description, max_session_seconds, .. } => {
            *description != wanted.description || *max_session_seconds != wanted.max_session_seconds
        }
        Change::TagRole { tags, .. } => differ(tags, &wanted.tags),
        _ => false,
    }
}

fn wanted_role<'a>(subject: &Subject, desired: &'a Desired) -> Option<&'a DesiredRole> {
    let Subject::Role(id) = subject else { return None };
    // They are in the order of their ids; a request and its tombstone may share one.
    let from = desired.requests.partition_point(|request| request.id < *id);
    let mut of_id = desired.requests[from..].iter().take_while(|request| request.id == *id);
    of_id.find_map(|request| match &request.verdict {
        RequestVerdict::Wanted(wanted) => Some(&wanted.role),
        _ => None,
    })
}

fn differ(made: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    made.iter().any(|(key, value)| wanted.get(key).is_some_and(|wanted| wanted != value))
}
