//! What is judged, and when it is judged anew.

use serde_json::{Value, json};

use super::*;
use crate::obstacles::{attach_policy, detach_policy};
use crate::support::aws_state::iam;
use crate::support::{Emulators, Fault, Kind, block_on};

on_both_schemas! { surplus_is_reported_and_left_alone }

#[test]
fn live_roles_that_lose_a_permission_turn_the_verdict() {
    let scene = cluster_at("upturn", "4.16", "");
    patch_identity(&scene, json!({"managementPolicy": "Observe"}));
    config_map(&scene, "same", &manifests("upturn", "4.16"));
    scene.cluster.apply_ok(&check(&scene, "same", from_map("same"), json!({})).to_string());
    let message = await_check(&scene, "same", "UpgradeReady", "True");
    assert_eq!(message, "the live roles of 6 components grant all that release 4.18.3 needs");

    let in_force = requests("upturn", "4.16");
    let role = role_of(&scene, find(&in_force, MACHINE_API));
    let policy = attach_policy(&role); // denies ec2:*
    let message = await_check(&scene, "same", "UpgradeReady", "False");
    assert!(message.contains("upturn-machine-api/aws-cloud-credentials: ec2:"), "{message}");
    let denied = component(&object(&scene, "same"), "machine-api/aws-cloud-credentials");
    assert!(denied["missing"][0]["because"].as_str().unwrap().contains(&policy), "{denied}");
    detach_policy(&role, &policy);
    await_check(&scene, "same", "UpgradeReady", "True");

    // The service account of the next release has another name.
    let renamed = manifests("upturn", "4.16").replace("- machine-api-controllers\n", "- machine-api-of-tomorrow\n");
    config_map(&scene, "same", &renamed);
    let message = await_reason(&scene, "same", "UpgradeReady", "ServiceAccountsNotAdmitted");
    assert!(message.contains("service account machine-api-of-tomorrow"), "{message}");
    let object = object(&scene, "same");
    assert_eq!(object["status"]["summary"]["trust"], 1);
    let machine_api = component(&object, "machine-api/aws-cloud-credentials");
    assert_eq!(machine_api["verdict"], "TrustMissing");
    assert_eq!(machine_api["trust"][0]["serviceAccount"], "machine-api-of-tomorrow");
    let reasons: Vec<String> =
        events(&scene, "same").iter().map(|event| event.split(": ").next().unwrap().to_owned()).collect();
    // The second `Covered` is counted with the first.
    assert_eq!(reasons, ["Covered", "PermissionsMissing", "ServiceAccountsNotAdmitted"]);
}

#[test]
fn components_that_come_and_go_are_told_apart() {
    let scene = cluster_at("upnew", "4.16", "");
    let text = manifests("upnew", "4.16").replace("name: ebs-cloud-credentials", "name: block-cloud-credentials");
    config_map(&scene, "next", &text);
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), json!({})).to_string());
    let message = await_reason(&scene, "next", "UpgradeReady", "RolesMissing");
    assert!(message.contains("upnew-cluster-csi-drivers/block-cloud-credentials: there is no role"), "{message}");
    let object = object(&scene, "next");
    let verdict = |secret: &str| component(&object, secret)["verdict"].clone();
    assert_eq!(verdict("/block-cloud-credentials"), "NewRole");
    assert_eq!(verdict("/ebs-cloud-credentials"), "Retired");
    assert_eq!(object["status"]["summary"]["covered"], 5);
}

