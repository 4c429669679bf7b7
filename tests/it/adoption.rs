//! What was there before: what ccoctl made is taken over as it is, what is someone else's is left alone and named.

use std::collections::BTreeMap;
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_iam::types::Tag as IamTag;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, PublicAccessBlockConfiguration, Tag as S3Tag, Tagging,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::scene::{ACCOUNT, REGION, SOON, Scene, condition_is, on_both_schemas, said};
use super::support::aws_state::{self, iam, s3};
use super::support::{Schema, block_on, eventually};

on_both_schemas! {
    what_ccoctl_made_is_taken_over_and_marked,
    a_foreign_role_is_left_alone_until_it_is_adopted,
    a_foreign_bucket_is_never_touched,
    a_foreign_provider_and_foreign_secrets_are_never_touched,
    a_published_key_is_not_dropped_for_want_of_a_source,
}

pub const FIRST: &str = include_str!("../keys/first.pub");
pub const SECOND: &str = include_str!("../keys/second.pub");

/// A public key as ccoctl publishes it, computed without the code under test.
pub struct Signer {
    pub kid: String,
    n: String,
}

impl Signer {
    pub fn of(pem: &str) -> Self {
        let spki = pem::parse(pem).expect("PEM");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), pem).expect("written");
        let mut openssl = Command::new("openssl");
        openssl.args(["rsa", "-pubin", "-noout", "-modulus", "-in"]).arg(file.path());
        let modulus = openssl.output().expect("cannot run openssl: install it").stdout;
        let modulus = String::from_utf8(modulus).expect("text");
        let hex = modulus.trim().strip_prefix("Modulus=").expect("a modulus");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        Self { kid: URL_SAFE_NO_PAD.encode(digest(&SHA256, spki.contents())), n: URL_SAFE_NO_PAD.encode(bytes) }
    }

    /// ccoctl's keys.json: always one key.
    pub fn jwks(&self) -> String {
        let (kid, n) = (&self.kid, &self.n);
        format!(
            "{{\n    \"keys\": [\n        {{\n            \"use\": \"sig\",\n            \"kty\": \"RSA\",\n            \"kid\": \"{kid}\",\n            \"alg\": \"RS256\",\n            \"n\": \"{n}\",\n            \"e\": \"AQAB\"\n        }}\n    ]\n}}"
        )
    }
}

/// What `ccoctl aws create-all` lays down, call by call.
pub struct Ccoctl<'a>(pub &'a Scene);

