//! `rolecall check --account-dump`: roles out of a file.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::wanted::{DEFAULT, requests, secret_of};
use super::{check, component, file, read_report, release, report};

pub const NAME: &str = "prod";
const ACCOUNT: &str = "123456789012";
pub const EBS: &str = "openshift-cluster-csi-drivers/ebs-cloud-credentials";
const INGRESS: &str = "openshift-ingress-operator/cloud-credentials";
const NOWHERE: &str = "no statement of the inline policy or of an attached policy allows it";
const EXTRA: &str = "arn:aws:iam::123456789012:policy/extra";

/// A role's name after the rules of ccoctl.
pub fn role_name(name: &str, secret: &str) -> String {
    let full = format!("{name}-{}", secret.replace('/', "-"));
    full[..full.len().min(64)].to_owned()
}

/// The trust and the permissions of a request after the rules of ccoctl.
pub fn documents(name: &str, region: &str, request: &Value) -> (Value, Value) {
    let spec = &request["spec"];
    let issuer = format!("{name}-oidc.s3.{region}.amazonaws.com");
    let namespace = spec["secretRef"]["namespace"].as_str().unwrap();
    let accounts = spec["serviceAccountNames"].as_array().unwrap().iter();
    let subjects: Vec<String> =
        accounts.map(|account| format!("system:serviceaccount:{namespace}:{}", account.as_str().unwrap())).collect();
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}")},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {format!("{issuer}:sub"): subjects}},
    }]});
    let entries = spec["providerSpec"]["statementEntries"].as_array().unwrap().iter();
    let statements: Vec<Value> = entries
        .map(|entry| {
            let mut statement =
                json!({"Effect": entry["effect"], "Action": entry["action"], "Resource": entry["resource"]});
            if entry["policyCondition"].is_object() {
                statement["Condition"] = entry["policyCondition"].clone();
            }
            statement
        })
        .collect();
    (trust, json!({"Version": "2012-10-17", "Statement": statements}))
}

/// A document as the API returns it.
pub fn encoded(document: &Value) -> Value {
    utf8_percent_encode(&document.to_string(), NON_ALPHANUMERIC).to_string().into()
}

/// A dump of an account with the roles of a release.
pub fn dump(of: &str, spelt: impl Fn(&Value) -> Value) -> Value {
    dump_of(&requests(of, &DEFAULT), spelt)
}

/// A dump of an account with the roles that requests ask for.
pub fn dump_of(requests: &[Value], spelt: impl Fn(&Value) -> Value) -> Value {
    let roles = requests.iter().map(|request| {
        let secret = secret_of(request);
        let role = role_name(NAME, &secret);
        let (trust, permissions) = documents(NAME, "us-east-1", request);
        json!({
            "Path": "/", "RoleName": role, "RoleId": "AROA", "Arn": format!("arn:aws:iam::{ACCOUNT}:role/{role}"),
            "CreateDate": "2024-01-01T00:00:00+00:00",
            "AssumeRolePolicyDocument": spelt(&trust),
            "InstanceProfileList": [],
            "RolePolicyList": [{"PolicyName": role, "PolicyDocument": spelt(&permissions)}],
            "AttachedManagedPolicies": [],
            "Tags": [{"Key": format!("openshift.io/cloud-credential-operator/{NAME}"), "Value": "owned"}],
            "RoleLastUsed": {},
        })
    });
    let roles: Vec<Value> = roles.collect();
    json!({"UserDetailList": [], "GroupDetailList": [], "RoleDetailList": roles, "Policies": []})
}

pub fn role<'a>(dump: &'a mut Value, secret: &str) -> &'a mut Value {
    let name = role_name(NAME, secret);
    let mut roles = dump["RoleDetailList"].as_array_mut().unwrap().iter_mut();
    roles.find(|role| role["RoleName"] == name.as_str()).unwrap()
}

/// Puts a managed policy into a dump.
pub fn managed(dump: &mut Value, arn: &str, document: Value) {
    let versions = json!([
        {"VersionId": "v1", "IsDefaultVersion": false, "Document": {"Version": "2012-10-17", "Statement": []}},
        {"VersionId": "v2", "IsDefaultVersion": true, "Document": document},
    ]);
    dump["Policies"]
        .as_array_mut()
        .unwrap()
        .push(json!({"Arn": arn, "PolicyName": "x", "PolicyVersionList": versions}));
}

pub fn policy(effect: &str, actions: &[&str]) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": actions, "Resource": "*"}]})
}

pub fn judged(name: &str, dump: &Value, to: &str) -> Value {
    let dump = file(&format!("{name}.json"), dump.to_string());
    report(&["--account-dump", &dump, "--name", NAME, "--to", &release(to)])
}

