//! The only reads of AWS: what there is of a cluster's issuer and roles.

use std::collections::BTreeMap;

use super::Session;
use super::granted::managed_document;
use super::providers::{other_providers, provider};
use super::roles::{ObservedRoles, RoleQuery, roles};
use super::snapshot::Freshness;
use crate::desired::guardrails::DEFAULT_TRUST_LIMIT;
use crate::desired::issuer::{DesiredBucket, PublicAccessBlock};
use crate::desired::owner::Holder;
use crate::desired::{Desired, Teardown};
use crate::observed::{
    BucketState, Contents, DoomedBucket, Fault, FaultClass, Fetched, FetchedDocuments, Leftovers, Observed,
    ObservedBucket, ObservedObject, ObservedProvider, ObservedTeardown, REVISION, ReadPolicy, Seen,
};
use crate::policy::Document;
use aws_sdk_s3::types::BucketVersioningStatus;

/// Largest document that is read from the bucket, in bytes; ours have about 5 KB.
const LARGEST_OBJECT: usize = 1024 * 1024;
/// How many foreign objects of a bucket are named.
const MOST_NAMED: usize = 3;

/// What AWS has of a cluster.
pub struct ObservedAws {
    /// The issuer bucket.
    pub bucket: Seen<BucketState>,
    /// The IAM OIDC provider.
    pub provider: Seen<Option<ObservedProvider>>,
    /// Other providers that may be the cluster's; `None` when nobody looked for them.
    pub other_providers: Option<Seen<Vec<ObservedProvider>>>,
    /// The roles.
    pub roles: ObservedRoles,
    /// The permissions boundaries that are to be set, by ARN.
    pub boundaries: BTreeMap<String, Seen<Document>>,
}

impl ObservedAws {
    /// Whether both documents lie in the bucket: before that, fetching them over HTTPS proves nothing.
    pub fn has_documents(&self) -> bool {
        let there = |object: &Seen<Option<ObservedObject>>| matches!(object, Seen::Known(Some(_)));
        matches!(&self.bucket, Seen::Known(BucketState::Present(bucket)) if there(&bucket.discovery) && there(&bucket.keys))
    }

    /// Whether the account was seen to have no other OIDC provider with the cluster's tag; not so where nobody has looked.
    pub fn has_no_other_provider(&self, desired: &Desired) -> bool {
        let is_of_cluster = |provider: &ObservedProvider| provider.tags.contains_key(&desired.owner_tag);
        matches!(&self.other_providers, Some(Seen::Known(providers)) if !providers.iter().any(is_of_cluster))
    }

    /// All that a plan needs, with what was fetched anonymously; of the cluster nothing yet.
    pub fn with_fetched(self, session: &Session, fetched: Option<FetchedDocuments>) -> Observed {
        Observed {
            bucket: self.bucket,
            provider: self.provider,
            other_providers: self.other_providers,
            boundaries: self.boundaries,
            account_use: self.roles.account_use,
            roles: self.roles.wanted,
            leftovers: Leftovers { roles: self.roles.leftovers, secrets: Vec::new() },
            secrets: BTreeMap::new(),
            fetched,
            keys_unread: None,
            throttled: session.account.is_held_back(),
        }
    }
}

/// What is read of AWS, beside what is always read.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How old what is told of the roles may be.
    pub freshness: Freshness,
    /// Whether the account's other OIDC providers are looked for: at first contact with the issuer.
    pub other_providers: bool,
}

/// Reads all that a plan needs of AWS, the roles as fresh as is asked for. Documents that an
/// anonymous reader just got as they should be are not read a second time.
pub async fn observe(
    session: &Session,
    desired: &Desired,
    fetched: Option<&FetchedDocuments>,
    extent: Extent,
) -> ObservedAws {
    let mark = desired.owners.mark();
    let kept = desired.kept().map(|(_, has)| has.role.as_str());
    let query = RoleQuery {
        prefix: &desired.role_prefix,
        wanted: desired.wanted().map(|(_, wanted)| wanted.role.name.as_str()).chain(kept).collect(),
        claimed: &desired.claims.roles,
        owner_tag: &desired.owner_tag,
        mark: mark.as_deref(),
        provider: desired.issuer.provider.host_and_path(),
        freshness: extent.freshness,
    };
    let others =
        async { if extent.other_providers { Some(other_providers(session, desired).await.into()) } else { None } };
    let (bucket, provider, roles, other_providers) = tokio::join!(
        bucket(session, desired, fetched),
        provider(session, &desired.issuer.provider.arn),
        roles(session, &query),
        others,
    );
    let boundaries = boundaries(session, desired, &roles).await;
    ObservedAws { bucket: bucket.into(), provider: provider.into(), other_providers, roles, boundaries }
}

