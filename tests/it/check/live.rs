//! `rolecall check` against live roles: moto behind the proxy, roles made by the test.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::dumps::{EBS, documents, policy, role_name};
use super::wanted::{DEFAULT, requests, secret_of};
use super::{component, dir, file, read_report, release};
use crate::cli::{Ended, rolecall, with_aws};
use crate::support::aws_state::{self, iam};
use crate::support::{Emulators, Fault, Kind, Proxy, block_on};

const REGION: &str = "eu-west-1";

/// Makes the roles of a release, as ccoctl does.
pub fn make_roles(name: &str, of: &str) {
    for request in requests(of, &DEFAULT) {
        let secret = secret_of(&request);
        let role = role_name(name, &secret);
        let (trust, permissions) = documents(name, REGION, &request);
        let tag = aws_sdk_iam::types::Tag::builder()
            .key(format!("openshift.io/cloud-credential-operator/{name}"))
            .value("owned")
            .build()
            .unwrap();
        let create = iam().create_role().role_name(&role).assume_role_policy_document(trust.to_string()).tags(tag);
        block_on(create.description(format!("OpenShift role for {secret}")).send()).unwrap();
        let put = iam().put_role_policy().role_name(&role).policy_name(&role);
        block_on(put.policy_document(permissions.to_string()).send()).unwrap();
    }
}

fn make_policy(name: &str, document: &Value) -> String {
    let create = iam().create_policy().policy_name(name).policy_document(document.to_string());
    block_on(create.send()).unwrap().policy.unwrap().arn.unwrap()
}

fn attach(name: &str, secret: &str, arn: &str) {
    let role = role_name(name, secret);
    block_on(iam().attach_role_policy().role_name(role).policy_arn(arn).send()).unwrap();
}

fn run(proxy: &Proxy, name: &str, to: &str) -> Ended {
    let to = release(to);
    let ended = rolecall(proxy, &["check", "--name", name, "--region", REGION, "--to", &to, "-o", "json"], &[]);
    assert_eq!(proxy.write_ops(), [""; 0], "a check writes nothing");
    ended
}

#[test]
fn live_roles_are_judged_as_their_manifests_are() {
    let name = "check-live";
    make_roles(name, "4.12");
    let proxy = Proxy::start(Emulators::shared());
    let live = read_report(&run(&proxy, name, "4.14"));
    assert_eq!(live["verdict"], "NotReady");
    assert_eq!(live["live"], "roles of check-live in account 123456789012");
    assert_eq!(live["issuer"], format!("https://{name}-oidc.s3.{REGION}.amazonaws.com"));
    let by_manifest =
        super::report(&["--from", &release("4.12"), "--to", &release("4.14"), "--name", name, "--region", REGION]);
    assert_eq!(live["components"], by_manifest["components"]);

    // What the account's own dump says is the same.
    let dump = file("moto-dump.json", moto_dump().to_string());
    let args = ["--account-dump", &dump, "--name", name, "--region", REGION, "--to", &release("4.14")];
    assert_eq!(super::report(&args)["components"], live["components"]);

    // A managed policy fills the gap; the account's own, not a copy in a file.
    let lacks = ["ec2:DescribeAvailabilityZones", "ec2:EnableFastSnapshotRestores", "kms:ReEncrypt*", "sts:AssumeRole"];
    let arn = make_policy("check-live-gap", &policy("Allow", &lacks));
    attach(name, EBS, &arn);
    attach(name, "openshift-ingress-operator/cloud-credentials", &arn);
    assert_eq!(read_report(&run(&proxy, name, "4.14"))["verdict"], "Ready");
}

