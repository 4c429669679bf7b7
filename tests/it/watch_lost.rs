//! A watch that fails: what it would have to tell is said to be unknown, and nothing is done on the strength of it.

use serde_json::{Value, json};

use super::ended::{DELETE, has_role, has_secret};
use super::scene::{CLAIMS, SOON, Scene, condition, condition_is, on_both_schemas, said};
use super::support::{ControlPlane, Schema, eventually};
use super::written::take_permissions;

/// Short enough for a test: how long a watch request lasts, may fail, and may be silent.
const SHORT: [&str; 6] =
    ["--watch-renewal-interval", "1s", "--watch-failure-threshold", "3s", "--watch-silence-threshold", "1m"];

/// The rights of one operator, to be taken away one by one.
struct Rights {
    cluster: &'static ControlPlane,
    name: String,
    all: Value,
}

impl Rights {
    /// Gives the scene's operator a ClusterRole of its own, equal to the one that is shipped.
    fn of(scene: &Scene) -> Self {
        let name = format!("rolecall-{}", scene.name);
        scene.cluster.operator_kubeconfig(&scene.name);
        let all = scene.cluster.get_json(&["clusterrole", "rolecall"])["rules"].clone();
        let rights = Self { cluster: scene.cluster, name, all };
        rights.set(&rights.all);
        scene.cluster.kubectl_ok(&["delete", "clusterrolebinding", &rights.name]);
        let subject = json!({"kind": "ServiceAccount", "name": "rolecall", "namespace": scene.name});
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": rights.name}, "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": rights.name},
        });
        scene.cluster.apply_ok(&binding.to_string());
        rights
    }

    fn set(&self, rules: &Value) {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": self.name}, "rules": rules,
        });
        self.cluster.apply_ok(&role.to_string());
    }

    /// Takes the right to list and watch a resource away.
    fn revoke(&self, resource: &str) {
        let mut rules = self.all.clone();
        for rule in rules.as_array_mut().unwrap() {
            if rule["resources"] == json!([resource]) {
                rule["verbs"].as_array_mut().unwrap().retain(|verb| verb != "list" && verb != "watch");
            }
        }
        assert_ne!(rules, self.all, "no rule is about {resource} alone");
        self.set(&rules);
    }

    fn restore(&self) {
        self.set(&self.all);
    }
}

fn check(scene: &Scene) -> Value {
    scene.cluster.get_json(&["upgradecheck", "next", "-n", &scene.name])
}

/// A scene with a request and a check that says yes.
fn seeing(schema: Schema, name: &str, more: &str) -> Scene {
    let mut scene = Scene::on(schema, name);
    scene.identity(more);
    scene.request("a");
    let mut candidate: Value = super::scene::request_json(&scene.name, "a");
    candidate["metadata"]["name"] = json!("a-next");
    candidate["metadata"]["labels"] = json!({"rolecall.dev/release": "4.19.0"});
    scene.cluster.apply_ok(&candidate.to_string());
    let selector = json!({"matchLabels": {"rolecall.dev/release": "4.19.0"}});
    let next = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "UpgradeCheck", "metadata": {"name": "next", "namespace": scene.name},
        "spec": {"clusterIdentityRef": {"name": scene.name}, "release": {"version": "4.19.0", "selector": selector}},
    });
    scene.cluster.apply_ok(&next.to_string());
    scene.cluster.operator_kubeconfig(&scene.name);
    scene.start_with(&SHORT, &[]);
    scene
}

/// Waits until the ClusterIdentity says that a watch is lost. A resource with two watches loses one a moment before the other.
fn await_lost(scene: &Scene, watch: &str) {
    eventually(SOON, &format!("the watch of {watch} to be named"), || {
        let message = condition_is(&scene.identity_object(), "WatchLost", "True")?;
        let is_named = message.contains(&format!("the watch of {watch}: ")) && message.contains("forbidden");
        if is_named { Ok(()) } else { Err(message) }
    });
}

