//! What can go wrong on the way to the API server, and its words for it.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::super::proxy::matches;

/// A fault for requests that match.
#[derive(Debug, Clone)]
pub struct ApiFault {
    pattern: String,
    left: Option<u32>,
    /// How many of a hundred requests it meets.
    percent: u32,
    /// Grows with each request that it looked at: faults come at random, and the same in every run.
    dice: u32,
    kind: Broken,
}

/// How to break a request.
#[derive(Debug, Clone, Copy)]
pub enum Broken {
    /// This answer, without asking the API server.
    Status { code: u16, retry_after: Option<u32> },
    /// The connection closes; nothing happens.
    Closed,
    /// The request takes effect, but the connection closes before an answer comes.
    LostAnswer,
    /// Nothing happens, and no answer comes.
    Hang,
}

impl Broken {
    /// An error with this code, without a `Retry-After`.
    pub fn status(code: u16) -> Broken {
        Broken::Status { code, retry_after: None }
    }
}

impl ApiFault {
    /// Breaks every matching request: `patch secrets`, `* leases`, `*`.
    pub fn always(pattern: &str, kind: Broken) -> ApiFault {
        ApiFault { pattern: pattern.to_owned(), left: None, percent: 100, dice: 0, kind }
    }

    /// Breaks the next `times` matching requests.
    pub fn times(times: u32, pattern: &str, kind: Broken) -> ApiFault {
        ApiFault { left: Some(times), ..ApiFault::always(pattern, kind) }
    }

    /// Breaks the next matching request.
    pub fn once(pattern: &str, kind: Broken) -> ApiFault {
        ApiFault::times(1, pattern, kind)
    }

    /// Breaks so many of a hundred matching requests.
    pub fn some(percent: u32, pattern: &str, kind: Broken) -> ApiFault {
        ApiFault { percent, ..ApiFault::always(pattern, kind) }
    }

    pub(super) fn left(&self) -> u32 {
        self.left.unwrap_or(0)
    }

    fn meets(&mut self, what: &str) -> bool {
        if self.left == Some(0) || !matches(&self.pattern, what) {
            return false;
        }
        self.dice = self.dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.dice >> 16) % 100 < self.percent
    }
}

/// The first fault that meets this request, one use of it taken.
pub(super) fn take(faults: &mut [ApiFault], what: &str) -> Option<Broken> {
    let fault = faults.iter_mut().find_map(|fault| fault.meets(what).then_some(fault))?;
    fault.left = fault.left.map(|left| left - 1);
    Some(fault.kind)
}

/// An error in the API server's form.
pub(super) fn answer(code: u16, retry_after: Option<u32>) -> Response<Body> {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the test's proxy says so", "reason": reason, "code": code,
    });
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).expect("an HTTP status code");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