#[test]
fn what_may_not_be_read_makes_no_verdict() {
    let name = "check-denied";
    make_roles(name, "4.20");
    let arn = make_policy("check-denied-guard", &policy("Deny", &["s3:DeleteBucket"]));
    attach(name, EBS, &arn);
    let proxy = Proxy::start(Emulators::shared());
    assert_eq!(read_report(&run(&proxy, name, "4.20"))["verdict"], "Ready");

    for op in ["iam:GetPolicyVersion", "iam:GetPolicy"] {
        proxy.inject(Fault::always(op, Kind::AccessDenied));
        let report = read_report(&run(&proxy, name, "4.20"));
        assert_eq!(report["verdict"], "Unknown", "{op}");
        let driver = component(&report, EBS);
        assert_eq!(driver["verdict"], "Indeterminate");
        let because = driver["because"].as_str().unwrap();
        assert!(because.contains(&format!("attached policy {arn} could not be read")), "{because}");
        assert!(because.contains(op), "{because}");
        assert_eq!(report["summary"]["indeterminate"], 1, "the others do not have it: {report:#}");
        proxy.clear_faults();
    }

    for (op, kind, says) in [
        ("iam:ListRoles", Kind::AccessDenied, "is not authorized to perform: iam:ListRoles"),
        ("iam:ListRoles", Kind::Html, "iam:ListRoles on the account"),
        ("sts:GetCallerIdentity", Kind::AccessDenied, "sts:GetCallerIdentity"),
    ] {
        proxy.inject(Fault::always(op, kind));
        run(&proxy, name, "4.20").assert_refused(&[says]);
        proxy.clear_faults();
    }
    // Whoever may not read the whole listing may read the roles one by one.
    proxy.inject(Fault::always("iam:GetAccountAuthorizationDetails", Kind::AccessDenied));
    assert_eq!(read_report(&run(&proxy, name, "4.20"))["verdict"], "Ready");
    assert!(proxy.count("iam:GetRolePolicy") >= 6, "one by one");
}

/// What the release does not ask for: a role of the cluster's, and others whose names begin so.
#[test]
fn roles_beside_those_that_are_asked_for() {
    let name = "check-beside";
    make_roles(name, "4.20");
    let owner = format!("openshift.io/cloud-credential-operator/{name}");
    let subject = json!({"StringEquals": {"issuer:sub": "system:serviceaccount:openshift-gone:operator"}});
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/issuer"},
        "Action": "sts:AssumeRoleWithWebIdentity", "Condition": subject,
    }]});
    for (role, tag) in [("openshift-gone-cloud-creds", &*owner), ("own-tool", "made-by")] {
        let tag = aws_sdk_iam::types::Tag::builder().key(tag).value("owned").build().unwrap();
        let create = iam().create_role().role_name(format!("{name}-{role}"));
        block_on(create.assume_role_policy_document(trust.to_string()).tags(tag).send()).unwrap();
    }
    let proxy = Proxy::start(Emulators::shared());
    let to = release("4.20");
    let args = ["check", "--name", name, "--region", REGION, "--to", &to, "-o", "json", "--verbose"];
    let told = || read_report(&rolecall(&proxy, &args, &[]));
    let report = told();
    assert_eq!(report["verdict"], "Ready");
    // Nobody has described it.
    let retired = component(&report, "openshift-gone/cloud-creds");
    assert_eq!(
        (&retired["verdict"], &retired["role"]),
        (&json!("Retired"), &json!(format!("{name}-openshift-gone-cloud-creds")))
    );
    let why = format!(
        "it has no tag {owner}, which the cluster's roles have, and the target release asks for no role of its name"
    );
    assert_eq!(report["passedOver"], json!([{"role": format!("{name}-own-tool"), "because": why}]));
    // Of one that cannot be read nobody knows whose it is.
    proxy.inject(Fault::always("iam:GetAccountAuthorizationDetails", Kind::AccessDenied));
    proxy.inject(Fault::always("iam:GetRole", Kind::AccessDenied).concerning("own-tool"));
    let because = told()["passedOver"][0]["because"].as_str().unwrap().to_owned();
    assert!(because.starts_with("it could not be read (") && because.contains("iam:GetRole"), "{because}");
}

/// Somebody who waits sees how far it is; a file or a pipe gets the report, and nothing else.
#[test]
fn progress_is_for_terminals() {
    let name = "check-waiting";
    make_roles(name, "4.20");
    let proxy = Proxy::start(Emulators::shared());
    for op in ["sts:GetCallerIdentity", "iam:ListRoles", "iam:GetAccountAuthorizationDetails"] {
        proxy.inject(Fault::always(op, Kind::Delay(Duration::from_millis(700))));
    }
    let (report, to) = (dir("waiting").join("report"), release("4.20"));
    let on_a_terminal = |redirected: &str| {
        let run = format!("exec \"$ROLECALL\" check --name {name} --region {REGION} --to \"$RELEASE\" {redirected}");
        let mut command = Command::new("script");
        with_aws(command.args(["-qec", &run, "/dev/null"]), &proxy);
        command.envs([("ROLECALL", env!("CARGO_BIN_EXE_rolecall")), ("RELEASE", &to), ("TERM", "xterm")]);
        let ended = Ended::of(command.env("REPORT", &report));
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
        ended.stdout
    };
    let shown = on_a_terminal("> \"$REPORT\"");
    let lines = [
        "asking AWS which account this is",
        "account 123456789012: nothing read so far",
        "account 123456789012: 1 page of roles read so far",
    ];
    for line in lines {
        assert!(shown.contains(&format!("\r\u{1b}[K{line}")), "{line}: {shown:?}");
    }
    assert!(shown.ends_with("\r\u{1b}[K"), "{shown:?}");
    let written = fs::read_to_string(&report).unwrap();
    assert!(written.starts_with("Ready: ") && !written.contains('\r'), "{written:?}");
    let shown = on_a_terminal("2> /dev/null");
    assert!(shown.contains("Ready: ") && !shown.contains("so far"), "{shown:?}");
    assert_eq!(run(&proxy, name, "4.20").stderr, "");
}

