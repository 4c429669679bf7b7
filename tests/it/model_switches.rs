//! The model of AWS by itself: what its switches do, and what no emulator does.

mod objects;
mod uses;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_iam::error::ProvideErrorMetadata;
use aws_sdk_iam::operation::get_account_authorization_details::GetAccountAuthorizationDetailsOutput;
use aws_sdk_s3::primitives::ByteStream;
use tokio::time::{Instant, advance, timeout};

use crate::model::{ACCOUNT, Cut, Model, Rate, Rule, Trouble, Visible, access_key};

const REGION: &str = "eu-west-1";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// An IAM client of an account that does not retry.
fn iam_of(model: &Model, account: &str) -> aws_sdk_iam::Client {
    let config = model.sdk_config(account, REGION).into_builder().retry_config(RetryConfig::disabled()).build();
    aws_sdk_iam::Client::new(&config)
}

fn model_and_iam() -> (Model, aws_sdk_iam::Client) {
    let model = Model::new(7);
    let iam = iam_of(&model, ACCOUNT);
    (model, iam)
}

async fn create(iam: &aws_sdk_iam::Client, name: &str) -> String {
    outcome(iam.create_role().role_name(name).assume_role_policy_document(TRUST).send().await)
}

async fn get(iam: &aws_sdk_iam::Client, name: &str) -> String {
    outcome(iam.get_role().role_name(name).send().await)
}

