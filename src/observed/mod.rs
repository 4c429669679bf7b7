//! What is: AWS and the target cluster as they were read, plain data without clients.

pub mod dump;
pub mod fault;
pub mod usage;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::desired::issuer::PublicAccessBlock;
use crate::desired::secret::SecretKey;
use crate::policy::{Document, Effect, PolicyError};
pub use fault::{Fault, FaultClass};
pub use usage::{AccountUse, LastUse};

/// Something that was read, or why it could not be.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen<T> {
    /// It was read.
    Known(T),
    /// It could not be read; nothing is concluded about it, and nothing of it is written.
    Unknown(Fault),
}

impl<T> Seen<T> {
    /// The value, or the fault.
    pub fn known(&self) -> Result<&T, &Fault> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Unknown(fault) => Err(fault),
        }
    }
}

impl<T> From<Result<T, Fault>> for Seen<T> {
    fn from(result: Result<T, Fault>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(fault) => Self::Unknown(fault),
        }
    }
}

/// All that a pass has read.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The issuer bucket.
    pub bucket: Seen<BucketState>,
    /// The IAM OIDC provider; `None` when there is none.
    pub provider: Seen<Option<ObservedProvider>>,
    /// Other providers of the account that may be the cluster's; `None` when nobody looked for them.
    pub other_providers: Option<Seen<Vec<ObservedProvider>>>,
    /// The roles that were looked for, by name.
    pub roles: BTreeMap<String, Seen<Option<ObservedRole>>>,
    /// The permissions boundaries that are to be set, by ARN.
    pub boundaries: BTreeMap<String, Seen<Document>>,
    /// How the roles of the account are used.
    pub account_use: AccountUse,
    /// What carries the cluster's mark and is asked for by no request.
    pub leftovers: Leftovers,
    /// The Secrets that were looked for; empty when there is no cluster to look in.
    pub secrets: BTreeMap<SecretKey, Seen<SecretState>>,
    /// The documents as an anonymous reader gets them; `None` when that was not tried.
    pub fetched: Option<FetchedDocuments>,
    /// Why a source of signing keys could not be read, if that will pass.
    pub keys_unread: Option<Fault>,
    /// Whether calls are held back, because AWS throttles the account.
    pub throttled: bool,
}

/// The issuer bucket.
#[derive(Debug, Clone, PartialEq)]
pub enum BucketState {
    /// No bucket of that name.
    Absent,
    /// A bucket that we may not look at: another account's, as a rule.
    Forbidden(Fault),
    /// A bucket of this account.
    Present(Box<ObservedBucket>),
}

/// The issuer bucket's settings and documents.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedBucket {
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// What lies in it; looked at only when it does not carry the cluster's tag.
    pub contents: Contents,
    /// Its public-access block.
    pub public_access_block: Seen<Option<PublicAccessBlock>>,
    /// Its policy.
    pub policy: Seen<Option<ReadPolicy>>,
    /// The discovery document.
    pub discovery: Seen<Option<ObservedObject>>,
    /// The JWKS.
    pub keys: Seen<Option<ObservedObject>>,
}

/// What lies in a bucket that is not marked as ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Nobody looked: the bucket is marked.
    NotLookedAt,
    /// Nothing.
    Empty,
    /// Our documents and nothing else.
    DocumentsOnly,
    /// Something else, or it may not be listed.
    Others,
}

/// A policy document as AWS returned it, read or not readable.
pub type ReadPolicy = Result<Document, PolicyError>;

/// An object in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedObject {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Its content type.
    pub content_type: Option<String>,
    /// Its entity tag, as it was returned.
    pub etag: Option<String>,
    /// The revision in its metadata ([`REVISION`]).
    pub revision: Option<i64>,
}

/// The name of the object metadata that holds the revision of `keys.json`.
pub const REVISION: &str = "rolecall-revision";

/// The IAM OIDC provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedProvider {
    /// Its ARN.
    pub arn: String,
    /// Its URL, as returned (AWS leaves the scheme out).
    pub url: String,
    /// Its audiences.
    pub audiences: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What carries the cluster's mark and is asked for by no request.
#[derive(Debug, Clone)]
pub struct Leftovers {
    /// Roles, or why they are not known.
    pub roles: Seen<Vec<Seen<Leftover>>>,
    /// Secrets.
    pub secrets: Vec<LeftoverSecret>,
}

/// A role that belongs to the cluster by its tags and is asked for by no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was last used, as far as AWS tells.
    pub last_used: Option<LastUse>,
    /// The ARNs of the OIDC providers that its trust policy allows.
    pub trusted: BTreeSet<String>,
    /// Whether it has the inline policy that Rolecall and ccoctl make: the one of the role's own name.
    pub own_policy: bool,
    /// What else hangs on it, in words: someone uses it for something of theirs.
    pub others: Vec<String>,
}

