//! The status of a ClusterIdentity, computed from evidence alone.

mod begun;
pub mod deletions;
pub mod effective;
mod issuer_parts;
pub mod keys;
mod memory;
mod teardown;
mod unseen;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::outcome::{
    NOT_EFFECTIVE, Outcome, fault_reason, obstacle_needs_person, obstacle_reason, refused_reason, verification,
};
use super::provisioned::{self, as_status};
use super::status_budget;
use super::verdicts::{RequestState, Standing, Wants, is_unread};
use crate::api::cluster_identity::{AdoptedSettings, DriftEntry, ManagementPolicy, PendingChange, RoleCounts};
use crate::api::{ClusterIdentityStatus, conditions as types};
use crate::apply::Evidence;
use crate::desired::Desired;
use crate::desired::pregrant::Fate;
use crate::observed::{Fault, FaultClass};
use crate::plan::drift::cut;
use crate::plan::{Difference, Obstacle, Plan, Step, Subject, Verification};
pub use begun::begun;
pub use issuer_parts::issuer_part;
use memory::{begun_bucket, last_changed_time, provider_arn, verified};
pub use memory::{granted_ahead, to_begin};
pub use teardown::{during_teardown, held_in_teardown, held_while_in_use};
pub use unseen::unseen;

/// How many problems a message tells; the rest is counted.
const MOST_TOLD: usize = 10;
/// Longest problem in a message, in characters: it may quote what a user wrote.
const LONGEST_PROBLEM: usize = 600;
/// How many entries of drift, of pending changes and of pending marks status holds.
const MOST_ENTRIES: usize = 100;
/// How many resources with lost marks status names.
const LOST_SINCE: usize = 20;

/// The conditions on the parts of what is wanted.
const PARTS: [&str; 7] = [
    types::ISSUER_PUBLISHED,
    types::ISSUER_VERIFIED,
    types::PROVIDER_READY,
    types::ROLES_READY,
    types::EFFECTIVE,
    types::SECRETS_READY,
    types::DRIFTED,
];

/// What a condition is to say; `None` as status is Unknown.
pub struct Says {
    /// The status.
    pub status: Option<bool>,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// Writes conditions over those that were there.
pub struct Conditions<'a> {
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    /// The conditions so far.
    pub out: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// No conditions yet.
    pub const fn over(previous: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { previous, generation, now, out: Vec::new() }
    }

    /// The time of writing.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Keeps a condition that is there; one that is not says nothing.
    pub fn keep_if_there(&mut self, type_: &str) {
        self.out.extend(self.previous.iter().find(|condition| condition.type_ == type_).cloned());
    }

    /// Adds a condition; one that says what it said before is as old as that.
    pub fn set(&mut self, type_: &str, says: Says) {
        let status = says.status.map_or("Unknown", |yes| if yes { "True" } else { "False" });
        let previous = self.previous.iter().find(|condition| condition.type_ == type_);
        let since = previous.filter(|p| p.status == status).map(|p| p.last_transition_time.clone());
        self.out.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: says.reason.into(),
            message: says.message,
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or(Time(self.now)),
        });
    }

    /// Keeps an older verdict; without one, nothing is known.
    pub fn keep(&mut self, type_: &str, reason: &'static str, message: &str) {
        match self.previous.iter().find(|condition| condition.type_ == type_) {
            Some(condition) => self.out.push(condition.clone()),
            None => self.set(type_, Says { status: None, reason, message: message.to_owned() }),
        }
    }
}

