//! What was provisioned for each request: a Secret may go with its request, and then nothing else tells what it was. The process
//! remembers it, and the status of the ClusterIdentity for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::gather::full_name;
use super::pass::Shared;
use crate::api::cluster_identity::{ManagementPolicy, ProvisionedSecretStatus};
use crate::api::{ClusterIdentity, ClusterIdentityStatus};
use crate::apply::Evidence;
use crate::desired::request::RequestId;
use crate::desired::retained::ProvisionedSecret;
use crate::desired::secret::SecretKey;
use crate::desired::{Desired, Inputs, Provisioned, RequestInput};
use crate::plan::Subject;

/// What was provisioned for a ClusterIdentity, by Secret.
pub type Known = BTreeMap<SecretKey, ProvisionedSecret>;

/// A Secret, as the status remembers it.
pub fn as_status(secret: &ProvisionedSecret) -> ProvisionedSecretStatus {
    ProvisionedSecretStatus {
        secret: secret.key.to_string(),
        credentials_request: secret.request.to_string(),
        role_arn: secret.role_arn.clone(),
        cloud_token_path: secret.token_path.clone(),
    }
}

/// The Secrets of requests in force, as the status remembers them.
pub fn in_force(
    previous: &ClusterIdentityStatus,
    desired: &Desired,
    evidence: &Evidence,
) -> Vec<ProvisionedSecretStatus> {
    if desired.management == ManagementPolicy::Observe {
        return Vec::new();
    }
    let before = previous.provisioned_secrets.iter().filter_map(from_status);
    let mut known: Known = before.map(|secret| (secret.key.clone(), secret)).collect();
    remember(&mut known, desired, evidence);
    for kept in &evidence.plan().retained {
        known.remove(&kept.provisioned.key);
    }
    known.values().map(as_status).collect()
}

/// A Secret that the status remembers.
pub fn from_status(remembered: &ProvisionedSecretStatus) -> Option<ProvisionedSecret> {
    let (namespace, name) = remembered.secret.split_once('/')?;
    let (of_request, request) = remembered.credentials_request.split_once('/')?;
    // What an older CustomResourceDefinition has cut does not make a Secret.
    if remembered.role_arn.is_empty() || remembered.cloud_token_path.is_empty() {
        return None;
    }
    Some(ProvisionedSecret {
        key: SecretKey { namespace: namespace.to_owned(), name: name.to_owned() },
        request: RequestId { namespace: of_request.to_owned(), name: request.to_owned() },
        role_arn: remembered.role_arn.clone(),
        token_path: remembered.cloud_token_path.clone(),
    })
}

/// A request whose status was lost has what the ClusterIdentity remembers of it. Where that is more than one Secret, the one that
/// it asks for comes first.
pub fn restore<'a>(requests: &mut [RequestInput], remembered: impl IntoIterator<Item = &'a ProvisionedSecret>) {
    let mut of_requests: BTreeMap<&RequestId, Vec<&ProvisionedSecret>> = BTreeMap::new();
    for secret in remembered {
        of_requests.entry(&secret.request).or_default().push(secret);
    }
    for request in requests.iter_mut().filter(|request| request.has.is_none()) {
        let Some(all) = of_requests.get(&request.id) else { continue };
        let asked_for = request.spec.as_ref().ok().and_then(|spec| spec.secret_ref.key());
        let of_spec = all.iter().find(|secret| Some(&secret.key) == asked_for.as_ref());
        request.has = of_spec.or(all.first()).and_then(|secret| has(secret));
    }
}

fn has(secret: &ProvisionedSecret) -> Option<Provisioned> {
    // arn:aws:iam::ACCOUNT:role/PATH/NAME
    let (_, role) = secret.role_arn.split_once(":role/")?;
    Some(Provisioned {
        role: role.rsplit('/').next()?.to_owned(),
        role_arn: secret.role_arn.clone(),
        role_id: String::new(),
        secret: Some(secret.key.clone()),
        token_path: secret.token_path.clone(),
        policy_hash: None,
        trust_hash: None,
    })
}

impl Shared {
    /// Gives requests whose statuses were lost what this process remembers of them.
    pub fn restore_provisioned(&self, inputs: &mut Inputs) {
        let all = self.provisioned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&inputs.identity) {
            restore(&mut inputs.requests, known.values());
        }
    }

    /// What was provisioned for a ClusterIdentity, by this process or as its status remembers (`inputs.provisioned`), and is asked
    /// for by no request in force.
    pub fn no_longer_asked_for(&self, inputs: &Inputs) -> Vec<ProvisionedSecret> {
        let all = self.provisioned.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = no_longer_asked_for(inputs, all.get(&inputs.identity));
        drop(all);
        // What another ClusterIdentity's request asks for by now is handed over. Only then are all requests walked over.
        if !gone.is_empty() {
            let asked = self.stores.secrets_asked_for();
            gone.retain(|secret| !asked.contains(&secret.key));
        }
        gone
    }

    /// Remembers what is provisioned, and forgets what neither a request nor a role that is kept has any use for.
    pub fn remember_provisioned(&self, identity: &ClusterIdentity, desired: &Desired, evidence: &Evidence) {
        let mut all = self.provisioned.lock().unwrap_or_else(PoisonError::into_inner);
        if desired.management == ManagementPolicy::Observe {
            all.remove(&full_name(identity));
            return;
        }
        remember(all.entry(full_name(identity)).or_default(), desired, evidence);
    }
}