/// The boundaries that roles are to get which have another or none: what they would take away is judged before.
async fn boundaries(session: &Session, desired: &Desired, found: &ObservedRoles) -> BTreeMap<String, Seen<Document>> {
    let mut boundaries = BTreeMap::new();
    for (_, wanted) in desired.wanted() {
        let Some(boundary) = &wanted.role.boundary else { continue };
        let Some(Seen::Known(Some(role))) = found.wanted.get(&wanted.role.name) else { continue };
        if role.boundary.as_ref() != Some(boundary) && !boundaries.contains_key(boundary) {
            boundaries.insert(boundary.clone(), managed_document(session, boundary).await.into());
        }
    }
    boundaries
}

/// Reads all that a teardown needs of AWS.
pub async fn observe_teardown(session: &Session, teardown: &Teardown) -> ObservedTeardown {
    let mark = teardown.owners.mark();
    let query = RoleQuery {
        prefix: &teardown.role_prefix,
        wanted: Vec::new(),
        claimed: &std::collections::BTreeSet::new(),
        owner_tag: &teardown.owner_tag,
        mark: mark.as_deref(),
        provider: teardown.issuer.provider.host_and_path(),
        freshness: Freshness::from_now_on(),
    };
    let (bucket, provider, roles) = tokio::join!(
        doomed_bucket(session, teardown),
        provider(session, &teardown.issuer.provider.arn),
        roles(session, &query),
    );
    let account_use = roles.account_use;
    ObservedTeardown { roles: roles.leftovers, provider: provider.into(), bucket: bucket.into(), account_use }
}

/// The account's quota on trust policies, in characters. AWS's default when the account does not say.
pub async fn trust_limit(session: &Session) -> Result<usize, Fault> {
    let call = session.clients.iam.get_account_summary();
    let summary = session.account.read("iam:GetAccountSummary", "the account", || call.clone().send()).await?;
    let quota = summary
        .summary_map()
        .and_then(|map| map.iter().find(|(key, _)| key.as_str() == "AssumeRolePolicySizeQuota"))
        .and_then(|(_, quota)| usize::try_from(*quota).ok());
    Ok(quota.unwrap_or(DEFAULT_TRUST_LIMIT))
}

