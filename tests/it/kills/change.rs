//! A change: another boundary, tag and trust policy for three roles.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{SOON, assert_calls, assert_idle, await_kill_and_start, in_turns, seldom};
use crate::ended::SETTLED;
use crate::scene::{ACCOUNT, Scene, condition_is};
use crate::support::{aws_state, eventually};
use crate::written::taken;

const REQUESTS: [&str; 3] = ["a", "b", "c"];

/// What a change without a kill calls: a pass that makes it, and one that finds everything true.
const CALLS: [&str; 23] = [
    "iam:GetAccountAuthorizationDetails",
    "iam:GetAccountAuthorizationDetails",
    "iam:GetOpenIDConnectProvider",
    "iam:GetOpenIDConnectProvider",
    "iam:GetPolicy",
    "iam:GetPolicyVersion",
    "iam:ListRoles",
    "iam:ListRoles",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePermissionsBoundary",
    "iam:TagRole",
    "iam:TagRole",
    "iam:TagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateAssumeRolePolicy",
    "s3:GetBucketPolicy",
    "s3:GetBucketPolicy",
    "s3:GetBucketTagging",
    "s3:GetBucketTagging",
    "s3:GetPublicAccessBlock",
    "s3:GetPublicAccessBlock",
];

/// The n-th wish: another boundary, another tag and another trust policy than the one before. It is one object, so that it
/// is seen at once and takes the same calls every time.
fn wish(scene: &Scene, n: u32) {
    let (boundary, audience) = (boundary(n), n % 2 == 1);
    aws_state::create_open_policy(&format!("boundary-{n}"));
    let roles = format!(
        "  roles: {{permissionsBoundaryARN: \"{boundary}\", tags: {{wish: \"{n}\"}}, audienceCondition: {audience}}}\n"
    );
    scene.cluster.apply_ok(&seldom(scene, &roles));
}

fn boundary(n: u32) -> String {
    format!("arn:aws:iam::{ACCOUNT}:policy/boundary-{n}")
}

/// A scene in which the n-th wish is true, and in which nothing happens any more.
fn begin(name: &str, n: u32) -> Scene {
    let mut scene = Scene::new(name);
    wish(&scene, n);
    for request in REQUESTS {
        scene.request(request);
    }
    scene.start_with(&SETTLED, &[]);
    scene.await_condition("Ready", "True");
    scene.passes(2);
    scene.proxy.reset_counts();
    scene
}

/// Whether the role of a request is as the n-th wish has it.
fn is_changed(scene: &Scene, request: &str, n: u32) -> Result<(), String> {
    let role = scene.role(request);
    let changed = role.boundary.as_deref() == Some(&boundary(n))
        && role.tags.get("wish").is_some_and(|wish| *wish == n.to_string())
        && role.trust.to_string().contains(":aud\"") == (n % 2 == 1);
    if changed { Ok(()) } else { Err(format!("{role:?}")) }
}

/// Waits until the wish as it is now was seen to be true: an operator that was killed in its last call has not said so.
#[track_caller]
fn await_verified(scene: &Scene) {
    eventually(SOON, "everything to be verified", || {
        let object = scene.identity_object();
        condition_is(&object, "Ready", "True")?;
        let (observed, wanted) = (&object["status"]["observedGeneration"], &object["metadata"]["generation"]);
        if observed == wanted { Ok(()) } else { Err(format!("{observed}, not {wanted}")) }
    });
}

/// Three roles as the n-th wish has them, changed by nine calls, and no other role.
#[track_caller]
fn assert_changed(scene: &Scene, n: u32, inline: &[BTreeMap<String, Value>; 3]) {
    for request in REQUESTS {
        is_changed(scene, request, n).unwrap_or_else(|role| panic!("not as wish {n} has it: {role}"));
    }
    let prefix = format!("{}-", scene.name);
    let roles: Vec<String> = aws_state::role_names().into_iter().filter(|role| role.starts_with(&prefix)).collect();
    assert_eq!(roles, REQUESTS.map(|request| scene.role_name(request)), "no role twice, and none left over");
    assert_eq!(REQUESTS.map(|request| scene.role(request).inline), *inline);
    let made = taken(&scene.proxy.calls());
    let mut once = made.clone();
    once.dedup();
    assert_eq!(made, once, "nothing was written twice");
    assert_eq!(made.len(), 9, "{made:?}");
}

fn change_with_kill_after(scene: &mut Scene, n: u32) {
    let inline = REQUESTS.map(|request| scene.role(request).inline);
    scene.proxy.on_call("*", n, scene.operator().killer());
    wish(scene, n);
    await_kill_and_start(scene);
    await_verified(scene);
    assert_changed(scene, n, &inline);
    assert_idle(scene);
    scene.proxy.reset_counts();
}

#[test]
fn a_change_survives_a_kill_after_any_call() {
    let calm = begin("changecalm", 0);
    let inline = REQUESTS.map(|request| calm.role(request).inline);
    wish(&calm, 1);
    await_verified(&calm);
    assert_changed(&calm, 1, &inline);
    assert_calls(&calm, &CALLS);
    drop(calm);
    let calls = u32::try_from(CALLS.len()).expect("a number");
    in_turns(calls, |lane| begin(&format!("changekill{lane}"), lane - 1), change_with_kill_after);
}
