//! What belongs to the cluster and is asked for by nobody any more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::deletion::{Component, decide, use_of_roles};
use super::draft::Draft;
use super::{Cause, Change, Difference, Field, Obstacle, Step, Subject};
use crate::api::cluster_identity::DeletionPolicy;
use crate::desired::Desired;
use crate::desired::guardrails::is_among;
use crate::desired::owner::{Holder, mark_in};
use crate::desired::secret::SecretKey;
use crate::observed::usage::in_use;
use crate::observed::{AccountUse, FaultClass, Leftover, LeftoverSecret, Leftovers, Observed, SecretState, Seen};

/// Compares what is left over with what may become of it.
pub(super) fn compare(draft: &mut Draft, desired: &Desired, observed: &Observed) {
    let found = &observed.leftovers;
    let delete = desired.deletion.policy == DeletionPolicy::Delete;
    let roles = read_roles(draft, found, delete);
    draft.plan.youngest = youngest(draft, observed, &roles);
    let secrets: Vec<&LeftoverSecret> =
        found.secrets.iter().filter(|secret| !desired.claims.secrets.contains(&secret.key)).collect();
    remember_retained(draft, desired, found, &roles);
    if delete {
        delete_components(draft, desired, observed, &roles, &secrets);
    } else {
        let orphans: Vec<String> = roles.iter().map(|role| named(draft, desired, found, role)).collect();
        draft.plan.orphans.extend(orphans);
        draft.plan.orphans.extend(secrets.iter().map(|secret| format!("secret/{}", secret.key)));
        take_all_grants_back(draft, desired, &roles);
    }
    if draft.restored.is_some() {
        // What shows that the status was restored goes on showing it until nothing that waits to be deleted shows it any more.
        draft.plan.youngest = None;
    }
    put_back(draft, desired, observed);
}

/// The roles that are left over; what could not be read stands in the way.
fn read_roles<'a>(draft: &mut Draft, found: &'a Leftovers, delete: bool) -> Vec<&'a Leftover> {
    let mut roles = Vec::new();
    match found.roles.known() {
        // Under Retain a listing that may not be made is missed by the report alone.
        Err(fault) if !delete && fault.class == FaultClass::Denied => draft.plan.done_without.push(fault.clone()),
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
    roles
}

/// When the youngest role of ours was made, and the roles that were about to be made and were not seen yet; `None` when not all
/// could be read.
fn youngest(
    draft: &Draft,
    observed: &Observed,
    leftovers: &[&Leftover],
) -> Option<(Option<Timestamp>, BTreeSet<String>)> {
    if draft.is_obstructed(&Subject::Leftovers) || observed.leftovers.roles.known().is_err() {
        return None;
    }
    let owners = draft.frame.owners;
    let mut created = draft.prior.newest_role;
    let mut seen = BTreeSet::new();
    for role in observed.roles.values() {
        let Some(role) = role.known().ok()? else { continue };
        if owners.holder_by_tags(&role.tags) == Holder::Own {
            created = created.max(role.created);
            seen.insert(role.name.as_str());
        }
    }
    // What is left over and was not noted is told apart by being younger.
    for role in leftovers.iter().filter(|role| draft.prior.begun_roles.contains(&role.name)) {
        created = created.max(role.created);
        seen.insert(role.name.as_str());
    }
    let settled = draft.prior.settling.is_empty();
    let unseen = draft.prior.begun_roles.iter().filter(|name| !seen.contains(name.as_str()) && !settled);
    Some((created, unseen.cloned().collect()))
}

/// Notes the Secrets that are kept for roles that are kept.
fn remember_retained(draft: &mut Draft, desired: &Desired, found: &Leftovers, roles: &[&Leftover]) {
    // A role that could not be read, or that the listing does not show yet, is not known to be gone.
    let all_read = |roles: &Vec<Seen<Leftover>>| roles.iter().all(|role| role.known().is_ok());
    let is_known = found.roles.known().is_ok_and(all_read) && draft.prior.settling.is_empty();
    let kept = desired.retained.iter().filter(|kept| !is_known || roles.iter().any(|role| role.name == kept.role));
    draft.plan.retained = kept.cloned().collect();
}

