//! The judgement on the cases that others got wrong, and on real releases; [`soundness`] holds it against the reference.

mod soundness;

use super::*;
use crate::policy::Document;
use crate::policy::document::tests as read_tests;
use crate::policy::pattern::matches;

fn source(name: &str, statements: &str) -> Source {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    Source { name: name.into(), document: Ok(Document::parse(&text).unwrap()) }
}

fn granted(statements: &str) -> Granted {
    Granted { identity: vec![source("inline policy p", statements)], boundary: None }
}

fn required(actions: &[&str], resource: &str, condition: &str) -> Required {
    let conditions = if condition.is_empty() {
        Vec::new()
    } else {
        read_tests(&serde_json::from_str(condition).unwrap(), "c").unwrap()
    };
    let actions = actions.iter().map(|action| (*action).to_owned()).collect();
    Required { effect: Effect::Allow, actions, resource: resource.into(), conditions }
}

fn one(required: Required, granted: &Granted) -> Finding {
    judge(&[required], granted).remove(0)
}

#[test]
fn what_others_got_wrong() {
    use Verdict::{Conditional, Covered, Indeterminate, Missing};
    let bool_true = r#"{"Bool":{"kms:GrantIsForAWSResource":true}}"#;
    for (policy, action, resource, condition, verdict) in [
        // Spelling.
        (r#"{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}"#, "s3:GetObject", "*", "", Covered),
        (r#"{"Effect":"Allow","Action":"s3:**","Resource":"*"}"#, "s3:GetObject", "*", "", Covered),
        (r#"{"Effect":"Allow","Action":"S3:getobject","Resource":"*"}"#, "s3:GetObject", "*", "", Covered),
        (r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#, "s3:Get*", "*", "", Covered),
        (r#"{"Effect":"Allow","Action":"s3:?*","Resource":"*"}"#, "s3:*", "*", "", Covered),
        // Unions.
        (r#"{"Effect":"Allow","Action":["s3:G*","s3:P*"],"Resource":"*"}"#, "s3:Get*", "*", "", Covered),
        (r#"{"Effect":"Allow","Action":["s3:GetO*","s3:GetB*"],"Resource":"*"}"#, "s3:Get*", "*", "", Missing),
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::a*"},{"Effect":"Allow","NotAction":"ec2:*","NotResource":"arn:aws:s3:::a*"}"#,
            "s3:GetObject",
            "*",
            "",
            Covered,
        ),
        // Resources.
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:*:*:*"}"#,
            "s3:GetObject",
            "arn:aws:s3:::b/*",
            "",
            Covered,
        ),
        (
            r#"{"Effect":"Allow","Action":"sqs:*","Resource":"arn:aws:sqs:us-east-1:*"}"#,
            "sqs:SendMessage",
            "arn:aws:sqs:us-east-1:1:q",
            "",
            Covered,
        ),
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::B"}"#,
            "s3:GetObject",
            "arn:aws:s3:::b",
            "",
            Missing,
        ),
        (r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b"}"#, "s3:GetObject", "*", "", Missing),
        // A Deny elsewhere blocks, in part too.
        (
            r#"{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetBucket*","Resource":"*"}"#,
            "s3:Get*",
            "*",
            "",
            Missing,
        ),
        (
            r#"{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","NotAction":"s3:*","Resource":"*"}"#,
            "s3:Get*",
            "*",
            "",
            Covered,
        ),
        (
            r#"{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
            "s3:Get*",
            "*",
            "",
            Conditional,
        ),
        // Conditions.
        (
            r#"{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}}"#,
            "kms:CreateGrant",
            "*",
            bool_true,
            Covered,
        ),
        (
            r#"{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}}"#,
            "kms:CreateGrant",
            "*",
            "",
            Conditional,
        ),
        (r#"{"Effect":"Allow","Action":"kms:*","Resource":"*"}"#, "kms:CreateGrant", "*", bool_true, Covered),
        // A Deny whose condition contradicts what is asked for.
        (
            r#"{"Effect":"Allow","Action":"kms:*","Resource":"*"},{"Effect":"Deny","Action":"kms:CreateGrant","Resource":"*","Condition":{"Bool":{"kms:GrantIsForAWSResource":"false"}}}"#,
            "kms:CreateGrant",
            "*",
            bool_true,
            Covered,
        ),
        (
            r#"{"Effect":"Allow","Action":"kms:*","Resource":"*"},{"Effect":"Deny","Action":"kms:CreateGrant","Resource":"*","Condition":{"Bool":{"kms:GrantIsForAWSResource":"false"}}}"#,
            "kms:CreateGrant",
            "*",
            r#"{"BoolIfExists":{"kms:GrantIsForAWSResource":true}}"#,
            Covered,
        ),
        (
            r#"{"Effect":"Allow","Action":"kms:*","Resource":"*"},{"Effect":"Deny","Action":"kms:CreateGrant","Resource":"*","Condition":{"BoolIfExists":{"kms:GrantIsForAWSResource":"false"}}}"#,
            "kms:CreateGrant",
            "*",
            "",
            Conditional,
        ),
        // Variables.
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}"}"#,
            "s3:Get*",
            "arn:aws:s3:::b",
            "",
            Indeterminate,
        ),
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}"}"#,
            "s3:Get*",
            "arn:aws:s3:::${aws:username}",
            "",
            Covered,
        ),
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}/*"}"#,
            "s3:Get*",
            "arn:aws:s3:::b/c",
            "",
            Indeterminate,
        ),
        (
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}/*"}"#,
            "s3:Get*",
            "arn:aws:s3:::b",
            "",
            Covered,
        ),
    ] {
        let finding = one(required(&[action], resource, condition), &granted(policy));
        assert_eq!(finding.verdict, verdict, "{action} on {resource} by {policy}: {finding:?}");
    }
}

#[test]
fn a_finding_names_the_statement_and_an_example() {
    let policy = granted(
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:DeleteBucket","Resource":"arn:aws:s3:::b"}"#,
    );
    let finding = one(required(&["s3:Delete*"], "*", ""), &policy);
    assert_eq!(finding.reason.to_string(), "statement 2 of inline policy p denies s3:DeleteBucket on arn:aws:s3:::b");
    assert_eq!(finding.example, Some(("s3:DeleteBucket".into(), "arn:aws:s3:::b".into())));
    let finding = one(required(&["kms:ReEncrypt*"], "*", ""), &policy);
    assert_eq!((finding.action.as_str(), finding.reason), ("kms:ReEncrypt*", Reason::NoStatement));
    let finding =
        one(required(&["s3:GetObject"], "*", ""), &granted(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#));
    assert_eq!(finding.reason.to_string(), "allowed by statement 1 of inline policy p");
    assert_eq!(finding.example, None);
}

#[test]
fn all_that_is_denied_inside_of_a_pattern_is_named_as_the_statements_spell_it() {
    let all = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
    let deny = |actions: &str| format!(r#"{{"Effect":"Deny","Action":{actions},"Resource":"*"}}"#);
    let of = |action: &str, denials: &[String]| {
        let finding = one(required(&[action], "*", ""), &granted(&format!("{all},{}", denials.join(","))));
        assert_eq!((finding.verdict, finding.action.as_str()), (Verdict::Missing, action), "{finding:?}");
        (finding.reason.to_string().replace(" of inline policy p", ""), finding.example.map(|(action, _)| action))
    };
    let two = deny(r#"["s3:DeleteBucket","s3:DeleteObject","s3:PutObject","S3:deletebucket"]"#);
    let says = |text: &str, example: &str| (text.to_owned(), Some(example.to_owned()));
    let both = says("statement 2 denies s3:DeleteBucket, s3:DeleteObject", "s3:DeleteBucket");
    assert_eq!(of("s3:Delete*", std::slice::from_ref(&two)), both);
    // Patterns are named, too, and across statements; what reaches further is not a part.
    assert_eq!(
        of("s3:Delete*", &[deny(r#""s3:DeleteB*""#), deny(r#"["s3:DeleteO*","s3:Get*","s3:D*x"]"#)]).0,
        "statement 2 denies s3:DeleteB*; statement 3 denies s3:DeleteO*"
    );
    assert_eq!(of("s3:Delete*", &[deny(r#""s3:*Bucket""#)]), says("statement 2 denies it", "s3:DeleteBucket"));
    let many: Vec<String> = (0..7).map(|n| format!(r#""s3:DeleteN{n}""#)).collect();
    assert_eq!(
        of("s3:Delete*", &[deny(&format!("[{}]", many.join(",")))]).0,
        "statement 2 denies s3:DeleteN0, s3:DeleteN1, s3:DeleteN2, s3:DeleteN3, s3:DeleteN4; 2 more are denied"
    );
    // The whole needs no names.
    assert_eq!(of("s3:Delete*", &[deny(r#"["s3:DeleteBucket","s3:*"]"#)]), ("statement 2 denies it".into(), None));
    // What the request denies itself is not missing.
    let own = Required { effect: Effect::Deny, ..required(&["s3:DeleteBucket"], "*", "") };
    let finding = judge(&[required(&["s3:Delete*"], "*", ""), own], &granted(&format!("{all},{two}"))).remove(0);
    assert_eq!(finding.reason.to_string(), "statement 2 of inline policy p denies s3:DeleteObject");
    assert_eq!(finding.example.unwrap().0, "s3:DeleteObject");
}

#[test]
fn an_example_of_what_nothing_allows_is_spelt_as_the_request_spells_it() {
    let policy = granted(r#"{"Effect":"Allow","Action":"s3:GETO*","Resource":"*"}"#);
    let finding = one(required(&["s3:GetO*", "s3:Get*"], "*", ""), &policy);
    assert_eq!(finding.verdict, Verdict::Covered);
    let finding = one(required(&["s3:Get*"], "*", ""), &policy);
    assert_eq!((finding.reason, finding.example.unwrap().0.as_str()), (Reason::NoStatement, "s3:Get"));
}

#[test]
fn a_boundary_cuts_and_what_cannot_be_read_is_no_proof() {
    let all = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let mut policies = granted(all);
    policies.boundary = Some(source("permissions boundary b", r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#));
    assert_eq!(one(required(&["s3:Get*"], "*", ""), &policies).verdict, Verdict::Covered);
    let outside = one(required(&["ec2:Run*"], "*", ""), &policies);
    assert_eq!(
        (outside.verdict, outside.reason.to_string().as_str()),
        (Verdict::Missing, "permissions boundary b does not allow it")
    );
    let unread = |name: &str| Source { name: name.into(), document: Err("AccessDenied".into()) };
    policies.boundary = Some(unread("permissions boundary b"));
    assert_eq!(one(required(&["s3:Get*"], "*", ""), &policies).verdict, Verdict::Indeterminate);
    // A foreign policy may deny what ours grants (in the very words of the request, too), and may grant what ours does not.
    for statements in [
        all,
        r#"{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}"#,
        r#"{"Effect":"Allow","Action":"ec2:*","Resource":"*"}"#,
    ] {
        let mut policies = granted(statements);
        policies.identity.push(unread("attached policy x"));
        let finding = one(required(&["s3:Get*"], "*", ""), &policies);
        assert_eq!(finding.verdict, Verdict::Indeterminate, "{finding:?}");
        assert!(finding.reason.to_string().contains("attached policy x could not be read (AccessDenied)"));
    }
    // What is denied stays denied, whatever else there is.
    let mut policies = granted(r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#);
    policies.identity.push(unread("attached policy x"));
    assert_eq!(one(required(&["s3:Get*"], "*", ""), &policies).verdict, Verdict::Missing);
}

#[test]
fn a_statement_that_names_principals_grants_a_role_nothing() {
    let statement = |principal: &str| format!(r#"{{"Effect":"Allow",{principal}"Action":"s3:*","Resource":"*"}}"#);
    let verdict = |principal: &str| one(required(&["s3:GetObject"], "*", ""), &granted(&statement(principal))).verdict;
    assert_eq!(verdict(""), Verdict::Covered);
    assert_eq!(verdict(r#""Principal":"*","#), Verdict::Missing);
    assert_eq!(verdict(r#""NotPrincipal":{"AWS":"123456789012"},"#), Verdict::Missing);
}

#[test]
fn what_a_request_denies_itself_is_not_asked_for() {
    let policy = granted(r#"{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}"#);
    let own = Required { effect: Effect::Deny, ..required(&["s3:Delete*", "s3:P*"], "*", "") };
    let findings = judge(&[required(&["s3:GetObject", "s3:PutObject", "s3:List*"], "*", ""), own], &policy);
    let verdicts: Vec<_> = findings.iter().map(|finding| finding.verdict).collect();
    assert_eq!(verdicts, [Verdict::Covered, Verdict::Covered, Verdict::Missing]);
}

#[test]
fn what_a_request_denies_itself_under_a_condition_may_be_denied_to_it_so() {
    let statements = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:Delete*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#;
    let insecure = r#"{"Bool":{"aws:SecureTransport":false}}"#;
    let own = Required { effect: Effect::Deny, ..required(&["s3:Delete*"], "*", insecure) };
    let all = required(&["s3:*"], "*", "");
    assert_eq!(judge(&[all.clone(), own.clone()], &granted(statements))[0].verdict, Verdict::Covered);
    // A Deny that goes further is not.
    let further = statements.replace("s3:Delete*", "s3:D*");
    assert_eq!(judge(&[all.clone(), own.clone()], &granted(&further))[0].verdict, Verdict::Conditional);
    let always = statements.replace(r#","Condition":{"Bool":{"aws:SecureTransport":"false"}}"#, "");
    assert_eq!(judge(&[all, own], &granted(&always))[0].verdict, Verdict::Missing);
}

#[test]
fn a_variable_that_is_asked_for_stands_for_anything_it_may_be() {
    let own = r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::h/${aws:username}"}"#;
    let denied = format!(r#"{own},{{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::h/bob"}}"#);
    let asks = || required(&["s3:GetObject"], "arn:aws:s3:::h/${aws:username}", "");
    assert_eq!(one(asks(), &granted(own)).verdict, Verdict::Covered);
    assert_eq!(one(asks(), &granted(&denied)).verdict, Verdict::Missing);
    let wide = r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::h/*"}"#;
    assert_eq!(one(asks(), &granted(wide)).verdict, Verdict::Covered);
    let narrow = r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::h/?????????????"}"#;
    assert_eq!(one(asks(), &granted(narrow)).verdict, Verdict::Missing);
    // To a document of the older version it is text.
    for text in [
        own,
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"k":"${aws:username}"}}}"#,
    ] {
        let older = Document::parse(&format!(r#"{{"Version":"2008-10-17","Statement":[{text}]}}"#)).unwrap();
        let source = Source { name: "p".into(), document: Ok(older) };
        let granted = Granted { identity: vec![source], boundary: None };
        let conditional = required(
            &["s3:GetObject"],
            "arn:aws:s3:::h/${aws:username}",
            r#"{"StringEquals":{"k":"${aws:username}"}}"#,
        );
        assert_ne!(one(conditional, &granted).verdict, Verdict::Covered, "{text}");
    }
}

/// Patterns whose texts are too many to be told apart: that the one meets the other is plain.
#[test]
fn what_is_surely_denied_is_missing_however_hard_the_patterns_are() {
    let hard = |letter: char| format!("*{letter}").repeat(500) + "*";
    let allow = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let on = |denials: &str| granted(&format!("{allow},{denials}"));
    let deny =
        |action: &str, resource: &str| format!(r#"{{"Effect":"Deny","Action":"{action}","Resource":"{resource}"}}"#);
    let meets = |finding: &Finding, action: &str, resource: &str| {
        let (on_action, on_resource) = finding.example.clone().unwrap();
        matches(action, &on_action.to_lowercase()) && matches(resource, &on_resource)
    };
    let asked = required(&["s3:Get*"], &hard('a'), "");
    for (action, resource) in [("s3:GetObject", hard('b')), ("*", hard('b')), ("s3:*t*", "*ab*".into())] {
        let finding = one(asked.clone(), &on(&deny(action, &resource)));
        assert_eq!(finding.verdict, Verdict::Missing, "{action}");
        assert!(meets(&finding, "s3:get*", &hard('a')) && meets(&finding, &action.to_lowercase(), &resource));
    }
    // All of it is denied.
    let finding = one(asked.clone(), &on(&deny("s3:*", "*a*")));
    assert_eq!((finding.verdict, finding.example), (Verdict::Missing, None));
    // What nothing allows is not a part, however it is denied.
    let finding = one(required(&["s3:Get*"], "*", ""), &granted(&deny("s3:GetObject", "*")));
    assert_eq!((finding.verdict, finding.example), (Verdict::Missing, None));
    // A condition, or what the request denies itself, leaves it open.
    let conditional = deny("s3:*", &hard('b')).replace('}', r#","Condition":{"Bool":{"aws:ViaAWSService":"true"}}}"#);
    assert_eq!(one(asked.clone(), &on(&conditional)).reason, Reason::TooLarge);
    let own = Required { effect: Effect::Deny, ..required(&["s3:GetO*"], &hard('b'), "") };
    let with_own = |action: &str| judge(&[asked.clone(), own.clone()], &on(&deny(action, &hard('b')))).remove(0);
    assert_eq!(with_own("s3:GetObject").reason, Reason::TooLarge);
    let beside = with_own("s3:GetBucketTagging");
    assert_eq!((beside.verdict, beside.example.unwrap().0.as_str()), (Verdict::Missing, "s3:GetBucketTagging"));
    // Where no plain text is asked for, the denial stands although the others cannot be told apart.
    let short = Required { effect: Effect::Deny, ..required(&["s3:Get", "s3:Get?"], "*", "") };
    let finding = judge(&[asked, short], &on(&deny("s3:GetObject", &hard('b')))).remove(0);
    assert_eq!((finding.verdict, finding.example.unwrap().0.as_str()), (Verdict::Missing, "s3:GetObject"));
}

/// Each of them is left open by every text, so that all their combinations occur; that nothing grants the rest is plain.
#[test]
fn what_is_missing_is_found_among_more_combinations_than_can_be_told_apart() {
    let letters: Vec<String> =
        ('a'..='p').map(|c| format!(r#"{{"Effect":"Allow","Action":"s3:*{c}*","Resource":"*{c}*"}}"#)).collect();
    let finding = one(required(&["s3:*"], "*", ""), &granted(&letters.join(",")));
    assert_eq!((finding.verdict, &finding.reason), (Verdict::Missing, &Reason::NoStatement));
    let (action, resource) = finding.example.clone().unwrap();
    assert!(
        !action.contains(|c: char| ('a'..='p').contains(&c)) || !resource.contains(|c: char| ('a'..='p').contains(&c)),
        "{finding:?}"
    );
    // With a Deny among them the texts have to be told apart, and there is an end to that.
    let denied = format!(r#"{},{{"Effect":"Deny","Action":"s3:*q*","Resource":"*q?*"}}"#, letters.join(","));
    assert_eq!(one(required(&["s3:*"], "*", ""), &granted(&denied)).verdict, Verdict::Missing);
}

#[test]
fn any_action_taken_out_of_a_policy_is_named_and_nothing_else() {
    let release = include_str!("../../../tests/releases/4.18.yaml");
    let mut taken = 0;
    for manifest in crate::release::manifests::read_file("4.18", release).unwrap() {
        let Some(crate::desired::request::Reading::Ours(read)) =
            manifest.spec.ok().and_then(|spec| crate::desired::request::read(&spec).ok())
        else {
            continue;
        };
        let required: Vec<Required> = read.required();
        for (index, entry) in required.iter().enumerate() {
            for action in &entry.actions {
                let mut live = required.clone();
                live[index].actions.retain(|other| other != action);
                let policy = granted_by(&live);
                let missing: Vec<String> = judge(&required, &policy)
                    .into_iter()
                    .filter(|finding| finding.verdict != Verdict::Covered)
                    .map(|finding| finding.action)
                    .collect();
                let still = live
                    .iter()
                    .flat_map(|entry| &entry.actions)
                    .any(|other| matches(&other.to_lowercase(), &action.to_lowercase()));
                assert!(missing == [action.clone()] || still && missing.is_empty(), "{action}: {missing:?}");
                taken += 1;
            }
        }
    }
    assert!(taken > 100, "{taken}");
}

fn granted_by(entries: &[Required]) -> Granted {
    let statements: Vec<crate::policy::Statement> = entries
        .iter()
        .filter(|entry| !entry.actions.is_empty())
        .map(|entry| crate::policy::Statement {
            sid: None,
            effect: entry.effect,
            principals: None,
            actions: crate::policy::Clause::Only(entry.actions.clone()),
            resources: Some(crate::policy::Clause::Only(vec![entry.resource.clone()])),
            conditions: entry.conditions.clone(),
        })
        .collect();
    let document = Document { version: crate::policy::document::Version::V2012, id: None, statements };
    Granted { identity: vec![Source { name: "inline policy p".into(), document: Ok(document) }], boundary: None }
}
