//! A verdict that is larger than a status may become.

use serde_json::{Value, json};

use super::*;
use crate::ended::EC2_TRUST;
use crate::support::aws_state::iam;
use crate::support::block_on;
use crate::upgrade_checks::patch;

const REQUESTS: usize = 60;
const STATEMENTS: usize = 100;
/// A ConfigMap may have a mebibyte.
const IN_ONE_MAP: usize = 12;

/// A request for many long things.
fn large_request(namespace: &str, number: usize) -> Value {
    let mut request = request_json(namespace, &format!("many-{number:02}"));
    let statement = |at: usize| {
        let resource = format!("arn:aws:s3:::{namespace}-{number:02}-{at:03}/{}", "long/".repeat(60));
        json!({"effect": "Allow", "action": ["s3:PutObject"], "resource": resource})
    };
    request["spec"]["providerSpec"]["statementEntries"] = (0..STATEMENTS).map(statement).collect();
    request
}

#[test]
fn a_verdict_of_megabytes_is_told_worst_first_and_the_rest_is_counted() {
    let mut scene = Scene::new("uplarge");
    let yaml = scene.identity_yaml("").replace("driftInterval: 2s", "driftInterval: 1h");
    scene.cluster.apply_ok(&yaml);
    scene.request("a");
    config_map(&scene, "small", &request_json("uplarge", "a").to_string());
    scene.cluster.apply_ok(&check(&scene, "next", from_map("small"), json!({})).to_string());
    start(&mut scene);
    await_check(&scene, "next", "UpgradeReady", "True");
    assert!(object(&scene, "next")["status"]["omittedFindings"].is_null());

    // Roles that grant nothing; the last ten requests have none, which is less bad.
    let with_role = REQUESTS - 10;
    for number in 0..with_role {
        let role = scene.role_name(&format!("many-{number:02}"));
        let create = iam().create_role().role_name(&role).assume_role_policy_document(EC2_TRUST);
        block_on(create.send()).expect("CreateRole");
    }
    let mut maps = vec![json!({"name": "small"})];
    let requests: Vec<Value> = (0..REQUESTS).map(|number| large_request("uplarge", number)).collect();
    for (number, requests) in requests.chunks(IN_ONE_MAP).enumerate() {
        let name = format!("large-{number}");
        let manifests: Vec<String> = requests.iter().map(Value::to_string).collect();
        config_map(&scene, &name, &manifests.join("\n---\n"));
        maps.push(json!({"name": name}));
    }
    patch(&scene, "next", json!({"release": {"configMapRefs": maps}}));
    let message = await_check(&scene, "next", "UpgradeReady", "False");
    assert!(message.contains("uplarge/many-00-creds: "), "{message}");
    let told = eventually(SOON, "the details after the verdict", || {
        let object = object(&scene, "next");
        if object["status"]["omittedFindings"].is_null() { Err("not yet".to_owned()) } else { Ok(object) }
    });
    let status = &told["status"];
    assert_eq!(status["observedGeneration"], told["metadata"]["generation"]);
    assert_eq!(
        condition(&told, "UpgradeReady").expect("a verdict")["observedGeneration"],
        status["observedGeneration"]
    );
    assert!(status.to_string().len() < 300 * 1024, "{}", status.to_string().len());
    assert!(status.to_string().len() > 200 * 1024, "there is room for more: {}", status.to_string().len());

    let components = status["components"].as_array().expect("components");
    let len = |component: &Value, field: &str| component[field].as_array().map_or(0, Vec::len);
    let findings = |component: &Value| {
        let parts = ["missing", "trust", "surplus", "simulated"].map(|part| len(component, part));
        1 + parts.iter().sum::<usize>()
    };
    let kept: usize = components.iter().map(findings).sum();
    let omitted = status["omittedFindings"].as_u64().expect("a number");
    // Each role lacks its statements and does not admit its service account; each component counts itself.
    let all = with_role * (1 + STATEMENTS + 1) + (REQUESTS - with_role) + 1;
    assert!(omitted > 0);
    assert_eq!(u64::try_from(kept).expect("a number") + omitted, u64::try_from(all).expect("a number"));
    let verdicts: Vec<&str> = components.iter().filter_map(|component| component["verdict"].as_str()).collect();
    let wanted = [vec!["Missing"; with_role], vec!["NewRole"; REQUESTS - with_role], vec!["Covered"]].concat();
    assert_eq!(verdicts, wanted, "all are named, the worst first");
    assert!(components[..with_role].iter().all(|component| len(component, "missing") > 0));
    let message = said(&told, "Ready", "message");
    assert!(message.contains(&format!("and {omitted} more are left out")), "{message}");
    assert!(message.contains("`rolecall check`"), "{message}");
    assert_eq!(status["summary"]["missing"], with_role);
    assert_all_written(&scene);

    // Nothing is written for what is known.
    scene.passes(2);
    let written = scene.cluster.changes_by("uplarge").len();
    scene.passes(3);
    assert_eq!(writes_to(&scene, "upgradechecks", written), []);
    for number in 0..with_role {
        let role = scene.role_name(&format!("many-{number:02}"));
        block_on(iam().delete_role().role_name(&role).send()).expect("DeleteRole");
    }
}
