//! Whose a resource is, is said by its owner mark: what another management cluster, or another ClusterIdentity, owns is left
//! alone, and a name or a status is no proof.

use aws_lc_rs::digest::{SHA256, digest};

use super::*;
use crate::adoption::{FIRST, SECOND};
use crate::ended::{await_gone, delete, foreign_role};
use crate::scene::ACCOUNT;

/// A second management cluster (blue and green, a disaster's drill, a forgotten old one) with a ClusterIdentity of the same
/// infra name, another key, and audiences of its own.
fn second(name: &str) -> Scene {
    let mut second = Scene::on_plane(ControlPlane::openshift(), name);
    second.keys(&[FIRST, SECOND]);
    let more = format!("{DELETE}  adoption: Adopt\n");
    let yaml = guarded_yaml(&second, AT_ONCE, &more).replace("  issuer:\n", "  issuer:\n    audiences: [green]\n");
    second.cluster.apply_unchecked(&yaml);
    second.request("a");
    start(&mut second);
    second
}

#[test]
fn second_management_cluster_is_refused_and_takes_nothing_along() {
    let first = ready("harm-green", "", "", &["a", "b"]);
    let kept = Kept::of(&first);
    let second = second("harm-green");
    let uid = cluster_uid(first.cluster);
    let message = await_unchanged(&second, "Ready=False, OwnedByAnother", |object| not_ready(object, "OwnedByAnother"));
    assert!(message.contains(&uid) && message.contains("rolecall.dev/take-over-from"), "{message}");
    second.passes(3);
    assert_eq!(second.proxy.write_ops(), [""; 0]);
    delete(&second);
    await_gone(&second);
    assert_eq!(second.proxy.write_ops(), [""; 0]);
    first.passes(2);
    assert_eq!(changes(&first), [""; 0], "the two work against each other");
    kept.assert_aws_there(&first);
    first.await_condition("Ready", "True");
}

/// Who names the other cluster takes over; the first sees it and stops.
#[test]
fn named_management_cluster_is_taken_over_and_stops() {
    let first = ready("harm-over", "", "", &["a"]);
    let second = second("harm-over");
    await_unchanged(&second, "Ready=False, OwnedByAnother", |object| not_ready(object, "OwnedByAnother").map(drop));
    consent(&second, "rolecall.dev/take-over-from", &cluster_uid(first.cluster));
    eventually(SOON, "the mark of the second", || {
        let role = first.role("a");
        let owner = role.tags.get(OWNER_TAG).cloned().unwrap_or_default();
        if owner.starts_with(&cluster_uid(second.cluster)) { Ok(()) } else { Err(owner) }
    });
    eventually(SOON, "the first to see it", || {
        let object = first.identity_object();
        not_ready(&object, "OwnershipLost").or_else(|_| not_ready(&object, "OwnedByAnother")).map(drop)
    });
    first.passes(1);
    first.proxy.reset_counts();
    first.passes(3);
    assert_eq!(first.proxy.write_ops(), [""; 0]);
}

/// Two operators of one management cluster, each for a namespace: neither sees the other's ClusterIdentity.
#[test]
fn second_operator_for_another_namespace_is_refused() {
    let first = ready("harm-two", "", "", &["a"]);
    let kept = Kept::of(&first);
    let mut second = Scene::new("harm-two-b");
    second.keys(&[FIRST, SECOND]);
    let more = format!("{DELETE}  credentialsRequests: {{allowEmpty: true}}\n");
    let yaml = guarded_yaml(&second, AT_ONCE, &more).replace("infraName: harm-two-b", "infraName: harm-two");
    second.cluster.apply_unchecked(&yaml);
    start(&mut second);
    await_unchanged(&second, "Ready=False, OwnedByAnother", |object| not_ready(object, "OwnedByAnother").map(drop));
    second.passes(2);
    delete(&second);
    await_gone(&second);
    assert_eq!(second.proxy.write_ops(), [""; 0]);
    kept.assert_there(&first);
}