impl Leftover {
    /// With these inline policies, attached policies (ARNs) and instance profiles.
    #[must_use]
    pub fn having<'a>(
        self,
        inline: impl Iterator<Item = &'a str>,
        attached: &[String],
        instance_profiles: &[String],
    ) -> Self {
        let (own, foreign): (Vec<&str>, Vec<&str>) = inline.partition(|policy| *policy == self.name);
        let mut others: Vec<String> = foreign.iter().map(|policy| format!("inline policy {policy}")).collect();
        others.extend(attached.iter().map(|arn| format!("attached policy {arn}")));
        others.extend(instance_profiles.iter().map(|profile| format!("instance profile {profile}")));
        Self { own_policy: !own.is_empty(), others, ..self }
    }
}

/// The ARNs of the OIDC providers whose tokens a trust policy allows.
pub fn trusted_providers(trust: &ReadPolicy) -> BTreeSet<String> {
    let statements = trust.iter().flat_map(|document| &document.statements);
    let allowing = statements.filter(|statement| statement.effect == Effect::Allow);
    let principals = allowing.filter_map(|statement| statement.principals.as_ref()).filter(|who| !who.inverted);
    let federated = principals.filter_map(|who| who.by_kind.get("Federated")).flatten();
    federated.filter(|arn| arn.contains(":oidc-provider/")).cloned().collect()
}

/// A Secret that carries the cluster's mark and is asked for by no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftoverSecret {
    /// Where.
    pub key: SecretKey,
    /// Its uid: another Secret of the name is not meant.
    pub uid: String,
    /// Its resource version: one that someone changed meanwhile is not meant either.
    pub resource_version: String,
    /// Its owner mark without its place; none for a copy, whose mark names another place.
    pub mark: Option<String>,
}

/// All that a teardown has read.
#[derive(Debug, Clone)]
pub struct ObservedTeardown {
    /// The roles that carry the cluster's mark, or why they are not known.
    pub roles: Seen<Vec<Seen<Leftover>>>,
    /// The IAM OIDC provider; `None` when there is none.
    pub provider: Seen<Option<ObservedProvider>>,
    /// The issuer bucket; `None` when there is none that is ours.
    pub bucket: Seen<Option<DoomedBucket>>,
    /// How the roles of the account are used.
    pub account_use: AccountUse,
}

/// The issuer bucket as far as a teardown has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoomedBucket {
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Whether versioning is, or was, switched on.
    pub versioned: bool,
    /// Those of our documents that lie in it.
    pub documents: Vec<String>,
    /// Some of the other objects that lie in it.
    pub others: Vec<String>,
}

/// A role.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedRole {
    /// Its name: IAM finds it in any case, but keeps the one it was made with.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Its description; absent and empty are the same.
    pub description: String,
    /// Its longest session, in seconds.
    pub max_session_seconds: i32,
    /// Its trust policy.
    pub trust: ReadPolicy,
    /// Its inline policy of the role's own name.
    pub permissions: Seen<Option<ReadPolicy>>,
    /// The ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its unique id (`AROA…`): a role that was made anew has another.
    pub id: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was last used, as far as AWS tells.
    pub last_used: Option<LastUse>,
}

/// A Secret in its target namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretState {
    /// Its namespace does not exist.
    NamespaceMissing,
    /// There is none.
    Absent,
    /// There is one.
    Present(ObservedSecret),
}

/// What matters of a Secret. Its values are not kept: they might be someone's access keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct ObservedSecret {
    /// Its resource version.
    pub resource_version: String,
    /// SHA-256 of the value of `credentials`, in hexadecimal.
    pub credentials_sha256: Option<String>,
    /// `role_arn` of that profile, when it holds no key material.
    pub role_arn: Option<String>,
    /// `web_identity_token_file` of that profile, when it holds no key material.
    pub token_path: Option<String>,
    /// Whether it holds an access key, as an entry or within the profile.
    pub has_access_key: bool,
    /// Its type.
    pub type_: String,
    /// Whether it carries our mark: the label, or our field manager.
    pub ours: bool,
    /// Whether labels and annotations are as we set them, the identity's and the request's apart.
    pub labelled: bool,
    /// The identity that its annotation names.
    pub identity: Option<String>,
    /// The request that its annotation names.
    pub request: Option<String>,
    /// Its owner mark without its place; none for a copy, whose mark names another place.
    pub mark: Option<String>,
    /// Whether its access keys may be replaced (annotation `rolecall.dev/replace-with: sts`).
    pub replaceable: bool,
}

/// The two documents as an anonymous reader gets them over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedDocuments {
    /// The discovery document.
    pub discovery: Fetched,
    /// The JWKS.
    pub keys: Fetched,
}

/// What an anonymous reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The document.
    Body {
        /// Its bytes.
        body: Vec<u8>,
        /// Its content type.
        content_type: Option<String>,
        /// Its entity tag.
        etag: Option<String>,
        /// The revision in its metadata.
        revision: Option<i64>,
    },
    /// An HTTP status other than 200.
    Status(u16),
    /// No answer: name resolution, connection, TLS, time-out.
    Unreachable(String),
}
