//! The annotation that tells OpenShift that the cluster's credentials are ready.

use std::sync::Mutex;

use serde_json::json;

use super::*;

const UPGRADEABLE_TO: &str = "cloudcredential.openshift.io/upgradeable-to";

/// As OpenShift's API repository has the kinds, as far as they matter: what the annotation is on, and what says which cluster
/// this is.
const CRD: &str = include_str!("../../openshift/cloudcredentials.yaml");
const AUTHENTICATION_CRD: &str = include_str!("../../openshift/authentications.yaml");

fn is_the_cluster_of(scene: &Scene, issuer: &str) {
    let object = json!({"apiVersion": "config.openshift.io/v1", "kind": "Authentication", "metadata": {"name": "cluster"}, "spec": {"serviceAccountIssuer": issuer}});
    eventually(SOON, "the kind to be served", || {
        let run = scene.cluster.apply(&object.to_string());
        if run.success() { Ok(()) } else { Err(run.stderr) }
    });
}

/// There is one CloudCredential in a cluster, so the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn annotation(scene: &Scene) -> Option<String> {
    let object = scene.cluster.get_json(&["cloudcredentials.operator.openshift.io", "cluster"]);
    object["metadata"]["annotations"][UPGRADEABLE_TO].as_str().map(str::to_owned)
}

fn annotate(scene: &Scene, value: &str) {
    let argument = if value.is_empty() { format!("{UPGRADEABLE_TO}-") } else { format!("{UPGRADEABLE_TO}={value}") };
    scene.cluster.kubectl_ok(&[
        "annotate",
        "--overwrite",
        "cloudcredentials.operator.openshift.io",
        "cluster",
        &argument,
    ]);
}

fn await_annotation(scene: &Scene, value: Option<&str>) {
    eventually(SOON, &format!("upgradeable-to {value:?}"), || match annotation(scene) {
        found if found.as_deref() == value => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

#[test]
fn it_follows_the_evidence_and_leaves_people_their_own() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let scene = cluster_at("upnote", "4.16", "");
    config_map(&scene, "next", &manifests("upnote", "4.18"));
    let more = json!({"annotateCloudCredential": true});
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), more).to_string());
    await_reason(&scene, "next", "CloudCredentialAnnotated", "NoCloudCredential");
    scene.cluster.apply_ok(CRD);
    let crd = "crd/cloudcredentials.operator.openshift.io";
    scene.cluster.kubectl_ok(&["wait", "--for=condition=Established", crd, "--timeout=60s"]);
    let cluster = json!({"apiVersion": "operator.openshift.io/v1", "kind": "CloudCredential", "metadata": {"name": "cluster"}, "spec": {"credentialsMode": "Manual"}});
    eventually(SOON, "the kind to be served", || {
        let run = scene.cluster.apply(&cluster.to_string());
        if run.success() { Ok(()) } else { Err(run.stderr) }
    });
    await_reason(&scene, "next", "CloudCredentialAnnotated", "NotReady");
    assert_eq!(annotation(&scene), None, "it is not ready");

    patch(&scene, "next", json!({"action": "PreGrant"}));
    await_annotation(&scene, Some("4.18.3"));
    await_check(&scene, "next", "CloudCredentialAnnotated", "True");
    scene.await_passes(1.0);
    let written = scene.cluster.changes_by("upnote").len();
    scene.await_passes(2.0);
    assert_eq!(scene.cluster.changes_by("upnote")[written..], [], "it is set once");

    // The verdict is about another cluster than this one, it turns out.
    scene.cluster.apply_ok(AUTHENTICATION_CRD);
    let crd = "crd/authentications.config.openshift.io";
    scene.cluster.kubectl_ok(&["wait", "--for=condition=Established", crd, "--timeout=60s"]);
    is_the_cluster_of(&scene, "https://elsewhere-oidc.s3.eu-west-1.amazonaws.com");
    await_annotation(&scene, None);
    let message = await_reason(&scene, "next", "CloudCredentialAnnotated", "OtherCluster");
    for part in ["elsewhere-oidc", "upnote-oidc"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    is_the_cluster_of(&scene, "https://upnote-oidc.s3.eu-west-1.amazonaws.com");
    await_annotation(&scene, Some("4.18.3"));
    await_check(&scene, "next", "CloudCredentialAnnotated", "True");

    patch(&scene, "next", json!({"action": "Report"}));
    await_annotation(&scene, None);
    await_reason(&scene, "next", "CloudCredentialAnnotated", "NotReady");

    // A person's newer value stays, whatever the evidence.
    annotate(&scene, "4.19.0");
    await_reason(&scene, "next", "CloudCredentialAnnotated", "SetByOthers");
    patch(&scene, "next", json!({"action": "PreGrant"}));
    await_check(&scene, "next", "UpgradeReady", "True");
    scene.await_passes(2.0);
    assert_eq!(annotation(&scene).as_deref(), Some("4.19.0"));
    // An older one is replaced.
    annotate(&scene, "4.17.0");
    await_annotation(&scene, Some("4.18.3"));
    // With the check goes what it has set.
    scene.cluster.kubectl_ok(&["delete", "upc", "next", "-n", "upnote"]);
    assert_eq!(annotation(&scene), None);
    let crds = ["cloudcredentials.operator.openshift.io", "authentications.config.openshift.io"];
    scene.cluster.kubectl_ok(&[&["delete", "crd"], &crds[..]].concat());
}
