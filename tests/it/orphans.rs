//! What no request asks for any more: under `Delete` it goes, under `Retain` it is reported, and a brake holds when too much
//! would go at once.

use serde_json::json;

use super::ended::{
    DELETE, SETTLED, delete_request, deletion_of_role, has_role, has_secret, ready, ready_on, specify, specify_brake,
};
use super::obstacles::{attach_policy, detach_policy};
use super::scene::{SOON, Scene, condition, on_both_schemas, request_json, request_yaml, said};
use super::support::{Schema, eventually};
use super::written::taken_in_order;

on_both_schemas! {
    under_delete_what_a_request_had_goes_with_it,
    a_refused_request_keeps_what_it_has,
    under_retain_it_is_reported_and_taken_up_again,
    too_many_at_once_go_only_when_the_brake_is_loosened,
    a_role_that_someone_uses_stays_and_is_named,
}

/// Waits until role and Secret of a request are gone.
#[track_caller]
fn await_taken_along(scene: &Scene, request: &str) {
    eventually(SOON, &format!("role and Secret of {request} to go"), || {
        let role = has_role(scene, request);
        match (role, has_secret(scene, request)) {
            (false, false) => Ok(()),
            there => Err(format!("role, Secret: {there:?}; {}", scene.identity_object()["status"])),
        }
    });
}

/// Waits until nothing is left over, and all else is well.
#[track_caller]
fn await_no_orphans(scene: &Scene) {
    eventually(SOON, "no orphans", || {
        let object = scene.identity_object();
        let ready = said(&object, "Ready", "status") == "True";
        let orphaned = condition(&object, "OrphanedCloudResource").is_some();
        let counted = object["status"]["roles"]["orphaned"] != 0;
        if ready && !orphaned && !counted { Ok(()) } else { Err(object["status"].to_string()) }
    });
}

/// Waits until status reports these, with this reason; returns the message.
#[track_caller]
fn await_orphans(scene: &Scene, reason: &str, requests: &[&str]) -> String {
    eventually(SOON, &format!("orphans of {requests:?}"), || {
        let object = scene.identity_object();
        let message = said(&object, "OrphanedCloudResource", "message");
        let all = requests.iter().all(|request| message.contains(&scene.role_name(request)));
        let counted = object["status"]["roles"]["orphaned"] == requests.len();
        let fits = said(&object, "OrphanedCloudResource", "reason") == reason;
        if all && counted && fits { Ok(message) } else { Err(object["status"].to_string()) }
    })
}

/// The Secrets that the operator deleted, by name.
fn deleted_secrets(scene: &Scene) -> Vec<String> {
    let writes = scene.cluster.changes_by(&scene.name).into_iter();
    writes.filter(|write| write.resource == "secrets" && write.verb == "delete").map(|write| write.name).collect()
}

/// OpenShift's operator deletes the Secret of a request that is deleted. Under `Retain` it comes back as it was, or the
/// ClusterIdentity names it beside the role that is kept.
#[track_caller]
pub fn await_secret_back_or_named(scene: &Scene, request: &str, data: &str) {
    let (role, secret) = (scene.role_name(request), format!("{request}-creds"));
    let named = format!("secret/{}/{secret}", scene.name);
    eventually(SOON, &format!("{secret} to be back, or named as lost"), || {
        let found = scene.cluster.kubectl(&["get", "secret", &secret, "-n", &scene.name, "-o", "jsonpath={.data}"]);
        let message = said(&scene.identity_object(), "OrphanedCloudResource", "message");
        let back = found.success() && found.stdout == data;
        let lost = !found.success() && message.contains(&role) && message.contains(&named);
        if back || lost { Ok(()) } else { Err(format!("{message}; Secret: {}{}", found.stdout, found.stderr)) }
    });
}

/// Rolecall deleted these Secrets, in this order. OpenShift's operator deletes the Secret of a request that was deleted
/// (`gone`), perhaps before Rolecall does.
#[track_caller]
fn assert_deleted_secrets(scene: &Scene, wanted: &[&str], gone: &str) {
    let mut deleted = deleted_secrets(scene);
    let mut wanted = wanted.to_vec();
    if scene.cluster.schema() == Schema::OpenShift {
        deleted.retain(|name| name != gone);
        wanted.retain(|name| *name != gone);
    }
    assert_eq!(deleted, wanted);
}

