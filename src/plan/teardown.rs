//! The end of a ClusterIdentity: everything that carries its own mark goes, what others may need goes last.

use super::draft::{Draft, Frame};
use super::leftover::{delete_role, delete_secret, remove};
use super::{Change, Field, Obstacle, Plan, Prior, Subject, Verification};
use crate::api::cluster_identity::ManagementPolicy;
use crate::desired::Teardown;
use crate::desired::consent::Consents;
use crate::desired::guardrails::is_among;
use crate::desired::owner::Holder;
use crate::observed::usage::in_use;
use crate::observed::{
    DoomedBucket, Fault, FaultClass, Leftover, LeftoverSecret, ObservedProvider, ObservedTeardown, Seen,
};

/// Plans a teardown: Secrets and roles, then the provider, then the documents, then the bucket. What stands before a
/// part holds all that comes after it: an issuer is not taken away under a role that is still there. What is in use, and what
/// could not be read so that it may be, holds everything, unless that was confirmed.
pub fn teardown(teardown: &Teardown, observed: &ObservedTeardown, secrets: &[LeftoverSecret], prior: &Prior) -> Plan {
    let frame = Frame {
        owner_tag: &teardown.owner_tag,
        adopt: false,
        management: ManagementPolicy::Enforce,
        owners: &teardown.owners,
        consents: Consents::default(),
    };
    let mut draft = Draft::new(frame, prior);
    if let Some(why) = &prior.interrupted {
        draft.obstruct(&Subject::Leftovers, Obstacle::WatchLost(why.clone()));
        return draft.finish(Verification::NotYet, None);
    }
    let roles = own_roles(&mut draft, observed);
    let secrets = own_secrets(teardown, secrets);
    if !teardown.confirmed {
        match use_of_what_goes(teardown, observed, &roles, &secrets, prior) {
            UseOfWhatGoes::InUse(used) => {
                draft.obstruct(&Subject::Leftovers, Obstacle::InUse(used, teardown.infra_name().to_owned()));
            }
            UseOfWhatGoes::Unread(of, fault) => draft.obstruct(&of, Obstacle::Unreadable(fault)),
            UseOfWhatGoes::Unused => {}
        }
        if draft.is_held() {
            return draft.finish(Verification::NotYet, None);
        }
    }
    for secret in secrets {
        delete_secret(&mut draft, secret);
    }
    for role in &roles {
        delete_role(&mut draft, role);
    }
    let hides_a_role = hides_a_role(prior, observed);
    provider(&mut draft, teardown, &observed.provider, hides_a_role);
    bucket(&mut draft, teardown, &observed.bucket, hides_a_role);
    draft.finish(Verification::NotYet, None)
}

/// Whether a teardown takes nothing away, because what it would take away is in use or may be. One that has begun is not held by
/// that: what is half gone serves nobody.
pub fn is_held_by_use(plan: &Plan, has_begun: bool) -> bool {
    let is_of_use = |obstacle: &Obstacle| matches!(obstacle, Obstacle::InUse(..) | Obstacle::Unreadable(_));
    !has_begun && plan.steps.is_empty() && plan.obstacles.iter().any(|(_, obstacle)| is_of_use(obstacle))
}

/// The Secrets that carry the ClusterIdentity's own mark, where Rolecall may write.
fn own_secrets<'a>(teardown: &Teardown, secrets: &'a [LeftoverSecret]) -> Vec<&'a LeftoverSecret> {
    let is_own = |secret: &&LeftoverSecret| {
        teardown.owners.holder(secret.mark.as_deref()) == Holder::Own
            && is_among(&teardown.secret_namespaces, &secret.key.namespace)
    };
    secrets.iter().filter(is_own).collect()
}

/// The roles that carry the ClusterIdentity's own mark. What it has never verified stays.
fn own_roles<'a>(draft: &mut Draft, observed: &'a ObservedTeardown) -> Vec<&'a Leftover> {
    let roles = match observed.roles.known() {
        Ok(roles) => roles,
        Err(fault) => {
            draft.obstruct(&Subject::Leftovers, Obstacle::Unreadable(fault.clone()));
            return Vec::new();
        }
    };
    let mut own = Vec::new();
    for role in roles {
        match role {
            Seen::Known(role) if draft.frame.owners.holder_by_tags(&role.tags) == Holder::Own => own.push(role),
            Seen::Known(_) => {}
            Seen::Unknown(fault) => draft.obstruct(&Subject::Leftovers, Obstacle::Unreadable(fault.clone())),
        }
    }
    own
}

