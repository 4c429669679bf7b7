//! A request that is refused, unreadable or nobody's keeps what it has.

use super::*;
use crate::ended::{foreign_role, has_secret};
use crate::scene::{condition, request_json};
use crate::written::{await_permissions, take_permissions};

/// Waits until the request's last generation was refused; fails as soon as something was taken away meanwhile. Its status.
#[track_caller]
fn await_refused(scene: &Scene, request: &str, reason: &str) -> Value {
    let generation = scene.request_object(request)["metadata"]["generation"].clone();
    eventually(SOON, &format!("{request} to be refused, {reason}"), || {
        assert_nothing_removed(scene);
        let object = scene.request_object(request);
        let seen = scene.observed_generation(&object) == generation;
        let refused = said(&object, "Ready", "status") == "False" && said(&object, "Ready", "reason") == reason;
        if seen && refused { Ok(object) } else { Err(object["status"].to_string()) }
    })
}

/// One edit names another Secret and asks for what a guardrail refuses.
#[test]
fn refused_request_that_names_another_secret_keeps_what_it_had() {
    let scene = ready("harm-refused", AT_ONCE, DELETE, &["a", "b"]);
    let kept = Kept::of(&scene);
    let mut edited = request_json(&scene.name, "a");
    edited["spec"]["secretRef"]["name"] = json!("a2-creds");
    edited["spec"]["providerSpec"]["statementEntries"][0]["action"] = json!(["iam:*"]);
    scene.cluster.apply_ok(&edited.to_string());
    await_refused(&scene, "a", "ActionRefusedByGuardrail");
    scene.passes(3);
    assert_nothing_changed(&scene);
    kept.assert_there(&scene);
    assert!(condition(&scene.identity_object(), "OrphanedCloudResource").is_none());
}

/// The same while the operator is down, and the request's status goes, as with a restore that leaves statuses out.
#[test]
fn refused_request_whose_status_is_lost_keeps_what_it_had() {
    let mut scene = ready("harm-forgotten", AT_ONCE, DELETE, &["a", "b"]);
    let kept = Kept::of(&scene);
    stop(&mut scene);
    let mut edited = request_json(&scene.name, "a");
    edited["spec"]["secretRef"]["name"] = json!("a2-creds");
    edited["spec"]["providerSpec"]["statementEntries"][0]["action"] = json!(["iam:*"]);
    scene.cluster.apply_ok(&edited.to_string());
    let mut object = scene.request_object("a");
    object["status"] = json!({"provisioned": false, "lastSyncGeneration": 0});
    scene.cluster.replace_status(&object);
    scene.proxy.reset_counts();
    start(&mut scene);
    await_refused(&scene, "a", "ActionRefusedByGuardrail");
    scene.passes(3);
    assert_nothing_changed(&scene);
    kept.assert_there(&scene);
    assert!(condition(&scene.identity_object(), "OrphanedCloudResource").is_none());
}

/// What replaces the old role cannot be made: its name is taken.
#[test]
fn request_whose_new_role_cannot_be_made_keeps_the_old_one() {
    let scene = ready("harm-taken", AT_ONCE, DELETE, &["a", "b"]);
    let kept = Kept::of(&scene);
    foreign_role(&scene.role_name("a2"), &[("team".into(), "blue".into())]);
    let mut edited = request_json(&scene.name, "a");
    edited["spec"]["secretRef"]["name"] = json!("a2-creds");
    scene.cluster.apply_ok(&edited.to_string());
    eventually(SOON, "the conflict", || {
        assert_nothing_removed(&scene);
        condition_is(&scene.request_object("a"), "Conflict", "True").map(drop)
    });
    scene.passes(3);
    assert_nothing_changed(&scene);
    kept.assert_there(&scene);
}

