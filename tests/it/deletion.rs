//! A ClusterIdentity is deleted: with `Delete` all that is its own goes in order, with `Retain` nothing does, and what is
//! someone else's is never touched.

use serde_json::{Value, json};

use super::adoption::{create_bucket, create_provider, tag_bucket};
use super::ended::{
    DELETE, SETTLED, assert_all_gone, assert_all_there, assert_in_order, assert_says_what_to_do, await_finalizer,
    await_gone, await_held, await_no_role, delete, deletion_of_role, finalizers, foreign_issuer, foreign_role,
    has_secret, mark, patch_spec, ready, ready_on, specify,
};
use super::scene::{SOON, Scene, on_both_schemas, said};
use super::support::{Fault, Kind, Schema, aws_state, eventually};
use super::written::taken;

on_both_schemas! {
    all_that_is_ours_goes_in_order_and_nothing_else,
    retain_lets_go_what_hangs,
    what_stood_in_the_way_outlives_us,
    a_foreign_role_and_provider_outlive_our_bucket,
    another_accounts_bucket_holds_nothing_up,
    another_regions_bucket_is_named_and_holds_nothing_up,
    a_refused_identity_takes_nothing_along,
}

fn all_that_is_ours_goes_in_order_and_nothing_else(schema: Schema) {
    let scene = ready_on(schema, "end", DELETE, &["a", "b"]);
    let name = &scene.name;
    assert_eq!(finalizers(&scene), ["rolecall.dev/teardown"]);
    // Someone's role whose name begins as ours do, and a cluster whose name begins as ours does.
    let (stranger, near) = (format!("{name}-of-the-day"), format!("{name}-y"));
    let neighbour = format!("{near}-ns-c-creds");
    foreign_role(&stranger, &[("team".into(), "blue".into())]);
    foreign_role(&neighbour, &[mark(&near)]);
    let provider = foreign_issuer(&near);
    let look = || {
        let roles = [&stranger, &neighbour].map(|role| aws_state::role(role));
        (roles, aws_state::provider(&provider), aws_state::bucket(&format!("{near}-oidc")))
    };
    let before = look();
    assert!(before.0.iter().all(Option::is_some) && before.1.is_some() && before.2.is_some());

    // As a user does it: kubectl returns once the object is gone.
    scene.cluster.kubectl_ok(&["delete", "cid", name, "-n", name, "--timeout=60s"]);
    assert_all_gone(&scene, &["a", "b"]);
    assert_eq!(look(), before);
    for request in ["a", "b"] {
        let object = scene.request_object(request);
        assert_eq!(said(&object, "Ready", "status"), "False");
        assert_eq!(said(&object, "Ready", "reason"), "NoClusterIdentity");
        assert_eq!(
            said(&object, "Ready", "message"),
            format!("the ClusterIdentity {name}/{name} was deleted; nobody serves this request")
        );
        scene.assert_provisioned(&object, false);
        assert_eq!(scene.observed_generation(&object), object["metadata"]["generation"]);
        let mut remembered = object["status"]["providerStatus"].clone();
        if schema == Schema::OpenShift {
            // It has no other place for the generation.
            let fields = remembered.as_object_mut().expect("a provider status");
            fields.retain(|field, _| !["apiVersion", "kind", "observedGeneration"].contains(&field.as_str()));
            assert!(fields.is_empty(), "{fields:?}");
            remembered = Value::Null;
        }
        assert_eq!(remembered, Value::Null);
    }
    eventually(SOON, "the event that it was let go", || {
        let events = scene.cluster.kubectl_ok(&["get", "events", "-n", name, "-o", "jsonpath={.items[*].reason}"]);
        if events.contains("LetGo") { Ok(()) } else { Err(events) }
    });

    // The same again under the same name is a cluster like any other.
    scene.proxy.reset_counts();
    specify(&scene, DELETE);
    scene.await_condition("Ready", "True");
    scene.await_request("a", "Ready", "True");
    assert_all_there(&scene, &["a", "b"]);
}

