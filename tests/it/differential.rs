//! Our reading of policies against someone else's: MiniStack evaluates policies too (`SimulateCustomPolicy`), written by
//! other people, in another language, from the same documentation. Thousands of questions, drawn at random from a fixed
//! seed, must get one answer from both.
//!
//! What they have in common, and so what is asked: concrete actions on concrete resources; Allow and Deny; `Action` and
//! `NotAction`, `Resource` and `NotResource` with `*` and `?`; `StringEquals`, its negation, its `IfExists` and
//! `StringLike` on keys of which MiniStack's simulator knows the value (it takes no context of the caller's), and on one
//! that is absent. Several policies at once. Left out: boundaries (its simulator takes none), policy variables (it has
//! none), set operators over several values.

use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_iam::Client;
use aws_sdk_iam::config::Credentials;
use rolecall::policy::Document;
use rolecall::policy::coverage::{Granted, Required, Source, Verdict, judge};
use rolecall::policy::document::Effect;
use rolecall::policy::evaluation::{Request, allowed};
use serde_json::{Value, json};

use super::support::block_on;
use super::support::emulators::{ACCESS_KEY_ID, ACCOUNT, Emulators, SECRET_ACCESS_KEY};

const ROUNDS: usize = 300;

const ACTIONS: [&str; 12] = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:GetBucketTagging",
    "S3:getobject",
    "ec2:RunInstances",
    "ec2:DescribeInstances",
    "ec2:DescribeVpcs",
    "iam:PassRole",
    "kms:CreateGrant",
    "kms:ReEncryptFrom",
    "sts:AssumeRole",
    "tag:GetResources",
];
const ACTION_PATTERNS: [&str; 16] = [
    "*",
    "s3:*",
    "s3:Get*",
    "S3:GET*",
    "s3:?etObject",
    "s3:*Object",
    "ec2:*",
    "ec2:Describe*",
    "ec2:D?scribe*s",
    "e*2:*",
    "kms:*Grant*",
    "kms:ReEncrypt*",
    "iam:PassRole",
    "sts:Assume????",
    "*:*s",
    "tag:Get*R**es",
];
const RESOURCES: [&str; 8] = [
    "arn:aws:s3:::bucket",
    "arn:aws:s3:::bucket/key",
    "arn:aws:s3:::Bucket/key",
    "arn:aws:s3:::other/a/b",
    "arn:aws:ec2:us-east-1:123456789012:instance/i-0",
    "arn:aws:ec2:eu-west-1:123456789012:vpc/v",
    "arn:aws:iam::123456789012:role/x",
    "arn:aws:kms:us-east-1:123456789012:key/a.b+c",
];
const RESOURCE_PATTERNS: [&str; 14] = [
    "*",
    "arn:aws:s3:::*",
    "arn:aws:s3:::bucket",
    "arn:aws:s3:::bucket/*",
    "arn:aws:s3:::?ucket/*",
    "arn:aws:s3:::*/a/*",
    "arn:aws:s3:*:*:*",
    "arn:aws:ec2:*:*:instance/*",
    "arn:aws:ec2:us-????-1:123456789012:*",
    "arn:aws:iam::*:role/x",
    "arn:aws:*",
    "arn:*:key/a.b+c",
    "arn:aws:kms:us-east-1:123456789012:key/a?b+c",
    "arn:aws:s3:::BUCKET",
];
const OPERATORS: [&str; 6] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIfExists",
    "StringNotEqualsIfExists",
    "StringLike",
    "StringEqualsIgnoreCase",
];
/// Keys with the values that MiniStack's simulator gives them, and one without.
const CONTEXT: [(&str, Option<&str>); 4] = [
    ("aws:PrincipalAccount", Some(ACCOUNT)),
    ("aws:PrincipalType", Some("User")),
    ("aws:SecureTransport", Some("false")),
    ("ec2:Vpc", None),
];
const VALUES: [&str; 8] = [ACCOUNT, "User", "user", "Us*", "false", "111111111111", "*", "1234567890??"];

