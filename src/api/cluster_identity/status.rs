//! The status of a ClusterIdentity.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
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
    /// The Secrets of requests that are gone while their roles are kept, for good (`deletionPolicy: Retain`) or until they may be
    /// deleted. OpenShift's own operator deletes a request's Secret with the request; Rolecall puts it back as long as the role is
    /// there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["secret"]))]
    pub retained_secrets: Vec<ProvisionedSecretStatus>,
    /// The Secrets of requests in force that were seen to be right. When a request goes, and its Secret with it, this tells what the
    /// Secret was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["secret"]))]
    pub provisioned_secrets: Vec<ProvisionedSecretStatus>,
    /// Resources whose owner mark (tag or annotation `rolecall.dev/owner`) is still to be set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_marks: Vec<PendingMark>,
    /// With `deletionPolicy: Delete`: the components that no request asks for any more, and what they wait for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_deletions: Vec<PendingDeletion>,
    /// Names the components in `pendingDeletions`, for `rolecall.dev/confirm-deletion: <infraName>/<digest>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_deletions_digest: Option<String>,
    /// When `pendingDeletions` were last seen to be left over, in a complete look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub pending_deletions_time: Option<String>,
    /// The components whose deletion was begun within the last hour; noted before the deletion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_deletions: Vec<RecentDeletion>,
    /// When the youngest role was made that carries this ClusterIdentity's mark. A younger one that nobody noted shows that this
    /// status was restored from a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub newest_role_time: Option<String>,
    /// When the deletion of what the ClusterIdentity made in AWS began. From then on nothing is held because it is in use: half of it
    /// is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teardown_time: Option<String>,
    /// Roles that are about to be made, until they were seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub begun_roles: Vec<String>,
    /// Keys in `keys.json` that no source holds and that Rolecall did not publish. They are kept until
    /// `rolecall.dev/remove-keys` names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_keys: Vec<UnknownKey>,
    /// The revision of `keys.json` that was last written (its object metadata `rolecall-revision`). A newer one in the bucket shows
    /// that this status was restored from a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_revision: Option<i64>,
    /// What others had set on the issuer before Rolecall adopted it, and that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_settings: Option<AdoptedSettings>,
    /// Resources that Rolecall had verified and that carry another owner's mark by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_ownership: Vec<LostOwnership>,
    /// What is true of the cluster's identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::api::conditions::stored")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A Secret that was provisioned for a request.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct ProvisionedSecretStatus {
    /// `namespace/name` of the Secret.
    pub secret: String,
    /// `namespace/name` of the request.
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

/// A resource whose owner mark is still to be set.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct PendingMark {
    /// The resource: `role/prod-eu-…`, `bucket/…`, `provider/…`, `secret/…`.
    pub resource: String,
    /// The mark that it carries now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_owner: Option<String>,
}

/// A component that no request asks for any more.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct PendingDeletion {
    /// The name of its role.
    pub component: String,
    /// What would be deleted: `role/…`, `secret/…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Since when it was left over in every complete look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// When it may be deleted at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub delete_after: Option<String>,
    /// What holds it: `DeletionDelay`, `InUse`, `TooManyDeletions`, `StatusRestored`, …; absent when it goes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A component whose deletion was begun.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct RecentDeletion {
    /// The name of its role.
    pub component: String,
    /// When.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
}

/// A published key of which nobody knows where it comes from.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct UnknownKey {
    /// The kid under which it is published, or its place where it has none.
    pub kid: String,
    /// Since when it is known to be published.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// The entry of `keys.json`, so that it can be published again when the document is lost.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entry: String,
}

/// What others had set on the issuer before it was adopted.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct AdoptedSettings {
    /// Audiences of the IAM OIDC provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Fingerprints of statements of the bucket policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bucket_policy_statements: Vec<String>,
}

/// A resource that carries another owner's mark by now.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(!default)]
pub struct LostOwnership {
    /// The resource.
    pub resource: String,
    /// The mark that it carries.
    pub owner: String,
    /// Since when that is known.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
}
