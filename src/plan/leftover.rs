//! What carries the cluster's mark and is asked for by nobody any more.

use super::{Cause, Change, Difference, Draft, Field, Obstacle, Step, Subject};
use crate::api::cluster_identity::DeletionPolicy;
use crate::desired::Desired;
use crate::observed::{FaultClass, Leftover, LeftoverSecret, Leftovers, Seen};

/// Compares what is left over with what may become of it.
pub(super) fn compare(draft: &mut Draft, desired: &Desired, found: &Leftovers) {
    let delete = desired.deletion == DeletionPolicy::Delete;
    let mut roles = Vec::new();
    match found.roles.known() {
        // Under Retain a listing that may not be made is missed by the report alone.
        Err(fault) if !delete && fault.class == FaultClass::Denied => draft.done_without.push(fault.clone()),
        Err(fault) => draft.obstruct(&Subject::Leftovers, Obstacle::Unreadable(fault.clone())),
        Ok(found) => {
            for role in found {
                match role {
                    Seen::Known(role) => roles.push(role),
                    Seen::Unknown(fault) => draft.obstruct(&Subject::Leftovers, Obstacle::Unreadable(fault.clone())),
                }
            }
        }
    }
    let secrets: Vec<&LeftoverSecret> =
        found.secrets.iter().filter(|secret| !desired.claims.secrets.contains(&secret.key)).collect();
    draft.orphans.extend(roles.iter().map(|role| format!("role/{}", role.name)));
    draft.orphans.extend(secrets.iter().map(|secret| format!("secret/{}", secret.key)));
    if !delete {
        let ahead = &draft.prior.granted_ahead;
        roles.retain(|role| role.own_policy && ahead.contains(&role.name));
    }
    if roles.is_empty() && (secrets.is_empty() || !delete) {
        return;
    }
    if let Some(unknown) = desired.claims.unknown.first() {
        return draft.obstruct(&Subject::Leftovers, Obstacle::ClaimUnknown(unknown.to_string()));
    }
    if !delete {
        return roles.into_iter().for_each(|role| take_grants_back(draft, role));
    }
    // What others use stays, and says so. What was deleted a moment ago may be shown by reads for a while.
    let (used, unused): (Vec<_>, Vec<_>) = roles.into_iter().partition(|role| !role.others.is_empty());
    for role in used {
        delete_role(draft, role);
    }
    let settling = &draft.prior.settling;
    let to_go = unused.iter().filter(|role| !settling.has_deleted(&role.name)).count();
    let wanted = to_go.max(secrets.len());
    if wanted > desired.most_deletions {
        let obstacle = Obstacle::TooManyDeletions { wanted, allowed: desired.most_deletions };
        return draft.obstruct(&Subject::Leftovers, obstacle);
    }
    for secret in secrets {
        delete_secret(draft, secret);
    }
    for role in unused {
        delete_role(draft, role);
    }
}

/// Takes back what was granted ahead of an upgrade to a role that is to be kept.
fn take_grants_back(draft: &mut Draft, role: &Leftover) {
    let change = Change::DeleteRolePolicy { role: role.name.clone() };
    remove(draft, &Subject::LeftoverRole(role.name.clone()), change, Field::InlinePolicy);
}

/// Deletes a Secret. Kubernetes refuses when it is no longer the one that was looked at.
pub(super) fn delete_secret(draft: &mut Draft, secret: &LeftoverSecret) {
    let subject = Subject::LeftoverSecret(secret.key.clone());
    remove(draft, &subject, Change::DeleteSecret(secret.clone()), Field::Secret);
}

/// Deletes a role with the policy that is its own. One that serves someone else too is left as it is.
pub(super) fn delete_role(draft: &mut Draft, role: &Leftover) {
    let subject = Subject::LeftoverRole(role.name.clone());
    if !role.others.is_empty() {
        let obstacle = Obstacle::RoleInUse { role: role.name.clone(), others: role.others.join(", ") };
        return draft.obstruct(&subject, obstacle);
    }
    if role.own_policy {
        remove(draft, &subject, Change::DeleteRolePolicy { role: role.name.clone() }, Field::InlinePolicy);
    }
    remove(draft, &subject, Change::DeleteRole { role: role.name.clone() }, Field::Role);
}

/// Adds a change that takes something away.
pub(super) fn remove(draft: &mut Draft, subject: &Subject, change: Change, field: Field) {
    let differences = vec![Difference::new(field, "present", "gone")];
    draft.steps.push(Step { subject: subject.clone(), change, cause: Cause::LeftOver, differences });
}
