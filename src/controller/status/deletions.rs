//! What a status tells and remembers of deletions, and of the marks that license them.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Conditions, LOST_SINCE, Says, seconds, summarise};
use crate::api::cluster_identity::{
    DeletionPolicy, LostOwnership, ManagementPolicy, PendingDeletion, PendingMark, RecentDeletion,
};
use crate::api::{ClusterIdentity, ClusterIdentityStatus, GoDuration, conditions as types};
use crate::apply::Evidence;
use crate::desired::Desired;
use crate::plan::deletion::{MOST_PENDING, digest, how_to_confirm};
use crate::plan::{Deletion, Mark, Plan, PriorDeletions};

/// What the status remembers of deletions.
pub fn prior(status: &ClusterIdentityStatus) -> PriorDeletions {
    let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    let pending = status.pending_deletions.iter();
    let recent = status.recent_deletions.iter();
    PriorDeletions {
        pending: pending.filter_map(|entry| Some((entry.component.clone(), time(&entry.since)?))).collect(),
        seen: time(&status.pending_deletions_time),
        recent: recent.filter_map(|entry| Some((entry.component.clone(), entry.time.parse().ok()?))).collect(),
    }
}

/// Writes into the next status what waits to be deleted.
pub(super) fn pending(
    next: &mut ClusterIdentityStatus,
    previous: &ClusterIdentityStatus,
    desired: &Desired,
    plan: &Plan,
    now: Timestamp,
) {
    if desired.deletion.policy == DeletionPolicy::Retain {
        return;
    }
    if !plan.deletions.is_complete {
        // What was known stands, and is no longer recent.
        next.pending_deletions.clone_from(&previous.pending_deletions);
        next.pending_deletions_digest.clone_from(&previous.pending_deletions_digest);
        next.pending_deletions_time.clone_from(&previous.pending_deletions_time);
        return;
    }
    let observes = desired.management == ManagementPolicy::Observe;
    let entries = plan.deletions.pending.iter().take(MOST_PENDING).map(|deletion| entry(deletion, observes));
    next.pending_deletions = entries.collect();
    if next.pending_deletions.is_empty() {
        return;
    }
    next.pending_deletions_digest = Some(digest(next.pending_deletions.iter().map(|entry| entry.component.as_str())));
    let same = |entry: &PendingDeletion| entry.component.clone();
    let unchanged = previous.pending_deletions.iter().map(same).eq(next.pending_deletions.iter().map(same));
    let last = previous.pending_deletions_time.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
    // A look that finds what the last one found is noted often enough for no gap to show.
    let often = SignedDuration::try_from(desired.deletion.longest_gap / 6).unwrap_or(SignedDuration::ZERO);
    let fresh = last.is_some_and(|last| now.duration_since(last) < often);
    next.pending_deletions_time =
        if unchanged && fresh { previous.pending_deletions_time.clone() } else { Some(seconds(now)) };
}

fn entry(deletion: &Deletion, observes: bool) -> PendingDeletion {
    let (held_by, message) = match &deletion.hold {
        Some(hold) => (Some(hold.reason.to_owned()), hold.message.clone()),
        None if observes => (Some("Observe".to_owned()), "managementPolicy is Observe".to_owned()),
        None => (None, "deleted next".to_owned()),
    };
    PendingDeletion {
        component: deletion.component.clone(),
        resources: deletion.resources.clone(),
        since: Some(seconds(deletion.since)),
        delete_after: Some(seconds(deletion.after)),
        held_by,
        message,
    }
}

/// The components whose deletion was begun within the last hour, those of this plan included.
pub fn recent(previous: &ClusterIdentityStatus, plan: &Plan, now: Timestamp) -> Vec<RecentDeletion> {
    let known = prior(previous);
    let mut recent: Vec<RecentDeletion> = known
        .within_window(now)
        .map(|(component, at)| RecentDeletion { component: component.clone(), time: seconds(*at) })
        .collect();
    if plan.management == ManagementPolicy::Observe {
        return recent;
    }
    for deletion in plan.deletions.pending.iter().filter(|deletion| deletion.hold.is_none()) {
        if !recent.iter().any(|known| known.component == deletion.component) {
            recent.push(RecentDeletion { component: deletion.component.clone(), time: seconds(now) });
        }
    }
    recent
}

/// When the next waiting deletion is due.
pub fn next_due(plan: &Plan, now: Timestamp) -> Option<Timestamp> {
    let waiting = plan.deletions.pending.iter().filter(|deletion| deletion.hold.is_some() && deletion.after > now);
    waiting.map(|deletion| deletion.after).min()
}

/// What is left over, and what becomes of it.
pub(super) fn orphaned(conditions: &mut Conditions<'_>, desired: &Desired, plan: &Plan) {
    if plan.orphans.is_empty() {
        return;
    }
    let orphans = summarise(&plan.orphans);
    let says = match desired.deletion.policy {
        DeletionPolicy::Retain => {
            let message = format!("asked for by no request, kept, because deletionPolicy is Retain: {orphans}");
            Says { status: Some(true), reason: "Retained", message }
        }
        DeletionPolicy::Delete => {
            let message = format!("asked for by no request: {orphans}{}", what_waits(desired, plan));
            Says { status: Some(true), reason: "DeletionPending", message }
        }
    };
    conditions.set(types::ORPHANED, says);
}

