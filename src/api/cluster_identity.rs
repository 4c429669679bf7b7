//! ClusterIdentity: the AWS identity of one OpenShift cluster.

mod status;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::GoDuration;
pub use status::*;

/// CEL for a ClusterIdentity of whose issuer nothing was made or verified, so that a slip can be corrected.
const NOTHING_MADE: &str = "!has(oldSelf.status) || (!has(oldSelf.status.begunBucket) && (!has(oldSelf.status.verified) || size(oldSelf.status.verified) == 0))";

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
    validation = Rule::new(format!("self.spec.region == oldSelf.spec.region || {NOTHING_MADE}")).message("region is immutable once anything of the issuer was made or verified: the issuer URL is made of it").field_path(".spec.region"),
    validation = Rule::new(format!("(has(self.spec.issuer.bucket) == has(oldSelf.spec.issuer.bucket) && (!has(self.spec.issuer.bucket) || self.spec.issuer.bucket == oldSelf.spec.issuer.bucket)) || {NOTHING_MADE}")).message("issuer.bucket is immutable once anything of the issuer was made or verified: the issuer URL is made of it").field_path(".spec.issuer.bucket"),
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

    /// AWS region of the issuer bucket. Immutable once anything of the issuer was made or verified.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-z]{2,4}(-[a-z]+)+-[0-9]+$"))]
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
    /// deleted. `Retain` leaves them and says so; `Delete` removes what carries Rolecall's own mark of this ClusterIdentity, within
    /// `guardrails`.
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
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    /// The S3 bucket that holds the public documents. Immutable once anything of the issuer was made or verified.
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

    /// How long a component must be left over, in every complete look at the account and the requests, before its role and
    /// Secret are deleted (`15m`; at most 168h). The wait begins anew when Rolecall has not looked for three intervals.
    #[serde(default = "default_deletion_delay")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('168h')").message("deletionDelay must be between 0s and 168h"))]
    pub deletion_delay: GoDuration,

    /// How many components may be deleted within any hour. When more are left over than may go, none is deleted until
    /// `rolecall.dev/confirm-deletion` names them or this number is raised. It does not hold the deletion of the ClusterIdentity
    /// itself.
    #[serde(default = "default_max_deletions")]
    #[schemars(range(min = 0, max = 10000))]
    pub max_deletions: u32,

    /// A component whose role was used within this time is not deleted (`24h`; at most 2160h; `0s` switches it off). AWS tells
    /// the use of a role (`RoleLastUsed`) up to some four hours late, so a role that is younger than five hours and has no known
    /// use counts as used, and so does every role of an account in which no use is known at all.
    #[serde(default = "default_in_use_window")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('2160h')").message("inUseWindow must be between 0s and 2160h"))]
    pub in_use_window: GoDuration,
}

impl Default for Guardrails {
    fn default() -> Self {
        Self {
            denied_actions: default_denied_actions(),
            allowed_secret_namespaces: default_secret_namespaces(),
            deletion_delay: default_deletion_delay(),
            max_deletions: default_max_deletions(),
            in_use_window: default_in_use_window(),
        }
    }
}

const fn default_max_deletions() -> u32 {
    3
}

fn default_deletion_delay() -> GoDuration {
    GoDuration::from_secs(15 * 60)
}

fn default_in_use_window() -> GoDuration {
    GoDuration::from_secs(24 * 3600)
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
    /// Whether it is right that no request is selected. Otherwise `Ready` is False then (`NothingSelected`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
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
