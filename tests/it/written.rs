//! What AWS was asked to write, and one thing that someone takes away for the operator to put back.

use super::scene::{SOON, Scene};
use super::support::aws_state::{self, iam};
use super::support::{Call, block_on, eventually};

/// Takes a role's permissions away.
pub fn take_permissions(scene: &Scene, request: &str) {
    let role = scene.role_name(request);
    block_on(iam().delete_role_policy().role_name(&role).policy_name(&role).send()).expect("DeleteRolePolicy");
}

/// Waits until a role has its permissions, seen past the operator.
#[track_caller]
pub fn await_permissions(scene: &Scene, request: &str) {
    eventually(SOON, &format!("the permissions of {request}"), || {
        let role = aws_state::role(&scene.role_name(request)).ok_or("no role")?;
        if role.inline.is_empty() { Err("no inline policy".to_owned()) } else { Ok(()) }
    });
}

/// Names and targets of the writes that AWS took, in their order.
pub fn taken_in_order(calls: &[Call]) -> Vec<String> {
    let target = |call: &Call| {
        let names = ["RoleName", "Url", "OpenIDConnectProviderArn", "Bucket", "Key"].map(|name| call.param(name));
        names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/")
    };
    let taken = calls.iter().filter(|call| call.is_write() && (200..300).contains(&call.status));
    taken.map(|call| format!("{} {}", call.op, target(call))).collect()
}

/// Names and targets of the writes that AWS took, sorted.
pub fn taken(calls: &[Call]) -> Vec<String> {
    let mut taken = taken_in_order(calls);
    taken.sort();
    taken
}

/// What a first run writes for a request `a` was written, each once, and nothing was tried in vain.
#[track_caller]
pub fn assert_written_once(scene: &Scene, calls: &[Call]) {
    let (role, bucket, host) = (scene.role_name("a"), scene.bucket(), scene.issuer_host());
    let wanted = [
        format!("iam:CreateOpenIDConnectProvider https://{host}"),
        format!("iam:CreateRole {role}"),
        format!("iam:PutRolePolicy {role}"),
        format!("s3:CreateBucket {bucket}"),
        format!("s3:PutBucketPolicy {bucket}"),
        format!("s3:PutBucketTagging {bucket}"),
        format!("s3:PutObject {bucket}/.well-known/openid-configuration"),
        format!("s3:PutObject {bucket}/keys.json"),
        format!("s3:PutPublicAccessBlock {bucket}"),
    ];
    assert_eq!(taken(calls), wanted);
    assert_eq!(calls.iter().filter(|call| call.is_write()).count(), wanted.len());
}
