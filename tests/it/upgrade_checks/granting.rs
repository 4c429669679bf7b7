//! Granting ahead: what is in force and what is to come, together, until the upgrade is over or the check is gone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

on_both_schemas! { the_next_release_is_judged_granted_ahead_and_upgraded_to }

const EBS: &str = "aws-ebs-csi-driver-operator";

fn the_next_release_is_judged_granted_ahead_and_upgraded_to(schema: Schema) {
    let scene = cluster_on(schema, "upgrade", "4.16", "");
    let name = &scene.name;
    // Something that only the release in force asks for: it has to stay until the upgrade.
    let mut old = requests(name, "4.16");
    let machine_api = old.iter_mut().find(|request| request["metadata"]["name"] == MACHINE_API).unwrap();
    machine_api["spec"]["providerSpec"]["statementEntries"][0]["action"]
        .as_array_mut()
        .unwrap()
        .push(json!("ec2:Obsolete"));
    scene.cluster.apply_ok(&machine_api.to_string());
    let (in_force, role) = (machine_api.clone(), role_of(&scene, machine_api));
    eventually(SOON, "the old permission", || {
        if granted(&role) == asked(&in_force) { Ok(()) } else { Err(format!("{:?}", granted(&role))) }
    });
    scene.await_condition("Ready", "True");

    config_map(&scene, "next", &manifests(name, "4.18"));
    scene.proxy.reset_counts();
    scene.cluster.apply_ok(&check(&scene, "to-4-18", from_map("next"), json!({})).to_string());
    let message = await_check(&scene, "to-4-18", "UpgradeReady", "False");
    let of_machine_api = format!("{name}-machine-api/aws-cloud-credentials");
    assert!(message.contains(&format!("{of_machine_api}: kms:ReEncrypt*")), "{message}");
    let judged = object(&scene, "to-4-18");
    assert_eq!(said(&judged, "UpgradeReady", "reason"), "PermissionsMissing");
    assert_eq!(
        judged["status"]["summary"],
        json!({"covered": 5, "missing": 1, "newRoles": 0, "trust": 0, "conditional": 0, "indeterminate": 0, "retired": 0})
    );
    let machine_api = component(&judged, "machine-api/aws-cloud-credentials");
    assert_eq!(machine_api["verdict"], "Missing");
    assert_eq!(machine_api["role"], role);
    assert_eq!(machine_api["missing"][0]["actions"], json!(["kms:ReEncrypt*"]));
    assert_eq!(machine_api["surplus"][0]["actions"], json!(["ec2:Obsolete"]));
    assert_eq!(judged["status"]["release"]["requests"], 6);
    assert_eq!(judged["status"]["release"]["source"], "ConfigMap next");
    scene.await_passes(2.0);
    assert_eq!(scene.proxy.write_ops(), [""; 0], "a report writes nothing");

    patch(&scene, "to-4-18", json!({"action": "PreGrant"}));
    await_check(&scene, "to-4-18", "UpgradeReady", "True");
    let new = requests(name, "4.18");
    let entries = |request: &Value| permissions(&request["spec"]["providerSpec"]["statementEntries"]);
    let union: BTreeSet<String> = entries(&in_force).union(&entries(find(&new, MACHINE_API))).cloned().collect();
    let live = aws_state::role(&role).unwrap();
    assert_eq!(permissions(&live.inline[&role]["Statement"]), union);
    assert_eq!((live.inline.len(), live.attached.len()), (1, 0));
    assert_eq!(scene.proxy.write_ops(), ["iam:PutRolePolicy"], "one role grants more");
    let message = await_check(&scene, "to-4-18", "PreGranted", "True");
    assert!(message.contains(&of_machine_api), "{message}");
    let message = scene.await_condition("PreGranted", "True");
    assert!(message.ends_with(&format!("{of_machine_api} (UpgradeCheck {name}/to-4-18)")), "{message}");
    scene.await_condition("Ready", "True");
    let request = scene.request_object(MACHINE_API);
    assert!(request["status"]["providerStatus"]["surplus"].is_null(), "a check asks for it: {}", request["status"]);
    let told = events(&scene, "to-4-18");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("PermissionsMissing: ") && told[1].starts_with("Covered: "), "{told:?}");

    // The upgrade: GitOps applies the new release's requests in place of the old ones.
    scene.cluster.apply_ok(&list_of(&new));
    eventually(SOON, "the roles to be those of 4.18", || {
        let wrong: Vec<&Value> = new.iter().filter(|new| granted(&role_of(&scene, new)) != asked(new)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
    });
    await_reason(&scene, "to-4-18", "PreGranted", "Over");
    await_check(&scene, "to-4-18", "UpgradeReady", "True");
    scene.await_condition("Ready", "True");
    eventually(SOON, "PreGranted to go", || match said(&scene.identity_object(), "PreGranted", "status").as_str() {
        "" => Ok(()),
        status => Err(status.to_owned()),
    });
    // Not only the actions: roles, trust and tags are what 4.18 alone comes to.
    for request in &new {
        releases::assert_role(name, request);
    }
}

