//! What a status tells and remembers of signing keys.

use jiff::{SignedDuration, Timestamp};

use super::{Conditions, Says, seconds};
use crate::api::cluster_identity::{ManagementPolicy, PublishedKey};
use crate::api::{ClusterIdentityStatus, REMOVE_KEYS, conditions as types};
use crate::apply::Evidence;
use crate::desired::Desired;
use crate::desired::keys::{named, retire_at};
use crate::plan::{Change, Plan, PublishedKeys, Subject};

/// How many keys a message offers to remove at once.
const MOST_TO_REMOVE: usize = 10;
/// So long before a key is dropped it is told.
const NOTICE: SignedDuration = SignedDuration::from_hours(24);

/// The keys, once they are seen to be published; before that, what was published stays remembered.
pub(super) fn published(previous: &ClusterIdentityStatus, evidence: &Evidence) -> Vec<PublishedKey> {
    match &evidence.plan().keys {
        Some(keys) if keys.is_restored || evidence.plan().is_true(&Subject::Keys) => known(keys),
        _ => previous.keys.clone(),
    }
}

/// The keys that a source holds or held. A status that was restored from a backup forgets those that were removed since.
pub fn known(keys: &PublishedKeys) -> Vec<PublishedKey> {
    let published = keys.known.iter().map(|wanted| PublishedKey {
        kid: wanted.key.kid.clone(),
        n: wanted.key.n.clone(),
        e: wanted.key.e.clone(),
        retiring_since: wanted.retiring_since.map(seconds),
    });
    published.collect()
}

/// The revision of `keys.json` that this plan writes, where it may; otherwise the one that is remembered.
pub fn revision(previous: &ClusterIdentityStatus, plan: &Plan) -> Option<i64> {
    let is_write = |change: &Change| matches!(change, Change::PutObject { revision: Some(_), .. });
    let writes = plan.management == ManagementPolicy::Enforce && plan.steps.iter().any(|step| is_write(&step.change));
    let next = plan.keys.as_ref().filter(|_| writes).map(|keys| keys.next_revision);
    let found = plan.keys.as_ref().map(|keys| keys.revision).filter(|revision| *revision > 0);
    next.or(previous.keys_revision).or(found)
}

/// When something about a key is due: the notice of its retirement, or that itself.
pub fn next_retirement(desired: &Desired, now: Timestamp) -> Option<Timestamp> {
    let keys = desired.keys.as_ref().ok()?;
    let ends = keys.keys.iter().filter_map(|key| key.retiring_since).map(|since| retire_at(since, keys.retire_after));
    let due = ends.map(|end| match end.checked_sub(NOTICE) {
        Ok(notice) if notice > now => notice,
        _ => end,
    });
    due.min()
}

/// Keys that nobody knows, and keys that are about to be dropped.
pub(super) fn conditions(conditions: &mut Conditions<'_>, desired: &Desired, plan: &Plan) {
    let Some(published) = &plan.keys else {
        conditions.keep_if_there(types::UNKNOWN_KEYS_PUBLISHED);
        return conditions.keep_if_there(types::KEY_RETIREMENT_DUE);
    };
    if !published.unknown.is_empty() {
        let told: Vec<String> =
            published.unknown.iter().map(|key| format!("{} (since {})", key.kid, key.since)).collect();
        let kids: Vec<&str> = published.unknown.iter().take(MOST_TO_REMOVE).map(|key| key.kid.as_str()).collect();
        let message = format!(
            "keys.json publishes keys that no source holds and that Rolecall did not publish: {}. They are kept, because the cluster may sign with them; whoever has their private halves can act as any component. Add them to issuer.signingKeys if they are the cluster's, otherwise set the annotation {REMOVE_KEYS}: {}",
            named(told.iter().map(String::as_str)),
            kids.join(",")
        );
        conditions.set(types::UNKNOWN_KEYS_PUBLISHED, Says { status: Some(true), reason: "UnknownKeys", message });
    }
    let Ok(keys) = &desired.keys else { return };
    let mut due: Vec<String> = Vec::new();
    for key in &published.known {
        let Some(end) = key.retiring_since.map(|since| retire_at(since, keys.retire_after)) else { continue };
        if end.duration_since(desired.now) <= NOTICE {
            due.push(format!("{} after {}", key.key.kid, seconds(end)));
        }
    }
    if !due.is_empty() {
        let message = format!(
            "keys that left their source are dropped from keys.json: {}. A cluster that still signs with one is cut off then: add it to issuer.signingKeys again to keep it",
            named(due.iter().map(String::as_str))
        );
        conditions.set(types::KEY_RETIREMENT_DUE, Says { status: Some(true), reason: "RetirementDue", message });
    }
}
