//! The issuer in force is the one that a cluster's tokens name. What names another is not written, and what is closed is not
//! opened.

use aws_sdk_s3::config::Region;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, PublicAccessBlockConfiguration, Tag as S3Tag, Tagging,
};

use super::*;
use crate::adoption::{Ccoctl, FIRST, Signer, create_provider};
use crate::ended::mark;
use crate::scene::{ACCOUNT, REGION};
use crate::support::aws_state::s3;

/// Closes a bucket to the public and points its discovery document, provider and roles' trust at another issuer: what
/// `ccoctl aws --create-private-s3-bucket` leaves.
pub fn close(scene: &Scene, issuer: &str) {
    let bucket = scene.bucket();
    let block = PublicAccessBlockConfiguration::builder().block_public_acls(true).ignore_public_acls(true);
    let block = block.block_public_policy(true).restrict_public_buckets(true).build();
    let put = s3().put_public_access_block().bucket(&bucket).public_access_block_configuration(block);
    block_on(put.send()).expect("PutPublicAccessBlock");
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Sid": "CloudFront", "Effect": "Allow", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{bucket}/*"),
        "Principal": {"AWS": "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E1"},
    }]});
    block_on(s3().put_bucket_policy().bucket(&bucket).policy(policy.to_string()).send()).expect("PutBucketPolicy");
    put_object(&bucket, ".well-known/openid-configuration", &discovery(issuer));
}

/// The discovery document of an issuer, as ccoctl has it.
fn discovery(issuer: &str) -> String {
    let document = json!({
        "issuer": issuer, "jwks_uri": format!("{issuer}/keys.json"), "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["aud", "exp", "sub", "iat", "iss", "sub"],
    });
    document.to_string()
}

fn put_object(bucket: &str, key: &str, body: &str) {
    let put = s3().put_object().bucket(bucket).key(key).body(body.as_bytes().to_vec().into());
    block_on(put.send()).expect("PutObject");
}

/// A role of the cluster that trusts this issuer, as ccoctl makes it.
fn role_that_trusts(scene: &Scene, request: &str, host: &str) {
    Ccoctl(scene).role(request);
    let (role, name) = (scene.role_name(request), &scene.name);
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{host}")},
        "Condition": {"StringEquals": {format!("{host}:sub"): [format!("system:serviceaccount:{name}:{request}")]}},
    }]});
    let update = iam().update_assume_role_policy().role_name(role).policy_document(trust.to_string());
    block_on(update.send()).expect("UpdateAssumeRolePolicy");
}

fn owned_provider(scene: &Scene, host: &str) -> String {
    create_provider(&format!("https://{host}"), &["openshift", "sts.amazonaws.com"]);
    let arn = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{host}");
    let tag = iam().tag_open_id_connect_provider().open_id_connect_provider_arn(&arn);
    let (key, value) = mark(&scene.name);
    let mark = aws_sdk_iam::types::Tag::builder().key(key).value(value).build().expect("a tag");
    block_on(tag.tags(mark).send()).expect("TagOpenIDConnectProvider");
    arn
}

/// Nothing of the issuer, of trust, of Secrets or of marks is written, and the message names both issuers.
#[track_caller]
fn assert_refused(scene: &Scene, reasons: &[&str], words: &[&str]) {
    await_unchanged(scene, &format!("Ready=False, one of {reasons:?}"), |object| {
        let message = condition_is(object, "Ready", "False")?;
        let reason = said(object, "Ready", "reason");
        let told = reasons.contains(&reason.as_str()) && words.iter().all(|word| message.contains(word));
        if told { Ok(()) } else { Err(format!("{reason}: {message}")) }
    });
    scene.passes(3);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
}

/// A running cluster whose private bucket CloudFront reads; the ClusterIdentity says nothing of CloudFront.
#[test]
fn private_issuer_adopted_as_public_stays_private() {
    let mut scene = Scene::new("harm-private");
    let host = "d1private.cloudfront.net";
    let ccoctl = Ccoctl(&scene);
    ccoctl.bucket();
    ccoctl.documents(&Signer::of(FIRST));
    close(&scene, &format!("https://{host}"));
    let provider = owned_provider(&scene, host);
    role_that_trusts(&scene, "a", host);
    ccoctl.secret("a");
    let before = (Kept::of(&scene), aws_state::provider(&provider));
    specify(&scene, "", "");
    scene.request("a");
    start(&mut scene);
    assert_refused(&scene, &["IssuerMismatch"], &[host, &scene.issuer_host()]);
    assert_eq!((Kept::of(&scene), aws_state::provider(&provider)), before);
}

