//! The end of a ClusterIdentity: everything that carries its mark goes, what others may need goes last.

use super::leftover::{delete_role, delete_secret, remove};
use super::{Change, Draft, Field, Obstacle, Plan, Prior, Subject, Verification};
use crate::api::cluster_identity::{Adoption, ManagementPolicy};
use crate::desired::Teardown;
use crate::observed::{DoomedBucket, Fault, FaultClass, LeftoverSecret, ObservedProvider, ObservedTeardown, Seen};

/// Plans a teardown: Secrets and roles, then the provider, then the documents, then the bucket. What stands before a
/// part holds all that comes after it: an issuer is not taken away under a role that is still there.
pub fn teardown(teardown: &Teardown, observed: &ObservedTeardown, secrets: &[LeftoverSecret], prior: &Prior) -> Plan {
    let mut draft = Draft::new(&teardown.owner_tag, Adoption::OwnedOnly, prior);
    if let Some(why) = &prior.interrupted {
        draft.obstruct(&Subject::Leftovers, Obstacle::WatchLost(why.clone()));
        return draft.finish(ManagementPolicy::Enforce, Verification::NotYet, None);
    }
    for secret in secrets {
        delete_secret(&mut draft, secret);
    }
    roles(&mut draft, observed);
    let hides_a_role = hides_a_role(prior, observed);
    provider(&mut draft, teardown, &observed.provider, hides_a_role);
    bucket(&mut draft, teardown, &observed.bucket, hides_a_role);
    draft.finish(ManagementPolicy::Enforce, Verification::NotYet, None)
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

fn roles(draft: &mut Draft, observed: &ObservedTeardown) {
    let roles = match observed.roles.known() {
        Ok(roles) => roles,
        Err(fault) => return draft.obstruct(&Subject::Leftovers, Obstacle::Unreadable(fault.clone())),
    };
    for role in roles {
        match role {
            Seen::Known(role) => delete_role(draft, role),
            Seen::Unknown(fault) => draft.obstruct(&Subject::Leftovers, Obstacle::Unreadable(fault.clone())),
        }
    }
}

fn provider(draft: &mut Draft, teardown: &Teardown, found: &Seen<Option<ObservedProvider>>, hides_a_role: bool) {
    let subject = Subject::Provider;
    match found.known() {
        Err(fault) => draft.obstruct(&subject, Obstacle::Unreadable(fault.clone())),
        Ok(Some(found)) if found.tags.contains_key(&teardown.owner_tag) => {
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

fn is_half_made(draft: &Draft, teardown: &Teardown, bucket: &DoomedBucket) -> bool {
    let empty = bucket.documents.is_empty() && bucket.others.is_empty() && !bucket.versioned;
    empty && draft.was_begun(&teardown.issuer.bucket.fingerprint())
}

fn bucket(draft: &mut Draft, teardown: &Teardown, found: &Seen<Option<DoomedBucket>>, hides_a_role: bool) {
    let (subject, name) = (Subject::Bucket, &teardown.issuer.bucket.name);
    match found.known() {
        // A bucket that was never seen to be ours, and that we may not look at, is another account's or region's.
        Err(Fault { class: FaultClass::Denied | FaultClass::Elsewhere, .. })
            if !draft.prior.verified.contains_key(&subject) => {}
        Err(fault) => draft.obstruct(&subject, Obstacle::Unreadable(fault.clone())),
        Ok(None) => {}
        // What does not carry our mark is not ours, unless we were about to make it and came no further.
        Ok(Some(bucket)) if !bucket.marked && !is_half_made(draft, teardown, bucket) => {}
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
