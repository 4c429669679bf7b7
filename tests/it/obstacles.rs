//! What people have hung on a cluster's resources keeps these from being deleted: each is named, what comes after it waits,
//! and once the person has taken it away, the deletion ends by itself.

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

use super::ended::{
    DELETE, assert_in_order, assert_nothing_left, assert_says_what_to_do, await_gone, await_held, await_no_role,
    delete, deletion_of_role, everything, has_secret, ready,
};
use super::scene::SOON;
use super::support::aws_state::{self, iam, s3};
use super::support::{block_on, eventually};
use super::written::taken;

/// A managed policy of someone's, attached to a role; its ARN.
pub fn attach_policy(role: &str) -> String {
    let create = iam()
        .create_policy()
        .policy_name(format!("guard-of-{role}"))
        .policy_document(r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ec2:*","Resource":"*"}]}"#);
    let made = block_on(create.send()).expect("CreatePolicy").policy.expect("a policy");
    let arn = made.arn.expect("an ARN");
    block_on(iam().attach_role_policy().role_name(role).policy_arn(&arn).send()).expect("AttachRolePolicy");
    arn
}

pub fn detach_policy(role: &str, arn: &str) {
    block_on(iam().detach_role_policy().role_name(role).policy_arn(arn).send()).expect("DetachRolePolicy");
}

fn add_inline_policy(role: &str) {
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}]}"#;
    let put = iam().put_role_policy().role_name(role).policy_name("by-hand").policy_document(policy);
    block_on(put.send()).expect("PutRolePolicy");
}

fn add_to_profile(role: &str, profile: &str) {
    block_on(iam().create_instance_profile().instance_profile_name(profile).send()).expect("CreateInstanceProfile");
    let add = iam().add_role_to_instance_profile().instance_profile_name(profile).role_name(role);
    block_on(add.send()).expect("AddRoleToInstanceProfile");
}

