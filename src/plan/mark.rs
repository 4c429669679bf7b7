//! Owner marks that are still to be set. They are no change of the plan: nothing waits for them but deletions.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::ownership::Licence;
use super::{Change, Plan, Prior, Subject};
use crate::desired::issuer::{DesiredBucket, DesiredProvider};
use crate::desired::owner::{Holder, OWNER_MARK, mark_in};
use crate::desired::role::DesiredRole;
use crate::desired::secret::DesiredSecret;
use crate::observed::ObservedSecret;

/// A mark to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// On what.
    pub subject: Subject,
    /// The call.
    pub change: Change,
    /// The mark that is there.
    pub current: Option<String>,
}

impl Mark {
    /// Whether the status remembers that the resource was right, and what of others on it is kept: from the mark on it is ours, and
    /// whatever is not remembered then is somebody's doing.
    pub(super) fn is_remembered(&self, plan: &Plan, prior: &Prior) -> bool {
        let is_verified = prior.verified.get(&self.subject) == plan.fingerprints.get(&self.subject);
        is_verified
            && match &self.subject {
                Subject::Role(id) => {
                    let known = prior.roles.get(id).map(|known| &known.adopted_statements);
                    known.map(Vec::as_slice).unwrap_or_default()
                        == plan.adopted_trust.get(id).map(Vec::as_slice).unwrap_or_default()
                }
                Subject::Bucket | Subject::Provider => prior.adopted == plan.adopted,
                _ => true,
            }
    }

    /// Whether the resource was seen to be right, which alone makes it ours to mark, and was not marked a moment ago.
    pub(super) fn is_right(&self, plan: &Plan) -> bool {
        let parts: &[Subject] = match self.subject {
            Subject::Bucket => &[Subject::Bucket, Subject::Discovery, Subject::Keys],
            _ => std::slice::from_ref(&self.subject),
        };
        parts.iter().all(|part| plan.is_true(part)) && !plan.settling.was_marked(&self.subject)
    }
}

/// Whether a resource is to get the mark: it has none, or one that is taken over.
fn wants_mark(draft: &Draft, holder: &Holder) -> bool {
    // In Observe, what carries another's mark is shown as well.
    *holder != Holder::Own && (draft.observes() || matches!(holder, Holder::Nobody | Holder::Former))
}

/// The mark as a tag, to be set along with others: on what is ours already, whoever took its tags off.
pub(super) fn to_restore(mark: Option<&String>, licence: Licence) -> Option<(String, String)> {
    mark.filter(|_| licence == Licence::Ours).map(|mark| (OWNER_MARK.to_owned(), mark.clone()))
}

pub(super) fn of_bucket(draft: &mut Draft, wanted: &DesiredBucket, found: &BTreeMap<String, String>) {
    let Some(mark) = &wanted.mark else { return };
    if wants_mark(draft, &draft.frame.owners.holder_by_tags(found)) {
        // S3 sets all tags at once: those of others go along.
        let mut tags = found.clone();
        tags.insert(OWNER_MARK.to_owned(), mark.clone());
        let change = Change::TagBucket { bucket: wanted.name.clone(), tags };
        draft.marks.push(Mark { subject: Subject::Bucket, change, current: mark_in(found).cloned() });
    }
}

pub(super) fn of_provider(draft: &mut Draft, wanted: &DesiredProvider, found: &BTreeMap<String, String>) {
    let Some(mark) = &wanted.mark else { return };
    if wants_mark(draft, &draft.frame.owners.holder_by_tags(found)) {
        let tags = BTreeMap::from([(OWNER_MARK.to_owned(), mark.clone())]);
        let change = Change::TagProvider { arn: wanted.arn.clone(), tags };
        draft.marks.push(Mark { subject: Subject::Provider, change, current: mark_in(found).cloned() });
    }
}

pub(super) fn of_role(draft: &mut Draft, subject: &Subject, wanted: &DesiredRole, found: &BTreeMap<String, String>) {
    let Some(mark) = &wanted.mark else { return };
    if wants_mark(draft, &draft.frame.owners.holder_by_tags(found)) {
        let tags = BTreeMap::from([(OWNER_MARK.to_owned(), mark.clone())]);
        let change = Change::TagRole { role: wanted.name.clone(), tags };
        draft.marks.push(Mark { subject: subject.clone(), change, current: mark_in(found).cloned() });
    }
}

pub(super) fn of_secret(draft: &mut Draft, subject: &Subject, wanted: &DesiredSecret, found: &ObservedSecret) {
    if wanted.mark.is_some() && wants_mark(draft, &draft.frame.owners.holder(found.mark.as_deref())) {
        let (force, secret) = (found.ours, wanted.clone());
        let change = Change::WriteSecret { secret, force, points_anew: false, removes_access_keys: false };
        draft.marks.push(Mark { subject: subject.clone(), change, current: found.mark.clone() });
    }
}
