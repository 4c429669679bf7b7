//! Secrets, and what a change of a request or of the ClusterIdentity does, without waiting for an interval.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::scene::{ACCOUNT, SOON, Scene, condition_is, list_of, on_both_schemas, request_json, said};
use super::support::{Schema, aws_state, eventually};

on_both_schemas! {
    a_missing_namespace_is_waited_for,
    changes_are_applied_at_once,
}

fn profile_of(scene: &Scene, secret: &str) -> String {
    let secret = scene.cluster.get_json(&["secret", secret, "-n", &scene.name]);
    let data = secret["data"].as_object().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["credentials"]);
    String::from_utf8(STANDARD.decode(data["credentials"].as_str().unwrap()).unwrap()).unwrap()
}

/// The identity with an interval that no test lives to see: what happens, happens because of a change.
fn seldom(scene: &Scene, more: &str) {
    scene.cluster.apply_ok(&scene.identity_yaml(more).replace("driftInterval: 2s", "driftInterval: 10m"));
}

fn a_missing_namespace_is_waited_for(schema: Schema) {
    let mut scene = Scene::on(schema, "latecomer");
    let (name, target) = (scene.name.clone(), format!("{}-target", scene.name));
    seldom(&scene, "");
    let mut late = request_json(&name, "late");
    late["spec"]["secretRef"]["namespace"] = json!(target);
    scene.cluster.apply_ok(&list_of(&[late, request_json(&name, "web")]));
    scene.start();

    let message = scene.await_request("late", "Ready", "False");
    assert_eq!(message, format!("target namespace {target} not found"));
    let request = scene.request_object("late");
    assert_eq!(said(&request, "Ready", "reason"), "NamespaceMissing");
    if scene.writes_upstream_conditions() {
        assert_eq!(condition_is(&request, "MissingTargetNamespace", "True"), Ok(message));
        assert_eq!(said(&request, "MissingTargetNamespace", "reason"), "NamespaceMissing");
        assert_eq!(said(&request, "CredentialsProvisionFailure", "status"), "");
    }
    scene.assert_provisioned(&request, false);
    scene.await_request("web", "Ready", "True");
    eventually(SOON, "the identity to wait", || {
        let object = scene.identity_object();
        let reason = said(&object, "Ready", "reason");
        if reason == "Waiting" { Ok(()) } else { Err(reason) }
    });
    assert_eq!(said(&scene.identity_object(), "Reconciling", "status"), "True");
    assert_eq!(said(&scene.identity_object(), "Stalled", "status"), "");

    scene.cluster.ensure_namespace(&target);
    scene.await_request("late", "Ready", "True");
    scene.await_condition("Ready", "True");
    if scene.writes_upstream_conditions() {
        let message = scene.await_request("late", "MissingTargetNamespace", "False");
        assert_eq!(message, format!("target namespace {target} found"));
        assert_eq!(said(&scene.request_object("late"), "MissingTargetNamespace", "reason"), "NamespaceExists");
    }
    let secret = scene.cluster.get_json(&["secret", "late-creds", "-n", &target]);
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(annotations["cloudcredential.openshift.io/credentials-request"], format!("{name}/late"));
}

