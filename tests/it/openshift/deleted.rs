//! A CredentialsRequest is deleted: OpenShift's operator deletes its Secret, whatever `deletionPolicy` says.

use super::*;
use crate::ended::{DELETE, await_no_role, delete_request, has_role, has_secret};
use crate::orphans::await_secret_back_or_named;
use crate::support::openshift_operator::FINALIZER;

fn data_of_secret(scene: &Scene, request: &str) -> String {
    let secret = format!("{request}-creds");
    scene.cluster.kubectl_ok(&["get", "secret", &secret, "-n", &scene.name, "-o", "jsonpath={.data}"])
}

#[test]
fn under_retain_the_role_stays_and_the_lost_secret_comes_back_or_is_named() {
    let scene = ready("gone-retain", "", &["a", "b"]);
    let (role, data) = (scene.role("a"), data_of_secret(&scene, "a"));
    let object = scene.request_object("a");
    assert_eq!(object["metadata"]["finalizers"], serde_json::json!([FINALIZER]));
    delete_request(&scene, "a");
    assert_eq!(scene.cluster.openshift_operator().deletions_of(&scene.name, "a-creds"), 1);
    await_secret_back_or_named(&scene, "a", &data);
    let message = scene.await_condition("OrphanedCloudResource", "True");
    assert!(message.contains(&scene.role_name("a")), "{message}");
    scene.passes(3);
    // It stays so.
    await_secret_back_or_named(&scene, "a", &data);
    assert_eq!(scene.role("a"), role);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    await_settled(&scene, "b");
    assert_all_written(&scene);
}

#[test]
fn under_delete_the_role_goes_and_nothing_hangs() {
    let scene = ready("gone-delete", DELETE, &["a", "b"]);
    // kubectl returns once the request is gone, its finalizer with it.
    delete_request(&scene, "a");
    assert!(!scene.cluster.kubectl(&["get", "credentialsrequest", "a", "-n", &scene.name]).success());
    await_no_role(&scene, "a");
    eventually(SOON, "the Secret to be gone", || {
        if has_secret(&scene, "a") { Err(scene.identity_object()["status"].to_string()) } else { Ok(()) }
    });
    assert_eq!(scene.cluster.openshift_operator().deletions_of(&scene.name, "a-creds"), 1);
    scene.await_condition("Ready", "True");
    assert!(has_role(&scene, "b") && has_secret(&scene, "b"));
    await_settled(&scene, "b");
    assert_all_written(&scene);
}