impl Ccoctl<'_> {
    pub fn tags(&self) -> [(String, String); 2] {
        let name = self.0.name.clone();
        [(format!("openshift.io/cloud-credential-operator/{name}"), "owned".into()), ("Name".into(), name)]
    }

    pub fn iam_tags(&self) -> Vec<IamTag> {
        let tags = self.tags().into_iter();
        tags.map(|(key, value)| IamTag::builder().key(key).value(value).build().expect("a tag")).collect()
    }

    pub fn bucket(&self) {
        let bucket = self.0.bucket();
        create_bucket(&bucket);
        tag_bucket(&bucket, &self.tags());
        let block = PublicAccessBlockConfiguration::builder().block_public_acls(true).ignore_public_acls(true);
        let block = block.block_public_policy(false).restrict_public_buckets(false).build();
        let put = s3().put_public_access_block().bucket(&bucket).public_access_block_configuration(block);
        block_on(put.send()).expect("PutPublicAccessBlock");
        let policy = format!(
            "{{\n\t\"Version\": \"2012-10-17\",\n\t\"Statement\": [\n\t\t{{\n\t\t\t\"Sid\": \"AllowReadPublicAccess\",\n\t\t\t\"Principal\": \"*\",\n\t\t\t\"Effect\": \"Allow\",\n\t\t\t\"Action\": [\n\t\t\t\t\"s3:GetObject\"\n\t\t\t],\n\t\t\t\"Resource\": [\n\t\t\t\t\"arn:aws:s3:::{bucket}/*\"\n\t\t\t]\n\t\t}}\n\t]\n}}"
        );
        block_on(s3().put_bucket_policy().bucket(&bucket).policy(policy).send()).expect("PutBucketPolicy");
    }

    pub fn documents(&self, signer: &Signer) {
        let url = format!("https://{}", self.0.issuer_host());
        let discovery = format!(
            "{{\n\t\"issuer\": \"{url}\",\n\t\"jwks_uri\": \"{url}/keys.json\",\n    \"response_types_supported\": [\n        \"id_token\"\n    ],\n    \"subject_types_supported\": [\n        \"public\"\n    ],\n    \"id_token_signing_alg_values_supported\": [\n        \"RS256\"\n    ],\n    \"claims_supported\": [\n        \"aud\",\n        \"exp\",\n        \"sub\",\n        \"iat\",\n        \"iss\",\n        \"sub\"\n    ]\n}}"
        );
        let tagging = self.tags().map(|(key, value)| format!("{key}={value}")).join("&");
        for (key, body) in [(".well-known/openid-configuration", discovery), ("keys.json", signer.jwks())] {
            let put = s3().put_object().bucket(self.0.bucket()).key(key).content_type("application/octet-stream");
            block_on(put.tagging(&tagging).body(body.into_bytes().into()).send()).expect("PutObject");
        }
    }

    pub fn provider(&self) {
        create_provider(&format!("https://{}", self.0.issuer_host()), &["openshift", "sts.amazonaws.com"]);
        let tag = iam().tag_open_id_connect_provider().open_id_connect_provider_arn(self.0.provider_arn());
        block_on(tag.set_tags(Some(self.iam_tags())).send()).expect("TagOpenIDConnectProvider");
    }

    /// Trust policy with ccoctl's odd blanks, inline policy compact.
    pub fn role(&self, request: &str) {
        let (scene, role) = (self.0, self.0.role_name(request));
        let (arn, url, name) = (scene.provider_arn(), scene.issuer_host(), &scene.name);
        let trust = format!(
            r#"{{ "Version": "2012-10-17", "Statement": [ {{ "Effect": "Allow", "Principal": {{ "Federated": "{arn}" }}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition":  {{ "StringEquals": {{ "{url}:sub": [ "system:serviceaccount:{name}:{request}"  ] }} }} }} ] }}"#
        );
        let create = iam().create_role().role_name(&role).assume_role_policy_document(trust).path("/");
        let create = create.description(format!("OpenShift role for {name}/{request}-creds"));
        block_on(create.set_tags(Some(self.iam_tags())).send()).expect("CreateRole");
        let policy =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":"*"}]}"#;
        let put = iam().put_role_policy().role_name(&role).policy_name(&role).policy_document(policy);
        block_on(put.send()).expect("PutRolePolicy");
    }

    pub fn secret(&self, request: &str) {
        let (name, role) = (&self.0.name, self.0.role_name(request));
        self.0.cluster.apply_ok(&format!(
            "apiVersion: v1\nstringData:\n  credentials: |-\n    [default]\n    sts_regional_endpoints = regional\n    role_arn = arn:aws:iam::{ACCOUNT}:role/{role}\n    web_identity_token_file = /var/run/secrets/openshift/serviceaccount/token\nkind: Secret\nmetadata:\n  name: {request}-creds\n  namespace: {name}\ntype: Opaque"
        ));
    }
}

pub fn create_bucket(bucket: &str) {
    let place = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(REGION));
    let create = s3().create_bucket().bucket(bucket).create_bucket_configuration(place.build());
    block_on(create.send()).expect("CreateBucket");
}