/// Whether what a deletion takes away is in use.
enum UseOfWhatGoes {
    /// It is not.
    Unused,
    /// It is: which role, and how that shows.
    InUse(String),
    /// It may be: this could not be read.
    Unread(Subject, Fault),
}

/// Whether a deletion would take away what is in use: a role that was used, the Secret of a role that stays because it does not
/// carry the mark, or the issuer that a role trusts that stays.
fn use_of_what_goes(
    teardown: &Teardown,
    observed: &ObservedTeardown,
    roles: &[&Leftover],
    secrets: &[&LeftoverSecret],
    prior: &Prior,
) -> UseOfWhatGoes {
    let rules = teardown.deletion;
    let others = observed.roles.known().into_iter().flatten().filter_map(|role| role.known().ok());
    let of_secrets = others.filter(|_| !secrets.is_empty());
    let mut used = roles.iter().copied().chain(of_secrets).filter_map(|role| {
        let use_of = (role.created, role.last_used.as_ref());
        in_use(&role.name, use_of, observed.account_use.any, rules.in_use_window, teardown.now)
    });
    if let Some(used) = used.next().or_else(|| serves_anothers_role(teardown, observed, secrets, prior)) {
        return UseOfWhatGoes::InUse(used);
    }
    let is_own = |tags| teardown.owners.holder_by_tags(tags) == Holder::Own;
    let provider_goes = match observed.provider.known() {
        Ok(found) => found.as_ref().is_some_and(|provider| is_own(&provider.tags)),
        Err(fault) => return UseOfWhatGoes::Unread(Subject::Provider, fault.clone()),
    };
    let bucket_goes = match observed.bucket.known() {
        Ok(found) => found.as_ref().is_some_and(|bucket| is_own(&bucket.tags)),
        Err(fault) if is_bucket_of_others(fault, prior) => false,
        Err(fault) => return UseOfWhatGoes::Unread(Subject::Bucket, fault.clone()),
    };
    if !provider_goes && !bucket_goes {
        return UseOfWhatGoes::Unused;
    }
    let trusting = match observed.account_use.trusting.known() {
        Ok(trusting) => trusting,
        Err(fault) => return UseOfWhatGoes::Unread(Subject::Leftovers, fault.clone()),
    };
    // What was deleted a moment ago may be shown by one read and not by another.
    let goes = |name: &str| roles.iter().any(|role| role.name == name) || prior.settling.has_deleted(name);
    match trusting.iter().find(|name| !goes(name)) {
        Some(stays) => UseOfWhatGoes::InUse(format!(
            "role {stays} is not deleted with the ClusterIdentity and trusts its OIDC provider"
        )),
        None => UseOfWhatGoes::Unused,
    }
}

/// A Secret whose role is there and does not belong to the cluster by its tags, so that nothing is known of its use.
fn serves_anothers_role(
    teardown: &Teardown,
    observed: &ObservedTeardown,
    secrets: &[&LeftoverSecret],
    prior: &Prior,
) -> Option<String> {
    if teardown.deletion.in_use_window.is_zero() {
        return None;
    }
    let known: Vec<&Leftover> =
        observed.roles.known().into_iter().flatten().filter_map(|role| role.known().ok()).collect();
    secrets.iter().find_map(|secret| {
        let name = teardown.role_of(&secret.key);
        let is_known = known.iter().any(|role| role.name.eq_ignore_ascii_case(&name));
        let is_there = observed.account_use.namesakes.contains(&name.to_ascii_lowercase());
        (is_there && !is_known && !prior.settling.has_deleted(&name)).then(|| {
            format!(
                "role {name} is not deleted with the ClusterIdentity, and its component needs the Secret {}",
                secret.key
            )
        })
    })
}

