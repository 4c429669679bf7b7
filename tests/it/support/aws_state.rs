//! What is in AWS, seen past the test's proxy (nothing here is counted or broken), and the means to alter it behind the
//! operator's back: [`iam`] and [`s3`] are plain SDK clients, used with [`block_on`](super::block_on).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_iam::config::Credentials;
use aws_sdk_iam::error::ProvideErrorMetadata;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::emulators::{ACCESS_KEY_ID, Emulators, SECRET_ACCESS_KEY};
use super::proxy::Proxy;
use super::runtime::block_on;

/// The region of the clients here, and so of buckets that they make.
pub const REGION: &str = "eu-west-1";

/// The tags without Rolecall's owner mark, which must be there.
#[track_caller]
pub fn without_mark(tags: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut tags = tags.clone();
    assert!(tags.remove("rolecall.dev/owner").is_some_and(|mark| mark.contains('.')), "no mark: {tags:?}");
    tags
}

/// A role as IAM has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleView {
    pub arn: String,
    pub path: String,
    pub description: Option<String>,
    pub trust: Value,
    /// Inline policies by name.
    pub inline: BTreeMap<String, Value>,
    /// ARNs of managed policies.
    pub attached: Vec<String>,
    pub boundary: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub max_session: Option<i32>,
}

/// An OpenID Connect provider as IAM has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderView {
    pub url: String,
    pub audiences: Vec<String>,
    pub tags: BTreeMap<String, String>,
    pub thumbprints: Vec<String>,
}

/// A bucket as S3 has it, with all that is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketView {
    pub tags: BTreeMap<String, String>,
    /// `BlockPublicAcls`, `IgnorePublicAcls`, `BlockPublicPolicy`, `RestrictPublicBuckets`: booleans. Null if there is
    /// none.
    pub public_access_block: Value,
    pub policy: Option<Value>,
    /// By key.
    pub objects: BTreeMap<String, ObjectView>,
}

/// An object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectView {
    pub body: String,
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub tags: BTreeMap<String, String>,
}

struct Clients {
    iam: aws_sdk_iam::Client,
    s3: aws_sdk_s3::Client,
    _proxy: Proxy,
}

fn clients() -> &'static Clients {
    static CLIENTS: OnceLock<Clients> = OnceLock::new();
    CLIENTS.get_or_init(|| {
        // Past every test's proxy, but through one: moto must get one request at a time.
        let proxy = Proxy::start(Emulators::shared());
        let (iam, _, s3) = clients_of(&proxy);
        Clients { iam, s3, _proxy: proxy }
    })
}

/// SDK clients that go through a proxy, as the operator's do.
pub fn clients_of(proxy: &Proxy) -> (aws_sdk_iam::Client, aws_sdk_sts::Client, aws_sdk_s3::Client) {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "the tests");
    let config = |url: String| {
        block_on(
            aws_config::defaults(BehaviorVersion::latest())
                .region(Region::new(REGION))
                .credentials_provider(credentials.clone())
                .endpoint_url(url)
                .load(),
        )
    };
    (
        aws_sdk_iam::Client::new(&config(proxy.iam_url())),
        aws_sdk_sts::Client::new(&config(proxy.sts_url())),
        aws_sdk_s3::Client::new(&config(proxy.s3_url())),
    )
}

/// A managed policy that allows everything, unless there is one of this name: a boundary that nobody can read is not set.
pub fn create_open_policy(name: &str) {
    let open = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;
    if let Err(error) = block_on(iam().create_policy().policy_name(name).policy_document(open).send()) {
        let error = error.into_service_error();
        assert!(error.is_entity_already_exists_exception(), "{error:?}");
    }
}

/// IAM past the test's proxy.
pub fn iam() -> &'static aws_sdk_iam::Client {
    &clients().iam
}

/// S3 past the test's proxy.
pub fn s3() -> &'static aws_sdk_s3::Client {
    &clients().s3
}

/// The role of this name. What goes while it is read is as if it had gone before.
#[track_caller]
pub fn role(name: &str) -> Option<RoleView> {
    let role = found(block_on(iam().get_role().role_name(name).send()))?.role.expect("GetRole has a role");
    let policies = block_on(iam().list_role_policies().role_name(name).into_paginator().items().send().try_collect());
    let policies: Vec<String> = found(policies)?;
    let inline = policies.into_iter().filter_map(|policy| {
        let answer = found(block_on(iam().get_role_policy().role_name(name).policy_name(&policy).send()))?;
        Some((policy, document(&answer.policy_document)))
    });
    let inline = inline.collect();
    let attached = found(block_on(iam().list_attached_role_policies().role_name(name).send()))?;
    Some(RoleView {
        arn: role.arn,
        path: role.path,
        description: role.description,
        trust: role.assume_role_policy_document.as_deref().map(document).unwrap_or_default(),
        inline,
        attached: attached.attached_policies.into_iter().flatten().filter_map(|policy| policy.policy_arn).collect(),
        boundary: role.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn),
        tags: role.tags.into_iter().flatten().map(|tag| (tag.key, tag.value)).collect(),
        max_session: role.max_session_duration,
    })
}

/// The names of all roles, sorted.
#[track_caller]
pub fn role_names() -> Vec<String> {
    let roles = must(block_on(iam().list_roles().into_paginator().items().send().try_collect()));
    let mut names: Vec<_> = roles.into_iter().map(|role| role.role_name).collect();
    names.sort();
    names
}

