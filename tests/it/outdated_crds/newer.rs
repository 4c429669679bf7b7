//! CustomResourceDefinitions and objects of a newer version of Rolecall than the one that runs.

use serde_json::{Value, json};

use super::crds::{Crd, install, install_without, openapi, send};
use super::*;
use crate::support::block_on;
use crate::upgrade_checks::patch_identity;
use crate::written::{await_permissions, take_permissions};

/// Puts the shipped CustomResourceDefinitions back, whatever becomes of the test.
struct PutBack(&'static ControlPlane);

impl Drop for PutBack {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            install_without(self.0, &[Crd::Identity], &[]);
        }
    }
}

/// What a newer version declares beyond this one.
fn add(crd: &mut Value) {
    let schema = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties").expect("a schema");
    let status = &mut schema["status"]["properties"];
    status["foreseen"] = json!({"type": "object", "properties": {"at": {"type": "string"}}});
    status["roles"]["properties"]["doomed"] = json!({"type": "integer"});
    status["keys"]["items"]["properties"]["alg"] = json!({"type": "string"});
    status["conditions"]["items"]["properties"]["severity"] = json!({"type": "string"});
    schema["spec"]["properties"]["managementPolicy"]["enum"].as_array_mut().expect("words").push(json!("Shadow"));
}

/// Waits until the API server knows what is new.
fn await_known(plane: &ControlPlane) {
    let client = plane.client();
    eventually(SOON, "the newer schema", || {
        let document = openapi(&client, Crd::Identity)?;
        if document.to_string().contains("foreseen") { Ok(()) } else { Err("not yet".to_owned()) }
    });
}

#[test]
fn what_a_newer_version_has_written_keeps_nothing_from_going_on_and_an_unknown_word_is_unreadable() {
    let (plane, _changing) = changeable();
    let _put_back = PutBack(plane);
    install(plane, Crd::Identity, add);
    await_known(plane);
    let mut scene = scene_on(plane, "newer");
    start(&mut scene);
    scene.await_condition("Ready", "True");
    await_check(&scene, AHEAD, "PreGranted", "True");
    scene.passes(2);
    let known = scene.identity_object()["status"].clone();
    scene.operator.take().expect("an operator").terminate();

    written_by_a_newer_version(&scene, &known);
    start(&mut scene);
    scene.await_condition("Ready", "True");
    let drifted = scene.operator().metric("rolecall_passes_total{outcome=\"changed\"}").unwrap_or(0.0);
    assert!(drifted < 1.0, "what both know was remembered: nothing had to be made again");
    take_permissions(&scene, "a");
    scene.poke();
    await_permissions(&scene, "a");
    scene.await_condition("Ready", "True");
    scene.await_condition("Drifted", "False");
    let status = scene.identity_object()["status"].clone();
    for field in ["verified", "grantedAhead", "issuerURL", "providerARN"] {
        assert_eq!(status[field], known[field], "{field}");
    }
    for field in ["kid", "n", "e"] {
        assert_eq!(status["keys"][0][field], known["keys"][0][field], "{field}");
    }
    let types = |status: &Value| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.map(|condition| condition["type"].clone()).collect::<Vec<_>>()
    };
    for type_ in types(&known) {
        assert!(types(&status).contains(&type_), "{type_} is lost: {status}");
    }
    await_told(&scene, &[]);
    assert_all_written(&scene);
    scene.passes(2);
    let written = scene.cluster.changes_by("newer").len();
    scene.passes(10);
    assert_eq!(scene.cluster.changes_by("newer")[written..], []);

    an_unknown_word_is_unreadable(&scene);
}

