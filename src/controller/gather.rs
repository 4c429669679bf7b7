//! Puts together what a pass starts from.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::provisioned::{self, from_status};
use super::request_status::remembered;
use super::status::{deletions, issuer_part};
use super::unreadable;
use super::watches::{DecodedIdentity, DecodedRequest, Stores, selects};
use crate::api::credentials_request::ProvisionedResources;
use crate::api::{
    ClusterIdentity, ClusterIdentityStatus, CredentialsRequest, CredentialsRequestSpec, CredentialsRequestStatus,
    RELEASE_LABEL,
};
use crate::desired::consent::Consents;
use crate::desired::issuer::desired_issuer;
use crate::desired::keys::{Key, KeySource, RememberedKey};
use crate::desired::owner::Owners;
use crate::desired::request::RequestId;
use crate::desired::retained::ProvisionedSecret;
use crate::desired::secret::SecretKey;
use crate::desired::{IdentityRefused, Inputs, Provisioned, RequestInput};
use crate::plan::{KnownRole, Prior, Subject};
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
    for decoded in stores.requests.state() {
        let meta = decoded.meta();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let labels = meta.labels.as_ref().unwrap_or(&unlabelled);
        if !selects(identity, namespace, labels) || meta.deletion_timestamp.is_some() {
            continue;
        }
        let id = RequestId { namespace: namespace.to_owned(), name: meta.name.clone().unwrap_or_default() };
        let elder = others.iter().find(|other| other.identity().is_some_and(|other| selects(other, namespace, labels)));
        let status = status(&decoded);
        let has = status.as_ref().ok().and_then(|status| provisioned(status.as_ref()?));
        gathered.inputs.push(RequestInput { has, ..input(&decoded, id.clone(), elder) });
        if let Ok(status) = status {
            let (metadata, spec) = (meta.clone(), CredentialsRequestSpec::default());
            gathered.objects.insert(id, CredentialsRequest { metadata, spec, status });
        }
    }
    gathered
}

/// The status of a request, also of one whose spec cannot be read, so that this can be told in it; an error when it cannot be
/// read itself.
fn status(decoded: &DecodedRequest) -> serde_json::Result<Option<CredentialsRequestStatus>> {
    match &decoded.0 {
        Ok(request) => Ok(request.status.clone()),
        Err(undecodable) => undecodable.status.as_ref().map(|text| serde_json::from_str(text)).transpose(),
    }
}

fn input(decoded: &DecodedRequest, id: RequestId, elder: Option<&Elder>) -> RequestInput {
    let meta = decoded.meta();
    let value = |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().and_then(|map| map.get(key).cloned());
    RequestInput {
        id,
        spec: decoded.0.as_ref().map(|request| request.spec.clone()).map_err(|invalid| invalid.error.clone()),
        candidate_of: value(&meta.labels, RELEASE_LABEL),
        tombstone: value(&meta.annotations, DELETE_ANNOTATION).as_deref() == Some("true"),
        claimed_by: elder.and_then(Elder::identity).map(full_name),
        claim_in_doubt: matches!(elder, Some(Elder::Unreadable(_))),
        has: None,
        created: meta.creation_timestamp.as_ref().map(|created| created.0),
    }
}

/// The role and the Secret that a request has, as its status remembers them.
pub fn provisioned(status: &CredentialsRequestStatus) -> Option<Provisioned> {
    let remembered = remembered(status)?;
    let verified = remembered.verified_role.is_some();
    let has = match remembered.provisioned {
        Some(has) if !has.role_name.is_empty() => has,
        // An older version has noted the role alone.
        _ => ProvisionedResources {
            role_name: remembered.role_name.filter(|_| verified)?,
            role_arn: remembered.role_arn.unwrap_or_default(),
            ..ProvisionedResources::default()
        },
    };
    let secret = has.secret.split_once('/');
    Some(Provisioned {
        secret: secret.map(|(namespace, name)| SecretKey { namespace: namespace.into(), name: name.into() }),
        role: has.role_name,
        role_arn: has.role_arn,
        role_id: has.role_id,
        token_path: has.cloud_token_path,
        policy_hash: remembered.policy_hash,
        trust_hash: remembered.trust_hash,
    })
}

/// A ClusterIdentity that was there before another one.
enum Elder {
    /// As the store has it: a copy of each for each pass would be a copy of all statuses.
    Decoded(Arc<DecodedIdentity>),
    /// What one that cannot be read may have.
    Unreadable(Box<ClusterIdentity>),
}

impl Elder {
    fn identity(&self) -> Option<&ClusterIdentity> {
        match self {
            Self::Decoded(decoded) => decoded.0.as_ref().ok(),
            Self::Unreadable(claims) => Some(claims),
        }
    }
}

/// The ClusterIdentities that were there before this one: what they have, this one may not touch. One that cannot be read
/// stays an elder.
fn elders(stores: &Stores, identity: &ClusterIdentity) -> Vec<Elder> {
    let age = |meta: &ObjectMeta| {
        let name =
            format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        (meta.creation_timestamp.as_ref().map(|t| t.0), name)
    };
    let mine = age(&identity.metadata);
    let all = stores.identities.state().into_iter();
    let mut elders: Vec<_> = all
        .filter_map(|other| {
            let age = age(other.meta());
            (age < mine).then_some((age, other))
        })
        .collect();
    elders.sort_by(|(one, _), (other, _)| one.cmp(other));
    elders
        .into_iter()
        .filter_map(|(_, elder)| match &elder.0 {
            Ok(_) => Some(Elder::Decoded(elder)),
            Err(undecodable) => Some(Elder::Unreadable(Box::new(unreadable::claims(undecodable)?))),
        })
        .collect()
}

