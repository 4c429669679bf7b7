//! Every way in which a pass can end. Reasons, labels, delays and severities are derived here and nowhere else.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::desired::request::RequestRefused;
use crate::desired::{IdentityRefused, Ignored};
use crate::observed::{Fault, FaultClass};
use crate::plan::{Obstacle, Verification};

/// How a pass ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Everything desired is true, and was seen to be.
    Verified,
    /// Changes were made; the next pass looks at them.
    Changed {
        /// How many.
        writes: usize,
    },
    /// Changes are wanted, and the ClusterIdentity only observes.
    Pending {
        /// How many.
        changes: usize,
    },
    /// Something waits for something else; no person is needed.
    Waiting,
    /// What was changed a moment ago is not shown by AWS's reads yet.
    Settling,
    /// The ClusterIdentity is being deleted, and the finalizer was taken back.
    LetGo,
    /// Something needs a person; the rest is done. The reason, where one says more than that.
    Blocked(&'static str),
    /// A call failed; the rest is done.
    Failed(FaultClass),
    /// The documents are in place, but a reader like STS does not get them.
    IssuerWrong,
    /// The ClusterIdentity as a whole cannot be served.
    Refused(IdentityRefused),
    /// AWS could not be asked at all.
    NoAccount(Fault),
    /// Watches that verdicts rest on are lost: which, and why.
    WatchLost(String),
    /// The pass took too long.
    TimedOut,
    /// The pass panicked: a defect of Rolecall.
    Panicked,
    /// A status could not be written; the class of the API server's answer.
    NotWritten(FaultClass),
}

/// The reason of `Ready` where several things of different kinds need a person, or one that has no reason of its own there.
pub const BLOCKED: &str = "Blocked";
/// What is told as the reason of `Ready` itself, the gravest first: it keeps a cluster as it is, or away.
const OUTSTANDING: [&str; 11] = [
    "IssuerMismatch",
    "IssuerUnknown",
    "OwnershipLost",
    "OwnedByAnother",
    "BucketClosed",
    "StatusRestored",
    "InUse",
    "WouldNarrow",
    "WouldDeny",
    "NothingSelected",
    "TooManyDeletions",
];

/// The reason of `Ready` while these stand in the way.
pub fn blocked_by<'a>(obstacles: impl Iterator<Item = &'a Obstacle>) -> &'static str {
    let reasons: Vec<&str> = obstacles.map(obstacle_reason).collect();
    OUTSTANDING.into_iter().find(|reason| reasons.contains(reason)).unwrap_or(BLOCKED)
}

/// The reason of `Ready` and of `Effective` while a live role does not allow something that its request asks for.
pub const NOT_EFFECTIVE: &str = "NotEffective";
/// The reason of a request whose ClusterIdentity is gone.
pub const NO_IDENTITY: &str = "NoClusterIdentity";
/// Upstream's reason for a request that is for another cloud.
pub const OTHER_CLOUD: &str = "InfrastructureMismatch";
/// The reason of `Ready` while a ClusterIdentity is being deleted.
pub const DELETING: &str = "Deleting";

/// Delay after changes that followed no others: in most cases AWS shows them at once. Events that belong together are waited
/// for besides.
const AT_ONCE: Duration = Duration::from_millis(1);
/// Delay after changes that followed others, or that AWS does not show yet.
const SOON: Duration = Duration::from_millis(500);
/// Longest delay while another ClusterIdentity is in the way.
const RECHECK: Duration = Duration::from_mins(1);
/// First delay after a failure.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Longest delay after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);

