//! The custom resources: what users write and what they read back.

pub mod cluster_identity;
pub mod conditions;
pub mod credentials_request;
pub mod duration;
pub mod json;
pub mod upgrade_check;

pub use cluster_identity::{ClusterIdentity, ClusterIdentitySpec, ClusterIdentityStatus};
pub use credentials_request::{CredentialsRequest, CredentialsRequestSpec, CredentialsRequestStatus};
pub use duration::GoDuration;
pub use json::JsonText;
pub use upgrade_check::{UpgradeCheck, UpgradeCheckSpec, UpgradeCheckStatus};

/// Label that makes a CredentialsRequest a candidate of a coming release: it is read by upgrade checks and
/// never provisioned.
pub const RELEASE_LABEL: &str = "rolecall.dev/release";

/// Finalizer of a ClusterIdentity whose deletion is to take what it owns in AWS along.
pub const TEARDOWN_FINALIZER: &str = "rolecall.dev/teardown";

/// Finalizer of an UpgradeCheck that keeps an annotation on the CloudCredential, so that this can be withdrawn.
pub const UPGRADEABLE_FINALIZER: &str = "rolecall.dev/upgradeable-to";

/// Label on a Secret or ConfigMap that holds signing keys: a change is seen at once, not at the next interval.
pub const SIGNING_KEY_LABEL: &str = "rolecall.dev/signing-key";

/// Annotation of a ClusterIdentity: uids of the `kube-system` namespaces of other management clusters whose marks are taken over.
pub const TAKE_OVER_FROM: &str = "rolecall.dev/take-over-from";

/// Annotation of a ClusterIdentity that lets deletions go on: `<infraName>/<status.pendingDeletionsDigest>` for what is left over,
/// `<infraName>` for the deletion of the ClusterIdentity itself.
pub const CONFIRM_DELETION: &str = "rolecall.dev/confirm-deletion";

/// Annotation of a ClusterIdentity that names the issuer in force, which the issuer of the spec may replace.
pub const REPLACE_ISSUER: &str = "rolecall.dev/replace-issuer";

/// Annotation of a ClusterIdentity: names of roles (and `oidc-provider`) from which permissions, subjects or audiences may be
/// taken away.
pub const ALLOW_NARROWING: &str = "rolecall.dev/allow-narrowing";

/// Annotation of a ClusterIdentity: kids of published keys that are to be removed from `keys.json`.
pub const REMOVE_KEYS: &str = "rolecall.dev/remove-keys";

/// Annotation of a Secret with access keys that may be replaced; its value is `sts`.
pub const REPLACE_WITH: &str = "rolecall.dev/replace-with";
