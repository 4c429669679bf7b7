//! What others put on a live role so that its component can do less than its request asks for: it is named, nothing is written for
//! it, and all is well again once it is gone.

use serde_json::Value;

use super::scene::{SOON, Scene, condition_is, on_both_schemas, said};
use super::support::aws_state::{self, iam};
use super::support::proxy::{Fault, Kind};
use super::support::{Schema, block_on, eventually};

const DENY_ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;
const DENY_ONE: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}]}"#;
const QUEUES: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:ListQueues","Resource":"*"}]}"#;
const REGIONS: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":"eu-west-1"}}}]}"#;

/// What somebody does to the role of request `a`, how it is taken back, and what names it.
struct Alteration {
    named: String,
    make: Box<dyn Fn()>,
    undo: Box<dyn Fn()>,
}

fn managed_policy(name: &str, document: &str) -> String {
    let create = iam().create_policy().policy_name(name).policy_document(document);
    block_on(create.send()).expect("CreatePolicy").policy.and_then(|policy| policy.arn).expect("an ARN")
}

fn inline(role: &str, document: &'static str) -> Alteration {
    let (of_make, of_undo) = (role.to_owned(), role.to_owned());
    Alteration {
        named: "inline policy theirs".to_owned(),
        make: Box::new(move || {
            let put = iam().put_role_policy().role_name(&of_make).policy_name("theirs").policy_document(document);
            block_on(put.send()).expect("PutRolePolicy");
        }),
        undo: Box::new(move || {
            block_on(iam().delete_role_policy().role_name(&of_undo).policy_name("theirs").send())
                .expect("DeleteRolePolicy");
        }),
    }
}

fn attached(role: &str, arn: &str) -> Alteration {
    let (of_make, of_undo) = ((role.to_owned(), arn.to_owned()), (role.to_owned(), arn.to_owned()));
    Alteration {
        named: format!("attached policy {arn}"),
        make: Box::new(move || {
            let attach = iam().attach_role_policy().role_name(&of_make.0).policy_arn(&of_make.1);
            block_on(attach.send()).expect("AttachRolePolicy");
        }),
        undo: Box::new(move || {
            let detach = iam().detach_role_policy().role_name(&of_undo.0).policy_arn(&of_undo.1);
            block_on(detach.send()).expect("DetachRolePolicy");
        }),
    }
}

fn boundary(role: &str, arn: &str) -> Alteration {
    let (of_make, of_undo) = ((role.to_owned(), arn.to_owned()), role.to_owned());
    Alteration {
        named: format!("permissions boundary {arn}"),
        make: Box::new(move || {
            let put = iam().put_role_permissions_boundary().role_name(&of_make.0).permissions_boundary(&of_make.1);
            block_on(put.send()).expect("PutRolePermissionsBoundary");
        }),
        undo: Box::new(move || {
            let delete = iam().delete_role_permissions_boundary().role_name(&of_undo);
            block_on(delete.send()).expect("DeleteRolePermissionsBoundary");
        }),
    }
}

fn alterations(scene: &Scene) -> Vec<Alteration> {
    let role = scene.role_name("a");
    let policy = |name: &str, document: &str| managed_policy(&format!("{}-{name}", scene.name), document);
    vec![
        inline(&role, DENY_ALL),
        inline(&role, DENY_ONE),
        attached(&role, &policy("deny", DENY_ONE)),
        boundary(&role, &policy("queues", QUEUES)),
    ]
}

#[track_caller]
fn await_all_well(scene: &Scene) {
    let message = scene.await_condition("Effective", "True");
    assert_eq!(message, "2 of 2 roles allow what their requests ask for");
    scene.await_condition("Ready", "True");
    scene.await_condition("Drifted", "False");
    scene.await_request("a", "Ready", "True");
    scene.await_request("a", "Drifted", "False");
}