impl Outcome {
    /// The reason of `Ready` and of the event.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::Changed { .. } => "Reconciling",
            Self::Pending { .. } => "ChangesPending",
            Self::Waiting => "Waiting",
            Self::Settling => "Settling",
            Self::LetGo => "LetGo",
            Self::Blocked(reason) => reason,
            Self::Failed(class) => fault_reason(*class),
            Self::IssuerWrong => "IssuerWrong",
            Self::Refused(refused) => identity_refused_reason(refused),
            Self::NoAccount(fault) => fault_reason(fault.class),
            Self::WatchLost(_) => "WatchLost",
            Self::TimedOut => "TimedOut",
            Self::Panicked => "Panicked",
            Self::NotWritten(_) => "StatusNotWritten",
        }
    }

    /// The label of the pass in metrics and logs.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Changed { .. } => "changed",
            Self::Pending { .. } => "pending",
            Self::Waiting => "waiting",
            Self::Settling => "settling",
            Self::LetGo => "let_go",
            Self::Blocked(_) => "blocked",
            Self::Failed(_) => "failed",
            Self::IssuerWrong => "issuer_wrong",
            Self::Refused(_) => "refused",
            Self::NoAccount(_) => "no_account",
            Self::WatchLost(_) => "watch_lost",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
            Self::NotWritten(_) => "not_written",
        }
    }

    /// When the next pass is due. `failures` counts the passes since the last one that got through.
    pub fn delay(&self, interval: Duration, failures: u32) -> Duration {
        match self {
            Self::Changed { .. } if failures == 0 => AT_ONCE,
            // Something that changes again and again does not stick: it is not fought over faster and faster.
            Self::Changed { .. } | Self::Settling => {
                SOON.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(interval.max(SOON))
            }
            // Nothing tells when the other ClusterIdentity goes, and asking costs no call. A watch that comes back brings a
            // pass by itself.
            Self::Refused(_) | Self::WatchLost(_) => interval.min(RECHECK),
            Self::Failed(_)
            | Self::NoAccount(_)
            | Self::TimedOut
            | Self::Panicked
            | Self::NotWritten(_)
            | Self::IssuerWrong => backoff(failures, interval),
            Self::Verified | Self::Pending { .. } | Self::Waiting | Self::Blocked(_) | Self::LetGo => interval,
        }
    }

    /// Whether the next delay is longer than this one: it failed, or what it made does not stick.
    pub const fn is_unsettled(&self) -> bool {
        matches!(
            self,
            Self::Changed { .. }
                | Self::Settling
                | Self::Failed(_)
                | Self::NoAccount(_)
                | Self::TimedOut
                | Self::Panicked
                | Self::NotWritten(_)
                | Self::IssuerWrong
        )
    }

    /// kstatus: only a person can help.
    pub const fn is_stalled(&self) -> bool {
        match self {
            Self::Blocked(_) | Self::Refused(_) => true,
            Self::Failed(class) => class_needs_person(*class),
            Self::NoAccount(fault) => class_needs_person(fault.class),
            _ => false,
        }
    }

    /// kstatus: work is under way.
    pub const fn is_reconciling(&self) -> bool {
        match self {
            Self::Changed { .. }
            | Self::Settling
            | Self::Waiting
            | Self::WatchLost(_)
            | Self::TimedOut
            | Self::Panicked
            | Self::IssuerWrong => true,
            Self::Failed(class) => !class_needs_person(*class),
            Self::NoAccount(fault) => !class_needs_person(fault.class),
            _ => false,
        }
    }
}

/// Exponential up to the interval, with up to a quarter of jitter on top, so that many that failed together do not return
/// together, however long they have failed.
fn backoff(failures: u32, interval: Duration) -> Duration {
    let longest = LONGEST_BACKOFF.min(interval.max(FIRST_BACKOFF));
    let exponential = FIRST_BACKOFF.saturating_mul(1 << failures.min(16)).min(longest);
    let random = RandomState::new().hash_one(failures) % 256;
    let jitter = exponential.saturating_mul(u32::try_from(random).unwrap_or(0)) / 1024;
    exponential.saturating_add(jitter)
}

/// Whether a fault of this class stays until a person helps.
pub const fn class_needs_person(class: FaultClass) -> bool {
    match class {
        FaultClass::Denied
        | FaultClass::Limit
        | FaultClass::Malformed
        | FaultClass::Elsewhere
        | FaultClass::Credentials => true,
        // A conflict is looked at by the next pass, which says what stands there and whose it is. A block that was lifted
        // a moment ago may still count.
        FaultClass::Conflict
        | FaultClass::PublicAccessBlocked
        | FaultClass::Throttled
        | FaultClass::Unsettled
        | FaultClass::NotFound
        | FaultClass::Server
        | FaultClass::Network => false,
    }
}

