//! The evaluation of trust and permissions that tests ask after every write, by itself.

use serde_json::{Value, json};

use crate::model::evaluation::{Token, can_assume, is_allowed, why_not_assume};
use crate::model::{ACCOUNT, Model, PublicAccessBlock, Visible};

const ISSUER: &str = "https://keys.s3.eu-west-1.amazonaws.com";
const TOKEN: Token<'static> =
    Token { issuer: ISSUER, subject: "system:serviceaccount:ns:app", audience: "openshift", key_id: "k1" };
const ROLE: &str = "arn:aws:iam::123456789012:role/app";
const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/keys.s3.eu-west-1.amazonaws.com";
const SUB: &str = "keys.s3.eu-west-1.amazonaws.com:sub";
const AUD: &str = "keys.s3.eu-west-1.amazonaws.com:aud";
const AT: Visible = Visible::AtOnce;

/// What is broken, and how.
type Breakage = (&'static str, fn(&Model));

/// A cluster whose one role trusts [`TOKEN`].
fn cluster() -> Model {
    let model = Model::new(1);
    model.put_bucket(ACCOUNT, "eu-west-1", "keys", AT);
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
        "Action": "s3:GetObject", "Resource": "arn:aws:s3:::keys/*"}]});
    model.alter_bucket("keys", AT, |bucket| {
        bucket.policy = Some(policy.to_string().into());
        bucket.block = Some(PublicAccessBlock::all(false));
    });
    let discovery = json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys.json")});
    put(&model, ".well-known/openid-configuration", &discovery);
    put(&model, "keys.json", &json!({"keys": [{"kid": "k0"}, {"kid": "k1"}]}));
    model.put_provider(ACCOUNT, ISSUER.trim_start_matches("https://"), &["openshift", "sts.amazonaws.com"], AT);
    model.put_role(ACCOUNT, "app", &trust(json!({"StringEquals": {SUB: TOKEN.subject, AUD: "openshift"}})), AT);
    model
}

fn put(model: &Model, key: &str, body: &Value) {
    model.put_object("keys", key, body.to_string(), "application/json", AT);
}

fn trust(condition: Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition}]})
    .to_string()
}

fn with_trust(model: &Model, trust: &str) {
    model.put_role(ACCOUNT, "app", trust, AT);
}

#[tokio::test(start_paused = true)]
async fn the_token_that_a_role_trusts_gets_its_credentials() {
    let model = cluster();
    assert_eq!(why_not_assume(&model, ROLE, &TOKEN), None);
    assert!(can_assume(&model, ROLE, &Token { key_id: "k0", ..TOKEN }));
    assert_eq!(model.counts().total(), 0, "nothing is counted");
    for (refused, why) in [
        (Token { key_id: "k2", ..TOKEN }, "has no key k2"),
        (Token { subject: "system:serviceaccount:ns:other", ..TOKEN }, "does not allow it"),
        (Token { audience: "sts.amazonaws.com", ..TOKEN }, "does not allow it"),
        (Token { audience: "kubernetes", ..TOKEN }, "has no audience"),
        (Token { issuer: "https://other.s3.eu-west-1.amazonaws.com", ..TOKEN }, "there is no provider"),
    ] {
        let said = why_not_assume(&model, ROLE, &refused).expect("refused");
        assert!(said.contains(why), "{said}");
    }
    assert!(!can_assume(&model, "arn:aws:iam::123456789012:role/nobody", &TOKEN));
    assert!(!can_assume(&model, "arn:aws:iam::123456789012:role/path/app", &TOKEN), "another ARN");
}