/// The status as it is, and more in it: what a newer version would have written in its place.
fn written_by_a_newer_version(scene: &Scene, known: &Value) {
    let mut status = known.clone();
    status["foreseen"] = json!({"at": "noon"});
    status["roles"]["doomed"] = json!(1);
    status["keys"][0]["alg"] = json!("RS256");
    let conditions = status["conditions"].as_array_mut().expect("conditions");
    conditions[0]["severity"] = json!("None");
    conditions.push(json!({
        "type": "Foreseen", "status": "True", "reason": "Newer", "message": "by a newer version",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "severity": "Info",
    }));
    let body = json!({
        "apiVersion": Crd::Identity.group_version(), "kind": "ClusterIdentity",
        "metadata": {"name": scene.name}, "status": status,
    });
    let url = format!(
        "/apis/{}/namespaces/{1}/clusteridentities/{1}/status?fieldManager=rolecall&force=true",
        Crd::Identity.group_version(),
        scene.name
    );
    let written = block_on(send(&scene.cluster.client(), "PATCH", &url, &body)).expect("a newer status");
    assert_eq!(written["status"]["foreseen"]["at"], "noon");
}

fn an_unknown_word_is_unreadable(scene: &Scene) {
    let younger = scene.identity_yaml("").replace("metadata: {name: newer,", "metadata: {name: younger,");
    assert!(younger.contains("name: younger"));
    scene.cluster.apply_ok(&younger);
    let refused = || {
        eventually(SOON, "the younger ClusterIdentity to be refused", || {
            let object = scene.cluster.get_json(&["cid", "younger", "-n", &scene.name]);
            match said(&object, "Ready", "reason").as_str() {
                "DuplicateInfraName" => Ok(said(&object, "Ready", "message")),
                _ => Err(object["status"].to_string()),
            }
        })
    };
    assert!(refused().contains("newer/newer"));
    let before = scene.identity_object()["status"].clone();
    let count = |ready: &str| scene.operator().metric(&format!("rolecall_cluster_identities{{ready=\"{ready}\"}}"));
    assert_eq!((count("true"), count("false")), (Some(1.0), Some(1.0)));

    patch_identity(scene, json!({"managementPolicy": "Shadow"}));
    let message = scene.await_condition("Ready", "False");
    assert!(message.contains("unknown variant `Shadow`"), "{message}");
    let object = scene.identity_object();
    assert_eq!(said(&object, "Ready", "reason"), "Unreadable");
    let memory = ["verified", "keys", "grantedAhead", "issuerURL", "providerARN", "lastVerifiedTime", "roles"];
    for field in memory {
        assert_eq!(object["status"][field], before[field], "{field} is remembered");
    }
    assert_eq!((count("true"), count("false")), (Some(0.0), Some(2.0)));
    // It is an elder still: reconciles of the younger one do not change that.
    let passes = || scene.operator().metric("rolecall_passes_total{outcome=\"refused\"}").unwrap_or(0.0);
    let made = passes();
    scene.proxy.reset_counts();
    for poke in 0..3 {
        let poke = format!("tests.rolecall.dev/poke={poke}");
        scene.cluster.kubectl_ok(&["annotate", "--overwrite", "cid", "younger", "-n", &scene.name, &poke]);
    }
    eventually(SOON, "further reconciles of the younger one", || {
        if passes() > made { Ok(()) } else { Err(scene.operator().log().lines().last().unwrap_or("").to_owned()) }
    });
    assert!(refused().contains("newer/newer"));
    assert_eq!(scene.proxy.write_ops(), [""; 0]);

    patch_identity(scene, json!({"managementPolicy": "Enforce"}));
    scene.await_condition("Ready", "True");
    for field in ["verified", "keys", "grantedAhead"] {
        assert_eq!(scene.identity_object()["status"][field], before[field], "{field} was remembered all along");
    }
    eventually(SOON, "the metric to follow", || match (count("true"), count("false")) {
        (Some(1.0), Some(1.0)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(refused().contains("newer/newer"));
    assert_eq!(scene.proxy.write_ops(), [""; 0], "nothing had changed in AWS");
    assert_all_written(scene);
}
