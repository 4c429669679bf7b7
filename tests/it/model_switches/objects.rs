//! What comes with objects, and conditional writes.

use std::collections::HashMap;

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;

use super::{ACCOUNT, Model, REGION, RetryConfig, Visible, outcome};
use crate::model::{ConditionalWrites, PublicAccessBlock};

const URL: &str = "https://issuer.s3.eu-west-1.amazonaws.com/keys.json";

/// A bucket that everyone may read.
fn model_and_s3() -> (Model, aws_sdk_s3::Client) {
    let model = Model::new(3);
    model.put_bucket(ACCOUNT, REGION, "issuer", Visible::AtOnce);
    model.alter_bucket("issuer", Visible::AtOnce, |bucket| {
        bucket.block = Some(PublicAccessBlock::all(false));
        let policy = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
            "Resource":"arn:aws:s3:::issuer/*"}]}"#;
        bucket.policy = Some(policy.into());
    });
    let config = model.sdk_config(ACCOUNT, REGION).into_builder().retry_config(RetryConfig::disabled()).build();
    (model, aws_sdk_s3::Client::new(&config))
}

fn put(s3: &aws_sdk_s3::Client, body: &'static str) -> PutObjectFluentBuilder {
    s3.put_object().bucket("issuer").key("keys.json").body(ByteStream::from_static(body.as_bytes()))
}

#[tokio::test(start_paused = true)]
async fn metadata_and_etag_come_back_to_everyone() {
    let (model, s3) = model_and_s3();
    let full = put(&s3, "a").metadata("Serving-Key", "k1,k2").metadata("b", "2");
    let etag = full.send().await.expect("PutObject").e_tag.expect("an ETag");
    let got = s3.get_object().bucket("issuer").key("keys.json").send().await.expect("GetObject");
    let head = s3.head_object().bucket("issuer").key("keys.json").send().await.expect("HeadObject");
    assert_eq!(got.metadata(), head.metadata());
    assert_eq!((got.e_tag(), head.e_tag()), (Some(etag.as_str()), Some(etag.as_str())));
    let metadata = got.metadata().expect("metadata");
    assert_eq!((metadata.len(), metadata["serving-key"].as_str(), metadata["b"].as_str()), (2, "k1,k2", "2"));
    let public = model.fetch(URL).await.expect("an answer");
    assert_eq!((public.header("etag"), public.header("x-amz-meta-serving-key")), (Some(etag.as_str()), Some("k1,k2")));
    assert_eq!(model.public_object(URL).expect("public").metadata["serving-key"], "k1,k2");

    let other = put(&s3, "b").send().await.expect("PutObject").e_tag.expect("an ETag");
    assert_ne!(etag, other);
    let got = s3.get_object().bucket("issuer").key("keys.json").send().await.expect("GetObject");
    assert!(got.metadata().is_none_or(HashMap::is_empty), "metadata belongs to what was put");
    assert_eq!(put(&s3, "a").send().await.expect("PutObject").e_tag, Some(etag), "the same contents");
    assert_eq!(outcome(put(&s3, "a").metadata("k", "v".repeat(2048)).send().await), "MetadataTooLarge");

    let without = model.inventory();
    let alter = |metadata: &'static str| {
        model.alter_object("issuer", "keys.json", Visible::AtOnce, |content| {
            content.metadata.insert("k".to_owned(), metadata.to_owned());
        })
    };
    assert!(alter("v"));
    assert_ne!(model.inventory(), without);
    assert!(!model.alter_object("issuer", "nothing", Visible::AtOnce, |_| ()));
}

#[tokio::test(start_paused = true)]
async fn writes_can_have_conditions() {
    let (model, s3) = model_and_s3();
    assert_eq!(outcome(put(&s3, "a").if_match("\"0\"").send().await), "NoSuchKey");
    assert_eq!(outcome(put(&s3, "a").if_none_match("*").send().await), "ok");
    assert_eq!(outcome(put(&s3, "b").if_none_match("*").send().await), "PreconditionFailed");
    let etag = model.object("issuer", "keys.json").expect("the object").etag.clone();
    let raced = put(&s3, "b").if_match("\"0\"").send().await.expect_err("another ETag");
    assert_eq!(raced.raw_response().map(|raw| raw.status().as_u16()), Some(412));
    assert_eq!(model.object("issuer", "keys.json").expect("the object").body.as_ref(), b"a", "nothing was put");
    assert_eq!(outcome(put(&s3, "b").if_match(&etag).send().await), "ok");
    assert_eq!(outcome(put(&s3, "c").if_match(&etag).send().await), "PreconditionFailed");
    assert_eq!(outcome(put(&s3, "c").if_none_match(&etag).send().await), "NotImplemented");

    model.alter_bucket("issuer", Visible::AtOnce, |bucket| {
        bucket.versioning = Some(crate::model::Versioning::Enabled);
    });
    s3.delete_object().bucket("issuer").key("keys.json").send().await.expect("DeleteObject");
    assert_eq!(outcome(put(&s3, "d").if_match(&etag).send().await), "NoSuchKey", "a delete marker");
    assert_eq!(outcome(put(&s3, "d").if_none_match("*").send().await), "ok");
}

#[tokio::test(start_paused = true)]
async fn not_every_s3_knows_conditional_writes() {
    let (model, s3) = model_and_s3();
    model.set_options(|options| options.conditional_writes = ConditionalWrites::Refused);
    assert_eq!(outcome(put(&s3, "a").if_none_match("*").send().await), "NotImplemented");
    assert_eq!(outcome(put(&s3, "a").if_match("\"0\"").send().await), "NotImplemented");
    assert_eq!(outcome(put(&s3, "a").send().await), "ok");
    model.set_options(|options| options.conditional_writes = ConditionalWrites::Ignored);
    assert_eq!(outcome(put(&s3, "b").if_none_match("*").if_match("\"0\"").send().await), "ok");
    assert_eq!(model.object("issuer", "keys.json").expect("the object").body.as_ref(), b"b");
}
