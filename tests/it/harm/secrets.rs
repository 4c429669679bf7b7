//! A Secret follows its role: it is pointed at another only when that one was read back, and nobody's copy is touched.

use super::*;
use crate::adoption::Ccoctl;
use crate::ended::{await_gone, delete, foreign_role};
use crate::scene::{ACCOUNT, condition};

/// Deletes the ClusterIdentity under `Retain`; everything stays.
fn let_go(scene: &Scene) {
    delete(scene);
    await_gone(scene);
    scene.proxy.reset_counts();
}

/// A scene for an operator that serves all namespaces: who makes a ClusterIdentity anew has another uid, and only a complete
/// view shows that the old one no longer exists.
fn unscoped(scene: &mut Scene, requests: &[&str]) {
    specify(scene, "", "");
    for request in requests {
        scene.request(request);
    }
    start_unscoped(scene);
    await_settled(scene);
}

/// `roles.path` cannot be changed, so the object is made anew; the roles lie under the old path.
#[test]
fn path_changed_by_a_new_identity_leaves_secrets_pointing_at_their_roles() {
    let (plane, _one) = alone();
    let mut scene = Scene::on_plane(plane, "harm-path");
    unscoped(&mut scene, &["a", "b"]);
    let before = Kept::of(&scene);
    let_go(&scene);
    specify(&scene, "", "  roles: {path: /openshift/}\n");
    let role = format!("role_arn = arn:aws:iam::{ACCOUNT}:role/{}", scene.role_name("a"));
    eventually(SOON, "the other path to be said", || {
        let profile = credentials(&scene, "a-creds");
        assert!(profile.contains(&role), "the Secret points elsewhere: {profile}");
        let object = scene.request_object("a");
        if said(&object, "Conflict", "reason") == "OtherPath" { Ok(()) } else { Err(object["status"].to_string()) }
    });
    scene.passes(3);
    before.assert_there(&scene);
    assert_nothing_changed(&scene);
    // What points nowhere is not called ready.
    let object = scene.identity_object();
    assert_eq!(said(&object, "Ready", "status"), "False", "{}", object["status"]);
}

/// The role that a Secret is to point at is somebody else's: it points where it did.
#[test]
fn secret_is_not_pointed_at_a_role_of_somebody_else() {
    let mut scene = Scene::new("harm-point");
    let role = scene.role_name("a");
    foreign_role(&role, &[("team".into(), "blue".into())]);
    let before = "[default]\nrole_arn = arn:aws:iam::123456789012:role/by-hand\n";
    Ccoctl(&scene).secret("a");
    let patch = json!({"stringData": {"credentials": before}}).to_string();
    scene.cluster.kubectl_ok(&["patch", "secret", "a-creds", "-n", &scene.name, "--type=merge", "-p", &patch]);
    specify(&scene, "", "  adoption: OwnedOnly\n");
    scene.request("a");
    start(&mut scene);
    scene.await_request("a", "Conflict", "True");
    scene.passes(2);
    assert_eq!(credentials(&scene, "a-creds"), before);
}

/// A role goes and its place is taken; its Secret goes, too. What was verified under that ARN is written back.
#[test]
fn secret_of_a_verified_role_is_put_back_while_aws_is_away() {
    use crate::support::{Fault, Kind};
    let scene = ready("harm-away", "", "", &["a", "b"]);
    let before = Kept::of(&scene);
    scene.proxy.inject(Fault::always(
        "iam:*",
        Kind::Status {
            code: 503,
            body: "<ErrorResponse><Error><Code>ServiceUnavailable</Code></Error></ErrorResponse>".to_owned(),
            content_type: "text/xml".to_owned(),
        },
    ));
    scene.cluster.kubectl_ok(&["delete", "secret", "a-creds", "-n", &scene.name]);
    eventually(SOON, "the Secret to be back", || {
        let now = secrets(&scene);
        if now.get("a-creds") == before.secrets.get("a-creds") { Ok(()) } else { Err(format!("{now:?}")) }
    });
    scene.proxy.clear_faults();
    scene.await_condition("Ready", "True");
    before.assert_there(&scene);
}

