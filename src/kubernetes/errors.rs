//! Errors of API servers, sorted into the same classes as those of AWS.

use crate::observed::{Fault, FaultClass};

/// Sorts an error of a call that needs `action` (verb and resource) and was made on `target`.
pub fn fault(action: &str, target: &str, error: &kube::Error) -> Fault {
    let (class, message) = match error {
        // A namespace on its way out refuses everything; what follows it is told by the watch.
        kube::Error::Api(status) if status.message.contains("being terminated") => {
            (FaultClass::Conflict, status.message.clone())
        }
        kube::Error::Api(status) => (of_code(status.code), status.message.clone()),
        // kube's messages already tell their sources.
        other => (FaultClass::Network, other.to_string()),
    };
    Fault { class, action: action.to_owned(), target: target.to_owned(), message }
}

fn of_code(code: u16) -> FaultClass {
    match code {
        401 | 403 => FaultClass::Denied,
        404 | 410 => FaultClass::NotFound,
        409 => FaultClass::Conflict,
        429 => FaultClass::Throttled,
        400..=499 => FaultClass::Malformed,
        _ => FaultClass::Server,
    }
}