#[test]
fn retain_leaves_everything_and_never_sets_a_finalizer() {
    let scene = ready("end-retain", "", &["a"]);
    scene.passes(2);
    assert_eq!(finalizers(&scene), [""; 0]);
    delete(&scene);
    await_gone(&scene);
    // A pass over what is gone: there is none to wait for, but the operator is alive and idle.
    assert_eq!(scene.operator().http_get("/healthz").0, 200);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_all_there(&scene, &["a"]);
    assert!(has_secret(&scene, "a"));
    let patched = scene.cluster.changes_by("end-retain");
    let objects = patched.iter().filter(|write| write.resource == "clusteridentities" && write.subresource != "status");
    assert_eq!(objects.count(), 0, "only status was ever written: {patched:?}");
}

#[test]
fn the_finalizer_comes_and_goes_with_the_policy() {
    let mut scene = Scene::new("end-flip");
    specify(&scene, "  deletionPolicy: Delete\n  managementPolicy: Observe\n");
    scene.request("a");
    scene.start_with(&SETTLED, &[]);
    scene.await_passes(2.0);
    assert_eq!(finalizers(&scene), [""; 0], "who only observes deletes nothing");
    specify(&scene, DELETE);
    scene.await_condition("Ready", "True");
    await_finalizer(&scene, true);
    // Someone else's finalizer is theirs to take back.
    let patch = r#"{"metadata":{"finalizers":["rolecall.dev/teardown","example.org/mine"]}}"#;
    scene.cluster.kubectl_ok(&["patch", "cid", "end-flip", "-n", "end-flip", "--type=merge", "-p", patch]);
    specify(&scene, "");
    eventually(SOON, "our finalizer to be taken back", || match finalizers(&scene) {
        found if found == ["example.org/mine"] => Ok(()),
        found => Err(format!("{found:?}")),
    });
    let patch = r#"{"metadata":{"finalizers":[]}}"#;
    scene.cluster.kubectl_ok(&["patch", "cid", "end-flip", "-n", "end-flip", "--type=merge", "-p", patch]);
    specify(&scene, "  deletionPolicy: Delete\n");
    await_finalizer(&scene, true);
    specify(&scene, "  deletionPolicy: Delete\n  managementPolicy: Observe\n");
    await_finalizer(&scene, false);
    scene.proxy.reset_counts();
    delete(&scene);
    await_gone(&scene);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_all_there(&scene, &["a"]);
}

/// An object that was restored from a copy carries the finalizer from whoever restored it, and not from us.
#[test]
fn a_finalizer_that_someone_else_has_set_is_taken_back_too() {
    for (name, policy, goes) in [("end-copy", DELETE, true), ("end-kept", "", false)] {
        let mut scene = Scene::new(name);
        specify(&scene, policy);
        let mut copy = scene.identity_object();
        for field in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"] {
            copy["metadata"].as_object_mut().unwrap().remove(field);
        }
        copy["metadata"]["finalizers"] = json!(["rolecall.dev/teardown", "example.org/mine"]);
        scene.cluster.kubectl_ok(&["delete", "cid", name, "-n", name]);
        scene.cluster.apply_ok(&copy.to_string());
        scene.request("a");
        scene.start_with(&SETTLED, &[]);
        scene.await_condition("Ready", "True");
        if !goes {
            eventually(SOON, "our finalizer to be taken back", || match finalizers(&scene) {
                found if found == ["example.org/mine"] => Ok(()),
                found => Err(format!("{found:?}")),
            });
            continue;
        }
        scene.proxy.reset_counts();
        delete(&scene);
        eventually(SOON, "theirs to be left", || match finalizers(&scene) {
            found if found == ["example.org/mine"] => Ok(()),
            found => Err(format!("{found:?}")),
        });
        assert_all_gone(&scene, &["a"]);
        let patch = r#"{"metadata":{"finalizers":[]}}"#;
        scene.cluster.kubectl_ok(&["patch", "cid", name, "-n", name, "--type=merge", "-p", patch]);
        await_gone(&scene);
    }
}