/// The ClusterIdentity is made anew under another name: roles and Secrets are its own, and nobody is told to delete them.
#[test]
fn renamed_identity_takes_up_its_secrets() {
    let (plane, _one) = alone();
    let mut scene = Scene::on_plane(plane, "harm-rename");
    unscoped(&mut scene, &["a", "b"]);
    let before = Kept::of(&scene);
    let_go(&scene);
    let yaml = guarded_yaml(&scene, "", "").replacen("{name: harm-rename,", "{name: harm-renamed,", 1);
    scene.cluster.apply_unchecked(&yaml);
    eventually(SOON, "Ready=True under the new name", || {
        for request in ["a", "b"] {
            let object = scene.request_object(request);
            let conflict = condition(&object, "Conflict").filter(|conflict| conflict["status"] == "True");
            assert_eq!(conflict, None, "its own Secret is called another's");
        }
        let object = scene.cluster.get_json(&["cid", "harm-renamed", "-n", "harm-rename"]);
        condition_is(&object, "Ready", "True").map(drop)
    });
    before.assert_there(&scene);
    let annotations =
        scene.cluster.get_json(&["secret", "a-creds", "-n", "harm-rename"])["metadata"]["annotations"].clone();
    assert_eq!(annotations["rolecall.dev/cluster-identity"], "harm-rename/harm-renamed");
}

/// A replicator, Velero or an administrator copies a credentials Secret, with all that is on it.
#[test]
fn copied_secret_is_nobodys_leftover() {
    let mut scene = Scene::new("harm-copy");
    let home = "harm-copy-tenant";
    scene.cluster.ensure_namespace(home);
    let own = "allowedSecretNamespaces: [harm-copy]";
    let yaml = guarded_yaml(&scene, AT_ONCE, DELETE).replace("allowedSecretNamespaces: [\"*\"]", own);
    scene.cluster.apply_unchecked(&yaml);
    scene.request("a");
    start(&mut scene);
    await_settled(&scene);
    let original = scene.cluster.get_json(&["secret", "a-creds", "-n", &scene.name]);
    let places = [(home, "a-creds"), (scene.name.as_str(), "copy-of-a")];
    for (namespace, name) in places {
        let mut copy = original.clone();
        let metadata = copy["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|field, _| ["labels", "annotations"].contains(&field.as_str()));
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("namespace".to_owned(), json!(namespace));
        assert!(scene.cluster.create(&copy.to_string()).success());
    }
    scene.passes(3);
    assert_nothing_removed(&scene);
    for (namespace, name) in places {
        let found = scene.cluster.kubectl(&["get", "secret", name, "-n", namespace]);
        assert!(found.success(), "the copy {namespace}/{name} is gone");
    }
    let object = scene.identity_object();
    assert_eq!(said(&object, "Ready", "status"), "True");
    assert_eq!(condition(&object, "OrphanedCloudResource"), None, "a copy is not counted, either");
}

/// What holds access keys works; it goes only when somebody says so on the Secret.
#[test]
fn secret_with_access_keys_is_replaced_by_consent_alone() {
    let mut scene = Scene::new("harm-keys");
    scene.cluster.apply_ok(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a-creds, namespace: harm-keys}\nstringData:\n  aws_access_key_id: AKIAFOREIGNFOREIGN00\n  aws_secret_access_key: a-secret-of-the-tests\n",
    );
    let before = secrets(&scene);
    specify(&scene, "", "  adoption: Adopt\n");
    scene.request("a");
    start(&mut scene);
    let message = scene.await_request("a", "Conflict", "True");
    assert!(message.contains("rolecall.dev/replace-with"), "{message}");
    scene.passes(2);
    assert_eq!(secrets(&scene), before);
    scene.cluster.kubectl_ok(&["annotate", "secret", "a-creds", "-n", &scene.name, "rolecall.dev/replace-with=sts"]);
    scene.await_request("a", "Ready", "True");
    assert!(credentials(&scene, "a-creds").contains(&scene.role_name("a")));
}

/// Its role has lost all tags, so that neither its owner nor its use is known any more.
#[test]
fn secret_of_a_leftover_role_without_tags_stays() {
    let mut scene = ready("harm-untagged", AT_ONCE, DELETE, &["a", "b"]);
    stop(&mut scene);
    let role = scene.role_name("a");
    let keys = scene.role("a").tags.into_keys();
    block_on(iam().untag_role().role_name(&role).set_tag_keys(Some(keys.collect())).send()).expect("UntagRole");
    scene.cluster.kubectl_ok(&["delete", "credentialsrequest", "a", "-n", &scene.name]);
    let kept = Kept::of(&scene);
    scene.proxy.reset_counts();
    start(&mut scene);
    let named = format!("secret/{0}/a-creds (its role {role} is kept, and so is it)", scene.name);
    eventually(SOON, "the Secret to be named", || {
        assert_nothing_removed(&scene);
        let message = condition_is(&scene.identity_object(), "OrphanedCloudResource", "True")?;
        if message.contains(&named) { Ok(()) } else { Err(message) }
    });
    scene.passes(3);
    assert_nothing_removed(&scene);
    kept.assert_there(&scene);
}
