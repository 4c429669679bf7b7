//! AWS's errors, sorted into the classes that decide what happens next.
//!
//! Sources: "Common errors" in the IAM and STS API references, "Error responses" in the S3 API reference.

mod silence;

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
/// `PreconditionFailed` answers a conditional write of an object that somebody has changed meanwhile.
const CONFLICT: [&str; 7] = [
    "BucketNotEmpty",
    "EntityAlreadyExists",
    "BucketAlreadyExists",
    "BucketAlreadyOwnedByYou",
    "DeleteConflict",
    "PreconditionFailed",
    "ConditionalRequestConflict",
];

/// How S3 answers for a bucket of another region: at a region's own endpoint, and for regions that have to be opted into
/// ("Error responses"; botocore's `S3RegionRedirector` goes by the same). A wrong region in a signature is a third way.
const ELSEWHERE: [&str; 2] = ["PermanentRedirect", "IllegalLocationConstraintException"];
/// STS could not ask the operator's own issuer, and a repetition may help ("AssumeRoleWithWebIdentity", STS API reference).
const SERVER: [&str; 1] = ["IDPCommunicationError"];

/// A principal that was just made is "invalid" in policies for a while (IAM User Guide, troubleshooting), too.
/// So is what another change is under way for: a bucket's name for some time after the bucket was deleted, for one.
const UNSETTLED: [&str; 5] = [
    "EntityTemporarilyUnmodifiable",
    "EntityTemporarilyUnmodifiableException",
    "ConcurrentModification",
    "ConcurrentModificationException",
    "OperationAborted",
];
/// The connection was silent in the middle of a request; S3 answers so with status 400.
const NETWORK: [&str; 2] = ["RequestTimeout", "RequestTimeoutException"];

/// Sorts an error of a call that needs `action` and was made on `target`.
pub fn fault<E>(action: &str, target: &str, error: &SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Some((class, message)) = of_call(error) else { return silence::fault(action, target, error) };
    let action = match class {
        FaultClass::Denied => denied_action(&message).unwrap_or(action),
        _ => action,
    };
    Fault { class, action: action.to_owned(), target: target.to_owned(), message: message.clone() }
}

/// What an answer says, or that it took too long; `None` when the call never got that far.
fn of_call<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<(FaultClass, String)> {
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            Some(of_answer(service.err().code(), status, service.err().message()))
        }
        SdkError::ResponseError(response) => Some(of_answer(None, response.raw().status().as_u16(), None)),
        SdkError::TimeoutError(_) => Some((FaultClass::Network, "no answer in time".to_owned())),
        _ => None,
    }
}

