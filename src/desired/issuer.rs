//! The issuer: its URL, its documents, its bucket, and the IAM OIDC provider that trusts it.
//!
//! Documents and bucket settings are those of `ccoctl aws create-identity-provider`, the documents to the byte.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::keys::Key;
use super::names::{OWNER_TAG_VALUE, fingerprint_of, owner_tag_key};
use super::partition::Partition;
use crate::api::ClusterIdentitySpec;
use crate::policy::{Document, PolicyError};

/// Key of the discovery document, under the bucket's prefix (OpenID Connect Discovery 1.0, section 4).
pub const DISCOVERY_KEY: &str = ".well-known/openid-configuration";
/// Key of the JWKS, under the bucket's prefix.
pub const JWKS_KEY: &str = "keys.json";
/// Content type of both documents.
pub const CONTENT_TYPE: &str = "application/json";

/// Content types that are right: ours, and what S3 records for an upload that names none, as ccoctl's do.
pub const ACCEPTED_CONTENT_TYPES: [&str; 3] = [CONTENT_TYPE, "application/octet-stream", "binary/octet-stream"];

/// The issuer as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredIssuer {
    /// The issuer URL, without a slash at its end.
    pub url: String,
    /// The bucket.
    pub bucket: DesiredBucket,
    /// The discovery document.
    pub discovery: DesiredObject,
    /// The provider.
    pub provider: DesiredProvider,
}

/// The bucket as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredBucket {
    /// Name.
    pub name: String,
    /// The account that it belongs to.
    pub account: String,
    /// Region.
    pub region: String,
    /// Tags that must be there.
    pub tags: BTreeMap<String, String>,
    /// Public-access block.
    pub public_access_block: PublicAccessBlock,
    /// The bucket policy, as text.
    pub policy: String,
    /// The key prefix, with a slash at its end, or empty.
    pub prefix: String,
    /// The owner mark that it is to carry.
    #[serde(skip)]
    pub mark: Option<String>,
    /// Whether the name is the one that nobody chose, `<infraName>-oidc`.
    pub default_name: bool,
}

/// S3's four switches against public access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "S3 has these four")]
pub struct PublicAccessBlock {
    /// Refuse public ACLs.
    pub block_public_acls: bool,
    /// Ignore public ACLs.
    pub ignore_public_acls: bool,
    /// Refuse public policies.
    pub block_public_policy: bool,
    /// Restrict public buckets to the account.
    pub restrict_public_buckets: bool,
}

/// The documents are read by everybody through the bucket policy, never through ACLs.
pub const PUBLIC_READ: PublicAccessBlock = PublicAccessBlock {
    block_public_acls: true,
    ignore_public_acls: true,
    block_public_policy: false,
    restrict_public_buckets: false,
};

/// A document as it should lie in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredObject {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub body: String,
    /// Its tags; a new object gets them.
    pub tags: BTreeMap<String, String>,
}

/// The IAM OIDC provider as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DesiredProvider {
    /// Its ARN; IAM makes it of the account and the URL.
    pub arn: String,
    /// The issuer URL.
    pub url: String,
    /// The audiences, exactly.
    pub audiences: Vec<String>,
    /// Tags that must be there.
    pub tags: BTreeMap<String, String>,
    /// The owner mark that it is to carry.
    #[serde(skip)]
    pub mark: Option<String>,
}

impl DesiredBucket {
    /// Changes when what is wanted of the bucket changes.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(&format!("{}/{}", self.account, self.name), &json!(self).to_string())
    }

    /// The wanted policy as a document.
    pub fn policy_document(&self) -> Result<Document, PolicyError> {
        Document::parse(&self.policy)
    }
}

impl DesiredObject {
    /// Changes when the document changes.
    pub fn fingerprint(&self, bucket: &DesiredBucket) -> String {
        fingerprint_of(&format!("{}/{}/{}", bucket.account, bucket.name, self.key), &self.body)
    }
}

impl DesiredProvider {
    /// Changes when what is wanted of the provider changes.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(&self.arn, &json!(self).to_string())
    }

    /// The provider's name in trust policies: the URL without its scheme.
    pub fn host_and_path(&self) -> &str {
        without_scheme(&self.url)
    }
}

