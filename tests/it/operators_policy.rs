//! The AWS policy that the project ships for its own identity, `deploy/iam-policy.json`: neither too little nor too much, and
//! nothing is deleted by it that does not carry Rolecall's mark.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use aws_sdk_iam::Client;
use aws_sdk_iam::error::ProvideErrorMetadata as _;
use aws_sdk_iam::types::Tag;
use rolecall::policy::Document;
use rolecall::policy::evaluation::{Request, allowed};
use serde_json::Value;

use super::ended::specify;
use super::scene::{ACCOUNT, Scene};
use super::support::process::project_root;
use super::support::{Emulators, block_on};

const OWNER: &str = "rolecall.dev/owner";

/// The policy's text.
fn documented() -> String {
    fs::read_to_string(project_root().join("deploy/iam-policy.json")).unwrap()
}

/// IAM of MiniStack, which holds callers to their policies (moto does not).
fn ministack(key_id: &str, secret: &str) -> Client {
    let credentials = aws_sdk_iam::config::Credentials::new(key_id, secret, None, None, "the tests");
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(Emulators::shared().s3_url())
        .credentials_provider(credentials);
    Client::from_conf(config.build())
}

/// Puts a user into MiniStack whose policy is the project's own, less one action; returns its key.
fn restricted_user(name: &str, without: Option<&str>) -> (String, String) {
    let mut policy: Value = serde_json::from_str(&documented().replace("prod-eu", name)).unwrap();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        if statement["Sid"] == "IdentityProvider" {
            statement["Resource"] = "*".into(); // MiniStack knows no other resource for these calls, and so no tags of it
        }
        if let Some(actions) = statement["Action"].as_array_mut() {
            actions.retain(|action| action.as_str() != without);
        }
    }
    let iam = ministack("test", "test");
    block_on(async {
        // The user is there already when only its policy is to change.
        let _ = iam.create_user().user_name(name).send().await;
        let put = iam.put_user_policy().user_name(name).policy_name("rolecall").policy_document(policy.to_string());
        put.send().await.unwrap();
        let key = iam.create_access_key().user_name(name).send().await.unwrap().access_key.unwrap();
        (key.access_key_id, key.secret_access_key)
    })
}

/// The actions of the documented policy, each once.
fn documented_actions() -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(&documented()).unwrap();
    let actions = policy["Statement"].as_array().unwrap().iter().map(|statement| &statement["Action"]);
    let texts = actions.flat_map(|action| action.as_array().cloned().unwrap_or_else(|| vec![action.clone()]));
    texts.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// The actions that the room which talks to AWS names in its calls.
fn actions_in_use() -> BTreeSet<String> {
    let mut actions = BTreeSet::new();
    for file in std::fs::read_dir(project_root().join("src/aws")).unwrap() {
        // No call is made from a room within.
        let Ok(text) = std::fs::read_to_string(file.unwrap().path()) else { continue };
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let quoted = code.split('"').skip(1).step_by(2);
        let is_action =
            |text: &&str| ["iam:", "s3:"].iter().any(|service| text.starts_with(service) && text != service);
        actions.extend(quoted.filter(is_action).map(str::to_owned));
    }
    actions
}

/// More would be too much, less too little: what is asked for is what some call needs, and that is all asked for.
#[test]
fn the_documented_permissions_are_those_that_calls_need() {
    let mut used = actions_in_use();
    // PutObject with tags, as the documents have them, needs this too; a call of that name is made nowhere.
    assert!(used.insert("s3:PutObjectTagging".to_owned()) && used.len() > 30, "{used:?}");
    // Read on first contact with an issuer: what providers the account has of other URLs.
    used.insert("iam:ListOpenIDConnectProviders".to_owned());
    assert_eq!(documented_actions(), used);
}

#[test]
fn the_documented_permissions_suffice_and_a_missing_one_is_named() {
    let mut scene = Scene::new("least");
    specify(&scene, "");
    scene.request("a");
    let url = Emulators::shared().s3_url();
    let (id, secret) = restricted_user("least", Some("iam:PutRolePolicy"));
    let mut env = vec![("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", &secret)];
    env.extend(["AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_S3"].map(|name| (name, url)));
    scene.start_with(&[], &env);
    let message = scene.await_condition("OperatorPermissionsSufficient", "False");
    assert_eq!(message, "missing: iam:PutRolePolicy");
    scene.await_condition("IssuerPublished", "True");
    restricted_user("least", None);
    scene.await_condition("Ready", "True");
    scene.await_condition("OperatorPermissionsSufficient", "True");
}