/// The same, and the user has written `adoption: Adopt`: that is about marks, not about issuers.
#[test]
fn private_issuer_adopted_by_force_stays_private() {
    let mut scene = Scene::new("harm-privateforce");
    let host = "d2private.cloudfront.net";
    Ccoctl(&scene).bucket();
    Ccoctl(&scene).documents(&Signer::of(FIRST));
    close(&scene, &format!("https://{host}"));
    role_that_trusts(&scene, "a", host);
    let before = Kept::of(&scene);
    specify(&scene, "", "  adoption: Adopt\n");
    scene.request("a");
    start(&mut scene);
    assert_refused(&scene, &["IssuerMismatch"], &[host, &scene.issuer_host()]);
    assert_eq!(Kept::of(&scene), before);
}

/// Only the bucket is closed: no document says whose it is, and no role trusts anyone.
#[test]
fn closed_bucket_of_another_maker_is_not_opened() {
    let mut scene = Scene::new("harm-closed");
    Ccoctl(&scene).bucket();
    Ccoctl(&scene).documents(&Signer::of(FIRST));
    close(&scene, &format!("https://{}", scene.issuer_host()));
    let before = aws_state::bucket(&scene.bucket());
    specify(&scene, "", "");
    scene.request("a");
    start(&mut scene);
    let opened = ["s3:PutPublicAccessBlock", "s3:PutBucketPolicy", "s3:DeletePublicAccessBlock", "s3:PutObject"];
    eventually(SOON, "IssuerPublished=False, BucketClosed", || {
        let sent: Vec<String> =
            scene.proxy.write_ops().into_iter().filter(|op| opened.contains(&op.as_str())).collect();
        assert_eq!(sent, [""; 0], "the bucket is opened");
        let object = scene.identity_object();
        condition_is(&object, "IssuerPublished", "False")?;
        let reason = said(&object, "IssuerPublished", "reason");
        if reason == "BucketClosed" { Ok(()) } else { Err(object["status"]["conditions"].to_string()) }
    });
    scene.passes(3);
    assert_eq!(aws_state::bucket(&scene.bucket()), before);
}

/// The region is part of the issuer's URL: one wrong word, and the wanted issuer is one that does not exist.
#[test]
fn wrong_region_adopted_leaves_roles_and_bucket() {
    let mut scene = Scene::new("harm-region");
    let (bucket, other) = (scene.bucket(), "us-west-2");
    let host = format!("{bucket}.s3.{other}.amazonaws.com");
    let provider = owned_provider(&scene, &host);
    let abroad = aws_sdk_s3::Client::from_conf(s3().config().to_builder().region(Region::new(other)).build());
    let place = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(other)).build();
    let create = abroad.create_bucket().bucket(&bucket).create_bucket_configuration(place);
    block_on(create.send()).expect("CreateBucket");
    let (key, value) = mark(&scene.name);
    let tagging = Tagging::builder().tag_set(S3Tag::builder().key(key).value(value).build().expect("a tag"));
    let tag = abroad.put_bucket_tagging().bucket(&bucket).tagging(tagging.build().expect("tags"));
    block_on(tag.send()).expect("PutBucketTagging");
    let open = PublicAccessBlockConfiguration::builder().block_public_acls(true).ignore_public_acls(true);
    let open = open.block_public_policy(false).restrict_public_buckets(false).build();
    let put = abroad.put_public_access_block().bucket(&bucket).public_access_block_configuration(open);
    block_on(put.send()).expect("PutPublicAccessBlock");
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Sid": "AllowReadPublicAccess", "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"],
        "Resource": [format!("arn:aws:s3:::{bucket}/*")],
    }]});
    block_on(abroad.put_bucket_policy().bucket(&bucket).policy(policy.to_string()).send()).expect("PutBucketPolicy");
    let documents = [
        ("keys.json", Signer::of(FIRST).jwks()),
        (".well-known/openid-configuration", discovery(&format!("https://{host}"))),
    ];
    for (key, body) in documents {
        let put = abroad.put_object().bucket(&bucket).key(key).body(body.into_bytes().into());
        block_on(put.send()).expect("PutObject");
    }
    role_that_trusts(&scene, "a", &host);
    Ccoctl(&scene).secret("a");
    let look = || (scene.role("a"), aws_state::provider(&provider), secrets(&scene));
    let before = look();
    specify(&scene, "", "");
    scene.request("a");
    start(&mut scene);
    assert_refused(&scene, &["IssuerMismatch"], &[other, REGION]);
    let look = || (scene.role("a"), aws_state::provider(&provider), secrets(&scene));
    assert_eq!(look(), before);

    // Nothing was made, so the region may be put right.
    patch(&scene, &json!({"spec": {"region": other}}));
    eventually(SOON, "the roles to be as wanted", || {
        assert_eq!(scene.role("a").trust, before.0.trust);
        condition_is(&scene.identity_object(), "RolesReady", "True").map(drop)
    });
}

