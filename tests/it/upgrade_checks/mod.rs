//! UpgradeChecks as a user meets them: through kubectl, on releases as OpenShift ships them.

mod annotation;
mod granting;
mod inputs;
mod sources;
mod verdicts;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::releases;
use super::scene::{SOON, Scene, condition_is, list_of, on_both_schemas, said};
use super::support::process::project_root;
use super::support::{Schema, aws_state, eventually};

/// The default cluster's components, by the name of their request.
const MACHINE_API: &str = "openshift-machine-api-aws";

/// A release's manifests; the Secrets' namespaces are the scene's own.
pub fn manifests(scene: &str, release: &str) -> String {
    let text = std::fs::read_to_string(project_root().join(format!("tests/releases/{release}.yaml"))).unwrap();
    text.replace("namespace: openshift-", &format!("namespace: {scene}-"))
}

/// The requests of a release that a default cluster gets, as objects of the scene's namespace.
fn requests(scene: &str, release: &str) -> Vec<Value> {
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(&manifests(scene, release)).unwrap();
    let included = |request: &Value| {
        request["spec"]["providerSpec"]["kind"] == "AWSProviderSpec"
            && request["metadata"]["annotations"]["release.openshift.io/feature-set"].is_null()
    };
    let mut requests: Vec<Value> = documents.into_iter().flatten().filter(included).collect();
    for request in &mut requests {
        request["metadata"]["namespace"] = json!(scene);
    }
    requests
}

/// A cluster at a release, with an operator that serves it, and everything ready.
fn cluster_at(name: &str, release: &str, more: &str) -> Scene {
    cluster_on(Schema::Rolecall, name, release, more)
}

/// The same on either schema.
pub fn cluster_on(schema: Schema, name: &str, release: &str, more: &str) -> Scene {
    let mut scene = Scene::on(schema, name);
    let requests = requests(&scene.name, release);
    let namespaces: BTreeSet<&str> =
        requests.iter().map(|request| request["spec"]["secretRef"]["namespace"].as_str().unwrap()).collect();
    for namespace in namespaces {
        scene.cluster.ensure_namespace(namespace);
    }
    scene.cluster.apply_ok(&list_of(&requests));
    scene.identity(more);
    scene.start();
    scene.await_condition("Ready", "True");
    scene
}

/// Puts a release's manifests into a ConfigMap, as `oc adm release extract` writes them: one entry a file.
pub fn config_map(scene: &Scene, name: &str, manifests: &str) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": scene.name, "labels": {"rolecall.dev/release": "next"}},
        "data": {"requests.yaml": manifests},
    });
    // kubectl's own note of what was applied would be too long.
    let file = super::support::process::run_dir().join(format!("{}-{name}.json", scene.name));
    std::fs::write(&file, map.to_string()).unwrap();
    scene.cluster.kubectl_ok(&["apply", "--server-side", "--force-conflicts", "-f", file.to_str().unwrap()]);
}

/// An UpgradeCheck of the scene; `more` is merged into the spec.
pub fn check(scene: &Scene, name: &str, release: Value, more: Value) -> Value {
    let mut spec = json!({"clusterIdentityRef": {"name": scene.name}, "release": release});
    spec["release"]["version"] = json!("4.18.3");
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "UpgradeCheck",
        "metadata": {"name": name, "namespace": scene.name},
        "spec": spec,
    })
}

pub fn from_map(name: &str) -> Value {
    json!({"configMapRefs": [{"name": name}]})
}

pub fn object(scene: &Scene, name: &str) -> Value {
    scene.cluster.get_json(&["upgradecheck", name, "-n", &scene.name])
}

/// Waits until a condition of a check has a status; its message.
pub fn await_check(scene: &Scene, name: &str, type_: &str, status: &str) -> String {
    eventually(SOON, &format!("{type_}={status} of {}/{name}", scene.name), || {
        condition_is(&object(scene, name), type_, status)
    })
}

