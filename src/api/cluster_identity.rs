//! ClusterIdentity: the AWS identity of one OpenShift cluster.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::GoDuration;

/// The wanted AWS identity of one OpenShift cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "rolecall.dev",
    version = "v1alpha1",
    kind = "ClusterIdentity",
    plural = "clusteridentities",
    shortname = "cid",
    namespaced,
    status = "ClusterIdentityStatus",
    derive = "PartialEq",
    doc = "ClusterIdentity is the AWS identity of one OpenShift cluster: its issuer, its IAM roles and its credentials Secrets.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Drifted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Drifted\")].status"),
    printcolumn(name = "Roles", type_ = "string", json_path = ".status.roles.summary"),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".status.issuerURL"),
    printcolumn(name = "Verified", type_ = "date", json_path = ".status.lastVerifiedTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentitySpec {
    /// Prefix of every AWS name (ccoctl's `--name`). Immutable.
    #[schemars(length(min = 1, max = 58), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("infraName is immutable: every AWS name is made of it"))]
    pub infra_name: String,

    /// AWS region of the issuer bucket. Immutable.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-z]{2,4}(-[a-z]+)+-[0-9]+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region is immutable: the issuer URL is made of it"))]
    pub region: String,

    /// Which AWS account to act in.
    #[serde(default)]
    pub aws: AwsAccount,

    /// The issuer of the cluster's service-account tokens.
    pub issuer: Issuer,

    /// How the IAM roles are made.
    #[serde(default)]
    pub roles: Roles,

    /// What is refused whoever asks for it.
    #[serde(default)]
    pub guardrails: Guardrails,

    /// Which CredentialsRequests belong to this cluster; by default all in this namespace.
    #[serde(default)]
    pub credentials_requests: RequestSelection,

    /// `Observe` writes nothing anywhere but status.
    #[serde(default)]
    pub management_policy: ManagementPolicy,

    /// What to do with AWS resources and Secrets of the right name that do not carry this cluster's mark.
    #[serde(default)]
    pub adoption: Adoption,

    /// What becomes of roles and Secrets that no request asks for any more, and of everything when this object is
    /// deleted. `Retain` leaves them and says so; `Delete` removes what carries this cluster's mark.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// How often AWS is read when nothing else happens (`5m`; at least 1s, at most 24h). What grants nothing, the
    /// description and the longest session of a role, is read every tenth time, and once an hour at least.
    #[serde(default = "default_drift_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("driftInterval must be between 1s and 24h"))]
    pub drift_interval: GoDuration,
}

fn default_drift_interval() -> GoDuration {
    GoDuration::from_secs(300)
}

/// Which AWS account to act in, and as whom.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.externalID) || has(self.assumeRoleARN)").message("externalID is for assumeRoleARN: set both or neither"))]
#[serde(rename_all = "camelCase")]
pub struct AwsAccount {
    /// A guard: refuse to act in any other account.
    #[serde(default, rename = "accountID", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9]{12}$"))]
    pub account_id: Option<String>,

    /// A role to assume for everything that is done in AWS for this cluster; by default the operator acts as itself.
    #[serde(default, rename = "assumeRoleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^arn:[a-z-]+:iam::[0-9]{12}:role/.+$"))]
    pub assume_role_arn: Option<String>,

    /// The external ID that the role's trust policy asks for. It is no secret (AWS shows it to whoever may read the
    /// role), but should be unique to this management cluster.
    #[serde(default, rename = "externalID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), regex(pattern = "^[A-Za-z0-9_+=,.@:/-]*$"))]
    pub external_id: Option<String>,
}

/// The issuer of the cluster's service-account tokens.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.bucket) == has(oldSelf.bucket) && (!has(self.bucket) || self.bucket == oldSelf.bucket)").message("issuer.bucket is immutable: the issuer URL is made of it"))]
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    /// The S3 bucket that holds the public documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,

    /// Where the public signing keys come from; the published set is their union.
    #[schemars(length(min = 1, max = 16))]
    pub signing_keys: Vec<SigningKeySource>,

    /// The audiences that the IAM OIDC provider accepts.
    #[serde(default = "default_audiences")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "set"))]
    pub audiences: Vec<String>,

    /// How long a key that left its source stays published (`25h`; at most 720h). `0s` drops it at once. It must outlive
    /// the tokens that the key signed: those of OpenShift's own components live for 1h and are renewed by the kubelet,
    /// those that the pod identity webhook mounts live for 24h (its `--token-expiration`).
    #[serde(default = "default_retire_keys_after")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('720h')").message("retireKeysAfter must be at most 720h"))]
    pub retire_keys_after: GoDuration,
}

/// The audiences of ccoctl: platform components ask for `openshift`, workloads for `sts.amazonaws.com`.
pub fn default_audiences() -> Vec<String> {
    vec!["openshift".into(), "sts.amazonaws.com".into()]
}