/// Of what was provisioned, as the process (`known`) and the status remember it, what no request of the ClusterIdentity asks for.
pub fn no_longer_asked_for(inputs: &Inputs, known: Option<&Known>) -> Vec<ProvisionedSecret> {
    let of_own = |request: &RequestInput| match &request.spec {
        Ok(spec) if request.candidate_of.is_none() => spec.secret_ref.key(),
        _ => None,
    };
    let own: BTreeSet<SecretKey> = inputs.requests.iter().filter_map(of_own).collect();
    let is_known = |secret: &ProvisionedSecret| known.is_some_and(|known| known.contains_key(&secret.key));
    let remembered = inputs.provisioned.iter().filter(|secret| !is_known(secret));
    let every = remembered.chain(known.into_iter().flat_map(BTreeMap::values));
    every.filter(|secret| !own.contains(&secret.key)).cloned().collect()
}

/// Remembers what is provisioned, and forgets what neither a request nor a role that is kept has any use for.
pub fn remember(known: &mut Known, desired: &Desired, evidence: &Evidence) {
    let kept = evidence.plan().retained.iter().map(|kept| &kept.secret.key);
    let wanted = desired.wanted().filter_map(|(_, wanted)| wanted.secret.as_ref()).map(|secret| &secret.key);
    let in_use: BTreeSet<&SecretKey> = kept.chain(wanted).chain(&desired.claims.secrets).collect();
    known.retain(|key, _| in_use.contains(key));
    for (id, wanted) in desired.wanted() {
        let Some(secret) = &wanted.secret else { continue };
        let is_same = |known: &ProvisionedSecret| {
            known.request == *id && known.role_arn == wanted.role.arn && known.token_path == wanted.read.token_path
        };
        if !known.get(&secret.key).is_some_and(is_same) && evidence.plan().is_true(&Subject::Secret(id.clone())) {
            let provisioned = ProvisionedSecret {
                key: secret.key.clone(),
                request: id.clone(),
                role_arn: wanted.role.arn.clone(),
                token_path: wanted.read.token_path.clone(),
            };
            known.insert(secret.key.clone(), provisioned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(key: &str, request: &str, role: &str) -> ProvisionedSecret {
        let status = ProvisionedSecretStatus {
            secret: format!("openshift-registry/{key}"),
            credentials_request: format!("prod/{request}"),
            role_arn: format!("arn:aws:iam::123456789012:role{role}"),
            cloud_token_path: "/token".into(),
        };
        from_status(&status).unwrap()
    }

    fn request(name: &str, asked_for: Option<&str>, has: Option<Provisioned>) -> RequestInput {
        let spec = asked_for.map(|name| {
            let spec = format!(r#"{{"secretRef": {{"namespace": "openshift-registry", "name": "{name}"}}}}"#);
            serde_json::from_str(&spec).unwrap()
        });
        RequestInput {
            id: RequestId { namespace: "prod".into(), name: name.into() },
            spec: spec.ok_or_else(|| "too deep".into()),
            candidate_of: None,
            tombstone: false,
            claimed_by: None,
            claim_in_doubt: false,
            has,
            created: None,
        }
    }

    #[test]
    fn a_request_without_a_status_has_what_is_remembered_of_it() {
        let remembered = [secret("a", "a", "/made"), secret("a2", "a", "/path/made-later"), secret("b", "b", "/b")];
        let mut requests = [
            request("a", Some("a2"), None),
            request("a", Some("a3"), None),
            request("a", None, None),
            request("other", Some("a"), None),
            request("b", Some("b2"), has(&remembered[0])),
        ];
        restore(&mut requests, &remembered);
        let has = |at: usize| requests[at].has.as_ref().map(|has: &Provisioned| has.role.as_str());
        // The one that it asks for, or else the first; of one that cannot be read, too.
        assert_eq!([has(0), has(1), has(2)], [Some("made-later"), Some("made"), Some("made")]);
        assert_eq!(requests[0].has.as_ref().unwrap().secret.as_ref(), Some(&remembered[1].key));
        assert_eq!(has(3), None, "nothing is remembered of it");
        assert_eq!(has(4), Some("made"), "what its own status says counts");
    }
}