/// Waits until the ClusterIdentity and the request `a` tell of what was put on the role, and nobody else does.
#[track_caller]
fn await_told(scene: &Scene, named: &str) {
    eventually(SOON, &format!("{named} to be named"), || {
        let message = condition_is(&scene.identity_object(), "Effective", "False")?;
        if message.contains(named) && message.contains("s3:GetObject") { Ok(()) } else { Err(message) }
    });
    let identity = scene.identity_object();
    for type_ in ["Ready", "Effective"] {
        assert_eq!(
            (said(&identity, type_, "status"), said(&identity, type_, "reason")),
            ("False".into(), "NotEffective".into())
        );
        assert!(said(&identity, type_, "message").contains(named), "{identity}");
    }
    condition_is(&identity, "RolesReady", "True").unwrap();
    condition_is(&identity, "Drifted", "True").unwrap();
    let role = format!("role/{}", scene.role_name("a"));
    let entries = identity["status"]["drift"].as_array().expect("drift");
    let told = |entry: &&Value| entry["resource"] == role.as_str() && entry["field"] == "effectivePermissions";
    assert!(entries.iter().any(|entry| told(&entry)), "{entries:?}");
    eventually(SOON, "the request to tell it", || {
        let request = scene.request_object("a");
        let message = condition_is(&request, "Ready", "False")?;
        condition_is(&request, "Drifted", "True")?;
        let is_told = message.contains(named) && said(&request, "Ready", "reason") == "NotEffective";
        if is_told { Ok(()) } else { Err(request.to_string()) }
    });
    condition_is(&scene.request_object("b"), "Ready", "True").unwrap();
}

/// With `Enforce`: what others put on a role is theirs, so it is told and left.
fn what_others_take_away_is_told_and_left(schema: Schema) {
    let mut scene = Scene::on(schema, "effective");
    scene.identity("");
    scene.request("a");
    scene.request("b");
    scene.start();
    await_all_well(&scene);
    scene.proxy.reset_counts();
    for alteration in alterations(&scene) {
        (alteration.make)();
        await_told(&scene, &alteration.named);
        assert_eq!(scene.request_object("a")["status"]["provisioned"], true, "the role is as it was made");
        (alteration.undo)();
        await_all_well(&scene);
    }
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
}

on_both_schemas!(what_others_take_away_is_told_and_left);

/// `Observe` tells the same, and a policy that is gone.
#[test]
fn observe_tells_what_a_role_no_longer_allows() {
    let mut scene = Scene::new("effective-observe");
    scene.identity("");
    scene.request("a");
    scene.request("b");
    scene.start();
    await_all_well(&scene);
    scene.identity("  managementPolicy: Observe\n");
    await_all_well(&scene);
    scene.proxy.reset_counts();
    for alteration in alterations(&scene) {
        (alteration.make)();
        await_told(&scene, &alteration.named);
        (alteration.undo)();
        await_all_well(&scene);
    }
    let role = scene.role_name("a");
    let own = aws_state::role(&role).unwrap().inline[&role].to_string();
    super::written::take_permissions(&scene, "a");
    eventually(SOON, "the missing policy to be told", || {
        let message = condition_is(&scene.identity_object(), "RolesReady", "False")?;
        if message.contains("/a (") { Ok(()) } else { Err(message) }
    });
    scene.await_condition("Ready", "False");
    scene.await_condition("Effective", "Unknown");
    block_on(iam().put_role_policy().role_name(&role).policy_name(&role).policy_document(own).send()).unwrap();
    await_all_well(&scene);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
}

/// What a guardrail denies under a condition depends on each call: nobody is called ineffective for that.
#[test]
fn a_guardrail_under_a_condition_leaves_ready_alone() {
    let mut scene = Scene::new("effective-guard");
    scene.identity("");
    scene.request("a");
    scene.request("b");
    scene.start();
    await_all_well(&scene);
    let guardrail = attached(&scene.role_name("a"), &managed_policy("effective-guard-regions", REGIONS));
    (guardrail.make)();
    let message = scene.await_condition("Effective", "Unknown");
    assert!(message.contains(&guardrail.named) && message.contains("aws:RequestedRegion"), "{message}");
    assert_eq!(said(&scene.identity_object(), "Effective", "reason"), "Indeterminate");
    scene.await_passes(3.0);
    scene.await_condition("Ready", "True");
    scene.await_condition("Drifted", "False");
    scene.await_request("a", "Ready", "True");
    (guardrail.undo)();
    await_all_well(&scene);
}