fn retain_lets_go_what_hangs(schema: Schema) {
    let scene = ready_on(schema, "end-hangs", DELETE, &["a", "b"]);
    let role = scene.role_name("a");
    scene.proxy.inject(Fault::always("iam:DeleteRole", Kind::AccessDenied).concerning(&role));
    delete(&scene);
    let message = await_held(&scene, &["iam:DeleteRole", &role, "was denied"]);
    assert_says_what_to_do(&message);
    let object = scene.identity_object();
    assert_eq!(said(&object, "Stalled", "status"), "True");
    assert_eq!(said(&object, "OperatorPermissionsSufficient", "message"), "missing: iam:DeleteRole");
    // The other role went, and the issuer stays as long as a role does.
    await_no_role(&scene, "b");
    assert_all_there(&scene, &["a"]);
    scene.await_request("a", "Ready", "False");

    patch_spec(&scene, r#"{"deletionPolicy":"Retain"}"#);
    await_gone(&scene);
    assert_all_there(&scene, &["a"]);
    let mut went = deletion_of_role(&scene, "b").to_vec();
    went.insert(0, format!("iam:DeleteRolePolicy {role}"));
    went.sort();
    assert_eq!(taken(&scene.proxy.calls()), went);
}

/// A deletion that fails for a while goes on where it was.
#[test]
fn a_failure_holds_what_comes_after_and_heals() {
    let scene = ready("end-heals", DELETE, &["a"]);
    for op in [
        "iam:DeleteRolePolicy",
        "iam:DeleteRole",
        "iam:DeleteOpenIDConnectProvider",
        "s3:DeleteObject",
        "s3:DeleteBucket",
    ] {
        scene.proxy.inject(Fault::times(2, op, Kind::AccessDenied));
        scene.proxy.inject(Fault::once(op, Kind::LostAnswer));
    }
    delete(&scene);
    await_gone(&scene);
    assert_in_order(&taken_calls(&scene));
    assert!(aws_state::role(&scene.role_name("a")).is_none() && aws_state::bucket(&scene.bucket()).is_none());
    assert!(aws_state::provider(&scene.provider_arn()).is_none());
}

fn taken_calls(scene: &Scene) -> Vec<super::support::Call> {
    scene.proxy.calls().into_iter().filter(|call| call.forwarded).collect()
}

/// What stood in the way of our names from the beginning, with and without an issuer of our own beside it.
fn what_stood_in_the_way_outlives_us(schema: Schema) {
    let mut scene = Scene::on(schema, "end-way");
    let (role, bucket) = (scene.role_name("a"), scene.bucket());
    foreign_role(&role, &[mark(scene.name.strip_suffix('y').unwrap())]);
    create_bucket(&bucket);
    tag_bucket(&bucket, &[mark("another")]);
    create_provider(&format!("https://{}", scene.issuer_host()), &["mine"]);
    let look = || (aws_state::role(&role), aws_state::bucket(&bucket), aws_state::provider(&scene.provider_arn()));
    let before = look();
    specify(&scene, DELETE);
    scene.request("a");
    scene.start_with(&SETTLED, &[]);
    scene.await_request("a", "Conflict", "True");
    scene.await_condition("Stalled", "True");
    delete(&scene);
    await_gone(&scene);
    let look = || (aws_state::role(&role), aws_state::bucket(&bucket), aws_state::provider(&scene.provider_arn()));
    assert_eq!(look(), before);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
}

fn a_foreign_role_and_provider_outlive_our_bucket(schema: Schema) {
    let mut scene = Scene::on(schema, "end-beside");
    let role = scene.role_name("a");
    foreign_role(&role, &[("team".into(), "blue".into())]);
    create_provider(&format!("https://{}", scene.issuer_host()), &["mine"]);
    let before = (aws_state::role(&role), aws_state::provider(&scene.provider_arn()));
    specify(&scene, DELETE);
    scene.request("a");
    scene.request("b");
    scene.start_with(&SETTLED, &[]);
    scene.await_request("b", "Ready", "True");
    scene.await_request("a", "Conflict", "True");
    scene.await_condition("IssuerPublished", "True");
    scene.proxy.reset_counts();
    delete(&scene);
    await_gone(&scene);
    assert_in_order(&scene.proxy.calls());
    assert_eq!((aws_state::role(&role), aws_state::provider(&scene.provider_arn())), before);
    assert!(aws_state::bucket(&scene.bucket()).is_none() && aws_state::role(&scene.role_name("b")).is_none());
}

/// Another account's bucket of our name cannot even be looked at, and holds nobody up.
fn another_accounts_bucket_holds_nothing_up(schema: Schema) {
    let mut scene = Scene::on(schema, "end-theirs");
    scene.proxy.inject(Fault::always("s3:*", Kind::AccessDenied));
    specify(&scene, DELETE);
    scene.request("a");
    scene.start_with(&SETTLED, &[]);
    scene.await_condition("IssuerPublished", "False");
    await_reason(&scene, "IssuerUnknown");
    delete(&scene);
    await_gone(&scene);
    assert_eq!(scene.proxy.write_ops(), [""; 0], "nothing is made for an issuer that cannot be looked at");
}

#[track_caller]
fn await_reason(scene: &Scene, wanted: &str) {
    eventually(SOON, &format!("Ready=False, {wanted}"), || {
        let reason = said(&scene.identity_object(), "Ready", "reason");
        if reason == wanted { Ok(()) } else { Err(reason) }
    });
}

/// A bucket of our name in another region: S3 sends the call there, and the rest is done.
fn another_regions_bucket_is_named_and_holds_nothing_up(schema: Schema) {
    let mut scene = Scene::on(schema, "end-abroad");
    let body = "<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed \
                using the specified endpoint.</Message><Endpoint>s3.us-west-2.amazonaws.com</Endpoint></Error>";
    let kind = Kind::Status { code: 301, body: body.to_owned(), content_type: "application/xml".to_owned() };
    scene.proxy.inject(Fault::always("s3:*", kind));
    specify(&scene, DELETE);
    scene.request("a");
    scene.start_with(&SETTLED, &[]);
    let message = scene.await_condition("IssuerPublished", "False");
    assert!(message.contains("it lies in another region than spec.region"), "{message}");
    scene.await_condition("Stalled", "True");
    let object = scene.identity_object();
    assert_eq!(said(&object, "IssuerPublished", "reason"), "BucketForbidden");
    assert_eq!(said(&object, "OperatorPermissionsSufficient", "status"), "True");
    await_reason(&scene, "IssuerMismatch");
    delete(&scene);
    await_gone(&scene);
    assert_eq!(scene.proxy.write_ops(), [""; 0], "nothing is made for an issuer of another region");
}

/// Two of one name: the younger has made nothing, and takes nothing along.
fn a_refused_identity_takes_nothing_along(schema: Schema) {
    let scene = ready_on(schema, "end-twin", DELETE, &["a"]);
    let twin = scene.identity_yaml(DELETE).replacen(&format!("{{name: {},", scene.name), "{name: younger,", 1);
    // Both are of the same second, perhaps; then the name decides, and the scene's comes first.
    scene.cluster.apply_ok(&twin);
    let args = ["cid", "younger", "-n", &scene.name];
    eventually(SOON, "the younger to be refused", || {
        let object = scene.cluster.get_json(&args);
        let reason = said(&object, "Ready", "reason");
        if reason == "DuplicateInfraName" { Ok(()) } else { Err(reason) }
    });
    scene.proxy.reset_counts();
    scene.cluster.kubectl_ok(&["delete", "cid", "younger", "-n", &scene.name, "--timeout=60s"]);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_all_there(&scene, &["a"]);
    scene.await_request("a", "Ready", "True");
    assert!(has_secret(&scene, "a"));
}