#[test]
fn inclusion_is_the_clusters() {
    let scene = cluster_at("upincl", "4.16", "");
    config_map(&scene, "same", &manifests("upincl", "4.16"));
    // What the cluster's FeatureGate says where no feature set is named.
    let default = manifests("upincl", "4.16").replace(
        "    release.openshift.io/feature-set: TechPreviewNoUpgrade\n",
        "    release.openshift.io/feature-set: Default\n",
    );
    config_map(&scene, "default", &default);
    let unset = json!({"inclusion": {"featureSet": ""}});
    scene.cluster.apply_ok(&check(&scene, "unset", from_map("default"), unset).to_string());
    let message = await_reason(&scene, "unset", "UpgradeReady", "RolesMissing");
    assert!(message.contains("upincl-cluster-api/capa-manager-bootstrap-credentials"), "{message}");
    let preview = json!({"inclusion": {"featureSet": "TechPreviewNoUpgrade"}});
    scene.cluster.apply_ok(&check(&scene, "preview", from_map("same"), preview).to_string());
    let message = await_reason(&scene, "preview", "UpgradeReady", "RolesMissing");
    assert!(message.contains("upincl-cluster-api/capa-manager-bootstrap-credentials"), "{message}");
    let fewer = json!({"inclusion": {"capabilities": ["CloudCredential", "Ingress"]}});
    scene.cluster.apply_ok(&check(&scene, "fewer", from_map("same"), fewer).to_string());
    await_check(&scene, "fewer", "UpgradeReady", "True");
    let summary = object(&scene, "fewer")["status"]["summary"].clone();
    assert_eq!((&summary["covered"], &summary["retired"]), (&json!(3), &json!(3)), "{summary}");
}

fn surplus_is_reported_and_left_alone(schema: Schema) {
    let scene = cluster_on(schema, "upsurplus", "4.16", "");
    let role = role_of(&scene, find(&requests(&scene.name, "4.16"), MACHINE_API));
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["ec2:RunInstances", "s3:ListBucket"], "Resource": "*"},
    ]});
    scene.proxy.reset_counts();
    let put = iam().put_role_policy().role_name(&role).policy_name("by-hand").policy_document(policy.to_string());
    block_on(put.send()).expect("PutRolePolicy");
    let surplus = |scene: &Scene| scene.request_object(MACHINE_API)["status"]["providerStatus"]["surplus"].clone();
    eventually(SOON, "the surplus", || match surplus(&scene) {
        found if found == json!([{"actions": ["s3:ListBucket"], "resource": "*", "condition": {}}]) => Ok(()),
        found => Err(found.to_string()),
    });
    scene.await_passes(2.0);
    assert_eq!(scene.proxy.write_ops(), [""; 0], "it is not for us to take away");
    condition_is(&scene.identity_object(), "Ready", "True").expect("nor a reason not to be ready");
    block_on(iam().delete_role_policy().role_name(&role).policy_name("by-hand").send()).expect("DeleteRolePolicy");
    eventually(
        SOON,
        "no surplus",
        || if surplus(&scene).is_null() { Ok(()) } else { Err(surplus(&scene).to_string()) },
    );
}

#[test]
fn no_verdict_by_ignorance_and_none_taken_back_by_a_hiccup() {
    let scene = cluster_at("upignore", "4.16", "");
    config_map(&scene, "same", &manifests("upignore", "4.16"));
    scene.cluster.apply_ok(&check(&scene, "same", from_map("same"), json!({})).to_string());
    await_check(&scene, "same", "UpgradeReady", "True");

    scene.proxy.inject(Fault::always("*", Kind::Throttle));
    await_reason(&scene, "same", "Ready", "Throttled");
    condition_is(&object(&scene, "same"), "UpgradeReady", "True").expect("it stands, and is marked");
    scene.proxy.clear_faults();
    await_check(&scene, "same", "Ready", "True");

    // So does one of which a part could not be read just now.
    scene.proxy.inject(Fault::always("iam:GetPolicy", Kind::Throttle));
    let role = role_of(&scene, find(&requests("upignore", "4.16"), MACHINE_API));
    let policy = attach_policy(&role);
    await_reason(&scene, "same", "Ready", "Throttled");
    condition_is(&object(&scene, "same"), "UpgradeReady", "True").expect("it stands, and is marked");
    // A policy that may not be read might deny anything.
    scene.proxy.clear_faults();
    scene.proxy.inject(Fault::always("iam:GetPolicy", Kind::AccessDenied));
    let message = await_check(&scene, "same", "UpgradeReady", "Unknown");
    assert!(message.contains(&policy) && message.contains("iam:GetPolicy"), "{message}");
    assert_eq!(said(&object(&scene, "same"), "UpgradeReady", "reason"), "Indeterminate");
    detach_policy(&role, &policy);
    await_check(&scene, "same", "UpgradeReady", "True");
}