/// Whether an obstacle stays until a person helps.
pub const fn obstacle_needs_person(obstacle: &Obstacle) -> bool {
    match obstacle {
        Obstacle::NotOurs { .. }
        | Obstacle::IssuerMismatch(_)
        | Obstacle::IssuerUnknown(_)
        | Obstacle::BucketClosed(_)
        | Obstacle::OwnedByAnother { .. }
        | Obstacle::OwnershipLost { .. }
        | Obstacle::WouldNarrow { .. }
        | Obstacle::WouldDeny { .. }
        | Obstacle::NothingSelected { .. }
        | Obstacle::StatusRestored(..)
        | Obstacle::InUse(..)
        | Obstacle::BucketForbidden { .. }
        | Obstacle::BucketInUse(_)
        | Obstacle::OtherPath { .. }
        | Obstacle::ForeignSecret { .. }
        | Obstacle::OtherCase { .. }
        | Obstacle::TooManyDeletions { .. }
        | Obstacle::ClaimUnknown(_)
        | Obstacle::RoleInUse { .. }
        | Obstacle::NotPreGranted(_)
        | Obstacle::BucketVersioned(_)
        | Obstacle::BucketNotEmpty { .. }
        | Obstacle::Keys(_) => true,
        Obstacle::NamespaceMissing(_) | Obstacle::WaitsFor(_) | Obstacle::Settling(_) | Obstacle::WatchLost(_) => false,
        Obstacle::Unreadable(fault) => class_needs_person(fault.class),
    }
}

/// The reason for a fault.
pub const fn fault_reason(class: FaultClass) -> &'static str {
    match class {
        FaultClass::Denied => "AccessDenied",
        FaultClass::Throttled => "Throttled",
        FaultClass::NotFound => "NotFound",
        FaultClass::Limit => "QuotaExceeded",
        FaultClass::Malformed => "RefusedAsMalformed",
        FaultClass::Elsewhere => "OtherRegion",
        FaultClass::PublicAccessBlocked => "PublicAccessBlocked",
        FaultClass::Conflict => "InTheWay",
        FaultClass::Unsettled => "Settling",
        FaultClass::Server => "ServerError",
        FaultClass::Network => "Unreachable",
        FaultClass::Credentials => "NoCredentials",
    }
}

/// The reason for an obstacle.
pub const fn obstacle_reason(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::NotOurs { .. } => "NotOurs",
        Obstacle::IssuerMismatch(_) => "IssuerMismatch",
        Obstacle::IssuerUnknown(_) => "IssuerUnknown",
        Obstacle::BucketClosed(_) => "BucketClosed",
        Obstacle::OwnedByAnother { .. } => "OwnedByAnother",
        Obstacle::OwnershipLost { .. } => "OwnershipLost",
        Obstacle::WouldNarrow { .. } => "WouldNarrow",
        Obstacle::WouldDeny { .. } => "WouldDeny",
        Obstacle::NothingSelected { .. } => "NothingSelected",
        Obstacle::StatusRestored(..) => "StatusRestored",
        Obstacle::InUse(..) => "InUse",
        Obstacle::BucketForbidden { .. } => "BucketForbidden",
        Obstacle::BucketInUse(_) => "BucketInUse",
        Obstacle::OtherPath { .. } => "OtherPath",
        Obstacle::ForeignSecret { .. } => "ForeignSecret",
        Obstacle::NamespaceMissing(_) => "NamespaceMissing",
        Obstacle::Keys(_) => "KeysRefused",
        Obstacle::WaitsFor(_) => "Waiting",
        Obstacle::OtherCase { .. } => "OtherCase",
        Obstacle::Settling(_) => "Settling",
        Obstacle::WatchLost(_) => "WatchLost",
        Obstacle::TooManyDeletions { .. } => "TooManyDeletions",
        Obstacle::ClaimUnknown(_) => "ClaimUnknown",
        Obstacle::RoleInUse { .. } => "RoleInUse",
        Obstacle::NotPreGranted(_) => "NotPreGranted",
        Obstacle::BucketVersioned(_) => "BucketVersioned",
        Obstacle::BucketNotEmpty { .. } => "BucketNotEmpty",
        Obstacle::Unreadable(fault) => fault_reason(fault.class),
    }
}

/// Whether an obstacle is something foreign in the way.
pub const fn is_conflict(obstacle: &Obstacle) -> bool {
    matches!(
        obstacle,
        Obstacle::NotOurs { .. }
            | Obstacle::OwnedByAnother { .. }
            | Obstacle::OwnershipLost { .. }
            | Obstacle::ForeignSecret { .. }
            | Obstacle::OtherPath { .. }
            | Obstacle::OtherCase { .. }
    )
}

