//! The changes that a plan can hold, each with all that its call needs.

use std::collections::BTreeMap;

use crate::desired::issuer::{DesiredBucket, DesiredObject, DesiredProvider, PublicAccessBlock};
use crate::desired::request::RequestId;
use crate::desired::role::DesiredRole;
use crate::desired::secret::{DesiredSecret, SecretKey};
use crate::observed::LeftoverSecret;

/// What a change is made for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The issuer bucket and its settings.
    Bucket,
    /// The discovery document.
    Discovery,
    /// The JWKS.
    Keys,
    /// The IAM OIDC provider.
    Provider,
    /// A request's role.
    Role(RequestId),
    /// A request's Secret.
    Secret(RequestId),
    /// The selection of requests.
    Requests,
    /// All that is left over: what stands before it holds every deletion.
    Leftovers,
    /// A role that no request asks for.
    LeftoverRole(String),
    /// A Secret that no request asks for.
    LeftoverSecret(SecretKey),
}

impl Subject {
    /// The request that it belongs to; `None` for the issuer's parts.
    pub fn request(&self) -> Option<&RequestId> {
        match self {
            Self::Role(id) | Self::Secret(id) => Some(id),
            _ => None,
        }
    }
}

/// What must be there for a document to be written, so that nothing is overwritten that nobody looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// No document.
    Absent,
    /// The document with this entity tag.
    Version(String),
    /// Whatever is there: the service told no entity tag.
    Anything,
}

/// One change, one call (a created bucket apart, which gets its tags at once).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Create the bucket and tag it.
    CreateBucket(DesiredBucket),
    /// Set the bucket's tags: these, and the ones of others that are there.
    TagBucket {
        /// The bucket.
        bucket: String,
        /// All tags that it is to have.
        tags: BTreeMap<String, String>,
    },
    /// Set the public-access block.
    PutPublicAccessBlock {
        /// The bucket.
        bucket: String,
        /// The switches.
        block: PublicAccessBlock,
    },
    /// Set the bucket policy.
    PutBucketPolicy {
        /// The bucket.
        bucket: String,
        /// The policy.
        policy: String,
    },
    /// Write a document.
    PutObject {
        /// The bucket.
        bucket: String,
        /// The document.
        object: DesiredObject,
        /// What must be there.
        expected: Expected,
        /// The revision to note in the object's metadata.
        revision: Option<i64>,
    },
    /// Create the provider with its audiences and tags.
    CreateProvider(DesiredProvider),
    /// Let the provider accept an audience.
    AddAudience {
        /// The provider's ARN.
        arn: String,
        /// The audience.
        audience: String,
    },
    /// Stop the provider from accepting an audience.
    RemoveAudience {
        /// The provider's ARN.
        arn: String,
        /// The audience.
        audience: String,
    },
    /// Add tags to the provider.
    TagProvider {
        /// The provider's ARN.
        arn: String,
        /// The tags to add or change.
        tags: BTreeMap<String, String>,
    },
    /// Create the role with trust policy, boundary and tags; its inline policy follows.
    CreateRole(Box<DesiredRole>),
    /// Set the trust policy.
    UpdateTrust {
        /// The role.
        role: String,
        /// The trust policy.
        policy: String,
    },
    /// Set description and longest session.
    UpdateRole {
        /// The role.
        role: String,
        /// The description.
        description: String,
        /// The longest session, in seconds.
        max_session_seconds: i32,
    },
    /// Set the inline policy of the role's own name.
    PutInlinePolicy {
        /// The role.
        role: String,
        /// The policy.
        policy: String,
    },
    /// Set the permissions boundary.
    PutBoundary {
        /// The role.
        role: String,
        /// The boundary's ARN.
        boundary: String,
    },
    /// Add tags to the role.
    TagRole {
        /// The role.
        role: String,
        /// The tags to add or change.
        tags: BTreeMap<String, String>,
    },
    /// Write the Secret by server-side apply.
    WriteSecret {
        /// The Secret.
        secret: DesiredSecret,
        /// Take over fields that another manager holds; only of a Secret that is ours.
        force: bool,
        /// Whether it points the component at a role that it did not name before.
        points_anew: bool,
        /// Whether it replaces access keys, which then go.
        removes_access_keys: bool,
    },
    /// Delete a Secret that nobody asks for any more, if it is still the one that was looked at.
    DeleteSecret(LeftoverSecret),
    /// Delete the inline policy of the role's own name.
    DeleteRolePolicy {
        /// The role.
        role: String,
    },
    /// Delete a role.
    DeleteRole {
        /// The role.
        role: String,
    },
    /// Delete the provider.
    DeleteProvider {
        /// The provider's ARN.
        arn: String,
    },
    /// Delete a document.
    DeleteObject {
        /// The bucket.
        bucket: String,
        /// The document's key.
        key: String,
    },
    /// Delete the bucket, which S3 does only when it is empty.
    DeleteBucket {
        /// The bucket.
        bucket: String,
    },
}