/// SplitMix64 (Steele, Lea, Flood): a few lines, and the same questions on every machine.
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % most
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn some<'a>(&mut self, of: &[&'a str], most: usize) -> Vec<&'a str> {
        (0..=self.below(most)).map(|_| self.one(of)).collect()
    }

    fn statement(&mut self) -> Value {
        let effect = if self.below(4) == 0 { "Deny" } else { "Allow" };
        let mut statement = json!({"Effect": effect});
        let action = if self.below(5) == 0 { "NotAction" } else { "Action" };
        statement[action] = json!(self.some(&ACTION_PATTERNS, 3));
        let resource = if self.below(5) == 0 { "NotResource" } else { "Resource" };
        statement[resource] = json!(self.some(&RESOURCE_PATTERNS, 3));
        if self.below(3) == 0 {
            statement["Condition"] = self.condition();
        }
        statement
    }

    fn condition(&mut self) -> Value {
        let mut condition = json!({});
        for _ in 0..=self.below(2) {
            let operator = self.one(&OPERATORS);
            let key = CONTEXT[self.below(CONTEXT.len())].0;
            condition[operator] = json!({key: self.some(&VALUES, 3)});
        }
        condition
    }

    fn policies(&mut self) -> Vec<Value> {
        let one = |draw: &mut Self| {
            let statements: Vec<Value> = (0..=draw.below(3)).map(|_| draw.statement()).collect();
            json!({"Version": "2012-10-17", "Statement": statements})
        };
        (0..=self.below(2)).map(|_| one(self)).collect()
    }
}

fn ministack() -> Client {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "the tests");
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .endpoint_url(Emulators::shared().s3_url());
    Client::new(&block_on(config.load()))
}

/// What MiniStack says of every action on a resource.
fn asked(client: &Client, policies: &[Value], resource: &str) -> Vec<bool> {
    let call = client
        .simulate_custom_policy()
        .set_policy_input_list(Some(policies.iter().map(Value::to_string).collect()))
        .set_action_names(Some(ACTIONS.map(str::to_owned).to_vec()))
        .resource_arns(resource);
    let answer = block_on(call.send()).unwrap();
    let results = answer.evaluation_results();
    assert_eq!(results.len(), ACTIONS.len());
    results.iter().map(|result| result.eval_decision().as_str() == "allowed").collect()
}

fn request(action: &str, resource: &str) -> Request {
    let context =
        CONTEXT.iter().filter_map(|(key, value)| Some((key.to_ascii_lowercase(), vec![(*value)?.to_owned()])));
    Request {
        action: action.to_owned(),
        resource: Some(resource.to_owned()),
        principal: None,
        context: context.collect::<BTreeMap<_, _>>(),
    }
}

/// What our judgement of coverage says: it does not know the context, so conditions leave it undecided.
fn coverage(documents: &[Document], action: &str, resource: &str) -> Verdict {
    let source = |document: &Document| Source { name: "p".into(), document: Ok(document.clone()) };
    let granted = Granted { identity: documents.iter().map(source).collect(), boundary: None };
    let required = Required {
        effect: Effect::Allow,
        actions: vec![action.to_owned()],
        resource: resource.to_owned(),
        conditions: Vec::new(),
    };
    judge(&[required], &granted).remove(0).verdict
}

#[test]
fn another_evaluator_gives_the_same_answers() {
    let mut draw = Draw(20_260_101);
    let client = ministack();
    let (mut questions, mut yes, mut conditional) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let policies = draw.policies();
        let documents: Vec<Document> = policies.iter().map(|policy| Document::from_value(policy).unwrap()).collect();
        let resource = draw.one(&RESOURCES);
        for (action, theirs) in ACTIONS.iter().zip(asked(&client, &policies, resource)) {
            let ours = allowed(&documents.iter().collect::<Vec<_>>(), None, &request(action, resource));
            assert_eq!(ours, theirs, "{action} on {resource} under {policies:#?}");
            match coverage(&documents, action, resource) {
                Verdict::Covered => assert!(theirs, "{action} on {resource} is called covered under {policies:#?}"),
                Verdict::Missing => assert!(!theirs, "{action} on {resource} is called missing under {policies:#?}"),
                Verdict::Conditional => conditional += 1,
                Verdict::Indeterminate => panic!("{action} on {resource} is not told under {policies:#?}"),
            }
            questions += 1;
            yes += usize::from(theirs);
        }
    }
    // The questions are worth something: both answers occur often, and so do conditions.
    assert!(questions >= 3_000 && yes > questions / 8 && yes < questions * 7 / 8, "{yes} of {questions}");
    assert!(conditional > 100, "{conditional}");
}
