//! What the tests of deletion have in common: a ClusterIdentity that is to go, what AWS was asked to delete, what is left.

use serde_json::Value;

use super::adoption::{create_bucket, create_provider, tag_bucket};
use super::scene::{AT_ONCE, REGION, SOON, Scene, condition_is, said};
use super::support::aws_state::{self, iam, s3};
use super::support::{Call, Schema, block_on, eventually};
use super::written::taken;

pub const DELETE: &str = "  deletionPolicy: Delete\n";

/// AWS's reads are believed after a second, not after half a minute: the emulators show every change at once.
pub const SETTLED: [&str; 2] = ["--aws-settle-time", "1"];

pub const EC2_TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// Applies the ClusterIdentity, to be looked at every second.
pub fn specify(scene: &Scene, more: &str) {
    scene.cluster.apply_ok(&scene.identity_yaml(more).replace("driftInterval: 2s", "driftInterval: 1s"));
}

/// The same with a brake on deletions.
pub fn specify_brake(scene: &Scene, most: u32, more: &str) {
    let yaml = scene.identity_yaml(more).replace("driftInterval: 2s", "driftInterval: 1s");
    let braked = yaml.replace(AT_ONCE, &AT_ONCE.replace('9', &most.to_string()));
    assert_ne!(braked, yaml);
    scene.cluster.apply_ok(&braked);
}

/// A scene in which everything is Ready; from here on, calls are counted.
pub fn ready(name: &str, more: &str, requests: &[&str]) -> Scene {
    ready_on(Schema::Rolecall, name, more, requests)
}

/// The same on either schema.
pub fn ready_on(schema: Schema, name: &str, more: &str, requests: &[&str]) -> Scene {
    let mut scene = Scene::on(schema, name);
    specify(&scene, more);
    for request in requests {
        scene.request(request);
    }
    scene.start_with(&SETTLED, &[]);
    scene.await_condition("Ready", "True");
    scene.proxy.reset_counts();
    scene
}

/// Asks for the deletion, and does not wait for it.
pub fn delete(scene: &Scene) {
    scene.cluster.kubectl_ok(&["delete", "cid", &scene.name, "-n", &scene.name, "--wait=false"]);
}

pub fn delete_request(scene: &Scene, request: &str) {
    scene.cluster.kubectl_ok(&["delete", "credentialsrequest", request, "-n", &scene.name, "--timeout=60s"]);
}

/// Patches the ClusterIdentity's spec, as someone does who wants it to go.
pub fn patch_spec(scene: &Scene, spec: &str) {
    let patch = format!("{{\"spec\":{spec}}}");
    scene.cluster.kubectl_ok(&["patch", "cid", &scene.name, "-n", &scene.name, "--type=merge", "-p", &patch]);
}

/// Waits until the ClusterIdentity is gone.
#[track_caller]
pub fn await_gone(scene: &Scene) {
    eventually(SOON, &format!("the end of {}", scene.name), || {
        let args = ["get", "cid", &scene.name, "-n", &scene.name, "--ignore-not-found", "-o", "jsonpath={.status}"];
        let found = scene.cluster.kubectl(&args);
        if found.success() && found.stdout.is_empty() { Ok(()) } else { Err(found.stdout + &found.stderr) }
    });
}

/// Waits until the status says that the deletion is held up, with all of these words; returns the message.
#[track_caller]
pub fn await_held(scene: &Scene, words: &[&str]) -> String {
    eventually(SOON, &format!("{} to be held by {words:?}", scene.name), || {
        let object = scene.identity_object();
        let message = condition_is(&object, "Ready", "False")?;
        let reason = said(&object, "Ready", "reason");
        let told = words.iter().all(|word| message.contains(word));
        if reason == "Deleting" && told { Ok(message) } else { Err(format!("{reason}: {message}")) }
    })
}

/// What a held deletion says of itself: what keeps the object, and what lets it go.
#[track_caller]
pub fn assert_says_what_to_do(message: &str) {
    for words in ["the finalizer rolecall.dev/teardown keeps this object", "set spec.deletionPolicy to Retain"] {
        assert!(message.contains(words), "{message}");
    }
}

