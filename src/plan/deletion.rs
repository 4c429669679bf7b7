//! What holds the deletion of a component that no request asks for: time, number, use, and doubt. It is decided as a whole before
//! anything is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Obstacle;
use super::draft::Draft;
use crate::api::CONFIRM_DELETION;
use crate::desired::names::fingerprint;
use crate::desired::{DeletionRules, Desired};
use crate::observed::usage::in_use;
use crate::observed::{AccountUse, LastUse, Leftover, LeftoverSecret};

/// The time over which deletions are counted.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// How many components the status names, and a consent can confirm.
pub const MOST_PENDING: usize = 200;

/// A component that no request asks for any more and that may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The name of its role.
    pub component: String,
    /// What goes: `role/…`, `secret/…`.
    pub resources: Vec<String>,
    /// Since when it was left over in every complete look.
    pub since: Timestamp,
    /// When it may go at the earliest.
    pub after: Timestamp,
    /// What holds it; `None` when it goes.
    pub hold: Option<Hold>,
}

/// What holds a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// What is left over and may be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletions {
    /// The components, by name.
    pub pending: Vec<Deletion>,
    /// Whether everything was read that tells what is left over; otherwise what was known before stands.
    pub is_complete: bool,
    /// How the roles of all components are used; `None` where nothing is to be deleted.
    pub in_use: Option<UseOfRoles>,
}

/// How many of the cluster's roles are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseOfRoles {
    /// Those of which AWS tells a use within the window, or may not have told it yet.
    pub used: usize,
    /// All.
    pub all: usize,
    /// Whether AWS tells the use of any role of the account.
    pub is_known: bool,
}

/// What is known of deletions from before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriorDeletions {
    /// The components that were left over, and since when.
    pub pending: BTreeMap<String, Timestamp>,
    /// When that was last seen, in a complete look.
    pub seen: Option<Timestamp>,
    /// The components whose deletion was begun lately, and when.
    pub recent: Vec<(String, Timestamp)>,
}

/// A component that is left over.
#[derive(Debug, Clone, Default)]
pub(super) struct Component<'a> {
    pub role: Option<&'a Leftover>,
    pub secret: Option<&'a LeftoverSecret>,
}

/// Names a set of components, whatever their order.
pub fn digest<'a>(components: impl Iterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = components.collect();
    fingerprint(&names.into_iter().collect::<Vec<_>>().join("\n"))
}

impl PriorDeletions {
    /// The deletions that were begun within the last hour.
    pub fn within_window(&self, now: Timestamp) -> impl Iterator<Item = &(String, Timestamp)> {
        self.recent.iter().filter(move |(_, at)| now.duration_since(*at) < WINDOW)
    }

    fn was_begun(&self, component: &str, now: Timestamp) -> bool {
        self.within_window(now).any(|(begun, _)| begun == component)
    }

    /// Whether the looks since the last one were without a gap.
    fn goes_on(&self, now: Timestamp, longest_gap: Duration) -> bool {
        let gap = self.seen.and_then(|seen| Duration::try_from(now.duration_since(seen)).ok());
        gap.is_some_and(|gap| gap <= longest_gap)
    }
}

/// Decides what is deleted, and what holds the rest.
pub(super) fn decide(
    draft: &mut Draft,
    desired: &Desired,
    components: &BTreeMap<String, Component<'_>>,
    any_use: bool,
) {
    note_restored(draft, components);
    let (now, rules) = (desired.now, desired.deletion);
    let mut pending: Vec<Deletion> =
        components.iter().map(|(name, component)| begin(draft, desired, name, component)).collect();
    // Consent is for what the status names at this moment, and nothing that comes later.
    let prior = &draft.prior.deletions;
    let consent = format!("{}/{}", desired.infra_name, digest(prior.pending.keys().map(String::as_str)));
    let is_confirmed = !prior.pending.is_empty() && draft.frame.consents.confirms_deletion(&consent);
    let confirmed = |name: &str| is_confirmed && prior.pending.contains_key(name);
    for deletion in &mut pending {
        let component = &components[&deletion.component];
        deletion.hold = held_by_time_or_use(deletion, component, rules, any_use, now, &|name| {
            confirmed(name) || prior.was_begun(name, now)
        });
    }
    if let Some(restored) = draft.restored.clone().filter(|_| !pending.iter().all(|of| confirmed(&of.component))) {
        let next = format!(
            "{}/{}",
            desired.infra_name,
            digest(pending.iter().take(MOST_PENDING).map(|of| of.component.as_str()))
        );
        hold_all(&mut pending, "StatusRestored", &format!("the status was restored from a backup: {restored}"));
        if !pending.is_empty() {
            draft.obstruct(&super::Subject::Leftovers, Obstacle::StatusRestored(restored, next));
        }
    } else {
        count(draft, desired, &mut pending, &confirmed);
    }
    let by_consent = pending.iter().filter(|of| of.hold.is_none() && confirmed(&of.component));
    let by_consent: Vec<&str> = by_consent.map(|of| of.component.as_str()).collect();
    if !by_consent.is_empty() {
        draft.plan.consents.push((CONFIRM_DELETION, format!("deletes {}", by_consent.join(", "))));
    }
    draft.plan.deletions.pending = pending;
}

