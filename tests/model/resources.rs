//! What exists in the model: plain data, for the operations and for tests that look past the API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Bytes;
use tokio::time::Instant;

use super::document::Document;

pub type Tags = BTreeMap<String, String>;

/// An IAM role.
#[derive(Debug, Clone)]
pub struct Role {
    pub name: String,
    pub path: String,
    pub arn: String,
    /// `AROA…`: another one when a role of the same name is made again.
    pub id: String,
    pub created: Arc<str>,
    pub description: Option<String>,
    pub max_session_seconds: i32,
    pub trust: Document,
    /// Inline policies by name.
    pub inline: BTreeMap<String, Document>,
    /// ARNs of managed policies.
    pub attached: BTreeSet<String>,
    pub boundary: Option<String>,
    pub tags: Tags,
    pub instance_profiles: BTreeSet<String>,
}

/// An IAM OpenID Connect provider.
#[derive(Debug, Clone)]
pub struct Provider {
    pub arn: String,
    /// Without `https://`.
    pub url: String,
    pub audiences: Vec<String>,
    pub thumbprints: Vec<String>,
    pub tags: Tags,
    pub created: Arc<str>,
}

/// A customer managed policy.
#[derive(Debug, Clone)]
pub struct Policy {
    pub arn: String,
    pub name: String,
    pub path: String,
    pub id: String,
    pub description: Option<String>,
    pub document: Document,
    pub created: Arc<str>,
}

/// A bucket's configuration. Its objects are kept beside it.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub name: String,
    /// The account that owns it.
    pub owner: String,
    pub region: String,
    /// `None` until tags are set: S3 tells "no tag set" from an empty one only in that.
    pub tags: Option<Tags>,
    /// S3 Block Public Access. `None` once it was deleted.
    pub block: Option<PublicAccessBlock>,
    pub policy: Option<Arc<str>>,
    /// `None` until it was set once.
    pub versioning: Option<Versioning>,
}

/// S3 Block Public Access of a bucket. All on in a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "S3 has these four")]
pub struct PublicAccessBlock {
    pub block_public_acls: bool,
    pub ignore_public_acls: bool,
    pub block_public_policy: bool,
    pub restrict_public_buckets: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    Enabled,
    Suspended,
}

/// A key in a bucket with its versions, the latest last.
#[derive(Debug, Clone, Default)]
pub struct Object {
    pub versions: Vec<Version>,
}

/// One version of an object.
#[derive(Debug, Clone)]
pub struct Version {
    /// `null` in a bucket without versioning.
    pub id: String,
    pub modified: Instant,
    /// `None`: a delete marker.
    pub content: Option<Arc<Content>>,
}

/// What was put.
#[derive(Debug, Clone)]
pub struct Content {
    pub body: Bytes,
    pub etag: String,
    pub content_type: String,
    pub cache_control: Option<String>,
    /// User metadata: `x-amz-meta-*` without that prefix, in lower case.
    pub metadata: BTreeMap<String, String>,
    pub tags: Tags,
}

impl Bucket {
    /// One that was just made: closed to the public, with nothing set.
    pub fn new(name: &str, owner: &str, region: &str) -> Self {
        Bucket {
            name: name.to_owned(),
            owner: owner.to_owned(),
            region: region.to_owned(),
            tags: None,
            block: Some(PublicAccessBlock::all(true)),
            policy: None,
            versioning: None,
        }
    }
}

impl PublicAccessBlock {
    pub fn all(on: bool) -> Self {
        PublicAccessBlock {
            block_public_acls: on,
            ignore_public_acls: on,
            block_public_policy: on,
            restrict_public_buckets: on,
        }
    }
}

impl Object {
    /// What a GET without a version finds.
    pub fn latest(&self) -> Option<(&Version, &Arc<Content>)> {
        let version = self.versions.last()?;
        Some((version, version.content.as_ref()?))
    }
}