fn under_delete_what_a_request_had_goes_with_it(schema: Schema) {
    let scene = ready_on(schema, "orphan-del", DELETE, &["a", "b", "c", "d"]);
    let kept = scene.role("d");
    delete_request(&scene, "a");
    await_taken_along(&scene, "a");
    await_no_orphans(&scene);
    assert_eq!(taken_in_order(&scene.proxy.calls()), deletion_of_role(&scene, "a"));
    assert_eq!(scene.proxy.writes().len(), 2);
    assert_deleted_secrets(&scene, &["a-creds"], "a-creds");

    // A release marks what it has removed.
    scene.proxy.reset_counts();
    let mark = "release.openshift.io/delete=true";
    scene.cluster.kubectl_ok(&["annotate", "credentialsrequest", "b", "-n", &scene.name, mark]);
    await_taken_along(&scene, "b");
    await_no_orphans(&scene);
    assert_eq!(taken_in_order(&scene.proxy.calls()), deletion_of_role(&scene, "b"));
    if scene.writes_upstream_conditions() {
        assert_eq!(said(&scene.request_object("b"), "Ignored", "reason"), "Tombstone");
    }

    // Another Secret is another role: the new one is made, the old one goes.
    scene.proxy.reset_counts();
    let moved = request_yaml(&scene.name, "c", &scene.name, "s3:GetObject").replace("name: c-creds", "name: c2-creds");
    scene.cluster.apply_ok(&moved);
    await_taken_along(&scene, "c");
    await_no_orphans(&scene);
    let new = scene.role_name("c2");
    let mut wanted = deletion_of_role(&scene, "c").to_vec();
    wanted.extend([format!("iam:CreateRole {new}"), format!("iam:PutRolePolicy {new}")]);
    wanted.sort();
    assert_eq!(super::written::taken(&scene.proxy.calls()), wanted);
    assert!(has_secret(&scene, "c2"));
    assert_eq!(scene.role("d"), kept);
    assert_deleted_secrets(&scene, &["a-creds", "b-creds", "c-creds"], "a-creds");
    scene.proxy.reset_counts();
    scene.passes(2);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
}

fn a_refused_request_keeps_what_it_has(schema: Schema) {
    let scene = ready_on(schema, "orphan-ref", DELETE, &["a", "b"]);
    let (before, mut spoilt) = (scene.role("a"), request_json(&scene.name, "a"));
    for statements in [
        json!([{"effect": "Allow", "action": ["iam:*"], "resource": "*"}]),
        json!([{"effect": "Perhaps", "action": ["s3:GetObject"], "resource": "*"}]),
        json!([]),
    ] {
        spoilt["spec"]["providerSpec"]["statementEntries"] = statements;
        scene.cluster.apply_ok(&spoilt.to_string());
        let generation = scene.request_object("a")["metadata"]["generation"].clone();
        eventually(SOON, "the refusal", || {
            let object = scene.request_object("a");
            let seen = scene.observed_generation(&object) == generation;
            let refused = said(&object, "Ready", "status") == "False";
            if seen && refused { Ok(()) } else { Err(object["status"].to_string()) }
        });
        scene.passes(2);
        assert_eq!(scene.role("a"), before);
        assert!(has_secret(&scene, "a"));
        assert!(condition(&scene.identity_object(), "OrphanedCloudResource").is_none());
    }
    // Nothing is known to be left over while a request does not say what is its own.
    spoilt["spec"]["secretRef"] = json!({"namespace": scene.name});
    scene.cluster.apply_ok(&spoilt.to_string());
    scene.passes(2);
    assert_eq!(scene.role("a"), before);
    assert!(has_secret(&scene, "a"));
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_eq!(deleted_secrets(&scene), [""; 0]);
}

