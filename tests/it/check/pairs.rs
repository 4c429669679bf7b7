//! Every release against every other, forwards and backwards: exactly what the other one adds is missing.

use serde_json::Value;

use super::wanted::{CUSTOM, Cluster, DEFAULT, PREVIEW, RELEASES, expected, said};
use super::{component, release, report};

/// Compares all ordered pairs; how many of them are ready.
fn all_pairs(cluster: &Cluster) -> usize {
    let mut ready = 0;
    for from in RELEASES {
        for to in RELEASES {
            let report = between(from, to, cluster);
            assert_eq!(said(&report), expected(from, to, cluster), "{from} -> {to} ({})", cluster.feature_set);
            assert_summary(&report);
            ready += usize::from(report["verdict"] == "Ready");
            if from == to {
                assert_eq!(report["verdict"], "Ready", "{from}");
            }
        }
    }
    ready
}

fn between(from: &str, to: &str, cluster: &Cluster) -> Value {
    let (from, to) = (release(from), release(to));
    report(&[&["--from", &from, "--to", &to][..], &cluster.args()].concat())
}

fn assert_summary(report: &Value) {
    let components = report["components"].as_array().unwrap();
    let count = |verdict: &str| components.iter().filter(|component| component["verdict"] == verdict).count();
    for (key, verdict) in [
        ("covered", "Covered"),
        ("missing", "Missing"),
        ("newRoles", "NewRole"),
        ("conditional", "Conditional"),
        ("indeterminate", "Indeterminate"),
        ("retired", "Retired"),
    ] {
        assert_eq!(report["summary"][key], count(verdict), "{key}");
    }
    let untrusting = components.iter().filter(|component| component["trust"] != Value::Array(Vec::new())).count();
    assert_eq!(report["summary"]["trust"], untrusting);
}

#[test]
fn default_clusters() {
    let ready = all_pairs(&DEFAULT);
    assert!((RELEASES.len()..40).contains(&ready), "{ready}");
}

#[test]
fn clusters_with_a_preview_of_what_comes() {
    all_pairs(&PREVIEW);
}

#[test]
fn clusters_with_gates_of_their_own() {
    all_pairs(&CUSTOM);
}

/// What the sets come to, told once in words, so that a mistake in the sets cannot hide.
#[test]
fn some_pairs_by_hand() {
    let upgrade = between("4.12", "4.14", &DEFAULT);
    assert_eq!(upgrade["verdict"], "NotReady");
    let driver = component(&upgrade, "openshift-cluster-csi-drivers/ebs-cloud-credentials");
    let actions = ["ec2:DescribeAvailabilityZones", "ec2:EnableFastSnapshotRestores", "kms:ReEncrypt*"];
    assert_eq!(driver["missing"][0]["actions"], serde_json::json!(actions));
    assert_eq!(driver["missing"][0]["verdict"], "Missing");
    assert_eq!(driver["credentialsRequest"], "openshift-cloud-credential-operator/aws-ebs-csi-driver-operator");
    let ingress = component(&upgrade, "openshift-ingress-operator/cloud-credentials");
    assert_eq!(ingress["missing"][0]["actions"], serde_json::json!(["sts:AssumeRole"]));

    let renamed = between("4.20", "4.22", &PREVIEW);
    let capi = component(&renamed, "openshift-cluster-api/capa-manager-bootstrap-credentials");
    assert_eq!(capi["trust"].as_array().unwrap().len(), 1);
    assert_eq!(capi["trust"][0]["serviceAccount"], "capi-controllers");

    let moved = between("4.10", "4.12", &PREVIEW);
    assert_eq!(component(&moved, "openshift-cluster-api/capa-manager-bootstrap-credentials")["verdict"], "NewRole");
    assert_eq!(component(&moved, "openshift-cluster-api/aws-cloud-credentials")["verdict"], "Retired");
}