pub fn tag_bucket(bucket: &str, tags: &[(String, String)]) {
    let tags = tags.iter().map(|(key, value)| S3Tag::builder().key(key).value(value).build().expect("a tag"));
    let tagging = Tagging::builder().set_tag_set(Some(tags.collect())).build().expect("tags");
    block_on(s3().put_bucket_tagging().bucket(bucket).tagging(tagging).send()).expect("PutBucketTagging");
}

pub fn create_provider(url: &str, audiences: &[&str]) {
    let audiences = audiences.iter().map(ToString::to_string).collect();
    let create = iam().create_open_id_connect_provider().url(url).set_client_id_list(Some(audiences));
    block_on(create.thumbprint_list("A".repeat(40)).send()).expect("CreateOpenIDConnectProvider");
}

fn reason(object: &Value, type_: &str) -> String {
    said(object, type_, "reason")
}

fn secret(scene: &Scene, name: &str) -> Value {
    scene.cluster.get_json(&["secret", name, "-n", &scene.name])
}

/// Waits for a condition of the ClusterIdentity with this status and reason; returns its message.
fn await_reason(scene: &Scene, type_: &str, status: &str, wanted: &str) -> String {
    eventually(SOON, &format!("{type_}={status}, {wanted}"), || {
        let identity = scene.identity_object();
        let message = condition_is(&identity, type_, status)?;
        if reason(&identity, type_) == wanted { Ok(message) } else { Err(identity["status"].to_string()) }
    })
}

fn what_ccoctl_made_is_taken_over_and_marked(schema: Schema) {
    let mut scene = Scene::on(schema, "adopt-ccoctl");
    let ccoctl = Ccoctl(&scene);
    ccoctl.bucket();
    ccoctl.documents(&Signer::of(FIRST));
    ccoctl.provider();
    for request in ["a", "b"] {
        ccoctl.role(request);
        ccoctl.secret(request);
        scene.request(request);
    }
    let bucket = aws_state::bucket(&scene.bucket());
    let provider = aws_state::provider(&scene.provider_arn());
    let roles = [scene.role("a"), scene.role("b")];
    let value = secret(&scene, "a-creds")["data"].clone();

    scene.identity("");
    scene.start();
    scene.await_condition("Ready", "True");
    scene.await_condition("IssuerVerified", "True");
    scene.await_request("a", "Ready", "True");
    await_marked(&scene);
    scene.passes(3);
    let mut marks = scene.proxy.write_ops();
    marks.sort();
    assert_eq!(marks, ["iam:TagOpenIDConnectProvider", "iam:TagRole", "iam:TagRole", "s3:PutBucketTagging"]);
    let mark = format!("{}.", scene.cluster.kube_system_uid());
    let unmarked = |tags: &mut BTreeMap<String, String>| {
        assert!(tags.remove("rolecall.dev/owner").is_some_and(|owner| owner.starts_with(&mark)), "{tags:?}");
    };
    let mut found = aws_state::bucket(&scene.bucket());
    unmarked(&mut found.as_mut().expect("the bucket").tags);
    assert_eq!(found, bucket);
    let mut found = aws_state::provider(&scene.provider_arn());
    unmarked(&mut found.as_mut().expect("the provider").tags);
    assert_eq!(found, provider);
    let mut found = [scene.role("a"), scene.role("b")];
    for role in &mut found {
        unmarked(&mut role.tags);
    }
    assert_eq!(found, roles);
    let taken = secret(&scene, "a-creds");
    let owner = taken["metadata"]["annotations"]["rolecall.dev/owner"].as_str().expect("a mark");
    assert!(owner.starts_with(&mark) && owner.ends_with(&format!(":{}/a-creds", scene.name)), "{owner}");
    assert_eq!(taken["data"], value);
    assert_eq!(taken["metadata"]["labels"]["app.kubernetes.io/managed-by"], "rolecall");
    let drifted = scene.identity_object();
    assert_eq!(drifted["status"]["drift"], Value::Null, "what was never ours has not drifted");
}

