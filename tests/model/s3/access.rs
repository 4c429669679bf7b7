//! Who may read a bucket: its policy, S3 Block Public Access, and what an anonymous reader gets.

use serde_json::Value;

use super::super::document::strings;
use super::super::operation::matches;
use super::super::refusal::{Outcome, Refusal};
use super::super::request::Answer;
use super::super::resources::{Bucket, PublicAccessBlock};
use super::super::world::{Call, World};
use super::super::xml::text;
use super::{body_text, change, owned, xml_answer};

/// The largest bucket policy, in bytes.
const LARGEST: usize = 20 * 1024;

pub fn get_block(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let message = "The public access block configuration was not found";
    let missing = || Refusal::new(404, "NoSuchPublicAccessBlockConfiguration", message);
    let block = owned(world, call)?.block.ok_or_else(missing)?;
    Ok(xml_answer("PublicAccessBlockConfiguration", |xml| {
        xml.value("BlockPublicAcls", block.block_public_acls).value("IgnorePublicAcls", block.ignore_public_acls);
        xml.value("BlockPublicPolicy", block.block_public_policy);
        xml.value("RestrictPublicBuckets", block.restrict_public_buckets);
    }))
}

pub fn put_block(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let body = body_text(call)?;
    let on = |name: &str| text(body, name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let block = PublicAccessBlock {
        block_public_acls: on("BlockPublicAcls"),
        ignore_public_acls: on("IgnorePublicAcls"),
        block_public_policy: on("BlockPublicPolicy"),
        restrict_public_buckets: on("RestrictPublicBuckets"),
    };
    change(world, call, |bucket| bucket.block = Some(block))
}

pub fn delete_block(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    change(world, call, |bucket| bucket.block = None).map(|_| Answer::new(204, ""))
}

pub fn get_policy(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let missing = || Refusal::new(404, "NoSuchBucketPolicy", "The bucket policy does not exist");
    let policy = owned(world, call)?.policy.clone().ok_or_else(missing)?;
    Ok(Answer::new(200, policy.to_string()).with("content-type", "application/json"))
}

pub fn put_policy(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    let bucket = owned(world, call)?;
    let policy = body_text(call)?;
    if policy.len() > LARGEST {
        return Err(malformed(format!("Policies are limited to {LARGEST} bytes")));
    }
    let statements = check(policy, &bucket.name)?;
    let of_account = world.accounts.get(&bucket.owner).is_some_and(|account| account.blocks_public_policies);
    let blocked = of_account || bucket.block.is_some_and(|block| block.block_public_policy);
    if blocked && statements.iter().any(is_public) {
        let caller = call.caller.as_ref().map_or("", |caller| &caller.arn);
        let message = format!(
            "User: {caller} is not authorized to perform: s3:PutBucketPolicy on resource: \"arn:aws:s3:::{}\" because \
             public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
            bucket.name
        );
        return Err(Refusal::new(403, "AccessDenied", message));
    }
    change(world, call, |bucket| bucket.policy = Some(policy.into())).map(|_| Answer::new(204, ""))
}

pub fn delete_policy(world: &mut World, call: &Call<'_>) -> Outcome<Answer> {
    change(world, call, |bucket| bucket.policy = None).map(|_| Answer::new(204, ""))
}

/// The statements of a bucket policy that S3 takes.
fn check(policy: &str, bucket: &str) -> Outcome<Vec<Value>> {
    let not_json = || malformed("Policies must be valid JSON and the first byte must be '{'");
    let document: Value = serde_json::from_str(policy).map_err(|_| not_json())?;
    if !policy.starts_with('{') {
        return Err(not_json());
    }
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) => statements.clone(),
        Some(statement @ Value::Object(_)) => vec![statement.clone()],
        _ => return Err(malformed("Missing required field Statement")),
    };
    for statement in &statements {
        for (field, other) in [("Effect", ""), ("Principal", "NotPrincipal"), ("Action", "NotAction")] {
            if statement.get(field).is_none() && statement.get(other).is_none() {
                return Err(malformed(format!("Missing required field {field}")));
            }
        }
        let resources = strings(statement.get("Resource")).map_err(|_| malformed("Policy has invalid resource"))?;
        let arn = format!(":s3:::{bucket}");
        let of_bucket = |resource: &String| {
            resource.split_once(&arn).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
        };
        if resources.is_empty() || !resources.iter().all(of_bucket) {
            return Err(malformed("Policy has invalid resource"));
        }
    }
    Ok(statements)
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "MalformedPolicy", message)
}

/// Whether a statement lets anyone in. A condition is taken for one that keeps the public out.
fn is_public(statement: &Value) -> bool {
    statement["Effect"] == "Allow" && statement.get("Condition").is_none() && is_anyone(&statement["Principal"])
}

fn is_anyone(principal: &Value) -> bool {
    let all = |value: &Value| strings(Some(value)).is_ok_and(|names| names.iter().any(|name| name == "*"));
    all(principal) || principal.get("AWS").is_some_and(all)
}

/// Whether somebody without credentials may read an object. Denials with a condition are taken not to apply: those that
/// are usual ask for TLS, which every reader here has.
pub fn public_may(bucket: &Bucket, action: &str, resource: &str) -> bool {
    let Some(policy) = &bucket.policy else { return false };
    if bucket.block.is_some_and(|block| block.restrict_public_buckets) {
        return false;
    }
    let Ok(statements) = check(policy, &bucket.name) else { return false };
    let applies = |statement: &&Value| {
        let fits = |field: &str, text: &str| {
            strings(statement.get(field)).is_ok_and(|patterns| patterns.iter().any(|pattern| matches(pattern, text)))
        };
        statement.get("Condition").is_none()
            && is_anyone(&statement["Principal"])
            && fits("Action", action)
            && fits("Resource", resource)
    };
    let effects: Vec<&Value> = statements.iter().filter(applies).map(|statement| &statement["Effect"]).collect();
    effects.iter().any(|effect| *effect == "Allow") && !effects.iter().any(|effect| *effect == "Deny")
}
