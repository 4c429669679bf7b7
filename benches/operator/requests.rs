//! What is asked for: a ClusterIdentity and any number of requests of a usual size.

use jiff::Timestamp;
use rolecall::api::ClusterIdentitySpec;
use rolecall::desired::consent::Consents;
use rolecall::desired::keys::{Held, KeySource};
use rolecall::desired::owner::Owners;
use rolecall::desired::request::RequestId;
use rolecall::desired::{Inputs, RequestInput};
use serde_json::{Value, json};

use crate::model::ACCOUNT;

pub const REGION: &str = "eu-west-1";
/// Name of the ClusterIdentity, of its namespace, and the infra name.
pub const NAME: &str = "bench";
/// Over so many namespaces the Secrets are spread.
pub const NAMESPACES: usize = 5;

pub fn key_pem() -> &'static str {
    include_str!("../../tests/keys/first.pub")
}

pub fn request_name(number: usize) -> String {
    format!("component-{number:05}")
}

pub fn secret_namespace(number: usize) -> String {
    format!("openshift-bench-{}", number % NAMESPACES)
}

pub fn role_name(number: usize) -> String {
    format!("{NAME}-{}-{}", secret_namespace(number), request_name(number))
}

/// The spec of a request: as long as that of an operator that handles load balancers or machines.
pub fn request_spec(number: usize, revision: usize) -> Value {
    let actions = [
        "ec2:CreateTags",
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeImages",
        "ec2:DescribeInstances",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ec2:RunInstances",
        "ec2:TerminateInstances",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:RegisterTargets",
    ];
    json!({
        "secretRef": {"namespace": secret_namespace(number), "name": request_name(number)},
        "serviceAccountNames": [request_name(number)],
        "providerSpec": {
            "apiVersion": "cloudcredential.openshift.io/v1",
            "kind": "AWSProviderSpec",
            "statementEntries": [
                {"effect": "Allow", "action": actions, "resource": "*"},
                {
                    "effect": "Allow",
                    "action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
                    "resource": format!("arn:aws:kms:*:*:key/{number}-{revision}"),
                    "policyCondition": {"Bool": {"kms:GrantIsForAWSResource": true}},
                },
            ],
        },
    })
}

pub fn identity_spec(drift_interval: &str) -> Value {
    json!({
        "infraName": NAME,
        "region": REGION,
        "aws": {"accountID": ACCOUNT},
        "issuer": {"signingKeys": [{"secretRef": {"name": "signer", "key": "key.pub"}}]},
        "driftInterval": drift_interval,
    })
}

/// What `desire` takes, as the controller gathers it.
pub fn inputs(count: usize) -> Inputs {
    let spec: ClusterIdentitySpec = serde_json::from_value(identity_spec("5m")).expect("a spec");
    Inputs {
        identity: format!("{NAME}/{NAME}"),
        spec,
        account: ACCOUNT.into(),
        trust_limit: None,
        pre_grants: Vec::new(),
        refused_by_aws: std::collections::BTreeMap::new(),
        granted_ahead: std::collections::BTreeSet::new(),
        provisioned: Vec::new(),
        consents: Consents::default(),
        owners: Owners::default(),
        keys: vec![KeySource { origin: "Secret signer".into(), held: Ok(Held::Entry(key_pem().into())) }],
        remembered_keys: Vec::new(),
        requests: (0..count).map(|number| input(number, 0)).collect(),
        now: Timestamp::now(),
    }
}

pub fn input(number: usize, revision: usize) -> RequestInput {
    RequestInput {
        id: RequestId { namespace: NAME.into(), name: request_name(number) },
        spec: Ok(serde_json::from_value(request_spec(number, revision)).expect("a spec")),
        candidate_of: None,
        tombstone: false,
        claimed_by: None,
        claim_in_doubt: false,
        has: None,
        created: None,
    }
}