/// `ok`, AWS's error code, or `lost`.
fn outcome<T, E, R>(result: Result<T, aws_sdk_iam::error::SdkError<E, R>>) -> String
where
    E: ProvideErrorMetadata,
{
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.as_service_error().and_then(|error| error.code()).unwrap_or("lost").to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn stale_reads_see_what_was() {
    let (model, iam) = model_and_iam();
    model.stale_reads("iam:*", seconds(5));
    assert_eq!(create(&iam, "late").await, "ok");
    assert_eq!(get(&iam, "late").await, "NoSuchEntity", "the role is not to be seen yet");
    assert_eq!(create(&iam, "late").await, "EntityAlreadyExists", "writes see what is");
    advance(seconds(6)).await;
    assert_eq!(get(&iam, "late").await, "ok");

    iam.update_role().role_name("late").description("new").send().await.expect("UpdateRole");
    let described =
        async || iam.get_role().role_name("late").send().await.expect("GetRole").role.expect("a role").description;
    assert_eq!(described().await, None);
    advance(seconds(6)).await;
    assert_eq!(described().await.as_deref(), Some("new"));

    assert_eq!(outcome(iam.delete_role().role_name("late").send().await), "ok");
    assert_eq!(get(&iam, "late").await, "ok", "a ghost");
    assert_eq!(iam.list_roles().send().await.expect("ListRoles").roles.len(), 1, "in lists too");
    advance(seconds(6)).await;
    assert_eq!(get(&iam, "late").await, "NoSuchEntity");

    create(&iam, "other").await;
    advance(seconds(6)).await;
    assert!(model.alter_role(ACCOUNT, "other", Visible::Eventually, |role| role.description = Some("a".into())));
    let described =
        async || iam.get_role().role_name("other").send().await.expect("GetRole").role.expect("a role").description;
    assert_eq!(described().await, None);
    assert!(model.alter_role(ACCOUNT, "other", Visible::AtOnce, |role| role.description = Some("b".into())));
    assert_eq!(described().await.as_deref(), Some("b"));
    model.stale_reads("iam:*", Duration::ZERO);
    assert_eq!(outcome(iam.delete_role().role_name("other").send().await), "ok");
    assert_eq!(get(&iam, "other").await, "NoSuchEntity", "nothing is stale any more");
}

#[tokio::test(start_paused = true)]
async fn each_resource_has_a_past_of_its_own() {
    let (model, iam) = model_and_iam();
    model.stale_reads("*", seconds(10));
    for n in 0..4_u64 {
        create(&iam, &format!("role-{n}")).await;
        advance(seconds(3)).await;
    }
    // At 12 seconds, reads see the second 2: only the first role was there then.
    let seen = iam.list_roles().send().await.expect("ListRoles").roles;
    assert_eq!(seen.iter().map(|role| role.role_name.as_str()).collect::<Vec<_>>(), ["role-0"]);
    // What a test makes visible at once takes nothing from the past of others.
    model.put_role(ACCOUNT, "at-once", TRUST, Visible::AtOnce);
    assert_eq!(iam.list_roles().send().await.expect("ListRoles").roles.len(), 2);
    advance(seconds(4)).await;
    assert_eq!(iam.list_roles().send().await.expect("ListRoles").roles.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_that_of_a_call_that_took_effect() {
    let (model, iam) = model_and_iam();
    model.add_rule(Rule::times("iam:CreateRole", 1, Trouble::LoseAnswer));
    assert_eq!(create(&iam, "lost").await, "lost");
    assert!(model.role(ACCOUNT, "lost").is_some());
    assert_eq!(create(&iam, "lost").await, "EntityAlreadyExists");
    model.add_rule(Rule::times("iam:CreateRole", 1, Trouble::LoseRequest));
    assert_eq!(create(&iam, "never").await, "lost");
    assert!(model.role(ACCOUNT, "never").is_none());

    // The SDK's own retries go through the model as well.
    let patient = aws_sdk_iam::Client::new(&model.sdk_config(ACCOUNT, REGION));
    model.add_rule(Rule::times("iam:GetRole", 2, Trouble::LoseAnswer));
    model.reset_counts();
    patient.get_role().role_name("lost").send().await.expect("GetRole at the third attempt");
    assert_eq!(model.counts().of("iam:GetRole"), 3);
    assert_eq!(model.counts().with_outcome("iam:GetRole", "lost"), 2);
}

#[tokio::test(start_paused = true)]
async fn trouble_comes_as_often_as_it_should_and_the_same_again() {
    let outcomes = async |seed: u64| {
        let model = Model::new(seed);
        let iam = iam_of(&model, ACCOUNT);
        model.put_role(ACCOUNT, "r", TRUST, Visible::AtOnce);
        model.add_rule(Rule::sometimes("iam:Get*", 0.2, Trouble::Throttle));
        model.add_rule(Rule::sometimes("iam:GetRole", 0.2, Trouble::ServerError));
        let mut outcomes = Vec::new();
        for _ in 0..500 {
            outcomes.push(get(&iam, "r").await);
        }
        outcomes
    };
    let first = outcomes(1).await;
    let count = |code: &str| first.iter().filter(|outcome| *outcome == code).count();
    assert!((70..130).contains(&count("Throttling")), "{}", count("Throttling"));
    assert!((50..110).contains(&count("ServiceFailure")), "{}", count("ServiceFailure"));
    assert_eq!(first, outcomes(1).await);
    assert_ne!(first, outcomes(2).await);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_calls_too_fast_is_throttled() {
    let (model, iam) = model_and_iam();
    let other = iam_of(&model, "999999999999");
    for account in [ACCOUNT, "999999999999"] {
        model.put_role(account, "r", TRUST, Visible::AtOnce);
    }
    model.limit_rate("iam:*", Rate { reads_per_second: 10.0, writes_per_second: 1.0, burst: 5.0 });
    let allowed = async |client: &aws_sdk_iam::Client, calls: u32| {
        let mut allowed = 0;
        for _ in 0..calls {
            allowed += u32::from(get(client, "r").await == "ok");
        }
        allowed
    };
    assert_eq!(allowed(&iam, 20).await, 5, "the burst");
    assert_eq!(allowed(&other, 20).await, 5, "another account has a bucket of its own");
    advance(Duration::from_millis(300)).await;
    assert_eq!(allowed(&iam, 20).await, 3);
    advance(seconds(60)).await;
    assert_eq!(allowed(&iam, 20).await, 5, "no more than the burst is saved up");
    for n in 0..5 {
        assert_eq!(create(&iam, &format!("w{n}")).await, "ok", "writes are counted apart");
    }
    assert_eq!(create(&iam, "w5").await, "Throttling");
    advance(seconds(1)).await;
    assert_eq!(create(&iam, "w5").await, "ok");
    model.unlimited_rate();
    assert_eq!(allowed(&iam, 20).await, 20);
}

#[tokio::test(start_paused = true)]
async fn a_dead_caller_hears_nothing() {
    for takes_effect in [true, false] {
        let (model, iam) = model_and_iam();
        model.cut_after(Cut { after: 2, writes_only: true, takes_effect });
        let work = async {
            for n in 0..5 {
                get(&iam, "nobody").await;
                create(&iam, &format!("r{n}")).await;
            }
        };
        tokio::select! {
            () = work => panic!("the caller lives on"),
            () = model.until_cut() => {}
        }
        assert_eq!(model.roles(ACCOUNT).len(), if takes_effect { 2 } else { 1 });
        let dead = timeout(seconds(3600), get(&iam, "r0")).await;
        assert!(dead.is_err(), "no further answers");
        model.revive();
        assert_eq!(get(&iam, "r0").await, "ok");
        assert_eq!(model.counts().of("iam:CreateRole"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_die_with_their_caller() {
    let (model, iam) = model_and_iam();
    model.add_rule(Rule::always("iam:GetRole", Trouble::Delay(seconds(10))));
    let slow = {
        let iam = iam.clone();
        tokio::spawn(async move { get(&iam, "nobody").await })
    };
    advance(seconds(1)).await;
    model.cut_after(Cut { after: 1, writes_only: false, takes_effect: true });
    let last = tokio::spawn(async move { create(&iam, "last").await });
    model.until_cut().await;
    model.revive();
    advance(seconds(60)).await;
    assert!(!slow.is_finished() && !last.is_finished(), "what a dead caller asked is never answered");
    assert_eq!(model.counts().of("iam:GetRole"), 0);
    slow.abort();
    last.abort();
}

#[tokio::test(start_paused = true)]
async fn pages_are_as_short_as_aws_pleases() {
    let (model, iam) = model_and_iam();
    let policy = model.put_policy(ACCOUNT, "guard", r#"{"Statement":[]}"#);
    for n in 0..25 {
        model.put_role(ACCOUNT, &format!("role-{n:02}"), TRUST, Visible::AtOnce);
    }
    let listed = async |limit: Option<usize>, asked: Option<i32>| {
        model.limit_pages(limit);
        model.reset_counts();
        let pages = iam.list_roles().set_max_items(asked).into_paginator().items().send();
        let roles = pages.try_collect().await.expect("ListRoles");
        (roles.len(), model.counts().of("iam:ListRoles"))
    };
    assert_eq!(listed(None, None).await, (25, 1));
    assert_eq!(listed(None, Some(10)).await, (25, 3));
    assert_eq!(listed(Some(7), Some(10)).await, (25, 4));
    assert_eq!(listed(Some(5), None).await, (25, 5), "no empty page at the end");

    let details = iam.get_account_authorization_details().max_items(13).into_paginator().send();
    let pages = details.try_collect().await.expect("GetAccountAuthorizationDetails");
    let roles: usize = pages.iter().map(|page| page.role_detail_list().len()).sum();
    let policies: Vec<_> = pages
        .iter()
        .flat_map(GetAccountAuthorizationDetailsOutput::policies)
        .filter_map(|policy| policy.arn())
        .collect();
    assert_eq!((roles, policies), (25, vec![policy.as_str()]));
    assert_eq!(pages.len(), 6, "five at a time");
}

#[tokio::test(start_paused = true)]
async fn delays_pass_in_no_time() {
    let (model, iam) = model_and_iam();
    model.add_rule(Rule::always("iam:*", Trouble::Delay(seconds(20))));
    model.add_rule(Rule::always("iam:GetRole", Trouble::Delay(seconds(10))));
    let (real, before) = (std::time::Instant::now(), Instant::now());
    let both = futures::future::join(get(&iam, "nobody"), create(&iam, "new"));
    assert_eq!(both.await, ("NoSuchEntity".to_owned(), "ok".to_owned()));
    assert_eq!(before.elapsed().as_secs(), 30);
    assert!(real.elapsed() < seconds(10));
    assert_eq!(model.counts().most_in_flight, 2);

    // A caller who gives up half way does not undo what was done.
    let gives_up = timeout(seconds(15), create(&iam, "half")).await;
    assert!(gives_up.is_err() && model.role(ACCOUNT, "half").is_some());
    let gives_up = timeout(seconds(5), create(&iam, "early")).await;
    assert!(gives_up.is_err() && model.role(ACCOUNT, "early").is_none());
}

#[tokio::test(start_paused = true)]
async fn denials_name_the_action() {
    let (model, iam) = model_and_iam();
    let s3 = aws_sdk_s3::Client::new(&model.sdk_config(ACCOUNT, "us-east-1"));
    s3.create_bucket().bucket("denials").send().await.expect("CreateBucket");
    model.add_rule(Rule::always("iam:CreateRole", Trouble::Deny));
    model.add_rule(Rule::always("s3:ListBucket", Trouble::Deny));
    model.add_rule(Rule::always("s3:PutObjectTagging", Trouble::Deny));

    let denied = iam.create_role().role_name("x").assume_role_policy_document(TRUST).send().await.expect_err("denied");
    let message = denied.message().unwrap_or_default();
    let expected = format!(
        "User: arn:aws:iam::{ACCOUNT}:user/operator is not authorized to perform: iam:CreateRole on resource: \
         arn:aws:iam::{ACCOUNT}:role/x because no identity-based policy allows the iam:CreateRole action"
    );
    assert_eq!((denied.code(), message), (Some("AccessDenied"), expected.as_str()));
    let denied = s3.list_objects_v2().bucket("denials").send().await.expect_err("denied");
    assert!(denied.message().unwrap_or_default().contains("not authorized to perform: s3:ListBucket on resource"));
    let put = || s3.put_object().bucket("denials").key("k").body(ByteStream::from_static(b"x"));
    put().send().await.expect("an object without tags needs no s3:PutObjectTagging");
    let denied = put().tagging("a=b").send().await.expect_err("denied");
    assert!(denied.message().unwrap_or_default().contains("perform: s3:PutObjectTagging"));
    model.clear_rules();
    assert_eq!(create(&iam, "x").await, "ok");
}

#[tokio::test(start_paused = true)]
async fn accounts_are_apart() {
    let (model, iam) = model_and_iam();
    let far = "210987654321";
    model.add_account(far);
    let role = model.put_role(far, "rolecall", TRUST, Visible::AtOnce);
    model.require_external_id(&role, "the right one");
    let config = model.sdk_config(ACCOUNT, REGION).into_builder().retry_config(RetryConfig::disabled()).build();
    let sts = aws_sdk_sts::Client::new(&config);
    let assume = sts.assume_role().role_arn(&role).role_session_name("me").duration_seconds(900);
    assert_eq!(outcome(assume.clone().send().await), "AccessDenied");
    assert_eq!(outcome(assume.clone().external_id("a wrong one").send().await), "AccessDenied");
    assert_eq!(outcome(assume.clone().role_arn(format!("{role}x")).send().await), "AccessDenied");
    assert_eq!(
        outcome(assume.clone().external_id("the right one").duration_seconds(7200).send().await),
        "ValidationError"
    );
    let given = assume.external_id("the right one").send().await.expect("AssumeRole").credentials.expect("credentials");

    let secret = |token: &str| {
        let (id, secret) = (&given.access_key_id, &given.secret_access_key);
        let credentials = aws_sdk_iam::config::Credentials::new(id, secret, Some(token.to_owned()), None, "the test");
        let provider = aws_sdk_iam::config::SharedCredentialsProvider::new(credentials);
        config.to_builder().credentials_provider(provider).build()
    };
    let there = secret(&given.session_token);
    let identity = aws_sdk_sts::Client::new(&there).get_caller_identity().send().await.expect("GetCallerIdentity");
    assert_eq!(identity.account(), Some(far));
    assert_eq!(identity.arn(), Some("arn:aws:sts::210987654321:assumed-role/rolecall/me"));
    assert_eq!(create(&aws_sdk_iam::Client::new(&there), "theirs").await, "ok");
    assert_eq!(get(&iam, "theirs").await, "NoSuchEntity");
    assert!(model.role(far, "theirs").is_some() && model.role(ACCOUNT, "theirs").is_none());
    assert_eq!(get(&aws_sdk_iam::Client::new(&secret("another")), "theirs").await, "InvalidClientTokenId");
    advance(seconds(901)).await;
    assert_eq!(get(&aws_sdk_iam::Client::new(&there), "theirs").await, "ExpiredToken");

    // Buckets are one space, but not one owner's.
    let own = aws_sdk_s3::Client::new(&model.sdk_config(ACCOUNT, "us-east-1"));
    let foreign = aws_sdk_s3::Client::new(&model.sdk_config(far, "us-east-1"));
    own.create_bucket().bucket("only-one").send().await.expect("CreateBucket");
    let again = foreign.create_bucket().bucket("only-one").send().await.expect_err("taken");
    assert_eq!(again.code(), Some("BucketAlreadyExists"));
    let peek = foreign.get_bucket_tagging().bucket("only-one").send().await.expect_err("foreign");
    assert_eq!(peek.code(), Some("AccessDenied"));
}

#[tokio::test(start_paused = true)]
async fn documents_come_back_in_another_form_with_the_same_meaning() {
    let (model, iam) = model_and_iam();
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},
        "Action":["sts:AssumeRole"],"Condition":{"StringEquals":{"aws:SourceAccount":"123456789012"}}}]}"#;
    model.put_role(ACCOUNT, "form", trust, Visible::AtOnce);
    let shown = async || {
        let role = iam.get_role().role_name("form").send().await.expect("GetRole").role.expect("a role");
        let encoded = role.assume_role_policy_document.expect("a trust policy");
        assert!(!encoded.contains(['{', ' ', '"']));
        percent_encoding::percent_decode_str(&encoded).decode_utf8().expect("UTF-8").into_owned()
    };
    assert_eq!(shown().await, trust);
    model.set_options(|options| options.reserialise_documents = true);
    let other: serde_json::Value = serde_json::from_str(&shown().await).expect("JSON");
    assert_eq!(
        other,
        serde_json::json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}}
        }]})
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_principal_leaves_its_id() {
    let (model, iam) = model_and_iam();
    model.set_options(|options| options.deleted_principals_become_ids = true);
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole",
            "Principal":{{"AWS":"arn:aws:iam::{ACCOUNT}:role/friend"}}}}]}}"#
    );
    let trusting = iam.create_role().role_name("trusting").assume_role_policy_document(&trust);
    assert_eq!(outcome(trusting.clone().send().await), "MalformedPolicyDocument", "nobody knows the principal");
    assert_eq!(create(&iam, "friend").await, "ok");
    assert_eq!(outcome(trusting.send().await), "ok");
    let id = model.role(ACCOUNT, "friend").expect("the role").id.clone();
    assert_eq!(outcome(iam.delete_role().role_name("friend").send().await), "ok");
    assert_eq!(create(&iam, "friend").await, "ok");
    let seen = model.role(ACCOUNT, "trusting").expect("the role").trust.text.clone();
    assert!(id.starts_with("AROA") && seen.contains(&id) && !seen.contains("role/friend"), "{seen}");
}

