//! What should be, on data alone: partitions, trust policies, guardrails, collisions.

mod pregrant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::keys::{Held, KeySource};
use super::*;
use crate::policy::{Document, equivalent};

fn spec(more: &Value) -> ClusterIdentitySpec {
    let mut spec = json!({
        "infraName": "prod-eu", "region": "eu-west-1",
        "issuer": {"signingKeys": [{"secretRef": {"name": "signer", "key": "pub"}}]},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn request(name: &str, more: &Value) -> RequestInput {
    let mut spec = json!({
        "secretRef": {"namespace": "openshift-x", "name": name},
        "serviceAccountNames": ["one", "two"],
        "providerSpec": {
            "apiVersion": "cloudcredential.openshift.io/v1", "kind": "AWSProviderSpec",
            "statementEntries": [{"effect": "Allow", "action": ["s3:GetObject"], "resource": "*"}],
        },
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    RequestInput {
        id: RequestId { namespace: "requests".into(), name: name.into() },
        spec: Ok(serde_json::from_value(spec).unwrap()),
        candidate_of: None,
        tombstone: false,
        claimed_by: None,
        claim_in_doubt: false,
    }
}

fn desire_of(spec: ClusterIdentitySpec, requests: Vec<RequestInput>) -> Desired {
    desire_ahead(spec, requests, Vec::new())
}

fn desire_ahead(spec: ClusterIdentitySpec, requests: Vec<RequestInput>, pre_grants: Vec<PreGrant>) -> Desired {
    desire(&inputs_of(spec, requests, pre_grants)).unwrap()
}

fn inputs_of(spec: ClusterIdentitySpec, requests: Vec<RequestInput>, pre_grants: Vec<PreGrant>) -> Inputs {
    let pem = include_str!("../../tests/keys/first.pub");
    Inputs {
        identity: "prod/prod-eu".into(),
        spec,
        account: "123456789012".into(),
        trust_limit: None,
        pre_grants,
        refused_by_aws: BTreeMap::new(),
        granted_ahead: BTreeSet::new(),
        provisioned: Vec::new(),
        keys: vec![KeySource { origin: "Secret signer".into(), held: Ok(Held::Entry(pem.into())) }],
        remembered_keys: Vec::new(),
        requests,
        now: Timestamp::UNIX_EPOCH,
    }
}

fn only(desired: &Desired) -> &Wanted {
    let mut wanted = desired.wanted();
    let (_, first) = wanted.next().expect("one request is wanted");
    assert!(wanted.next().is_none());
    first
}

fn refusal(desired: &Desired, name: &str) -> RequestRefused {
    match &desired.requests.iter().find(|request| request.id.name == name).unwrap().verdict {
        RequestVerdict::Refused(refused) => refused.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_arn_is_of_its_partition() {
    for (region, partition, suffix) in [
        ("eu-west-1", "aws", "amazonaws.com"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
        ("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
        ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
        ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
    ] {
        let desired = desire_of(spec(&json!({"region": region})), vec![request("a", &json!({}))]);
        let host = format!("prod-eu-oidc.s3.{region}.{suffix}");
        assert_eq!(desired.issuer.url, format!("https://{host}"));
        let provider = format!("arn:{partition}:iam::123456789012:oidc-provider/{host}");
        assert_eq!(desired.issuer.provider.arn, provider);
        assert!(desired.issuer.bucket.policy.contains(&format!("arn:{partition}:s3:::prod-eu-oidc/*")));
        let role = &only(&desired).role;
        assert_eq!(role.arn, format!("arn:{partition}:iam::123456789012:role/prod-eu-openshift-x-a"));
        assert!(role.trust.text.contains(&provider) && role.trust.text.contains(&format!("{host}:sub")));
        assert!(only(&desired).secret.as_ref().unwrap().credentials.contains(&role.arn));
    }
}

#[test]
fn a_prefix_goes_into_url_keys_and_trust() {
    let bucket = json!({"issuer": {"bucket": {"name": "shared", "prefix": "a/b"}, "signingKeys": [{}]}});
    let desired = desire_of(spec(&bucket), vec![request("a", &json!({}))]);
    let url = "https://shared.s3.eu-west-1.amazonaws.com/a/b";
    assert_eq!(desired.issuer.url, url);
    assert_eq!(desired.issuer.discovery.key, "a/b/.well-known/openid-configuration");
    assert_eq!(desired.keys.as_ref().unwrap().document.key, "a/b/keys.json");
    assert!(desired.issuer.discovery.body.contains(&format!("\"jwks_uri\": \"{url}/keys.json\"")));
    assert!(only(&desired).role.trust.text.contains("shared.s3.eu-west-1.amazonaws.com/a/b:sub"));
}

#[test]
fn the_trust_policy_is_that_of_ccoctl_and_the_audience_is_added_on_request() {
    let plain = desire_of(spec(&json!({})), vec![request("a", &json!({}))]);
    let ccoctl = r#"{ "Version": "2012-10-17", "Statement": [ { "Effect": "Allow", "Principal": { "Federated": "arn:aws:iam::123456789012:oidc-provider/prod-eu-oidc.s3.eu-west-1.amazonaws.com" }, "Action": "sts:AssumeRoleWithWebIdentity", "Condition":  { "StringEquals": { "prod-eu-oidc.s3.eu-west-1.amazonaws.com:sub": [ "system:serviceaccount:openshift-x:one"  , "system:serviceaccount:openshift-x:two" ] } } } ] }"#;
    assert!(equivalent(&only(&plain).role.trust.document, &Document::parse(ccoctl).unwrap()));

    let with_audience = desire_of(spec(&json!({"roles": {"audienceCondition": true}})), vec![request("a", &json!({}))]);
    let trust = &only(&with_audience).role.trust;
    assert!(trust.text.contains(r#""prod-eu-oidc.s3.eu-west-1.amazonaws.com:aud":["openshift","sts.amazonaws.com"]"#));
    assert!(!equivalent(&trust.document, &Document::parse(ccoctl).unwrap()));
}

#[test]
fn guardrails_refuse_what_asks_for_all_of_a_pattern() {
    let asks = |action: &str| {
        json!({"providerSpec": {
            "apiVersion": "cloudcredential.openshift.io/v1", "kind": "AWSProviderSpec",
            "statementEntries": [{"effect": "Allow", "action": ["ec2:RunInstances", action], "resource": "*"}],
        }})
    };
    for (action, refused) in [
        ("*", true),
        ("iam:*", true),
        ("IAM:**", true),
        ("iam:GetUser", false),
        ("iam:Get*", false),
        ("s3:*", false),
        ("iam:?*", true),
    ] {
        let desired = desire_of(spec(&json!({})), vec![request("a", &asks(action))]);
        let is = matches!(&desired.requests[0].verdict, RequestVerdict::Refused(RequestRefused::DeniedAction { .. }));
        assert_eq!(is, refused, "{action}");
    }
    let own = spec(&json!({"guardrails": {"deniedActions": ["iam:CreateUser"]}}));
    let desired = desire_of(own, vec![request("a", &asks("iam:Create*"))]);
    assert!(
        refusal(&desired, "a").to_string().contains("iam:Create*, which guardrails.deniedActions (iam:CreateUser)")
    );
}

#[test]
fn collisions_name_the_others_and_spare_the_rest() {
    let long = "x".repeat(60);
    let named = |name: &str| json!({"secretRef": {"namespace": "openshift-x", "name": name}});
    let requests = || {
        vec![
            request("a", &named(&format!("{long}-a"))),
            request("b", &named(&format!("{long}-b"))),
            request("same", &named("s")),
            request("as", &named("s")),
            request("fine", &json!({})),
        ]
    };
    let desired = desire_of(spec(&json!({})), requests());
    assert_eq!(desired.wanted().map(|(id, _)| id.name.as_str()).collect::<Vec<_>>(), ["fine"]);
    assert!(
        matches!(refusal(&desired, "a"), RequestRefused::RoleNameCollision { others, .. } if others == "requests/b")
    );
    assert!(
        matches!(refusal(&desired, "as"), RequestRefused::SecretCollision { others, .. } if others == "requests/same")
    );
    let hashed = desire_of(spec(&json!({"roles": {"naming": "Hashed"}})), requests());
    assert_eq!(hashed.wanted().count(), 3, "hashed names do not collide; one Secret for two still does");
}

#[test]
fn the_spec_is_checked_without_a_schema_too() {
    for (more, says) in [
        (json!({"infraName": "Prod"}), "spec.infraName"),
        (json!({"infraName": ""}), "spec.infraName"),
        (json!({"region": "moon"}), "spec.region"),
        (json!({"issuer": {"bucket": {"name": "a.b.c"}, "signingKeys": [{}]}}), "spec.issuer.bucket.name"),
        (json!({"issuer": {"bucket": {"prefix": "a\"b"}, "signingKeys": [{}]}}), "spec.issuer.bucket.prefix"),
        (json!({"roles": {"path": "x"}}), "spec.roles.path"),
        (json!({"roles": {"tags": {"a": "1", "A": "2"}}}), "spec.roles.tags"),
        (json!({"roles": {"tags": {"name": "x"}}}), "spec.roles.tags"),
        (json!({"roles": {"tags": {"team": "R&D"}}}), "spec.roles.tags"),
        (
            json!({"credentialsRequests": {"selector": {"matchExpressions": [{"key": "a", "operator": "in"}]}}}),
            "spec.credentialsRequests.selector",
        ),
    ] {
        let error = check_spec(&spec(&more)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn fingerprints_change_with_meaning_alone() {
    let of = |more: Value| {
        let desired = desire_of(spec(&json!({})), vec![request("a", &more)]);
        only(&desired).role.fingerprint()
    };
    let statements = |action: Value| {
        json!({"providerSpec": {
            "apiVersion": "cloudcredential.openshift.io/v1", "kind": "AWSProviderSpec",
            "statementEntries": [{"effect": "Allow", "action": action, "resource": "*"}],
        }})
    };
    let once = of(statements(json!(["s3:GetObject", "s3:PutObject"])));
    assert_eq!(once, of(statements(json!(["S3:putobject", "s3:GetObject", "s3:GetObject"]))));
    assert_ne!(once, of(statements(json!(["s3:GetObject"]))));
    assert_ne!(once, of(json!({"serviceAccountNames": ["one"]})));
}
