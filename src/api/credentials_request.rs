//! OpenShift's CredentialsRequest, its spec as OpenShift publishes it.
//!
//! The schema is a compatible superset of the one in openshift/cloud-credential-operator
//! (`manifests/0000_03_cloud-credential-operator_01_crd.yaml`): printer columns, `observedGeneration`, and
//! conditions as a list map. Nothing in the spec is validated beyond upstream's rules; Rolecall judges a request
//! by itself and says so in its status, so that one bad request never keeps others from being applied.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::JsonText;

/// What a component asks of its cloud.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cloudcredential.openshift.io",
    version = "v1",
    kind = "CredentialsRequest",
    plural = "credentialsrequests",
    namespaced,
    status = "CredentialsRequestStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "CredentialsRequest asks for credentials for one component of an OpenShift cluster.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Drifted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Drifted\")].status"),
    printcolumn(name = "Role", type_ = "string", json_path = ".status.providerStatus.roleName"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretRef.name"),
    printcolumn(name = "Synced", type_ = "date", json_path = ".status.lastSyncTimestamp"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsRequestSpec {
    /// Where the credentials Secret is to be written.
    pub secret_ref: ObjectReference,
    /// The cloud's own part of the request; for AWS an `AWSProviderSpec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub provider_spec: Option<JsonText>,
    /// The service accounts (in the Secret's namespace) that may assume the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_names: Option<Vec<String>>,
    /// Path of the projected service-account token in the component's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_token_path: Option<String>,
}

/// A core/v1 ObjectReference, of which `namespace` and `name` matter.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ObjectReference {
    /// API version of the referent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// A part of the referent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_path: Option<String>,
    /// Kind of the referent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the referent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of the referent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Specific version of the referent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// UID of the referent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// What became of the request. `provisioned` and the `lastSync…` fields keep their upstream meaning.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsRequestStatus {
    /// The role and the Secret were both seen to be right.
    #[serde(default)]
    pub provisioned: bool,
    /// When the role or the Secret was last made or found to be right after a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_sync_timestamp: Option<String>,
    /// The generation that was last made true.
    #[serde(default)]
    pub last_sync_generation: i64,
    /// Upstream's field; not written by Rolecall: the Secret's fingerprint is in `providerStatus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_cloud_creds_secret_resource_version: Option<String>,
    /// Upstream's field; not written by Rolecall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_infrastructure_resource_version: Option<String>,
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The cloud's own part of the status; see [`AwsProviderStatus`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub provider_status: Option<JsonText>,
    /// What is true of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<RequestCondition>,
}

/// Upstream's condition with `observedGeneration` added.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct RequestCondition {
    /// The condition's type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_transition_time: Option<String>,
    /// Upstream's field; kept when it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_probe_time: Option<String>,
    /// One word for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The generation that the condition speaks of; not written where OpenShift's own CRD is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The `providerStatus` that Rolecall writes (kind `AWSProviderStatus`, as upstream's).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AwsProviderStatus {
    /// `cloudcredential.openshift.io/v1`.
    #[serde(default)]
    pub api_version: String,
    /// `AWSProviderStatus`.
    #[serde(default)]
    pub kind: String,
    /// The generation that this status speaks of; OpenShift's own CRD has no other place for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `namespace/name` of the ClusterIdentity that serves the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_identity: Option<String>,
    /// ARN of the request's role.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// Name of the request's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_name: Option<String>,
    /// SHA-256 (first 16 hex digits) of the inline policy in canonical form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
    /// SHA-256 (first 16 hex digits) of the trust policy in canonical form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_hash: Option<String>,
    /// Role and Secret that were last seen to be right together. They stay the request's until those that it asks for now are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<ProvisionedResources>,
    /// Fingerprints of statements of others in the trust policy, found when the role was adopted, that are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopted_trust_statements: Vec<String>,
    /// Fingerprint of the role as it was last seen to be true; what tells drift from a change of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_role: Option<String>,
    /// Fingerprint of the Secret as it was last seen to be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_secret: Option<String>,
    /// The fields that differ from what was last made true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<super::cluster_identity::DriftEntry>,
    /// What the live role grants and neither the request nor an UpgradeCheck asks for. It is reported, never taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub surplus: Vec<super::upgrade_check::SurplusPart>,
    /// How many more parts of `surplus` there are than fit into the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_surplus: Option<i32>,
}

/// A role and a Secret that a request has.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ProvisionedResources {
    /// Name of the role.
    pub role_name: String,
    /// ARN of the role.
    #[serde(rename = "roleARN")]
    pub role_arn: String,
    /// The role's unique id (`AROA…`): a role that was made anew has another.
    #[serde(rename = "roleID", skip_serializing_if = "String::is_empty")]
    pub role_id: String,
    /// `namespace/name` of the Secret.
    pub secret: String,
    /// Path of the service-account token that the Secret names.
    pub cloud_token_path: String,
}

impl AwsProviderStatus {
    /// One that says nothing yet.
    pub fn new() -> Self {
        Self {
            api_version: "cloudcredential.openshift.io/v1".into(),
            kind: "AWSProviderStatus".into(),
            observed_generation: None,
            cluster_identity: None,
            role_arn: None,
            role_name: None,
            policy_hash: None,
            trust_hash: None,
            provisioned: None,
            adopted_trust_statements: Vec::new(),
            verified_role: None,
            verified_secret: None,
            drift: Vec::new(),
            surplus: Vec::new(),
            omitted_surplus: None,
        }
    }
}

impl Default for AwsProviderStatus {
    fn default() -> Self {
        Self::new()
    }
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "format": "date-time"})
}
