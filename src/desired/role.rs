//! A request's IAM role: name, trust policy, inline policy, boundary, tags.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::issuer::{DesiredProvider, owner_tags};
use super::names::{fingerprint, fingerprint_of, full_role_name, role_name};
use super::partition::Partition;
use super::request::ReadRequest;
use super::secret::SecretKey;
use crate::api::ClusterIdentitySpec;
use crate::policy::{Canonical, Document, PolicyError};

/// The role as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredRole {
    /// Name, at most 64 characters; the inline policy has the same.
    pub name: String,
    /// ARN; IAM makes it of the account, the path and the name.
    pub arn: String,
    /// Path.
    pub path: String,
    /// Description.
    pub description: String,
    /// Longest session, in seconds.
    pub max_session_seconds: i32,
    /// The trust policy.
    pub trust: Policy,
    /// The inline policy.
    pub permissions: Policy,
    /// The permissions boundary, when the spec names one.
    pub boundary: Option<String>,
    /// Tags that must be there.
    pub tags: BTreeMap<String, String>,
    /// The owner mark that it is to carry.
    pub mark: Option<String>,
}

/// A policy, as it is sent and as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Compact JSON.
    pub text: String,
    /// The same, read.
    pub document: Document,
}

impl Policy {
    /// A policy made of a JSON value.
    pub fn of(value: &Value) -> Result<Self, PolicyError> {
        Ok(Self { text: value.to_string(), document: Document::from_value(value)? })
    }

    /// Length as IAM counts it: without white space.
    pub fn counted_length(&self) -> usize {
        self.text.chars().filter(|c| !c.is_whitespace()).count()
    }

    /// Equal for policies that mean the same.
    pub fn fingerprint(&self) -> String {
        fingerprint(&Canonical::of(&self.document).to_text())
    }
}

impl DesiredRole {
    /// Changes when what is wanted of the role changes, not when its documents are only written otherwise.
    pub fn fingerprint(&self) -> String {
        let parts = json!([
            self.arn,
            self.description,
            self.max_session_seconds,
            self.trust.fingerprint(),
            self.permissions.fingerprint(),
            self.boundary,
            self.tags,
        ]);
        fingerprint_of(&self.arn, &parts.to_string())
    }
}

/// The ARN of a role of the cluster.
pub fn role_arn(spec: &ClusterIdentitySpec, account: &str, name: &str) -> String {
    format!("arn:{}:iam::{account}:role{}{name}", Partition::of_region(&spec.region).id, spec.roles.path)
}

/// The role that a request asks for. Fails only on what its statements hold.
pub fn desired_role(
    spec: &ClusterIdentitySpec,
    account: &str,
    provider: &DesiredProvider,
    request: &ReadRequest,
    secret: &SecretKey,
) -> Result<DesiredRole, PolicyError> {
    let full = full_role_name(&spec.infra_name, &secret.namespace, &secret.name);
    let name = role_name(&full, spec.roles.naming);
    let path = spec.roles.path.clone();
    let mut tags = spec.roles.tags.clone();
    tags.extend(owner_tags(&spec.infra_name));
    Ok(DesiredRole {
        arn: role_arn(spec, account, &name),
        description: format!("OpenShift role for {secret}"),
        max_session_seconds: i32::try_from(spec.roles.max_session_duration.as_secs()).unwrap_or(i32::MAX),
        trust: Policy::of(&trust_policy(spec, provider, request, secret))?,
        permissions: Policy::of(&permissions_policy(request))?,
        boundary: spec.roles.permissions_boundary_arn.clone(),
        tags,
        mark: None,
        name,
        path,
    })
}

/// Who may assume the role: the request's service accounts, by tokens of this issuer.
fn trust_policy(
    spec: &ClusterIdentitySpec,
    provider: &DesiredProvider,
    request: &ReadRequest,
    secret: &SecretKey,
) -> Value {
    let issuer = provider.host_and_path();
    let subjects: Vec<String> = request
        .service_accounts
        .iter()
        .map(|account| format!("system:serviceaccount:{}:{account}", secret.namespace))
        .collect();
    let mut tests = serde_json::Map::new();
    tests.insert(format!("{issuer}:sub"), json!(subjects));
    if spec.roles.audience_condition {
        tests.insert(format!("{issuer}:aud"), json!(provider.audiences));
    }
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": provider.arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": tests},
        }],
    })
}

/// What the role may do: the request's statements, in order, as ccoctl writes them.
fn permissions_policy(request: &ReadRequest) -> Value {
    let statements: Vec<Value> = request
        .statements
        .iter()
        .map(|entry| {
            let mut statement = serde_json::Map::new();
            statement.insert("Effect".into(), entry.effect.as_str().into());
            statement.insert("Action".into(), json!(entry.actions));
            statement.insert("Resource".into(), entry.resource.as_str().into());
            if let Some(condition) = &entry.condition {
                statement.insert("Condition".into(), condition.clone());
            }
            Value::Object(statement)
        })
        .collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}