/// The status after a pass that got as far as a plan.
pub fn after_pass(
    previous: &ClusterIdentityStatus,
    generation: Option<i64>,
    desired: &Desired,
    evidence: &Evidence,
    states: &[RequestState<'_>],
    outcome: &Outcome,
    now: Timestamp,
) -> ClusterIdentityStatus {
    if only_unread(evidence, states) {
        let message = summarise(&problems(evidence, states));
        return without_plan(previous, generation, outcome, &message, now);
    }
    let plan = evidence.plan();
    let of_kept = plan.kept.values().flat_map(|kept| kept.drift.iter().map(kept_entry));
    let drift = plan.drift().map(drift_entry).chain(of_kept).chain(effective::drift_of_all(states));
    let drift: Vec<DriftEntry> = drift.take(MOST_ENTRIES).collect();
    let mut conditions = Conditions::over(&previous.conditions, generation, now);
    overall(&mut conditions, outcome, evidence, states);
    issuer(&mut conditions, evidence);
    requests(&mut conditions, states, plan);
    effective::condition(&mut conditions, states);
    drifted(&mut conditions, &drift);
    deletions::orphaned(&mut conditions, desired, plan);
    deletions::in_use(&mut conditions, desired, plan);
    keys::conditions(&mut conditions, desired, plan);
    pre_granted(&mut conditions, desired, evidence.plan());
    permissions(&mut conditions, evidence);
    freshness(&mut conditions, evidence);
    // Whether these are still true is for the writer to say; that they stand there is no news.
    conditions.keep_if_there(types::CRD_OUTDATED);
    conditions.keep_if_there(types::WATCH_LOST);
    let pending = match evidence {
        Evidence::Withheld(withheld) => withheld.plan().steps.iter().take(MOST_ENTRIES).map(pending_change).collect(),
        Evidence::Applied(_) => Vec::new(),
    };
    let mut status = ClusterIdentityStatus {
        observed_generation: generation,
        issuer_url: Some(desired.issuer.url.clone()),
        provider_arn: provider_arn(previous, desired, plan),
        roles: Some(role_counts(states, evidence.plan())),
        keys: keys::published(previous, evidence),
        pending_changes: pending,
        drift,
        verified: verified(previous, evidence),
        begun_bucket: begun_bucket(previous, evidence.plan()),
        last_verified_time: previous.last_verified_time.clone(),
        last_changed_time: last_changed_time(previous, evidence, now),
        granted_ahead: granted_ahead(&previous.granted_ahead, desired, plan),
        retained_secrets: plan.retained.iter().map(|kept| as_status(&kept.provisioned)).collect(),
        provisioned_secrets: provisioned::in_force(previous, desired, evidence),
        pending_marks: deletions::marks(evidence, MOST_ENTRIES),
        recent_deletions: deletions::recent(previous, plan, now),
        unknown_keys: plan.keys.as_ref().map_or_else(|| previous.unknown_keys.clone(), |keys| keys.unknown.clone()),
        keys_revision: keys::revision(previous, plan),
        adopted_settings: Some(plan.adopted.clone()).filter(|adopted| *adopted != AdoptedSettings::default()),
        lost_ownership: deletions::lost(previous, plan, now),
        newest_role_time: deletions::newest_role(previous, plan),
        begun_roles: deletions::begun_roles(previous, plan),
        conditions: conditions.out,
        ..ClusterIdentityStatus::default()
    };
    deletions::pending(&mut status, previous, desired, plan, now);
    status_budget::cut_identity(&mut status);
    // The time alone is no change: an idle pass writes nothing.
    if *outcome == Outcome::Verified && (status != *previous || previous.last_verified_time.is_none()) {
        status.last_verified_time = Some(seconds(now));
    }
    status
}

/// Whether all that is wrong is that parts could not be read, for a passing reason: nothing older is refuted by that.
fn only_unread(evidence: &Evidence, states: &[RequestState<'_>]) -> bool {
    let plan = evidence.plan();
    let refused = states.iter().any(|state| matches!(state.standing, Standing::Refused(_)));
    let mut obstacles = plan.obstacles.iter().map(|(_, obstacle)| obstacle);
    plan.steps.is_empty()
        && !refused
        && !matches!(plan.verification, Verification::Wrong(_))
        && obstacles.clone().any(is_unread)
        && obstacles.all(|obstacle| is_unread(obstacle) || matches!(obstacle, Obstacle::WaitsFor(_)))
}

/// The status after a pass that ended before there was a plan. Older verdicts stay, and are marked.
pub fn without_plan(
    previous: &ClusterIdentityStatus,
    generation: Option<i64>,
    outcome: &Outcome,
    message: &str,
    now: Timestamp,
) -> ClusterIdentityStatus {
    let mut conditions = Conditions::over(&previous.conditions, generation, now);
    let reason = outcome.reason();
    let refused = matches!(outcome, Outcome::Refused(_));
    if refused {
        conditions.set(types::READY, Says { status: Some(false), reason, message: message.to_owned() });
    } else {
        conditions.keep(types::READY, reason, message);
    }
    progress(&mut conditions, outcome, message);
    for type_ in PARTS {
        conditions.keep(type_, reason, message);
    }
    for type_ in
        [types::ORPHANED, types::PRE_GRANTED, types::UNKNOWN_KEYS_PUBLISHED, types::KEY_RETIREMENT_DUE, types::IN_USE]
    {
        conditions.keep_if_there(type_);
    }
    match outcome {
        Outcome::NoAccount(fault) if fault.class == FaultClass::Denied => conditions.set(
            types::OPERATOR_PERMISSIONS,
            Says { status: Some(false), reason, message: format!("missing: {}", fault.action) },
        ),
        _ => conditions.keep(types::OPERATOR_PERMISSIONS, reason, message),
    }
    conditions.set(types::SNAPSHOT_FRESH, Says { status: Some(false), reason, message: message.to_owned() });
    // A verdict that stands from before is of the generation that it was made for.
    let is_final = refused || outcome.is_stalled();
    let observed_generation = if is_final { generation } else { previous.observed_generation };
    ClusterIdentityStatus { observed_generation, conditions: conditions.out, ..previous.clone() }
}

fn overall(conditions: &mut Conditions<'_>, outcome: &Outcome, evidence: &Evidence, states: &[RequestState<'_>]) {
    let reason = outcome.reason();
    let message = match outcome {
        Outcome::Verified => "issuer, roles and Secrets are as wanted".to_owned(),
        Outcome::Changed { writes } => format!("{writes} changes were made and are being verified"),
        Outcome::Pending { changes } => format!("{changes} changes are pending; managementPolicy is Observe"),
        Outcome::TimedOut => no_time_left(evidence),
        _ => summarise(&problems(evidence, states)),
    };
    conditions
        .set(types::READY, Says { status: Some(*outcome == Outcome::Verified), reason, message: message.clone() });
    progress(conditions, outcome, &message);
}

/// What a pass says that had read everything when its time was nearly over.
pub fn no_time_left(evidence: &Evidence) -> String {
    format!(
        "reading took so long that none of {} changes was begun; tried again soon: is AWS slow or throttling, or --pass-timeout too short?",
        evidence.plan().steps.len()
    )
}

fn progress(conditions: &mut Conditions<'_>, outcome: &Outcome, message: &str) {
    let says = || Says { status: Some(true), reason: outcome.reason(), message: message.to_owned() };
    if outcome.is_reconciling() {
        conditions.set(types::RECONCILING, says());
    }
    if outcome.is_stalled() {
        conditions.set(types::STALLED, says());
    }
}

/// What a status says of `Ready`, as a word for metrics.
pub fn ready(status: &ClusterIdentityStatus) -> &'static str {
    let ready = status.conditions.iter().find(|condition| condition.type_ == types::READY);
    match ready.map(|ready| ready.status.as_str()) {
        Some("True") => "true",
        Some("False") => "false",
        _ => "unknown",
    }
}

