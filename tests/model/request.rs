//! HTTP requests to AWS, and what they ask for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;

/// A request, as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    /// Path and query as sent; with a host if the request line (or the caller) had one.
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer, as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(Cow<'static, str>, String)>,
    pub body: Bytes,
}

/// The services of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Iam,
    Sts,
    S3,
}

/// Who signed, and for where: the credential scope of SigV4. The signature itself is not looked at.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub access_key: String,
    pub region: String,
    pub service: String,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    /// The same with one header more.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Service {
    /// The XML namespace of the query services.
    pub fn namespace(self) -> &'static str {
        match self {
            Service::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Service::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Service::S3 => "http://s3.amazonaws.com/doc/2006-03-01/",
        }
    }
}

impl Request {
    /// A header, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Headers whose names begin so, by the rest of their names in lower case.
    pub fn headers_after(&self, prefix: &str) -> BTreeMap<String, String> {
        let named = self.headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix(prefix)?, value)));
        named.map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
    }

    /// The credential scope; `None` when nobody signed.
    pub fn scope(&self) -> Option<Scope> {
        let (_, rest) = self.header("authorization").split_once("Credential=")?;
        let mut parts = rest.split(['/', ',']).map(str::trim);
        let access_key = parts.next()?.to_owned();
        let region = parts.nth(1)?.to_owned();
        Some(Scope { access_key, region, service: parts.next()?.to_owned() })
    }

    /// The bucket and the key: `bucket.s3.region.amazonaws.com/key`, or `/bucket/key` with any other host.
    pub fn bucket_and_key(&self) -> (String, String) {
        let path = self.uri.path().trim_start_matches('/');
        let host = self.uri.host().unwrap_or_else(|| self.header("host"));
        if let Some((bucket, _)) = host.split_once(".s3.").filter(|(_, rest)| rest.contains("amazonaws.com")) {
            return (bucket.to_owned(), decode(path));
        }
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        (decode(bucket), decode(key))
    }

    /// The body without the framing that the SDK adds for checksums that follow it.
    pub fn content(&self) -> Bytes {
        if self.header("content-encoding").contains("aws-chunked") { unframe(&self.body) } else { self.body.clone() }
    }
}

/// Parameters: of a form, or of a query.
#[derive(Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// `a=1&b=x%20y`; a name alone has an empty value.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Form(pairs.map(|(name, value)| (decode_plus(name), decode_plus(value))).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first parameter.
    pub fn first(&self) -> Option<(&str, &str)> {
        self.0.first().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A parameter, empty if absent.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// `name.member.1`, `name.member.2`, …
    pub fn list(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|n| self.get(&format!("{name}.member.{n}"))).collect()
    }

    /// `Tags.member.1.Key`, `Tags.member.1.Value`, …
    pub fn tags(&self) -> Vec<(&str, &str)> {
        let part = |n: usize, part: &str| self.get(&format!("Tags.member.{n}.{part}"));
        (1..).map_while(|n| Some((part(n, "Key")?, part(n, "Value").unwrap_or_default()))).collect()
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn decode_plus(text: &str) -> String {
    if text.contains('+') { decode(&text.replace('+', " ")) } else { decode(text) }
}

/// Takes `aws-chunked` apart: lines of a length in hexadecimal, each followed by so many bytes.
fn unframe(body: &[u8]) -> Bytes {
    let mut content = Vec::new();
    let mut rest = body;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let line = String::from_utf8_lossy(&rest[..end]);
        let length = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let (from, to) = (end + 2, end + 2 + length);
        if length == 0 || rest.len() < to {
            break;
        }
        content.extend_from_slice(&rest[from..to]);
        rest = &rest[(to + 2).min(rest.len())..];
    }
    content.into()
}