#[test]
fn secrets_are_written_to_the_byte_and_marked() {
    let mut scene = Scene::new("profile");
    seldom(&scene, "");
    let mut elsewhere = request_json("profile", "elsewhere");
    elsewhere["spec"]["cloudTokenPath"] = json!("/var/run/secrets/other/token");
    scene.cluster.apply_ok(&list_of(&[elsewhere.clone(), request_json("profile", "web")]));
    scene.start();
    scene.await_condition("Ready", "True");

    let profile = |request: &str, path: &str| {
        format!(
            "[default]\nsts_regional_endpoints = regional\nrole_arn = arn:aws:iam::{ACCOUNT}:role/profile-profile-{request}-creds\nweb_identity_token_file = {path}"
        )
    };
    let default = "/var/run/secrets/openshift/serviceaccount/token";
    assert_eq!(profile_of(&scene, "web-creds"), profile("web", default));
    assert_eq!(profile_of(&scene, "elsewhere-creds"), profile("elsewhere", "/var/run/secrets/other/token"));

    let secret = scene.cluster.get_json(&["secret", "web-creds", "-n", "profile"]);
    assert_eq!(secret["type"], "Opaque");
    let metadata = &secret["metadata"];
    let labels =
        json!({"app.kubernetes.io/managed-by": "rolecall", "cloudcredential.openshift.io/credentials-request": "true"});
    assert_eq!(metadata["labels"], labels);
    let uid = |args: &[&str]| scene.cluster.get_json(args)["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let (cluster, identity) = (uid(&["namespace", "kube-system"]), uid(&["cid", "profile", "-n", "profile"]));
    let annotations = json!({
        "rolecall.dev/owner": format!("{cluster}.{identity}:profile/web-creds"),
        "cloudcredential.openshift.io/credentials-request": "profile/web",
        "rolecall.dev/cluster-identity": "profile/profile",
    });
    assert_eq!(metadata["annotations"], annotations);
    assert!(metadata["ownerReferences"].is_null(), "deleting a request must not take its Secret from running pods");
    let fields = scene.cluster.get_json(&["secret", "web-creds", "-n", "profile", "--show-managed-fields"]);
    let manager = &fields["metadata"]["managedFields"][0];
    assert_eq!((&manager["manager"], &manager["operation"]), (&json!("rolecall"), &json!("Apply")));

    // The path changes, and goes back to the default.
    elsewhere["spec"]["cloudTokenPath"] = json!("/third/token");
    scene.cluster.apply_ok(&elsewhere.to_string());
    await_profile(&scene, "elsewhere-creds", &profile("elsewhere", "/third/token"));
    elsewhere["spec"].as_object_mut().unwrap().shift_remove("cloudTokenPath");
    scene.cluster.apply_ok(&elsewhere.to_string());
    await_profile(&scene, "elsewhere-creds", &profile("elsewhere", default));
    scene.await_condition("Ready", "True");
}

fn await_profile(scene: &Scene, secret: &str, wanted: &str) {
    eventually(SOON, &format!("the new profile in {secret}"), || {
        let profile = profile_of(scene, secret);
        if profile == wanted { Ok(()) } else { Err(profile) }
    });
}

fn subjects(scene: &Scene) -> Value {
    scene.role("web").trust["Statement"][0]["Condition"]["StringEquals"][format!("{}:sub", scene.issuer_host())].clone()
}

fn changes_are_applied_at_once(schema: Schema) {
    let mut scene = Scene::on(schema, "changes");
    let namespace = scene.name.clone();
    seldom(&scene, "");
    let mut web = request_json(&namespace, "web");
    scene.cluster.apply_ok(&web.to_string());
    scene.start();
    scene.await_condition("Ready", "True");
    let reaches = |what: &str, test: &dyn Fn() -> bool| {
        eventually(SOON, what, || if test() { Ok(()) } else { Err(format!("{:?}", scene.role("web"))) });
    };
    assert_eq!(subjects(&scene), json!([format!("system:serviceaccount:{namespace}:web")]));
    assert_eq!(scene.role("web").boundary, None);

    web["spec"]["serviceAccountNames"] = json!(["web", "api", "web"]);
    scene.cluster.apply_ok(&web.to_string());
    let both = ["web", "api"].map(|account| format!("system:serviceaccount:{namespace}:{account}"));
    let both = json!(both);
    reaches("the second service account", &|| subjects(&scene) == both);
    scene.await_request("web", "Ready", "True");

    web["spec"]["providerSpec"]["statementEntries"][0]["action"] = json!(["s3:GetObject", "s3:PutObject"]);
    scene.cluster.apply_ok(&web.to_string());
    let name = scene.role_name("web");
    let actions = || scene.role("web").inline[&name]["Statement"][0]["Action"].clone();
    reaches("the second action", &|| actions() == json!(["s3:GetObject", "s3:PutObject"]));

    for policy in ["wide", "as-wide"] {
        aws_state::create_open_policy(policy);
        let arn = format!("arn:aws:iam::{ACCOUNT}:policy/{policy}");
        seldom(
            &scene,
            &format!("  roles: {{permissionsBoundaryARN: \"{arn}\", maxSessionDuration: 2h, tags: {{team: a}}}}\n"),
        );
        reaches("the boundary", &|| scene.role("web").boundary.as_ref() == Some(&arn));
    }
    reaches("the session", &|| scene.role("web").max_session == Some(7200));
    assert_eq!(scene.role("web").tags["team"], "a");
    assert_eq!(scene.role("web").description, Some(format!("OpenShift role for {namespace}/web-creds")));
    // No longer asked for, it may be someone else's guard by now: it stays.
    seldom(&scene, "");
    reaches("the session of old", &|| scene.role("web").max_session == Some(3600));
    assert_eq!(scene.role("web").boundary.as_deref(), Some(&*format!("arn:aws:iam::{ACCOUNT}:policy/as-wide")));
    scene.await_condition("Ready", "True");
    assert_eq!(scene.proxy.count("iam:CreateRole"), 1, "the role was changed, never made anew");
    assert_eq!(scene.identity_object()["status"]["drift"], Value::Null, "what the spec changes is no drift");
    assert!(aws_state::role(&name).is_some());

    scene.cluster.kubectl_ok(&["delete", "secret", "web-creds", "-n", &namespace]);
    eventually(SOON, "the deleted Secret", || {
        let run = scene.cluster.kubectl(&["get", "secret", "web-creds", "-n", &namespace]);
        if run.success() { Ok(()) } else { Err(run.stderr) }
    });
    scene.await_condition("Ready", "True");
}

/// Someone writes a Secret back whenever it was healed, and takes their time: the two do not go on at the other's pace.
#[test]
fn who_fights_over_a_secret_is_answered_ever_more_slowly() {
    const ATTACKS: usize = 6;
    let mut scene = Scene::new("fight");
    seldom(&scene, "");
    scene.request("web");
    scene.start();
    scene.await_condition("Ready", "True");
    let right = profile_of(&scene, "web-creds");
    let theirs = r#"{"stringData":{"credentials":"[default]\n"}}"#;
    let written = scene.cluster.changes_by(&scene.name).len();
    let logged = scene.operator().log().len();
    for _ in 0..ATTACKS {
        scene.cluster.kubectl_ok(&["patch", "secret", "web-creds", "-n", "fight", "--patch", theirs]);
        await_profile(&scene, "web-creds", &right);
        std::thread::sleep(Duration::from_millis(150));
    }
    // What is logged of each heal: how many seconds later anything of it is healed again.
    let waits = eventually(SOON, "the passes that healed to end", || {
        let log = scene.operator().log();
        let passes = log[logged..].lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let healed = passes.filter(|pass| pass["message"] == "pass" && pass["outcome"] == "changed");
        let waits: Vec<f64> = healed.filter_map(|pass| pass["next_s"].as_f64()).collect();
        if waits.len() >= ATTACKS { Ok(waits) } else { Err(format!("{waits:?}")) }
    });
    assert!(waits.is_sorted() && waits[0] < 1.0 && waits[ATTACKS - 1] >= 8.0, "ever longer: {waits:?}");
    let writes = scene.cluster.changes_by(&scene.name).split_off(written);
    let heals = writes.iter().filter(|write| write.resource == "secrets").count();
    assert!(heals <= ATTACKS, "{heals} for {ATTACKS}");
    // In the end it is as wanted all the same.
    await_profile(&scene, "web-creds", &right);
    scene.await_condition("Ready", "True");
}
