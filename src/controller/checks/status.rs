//! The status of an UpgradeCheck, computed from what was read and judged alone.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::super::status::{Conditions, Says, seconds, summarise};
use super::super::status_budget;
use super::releases::Unread;
use crate::api::cluster_identity::ManagementPolicy;
use crate::api::conditions as types;
use crate::api::upgrade_check::{Action, PreGrantedComponent, ReadRelease};
use crate::api::{UpgradeCheck, UpgradeCheckStatus};
use crate::desired::Desired;
use crate::desired::pregrant::{Fate, NotGranted, PreGranted};
use crate::plan::Plan;
use crate::plan::upgrade::{Component, ComponentVerdict, Readiness, RollCall};
use crate::report::roll_call::checked;

/// What a look at an UpgradeCheck came to.
#[derive(Debug, Clone)]
pub enum Look {
    /// It was judged.
    Judged(RollCall, ReadRelease),
    /// There is no release to judge by.
    NoRelease(Unread),
    /// The live roles are not known: reason, message, and whether that will pass by itself.
    NoRoles {
        /// One word.
        reason: &'static str,
        /// A sentence.
        message: String,
        /// Whether older verdicts stand.
        passing: bool,
    },
}

/// What a check grants ahead, and whether the roles do.
#[derive(Debug, Clone, Default)]
pub struct Ahead(Vec<(PreGranted, bool)>);

impl Ahead {
    /// Of one check, `namespace/name`.
    pub fn of(check: &str, desired: &Desired, plan: &Plan) -> Self {
        let of_check = desired.pre_granted.iter().filter(|component| component.check == check);
        let pairs = of_check.map(|component| {
            let mut component = component.clone();
            if desired.management == ManagementPolicy::Observe && component.fate == Fate::Granted {
                // Nothing is written, so nothing has begun.
                component.fate = Fate::Refused(NotGranted::Observed);
            }
            let done = plan.has_role(desired, &component.secret);
            (component, done)
        });
        Self(pairs.collect())
    }
}

/// What is to be said of the annotation on the CloudCredential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Nothing: it is not asked for.
    Nothing,
    /// What was said before.
    AsBefore,
    /// This.
    Now(Annotated),
}

/// What became of the annotation on the CloudCredential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotated {
    /// Whether it says what the verdict says; `None` when that could not be seen to.
    pub status: Option<bool>,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// The status after a look.
pub fn after_look(check: &UpgradeCheck, look: &Look, ahead: &Ahead, told: Told, now: Timestamp) -> UpgradeCheckStatus {
    let previous = check.status.clone().unwrap_or_default();
    let generation = check.metadata.generation;
    let mut conditions = Conditions::over(&previous.conditions, generation, now);
    let mut status = UpgradeCheckStatus { observed_generation: generation, ..previous.clone() };
    match look {
        Look::Judged(roll_call, release) => {
            conditions.set(types::UPGRADE_READY, verdict(check, roll_call));
            status.release = Some(release.clone());
            status.summary = Some(checked::summary(roll_call));
            status.components = roll_call.components.iter().map(checked::component).collect();
            status.omitted_findings = None;
            status_budget::cut_check(&mut status);
            let message = judged(&status);
            conditions.set(types::READY, Says { status: Some(true), reason: "Judged", message });
        }
        Look::NoRelease(Unread::Reading(message)) => {
            stands(&mut conditions, &previous, check, "ReadingRelease", message);
        }
        // A verdict that was made stands for a while; without one there is nothing to stand.
        Look::NoRelease(Unread::Away(message)) if has_verdict(&previous) => {
            stands(&mut conditions, &previous, check, "ReleaseUnreachable", message);
        }
        Look::NoRelease(Unread::Away(message) | Unread::Failed(message)) => {
            unknown(&mut conditions, "ReleaseUnreadable", message);
        }
        Look::NoRoles { reason, message, passing: true } => stands(&mut conditions, &previous, check, reason, message),
        Look::NoRoles { reason, message, passing: false } => unknown(&mut conditions, reason, message),
    }
    if check.spec.action == Action::PreGrant {
        pre_grant(&mut conditions, &mut status, &ahead.0, look);
    } else {
        (status.pre_grant, status.pre_grant_generation) = (Vec::new(), None);
    }
    match told {
        Told::Nothing => {}
        Told::AsBefore => conditions.keep_if_there(types::ANNOTATED),
        Told::Now(Annotated { status, reason, message }) => {
            conditions.set(types::ANNOTATED, Says { status, reason, message });
        }
    }
    // Whether it is still true is for the writer to say; that it stands there is no news.
    conditions.keep_if_there(types::CRD_OUTDATED);
    status.conditions = conditions.out;
    // The time alone is no change: a look that finds nothing new writes nothing.
    if (status != previous || previous.last_checked_time.is_none()) && matches!(look, Look::Judged(..)) {
        status.last_checked_time = Some(seconds(now));
    }
    status
}

