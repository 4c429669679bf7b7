//! Situations of S3.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, Delete, ObjectIdentifier,
    PublicAccessBlockConfiguration, Tag, Tagging, VersioningConfiguration,
};

use super::{Clients, Difference, Transcript};
use crate::support::aws_state::REGION;

const BUCKET: &str = "model-agrees";
const NOTHING: &str = "model-agrees-nothing";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::model-agrees/*"}]}"#;

/// Where MiniStack 1.5.33 does otherwise than AWS.
pub(super) const DIFFERENCES: &[Difference] = &[
    Difference { situation: "PutBucketTagging with a tag twice", why: "MiniStack takes the last" },
    Difference {
        situation: "PutBucketPolicy without JSON",
        why: "MiniStack does not read bucket policies when they are put",
    },
    Difference {
        situation: "PutBucketPolicy of another bucket",
        why: "MiniStack does not read bucket policies when they are put",
    },
    Difference {
        situation: "PutBucketPolicy without a principal",
        why: "MiniStack does not read bucket policies when they are put",
    },
    Difference {
        situation: "GetObjectTagging after PutObject without tags",
        why: "MiniStack keeps the tags of the object that was there",
    },
    Difference { situation: "PutObject with too much metadata", why: "MiniStack has no limit for metadata" },
    Difference { situation: "PutObject if it is not this", why: "MiniStack takes any ETag for If-None-Match" },
];

/// Where moto 5.2.5 does otherwise than AWS.
pub(super) const DIFFERENCES_OF_MOTO: &[Difference] = &[
    Difference { situation: "CreateBucket in capitals", why: "moto takes names in capitals" },
    Difference {
        situation: "the owner expected",
        why: "the SDK cannot read moto's answer where there is no versioning",
    },
    Difference {
        situation: "GetBucketVersioning",
        why: "the SDK cannot read moto's answer where there is no versioning",
    },
    Difference {
        situation: "GetPublicAccessBlock of a new bucket",
        why: "moto makes buckets without a block, as AWS did until 2023",
    },
    Difference { situation: "PutObject with too much metadata", why: "moto has no limit for metadata" },
    Difference { situation: "PutObject if it is not this", why: "moto takes any ETag for If-None-Match" },
    Difference { situation: "PutBucketPolicy while blocked", why: "moto does not hold policies against the block" },
    Difference {
        situation: "PutBucketPolicy without JSON",
        why: "moto does not read bucket policies when they are put",
    },
    Difference {
        situation: "PutBucketPolicy of another bucket",
        why: "moto does not read bucket policies when they are put",
    },
    Difference {
        situation: "PutBucketPolicy without a principal",
        why: "moto does not read bucket policies when they are put",
    },
];

pub(super) async fn all(Clients { s3, .. }: &Clients) -> Transcript {
    let mut book = Transcript::default();
    buckets(s3, &mut book).await;
    tagging(s3, &mut book).await;
    access(s3, &mut book).await;
    objects(s3, &mut book).await;
    metadata(s3, &mut book).await;
    conditions(s3, &mut book).await;
    listing(s3, &mut book).await;
    versions(s3, &mut book).await;
    deleting(s3, &mut book).await;
    book
}

async fn buckets(s3: &aws_sdk_s3::Client, book: &mut Transcript) {
    let create = |name: &str, region: &str| {
        let constraint = BucketLocationConstraint::from(region);
        let configuration = CreateBucketConfiguration::builder().location_constraint(constraint).build();
        s3.create_bucket().bucket(name).create_bucket_configuration(configuration).send()
    };
    book.done("CreateBucket", create(BUCKET, REGION).await);
    book.done("CreateBucket again", create(BUCKET, REGION).await);
    book.done("CreateBucket for elsewhere", create(NOTHING, "eu-central-1").await);
    book.done("CreateBucket in capitals", create("Model_Agrees", REGION).await);
    book.done("CreateBucket without a region", s3.create_bucket().bucket(NOTHING).send().await);
    book.done("HeadBucket", s3.head_bucket().bucket(BUCKET).send().await);
    book.done("HeadBucket of nothing", s3.head_bucket().bucket(NOTHING).send().await);
    let location = s3.get_bucket_location().bucket(BUCKET).send().await;
    book.note("GetBucketLocation", location, |answer| format!("{:?}", answer.location_constraint));
    let foreign = s3.get_bucket_tagging().bucket(BUCKET).expected_bucket_owner("111111111111");
    book.done("another owner expected", foreign.send().await);
    let own = s3.get_bucket_versioning().bucket(BUCKET).expected_bucket_owner("123456789012");
    book.note("the owner expected", own.send().await, |answer| format!("{:?}", answer.status));
}

async fn tagging(s3: &aws_sdk_s3::Client, book: &mut Transcript) {
    let get = |name: &str| s3.get_bucket_tagging().bucket(name).send();
    let put = |name: &str, tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build().expect("a tag"));
        let tagging = Tagging::builder().set_tag_set(Some(tags.collect())).build().expect("tags");
        s3.put_bucket_tagging().bucket(name).tagging(tagging).send()
    };
    let shown = |answer: &aws_sdk_s3::operation::get_bucket_tagging::GetBucketTaggingOutput| in_words(answer.tag_set());
    book.done("GetBucketTagging without tags", get(BUCKET).await);
    book.done("GetBucketTagging of nothing", get(NOTHING).await);
    book.done("PutBucketTagging", put(BUCKET, &[("a", "1 <2> & 3"), ("b/c", "é")]).await);
    book.note("GetBucketTagging", get(BUCKET).await, shown);
    book.done("PutBucketTagging in its place", put(BUCKET, &[("d", "")]).await);
    book.note("GetBucketTagging of the new ones", get(BUCKET).await, shown);
    book.done("PutBucketTagging of nothing", put(NOTHING, &[("d", "")]).await);
    book.done("PutBucketTagging with a tag twice", put(BUCKET, &[("d", "1"), ("d", "2")]).await);
}

async fn access(s3: &aws_sdk_s3::Client, book: &mut Transcript) {
    let get_block = |name: &str| s3.get_public_access_block().bucket(name).send();
    let show = |answer: &aws_sdk_s3::operation::get_public_access_block::GetPublicAccessBlockOutput| {
        format!("{:?}", answer.public_access_block_configuration)
    };
    book.note("GetPublicAccessBlock of a new bucket", get_block(BUCKET).await, show);
    book.done("GetPublicAccessBlock of nothing", get_block(NOTHING).await);
    let put_policy = |name: &str, policy: &str| s3.put_bucket_policy().bucket(name).policy(policy).send();
    let get_policy = |name: &str| s3.get_bucket_policy().bucket(name).send();
    book.done("GetBucketPolicy without one", get_policy(BUCKET).await);
    book.done("GetBucketPolicy of nothing", get_policy(NOTHING).await);
    book.done("PutBucketPolicy while blocked", put_policy(BUCKET, POLICY).await);

    let open = PublicAccessBlockConfiguration::builder().block_public_acls(true).ignore_public_acls(true);
    let open = open.block_public_policy(false).restrict_public_buckets(false).build();
    let put_block =
        |name: &str| s3.put_public_access_block().bucket(name).public_access_block_configuration(open.clone()).send();
    book.done("PutPublicAccessBlock", put_block(BUCKET).await);
    book.done("PutPublicAccessBlock of nothing", put_block(NOTHING).await);
    book.note("GetPublicAccessBlock", get_block(BUCKET).await, show);
    book.done("PutBucketPolicy", put_policy(BUCKET, POLICY).await);
    book.note("GetBucketPolicy", get_policy(BUCKET).await, |answer| {
        let policy: serde_json::Value = serde_json::from_str(answer.policy().unwrap_or_default()).expect("JSON");
        policy.to_string()
    });
    book.done("PutBucketPolicy of nothing", put_policy(NOTHING, POLICY).await);
    book.done("PutBucketPolicy without JSON", put_policy(BUCKET, "nonsense").await);
    book.done("PutBucketPolicy of another bucket", put_policy(BUCKET, &POLICY.replace("agrees", "other")).await);
    book.done(
        "PutBucketPolicy without a principal",
        put_policy(BUCKET, &POLICY.replace("\"Principal\":\"*\",", "")).await,
    );
    book.done("DeleteBucketPolicy", s3.delete_bucket_policy().bucket(BUCKET).send().await);
    book.done("DeleteBucketPolicy again", s3.delete_bucket_policy().bucket(BUCKET).send().await);
    book.done("GetBucketPolicy after DeleteBucketPolicy", get_policy(BUCKET).await);
    book.done("DeletePublicAccessBlock", s3.delete_public_access_block().bucket(BUCKET).send().await);
    book.done("GetPublicAccessBlock after DeletePublicAccessBlock", get_block(BUCKET).await);
}

async fn objects(s3: &aws_sdk_s3::Client, book: &mut Transcript) {
    let put = |bucket: &str, key: &str, body: &'static str| {
        s3.put_object().bucket(bucket).key(key).body(ByteStream::from_static(body.as_bytes()))
    };
    let full = put(BUCKET, "a b/é+.json", "{\"a\":1}").content_type("application/json").cache_control("max-age=60");
    book.done("PutObject", full.tagging("x=1%202&y=").send().await);
    book.done("PutObject with the least", put(BUCKET, "plain", "x").send().await);
    book.done("PutObject into nothing", put(NOTHING, "plain", "x").send().await);
    book.done("PutObject where there is one", put(BUCKET, "plain", "y").if_none_match("*").send().await);
    let eleven = put(BUCKET, "tags", "y").tagging("a=&b=&c=&d=&e=&f=&g=&h=&i=&j=&k=");
    book.done("PutObject with eleven tags", eleven.send().await);
    // MiniStack refuses it and stores it all the same.
    s3.delete_object().bucket(BUCKET).key("tags").send().await.expect("DeleteObject");
    let got = s3.get_object().bucket(BUCKET).key("a b/é+.json").send().await;
    let got = book.note("GetObject", got, |answer| {
        let (length, kind, cache) = (answer.content_length, &answer.content_type, &answer.cache_control);
        format!("{length:?} {kind:?} {cache:?} {:?}", answer.tag_count)
    });
    let body = got.expect("the object").body.collect().await.expect("a body").into_bytes();
    assert_eq!(body.as_ref(), b"{\"a\":1}");
    let head = s3.head_object().bucket(BUCKET).key("plain").send().await;
    book.note("HeadObject", head, |answer| format!("{:?} {:?}", answer.content_length, answer.content_type));
    let tags = s3.get_object_tagging().bucket(BUCKET).key("a b/é+.json").send().await;
    book.note("GetObjectTagging", tags, |answer| in_words(answer.tag_set()));
    book.done("GetObject of nothing", s3.get_object().bucket(BUCKET).key("nothing").send().await);
    book.done("GetObject out of nothing", s3.get_object().bucket(NOTHING).key("nothing").send().await);
    book.done("HeadObject of nothing", s3.head_object().bucket(BUCKET).key("nothing").send().await);
    book.done("PutObject in its place", put(BUCKET, "a b/é+.json", "new").send().await);
    let tags = s3.get_object_tagging().bucket(BUCKET).key("a b/é+.json").send().await;
    book.note("GetObjectTagging after PutObject without tags", tags, |answer| in_words(answer.tag_set()));
    book.done("DeleteObject of nothing", s3.delete_object().bucket(BUCKET).key("nothing").send().await);
    book.done("DeleteObject out of nothing", s3.delete_object().bucket(NOTHING).key("nothing").send().await);
}

async fn metadata(s3: &aws_sdk_s3::Client, book: &mut Transcript) {
    let put =
        |body: &'static str| s3.put_object().bucket(BUCKET).key("meta").body(ByteStream::from_static(body.as_bytes()));
    let first = put("a").metadata("Some-Key", "a=b, c").metadata("other", "2").send().await;
    let first = book.note("PutObject with metadata", first, |answer| format!("{}", answer.e_tag.is_some()));
    let get = || s3.get_object().bucket(BUCKET).key("meta").send();
    let etag = first.and_then(|answer| answer.e_tag);
    let show = |metadata: Option<&HashMap<String, String>>, found: &Option<String>| {
        let metadata: BTreeMap<_, _> = metadata.into_iter().flatten().collect();
        format!("{metadata:?} {}", *found == etag)
    };
    book.note("GetObject with metadata", get().await, |answer| show(answer.metadata(), &answer.e_tag));
    let head = s3.head_object().bucket(BUCKET).key("meta").send().await;
    book.note("HeadObject with metadata", head, |answer| show(answer.metadata(), &answer.e_tag));
    let other = put("b").send().await;
    book.note("PutObject of something else", other, |answer| show(None, &answer.e_tag));
    book.note("GetObject of something else", get().await, |answer| show(answer.metadata(), &answer.e_tag));
    let again = put("a").metadata("k", "v").send().await;
    book.note("PutObject of the same again", again, |answer| show(None, &answer.e_tag));
    book.note("GetObject of the same again", get().await, |answer| show(answer.metadata(), &answer.e_tag));
    book.done("PutObject with too much metadata", put("a").metadata("k", "v".repeat(2048)).send().await);
}

async fn conditions(s3: &aws_sdk_s3::Client, book: &mut Transcript) {
    let put =
        |body: &'static str| s3.put_object().bucket(BUCKET).key("once").body(ByteStream::from_static(body.as_bytes()));
    book.done("PutObject if it is what is not there", put("a").if_match("\"0\"").send().await);
    let made = put("a").if_none_match("*").send().await;
    let made = book.note("PutObject if nothing is there", made, |answer| format!("{}", answer.e_tag.is_some()));
    let etag = made.and_then(|made| made.e_tag).expect("an ETag");
    book.done("PutObject if nothing is there, again", put("b").if_none_match("*").send().await);
    book.done("PutObject if it is another", put("b").if_match("\"0\"").send().await);
    book.done("PutObject if it is this", put("b").if_match(&etag).send().await);
    book.done("PutObject if it is what it was", put("c").if_match(&etag).send().await);
    let got = s3.get_object().bucket(BUCKET).key("once").send().await.expect("GetObject");
    let body = got.body.collect().await.expect("a body").into_bytes();
    book.0.push(("GetObject after conditions", String::from_utf8_lossy(&body).into_owned()));
    // Other ETags than `*` are not for writes.
    book.done("PutObject if it is not this", put("b").if_none_match(&etag).send().await);
    s3.delete_object().bucket(BUCKET).key("once").send().await.expect("DeleteObject");
}

async fn listing(s3: &aws_sdk_s3::Client, book: &mut Transcript) {
    for key in ["dir/1", "dir/2", "dir/3", "zzz"] {
        let put = s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"abc"));
        put.send().await.expect("PutObject");
    }
    let list = || s3.list_objects_v2().bucket(BUCKET);
    let show = |answer: &aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output| {
        let keys: Vec<_> = answer.contents().iter().map(|object| (object.key(), object.size)).collect();
        format!("{keys:?} {:?} {:?}", answer.key_count, answer.is_truncated)
    };
    book.note("ListObjectsV2", list().send().await, show);
    book.note("ListObjectsV2 with a prefix", list().prefix("dir/").send().await, show);
    book.note("ListObjectsV2 of a prefix that is a key", list().prefix("zzz").send().await, show);
    book.note("ListObjectsV2 from a key on", list().start_after("dir/2").send().await, show);
    let first = book.note("ListObjectsV2 in pages", list().prefix("dir/").max_keys(2).send().await, show);
    let token = first.and_then(|first| first.next_continuation_token).expect("a token");
    let second = list().prefix("dir/").continuation_token(token).send().await;
    book.note("ListObjectsV2, the second page", second, show);
    book.done("ListObjectsV2 of nothing", s3.list_objects_v2().bucket(NOTHING).send().await);
}

async fn versions(s3: &aws_sdk_s3::Client, book: &mut Transcript) {
    let list = || s3.list_object_versions().bucket(BUCKET).prefix("v/");
    let show = |answer: &aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput| {
        let versions: Vec<_> = answer.versions().iter().map(|v| (v.key(), v.is_latest, v.size)).collect();
        let markers: Vec<_> = answer.delete_markers().iter().map(|m| (m.key(), m.is_latest)).collect();
        format!("{versions:?} {markers:?} {:?}", answer.is_truncated)
    };
    let put = |key: &str, body: &'static str| {
        s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(body.as_bytes())).send()
    };
    put("v/1", "a").await.expect("PutObject");
    book.note("ListObjectVersions without versioning", list().send().await, show);
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let enable = s3.put_bucket_versioning().bucket(BUCKET).versioning_configuration(enabled).send().await;
    book.done("PutBucketVersioning", enable);
    let versioning = s3.get_bucket_versioning().bucket(BUCKET).send().await;
    book.note("GetBucketVersioning", versioning, |answer| format!("{:?}", answer.status));
    put("v/1", "bb").await.expect("PutObject");
    put("v/2", "ccc").await.expect("PutObject");
    book.note("ListObjectVersions", list().send().await, show);
    let delete = s3.delete_object().bucket(BUCKET).key("v/1").send().await;
    book.note("DeleteObject with versioning", delete, |answer| {
        format!("{:?} {}", answer.delete_marker, answer.version_id().is_some())
    });
    book.done("GetObject of what was deleted", s3.get_object().bucket(BUCKET).key("v/1").send().await);
    let listed = book.note("ListObjectVersions with a delete marker", list().send().await, show).expect("a list");
    book.note("ListObjectVersions in pages", list().max_keys(2).send().await, |answer| {
        let count = answer.versions().len() + answer.delete_markers().len();
        format!("{count} {:?} {:?}", answer.is_truncated, answer.next_key_marker)
    });
    for (key, version) in listed
        .versions()
        .iter()
        .map(|v| (v.key(), v.version_id()))
        .chain(listed.delete_markers().iter().map(|m| (m.key(), m.version_id())))
    {
        let delete = s3.delete_object().bucket(BUCKET).set_key(key.map(str::to_owned));
        delete.set_version_id(version.map(str::to_owned)).send().await.expect("DeleteObject");
    }
    book.note("ListObjectVersions of what was deleted", list().send().await, show);
}

async fn deleting(s3: &aws_sdk_s3::Client, book: &mut Transcript) {
    let delete = || s3.delete_bucket().bucket(BUCKET).send();
    book.done("DeleteBucket with objects", delete().await);
    let listed = s3.list_object_versions().bucket(BUCKET).send().await.expect("ListObjectVersions");
    let objects = listed.versions().iter().map(|version| {
        let id = version.version_id().map(str::to_owned);
        ObjectIdentifier::builder().key(version.key().unwrap_or_default()).set_version_id(id).build().expect("an id")
    });
    let objects = Delete::builder().set_objects(Some(objects.collect())).build().expect("objects");
    let deleted = s3.delete_objects().bucket(BUCKET).delete(objects).send().await;
    book.note("DeleteObjects", deleted, |answer| format!("{} {}", answer.deleted().len(), answer.errors().len()));
    book.done("DeleteBucket", delete().await);
    book.done("DeleteBucket again", delete().await);
    book.done("PutObject into what was deleted", s3.put_object().bucket(BUCKET).key("k").send().await);
}

fn in_words(tags: &[Tag]) -> String {
    let mut tags: Vec<_> = tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect();
    tags.sort();
    tags.join(", ")
}
