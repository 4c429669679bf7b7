//! The custom resources: what users write and what they read back.

pub mod cluster_identity;
pub mod conditions;
pub mod credentials_request;
pub mod duration;

pub use cluster_identity::{ClusterIdentity, ClusterIdentitySpec, ClusterIdentityStatus};
pub use credentials_request::{CredentialsRequest, CredentialsRequestSpec, CredentialsRequestStatus};
pub use duration::GoDuration;

/// Label that makes a CredentialsRequest a candidate of a coming release: it is read by upgrade checks and
/// never provisioned.
pub const RELEASE_LABEL: &str = "rolecall.dev/release";

/// Finalizer of a ClusterIdentity whose deletion is to take what it owns in AWS along.
pub const TEARDOWN_FINALIZER: &str = "rolecall.dev/teardown";

/// Label on a Secret or ConfigMap that holds signing keys: a change is seen at once, not at the next interval.
pub const SIGNING_KEY_LABEL: &str = "rolecall.dev/signing-key";
