//! The only reads of AWS: what there is of a cluster's issuer and roles.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Role;
use futures::StreamExt;
use futures::stream;

use super::Clients;
use super::errors::fault;
use crate::desired::Desired;
use crate::desired::guardrails::DEFAULT_TRUST_LIMIT;
use crate::desired::issuer::PublicAccessBlock;
use crate::observed::{
    BucketState, Contents, Fault, FaultClass, ObservedBucket, ObservedObject, ObservedProvider, ObservedRole,
    ReadPolicy, Seen,
};
use crate::policy::Document;

/// How many roles are read side by side.
const SIDE_BY_SIDE: usize = 8;
/// Largest document that is read from the bucket, in bytes; ours have about 5 KB.
const LARGEST_OBJECT: usize = 1024 * 1024;

/// What AWS has of a cluster.
pub struct ObservedAws {
    /// The issuer bucket.
    pub bucket: Seen<BucketState>,
    /// The IAM OIDC provider.
    pub provider: Seen<Option<ObservedProvider>>,
    /// The wanted roles, by name.
    pub roles: BTreeMap<String, Seen<Option<ObservedRole>>>,
}

impl ObservedAws {
    /// Whether both documents lie in the bucket: before that, fetching them over HTTPS proves nothing.
    pub fn has_documents(&self) -> bool {
        let there = |object: &Seen<Option<ObservedObject>>| matches!(object, Seen::Known(Some(_)));
        matches!(&self.bucket, Seen::Known(BucketState::Present(bucket)) if there(&bucket.discovery) && there(&bucket.keys))
    }
}