fn under_retain_it_is_reported_and_taken_up_again(schema: Schema) {
    let scene = ready_on(schema, "orphan-ret", "", &["a", "b"]);
    let before = scene.role("a");
    let secret = |what: &str| scene.cluster.kubectl_ok(&["get", "secret", "a-creds", "-n", &scene.name, "-o", what]);
    let (version, data) = (secret("jsonpath={.metadata.resourceVersion}"), secret("jsonpath={.data}"));
    delete_request(&scene, "a");
    let message = await_orphans(&scene, "Retained", &["a"]);
    if schema == Schema::Rolecall {
        assert_eq!(
            message,
            format!(
                "asked for by no request, kept, because deletionPolicy is Retain: role/{}; secret/{}/a-creds",
                scene.role_name("a"),
                scene.name
            )
        );
    } else {
        await_secret_back_or_named(&scene, "a", &data);
    }
    scene.await_condition("Ready", "True");
    let object = scene.identity_object();
    assert_eq!(object["status"]["roles"]["summary"], "1/1");
    scene.passes(3);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_eq!(scene.role("a"), before);

    scene.request("a");
    scene.await_request("a", "Ready", "True");
    await_no_orphans(&scene);
    assert_eq!(scene.proxy.write_ops(), [""; 0], "it was right all the time");
    assert_eq!(secret("jsonpath={.data}"), data);
    if schema == Schema::Rolecall {
        assert_eq!(secret("jsonpath={.metadata.resourceVersion}"), version);
    }

    // Reported once more; the policy is changed, and it goes.
    delete_request(&scene, "a");
    await_orphans(&scene, "Retained", &["a"]);
    specify(&scene, DELETE);
    await_taken_along(&scene, "a");
    await_no_orphans(&scene);
    assert_eq!(taken_in_order(&scene.proxy.calls()), deletion_of_role(&scene, "a"));
}

/// A request that goes while nobody watches leaves no event behind: what is left over tells of it.
#[test]
fn what_a_request_had_that_went_unseen_goes_or_is_reported() {
    let mut scene = ready("orphan-off", "", &["a", "b", "c"]);
    let (kept, others) = (scene.role("a"), scene.role("c"));
    deleted_unseen(&mut scene, "a");
    await_orphans(&scene, "Retained", &["a"]);
    scene.passes(2);
    assert_eq!(scene.role("a"), kept);
    assert!(has_secret(&scene, "a"));
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_eq!(deleted_secrets(&scene), [""; 0]);

    scene.request("a");
    await_no_orphans(&scene);
    specify(&scene, DELETE);
    scene.await_condition("Ready", "True");
    deleted_unseen(&mut scene, "b");
    await_taken_along(&scene, "b");
    await_no_orphans(&scene);
    assert_eq!(taken_in_order(&scene.proxy.calls()), deletion_of_role(&scene, "b"));
    assert_eq!(deleted_secrets(&scene), ["b-creds"]);
    assert_eq!([scene.role("a"), scene.role("c")], [kept, others]);
}

#[test]
fn a_secret_that_went_unseen_with_its_request_is_put_back() {
    let mut scene = ready("orphan-back", "", &["a", "b"]);
    let secret = |scene: &Scene| scene.cluster.get_json(&["secret", "a-creds", "-n", &scene.name])["data"].clone();
    let before = secret(&scene);
    assert_eq!(scene.operator.as_mut().expect("an operator").terminate().code(), Some(0));
    delete_request(&scene, "a");
    scene.cluster.kubectl_ok(&["delete", "secret", "a-creds", "-n", &scene.name]);
    scene.start_with(&SETTLED, &[]);
    eventually(SOON, "the Secret", || if has_secret(&scene, "a") { Ok(()) } else { Err("no Secret".into()) });
    assert_eq!(secret(&scene), before);
    await_orphans(&scene, "Retained", &["a"]);
}

/// Deletes a request while the operator is down.
fn deleted_unseen(scene: &mut Scene, request: &str) {
    assert_eq!(scene.operator.as_mut().expect("an operator").terminate().code(), Some(0));
    delete_request(scene, request);
    scene.start_with(&SETTLED, &[]);
}