pub fn finalizers(scene: &Scene) -> Vec<String> {
    let object = scene.identity_object();
    let texts = object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// Waits until the finalizer is there, or is not.
#[track_caller]
pub fn await_finalizer(scene: &Scene, wanted: bool) {
    eventually(SOON, &format!("finalizer: {wanted}"), || {
        let found = finalizers(scene);
        if found == [""; 0] && !wanted || found == ["rolecall.dev/teardown"] && wanted {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

/// The deletions that take everything of a scene with these requests away, sorted.
pub fn everything(scene: &Scene, requests: &[&str]) -> Vec<String> {
    let bucket = scene.bucket();
    let mut all = vec![
        format!("iam:DeleteOpenIDConnectProvider {}", scene.provider_arn()),
        format!("s3:DeleteBucket {bucket}"),
        format!("s3:DeleteObject {bucket}/.well-known/openid-configuration"),
        format!("s3:DeleteObject {bucket}/keys.json"),
    ];
    for request in requests {
        all.extend(deletion_of_role(scene, request));
    }
    all.sort();
    all
}

/// What deletes the role of a request, in order.
pub fn deletion_of_role(scene: &Scene, request: &str) -> [String; 2] {
    let role = scene.role_name(request);
    [format!("iam:DeleteRolePolicy {role}"), format!("iam:DeleteRole {role}")]
}

/// Nothing but deletions was asked for: roles first, then the provider, then the documents, then the bucket.
#[track_caller]
pub fn assert_in_order(calls: &[Call]) {
    const ORDER: [&[&str]; 4] = [
        &["iam:DeleteRolePolicy", "iam:DeleteRole"],
        &["iam:DeleteOpenIDConnectProvider"],
        &["s3:DeleteObject"],
        &["s3:DeleteBucket"],
    ];
    let writes: Vec<&str> = calls.iter().filter(|call| call.is_write()).map(|call| call.op.as_str()).collect();
    let place = |op: &&str| ORDER.iter().position(|ops| ops.contains(op));
    let places: Vec<_> = writes.iter().map(place).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{writes:?}");
}

/// Everything of the scene was deleted once and in order, and is gone.
#[track_caller]
pub fn assert_all_gone(scene: &Scene, requests: &[&str]) {
    let calls = scene.proxy.calls();
    assert_in_order(&calls);
    assert_eq!(taken(&calls), everything(scene, requests));
    assert_nothing_left(scene, requests);
}

/// Neither AWS nor Kubernetes has anything of the scene.
#[track_caller]
pub fn assert_nothing_left(scene: &Scene, requests: &[&str]) {
    for request in requests {
        assert!(aws_state::role(&scene.role_name(request)).is_none(), "the role of {request} is left");
        assert!(!has_secret(scene, request), "the Secret of {request} is left");
    }
    assert!(aws_state::provider(&scene.provider_arn()).is_none(), "the provider is left");
    assert!(aws_state::bucket(&scene.bucket()).is_none(), "the bucket is left");
}

/// The issuer and the roles of these requests are all there.
#[track_caller]
pub fn assert_all_there(scene: &Scene, requests: &[&str]) {
    for request in requests {
        assert!(has_role(scene, request), "the role of {request} is gone");
    }
    assert!(aws_state::provider(&scene.provider_arn()).is_some(), "the provider is gone");
    let bucket = aws_state::bucket(&scene.bucket()).expect("the bucket is gone");
    assert_eq!(bucket.objects.len(), 2);
}

/// Whether the role of a request is there; [`Scene::role`] reads it call by call, and it may go in between.
pub fn has_role(scene: &Scene, request: &str) -> bool {
    aws_state::role_names().contains(&scene.role_name(request))
}

#[track_caller]
pub fn await_no_role(scene: &Scene, request: &str) {
    eventually(SOON, &format!("the role of {request} to go"), || {
        if has_role(scene, request) { Err("it is there".to_owned()) } else { Ok(()) }
    });
}

pub fn has_secret(scene: &Scene, request: &str) -> bool {
    scene.cluster.kubectl(&["get", "secret", &format!("{request}-creds"), "-n", &scene.name]).success()
}

/// The tag that marks what belongs to a cluster.
pub fn mark(infra_name: &str) -> (String, String) {
    (format!("openshift.io/cloud-credential-operator/{infra_name}"), "owned".to_owned())
}

/// A role that someone else has made, with these tags.
pub fn foreign_role(name: &str, tags: &[(String, String)]) {
    let tag = |(key, value): &(String, String)| {
        aws_sdk_iam::types::Tag::builder().key(key).value(value).build().expect("a tag")
    };
    let create = iam().create_role().role_name(name).assume_role_policy_document(EC2_TRUST);
    block_on(create.set_tags(Some(tags.iter().map(tag).collect())).send()).expect("CreateRole");
}

/// The issuer of another cluster, with its own mark: bucket, one document and provider. Returns the provider's ARN.
pub fn foreign_issuer(infra_name: &str) -> String {
    let bucket = format!("{infra_name}-oidc");
    create_bucket(&bucket);
    tag_bucket(&bucket, &[mark(infra_name)]);
    let put = s3().put_object().bucket(&bucket).key("keys.json").body(b"{}".to_vec().into());
    block_on(put.send()).expect("PutObject");
    let host = format!("{bucket}.s3.{REGION}.amazonaws.com");
    create_provider(&format!("https://{host}"), &["openshift"]);
    format!("arn:aws:iam::{}:oidc-provider/{host}", super::scene::ACCOUNT)
}
