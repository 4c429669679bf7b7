//! The only writes to AWS: one change, one call.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag as IamTag;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, PublicAccessBlockConfiguration, Tag as S3Tag, Tagging,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Session;
use super::observe::list;
use crate::desired::issuer::{CONTENT_TYPE, DesiredBucket, DesiredObject, DesiredProvider, PublicAccessBlock};
use crate::desired::owner::OWNER_MARK;
use crate::desired::role::DesiredRole;
use crate::observed::{Fault, FaultClass, REVISION};
use crate::plan::Change;
use crate::plan::change::Expected;

type Applied = Result<(), Fault>;

/// Makes one change. A change of Kubernetes is not for this room, and says so.
pub async fn apply(session: &Session, change: &Change) -> Applied {
    let note = || change.role().into_iter().for_each(|role| session.account.note_written(role));
    // Whatever the answer, the role may have changed; and who gives up waiting for it does not come to the second note.
    note();
    let result = call(session, change).await;
    note();
    result
}

async fn call(session: &Session, change: &Change) -> Applied {
    match change {
        Change::CreateBucket(bucket) => create_bucket(session, bucket).await,
        Change::TagBucket { bucket, tags } => tag_bucket(session, bucket, tags).await,
        Change::PutPublicAccessBlock { bucket, block } => put_block(session, bucket, *block).await,
        Change::PutBucketPolicy { bucket, policy } => put_bucket_policy(session, bucket, policy).await,
        Change::PutObject { bucket, object, expected, revision } => {
            put_object(session, bucket, object, expected, *revision).await
        }
        Change::CreateProvider(provider) => create_provider(session, provider).await,
        Change::AddAudience { arn, audience } => add_audience(session, arn, audience).await,
        Change::RemoveAudience { arn, audience } => remove_audience(session, arn, audience).await,
        Change::TagProvider { arn, tags } => tag_provider(session, arn, tags).await,
        Change::CreateRole(role) => create_role(session, role).await,
        Change::UpdateTrust { role, policy } => update_trust(session, role, policy).await,
        Change::UpdateRole { role, description, max_session_seconds } => {
            update_role(session, role, description, *max_session_seconds).await
        }
        Change::PutInlinePolicy { role, policy } => put_inline_policy(session, role, policy).await,
        Change::PutBoundary { role, boundary } => put_boundary(session, role, boundary).await,
        Change::TagRole { role, tags } => tag_role(session, role, tags).await,
        Change::DeleteRolePolicy { role } => gone(delete_role_policy(session, role).await),
        Change::DeleteRole { role } => gone(delete_role(session, role).await),
        Change::DeleteProvider { arn } => gone(delete_provider(session, arn).await),
        Change::DeleteObject { bucket, key } => gone(delete_object(session, bucket, key).await),
        Change::DeleteBucket { bucket } => gone(delete_bucket(session, bucket).await),
        Change::WriteSecret { .. } | Change::DeleteSecret(_) => Err(Fault {
            class: FaultClass::Malformed,
            action: change.name().into(),
            target: change.target(),
            message: "a Secret is no AWS resource".into(),
        }),
    }
}

/// What is not there any more needs no deleting.
fn gone(result: Applied) -> Applied {
    match result {
        Err(fault) if fault.class == FaultClass::NotFound => Ok(()),
        other => other,
    }
}

async fn create_bucket(session: &Session, bucket: &DesiredBucket) -> Applied {
    let name = &bucket.name;
    let mut call = session.clients.s3.create_bucket().bucket(name);
    // us-east-1 is S3's default and is refused as a constraint.
    if bucket.region != "us-east-1" {
        let constraint = BucketLocationConstraint::from(bucket.region.as_str());
        call = call
            .create_bucket_configuration(CreateBucketConfiguration::builder().location_constraint(constraint).build());
    }
    session.account.write("s3:CreateBucket", &format!("bucket {name}"), || call.clone().send()).await?;
    // us-east-1 alone says yes for a bucket that the account has already, and our policy would open what lies in it.
    if bucket.region == "us-east-1" && !list(session, name, 1).await?.is_empty() {
        let message = "the account has a bucket of this name already, with something in it".into();
        let (action, target) = ("s3:CreateBucket".into(), format!("bucket {name}"));
        return Err(Fault { class: FaultClass::Conflict, action, target, message });
    }
    tag_bucket(session, name, &with_mark(&bucket.tags, bucket.mark.as_ref())).await
}

/// Tags with the owner mark.
fn with_mark(tags: &BTreeMap<String, String>, mark: Option<&String>) -> BTreeMap<String, String> {
    let mark = mark.map(|mark| (OWNER_MARK.to_owned(), mark.clone()));
    tags.clone().into_iter().chain(mark).collect()
}

