//! Which AWS operation an HTTP request is.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::Method;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::Call;

/// The services that the proxy stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Iam,
    Sts,
    S3,
}

/// Whether an operation of this name changes something.
pub fn is_write(op: &str) -> bool {
    let name = op.split_once(':').map_or(op, |(_, name)| name);
    let reads = ["Get", "List", "Head", "Simulate"];
    let assumes = op.starts_with("sts:Assume");
    !assumes && !reads.iter().any(|prefix| name.starts_with(prefix))
}

/// Reads a request's operation and parameters.
pub fn describe(service: Service, parts: &Parts, body: Bytes) -> Call {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let scope = header("authorization").split_once("Credential=").map_or("", |(_, rest)| rest);
    let mut scope = scope.split(['/', ',']);
    let access_key_id = scope.next().unwrap_or_default().to_owned();
    let region = scope.nth(1).unwrap_or_default().to_owned();

    let (op, params, headers) = match service {
        Service::Iam | Service::Sts => {
            let params = form(&String::from_utf8_lossy(&body));
            let prefix = if service == Service::Iam { "iam" } else { "sts" };
            let action = params.get("Action").map_or("Unknown", String::as_str);
            (format!("{prefix}:{action}"), params, BTreeMap::new())
        }
        Service::S3 => {
            let mut params = form(parts.uri.query().unwrap_or_default());
            let (bucket, key) = bucket_and_key(parts.uri.path());
            let copies = parts.headers.contains_key("x-amz-copy-source");
            let op = s3_operation(&parts.method, &bucket, &key, &params, copies);
            params.extend([("Bucket".to_owned(), bucket), ("Key".to_owned(), key)]);
            let headers = parts.headers.iter().map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            });
            (op, params, headers.collect())
        }
    };
    Call { op, status: 0, at: Instant::now(), forwarded: false, access_key_id, region, params, headers, body }
}

/// `a=1&b=x%20y` decoded; a name alone has an empty value.
fn form(text: &str) -> BTreeMap<String, String> {
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// Path style, which the SDKs use with an IP address: `/bucket/key`.
fn bucket_and_key(path: &str) -> (String, String) {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    (decode(bucket), decode(key))
}

fn s3_operation(method: &Method, bucket: &str, key: &str, query: &BTreeMap<String, String>, copies: bool) -> String {
    let verb = match *method {
        Method::GET => "Get",
        Method::PUT => "Put",
        Method::DELETE => "Delete",
        Method::HEAD => "Head",
        Method::POST => "Post",
        _ => method.as_str(),
    };
    let has = |name: &str| query.contains_key(name);
    let sub = |names: &[(&str, &'static str)]| names.iter().find(|(name, _)| has(name)).map(|(_, noun)| *noun);
    let name = if bucket.is_empty() {
        "ListBuckets".to_owned()
    } else if key.is_empty() {
        match (sub(BUCKET_PARTS), verb) {
            (Some("PublicAccessBlock"), verb) => format!("{verb}PublicAccessBlock"),
            (Some(part), verb) => format!("{verb}Bucket{part}"),
            (None, "Put") => "CreateBucket".to_owned(),
            (None, "Head") => "HeadBucket".to_owned(),
            (None, "Delete") => "DeleteBucket".to_owned(),
            (None, "Post") if has("delete") => "DeleteObjects".to_owned(),
            (None, "Get") if has("versions") => "ListObjectVersions".to_owned(),
            (None, "Get") if has("uploads") => "ListMultipartUploads".to_owned(),
            (None, "Get") if has("list-type") => "ListObjectsV2".to_owned(),
            (None, "Get") => "ListObjects".to_owned(),
            (None, verb) => format!("{verb}Bucket"),
        }
    } else {
        match (sub(OBJECT_PARTS), verb) {
            (Some(part), verb) => format!("{verb}Object{part}"),
            (None, "Post") if has("uploads") => "CreateMultipartUpload".to_owned(),
            (None, "Post") if has("uploadId") => "CompleteMultipartUpload".to_owned(),
            (None, "Put") if has("uploadId") => "UploadPart".to_owned(),
            (None, "Delete") if has("uploadId") => "AbortMultipartUpload".to_owned(),
            (None, "Put") if copies => "CopyObject".to_owned(),
            (None, verb) => format!("{verb}Object"),
        }
    };
    format!("s3:{name}")
}

/// Parts of a bucket that have a query parameter of their own, and what their operations are called.
const BUCKET_PARTS: &[(&str, &str)] = &[
    ("acl", "Acl"),
    ("cors", "Cors"),
    ("encryption", "Encryption"),
    ("lifecycle", "LifecycleConfiguration"),
    ("location", "Location"),
    ("logging", "Logging"),
    ("ownershipControls", "OwnershipControls"),
    ("policy", "Policy"),
    ("policyStatus", "PolicyStatus"),
    ("publicAccessBlock", "PublicAccessBlock"),
    ("tagging", "Tagging"),
    ("versioning", "Versioning"),
    ("website", "Website"),
];

const OBJECT_PARTS: &[(&str, &str)] = &[("acl", "Acl"), ("attributes", "Attributes"), ("tagging", "Tagging")];