/// What a witness says cannot be read: in doubt nothing is overwritten.
#[test]
fn issuer_that_cannot_be_read_is_not_overwritten() {
    use crate::support::{Fault, Kind};
    let mut scene = Scene::new("harm-unread");
    let host = "d3private.cloudfront.net";
    Ccoctl(&scene).bucket();
    Ccoctl(&scene).documents(&Signer::of(FIRST));
    close(&scene, &format!("https://{host}"));
    role_that_trusts(&scene, "a", host);
    let before = Kept::of(&scene);
    scene.proxy.inject(Fault::always("s3:GetObject", Kind::AccessDenied));
    specify(&scene, "", "");
    scene.request("a");
    start(&mut scene);
    assert_refused(&scene, &["IssuerUnknown", "IssuerMismatch"], &[&scene.issuer_host()]);
    assert_eq!(Kept::of(&scene), before);
}

/// An administrator let workloads use the provider of the cluster, too.
#[test]
fn foreign_audience_found_on_adoption_stays() {
    let mut scene = adopted("harm-audience");
    let add = iam().add_client_id_to_open_id_connect_provider().open_id_connect_provider_arn(scene.provider_arn());
    block_on(add.client_id("workloads").send()).expect("AddClientIDToOpenIDConnectProvider");
    specify(&scene, "", "");
    start(&mut scene);
    await_unharmed(&scene, "Ready=True", |object| condition_is(object, "Ready", "True").map(drop));
    scene.passes(2);
    assert_nothing_changed(&scene);
    let provider = aws_state::provider(&scene.provider_arn()).expect("the provider");
    assert!(provider.audiences.contains(&"workloads".to_owned()), "{:?}", provider.audiences);
}

/// Statements of the organisation are in the bucket's policy, and the public one is too narrow: the policy has to be written.
#[test]
fn foreign_bucket_statement_found_on_adoption_stays() {
    let mut scene = adopted("harm-statement");
    let arn = format!("arn:aws:s3:::{}", scene.bucket());
    let statements = json!([
        {
            "Sid": "Perimeter", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, format!("{arn}/*")],
            "Condition": {"StringEquals": {"aws:PrincipalAccount": "210987654321"}},
        },
        {
            "Sid": "Auditor", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")},
            "Action": "s3:ListBucket", "Resource": arn,
        },
        {"Sid": "Keys", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("{arn}/keys.json")},
    ]);
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    block_on(s3().put_bucket_policy().bucket(scene.bucket()).policy(policy).send()).expect("PutBucketPolicy");
    specify(&scene, "", "");
    start(&mut scene);
    eventually(SOON, "a public statement for both documents", || {
        let policy = aws_state::bucket(&scene.bucket()).expect("the bucket").policy.expect("a policy");
        let statements = policy["Statement"].as_array().expect("statements");
        for theirs in ["Perimeter", "Auditor"] {
            let there = statements.iter().any(|statement| statement["Sid"] == theirs);
            assert!(there, "a statement of others is gone: {policy}");
        }
        let public = statements.iter().filter(|statement| statement["Effect"] == "Allow" && statement["Sid"] != "Keys");
        if public.count() > 1 { Ok(()) } else { Err(policy.to_string()) }
    });
    scene.await_condition("Ready", "True");
}

/// Somebody lets an instance assume the component's role, too.
#[test]
fn foreign_trust_statement_found_on_adoption_stays() {
    let mut scene = adopted("harm-trust");
    let role = scene.role_name("a");
    let theirs = json!({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"});
    add_to_trust(&role, theirs.clone());
    let before = scene.role("a").trust;
    specify(&scene, "", "");
    start(&mut scene);
    eventually(SOON, "the role to be as wanted", || {
        assert_eq!(scene.role("a").trust, before);
        condition_is(&scene.identity_object(), "RolesReady", "True").map(drop)
    });
    scene.passes(2);
    assert_eq!(scene.role("a").trust, before);
    assert_eq!(scene.proxy.count("iam:UpdateAssumeRolePolicy"), 0);
}

/// A cluster as ccoctl made it with a request `a`, not served yet.
fn adopted(name: &str) -> Scene {
    let scene = Scene::new(name);
    let ccoctl = Ccoctl(&scene);
    ccoctl.bucket();
    ccoctl.documents(&Signer::of(FIRST));
    ccoctl.provider();
    ccoctl.role("a");
    ccoctl.secret("a");
    scene.request("a");
    scene
}