/// Reads all that a plan needs of AWS.
pub async fn observe(clients: &Clients, account: &str, desired: &Desired) -> ObservedAws {
    let names: Vec<String> = desired.wanted().map(|(_, wanted)| wanted.role.name.clone()).collect();
    let roles = stream::iter(names)
        .map(|name| async move {
            let role = role(clients, &name).await.into();
            (name, role)
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect();
    let (bucket, provider, roles) =
        tokio::join!(bucket(clients, account, desired), provider(clients, &desired.issuer.provider.arn), roles,);
    ObservedAws { bucket: bucket.into(), provider: provider.into(), roles }
}

/// The account's quota on trust policies, in characters. AWS's default when the account does not say.
pub async fn trust_limit(clients: &Clients) -> Result<usize, Fault> {
    let summary = clients
        .iam
        .get_account_summary()
        .send()
        .await
        .map_err(|e| fault("iam:GetAccountSummary", "the account", &e))?;
    let quota = summary
        .summary_map()
        .and_then(|map| map.iter().find(|(key, _)| key.as_str() == "AssumeRolePolicySizeQuota"))
        .and_then(|(_, quota)| usize::try_from(*quota).ok());
    Ok(quota.unwrap_or(DEFAULT_TRUST_LIMIT))
}

/// What is not there is no fault.
fn found<T>(result: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(fault) if fault.class == FaultClass::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn bucket(clients: &Clients, account: &str, desired: &Desired) -> Result<BucketState, Fault> {
    let name = &desired.issuer.bucket.name;
    let s3 = &clients.s3;
    let tags = s3.get_bucket_tagging().bucket(name).expected_bucket_owner(account).send().await;
    let tags = match tags {
        Ok(tags) => tags.tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        Err(error) => {
            let untagged = error.as_service_error().and_then(|e| e.meta().code()) == Some("NoSuchTagSet");
            let fault = fault("s3:GetBucketTagging", &format!("bucket {name}"), &error);
            match fault.class {
                FaultClass::NotFound if untagged => BTreeMap::new(),
                FaultClass::NotFound => return Ok(BucketState::Absent),
                FaultClass::Denied => return Ok(BucketState::Forbidden(fault)),
                _ => return Err(fault),
            }
        }
    };
    let discovery = &desired.issuer.discovery.key;
    let keys = format!("{}{}", desired.issuer.bucket.prefix, crate::desired::issuer::JWKS_KEY);
    let (contents, public_access_block, policy, discovery, keys) = tokio::join!(
        async {
            if tags.contains_key(&desired.owner_tag) {
                return Contents::NotLookedAt;
            }
            contents(clients, account, name, &[discovery, &keys]).await
        },
        public_access_block(clients, account, name),
        bucket_policy(clients, account, name),
        object(clients, account, name, discovery),
        object(clients, account, name, &keys),
    );
    Ok(BucketState::Present(Box::new(ObservedBucket {
        tags,
        contents,
        public_access_block: public_access_block.into(),
        policy: policy.into(),
        discovery: discovery.into(),
        keys: keys.into(),
    })))
}

/// What lies in a bucket. One that may not be listed counts as holding something that is not ours.
async fn contents(clients: &Clients, account: &str, bucket: &str, ours: &[&str]) -> Contents {
    let most = i32::try_from(ours.len() + 1).unwrap_or(i32::MAX);
    let list = clients.s3.list_objects_v2().bucket(bucket).expected_bucket_owner(account).max_keys(most).send().await;
    let Ok(list) = list else { return Contents::Others };
    let keys: Vec<&str> = list.contents().iter().filter_map(|object| object.key()).collect();
    match keys.as_slice() {
        [] => Contents::Empty,
        keys if keys.iter().all(|key| ours.contains(key)) => Contents::DocumentsOnly,
        _ => Contents::Others,
    }
}

async fn public_access_block(
    clients: &Clients,
    account: &str,
    bucket: &str,
) -> Result<Option<PublicAccessBlock>, Fault> {
    let answer = clients.s3.get_public_access_block().bucket(bucket).expected_bucket_owner(account).send().await;
    let answer = found(answer.map_err(|e| fault("s3:GetBucketPublicAccessBlock", &format!("bucket {bucket}"), &e)))?;
    Ok(answer.and_then(|answer| answer.public_access_block_configuration).map(|block| PublicAccessBlock {
        block_public_acls: block.block_public_acls.unwrap_or_default(),
        ignore_public_acls: block.ignore_public_acls.unwrap_or_default(),
        block_public_policy: block.block_public_policy.unwrap_or_default(),
        restrict_public_buckets: block.restrict_public_buckets.unwrap_or_default(),
    }))
}

async fn bucket_policy(clients: &Clients, account: &str, bucket: &str) -> Result<Option<ReadPolicy>, Fault> {
    let answer = clients.s3.get_bucket_policy().bucket(bucket).expected_bucket_owner(account).send().await;
    let answer = found(answer.map_err(|e| fault("s3:GetBucketPolicy", &format!("bucket {bucket}"), &e)))?;
    // S3 returns the policy as it was put, not encoded.
    Ok(answer.and_then(|answer| answer.policy).map(|text| Document::parse(&text)))
}

async fn object(clients: &Clients, account: &str, bucket: &str, key: &str) -> Result<Option<ObservedObject>, Fault> {
    let target = format!("bucket {bucket}, object {key}");
    let answer = clients.s3.get_object().bucket(bucket).key(key).expected_bucket_owner(account).send().await;
    let Some(mut object) = found(answer.map_err(|e| fault("s3:GetObject", &target, &e)))? else { return Ok(None) };
    let content_type = object.content_type.take();
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
    Ok(Some(ObservedObject { body, content_type }))
}

async fn provider(clients: &Clients, arn: &str) -> Result<Option<ObservedProvider>, Fault> {
    let answer = clients.iam.get_open_id_connect_provider().open_id_connect_provider_arn(arn).send().await;
    let answer = found(answer.map_err(|e| fault("iam:GetOpenIDConnectProvider", arn, &e)))?;
    Ok(answer.map(|provider| ObservedProvider {
        tags: provider.tags().iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        url: provider.url.unwrap_or_default(),
        audiences: provider.client_id_list.unwrap_or_default(),
    }))
}

async fn role(clients: &Clients, name: &str) -> Result<Option<ObservedRole>, Fault> {
    let target = format!("role {name}");
    let answer = clients.iam.get_role().role_name(name).send().await.map_err(|e| fault("iam:GetRole", &target, &e));
    let Some(role) = found(answer)?.and_then(|answer| answer.role) else { return Ok(None) };
    let policy = clients.iam.get_role_policy().role_name(name).policy_name(name).send().await;
    let policy = found(policy.map_err(|e| fault("iam:GetRolePolicy", &target, &e)));
    let permissions = policy.map(|policy| policy.map(|policy| Document::parse_returned(&policy.policy_document)));
    Ok(Some(observed_role(role, permissions.into())))
}

fn observed_role(role: Role, permissions: Seen<Option<ReadPolicy>>) -> ObservedRole {
    ObservedRole {
        trust: Document::parse_returned(role.assume_role_policy_document.as_deref().unwrap_or_default()),
        boundary: role.permissions_boundary.as_ref().and_then(|b| b.permissions_boundary_arn.clone()),
        tags: role.tags().iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        description: role.description.unwrap_or_default(),
        // IAM leaves out what was never set; its default is one hour.
        max_session_seconds: role.max_session_duration.unwrap_or(3600),
        path: role.path,
        permissions,
    }
}
