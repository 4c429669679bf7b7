//! The way to an upgrade on OpenShift: grant ahead, annotate the CloudCredential, and OpenShift's operator is Upgradeable.

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::scene::said;
use crate::support::Upgradeable;
use crate::support::openshift_operator::UPGRADEABLE_TO;
use crate::upgrade_checks::{
    await_check, await_reason, check, cluster_on, config_map, from_map, manifests, object, patch, patch_identity,
};

/// The version that the cluster runs, as its ClusterVersion says.
const CLUSTER_VERSION: &str = "4.16.9";

const MISSING: Upgradeable = Upgradeable::False { reason: "MissingUpgradeableAnnotation" };

fn annotation(scene: &Scene) -> Option<String> {
    let object = scene.cluster.get_json(&["cloudcredentials.operator.openshift.io", "cluster"]);
    object["metadata"]["annotations"][UPGRADEABLE_TO].as_str().map(str::to_owned)
}

#[track_caller]
fn await_upgradeable(scene: &Scene, wanted: Upgradeable) {
    eventually(SOON, &format!("Upgradeable to be {wanted:?}"), || {
        match scene.cluster.openshift_operator().upgradeable(CLUSTER_VERSION) {
            found if found == wanted => Ok(()),
            found => Err(format!("{found:?}; annotation {:?}", annotation(scene))),
        }
    });
}

/// From the log: when each reconcile ended, and how.
fn reconciles(log: &str) -> Vec<(Timestamp, String)> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_passes = lines.filter(|line| line["message"] == "pass");
    of_passes
        .map(|line| {
            let ended = line["timestamp"].as_str().expect("a timestamp").parse().expect("a time");
            (ended, line["outcome"].as_str().expect("an outcome").to_owned())
        })
        .collect()
}

/// This is the cluster whose identity the scene is, in manual mode. There is one such cluster in a control plane: no other
/// test makes these objects.
fn make_cluster_objects(scene: &Scene) {
    let issuer = format!("https://{}", scene.issuer_host());
    scene.cluster.apply_ok(&crate::scene::list_of(&[
        json!({
            "apiVersion": "config.openshift.io/v1", "kind": "Authentication", "metadata": {"name": "cluster"},
            "spec": {"serviceAccountIssuer": issuer},
        }),
        json!({
            "apiVersion": "operator.openshift.io/v1", "kind": "CloudCredential", "metadata": {"name": "cluster"},
            "spec": {"credentialsMode": "Manual"},
        }),
    ]));
}

#[test]
fn a_grant_ahead_makes_the_cluster_upgradeable_and_its_end_takes_that_back() {
    let scene = cluster_on(Schema::OpenShift, "upgate", "4.16", "");
    make_cluster_objects(&scene);
    // From here on no reconcile is due in this test's time: those that come were queued.
    patch_identity(&scene, json!({"driftInterval": "1h"}));
    scene.passes(2);
    config_map(&scene, "next", &manifests(&scene.name, "4.18"));
    let more = json!({"annotateCloudCredential": true});
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), more).to_string());
    await_reason(&scene, "next", "CloudCredentialAnnotated", "NotReady");
    assert_eq!(annotation(&scene), None);
    await_upgradeable(&scene, MISSING);

    let logged = scene.operator().log().len();
    patch(&scene, "next", json!({"action": "PreGrant"}));
    await_check(&scene, "next", "UpgradeReady", "True");
    await_check(&scene, "next", "CloudCredentialAnnotated", "True");
    assert_eq!(annotation(&scene).as_deref(), Some("4.18.3"));
    await_upgradeable(&scene, Upgradeable::True);
    assert_first_read_gave_the_verdict(&scene, logged);
    assert_all_written(&scene);

    // The verdict turns with what is granted.
    patch(&scene, "next", json!({"action": "Report"}));
    await_check(&scene, "next", "UpgradeReady", "False");
    await_reason(&scene, "next", "CloudCredentialAnnotated", "NotReady");
    await_upgradeable(&scene, MISSING);
    assert_eq!(annotation(&scene), None);
    assert_all_written(&scene);
}

/// The first reconcile after the one that wrote the grant found everything true: the verdict is from that one.
#[track_caller]
fn assert_first_read_gave_the_verdict(scene: &Scene, logged: usize) {
    let made = reconciles(&scene.operator().log()[logged..]);
    let granted = made.iter().position(|(_, outcome)| outcome == "changed").expect("a reconcile that grants");
    let read = made[granted..].iter().find(|(_, outcome)| outcome == "verified").expect("a reconcile that reads it");
    let turned: Timestamp = said(&object(scene, "next"), "UpgradeReady", "lastTransitionTime").parse().expect("a time");
    assert!(turned <= read.0, "UpgradeReady at {turned}, while the grant was read by {}: {made:?}", read.0);
}