/// The role is deleted, and somebody makes one of that name for purposes of his own.
#[test]
fn role_made_anew_by_somebody_is_not_taken_over() {
    let mut scene = ready("harm-anew", "", "", &["a", "b"]);
    let role = scene.role_name("a");
    // Nothing is looked at in between.
    stop(&mut scene);
    block_on(iam().delete_role_policy().role_name(&role).policy_name(&role).send()).expect("DeleteRolePolicy");
    block_on(iam().delete_role().role_name(&role).send()).expect("DeleteRole");
    foreign_role(&role, &[("team".into(), "blue".into())]);
    let theirs = scene.role("a");
    scene.proxy.reset_counts();
    start(&mut scene);
    eventually(SOON, "the role to be named as another's", || {
        assert_eq!(scene.proxy.write_ops(), [""; 0], "somebody's role is taken over");
        let object = scene.request_object("a");
        condition_is(&object, "Conflict", "True")?;
        let reason = said(&object, "Conflict", "reason");
        if ["NotOurs", "OwnershipLost"].contains(&reason.as_str()) { Ok(()) } else { Err(reason) }
    });
    scene.passes(2);
    assert_eq!(scene.role("a"), theirs);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    scene.await_request("b", "Ready", "True");
}

/// Who may write the status of requests claims that somebody's role was verified: the hash of a name is public.
#[test]
fn forged_status_takes_no_role_over() {
    let mut scene = Scene::new("harm-forge");
    let role = scene.role_name("a");
    foreign_role(&role, &[("team".into(), "blue".into())]);
    let theirs = scene.role("a");
    specify(&scene, "", "");
    scene.request("a");
    scene.request("b");
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/{role}");
    let hash = digest(&SHA256, arn.as_bytes());
    let forged: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut object = scene.request_object("a");
    object["status"] = json!({"provisioned": true, "lastSyncGeneration": 0, "providerStatus": {
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "ProviderStatus", "roleName": role, "roleARN": arn,
        "verifiedRole": format!("{forged}-0123456789abcdef"),
    }});
    forge_like(&scene, &mut object);
    scene.cluster.replace_status(&object);
    start(&mut scene);
    scene.await_request("b", "Ready", "True");
    eventually(SOON, "the role to be named as another's", || {
        let touched = scene.proxy.writes().into_iter().filter(|call| call.param("RoleName") == role);
        assert_eq!(touched.map(|call| call.op).collect::<Vec<_>>(), [""; 0], "somebody's role is taken over");
        condition_is(&scene.request_object("a"), "Conflict", "True").map(drop)
    });
    scene.passes(2);
    assert_eq!(scene.role("a"), theirs);
}

/// Whatever else a true status has: kind and version as Rolecall writes them.
fn forge_like(scene: &Scene, object: &mut Value) {
    let truth = ready(&format!("{}-b", scene.name), "", "", &["a"]).request_object("a");
    for field in ["apiVersion", "kind"] {
        object["status"]["providerStatus"][field] = truth["status"]["providerStatus"][field].clone();
    }
}

/// The mark of a cluster that a key of ours is published by is no secret, and no proof: one without a cluster is another's.
#[test]
fn mark_that_cannot_be_read_counts_as_anothers() {
    let mut scene = ready("harm-mark", "", DELETE, &["a", "b"]);
    stop(&mut scene);
    let role = scene.role_name("a");
    let mark = aws_sdk_iam::types::Tag::builder().key(OWNER_TAG).value("not a mark").build().expect("a tag");
    block_on(iam().tag_role().role_name(&role).tags(mark).send()).expect("TagRole");
    crate::written::take_permissions(&scene, "a");
    let theirs = scene.role("a");
    scene.proxy.reset_counts();
    start(&mut scene);
    eventually(SOON, "the role to be named as another's", || {
        assert_eq!(scene.role("a"), theirs, "another's role is written to");
        condition_is(&scene.request_object("a"), "Conflict", "True").map(drop)
    });
    scene.passes(2);
    assert_eq!(scene.role("a"), theirs);
}