#[tokio::test(start_paused = true)]
async fn what_happened_is_counted_and_logged() {
    let (model, iam) = model_and_iam();
    model.keep_log(true);
    let called = Arc::new(AtomicU32::new(0));
    let counter = called.clone();
    let inside = model.clone();
    model.on_call("iam:CreateRole", 2, move || {
        counter.fetch_add(1, Ordering::SeqCst);
        inside.delete_role(ACCOUNT, "a", Visible::AtOnce);
    });
    create(&iam, "a").await;
    get(&iam, "a").await;
    create(&iam, "b").await;
    get(&iam, "a").await;
    assert_eq!(called.load(Ordering::SeqCst), 1);
    let counts = model.counts();
    assert_eq!((counts.reads, counts.writes, counts.total()), (2, 2, 4));
    assert_eq!((counts.of("iam:*"), counts.with_outcome("iam:GetRole", "NoSuchEntity")), (4, 1));
    let log: Vec<_> =
        model.log().into_iter().map(|line| format!("{} {} {}", line.op, line.target, line.outcome)).collect();
    assert_eq!(log, ["iam:CreateRole a ok", "iam:GetRole a ok", "iam:CreateRole b ok", "iam:GetRole a NoSuchEntity"]);

    let other = Model::new(99);
    other.put_role(ACCOUNT, "b", TRUST, Visible::AtOnce);
    assert_eq!(model.inventory(), other.inventory());
    assert_eq!(model.fingerprint(), other.fingerprint());
    other.alter_role(ACCOUNT, "b", Visible::AtOnce, |role| role.max_session_seconds = 7200);
    assert_ne!(model.fingerprint(), other.fingerprint());
}