/// MiniStack knows SimulatePrincipalPolicy, moto does not.
#[test]
fn aws_is_asked_for_what_cannot_be_decided() {
    let mut scene = Scene::new("upask");
    let requests: Vec<Value> = requests("upask", "4.16")
        .into_iter()
        .filter(|request| ["openshift-ingress", MACHINE_API].contains(&request["metadata"]["name"].as_str().unwrap()))
        .collect();
    for namespace in ["upask-ingress-operator", "upask-machine-api"] {
        scene.cluster.ensure_namespace(namespace);
    }
    scene.cluster.apply_ok(&list_of(&requests));
    scene.identity("");
    let url = Emulators::shared().s3_url();
    let proxy = crate::support::Proxy::start_before(url);
    let iam = proxy.iam_url();
    scene.start_with(
        &[],
        &[("AWS_ENDPOINT_URL_IAM", &iam), ("AWS_ENDPOINT_URL_STS", url), ("AWS_ENDPOINT_URL_S3", url)],
    );
    scene.await_condition("Ready", "True");
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(aws_sdk_iam::config::Credentials::new("test", "test", None, None, "the tests"));
    let ministack = aws_sdk_iam::Client::from_conf(config.build());
    let role = role_of(&scene, find(&requests, "openshift-ingress"));
    let harmless = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:ListQueues", "Resource": "*"}]});
    let policy = block_on(ministack.create_policy().policy_name("upask").policy_document(harmless.to_string()).send());
    let policy = policy.expect("CreatePolicy").policy.unwrap().arn.unwrap();
    block_on(ministack.attach_role_policy().role_name(&role).policy_arn(&policy).send()).expect("AttachRolePolicy");

    // Our own identity may not read the attached policy.
    proxy.inject(Fault::always("iam:GetPolicy", Kind::AccessDenied));
    let kept: Vec<&Value> =
        requests.iter().filter(|request| request["metadata"]["name"] == "openshift-ingress").collect();
    config_map(&scene, "next", &list_of(&kept.into_iter().cloned().collect::<Vec<_>>()));
    scene.cluster.apply_ok(&check(&scene, "next", from_map("next"), json!({})).to_string());
    await_check(&scene, "next", "UpgradeReady", "Unknown");
    assert_eq!(proxy.count("iam:SimulatePrincipalPolicy"), 0, "it is asked only when that is wanted");
    patch(&scene, "next", json!({"simulate": "WhenIndeterminate"}));
    eventually(SOON, "AWS's answers", || {
        let of = component(&object(&scene, "next"), "/cloud-credentials");
        let simulated = of["simulated"].as_array().map_or(0, Vec::len);
        if simulated > 0 { Ok(()) } else { Err(of.to_string()) }
    });
    let judged = component(&object(&scene, "next"), "/cloud-credentials");
    let decisions: Vec<&Value> = judged["simulated"].as_array().unwrap().iter().map(|part| &part["decision"]).collect();
    assert!(decisions.iter().all(|decision| **decision == "allowed"), "{judged}");
    // What AWS allows on `*` it has not told of each resource; patterns it cannot be asked about.
    for part in judged["missing"].as_array().into_iter().flatten() {
        let patterns = part["actions"].as_array().unwrap().iter().all(|action| action.as_str().unwrap().contains('*'));
        let said = part["because"].as_str().unwrap().starts_with("iam:SimulatePrincipalPolicy says allowed");
        match part["verdict"].as_str().unwrap() {
            "Conditional" => assert!(said && part["resource"] == "*", "{judged}"),
            _ => assert!(patterns, "only patterns stay open: {judged}"),
        }
    }
    assert_ne!(judged["verdict"], "Covered", "a Deny on single resources may be in what cannot be read");
    assert!(
        proxy
            .calls()
            .iter()
            .filter(|call| call.op == "iam:SimulatePrincipalPolicy")
            .all(|call| call.param("PolicySourceArn").ends_with(&role))
    );
}