#[test]
fn a_dump_says_what_the_manifests_say_in_both_spellings() {
    for (from, to) in [("4.12", "4.14"), ("4.18", "4.20"), ("4.8", "4.22"), ("4.20", "4.20")] {
        let by_manifest = report(&["--from", &release(from), "--to", &release(to), "--name", NAME]);
        for (spelling, dump) in [("objects", dump(from, Value::clone)), ("encoded", dump(from, encoded))] {
            let by_dump = judged(&format!("{spelling}-{from}"), &dump, to);
            assert_eq!(by_dump["components"], by_manifest["components"], "{from} -> {to}, {spelling}");
            assert_eq!(by_dump["issuer"], "https://prod-oidc.s3.us-east-1.amazonaws.com");
        }
    }
}

#[test]
fn attached_policies_count_when_they_are_in_the_dump() {
    let mut with = dump("4.12", Value::clone);
    for secret in [EBS, INGRESS] {
        role(&mut with, secret)["AttachedManagedPolicies"] = json!([{"PolicyName": "extra", "PolicyArn": EXTRA}]);
    }
    let mut without = with.clone();
    let lacks = ["ec2:DescribeAvailabilityZones", "ec2:EnableFastSnapshotRestores", "kms:ReEncrypt*", "sts:AssumeRole"];
    managed(&mut with, EXTRA, policy("Allow", &lacks));
    assert_eq!(judged("attached", &with, "4.14")["verdict"], "Ready");

    // The same without the policy: it may grant all, so nothing is missing for certain.
    let report = judged("not-attached", &without, "4.14");
    assert_eq!(report["verdict"], "Unknown");
    for secret in [EBS, INGRESS] {
        let component = component(&report, secret);
        assert_eq!(component["verdict"], "Indeterminate");
        let because = component["because"].as_str().unwrap();
        assert!(
            because.contains(&format!("attached policy {EXTRA} could not be read (it is not in the dump")),
            "{because}"
        );
    }
    // A policy of the default version that is no policy is as good as unread.
    managed(&mut without, EXTRA, json!("no policy"));
    let report = judged("no-policy", &without, "4.14");
    assert_eq!(report["verdict"], "Unknown");
    assert!(component(&report, EBS)["because"].as_str().unwrap().contains("not JSON"), "{report:#}");
}

/// What load balancers were without, after an upgrade that nobody had checked.
#[test]
fn one_action_that_a_live_role_lacks_is_named() {
    let text = std::fs::read_to_string(release("optional")).unwrap();
    let is_wanted = |document: &&str| document.contains("name: openshift-aws-cloud-controller-manager\n");
    let manifest = text.split("\n---\n").find(is_wanted).unwrap();
    let request: Value = serde_saphyr::from_str(manifest).unwrap();
    let to = file("cloud-controller.yaml", manifest);
    let secret = secret_of(&request);
    let (trust, mut permissions) = documents(NAME, "us-east-1", &request);
    let name = role_name(NAME, &secret);
    let judged = |permissions: &Value| {
        let role = json!({
            "RoleName": name, "Arn": format!("arn:aws:iam::{ACCOUNT}:role/{name}"), "AssumeRolePolicyDocument": trust,
            "RolePolicyList": [{"PolicyName": name, "PolicyDocument": permissions}],
        });
        let dump = file("cloud-controller.json", json!({"RoleDetailList": [role]}).to_string());
        report(&["--account-dump", &dump, "--name", NAME, "--to", &to])
    };
    assert_eq!(judged(&permissions)["verdict"], "Ready");

    let lost = "elasticloadbalancing:SetSecurityGroups";
    let actions = permissions["Statement"][0]["Action"].as_array_mut().unwrap();
    let before = actions.len();
    actions.retain(|action| action != lost);
    assert_eq!(actions.len(), before - 1);
    let report = judged(&permissions);
    assert_eq!((&report["verdict"], &report["summary"]["missing"]), (&json!("NotReady"), &json!(1)));
    let missing = &component(&report, &secret)["missing"];
    assert_eq!(missing.as_array().unwrap().len(), 1, "{missing:#}");
    assert_eq!((&missing[0]["verdict"], &missing[0]["actions"]), (&json!("Missing"), &json!([lost])));
}