#[test]
fn what_was_granted_ahead_goes_with_the_check() {
    let scene = cluster_at("upgone", "4.16", "  deletionPolicy: Delete\n");
    let role = role_of(&scene, find(&requests("upgone", "4.16"), MACHINE_API));
    // The next release has one component more.
    let new = manifests("upgone", "4.18")
        + "\n---\napiVersion: cloudcredential.openshift.io/v1\nkind: CredentialsRequest\nmetadata: {name: new, namespace: x}\nspec:\n  secretRef: {name: new-creds, namespace: upgone-new}\n  serviceAccountNames: [new]\n  providerSpec:\n    apiVersion: cloudcredential.openshift.io/v1\n    kind: AWSProviderSpec\n    statementEntries:\n    - {effect: Allow, action: [\"s3:GetObject\"], resource: \"*\"}\n";
    config_map(&scene, "next", &new);
    scene.cluster.ensure_namespace("upgone-new");
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), json!({"action": "PreGrant"})).to_string());
    await_check(&scene, "next", "UpgradeReady", "True");
    assert!(granted(&role).contains("kms:ReEncrypt*"));
    assert_eq!(granted("upgone-upgone-new-new-creds"), BTreeSet::from(["s3:GetObject".to_owned()]));
    scene.await_condition("Ready", "True");
    assert_eq!(scene.identity_object()["status"]["roles"]["summary"], "7/7");
    let secrets = scene.cluster.kubectl_ok(&["get", "secrets", "-n", "upgone-new", "-o", "name"]);
    assert!(!secrets.contains("new-creds"), "no one is pointed at it yet: {secrets}");

    scene.cluster.kubectl_ok(&["delete", "upc", "next", "-n", "upgone"]);
    eventually(SOON, "the grants to go", || {
        let (granted, names) = (granted(&role), aws_state::role_names());
        let new = names.contains(&"upgone-upgone-new-new-creds".to_owned());
        if granted.contains("kms:ReEncrypt*") || new { Err(format!("{granted:?} {new}")) } else { Ok(()) }
    });
    scene.await_condition("Ready", "True");
    assert_eq!(granted(&role), asked(find(&requests("upgone", "4.16"), MACHINE_API)));
}

/// `Retain` keeps a role that was made ahead, but not what it grants; and another check may take it over.
#[test]
fn under_retain_a_role_that_was_made_ahead_grants_nothing_after_its_check() {
    let scene = cluster_at("upretain", "4.16", "");
    let role = "upretain-upretain-new-new-creds";
    let release = |action: &str| {
        let new = json!({
            "apiVersion": "cloudcredential.openshift.io/v1", "kind": "CredentialsRequest",
            "metadata": {"name": "new", "namespace": "x"},
            "spec": {
                "secretRef": {"name": "new-creds", "namespace": "upretain-new"}, "serviceAccountNames": ["new"],
                "providerSpec": {
                    "apiVersion": "cloudcredential.openshift.io/v1", "kind": "AWSProviderSpec",
                    "statementEntries": [{"effect": "Allow", "action": [action], "resource": "*"}],
                },
            },
        });
        manifests("upretain", "4.16") + &format!("\n---\n{new}\n")
    };
    let grants = |wanted: &[&str]| {
        eventually(SOON, &format!("{role} to grant {wanted:?}"), || {
            let found = aws_state::role(role).map(|live| granted_by(&live, role)).unwrap_or_default();
            if found.iter().eq(wanted) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    config_map(&scene, "next", &release("s3:GetObject"));
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), json!({"action": "PreGrant"})).to_string());
    await_check(&scene, "next", "UpgradeReady", "True");
    grants(&["s3:GetObject"]);
    let object = scene.identity_object();
    assert_eq!(object["status"]["grantedAhead"], json!([role]), "{object:#}");

    scene.cluster.kubectl_ok(&["delete", "upc", "next", "-n", "upretain"]);
    grants(&[]);
    assert!(aws_state::role_names().contains(&role.to_owned()), "Retain keeps the role");
    scene.await_condition("OrphanedCloudResource", "True");
    scene.await_condition("Ready", "True");
    eventually(SOON, "it to be forgotten", || match &scene.identity_object()["status"]["grantedAhead"] {
        Value::Null => Ok(()),
        ahead => Err(ahead.to_string()),
    });

    // One check goes, and another, of a release that asks for something else, comes in the same moment.
    for (check_name, map, action) in [("again", "more", "s3:PutObject"), ("last", "most", "s3:DeleteObject")] {
        config_map(&scene, map, &release(action));
        let object = check(&scene, check_name, from_map(map), json!({"action": "PreGrant"}));
        scene.cluster.kubectl_ok(&["delete", "upc", "--all", "-n", "upretain", "--wait=false"]);
        scene.cluster.apply_ok(&object.to_string());
        await_check(&scene, check_name, "UpgradeReady", "True");
        grants(&[action]);
        scene.await_condition("Ready", "True");
    }
}

