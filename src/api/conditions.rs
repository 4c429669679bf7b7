//! The condition types that Rolecall writes. Their reasons come from `controller::outcome` alone.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::{Deserialize, Deserializer};

/// Everything desired is true, and was seen to be.
pub const READY: &str = "Ready";
/// kstatus: work is under way. Absent when not true.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: only a person can help. Absent when not true.
pub const STALLED: &str = "Stalled";
/// The documents in the bucket are byte for byte ours.
pub const ISSUER_PUBLISHED: &str = "IssuerPublished";
/// An anonymous HTTPS fetch, as STS does it, returned them.
pub const ISSUER_VERIFIED: &str = "IssuerVerified";
/// URL, audiences and tags of the IAM OIDC provider are right.
pub const PROVIDER_READY: &str = "ProviderReady";
/// All roles are right.
pub const ROLES_READY: &str = "RolesReady";
/// Every live role, with all its policies, its permissions boundary and its trust policy, allows what its request asks for.
pub const EFFECTIVE: &str = "Effective";
/// All Secrets are right.
pub const SECRETS_READY: &str = "SecretsReady";
/// Something differs from what was last made true.
pub const DRIFTED: &str = "Drifted";
/// The operator's own AWS identity may do what this spec needs.
pub const OPERATOR_PERMISSIONS: &str = "OperatorPermissionsSufficient";
/// AWS was read within the interval.
pub const SNAPSHOT_FRESH: &str = "SnapshotFresh";

/// The served CustomResourceDefinitions lack fields that this version writes. Absent when not true.
pub const CRD_OUTDATED: &str = "CRDOutdated";
/// A watch of the operator has failed for too long; also the reason of what is Unknown because of it. Absent when not true.
pub const WATCH_LOST: &str = "WatchLost";

/// Upstream's name: roles or Secrets that carry the cluster's mark are asked for by no request. Absent when not true.
pub const ORPHANED: &str = "OrphanedCloudResource";

/// `keys.json` publishes keys that no source holds and that Rolecall did not publish. Absent when not true.
pub const UNKNOWN_KEYS_PUBLISHED: &str = "UnknownKeysPublished";
/// A key that left its source is dropped within a day. Absent when not true.
pub const KEY_RETIREMENT_DUE: &str = "SigningKeyRetirementDue";
/// With `deletionPolicy: Delete`: components have used their roles within `guardrails.inUseWindow`.
pub const IN_USE: &str = "InUse";

/// Something that is not ours stands where a request's role or Secret belongs.
pub const CONFLICT: &str = "Conflict";
/// Upstream: the namespace of `secretRef` does not exist.
pub const MISSING_TARGET_NAMESPACE: &str = "MissingTargetNamespace";
/// Upstream: the request could not be made true.
pub const CREDENTIALS_PROVISION_FAILURE: &str = "CredentialsProvisionFailure";
/// Upstream: the request is for another cloud.
pub const IGNORED: &str = "Ignored";
/// Upstream: the operator's AWS identity lacks permissions for this request.
pub const INSUFFICIENT_CLOUD_CREDS: &str = "InsufficientCloudCreds";

/// Roles grant more than their requests ask for, because an UpgradeCheck says so. Absent when not true on a ClusterIdentity.
pub const PRE_GRANTED: &str = "PreGranted";
/// The live roles grant all that the target release needs.
pub const UPGRADE_READY: &str = "UpgradeReady";
/// The CloudCredential's annotation is in step with the verdict.
pub const ANNOTATED: &str = "CloudCredentialAnnotated";

/// Reads conditions as they are stored. A CustomResourceDefinition that does not declare all of their fields has left some out:
/// these are empty, and the time is that of the reading. Without this, none of the status could be read.
pub(super) fn stored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stored {
        #[serde(default, rename = "type")]
        type_: String,
        #[serde(default)]
        status: String,
        #[serde(default)]
        reason: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        observed_generation: Option<i64>,
        #[serde(default)]
        last_transition_time: Option<Time>,
    }
    let stored = Vec::<Stored>::deserialize(deserializer)?;
    let condition = |stored: Stored| Condition {
        type_: stored.type_,
        status: stored.status,
        reason: stored.reason,
        message: stored.message,
        observed_generation: stored.observed_generation,
        last_transition_time: stored.last_transition_time.unwrap_or_else(|| Time(Timestamp::now())),
    };
    Ok(stored.into_iter().map(condition).collect())
}
