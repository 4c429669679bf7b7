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