#[tokio::test(start_paused = true)]
async fn the_public_reads_what_policy_and_block_let_it() {
    let model = Model::new(3);
    let s3 = aws_sdk_s3::Client::new(&model.sdk_config(ACCOUNT, REGION));
    let constraint = aws_sdk_s3::types::BucketLocationConstraint::from(REGION);
    let configuration = aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint(constraint).build();
    s3.create_bucket().bucket("issuer").create_bucket_configuration(configuration).send().await.expect("CreateBucket");
    let put = s3.put_object().bucket("issuer").key("keys.json").content_type("application/json");
    put.body(ByteStream::from_static(b"{}")).send().await.expect("PutObject");
    let read = async |key: &str| {
        let url = format!("https://issuer.s3.{REGION}.amazonaws.com/{key}");
        model.read_anonymously(&url).await.expect("an answer")
    };
    assert_eq!(read("keys.json").await.0, 403);
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::issuer/keys.json"}]}"#;
    let blocked = s3.put_bucket_policy().bucket("issuer").policy(policy).send().await.expect_err("BlockPublicPolicy");
    assert_eq!(blocked.code(), Some("AccessDenied"));
    model.alter_bucket("issuer", Visible::AtOnce, |bucket| {
        if let Some(block) = &mut bucket.block {
            block.block_public_policy = false;
        }
    });
    s3.put_bucket_policy().bucket("issuer").policy(policy).send().await.expect("PutBucketPolicy");
    assert_eq!(read("keys.json").await.0, 403, "RestrictPublicBuckets");
    model.alter_bucket("issuer", Visible::AtOnce, |bucket| bucket.block = None);
    assert_eq!(read("keys.json").await, (200, b"{}".to_vec()));
    assert_eq!(read("other.json").await.0, 403);
}