/// A boundary that the ClusterIdentity itself asks for is no drift, and it counts all the same. It was open when it was put.
#[test]
fn a_boundary_that_is_narrowed_later_is_told() {
    let mut scene = Scene::new("effective-bound");
    let open = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let arn = managed_policy("effective-bound", open);
    scene.identity(&format!("  roles: {{permissionsBoundaryARN: \"{arn}\"}}\n"));
    scene.request("a");
    scene.request("b");
    scene.start();
    await_all_well(&scene);
    let narrow = iam().create_policy_version().policy_arn(&arn).policy_document(QUEUES).set_as_default(true);
    block_on(narrow.send()).expect("CreatePolicyVersion");
    let message = scene.await_condition("Effective", "False");
    assert!(message.contains(&format!("permissions boundary {arn} does not allow it")), "{message}");
    scene.await_condition("Ready", "False");
    scene.await_condition("Drifted", "False");
    let widen = iam().create_policy_version().policy_arn(&arn).policy_document(open).set_as_default(true);
    block_on(widen.send()).expect("CreatePolicyVersion");
    await_all_well(&scene);
}

/// Who may not read the policies says so, and calls nothing ineffective.
#[test]
fn policies_that_may_not_be_read_make_it_unknown() {
    let mut scene = Scene::new("effective-unread");
    scene.identity("");
    scene.request("a");
    scene.request("b");
    scene.start();
    await_all_well(&scene);
    let theirs = attached(&scene.role_name("a"), &managed_policy("effective-unread", DENY_ONE));
    scene.proxy.inject(Fault::always("iam:GetPolicyVersion", Kind::AccessDenied));
    (theirs.make)();
    let message = scene.await_condition("Effective", "Unknown");
    assert!(message.contains("iam:GetPolicyVersion"), "{message}");
    scene.await_condition("Ready", "True");
    scene.proxy.clear_faults();
    await_told(&scene, &theirs.named);
    (theirs.undo)();
    await_all_well(&scene);
}

/// Without the listing of the account's details each role is read for itself.
#[test]
fn roles_that_are_read_one_by_one_are_judged_too() {
    let mut scene = Scene::new("effective-single");
    scene.proxy.inject(Fault::always("iam:GetAccountAuthorizationDetails", Kind::AccessDenied));
    scene.identity("");
    scene.request("a");
    scene.request("b");
    scene.start();
    scene.await_condition("Effective", "True");
    let theirs = inline(&scene.role_name("a"), DENY_ONE);
    (theirs.make)();
    let message = scene.await_condition("Effective", "False");
    assert!(message.contains(&theirs.named), "{message}");
    (theirs.undo)();
    scene.await_condition("Effective", "True");
}

/// What was told of a role stands while its policies cannot be read again for a moment.
#[test]
fn a_throttled_moment_calls_nothing_effective() {
    let mut scene = Scene::new("effective-throttled");
    scene.identity("");
    scene.request("a");
    scene.request("b");
    scene.start();
    await_all_well(&scene);
    let theirs = attached(&scene.role_name("a"), &managed_policy("effective-throttled", DENY_ONE));
    (theirs.make)();
    await_told(&scene, &theirs.named);
    scene.proxy.inject(Fault::always("iam:GetPolicyVersion", Kind::Throttle));
    scene.proxy.reset_counts();
    // A managed policy is read again after ten intervals.
    eventually(SOON, "the policy to be asked for in vain", || {
        let asked = scene.proxy.count("iam:GetPolicyVersion");
        if asked >= 4 { Ok(()) } else { Err(format!("{asked} times")) }
    });
    scene.await_passes(2.0);
    await_told(&scene, &theirs.named);
    scene.proxy.clear_faults();
    (theirs.undo)();
    await_all_well(&scene);
}
