//! Several documents for one Secret, as operators ship them: one file as written and one as generated, or a policy in full
//! and another that was shortened.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::dumps::{NAME, documents, role_name};
use super::wanted::said;
use super::{check, component, dir, file, page, release, report, shown};

const SECRET: &str = "aws-load-balancer-operator/aws-load-balancer-controller-cluster";
const REQUEST: &str = "openshift-cloud-credential-operator/aws-load-balancer-controller";
const FULL: [&str; 3] = ["ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:CreateTags"];
const SHORT: [&str; 2] = ["ec2:Describe*", "ec2:CreateTags"];

fn request(actions: &[&str]) -> Value {
    json!({
        "apiVersion": "cloudcredential.openshift.io/v1",
        "kind": "CredentialsRequest",
        "metadata": {"name": "aws-load-balancer-controller", "namespace": "openshift-cloud-credential-operator"},
        "spec": {
            "providerSpec": {
                "apiVersion": "cloudcredential.openshift.io/v1",
                "kind": "AWSProviderSpec",
                "statementEntries": [{"action": actions, "effect": "Allow", "resource": "*"}],
            },
            "secretRef": {"name": "aws-load-balancer-controller-cluster", "namespace": "aws-load-balancer-operator"},
            "serviceAccountNames": ["aws-load-balancer-controller-cluster"],
        },
    })
}

/// A directory with one document in each of two files.
fn two(name: &str, first: &Value, second: &Value) -> PathBuf {
    let to = dir(name);
    fs::write(to.join("a.yaml"), first.to_string()).unwrap();
    fs::write(to.join("b.yaml"), second.to_string()).unwrap();
    to
}

/// A dump with the role as a request asks for it.
fn dump_of(name: &str, request: &Value) -> String {
    let (trust, permissions) = documents(NAME, "us-east-1", request);
    let role = role_name(NAME, SECRET);
    let dump = json!({"RoleDetailList": [{
        "RoleName": role, "Arn": format!("arn:aws:iam::123456789012:role/{role}"), "AssumeRolePolicyDocument": trust,
        "RolePolicyList": [{"PolicyName": role, "PolicyDocument": permissions}],
    }]});
    file(name, dump.to_string())
}

#[test]
fn documents_that_ask_for_the_same_count_once() {
    // As written by hand and as a generator sorts it, with a label of its own.
    let (plain, mut generated) = (request(&FULL), request(&FULL));
    generated["metadata"]["labels"] = json!({"generated": "true"});
    let to = two("equal", &plain, &generated);
    let told = report(&["--account-dump", &dump_of("equal.json", &plain), "--name", NAME, "--to", &shown(&to)]);
    assert_eq!((&told["verdict"], &told["summary"]["covered"]), (&json!("Ready"), &json!(1)), "{told:#}");
    assert_eq!(component(&told, SECRET)["because"], "the live role grants all that it needs");
    // Neither is in order: nothing fills in the namespace, and nothing names service accounts.
    let efs = "apiVersion: cloudcredential.openshift.io/v1\nkind: CredentialsRequest\nmetadata:\n  name: openshift-aws-efs-csi-driver\n  namespace: openshift-cloud-credential-operator\n";
    let secret = "  secretRef:\n    name: aws-efs-cloud-credentials\n    namespace: ${NAMESPACE}\n";
    let provider = "  providerSpec:\n    apiVersion: cloudcredential.openshift.io/v1\n    kind: AWSProviderSpec\n    statementEntries:\n    - effect: Allow\n      action: ['elasticfilesystem:*']\n      resource: '*'\n";
    let to = dir("efs");
    fs::write(to.join("credentials.yaml"), format!("{efs}spec:\n{secret}{provider}")).unwrap();
    fs::write(to.join("generated.yaml"), format!("# Generated.\n{efs}spec:\n{provider}{secret}")).unwrap();
    let told = report(&["--from", &release("4.20"), "--to", &shown(&to)]);
    assert_eq!((&told["verdict"], &told["summary"]["indeterminate"]), (&json!("Unknown"), &json!(1)), "{told:#}");
    let because = component(&told, "${NAMESPACE}/aws-efs-cloud-credentials")["because"].as_str().unwrap();
    assert!(because.contains("a placeholder that was never filled in") && !because.contains("differ"), "{because}");
}

