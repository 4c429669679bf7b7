//! AWS denies, fails, is away, answers late or not at all: nothing else stops, nothing is concluded, all heals.

use super::scene::{CLAIMS, SOON, Scene, condition, condition_is, on_both_schemas, said};
use super::support::eventually;
use super::support::{Fault, Kind, Schema, aws_state, block_on};

on_both_schemas! {
    a_missing_permission_is_named_and_stops_nothing_else,
    a_block_of_public_policies_is_no_missing_permission,
    when_aws_is_away_older_verdicts_stand_and_nothing_is_written,
    when_something_else_answers_older_verdicts_stand_and_nothing_is_written,
    when_aws_is_away_at_the_start_nothing_is_known,
}

/// A second is the shortest interval, and so the longest wait after a failure.
fn every_second(scene: &Scene) {
    scene.cluster.apply_ok(&scene.identity_yaml("").replace("driftInterval: 2s", "driftInterval: 1s"));
}

/// Waits until the condition says just this of the operator's permissions, then mends and waits for all to be well.
fn denied_then_mended(scene: &Scene, action: &str) {
    eventually(SOON, &format!("{action} to be missing"), || {
        let object = scene.identity_object();
        let message = condition_is(&object, "OperatorPermissionsSufficient", "False")?;
        if message == format!("missing: {action}") { Ok(()) } else { Err(message) }
    });
    let object = scene.identity_object();
    assert_eq!(said(&object, "Ready", "reason"), "AccessDenied", "{action}");
    assert_eq!(said(&object, "Stalled", "status"), "True", "{action}");
    scene.proxy.clear_faults();
    scene.await_condition("Ready", "True");
    assert_eq!(scene.await_condition("OperatorPermissionsSufficient", "True"), "no call was denied");
    assert!(condition(&scene.identity_object(), "Stalled").is_none());
}

fn a_missing_permission_is_named_and_stops_nothing_else(schema: Schema) {
    let mut scene = Scene::on(schema, "denied");
    every_second(&scene);
    scene.request("a");
    scene.proxy.inject(Fault::always("iam:PutRolePolicy", Kind::AccessDenied));
    scene.start();
    scene.await_condition("OperatorPermissionsSufficient", "False");
    let message = scene.await_request("a", "Ready", "False");
    let role = scene.role_name("a");
    assert!(message.contains(&format!("iam:PutRolePolicy on role {role} was denied: allow it in the")), "{message}");
    if scene.writes_upstream_conditions() {
        scene.await_request("a", "InsufficientCloudCreds", "True");
    }
    assert!(aws_state::role(&scene.role_name("a")).is_some() && aws_state::provider(&scene.provider_arn()).is_some());
    assert_eq!(aws_state::bucket(&scene.bucket()).unwrap().objects.len(), 2);
    scene.await_condition("IssuerPublished", "True");
    scene.cluster.get_json(&["secret", "a-creds", "-n", &scene.name]);
    denied_then_mended(&scene, "iam:PutRolePolicy");
    if scene.writes_upstream_conditions() {
        scene.await_request("a", "InsufficientCloudCreds", "False");
    }

    // A role that cannot be made: no Secret may point at it. The other request is not concerned.
    scene.proxy.inject(Fault::always("iam:CreateRole", Kind::AccessDenied));
    scene.request("b");
    scene.await_request("b", "Ready", "False");
    scene.await_request("a", "Ready", "True");
    assert!(!scene.cluster.kubectl(&["get", "secret", "b-creds", "-n", &scene.name]).success());
    denied_then_mended(&scene, "iam:CreateRole");
    scene.await_request("b", "Ready", "True");

    block_on(aws_state::s3().delete_bucket_policy().bucket(scene.bucket()).send()).unwrap();
    scene.proxy.inject(Fault::always("s3:PutBucketPolicy", Kind::AccessDenied));
    scene.await_condition("IssuerPublished", "False");
    scene.await_request("a", "Ready", "True");
    denied_then_mended(&scene, "s3:PutBucketPolicy");
    assert!(aws_state::bucket(&scene.bucket()).unwrap().policy.is_some());
}

