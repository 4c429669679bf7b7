//! What others put on a live role, and what its component may still do.

use super::*;
use crate::api::ALLOW_NARROWING;
use crate::desired::consent::Consents;
use crate::plan::upgrade::LiveRole;
use crate::policy::coverage::{Granted, Source};

const ALL: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;

/// Guardrails of companies, by what they are for. None of them takes all of an action from any component of the release; a
/// boundary with them allows everything else.
const GUARDRAILS: [(&str, &str); 12] = [
    (
        "regions",
        r#"{"Effect":"Deny","NotAction":["iam:*","sts:*","route53:*","s3:*"],"Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["eu-west-1","eu-central-1"]}}}"#,
    ),
    (
        "multi-factor authentication of people",
        r#"{"Effect":"Deny","NotAction":"sts:*","Resource":"*","Condition":{"Null":{"aws:TokenIssueTime":"true"}}}"#,
    ),
    (
        "instance types",
        r#"{"Effect":"Deny","Action":"ec2:RunInstances","Resource":"arn:aws:ec2:*:*:instance/*","Condition":{"StringLike":{"ec2:InstanceType":["p*","x1*"]}}}"#,
    ),
    (
        "encrypted volumes",
        r#"{"Effect":"Deny","Action":["ec2:CreateVolume","ec2:RunInstances"],"Resource":"arn:aws:ec2:*:*:volume/*","Condition":{"Bool":{"ec2:Encrypted":"false"}}}"#,
    ),
    (
        "cost centres",
        r#"{"Effect":"Deny","Action":["ec2:RunInstances","ec2:CreateVolume"],"Resource":["arn:aws:ec2:*:*:instance/*","arn:aws:ec2:*:*:volume/*"],"Condition":{"Null":{"aws:RequestTag/cost-centre":"true"}}}"#,
    ),
    ("TLS", r#"{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#),
    (
        "the network of the company",
        r#"{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"},"Bool":{"aws:ViaAWSService":"false"}}}"#,
    ),
    (
        "audit buckets",
        r#"{"Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::company-audit","arn:aws:s3:::company-audit/*"]}"#,
    ),
    (
        "the organization",
        r#"{"Effect":"Deny","Action":["organizations:*","account:*","iam:CreateUser","iam:CreateAccessKey","cloudtrail:StopLogging","config:DeleteConfigRule"],"Resource":"*"}"#,
    ),
    (
        "company roles",
        r#"{"Effect":"Deny","Action":["iam:PassRole","iam:*Role","iam:*RolePolicy"],"Resource":"arn:aws:iam::*:role/company/*"}"#,
    ),
    (
        "shared zones",
        r#"{"Effect":"Deny","Action":"route53:ChangeResourceRecordSets","Resource":"arn:aws:route53:::hostedzone/Z0COMPANY"}"#,
    ),
    (
        "company keys",
        r#"{"Effect":"Deny","Action":["kms:ScheduleKeyDeletion","kms:DisableKey","kms:CreateGrant"],"Resource":"arn:aws:kms:*:*:key/company-*"}"#,
    ),
];

fn source(name: &str, statements: &str) -> Source {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    Source { name: name.to_owned(), document: Ok(Document::parse(&text).unwrap()) }
}

/// The live role that is as wanted, with these policies besides.
fn live(wanted: &Wanted, more: Vec<Source>, boundary: Option<Source>) -> LiveRole {
    let own = Source {
        name: format!("inline policy {}", wanted.role.name),
        document: Ok(wanted.role.permissions.document.clone()),
    };
    let identity = std::iter::once(own).chain(more).collect();
    LiveRole {
        name: wanted.role.name.clone(),
        trust: Ok(wanted.role.trust.document.clone()),
        granted: Granted { identity, boundary },
    }
}

fn judged(desired: &Desired, wanted: &Wanted, live: &LiveRole, boundary: BoundarySetBy) -> Effectiveness {
    effectiveness(wanted, live, boundary, &desired.issuer.provider, &desired.consents)
}

fn of_request<'a>(desired: &'a Desired, name: &str) -> &'a Wanted {
    desired.wanted().find(|(id, _)| id.name == name).map(|(_, wanted)| wanted).unwrap()
}

