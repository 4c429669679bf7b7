//! The operations of the model: what they are called, which IAM actions they need, and what a call is about.

use axum::http::Method;

use super::refusal::{Outcome, Refusal};
use super::request::{Answer, Form, Request, Service};
use super::world::{Call, World};
use super::xml::Xml;
use super::{iam, s3, sts};

/// An operation.
#[derive(Debug)]
pub struct Operation {
    /// `iam:GetRole`: named like the API's operation, not like IAM's action.
    pub name: &'static str,
    /// Whether it is made to change something.
    pub write: bool,
    run: Run,
}

#[derive(Debug)]
enum Run {
    /// Fills the `…Result` element of a query answer.
    Query(fn(&mut World, &Call<'_>, &mut Xml) -> Outcome<()>),
    S3(fn(&mut World, &Call<'_>) -> Outcome<Answer>),
}

type Query = fn(&mut World, &Call<'_>, &mut Xml) -> Outcome<()>;
type Rest = fn(&mut World, &Call<'_>) -> Outcome<Answer>;

const fn read(name: &'static str, run: Query) -> Operation {
    Operation { name, write: false, run: Run::Query(run) }
}

const fn write(name: &'static str, run: Query) -> Operation {
    Operation { name, write: true, run: Run::Query(run) }
}

const fn get(name: &'static str, run: Rest) -> Operation {
    Operation { name, write: false, run: Run::S3(run) }
}

const fn put(name: &'static str, run: Rest) -> Operation {
    Operation { name, write: true, run: Run::S3(run) }
}

/// All that the model knows, the most frequent first.
static OPERATIONS: &[Operation] = &[
    read("iam:GetRole", iam::roles::get),
    read("iam:GetRolePolicy", iam::inline::get),
    read("iam:GetAccountAuthorizationDetails", iam::account::authorization_details),
    get("s3:GetObject", s3::objects::get),
    read("iam:GetOpenIDConnectProvider", iam::providers::get),
    get("s3:GetBucketTagging", s3::buckets::get_tagging),
    get("s3:GetPublicAccessBlock", s3::access::get_block),
    get("s3:GetBucketPolicy", s3::access::get_policy),
    read("sts:GetCallerIdentity", sts::caller_identity),
    read("sts:AssumeRole", sts::assume_role),
    write("iam:CreateRole", iam::roles::create),
    write("iam:PutRolePolicy", iam::inline::put),
    write("iam:UpdateAssumeRolePolicy", iam::roles::update_trust),
    write("iam:UpdateRole", iam::roles::update),
    write("iam:TagRole", iam::tags::tag_role),
    write("iam:UntagRole", iam::tags::untag_role),
    write("iam:DeleteRole", iam::roles::delete),
    write("iam:DeleteRolePolicy", iam::inline::delete),
    write("iam:PutRolePermissionsBoundary", iam::roles::put_boundary),
    write("iam:DeleteRolePermissionsBoundary", iam::roles::delete_boundary),
    write("iam:AttachRolePolicy", iam::managed::attach),
    write("iam:DetachRolePolicy", iam::managed::detach),
    read("iam:ListRoles", iam::roles::list),
    read("iam:ListRolePolicies", iam::inline::list),
    read("iam:ListAttachedRolePolicies", iam::managed::list_attached),
    read("iam:ListRoleTags", iam::tags::list_role_tags),
    read("iam:ListInstanceProfilesForRole", iam::roles::list_instance_profiles),
    read("iam:GetAccountSummary", iam::account::summary),
    read("iam:ListOpenIDConnectProviders", iam::providers::list),
    read("iam:ListOpenIDConnectProviderTags", iam::tags::list_provider_tags),
    write("iam:CreateOpenIDConnectProvider", iam::providers::create),
    write("iam:DeleteOpenIDConnectProvider", iam::providers::delete),
    write("iam:TagOpenIDConnectProvider", iam::tags::tag_provider),
    write("iam:UntagOpenIDConnectProvider", iam::tags::untag_provider),
    write("iam:AddClientIDToOpenIDConnectProvider", iam::providers::add_audience),
    write("iam:RemoveClientIDFromOpenIDConnectProvider", iam::providers::remove_audience),
    write("iam:UpdateOpenIDConnectProviderThumbprint", iam::providers::update_thumbprints),
    write("iam:CreatePolicy", iam::managed::create),
    write("iam:DeletePolicy", iam::managed::delete),
    read("iam:GetPolicy", iam::managed::get),
    read("iam:GetPolicyVersion", iam::managed::get_version),
    put("s3:CreateBucket", s3::buckets::create),
    put("s3:DeleteBucket", s3::buckets::delete),
    get("s3:HeadBucket", s3::buckets::head),
    get("s3:GetBucketLocation", s3::buckets::location),
    get("s3:ListBuckets", s3::buckets::list),
    put("s3:PutBucketTagging", s3::buckets::put_tagging),
    put("s3:DeleteBucketTagging", s3::buckets::delete_tagging),
    get("s3:GetBucketVersioning", s3::buckets::get_versioning),
    put("s3:PutBucketVersioning", s3::buckets::put_versioning),
    put("s3:PutPublicAccessBlock", s3::access::put_block),
    put("s3:DeletePublicAccessBlock", s3::access::delete_block),
    put("s3:PutBucketPolicy", s3::access::put_policy),
    put("s3:DeleteBucketPolicy", s3::access::delete_policy),
    put("s3:PutObject", s3::objects::put),
    get("s3:HeadObject", s3::objects::head),
    put("s3:DeleteObject", s3::objects::delete),
    put("s3:DeleteObjects", s3::objects::delete_many),
    get("s3:GetObjectTagging", s3::objects::get_tagging),
    get("s3:ListObjectsV2", s3::listing::objects),
    get("s3:ListObjectVersions", s3::listing::versions),
];

/// What answers to everything else.
static UNKNOWN: [Operation; 3] =
    [read("iam:Unknown", unknown_action), read("sts:Unknown", unknown_action), get("s3:Unknown", not_implemented)];

fn unknown_action(_: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let (action, version) = (call.form.text("Action"), call.form.text("Version"));
    let message = format!("Could not find operation {action} for version {version}");
    Err(Refusal::new(400, "InvalidAction", message))
}

fn not_implemented(_: &mut World, _: &Call<'_>) -> Outcome<Answer> {
    s3::not_implemented()
}

impl Operation {
    /// The operation that a request asks for.
    pub fn of(service: Service, request: &Request, form: &Form, bucket: &str, key: &str) -> &'static Operation {
        let (prefix, unknown, name) = match service {
            Service::Iam => ("iam:", &UNKNOWN[0], form.text("Action")),
            Service::Sts => ("sts:", &UNKNOWN[1], form.text("Action")),
            Service::S3 => ("s3:", &UNKNOWN[2], s3_name(&request.method, bucket, key, form)),
        };
        let is = |operation: &&Operation| operation.name.strip_prefix(prefix) == Some(name);
        OPERATIONS.iter().find(is).unwrap_or(unknown)
    }

    /// Carries a call out.
    pub fn run(&self, world: &mut World, call: &Call<'_>, request_id: &str) -> Outcome<Answer> {
        let run = match self.run {
            Run::S3(run) => return run(world, call).map(|answer| answer.with("x-amz-request-id", request_id)),
            Run::Query(run) => run,
        };
        let name = call.form.text("Action");
        let mut xml = Xml::default();
        xml.0.push_str(&format!("<{name}Response xmlns=\"{}\"><{name}Result>", call.service.namespace()));
        run(world, call, &mut xml)?;
        xml.0.push_str(&format!("</{name}Result>"));
        xml.within("ResponseMetadata", |metadata| {
            metadata.leaf("RequestId", request_id);
        });
        xml.0.push_str(&format!("</{name}Response>"));
        Ok(Answer::new(200, xml.0).with("content-type", "text/xml"))
    }

    /// The IAM actions that a call needs, its own first.
    pub fn actions(&self, call: &Call<'_>) -> Vec<&'static str> {
        let own = match self.name {
            "s3:ListObjectsV2" | "s3:HeadBucket" => "s3:ListBucket",
            "s3:ListObjectVersions" => "s3:ListBucketVersions",
            "s3:HeadObject" => "s3:GetObject",
            "s3:DeleteObjects" => "s3:DeleteObject",
            "s3:GetPublicAccessBlock" => "s3:GetBucketPublicAccessBlock",
            "s3:PutPublicAccessBlock" | "s3:DeletePublicAccessBlock" => "s3:PutBucketPublicAccessBlock",
            "s3:DeleteBucketTagging" => "s3:PutBucketTagging",
            "s3:ListBuckets" => "s3:ListAllMyBuckets",
            name => name,
        };
        let tagged = call.form.has("Tags.member.1.Key");
        let also = match self.name {
            "iam:CreateRole" if tagged => Some("iam:TagRole"),
            "iam:CreateOpenIDConnectProvider" if tagged => Some("iam:TagOpenIDConnectProvider"),
            "iam:CreatePolicy" if tagged => Some("iam:TagPolicy"),
            "s3:PutObject" if !call.request.header("x-amz-tagging").is_empty() => Some("s3:PutObjectTagging"),
            _ => None,
        };
        std::iter::once(own).chain(also).collect()
    }
}

/// What a call is about: a role's name, an ARN, a bucket, `bucket/key`.
pub fn target(service: Service, form: &Form, bucket: &str, key: &str) -> String {
    if service == Service::S3 {
        return if key.is_empty() { bucket.to_owned() } else { format!("{bucket}/{key}") };
    }
    let names = ["RoleName", "OpenIDConnectProviderArn", "RoleArn", "PolicyArn", "PolicyName", "Url"];
    names.iter().find_map(|name| form.get(name)).unwrap_or_default().to_owned()
}

/// The ARN of what a call is about, as denials name it.
pub fn resource_arn(world: &World, call: &Call<'_>) -> String {
    let target = target(call.service, call.form, call.bucket, call.key);
    match call.service {
        Service::S3 if target.is_empty() => "\"*\"".to_owned(),
        Service::S3 => format!("\"arn:aws:s3:::{target}\""),
        _ if target.is_empty() => "*".to_owned(),
        _ if target.starts_with("arn:") => target,
        Service::Iam if call.form.has("RoleName") => {
            let account = world.account(call.account());
            let found = account.roles.get(&target.to_ascii_lowercase());
            found.map_or_else(|| account.arn(&format!("role/{target}")), |role| role.arn.clone())
        }
        _ => "*".to_owned(),
    }
}

/// Whether `text` fits a pattern in which `*` stands for any number of any characters.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    after.is_empty() || (0..=rest.len()).any(|from| rest.get(from..).is_some_and(|rest| matches(after, rest)))
}

fn s3_name(method: &Method, bucket: &str, key: &str, query: &Form) -> &'static str {
    match (bucket.is_empty(), key.is_empty()) {
        (true, _) => "ListBuckets",
        (false, true) => bucket_operation(method.as_str(), query),
        (false, false) => object_operation(method.as_str(), query),
    }
}

fn bucket_operation(method: &str, query: &Form) -> &'static str {
    let part = ["tagging", "publicAccessBlock", "policy", "versioning", "location", "versions", "delete"];
    let part = part.into_iter().find(|part| query.has(part)).unwrap_or_default();
    match (method, part) {
        ("GET", "tagging") => "GetBucketTagging",
        ("PUT", "tagging") => "PutBucketTagging",
        ("DELETE", "tagging") => "DeleteBucketTagging",
        ("GET", "publicAccessBlock") => "GetPublicAccessBlock",
        ("PUT", "publicAccessBlock") => "PutPublicAccessBlock",
        ("DELETE", "publicAccessBlock") => "DeletePublicAccessBlock",
        ("GET", "policy") => "GetBucketPolicy",
        ("PUT", "policy") => "PutBucketPolicy",
        ("DELETE", "policy") => "DeleteBucketPolicy",
        ("GET", "versioning") => "GetBucketVersioning",
        ("PUT", "versioning") => "PutBucketVersioning",
        ("GET", "location") => "GetBucketLocation",
        ("GET", "versions") => "ListObjectVersions",
        ("POST", "delete") => "DeleteObjects",
        ("GET", "") if query.has("list-type") => "ListObjectsV2",
        ("PUT", "") => "CreateBucket",
        ("DELETE", "") => "DeleteBucket",
        ("HEAD", "") => "HeadBucket",
        _ => "Unknown",
    }
}

fn object_operation(method: &str, query: &Form) -> &'static str {
    let part = ["tagging", "uploads", "uploadId", "acl", "attributes"];
    match (method, part.into_iter().find(|part| query.has(part))) {
        ("GET", Some("tagging")) => "GetObjectTagging",
        ("GET", None) => "GetObject",
        ("PUT", None) => "PutObject",
        ("HEAD", None) => "HeadObject",
        ("DELETE", None) => "DeleteObject",
        _ => "Unknown",
    }
}
