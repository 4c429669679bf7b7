//! Where a release is read: candidates in the cluster, ConfigMaps, the release image in its registry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::support::registry::{
    Auth, Break, Kind, PASSWORD, Packing, Registry, TOKEN, USER, pack, release_layer, tar_of,
};

#[test]
fn candidates_in_the_cluster_are_judged_and_never_provisioned() {
    let scene = cluster_at("upcand", "4.16", "");
    let mut candidates = requests("upcand", "4.18");
    for candidate in &mut candidates {
        let name = format!("{}-4-18", candidate["metadata"]["name"].as_str().unwrap());
        candidate["metadata"]["name"] = json!(name);
        candidate["metadata"]["labels"] = json!({"rolecall.dev/release": "4.18.3"});
    }
    let release = json!({"selector": {"matchLabels": {"rolecall.dev/release": "4.18.3"}}});
    scene.cluster.apply_ok(&check(&scene, "next", release, json!({})).to_string());
    let message = await_reason(&scene, "next", "UpgradeReady", "ReleaseUnreadable");
    assert!(message.contains("no CredentialsRequest with the label rolecall.dev/release"), "{message}");
    scene.proxy.reset_counts();
    scene.cluster.apply_ok(&list_of(&candidates));
    let message = await_reason(&scene, "next", "UpgradeReady", "PermissionsMissing");
    assert!(message.contains("kms:ReEncrypt*"), "{message}");
    let status = object(&scene, "next")["status"].clone();
    assert_eq!(status["release"]["source"], "6 candidates in the cluster");
    assert_eq!(status["summary"]["missing"], 1, "{status}");
    scene.await_passes(2.0);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    // A candidate that changes is judged anew.
    scene.cluster.kubectl_ok(&["delete", "credentialsrequest", &format!("{MACHINE_API}-4-18"), "-n", "upcand"]);
    await_check(&scene, "next", "UpgradeReady", "True");
    assert_eq!(object(&scene, "next")["status"]["summary"]["retired"], 1);
}

/// Pushes a release as `oc adm release new` makes it; its digest.
fn push(registry: &Registry, scene: &str, release: &str, version: &str) -> String {
    let layer = pack(Packing::Gzip, &tar_of(&release_layer(version, &manifests(scene, release))));
    registry.push("ocp/release", version, Kind::Docker, &[layer])
}

fn pull_secret(scene: &Scene, registry: &Registry, password: &str) {
    let auths = json!({"auths": {registry.host(): {"auth": STANDARD.encode(format!("{USER}:{password}"))}}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "pull", "namespace": scene.name},
        "stringData": {".dockerconfigjson": auths.to_string()},
    });
    scene.cluster.apply_ok(&secret.to_string());
}

#[test]
fn a_release_image_is_read_from_its_registry_and_what_it_grants_survives_the_registry() {
    let mut scene = cluster_at("upimage", "4.16", "");
    let registry = Registry::start(Auth::Token);
    let digest = push(&registry, "upimage", "4.18", "4.18.3");
    pull_secret(&scene, &registry, PASSWORD);
    let reference = format!("{}/ocp/release@{digest}", registry.host());
    let release = json!({"image": {"reference": reference, "pullSecretRef": {"name": "pull"}}});
    scene.cluster.apply_ok(&check(&scene, "next", release, json!({})).to_string());
    let message = await_check(&scene, "next", "UpgradeReady", "False");
    assert!(message.contains("kms:ReEncrypt*"), "{message}");
    let read = object(&scene, "next")["status"]["release"].clone();
    assert_eq!((&read["version"], &read["digest"]), (&json!("4.18.3"), &json!(digest)), "{read}");
    assert!(!registry.asked().is_empty());
    scene.await_passes(3.0);
    assert_eq!(registry.asked().len(), 0, "what a digest names does not change: it is read once");

    patch(&scene, "next", json!({"action": "PreGrant"}));
    await_check(&scene, "next", "UpgradeReady", "True");
    let role = role_of(&scene, find(&requests("upimage", "4.16"), MACHINE_API));
    assert!(granted(&role).contains("kms:ReEncrypt*"));
    scene.await_condition("Ready", "True");

    // The operator starts anew and does not get the image.
    registry.break_at("/", Break::Status(503));
    scene.operator.take().unwrap().terminate();
    scene.proxy.reset_counts();
    scene.start();
    let message = await_reason(&scene, "next", "Ready", "ReleaseUnreachable");
    assert!(message.contains("503"), "{message}");
    await_check(&scene, "next", "UpgradeReady", "True");
    scene.await_passes(2.0);
    assert_eq!(scene.proxy.write_ops(), [""; 0], "nothing that was granted is taken away for that");
    assert!(granted(&role).contains("kms:ReEncrypt*"));
    condition_is(&scene.identity_object(), "Ready", "True").expect("older verdicts stand");
    await_reason(&scene, "next", "PreGranted", "ReleaseUnreadable");
    // Nor by a check that now names a release which cannot be read.
    let other = format!("{}/ocp/release:4.18.4", registry.host());
    patch(&scene, "next", json!({"release": {"version": "4.18.4", "image": {"reference": other}}}));
    eventually(SOON, "the other release to be looked for", || {
        let object = object(&scene, "next");
        let told = said(&object, "UpgradeReady", "message").contains("4.18.4");
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        if told && current { Ok(()) } else { Err(object["status"].to_string()) }
    });
    scene.await_passes(2.0);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert!(granted(&role).contains("kms:ReEncrypt*"));

    let seen =
        [scene.operator().log(), scene.cluster.kubectl_ok(&["get", "upc,cid,events", "-n", "upimage", "-o", "yaml"])];
    let encoded = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, TOKEN, &encoded] {
        assert!(seen.iter().all(|text| !text.contains(secret)), "a secret was told");
    }
}

