//! The status of a ClusterIdentity while watches are lost.

use jiff::Timestamp;

use super::super::outcome::Outcome;
use super::{Conditions, PARTS, Says, progress};
use crate::api::{ClusterIdentityStatus, conditions as types};

/// The status while Rolecall does not see what is asked for: nothing is claimed, and what is remembered stays.
pub fn unseen(
    previous: &ClusterIdentityStatus,
    outcome: &Outcome,
    message: &str,
    now: Timestamp,
) -> ClusterIdentityStatus {
    // Nobody knows which generation there is.
    let mut conditions = Conditions::over(&previous.conditions, previous.observed_generation, now);
    let says = || Says { status: None, reason: outcome.reason(), message: message.to_owned() };
    let whole = [types::READY, types::OPERATOR_PERMISSIONS, types::SNAPSHOT_FRESH];
    for type_ in PARTS.into_iter().chain(whole) {
        conditions.set(type_, says());
    }
    for type_ in [types::ORPHANED, types::PRE_GRANTED] {
        if previous.conditions.iter().any(|condition| condition.type_ == type_) {
            conditions.set(type_, says());
        }
    }
    progress(&mut conditions, outcome, message);
    ClusterIdentityStatus { conditions: conditions.out, ..previous.clone() }
}
