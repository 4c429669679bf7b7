//! AWS's errors, sorted into the classes that decide what happens next.
//!
//! Sources: "Common errors" in the IAM and STS API references, "Error responses" in the S3 API reference.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::observed::{Fault, FaultClass};

const DENIED: [&str; 5] =
    ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "AllAccessDisabled"];
const CREDENTIALS: [&str; 12] = [
    "RequestTimeTooSkewed",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "InvalidToken",
    "MissingAuthenticationToken",
    "IncompleteSignature",
    "RequestExpired",
    "InvalidIdentityToken",
];
const THROTTLED: [&str; 9] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
    "BandwidthLimitExceeded",
];
const NOT_FOUND: [&str; 8] = [
    "NoSuchEntity",
    "NoSuchEntityException",
    "NoSuchBucket",
    "NoSuchKey",
    "NoSuchBucketPolicy",
    "NoSuchTagSet",
    "NoSuchPublicAccessBlockConfiguration",
    "NotFound",
];
const LIMIT: [&str; 4] = ["LimitExceeded", "LimitExceededException", "TooManyBuckets", "ServiceQuotaExceededException"];
const CONFLICT: [&str; 7] = [
    "BucketNotEmpty",
    "EntityAlreadyExists",
    "BucketAlreadyExists",
    "BucketAlreadyOwnedByYou",
    "OperationAborted",
    "ConcurrentModification",
    "DeleteConflict",
];

/// A principal that was just made is "invalid" in policies for a while (IAM User Guide, troubleshooting), too.
const UNSETTLED: [&str; 2] = ["EntityTemporarilyUnmodifiable", "EntityTemporarilyUnmodifiableException"];

/// Sorts an error of a call that needs `action` and was made on `target`.
pub fn fault<E>(action: &str, target: &str, error: &SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (class, message) = match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            of_answer(service.err().code(), status, service.err().message())
        }
        SdkError::ResponseError(response) => of_answer(None, response.raw().status().as_u16(), None),
        SdkError::TimeoutError(_) => (FaultClass::Network, "no answer in time".to_owned()),
        other => of_dispatch(other),
    };
    let action = match class {
        FaultClass::Denied => denied_action(&message).unwrap_or(action),
        _ => action,
    };
    Fault { class, action: action.to_owned(), target: target.to_owned(), message: message.clone() }
}

fn of_answer(code: Option<&str>, status: u16, message: Option<&str>) -> (FaultClass, String) {
    let Some(code) = code else {
        let class = match status {
            401 | 403 => FaultClass::Denied,
            404 => FaultClass::NotFound,
            409 => FaultClass::Conflict,
            429 => FaultClass::Throttled,
            _ => FaultClass::Server,
        };
        return (class, format!("HTTP {status} with a body that is no AWS answer; is this an AWS endpoint?"));
    };
    let is = |set: &[&str]| set.contains(&code);
    let class = if is(&DENIED) {
        FaultClass::Denied
    } else if is(&CREDENTIALS) {
        FaultClass::Credentials
    } else if is(&THROTTLED) || status == 429 {
        FaultClass::Throttled
    } else if is(&NOT_FOUND) {
        FaultClass::NotFound
    } else if is(&LIMIT) {
        FaultClass::Limit
    } else if is(&UNSETTLED) || message.is_some_and(|message| message.contains("Invalid principal")) {
        FaultClass::Unsettled
    } else if is(&CONFLICT) || status == 409 {
        FaultClass::Conflict
    } else if status >= 500 {
        FaultClass::Server
    } else {
        FaultClass::Malformed
    };
    let message = match message {
        Some(message) if !message.is_empty() => format!("{code}: {}", scrub(message)),
        _ => code.to_owned(),
    };
    (class, message)
}

/// An error before or without an answer: the innermost cause says most.
fn of_dispatch<E>(error: &SdkError<E, HttpResponse>) -> (FaultClass, String)
where
    E: std::error::Error + 'static,
{
    let mut causes = Vec::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    let innermost = scrub(causes.last().map_or("no answer", String::as_str));
    let credentials = causes.iter().any(|cause| {
        let cause = cause.to_ascii_lowercase();
        cause.contains("credentials") || cause.contains("identity")
    });
    if credentials { (FaultClass::Credentials, innermost) } else { (FaultClass::Network, innermost) }
}

/// The action that AWS names in a denial; it may be another than the call's own, such as `s3:PutObjectTagging`.
fn denied_action(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("not authorized to perform: ")?;
    rest.split_whitespace().next().map(|action| action.trim_end_matches(['.', ',', ';'])).filter(|a| a.contains(':'))
}

/// Drops request ids: the same error twice must give the same message.
pub fn scrub(message: &str) -> String {
    let mut out = message.to_owned();
    for marker in ["request id", "requestid", "request-id", "host id", "hostid"] {
        while let Some(at) = out.to_ascii_lowercase().find(marker) {
            let rest = &out[at + marker.len()..];
            let skip = rest.len() - rest.trim_start_matches([':', '=', ' ']).len();
            let id = &rest[skip..];
            let end = id.find(|c: char| !c.is_ascii_alphanumeric() && !"-_+/=".contains(c)).unwrap_or(id.len());
            out.replace_range(at..at + marker.len() + skip + end, "");
        }
    }
    out.trim_end_matches([' ', ',', ';', '(', ':']).replace("()", "").replace(", )", ")").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_dropped() {
        for (message, scrubbed) in [
            ("bad thing (RequestID: 5e0c-AbC)", "bad thing"),
            ("bad thing, Request ID: 1234-ab, host id: x/y+z=", "bad thing"),
            ("bad thing", "bad thing"),
        ] {
            assert_eq!(scrub(message), scrubbed);
        }
        assert_eq!(scrub("request id: a. More"), scrub("request id: b. More"));
    }

    #[test]
    fn codes_have_classes() {
        for (code, status, class) in [
            ("AccessDenied", 403, FaultClass::Denied),
            ("Throttling", 400, FaultClass::Throttled),
            ("SlowDown", 503, FaultClass::Throttled),
            ("NoSuchEntity", 404, FaultClass::NotFound),
            ("LimitExceeded", 409, FaultClass::Limit),
            ("EntityAlreadyExists", 409, FaultClass::Conflict),
            ("MalformedPolicyDocument", 400, FaultClass::Malformed),
            ("ServiceFailure", 500, FaultClass::Server),
            ("ExpiredToken", 403, FaultClass::Credentials),
        ] {
            assert_eq!(of_answer(Some(code), status, None).0, class, "{code}");
        }
        assert_eq!(of_answer(None, 200, None).0, FaultClass::Server);
    }

    #[test]
    fn the_denied_action_is_the_one_that_aws_names() {
        let message = "AccessDenied: User: arn:aws:iam::1:user/x is not authorized to perform: s3:PutObjectTagging on resource: \"y\"";
        assert_eq!(denied_action(message), Some("s3:PutObjectTagging"));
        assert_eq!(denied_action("AccessDenied: Access Denied"), None);
    }
}