fn judged(status: &UpgradeCheckStatus) -> String {
    match status.omitted_findings {
        None => "judged against the live roles".to_owned(),
        Some(omitted) => format!(
            "judged against the live roles; this status has the worst findings, and {omitted} more are left out: `rolecall check` prints all of them"
        ),
    }
}

/// Whether a status says that the upgrade may go ahead; `None` when it says so of an older look.
pub fn says_ready(conditions: &[Condition]) -> Option<bool> {
    let is_true =
        |type_: &str| conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True");
    match (is_true(types::UPGRADE_READY), is_true(types::READY)) {
        (true, false) => None,
        (ready, _) => Some(ready),
    }
}

fn has_verdict(status: &UpgradeCheckStatus) -> bool {
    let is_told = |condition: &Condition| condition.type_ == types::UPGRADE_READY && condition.status != "Unknown";
    status.conditions.iter().any(is_told)
}

/// No verdict by ignorance.
fn unknown(conditions: &mut Conditions<'_>, reason: &'static str, message: &str) {
    conditions.set(types::UPGRADE_READY, Says { status: None, reason, message: message.to_owned() });
    conditions.set(types::READY, Says { status: Some(false), reason, message: message.to_owned() });
}

/// How long a verdict stands that nobody could look at again.
const LONGEST_STAND: Duration = Duration::from_hours(1);

/// Whether the last look at which everything could be seen was so long ago.
fn older_than(previous: &UpgradeCheckStatus, age: Duration, now: Timestamp) -> bool {
    let ready = previous.conditions.iter().find(|condition| condition.type_ == types::READY);
    let unread = ready.filter(|condition| condition.status == "Unknown");
    let since = unread.map(|condition| now.duration_since(condition.last_transition_time.0));
    since.is_some_and(|since| Duration::try_from(since).is_ok_and(|since| since > age))
}

/// A verdict on the same spec stands for a while, and is marked.
fn stands(
    conditions: &mut Conditions<'_>,
    previous: &UpgradeCheckStatus,
    check: &UpgradeCheck,
    reason: &'static str,
    message: &str,
) {
    if older_than(previous, LONGEST_STAND, conditions.now()) {
        return unknown(conditions, reason, message);
    }
    if previous.observed_generation == check.metadata.generation {
        conditions.keep(types::UPGRADE_READY, reason, message);
    } else {
        conditions.set(types::UPGRADE_READY, Says { status: None, reason, message: message.to_owned() });
    }
    conditions.set(types::READY, Says { status: None, reason, message: message.to_owned() });
}

fn verdict(check: &UpgradeCheck, roll_call: &RollCall) -> Says {
    let release = &check.spec.release.version;
    let worst = roll_call.components.iter().map(|component| component.verdict).max();
    let reason = match worst {
        Some(ComponentVerdict::Missing) => "PermissionsMissing",
        Some(ComponentVerdict::NewRole) => "RolesMissing",
        Some(ComponentVerdict::TrustMissing) => "ServiceAccountsNotAdmitted",
        Some(ComponentVerdict::Indeterminate) => "Indeterminate",
        Some(ComponentVerdict::Conditional) => "Conditional",
        Some(ComponentVerdict::Covered | ComponentVerdict::Retired) | None => "Covered",
    };
    let readiness = roll_call.readiness();
    if readiness == Readiness::Ready {
        let message = match roll_call.count(ComponentVerdict::Covered) {
            1 => format!("the live role of the one component grants all that release {release} needs"),
            covered => format!("the live roles of {covered} components grant all that release {release} needs"),
        };
        return Says { status: Some(true), reason, message };
    }
    let findings: Vec<String> = roll_call.components.iter().filter_map(finding).collect();
    let status = (readiness == Readiness::NotReady).then_some(false);
    Says { status, reason, message: format!("release {release}: {}", summarise(&findings)) }
}

