//! What can go wrong on the way to AWS, and AWS's words for it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderValue, Response, StatusCode, header};

use super::operation::Service;
use super::{ACCOUNT, Asked, Reply};

/// A fault for calls that match.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The operation's name, `*` for any number of any characters: `iam:*`, `s3:Put*`.
    pub op_pattern: String,
    /// How many calls to break; `None` for all.
    pub times: Option<u32>,
    /// Only calls of which a parameter contains this: a role, a bucket, a part of an ARN.
    pub concerning: Option<String>,
    pub kind: Kind,
}

impl Fault {
    /// Breaks every matching call.
    pub fn always(op_pattern: &str, kind: Kind) -> Fault {
        Fault { op_pattern: op_pattern.to_owned(), times: None, concerning: None, kind }
    }

    /// Breaks the next `times` matching calls.
    pub fn times(times: u32, op_pattern: &str, kind: Kind) -> Fault {
        Fault { times: Some(times), ..Fault::always(op_pattern, kind) }
    }

    /// Breaks the next matching call.
    pub fn once(op_pattern: &str, kind: Kind) -> Fault {
        Fault::times(1, op_pattern, kind)
    }

    /// Breaks only calls of which a parameter contains `text`.
    pub fn concerning(self, text: &str) -> Fault {
        Fault { concerning: Some(text.to_owned()), ..self }
    }

    fn meets(&self, op: &str, params: &BTreeMap<String, String>) -> bool {
        let concerned = |text: &String| params.values().any(|value| value.contains(text));
        self.times != Some(0) && matches(&self.op_pattern, op) && self.concerning.as_ref().is_none_or(concerned)
    }
}

/// How to break a call.
#[derive(Debug, Clone)]
pub enum Kind {
    /// This answer, without asking AWS.
    Status { code: u16, body: String, content_type: String },
    /// 403 in AWS's form, without asking AWS.
    AccessDenied,
    /// "Too fast" in AWS's form, without asking AWS. The SDK retries these.
    Throttle,
    /// 200 with a web page, as a captive portal answers.
    Html,
    /// The call takes effect, but the connection closes before an answer comes.
    LostAnswer,
    /// The call goes through after a pause.
    Delay(Duration),
    /// The connection closes; nothing happens.
    Refuse,
}

pub(super) enum Verdict {
    Forward,
    ForwardAndLose,
    Answer(Reply),
}

/// The first fault for this call, one use of it taken.
pub(super) fn take(faults: &mut [Fault], op: &str, params: &BTreeMap<String, String>) -> Option<Kind> {
    let fault = faults.iter_mut().find(|fault| fault.meets(op, params))?;
    fault.times = fault.times.map(|times| times - 1);
    Some(fault.kind.clone())
}

impl Kind {
    pub(super) async fn judge(self, asked: &Asked) -> Verdict {
        match self {
            Kind::Delay(pause) => {
                tokio::time::sleep(pause).await;
                Verdict::Forward
            }
            Kind::LostAnswer => Verdict::ForwardAndLose,
            Kind::Refuse => Verdict::Answer(None),
            Kind::Status { code, body, content_type } => Verdict::Answer(Some(answer(code, &content_type, body))),
            Kind::Html => {
                let page = "<!doctype html><html><title>Sign in</title><h1>Welcome to the guest network</h1></html>";
                Verdict::Answer(Some(answer(200, "text/html", page.to_owned())))
            }
            Kind::AccessDenied => Verdict::Answer(Some(access_denied(asked))),
            Kind::Throttle if asked.service == Service::S3 => {
                Verdict::Answer(Some(error(asked, 503, "SlowDown", "Please reduce your request rate.")))
            }
            Kind::Throttle => Verdict::Answer(Some(error(asked, 400, "Throttling", "Rate exceeded"))),
        }
    }
}

/// What AWS says to someone who may not do this.
pub(super) fn access_denied(asked: &Asked) -> Response<Bytes> {
    let op = &asked.op;
    let param = |name: &str| asked.params.get(name).filter(|value| !value.is_empty());
    let arn = |kind: &str, name: &str| format!("arn:aws:iam::{ACCOUNT}:{kind}/{name}");
    let resource = match (param("Bucket"), param("Key")) {
        (Some(bucket), Some(key)) => format!("\"arn:aws:s3:::{bucket}/{key}\""),
        (Some(bucket), None) => format!("\"arn:aws:s3:::{bucket}\""),
        _ => param("OpenIDConnectProviderArn")
            .or(param("PolicyArn"))
            .cloned()
            .or_else(|| param("RoleName").map(|name| arn("role", name)))
            .unwrap_or_else(|| "*".to_owned()),
    };
    let user = arn("user", "x");
    let message = format!(
        "User: {user} is not authorized to perform: {op} on resource: {resource} because no identity-based policy \
         allows the {op} action"
    );
    error(asked, 403, "AccessDenied", &message)
}

fn error(asked: &Asked, code: u16, name: &str, message: &str) -> Response<Bytes> {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    let id = "7f1c2a9e-0000-4000-8000-000000000000";
    let body = match asked.service {
        Service::S3 if asked.op.starts_with("s3:Head") => String::new(), // an answer to HEAD has no body
        Service::S3 => format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <Error><Code>{name}</Code><Message>{message}</Message>\
             <RequestId>{id}</RequestId><HostId>x</HostId></Error>"
        ),
        Service::Iam | Service::Sts => {
            let namespace = match asked.service {
                Service::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
                _ => "https://sts.amazonaws.com/doc/2011-06-15/",
            };
            format!(
                "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>Sender</Type><Code>{name}</Code>\
                 <Message>{message}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>"
            )
        }
    };
    answer(code, if asked.service == Service::S3 { "application/xml" } else { "text/xml" }, body)
}

pub(super) fn answer(code: u16, content_type: &str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(code).expect("an HTTP status code");
    let content_type = HeaderValue::from_str(content_type).expect("a content type");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Whether `text` fits a pattern in which `*` stands for any number of any characters.
pub(in crate::support) fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(before) else {
        return false;
    };
    (0..=rest.len()).any(|from| rest.get(from..).is_some_and(|rest| matches(after, rest)))
}
