//! What is granted ahead of an upgrade.

use super::*;
use crate::desired::pregrant::{Begun, Fate, NotGranted, in_force, policies};

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

fn key(name: &str) -> SecretKey {
    SecretKey { namespace: "openshift-x".into(), name: name.into() }
}

fn grant(check: &str, targets: Result<&[RequestInput], &str>, begun: &[(&str, Begun)]) -> PreGrant {
    let of = |request: &RequestInput| (read(request).secret, Ok(vec![read(request)]));
    PreGrant {
        check: check.into(),
        targets: targets.map(|targets| targets.iter().map(of).collect()).map_err(str::to_owned),
        begun: begun.iter().map(|(name, was)| (key(name), was.clone())).collect(),
        stale: false,
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
    assert_eq!(begun.in_force, in_force(&read(&old)));
    assert_eq!(begun.policies, policies(&both.role));

    let again = vec![grant("p/c", Ok(std::slice::from_ref(&new)), &[("a", begun)])];
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
    let upgraded = desire_ahead(
        spec(&json!({})),
        vec![old, new.clone()],
        vec![grant("p/c", Ok(&[new]), &[("b", Begun::default())])],
    );
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
        assert!(
            matches!(fates(&desired)[0].1, Fate::Refused(why) if why.to_string().contains(says)),
            "{:?}",
            fates(&desired)
        );
        assert_eq!(*role(&desired, "a").read, read(&old));
    }
    // Refused itself: nothing is granted in its name.
    let refused = asking("a", &["one"], &["*"]);
    let desired = desire_ahead(spec(&json!({})), vec![refused], vec![grant("p/c", Ok(&[old]), &[])]);
    assert_eq!(fates(&desired), [("a", &Fate::Refused(NotGranted::NotServed))]);
    assert_eq!(desired.wanted().count(), 0);
}

#[test]
fn a_new_role_never_takes_the_name_of_another() {
    let long = "x".repeat(60);
    let (old, new) =
        (asking(&format!("{long}a"), &["one"], &["s3:Get*"]), asking(&format!("{long}b"), &["one"], &["s3:Get*"]));
    let desired = desire_ahead(spec(&json!({})), vec![old], vec![grant("p/c", Ok(&[new]), &[])]);
    assert_eq!(desired.wanted().count(), 1);
    assert!(
        matches!(fates(&desired)[0].1, Fate::Refused(why) if why.to_string().contains("is also that of requests/"))
    );
}