/// Waits until no mark is to be set any more.
#[track_caller]
pub fn await_marked(scene: &Scene) {
    eventually(SOON, "all marks to be set", || {
        let object = scene.identity_object();
        let pending = &object["status"]["pendingMarks"];
        if condition_is(&object, "Ready", "True").is_ok() && pending.is_null() {
            Ok(())
        } else {
            Err(object["status"].to_string())
        }
    });
}

fn a_foreign_role_is_left_alone_until_it_is_adopted(schema: Schema) {
    let mut scene = Scene::on(schema, "adopt-role");
    let role = scene.role_name("a");
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    let tag = IamTag::builder().key("team").value("blue").build().expect("a tag");
    let create = iam().create_role().role_name(&role).assume_role_policy_document(trust).tags(tag);
    block_on(create.send()).expect("CreateRole");
    let before = scene.role("a");
    scene.identity("");
    scene.request("a");
    scene.request("b");
    scene.start();
    scene.await_request("b", "Ready", "True");
    let message = scene.await_request("a", "Conflict", "True");
    assert!(message.contains(&format!("role {role} exists and does not carry the tag")), "{message}");
    await_reason(&scene, "Ready", "False", "Blocked");
    scene.passes(3);
    let request = scene.request_object("a");
    assert_eq!(reason(&request, "Conflict"), "NotOurs");
    assert_eq!(reason(&request, "Ready"), "NotOurs");
    scene.assert_provisioned(&request, false);
    scene.await_condition("Stalled", "True");
    let touched = |name: &str| scene.proxy.writes().iter().filter(|call| call.param("RoleName") == name).count();
    assert_eq!(touched(&role), 0, "{:?}", scene.proxy.writes());
    assert_eq!(scene.role("a"), before);
    let no_secret = scene.cluster.kubectl(&["get", "secret", "a-creds", "-n", &scene.name]);
    assert!(!no_secret.success(), "no component is pointed at a role that is not ours");

    scene.proxy.reset_counts();
    scene.identity("  adoption: Adopt\n");
    scene.await_condition("Ready", "True");
    scene.await_request("a", "Conflict", "False");
    let ops = scene.proxy.write_ops();
    assert_eq!(ops[..4], ["iam:TagRole", "iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy", "iam:UpdateRole"]);
    assert!(ops[4..].iter().all(|op| op == "iam:TagRole"), "the mark: {ops:?}");
    let adopted = scene.role("a");
    assert_eq!(adopted.tags["team"], "blue");
    assert_eq!(adopted.tags[&format!("openshift.io/cloud-credential-operator/{}", scene.name)], "owned");
    assert_eq!(adopted.trust["Statement"][0]["Principal"]["Federated"], scene.provider_arn());
}

/// A bucket that someone keeps private things in must not become public because its name fits.
fn a_foreign_bucket_is_never_touched(schema: Schema) {
    let mut scene = Scene::on(schema, "adopt-bucket");
    let bucket = scene.bucket();
    create_bucket(&bucket);
    let put = s3().put_object().bucket(&bucket).key("payroll.csv").body(b"private".to_vec().into());
    block_on(put.send()).expect("PutObject");
    let before = aws_state::bucket(&bucket);
    scene.identity("");
    scene.request("a");
    scene.start();
    // Without any tag it looks like one that was half made, but for what is in it.
    let message = await_reason(&scene, "IssuerPublished", "False", "NotOurs");
    assert!(message.contains(&format!("bucket {bucket} exists and does not carry the tag")), "{message}");
    scene.await_request("a", "Ready", "True");
    scene.await_condition("RolesReady", "True");
    assert_eq!(aws_state::bucket(&bucket), before);

    tag_bucket(&bucket, &[("team".into(), "payroll".into())]);
    let before = aws_state::bucket(&bucket);
    scene.passes(3);
    await_reason(&scene, "IssuerPublished", "False", "NotOurs");
    await_reason(&scene, "ProviderReady", "False", "Waiting");
    assert_eq!(aws_state::bucket(&bucket), before);
    assert!(aws_state::provider(&scene.provider_arn()).is_none(), "no one is trusted whose documents are not ours");
    assert_eq!(scene.proxy.write_ops(), ["iam:CreateRole", "iam:PutRolePolicy"]);
}