/// Removes what is left of a scene, as far as that goes: each role and provider makes every listing of the other tests longer.
pub fn remove(prefix: &str, provider: &str) {
    let Ok(roles) = block_on(iam().list_roles().into_paginator().items().send().try_collect()) else { return };
    for name in roles.into_iter().map(|role| role.role_name).filter(|name| name.starts_with(prefix)) {
        let inline = block_on(iam().list_role_policies().role_name(&name).send());
        for policy in inline.into_iter().flat_map(|answer| answer.policy_names) {
            drop(block_on(iam().delete_role_policy().role_name(&name).policy_name(policy).send()));
        }
        let attached = block_on(iam().list_attached_role_policies().role_name(&name).send());
        for policy in attached.into_iter().filter_map(|answer| answer.attached_policies).flatten() {
            let detach = iam().detach_role_policy().role_name(&name).set_policy_arn(policy.policy_arn);
            drop(block_on(detach.send()));
        }
        drop(block_on(iam().delete_role().role_name(&name).send()));
    }
    drop(block_on(iam().delete_open_id_connect_provider().open_id_connect_provider_arn(provider).send()));
}

/// The OpenID Connect provider with this ARN.
#[track_caller]
pub fn provider(arn: &str) -> Option<ProviderView> {
    let get = iam().get_open_id_connect_provider().open_id_connect_provider_arn(arn);
    let provider = found(block_on(get.send()))?;
    Some(ProviderView {
        url: provider.url.unwrap_or_default(),
        audiences: provider.client_id_list.unwrap_or_default(),
        tags: provider.tags.into_iter().flatten().map(|tag| (tag.key, tag.value)).collect(),
        thumbprints: provider.thumbprint_list.unwrap_or_default(),
    })
}

/// The ARNs of all OpenID Connect providers, sorted.
#[track_caller]
pub fn provider_arns() -> Vec<String> {
    let list = must(block_on(iam().list_open_id_connect_providers().send())).open_id_connect_provider_list;
    let mut arns: Vec<_> = list.into_iter().flatten().filter_map(|entry| entry.arn).collect();
    arns.sort();
    arns
}

/// The bucket of this name with all its objects.
#[track_caller]
pub fn bucket(name: &str) -> Option<BucketView> {
    found(block_on(s3().head_bucket().bucket(name).send()))?;
    let tags = found(block_on(s3().get_bucket_tagging().bucket(name).send())).map(|answer| tag_map(answer.tag_set));
    let block = found(block_on(s3().get_public_access_block().bucket(name).send()))
        .and_then(|answer| answer.public_access_block_configuration);
    let policy = found(block_on(s3().get_bucket_policy().bucket(name).send())).and_then(|answer| answer.policy);
    let pages = s3().list_objects_v2().bucket(name).into_paginator().send();
    let keys = must(block_on(pages.try_collect())).into_iter().flat_map(|page| page.contents.unwrap_or_default());
    Some(BucketView {
        tags: tags.unwrap_or_default(),
        public_access_block: block.map_or(Value::Null, |block| {
            json!({
                "BlockPublicAcls": block.block_public_acls,
                "IgnorePublicAcls": block.ignore_public_acls,
                "BlockPublicPolicy": block.block_public_policy,
                "RestrictPublicBuckets": block.restrict_public_buckets,
            })
        }),
        policy: policy.as_deref().map(document),
        objects: keys.filter_map(|entry| entry.key).map(|key| (key.clone(), object(name, &key))).collect(),
    })
}

#[track_caller]
fn object(bucket: &str, key: &str) -> ObjectView {
    let answer = must(block_on(s3().get_object().bucket(bucket).key(key).send()));
    let body = block_on(answer.body.collect()).expect("the object's body breaks off").into_bytes();
    let tags = must(block_on(s3().get_object_tagging().bucket(bucket).key(key).send()));
    ObjectView {
        body: String::from_utf8_lossy(&body).into_owned(),
        content_type: answer.content_type,
        cache_control: answer.cache_control,
        tags: tag_map(tags.tag_set),
    }
}

fn tag_map(tags: Vec<aws_sdk_s3::types::Tag>) -> BTreeMap<String, String> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

/// A policy document: JSON, percent-encoded where it comes from IAM.
#[track_caller]
fn document(text: &str) -> Value {
    let text =
        if text.trim_start().starts_with('{') { text.into() } else { percent_decode_str(text).decode_utf8_lossy() };
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("not a policy document ({error}): {text}"))
}

/// The answer, or `None` if what was asked for does not exist.
#[track_caller]
fn found<T, E, R>(result: Result<T, aws_sdk_iam::error::SdkError<E, R>>) -> Option<T>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug,
{
    const ABSENT: &[&str] = &[
        "NoSuchEntity",
        "NoSuchBucket",
        "NotFound",
        "NoSuchTagSet",
        "NoSuchBucketPolicy",
        "NoSuchPublicAccessBlockConfiguration",
    ];
    match result {
        Ok(answer) => Some(answer),
        Err(error) if error.code().is_some_and(|code| ABSENT.contains(&code)) => None,
        Err(error) => panic!("the emulator refuses: {error:?}"),
    }
}

#[track_caller]
fn must<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("the emulator refuses: {error:?}"))
}
