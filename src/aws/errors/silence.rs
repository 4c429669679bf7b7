//! Calls that got no answer: nobody was there, or there were no credentials to sign them with.

use std::error::Error;
use std::iter::successors;

use aws_config::imds::client::error::ImdsError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};

use super::{of_call, scrub};
use crate::observed::{Fault, FaultClass};

/// How the SDK's provider for containers words an answer that is no success. It has no type for it.
const CONTAINER: &str = "HTTP credential provider: StatusCode(";

type Cause<'a> = &'a (dyn Error + 'static);

/// Sorts an error before or without an answer: the innermost cause says most.
pub(super) fn fault<E>(action: &str, target: &str, error: &SdkError<E, HttpResponse>) -> Fault
where
    E: Error + 'static,
{
    let causes: Vec<Cause<'_>> = successors(error.source(), |&cause| cause.source()).collect();
    let innermost = scrub(&causes.last().map_or_else(|| "no answer".to_owned(), ToString::to_string));
    if !causes.iter().any(|cause| is_of_credentials(*cause)) {
        return Fault { class: FaultClass::Network, action: action.into(), target: target.into(), message: innermost };
    }
    let asked = causes.iter().rev().find_map(|cause| asked(*cause));
    let said = causes.iter().rev().find_map(|cause| said(*cause));
    let (class, message) = said.unwrap_or((FaultClass::Credentials, innermost));
    // Where there is nothing to ask, or it says no, only a person can help. Anything else passes.
    let missing = causes.iter().any(|cause| is_missing(*cause));
    let passes = matches!(class, FaultClass::Throttled | FaultClass::Server | FaultClass::Network);
    let class = if passes && !missing { class } else { FaultClass::Credentials };
    match asked {
        Some(of_sts) => Fault { class, action: of_sts.into(), target: "the operator's credentials".into(), message },
        None => Fault { class, action: action.into(), target: target.into(), message },
    }
}

fn is_of_credentials(cause: Cause<'_>) -> bool {
    let words = cause.to_string().to_ascii_lowercase();
    cause.is::<CredentialsError>() || words.contains("credentials") || words.contains("identity")
}

/// Nobody has configured credentials, or not so that they can be had.
fn is_missing(cause: Cause<'_>) -> bool {
    matches!(
        cause.downcast_ref(),
        Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_))
    )
}

/// The call to STS that failed, if a cause is that.
fn asked(cause: Cause<'_>) -> Option<&'static str> {
    if cause.is::<SdkError<AssumeRoleError, HttpResponse>>() {
        Some("sts:AssumeRole")
    } else if cause.is::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>() {
        Some("sts:AssumeRoleWithWebIdentity")
    } else {
        None
    }
}

/// What whoever was asked for credentials has said, or that nobody has.
fn said(cause: Cause<'_>) -> Option<(FaultClass, String)> {
    if let Some(error) = cause.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
        return of_call(error);
    }
    if let Some(error) = cause.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>() {
        return of_call(error);
    }
    if let Some(status) = status(cause) {
        let class = match status {
            429 => FaultClass::Throttled,
            500.. => FaultClass::Server,
            _ => FaultClass::Credentials,
        };
        return Some((class, format!("HTTP {status} instead of credentials")));
    }
    is_silence(cause).then(|| (FaultClass::Network, scrub(&innermost(cause).to_string())))
}

/// The status of an answer of the instance's, or the container's, own provider.
fn status(cause: Cause<'_>) -> Option<u16> {
    if let Some(ImdsError::ErrorResponse(answer)) = cause.downcast_ref() {
        return Some(answer.response().status().as_u16());
    }
    let words = cause.to_string();
    words.split_once(CONTAINER)?.1.split(')').next()?.parse().ok()
}

/// No connection, or no answer in time. The cache of identities has no type that could be asked for.
fn is_silence(cause: Cause<'_>) -> bool {
    if let Some(connector) = cause.downcast_ref::<ConnectorError>() {
        return connector.is_io() || connector.is_timeout();
    }
    matches!(cause.downcast_ref(), Some(CredentialsError::ProviderTimedOut(_)))
        || cause.to_string().starts_with("identity resolver timed out")
        || cause.to_string() == "request has timed out"
}