const ACCESS_KEY: &str = "AKIAFOREIGNFOREIGN00";
const SECRET_KEY: &str = "wJalrXUtnFEMIfOrEiGnKeYvAlUe/bPxRfiCYEXAMPLE";

fn a_foreign_provider_and_foreign_secrets_are_never_touched(schema: Schema) {
    let mut scene = Scene::on(schema, "adopt-foreign");
    create_provider(&format!("https://{}", scene.issuer_host()), &["mine"]);
    let provider = aws_state::provider(&scene.provider_arn());
    // An access key as passthrough mode leaves it; one hidden in a profile; another manager's profile.
    for (name, data) in [
        ("a-creds", format!("aws_access_key_id: {ACCESS_KEY}\n  aws_secret_access_key: {SECRET_KEY}")),
        (
            "b-creds",
            format!(
                "credentials: \"[default]\\naws_access_key_id = {ACCESS_KEY}\\naws_secret_access_key = {SECRET_KEY}\""
            ),
        ),
        ("c-creds", "credentials: \"[default]\\nrole_arn = arn:aws:iam::123456789012:role/other\"".to_owned()),
        // One for the very role that is wanted, by an older tool.
        (
            "e-creds",
            format!(
                "credentials: \"[default]\\nrole_arn = arn:aws:iam::123456789012:role/{}\\nweb_identity_token_file = /old\"",
                scene.role_name("e")
            ),
        ),
    ] {
        scene.cluster.apply_ok(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {}}}\nstringData:\n  {data}\n",
            scene.name
        ));
    }
    let names = ["a-creds", "b-creds", "c-creds", "e-creds"];
    let secrets = names.map(|name| secret(&scene, name));
    scene.identity("");
    for request in ["a", "b", "c", "d", "e"] {
        scene.request(request);
    }
    scene.start();
    let message = await_reason(&scene, "ProviderReady", "False", "NotOurs");
    assert!(message.contains(&scene.provider_arn()), "{message}");
    for (request, problem) in
        [("a", "an AWS access key"), ("b", "an AWS access key"), ("c", "someone else"), ("e", "someone else")]
    {
        let message = scene.await_request(request, "Conflict", "True");
        assert!(message.contains(problem) && message.contains(&format!("{request}-creds")), "{message}");
    }
    scene.await_request("d", "Ready", "True");
    scene.await_condition("IssuerPublished", "True");
    scene.await_condition("RolesReady", "True");
    scene.passes(2);
    assert_eq!(names.map(|name| secret(&scene, name)), secrets);
    assert_eq!(aws_state::provider(&scene.provider_arn()), provider);
    assert!(scene.proxy.write_ops().iter().all(|op| !op.contains("OpenIDConnectProvider")));

    // Adoption takes over a profile of the wanted role; key material and other roles' profiles are never overwritten.
    scene.identity("  adoption: Adopt\n");
    scene.await_request("e", "Ready", "True");
    scene.await_condition("ProviderReady", "True");
    scene.passes(2);
    for (at, request) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(reason(&scene.request_object(request), "Conflict"), "ForeignSecret");
        assert_eq!(secret(&scene, &format!("{request}-creds")), secrets[at]);
    }
    nothing_leaked(&scene);
}

fn nothing_leaked(scene: &Scene) {
    let get = |kind: &str| scene.cluster.kubectl_ok(&["get", kind, "-n", &scene.name, "-o", "json"]);
    let told = [get("cid"), get("credentialsrequests"), get("events"), get("events.events.k8s.io")];
    let heard = [scene.operator().log(), scene.operator().metrics()];
    let encoded = STANDARD.encode(SECRET_KEY);
    for text in told.iter().chain(&heard) {
        for value in [ACCESS_KEY, SECRET_KEY, &encoded] {
            assert!(!text.contains(value), "{value} is told: {text}");
        }
    }
}

