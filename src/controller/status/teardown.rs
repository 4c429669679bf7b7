//! The status of a ClusterIdentity that is being deleted.

use jiff::Timestamp;

use super::super::outcome::{DELETING, Outcome};
use super::{Conditions, Says, freshness, no_time_left, permissions, problems, progress, summarise};
use crate::api::{ClusterIdentityStatus, TEARDOWN_FINALIZER, conditions as types};
use crate::apply::Evidence;

/// The status while a ClusterIdentity is being deleted: what was true of it is so no longer.
pub fn during_teardown(
    previous: &ClusterIdentityStatus,
    generation: Option<i64>,
    evidence: &Evidence,
    outcome: &Outcome,
    now: Timestamp,
) -> ClusterIdentityStatus {
    let problems = problems(evidence, &[]);
    let message = match (outcome, problems.is_empty()) {
        (Outcome::Changed { writes }, true) => format!("{writes} parts were deleted and are being verified"),
        (Outcome::TimedOut, true) => in_the_way(&no_time_left(evidence)),
        (_, true) => "what carries the cluster's mark is being deleted".to_owned(),
        (_, false) => in_the_way(&summarise(&problems)),
    };
    let mut status = torn(previous, generation, outcome, &message, now);
    let mut conditions = Conditions { previous: &previous.conditions, generation, now, out: status.conditions };
    permissions(&mut conditions, evidence);
    freshness(&mut conditions, evidence);
    status.conditions = conditions.out;
    status
}

/// The status of a ClusterIdentity that is served as ever, because its deletion would take away what is in use or may be.
pub fn held_while_in_use(
    previous: &ClusterIdentityStatus,
    generation: Option<i64>,
    outcome: &Outcome,
    message: &str,
    now: Timestamp,
) -> ClusterIdentityStatus {
    let mut conditions = Conditions::over(&previous.conditions, generation, now);
    // What is in use says itself what to do.
    let (reason, message) = match outcome {
        Outcome::Blocked(reason) => (*reason, message.to_owned()),
        _ => (DELETING, in_the_way(message)),
    };
    conditions.set(types::READY, Says { status: Some(false), reason, message: message.clone() });
    progress(&mut conditions, outcome, &message);
    let told = [types::READY, types::STALLED, types::RECONCILING];
    let others = previous.conditions.iter().filter(|condition| !told.contains(&condition.type_.as_str()));
    conditions.out.extend(others.cloned());
    ClusterIdentityStatus { conditions: conditions.out, ..previous.clone() }
}

/// The status while a deletion cannot go on, or waits.
pub fn held_in_teardown(
    previous: &ClusterIdentityStatus,
    generation: Option<i64>,
    outcome: &Outcome,
    message: &str,
    now: Timestamp,
) -> ClusterIdentityStatus {
    let message = if *outcome == Outcome::Settling { message.to_owned() } else { in_the_way(message) };
    let mut status = torn(previous, generation, outcome, &message, now);
    let reason = outcome.reason();
    let mut conditions = Conditions { previous: &previous.conditions, generation, now, out: status.conditions };
    if *outcome != Outcome::Settling {
        conditions.set(types::SNAPSHOT_FRESH, Says { status: Some(false), reason, message });
    }
    status.conditions = conditions.out;
    status
}

/// Who holds the object, and how to let it go all the same.
fn in_the_way(problem: &str) -> String {
    format!(
        "{problem}; until then the finalizer {TEARDOWN_FINALIZER} keeps this object and its namespace: to let it go and leave what it owns in AWS, set spec.deletionPolicy to Retain"
    )
}

fn torn(
    previous: &ClusterIdentityStatus,
    generation: Option<i64>,
    outcome: &Outcome,
    message: &str,
    now: Timestamp,
) -> ClusterIdentityStatus {
    let mut conditions = Conditions::over(&previous.conditions, generation, now);
    conditions.set(types::READY, Says { status: Some(false), reason: DELETING, message: message.to_owned() });
    progress(&mut conditions, outcome, message);
    // As long as nothing is gone it may be served again, and what is remembered for that stays. Later, which bucket was ours is
    // needed to the end.
    let remembered = match previous.teardown_time {
        None => previous.clone(),
        Some(_) => ClusterIdentityStatus {
            issuer_url: previous.issuer_url.clone(),
            provider_arn: previous.provider_arn.clone(),
            verified: previous.verified.clone(),
            begun_bucket: previous.begun_bucket.clone(),
            keys_revision: previous.keys_revision,
            teardown_time: previous.teardown_time.clone(),
            last_changed_time: previous.last_changed_time.clone(),
            ..ClusterIdentityStatus::default()
        },
    };
    ClusterIdentityStatus { observed_generation: generation, conditions: conditions.out, ..remembered }
}
