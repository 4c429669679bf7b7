//! The only writes to AWS: one change, one call.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag as IamTag;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, PublicAccessBlockConfiguration, Tag as S3Tag, Tagging,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Clients;
use super::errors::fault;
use crate::desired::issuer::{CONTENT_TYPE, DesiredBucket, DesiredObject, DesiredProvider, PublicAccessBlock};
use crate::desired::role::DesiredRole;
use crate::observed::{Fault, FaultClass};
use crate::plan::Change;

type Applied = Result<(), Fault>;

/// Makes one change. A change of Kubernetes is not for this room, and says so.
pub async fn apply(clients: &Clients, account: &str, change: &Change) -> Applied {
    match change {
        Change::CreateBucket(bucket) => create_bucket(clients, account, bucket).await,
        Change::TagBucket { bucket, tags } => tag_bucket(clients, account, bucket, tags).await,
        Change::PutPublicAccessBlock { bucket, block } => put_block(clients, account, bucket, *block).await,
        Change::PutBucketPolicy { bucket, policy } => put_bucket_policy(clients, account, bucket, policy).await,
        Change::PutObject { bucket, object } => put_object(clients, account, bucket, object).await,
        Change::CreateProvider(provider) => create_provider(clients, provider).await,
        Change::AddAudience { arn, audience } => add_audience(clients, arn, audience).await,
        Change::RemoveAudience { arn, audience } => remove_audience(clients, arn, audience).await,
        Change::TagProvider { arn, tags } => tag_provider(clients, arn, tags).await,
        Change::CreateRole(role) => create_role(clients, role).await,
        Change::UpdateTrust { role, policy } => update_trust(clients, role, policy).await,
        Change::UpdateRole { role, description, max_session_seconds } => {
            update_role(clients, role, description, *max_session_seconds).await
        }
        Change::PutInlinePolicy { role, policy } => put_inline_policy(clients, role, policy).await,
        Change::PutBoundary { role, boundary } => put_boundary(clients, role, boundary).await,
        Change::TagRole { role, tags } => tag_role(clients, role, tags).await,
        Change::WriteSecret { secret, .. } => Err(Fault {
            class: FaultClass::Malformed,
            action: "patch secrets".into(),
            target: secret.key.to_string(),
            message: "a Secret is no AWS resource".into(),
        }),
    }
}

async fn create_bucket(clients: &Clients, account: &str, bucket: &DesiredBucket) -> Applied {
    let name = &bucket.name;
    let mut call = clients.s3.create_bucket().bucket(name);
    // us-east-1 is S3's default and is refused as a constraint.
    if bucket.region != "us-east-1" {
        let constraint = BucketLocationConstraint::from(bucket.region.as_str());
        call = call
            .create_bucket_configuration(CreateBucketConfiguration::builder().location_constraint(constraint).build());
    }
    call.send().await.map_err(|e| fault("s3:CreateBucket", &format!("bucket {name}"), &e))?;
    tag_bucket(clients, account, name, &bucket.tags).await
}

async fn tag_bucket(clients: &Clients, account: &str, bucket: &str, tags: &BTreeMap<String, String>) -> Applied {
    let target = format!("bucket {bucket}");
    let tags = tags
        .iter()
        .map(|(key, value)| S3Tag::builder().key(key).value(value).build())
        .collect::<Result<Vec<_>, _>>()
        .and_then(|tags| Tagging::builder().set_tag_set(Some(tags)).build())
        .map_err(|e| unbuildable("s3:PutBucketTagging", &target, &e))?;
    let call = clients.s3.put_bucket_tagging().bucket(bucket).expected_bucket_owner(account).tagging(tags);
    call.send().await.map(drop).map_err(|e| fault("s3:PutBucketTagging", &target, &e))
}

async fn put_block(clients: &Clients, account: &str, bucket: &str, block: PublicAccessBlock) -> Applied {
    let configuration = PublicAccessBlockConfiguration::builder()
        .block_public_acls(block.block_public_acls)
        .ignore_public_acls(block.ignore_public_acls)
        .block_public_policy(block.block_public_policy)
        .restrict_public_buckets(block.restrict_public_buckets)
        .build();
    let call = clients
        .s3
        .put_public_access_block()
        .bucket(bucket)
        .expected_bucket_owner(account)
        .public_access_block_configuration(configuration);
    call.send().await.map(drop).map_err(|e| fault("s3:PutBucketPublicAccessBlock", &format!("bucket {bucket}"), &e))
}

async fn put_bucket_policy(clients: &Clients, account: &str, bucket: &str, policy: &str) -> Applied {
    let call = clients.s3.put_bucket_policy().bucket(bucket).expected_bucket_owner(account).policy(policy);
    call.send().await.map(drop).map_err(|e| fault("s3:PutBucketPolicy", &format!("bucket {bucket}"), &e))
}