/// Waits until a condition of a check has a reason; its message.
pub fn await_reason(scene: &Scene, name: &str, type_: &str, reason: &str) -> String {
    eventually(SOON, &format!("{type_} of {}/{name} for {reason}", scene.name), || {
        let object = object(scene, name);
        if said(&object, type_, "reason") == reason {
            Ok(said(&object, type_, "message"))
        } else {
            Err(object["status"].to_string())
        }
    })
}

pub fn patch(scene: &Scene, name: &str, spec: Value) {
    let patch = json!({"spec": spec}).to_string();
    scene.cluster.kubectl_ok(&["patch", "upc", name, "-n", &scene.name, "--type=merge", "-p", &patch]);
}

pub fn patch_identity(scene: &Scene, spec: Value) {
    let patch = json!({"spec": spec}).to_string();
    scene.cluster.kubectl_ok(&["patch", "cid", &scene.name, "-n", &scene.name, "--type=merge", "-p", &patch]);
}

/// The component with this Secret, without the scene's part of the namespace.
fn component(check: &Value, secret: &str) -> Value {
    let components = check["status"]["components"].as_array().into_iter().flatten();
    let mut found = components.filter(|component| component["request"].as_str().unwrap().ends_with(secret));
    let one = found.next().unwrap_or_else(|| panic!("no component {secret} in {check}")).clone();
    assert!(found.next().is_none());
    one
}

/// The name of the role of a request.
fn role_of(scene: &Scene, request: &Value) -> String {
    let secret = &request["spec"]["secretRef"];
    let (namespace, name) = (secret["namespace"].as_str().unwrap(), secret["name"].as_str().unwrap());
    let full = format!("{}-{namespace}-{name}", scene.name);
    full.chars().take(64).collect()
}

/// The actions that a role's own inline policy allows.
fn granted(role: &str) -> BTreeSet<String> {
    let live = aws_state::role(role).unwrap_or_else(|| panic!("role {role} does not exist"));
    granted_by(&live, role)
}

/// Nothing where it has none.
fn granted_by(live: &aws_state::RoleView, policy: &str) -> BTreeSet<String> {
    live.inline.get(policy).map(|policy| actions(&policy["Statement"])).unwrap_or_default()
}

/// Permissions of statements of a policy or of a request: each action with its resource and condition.
fn permissions(statements: &Value) -> BTreeSet<String> {
    let part = |statement: &Value, name: &str, entry: &str| {
        if statement[name].is_null() { statement[entry].clone() } else { statement[name].clone() }
    };
    let of = |statement: &Value| {
        let (resource, condition) =
            (part(statement, "Resource", "resource"), part(statement, "Condition", "policyCondition"));
        let actions = part(statement, "Action", "action");
        let each = actions.as_array().unwrap().iter();
        each.map(|action| format!("{action} on {resource} if {condition}")).collect::<Vec<_>>()
    };
    statements.as_array().unwrap().iter().flat_map(of).collect()
}

/// The actions of statements, whatever their case of keys.
fn actions(statements: &Value) -> BTreeSet<String> {
    let of = |statement: &Value| {
        let action = if statement["Action"].is_null() { &statement["action"] } else { &statement["Action"] };
        action.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    statements.as_array().unwrap().iter().flat_map(of).collect()
}

fn asked(request: &Value) -> BTreeSet<String> {
    actions(&request["spec"]["providerSpec"]["statementEntries"])
}

fn find<'a>(requests: &'a [Value], name: &str) -> &'a Value {
    requests.iter().find(|request| request["metadata"]["name"] == name).unwrap()
}

/// The events about a check, as `reason: message`, the oldest first.
fn events(scene: &Scene, name: &str) -> Vec<String> {
    let all = scene.cluster.get_json(&["events.events.k8s.io", "-n", &scene.name]);
    let mut of: Vec<(String, String)> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["regarding"]["kind"] == "UpgradeCheck" && event["regarding"]["name"] == name)
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            (text("eventTime"), format!("{}: {}", text("reason"), text("note")))
        })
        .collect();
    of.sort();
    of.into_iter().map(|(_, event)| event).collect()
}
