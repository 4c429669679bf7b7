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
        has: None,
        created: None,
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
        owners: Owners::default(),
        consents: Consents::default(),
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

/// A request that has the role and the Secret that it asks for by this name.
fn having(name: &str, more: &Value) -> RequestInput {
    let plain = request(name, more);
    let key = plain.spec.as_ref().unwrap().secret_ref.key().unwrap();
    let has = Provisioned {
        role: format!("prod-eu-{}-{}", key.namespace, key.name).chars().take(64).collect(),
        role_arn: String::new(),
        role_id: String::new(),
        secret: Some(key),
        token_path: String::new(),
        policy_hash: None,
        trust_hash: None,
    };
    RequestInput { has: Some(has), ..plain }
}

#[test]
fn of_requests_that_collide_the_one_that_has_it_or_the_older_one_keeps_it() {
    let long = "x".repeat(60);
    let named = |name: &str| json!({"secretRef": {"namespace": "openshift-x", "name": name}});
    let made =
        |second: i64, request: RequestInput| RequestInput { created: Timestamp::from_second(second).ok(), ..request };
    let requests = || {
        vec![
            made(2, request("a", &named(&format!("{long}-a")))),
            made(1, request("b", &named(&format!("{long}-b")))),
            made(1, request("same", &named("s"))),
            made(2, having("incumbent", &named("s"))),
            request("fine", &json!({})),
        ]
    };
    let served = |desired: &Desired| desired.wanted().map(|(id, _)| id.name.clone()).collect::<Vec<_>>();
    let desired = desire_of(spec(&json!({})), requests());
    assert_eq!(served(&desired), ["b", "fine", "incumbent"]);
    let keeps = |name: &str, of: &str| match refusal(&desired, name) {
        RequestRefused::RoleNameCollision { keeper, .. } | RequestRefused::SecretCollision { keeper, .. } => {
            assert_eq!(keeper, format!("requests/{of}"));
        }
        other => panic!("{other}"),
    };
    keeps("a", "b");
    keeps("same", "incumbent");
    let hashed = desire_of(spec(&json!({"roles": {"naming": "Hashed"}})), requests());
    assert_eq!(served(&hashed), ["a", "b", "fine", "incumbent"], "hashed names do not collide");
}

#[test]
fn a_request_claims_what_it_has_until_it_has_what_it_asks_for() {
    let mut moved = having("old", &json!({}));
    moved.spec = request("new", &json!({})).spec;
    let desired = desire_of(spec(&json!({})), vec![moved.clone()]);
    assert!(["old", "new"].iter().all(|name| desired.claims.roles.contains(&format!("prod-eu-openshift-x-{name}"))));
    assert_eq!(desired.claims.secrets.len(), 2);
    // Also while it is refused, and then it is looked at as it is.
    moved.spec = Err("undecodable".into());
    let refused = desire_of(spec(&json!({})), vec![moved.clone()]);
    assert!(refused.claims.roles.contains("prod-eu-openshift-x-old"));
    assert_eq!(refused.kept().count(), 1);
    // Not where the release has removed it, nor where it is for another cloud.
    let removed = RequestInput { tombstone: true, ..having("old", &json!({})) };
    assert!(desire_of(spec(&json!({})), vec![removed]).claims.roles.is_empty());
    let elsewhere = json!({"providerSpec": {"kind": "GCPProviderSpec"}});
    assert!(desire_of(spec(&json!({})), vec![having("old", &elsewhere)]).claims.roles.is_empty());
}

#[test]
fn a_provider_kind_that_is_none_is_refused_and_keeps_what_it_has() {
    for kind in ["AwsProviderSpec", "AWSSProviderSpec", "awsproviderspec", "GcpProviderSpec", "", "ProviderSpec"] {
        let misspelt = json!({"providerSpec": {
            "apiVersion": "cloudcredential.openshift.io/v1", "kind": kind, "statementEntries": [],
        }});
        let desired = desire_of(spec(&json!({})), vec![having("a", &misspelt)]);
        assert!(matches!(refusal(&desired, "a"), RequestRefused::Undecodable(_)), "{kind}");
        assert!(desired.claims.roles.contains("prod-eu-openshift-x-a"), "{kind}");
    }
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
