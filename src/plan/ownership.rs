//! Whether a resource may be changed, by its marks.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::{Obstacle, Subject};
use crate::api::TAKE_OVER_FROM;
use crate::desired::owner::{Holder, OWNER_MARK, mark_in};

/// A resource that was verified before and carries another owner's mark by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostMark {
    /// The resource.
    pub what: String,
    /// The mark.
    pub mark: String,
}

/// What a resource's marks make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Licence {
    /// It was made or verified here.
    Ours,
    /// It may be adopted: nothing may be taken away from it until it was verified.
    FirstContact,
}

/// What is remembered of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verified {
    /// Nothing, or another one of the name.
    No,
    /// One of the name was seen to be right. The status of a request, which others may write, makes nobody's role ours.
    ByName,
    /// This very one was seen to be right.
    ThisVery,
}

impl Draft<'_> {
    /// Whether a resource with these tags may be changed.
    pub(super) fn licence(
        &mut self,
        subject: &Subject,
        what: &str,
        tags: &BTreeMap<String, String>,
        verified: Verified,
    ) -> Result<Licence, Obstacle> {
        let mark = mark_in(tags).cloned();
        match self.frame.owners.holder_by_tags(tags) {
            Holder::Own => Ok(Licence::Ours),
            // Without a management cluster nobody can tell whose mark it is: it was verified by whoever set it.
            Holder::Nobody if mark.is_some() => Ok(Licence::Ours),
            Holder::Former => Ok(Licence::FirstContact),
            Holder::Nobody if verified == Verified::ThisVery => Ok(Licence::Ours),
            Holder::Nobody if verified == Verified::ByName && tags.contains_key(self.frame.owner_tag) => {
                Ok(Licence::Ours)
            }
            Holder::Nobody if self.frame.adopt || tags.contains_key(self.frame.owner_tag) => Ok(Licence::FirstContact),
            Holder::Nobody => Err(self.not_ours(what.to_owned())),
            // What only observes hinders nobody and is hindered by nobody.
            _ if self.observes() => Ok(Licence::FirstContact),
            other => Err(self.anothers(subject, what, &other, mark.unwrap_or_default())),
        }
    }

    /// What stands in the way of a resource with another's mark.
    pub(super) fn anothers(&mut self, subject: &Subject, what: &str, holder: &Holder, mark: String) -> Obstacle {
        let (owner, remedy) = in_words(holder);
        let what = what.to_owned();
        // The statuses of requests remember what any ClusterIdentity verified.
        let has_verified = self.prior.verified.keys().any(|subject| subject.request().is_none());
        if has_verified && self.was_ours(subject) {
            self.plan.lost.push(LostMark { what: what.clone(), mark: mark.clone() });
            return Obstacle::OwnershipLost { what, owner, mark, remedy };
        }
        Obstacle::OwnedByAnother { what, owner, mark, remedy }
    }
}

/// An owner in words, and what to do about what it owns.
fn in_words(holder: &Holder) -> (String, String) {
    match holder {
        Holder::OtherIdentity { name: Some(name), .. } => (
            format!("the ClusterIdentity {name}"),
            "delete that ClusterIdentity with deletionPolicy: Retain, or give this one another infraName".to_owned(),
        ),
        Holder::OtherIdentity { name: None, owner } => (
            format!("the ClusterIdentity with the uid {}", owner.identity),
            format!(
                "this operator does not see all ClusterIdentities, so that one may exist. If it is gone, set the annotation {TAKE_OVER_FROM}: {} on the ClusterIdentity",
                owner.cluster
            ),
        ),
        Holder::OtherCluster(owner) => (
            format!("the management cluster {}", owner.cluster),
            format!(
                "stop Rolecall there, then set the annotation {TAKE_OVER_FROM}: {uid} on the ClusterIdentity, or run the operator with --take-over-from={uid}",
                uid = owner.cluster
            ),
        ),
        _ => (
            "an unknown owner".to_owned(),
            format!("{OWNER_MARK} is <uid of kube-system>.<uid of the ClusterIdentity>: correct or remove it"),
        ),
    }
}
