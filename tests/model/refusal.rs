//! AWS's ways to say no.

use super::request::{Answer, Service};
use super::xml::Xml;

/// An error as AWS answers it.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

/// What an operation comes to.
pub type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, code, message: message.into() }
    }

    /// IAM: what was named does not exist.
    pub fn no_such_entity(message: impl Into<String>) -> Self {
        Refusal::new(404, "NoSuchEntity", message)
    }

    pub fn no_role(name: &str) -> Self {
        Refusal::no_such_entity(format!("The role with name {name} cannot be found."))
    }

    pub fn exists(message: impl Into<String>) -> Self {
        Refusal::new(409, "EntityAlreadyExists", message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Refusal::new(409, "DeleteConflict", message)
    }

    pub fn quota(name: &str, quota: usize) -> Self {
        Refusal::new(409, "LimitExceeded", format!("Cannot exceed quota for {name}: {quota}"))
    }

    pub fn malformed_document(message: impl Into<String>) -> Self {
        Refusal::new(400, "MalformedPolicyDocument", message)
    }

    pub fn invalid_input(message: impl Into<String>) -> Self {
        Refusal::new(400, "InvalidInput", message)
    }

    pub fn validation(message: impl Into<String>) -> Self {
        Refusal::new(400, "ValidationError", message)
    }

    /// The sentence that AWS's protocol layer makes when a parameter breaks its type's rules.
    pub fn constraint(value: &str, parameter: &str, constraint: &str) -> Self {
        Refusal::validation(format!(
            "1 validation error detected: Value '{value}' at '{parameter}' failed to satisfy constraint: {constraint}"
        ))
    }

    /// S3's denials without a reason: what another account owns, and what is not public.
    pub fn access_denied() -> Self {
        Refusal::new(403, "AccessDenied", "Access Denied")
    }

    /// A denial for want of permission, in the words of all services.
    pub fn denied(caller: &str, action: &str, resource: &str) -> Self {
        let message = format!(
            "User: {caller} is not authorized to perform: {action} on resource: {resource} because no identity-based \
             policy allows the {action} action"
        );
        Refusal::new(403, "AccessDenied", message)
    }

    /// "Too fast", as each service says it.
    pub fn throttled(service: Service) -> Self {
        match service {
            Service::S3 => Refusal::new(503, "SlowDown", "Please reduce your request rate."),
            Service::Iam | Service::Sts => Refusal::new(400, "Throttling", "Rate exceeded"),
        }
    }

    /// "Our fault", as each service says it.
    pub fn server_error(service: Service) -> Self {
        match service {
            Service::S3 => Refusal::new(500, "InternalError", "We encountered an internal error. Please try again."),
            Service::Iam | Service::Sts => {
                let code = if service == Service::Iam { "ServiceFailure" } else { "InternalFailure" };
                let message = "The request processing has failed because of an unknown error, exception or failure.";
                Refusal::new(500, code, message)
            }
        }
    }

    /// The answer that carries this error. One to a HEAD request has no body.
    pub fn answer(&self, service: Service, head: bool, request_id: &str) -> Answer {
        let mut xml = Xml::default();
        let fill = |error: &mut Xml| {
            error.leaf("Code", self.code).leaf("Message", &self.message);
        };
        let content_type = if let Service::S3 = service {
            xml.0.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
            xml.within("Error", |error| {
                fill(error);
                error.leaf("RequestId", request_id).leaf("HostId", "model");
            });
            "application/xml"
        } else {
            let kind = if self.status < 500 { "Sender" } else { "Receiver" };
            xml.0.push_str(&format!("<ErrorResponse xmlns=\"{}\">", service.namespace()));
            xml.within("Error", |error| {
                error.leaf("Type", kind);
                fill(error);
            });
            xml.leaf("RequestId", request_id);
            xml.0.push_str("</ErrorResponse>");
            "text/xml"
        };
        let body = if head { String::new() } else { xml.0 };
        Answer::new(self.status, body).with("content-type", content_type)
    }
}