/// Role and Secret that replace the old ones are made, and read back, before the old ones go.
#[test]
fn replaced_role_goes_after_its_successor_was_read_back() {
    let scene = ready("harm-replace", AT_ONCE, DELETE, &["a", "b"]);
    let mut edited = request_json(&scene.name, "a");
    edited["spec"]["secretRef"]["name"] = json!("a2-creds");
    scene.cluster.apply_ok(&edited.to_string());
    crate::ended::await_no_role(&scene, "a");
    assert!(has_secret(&scene, "a2"));
    let calls = scene.proxy.calls();
    let at =
        |wanted: &str, role: &str| calls.iter().position(|call| call.op == wanted && call.param("RoleName") == role);
    let made = at("iam:PutRolePolicy", &scene.role_name("a2")).expect("the new role");
    let gone = at("iam:DeleteRolePolicy", &scene.role_name("a")).expect("the old role");
    let read = calls[made..gone.max(made)].iter().any(|call| !call.is_write() && call.op.starts_with("iam:"));
    assert!(made < gone && read, "nothing was read between {made} and {gone}");
}

/// A slip in `kind`: no cloud's name, so nobody can say that the component belongs to another.
#[test]
fn misspelt_kind_keeps_role_and_secret() {
    let scene = ready("harm-kind", AT_ONCE, DELETE, &["a", "b"]);
    let kept = Kept::of(&scene);
    for kind in ["AwsProviderSpec", "AWSSProviderSpec", "MyProviderSpec"] {
        let mut edited = request_json(&scene.name, "a");
        edited["spec"]["providerSpec"]["kind"] = json!(kind);
        scene.cluster.apply_ok(&edited.to_string());
        let object = await_refused(&scene, "a", "Undecodable");
        assert!(said(&object, "Ready", "message").contains(kind), "{}", object["status"]);
        scene.passes(2);
        assert_nothing_changed(&scene);
        kept.assert_there(&scene);
    }
    eventually(SOON, "the ClusterIdentity not to be Ready", || {
        condition_is(&scene.identity_object(), "Ready", "False").map(drop)
    });
}

/// A slip in `namespaces`: nothing is selected, and that is said, not called ready.
#[test]
fn misspelt_namespace_is_nothing_selected() {
    let scene = ready("harm-nothing", "", "", &["a", "b"]);
    let kept = Kept::of(&scene);
    let namespaces = json!(["openshift-cloud-credential-operatr"]);
    patch(&scene, &json!({"spec": {"credentialsRequests": {"namespaces": namespaces}}}));
    let generation = scene.identity_object()["metadata"]["generation"].clone();
    let object = await_unharmed(&scene, "the edit to be seen", |object| {
        let seen = condition(object, "Ready").is_some_and(|ready| ready["observedGeneration"] == generation);
        if seen { Ok(object.clone()) } else { Err(object["status"].to_string()) }
    });
    assert_eq!(said(&object, "Ready", "status"), "False", "{}", object["status"]["conditions"]);
    let message = await_unharmed(&scene, "NothingSelected", |object| not_ready(object, "NothingSelected"));
    assert!(message.contains("openshift-cloud-credential-operatr"), "{message}");
    scene.passes(2);
    kept.assert_there(&scene);
    // Nor do the requests go on saying that all is well.
    for request in ["a", "b"] {
        await_served_by_nobody(&scene, request, "selects this request no more");
    }
    patch(&scene, &json!({"spec": {"credentialsRequests": {"namespaces": [scene.name]}}}));
    for request in ["a", "b"] {
        scene.await_request(request, "Ready", "True");
    }
    scene.passes(2);
    patch(&scene, &json!({"spec": {"credentialsRequests": {"namespaces": namespaces}}}));
    await_unharmed(&scene, "NothingSelected", |object| not_ready(object, "NothingSelected"));

    // Who means it says so.
    patch(&scene, &json!({"spec": {"credentialsRequests": {"allowEmpty": true}}}));
    await_unharmed(&scene, "Ready=True", |object| condition_is(object, "Ready", "True").map(drop));
    kept.assert_there(&scene);
}