/// What is not there is no fault.
pub(super) fn found<T>(result: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(fault) if fault.class == FaultClass::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// A bucket's tags, when it is there and may be looked at.
enum Tags {
    Absent,
    Forbidden(Fault),
    Read(BTreeMap<String, String>),
}

async fn tags(session: &Session, name: &str) -> Result<Tags, Fault> {
    let call = session.clients.s3.get_bucket_tagging().bucket(name).expected_bucket_owner(&session.account.id);
    let target = format!("bucket {name}");
    let untagged = std::sync::atomic::AtomicBool::new(false);
    let answer = session
        .account
        .read("s3:GetBucketTagging", &target, || async {
            let answer = call.clone().send().await;
            let code = answer.as_ref().err().and_then(|error| error.as_service_error()).and_then(|e| e.meta().code());
            untagged.store(code == Some("NoSuchTagSet"), std::sync::atomic::Ordering::Relaxed);
            answer
        })
        .await;
    match answer {
        Ok(tags) => Ok(Tags::Read(tags.tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect())),
        Err(_) if untagged.into_inner() => Ok(Tags::Read(BTreeMap::new())),
        Err(fault) if fault.class == FaultClass::NotFound => Ok(Tags::Absent),
        Err(fault) if fault.class == FaultClass::Denied => Ok(Tags::Forbidden(fault)),
        Err(fault) if fault.class == FaultClass::Elsewhere => {
            let message = format!("it lies in another region than spec.region: {}", fault.message);
            Ok(Tags::Forbidden(Fault { message, ..fault }))
        }
        Err(fault) => Err(fault),
    }
}

async fn bucket(
    session: &Session,
    desired: &Desired,
    fetched: Option<&FetchedDocuments>,
) -> Result<BucketState, Fault> {
    let bucket = &desired.issuer.bucket;
    let tags = match tags(session, &bucket.name).await? {
        Tags::Absent => return Ok(BucketState::Absent),
        Tags::Forbidden(fault) => return Ok(BucketState::Forbidden(fault)),
        Tags::Read(tags) => tags,
    };
    let (discovery, keys) = (&desired.issuer.discovery, desired.keys.as_ref().ok().map(|keys| &keys.document));
    let keys_key = desired.issuer.jwks_key();
    let as_wanted = |body: Option<&str>, fetched: Option<&Fetched>| match (body, fetched) {
        (Some(body), Some(Fetched::Body { body: got, content_type, etag, revision })) if got == body.as_bytes() => {
            let (content_type, etag) = (content_type.clone(), etag.clone());
            Some(ObservedObject { body: got.clone(), content_type, etag, revision: *revision })
        }
        _ => None,
    };
    let seen_discovery = as_wanted(Some(&discovery.body), fetched.map(|fetched| &fetched.discovery));
    let seen_keys = as_wanted(keys.map(|keys| keys.body.as_str()), fetched.map(|fetched| &fetched.keys));
    let (contents, public_access_block, policy, discovery, keys) = tokio::join!(
        async {
            // What carries our own mark was looked at before it was marked.
            if tags.contains_key(&desired.owner_tag) {
                return Ok(Contents::NotLookedAt);
            }
            contents(session, &bucket.name, &[&discovery.key, &keys_key]).await
        },
        public_access_block(session, &bucket.name),
        bucket_policy(session, &bucket.name),
        document(session, bucket, &discovery.key, seen_discovery),
        document(session, bucket, &keys_key, seen_keys),
    );
    Ok(BucketState::Present(Box::new(ObservedBucket {
        tags,
        contents: contents?,
        public_access_block: public_access_block.into(),
        policy: policy.into(),
        discovery: discovery.into(),
        keys: keys.into(),
    })))
}

async fn document(
    session: &Session,
    bucket: &DesiredBucket,
    key: &str,
    seen: Option<ObservedObject>,
) -> Result<Option<ObservedObject>, Fault> {
    match seen {
        Some(seen) => Ok(Some(seen)),
        None => object(session, &bucket.name, key).await,
    }
}

/// What lies in a bucket. One that may not be listed counts as holding something that is not ours.
async fn contents(session: &Session, bucket: &str, ours: &[&str]) -> Result<Contents, Fault> {
    let most = i32::try_from(ours.len() + 1).unwrap_or(i32::MAX);
    match page(session, bucket, "", most).await {
        Ok(Page { keys, complete: true }) if keys.is_empty() => Ok(Contents::Empty),
        Ok(Page { keys, complete: true }) if keys.iter().all(|key| ours.contains(&key.as_str())) => {
            Ok(Contents::DocumentsOnly)
        }
        Ok(_) => Ok(Contents::Others),
        Err(fault) if fault.class == FaultClass::Denied => Ok(Contents::Others),
        Err(fault) => Err(fault),
    }
}

/// The first keys of a bucket.
struct Page {
    keys: Vec<String>,
    /// Whether there are no more.
    complete: bool,
}

pub(super) async fn list(session: &Session, bucket: &str, most: i32) -> Result<Vec<String>, Fault> {
    page(session, bucket, "", most).await.map(|page| page.keys)
}

async fn page(session: &Session, bucket: &str, prefix: &str, most: i32) -> Result<Page, Fault> {
    let call = session.clients.s3.list_objects_v2().bucket(bucket).expected_bucket_owner(&session.account.id);
    let call = call.set_prefix(Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty())).max_keys(most);
    let target = format!("bucket {bucket}");
    let list = session.account.read("s3:ListBucket", &target, || call.clone().send()).await?;
    let complete = !list.is_truncated.unwrap_or_default();
    let keys = list.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect();
    Ok(Page { keys, complete })
}

async fn public_access_block(session: &Session, bucket: &str) -> Result<Option<PublicAccessBlock>, Fault> {
    let call = session.clients.s3.get_public_access_block().bucket(bucket).expected_bucket_owner(&session.account.id);
    let target = format!("bucket {bucket}");
    let answer = session.account.read("s3:GetBucketPublicAccessBlock", &target, || call.clone().send()).await;
    Ok(found(answer)?.and_then(|answer| answer.public_access_block_configuration).map(|block| PublicAccessBlock {
        block_public_acls: block.block_public_acls.unwrap_or_default(),
        ignore_public_acls: block.ignore_public_acls.unwrap_or_default(),
        block_public_policy: block.block_public_policy.unwrap_or_default(),
        restrict_public_buckets: block.restrict_public_buckets.unwrap_or_default(),
    }))
}

