//! Several ClusterIdentities and one operator: one whose AWS does not answer holds up no other.

use std::time::Duration;

use super::scene::{SOON, Scene, condition_is, request_yaml};
use super::support::aws_state::{self, iam};
use super::support::{Call, Fault, Kind, block_on, eventually};

/// A ClusterIdentity and a request `<name>` in the scene's namespace, which belong together by a label.
fn apply(scene: &Scene, name: &str) {
    let namespace = &scene.name;
    let selection = format!("  credentialsRequests: {{selector: {{matchLabels: {{of: {name}}}}}}}\n");
    let identity = scene.identity_yaml(&selection).replace("driftInterval: 2s", "driftInterval: 1s");
    let identity = identity.replace(&format!("{{name: {namespace}, namespace"), &format!("{{name: {name}, namespace"));
    let identity = identity.replace(&format!("infraName: {namespace}"), &format!("infraName: {name}-{namespace}"));
    let request = request_yaml(namespace, name, namespace, "s3:GetObject");
    let labels = format!("metadata: {{labels: {{of: {name}}}, ");
    scene.cluster.apply_ok(&format!("{identity}---\n{}", request.replacen("metadata: {", &labels, 1)));
}

fn await_condition(scene: &Scene, name: &str, type_: &str, status: &str) {
    eventually(SOON, &format!("{type_}={status} of {name}"), || {
        condition_is(&scene.cluster.get_json(&["clusteridentity", name, "-n", &scene.name]), type_, status)
    });
}

fn role_name(scene: &Scene, name: &str) -> String {
    format!("{name}-{0}-{0}-{name}-creds", scene.name)
}

fn take_permissions(scene: &Scene, name: &str) {
    let role = role_name(scene, name);
    block_on(iam().delete_role_policy().role_name(&role).policy_name(&role).send()).expect("DeleteRolePolicy");
}

fn has_permissions(scene: &Scene, name: &str) -> bool {
    !aws_state::role(&role_name(scene, name)).expect("the role").inline.is_empty()
}

fn await_permissions(scene: &Scene, name: &str) {
    eventually(SOON, &format!("the permissions of {name}"), || {
        if has_permissions(scene, name) { Ok(()) } else { Err("none".to_owned()) }
    });
}

/// Which status says that it was given up, if any does.
fn given_up(scene: &Scene, name: &str) -> Result<(), String> {
    let object = scene.cluster.get_json(&["clusteridentity", name, "-n", &scene.name]);
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let told = conditions.iter().any(|condition| condition["reason"] == "TimedOut");
    if told { Ok(()) } else { Err(format!("{conditions:?}")) }
}

/// Both Ready; then a pass for the stuck one that hangs, and something to heal for the quick one. What is logged from then
/// on is what comes of it.
fn one_hangs(scene: &mut Scene, args: &[&str]) -> usize {
    apply(scene, "quick");
    apply(scene, "stuck");
    scene.start_with(args, &[]);
    for name in ["quick", "stuck"] {
        await_condition(scene, name, "Ready", "True");
    }
    scene.proxy.inject(Fault::always("*", Kind::Delay(Duration::from_hours(1))).concerning("stuck-"));
    scene.proxy.reset_counts();
    eventually(SOON, "a call for the stuck one to hang", || {
        let hangs = |call: &Call| call.status == 0 && call.params.values().any(|value| value.contains("stuck-"));
        if scene.proxy.calls().iter().any(hangs) { Ok(()) } else { Err("none hangs".to_owned()) }
    });
    let logged = scene.operator().log().len();
    take_permissions(scene, "quick");
    scene.cluster.kubectl_ok(&["annotate", "cid", "quick", "-n", &scene.name, "tests.rolecall.dev/poke=now"]);
    await_permissions(scene, "quick");
    logged
}

/// Whose passes have ended, in their order: as it was logged, from a place on.
fn ended(scene: &Scene, logged: usize) -> Vec<String> {
    let log = scene.operator().log();
    let lines = log[logged..].lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let passes = lines.filter(|line| line["message"] == "pass");
    passes.filter_map(|pass| pass["identity"].as_str()?.rsplit('/').next().map(str::to_owned)).collect()
}

#[test]
fn of_one_at_a_time_the_second_waits_for_the_first() {
    let mut scene = Scene::new("oneatatime");
    let logged = one_hangs(&mut scene, &["--concurrency", "1", "--pass-timeout", "12"]);
    let ended = eventually(SOON, "the healing pass to end", || {
        let ended = ended(&scene, logged);
        if ended.iter().any(|name| name == "quick") { Ok(ended) } else { Err(format!("{ended:?}")) }
    });
    assert_eq!(ended[..2], ["stuck", "quick"], "the one that hung was given up before the other had its turn");
    given_up(&scene, "stuck").expect("it says that it was given up");
}

#[test]
fn of_two_at_a_time_the_second_does_not_wait() {
    let mut scene = Scene::new("twoatatime");
    let logged = one_hangs(&mut scene, &["--concurrency", "2", "--pass-timeout", "50"]);
    let ended = eventually(SOON, "three passes", || match ended(&scene, logged) {
        ended if ended.len() >= 3 => Ok(ended),
        ended => Err(format!("{ended:?}")),
    });
    assert_eq!(ended[..3], ["quick"; 3], "while the other hangs");
}

#[test]
fn one_whose_calls_hang_delays_no_other_and_says_so() {
    let mut scene = Scene::new("sidebyside");
    apply(&scene, "quick");
    apply(&scene, "stuck");
    scene.start_with(&["--pass-timeout", "10"], &[]);
    for name in ["quick", "stuck"] {
        await_condition(&scene, name, "Ready", "True");
    }
    scene.proxy.inject(Fault::always("*", Kind::Delay(Duration::from_hours(1))).concerning("stuck-"));
    take_permissions(&scene, "stuck");
    eventually(SOON, "the stuck one to say so", || given_up(&scene, "stuck"));

    // While every call for the one hangs, the other is looked at again and again, and healed.
    scene.proxy.reset_counts();
    take_permissions(&scene, "quick");
    await_permissions(&scene, "quick");
    eventually(SOON, "five looks at the other", || {
        let bucket = format!("quick-{}-oidc", scene.name);
        let looks_at = |call: &Call| call.op == "s3:GetBucketTagging" && call.param("Bucket") == bucket;
        let looks = scene.proxy.calls().iter().filter(|call| looks_at(call)).count();
        if looks >= 5 { Ok(()) } else { Err(format!("{looks} looks")) }
    });
    await_condition(&scene, "quick", "Ready", "True");
    await_condition(&scene, "quick", "Drifted", "False");
    given_up(&scene, "stuck").expect("it still says so");
    assert!(!has_permissions(&scene, "stuck"));
    assert_eq!(scene.proxy.write_ops(), ["iam:PutRolePolicy"], "only the quick one was written to");

    scene.proxy.clear_faults();
    await_permissions(&scene, "stuck");
    await_condition(&scene, "stuck", "Ready", "True");
    await_condition(&scene, "stuck", "Drifted", "False");
    assert_eq!(scene.proxy.write_ops(), ["iam:PutRolePolicy", "iam:PutRolePolicy"]);
}