async fn tag_bucket(session: &Session, bucket: &str, tags: &BTreeMap<String, String>) -> Applied {
    let target = format!("bucket {bucket}");
    let tags = tags
        .iter()
        .map(|(key, value)| S3Tag::builder().key(key).value(value).build())
        .collect::<Result<Vec<_>, _>>()
        .and_then(|tags| Tagging::builder().set_tag_set(Some(tags)).build())
        .map_err(|e| unbuildable("s3:PutBucketTagging", &target, &e))?;
    let call =
        session.clients.s3.put_bucket_tagging().bucket(bucket).expected_bucket_owner(&session.account.id).tagging(tags);
    session.account.write("s3:PutBucketTagging", &target, || call.clone().send()).await.map(drop)
}

async fn put_block(session: &Session, bucket: &str, block: PublicAccessBlock) -> Applied {
    let configuration = PublicAccessBlockConfiguration::builder()
        .block_public_acls(block.block_public_acls)
        .ignore_public_acls(block.ignore_public_acls)
        .block_public_policy(block.block_public_policy)
        .restrict_public_buckets(block.restrict_public_buckets)
        .build();
    let call = session
        .clients
        .s3
        .put_public_access_block()
        .bucket(bucket)
        .expected_bucket_owner(&session.account.id)
        .public_access_block_configuration(configuration);
    session
        .account
        .write("s3:PutBucketPublicAccessBlock", &format!("bucket {bucket}"), || call.clone().send())
        .await
        .map(drop)
}

async fn put_bucket_policy(session: &Session, bucket: &str, policy: &str) -> Applied {
    let call =
        session.clients.s3.put_bucket_policy().bucket(bucket).expected_bucket_owner(&session.account.id).policy(policy);
    session.account.write("s3:PutBucketPolicy", &format!("bucket {bucket}"), || call.clone().send()).await.map(drop)
}

async fn put_object(
    session: &Session,
    bucket: &str,
    object: &DesiredObject,
    expected: &Expected,
    revision: Option<i64>,
) -> Applied {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let tagging: Vec<String> =
        object.tags.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    let tagging = tagging.join("&");
    let target = format!("bucket {bucket}, object {}", object.key);
    // A body can be sent only once, so each attempt gets its own.
    let call = || {
        let call = session.clients.s3.put_object().bucket(bucket).key(&object.key);
        let call = call.expected_bucket_owner(&session.account.id).content_type(CONTENT_TYPE).tagging(&tagging);
        let call = revision.into_iter().fold(call, |call, revision| call.metadata(REVISION, revision.to_string()));
        let call = match expected {
            Expected::Absent => call.if_none_match("*"),
            Expected::Version(etag) => call.if_match(etag),
            Expected::Anything => call,
        };
        call.body(ByteStream::from(object.body.clone().into_bytes())).send()
    };
    session
        .account
        .write("s3:PutObject", &target, call)
        .await
        .map(drop)
        .map_err(|fault| refused_condition(fault, expected))
}

/// In plain words, that a service knows no conditional writes.
fn refused_condition(fault: Fault, expected: &Expected) -> Fault {
    if *expected == Expected::Anything || !fault.message.contains("NotImplemented") {
        return fault;
    }
    let message = format!(
        "this S3 service refuses conditional writes (If-Match, If-None-Match), so a document that somebody changes at the same time could be overwritten; nothing was written ({})",
        fault.message
    );
    Fault { class: FaultClass::Malformed, message, ..fault }
}

/// No thumbprint: for an issuer in S3, AWS checks the certificate against its own trust roots.
async fn create_provider(session: &Session, provider: &DesiredProvider) -> Applied {
    let action = "iam:CreateOpenIDConnectProvider";
    let call = session
        .clients
        .iam
        .create_open_id_connect_provider()
        .url(&provider.url)
        .set_client_id_list(Some(provider.audiences.clone()))
        .set_tags(Some(iam_tags(action, &provider.arn, &with_mark(&provider.tags, provider.mark.as_ref()))?));
    session.account.write(action, &provider.arn, || call.clone().send()).await.map(drop)
}

async fn add_audience(session: &Session, arn: &str, audience: &str) -> Applied {
    let call = session.clients.iam.add_client_id_to_open_id_connect_provider();
    let call = call.open_id_connect_provider_arn(arn).client_id(audience);
    session.account.write("iam:AddClientIDToOpenIDConnectProvider", arn, || call.clone().send()).await.map(drop)
}

async fn remove_audience(session: &Session, arn: &str, audience: &str) -> Applied {
    let call = session.clients.iam.remove_client_id_from_open_id_connect_provider();
    let call = call.open_id_connect_provider_arn(arn).client_id(audience);
    session.account.write("iam:RemoveClientIDFromOpenIDConnectProvider", arn, || call.clone().send()).await.map(drop)
}

