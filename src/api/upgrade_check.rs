//! UpgradeCheck: the roll call before an upgrade, kept up to date in the cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which release a cluster is to be upgraded to, and where to read what that asks for.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "rolecall.dev",
    version = "v1alpha1",
    kind = "UpgradeCheck",
    plural = "upgradechecks",
    shortname = "upc",
    namespaced,
    status = "UpgradeCheckStatus",
    derive = "PartialEq",
    doc = "UpgradeCheck is the roll call before an upgrade: which permissions and service accounts the next release needs that a cluster's live IAM roles do not grant.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterIdentityRef.name"),
    printcolumn(name = "Release", type_ = "string", json_path = ".spec.release.version"),
    printcolumn(
        name = "UpgradeReady",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"UpgradeReady\")].status"
    ),
    printcolumn(name = "Missing", type_ = "integer", json_path = ".status.summary.missing"),
    printcolumn(name = "Checked", type_ = "date", json_path = ".status.lastCheckedTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeCheckSpec {
    /// The ClusterIdentity in this namespace whose roles are judged. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterIdentityRef is immutable: make another UpgradeCheck"))]
    pub cluster_identity_ref: LocalReference,

    /// The release to upgrade to.
    pub release: TargetRelease,

    /// Which of the release's requests the cluster gets.
    #[serde(default)]
    pub inclusion: ClusterInclusion,

    /// The audience of the components' tokens.
    #[serde(default = "default_audience")]
    #[schemars(length(min = 1, max = 255))]
    pub audience: String,

    /// `PreGrant`: until the upgrade is over, the live roles also grant what the release asks for.
    #[serde(default)]
    pub action: Action,

    /// Whether AWS is asked (`iam:SimulatePrincipalPolicy`) for what the policies at hand cannot decide.
    #[serde(default)]
    pub simulate: Simulate,

    /// Keep the annotation `cloudcredential.openshift.io/upgradeable-to` on this cluster's CloudCredential in step with
    /// the verdict. A newer value that someone else has set stays.
    #[serde(default)]
    pub annotate_cloud_credential: bool,
}

fn default_audience() -> String {
    "openshift".into()
}

/// An object of the same namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A release, and where its CredentialsRequests are read: exactly one of `image`, `configMapRefs` and `selector`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("[has(self.image), has(self.configMapRefs), has(self.selector)].filter(x, x).size() == 1").message("exactly one of image, configMapRefs and selector must be set"))]
#[serde(rename_all = "camelCase")]
pub struct TargetRelease {
    /// Its version, such as `4.19.3`. What the image itself says is in the status.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^v?[0-9]+\.[0-9]+(\.[0-9]+)?([-+][0-9A-Za-z.+-]*)?$"))]
    pub version: String,

    /// The release image, read from its registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ReleaseImageSource>,

    /// ConfigMaps of this namespace whose entries are the manifests, as `oc adm release extract` writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub config_map_refs: Option<Vec<LocalReference>>,

    /// CredentialsRequests that are candidates (labelled `rolecall.dev/release`), in the namespaces that the
    /// ClusterIdentity takes its requests from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// A release image.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseImageSource {
    /// `REGISTRY/REPOSITORY@sha256:…` or `REGISTRY/REPOSITORY:TAG`. A tag is looked up again every ten minutes.
    #[schemars(length(min = 1, max = 1024))]
    pub reference: String,
    /// A Secret of this namespace of type `kubernetes.io/dockerconfigjson`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<LocalReference>,
}

/// What decides which of a release's requests a cluster gets, as `oc adm release extract --included` has it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInclusion {
    /// The cluster's feature set, as `spec.featureSet` of its FeatureGate has it: empty is `Default`.
    #[serde(default = "default_feature_set")]
    #[schemars(length(max = 64))]
    pub feature_set: String,
    /// The feature gates that are on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128)))]
    pub feature_gates: Vec<String>,
    /// The capabilities that are enabled; by default all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub capabilities: Vec<String>,
    /// The cluster profile.
    #[serde(default = "default_profile")]
    #[schemars(length(min = 1, max = 64))]
    pub profile: String,
}

impl Default for ClusterInclusion {
    fn default() -> Self {
        Self {
            feature_set: default_feature_set(),
            feature_gates: Vec::new(),
            capabilities: Vec::new(),
            profile: default_profile(),
        }
    }
}

fn default_feature_set() -> String {
    "Default".into()
}

fn default_profile() -> String {
    "self-managed-high-availability".into()
}

/// What is done about what is missing.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Action {
    /// It is reported.
    #[default]
    Report,
    /// The live roles get what they grant now and what the release asks for.
    PreGrant,
}

