//! A request that moves from one ClusterIdentity to another by its label: both look at once, not when their interval is over.

use serde_json::json;

use super::ended::{DELETE, SETTLED};
use super::scene::{SOON, Scene, request_json, said};
use super::support::{aws_state, eventually};

/// Nothing that happens in this test's time is due.
const LATER: &str = "driftInterval: 1h";

fn apply_identity(scene: &Scene, name: &str) {
    let selector = format!(
        "  credentialsRequests: {{allowEmpty: true, selector: {{matchLabels: {{cluster: {name}}}}}}}\n{DELETE}"
    );
    let yaml = scene.identity_yaml(&selector).replace("driftInterval: 2s", LATER);
    let yaml = yaml.replacen(&format!("{{name: {},", scene.name), &format!("{{name: {name},"), 1);
    scene.cluster.apply_ok(&yaml.replace(&format!("infraName: {}", scene.name), &format!("infraName: {name}")));
}

fn await_owner(scene: &Scene, owner: &str, other: &str) {
    let role = |infra_name: &str| format!("{infra_name}-{}-a-creds", scene.name);
    eventually(SOON, &format!("the role of {owner} alone"), || {
        let roles = aws_state::role_names();
        match (roles.contains(&role(owner)), roles.contains(&role(other))) {
            (true, false) => Ok(()),
            there => Err(format!("{owner}, {other}: {there:?}")),
        }
    });
    eventually(SOON, &format!("the Secret of {owner}"), || {
        let args = ["get", "secret", "a-creds", "-n", &scene.name, "-o", "jsonpath={.metadata.annotations}"];
        let annotations = scene.cluster.kubectl(&args).stdout;
        if annotations.contains(&format!("{}/{owner}", scene.name)) { Ok(()) } else { Err(annotations) }
    });
}

#[test]
fn whom_a_request_leaves_takes_back_what_it_had() {
    let mut scene = Scene::new("moving");
    for name in ["moving-one", "moving-two"] {
        apply_identity(&scene, name);
    }
    let mut request = request_json(&scene.name, "a");
    request["metadata"]["labels"] = json!({"cluster": "moving-one"});
    scene.cluster.apply_ok(&request.to_string());
    scene.start_with(&SETTLED, &[]);
    await_owner(&scene, "moving-one", "moving-two");
    for name in ["moving-one", "moving-two"] {
        eventually(SOON, &format!("{name} to be Ready"), || {
            let object = scene.cluster.get_json(&["cid", name, "-n", &scene.name]);
            if said(&object, "Ready", "status") == "True" { Ok(()) } else { Err(object["status"].to_string()) }
        });
    }
    scene.cluster.kubectl_ok(&[
        "label",
        "--overwrite",
        "credentialsrequest",
        "a",
        "-n",
        &scene.name,
        "cluster=moving-two",
    ]);
    await_owner(&scene, "moving-two", "moving-one");
}
