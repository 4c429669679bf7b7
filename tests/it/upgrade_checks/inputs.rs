//! Bad input says what is wrong with it, and harms nobody else; good input is idle once it is judged.

use serde_json::{Value, json};

use super::*;

#[test]
fn bad_manifests_are_named_and_the_others_are_judged() {
    let scene = cluster_at("upbad", "4.16", "");
    let good = manifests("upbad", "4.16");
    config_map(&scene, "good", &good);
    config_map(&scene, "torn", "kind: [\n");
    config_map(
        &scene,
        "bomb",
        "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e]\ng: [*f, *f, *f, *f, *f, *f, *f, *f]\n",
    );
    config_map(&scene, "nothing", "# only a comment\n---\n");
    config_map(
        &scene,
        "placeholder",
        &good
            .replace("resource: '*'", "resource: \"*\"")
            .replace("name: aws-cloud-credentials", "name: ${SECRET_NAME}"),
    );
    let says = |name: &str, reason: &str, says: &str| {
        scene.cluster.apply_ok(&check(&scene, name, from_map(name), json!({})).to_string());
        let message = await_reason(&scene, name, "UpgradeReady", reason);
        assert!(message.contains(says), "{name}: {says:?} is not in {message}");
    };
    says("missing", "ReleaseUnreadable", "ConfigMap upbad/missing does not exist");
    says("torn", "ReleaseUnreadable", "ConfigMap upbad/torn, entry requests.yaml");
    says("bomb", "ReleaseUnreadable", "ConfigMap upbad/bomb, entry requests.yaml");
    says("nothing", "ReleaseUnreadable", "holds no CredentialsRequest for AWS");
    says("placeholder", "Indeterminate", "placeholder");
    says("good", "Covered", "6 components");
    // What was wrong is looked at again as soon as it is mended.
    config_map(&scene, "torn", &good);
    await_check(&scene, "torn", "UpgradeReady", "True");
    config_map(&scene, "missing", &good);
    await_check(&scene, "missing", "UpgradeReady", "True");
}

#[test]
fn a_check_without_its_cluster_says_so_until_it_comes() {
    let mut scene = Scene::new("upstray");
    scene.start();
    config_map(&scene, "good", &manifests("upstray", "4.16"));
    scene.cluster.apply_ok(&check(&scene, "early", from_map("good"), json!({})).to_string());
    let message = await_reason(&scene, "early", "UpgradeReady", "NoClusterIdentity");
    assert_eq!(message, "there is no ClusterIdentity upstray in this namespace");
    assert_eq!(said(&object(&scene, "early"), "Ready", "status"), "False");
    scene.identity("");
    await_reason(&scene, "early", "UpgradeReady", "RolesMissing");
    // Refused as a whole: nothing is known of its roles.
    patch_identity(&scene, json!({"aws": {"accountID": "999999999999"}}));
    let message = await_reason(&scene, "early", "UpgradeReady", "WrongAccount");
    assert!(message.starts_with("the ClusterIdentity upstray/upstray: "), "{message}");
    // One that is being deleted, and cannot go yet.
    let hold = json!({"metadata": {"finalizers": ["tests.rolecall.dev/hold"]}}).to_string();
    scene.cluster.kubectl_ok(&["patch", "cid", "upstray", "-n", "upstray", "--type=merge", "-p", &hold]);
    scene.cluster.kubectl_ok(&["delete", "cid", "upstray", "-n", "upstray", "--wait=false"]);
    let message = await_reason(&scene, "early", "UpgradeReady", "NoClusterIdentity");
    assert_eq!(message, "the ClusterIdentity upstray is being deleted");
    let let_go = json!({"metadata": {"finalizers": null}}).to_string();
    scene.cluster.kubectl_ok(&["patch", "cid", "upstray", "-n", "upstray", "--type=merge", "-p", &let_go]);
    eventually(SOON, "the ClusterIdentity to be gone", || {
        let message = said(&object(&scene, "early"), "UpgradeReady", "message");
        if message.starts_with("there is no ClusterIdentity") { Ok(()) } else { Err(message) }
    });
    await_reason(&scene, "early", "UpgradeReady", "NoClusterIdentity");
}

#[test]
fn the_schema_refuses_what_could_not_be_judged() {
    let scene = Scene::new("upschema");
    let refuses = |release: Value, more: Value, says: &str| {
        let mut object = check(&scene, "bad", release, more);
        let run = scene.cluster.apply(&object.to_string());
        assert!(!run.success() && run.stderr.contains(says), "{object}\n{}\nwanted: {says}", run.stderr);
        object["metadata"]["name"] = json!("good");
    };
    let one = "exactly one of image, configMapRefs and selector must be set";
    refuses(json!({}), json!({}), one);
    refuses(json!({"configMapRefs": [{"name": "a"}], "selector": {}}), json!({}), one);
    refuses(json!({"configMapRefs": []}), json!({}), "should have at least 1 items");
    refuses(from_map("a"), json!({"action": "Guess"}), "Unsupported value");
    let mut object = check(&scene, "bad", from_map("a"), json!({}));
    object["spec"]["release"]["version"] = json!("the newest");
    assert!(scene.cluster.apply(&object.to_string()).stderr.contains("spec.release.version"));
    scene.cluster.apply_ok(&check(&scene, "good", from_map("a"), json!({})).to_string());
    let patch = json!({"spec": {"clusterIdentityRef": {"name": "other"}}}).to_string();
    let run = scene.cluster.kubectl(&["patch", "upc", "good", "-n", "upschema", "--type=merge", "-p", &patch]);
    assert!(run.stderr.contains("clusterIdentityRef is immutable"), "{}", run.stderr);
}

#[test]
fn judging_is_idle_once_it_is_done_and_shown_by_kubectl() {
    let scene = cluster_at("upidle", "4.16", "");
    config_map(&scene, "same", &manifests("upidle", "4.16"));
    config_map(&scene, "next", &manifests("upidle", "4.18"));
    scene.cluster.apply_ok(&check(&scene, "same", from_map("same"), json!({})).to_string());
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), json!({})).to_string());
    scene.cluster.apply_ok(&check(&scene, "ahead", from_map("next"), json!({"action": "PreGrant"})).to_string());
    await_check(&scene, "same", "UpgradeReady", "True");
    await_check(&scene, "next", "UpgradeReady", "True");
    await_check(&scene, "ahead", "PreGranted", "True");
    scene.await_condition("Ready", "True");
    scene.await_passes(2.0);
    let written = scene.cluster.changes_by("upidle").len();
    scene.proxy.reset_counts();
    scene.passes(10);
    assert_eq!(scene.cluster.changes_by("upidle")[written..], []);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    let reads = scene.proxy.count("iam:*");
    assert!(reads <= 4 * 12, "checks share what the pass has read: {reads} calls to IAM in 10 passes");
    let table = scene.cluster.kubectl_ok(&["get", "upc", "-n", "upidle"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "CLUSTER", "RELEASE", "UPGRADEREADY", "MISSING", "CHECKED", "AGE"]);
    assert_eq!(lines[1][..5], ["ahead", "upidle", "4.18.3", "True", "0"]);
    let metric = |ready: &str| scene.operator().metric(&format!("rolecall_upgrade_checks{{ready=\"{ready}\"}}"));
    assert_eq!((metric("true"), metric("false"), metric("unknown")), (Some(3.0), Some(0.0), Some(0.0)));
}