fn default_retire_keys_after() -> GoDuration {
    GoDuration::from_secs(25 * 3600)
}

/// The S3 bucket of the issuer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// The bucket's name; by default `<infraName>-oidc`. No dots: they break the certificate of the issuer's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 63), regex(pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$"))]
    #[x_kube(validation = Rule::new("!self.startsWith('xn--') && !self.startsWith('sthree-') && !self.startsWith('amzn-s3-demo-') && !self.endsWith('-s3alias') && !self.endsWith('--ol-s3') && !self.endsWith('--x-s3')").message("this prefix or suffix of a bucket name is reserved by S3"))]
    pub name: Option<String>,

    /// A path in the bucket under which the documents lie, without slashes at its ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"))]
    pub prefix: Option<String>,
}

/// One source of public signing keys: RSA in PEM (`PUBLIC KEY`, or `RSA PUBLIC KEY` as OpenShift writes it) or DER, one or
/// several after each other.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("[has(self.secretRef), has(self.configMapRef)].filter(x, x).size() == 1").message("exactly one of secretRef and configMapRef must be set"))]
#[serde(rename_all = "camelCase")]
pub struct SigningKeySource {
    /// A Secret in this namespace. As a whole it must hold no private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,
    /// A ConfigMap in this namespace, such as a copy of OpenShift's `bound-sa-token-signing-certs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyReference>,
}

/// An entry of a Secret or a ConfigMap, or the whole of it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data (of a ConfigMap also in its binaryData). By default every entry that holds public keys is read;
    /// other entries are passed over, and a private key in any entry has the object refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// How the IAM roles are made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Roles {
    /// A permissions boundary for every role. When absent, a boundary that someone else set is left alone.
    #[serde(default, rename = "permissionsBoundaryARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$"))]
    pub permissions_boundary_arn: Option<String>,

    /// Path of every role. Immutable: IAM cannot move a role.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^/([!-~]+/)?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("path is immutable: IAM cannot move a role"))]
    pub path: String,

    /// Longest session of a role (`1h`; from 1h to 12h).
    #[serde(default = "default_max_session")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('12h')").message("maxSessionDuration must be between 1h and 12h"))]
    pub max_session_duration: GoDuration,

    /// More tags for every role. Tags that others set are left alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 40), schema_with = "tag_map")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('aws:') && k != 'Name' && !k.startsWith('openshift.io/cloud-credential-operator/') && size(k) <= 128 && size(self[k]) <= 256)").message("tag keys may have 128 characters, values 256; aws:…, Name and openshift.io/cloud-credential-operator/… are reserved"))]
    pub tags: BTreeMap<String, String>,

    /// `Ccoctl`: role names as ccoctl makes them, cut at 64 characters. `Hashed`: cut names end in a short hash. Immutable.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("naming is immutable: it would leave every role behind"))]
    pub naming: Naming,

    /// Also require one of the issuer's audiences in the trust policy (`<issuer>:aud`). ccoctl does not.
    #[serde(default)]
    pub audience_condition: bool,
}

impl Default for Roles {
    fn default() -> Self {
        Self {
            permissions_boundary_arn: None,
            path: default_path(),
            max_session_duration: default_max_session(),
            tags: BTreeMap::new(),
            naming: Naming::default(),
            audience_condition: false,
        }
    }
}

fn default_path() -> String {
    "/".into()
}

fn default_max_session() -> GoDuration {
    GoDuration::from_secs(3600)
}

fn tag_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 40,
        "additionalProperties": {"type": "string", "maxLength": 256},
    })
}

/// How role names are cut to IAM's 64 characters.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Naming {
    /// As ccoctl does: the first 64 characters.
    #[default]
    Ccoctl,
    /// The first 55 characters, a hyphen and 8 hexadecimal digits of the full name's SHA-256.
    Hashed,
}

/// What is refused whoever asks for it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Guardrails {
    /// A request is refused when its actions, alone or together, ask for all that one of these patterns names: `iam:*`
    /// refuses `iam:*`, `iam:?*` and `*`, not `iam:GetUser`.
    #[serde(default = "default_denied_actions")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128), regex(pattern = "^([*]|[A-Za-z0-9-]+:.+)$")))]
    pub denied_actions: Vec<String>,

    /// Namespaces (with `*` and `?`) that Secrets may be written to.
    #[serde(default = "default_secret_namespaces")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub allowed_secret_namespaces: Vec<String>,

    /// A brake on `deletionPolicy: Delete`: when more roles than this are left over at once, none is deleted and status
    /// says so. It does not hold the deletion of the ClusterIdentity itself.
    #[serde(default = "default_max_deletions")]
    #[schemars(range(min = 0, max = 10000))]
    pub max_deletions_per_pass: u32,
}