#[test]
fn of_documents_that_differ_each_must_be_granted() {
    let to = two("differing", &request(&FULL), &request(&SHORT));
    let of = |file: &str| format!("{REQUEST} in {}", shown(&to.join(file)));
    let both = format!("2 requests that differ ask for it, {}, {}", of("a.yaml"), of("b.yaml"));
    let judged = |dump: &str| {
        let told = report(&["--account-dump", dump, "--name", NAME, "--to", &shown(&to)]);
        assert_eq!(told["components"].as_array().unwrap().len(), 1, "{told:#}");
        (told["verdict"].clone(), component(&told, SECRET).clone())
    };
    let full = dump_of("differing-full.json", &request(&FULL));
    let (verdict, told) = judged(&full);
    assert_eq!((&verdict, &told["verdict"]), (&json!("NotReady"), &json!("Missing")));
    assert_eq!(told["missing"].as_array().unwrap().len(), 1, "{told:#}");
    assert_eq!(told["missing"][0]["actions"], json!(["ec2:Describe*"]));
    assert!(told["because"].as_str().unwrap().ends_with(&format!("; {both}")), "{told:#}");
    // What grants the wider one grants both.
    let (verdict, told) = judged(&dump_of("differing-short.json", &request(&SHORT)));
    assert_eq!((&verdict, &told["verdict"]), (&json!("Ready"), &json!("Covered")));
    assert_eq!(told["because"], format!("the live role grants all that it needs; {both}"));

    for format in ["text", "yaml", "markdown", "html", "junit", "sarif"] {
        let ended = check(&["--account-dump", &full, "--name", NAME, "--to", &shown(&to), "-o", format]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let text = if format == "html" { page::read(&ended.stdout).whole_text() } else { ended.stdout };
        let text = text.replace('\\', "");
        for file in ["check-differing/a.yaml", "check-differing/b.yaml"] {
            assert!(text.contains(file), "{format} names {file}: {text}");
        }
    }
    let sarif = check(&["--account-dump", &full, "--name", NAME, "--to", &shown(&to), "-o", "sarif"]).stdout;
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let rules: Vec<&str> = results.iter().map(|result| result["ruleId"].as_str().unwrap()).collect();
    assert_eq!(rules, ["missing-permission", "differing-requests"]);
    for result in results {
        let uri = |of: &str| result[of][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap().to_owned();
        assert!(uri("locations").ends_with("/check-differing/a.yaml"), "{result:#}");
        assert!(uri("relatedLocations").ends_with("/check-differing/b.yaml"), "{result:#}");
    }
}

/// A release as it is compared with, too: its role grants what each asks for, and it is one role.
#[test]
fn roles_as_such_a_release_asks_for_them() {
    let to = two("differing-from", &request(&FULL), &request(&SHORT));
    for one in ["a.yaml", "b.yaml"] {
        let ready = report(&["--from", &shown(&to), "--to", &shown(&to.join(one))]);
        assert_eq!(ready["verdict"], "Ready", "{ready:#}");
    }
    let retired = said(&report(&["--from", &shown(&to), "--to", &release("4.20")]));
    assert_eq!(retired[SECRET].verdict, "Retired");
    let new = report(&["--from", &release("4.20"), "--to", &shown(&to)]);
    let because = component(&new, SECRET)["because"].as_str().unwrap().to_owned();
    assert!(because.starts_with("there is no role ") && because.contains("2 requests that differ"), "{because}");
    let text = check(&["--from", &release("4.20"), "--to", &shown(&to)]).stdout;
    assert_eq!(text.matches("2 requests that differ").count(), 1, "{text}");
}

#[test]
fn one_that_cannot_be_read_is_named() {
    let mut nobody = request(&SHORT);
    nobody["spec"]["serviceAccountNames"] = json!([]);
    let to = two("half-readable", &request(&FULL), &nobody);
    let dump = dump_of("half-readable.json", &request(&["*"]));
    let told = report(&["--account-dump", &dump, "--name", NAME, "--to", &shown(&to)]);
    assert_eq!((&told["verdict"], &told["summary"]["indeterminate"]), (&json!("Unknown"), &json!(1)), "{told:#}");
    let because = component(&told, SECRET)["because"].as_str().unwrap();
    let names =
        format!("cannot be read: {REQUEST} in {}: spec.serviceAccountNames is empty", shown(&to.join("b.yaml")));
    assert!(because.contains(&names), "{because}");
}

/// One name may be that of requests for different Secrets: what identifies a component is its Secret. And requests for
/// different feature sets may be for one Secret: a cluster gets one of them.
#[test]
fn the_secret_and_not_the_name_is_what_counts() {
    let mut other = request(&SHORT);
    other["spec"]["secretRef"]["name"] = json!("manual");
    let to = two("same-name", &request(&FULL), &other);
    let told = report(&["--from", &shown(&to.join("a.yaml")), "--to", &shown(&to)]);
    assert_eq!((&told["summary"]["covered"], &told["summary"]["newRoles"]), (&json!(1), &json!(1)), "{told:#}");
    let sarif = check(&["--from", &shown(&to.join("a.yaml")), "--to", &shown(&to), "-o", "sarif"]).stdout;
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!((results.len(), &results[0]["ruleId"]), (1, &json!("new-role")), "{results:#?}");
    let uri = results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.ends_with("/check-same-name/b.yaml"), "{uri}");

    let mut preview = request(&SHORT);
    preview["metadata"]["annotations"] = json!({
        "release.openshift.io/feature-set": "TechPreviewNoUpgrade",
        "include.release.openshift.io/self-managed-high-availability": "true",
    });
    let to = two("one-set", &request(&FULL), &preview);
    let told = report(&["--from", &shown(&to.join("a.yaml")), "--to", &shown(&to)]);
    assert_eq!(told["verdict"], "Ready", "{told:#}");
    // All that real operators ship for one name.
    let optional = report(&["--from", &release("optional"), "--to", &release("optional")]);
    assert_eq!(said(&optional).len(), 6);
}