#[tokio::test(start_paused = true)]
async fn a_broken_issuer_vouches_for_nobody() {
    let breakages: [Breakage; 9] = [
        ("no document", |model| {
            model.delete_object("keys", ".well-known/openid-configuration", AT);
        }),
        ("no keys", |model| {
            model.delete_object("keys", "keys.json", AT);
        }),
        ("no JSON", |model| model.put_object("keys", "keys.json", "{", "application/json", AT)),
        ("another issuer", |model| {
            let document = json!({"issuer": format!("{ISSUER}/"), "jwks_uri": format!("{ISSUER}/keys.json")});
            put(model, ".well-known/openid-configuration", &document);
        }),
        ("keys elsewhere", |model| {
            let document = json!({"issuer": ISSUER, "jwks_uri": "https://elsewhere.example.com/keys.json"});
            put(model, ".well-known/openid-configuration", &document);
        }),
        ("no policy", |model| {
            model.alter_bucket("keys", AT, |bucket| bucket.policy = None);
        }),
        ("a block", |model| {
            model.alter_bucket("keys", AT, |bucket| bucket.block = Some(PublicAccessBlock::all(true)));
        }),
        ("another region", |model| {
            model.alter_bucket("keys", AT, |bucket| bucket.region = "eu-central-1".to_owned());
        }),
        ("no provider", |model| {
            model.delete_provider(ACCOUNT, PROVIDER, AT);
        }),
    ];
    for (what, breaks) in breakages {
        let model = cluster();
        assert!(can_assume(&model, ROLE, &TOKEN));
        breaks(&model);
        assert!(!can_assume(&model, ROLE, &TOKEN), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn conditions_are_those_of_the_user_guide() {
    let model = cluster();
    for (condition, admits) in [
        (json!({}), true),
        (json!({"StringEquals": {SUB: ["system:serviceaccount:ns:other", TOKEN.subject]}}), true),
        (json!({"StringEquals": {SUB: "system:serviceaccount:ns:*"}}), false),
        (json!({"StringLike": {SUB: "system:serviceaccount:ns:*"}}), true),
        (json!({"StringLike": {SUB: "system:serviceaccount:ns:a?p"}}), true),
        (json!({"StringLike": {SUB: "system:serviceaccount:n?:"}}), false),
        (json!({"StringEquals": {SUB: TOKEN.subject.to_uppercase()}}), false),
        (json!({"StringEqualsIgnoreCase": {SUB: TOKEN.subject.to_uppercase()}}), true),
        (json!({"StringNotEquals": {SUB: "system:serviceaccount:ns:other"}}), true),
        (json!({"StringNotLike": {SUB: ["x", "system:*"]}}), false),
        (json!({"StringEquals": {SUB: TOKEN.subject}, "StringLike": {AUD: "sts.*"}}), false),
        (json!({"StringEquals": {SUB: TOKEN.subject, AUD: "sts.amazonaws.com"}}), false),
        (json!({"StringEquals": {"other.example.com:sub": TOKEN.subject}}), false),
        (json!({"StringEqualsIfExists": {"other.example.com:sub": TOKEN.subject}}), true),
        (json!({"StringNotEquals": {"other.example.com:sub": TOKEN.subject}}), true),
        (json!({"ForAnyValue:StringEquals": {AUD: ["openshift"]}}), true),
        (json!({"ForAnyValue:StringNotEquals": {"other.example.com:aud": ["x"]}}), false),
        (json!({"ForAllValues:StringEquals": {"other.example.com:aud": ["x"]}}), true),
    ] {
        with_trust(&model, &trust(condition.clone()));
        assert_eq!(can_assume(&model, ROLE, &TOKEN), admits, "{condition}");
    }
}

#[tokio::test(start_paused = true)]
async fn statements_of_a_trust_policy_are_for_whom_they_name() {
    let model = cluster();
    let allow = json!({"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": "sts:AssumeRole*"});
    let other = PROVIDER.replace("keys", "other");
    for (statements, admits) in [
        (json!(allow), true),
        (json!([allow]), true),
        (json!([{"Effect": "Allow", "Principal": {"Federated": [other, PROVIDER]}, "Action": "*"}]), true),
        (json!([{"Effect": "Allow", "Principal": {"Federated": other}, "Action": "*"}]), false),
        (json!([{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "*"}]), false),
        (json!([{"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": "sts:AssumeRole"}]), false),
        (
            json!([{"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": "STS:assumerolewithwebidentity"}]),
            true,
        ),
        (json!([{"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "NotAction": "sts:TagSession"}]), true),
        (json!([allow, {"Effect": "Deny", "Principal": "*", "Action": "sts:*"}]), false),
        (json!([allow, {"Effect": "Deny", "Principal": {"AWS": "123456789012"}, "Action": "sts:*"}]), true),
        (
            json!([allow, {"Effect": "Deny", "Principal": "*", "Action": "*", "Condition": {
                "StringNotEquals": {SUB: TOKEN.subject}}}]),
            true,
        ),
        (
            json!([allow, {"Effect": "Deny", "Principal": {"Federated": PROVIDER}, "Action": "*", "Condition": {
                "StringLike": {SUB: "*:ns:*"}}}]),
            false,
        ),
    ] {
        with_trust(&model, &json!({"Version": "2012-10-17", "Statement": statements}).to_string());
        assert_eq!(can_assume(&model, ROLE, &TOKEN), admits, "{statements}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_may_do_what_its_policies_and_its_boundary_allow() {
    let model = cluster();
    let document = |statement: Value| json!({"Version": "2012-10-17", "Statement": statement}).to_string();
    let set = |inline: Value, attached: Option<Value>, boundary: Option<Value>| {
        let put = |name: &str, statement: Value| model.put_policy(ACCOUNT, name, &document(statement));
        let attached: Vec<String> = attached.map(|statement| put("attached", statement)).into_iter().collect();
        let boundary = boundary.map(|statement| put("boundary", statement));
        let inline = crate::model::Document::new(&document(inline));
        model.alter_role(ACCOUNT, "app", AT, |role| {
            role.inline = [("only".to_owned(), inline)].into();
            role.attached = attached.into_iter().collect();
            role.boundary = boundary;
        });
    };
    let may = |action: &str, resource: &str| is_allowed(&model, ROLE, action, resource);
    let object = "arn:aws:s3:::images/a/b";
    assert!(!may("s3:GetObject", object), "no policies");

    let reads = json!({"Effect": "Allow", "Action": ["s3:Get*", "s3:List?ucket"], "Resource": "arn:aws:s3:::images*"});
    set(reads.clone(), None, None);
    assert!(may("s3:GetObject", object) && may("S3:getobject", object) && may("s3:ListBucket", "arn:aws:s3:::images"));
    assert!(!may("s3:PutObject", object) && !may("s3:GetObject", "arn:aws:s3:::IMAGES/a"));

    let writes = json!([{"Effect": "Allow", "NotAction": "s3:Delete*", "NotResource": "arn:aws:s3:::keys/*"}]);
    set(reads.clone(), Some(writes.clone()), None);
    assert!(may("s3:PutObject", object) && !may("s3:DeleteObject", object));
    assert!(!may("s3:PutObject", "arn:aws:s3:::keys/keys.json"));

    let except = json!([reads, {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*/b"}]);
    set(except, Some(writes.clone()), None);
    assert!(!may("s3:GetObject", object) && may("s3:GetObject", "arn:aws:s3:::images/a"));

    let mfa = json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}});
    let deny = json!([reads, {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": mfa}]);
    set(deny, None, None);
    assert!(may("s3:GetObject", object), "a denial with a condition");
    set(json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": mfa}), None, None);
    assert!(may("s3:GetObject", object), "a permission with a condition");

    set(reads.clone(), Some(writes), Some(reads.clone()));
    assert!(may("s3:GetObject", object) && !may("s3:PutObject", object), "beyond the boundary");
    let none = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}]);
    set(reads.clone(), None, Some(none));
    assert!(!may("s3:GetObject", object) && may("s3:GetObjectTagging", object), "the boundary denies");

    let aws = |name: &str| Some(format!("arn:aws:iam::aws:policy/{name}"));
    set(reads, None, None);
    model.alter_role(ACCOUNT, "app", AT, |role| role.boundary = aws("AdministratorAccess"));
    assert!(may("s3:GetObject", object));
    model.alter_role(ACCOUNT, "app", AT, |role| role.boundary = aws("ReadOnlyAccess"));
    assert!(!may("s3:GetObject", object), "a boundary that nobody knows");
    assert!(!is_allowed(&model, "arn:aws:iam::123456789012:role/nobody", "s3:GetObject", object));
}