async fn tag_provider(session: &Session, arn: &str, tags: &BTreeMap<String, String>) -> Applied {
    let action = "iam:TagOpenIDConnectProvider";
    let call = session.clients.iam.tag_open_id_connect_provider().open_id_connect_provider_arn(arn);
    let call = call.set_tags(Some(iam_tags(action, arn, tags)?));
    session.account.write(action, arn, || call.clone().send()).await.map(drop)
}

async fn create_role(session: &Session, role: &DesiredRole) -> Applied {
    let (action, target) = ("iam:CreateRole", format!("role {}", role.name));
    let call = session
        .clients
        .iam
        .create_role()
        .role_name(&role.name)
        .path(&role.path)
        .description(&role.description)
        .max_session_duration(role.max_session_seconds)
        .assume_role_policy_document(&role.trust.text)
        .set_permissions_boundary(role.boundary.clone())
        .set_tags(Some(iam_tags(action, &target, &with_mark(&role.tags, role.mark.as_ref()))?));
    session.account.write(action, &target, || call.clone().send()).await.map(drop)
}

async fn update_trust(session: &Session, role: &str, policy: &str) -> Applied {
    let call = session.clients.iam.update_assume_role_policy().role_name(role).policy_document(policy);
    session.account.write("iam:UpdateAssumeRolePolicy", &format!("role {role}"), || call.clone().send()).await.map(drop)
}

async fn update_role(session: &Session, role: &str, description: &str, max_session_seconds: i32) -> Applied {
    let call = session
        .clients
        .iam
        .update_role()
        .role_name(role)
        .description(description)
        .max_session_duration(max_session_seconds);
    session.account.write("iam:UpdateRole", &format!("role {role}"), || call.clone().send()).await.map(drop)
}

async fn put_inline_policy(session: &Session, role: &str, policy: &str) -> Applied {
    let call = session.clients.iam.put_role_policy().role_name(role).policy_name(role).policy_document(policy);
    session.account.write("iam:PutRolePolicy", &format!("role {role}"), || call.clone().send()).await.map(drop)
}

async fn put_boundary(session: &Session, role: &str, boundary: &str) -> Applied {
    let call = session.clients.iam.put_role_permissions_boundary().role_name(role).permissions_boundary(boundary);
    session
        .account
        .write("iam:PutRolePermissionsBoundary", &format!("role {role}"), || call.clone().send())
        .await
        .map(drop)
}

async fn tag_role(session: &Session, role: &str, tags: &BTreeMap<String, String>) -> Applied {
    let (action, target) = ("iam:TagRole", format!("role {role}"));
    let call = session.clients.iam.tag_role().role_name(role).set_tags(Some(iam_tags(action, &target, tags)?));
    session.account.write(action, &target, || call.clone().send()).await.map(drop)
}

async fn delete_role_policy(session: &Session, role: &str) -> Applied {
    let call = session.clients.iam.delete_role_policy().role_name(role).policy_name(role);
    let target = format!("role {role}");
    session.account.write("iam:DeleteRolePolicy", &target, || call.clone().send()).await.map(drop)
}

async fn delete_role(session: &Session, role: &str) -> Applied {
    let call = session.clients.iam.delete_role().role_name(role);
    session.account.write("iam:DeleteRole", &format!("role {role}"), || call.clone().send()).await.map(drop)
}

async fn delete_provider(session: &Session, arn: &str) -> Applied {
    let call = session.clients.iam.delete_open_id_connect_provider().open_id_connect_provider_arn(arn);
    session.account.write("iam:DeleteOpenIDConnectProvider", arn, || call.clone().send()).await.map(drop)
}

async fn delete_object(session: &Session, bucket: &str, key: &str) -> Applied {
    let call = session.clients.s3.delete_object().bucket(bucket).key(key);
    let call = call.expected_bucket_owner(&session.account.id);
    let target = format!("bucket {bucket}, object {key}");
    session.account.write("s3:DeleteObject", &target, || call.clone().send()).await.map(drop)
}

async fn delete_bucket(session: &Session, bucket: &str) -> Applied {
    let call = session.clients.s3.delete_bucket().bucket(bucket).expected_bucket_owner(&session.account.id);
    session.account.write("s3:DeleteBucket", &format!("bucket {bucket}"), || call.clone().send()).await.map(drop)
}

fn iam_tags(action: &str, target: &str, tags: &BTreeMap<String, String>) -> Result<Vec<IamTag>, Fault> {
    let build = |(key, value): (&String, &String)| IamTag::builder().key(key).value(value).build();
    tags.iter().map(build).collect::<Result<_, _>>().map_err(|e| unbuildable(action, target, &e))
}

fn unbuildable(action: &str, target: &str, error: &dyn std::error::Error) -> Fault {
    let (action, target) = (action.to_owned(), target.to_owned());
    Fault { class: FaultClass::Malformed, action, target, message: error.to_string() }
}
