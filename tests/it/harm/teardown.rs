//! A ClusterIdentity is deleted, on purpose or not: only what carries its mark goes, and nothing that is in use.

use std::time::{Duration, Instant};

use super::*;
use crate::adoption::{Ccoctl, FIRST, SECOND, Signer};
use crate::ended::{assert_nothing_left, await_gone, delete, finalizers, has_role};
use crate::scene::request_yaml;
use crate::support::{ControllerManager, Fault, Kind};

/// A cluster as ccoctl made it, with these components and this signing key.
fn live(scene: &Scene, key: &str, requests: &[&str]) {
    let ccoctl = Ccoctl(scene);
    ccoctl.bucket();
    ccoctl.documents(&Signer::of(key));
    ccoctl.provider();
    for request in requests {
        ccoctl.role(request);
        ccoctl.secret(request);
    }
}

/// Somebody writes another cluster's infra name; it cannot be changed, so the object is deleted.
#[test]
fn mistaken_identity_touches_nothing_and_takes_nothing_along() {
    let mut scene = Scene::new("harm-live");
    live(&scene, SECOND, &["a", "b", "c", "d", "e"]);
    let before = Kept::of(&scene);
    specify(&scene, AT_ONCE, &format!("{DELETE}  credentialsRequests: {{allowEmpty: true}}\n"));
    start(&mut scene);
    let refused = await_unchanged(&scene, "Ready=False", |object| {
        condition_is(object, "Ready", "False").map(|_| said(object, "Ready", "reason"))
    });
    assert_eq!(scene.proxy.write_ops(), [""; 0], "not even a mark");
    delete(&scene);
    eventually(SOON, "the mistake to be gone, and nothing with it", || {
        assert_nothing_changed(&scene);
        let found = scene.cluster.kubectl(&["get", "cid", &scene.name, "-n", &scene.name, "--ignore-not-found"]);
        if found.success() && found.stdout.is_empty() { Ok(()) } else { Err(found.stdout) }
    });
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_eq!(Kept::of(&scene), before);
    assert_eq!(refused, "IssuerMismatch", "no key of the published ones is one of the sources'");
}

/// The same for a cluster whose issuer is private: nothing is opened on the way.
#[test]
fn mistaken_identity_opens_no_private_issuer() {
    let mut scene = Scene::new("harm-liveprivate");
    live(&scene, SECOND, &["a"]);
    super::issuer::close(&scene, "https://d1live.cloudfront.net");
    let before = Kept::of(&scene);
    specify(&scene, AT_ONCE, DELETE);
    start(&mut scene);
    await_unchanged(&scene, "Ready=False", |object| condition_is(object, "Ready", "False").map(drop));
    scene.passes(2);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    delete(&scene);
    await_gone(&scene);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_eq!(Kept::of(&scene), before);
}

/// ccoctl made two roles for operators that came on day two; no request in the cluster asks for them.
#[test]
fn roles_that_were_never_verified_outlive_delete() {
    let mut scene = Scene::new("harm-day-two");
    live(&scene, FIRST, &["a", "x", "y"]);
    let before = Kept::of(&scene);
    specify(&scene, AT_ONCE, DELETE);
    scene.request("a");
    start(&mut scene);
    await_unharmed(&scene, "Ready=True", |object| condition_is(object, "Ready", "True").map(drop));
    scene.passes(3);
    assert_nothing_removed(&scene);
    before.assert_there(&scene);
    let tags = |request: &str| scene.role(request).tags;
    assert!(tags("a").contains_key(OWNER_TAG), "what was verified is marked");
    assert!(!tags("x").contains_key(OWNER_TAG) && !tags("y").contains_key(OWNER_TAG), "nothing else is");
}