/// The ClusterIdentity is deleted under `Retain`: what its requests have stays, and nobody says any more that it is right.
#[test]
fn requests_of_a_deleted_identity_are_served_by_nobody() {
    let scene = ready("harm-retained", "", "", &["a"]);
    let before = scene.request_object("a")["status"]["providerStatus"].clone();
    scene.cluster.kubectl_ok(&["delete", "cid", &scene.name, "-n", &scene.name, "--timeout=60s"]);
    await_served_by_nobody(&scene, "a", "there is no ClusterIdentity");
    assert_eq!(scene.request_object("a")["status"]["providerStatus"], before, "what is remembered stays");
}

/// Waits until a request says that nobody serves it.
#[track_caller]
fn await_served_by_nobody(scene: &Scene, request: &str, why: &str) {
    eventually(SOON, "the request to be served by nobody", || {
        let object = scene.request_object(request);
        condition_is(&object, "Drifted", "Unknown")?;
        let message = condition_is(&object, "Ready", "Unknown")?;
        let reason = said(&object, "Ready", "reason");
        if reason == "NoClusterIdentity" && message.contains(why) {
            Ok(())
        } else {
            Err(format!("{reason}: {message}"))
        }
    });
}

/// A second request names the Secret of a component that works.
#[test]
fn colliding_request_is_refused_and_its_victim_served() {
    let scene = ready("harm-collide", "", "", &["a", "b"]);
    let kept = Kept::of(&scene);
    let mut second = request_json(&scene.name, "evil");
    second["spec"]["secretRef"]["name"] = json!("a-creds");
    scene.cluster.apply_ok(&second.to_string());
    eventually(SOON, "the second to be refused", || {
        condition_is(&scene.request_object("evil"), "Ready", "False").map(drop)
    });
    scene.passes(2);
    let object = scene.request_object("a");
    assert_eq!(said(&object, "Ready", "status"), "True", "the first is refused with it: {}", object["status"]);
    kept.assert_there(&scene);
    // The first is healed as ever.
    take_permissions(&scene, "a");
    await_permissions(&scene, "a");
    scene.passes(2);
    kept.assert_there(&scene);
}

/// The incumbent is who has the role, though the other one's name comes first and its object is older.
#[test]
fn collision_by_an_edit_leaves_the_incumbent() {
    let scene = ready("harm-incumbent", "", "", &["a", "b"]);
    let kept = Kept::of(&scene);
    let mut edited = request_json(&scene.name, "a");
    edited["spec"]["secretRef"]["name"] = json!("b-creds");
    scene.cluster.apply_ok(&edited.to_string());
    await_refused_for(&scene, "a");
    scene.passes(2);
    let object = scene.request_object("b");
    assert_eq!(said(&object, "Ready", "status"), "True", "{}", object["status"]);
    kept.assert_there(&scene);
}

#[track_caller]
fn await_refused_for(scene: &Scene, request: &str) {
    eventually(SOON, &format!("{request} to be refused"), || {
        assert_nothing_removed(scene);
        condition_is(&scene.request_object(request), "Ready", "False").map(drop)
    });
}

/// Who may tamper in AWS needs no second slip to go unseen: a refused request is watched, and told of.
#[test]
fn refused_request_is_observed_for_drift() {
    let scene = ready("harm-watch", "", "", &["a", "b"]);
    let mut edited = request_json(&scene.name, "a");
    edited["spec"]["providerSpec"]["statementEntries"][0]["effect"] = json!("Perhaps");
    scene.cluster.apply_ok(&edited.to_string());
    await_refused_for(&scene, "a");
    let role = scene.role_name("a");
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let put = iam().put_role_policy().role_name(&role).policy_name(&role).policy_document(policy);
    block_on(put.send()).expect("PutRolePolicy");
    let tampered = scene.role("a");
    scene.passes(2);
    let object = scene.request_object("a");
    assert_ne!(said(&object, "Drifted", "status"), "False", "{}", object["status"]);
    eventually(SOON, "Drifted=True of the request", || {
        condition_is(&scene.request_object("a"), "Drifted", "True").map(drop)
    });
    scene.await_condition("Drifted", "True");
    scene.passes(2);
    assert_eq!(scene.role("a"), tampered, "told, not healed");
    assert!(has_secret(&scene, "a"));
}