fn of_answer(code: Option<&str>, status: u16, message: Option<&str>) -> (FaultClass, String) {
    let Some(code) = code else {
        // Whatever a proxy or a portal says of itself, it says nothing of what was asked for.
        let class = if status == 429 { FaultClass::Throttled } else { FaultClass::Server };
        return (class, format!("HTTP {status} with a body that is no AWS answer; is this an AWS endpoint?"));
    };
    let is = |set: &[&str]| set.contains(&code);
    let says = |words: &str| message.is_some_and(|message| message.contains(words));
    let class = if is(&DENIED) && says("BlockPublicPolicy") {
        FaultClass::PublicAccessBlocked
    } else if is(&DENIED) {
        FaultClass::Denied
    } else if is(&CREDENTIALS) {
        FaultClass::Credentials
    } else if is(&THROTTLED) || status == 429 {
        FaultClass::Throttled
    } else if is(&NOT_FOUND) {
        FaultClass::NotFound
    } else if is(&NETWORK) {
        FaultClass::Network
    } else if is(&LIMIT) {
        FaultClass::Limit
    } else if is(&UNSETTLED) || says("Invalid principal") {
        FaultClass::Unsettled
    } else if is(&ELSEWHERE) || code == "AuthorizationHeaderMalformed" && says("region") {
        FaultClass::Elsewhere
    } else if is(&CONFLICT) || status == 409 {
        FaultClass::Conflict
    } else if is(&SERVER) || status >= 500 {
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

/// The action that AWS names in a denial; it may be another than the call's own, such as `s3:PutObjectTagging`.
fn denied_action(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("not authorized to perform: ")?;
    rest.split_whitespace().next().map(|action| action.trim_end_matches(['.', ',', ';'])).filter(|a| a.contains(':'))
}

/// Drops request ids and the names of sessions: the same error twice must give the same message.
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
    let out = without_sessions(&out);
    out.trim_end_matches([' ', ',', ';', '(', ':']).replace("()", "").replace(", )", ")").trim().to_owned()
}

/// Leaves `arn:aws:sts::1:assumed-role/rolecall` of an assumed role's ARN. The session behind it has a name that the SDK
/// makes from the time, if nobody gave it one, and so another one after each renewal.
fn without_sessions(message: &str) -> String {
    let mut parts = message.split(":assumed-role/");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(":assumed-role/");
        let in_name = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        let (role, rest) = part.split_at(part.find(|c| !in_name(c)).unwrap_or(part.len()));
        out.push_str(role);
        let Some(named) = rest.strip_prefix('/') else {
            out.push_str(rest);
            continue;
        };
        let session = &named[..named.find(|c| !in_name(c)).unwrap_or(named.len())];
        // A full stop or a comma behind it is the sentence's.
        out.push_str(&named[session.trim_end_matches(['.', ',']).len()..]);
    }
    out
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
    fn sessions_of_assumed_roles_are_dropped() {
        let role = "User: arn:aws:sts::1:assumed-role/rolecall";
        for (message, scrubbed) in [
            ("{}/web-identity-token-1700000000000 is not authorized", "{} is not authorized"),
            ("{}/i-0a,b=c@d. Next, {}/other", "{}. Next, {}"),
            ("\"{}/a\" and \"{}/b\"", "\"{}\" and \"{}\""),
            ("{} is not authorized", "{} is not authorized"),
            ("User: arn:aws:iam::1:role/path/rolecall is not", "User: arn:aws:iam::1:role/path/rolecall is not"),
        ] {
            assert_eq!(scrub(&message.replace("{}", role)), scrubbed.replace("{}", role));
        }
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
            ("PermanentRedirect", 301, FaultClass::Elsewhere),
            ("IllegalLocationConstraintException", 400, FaultClass::Elsewhere),
            ("AuthorizationHeaderMalformed", 400, FaultClass::Malformed),
            ("IDPCommunicationError", 400, FaultClass::Server),
            ("RequestTimeout", 400, FaultClass::Network),
            ("OperationAborted", 409, FaultClass::Unsettled),
            ("ConcurrentModification", 409, FaultClass::Unsettled),
        ] {
            assert_eq!(of_answer(Some(code), status, None).0, class, "{code}");
        }
        for status in [200, 301, 400, 401, 403, 404, 409, 500, 502] {
            assert_eq!(of_answer(None, status, None).0, FaultClass::Server, "{status}");
        }
        assert_eq!(of_answer(None, 429, None).0, FaultClass::Throttled);
    }

    #[test]
    fn some_classes_show_in_the_words_alone() {
        for (code, message, class) in [
            (
                "AuthorizationHeaderMalformed",
                "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
                FaultClass::Elsewhere,
            ),
            (
                "AccessDenied",
                "User: x is not authorized to perform: s3:PutBucketPolicy on resource: \"arn:aws:s3:::y\" because public \
                 policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
                FaultClass::PublicAccessBlocked,
            ),
            ("AccessDenied", "User: x is not authorized to perform: s3:PutBucketPolicy", FaultClass::Denied),
        ] {
            assert_eq!(of_answer(Some(code), 400, Some(message)).0, class, "{message}");
        }
    }

    #[test]
    fn the_denied_action_is_the_one_that_aws_names() {
        let message = "AccessDenied: User: arn:aws:iam::1:user/x is not authorized to perform: s3:PutObjectTagging on resource: \"y\"";
        assert_eq!(denied_action(message), Some("s3:PutObjectTagging"));
        assert_eq!(denied_action("AccessDenied: Access Denied"), None);
    }
}
