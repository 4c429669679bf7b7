//! When all is as wanted, nothing is written: whatever form AWS returns its documents in.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::scene::{SOON, Scene};
use super::support::aws_state::{self, iam};
use super::support::{block_on, eventually};

/// Everything that RFC 3986 does not call unreserved, as IAM encodes.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Another text that says the same: keys in reverse, lists of one as text, flags and numbers as text, wide,
/// percent-encoded in lower case.
fn otherwise(document: &str) -> String {
    let value: Value = serde_json::from_str(&percent_decode_str(document).decode_utf8_lossy()).expect("JSON");
    let text = serde_json::to_string_pretty(&reversed(&value)).expect("JSON").replace(": ", "  :\t");
    let encoded = utf8_percent_encode(&text, RESERVED).to_string();
    let mut lower = String::new();
    let mut rest = encoded.as_str();
    while let Some((before, after)) = rest.split_once('%') {
        lower.push_str(before);
        lower.push('%');
        lower.push_str(&after[..2].to_ascii_lowercase());
        rest = &after[2..];
    }
    lower + rest
}

fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect::<Map<_, _>>())
        }
        Value::Array(list) if list.len() == 1 => reversed(&list[0]),
        Value::Array(list) => Value::Array(list.iter().rev().map(reversed).collect()),
        Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
        other => other.clone(),
    }
}

/// Applies a function to what stands in an XML element of IAM's answers.
fn within(body: &str, element: &str, change: impl Fn(&str) -> String) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let mut parts = body.split(&open);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inside, after) = part.split_once(&close).expect("an element ends");
        out += &format!("{open}{}{close}{after}", change(inside));
    }
    out
}

/// As `ccoctl` hands them on: characters that are lost when a document is decoded once too often, or as a form is.
const POLICY: &str = r#"
    - effect: Allow
      action: ["s3:GetObject", "s3:PutObject"]
      resource: "arn:aws:s3:::a+b%20c/100%/ä*"
      policyCondition:
        StringLike: {"s3:prefix": ["x+y", "50%", "%2B"]}
        Bool: {"aws:SecureTransport": true}
        NumericLessThan: {"s3:max-keys": [10]}
    - {effect: Allow, action: ["ec2:DescribeInstances"], resource: "*"}
"#;

fn request_with(scene: &Scene, name: &str, statements: &str) {
    let namespace = &scene.name;
    scene.cluster.apply_ok(&format!(
        "apiVersion: cloudcredential.openshift.io/v1\nkind: CredentialsRequest\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  secretRef: {{name: {name}-creds, namespace: {namespace}}}\n  serviceAccountNames: [{name}]\n  providerSpec:\n    apiVersion: cloudcredential.openshift.io/v1\n    kind: AWSProviderSpec\n    statementEntries:{statements}"
    ));
}

fn ready(name: &str) -> Scene {
    let mut scene = Scene::new(name);
    let yaml = scene.identity_yaml("").replace("driftInterval: 2s", "driftInterval: 1s");
    scene.cluster.apply_ok(&yaml);
    scene.request("a");
    request_with(&scene, "b", POLICY);
    scene.start();
    scene.await_condition("Ready", "True");
    scene.passes(2);
    scene
}

/// So many passes: no write to AWS, none to Kubernetes, events and statuses included.
#[track_caller]
fn idles(scene: &Scene, passes: u32) {
    let before = scene.cluster.changes_by(&scene.name).len();
    scene.proxy.reset_counts();
    scene.passes(passes);
    let reads = scene.proxy.count("iam:GetAccountAuthorizationDetails");
    // A pass that is due may use what one a tenth of the interval earlier has read.
    assert!(2 * reads >= passes as usize, "the passes looked: {reads}");
    assert!(scene.proxy.writes().is_empty(), "{:?}", scene.proxy.writes());
    assert_eq!(scene.cluster.changes_by(&scene.name).split_off(before), []);
    scene.await_condition("Ready", "True");
}

#[test]
fn twenty_passes_write_nothing() {
    let scene = ready("idle");
    let inline = scene.role("b").inline.remove(&scene.role_name("b")).expect("the inline policy");
    let statement = &inline["Statement"][0];
    assert_eq!(statement["Resource"], "arn:aws:s3:::a+b%20c/100%/ä*");
    assert_eq!(statement["Condition"]["StringLike"]["s3:prefix"], json!(["x+y", "50%", "%2B"]));
    idles(&scene, 20);
}

/// An answer of AWS, its documents written otherwise.
fn in_another_form(op: &str, body: &str) -> String {
    match op {
        // IAM leaves out what was never set.
        "iam:ListRoles" => body.replace("<MaxSessionDuration>3600</MaxSessionDuration>", ""),
        "iam:GetAccountAuthorizationDetails" => {
            let trust = within(body, "AssumeRolePolicyDocument", otherwise);
            within(&trust, "PolicyDocument", otherwise)
        }
        "s3:GetBucketPolicy" => percent_decode_str(&otherwise(body)).decode_utf8_lossy().into_owned(),
        _ => body.to_owned(),
    }
}

#[test]
fn another_form_of_the_same_is_no_reason_to_write() {
    let scene = ready("idle-form");
    let rewritten: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = rewritten.clone();
    scene.proxy.rewrite(move |op, body| {
        let other = in_another_form(op, &body);
        if other != body {
            seen.lock().expect("no panic").insert(op.to_owned());
        }
        other
    });
    idles(&scene, 20);
    let rewritten: Vec<_> = rewritten.lock().expect("no panic").iter().cloned().collect();
    assert_eq!(rewritten, ["iam:GetAccountAuthorizationDetails", "iam:ListRoles", "s3:GetBucketPolicy"]);
    let document = "%7B%22a%22%3A%5B%22x%2By%22%5D%7D";
    assert_eq!(otherwise(document), "%7b%0a%20%20%22a%22%20%20%3a%09%22x%2by%22%0a%7d");
}

/// What once made others write for ever: tags of an organisation, an emptied description.
#[test]
fn tags_of_others_and_an_empty_description_start_no_loop() {
    let scene = ready("idle-marks");
    let role = scene.role_name("a");
    for (key, value) in [("team", "blue"), ("cost+centre", "50%")] {
        let tag = aws_sdk_iam::types::Tag::builder().key(key).value(value).build().expect("a tag");
        block_on(iam().tag_role().role_name(&role).tags(tag).send()).expect("TagRole");
    }
    idles(&scene, 5);
    let tagged = aws_state::role(&role).expect("the role");
    assert_eq!((tagged.tags["team"].as_str(), tagged.tags["cost+centre"].as_str()), ("blue", "50%"));

    scene.proxy.reset_counts();
    block_on(iam().update_role().role_name(&role).description("").send()).expect("UpdateRole");
    // A young process takes what differs for a read that is not up to date, at first.
    eventually(SOON, "the description to be put back", || {
        let writes = scene.proxy.write_ops();
        if writes == ["iam:UpdateRole"] { Ok(()) } else { Err(format!("{writes:?}")) }
    });
    scene.passes(2);
    scene.await_condition("Ready", "True");
    idles(&scene, 5);
    assert_eq!(aws_state::role(&role).expect("the role"), tagged);
}