/// A way to delete a ClusterIdentity. The emulators know of no use, so everything counts as in use: it is held as a whole,
/// said, and served meanwhile.
#[track_caller]
fn await_held_as_in_use(scene: &Scene, kept: &Kept) {
    let message = await_unharmed(scene, "Ready=False, InUse", |object| not_ready(object, "InUse"));
    for words in ["rolecall.dev/confirm-deletion", &scene.name, "Retain"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let in_use = said(&scene.identity_object(), "InUse", "status");
    assert!(["True", "Unknown"].contains(&in_use.as_str()), "InUse is {in_use:?}");
    scene.passes(3);
    assert_nothing_removed(scene);
    kept.assert_aws_there(scene);
    assert_eq!(finalizers(scene), ["rolecall.dev/teardown"]);
}

/// Requests and Secrets are in the scene's namespace.
fn ready_to_delete(name: &str) -> (Scene, Kept) {
    let scene = ready(name, "", DELETE, &["a", "b"]);
    let kept = Kept::of(&scene);
    (scene, kept)
}

#[test]
fn identity_deleted_by_name_is_held_while_in_use() {
    let (scene, kept) = ready_to_delete("gone-name");
    delete(&scene);
    await_held_as_in_use(&scene, &kept);
    kept.assert_there(&scene);

    // Held is served: what goes missing comes back.
    scene.cluster.kubectl_ok(&["delete", "secret", "a-creds", "-n", &scene.name]);
    eventually(SOON, "the Secret to be back", || {
        let now = secrets(&scene);
        if now.get("a-creds") == kept.secrets.get("a-creds") { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let role = scene.role_name("b");
    block_on(iam().delete_role_policy().role_name(&role).policy_name(&role).send()).expect("DeleteRolePolicy");
    crate::written::await_permissions(&scene, "b");

    // The consent names what goes: another name is none.
    consent(&scene, "rolecall.dev/confirm-deletion", "another");
    scene.passes(2);
    assert_nothing_removed(&scene);
    consent(&scene, "rolecall.dev/confirm-deletion", &scene.name);
    await_gone(&scene);
    assert_nothing_left(&scene, &["a", "b"]);
}

/// While roles cannot be listed, nobody knows whether what would go is used: nothing goes, and nothing is given up.
#[test]
fn identity_deleted_by_name_keeps_all_while_use_cannot_be_read() {
    let (scene, kept) = ready_to_delete("gone-unread");
    for op in ["iam:ListRoles", "iam:GetAccountAuthorizationDetails"] {
        scene.proxy.inject(Fault::always(op, Kind::AccessDenied));
    }
    delete(&scene);
    let message = await_unharmed(&scene, "Ready=False, Deleting", |object| not_ready(object, "Deleting"));
    assert!(message.contains("iam:ListRoles") && message.contains("Retain"), "{message}");
    scene.passes(3);
    assert_nothing_removed(&scene);
    kept.assert_there(&scene);
    let object = scene.identity_object();
    assert!(object["status"]["teardownTime"].is_null(), "no deletion has begun: {}", object["status"]);
    // What is remembered is remembered still, and use holds as before.
    assert!(!object["status"]["keys"].as_array().is_none_or(Vec::is_empty), "{}", object["status"]);
    scene.proxy.clear_faults();
    await_held_as_in_use(&scene, &kept);
    kept.assert_there(&scene);
}

#[test]
fn identity_deleted_by_name_is_let_go_by_retain() {
    let (scene, kept) = ready_to_delete("gone-retain");
    delete(&scene);
    await_held_as_in_use(&scene, &kept);
    crate::ended::patch_spec(&scene, r#"{"deletionPolicy":"Retain"}"#);
    await_gone(&scene);
    assert_nothing_removed(&scene);
    kept.assert_there(&scene);
}

#[test]
fn identities_deleted_all_at_once_are_held_while_in_use() {
    let (scene, kept) = ready_to_delete("gone-all");
    scene.cluster.kubectl_ok(&["delete", "cid", "--all", "-n", &scene.name, "--wait=false"]);
    await_held_as_in_use(&scene, &kept);
    kept.assert_there(&scene);
}

/// What a GitOps tool does with what is no longer in its repository.
#[test]
fn identity_pruned_is_held_while_in_use() {
    let (scene, kept) = ready_to_delete("gone-prune");
    scene.cluster.kubectl_ok(&["label", "cid", &scene.name, "-n", &scene.name, "app=gone-prune"]);
    let left = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: left, namespace: {}, labels: {{app: gone-prune}}}}\n",
        scene.name
    );
    // kubectl waits until what it prunes is gone, unless it is told not to.
    scene.cluster.prune(&left, "app=gone-prune", &["rolecall.dev/v1alpha1/ClusterIdentity", "core/v1/ConfigMap"]);
    await_held_as_in_use(&scene, &kept);
    kept.assert_there(&scene);
}

/// The requests and their Secrets are elsewhere, as a hub has them; the namespace goes with the ClusterIdentity in it.
#[test]
fn identity_deleted_with_its_namespace_is_held_while_in_use() {
    let mut scene = Scene::new("gone-ns");
    let work = "gone-ns-work";
    scene.cluster.ensure_namespace(work);
    specify(&scene, "", &format!("{DELETE}  credentialsRequests: {{namespaces: [{work}]}}\n"));
    for request in ["a", "b"] {
        scene.cluster.apply_ok(&request_yaml(work, request, work, "s3:GetObject"));
    }
    start(&mut scene);
    await_settled(&scene);
    let kept = Kept::of(&scene);
    ControllerManager::shared();
    scene.cluster.kubectl_ok(&["delete", "ns", &scene.name, "--wait=false"]);
    await_held_as_in_use(&scene, &kept);
    for request in ["a", "b"] {
        let secret = format!("{request}-creds");
        assert!(scene.cluster.kubectl(&["get", "secret", &secret, "-n", work]).success(), "{secret} is gone");
    }
}

#[test]
fn identity_whose_definition_is_deleted_is_held_while_in_use() {
    let (plane, _one) = alone();
    let mut scene = Scene::on_plane(plane, "gone-crd");
    let kept = ready_on_its_own(&mut scene);
    plane.kubectl_ok(&["delete", "crd", "clusteridentities.rolecall.dev", "--wait=false"]);
    await_held_as_in_use(&scene, &kept);
    kept.assert_there(&scene);
    restore_crds(plane);
}

/// All definitions go, then the operator: what an uninstall does.
#[test]
fn identity_uninstalled_leaves_all_that_is_in_use() {
    let (plane, _one) = alone();
    let mut scene = Scene::on_plane(plane, "gone-uninst");
    let kept = ready_on_its_own(&mut scene);
    let crds = project_root().join("crds").display().to_string();
    plane.kubectl_ok(&["delete", "-k", &crds, "--wait=false"]);
    eventually(SOON, "the deletion to be seen", || {
        assert_nothing_removed(&scene);
        let args = ["get", "cid", &scene.name, "-n", &scene.name, "-o", "jsonpath={.metadata.deletionTimestamp}"];
        let found = plane.kubectl(&args);
        if found.success() && found.stdout.is_empty() { Err(found.stderr) } else { Ok(()) }
    });
    // It has the time that an uninstall gives it.
    let begun = Instant::now();
    eventually(SOON, "some seconds to pass", || {
        assert_nothing_removed(&scene);
        if begun.elapsed() > Duration::from_secs(8) { Ok(()) } else { Err(String::new()) }
    });
    stop(&mut scene);
    kept.assert_there(&scene);
    restore_crds(plane);
}

fn ready_on_its_own(scene: &mut Scene) -> Kept {
    specify(scene, "", DELETE);
    for request in ["a", "b"] {
        scene.request(request);
    }
    start(scene);
    await_settled(scene);
    Kept::of(scene)
}

/// A bucket that was begun and a role that was made carry the mark: a first run that is broken off leaves nothing behind.
#[test]
fn identity_deleted_before_it_was_ready_takes_what_it_began() {
    let mut scene = Scene::new("gone-begun");
    specify(&scene, AT_ONCE, DELETE);
    scene.request("a");
    scene.proxy.inject(crate::support::Fault::always("s3:PutObject", crate::support::Kind::AccessDenied));
    start(&mut scene);
    eventually(SOON, "the role and the bucket to be begun", || {
        if has_role(&scene, "a") && aws_state::bucket(&scene.bucket()).is_some() { Ok(()) } else { Err(String::new()) }
    });
    scene.await_condition("IssuerPublished", "False");
    delete(&scene);
    await_gone(&scene);
    assert_nothing_left(&scene, &["a"]);
}