#[test]
fn a_role_that_someone_uses_is_named_and_keeps_the_issuer() {
    let scene = ready("endused", DELETE, &["a", "b", "c", "d"]);
    let [a, b, c] = ["a", "b", "c"].map(|request| scene.role_name(request));
    let policy = attach_policy(&a);
    add_inline_policy(&b);
    add_to_profile(&c, "endused-profile");
    let kept = ["a", "b", "c"].map(|request| scene.role(request));
    delete(&scene);
    let held =
        |role: &str, others: &str| format!("role {role} is not deleted, because someone else uses it ({others})");
    let message = await_held(
        &scene,
        &[
            &held(&a, &format!("attached policy {policy}")),
            &held(&b, "inline policy by-hand"),
            &held(&c, "instance profile endused-profile"),
        ],
    );
    assert_says_what_to_do(&message);
    // The pass that deletes the rest still has work under way.
    scene.await_condition("Stalled", "True");
    await_no_role(&scene, "d");
    scene.await_passes(2.0);
    assert_eq!(["a", "b", "c"].map(|request| scene.role(request)), kept, "not even our own policy is taken off");
    assert_eq!(taken(&scene.proxy.calls()), sorted(deletion_of_role(&scene, "d").to_vec()), "the issuer stays");
    assert!(["a", "b", "c", "d"].iter().all(|request| !has_secret(&scene, request)), "no one is pointed at them");

    detach_policy(&a, &policy);
    await_no_role(&scene, "a");
    block_on(iam().delete_role_policy().role_name(&b).policy_name("by-hand").send()).expect("DeleteRolePolicy");
    await_no_role(&scene, "b");
    assert!(aws_state::provider(&scene.provider_arn()).is_some() && aws_state::bucket(&scene.bucket()).is_some());
    let remove = iam().remove_role_from_instance_profile().instance_profile_name("endused-profile").role_name(&c);
    block_on(remove.send()).expect("RemoveRoleFromInstanceProfile");
    await_gone(&scene);
    assert_in_order(&scene.proxy.calls());
    assert_eq!(taken(&scene.proxy.calls()), everything(&scene, &["a", "b", "c", "d"]));
    assert_nothing_left(&scene, &["a", "b", "c", "d"]);
    let profile = block_on(iam().get_instance_profile().instance_profile_name("endused-profile").send());
    assert!(profile.is_ok(), "what a person made is a person's to delete");
    block_on(iam().get_policy().policy_arn(&policy).send()).expect("the policy is there");
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn keys_in(bucket: &str) -> Vec<String> {
    let objects = block_on(s3().list_objects_v2().bucket(bucket).send()).expect("ListObjectsV2").contents;
    objects.into_iter().flatten().filter_map(|object| object.key).collect()
}

#[test]
fn a_bucket_with_something_else_in_it_is_named_and_kept() {
    let scene = ready("endmore", DELETE, &["a"]);
    let bucket = scene.bucket();
    let put = s3().put_object().bucket(&bucket).key("notes/by-hand.txt").body(b"mine".to_vec().into());
    block_on(put.send()).expect("PutObject");
    delete(&scene);
    let message = await_held(&scene, &[&format!("bucket {bucket} also holds notes/by-hand.txt: it is not deleted")]);
    assert_says_what_to_do(&message);
    eventually(SOON, "our documents to go", || match keys_in(&bucket) {
        keys if keys == ["notes/by-hand.txt"] => Ok(()),
        keys => Err(format!("{keys:?}")),
    });
    assert!(aws_state::provider(&scene.provider_arn()).is_none() && aws_state::role(&scene.role_name("a")).is_none());
    scene.await_passes(2.0);
    assert_eq!(scene.proxy.count("s3:DeleteBucket"), 0, "it is not tried in vain");

    block_on(s3().delete_object().bucket(&bucket).key("notes/by-hand.txt").send()).expect("DeleteObject");
    await_gone(&scene);
    assert_in_order(&scene.proxy.calls());
    assert_nothing_left(&scene, &["a"]);
}

/// Foreign keys that sort before ours fill the page that is looked at.
#[test]
fn our_documents_go_however_much_else_is_in_the_bucket() {
    let scene = ready("endfull", DELETE, &["a"]);
    let bucket = scene.bucket();
    let strange: Vec<String> = (1..=6).map(|n| format!("+/{n}.txt")).collect();
    for key in &strange {
        let put = s3().put_object().bucket(&bucket).key(key).body(b"mine".to_vec().into());
        block_on(put.send()).expect("PutObject");
    }
    delete(&scene);
    await_held(&scene, &[&format!("bucket {bucket} also holds +/1.txt, +/2.txt")]);
    eventually(SOON, "our documents to go", || match keys_in(&bucket) {
        keys if keys == strange => Ok(()),
        keys => Err(format!("{keys:?}")),
    });
    scene.await_passes(2.0);
    assert_eq!(scene.proxy.count("s3:DeleteObject"), 2, "each is deleted once");
    for key in &strange {
        block_on(s3().delete_object().bucket(&bucket).key(key).send()).expect("DeleteObject");
    }
    await_gone(&scene);
    assert_nothing_left(&scene, &["a"]);
}

#[test]
fn a_versioned_bucket_is_named_and_kept() {
    versions_keep_the_bucket("endold", &[BucketVersioningStatus::Enabled]);
}

/// Versioning that was once switched on can only be suspended; what there was by then is still there.
#[test]
fn a_bucket_whose_versioning_is_suspended_is_named_and_kept() {
    versions_keep_the_bucket("endpaused", &[BucketVersioningStatus::Enabled, BucketVersioningStatus::Suspended]);
}

/// A bucket whose versioning was switched like this outlives its cluster, until a person has emptied it.
fn versions_keep_the_bucket(name: &str, switched: &[BucketVersioningStatus]) {
    let scene = ready(name, DELETE, &["a"]);
    let bucket = scene.bucket();
    for status in switched {
        let versioning = VersioningConfiguration::builder().status(status.clone()).build();
        let put = s3().put_bucket_versioning().bucket(&bucket).versioning_configuration(versioning);
        block_on(put.send()).expect("PutBucketVersioning");
    }
    let now = block_on(s3().get_bucket_versioning().bucket(&bucket).send()).expect("GetBucketVersioning");
    assert_eq!(now.status.as_ref(), switched.last());
    let before = aws_state::bucket(&bucket);
    delete(&scene);
    let message =
        await_held(&scene, &[&format!("bucket {bucket} is versioned: neither it nor its documents are deleted")]);
    assert_says_what_to_do(&message);
    eventually(SOON, "the provider to go", || match aws_state::provider(&scene.provider_arn()) {
        None => Ok(()),
        Some(_) => Err("it is there".to_owned()),
    });
    scene.await_passes(2.0);
    assert_eq!(aws_state::bucket(&bucket), before);
    assert_eq!(scene.proxy.count("s3:Delete*"), 0);

    let versions = block_on(s3().list_object_versions().bucket(&bucket).send()).expect("ListObjectVersions");
    for version in versions.versions.unwrap_or_default() {
        let gone = s3().delete_object().bucket(&bucket).set_key(version.key).set_version_id(version.version_id);
        block_on(gone.send()).expect("DeleteObject");
    }
    block_on(s3().delete_bucket().bucket(&bucket).send()).expect("DeleteBucket");
    await_gone(&scene);
    assert_in_order(&scene.proxy.calls());
    assert_nothing_left(&scene, &["a"]);
}
