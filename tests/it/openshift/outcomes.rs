//! What a status says on OpenShift's schema, and that two operators which both write to it come to rest.

use serde_json::{Value, json};

use super::*;
use crate::ended::specify;
use crate::scene::{ACCOUNT, condition, list_of, request_json, said};
use crate::written::{await_permissions, take_permissions};

const IGNORED: &str = "CredentialsRequest is not for platform AWS (providerSpec is AzureProviderSpec)";

/// Waits until the status of a request speaks of its generation, with these conditions; returns its `providerStatus`.
#[track_caller]
fn await_told(scene: &Scene, request: &str, conditions: &[(&str, &str, &str)]) -> Value {
    eventually(SOON, &format!("{request} to be told {conditions:?}"), || {
        let object = scene.request_object(request);
        for (type_, status, reason) in conditions {
            condition_is(&object, type_, status)?;
            let found = said(&object, type_, "reason");
            if found != *reason {
                return Err(format!("{type_}: {found}"));
            }
        }
        let provider_status = object["status"]["providerStatus"].clone();
        if provider_status["observedGeneration"] == object["metadata"]["generation"] {
            Ok(provider_status)
        } else {
            Err(object["status"].to_string())
        }
    })
}

#[test]
fn requests_of_every_outcome_carry_conditions_and_provider_status() {
    let mut scene = Scene::on(Schema::OpenShift, "outcomes");
    let name = scene.name.clone();
    specify(&scene, "");
    let mut refused = request_json(&name, "refused");
    refused["spec"]["providerSpec"]["statementEntries"][0]["action"] = json!(["iam:*"]);
    let mut waiting = request_json(&name, "waiting");
    waiting["spec"]["secretRef"]["namespace"] = json!(format!("{name}-target"));
    let mut ignored = request_json(&name, "ignored");
    ignored["spec"]["providerSpec"] = json!({"kind": "AzureProviderSpec", "roleBindings": [{"role": "Reader"}]});
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "blocked-creds", "namespace": name},
        "stringData": {"aws_access_key_id": "AKIAFOREIGNFOREIGN00", "aws_secret_access_key": "of-others"},
    });
    let (good, blocked) = (request_json(&name, "good"), request_json(&name, "blocked"));
    scene.cluster.apply_ok(&list_of(&[foreign, good.clone(), blocked, refused, waiting, ignored]));
    scene.start_with(&SETTLED, &[]);

    let arn_of = |role: &str| format!("arn:aws:iam::{ACCOUNT}:role/{role}");
    let told = await_told(&scene, "good", &[("Ready", "True", "Verified"), ("Drifted", "False", "AsWanted")]);
    assert_eq!(told["roleARN"], arn_of(&scene.role_name("good")));
    let told = await_told(&scene, "blocked", &[("Ready", "False", "ForeignSecret"), ("Drifted", "False", "AsWanted")]);
    assert_eq!(told["roleARN"], arn_of(&scene.role_name("blocked")));
    let told =
        await_told(&scene, "waiting", &[("Ready", "False", "NamespaceMissing"), ("Drifted", "False", "AsWanted")]);
    assert_eq!(told["roleARN"], arn_of(&format!("{name}-{name}-target-waiting-creds")));
    await_told(
        &scene,
        "refused",
        &[("Ready", "False", "ActionRefusedByGuardrail"), ("Drifted", "False", "NothingWanted")],
    );
    // Nothing was ever provisioned: there is nothing to say of it.
    assert_eq!(scene.await_request("ignored", "Ignored", "True"), IGNORED);
    let ignored = scene.request_object("ignored");
    assert!(condition(&ignored, "Ready").is_none() && ignored["status"]["providerStatus"].is_null(), "{ignored}");

    // Another generation, and drift that is only reported.
    let mut changed = good;
    changed["spec"]["serviceAccountNames"] = json!(["good", "better"]);
    scene.cluster.apply_ok(&changed.to_string());
    let told = await_told(&scene, "good", &[("Ready", "True", "Verified")]);
    assert_eq!(told["observedGeneration"], 2);
    specify(&scene, "  managementPolicy: Observe\n");
    // A reconcile that began before would heal it.
    scene.passes(2);
    take_permissions(&scene, "good");
    let told = await_told(&scene, "good", &[("Ready", "False", "ChangesPending"), ("Drifted", "True", "Drifted")]);
    assert!(!told["drift"].is_null(), "{told}");
    specify(&scene, "");
    await_permissions(&scene, "good");
    await_told(&scene, "good", &[("Ready", "True", "Verified"), ("Drifted", "False", "AsWanted")]);
    assert_all_written(&scene);
}

#[test]
fn twenty_reconciles_beside_openshifts_operator_write_nothing() {
    let scene = ready("calm", "", &["a", "b"]);
    let beside = scene.cluster.openshift_operator();
    scene.passes(2);
    scene.proxy.reset_counts();
    let (before, theirs) = (scene.cluster.changes_by(&scene.name).len(), beside.writes_in(&scene.name));
    scene.passes(20);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_eq!(scene.cluster.changes_by(&scene.name).split_off(before), []);
    // Its finalizer and one status: Rolecall's statuses gave it no cause for another write.
    assert_eq!((theirs, beside.writes_in(&scene.name)), (4, 4));
    assert_eq!(beside.writes_to(&scene.name, "a"), 2);
    scene.await_condition("Ready", "True");
    assert_all_written(&scene);
}