/// The reason for a refused request.
pub const fn refused_reason(refused: &RequestRefused) -> &'static str {
    match refused {
        RequestRefused::Malformed(_) | RequestRefused::NoProviderSpec | RequestRefused::Undecodable(_) => "Undecodable",
        RequestRefused::Placeholder { .. } => "Placeholder",
        RequestRefused::BadName { .. } => "InvalidName",
        RequestRefused::NoServiceAccounts => "NoServiceAccounts",
        RequestRefused::NoStatements => "NoStatements",
        RequestRefused::BadStatement { .. } => "InvalidStatement",
        RequestRefused::DeniedAction { .. } => "ActionRefusedByGuardrail",
        RequestRefused::NamespaceNotAllowed { .. } => "NamespaceRefusedByGuardrail",
        RequestRefused::RoleNameCollision { .. } => "RoleNameCollision",
        RequestRefused::SecretCollision { .. } => "SecretCollision",
        RequestRefused::PolicyTooLong { .. } => "PolicyTooLong",
        RequestRefused::TrustTooLong { .. } => "TrustPolicyTooLong",
        RequestRefused::IllegalCharacter { .. } => "IllegalCharacter",
        RequestRefused::BelongsToAnother { .. } => "BelongsToAnother",
    }
}

/// Whether a refusal is a clash with something else, rather than a fault of the request.
pub const fn refused_is_conflict(refused: &RequestRefused) -> bool {
    matches!(
        refused,
        RequestRefused::RoleNameCollision { .. }
            | RequestRefused::SecretCollision { .. }
            | RequestRefused::BelongsToAnother { .. }
    )
}

const fn identity_refused_reason(refused: &IdentityRefused) -> &'static str {
    match refused {
        IdentityRefused::WrongAccount { .. } | IdentityRefused::AccountChanged { .. } => "WrongAccount",
        IdentityRefused::DuplicateInfraName { .. } => "DuplicateInfraName",
        IdentityRefused::DuplicateIssuer { .. } => "DuplicateIssuer",
        IdentityRefused::BadSpec { .. } => "InvalidSpec",
    }
}

/// Reason and message for a request that rightly comes to nothing.
pub fn ignored(ignored: &Ignored) -> (&'static str, String) {
    match ignored {
        // Upstream's reason and wording.
        Ignored::OtherCloud(kind) => {
            (OTHER_CLOUD, format!("CredentialsRequest is not for platform AWS (providerSpec is {kind})"))
        }
        Ignored::Candidate(release) => {
            ("Candidate", format!("candidate of release {release}: read by upgrade checks, never provisioned"))
        }
        Ignored::Tombstone => ("Tombstone", "marked for deletion by its release; nothing is provisioned".into()),
    }
}