/// Of two attached policies the second one decides, as one of the role's own would.
#[test]
fn the_second_of_two_attached_policies_counts() {
    let name = "check-two";
    make_roles(name, "4.12");
    let ingress = "openshift-ingress-operator/cloud-credentials";
    let first = make_policy("check-two-first", &policy("Allow", &["ec2:DescribeAvailabilityZones", "sts:AssumeRole"]));
    let second = make_policy("check-two-second", &policy("Allow", &["ec2:EnableFastSnapshotRestores"]));
    let guard = make_policy("check-two-guard", &policy("Deny", &["sts:AssumeRole"]));
    for (secret, arn) in [(EBS, &first), (EBS, &second), (ingress, &first), (ingress, &guard)] {
        attach(name, secret, arn);
    }
    let proxy = Proxy::start(Emulators::shared());
    let report = read_report(&run(&proxy, name, "4.14"));
    let missing = |secret: &str| component(&report, secret)["missing"].clone();
    for (secret, action, why) in [
        (EBS, "kms:ReEncrypt*", "no statement of the inline policy or of an attached policy allows it".to_owned()),
        (ingress, "sts:AssumeRole", format!("statement 1 of attached policy {guard} denies it")),
    ] {
        let parts = missing(secret);
        assert_eq!(parts.as_array().unwrap().len(), 1, "{parts:#}");
        assert_eq!((&parts[0]["actions"], &parts[0]["because"]), (&json!([action]), &json!(why)), "{parts:#}");
    }
}

#[test]
fn a_boundary_takes_away_from_live_roles() {
    let name = "check-bounded";
    make_roles(name, "4.20");
    let everything = make_policy("check-bounded-all", &policy("Allow", &["*"]));
    let little = make_policy("check-bounded-few", &policy("Allow", &["ec2:*"]));
    let put = |arn: &str| {
        let put = iam().put_role_permissions_boundary().role_name(role_name(name, EBS)).permissions_boundary(arn);
        block_on(put.send()).unwrap();
    };
    let proxy = Proxy::start(Emulators::shared());
    put(&everything);
    assert_eq!(read_report(&run(&proxy, name, "4.20"))["verdict"], "Ready");
    put(&little);
    let report = read_report(&run(&proxy, name, "4.20"));
    let driver = component(&report, EBS);
    assert_eq!(driver["verdict"], "Missing");
    for part in driver["missing"].as_array().unwrap() {
        assert!(part["actions"].as_array().unwrap().iter().all(|a| a.as_str().unwrap().starts_with("kms:")), "{part}");
        assert_eq!(part["because"], format!("permissions boundary {little} does not allow it"));
    }
}

/// The account's dump as the API gives it, documents percent-encoded, spelt as the AWS CLI spells it.
fn moto_dump() -> Value {
    let details = iam().get_account_authorization_details().into_paginator().send();
    let pages = block_on(details.try_collect()).unwrap();
    let roles = pages.iter().flat_map(aws_sdk_iam::operation::get_account_authorization_details::GetAccountAuthorizationDetailsOutput::role_detail_list).map(|role| {
        let inline = role.role_policy_list().iter();
        let attached = role.attached_managed_policies().iter();
        json!({
            "RoleName": role.role_name(), "Arn": role.arn(), "Path": role.path(),
            "AssumeRolePolicyDocument": role.assume_role_policy_document(),
            "RolePolicyList": inline.map(|p| json!({"PolicyName": p.policy_name(), "PolicyDocument": p.policy_document()})).collect::<Vec<_>>(),
            "AttachedManagedPolicies": attached.map(|p| json!({"PolicyName": p.policy_name(), "PolicyArn": p.policy_arn()})).collect::<Vec<_>>(),
            "Tags": role.tags().iter().map(|tag| json!({"Key": tag.key(), "Value": tag.value()})).collect::<Vec<_>>(),
        })
    });
    assert!(aws_state::role_names().iter().any(|role| role.starts_with("check-live-")));
    json!({"RoleDetailList": roles.collect::<Vec<_>>(), "Policies": []})
}