impl DesiredIssuer {
    /// With the owner mark that its parts are to carry.
    #[must_use]
    pub fn marked(mut self, mark: Option<String>) -> Self {
        self.bucket.mark.clone_from(&mark);
        self.provider.mark = mark;
        self
    }

    /// The key of the JWKS in the bucket.
    pub fn jwks_key(&self) -> String {
        format!("{}{JWKS_KEY}", self.bucket.prefix)
    }
}

/// A URL without `https://`, as IAM keeps a provider's URL.
pub fn without_scheme(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url)
}

/// Tags of everything that belongs to the cluster.
pub fn owner_tags(infra_name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (owner_tag_key(infra_name), OWNER_TAG_VALUE.to_owned()),
        ("Name".to_owned(), infra_name.to_owned()),
    ])
}

/// The issuer that a spec asks for in an account.
pub fn desired_issuer(spec: &ClusterIdentitySpec, account: &str) -> DesiredIssuer {
    let partition = Partition::of_region(&spec.region);
    let given = spec.issuer.bucket.clone().unwrap_or_default();
    let default_name = given.name.is_none();
    let bucket = given.name.unwrap_or_else(|| super::names::default_bucket(&spec.infra_name));
    let path = given.prefix.as_ref().map(|prefix| format!("/{prefix}")).unwrap_or_default();
    let prefix = given.prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default();
    let url = format!("https://{bucket}.s3.{}.{}{path}", spec.region, partition.dns_suffix);
    let tags = owner_tags(&spec.infra_name);
    DesiredIssuer {
        bucket: DesiredBucket {
            policy: bucket_policy(&bucket, partition),
            name: bucket,
            account: account.to_owned(),
            region: spec.region.clone(),
            tags: tags.clone(),
            public_access_block: PUBLIC_READ,
            prefix: prefix.clone(),
            mark: None,
            default_name,
        },
        discovery: DesiredObject {
            key: format!("{prefix}{DISCOVERY_KEY}"),
            body: discovery_document(&url),
            tags: tags.clone(),
        },
        provider: DesiredProvider {
            arn: format!("arn:{}:iam::{account}:oidc-provider/{}", partition.id, without_scheme(&url)),
            url: url.clone(),
            audiences: spec.issuer.audiences.clone(),
            tags,
            mark: None,
        },
        url,
    }
}

/// The JWKS of the keys, byte for byte as ccoctl writes it for one key.
pub fn jwks_document(keys: &[Key]) -> String {
    jwks_document_with(keys, &[])
}

/// The JWKS of the keys and of entries of others, which stand in it as they were found.
pub fn jwks_document_with(keys: &[Key], others: &[String]) -> String {
    let entries: Vec<String> = keys
        .iter()
        .map(|key| {
            format!(
                "        {{\n            \"use\": \"sig\",\n            \"kty\": \"RSA\",\n            \"kid\": \"{}\",\n            \"alg\": \"RS256\",\n            \"n\": \"{}\",\n            \"e\": \"{}\"\n        }}",
                key.kid, key.n, key.e
            )
        })
        .chain(others.iter().map(|entry| format!("        {entry}")))
        .collect();
    format!("{{\n    \"keys\": [\n{}\n    ]\n}}", entries.join(",\n"))
}

/// The discovery document, byte for byte as ccoctl writes it: tabs, the doubled `sub`, no newline at the end.
pub fn discovery_document(url: &str) -> String {
    format!(
        r#"{{
	"issuer": "{url}",
	"jwks_uri": "{url}/keys.json",
    "response_types_supported": [
        "id_token"
    ],
    "subject_types_supported": [
        "public"
    ],
    "id_token_signing_alg_values_supported": [
        "RS256"
    ],
    "claims_supported": [
        "aud",
        "exp",
        "sub",
        "iat",
        "iss",
        "sub"
    ]
}}"#
    )
}

/// Anonymous reading of the bucket's objects, ccoctl's statement.
fn bucket_policy(bucket: &str, partition: Partition) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "AllowReadPublicAccess",
            "Principal": "*",
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": [format!("arn:{}:s3:::{bucket}/*", partition.id)],
        }],
    })
    .to_string()
}