/// Whatever was made ahead of an upgrade and is asked for by nobody grants nothing any more.
fn take_all_grants_back(draft: &mut Draft, desired: &Desired, roles: &[&Leftover]) {
    let ahead = &draft.prior.granted_ahead;
    let is_ours =
        |role: &Leftover| matches!(draft.frame.owners.holder_by_tags(&role.tags), Holder::Own | Holder::Nobody);
    let granted: Vec<&Leftover> =
        roles.iter().copied().filter(|role| role.own_policy && ahead.contains(&role.name) && is_ours(role)).collect();
    if granted.is_empty() || draft.restored.is_some() || why_not_complete(draft, desired) {
        return;
    }
    for role in granted {
        // No component uses what was only granted ahead: a status that says so of a role in use is older than the role's Secret.
        if let Some(others) = last_use(role, desired) {
            let obstacle = Obstacle::RoleInUse { role: role.name.clone(), others };
            draft.obstruct(&Subject::LeftoverRole(role.name.clone()), obstacle);
            continue;
        }
        take_grants_back(draft, role);
    }
}

/// The use of a role within the window, where AWS tells one.
fn last_use(role: &Leftover, desired: &Desired) -> Option<String> {
    let last = role.last_used.as_ref()?;
    in_use(&role.name, (role.created, Some(last)), true, desired.deletion.in_use_window, desired.now)
}

/// Whether it is not known all what is asked for, so that nothing counts as left over.
fn why_not_complete(draft: &mut Draft, desired: &Desired) -> bool {
    if let Some(why) = &draft.prior.interrupted {
        draft.obstruct(&Subject::Leftovers, Obstacle::WatchLost(why.clone()));
        return true;
    }
    if let Some(unknown) = desired.claims.unknown.first() {
        draft.obstruct(&Subject::Leftovers, Obstacle::ClaimUnknown(unknown.to_string()));
        return true;
    }
    false
}

fn delete_components(
    draft: &mut Draft,
    desired: &Desired,
    observed: &Observed,
    roles: &[&Leftover],
    secrets: &[&LeftoverSecret],
) {
    draft.plan.deletions.in_use = Some(uses(desired, observed, roles));
    let components = components(draft, desired, (roles, secrets), &observed.account_use);
    if components.is_empty() {
        draft.plan.deletions.is_complete = !draft.is_obstructed(&Subject::Leftovers);
        return;
    }
    if draft.is_obstructed(&Subject::Leftovers) || why_not_complete(draft, desired) {
        return;
    }
    draft.plan.deletions.is_complete = true;
    decide(draft, desired, &components, observed.account_use.any);
    let gone: BTreeSet<String> = going(draft);
    for (name, component) in &components {
        if component.role.is_some_and(|role| !role.others.is_empty()) {
            component.role.into_iter().for_each(|role| delete_role(draft, role));
        }
        if !gone.contains(name) {
            continue;
        }
        component.secret.into_iter().for_each(|secret| delete_secret(draft, secret));
        component.role.into_iter().for_each(|role| delete_role(draft, role));
    }
}

/// The components that this plan deletes.
fn going(draft: &Draft) -> BTreeSet<String> {
    let pending = draft.plan.deletions.pending.iter().filter(|deletion| deletion.hold.is_none());
    pending.map(|deletion| deletion.component.clone()).collect()
}

/// How the roles of all components are used, those included that are left over.
fn uses(desired: &Desired, observed: &Observed, leftovers: &[&Leftover]) -> super::UseOfRoles {
    let wanted = observed.roles.values().filter_map(|role| role.known().ok()?.as_ref());
    let wanted = wanted.map(|role| (role.name.as_str(), role.created, role.last_used.as_ref()));
    let left_over = leftovers.iter().map(|role| (role.name.as_str(), role.created, role.last_used.as_ref()));
    let window = desired.deletion.in_use_window;
    use_of_roles(wanted.chain(left_over), &observed.account_use, window, desired.now)
}