fn innermost(cause: Cause<'_>) -> Cause<'_> {
    successors(Some(cause), |&cause| cause.source()).last().unwrap_or(cause)
}

#[cfg(test)]
mod tests {
    use aws_sdk_sts::error::ErrorMetadata;
    use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    type BoxError = Box<dyn Error + Send + Sync>;

    /// A call for which no credentials could be had.
    fn unsigned(why: impl Into<BoxError>) -> Fault {
        let error: SdkError<GetCallerIdentityError, HttpResponse> =
            SdkError::dispatch_failure(ConnectorError::other(why.into(), None));
        super::super::fault("iam:GetRole", "role a", &error)
    }

    fn refused(status: u16, code: &str, message: &str) -> SdkError<AssumeRoleError, HttpResponse> {
        let said = ErrorMetadata::builder().code(code).message(message).build();
        let raw = HttpResponse::new(StatusCode::try_from(status).expect("a status"), SdkBody::empty());
        SdkError::service_error(AssumeRoleError::generic(said), raw)
    }

    #[test]
    fn what_passes_at_sts_passes() {
        let assuming =
            |error: SdkError<AssumeRoleError, HttpResponse>| unsigned(CredentialsError::provider_error(error));
        let broken = || ConnectorError::io("Connection refused (os error 111)".into());
        for (fault, class, message) in [
            (assuming(refused(400, "Throttling", "Rate exceeded")), FaultClass::Throttled, "Throttling: Rate exceeded"),
            (assuming(refused(503, "ServiceUnavailable", "")), FaultClass::Server, "ServiceUnavailable"),
            (assuming(SdkError::dispatch_failure(broken())), FaultClass::Network, "Connection refused (os error 111)"),
            (assuming(SdkError::timeout_error("too late")), FaultClass::Network, "no answer in time"),
            (
                assuming(refused(403, "AccessDenied", "User: x is not authorized")),
                FaultClass::Credentials,
                "AccessDenied: User: x is not authorized",
            ),
        ] {
            assert_eq!((fault.class, fault.message.as_str()), (class, message));
            assert_eq!(
                (fault.action.as_str(), fault.target.as_str()),
                ("sts:AssumeRole", "the operator's credentials")
            );
        }
    }

    /// A role is assumed with the credentials of another: the one that failed says what is wrong.
    #[test]
    fn the_innermost_call_to_sts_is_the_one_that_failed() {
        let said = ErrorMetadata::builder().code("InternalFailure").message("no").build();
        let raw = HttpResponse::new(StatusCode::try_from(500).expect("a status"), SdkBody::empty());
        let inner = SdkError::service_error(AssumeRoleWithWebIdentityError::generic(said), raw);
        let inner = ConnectorError::other(CredentialsError::provider_error(inner).into(), None);
        let outer: SdkError<AssumeRoleError, HttpResponse> = SdkError::dispatch_failure(inner);
        let fault = unsigned(CredentialsError::provider_error(outer));
        assert_eq!((fault.class, fault.action.as_str()), (FaultClass::Server, "sts:AssumeRoleWithWebIdentity"));
        assert_eq!(fault.message, "InternalFailure: no");
    }

    #[test]
    fn other_ways_to_credentials_pass_too_unless_there_is_none() {
        let container = |status| {
            let words = format!("Non-success status from HTTP credential provider: {status:?}");
            CredentialsError::provider_error(words)
        };
        let nobody = ConnectorError::timeout("no route".into());
        for (fault, class) in [
            (unsigned("identity resolver timed out after 32s"), FaultClass::Network),
            (unsigned(CredentialsError::provider_timed_out(std::time::Duration::from_secs(5))), FaultClass::Network),
            (unsigned(container(StatusCode::try_from(503).expect("a status"))), FaultClass::Server),
            (unsigned(container(StatusCode::try_from(429).expect("a status"))), FaultClass::Throttled),
            (unsigned(container(StatusCode::try_from(403).expect("a status"))), FaultClass::Credentials),
            // No instance answers where there is none: that is no outage.
            (unsigned(CredentialsError::not_loaded(nobody)), FaultClass::Credentials),
            (unsigned(CredentialsError::unhandled("not UTF-8")), FaultClass::Credentials),
            (unsigned("dns error"), FaultClass::Network),
        ] {
            assert_eq!(fault.class, class, "{fault}");
            assert_eq!(fault.action, "iam:GetRole", "{fault}");
        }
    }
}