/// Refuses a second ClusterIdentity that would make the same names, or publish at the same URL.
pub fn refuse_duplicate(stores: &Stores, identity: &ClusterIdentity) -> Result<(), IdentityRefused> {
    let url = |identity: &ClusterIdentity| desired_issuer(&identity.spec, "").url;
    let mine = url(identity);
    for other in elders(stores, identity).iter().filter_map(Elder::identity) {
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

/// Refuses another account than the one in which anything was verified: the Secrets would name roles that no provider stands
/// behind.
pub fn refuse_other_account(
    identity: &ClusterIdentity,
    requests: &BTreeMap<RequestId, CredentialsRequest>,
    account: &str,
) -> Result<(), IdentityRefused> {
    let status = identity.status.as_ref();
    let provider = status.filter(|status| status.verified.contains_key("provider"));
    let provider = provider.and_then(|status| status.provider_arn.clone());
    let of_request = |request: &CredentialsRequest| Some(provisioned(request.status.as_ref()?)?.role_arn);
    let arn = provider.or_else(|| requests.values().filter_map(of_request).find(|arn| !arn.is_empty()));
    // arn:aws:iam::ACCOUNT:oidc-provider/…
    match arn.as_deref().and_then(|arn| arn.split(':').nth(4)) {
        Some(before) if before != account => {
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
    mut requests: Vec<RequestInput>,
    owners: Owners,
    now: Timestamp,
) -> Inputs {
    let status = identity.status.clone().unwrap_or_default();
    let provisioned = remembered_secrets(&status);
    let of_requests: Vec<_> = status.provisioned_secrets.iter().filter_map(from_status).collect();
    provisioned::restore(&mut requests, &of_requests);
    // What an older CustomResourceDefinition has cut is no key.
    let whole = status.keys.into_iter().filter(|key| !key.kid.is_empty() && !key.n.is_empty() && !key.e.is_empty());
    let remembered_keys = whole.map(|key| RememberedKey {
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
        provisioned,
        owners,
        consents: Consents::of(identity.metadata.annotations.as_ref().unwrap_or(&BTreeMap::new())),
        now,
    }
}

/// The Secrets that a status remembers, each once: entries of which another field manager has become an owner, as a backup tool that
/// has restored the status, stay in a list that no longer names them.
fn remembered_secrets(status: &ClusterIdentityStatus) -> Vec<ProvisionedSecret> {
    let kept = status.retained_secrets.iter().chain(&status.provisioned_secrets).filter_map(from_status);
    let by_key: BTreeMap<SecretKey, ProvisionedSecret> = kept.map(|secret| (secret.key.clone(), secret)).collect();
    by_key.into_values().collect()
}

/// What the statuses remember as last seen to be true.
pub fn prior(identity: &ClusterIdentity, requests: &BTreeMap<RequestId, CredentialsRequest>) -> Prior {
    let status = identity.status.clone().unwrap_or_default();
    let mut verified = BTreeMap::new();
    for (name, fingerprint) in &status.verified {
        if let Some(subject) = issuer_part(name) {
            verified.insert(subject, fingerprint.clone());
        }
    }
    let mut roles = BTreeMap::new();
    for (id, request) in requests {
        let request_created = request.metadata.creation_timestamp.as_ref().map(|created| created.0);
        let known = roles.entry(id.clone()).or_insert(KnownRole { request_created, ..KnownRole::default() });
        let Some(remembered) = request.status.as_ref().and_then(remembered) else { continue };
        let pairs = [
            (Subject::Role(id.clone()), remembered.verified_role),
            (Subject::Secret(id.clone()), remembered.verified_secret),
        ];
        verified.extend(pairs.into_iter().filter_map(|(subject, fingerprint)| Some((subject, fingerprint?))));
        known.id = remembered.provisioned.map(|has| has.role_id).unwrap_or_default();
        known.adopted_statements = remembered.adopted_trust_statements;
    }
    Prior {
        verified,
        roles,
        adopted: status.adopted_settings.clone().unwrap_or_default(),
        keys_revision: status.keys_revision,
        deletions: deletions::prior(&status),
        newest_role: status.newest_role_time.as_ref().and_then(|time| time.parse().ok()),
        begun_roles: status.begun_roles.iter().cloned().collect(),
        begun_bucket: status.begun_bucket,
        granted_ahead: status.granted_ahead.into_iter().collect(),
        unknown_keys: status.unknown_keys,
        ..Prior::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::cluster_identity::ProvisionedSecretStatus;

    #[test]
    fn a_secret_is_remembered_once() {
        let secret = |name: &str| ProvisionedSecretStatus {
            secret: format!("openshift-image-registry/{name}"),
            credentials_request: "prod/registry".into(),
            role_arn: "arn:aws:iam::123456789012:role/registry".into(),
            cloud_token_path: "/token".into(),
        };
        let status = ClusterIdentityStatus {
            retained_secrets: vec![secret("a")],
            provisioned_secrets: vec![secret("a"), secret("b")],
            ..ClusterIdentityStatus::default()
        };
        let names: Vec<String> = remembered_secrets(&status).into_iter().map(|secret| secret.key.name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