#[test]
fn a_registry_that_answers_badly_is_named_and_holds_up_nobody() {
    let scene = cluster_at("upbadreg", "4.16", "");
    let registry = Registry::start(Auth::Token);
    push(&registry, "upbadreg", "4.18", "4.18.3");
    pull_secret(&scene, &registry, "wrong");
    let image = |tag: &str| json!({"image": {"reference": format!("{}/ocp/release:{tag}", registry.host()), "pullSecretRef": {"name": "pull"}}});
    push(&registry, "upbadreg", "4.18", "4.18.4");
    let mut other = check(&scene, "other", image("4.18.4"), json!({}));
    let empty = pack(Packing::Gzip, &tar_of(&[]));
    registry.push("ocp/release", "empty", Kind::Docker, &[empty]);
    let says = |name: &str, release: Value, says: &[&str]| {
        scene.cluster.apply_ok(&check(&scene, name, release, json!({})).to_string());
        let message = await_reason(&scene, name, "UpgradeReady", "ReleaseUnreadable");
        for part in says {
            assert!(message.contains(part), "{name}: {part:?} is not in {message}");
        }
    };
    says("denied", image("4.18.3"), &["401"]);
    pull_secret(&scene, &registry, PASSWORD);
    other["spec"]["release"]["version"] = json!("4.19.0");
    scene.cluster.apply_ok(&other.to_string());
    let message = await_reason(&scene, "other", "UpgradeReady", "ReleaseUnreadable");
    assert!(message.ends_with("is release 4.18.4, and spec.release.version says 4.19.0"), "{message}");
    says("absent", image("4.99.9"), &["does not exist in its registry"]);
    says("empty", image("empty"), &["manifests"]);
    says("nobody", json!({"image": {"reference": "127.0.0.1:1/ocp/release:1"}}), &["127.0.0.1:1"]);
    says(
        "secretless",
        json!({"image": {"reference": format!("{}/x:1", registry.host()), "pullSecretRef": {"name": "none"}}}),
        &["pull secret upbadreg/none does not exist"],
    );
    says("noimage", json!({"image": {"reference": "not an image"}}), &["spec.release.image.reference"]);
    registry.break_at("/manifests/", Break::Body(b"<html>garbage</html>"));
    says("garbage", image("garbage"), &["garbage"]);
    registry.mend();
    // One that takes the connection and says nothing: the cluster's own work goes on.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reference = format!("{}/ocp/release:4.18.3", silent.local_addr().unwrap());
    let release = json!({"image": {"reference": reference}});
    scene.cluster.apply_ok(&check(&scene, "silent", release, json!({})).to_string());
    await_reason(&scene, "silent", "Ready", "ReadingRelease");
    config_map(&scene, "fine", &manifests("upbadreg", "4.16"));
    scene.cluster.apply_ok(&check(&scene, "fine", from_map("fine"), json!({})).to_string());
    await_check(&scene, "fine", "UpgradeReady", "True");
    condition_is(&scene.identity_object(), "Ready", "True").expect("the cluster's identity is served");
}