/// What is left over and may be deleted, by component. What does not carry the ClusterIdentity's own mark is only told: nobody has
/// verified it here. The Secret of such a role is kept, as it is where the role has lost all its tags.
fn components<'a>(
    draft: &mut Draft,
    desired: &Desired,
    (roles, secrets): (&[&'a Leftover], &[&'a LeftoverSecret]),
    account: &AccountUse,
) -> BTreeMap<String, Component<'a>> {
    let owners = draft.frame.owners;
    let settling = &draft.prior.settling;
    let mut components: BTreeMap<String, Component<'a>> = BTreeMap::new();
    let mut unmarked = BTreeSet::new();
    let mut orphans = Vec::new();
    for role in roles {
        // Without a management cluster nobody can tell whose mark it is.
        let is_own = match &owners.own {
            Some(_) => owners.holder_by_tags(&role.tags) == Holder::Own,
            None => mark_in(&role.tags).is_some(),
        };
        if !is_own {
            unmarked.insert(role.name.to_ascii_lowercase());
            orphans.push(format!("role/{} (without the mark of this ClusterIdentity: it is kept)", role.name));
        // What was deleted a moment ago may be shown by reads for a while.
        } else if !settling.has_deleted(&role.name) {
            orphans.push(format!("role/{}", role.name));
            components.entry(role.name.clone()).or_default().role = Some(role);
        }
    }
    for secret in secrets {
        // A copy, one of a tenant's making, or one where Rolecall may not write is nobody's.
        let is_own = owners.holder(secret.mark.as_deref()) == Holder::Own;
        let name = desired.role_of(&secret.key);
        if !is_own || !is_among(&desired.secret_namespaces, &secret.key.namespace) {
            continue;
        }
        let key = name.to_ascii_lowercase();
        let is_left_over = roles.iter().any(|role| role.name.eq_ignore_ascii_case(&name));
        let is_anothers = account.namesakes.contains(&key) && !is_left_over && !settling.has_deleted(&name);
        if unmarked.contains(&key) || is_anothers {
            orphans.push(format!("secret/{} (its role {name} is kept, and so is it)", secret.key));
            continue;
        }
        orphans.push(format!("secret/{}", secret.key));
        components.entry(name).or_default().secret = Some(secret);
    }
    draft.plan.orphans.extend(orphans);
    components
}

/// A role that is kept, in words. One without a Secret is of no use to its component.
fn named(draft: &Draft, desired: &Desired, found: &Leftovers, role: &Leftover) -> String {
    let has_secret = draft.plan.retained.iter().any(|kept| kept.role == role.name)
        || found.secrets.iter().any(|secret| desired.role_of(&secret.key) == role.name);
    if has_secret || draft.prior.granted_ahead.contains(&role.name) {
        format!("role/{}", role.name)
    } else {
        format!("role/{} (without a Secret of this ClusterIdentity)", role.name)
    }
}

/// Writes the Secrets of roles that are kept where they are gone: a component is served until its role goes.
fn put_back(draft: &mut Draft, desired: &Desired, observed: &Observed) {
    let roles = observed.leftovers.roles.known().map(Vec::as_slice).unwrap_or_default();
    let is_there = |name: &str| roles.iter().any(|role| matches!(role.known(), Ok(role) if role.name == name));
    // A namespace that is gone takes the Secret along for good: who makes it anew may be anybody.
    let is_gone =
        |key: &SecretKey| matches!(observed.secrets.get(key).map(Seen::known), Some(Ok(SecretState::NamespaceMissing)));
    draft.plan.retained.retain(|kept| !is_gone(&kept.secret.key));
    let mut deleted = going(draft);
    deleted.extend(draft.prior.deletions.within_window(desired.now).map(|(component, _)| component.clone()));
    let kept =
        draft.plan.retained.clone().into_iter().filter(|kept| is_there(&kept.role) && !deleted.contains(&kept.role));
    for kept in kept {
        let key = &kept.secret.key;
        let Some(Ok(SecretState::Absent)) = observed.secrets.get(key).map(Seen::known) else { continue };
        let subject = Subject::LeftoverSecret(key.clone());
        if let Some(why) = &draft.prior.interrupted {
            draft.obstruct(&subject, Obstacle::WatchLost(why.clone()));
            continue;
        }
        // Someone has deleted it, so that one who does so again and again is answered ever more slowly.
        let differences = vec![Difference::new(Field::Secret, super::drift::MISSING, "present")];
        let change =
            Change::WriteSecret { secret: kept.secret, force: false, points_anew: false, removes_access_keys: false };
        draft.plan.steps.push(Step { subject, change, cause: Cause::Drift, differences });
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
    draft.plan.steps.push(Step { subject: subject.clone(), change, cause: Cause::LeftOver, differences });
}
