//! The credentials Secret in STS format.

use serde::Serialize;

use super::names::fingerprint_of;
use crate::api::credentials_request::ObjectReference;

/// The key of the Secret's data that holds the profile.
pub const CREDENTIALS_KEY: &str = "credentials";
/// Where tokens are mounted when the request names no path.
///
/// Source: the API text of `spec.cloudTokenPath` and ccoctl's constant (the Cloud Credential Operator's code has
/// another default, which no component mounts).
pub const DEFAULT_TOKEN_PATH: &str = "/var/run/secrets/openshift/serviceaccount/token";
/// Upstream's label on credentials Secrets.
pub const UPSTREAM_LABEL: &str = "cloudcredential.openshift.io/credentials-request";
/// Our mark on a Secret, and what the watch on Secrets selects.
pub const MANAGED_BY_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "rolecall");
/// Annotation with the ClusterIdentity that owns the Secret, `namespace/name`.
pub const IDENTITY_ANNOTATION: &str = "rolecall.dev/cluster-identity";

/// Where a Secret lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SecretKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl ObjectReference {
    /// The Secret that a request's `secretRef` names, if it names one.
    pub fn key(&self) -> Option<SecretKey> {
        Some(SecretKey { namespace: self.namespace.clone()?, name: self.name.clone()? })
    }
}

/// The Secret as it should be. It holds no secret: a role's ARN and a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredSecret {
    /// Where.
    pub key: SecretKey,
    /// The value of `credentials`.
    pub credentials: String,
    /// The request it belongs to, `namespace/name` (upstream's annotation).
    pub request: String,
    /// The identity it belongs to, `namespace/name`.
    pub identity: String,
    /// The owner mark that it is to carry.
    #[serde(skip)]
    pub mark: Option<String>,
}

impl DesiredSecret {
    /// Changes when what is wanted of the Secret changes.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(&format!("{} of {}", self.key, self.identity), &serde_json::json!(self).to_string())
    }
}

/// The profile, byte for byte as ccoctl and the Cloud Credential Operator write it: no newline at the end.
pub fn credentials(role_arn: &str, token_path: &str) -> String {
    format!(
        "[default]\nsts_regional_endpoints = regional\nrole_arn = {role_arn}\nweb_identity_token_file = {token_path}"
    )
}
