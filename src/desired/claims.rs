//! What requests lay claim to, in order or not.

use std::collections::BTreeSet;

use super::pregrant::PreGrant;
use super::request::{self, RequestId};
use super::secret::SecretKey;
use super::{Desired, Inputs, RequestInput, RequestRefused, RequestVerdict, names};

/// What requests lay claim to, whether or not they are in order: none of it is left over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Names of roles, in lower case.
    pub roles: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<SecretKey>,
    /// Requests that do not say what they ask for: anything may be theirs.
    pub unknown: Vec<RequestId>,
}

/// A role and a Secret that a request has: they were seen to be right together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// Name of the role.
    pub role: String,
    /// Its ARN; empty where an older version has not noted it.
    pub role_arn: String,
    /// Its unique id; empty where an older version has not noted it.
    pub role_id: String,
    /// The Secret; `None` where an older version has not noted it.
    pub secret: Option<SecretKey>,
    /// The path of the token that the Secret names.
    pub token_path: String,
    /// Fingerprint of the inline policy.
    pub policy_hash: Option<String>,
    /// Fingerprint of the trust policy.
    pub trust_hash: Option<String>,
}

impl Desired {
    /// The requests that are refused and keep a role and a Secret as these are.
    pub fn kept(&self) -> impl Iterator<Item = (&RequestId, &Provisioned)> {
        self.requests.iter().filter_map(|request| match &request.verdict {
            // What an older ClusterIdentity serves is looked at there.
            RequestVerdict::Refused(RequestRefused::BelongsToAnother { .. }) => None,
            RequestVerdict::Refused(_) => Some((&request.id, request.has.as_ref()?)),
            _ => None,
        })
    }

    /// The Secrets that a plan has to know: of requests, of what refused ones keep, and of roles that are kept.
    pub fn secrets_to_read(&self) -> BTreeSet<SecretKey> {
        let of_requests = self.wanted().filter_map(|(_, wanted)| wanted.secret.as_ref()).map(|secret| &secret.key);
        let of_refused = self.kept().filter_map(|(_, has)| has.secret.as_ref());
        let retained = self.retained.iter().map(|kept| &kept.secret.key);
        of_requests.chain(of_refused).chain(retained).cloned().collect()
    }
}

/// A request that is refused keeps what it had; one that its release has removed does not, nor one that has gone over to an
/// older ClusterIdentity, nor one that is for another cloud. What a request has stays its own until what it asks for now was
/// seen to be right.
pub(super) fn claims(inputs: &Inputs) -> Claims {
    let mut claims = Claims::default();
    let keeps = |request: &&RequestInput| request.claimed_by.is_none() || request.claim_in_doubt;
    for request in inputs.requests.iter().filter(|request| !request.tombstone).filter(keeps) {
        let spec = match &request.spec {
            Ok(spec) if request::other_cloud(spec).is_some() => continue,
            spec => spec.as_ref().ok(),
        };
        if let Some(has) = &request.has {
            claims.roles.insert(has.role.to_ascii_lowercase());
            claims.secrets.extend(has.secret.clone());
        }
        let Some(spec) = spec else {
            claims.unknown.push(request.id.clone());
            continue;
        };
        let (Some(namespace), Some(name)) = (&spec.secret_ref.namespace, &spec.secret_ref.name) else {
            claims.unknown.push(request.id.clone());
            continue;
        };
        let full = names::full_role_name(&inputs.spec.infra_name, namespace, name);
        claims.roles.insert(names::role_name(&full, inputs.spec.roles.naming).to_ascii_lowercase());
        claims.secrets.insert(SecretKey { namespace: namespace.clone(), name: name.clone() });
    }
    for component in inputs.pre_grants.iter().flat_map(PreGrant::new_components) {
        let full = names::full_role_name(&inputs.spec.infra_name, &component.namespace, &component.name);
        claims.roles.insert(names::role_name(&full, inputs.spec.roles.naming).to_ascii_lowercase());
    }
    claims
}

/// Whether a request in force lays claim to a Secret, in order or not; one that cannot be read may.
pub(super) fn claimed_in_force(inputs: &Inputs, key: &SecretKey) -> bool {
    let mut in_force = inputs.requests.iter().filter(|request| !request.tombstone && request.candidate_of.is_none());
    in_force.any(|request| {
        let Ok(spec) = &request.spec else { return true };
        match (&spec.secret_ref.namespace, &spec.secret_ref.name) {
            (Some(namespace), Some(name)) => *namespace == key.namespace && *name == key.name,
            _ => request::other_cloud(spec).is_none(),
        }
    })
}