/// What the deletions wait for, until when, and how to let them go.
fn what_waits(desired: &Desired, plan: &Plan) -> String {
    let pending = &plan.deletions.pending;
    if !plan.deletions.is_complete {
        return "; nothing is deleted while not everything can be read".to_owned();
    }
    let held: Vec<String> = pending
        .iter()
        .filter_map(|deletion| {
            let hold = deletion.hold.as_ref()?;
            Some(format!("{} ({}: {})", deletion.component, hold.reason, hold.message))
        })
        .collect();
    if held.is_empty() {
        return String::new();
    }
    let consent = digest(pending.iter().take(MOST_PENDING).map(|deletion| deletion.component.as_str()));
    format!(
        "; waiting: {}. Re-apply the request to keep a component; the annotation {} lets those go that have waited out their time",
        summarise(&held),
        how_to_confirm(&desired.infra_name, &consent)
    )
}

/// Whether components use their roles.
pub(super) fn in_use(conditions: &mut Conditions<'_>, desired: &Desired, plan: &Plan) {
    let Some(uses) = &plan.deletions.in_use else { return };
    let window = desired.deletion.in_use_window;
    let says = if window.is_zero() {
        let message = "guardrails.inUseWindow is 0s: nobody looks whether roles are used".into();
        Says { status: Some(false), reason: "NotEvaluated", message }
    } else if !uses.is_known && uses.all > 0 {
        let message = "AWS tells no use of any role of the account".into();
        Says { status: None, reason: "NoEvidence", message }
    } else if uses.used > 0 {
        let window = GoDuration(window);
        let message = format!("{} of {} roles were used within {window}, or may have been", uses.used, uses.all);
        Says { status: Some(true), reason: "RolesUsed", message }
    } else {
        Says { status: Some(false), reason: "RolesNotUsed", message: "no role was used lately".into() }
    };
    conditions.set(types::IN_USE, says);
}

/// With `deletionPolicy: Delete`, a status that does not say whether components use their roles says that it is not known: the
/// deletion of the object is judged by it.
pub fn with_use_unknown(
    mut next: ClusterIdentityStatus,
    identity: &ClusterIdentity,
    now: Timestamp,
) -> ClusterIdentityStatus {
    let is_told = next.conditions.iter().any(|condition| condition.type_ == types::IN_USE);
    if identity.spec.deletion_policy == DeletionPolicy::Delete && !is_told {
        let mut conditions = Conditions::over(&[], identity.metadata.generation, now);
        let message = "nobody has looked yet whether roles are used".into();
        conditions.set(types::IN_USE, Says { status: None, reason: "NotEvaluated", message });
        next.conditions.extend(conditions.out);
    }
    next
}

/// The marks that are still to be set.
pub(super) fn marks(evidence: &Evidence, most: usize) -> Vec<PendingMark> {
    let unset = evidence.unmarked().into_iter().map(|(mark, _)| mark);
    let pending = unset.chain(&evidence.plan().later_marks).take(most);
    let entry = |mark: &Mark| PendingMark { resource: mark.change.target(), current_owner: mark.current.clone() };
    pending.map(entry).collect()
}

/// When the youngest role was made that is known.
pub(super) fn newest_role(previous: &ClusterIdentityStatus, plan: &Plan) -> Option<String> {
    match &plan.youngest {
        Some((newest, _)) => newest.map(seconds),
        None => previous.newest_role_time.clone(),
    }
}

/// The roles that are about to be made, or were and have not been seen yet.
pub(super) fn begun_roles(previous: &ClusterIdentityStatus, plan: &Plan) -> Vec<String> {
    let unseen = plan.youngest.as_ref().map(|(_, unseen)| unseen);
    let mut begun: BTreeSet<String> = match unseen {
        Some(unseen) => unseen.clone(),
        None => previous.begun_roles.iter().cloned().collect(),
    };
    if plan.management == ManagementPolicy::Enforce {
        begun.extend(plan.roles_to_make().cloned());
    }
    begun.into_iter().collect()
}

/// What was verified and carries another's mark by now, and since when.
pub(super) fn lost(previous: &ClusterIdentityStatus, plan: &Plan, now: Timestamp) -> Vec<LostOwnership> {
    let since = |what: &str, mark: &str| {
        let known = previous.lost_ownership.iter().find(|known| known.resource == what && known.owner == mark);
        known.map_or_else(|| seconds(now), |known| known.since.clone())
    };
    let lost = plan.lost.iter().take(LOST_SINCE).map(|lost| LostOwnership {
        since: since(&lost.what, &lost.mark),
        resource: lost.what.clone(),
        owner: lost.mark.clone(),
    });
    lost.collect()
}
