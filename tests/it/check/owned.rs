//! Roles that the target release does not ask for: which are the cluster's, for which Secret, and what of the others is said.

use serde_json::{Value, json};

use super::dumps::{EBS, NAME, dump, judged, role, role_name};
use super::{check, file, page, release, report};

/// A role of the cluster's, for a Secret that no release knows.
fn retired(dump: &Value, secret: &str, account: &str) -> Value {
    let mut role = role(&mut dump.clone(), EBS).clone();
    let namespace = secret.split('/').next().unwrap();
    role["RoleName"] = json!(role_name(NAME, secret));
    let condition = &mut role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]["StringEquals"];
    for subject in condition.as_object_mut().unwrap().values_mut() {
        *subject = json!([format!("system:serviceaccount:{namespace}:{account}")]);
    }
    role
}

/// The retired components, by role: the Secret.
fn retired_in(report: &Value) -> Vec<(String, Value)> {
    let components = report["components"].as_array().unwrap().iter().filter(|one| one["verdict"] == "Retired");
    components.map(|one| (one["role"].as_str().unwrap().to_owned(), one["request"].clone())).collect()
}

#[test]
fn roles_that_are_no_longer_asked_for_are_retired_if_they_are_the_clusters() {
    let mut dump = dump("4.18", Value::clone);
    let mut stray = role(&mut dump, EBS).clone();
    stray["RoleName"] = json!("prod-openshift-gone-credentials");
    let mut foreign = stray.clone();
    foreign["RoleName"] = json!("prod-of-someone-else");
    foreign["Tags"] = json!([]);
    dump["RoleDetailList"].as_array_mut().unwrap().extend([stray, foreign]);
    let report = judged("stray", &dump, "4.18");
    assert_eq!(report["verdict"], "Ready");
    // Its service accounts are in a namespace that its name does not have.
    assert_eq!(retired_in(&report), [("prod-openshift-gone-credentials".to_owned(), Value::Null)]);
}

#[test]
fn the_secret_of_a_retired_role_is_found_by_its_trust_policy() {
    let mut dump = dump("4.18", Value::clone);
    let secrets = ["openshift-gone/cloud-credentials", "openshift-gone-too/creds", "openshift-sample/x-y-z"];
    let roles = secrets.map(|secret| retired(&dump, secret, "operator"));
    dump["RoleDetailList"].as_array_mut().unwrap().extend(roles);
    let found = retired_in(&judged("retired", &dump, "4.18"));
    let wanted = secrets.map(|secret| (role_name(NAME, secret), json!(secret)));
    assert_eq!(found, wanted);
    // A name that may have been cut tells nothing, and neither does a trust policy that cannot be read.
    let long = format!("openshift-long-namespace/{}", "c".repeat(64));
    let unread = "openshift-unread/creds";
    let mut unreadable = retired(&dump, unread, "operator");
    unreadable["AssumeRolePolicyDocument"] = json!("nothing");
    let cut = retired(&dump, &long, "operator");
    dump["RoleDetailList"].as_array_mut().unwrap().extend([cut, unreadable]);
    let found = retired_in(&judged("retired-cut", &dump, "4.18"));
    let unknown = [role_name(NAME, &long), role_name(NAME, unread)].map(|role| (role, Value::Null));
    assert_eq!(found, [&unknown[..], &wanted[..]].concat());
    // From release to release, the component is the same one.
    let by_dump = judged("retired-4.10", &super::dumps::dump("4.12", Value::clone), "4.14");
    let by_release = report(&["--from", &release("4.12"), "--to", &release("4.14"), "--name", NAME]);
    assert_eq!(by_dump["components"], by_release["components"]);
}

#[test]
fn roles_that_were_not_looked_at_are_told_on_demand() {
    let mut dump = dump("4.18", Value::clone);
    let mut foreign = retired(&dump, "openshift-gone/creds", "operator");
    foreign["RoleName"] = json!("Prod-of-someone-else");
    foreign["Tags"] = json!([{"Key": "openshift.io/cloud-credential-operator/prod-of", "Value": "owned"}]);
    dump["RoleDetailList"].as_array_mut().unwrap().push(foreign);
    // A role that is asked for is looked at, tag or not.
    role(&mut dump, EBS)["Tags"] = json!([]);
    let dump = file("not-owned.json", dump.to_string());
    let args = ["--account-dump", &dump, "--name", NAME, "--to", &release("4.18")];
    let why = "it has no tag openshift.io/cloud-credential-operator/prod, which the cluster's roles have, and the target release asks for no role of its name";
    let quiet = report(&args);
    assert_eq!((&quiet["verdict"], quiet.get("passedOver")), (&json!("Ready"), None));
    let verbose = report(&[&args[..], &["--verbose"]].concat());
    assert_eq!(verbose["passedOver"], json!([{"role": "Prod-of-someone-else", "because": why}]));
    assert_eq!(verbose["components"], quiet["components"]);
    for format in ["text", "yaml", "markdown", "html", "junit", "sarif"] {
        let text = |more: &[&str]| {
            let ended = check(&[&args[..], &["-o", format], more].concat());
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
            if format == "html" { page::read(&ended.stdout).whole_text() } else { ended.stdout }
        };
        assert!(!text(&[]).contains("Prod-of-someone-else"), "{format}");
        let verbose = text(&["--verbose"]);
        let told = verbose.replace("&#39;", "'").replace("&apos;", "'").replace('\\', "");
        assert!(told.contains("Prod-of-someone-else") && told.contains(why), "{format}: {verbose}");
    }
    // Nothing of the kind is known of a release.
    let of_release = report(&["--from", &release("4.18"), "--to", &release("4.18"), "--verbose"]);
    assert_eq!(of_release["passedOver"], json!([]));
}