/// What the policy allows on a resource that carries these tags.
fn allows(action: &str, resource: &str, tags: &[(&str, &str)]) -> bool {
    let document = Document::from_value(&serde_json::from_str(&documented()).unwrap()).unwrap();
    let context = tags.iter().map(|(key, value)| (format!("aws:resourcetag/{key}"), vec![(*value).to_owned()]));
    let request = Request {
        action: action.to_owned(),
        resource: Some(resource.to_owned()),
        principal: None,
        context: context.collect::<BTreeMap<_, _>>(),
    };
    allowed(&[&document], None, &request)
}

#[test]
fn only_what_carries_the_mark_may_be_deleted() {
    let role = format!("arn:aws:iam::{ACCOUNT}:role/prod-eu-web");
    let provider = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/prod-eu-oidc.s3.eu-west-1.amazonaws.com");
    let marked = [(OWNER, "5e1f0a52-0000-4000-8000-000000000001.5e1f0a52-0000-4000-8000-000000000002")];
    let ccoctl = [("openshift.io/cloud-credential-operator/prod-eu", "owned"), ("Name", "prod-eu")];
    let deletions = [
        ("iam:DeleteRole", &role, "role/other"),
        ("iam:DeleteRolePolicy", &role, "role/other"),
        ("iam:DeleteOpenIDConnectProvider", &provider, "oidc-provider/other.example.com"),
    ];
    for (action, resource, other) in deletions {
        assert!(allows(action, resource, &marked), "{action}");
        assert!(!allows(action, resource, &[]) && !allows(action, resource, &ccoctl), "{action}");
        assert!(!allows(action, &format!("arn:aws:iam::{ACCOUNT}:{other}"), &marked), "{action} of another name");
    }
    // What is not deleted needs no mark: it is how one gets there.
    for action in ["iam:GetRole", "iam:TagRole", "iam:PutRolePolicy", "iam:ListAttachedRolePolicies"] {
        assert!(allows(action, &role, &[]), "{action}");
    }
    let others = documented_actions().into_iter().filter(|action| action.starts_with("iam:Delete"));
    assert_eq!(
        others.collect::<Vec<_>>(),
        ["iam:DeleteOpenIDConnectProvider", "iam:DeleteRole", "iam:DeleteRolePolicy"]
    );
}

#[test]
fn no_mark_can_be_taken_off_a_role_or_provider() {
    for action in documented_actions() {
        let untags = ["Untag", "DeleteBucketTagging", "*", "?"].iter().any(|word| action.contains(word));
        assert!(!untags, "{action}");
    }
}

/// The same as an evaluator enforces it that other people wrote.
#[test]
fn a_role_without_the_mark_cannot_be_deleted() {
    let (key_id, secret) = restricted_user("unmarked", None);
    let (admin, iam) = (ministack("test", "test"), ministack(&key_id, &secret));
    let role = "unmarked-web";
    let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build().unwrap();
    let denied = |code: Option<&str>| assert_eq!(code, Some("AccessDenied"));
    block_on(async {
        let theirs = tag("openshift.io/cloud-credential-operator/unmarked", "owned");
        let create = admin.create_role().role_name(role).assume_role_policy_document(trust).tags(theirs);
        create.send().await.unwrap();
        let policy =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}]}"#;
        admin.put_role_policy().role_name(role).policy_name(role).policy_document(policy).send().await.unwrap();

        denied(iam.delete_role_policy().role_name(role).policy_name(role).send().await.unwrap_err().code());
        denied(iam.delete_role().role_name(role).send().await.unwrap_err().code());
        iam.tag_role().role_name(role).tags(tag(OWNER, "cluster.identity")).send().await.unwrap();
        denied(iam.untag_role().role_name(role).tag_keys(OWNER).send().await.unwrap_err().code());
        iam.delete_role_policy().role_name(role).policy_name(role).send().await.unwrap();
        iam.delete_role().role_name(role).send().await.unwrap();
    });
}