#[track_caller]
fn why(found: &Effectiveness, drift: bool) -> &str {
    match found {
        Effectiveness::Ineffective { why, is_drift } if *is_drift == drift => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_role_with_its_own_policy_and_an_open_boundary_is_effective() {
    let desired = desired();
    for (id, wanted) in desired.wanted() {
        for boundary in [None, Some(source("permissions boundary b", ALL))] {
            let live = live(wanted, Vec::new(), boundary);
            assert_eq!(judged(&desired, wanted, &live, BoundarySetBy::Spec), Effectiveness::Effective, "{id}");
        }
    }
}

#[test]
fn a_denial_of_everything_names_its_statement() {
    let desired = desired();
    for (id, wanted) in desired.wanted() {
        for deny in [
            r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#,
            r#"{"Effect":"Deny","NotAction":"sts:GetCallerIdentity","Resource":"*"}"#,
        ] {
            let live = live(wanted, vec![source("attached policy arn:aws:iam::123456789012:policy/stop", deny)], None);
            let found = judged(&desired, wanted, &live, BoundarySetBy::Spec);
            let why = why(&found, true);
            assert!(why.starts_with(&format!("role {} does not allow ", wanted.role.name)), "{id}: {why}");
            assert!(why.contains("statement 1 of attached policy") && why.contains("policy/stop"), "{id}: {why}");
        }
    }
}

/// What the message names as the consent is one, and only for what the boundary of the spec takes away.
#[test]
fn what_a_boundary_denies_may_be_allowed_by_its_digest_alone() {
    let mut desired = desired();
    let boundary =
        || Some(source("permissions boundary arn:b", r#"{"Effect":"Allow","Action":"sqs:ListQueues","Resource":"*"}"#));
    let wanted = desired.wanted().next().map(|(_, wanted)| wanted.clone()).unwrap();
    let judged = |desired: &Desired, more: Vec<Source>, set_by| {
        judged(desired, &wanted, &live(&wanted, more, boundary()), set_by)
    };
    let found = judged(&desired, Vec::new(), BoundarySetBy::Spec);
    let consent = why(&found, false).split_once("allow-narrowing: ").unwrap().1.split(' ').next().unwrap().to_owned();
    assert!(consent.starts_with(&wanted.role.name), "{consent}");
    let annotated = |value: &str| Consents::of(&BTreeMap::from([(ALLOW_NARROWING.to_owned(), value.to_owned())]));
    desired.consents = annotated(&format!("{}/0123456789abcdef", wanted.role.name));
    assert!(matches!(judged(&desired, Vec::new(), BoundarySetBy::Spec), Effectiveness::Ineffective { .. }));
    desired.consents = annotated(&consent);
    assert!(matches!(judged(&desired, Vec::new(), BoundarySetBy::Spec), Effectiveness::Narrowed(_)));
    assert!(matches!(judged(&desired, Vec::new(), BoundarySetBy::Others), Effectiveness::Ineffective { .. }));
    let deny = |condition: &str| {
        let statement = format!(r#"{{"Effect":"Deny","Action":"*","Resource":"*"{condition}}}"#);
        vec![source("inline policy theirs", &statement)]
    };
    let found = judged(&desired, deny(""), BoundarySetBy::Spec);
    assert!(why(&found, true).contains("inline policy theirs") || why(&found, true).contains("arn:b"), "{found:?}");
    let found = judged(&desired, deny(r#","Condition":{"Bool":{"aws:SecureTransport":"false"}}"#), BoundarySetBy::Spec);
    assert!(matches!(found, Effectiveness::Unknown(_)), "{found:?}");
}

#[test]
fn a_boundary_that_allows_less_is_drift_only_where_others_have_set_it() {
    let desired = desired();
    let sqs = r#"{"Effect":"Allow","Action":"sqs:ListQueues","Resource":"*"}"#;
    for (set_by, drift) in [(BoundarySetBy::Spec, false), (BoundarySetBy::Others, true)] {
        for (_, wanted) in desired.wanted() {
            let live = live(wanted, Vec::new(), Some(source("permissions boundary arn:b", sqs)));
            let found = judged(&desired, wanted, &live, set_by);
            let why = why(&found, drift);
            assert!(why.contains("permissions boundary arn:b does not allow it"), "{why}");
        }
    }
    // A denial by others is drift, whatever the boundary that is asked for takes away besides.
    let (_, wanted) = desired.wanted().next().unwrap();
    let deny = source("inline policy deny", r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#);
    let live = live(wanted, vec![deny], Some(source("permissions boundary arn:b", sqs)));
    why(&judged(&desired, wanted, &live, BoundarySetBy::Spec), true);
}

#[test]
fn one_action_that_is_denied_on_all_that_it_is_asked_for_is_enough() {
    let desired = desired();
    let wanted = of_request(&desired, "aws-ebs-csi-driver-operator");
    let of = |deny: &str| {
        judged(&desired, wanted, &live(wanted, vec![source("inline policy d", deny)], None), BoundarySetBy::Spec)
    };
    let all = of(r#"{"Effect":"Deny","Action":"ec2:CreateVolume","Resource":"*"}"#);
    assert!(why(&all, true).contains("does not allow ec2:CreateVolume: "), "{all:?}");
    for (case, deny) in [
        ("some volumes", r#"{"Effect":"Deny","Action":"ec2:CreateVolume","Resource":"arn:aws:ec2:*:*:volume/vol-1"}"#),
        (
            "under a condition",
            r#"{"Effect":"Deny","Action":"ec2:CreateVolume","Resource":"*","Condition":{"Bool":{"aws:ViaAWSService":"true"}}}"#,
        ),
        (
            "as a variable has it",
            r#"{"Effect":"Deny","Action":"ec2:CreateVolume","Resource":"arn:aws:ec2:*:*:volume/${aws:PrincipalTag/v}"}"#,
        ),
    ] {
        let found = of(deny);
        assert!(matches!(&found, Effectiveness::Unknown(why) if why.contains("ec2:CreateVolume")), "{case}: {found:?}");
    }
    let nothing = of(r#"{"Effect":"Deny","Action":"ec2:RunInstances","Resource":"*"}"#);
    assert_eq!(nothing, Effectiveness::Effective, "nobody asks for it");
}

#[test]
fn guardrails_of_companies_are_never_called_ineffective() {
    let desired = desired();
    let mut doubted = BTreeSet::new();
    for (purpose, deny) in GUARDRAILS {
        for (id, wanted) in desired.wanted() {
            let attached = live(wanted, vec![source("attached policy guardrail", deny)], None);
            let bounded = live(wanted, Vec::new(), Some(source("permissions boundary b", &format!("{ALL},{deny}"))));
            for live in [attached, bounded] {
                match judged(&desired, wanted, &live, BoundarySetBy::Others) {
                    Effectiveness::Effective => {}
                    Effectiveness::Unknown(_) => drop(doubted.insert(purpose)),
                    found => panic!("{purpose}, {id}: {found:?}"),
                }
            }
        }
    }
    // They do concern what the components ask for, or this would show nothing.
    assert!(doubted.len() >= 9, "{doubted:?}");
}

#[test]
fn what_cannot_be_read_is_not_guessed_at_but_a_denial_beside_it_counts() {
    let desired = desired();
    let (_, wanted) = desired.wanted().next().unwrap();
    let unread = || Source { name: "attached policy arn:x".into(), document: Err("access denied".into()) };
    for (more, boundary) in [(vec![unread()], None), (Vec::new(), Some(unread()))] {
        let found = judged(&desired, wanted, &live(wanted, more, boundary), BoundarySetBy::Others);
        assert!(matches!(&found, Effectiveness::Unknown(why) if why.contains("arn:x")), "{found:?}");
    }
    let deny = source("inline policy deny", r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#);
    let found = judged(&desired, wanted, &live(wanted, vec![unread(), deny], None), BoundarySetBy::Others);
    why(&found, true);
}

#[test]
fn a_trust_policy_that_denies_a_service_account_lets_it_do_nothing() {
    let desired = desired();
    let (_, wanted) = desired.wanted().next().unwrap();
    let of = |condition: &str| {
        let mut live = live(wanted, Vec::new(), None);
        let provider = &desired.issuer.provider.arn;
        let deny = format!(
            r#"{{"Statement":{{"Effect":"Deny","Principal":{{"Federated":"{provider}"}},"Action":"sts:AssumeRoleWithWebIdentity"{condition}}}}}"#
        );
        let trust = live.trust.as_mut().unwrap();
        trust.statements.extend(Document::parse(&deny).unwrap().statements);
        judged(&desired, wanted, &live, BoundarySetBy::Spec)
    };
    assert!(why(&of(""), true).contains("does not admit the service account"));
    let conditional = of(r#","Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}"#);
    assert!(matches!(conditional, Effectiveness::Unknown(_)), "{conditional:?}");
}