/// A role of ours that is younger than all that the status remembers, and that nobody noted before it was made, was made after the
/// backup that the status was restored from. A status that remembers no role was emptied.
fn note_restored(draft: &mut Draft, components: &BTreeMap<String, Component<'_>>) {
    let newest = draft.prior.newest_role;
    let unknown = |role: &&Leftover| {
        let is_younger = newest.is_none_or(|newest| role.created.is_some_and(|created| created > newest));
        is_younger && !draft.prior.begun_roles.contains(&role.name)
    };
    if let Some(role) = components.values().filter_map(|component| component.role).find(unknown) {
        let told = match newest {
            Some(_) => format!("role {} is younger than any that it remembers", role.name),
            None => format!("role {} carries the mark of this ClusterIdentity, and it remembers none", role.name),
        };
        draft.restored.get_or_insert(told);
    }
}

fn begin(draft: &Draft, desired: &Desired, name: &str, component: &Component<'_>) -> Deletion {
    let (now, prior) = (desired.now, &draft.prior.deletions);
    let goes_on = prior.goes_on(now, desired.deletion.longest_gap) && draft.restored.is_none();
    let since = prior.pending.get(name).copied().filter(|_| goes_on).unwrap_or(now);
    let role = component.role.map(|role| format!("role/{}", role.name));
    let secret = component.secret.map(|secret| format!("secret/{}", secret.key));
    Deletion {
        component: name.to_owned(),
        resources: secret.into_iter().chain(role).collect(),
        since,
        after: since.saturating_add(desired.deletion.delay).unwrap_or(Timestamp::MAX),
        hold: None,
    }
}

fn held_by_time_or_use(
    deletion: &Deletion,
    component: &Component<'_>,
    rules: DeletionRules,
    any_use: bool,
    now: Timestamp,
    is_let_go: &dyn Fn(&str) -> bool,
) -> Option<Hold> {
    if now < deletion.after {
        let message = format!("deleted after {} at the earliest", deletion.after.strftime("%Y-%m-%dT%H:%M:%SZ"));
        return Some(Hold { reason: "DeletionDelay", message });
    }
    let role = component.role?;
    if !role.others.is_empty() {
        let message = format!("someone else uses role {} ({})", role.name, role.others.join(", "));
        return Some(Hold { reason: "RoleInUse", message });
    }
    if is_let_go(&deletion.component) {
        return None;
    }
    let use_of = (role.created, role.last_used.as_ref());
    let message = in_use(&role.name, use_of, any_use, rules.in_use_window, now)?;
    Some(Hold { reason: "InUse", message })
}

fn hold_all(pending: &mut [Deletion], reason: &'static str, message: &str) {
    for deletion in pending.iter_mut().filter(|deletion| deletion.hold.is_none()) {
        deletion.hold = Some(Hold { reason, message: message.to_owned() });
    }
}

/// With more left over than may go, none goes.
fn count(draft: &mut Draft, desired: &Desired, pending: &mut [Deletion], confirmed: &dyn Fn(&str) -> bool) {
    let (now, prior) = (desired.now, &draft.prior.deletions);
    let begun = |name: &str| prior.was_begun(name, now);
    let counted = pending.iter().filter(|deletion| !begun(&deletion.component) && !confirmed(&deletion.component));
    let (left_over, recent) = (counted.count(), prior.within_window(now).count());
    if left_over == 0 || left_over + recent <= desired.deletion.most {
        return;
    }
    // While all of them wait for their time, nothing is to be decided.
    let is_due = pending.iter().any(|deletion| deletion.hold.is_none() && !begun(&deletion.component));
    let consent =
        format!("{}/{}", desired.infra_name, digest(pending.iter().take(MOST_PENDING).map(|of| of.component.as_str())));
    let obstacle =
        Obstacle::TooManyDeletions { left_over: pending.len(), recent, allowed: desired.deletion.most, consent };
    for deletion in pending.iter_mut() {
        if deletion.hold.is_none() && !begun(&deletion.component) && !confirmed(&deletion.component) {
            deletion.hold = Some(Hold { reason: "TooManyDeletions", message: obstacle.to_string() });
        }
    }
    if is_due || left_over > desired.deletion.most {
        draft.obstruct(&super::Subject::Leftovers, obstacle);
    }
}

/// How the roles of a cluster are used.
pub(super) fn use_of_roles<'a>(
    roles: impl Iterator<Item = (&'a str, Option<Timestamp>, Option<&'a LastUse>)>,
    account: &AccountUse,
    window: Duration,
    now: Timestamp,
) -> UseOfRoles {
    let mut summary = UseOfRoles { used: 0, all: 0, is_known: account.any };
    for (name, created, last_used) in roles {
        summary.all += 1;
        summary.used += usize::from(in_use(name, (created, last_used), account.any, window, now).is_some());
    }
    summary
}

/// How to let waiting deletions go on at once.
pub fn how_to_confirm(infra_name: &str, digest: &str) -> String {
    format!("{CONFIRM_DELETION}: {infra_name}/{digest}")
}