#[test]
fn what_is_in_force_is_never_harmed_by_what_is_to_come() {
    let scene = cluster_at("upharm", "4.16", "");
    let in_force = requests("upharm", "4.16");
    let mut next = requests("upharm", "4.18");
    let entries =
        |request: &mut Value| request["spec"]["providerSpec"]["statementEntries"].as_array_mut().unwrap().clone();
    for request in &mut next {
        let mut statements = entries(request);
        match request["metadata"]["name"].as_str().unwrap() {
            // A guardrail refuses it.
            MACHINE_API => statements.push(json!({"effect": "Allow", "action": ["iam:*"], "resource": "*"})),
            // Too long for IAM together with what is in force.
            EBS => {
                let actions: Vec<String> = (0..400).map(|n| format!("ec2:SomethingQuiteLongToSay{n:03}")).collect();
                statements.push(json!({"effect": "Allow", "action": actions, "resource": "*"}));
            }
            // What one denies, the other may need.
            "openshift-ingress" => {
                statements.push(json!({"effect": "Allow", "action": ["route53:CreateHostedZone"], "resource": "*"}));
                statements.push(json!({"effect": "Deny", "action": ["route53:ListHostedZones"], "resource": "*"}));
            }
            _ => {}
        }
        request["spec"]["providerSpec"]["statementEntries"] = json!(statements);
    }
    config_map(&scene, "next", &list_of(&next));
    scene.proxy.reset_counts();
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), json!({"action": "PreGrant"})).to_string());
    let message = await_reason(&scene, "next", "PreGranted", "Refused");
    for part in ["guardrails.deniedActions", "IAM allows 10240", "Deny statements"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    await_check(&scene, "next", "UpgradeReady", "False");
    scene.await_passes(2.0);
    for request in &in_force {
        assert_eq!(granted(&role_of(&scene, request)), asked(request));
    }
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    condition_is(&scene.identity_object(), "Ready", "True").expect("the cluster's identity is as it was");
}

#[test]
fn observing_grants_nothing_ahead() {
    let scene = cluster_at("upobserve", "4.16", "");
    patch_identity(&scene, json!({"managementPolicy": "Observe"}));
    config_map(&scene, "next", &manifests("upobserve", "4.18"));
    scene.proxy.reset_counts();
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), json!({"action": "PreGrant"})).to_string());
    await_check(&scene, "next", "UpgradeReady", "False");
    let message = await_reason(&scene, "next", "PreGranted", "Refused");
    assert!(message.contains("managementPolicy is Observe"), "{message}");
    eventually(SOON, "the pending change", || {
        let pending = scene.identity_object()["status"]["pendingChanges"].clone();
        if pending[0]["action"] == "PutInlinePolicy" { Ok(()) } else { Err(pending.to_string()) }
    });
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
}

#[test]
fn a_role_that_no_check_has_made_is_not_overwritten() {
    let scene = cluster_at("upforeign", "4.16", "");
    let in_force = requests("upforeign", "4.16");
    let machine_api = find(&in_force, MACHINE_API);
    // Someone takes a request in force for a candidate: it is served no longer, and keeps its role.
    let label = ["label", "credentialsrequest", MACHINE_API, "-n", "upforeign", "rolecall.dev/release=4.18.3"];
    scene.cluster.kubectl_ok(&label);
    scene.await_passes(2.0);
    config_map(&scene, "next", &manifests("upforeign", "4.18"));
    scene.proxy.reset_counts();
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), json!({"action": "PreGrant"})).to_string());
    let message = scene.await_condition("Stalled", "True");
    assert!(message.contains("exists and was not made by an UpgradeCheck"), "{message}");
    scene.await_passes(2.0);
    assert_eq!(granted(&role_of(&scene, machine_api)), asked(machine_api));
    let of_role = scene
        .proxy
        .calls()
        .into_iter()
        .filter(|call| call.is_write() && call.param("RoleName").contains("machine-api"));
    assert_eq!(of_role.count(), 0);
}

#[test]
fn what_is_kept_is_healed_when_someone_changes_it() {
    let scene = cluster_at("upkept", "4.16", "");
    let machine_api =
        requests("upkept", "4.16").into_iter().find(|request| request["metadata"]["name"] == MACHINE_API).unwrap();
    let role = role_of(&scene, &machine_api);
    config_map(&scene, "next", &manifests("upkept", "4.18"));
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), json!({"action": "PreGrant"})).to_string());
    await_check(&scene, "next", "PreGranted", "True");
    scene.await_condition("Ready", "True");
    scene.cluster.kubectl_ok(&["delete", "configmap", "next", "-n", "upkept"]);
    await_reason(&scene, "next", "PreGranted", "ReleaseUnreadable");
    assert!(granted(&role).contains("kms:ReEncrypt*"), "what was granted stays");
    let evil = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}]});
    let put = aws_state::iam().put_role_policy().role_name(&role).policy_name(&role).policy_document(evil.to_string());
    crate::support::block_on(put.send()).expect("PutRolePolicy");
    eventually(SOON, "what is in force", || {
        let found = aws_state::role(&role).unwrap().inline[&role]["Statement"].to_string();
        if found.contains("iam:*") { Err(found) } else { Ok(()) }
    });
    assert_eq!(granted(&role), asked(&machine_api), "what nobody can tell any more is not granted anew");
}