/// Whether a bucket that may not be looked at is another account's or region's: it was never seen to be ours.
fn is_bucket_of_others(fault: &Fault, prior: &Prior) -> bool {
    matches!(fault.class, FaultClass::Denied | FaultClass::Elsewhere) && !prior.verified.contains_key(&Subject::Bucket)
}

/// What may have been made and is not seen.
const UNSEEN_ROLES: &str = "what may have made a role";

/// Whether there may be roles that the listing does not show yet.
fn hides_a_role(prior: &Prior, observed: &ObservedTeardown) -> bool {
    let roles = observed.roles.known().map(Vec::as_slice).unwrap_or_default();
    let is_seen =
        |name: &str| roles.iter().any(|role| matches!(role, Seen::Known(role) if role.name.eq_ignore_ascii_case(name)));
    prior.settling.may_hide_a_role(is_seen)
}

fn provider(draft: &mut Draft, teardown: &Teardown, found: &Seen<Option<ObservedProvider>>, hides_a_role: bool) {
    let subject = Subject::Provider;
    match found.known() {
        Err(fault) => draft.obstruct(&subject, Obstacle::Unreadable(fault.clone())),
        Ok(Some(found)) if draft.frame.owners.holder_by_tags(&found.tags) == Holder::Own => {
            if draft.is_held() {
                return draft.obstruct(&subject, Obstacle::WaitsFor("the roles"));
            }
            if hides_a_role {
                return draft.obstruct(&subject, Obstacle::Settling(UNSEEN_ROLES.into()));
            }
            let arn = teardown.issuer.provider.arn.clone();
            remove(draft, &subject, Change::DeleteProvider { arn }, Field::Provider);
        }
        // What does not carry our mark is not ours to take away.
        Ok(_) => {}
    }
}

fn is_own(draft: &Draft, bucket: &DoomedBucket) -> bool {
    draft.frame.owners.holder_by_tags(&bucket.tags) == Holder::Own
}

fn is_half_made(draft: &Draft, teardown: &Teardown, bucket: &DoomedBucket) -> bool {
    let empty = bucket.tags.is_empty() && bucket.documents.is_empty() && bucket.others.is_empty() && !bucket.versioned;
    empty && draft.was_begun(&teardown.issuer.bucket.fingerprint())
}

fn bucket(draft: &mut Draft, teardown: &Teardown, found: &Seen<Option<DoomedBucket>>, hides_a_role: bool) {
    let (subject, name) = (Subject::Bucket, &teardown.issuer.bucket.name);
    match found.known() {
        Err(fault) if is_bucket_of_others(fault, draft.prior) => {}
        Err(fault) => draft.obstruct(&subject, Obstacle::Unreadable(fault.clone())),
        Ok(None) => {}
        // What does not carry our mark is not ours, unless we were about to make it and came no further.
        Ok(Some(bucket)) if !is_own(draft, bucket) && !is_half_made(draft, teardown, bucket) => {}
        Ok(Some(_)) if hides_a_role && !draft.is_held() => {
            draft.obstruct(&subject, Obstacle::Settling(UNSEEN_ROLES.into()));
        }
        Ok(Some(_)) if draft.is_held() => draft.obstruct(&subject, Obstacle::WaitsFor("the roles and the provider")),
        Ok(Some(bucket)) if bucket.versioned => {
            draft.obstruct(&subject, Obstacle::BucketVersioned(name.clone()));
        }
        Ok(Some(bucket)) => {
            for key in &bucket.documents {
                let (document, field) = if *key == teardown.issuer.discovery.key {
                    (Subject::Discovery, Field::Discovery)
                } else {
                    (Subject::Keys, Field::Keys)
                };
                let change = Change::DeleteObject { bucket: name.clone(), key: key.clone() };
                remove(draft, &document, change, field);
            }
            if bucket.others.is_empty() {
                remove(draft, &subject, Change::DeleteBucket { bucket: name.clone() }, Field::Bucket);
            } else {
                let others = bucket.others.join(", ");
                draft.obstruct(&subject, Obstacle::BucketNotEmpty { bucket: name.clone(), others });
            }
        }
    }
}