#[test]
fn what_cannot_be_read_takes_nothing_away() {
    let (old, new) = (asking("a", &["one"], &["s3:Get*"]), asking("a", &["one"], &["s3:Put*"]));
    let first =
        desire_ahead(spec(&json!({})), vec![old.clone()], vec![grant("p/c", Ok(std::slice::from_ref(&new)), &[])]);
    let begun = first.pre_granted[0].begun.clone();
    let made = Begun { policies: "made".into(), ..Begun::default() };
    let unread = grant("p/c", Err("no route"), &[("a", begun.clone()), ("b", made.clone())]);
    // Neither by a release that cannot be read, nor because the check was changed meanwhile.
    for stale in [false, true] {
        let checks = vec![PreGrant { stale, ..unread.clone() }];
        let desired = desire_ahead(spec(&json!({})), vec![old.clone()], checks);
        let kept = Fate::Kept("no route".into());
        assert_eq!(fates(&desired), [("a", &kept), ("b", &kept)]);
        assert_eq!(desired.pre_granted[0].begun, begun);
        match &role(&desired, "a").hold {
            Some(Hold::Granted { policies, why }) => {
                assert!(*policies == begun.policies && why.contains("p/c") && why.contains("no route"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        assert!(desired.claims.roles.contains("prod-eu-openshift-x-b"), "the new role is nobody's leftover");
    }
    // Nor by one request of it.
    let mut one = grant("p/c", Ok(&[]), &[("a", begun.clone())]);
    one.targets = Ok([(key("a"), Err("misspelt".to_owned()))].into());
    let desired = desire_ahead(spec(&json!({})), vec![old.clone()], vec![one]);
    assert_eq!(fates(&desired), [("a", &Fate::Kept("misspelt".into()))]);
    assert!(role(&desired, "a").hold.is_some());
    // A release that does not ask for it any more is no such thing.
    let desired = desire_ahead(spec(&json!({})), vec![old], vec![grant("p/c", Ok(&[]), &[("a", begun)])]);
    assert_eq!(fates(&desired), [("a", &Fate::Nothing)]);
    assert!(role(&desired, "a").hold.is_none());
}

#[test]
fn a_check_that_was_changed_begins_anew() {
    let (old, new) = (asking("a", &["one"], &["s3:Get*"]), asking("a", &["one"], &["s3:Put*"]));
    let other = Begun { in_force: "of another upgrade".into(), policies: String::new() };
    let over = grant("p/c", Ok(std::slice::from_ref(&new)), &[("a", other)]);
    assert_eq!(fates(&desire_ahead(spec(&json!({})), vec![old.clone()], vec![over.clone()])), [("a", &Fate::Over)]);
    let anew = desire_ahead(spec(&json!({})), vec![old], vec![PreGrant { stale: true, ..over }]);
    assert_eq!(fates(&anew), [("a", &Fate::Granted)]);
}

#[test]
fn checks_for_one_new_component_are_united_and_spare_what_another_keeps() {
    let (one, two) = (asking("b", &["one"], &["s3:Get*"]), asking("b", &["two"], &["s3:Put*"]));
    let made = Begun { policies: "made".into(), ..Begun::default() };
    let checks = vec![
        grant("p/c", Ok(std::slice::from_ref(&one)), &[("b", made.clone())]),
        grant("p/d", Ok(std::slice::from_ref(&two)), &[]),
    ];
    let desired = desire_ahead(spec(&json!({})), Vec::new(), checks);
    assert_eq!(fates(&desired), [("b", &Fate::Granted), ("b", &Fate::Granted)]);
    assert_eq!(role(&desired, "b").read.service_accounts, ["one", "two"]);
    assert!(role(&desired, "b").hold.is_none());

    let checks = vec![grant("p/c", Err("no route"), &[("b", made)]), grant("p/d", Ok(std::slice::from_ref(&two)), &[])];
    let desired = desire_ahead(spec(&json!({})), Vec::new(), checks);
    assert!(matches!(&role(&desired, "b").hold, Some(Hold::Granted { policies, .. }) if policies == "made"));
    // A role that no check has made may be that of a request which is not served.
    let desired = desire_ahead(spec(&json!({})), Vec::new(), vec![grant("p/d", Ok(&[two]), &[])]);
    assert_eq!(role(&desired, "b").hold, Some(Hold::Existing));
}

#[test]
fn checks_for_one_component_remember_what_they_have_made_together() {
    let old = asking("a", &["one"], &["s3:Get*"]);
    let (one, two) = (asking("a", &["one"], &["s3:Put*"]), asking("a", &["two"], &["s3:Delete*"]));
    let checks = |first| vec![first, grant("p/d", Ok(std::slice::from_ref(&two)), &[])];
    let first = checks(grant("p/c", Ok(std::slice::from_ref(&one)), &[]));
    let all = desire_ahead(spec(&json!({})), vec![old.clone()], first);
    let made = policies(&role(&all, "a").role);
    assert_eq!(all.pre_granted.iter().map(|one| &one.begun.policies).collect::<Vec<_>>(), [&made, &made]);
    // After a restart the first release is still being read: what both have granted stays as it is.
    let begun = all.pre_granted[0].begun.clone();
    let unread = checks(grant("p/c", Err("being read"), &[("a", begun)]));
    let held = desire_ahead(spec(&json!({})), vec![old], unread);
    assert!(matches!(&role(&held, "a").hold, Some(Hold::Granted { policies, .. }) if *policies == made));
}

#[test]
fn what_aws_has_refused_is_not_asked_of_it_again() {
    let (old, new) = (asking("a", &["one"], &["s3:Get*"]), asking("a", &["one"], &["s3:Put*"]));
    let check = grant("p/c", Ok(&[new]), &[]);
    let first = desire_ahead(spec(&json!({})), vec![old.clone()], vec![check.clone()]);
    let refused = BTreeMap::from([(role(&first, "a").role.fingerprint(), "quota".to_owned())]);
    let inputs = Inputs { refused_by_aws: refused, ..inputs_of(spec(&json!({})), vec![old.clone()], vec![check]) };
    let next = desire(&inputs).unwrap();
    assert_eq!(fates(&next), [("a", &Fate::Refused(NotGranted::ByAws("quota".into())))]);
    assert_eq!(*role(&next, "a").read, read(&old));
}