#[test]
fn what_may_not_be_read_is_named() {
    let mut scene = Scene::new("unread");
    every_second(&scene);
    scene.request("a");
    scene.start();
    scene.await_condition("Ready", "True");
    scene.proxy.reset_counts();
    for action in ["iam:GetRole", "iam:GetRolePolicy", "iam:GetOpenIDConnectProvider", "s3:GetBucketPolicy"] {
        // Without the account's details, roles are read one by one.
        scene.proxy.inject(Fault::always("iam:GetAccountAuthorizationDetails", Kind::AccessDenied));
        scene.proxy.inject(Fault::always(action, Kind::AccessDenied));
        denied_then_mended(&scene, action);
    }
    // Without the list of roles, the wanted ones are read all the same; only what is left over is not known.
    scene.proxy.inject(Fault::always("iam:ListRoles", Kind::AccessDenied));
    assert_eq!(scene.await_condition("OperatorPermissionsSufficient", "False"), "missing: iam:ListRoles");
    scene.await_condition("Ready", "True");
    scene.proxy.clear_faults();
    scene.await_condition("OperatorPermissionsSufficient", "True");
    // Another account's bucket and a missing permission look the same: both are said.
    scene.proxy.inject(Fault::always("s3:GetBucketTagging", Kind::AccessDenied));
    let message = scene.await_condition("IssuerPublished", "False");
    assert!(message.contains("another account owns that name, or the operator lacks s3:GetBucketTagging"), "{message}");
    scene.proxy.clear_faults();
    scene.await_condition("Ready", "True");
    assert_eq!(scene.proxy.write_ops(), [""; 0], "nothing is written on suspicion");

    // A document that an anonymous reader gets right is not read a second time; any other is.
    let other = aws_sdk_s3::primitives::ByteStream::from_static(b"{}");
    scene.proxy.inject(Fault::always("s3:GetObject", Kind::AccessDenied));
    block_on(aws_state::s3().put_object().bucket(scene.bucket()).key("keys.json").body(other).send()).unwrap();
    denied_then_mended(&scene, "s3:GetObject");
}

fn a_block_of_public_policies_is_no_missing_permission(schema: Schema) {
    let mut scene = Scene::on(schema, "blocked");
    every_second(&scene);
    scene.request("a");
    let message = "User: arn:aws:iam::123456789012:user/x is not authorized to perform: s3:PutBucketPolicy on resource: \
                   \"arn:aws:s3:::blocked-oidc\" because public policies are prevented by the BlockPublicPolicy setting \
                   in S3 Block Public Access.";
    let body = format!("<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>");
    let kind = Kind::Status { code: 403, body, content_type: "application/xml".to_owned() };
    scene.proxy.inject(Fault::always("s3:PutBucketPolicy", kind));
    scene.start();
    let message = scene.await_condition("IssuerPublished", "False");
    let words = ["prevented by S3 Block Public Access", "the account or its organization", "lift BlockPublicPolicy"];
    assert!(words.iter().all(|words| message.contains(words)), "{message}");
    scene.await_passes(2.0);
    let object = scene.identity_object();
    assert_eq!(said(&object, "Ready", "reason"), "PublicAccessBlocked");
    assert_eq!(said(&object, "OperatorPermissionsSufficient", "status"), "True");
    assert!(condition(&object, "Stalled").is_none());
    scene.await_request("a", "Ready", "True");
    scene.proxy.clear_faults();
    scene.await_condition("Ready", "True");
}

fn when_aws_is_away_older_verdicts_stand_and_nothing_is_written(schema: Schema) {
    older_verdicts_stand(schema, "away", [("refused", Kind::Refuse), ("throttled", Kind::Throttle)]);
}

fn when_something_else_answers_older_verdicts_stand_and_nothing_is_written(schema: Schema) {
    let page = |code| {
        let body = format!("<html><title>{code}</title><h1>Not what you look for</h1></html>");
        Kind::Status { code, body, content_type: "text/html".to_owned() }
    };
    older_verdicts_stand(schema, "portal", [("a web page", Kind::Html), ("an error page", page(502))]);
    // A proxy that knows no such page does not say that there is no such role, nor that somebody may not see it.
    older_verdicts_stand(schema, "noportal", [("not found", page(404)), ("forbidden", page(403))]);
}

