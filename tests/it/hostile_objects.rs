//! Objects that the API server stores and that a parser refuses, or that are as large as it takes: each costs itself alone.

use serde_json::{Value, json};

use super::ended::specify;
use super::scene::{REGION, SOON, Scene, condition_is, on_both_schemas, request_json, request_yaml, said, scene_name};
use super::support::{ControlPlane, Schema, eventually};

/// Deeper than any parser of ours goes, and far from what the API server itself cannot read again.
const DEEP: usize = 5_000;

fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

/// A request with a `providerSpec` of its own, as text: what serde_json cannot parse it cannot write either.
fn hostile(namespace: &str, name: &str, provider_spec: &str) -> String {
    let request = request_json(namespace, name).to_string();
    let spec = request_json(namespace, name)["spec"]["providerSpec"].to_string();
    request.replace(&spec, provider_spec)
}

/// One of each sort: what it is called, and its `providerSpec`.
fn hostile_specs() -> Vec<(&'static str, String)> {
    let kind = r#""apiVersion":"cloudcredential.openshift.io/v1","kind":"AWSProviderSpec""#;
    vec![
        ("deep", format!(r#"{{{kind},"x":{}}}"#, nested(DEEP))),
        ("deep-list", format!(r#"{{{kind},"x":{}1{}}}"#, "[".repeat(DEEP), "]".repeat(DEEP))),
        ("large", format!(r#"{{{kind},"x":"{}"}}"#, "y".repeat(1_400_000))),
        ("numbers", format!(r#"{{{kind},"x":[1e308,-1e308,18446744073709551615,99999999999999999999,1e-400,0.1e1]}}"#)),
        ("escapes", format!(r#"{{{kind},"\u0000\ud800":"\udfff\u2028\\u0000","\ud83d\ude00":"\b\f\"\\\/"}}"#)),
        ("types", r#"{"kind":7,"apiVersion":[],"statementEntries":{"a":null}}"#.to_owned()),
    ]
}

/// A control plane of the test's own: no other test can read a list with such objects in it.
struct Plane(&'static ControlPlane);

impl Plane {
    fn start(schema: Schema, name: &str) -> (Self, Scene) {
        let cluster = Box::leak(Box::new(ControlPlane::start(&format!("controlplane-{name}"), schema)));
        cluster.install_alone();
        (Self(cluster), Scene::on_plane(cluster, name))
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The conditions of an object whose other parts no parser of the tests can read.
fn conditions(scene: &Scene, kind: &str, name: &str) -> Value {
    let path = "jsonpath={.status.conditions}";
    let text = scene.cluster.kubectl_ok(&["get", kind, name, "-n", &scene.name, "-o", path]);
    let conditions: Value = if text.is_empty() { json!([]) } else { serde_json::from_str(&text).unwrap() };
    json!({"status": {"conditions": conditions}})
}

fn create_hostile(scene: &Scene, namespace: &str) -> Vec<String> {
    scene.cluster.ensure_namespace(namespace);
    let mut made = Vec::new();
    for (name, spec) in hostile_specs() {
        let run = scene.cluster.create(&hostile(namespace, name, &spec));
        assert!(run.success(), "{name} is to be one that the API server takes: {}", run.stderr);
        made.push(name.to_owned());
    }
    made
}

/// What metadata-only watches see: as much as the API server takes.
fn create_large_metadata(scene: &Scene) {
    let (name, namespace) = (&scene.name, format!("{}-crowded", scene.name));
    let annotations = json!({"tests.rolecall.dev/large": "\u{0}\u{2028}é".repeat(40_000)});
    let manifest = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "annotations": annotations},
    });
    assert!(scene.cluster.create(&manifest.to_string()).success());
    let data: serde_json::Map<String, Value> =
        (0..1_000).map(|entry| (format!("entry-{entry}"), json!("z".repeat(900)))).collect();
    for (kind, label) in [
        ("Secret", "app.kubernetes.io/managed-by"),
        ("Secret", "rolecall.dev/signing-key"),
        ("ConfigMap", "rolecall.dev/signing-key"),
        ("ConfigMap", "rolecall.dev/release"),
    ] {
        let field = if kind == "Secret" { "stringData" } else { "data" };
        let metadata = json!({
            "name": format!("large-{}", label.split('/').next_back().unwrap()), "namespace": name,
            "labels": {label: "rolecall"}, "annotations": annotations,
        });
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, field: data});
        let run = scene.cluster.create(&object.to_string());
        assert!(run.success(), "{}", run.stderr);
    }
}

/// An identity and a check with statuses that no version of Rolecall has written.
fn spoil_statuses(scene: &Scene) {
    let name = &scene.name;
    let check = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "UpgradeCheck", "metadata": {"name": "spoilt", "namespace": name},
        "spec": {"clusterIdentityRef": {"name": name}, "release": {"version": "4.19.0", "selector": {}}},
    });
    scene.cluster.apply_ok(&check.to_string());
    let status = format!(
        r#"{{"status":{{"components":[{{"role":"r","verdict":"Missing","because":"b","missing":[{{"verdict":"Missing","actions":[],"resource":"*","because":"b","condition":{}}}]}}]}}}}"#,
        nested(DEEP)
    );
    let patch = ["patch", "upgradecheck", "spoilt", "-n", name, "--subresource=status", "--type=merge", "-p", &status];
    scene.cluster.kubectl_ok(&patch);
}

/// Whether `/readyz` and the metrics name an object that cannot be read.
fn is_named(scene: &Scene, watch: &str, namespace: &str, name: &str) -> Result<(), String> {
    let (code, text) = scene.operator().http_get("/readyz");
    let line = format!("{watch} {namespace}/{name} cannot be read: ");
    let series = format!(r#"rolecall_unreadable_object_info{{watch="{watch}",namespace="{namespace}",name="{name}"}}"#);
    match (code, text.contains(&line), scene.operator().metric(&series)) {
        (200, true, Some(1.0)) => Ok(()),
        other => Err(format!("{other:?}: {text}")),
    }
}

fn others_are_served_beside_hostile_objects(schema: Schema) {
    let (_plane, mut scene) = Plane::start(schema, &scene_name(schema, "hostile"));
    let elsewhere = format!("{}-elsewhere", scene.name);
    scene.identity("");
    create_hostile(&scene, &elsewhere);
    create_large_metadata(&scene);
    spoil_statuses(&scene);
    scene.request("good");
    scene.start();
    scene.await_condition("Ready", "True");
    scene.await_request("good", "Ready", "True");
    for deep in ["deep", "deep-list"] {
        eventually(SOON, "the deep request to be named", || is_named(&scene, "credentialsrequests", &elsewhere, deep));
    }
    for (type_, status) in [("UpgradeReady", "Unknown"), ("Ready", "False")] {
        eventually(SOON, "the spoilt check to say that it cannot be read", || {
            condition_is(&conditions(&scene, "upgradecheck", "spoilt"), type_, status)
        });
        assert_eq!(said(&conditions(&scene, "upgradecheck", "spoilt"), type_, "reason"), "Unreadable");
    }
    eventually(SOON, "the check to be named", || is_named(&scene, "upgradechecks", &scene.name, "spoilt"));

    // The same again while it runs.
    let later = format!("{elsewhere}-later");
    create_hostile(&scene, &later);
    scene.request("late");
    scene.await_request("late", "Ready", "True");
    eventually(SOON, "the later one to be named", || is_named(&scene, "credentialsrequests", &later, "deep"));
    scene.passes(2);
    scene.await_condition("Ready", "True");
    let log = scene.operator().log();
    assert!(!log.contains(&"y".repeat(100)) && !log.contains(r#"{"a":{"a":"#), "the log holds what was read");

    for namespace in [&elsewhere, &later] {
        scene.cluster.kubectl_ok(&["delete", "credentialsrequests", "--all", "-n", namespace]);
    }
    eventually(SOON, "nothing to be named any more", || {
        let named = scene.operator().http_get("/readyz").1;
        if named.contains(&elsewhere) { Err(named) } else { Ok(()) }
    });
}

fn a_hostile_request_that_is_selected_is_refused_by_itself(schema: Schema) {
    let (_plane, mut scene) = Plane::start(schema, &scene_name(schema, "hostile-mine"));
    let name = scene.name.clone();
    specify(&scene, "");
    scene.request("good");
    scene.start();
    scene.await_condition("Ready", "True");
    create_hostile(&scene, &name);
    for (hostile, says) in [
        ("deep", "more than 128 levels deep"),
        ("deep-list", "more than 128 levels deep"),
        ("types", "kind is \"\"; expected AWSProviderSpec"),
        ("numbers", "statementEntries is empty"),
        ("escapes", "statementEntries is empty"),
    ] {
        let message = eventually(SOON, "it to be refused", || {
            condition_is(&conditions(&scene, "credentialsrequest", hostile), "Ready", "False")
        });
        assert!(message.to_lowercase().contains(&says.to_lowercase()), "{hostile}: {message}");
        let version = || {
            let path = "jsonpath={.metadata.resourceVersion}";
            scene.cluster.kubectl_ok(&["get", "credentialsrequest", hostile, "-n", &name, "-o", path])
        };
        let before = version();
        scene.passes(1);
        assert_eq!(version(), before, "the status of {hostile} is written again and again");
    }
    scene.await_condition("Ready", "False");
    condition_is(&scene.request_object("good"), "Ready", "True").unwrap();
    // What is changed is served as ever.
    scene.cluster.apply_ok(&request_yaml(&name, "good", &name, "s3:PutObject"));
    eventually(SOON, "the change to be served", || match &scene.role("good").inline[&scene.role_name("good")] {
        policy if policy["Statement"][0]["Action"][0] == "s3:PutObject" => Ok(()),
        policy => Err(policy.to_string()),
    });
    scene.cluster.kubectl_ok(&[
        "delete",
        "credentialsrequest",
        "deep",
        "deep-list",
        "large",
        "numbers",
        "escapes",
        "types",
        "-n",
        &name,
    ]);
    scene.await_condition("Ready", "True");
    assert_eq!(said(&scene.identity_object(), "Ready", "reason"), "Verified");
    assert!(scene.identity_object()["status"]["issuerURL"].as_str().unwrap().contains(REGION));
}

on_both_schemas! {
    others_are_served_beside_hostile_objects,
    a_hostile_request_that_is_selected_is_refused_by_itself,
}