/// Two attached policies, and nothing beside them: what the second one lacks is missing, what it denies is denied.
#[test]
fn the_second_of_two_attached_policies_counts() {
    let (action, other) = ("ec2:CreateVolume", "arn:aws:iam::123456789012:policy/other");
    let request = requests("4.20", &DEFAULT).into_iter().find(|request| secret_of(request) == EBS).unwrap();
    let whole = documents(NAME, "us-east-1", &request).1;
    let mut part = whole.clone();
    for statement in part["Statement"].as_array_mut().unwrap() {
        statement["Action"].as_array_mut().unwrap().retain(|one| one != action);
    }
    assert_ne!(part, whole);
    let with = |first: &Value, second: Value| {
        let mut dump = dump("4.20", encoded);
        role(&mut dump, EBS)["RolePolicyList"] = json!([]);
        role(&mut dump, EBS)["AttachedManagedPolicies"] = json!([
            {"PolicyName": "extra", "PolicyArn": EXTRA}, {"PolicyName": "other", "PolicyArn": other},
        ]);
        managed(&mut dump, EXTRA, first.clone());
        managed(&mut dump, other, second);
        component(&judged("two", &dump, "4.20"), EBS).clone()
    };
    assert_eq!(with(&part, policy("Allow", &[action]))["verdict"], "Covered");
    for (first, second, why) in [
        (&part, policy("Allow", &["ec2:DescribeVpcs"]), NOWHERE.to_owned()),
        (&whole, policy("Deny", &[action]), format!("statement 1 of attached policy {other} denies it")),
    ] {
        let driver = with(first, second);
        let missing = driver["missing"].as_array().unwrap();
        assert_eq!((&driver["verdict"], missing.len()), (&json!("Missing"), 1), "{driver:#}");
        assert_eq!((&missing[0]["actions"], &missing[0]["because"]), (&json!([action]), &json!(why)), "{driver:#}");
    }
}

#[test]
fn a_boundary_and_a_deny_take_away() {
    let mut dump = dump("4.20", Value::clone);
    role(&mut dump, INGRESS)["PermissionsBoundary"] =
        json!({"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": EXTRA});
    managed(&mut dump, EXTRA, policy("Allow", &["elasticloadbalancing:*", "route53:*", "tag:Get*"]));
    role(&mut dump, EBS)["RolePolicyList"].as_array_mut().unwrap().push(json!({
        "PolicyName": "guard",
        "PolicyDocument": encoded(&policy("Deny", &["ec2:DeleteSnapshot", "kms:?????eGrant", "kms:ListGrants"])),
    }));
    let report = judged("guarded", &dump, "4.20");
    assert_eq!(report["verdict"], "NotReady");

    let ingress = component(&report, INGRESS);
    assert_eq!(ingress["missing"].as_array().unwrap().len(), 1, "{ingress:#}");
    assert_eq!(ingress["missing"][0]["actions"], json!(["sts:AssumeRole"]));
    assert_eq!(ingress["missing"][0]["because"], format!("permissions boundary {EXTRA} does not allow it"));

    let driver = component(&report, EBS);
    let denied: Vec<&Value> =
        driver["missing"].as_array().unwrap().iter().flat_map(|p| p["actions"].as_array().unwrap()).collect();
    assert_eq!(denied, ["ec2:DeleteSnapshot", "kms:RevokeGrant", "kms:CreateGrant", "kms:ListGrants"]);
    assert_eq!(driver["missing"][0]["because"], "statement 1 of inline policy guard denies it");

    // A boundary that is not in the dump may allow anything, or nothing.
    dump["Policies"] = json!([]);
    let report = judged("boundary-unread", &dump, "4.20");
    let ingress = component(&report, INGRESS);
    assert_eq!(ingress["verdict"], "Indeterminate");
    assert!(ingress["because"].as_str().unwrap().contains(&format!("permissions boundary {EXTRA} could not be read")));
}

/// `%20` in a resource is `%2520` on the wire, and is decoded once.
#[test]
fn percent_signs_are_what_they_are() {
    let text = std::fs::read_to_string(release("4.20")).unwrap();
    let one = text.split("\n---\n").find(|document| document.contains("name: openshift-ingress\n")).unwrap();
    let resource = "arn:aws:s3:::a%20b/100%";
    let manifest = file("percent.yaml", one.replace("resource: \"*\"", &format!("resource: \"{resource}\"")));
    let mut dump = dump("4.20", encoded);
    let mut permissions = documents(
        NAME,
        "us-east-1",
        &requests("4.20", &DEFAULT).into_iter().find(|r| secret_of(r) == INGRESS).unwrap(),
    )
    .1;
    for (granted, verdict) in
        [(resource, "Ready"), ("arn:aws:s3:::a b/100%", "NotReady"), ("arn:aws:s3:::a%2520b/100%", "NotReady")]
    {
        permissions["Statement"][0]["Resource"] = json!(granted);
        for document in [permissions.clone(), encoded(&permissions)] {
            role(&mut dump, INGRESS)["RolePolicyList"][0]["PolicyDocument"] = document;
            let dump = file("percent.json", dump.to_string());
            let report = report(&["--account-dump", &dump, "--name", NAME, "--to", &manifest]);
            assert_eq!(
                component(&report, INGRESS)["verdict"] == "Covered",
                verdict == "Ready",
                "{granted}: {report:#}"
            );
        }
    }
}