impl Change {
    /// The change's name, as it is printed and counted.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CreateBucket(_) => "CreateBucket",
            Self::TagBucket { .. } => "TagBucket",
            Self::PutPublicAccessBlock { .. } => "PutPublicAccessBlock",
            Self::PutBucketPolicy { .. } => "PutBucketPolicy",
            Self::PutObject { .. } => "PutObject",
            Self::CreateProvider(_) => "CreateProvider",
            Self::AddAudience { .. } => "AddAudience",
            Self::RemoveAudience { .. } => "RemoveAudience",
            Self::TagProvider { .. } => "TagProvider",
            Self::CreateRole(_) => "CreateRole",
            Self::UpdateTrust { .. } => "UpdateTrust",
            Self::UpdateRole { .. } => "UpdateRole",
            Self::PutInlinePolicy { .. } => "PutInlinePolicy",
            Self::PutBoundary { .. } => "PutBoundary",
            Self::TagRole { .. } => "TagRole",
            Self::WriteSecret { .. } => "WriteSecret",
            Self::DeleteSecret(_) => "DeleteSecret",
            Self::DeleteRolePolicy { .. } => "DeleteRolePolicy",
            Self::DeleteRole { .. } => "DeleteRole",
            Self::DeleteProvider { .. } => "DeleteProvider",
            Self::DeleteObject { .. } => "DeleteObject",
            Self::DeleteBucket { .. } => "DeleteBucket",
        }
    }

    /// What the change is made on, as it is printed.
    pub fn target(&self) -> String {
        match self {
            Self::CreateBucket(bucket) => format!("bucket/{}", bucket.name),
            Self::TagBucket { bucket, .. }
            | Self::DeleteBucket { bucket }
            | Self::PutPublicAccessBlock { bucket, .. }
            | Self::PutBucketPolicy { bucket, .. } => format!("bucket/{bucket}"),
            Self::PutObject { bucket, object, .. } => format!("bucket/{bucket}/{}", object.key),
            Self::DeleteObject { bucket, key } => format!("bucket/{bucket}/{key}"),
            Self::CreateProvider(provider) => format!("provider/{}", provider.host_and_path()),
            Self::AddAudience { arn, .. }
            | Self::RemoveAudience { arn, .. }
            | Self::TagProvider { arn, .. }
            | Self::DeleteProvider { arn } => {
                format!("provider/{}", arn.split_once("oidc-provider/").map_or(arn.as_str(), |(_, name)| name))
            }
            Self::CreateRole(role) => format!("role/{}", role.name),
            Self::UpdateTrust { role, .. }
            | Self::UpdateRole { role, .. }
            | Self::PutInlinePolicy { role, .. }
            | Self::PutBoundary { role, .. }
            | Self::TagRole { role, .. }
            | Self::DeleteRolePolicy { role }
            | Self::DeleteRole { role } => format!("role/{role}"),
            Self::DeleteSecret(secret) => format!("secret/{}", secret.key),
            Self::WriteSecret { secret, .. } => format!("secret/{}", secret.key),
        }
    }

    /// The role that is changed.
    pub fn role(&self) -> Option<&str> {
        match self {
            Self::CreateRole(role) => Some(&role.name),
            Self::UpdateTrust { role, .. }
            | Self::UpdateRole { role, .. }
            | Self::PutInlinePolicy { role, .. }
            | Self::PutBoundary { role, .. }
            | Self::TagRole { role, .. }
            | Self::DeleteRolePolicy { role }
            | Self::DeleteRole { role } => Some(role),
            _ => None,
        }
    }

    /// Whether it makes something that was not there.
    pub const fn is_creation(&self) -> bool {
        matches!(self, Self::CreateBucket(_) | Self::CreateProvider(_) | Self::CreateRole(_))
    }

    /// Whether it takes something away.
    pub const fn is_deletion(&self) -> bool {
        matches!(
            self,
            Self::DeleteSecret(_)
                | Self::DeleteRolePolicy { .. }
                | Self::DeleteRole { .. }
                | Self::DeleteProvider { .. }
                | Self::DeleteObject { .. }
                | Self::DeleteBucket { .. }
        )
    }

    /// Whether it is made in AWS, where reads may show it only after a while.
    pub const fn is_of_aws(&self) -> bool {
        !matches!(self, Self::WriteSecret { .. } | Self::DeleteSecret(_))
    }
}
