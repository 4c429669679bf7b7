//! What carries the cluster's mark and is asked for by nobody any more.

use super::{Cause, Change, Difference, Draft, Field, Obstacle, Step, Subject};
use crate::api::cluster_identity::DeletionPolicy;
use crate::desired::Desired;
use crate::desired::secret::SecretKey;
use crate::observed::{FaultClass, Leftover, LeftoverSecret, Leftovers, Observed, SecretState, Seen};

/// Compares what is left over with what may become of it.
pub(super) fn compare(draft: &mut Draft, desired: &Desired, observed: &Observed) {
    let found = &observed.leftovers;
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
    if delete {
        draft.orphans.extend(roles.iter().map(|role| format!("role/{}", role.name)));
    } else {
        // A role that could not be read, or that the listing does not show yet, is not known to be gone.
        let all_read = |roles: &Vec<Seen<Leftover>>| roles.iter().all(|role| role.known().is_ok());
        let is_known = found.roles.known().is_ok_and(all_read) && draft.prior.settling.is_empty();
        let kept = desired.retained.iter().filter(|kept| !is_known || roles.iter().any(|role| role.name == kept.role));
        draft.retained = kept.cloned().collect();
        let orphans: Vec<String> = roles.iter().map(|role| named(draft, desired, found, role)).collect();
        draft.orphans.extend(orphans);
        put_back(draft, observed);
    }
    draft.orphans.extend(secrets.iter().map(|secret| format!("secret/{}", secret.key)));
    if !delete {
        let ahead = &draft.prior.granted_ahead;
        roles.retain(|role| role.own_policy && ahead.contains(&role.name));
    }
    if roles.is_empty() && (secrets.is_empty() || !delete) {
        return;
    }
    if let Some(why) = &draft.prior.interrupted {
        return draft.obstruct(&Subject::Leftovers, Obstacle::WatchLost(why.clone()));
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

/// A role that is kept, in words. One without a Secret is of no use to its component.
fn named(draft: &Draft, desired: &Desired, found: &Leftovers, role: &Leftover) -> String {
    let has_secret = draft.retained.iter().any(|kept| kept.role == role.name)
        || found.secrets.iter().any(|secret| desired.role_of(&secret.key) == role.name);
    if has_secret || draft.prior.granted_ahead.contains(&role.name) {
        format!("role/{}", role.name)
    } else {
        format!("role/{} (without a Secret of this ClusterIdentity)", role.name)
    }
}

/// Writes the Secrets of roles that are kept where they are gone.
fn put_back(draft: &mut Draft, observed: &Observed) {
    let roles = observed.leftovers.roles.known().map(Vec::as_slice).unwrap_or_default();
    let is_there = |name: &str| roles.iter().any(|role| matches!(role.known(), Ok(role) if role.name == name));
    // A namespace that is gone takes the Secret along for good: who makes it anew may be anybody.
    let is_gone =
        |key: &SecretKey| matches!(observed.secrets.get(key).map(Seen::known), Some(Ok(SecretState::NamespaceMissing)));
    draft.retained.retain(|kept| !is_gone(&kept.secret.key));
    for kept in draft.retained.clone().into_iter().filter(|kept| is_there(&kept.role)) {
        let key = &kept.secret.key;
        let Some(Ok(SecretState::Absent)) = observed.secrets.get(key).map(Seen::known) else { continue };
        let subject = Subject::LeftoverSecret(key.clone());
        if let Some(why) = &draft.prior.interrupted {
            draft.obstruct(&subject, Obstacle::WatchLost(why.clone()));
            continue;
        }
        // Someone has deleted it, so that one who does so again and again is answered ever more slowly.
        let differences = vec![Difference::new(Field::Secret, super::drift::MISSING, "present")];
        let change = Change::WriteSecret { secret: kept.secret, force: false };
        draft.steps.push(Step { subject, change, cause: Cause::Drift, differences });
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