/// An empty bucket of the name, and a neighbour whose issuer begins like ours.
#[test]
fn an_empty_bucket_is_taken_over_by_consent_and_a_neighbour_left_alone() {
    let mut scene = Scene::new("adopt-half");
    create_bucket(&scene.bucket());
    let neighbour = format!("{}/other", scene.provider_arn());
    create_provider(&format!("https://{}/other", scene.issuer_host()), &["theirs"]);
    let longer = format!("{}.cn", scene.provider_arn());
    create_provider(&format!("https://{}.cn", scene.issuer_host()), &["theirs"]);
    let before = [&neighbour, &longer].map(|arn| aws_state::provider(arn).expect("the neighbour"));
    scene.identity("");
    scene.request("a");
    scene.start();
    // Nobody here noted that it was about to be made.
    await_reason(&scene, "IssuerPublished", "False", "NotOurs");
    scene.identity("  adoption: Adopt\n");
    // S3 closes every new bucket to the public: whoever made this one opens it, not a tool that found it closed.
    await_reason(&scene, "IssuerPublished", "False", "BucketClosed");
    scene.passes(2);
    assert!(!scene.proxy.write_ops().iter().any(|op| op.starts_with("s3:")), "{:?}", scene.proxy.write_ops());
    block_on(aws_state::s3().delete_public_access_block().bucket(scene.bucket()).send()).expect("opened");
    scene.await_condition("Ready", "True");
    assert!(!scene.proxy.write_ops().contains(&"s3:CreateBucket".to_owned()));
    let bucket = aws_state::bucket(&scene.bucket()).expect("the bucket");
    assert_eq!(bucket.tags["Name"], scene.name);
    assert_eq!(bucket.objects.len(), 2);
    let provider = aws_state::provider(&scene.provider_arn()).expect("a provider of our own");
    assert_eq!(provider.url, scene.issuer_host());
    assert_eq!([&neighbour, &longer].map(|arn| aws_state::provider(arn).expect("the neighbour")), before);
    let role = scene.role("a");
    assert_eq!(role.trust["Statement"][0]["Principal"]["Federated"], scene.provider_arn());
}

/// ccoctl published a key that we are not told of: it may be the one that the cluster signs with.
fn a_published_key_is_not_dropped_for_want_of_a_source(schema: Schema) {
    let (first, second) = (Signer::of(FIRST), Signer::of(SECOND));
    let mut scene = Scene::on(schema, "adopt-keys");
    let ccoctl = Ccoctl(&scene);
    ccoctl.bucket();
    ccoctl.documents(&second);
    ccoctl.provider();
    let before = aws_state::bucket(&scene.bucket());
    scene.identity("");
    scene.request("a");
    scene.start();
    let message = await_reason(&scene, "IssuerPublished", "False", "IssuerMismatch");
    assert!(message.contains(&second.kid) && !message.contains(&first.kid), "{message}");
    await_reason(&scene, "Ready", "False", "IssuerMismatch");
    scene.passes(3);
    assert!(scene.proxy.writes().is_empty(), "{:?}", scene.proxy.writes());
    assert_eq!(aws_state::bucket(&scene.bucket()), before);

    scene.keys(&[FIRST, SECOND]);
    scene.await_condition("Ready", "True");
    let bucket = aws_state::bucket(&scene.bucket()).expect("the bucket");
    let keys = &bucket.objects["keys.json"].body;
    assert!(keys.contains(&first.kid) && keys.contains(&second.kid), "{keys}");
    assert_eq!(scene.proxy.count("s3:PutObject"), 1, "the discovery document was right");
}