/// Whether AWS is asked for a second opinion.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Simulate {
    /// It is not.
    #[default]
    Never,
    /// For what the policies at hand cannot decide.
    WhenIndeterminate,
}

/// The verdict, and what it is made of.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeCheckStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What was read of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReadRelease>,
    /// How many components have which verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<CheckSummary>,
    /// The components, in the order of their Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<CheckedComponent>,
    /// How many more findings there are than fit into the status: `components` has the worst first and no more than 256 KiB.
    /// `rolecall check` prints all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_findings: Option<i32>,
    /// With `action: PreGrant`: what the requests in force asked for when the granting began, by component. One that asks
    /// for something else by now has been upgraded: nothing is granted beyond it any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_grant: Vec<PreGrantedComponent>,
    /// The generation that `preGrant` is for: it begins anew when the spec changes, as soon as the release is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_grant_generation: Option<i64>,
    /// When this status last changed with a fresh look at AWS. A look that finds nothing new writes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_checked_time: Option<String>,
    /// What is true of the check: `UpgradeReady`, `Ready`, `PreGranted`, `CloudCredentialAnnotated`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::conditions::stored")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What was read of the release.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct ReadRelease {
    /// Where it was read, in words.
    pub source: String,
    /// The version that the image names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The digest of what the image reference names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How many requests the cluster gets from it.
    pub requests: i32,
    /// How many it does not get.
    pub excluded: i32,
}

/// How many components have which verdict.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct CheckSummary {
    /// The live role grants all that is needed.
    pub covered: i32,
    /// Permissions are missing.
    pub missing: i32,
    /// There is no role yet.
    pub new_roles: i32,
    /// Service accounts are not admitted, whatever the verdict.
    pub trust: i32,
    /// Granted when a condition holds.
    pub conditional: i32,
    /// It cannot be told.
    pub indeterminate: i32,
    /// The release does not ask for it any more.
    pub retired: i32,
}

/// A component and its verdict.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct CheckedComponent {
    /// `namespace/name` of its Secret: what identifies a component from release to release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// `namespace/name` of the release's CredentialsRequest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_request: Option<String>,
    /// The name of its role.
    pub role: String,
    /// `Covered`, `Missing`, `NewRole`, `TrustMissing`, `Conditional`, `Indeterminate` or `Retired`.
    pub verdict: String,
    /// What is not surely granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingPart>,
    /// The service accounts that the live trust policy does not surely admit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<UnadmittedAccount>,
    /// What the live role grants and the release does not ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub surplus: Vec<SurplusPart>,
    /// What `iam:SimulatePrincipalPolicy` decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub simulated: Vec<SimulatedPart>,
    /// Why, in one sentence.
    pub because: String,
}

/// A part of what a component needs.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct MissingPart {
    /// `Missing`, `Indeterminate` or `Conditional`.
    pub verdict: String,
    /// The actions, as the request spells them.
    pub actions: Vec<String>,
    /// The resource.
    pub resource: String,
    /// The condition, as a policy spells it; `{}` for none.
    #[schemars(schema_with = "any_object")]
    pub condition: Value,
    /// Why.
    pub because: String,
    /// A concrete action and resource, where the part is not missing as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<ExampleRequest>,
}

/// A concrete request.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct ExampleRequest {
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
}

/// A service account that the live trust policy does not surely admit.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct UnadmittedAccount {
    /// Its name; its namespace is the Secret's.
    pub service_account: String,
    /// `Missing`: it is not admitted. `Conditional`, `Indeterminate`: something beside its token decides.
    #[serde(default)]
    pub verdict: String,
    /// Why.
    pub because: String,
}

/// What is granted and not asked for.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct SurplusPart {
    /// The actions, as the policy spells them.
    pub actions: Vec<String>,
    /// The resource.
    pub resource: String,
    /// The condition, as a policy spells it; `{}` for none.
    #[schemars(schema_with = "any_object")]
    pub condition: Value,
}

/// What `iam:SimulatePrincipalPolicy` decided.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct SimulatedPart {
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// AWS's word: `allowed`, `explicitDeny` or `implicitDeny`.
    pub decision: String,
}

/// What the request in force asked for when the granting began.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct PreGrantedComponent {
    /// `namespace/name` of its Secret.
    pub request: String,
    /// Fingerprint of what the request in force asked for; empty when there was none.
    pub in_force: String,
    /// Fingerprint of the role's policies with what was granted; empty when nothing was. They stay as long as nobody can
    /// tell what the release asks for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policies: String,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