/// Status (`None` for Unknown), reason and message of `IssuerVerified`.
pub fn verification(verification: &Verification) -> (Option<bool>, &'static str, String) {
    match verification {
        Verification::Verified => {
            (Some(true), "Verified", "an anonymous HTTPS reader gets the issuer and its keys".into())
        }
        Verification::NotYet => (None, "NotPublished", "not tried before the documents are in place".into()),
        Verification::Wrong(what) => (Some(false), "IssuerWrong", what.clone()),
        Verification::Unreachable(why) => (
            None,
            "Unreachable",
            format!("{why}; STS may reach it all the same, so this alone does not hold Ready back"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::controller::history::History;

    const HOUR: Duration = Duration::from_hours(1);

    fn failures() -> Vec<Outcome> {
        let classes = [FaultClass::Throttled, FaultClass::Denied, FaultClass::Server, FaultClass::Network];
        let failed = classes.map(Outcome::Failed).into_iter();
        failed
            .chain([
                Outcome::TimedOut,
                Outcome::Panicked,
                Outcome::IssuerWrong,
                Outcome::NotWritten(FaultClass::Server),
            ])
            .collect()
    }

    /// What the delay is of, less its jitter, when it is that and up to a quarter more.
    #[track_caller]
    fn assert_about(delay: Duration, wanted: Duration) {
        assert!(delay >= wanted && delay < wanted + wanted / 4, "{delay:?} is not {wanted:?} and up to a quarter more");
    }

    /// What `Ready` says, whether only a person can help, and when the next pass comes.
    #[test]
    fn each_class_has_its_reason_its_severity_and_its_delay() {
        let table = [
            (FaultClass::Denied, "AccessDenied", true),
            (FaultClass::Throttled, "Throttled", false),
            (FaultClass::NotFound, "NotFound", false),
            (FaultClass::Limit, "QuotaExceeded", true),
            (FaultClass::Malformed, "RefusedAsMalformed", true),
            (FaultClass::Elsewhere, "OtherRegion", true),
            (FaultClass::PublicAccessBlocked, "PublicAccessBlocked", false),
            (FaultClass::Conflict, "InTheWay", false),
            (FaultClass::Unsettled, "Settling", false),
            (FaultClass::Server, "ServerError", false),
            (FaultClass::Network, "Unreachable", false),
            (FaultClass::Credentials, "NoCredentials", true),
        ];
        for (class, reason, stalled) in table {
            let outcome = Outcome::Failed(class);
            assert_eq!(outcome.reason(), reason);
            assert_eq!((outcome.is_stalled(), outcome.is_reconciling()), (stalled, !stalled), "{reason}");
            // A person may have helped meanwhile: nothing waits longer than the longest delay after a failure.
            assert!(outcome.is_unsettled(), "{reason}");
            assert_about(outcome.delay(HOUR, 0), FIRST_BACKOFF);
            assert_about(outcome.delay(HOUR, 20), LONGEST_BACKOFF);
        }
    }

    #[test]
    fn failures_double_the_delay_up_to_five_minutes() {
        for outcome in failures() {
            for (failures, seconds) in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].into_iter().enumerate() {
                let failures = u32::try_from(failures).unwrap_or(0);
                assert_about(outcome.delay(HOUR, failures), Duration::from_secs(seconds));
            }
            assert_about(outcome.delay(HOUR, u32::MAX), LONGEST_BACKOFF);
        }
    }

    #[test]
    fn nobody_waits_much_longer_for_a_failure_than_for_the_next_look() {
        let interval = Duration::from_secs(20);
        for outcome in failures() {
            assert_about(outcome.delay(interval, 4), Duration::from_secs(16));
            assert_about(outcome.delay(interval, 5), interval);
            assert_about(outcome.delay(interval, 40), interval);
            // An interval that is shorter than the first delay makes it no shorter.
            assert_about(outcome.delay(Duration::from_millis(100), 0), FIRST_BACKOFF);
        }
    }

    #[test]
    fn many_that_failed_together_do_not_return_together() {
        for (interval, failures) in [(HOUR, 0), (HOUR, 3), (HOUR, 30), (Duration::from_secs(20), 30)] {
            let delays: BTreeSet<Duration> =
                (0..100).map(|_| Outcome::Failed(FaultClass::Throttled).delay(interval, failures)).collect();
            // A hundred draws out of 256 make some eighty-two different ones.
            assert!(delays.len() > 50, "{} different delays after {failures} failures", delays.len());
        }
    }

    #[test]
    fn what_does_not_stick_is_changed_ever_more_slowly() {
        let interval = Duration::from_secs(3);
        let changed = Outcome::Changed { writes: 1 };
        let delays = [0, 1, 2, 3, 4, 5, u32::MAX].map(|failures| changed.delay(interval, failures).as_millis());
        assert_eq!(delays, [1, 500, 1000, 2000, 3000, 3000, 3000]);
        assert_eq!(Outcome::Settling.delay(interval, 0), SOON);
        assert_eq!(Outcome::Verified.delay(interval, 9), interval);
        assert_eq!(Outcome::Blocked(BLOCKED).delay(interval, 9), interval);
    }

    #[test]
    fn a_pass_that_gets_through_starts_anew() {
        let history = History::default();
        let failed = Outcome::Failed(FaultClass::Server);
        let next = |outcome: &Outcome, of: &str| outcome.delay(HOUR, history.count(of, outcome.is_unsettled()));
        for seconds in [1, 2, 4] {
            assert_about(next(&failed, "a"), Duration::from_secs(seconds));
        }
        assert_about(next(&failed, "b"), FIRST_BACKOFF);
        assert_eq!(next(&Outcome::Verified, "a"), HOUR);
        assert_about(next(&failed, "a"), FIRST_BACKOFF);
        assert_about(next(&failed, "b"), Duration::from_secs(2));
    }
}