/// Everything that is wrong, the issuer first, in a fixed order.
pub fn problems(evidence: &Evidence, states: &[RequestState<'_>]) -> Vec<String> {
    let plan = evidence.plan();
    let mut problems: Vec<String> = Vec::new();
    for (subject, obstacle) in &plan.obstacles {
        if subject.request().is_none() && !matches!(obstacle, Obstacle::WaitsFor(_)) {
            problems.push(obstacle.to_string());
        }
    }
    for (step, fault) in evidence.failures() {
        if step.subject.request().is_none() {
            problems.push(fault.to_string());
        }
    }
    if let Verification::Wrong(what) = &plan.verification {
        problems.push(what.clone());
    }
    for state in states {
        match &state.standing {
            Standing::Ignored(_) => {}
            Standing::Refused(refused) => problems.push(format!("{}: {refused}", state.id)),
            Standing::Wanted(wants) => problems.extend(request_problems(wants).map(|p| format!("{}: {p}", state.id))),
        }
    }
    let mut seen = BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    problems
}

/// What is wrong with one request.
pub fn request_problems<'a>(wants: &'a Wants<'a>) -> impl Iterator<Item = String> + 'a {
    let obstacles = wants.obstacles.iter().map(ToString::to_string);
    let failures = wants.failures.iter().map(ToString::to_string);
    obstacles.chain(failures).chain(wants.ineffective().map(ToOwned::to_owned))
}

/// The first problems, and how many more there are.
pub fn summarise(problems: &[String]) -> String {
    let told =
        problems.iter().take(MOST_TOLD).map(|problem| cut(problem, LONGEST_PROBLEM)).collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(MOST_TOLD) {
        0 => told,
        more => format!("{told}; and {more} more"),
    }
}

fn issuer(conditions: &mut Conditions<'_>, evidence: &Evidence) {
    part(conditions, evidence, types::ISSUER_PUBLISHED, &[Subject::Bucket, Subject::Discovery, Subject::Keys], {
        "the documents in the bucket are byte for byte as wanted"
    });
    let (status, reason, message) = verification(&evidence.plan().verification);
    conditions.set(types::ISSUER_VERIFIED, Says { status, reason, message });
    part(conditions, evidence, types::PROVIDER_READY, &[Subject::Provider], "URL, audiences and tags are as wanted");
}

fn part(conditions: &mut Conditions<'_>, evidence: &Evidence, type_: &str, subjects: &[Subject], fine: &str) {
    let plan = evidence.plan();
    let obstacles: Vec<&Obstacle> =
        plan.obstacles.iter().filter(|(of, _)| subjects.contains(of)).map(|(_, obstacle)| obstacle).collect();
    let steps: Vec<&Step> = plan.steps.iter().filter(|step| subjects.contains(&step.subject)).collect();
    let failures: Vec<&Fault> = evidence
        .failures()
        .into_iter()
        .filter(|(step, _)| subjects.contains(&step.subject))
        .map(|(_, fault)| fault)
        .collect();
    if let Some(fault) = failures.first() {
        let message = summarise(&failures.iter().map(ToString::to_string).collect::<Vec<_>>());
        return conditions.set(type_, Says { status: Some(false), reason: fault_reason(fault.class), message });
    }
    // What needs a person is the reason, though something else may wait for it before it in the list.
    let gravest = obstacles.iter().find(|obstacle| obstacle_needs_person(obstacle)).or(obstacles.first());
    if let Some(obstacle) = gravest {
        let (reason, message) = (obstacle_reason(obstacle), texts(&obstacles));
        return match obstacle {
            obstacle if is_unread(obstacle) => conditions.keep(type_, reason, &message),
            _ => conditions.set(type_, Says { status: Some(false), reason, message }),
        };
    }
    if steps.is_empty() {
        return conditions.set(type_, Says { status: Some(true), reason: "AsWanted", message: fine.to_owned() });
    }
    let names: Vec<String> = steps.iter().map(|step| step.change.name().to_owned()).collect();
    let (reason, message) = match evidence {
        Evidence::Applied(_) => ("BeingVerified", format!("just changed: {}", summarise(&names))),
        Evidence::Withheld(_) => ("ChangesPending", format!("would be changed: {}", summarise(&names))),
    };
    conditions.set(type_, Says { status: Some(false), reason, message });
}

fn texts(obstacles: &[&Obstacle]) -> String {
    summarise(&obstacles.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn requests(conditions: &mut Conditions<'_>, states: &[RequestState<'_>], plan: &Plan) {
    if let Some(obstacle) = plan.obstacle(&Subject::Requests) {
        let says = || Says { status: Some(false), reason: obstacle_reason(obstacle), message: obstacle.to_string() };
        conditions.set(types::ROLES_READY, says());
        return conditions.set(types::SECRETS_READY, says());
    }
    let all = states.iter().filter(|state| !matches!(state.standing, Standing::Ignored(_))).count();
    for (type_, what, is_true) in [
        (types::ROLES_READY, "roles", (|wants: &Wants<'_>| wants.role_true) as fn(&Wants<'_>) -> bool),
        (types::SECRETS_READY, "Secrets", |wants| wants.secret_true),
    ] {
        let mut ready = 0;
        let mut unread = false;
        let mut not: Vec<String> = Vec::new();
        let mut reason = "AsWanted";
        for state in states {
            let why = match &state.standing {
                Standing::Ignored(_) => continue,
                Standing::Refused(refused) => refused_reason(refused),
                Standing::Wanted(wants) if is_true(wants) => {
                    ready += 1;
                    continue;
                }
                Standing::Wanted(wants) => {
                    unread |= wants.is_unread();
                    why_not(wants)
                }
            };
            reason = if not.is_empty() { why } else { reason };
            not.push(format!("{} ({why})", state.id));
        }
        let message = match not.len() {
            0 => format!("{ready} of {all} {what}"),
            _ => format!("{ready} of {all} {what}; not: {}", summarise(&not)),
        };
        if unread {
            conditions.keep(type_, reason, &message);
        } else {
            conditions.set(type_, Says { status: Some(not.is_empty()), reason, message });
        }
    }
}

/// One word for why a request is not ready.
pub fn why_not(wants: &Wants<'_>) -> &'static str {
    if let Some(fault) = wants.failures.first() {
        return fault_reason(fault.class);
    }
    if let Some(obstacle) = wants.obstacles.first() {
        return obstacle_reason(obstacle);
    }
    if wants.steps.is_empty() && wants.ineffective().is_some() {
        return NOT_EFFECTIVE;
    }
    if wants.withheld { "ChangesPending" } else { "BeingVerified" }
}

fn drifted(conditions: &mut Conditions<'_>, drift: &[DriftEntry]) {
    let says = if drift.is_empty() {
        Says { status: Some(false), reason: "AsWanted", message: "nothing differs from what was last made true".into() }
    } else {
        let fields: Vec<String> = drift.iter().map(|entry| format!("{} {}", entry.resource, entry.field)).collect();
        Says { status: Some(true), reason: "Drifted", message: summarise(&fields) }
    };
    conditions.set(types::DRIFTED, says);
}

/// What is granted ahead of an upgrade.
fn pre_granted(conditions: &mut Conditions<'_>, desired: &Desired, plan: &Plan) {
    let observes = desired.management == ManagementPolicy::Observe;
    let granted: Vec<String> = desired
        .pre_granted
        .iter()
        .filter(|component| match component.fate {
            Fate::Granted => !observes && plan.has_role(desired, &component.secret),
            Fate::Kept(_) => !component.begun.policies.is_empty(),
            _ => false,
        })
        .map(|component| format!("{} (UpgradeCheck {})", component.secret, component.check))
        .collect();
    if !granted.is_empty() {
        let message = format!("granted more than the requests in force ask for: {}", summarise(&granted));
        conditions.set(types::PRE_GRANTED, Says { status: Some(true), reason: "Granted", message });
    }
}

fn permissions(conditions: &mut Conditions<'_>, evidence: &Evidence) {
    let faults = faults(evidence).chain(&evidence.plan().done_without);
    let denied: BTreeSet<&str> =
        faults.filter(|fault| fault.class == FaultClass::Denied).map(|fault| fault.action.as_str()).collect();
    let says = if denied.is_empty() {
        Says { status: Some(true), reason: "Sufficient", message: "no call was denied".into() }
    } else {
        let message = format!("missing: {}", denied.into_iter().collect::<Vec<_>>().join(", "));
        Says { status: Some(false), reason: fault_reason(FaultClass::Denied), message }
    };
    conditions.set(types::OPERATOR_PERMISSIONS, says);
}

fn freshness(conditions: &mut Conditions<'_>, evidence: &Evidence) {
    let unread: Vec<&Fault> = evidence.plan().unreadable().filter(|fault| fault.class.is_passing()).collect();
    let says = match unread.first() {
        None if evidence.plan().throttled => Says {
            status: Some(true),
            reason: fault_reason(FaultClass::Throttled),
            message: "AWS was read within the interval; it throttles this account, so calls are held back".into(),
        },
        None => Says { status: Some(true), reason: "Read", message: "AWS was read within the interval".into() },
        Some(fault) => Says {
            status: Some(false),
            reason: fault_reason(fault.class),
            message: format!("{} parts could not be read, older verdicts on them stand: {fault}", unread.len()),
        },
    };
    conditions.set(types::SNAPSHOT_FRESH, says);
}

fn faults(evidence: &Evidence) -> impl Iterator<Item = &Fault> {
    evidence.failures().into_iter().map(|(_, fault)| fault).chain(evidence.plan().unreadable())
}

fn role_counts(states: &[RequestState<'_>], plan: &Plan) -> RoleCounts {
    let count = |test: &dyn Fn(&Standing<'_>) -> bool| {
        i32::try_from(states.iter().filter(|state| test(&state.standing)).count()).unwrap_or(i32::MAX)
    };
    let desired = count(&|standing| !matches!(standing, Standing::Ignored(_)));
    let ready = count(&|standing| matches!(standing, Standing::Wanted(wants) if wants.role_true));
    let drifted = count(&|standing| {
        let of_role = |(step, _): (&Step, &Difference)| matches!(step.subject, Subject::Role(_));
        matches!(standing, Standing::Wanted(wants) if wants.drift().any(of_role))
    });
    let orphaned = plan.orphans.iter().filter(|orphan| orphan.starts_with("role/")).count();
    let orphaned = i32::try_from(orphaned).unwrap_or(i32::MAX);
    RoleCounts { desired, ready, drifted, orphaned, summary: format!("{ready}/{desired}") }
}

/// A difference as status tells it.
pub fn drift_entry((step, difference): (&Step, &Difference)) -> DriftEntry {
    DriftEntry {
        resource: step.change.target(),
        field: difference.field.as_str().to_owned(),
        found: difference.found.clone(),
        wanted: difference.wanted.clone(),
    }
}

/// A difference of what a refused request keeps, as status tells it.
pub fn kept_entry((resource, difference): &(String, Difference)) -> DriftEntry {
    DriftEntry {
        resource: resource.clone(),
        field: difference.field.as_str().to_owned(),
        found: difference.found.clone(),
        wanted: difference.wanted.clone(),
    }
}

fn pending_change(step: &Step) -> PendingChange {
    let why = step.differences.iter().map(|d| format!("{}: {} → {}", d.field.as_str(), d.found, d.wanted));
    PendingChange {
        action: step.change.name().to_owned(),
        target: step.change.target(),
        why: why.collect::<Vec<_>>().join("; "),
    }
}

/// A time as Kubernetes writes it, to the second.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
