//! What can go wrong with a call, in classes that decide what happens next.

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentence(*.class, .action, .target, .message))]
pub struct Fault {
    /// The class.
    pub class: FaultClass,
    /// The permission that the call needs, such as `iam:CreateRole`; for Kubernetes `patch secrets`.
    pub action: String,
    /// What it was made on.
    pub target: String,
    /// The other side's words, without request ids or other things that change by themselves.
    pub message: String,
}

/// The class of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultClass {
    /// We may not do that.
    Denied,
    /// Too many calls; try later.
    Throttled,
    /// It is not there (any more).
    NotFound,
    /// A quota is used up.
    Limit,
    /// The other side finds the call wrong.
    Malformed,
    /// It is in another region than the one that was asked.
    Elsewhere,
    /// S3 Block Public Access prevents a policy that lets the public in.
    PublicAccessBlocked,
    /// Something stands in the way: it exists already, or changed meanwhile.
    Conflict,
    /// The other side failed, or answered what it never should.
    Server,
    /// There was no answer.
    Network,
    /// AWS does not know yet, or not everywhere, what it was told a moment ago.
    Unsettled,
    /// There are no usable credentials.
    Credentials,
}

impl FaultClass {
    /// Whether it passes by itself, and says nothing about what was to be read, only that it could not be.
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Throttled | Self::Server | Self::Network | Self::Unsettled | Self::Credentials)
    }

    /// One word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::NotFound => "not_found",
            Self::Limit => "limit",
            Self::Malformed => "malformed",
            Self::Elsewhere => "elsewhere",
            Self::PublicAccessBlocked => "public_access_blocked",
            Self::Conflict => "conflict",
            Self::Server => "server",
            Self::Network => "network",
            Self::Unsettled => "unsettled",
            Self::Credentials => "credentials",
        }
    }
}

fn sentence(class: FaultClass, action: &str, target: &str, message: &str) -> String {
    match class {
        FaultClass::Denied => {
            // An AWS action has its service before it, a Kubernetes one a blank within it.
            let remedy = if action.contains(':') { "the operator's IAM policy" } else { "the operator's RBAC" };
            format!("{action} on {target} was denied: allow it in {remedy} ({message})")
        }
        FaultClass::Throttled => format!("{action} on {target} was throttled; it is tried again later"),
        FaultClass::NotFound => format!("{action}: {target} was not found"),
        FaultClass::Limit => {
            format!("{action} on {target} met a quota: {message}; have it raised or remove what is not needed")
        }
        FaultClass::Malformed => format!("{action} on {target} was refused as malformed: {message}"),
        FaultClass::Elsewhere => format!("{action} on {target} was sent to the wrong region: {message}"),
        FaultClass::PublicAccessBlocked => format!(
            "{action} on {target} was prevented by S3 Block Public Access. The bucket's own block is opened first, and may \
             count for a moment longer; if this stays, the account or its organization blocks public policies: lift \
             BlockPublicPolicy and RestrictPublicBuckets there ({message})"
        ),
        FaultClass::Conflict => format!("{action} on {target} met something in its way: {message}"),
        FaultClass::Server => format!("{action} on {target} failed on the other side: {message}"),
        FaultClass::Network => format!("{action} on {target} got no answer: {message}"),
        FaultClass::Unsettled => format!("{action} on {target} came too early and is tried again: {message}"),
        FaultClass::Credentials => format!("{action}: no usable AWS credentials: {message}"),
    }
}
