//! A namespace with a ClusterIdentity in it is deleted, as whoever gives a cluster up does it: the namespace controller
//! takes everything in it away in an order of its own, the key Secret and the requests first, perhaps.

use std::time::Duration;

use serde_json::Value;

use super::ended::{
    DELETE, SETTLED, assert_all_gone, assert_all_there, assert_nothing_left, assert_says_what_to_do, await_held,
    patch_spec, specify,
};
use super::scene::Scene;
use super::support::{ControllerManager, Fault, Kind, eventually};

/// The namespace controller looks again only every eight seconds at a namespace that is not empty yet.
const PATIENCE: Duration = Duration::from_mins(2);

/// A scene whose operator lives in a namespace of its own: its service account outlives the scene.
fn ready(name: &str) -> Scene {
    let mut scene = Scene::new(name);
    specify(&scene, DELETE);
    scene.request("a");
    scene.request("b");
    start(&mut scene);
    scene.await_condition("Ready", "True");
    scene.proxy.reset_counts();
    scene
}

fn start(scene: &mut Scene) {
    let home = scene.cluster.operator_kubeconfig(&format!("{}-operator", scene.name));
    scene.start_with(&SETTLED, &[("KUBECONFIG", &home.display().to_string())]);
}

fn delete_namespace(scene: &Scene) {
    ControllerManager::shared();
    scene.cluster.kubectl_ok(&["delete", "ns", &scene.name, "--wait=false"]);
}

#[track_caller]
fn await_no_namespace(scene: &Scene) {
    eventually(PATIENCE, "the end of the namespace", || {
        let found = scene.cluster.kubectl(&["get", "ns", &scene.name, "--ignore-not-found", "-o", "json"]);
        if found.success() && found.stdout.is_empty() { Ok(()) } else { Err(found.stdout) }
    });
}

/// Waits until nothing but the ClusterIdentity keeps the namespace.
#[track_caller]
fn await_kept(scene: &Scene) {
    eventually(PATIENCE, "the namespace to wait for the ClusterIdentity alone", || {
        let namespace = scene.cluster.get_json(&["ns", &scene.name]);
        let conditions = namespace["status"]["conditions"].as_array().into_iter().flatten();
        let remaining = conditions.filter(|condition| condition["type"] == "NamespaceFinalizersRemaining");
        let message = remaining.filter_map(|condition| condition["message"].as_str()).collect::<String>();
        let others = scene.cluster.get_json(&["credentialsrequests,secrets", "-n", &scene.name])["items"].clone();
        let alone = others.as_array().is_some_and(Vec::is_empty);
        let kept =
            namespace["status"]["phase"] == "Terminating" && message.contains("rolecall.dev/teardown in 1 resource");
        if kept && alone { Ok(()) } else { Err(format!("{}; {others}", namespace["status"])) }
    });
}

#[test]
fn a_namespace_takes_all_of_its_cluster_along() {
    let scene = ready("endns");
    delete_namespace(&scene);
    await_no_namespace(&scene);
    assert_all_gone(&scene, &["a", "b"]);
    let log = scene.operator().log();
    assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
}

#[test]
fn a_namespace_waits_for_an_account_that_is_away() {
    let scene = ready("endns-away");
    scene.proxy.inject(Fault::always("*", Kind::Refuse));
    delete_namespace(&scene);
    let message = await_held(&scene, &["got no answer", "iam:ListRoles"]);
    assert_says_what_to_do(&message);
    await_kept(&scene);
    scene.await_passes(2.0);
    await_kept(&scene);
    scene.proxy.clear_faults();
    await_no_namespace(&scene);
    assert_nothing_left(&scene, &["a", "b"]);
}

#[test]
fn a_namespace_whose_account_lets_nobody_in_is_let_go_by_retain() {
    let mut scene = ready("endns-denied");
    scene.operator.as_mut().expect("an operator").kill9();
    delete_namespace(&scene);
    scene.proxy.inject(Fault::always("sts:*", Kind::AccessDenied));
    start(&mut scene);
    let message = await_held(&scene, &["sts:GetCallerIdentity", "was denied"]);
    assert_says_what_to_do(&message);
    await_kept(&scene);
    let object = scene.identity_object();
    assert_eq!(super::scene::said(&object, "Stalled", "status"), "True");
    assert_eq!(object["metadata"]["finalizers"], Value::from(vec!["rolecall.dev/teardown"]));

    scene.proxy.reset_counts();
    patch_spec(&scene, r#"{"deletionPolicy":"Retain"}"#);
    await_no_namespace(&scene);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    scene.proxy.clear_faults();
    assert_all_there(&scene, &["a", "b"]);
}