fn finding(component: &Component) -> Option<String> {
    let name = component.secret.as_ref().map_or_else(|| component.role.clone(), ToString::to_string);
    match component.verdict.readiness() {
        Readiness::Ready => None,
        _ => Some(format!("{name}: {}", component.because)),
    }
}

fn pre_grant(
    conditions: &mut Conditions<'_>,
    status: &mut UpgradeCheckStatus,
    granted: &[(PreGranted, bool)],
    look: &Look,
) {
    if granted.is_empty() && !matches!(look, Look::Judged(..)) {
        // The pass did not get as far; what is remembered is still needed.
        return conditions.keep(types::PRE_GRANTED, "NotYet", "nothing is granted before the release is read");
    }
    let of = |fate: fn(&Fate) -> bool| -> Vec<String> {
        let of_fate = granted.iter().filter(|(component, _)| fate(&component.fate));
        of_fate.map(|(component, _)| component.secret.to_string()).collect()
    };
    let refused: Vec<String> = granted
        .iter()
        .filter_map(|(component, _)| match &component.fate {
            Fate::Refused(why) => Some(format!("{}: {why}", component.secret)),
            _ => None,
        })
        .collect();
    let (more, over) = (of(|fate| *fate == Fate::Granted), of(|fate| *fate == Fate::Over));
    let kept = of(|fate| matches!(fate, Fate::Kept(_)));
    let undone = granted.iter().filter(|(component, done)| component.fate == Fate::Granted && !done);
    let undone: Vec<String> = undone.map(|(component, _)| component.secret.to_string()).collect();
    let says = if !refused.is_empty() {
        let message = format!("not granted ahead, what is in force stays: {}", summarise(&refused));
        Says { status: Some(false), reason: "Refused", message }
    } else if !kept.is_empty() {
        let message = format!("what was granted ahead stays until the release can be read: {}", summarise(&kept));
        Says { status: None, reason: "ReleaseUnreadable", message }
    } else if !undone.is_empty() {
        let message = format!("not seen to be granted yet: {}", summarise(&undone));
        Says { status: Some(false), reason: "BeingGranted", message }
    } else if !more.is_empty() {
        let message = format!("granted ahead of the upgrade: {}", summarise(&more));
        Says { status: Some(true), reason: "Granted", message }
    } else if !over.is_empty() {
        let message = format!("the requests in force have changed, so the upgrade is over for {}", summarise(&over));
        Says { status: Some(false), reason: "Over", message }
    } else {
        let message = "the requests in force ask for as much already".to_owned();
        Says { status: Some(true), reason: "NothingToGrant", message }
    };
    conditions.set(types::PRE_GRANTED, says);
    if matches!(look, Look::NoRelease(_)) {
        // What is remembered is all that is known.
        return;
    }
    let before: BTreeMap<String, String> =
        status.pre_grant.drain(..).map(|component| (component.request, component.policies)).collect();
    let remembered = granted.iter().filter(|(component, _)| !matches!(component.fate, Fate::Refused(_)));
    status.pre_grant = remembered
        .map(|(component, done)| {
            let request = component.secret.to_string();
            // A role is what was seen, not what was wished: it may be someone else's.
            let policies = if *done {
                component.begun.policies.clone()
            } else {
                before.get(&request).cloned().unwrap_or_default()
            };
            PreGrantedComponent { in_force: component.begun.in_force.clone(), request, policies }
        })
        .collect();
    status.pre_grant_generation = status.observed_generation;
}