async fn put_object(clients: &Clients, account: &str, bucket: &str, object: &DesiredObject) -> Applied {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let tagging: Vec<String> =
        object.tags.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    let call = clients
        .s3
        .put_object()
        .bucket(bucket)
        .key(&object.key)
        .expected_bucket_owner(account)
        .content_type(CONTENT_TYPE)
        .tagging(tagging.join("&"))
        .body(ByteStream::from(object.body.clone().into_bytes()));
    let target = format!("bucket {bucket}, object {}", object.key);
    call.send().await.map(drop).map_err(|e| fault("s3:PutObject", &target, &e))
}

/// No thumbprint: for an issuer in S3, AWS checks the certificate against its own trust roots.
async fn create_provider(clients: &Clients, provider: &DesiredProvider) -> Applied {
    let action = "iam:CreateOpenIDConnectProvider";
    let call = clients
        .iam
        .create_open_id_connect_provider()
        .url(&provider.url)
        .set_client_id_list(Some(provider.audiences.clone()))
        .set_tags(Some(iam_tags(action, &provider.arn, &provider.tags)?));
    call.send().await.map(drop).map_err(|e| fault(action, &provider.arn, &e))
}

async fn add_audience(clients: &Clients, arn: &str, audience: &str) -> Applied {
    let call = clients.iam.add_client_id_to_open_id_connect_provider();
    let call = call.open_id_connect_provider_arn(arn).client_id(audience);
    call.send().await.map(drop).map_err(|e| fault("iam:AddClientIDToOpenIDConnectProvider", arn, &e))
}

async fn remove_audience(clients: &Clients, arn: &str, audience: &str) -> Applied {
    let call = clients.iam.remove_client_id_from_open_id_connect_provider();
    let call = call.open_id_connect_provider_arn(arn).client_id(audience);
    call.send().await.map(drop).map_err(|e| fault("iam:RemoveClientIDFromOpenIDConnectProvider", arn, &e))
}

async fn tag_provider(clients: &Clients, arn: &str, tags: &BTreeMap<String, String>) -> Applied {
    let action = "iam:TagOpenIDConnectProvider";
    let call = clients.iam.tag_open_id_connect_provider().open_id_connect_provider_arn(arn);
    let call = call.set_tags(Some(iam_tags(action, arn, tags)?));
    call.send().await.map(drop).map_err(|e| fault(action, arn, &e))
}

async fn create_role(clients: &Clients, role: &DesiredRole) -> Applied {
    let (action, target) = ("iam:CreateRole", format!("role {}", role.name));
    let call = clients
        .iam
        .create_role()
        .role_name(&role.name)
        .path(&role.path)
        .description(&role.description)
        .max_session_duration(role.max_session_seconds)
        .assume_role_policy_document(&role.trust.text)
        .set_permissions_boundary(role.boundary.clone())
        .set_tags(Some(iam_tags(action, &target, &role.tags)?));
    call.send().await.map(drop).map_err(|e| fault(action, &target, &e))
}

async fn update_trust(clients: &Clients, role: &str, policy: &str) -> Applied {
    let call = clients.iam.update_assume_role_policy().role_name(role).policy_document(policy);
    call.send().await.map(drop).map_err(|e| fault("iam:UpdateAssumeRolePolicy", &format!("role {role}"), &e))
}

async fn update_role(clients: &Clients, role: &str, description: &str, max_session_seconds: i32) -> Applied {
    let call =
        clients.iam.update_role().role_name(role).description(description).max_session_duration(max_session_seconds);
    call.send().await.map(drop).map_err(|e| fault("iam:UpdateRole", &format!("role {role}"), &e))
}

async fn put_inline_policy(clients: &Clients, role: &str, policy: &str) -> Applied {
    let call = clients.iam.put_role_policy().role_name(role).policy_name(role).policy_document(policy);
    call.send().await.map(drop).map_err(|e| fault("iam:PutRolePolicy", &format!("role {role}"), &e))
}

async fn put_boundary(clients: &Clients, role: &str, boundary: &str) -> Applied {
    let call = clients.iam.put_role_permissions_boundary().role_name(role).permissions_boundary(boundary);
    call.send().await.map(drop).map_err(|e| fault("iam:PutRolePermissionsBoundary", &format!("role {role}"), &e))
}

async fn tag_role(clients: &Clients, role: &str, tags: &BTreeMap<String, String>) -> Applied {
    let (action, target) = ("iam:TagRole", format!("role {role}"));
    let call = clients.iam.tag_role().role_name(role).set_tags(Some(iam_tags(action, &target, tags)?));
    call.send().await.map(drop).map_err(|e| fault(action, &target, &e))
}

fn iam_tags(action: &str, target: &str, tags: &BTreeMap<String, String>) -> Result<Vec<IamTag>, Fault> {
    let build = |(key, value): (&String, &String)| IamTag::builder().key(key).value(value).build();
    tags.iter().map(build).collect::<Result<_, _>>().map_err(|e| unbuildable(action, target, &e))
}

fn unbuildable(action: &str, target: &str, error: &dyn std::error::Error) -> Fault {
    let (action, target) = (action.to_owned(), target.to_owned());
    Fault { class: FaultClass::Malformed, action, target, message: error.to_string() }
}