fn await_all_well(scene: &Scene) {
    scene.await_condition("Ready", "True");
    scene.await_request("a", "Ready", "True");
    eventually(SOON, "the check to say yes", || condition_is(&check(scene), "UpgradeReady", "True"));
    let identity = scene.identity_object();
    assert_eq!(condition(&identity, "WatchLost"), None, "{identity}");
    assert_eq!(scene.operator().http_get("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(scene.operator().metric("rolecall_watch_up"), Some(8.0));
}

/// With the right to list and watch a kind gone, what that watch feeds is unknown; with the right back, all is well again.
fn revoked_rights_make_verdicts_unknown_until_they_are_restored(schema: Schema) {
    let scene = seeing(schema, "blind", "");
    let rights = Rights::of(&scene);
    await_all_well(&scene);
    for resource in ["clusteridentities", "credentialsrequests", "upgradechecks", "namespaces", "secrets"] {
        rights.revoke(resource);
        await_lost(&scene, resource);
        scene.await_condition("Ready", "Unknown");
        let identity = scene.identity_object();
        for type_ in CLAIMS {
            condition_is(&identity, type_, "Unknown").unwrap_or_else(|found| panic!("{resource}: {type_}: {found}"));
            assert_eq!(said(&identity, type_, "reason"), "WatchLost");
            assert!(said(&identity, type_, "message").contains(resource));
        }
        assert_eq!(condition(&identity, "Stalled"), None);
        for type_ in ["Ready", "Drifted"] {
            eventually(SOON, "the request to claim nothing", || {
                condition_is(&scene.request_object("a"), type_, "Unknown")
            });
            assert_eq!(said(&scene.request_object("a"), type_, "reason"), "WatchLost");
        }
        eventually(SOON, "the check to claim nothing", || condition_is(&check(&scene), "UpgradeReady", "Unknown"));
        assert_eq!(said(&check(&scene), "UpgradeReady", "reason"), "WatchLost");
        let (code, text) = scene.operator().http_get("/readyz");
        assert!(code == 503 && text.contains(&format!("WatchLost: the watch of {resource}: ")), "{code} {text}");
        assert_eq!(scene.operator().metric(&format!("rolecall_watch_up{{watch=\"{resource}\"}}")), Some(0.0));
        let errors = format!("rolecall_watch_errors_total{{watch=\"{resource}\",reason=\"AccessDenied\"}}");
        assert!(scene.operator().metric(&errors).is_some_and(|errors| errors >= 1.0));
        // Nothing is changed by who does not see.
        scene.proxy.reset_counts();
        take_permissions(&scene, "a");
        scene.await_passes(2.0);
        assert_eq!(scene.proxy.write_ops(), ["PutRolePolicy"; 0], "{resource}");
        rights.restore();
        super::written::await_permissions(&scene, "a");
        await_all_well(&scene);
    }
}

/// A watch that only tells earlier what each reconcile reads for itself is named, and no verdict falls with it.
fn a_lost_watch_of_config_maps_is_named_and_leaves_verdicts_alone(schema: Schema) {
    let scene = seeing(schema, "half-blind", "");
    let rights = Rights::of(&scene);
    await_all_well(&scene);
    rights.revoke("configmaps");
    await_lost(&scene, "signing-key-configmaps");
    await_lost(&scene, "release-configmaps");
    let (code, text) = scene.operator().http_get("/readyz");
    assert!(code == 503 && text.contains("WatchLost: the watch of release-configmaps: "), "{code} {text}");
    scene.await_passes(2.0);
    for type_ in ["Ready", "RolesReady", "IssuerPublished"] {
        condition_is(&scene.identity_object(), type_, "True").unwrap();
    }
    take_permissions(&scene, "a");
    super::written::await_permissions(&scene, "a");
    rights.restore();
    eventually(SOON, "the watch to answer again", || match condition(&scene.identity_object(), "WatchLost") {
        None => Ok(()),
        Some(condition) => Err(condition.to_string()),
    });
    await_all_well(&scene);
}

/// Deletions wait from the first error on, long before the watch counts as lost.
fn nothing_is_deleted_while_a_watch_fails(schema: Schema) {
    let mut scene = Scene::on(schema, "half-seen");
    scene.identity(DELETE);
    scene.request("a");
    scene.request("b");
    let rights = Rights::of(&scene);
    scene.start_with(&["--watch-renewal-interval", "1s"], &[]);
    scene.await_condition("Ready", "True");
    rights.revoke("namespaces");
    let errors = || scene.operator().metric("rolecall_watch_errors_total{watch=\"namespaces\"}").unwrap_or(0.0);
    eventually(SOON, "the watch to fail", || if errors() >= 1.0 { Ok(()) } else { Err("not yet".to_owned()) });
    super::ended::delete_request(&scene, "a");
    let held = eventually(SOON, "the deletion to wait", || {
        let object = scene.identity_object();
        condition_is(&object, "Ready", "False").and_then(|message| {
            if said(&object, "Ready", "reason") == "Waiting" { Ok(message) } else { Err(object["status"].to_string()) }
        })
    });
    assert!(
        held.contains("nothing is deleted or put back before it answers again: the watch of namespaces: "),
        "{held}"
    );
    scene.passes(2);
    assert!(has_role(&scene, "a"));
    if schema == Schema::Rolecall {
        // OpenShift's own operator deletes the Secret with the request.
        assert!(has_secret(&scene, "a"));
    }
    rights.restore();
    super::ended::await_no_role(&scene, "a");
    scene.await_condition("Ready", "True");
    assert!(has_role(&scene, "b") && has_secret(&scene, "b"));
}

on_both_schemas! {
    revoked_rights_make_verdicts_unknown_until_they_are_restored,
    a_lost_watch_of_config_maps_is_named_and_leaves_verdicts_alone,
    nothing_is_deleted_while_a_watch_fails,
}