#[test]
fn policies_that_are_none_make_no_verdict() {
    for document in [
        json!("no JSON"),
        json!("%7B%22Statement%22"),
        json!("%zz"),
        json!("%FF%FE"),
        json!(7),
        Value::Null,
        json!([]),
        json!({}),
    ] {
        let mut dump = dump("4.20", encoded);
        role(&mut dump, EBS)["RolePolicyList"][0]["PolicyDocument"] = document.clone();
        let report = judged("no-json", &dump, "4.20");
        assert_eq!(report["verdict"], "Unknown", "{document}");
        let driver = component(&report, EBS);
        assert_eq!(driver["verdict"], "Indeterminate");
        assert!(
            driver["because"].as_str().unwrap().contains("inline policy prod-openshift-cluster-csi-drivers"),
            "{driver:#}"
        );
    }
    // Nor does a trust policy that is none.
    let mut dump = dump("4.20", encoded);
    role(&mut dump, EBS)["AssumeRolePolicyDocument"] = json!("no JSON");
    let report = judged("no-trust", &dump, "4.20");
    let driver = component(&report, EBS);
    assert_eq!((&driver["verdict"], driver["trust"].as_array().unwrap().len()), (&json!("Indeterminate"), 2));
    assert!(driver["because"].as_str().unwrap().contains("the trust policy cannot be read"));
    assert_eq!((&report["verdict"], &report["summary"]["trust"]), (&json!("Unknown"), &json!(0)));
}

/// More than a token decides: it may be admitted, and nobody can tell from here.
#[test]
fn a_trust_policy_that_asks_for_more_than_a_token_is_no_refusal() {
    let mut dump = dump("4.20", Value::clone);
    let trust = &mut role(&mut dump, EBS)["AssumeRolePolicyDocument"]["Statement"][0]["Condition"];
    trust["IpAddress"] = json!({"aws:SourceIp": "10.0.0.0/8"});
    let report = judged("trust-more", &dump, "4.20");
    assert_eq!(report["verdict"], "Unknown");
    let driver = component(&report, EBS);
    assert_eq!((&driver["verdict"], &driver["trust"][0]["verdict"]), (&json!("Conditional"), &json!("Conditional")));
    assert!(driver["because"].as_str().unwrap().contains("also asks for aws:sourceip"), "{driver:#}");
}

#[test]
fn role_names_are_compared_without_regard_to_case() {
    let mut dump = dump("4.20", Value::clone);
    let name = role_name(NAME, EBS).to_uppercase();
    role(&mut dump, EBS)["RoleName"] = json!(name);
    assert_eq!(judged("case", &dump, "4.20")["verdict"], "Ready");
}

#[test]
fn an_account_without_the_clusters_roles_needs_them_all() {
    let report = judged("nobody", &json!({"RoleDetailList": []}), "4.20");
    assert_eq!(report["verdict"], "NotReady");
    assert!(report["components"].as_array().unwrap().iter().all(|component| component["verdict"] == "NewRole"));
}

#[test]
fn dumps_that_are_none_are_named() {
    let to = release("4.20");
    for (name, text, says) in [
        ("text", "hello", "this is no output of `aws iam get-account-authorization-details`"),
        ("other", "{\"Roles\": []}", "missing field `RoleDetailList`"),
        ("page", "{\"RoleDetailList\": [], \"IsTruncated\": true}", "the dump is one page of several"),
        (
            "items",
            "{\"RoleDetailList\": [], \"NextToken\": \"eyJN\"}",
            "one page of several (NextToken): make it without --max-items",
        ),
        ("marker", "{\"RoleDetailList\": [], \"IsTruncated\": false, \"Marker\": \"A\"}", "(Marker): make it without"),
    ] {
        let dump = file(&format!("dump-{name}.json"), text);
        let ended = check(&["--account-dump", &dump, "--name", NAME, "--to", &to]);
        ended.assert_refused(&[says, &dump]);
    }
    check(&["--account-dump", "/nonexistent/dump.json", "--name", NAME, "--to", &to])
        .assert_refused(&["cannot read /nonexistent/dump.json", "No such file"]);
    // With a byte order mark, as PowerShell redirects it.
    let whole = dump("4.20", Value::clone).to_string();
    let marked = file("dump-bom.json", format!("\u{feff}{whole}"));
    let ended = check(&["--account-dump", &marked, "--name", NAME, "--to", &to, "-o", "json"]);
    assert_eq!(read_report(&ended)["verdict"], "Ready");
    // As its older versions do.
    let wide: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = file("dump-utf16.json", [b"\xff\xfe".to_vec(), wide].concat());
    check(&["--account-dump", &wide, "--name", NAME, "--to", &to]).assert_refused(&[&wide, "is no UTF-8 text"]);
}