fn older_verdicts_stand(schema: Schema, name: &str, faults: [(&str, Kind); 2]) {
    let mut scene = Scene::on(schema, name);
    every_second(&scene);
    scene.request("a");
    scene.start();
    scene.await_condition("Ready", "True");
    let since = |scene: &Scene| said(&scene.identity_object(), "Ready", "lastTransitionTime");
    let ready_since = since(&scene);
    for (what, kind) in faults {
        scene.proxy.inject(Fault::always("*", kind));
        scene.await_condition("SnapshotFresh", "False");
        scene.await_passes(1.0);
        let written = scene.cluster.changes_by(&scene.name).len();
        scene.proxy.reset_counts();
        scene.await_passes(1.0);
        assert_eq!(scene.cluster.changes_by(&scene.name)[written..], [], "{what}: the same again is no news");
        assert_eq!(scene.proxy.write_ops(), [""; 0], "{what}");
        let (identity, request) = (scene.identity_object(), scene.request_object("a"));
        condition_is(&request, "Ready", "True").unwrap_or_else(|why| panic!("{what}: {why}"));
        scene.assert_provisioned(&request, true);
        for type_ in ["Ready", "IssuerPublished", "IssuerVerified", "ProviderReady", "RolesReady", "SecretsReady"] {
            condition_is(&identity, type_, "True").unwrap_or_else(|why| panic!("{what}: {why}"));
        }
        assert_eq!(identity["status"]["roles"]["summary"], "1/1", "{what}");
        let metric = |name: &str| scene.operator().metric(name);
        assert_eq!(metric("rolecall_cluster_identities{ready=\"true\"}"), Some(1.0), "{what}");
        assert!(metric("rolecall_last_verified_timestamp_seconds") > Some(0.0), "{what}");
        scene.proxy.clear_faults();
        scene.await_condition("SnapshotFresh", "True");
        scene.await_condition("Ready", "True");
    }
    assert_eq!(since(&scene), ready_since, "Ready was never taken back");
}

fn when_aws_is_away_at_the_start_nothing_is_known(schema: Schema) {
    let mut scene = Scene::on(schema, "awaystart");
    every_second(&scene);
    scene.request("a");
    scene.proxy.inject(Fault::always("*", Kind::Refuse));
    scene.start();
    let message = scene.await_condition("SnapshotFresh", "False");
    assert!(message.starts_with("sts:GetCallerIdentity on the operator's own identity got no answer"), "{message}");
    let object = scene.identity_object();
    for type_ in CLAIMS.into_iter().filter(|type_| *type_ != "SnapshotFresh") {
        assert_eq!(said(&object, type_, "status"), "Unknown", "{type_}");
        assert_eq!(said(&object, type_, "reason"), "Unreachable", "{type_}");
    }
    assert_eq!(said(&object, "Reconciling", "status"), "True");
    assert_eq!(scene.operator().metric("rolecall_cluster_identities{ready=\"unknown\"}"), Some(1.0));
    scene.await_passes(1.0);
    let written = scene.cluster.changes_by(&scene.name).len();
    scene.await_passes(2.0);
    assert_eq!(scene.cluster.changes_by(&scene.name)[written..], []);
    scene.proxy.clear_faults();
    scene.await_condition("Ready", "True");
    scene.await_request("a", "Ready", "True");
}

#[test]
fn lost_answers_make_no_duplicates() {
    let mut scene = Scene::new("lost");
    every_second(&scene);
    scene.request("a");
    for op in [
        "s3:CreateBucket",
        "s3:PutBucketTagging",
        "s3:PutPublicAccessBlock",
        "s3:PutBucketPolicy",
        "s3:PutObject",
        "iam:CreateOpenIDConnectProvider",
        "iam:CreateRole",
        "iam:PutRolePolicy",
    ] {
        scene.proxy.inject(Fault::once(op, Kind::LostAnswer));
    }
    scene.start();
    scene.await_condition("Ready", "True");
    scene.assert_complete();
    scene.await_passes(1.0);
    scene.proxy.reset_counts();
    let written = scene.cluster.changes_by(&scene.name).len();
    scene.await_passes(2.0);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    assert_eq!(scene.cluster.changes_by(&scene.name)[written..], []);
}

#[test]
fn an_error_that_only_has_another_id_is_no_news() {
    let mut scene = Scene::new("ids");
    every_second(&scene);
    scene.request("a");
    scene.start();
    scene.await_condition("Ready", "True");
    for n in 0..60 {
        let body = format!(
            "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
             <Code>AccessDenied</Code><Message>Not today, \
             arn:aws:sts::1:assumed-role/rolecall/web-identity-token-17000000000{n:02} (Service: Iam, Status Code: 403, Request ID: 0f{n:02}-a)\
             </Message></Error><RequestId>0f{n:02}-a</RequestId></ErrorResponse>"
        );
        let kind = Kind::Status { code: 403, body, content_type: "text/xml".to_owned() };
        scene.proxy.inject(Fault::once("iam:GetOpenIDConnectProvider", kind));
    }
    let message = scene.await_condition("ProviderReady", "False");
    let words = "Not today, arn:aws:sts::1:assumed-role/rolecall (Service: Iam, Status Code: 403)";
    assert!(message.contains(words), "{message}");
    scene.await_passes(1.0);
    let written = scene.cluster.changes_by("ids").len();
    scene.await_passes(3.0);
    assert_eq!(scene.cluster.changes_by("ids")[written..], []);
}
