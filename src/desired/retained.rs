//! Secrets of requests that are gone, whose roles are kept, for good or until they may be deleted.
//!
//! OpenShift's own operator deletes a request's Secret together with the request, whatever `deletionPolicy` says
//! (openshift/cloud-credential-operator, `pkg/operator/credentialsrequest`). A role without its Secret is of no use to the
//! component that still runs, so the Secret is kept as long as the role.

use super::request::{self, RequestId};
use super::role::role_arn;
use super::secret::{DesiredSecret, SecretKey, credentials};
use super::{Claims, Inputs, guardrails, names};

/// What was provisioned for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionedSecret {
    /// Where.
    pub key: SecretKey,
    /// The request that it was made for.
    pub request: RequestId,
    /// ARN of the role that it names.
    pub role_arn: String,
    /// The path of the token that it names.
    pub token_path: String,
}

/// A Secret that is kept for a role that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedSecret {
    /// Name of the role.
    pub role: String,
    /// The Secret as it was.
    pub secret: DesiredSecret,
    /// What both are made of.
    pub provisioned: ProvisionedSecret,
}

/// Of what was provisioned, that which no request asks for any more.
pub(super) fn retained(inputs: &Inputs, claims: &Claims) -> Vec<RetainedSecret> {
    inputs.provisioned.iter().filter_map(|provisioned| retain(inputs, claims, provisioned)).collect()
}

/// What the status remembers is believed as far as it could be made again: a Secret that names another role, or whose text says
/// more than a path, is not written.
fn retain(inputs: &Inputs, claims: &Claims, provisioned: &ProvisionedSecret) -> Option<RetainedSecret> {
    let (spec, key) = (&inputs.spec, &provisioned.key);
    let full = names::full_role_name(&spec.infra_name, &key.namespace, &key.name);
    let role = names::role_name(&full, spec.roles.naming);
    let claimed = claims.secrets.contains(key) || claims.roles.contains(&role.to_ascii_lowercase());
    let token_path = request::token_path(Some(&provisioned.token_path)).ok()?;
    let possible = provisioned.role_arn == role_arn(spec, &inputs.account, &role)
        && guardrails::allows_namespace(&spec.guardrails, &key.namespace);
    (!claimed && possible).then(|| RetainedSecret {
        role,
        secret: DesiredSecret {
            key: key.clone(),
            credentials: credentials(&provisioned.role_arn, &token_path),
            request: provisioned.request.to_string(),
            identity: inputs.identity.clone(),
            mark: inputs.owners.own.as_ref().map(|own| own.mark_of_secret(key)),
        },
        provisioned: provisioned.clone(),
    })
}
