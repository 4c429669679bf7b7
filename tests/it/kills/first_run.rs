//! A first run: an issuer and one role.

use super::{assert_calls, assert_idle, await_kill_and_start, await_verified_pass, in_turns, seldom};
use crate::ended::SETTLED;
use crate::scene::{Scene, on_both_schemas, request_yaml};
use crate::support::aws_state::{iam, s3};
use crate::support::{Schema, block_on};
use crate::written::assert_written_once;

on_both_schemas! { a_first_run_survives_a_kill_after_any_call }

/// What a run without a kill calls: a pass that makes everything, and one that finds everything true.
const CALLS: [&str; 22] = [
    "iam:CreateOpenIDConnectProvider",
    "iam:CreateRole",
    "iam:GetAccountAuthorizationDetails",
    "iam:GetOpenIDConnectProvider",
    "iam:GetOpenIDConnectProvider",
    "iam:ListOpenIDConnectProviders",
    "iam:ListRoles",
    "iam:ListRoles",
    "iam:PutRolePolicy",
    "s3:CreateBucket",
    "s3:GetBucketPolicy",
    "s3:GetBucketTagging",
    "s3:GetBucketTagging",
    "s3:GetObject",
    "s3:GetObject",
    "s3:GetPublicAccessBlock",
    "s3:PutBucketPolicy",
    "s3:PutBucketTagging",
    "s3:PutObject",
    "s3:PutObject",
    "s3:PutPublicAccessBlock",
    "sts:GetCallerIdentity",
];

/// An operator that has nothing to do yet.
fn begin(schema: Schema, name: &str) -> Scene {
    let mut scene = Scene::on(schema, name);
    scene.start_with(&SETTLED, &[]);
    scene
}

fn apply(scene: &Scene) {
    let request = request_yaml(&scene.name, "a", &scene.name, "s3:GetObject");
    if scene.cluster.schema() == Schema::OpenShift {
        // What its operator writes later on is news, and news has calls made that are not counted in `CALLS`.
        scene.cluster.apply_ok(&request);
        scene.await_synced("a");
    }
    scene.cluster.apply_ok(&format!("{request}---\n{}", seldom(scene, "")));
}

/// All there is to be is there once, and only that.
#[track_caller]
fn assert_complete(scene: &Scene) {
    scene.await_condition("Ready", "True");
    scene.await_request("a", "Ready", "True");
    assert_written_once(scene, &scene.proxy.calls());
    scene.assert_complete();
    scene.cluster.get_json(&["secret", "a-creds", "-n", &scene.name]);
    assert_idle(scene);
}

/// Puts everything back to where a first run begins, behind the operator's back, and starts a new one.
fn begin_again(scene: &mut Scene) {
    scene.operator.as_mut().expect("an operator").kill9();
    let (namespace, role, bucket) = (scene.name.as_str(), scene.role_name("a"), scene.bucket());
    scene.cluster.kubectl_ok(&["delete", "cid,credentialsrequest", "--all", "-n", namespace, "--timeout=60s"]);
    // OpenShift's operator has deleted it with the request.
    scene.cluster.kubectl_ok(&["delete", "secret", "a-creds", "-n", namespace, "--ignore-not-found"]);
    block_on(async {
        iam().delete_role_policy().role_name(&role).policy_name(&role).send().await.expect("DeleteRolePolicy");
        iam().delete_role().role_name(&role).send().await.expect("DeleteRole");
        let delete = iam().delete_open_id_connect_provider().open_id_connect_provider_arn(scene.provider_arn());
        delete.send().await.expect("DeleteOpenIDConnectProvider");
        for key in [".well-known/openid-configuration", "keys.json"] {
            s3().delete_object().bucket(&bucket).key(key).send().await.expect("DeleteObject");
        }
        s3().delete_bucket().bucket(&bucket).send().await.expect("DeleteBucket");
    });
    scene.proxy.reset_counts();
    scene.start_with(&SETTLED, &[]);
}

fn run_with_kill_after(scene: &mut Scene, n: u32) {
    scene.proxy.on_call("*", n, scene.operator().killer());
    apply(scene);
    await_kill_and_start(scene);
    await_verified_pass(scene.operator());
    assert_complete(scene);
    begin_again(scene);
}

fn a_first_run_survives_a_kill_after_any_call(schema: Schema) {
    let calm = begin(schema, "firstcalm");
    apply(&calm);
    await_verified_pass(calm.operator());
    assert_calls(&calm, &CALLS);
    assert_complete(&calm);
    drop(calm);
    let calls = u32::try_from(CALLS.len()).expect("a number");
    in_turns(calls, move |lane| begin(schema, &format!("firstkill{lane}")), run_with_kill_after);
}