impl Default for Guardrails {
    fn default() -> Self {
        Self {
            denied_actions: default_denied_actions(),
            allowed_secret_namespaces: default_secret_namespaces(),
            max_deletions_per_pass: default_max_deletions(),
        }
    }
}

const fn default_max_deletions() -> u32 {
    3
}

fn default_denied_actions() -> Vec<String> {
    vec!["*".into(), "iam:*".into()]
}

fn default_secret_namespaces() -> Vec<String> {
    vec!["openshift-*".into()]
}

/// Which CredentialsRequests belong to the cluster.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestSelection {
    /// Their namespaces; by default the ClusterIdentity's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Their labels; by default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Whether changes are made.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ManagementPolicy {
    /// Make it true and keep it true.
    #[default]
    Enforce,
    /// Only say what would be done.
    Observe,
}

/// What to do with resources of the right name that do not carry this cluster's mark.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Adoption {
    /// Leave them alone and say so.
    #[default]
    OwnedOnly,
    /// Mark them and make them right.
    Adopt,
}

/// What becomes of what is no longer asked for.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum DeletionPolicy {
    /// Leave it and report it.
    #[default]
    Retain,
    /// Delete it when it carries this cluster's mark.
    Delete,
}

/// What Rolecall found and did.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentityStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The issuer URL, as it stands in tokens (`iss`).
    #[serde(default, rename = "issuerURL", skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
    /// ARN of the IAM OIDC provider.
    #[serde(default, rename = "providerARN", skip_serializing_if = "Option::is_none")]
    pub provider_arn: Option<String>,
    /// How many roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<RoleCounts>,
    /// The published signing keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kid"]))]
    pub keys: Vec<PublishedKey>,
    /// In `Observe`: what `Enforce` would do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_changes: Vec<PendingChange>,
    /// The fields that differ from what was last made true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<DriftEntry>,
    /// Fingerprints of what was last seen to be true; they tell drift from a change of the spec.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verified: BTreeMap<String, String>,
    /// Fingerprint of an issuer bucket that was about to be created, until it was seen to be right: a bucket of that name
    /// with neither a tag nor an object is what a crash has left, and ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_bucket: Option<String>,
    /// When everything was last seen to be true after a change of this status. A pass that finds nothing new writes
    /// nothing; the metric `rolecall_last_verified_timestamp_seconds` has every pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_verified_time: Option<String>,
    /// When something in AWS was last changed. Another replica that takes over knows by it that reads may not show that yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_changed_time: Option<String>,
    /// Roles that UpgradeChecks have made for components that no request in force asks for yet. Once no check asks for them
    /// either, they grant nothing any more, whatever `deletionPolicy` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub granted_ahead: Vec<String>,
    /// With `deletionPolicy: Retain`: the Secrets of requests that are gone while their roles are kept. OpenShift's own operator
    /// deletes a request's Secret with the request; Rolecall puts it back as long as the role is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["secret"]))]
    pub retained_secrets: Vec<RetainedSecretStatus>,
    /// What is true of the cluster's identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::conditions::stored")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A Secret that is kept although its request is gone.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct RetainedSecretStatus {
    /// `namespace/name` of the Secret.
    pub secret: String,
    /// `namespace/name` of the request that is gone.
    pub credentials_request: String,
    /// ARN of the role that the Secret names.
    #[serde(rename = "roleARN")]
    pub role_arn: String,
    /// Path of the service-account token that the Secret names.
    pub cloud_token_path: String,
}

/// How many roles.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct RoleCounts {
    /// Asked for by requests that are in order.
    pub desired: i32,
    /// Seen to be right.
    pub ready: i32,
    /// Changed by someone else.
    pub drifted: i32,
    /// Ours by their mark, and asked for by no request.
    #[serde(default)]
    pub orphaned: i32,
    /// `ready/desired`, for the printer column.
    pub summary: String,
}

/// A public signing key that is published.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct PublishedKey {
    /// Unpadded base64url of the SHA-256 over the key's SPKI in DER, as kube-apiserver computes it.
    pub kid: String,
    /// The RSA modulus, unpadded base64url.
    pub n: String,
    /// The RSA exponent, unpadded base64url.
    pub e: String,
    /// When the key left its source; it stays published until `retireKeysAfter` has passed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub retiring_since: Option<String>,
}

/// A change that `Enforce` would make.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct PendingChange {
    /// The call: `CreateRole`, `PutInlinePolicy`, …
    pub action: String,
    /// What it would be made on.
    pub target: String,
    /// Why.
    pub why: String,
}

/// A field that differs from what was last made true.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct DriftEntry {
    /// The resource: `role/prod-eu-…`, `bucket/…`, `provider/…`, `secret/…`.
    pub resource: String,
    /// The field.
    pub field: String,
    /// What was found.
    pub found: String,
    /// What it should be.
    pub wanted: String,
}
