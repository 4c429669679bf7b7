//! Puts together what a pass starts from.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::request_status::remembered;
use super::status::issuer_part;
use super::watches::{GuardedIdentity, GuardedRequest, Stores, selects};
use crate::api::{ClusterIdentity, CredentialsRequest, CredentialsRequestSpec, RELEASE_LABEL};
use crate::desired::issuer::desired_issuer;
use crate::desired::keys::{Key, KeySource, RememberedKey};
use crate::desired::request::RequestId;
use crate::desired::{IdentityRefused, Inputs, RequestInput};
use crate::plan::{Prior, Subject};
use crate::release::manifests::DELETE_ANNOTATION;

/// `namespace/name` of an object.
pub fn full_name<K: Resource>(object: &K) -> String {
    format!(
        "{}/{}",
        object.meta().namespace.as_deref().unwrap_or_default(),
        object.meta().name.as_deref().unwrap_or_default()
    )
}

/// The requests of a ClusterIdentity, as they stand in the store.
pub struct Requests {
    /// By id, without their specs, which are in the inputs; an object that cannot be read has none here.
    pub objects: BTreeMap<RequestId, CredentialsRequest>,
    /// As inputs of the pass.
    pub inputs: Vec<RequestInput>,
}

/// Gathers the requests that a ClusterIdentity selects.
pub fn requests(stores: &Stores, identity: &ClusterIdentity) -> Requests {
    let others = elders(stores, identity);
    let mut gathered = Requests { objects: BTreeMap::new(), inputs: Vec::new() };
    let unlabelled = BTreeMap::new();
    for guarded in stores.requests.state() {
        let meta = guarded.meta();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let labels = meta.labels.as_ref().unwrap_or(&unlabelled);
        if !selects(identity, namespace, labels) || meta.deletion_timestamp.is_some() {
            continue;
        }
        let id = RequestId { namespace: namespace.to_owned(), name: meta.name.clone().unwrap_or_default() };
        let claimed_by = well_formed(&others).find(|other| selects(other, namespace, labels)).map(full_name);
        gathered.inputs.push(input(&guarded, id.clone(), claimed_by));
        if let Ok(request) = &guarded.0 {
            let (metadata, status) = (request.metadata.clone(), request.status.clone());
            gathered
                .objects
                .insert(id, CredentialsRequest { metadata, spec: CredentialsRequestSpec::default(), status });
        }
    }
    gathered
}

fn input(guarded: &GuardedRequest, id: RequestId, claimed_by: Option<String>) -> RequestInput {
    let meta = guarded.meta();
    let value = |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().and_then(|map| map.get(key).cloned());
    RequestInput {
        id,
        spec: guarded.0.as_ref().map(|request| request.spec.clone()).map_err(|invalid| invalid.error.clone()),
        candidate_of: value(&meta.labels, RELEASE_LABEL),
        tombstone: value(&meta.annotations, DELETE_ANNOTATION).as_deref() == Some("true"),
        claimed_by,
    }
}

/// The ClusterIdentities that were there before this one: what they have, this one may not touch. They are as the store
/// has them, all of them well-formed: a copy of each for each pass would be a copy of all statuses.
fn elders(stores: &Stores, identity: &ClusterIdentity) -> Vec<Arc<GuardedIdentity>> {
    let age = |identity: &ClusterIdentity| (identity.creation_timestamp().map(|t| t.0), full_name(identity));
    let mine = age(identity);
    let all = stores.identities.state().into_iter();
    let mut elders: Vec<_> = all
        .filter_map(|other| {
            let age = age(other.0.as_ref().ok()?);
            (age < mine).then_some((age, other))
        })
        .collect();
    elders.sort_by(|(one, _), (other, _)| one.cmp(other));
    elders.into_iter().map(|(_, elder)| elder).collect()
}

fn well_formed(identities: &[Arc<GuardedIdentity>]) -> impl Iterator<Item = &ClusterIdentity> {
    identities.iter().filter_map(|guarded| guarded.0.as_ref().ok())
}

/// Refuses a second ClusterIdentity that would make the same names, or publish at the same URL.
pub fn refuse_duplicate(stores: &Stores, identity: &ClusterIdentity) -> Result<(), IdentityRefused> {
    let url = |identity: &ClusterIdentity| desired_issuer(&identity.spec, "").url;
    let mine = url(identity);
    for other in well_formed(&elders(stores, identity)) {
        if other.spec.infra_name == identity.spec.infra_name {
            let infra_name = identity.spec.infra_name.clone();
            return Err(IdentityRefused::DuplicateInfraName { infra_name, other: full_name(other) });
        }
        if url(other) == mine {
            return Err(IdentityRefused::DuplicateIssuer { url: mine, other: full_name(other) });
        }
    }
    Ok(())
}

/// Refuses an account that nobody has named and in which nothing was made so far: the operator's credentials were exchanged,
/// and its Secrets would name roles that no provider stands behind.
pub fn refuse_other_account(identity: &ClusterIdentity, account: &str) -> Result<(), IdentityRefused> {
    let provider = identity.status.as_ref().and_then(|status| status.provider_arn.as_deref());
    // arn:aws:iam::ACCOUNT:oidc-provider/…
    let before = provider.and_then(|arn| arn.split(':').nth(4));
    match before {
        Some(before) if before != account && identity.spec.aws.account_id.is_none() => {
            Err(IdentityRefused::AccountChanged { actual: account.to_owned(), before: before.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Everything that `desire` needs.
pub fn inputs(
    identity: &ClusterIdentity,
    account: &str,
    keys: Vec<KeySource>,
    requests: Vec<RequestInput>,
    now: Timestamp,
) -> Inputs {
    let status = identity.status.clone().unwrap_or_default();
    let remembered_keys = status.keys.into_iter().map(|key| RememberedKey {
        retiring_since: key.retiring_since.and_then(|since| since.parse().ok()),
        key: Key { kid: key.kid, n: key.n, e: key.e },
    });
    Inputs {
        identity: full_name(identity),
        spec: identity.spec.clone(),
        account: account.to_owned(),
        trust_limit: None,
        keys,
        remembered_keys: remembered_keys.collect(),
        requests,
        pre_grants: Vec::new(),
        refused_by_aws: BTreeMap::new(),
        granted_ahead: status.granted_ahead.into_iter().collect(),
        now,
    }
}

/// What the statuses remember as last seen to be true.
pub fn prior(identity: &ClusterIdentity, requests: &BTreeMap<RequestId, CredentialsRequest>) -> Prior {
    let mut prior = BTreeMap::new();
    for (name, fingerprint) in identity.status.iter().flat_map(|status| &status.verified) {
        if let Some(subject) = issuer_part(name) {
            prior.insert(subject, fingerprint.clone());
        }
    }
    for (id, request) in requests {
        let Some(remembered) = request.status.as_ref().and_then(remembered) else { continue };
        let pairs = [
            (Subject::Role(id.clone()), remembered.verified_role),
            (Subject::Secret(id.clone()), remembered.verified_secret),
        ];
        prior.extend(pairs.into_iter().filter_map(|(subject, fingerprint)| Some((subject, fingerprint?))));
    }
    let begun_bucket = identity.status.as_ref().and_then(|status| status.begun_bucket.clone());
    let granted_ahead = identity.status.iter().flat_map(|status| status.granted_ahead.iter().cloned()).collect();
    Prior { verified: prior, begun_bucket, granted_ahead, ..Prior::default() }
}
