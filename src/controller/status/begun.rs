//! What a status notes before a plan is carried out.

use jiff::Timestamp;

use super::{deletions, granted_ahead, keys, to_begin};
use crate::api::ClusterIdentityStatus;
use crate::api::cluster_identity::ManagementPolicy;
use crate::desired::Desired;
use crate::plan::Plan;

/// The status before a plan is carried out: what has to be noted ahead of the changes, whatever comes of them.
pub fn begun(
    previous: &ClusterIdentityStatus,
    desired: &Desired,
    plan: &Plan,
    now: Timestamp,
) -> ClusterIdentityStatus {
    let mut next = previous.clone();
    if plan.management == ManagementPolicy::Enforce {
        next.begun_bucket = to_begin(plan).cloned().or(next.begun_bucket);
        next.keys_revision = keys::revision(previous, plan);
        if let Some(published) = plan.keys.as_ref().filter(|published| published.is_restored) {
            next.keys = keys::known(published);
        }
        if plan.deletions.pending.iter().any(|deletion| deletion.hold.is_none()) {
            next.recent_deletions = deletions::recent(previous, plan, now);
        }
        let known = &previous.begun_roles;
        next.begun_roles.extend(plan.roles_to_make().filter(|role| !known.contains(role)).cloned());
    }
    let ahead = granted_ahead(&previous.granted_ahead, desired, plan);
    next.granted_ahead.extend(ahead.into_iter().filter(|role| !previous.granted_ahead.contains(role)));
    next
}
