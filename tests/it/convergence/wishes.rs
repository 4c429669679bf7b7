//! What is wished for, and what others have in the account.

use std::collections::BTreeMap;

use rolecall::api::ClusterIdentitySpec;
use rolecall::desired::RequestInput;
use rolecall::desired::request::RequestId;
use serde_json::{Value, json};

use crate::model::{ACCOUNT, Model, Visible};

pub const INFRA: &str = "prod-eu";
pub const REGION: &str = "eu-west-1";
pub const BUCKET: &str = "prod-eu-oidc";
/// The tag that marks what is the cluster's.
pub const MARK: &str = "openshift.io/cloud-credential-operator/prod-eu";
/// A managed policy of the account's that allows everything.
pub const GUARD: &str = "guard";
/// An ordinary component's permissions.
const ACTION: &str = "ec2:DescribeInstances";

/// A ClusterIdentity's spec and its requests.
#[derive(Debug, Clone)]
pub struct Wish {
    pub spec: ClusterIdentitySpec,
    pub requests: Vec<RequestInput>,
}

/// A spec with these fields besides the necessary ones.
pub fn spec(more: &Value) -> ClusterIdentitySpec {
    let mut spec = json!({
        "infraName": INFRA, "region": REGION, "deletionPolicy": "Delete",
        "guardrails": {"deletionDelay": "0s", "inUseWindow": "0s"},
        "issuer": {"signingKeys": [{"secretRef": {"name": "signer", "key": "pub"}}]},
    });
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).expect("a spec")
}

/// A request for a role.
pub fn request(name: &str, service_accounts: &[&str]) -> RequestInput {
    let spec = json!({
        "secretRef": {"namespace": format!("openshift-{name}"), "name": "creds"},
        "serviceAccountNames": service_accounts,
        "providerSpec": {
            "apiVersion": "cloudcredential.openshift.io/v1", "kind": "AWSProviderSpec",
            "statementEntries": [{"effect": "Allow", "action": [ACTION], "resource": "*"}],
        },
    });
    RequestInput {
        id: RequestId { namespace: "prod".to_owned(), name: name.to_owned() },
        spec: Ok(serde_json::from_value(spec).expect("a spec")),
        candidate_of: None,
        tombstone: false,
        claimed_by: None,
        claim_in_doubt: false,
        has: None,
        created: None,
    }
}

/// The name of a request's role.
pub fn role_of(name: &str) -> String {
    format!("{INFRA}-openshift-{name}-creds")
}

pub fn provider_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{}", issuer_host())
}

/// The issuer, without scheme.
pub fn issuer_host() -> String {
    format!("{BUCKET}.s3.{REGION}.amazonaws.com")
}

/// Three requests with their issuer.
pub fn first() -> Wish {
    let requests = ["alpha", "beta", "gamma"].map(|name| request(name, &["worker"]));
    Wish { spec: spec(&json!({})), requests: requests.into() }
}

/// The same with a boundary, a second service account, a new tag, one request less and another more.
pub fn second() -> Wish {
    let roles = json!({
        "permissionsBoundaryARN": format!("arn:aws:iam::{ACCOUNT}:policy/{GUARD}"), "tags": {"Team": "payments"},
    });
    let requests =
        vec![request("alpha", &["worker", "helper"]), request("gamma", &["worker"]), request("delta", &["worker"])];
    Wish { spec: spec(&json!({"roles": roles})), requests }
}

/// The first wish with so many requests, under another name.
pub fn many(infra_name: &str, requests: usize) -> Wish {
    let requests = (0..requests).map(|n| request(&format!("c{n:04}"), &["worker"])).collect();
    Wish { spec: spec(&json!({"infraName": infra_name})), requests }
}

/// Puts what is none of the cluster's business, though its names begin as the cluster's do.
pub fn put_foreign(model: &Model) {
    let trust = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    for (name, tags) in [
        ("prod-eu-unmarked", BTreeMap::from([("Owner", "someone")])),
        ("prod-eu-2-openshift-alpha-creds", BTreeMap::from([(OTHER_MARK, "owned"), ("Name", "prod-eu-2")])),
    ] {
        model.put_role(ACCOUNT, name, trust, Visible::AtOnce);
        model.alter_role(ACCOUNT, name, Visible::AtOnce, |role| {
            role.tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        });
    }
    model.put_policy(
        ACCOUNT,
        GUARD,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    );
    let url = "prod-eu-2-oidc.s3.eu-west-1.amazonaws.com";
    let provider = model.put_provider(ACCOUNT, url, &["openshift"], Visible::AtOnce);
    model.alter_provider(ACCOUNT, &provider, Visible::AtOnce, |provider| {
        provider.tags.insert(OTHER_MARK.to_owned(), "owned".to_owned());
    });
    model.put_bucket(ACCOUNT, REGION, "prod-eu-2-oidc", Visible::AtOnce);
    model.put_object("prod-eu-2-oidc", "keys.json", "{}", "application/json", Visible::AtOnce);
}

const OTHER_MARK: &str = "openshift.io/cloud-credential-operator/prod-eu-2";

/// All that exists and is not the cluster's, with ids and dates: what was taken away and made again is not the same.
pub fn foreign(model: &Model) -> Vec<String> {
    let roles = model.roles(ACCOUNT).into_iter().filter(|role| !role.tags.contains_key(MARK));
    let mut all: Vec<String> = roles.map(|role| format!("{role:?}")).collect();
    let providers = model.providers(ACCOUNT).into_iter().filter(|provider| provider.arn != provider_arn());
    all.extend(providers.map(|provider| format!("{provider:?}")));
    for bucket in model.buckets().into_iter().filter(|bucket| bucket.name != BUCKET) {
        all.push(format!("{bucket:?} {:?}", model.objects(&bucket.name)));
    }
    all
}

/// Everything that exists, whichever revision `keys.json` has: how often it was written depends on what went wrong on the way.
pub fn inventory(model: &Model) -> Vec<String> {
    let of_any_revision = |line: String| match line.split_once("rolecall-revision") {
        Some((before, after)) => format!("{before}{}", after.split_once('}').map_or("", |(_, rest)| rest)),
        None => line,
    };
    model.inventory().into_iter().map(of_any_revision).collect()
}

/// What one inventory has and the other has not.
pub fn differences(wanted: &[String], found: &[String]) -> Vec<String> {
    let missing = wanted.iter().filter(|line| !found.contains(line)).map(|line| format!("missing: {line}"));
    let surplus = found.iter().filter(|line| !wanted.contains(line)).map(|line| format!("surplus: {line}"));
    missing.chain(surplus).collect()
}
