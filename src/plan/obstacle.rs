//! What stands in the way of a change, and what to do about it.

use crate::api::{ALLOW_NARROWING, CONFIRM_DELETION};
use crate::observed::Fault;

/// What stands in the way of a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Something of the wanted name is not ours.
    #[error(
        "{what} exists and does not carry the tag {tag}: it is left alone; remove it, choose another name, or set adoption: Adopt"
    )]
    NotOurs {
        /// The resource.
        what: String,
        /// The tag that is missing.
        tag: String,
    },
    /// The bucket's name is taken by another account, or we may not look.
    #[error("bucket {bucket} cannot be looked at: {why}")]
    BucketForbidden {
        /// The bucket.
        bucket: String,
        /// Why not.
        why: String,
    },
    /// The bucket is to be adopted, but holds more than our documents.
    #[error(
        "bucket {0} does not carry the cluster's tag and holds objects other than the issuer's documents, or cannot be listed: its policy would make all of them public, so it is not taken over; tag it if it is the issuer's, or choose another bucket"
    )]
    BucketInUse(String),
    /// A role lies at another path.
    #[error(
        "role {role} lies at path {found}, not {wanted}, and IAM cannot move it: set roles.path to {found} in a new ClusterIdentity, or delete the role once no component uses it"
    )]
    OtherPath {
        /// The role.
        role: String,
        /// Its path.
        found: String,
        /// The wanted path.
        wanted: String,
    },
    /// A foreign Secret.
    #[error("Secret {secret} {problem}: it is left alone; {remedy}")]
    ForeignSecret {
        /// The Secret.
        secret: String,
        /// What makes it foreign.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another issuer is in force than the one that is wanted.
    #[error("{0}")]
    IssuerMismatch(String),
    /// It cannot be told which issuer is in force.
    #[error(
        "it is not known which issuer is in force for this cluster, so nothing of the issuer, of trust policies or of Secrets is changed: {0}"
    )]
    IssuerUnknown(String),
    /// The bucket was closed to the public before it was Rolecall's.
    #[error(
        "bucket {0} is closed to the public and does not carry the mark of this ClusterIdentity: it is not opened, because whoever closed it may publish the issuer another way (CloudFront, for instance). If it is to be public, lift its S3 Block Public Access (BlockPublicPolicy and RestrictPublicBuckets)"
    )]
    BucketClosed(String),
    /// It carries another owner's mark.
    #[error("{what} belongs to {owner} by its mark {mark:?}: it is left alone; {remedy}")]
    OwnedByAnother {
        /// The resource.
        what: String,
        /// The owner, in words.
        owner: String,
        /// The mark.
        mark: String,
        /// What to do.
        remedy: String,
    },
    /// It was verified before and carries another owner's mark by now.
    #[error("{what} was verified here and now carries the mark {mark:?} of {owner}: it is written no more; {remedy}")]
    OwnershipLost {
        /// The resource.
        what: String,
        /// The owner, in words.
        owner: String,
        /// The mark.
        mark: String,
        /// What to do.
        remedy: String,
    },
    /// A role that was never verified would lose something.
    #[error(
        "{what} was never verified here and would lose {loses}: that is not done. Add it to the requests if it is needed, or set the annotation {ALLOW_NARROWING}: {consent} on the ClusterIdentity"
    )]
    WouldNarrow {
        /// The resource.
        what: String,
        /// What it would lose, and from whom.
        loses: String,
        /// What the consent has to name.
        consent: String,
    },
    /// A change would make a request in force ineffective.
    #[error(
        "{change} would take away from {what} what is in use: {loses}. It is not done; correct the spec, or set the annotation {ALLOW_NARROWING}: {consent} on the ClusterIdentity"
    )]
    WouldDeny {
        /// The change, in words.
        change: String,
        /// The resource.
        what: String,
        /// What it would lose.
        loses: String,
        /// What the consent has to name.
        consent: String,
    },
    /// No request is selected.
    #[error(
        "credentialsRequests ({selection}) selects no request for AWS{}, so nothing is served: correct namespaces or selector, or set credentialsRequests.allowEmpty",
        if *.others > 0 { format!(" ({others} that are for other clouds, or not in force)") } else { String::new() }
    )]
    NothingSelected {
        /// What is selected, in words.
        selection: String,
        /// How many requests are selected that come to nothing.
        others: usize,
    },
    /// The status is older than what AWS has.
    #[error(
        "the status is older than what AWS has, as after a restore from a backup: {0}. Nothing is deleted; {CONFIRM_DELETION}: {1} on the ClusterIdentity lets the deletions go on"
    )]
    StatusRestored(String, String),
    /// The deletion of the ClusterIdentity would take away what is in use.
    #[error(
        "{0}. Nothing is deleted, and everything goes on being served; to delete it all the same set the annotation {CONFIRM_DELETION}: {1}, to keep it set spec.deletionPolicy: Retain (and apply the object again once it is gone)"
    )]
    InUse(String, String),
    /// The target namespace does not exist.
    #[error("target namespace {0} not found")]
    NamespaceMissing(String),
    /// The keys are refused, and so the document is not touched.
    #[error("{0}")]
    Keys(#[from] crate::desired::keys::KeysRefused),
    /// It rests on something that an obstacle stands before.
    #[error("it waits for {0}")]
    WaitsFor(&'static str),
    /// A role of another case has the name.
    #[error(
        "role {found} has the name {role} but for its case, and IAM keeps names unique without regard to case: remove it, or choose another infraName"
    )]
    OtherCase {
        /// The wanted name.
        role: String,
        /// The name as it is.
        found: String,
    },
    /// A watch fails, so that what is asked for may not be seen.
    #[error("nothing is deleted or put back before it answers again: {0}; what is asked for may not be seen")]
    WatchLost(String),
    /// It was changed a moment ago, and reads do not show that yet.
    #[error("{0} was done a moment ago and AWS's reads do not show it yet")]
    Settling(String),
    /// More is left over than may be deleted.
    #[error(
        "{left_over} components are left over, {recent} were deleted within the last hour, and guardrails.maxDeletions is {allowed}: nothing is deleted. See whether credentialsRequests still selects the right requests; then set the annotation {CONFIRM_DELETION}: {consent}, or raise the number"
    )]
    TooManyDeletions {
        /// How many are left over.
        left_over: usize,
        /// How many were deleted within the last hour.
        recent: usize,
        /// How many are allowed.
        allowed: usize,
        /// What the consent has to name.
        consent: String,
    },
    /// A request does not say what is its own, so nothing is known to be left over.
    #[error("the request {0} does not say which Secret it is for, so nothing is deleted: any of it may be its own")]
    ClaimUnknown(String),
    /// A role that was to be granted ahead of an upgrade is there already, otherwise than it would be made.
    #[error(
        "role {0} is to be granted ahead of an upgrade, but exists and was not made by an UpgradeCheck: it may belong to a request that is not served; mend or remove that one, or the role"
    )]
    NotPreGranted(String),
    /// A role serves someone else too.
    #[error(
        "role {role} is not deleted, because someone else uses it ({others}): take that off the role, or set deletionPolicy: Retain"
    )]
    RoleInUse {
        /// The role.
        role: String,
        /// What hangs on it.
        others: String,
    },
    /// The bucket keeps old versions, which Rolecall never deletes.
    #[error(
        "bucket {0} is versioned: neither it nor its documents are deleted; empty and delete it by hand, or set deletionPolicy: Retain"
    )]
    BucketVersioned(String),
    /// The bucket holds what is not ours.
    #[error(
        "bucket {bucket} also holds {others}: it is not deleted; remove those objects, or set deletionPolicy: Retain"
    )]
    BucketNotEmpty {
        /// The bucket.
        bucket: String,
        /// Some of the objects.
        others: String,
    },
    /// It could not be read, so nothing is concluded.
    #[error("{0}")]
    Unreadable(Fault),
}

impl Obstacle {
    /// The fault of something that could not be read.
    pub const fn unreadable(&self) -> Option<&Fault> {
        match self {
            Self::Unreadable(fault) => Some(fault),
            _ => None,
        }
    }
}