fn too_many_at_once_go_only_when_the_brake_is_loosened(schema: Schema) {
    let mut scene = Scene::on(schema, "orphan-brk");
    specify_brake(&scene, 1, DELETE);
    for request in ["a", "b", "c"] {
        scene.request(request);
    }
    scene.start_with(&SETTLED, &[]);
    scene.await_condition("Ready", "True");
    scene.proxy.reset_counts();
    specify_brake(&scene, 0, DELETE);
    delete_request(&scene, "a");
    let held = |scene: &Scene, wanted: usize, allowed: usize| {
        let words = format!(
            "{wanted} components are left over, 0 were deleted within the last hour, and guardrails.maxDeletions is {allowed}: nothing is deleted"
        );
        eventually(SOON, &words, || {
            let object = scene.identity_object();
            let message = said(&object, "Ready", "message");
            if message.contains(&words) { Ok(object) } else { Err(message) }
        })
    };
    let object = held(&scene, 1, 0);
    assert_eq!(said(&object, "Ready", "reason"), "TooManyDeletions");
    assert_eq!(said(&object, "Stalled", "status"), "True");
    await_orphans(&scene, "DeletionPending", &["a"]);
    delete_request(&scene, "b");
    held(&scene, 2, 0);
    specify_brake(&scene, 1, DELETE);
    held(&scene, 2, 1);
    await_orphans(&scene, "DeletionPending", &["a", "b"]);
    scene.passes(2);
    assert_eq!(scene.proxy.write_ops(), [""; 0], "not even one of the two");
    assert_eq!(deleted_secrets(&scene), [""; 0]);
    scene.await_request("c", "Ready", "True");

    specify_brake(&scene, 2, DELETE);
    await_taken_along(&scene, "a");
    await_taken_along(&scene, "b");
    await_no_orphans(&scene);
    let mut wanted = [deletion_of_role(&scene, "a"), deletion_of_role(&scene, "b")].concat();
    wanted.sort();
    assert_eq!(super::written::taken(&scene.proxy.calls()), wanted);
    drop(scene.role("c"));
}

fn a_role_that_someone_uses_stays_and_is_named(schema: Schema) {
    let scene = ready_on(schema, "orphan-use", DELETE, &["a", "b"]);
    let role = scene.role_name("a");
    let policy = attach_policy(&role);
    delete_request(&scene, "a");
    let words = format!("role {role} is not deleted, because someone else uses it (attached policy {policy})");
    eventually(SOON, &words, || {
        let message = said(&scene.identity_object(), "Ready", "message");
        if message.contains(&words) { Ok(()) } else { Err(message) }
    });
    scene.passes(2);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    scene.await_request("b", "Ready", "True");
    scene.proxy.reset_counts();
    detach_policy(&role, &policy);
    await_taken_along(&scene, "a");
    await_no_orphans(&scene);
    assert_eq!(taken_in_order(&scene.proxy.calls()), deletion_of_role(&scene, "a"));
}

/// Two ClusterIdentities of one account, looked at every ten seconds: one listing serves both.
#[test]
fn identities_of_one_account_share_what_was_listed() {
    let mut scene = Scene::new("shared");
    let yaml = |name: &str, more: &str| {
        let selector = format!("  credentialsRequests: {{selector: {{matchLabels: {{cluster: {name}}}}}}}\n{more}");
        let yaml = scene.identity_yaml(&selector).replace("driftInterval: 2s", "driftInterval: 10s");
        yaml.replace("{name: shared,", &format!("{{name: {name},"))
            .replace("infraName: shared", &format!("infraName: {name}"))
    };
    let request = |cluster: &str| {
        let mut request = request_json("shared", &format!("{cluster}-a"));
        request["metadata"]["labels"] = json!({"cluster": cluster});
        request.to_string()
    };
    let clusters = ["shared-x", "shared-y"];
    for cluster in clusters {
        scene.cluster.apply_ok(&yaml(cluster, DELETE));
        scene.cluster.apply_ok(&request(cluster));
    }
    let await_ready = |scene: &Scene| {
        for cluster in clusters {
            scene.cluster.wait(60, &["--for=condition=Ready", "cid", cluster, "-n", "shared"]);
        }
    };
    scene.start_with(&SETTLED, &[]);
    await_ready(&scene);
    // From a new start on, both are looked at at the same times.
    scene.operator.as_mut().expect("an operator").kill9();
    scene.start_with(&SETTLED, &[]);
    scene.await_passes(2.0);
    scene.proxy.reset_counts();
    let made = || scene.operator().metric("rolecall_passes_total{outcome=\"verified\"}").unwrap_or(0.0);
    let begun = made();
    eventually(2 * SOON, "passes that use what was listed for another", || {
        // The details are listed for every sweep, and the roles once for several.
        let [lists, details] = ["iam:ListRoles", "iam:GetAccountAuthorizationDetails"].map(|op| scene.proxy.count(op));
        let passes = made() - begun;
        let shared = passes >= 6.0 && f64::from(u32::try_from(details).expect("a number")) <= passes - 3.0;
        // A listing that was under way when the counting began has its second half in it alone.
        if shared && lists <= details + 1 {
            Ok(())
        } else {
            Err(format!("{passes} passes, {lists} lists, {details} details"))
        }
    });
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
}