async fn bucket_policy(session: &Session, bucket: &str) -> Result<Option<ReadPolicy>, Fault> {
    let call = session.clients.s3.get_bucket_policy().bucket(bucket).expected_bucket_owner(&session.account.id);
    let target = format!("bucket {bucket}");
    let answer = session.account.read("s3:GetBucketPolicy", &target, || call.clone().send()).await;
    // S3 returns the policy as it was put, not encoded.
    Ok(found(answer)?.and_then(|answer| answer.policy).map(|policy| Document::parse(&policy)))
}

async fn object(session: &Session, bucket: &str, key: &str) -> Result<Option<ObservedObject>, Fault> {
    let call = session.clients.s3.get_object().bucket(bucket).key(key).expected_bucket_owner(&session.account.id);
    let target = format!("bucket {bucket}, object {key}");
    let answer = session.account.read("s3:GetObject", &target, || call.clone().send()).await;
    let Some(mut object) = found(answer)? else { return Ok(None) };
    let (content_type, etag) = (object.content_type.take(), object.e_tag.take());
    let revision = object.metadata.as_ref().and_then(|metadata| metadata.get(REVISION)?.trim().parse().ok());
    let mut body = Vec::new();
    while let Some(chunk) = object.body.next().await {
        let chunk = chunk.map_err(|error| Fault {
            class: FaultClass::Network,
            action: "s3:GetObject".into(),
            target: target.clone(),
            message: super::errors::scrub(&error.to_string()),
        })?;
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_OBJECT {
            break; // whatever follows, it is not ours
        }
    }
    Ok(Some(ObservedObject { body, content_type, etag, revision }))
}

/// The bucket as far as a teardown has to know it; `None` when there is none, or none that can be ours.
async fn doomed_bucket(session: &Session, teardown: &Teardown) -> Result<Option<DoomedBucket>, Fault> {
    let name = &teardown.issuer.bucket.name;
    let tags = match tags(session, name).await? {
        Tags::Absent => return Ok(None),
        // Another account's bucket is none of ours; one of this account that may not be looked at may be.
        Tags::Forbidden(fault) => return Err(fault),
        Tags::Read(tags) => tags,
    };
    // One with tags and without our mark is not ours to delete; one without any may have been begun.
    if !tags.is_empty() && teardown.owners.holder_by_tags(&tags) != Holder::Own {
        return Ok(None);
    }
    let call = session.clients.s3.get_bucket_versioning().bucket(name).expected_bucket_owner(&session.account.id);
    let target = format!("bucket {name}");
    let versioning = session.account.read("s3:GetBucketVersioning", &target, || call.clone().send()).await;
    // The tags may be read for a while after the bucket is gone.
    let Some(versioning) = found(versioning)?.map(|answer| answer.status) else { return Ok(None) };
    let ours = [teardown.issuer.discovery.key.clone(), teardown.issuer.jwks_key()];
    let most = i32::try_from(ours.len() + MOST_NAMED).unwrap_or(i32::MAX);
    let Some(Page { keys, complete }) = found(page(session, name, "", most).await)? else { return Ok(None) };
    let (mut documents, others): (Vec<String>, Vec<String>) = keys.into_iter().partition(|key| ours.contains(key));
    // Where there are more keys, ours may be behind them: no stranger's keys keep them published.
    for key in ours.into_iter().filter(|_| !complete) {
        if !documents.contains(&key) && has_object(session, name, &key).await? {
            documents.push(key);
        }
    }
    Ok(Some(DoomedBucket {
        tags,
        // Once switched on, versioning can only be suspended; either way old versions may lie there.
        versioned: matches!(versioning, Some(BucketVersioningStatus::Enabled | BucketVersioningStatus::Suspended)),
        documents,
        others,
    }))
}

/// Whether a bucket has an object of just this key: of all keys that begin so, it is the first.
async fn has_object(session: &Session, bucket: &str, key: &str) -> Result<bool, Fault> {
    let first = found(page(session, bucket, key, 1).await)?.map(|page| page.keys).unwrap_or_default();
    Ok(first.iter().any(|found| found == key))
}