#[tokio::test]
async fn a_program_can_speak_to_the_model_over_http() {
    let model = Model::new(5);
    let served = model.serve().await;
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new(REGION))
        .credentials_provider(aws_sdk_iam::config::Credentials::new(access_key(ACCOUNT), "x", None, None, "the test"))
        .endpoint_url(served.url())
        .retry_config(RetryConfig::disabled())
        .load()
        .await;
    let (iam, sts) = (aws_sdk_iam::Client::new(&config), aws_sdk_sts::Client::new(&config));
    let s3 = aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build());
    assert_eq!(sts.get_caller_identity().send().await.expect("GetCallerIdentity").account(), Some(ACCOUNT));
    assert_eq!(create(&iam, "over-http").await, "ok");
    assert_eq!(get(&iam, "nobody").await, "NoSuchEntity");
    let constraint = aws_sdk_s3::types::BucketLocationConstraint::from(REGION);
    let configuration = aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint(constraint).build();
    s3.create_bucket()
        .bucket("over-http")
        .create_bucket_configuration(configuration)
        .send()
        .await
        .expect("CreateBucket");
    let key = "a b/c+d'é.json";
    let put = s3.put_object().bucket("over-http").key(key).tagging("x=y%20z").content_type("application/json");
    put.body(ByteStream::from_static(b"{\"a\":1}")).send().await.expect("PutObject");
    let head = s3.head_object().bucket("over-http").key(key).send().await.expect("HeadObject");
    assert_eq!((head.content_length(), head.content_type()), (Some(7), Some("application/json")));
    let got = s3.get_object().bucket("over-http").key(key).send().await.expect("GetObject");
    assert_eq!(got.body.collect().await.expect("a body").into_bytes().as_ref(), b"{\"a\":1}");
    let listed = s3.list_objects_v2().bucket("over-http").send().await.expect("ListObjectsV2");
    assert_eq!(listed.contents().iter().filter_map(|object| object.key()).collect::<Vec<_>>(), [key]);
    assert_eq!(model.object("over-http", key).expect("the object").tags["x"], "y z");

    model.add_rule(Rule::times("iam:CreateRole", 1, Trouble::LoseAnswer));
    assert_eq!(create(&iam, "lost").await, "lost");
    assert!(model.role(ACCOUNT, "lost").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_bucket_answers_in_its_own_region_alone() {
    let model = Model::new(7);
    let config = |account, region| {
        let config = model.sdk_config(account, region).into_builder().retry_config(RetryConfig::disabled()).build();
        aws_sdk_s3::Client::new(&config)
    };
    for (owner, region, asked, answer) in [
        (ACCOUNT, REGION, REGION, "NoSuchTagSet"),
        ("222222222222", REGION, REGION, "AccessDenied"),
        ("222222222222", "us-west-2", REGION, "PermanentRedirect"),
        (ACCOUNT, "me-south-1", REGION, "IllegalLocationConstraintException"),
        (ACCOUNT, REGION, "us-east-1", "AuthorizationHeaderMalformed"),
    ] {
        model.add_account(owner);
        model.put_bucket(owner, region, "somewhere", Visible::AtOnce);
        let tags = config(ACCOUNT, asked).get_bucket_tagging().bucket("somewhere").send().await;
        assert_eq!(outcome(tags), answer, "{owner} {region} {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn limits_are_those_of_the_account() {
    let (model, iam) = model_and_iam();
    model.set_quotas(ACCOUNT, |quotas| quotas.roles = 2);
    let long = TRUST.replace("\"Effect\"", &format!("\"Sid\":\"{}\",\"Effect\"", "s".repeat(2100)));
    let longest = iam.create_role().role_name("long").assume_role_policy_document(&long);
    assert_eq!(outcome(longest.clone().send().await), "LimitExceeded");
    model.set_quotas(ACCOUNT, |quotas| quotas.trust_policy = 4096);
    assert_eq!(outcome(longest.send().await), "ok");
    assert_eq!(create(&iam, "second").await, "ok");
    let third = iam.create_role().role_name("third").assume_role_policy_document(TRUST).send().await;
    assert_eq!(third.expect_err("a quota").message(), Some("Cannot exceed quota for RolesPerAccount: 2"));
    let summary = iam.get_account_summary().send().await.expect("GetAccountSummary").summary_map.expect("a map");
    let entry = |name: &str| summary.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| *value);
    let quotas = ["Roles", "RolesQuota", "AssumeRolePolicySizeQuota"].map(entry);
    assert_eq!(quotas, [Some(2), Some(2), Some(4096)]);

    // The inline policies of a role share their quota, and white space is free.
    let put = async |name: &str, letters: usize, white: usize| {
        let document = format!(
            r#"{{"Statement":{}[{{"Effect":"Allow","Action":"s3:{}","Resource":"*"}}]}}"#,
            " ".repeat(white),
            "G".repeat(letters)
        );
        outcome(iam.put_role_policy().role_name("second").policy_name(name).policy_document(document).send().await)
    };
    assert_eq!(put("a", 6000, 9000).await, "ok");
    assert_eq!(put("b", 6000, 0).await, "LimitExceeded");
    assert_eq!(put("b", 4000, 0).await, "ok");
    assert_eq!(put("a", 6100, 0).await, "ok", "what is replaced does not count");

    model.alter_role(ACCOUNT, "second", Visible::AtOnce, |role| role.inline.clear());
    model.add_to_instance_profile(ACCOUNT, "second", "machines");
    let profiles = iam.list_instance_profiles_for_role().role_name("second").send().await.expect("a list");
    assert_eq!(profiles.instance_profiles()[0].instance_profile_name(), "machines");
    let held = iam.delete_role().role_name("second").send().await.expect_err("a role in a profile");
    assert_eq!(held.message(), Some("Cannot delete entity, must remove roles from instance profile first."));
}
