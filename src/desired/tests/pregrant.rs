//! What is granted ahead of an upgrade.

use super::*;
use crate::desired::pregrant::{Fate, in_force};

fn read(request: &RequestInput) -> ReadRequest {
    match request::read(request.spec.as_ref().unwrap()).unwrap() {
        Reading::Ours(read) => *read,
        Reading::OtherCloud { kind } => panic!("{kind}"),
    }
}

fn asking(name: &str, accounts: &[&str], actions: &[&str]) -> RequestInput {
    let entries = json!([{"effect": "Allow", "action": actions, "resource": "*"}]);
    let provider = json!({
        "apiVersion": "cloudcredential.openshift.io/v1", "kind": "AWSProviderSpec", "statementEntries": entries,
    });
    request(name, &json!({"serviceAccountNames": accounts, "providerSpec": provider}))
}

fn grant(check: &str, targets: Result<&[RequestInput], &str>, begun: &[(&str, &str)]) -> PreGrant {
    let key = |name: &str| SecretKey { namespace: "openshift-x".into(), name: name.into() };
    PreGrant {
        check: check.into(),
        targets: targets.map(|targets| targets.iter().map(read).collect()).map_err(str::to_owned),
        begun: begun.iter().map(|(name, was)| (key(name), (*was).to_owned())).collect(),
    }
}

fn fates(desired: &Desired) -> Vec<(&str, &Fate)> {
    desired.pre_granted.iter().map(|granted| (granted.secret.name.as_str(), &granted.fate)).collect()
}

fn role<'a>(desired: &'a Desired, name: &str) -> &'a Wanted {
    desired.wanted().find(|(_, wanted)| wanted.read.secret.name == name).unwrap().1
}

#[test]
fn both_are_granted_until_the_request_in_force_changes() {
    let (old, new) =
        (asking("a", &["one"], &["s3:Get*", "s3:Old"]), asking("a", &["two"], &["s3:GetObject", "s3:New"]));
    let first =
        desire_ahead(spec(&json!({})), vec![old.clone()], vec![grant("p/c", Ok(std::slice::from_ref(&new)), &[])]);
    assert_eq!(fates(&first), [("a", &Fate::Granted)]);
    let both = role(&first, "a");
    assert!(both.secret.is_some());
    assert_eq!(both.read.statements.len(), 1, "actions join the statement with the same resource");
    assert_eq!(both.read.statements[0].actions, ["s3:Get*", "s3:Old", "s3:GetObject", "s3:New"]);
    assert_eq!(both.read.service_accounts, ["one", "two"]);
    assert_eq!(*both.in_force, read(&old));
    let begun = first.pre_granted[0].begun.clone();
    assert_eq!(begun, in_force(&read(&old)));

    let again = vec![grant("p/c", Ok(std::slice::from_ref(&new)), &[("a", &begun)])];
    let upgraded = desire_ahead(spec(&json!({})), vec![new.clone()], again.clone());
    assert_eq!(fates(&upgraded), [("a", &Fate::Over)]);
    assert_eq!(*role(&upgraded, "a").read, read(&new));
    // Written otherwise, it is the same request.
    let same = desire_ahead(spec(&json!({})), vec![asking("a", &["one"], &["s3:Old", "s3:Get*"])], again);
    assert_eq!(fates(&same), [("a", &Fate::Granted)]);
}

#[test]
fn what_is_covered_already_grants_nothing_more() {
    let (old, new) = (asking("a", &["one", "two"], &["s3:*"]), asking("a", &["two"], &["s3:Get*", "s3:PutObject"]));
    let desired = desire_ahead(spec(&json!({})), vec![old.clone()], vec![grant("p/c", Ok(&[new]), &[])]);
    assert_eq!(fates(&desired), [("a", &Fate::Nothing)]);
    assert_eq!(*role(&desired, "a").read, read(&old));
}

#[test]
fn a_component_that_comes_gets_a_role_and_no_secret() {
    let (old, new) = (asking("a", &["one"], &["s3:GetObject"]), asking("b", &["one"], &["s3:GetObject"]));
    let checks =
        vec![grant("p/c", Ok(std::slice::from_ref(&new)), &[]), grant("p/d", Ok(std::slice::from_ref(&new)), &[])];
    let desired = desire_ahead(spec(&json!({})), vec![old.clone()], checks);
    assert_eq!(fates(&desired), [("b", &Fate::Granted), ("b", &Fate::Granted)], "two checks share it");
    assert_eq!(desired.wanted().count(), 2);
    assert!(role(&desired, "b").secret.is_none());
    assert!(desired.claims.roles.contains("prod-eu-openshift-x-b"));
    // Once it is in force, it is a request like any other.
    let upgraded = desire_ahead(spec(&json!({})), vec![old, new.clone()], vec![grant("p/c", Ok(&[new]), &[("b", "")])]);
    assert_eq!(fates(&upgraded), [("b", &Fate::Over)]);
    assert!(role(&upgraded, "b").secret.is_some());
}

#[test]
fn what_is_refused_leaves_what_is_in_force() {
    let old = asking("a", &["one"], &["s3:GetObject"]);
    for (new, says) in [
        (asking("a", &["one"], &["iam:*"]), "guardrails"),
        (asking("a", &["one"], &[&format!("s3:{}", "x".repeat(12_000))]), "10240"),
    ] {
        let desired = desire_ahead(spec(&json!({})), vec![old.clone()], vec![grant("p/c", Ok(&[new]), &[])]);
        assert!(matches!(fates(&desired)[0].1, Fate::Refused(why) if why.contains(says)), "{:?}", fates(&desired));
        assert_eq!(*role(&desired, "a").read, read(&old));
    }
    // Refused itself: nothing is granted in its name.
    let refused = asking("a", &["one"], &["*"]);
    let desired = desire_ahead(spec(&json!({})), vec![refused], vec![grant("p/c", Ok(&[old]), &[])]);
    assert!(matches!(fates(&desired)[0].1, Fate::Refused(_)));
    assert_eq!(desired.wanted().count(), 0);
}

#[test]
fn a_new_role_never_takes_the_name_of_another() {
    let long = "x".repeat(60);
    let (old, new) =
        (asking(&format!("{long}a"), &["one"], &["s3:Get*"]), asking(&format!("{long}b"), &["one"], &["s3:Get*"]));
    let desired = desire_ahead(spec(&json!({})), vec![old], vec![grant("p/c", Ok(&[new]), &[])]);
    assert_eq!(desired.wanted().count(), 1);
    assert!(matches!(fates(&desired)[0].1, Fate::Refused(why) if why.contains("is also that of requests/")));
}

#[test]
fn what_cannot_be_read_takes_nothing_away() {
    let old = asking("a", &["one"], &["s3:GetObject"]);
    let begun = in_force(&read(&old));
    let checks = vec![grant("p/c", Err("no route"), &[("a", &begun), ("b", "")])];
    let desired = desire_ahead(spec(&json!({})), vec![old], checks);
    let kept = Fate::Kept("no route".into());
    assert_eq!(fates(&desired), [("a", &kept), ("b", &kept)]);
    assert!(role(&desired, "a").kept.as_ref().is_some_and(|why| why.contains("p/c") && why.contains("no route")));
    assert!(desired.claims.roles.contains("prod-eu-openshift-x-b"), "the new role is nobody's leftover");
}
