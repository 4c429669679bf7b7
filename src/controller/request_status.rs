//! The status of a CredentialsRequest, computed from evidence alone.

use jiff::Timestamp;

use super::checks::Live;
use super::outcome::{NO_IDENTITY, ignored, is_conflict, refused_is_conflict, refused_reason};
use super::status::{drift_entry, request_problems, seconds, summarise, why_not};
use super::verdicts::{RequestState, Standing, Wants};
use crate::api::conditions as types;
use crate::api::credentials_request::{AwsProviderStatus, RequestCondition};
use crate::api::{CredentialsRequestStatus, JsonText};
use crate::observed::FaultClass;
use crate::plan::{Obstacle, Plan, Subject};

/// Upstream's words (`pkg/operator/utils/condition_utils.go`).
const PROVISIONED: &str = "successfully granted credentials request";
const SUFFICIENT: &str = "cloud credentials sufficient for minting or passthrough";
const INSUFFICIENT: &str = "cloud creds are insufficient to satisfy CredentialsRequest";

/// What Rolecall remembers in a request's status.
pub fn remembered(status: &CredentialsRequestStatus) -> Option<AwsProviderStatus> {
    status.provider_status.as_ref()?.read()
}

struct Conditions<'a> {
    previous: &'a [RequestCondition],
    generation: Option<i64>,
    now: Timestamp,
    out: Vec<RequestCondition>,
}

impl Conditions<'_> {
    fn set(&mut self, type_: &str, status: &str, reason: &str, message: String) {
        let previous = self.previous.iter().find(|condition| condition.type_ == type_);
        let unchanged = previous.filter(|p| p.status == status);
        self.out.push(RequestCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: match unchanged {
                Some(previous) => previous.last_transition_time.clone(),
                None => Some(seconds(self.now)),
            },
            last_probe_time: previous.and_then(|p| p.last_probe_time.clone()),
            observed_generation: self.generation,
        });
    }

    /// Upstream's way: a condition appears when it is True, and turns False afterwards.
    fn abnormal(&mut self, type_: &str, found: Option<(&str, String)>, fine: (&str, String)) {
        match found {
            Some((reason, message)) => self.set(type_, "True", reason, message),
            None if self.previous.iter().any(|p| p.type_ == type_) => self.set(type_, "False", fine.0, fine.1),
            None => {}
        }
    }

    fn keep(&mut self, type_: &str, reason: &str, message: String) {
        match self.previous.iter().find(|condition| condition.type_ == type_) {
            Some(condition) => self.out.push(condition.clone()),
            None => self.set(type_, "Unknown", reason, message),
        }
    }
}

/// The status after a pass.
pub fn after_pass(
    previous: &CredentialsRequestStatus,
    generation: Option<i64>,
    state: &RequestState<'_>,
    (plan, live): (&Plan, &Live),
    now: Timestamp,
) -> CredentialsRequestStatus {
    let mut conditions = Conditions { previous: &previous.conditions, generation, now, out: Vec::new() };
    let mut status = CredentialsRequestStatus { observed_generation: generation, ..previous.clone() };
    match &state.standing {
        Standing::Ignored(why) => {
            let (reason, message) = ignored(why);
            conditions.set(types::IGNORED, "True", reason, message);
            status.provisioned = false;
        }
        Standing::Refused(refused) => {
            let (reason, message) = (refused_reason(refused), summarise(&[refused.to_string()]));
            conditions.set(types::READY, "False", reason, message.clone());
            conditions.set(types::DRIFTED, "False", "NothingWanted", "nothing is provisioned".into());
            let failure = Some(("CredentialsProvisionFailure", format!("failed to grant creds: {message}")));
            conditions.abnormal(types::CREDENTIALS_PROVISION_FAILURE, failure, provision_success());
            let conflict = refused_is_conflict(refused).then_some((reason, message));
            conditions.abnormal(types::CONFLICT, conflict, no_conflict());
            status.provisioned = false;
        }
        Standing::Wanted(wants) => {
            requested(&mut conditions, wants);
            synced(&mut status, previous, generation, wants, now);
            status.provider_status = Some(provider_status(previous, state, wants, (plan, live)));
        }
    }
    keep_foreign(&mut conditions);
    status.conditions = conditions.out;
    if equal_but_for_pruned(previous, &status) { previous.clone() } else { status }
}

/// The status when the ClusterIdentity that served the request goes and takes role and Secret along.
pub fn deprovisioned(
    previous: &CredentialsRequestStatus,
    generation: Option<i64>,
    identity: &str,
    now: Timestamp,
) -> CredentialsRequestStatus {
    let mut conditions = Conditions { previous: &previous.conditions, generation, now, out: Vec::new() };
    let message = format!("the ClusterIdentity {identity} was deleted; nobody serves this request");
    conditions.set(types::READY, "False", NO_IDENTITY, message);
    conditions.set(types::DRIFTED, "False", "NothingWanted", "nothing is provisioned".into());
    keep_foreign(&mut conditions);
    let status = CredentialsRequestStatus {
        observed_generation: generation,
        provisioned: false,
        provider_status: None,
        conditions: conditions.out,
        ..previous.clone()
    };
    if equal_but_for_pruned(previous, &status) { previous.clone() } else { status }
}

fn requested(conditions: &mut Conditions<'_>, wants: &Wants<'_>) {
    let problems: Vec<String> = request_problems(wants).collect();
    if wants.is_unread() {
        conditions.keep(types::READY, why_not(wants), summarise(&problems));
    } else if wants.is_true() {
        conditions.set(types::READY, "True", "Verified", "role and Secret are as wanted".into());
    } else if problems.is_empty() {
        let names: Vec<String> = wants.steps.iter().map(|step| step.change.name().to_owned()).collect();
        conditions.set(types::READY, "False", why_not(wants), summarise(&names));
    } else {
        conditions.set(types::READY, "False", why_not(wants), summarise(&problems));
    }
    let drift: Vec<String> =
        wants.drift().map(|(step, d)| format!("{} {}", step.change.target(), d.field.as_str())).collect();
    let fine = "nothing differs from what was last made true";
    if wants.is_unread() {
        conditions.keep(types::DRIFTED, why_not(wants), summarise(&problems));
    } else if drift.is_empty() {
        conditions.set(types::DRIFTED, "False", "AsWanted", fine.into());
    } else {
        conditions.set(types::DRIFTED, "True", "Drifted", summarise(&drift));
    }
    upstream(conditions, wants, &problems);
}

fn upstream(conditions: &mut Conditions<'_>, wants: &Wants<'_>, problems: &[String]) {
    let namespace = &wants.wanted.read.secret.namespace;
    let missing = wants.obstacles.iter().any(|obstacle| matches!(obstacle, Obstacle::NamespaceMissing(_)));
    conditions.abnormal(
        types::MISSING_TARGET_NAMESPACE,
        missing.then(|| ("NamespaceMissing", format!("target namespace {namespace} not found"))),
        ("NamespaceExists", format!("target namespace {namespace} found")),
    );
    let conflict = wants.obstacles.iter().find(|obstacle| is_conflict(obstacle));
    let conflict = conflict.map(|obstacle| (super::outcome::obstacle_reason(obstacle), obstacle.to_string()));
    conditions.abnormal(types::CONFLICT, conflict, no_conflict());
    let unreadable = wants.obstacles.iter().filter_map(|obstacle| obstacle.unreadable());
    let denied = wants.failures.iter().copied().chain(unreadable).any(|fault| fault.class == FaultClass::Denied);
    conditions.abnormal(
        types::INSUFFICIENT_CLOUD_CREDS,
        denied.then(|| ("CloudCredsInsufficient", INSUFFICIENT.to_owned())),
        ("CloudCredsSufficient", SUFFICIENT.to_owned()),
    );
    let failed = !problems.is_empty() && !missing && !wants.is_unread();
    let failure =
        failed.then(|| ("CredentialsProvisionFailure", format!("failed to grant creds: {}", summarise(problems))));
    conditions.abnormal(types::CREDENTIALS_PROVISION_FAILURE, failure, provision_success());
}

fn provision_success() -> (&'static str, String) {
    ("CredentialsProvisionSuccess", PROVISIONED.to_owned())
}

fn no_conflict() -> (&'static str, String) {
    ("NoConflict", "nothing foreign is in the way".to_owned())
}

/// `provisioned` only when role and Secret were seen to be right; an unreadable moment takes nothing back.
fn synced(
    status: &mut CredentialsRequestStatus,
    previous: &CredentialsRequestStatus,
    generation: Option<i64>,
    wants: &Wants<'_>,
    now: Timestamp,
) {
    if wants.is_unread() {
        return;
    }
    status.provisioned = wants.is_true();
    let news = !previous.provisioned || Some(previous.last_sync_generation) != generation;
    if wants.is_true() && news {
        status.last_sync_timestamp = Some(seconds(now));
        status.last_sync_generation = generation.unwrap_or_default();
    }
}

fn provider_status(
    previous: &CredentialsRequestStatus,
    state: &RequestState<'_>,
    wants: &Wants<'_>,
    (plan, live): (&Plan, &Live),
) -> JsonText {
    let before = remembered(previous);
    let role = &wants.wanted.role;
    let verified = |subject: Subject, is_true: bool, was: Option<String>| {
        if is_true { plan.fingerprints.get(&subject).cloned().or(was) } else { was }
    };
    let status = AwsProviderStatus {
        api_version: "cloudcredential.openshift.io/v1".into(),
        kind: "AWSProviderStatus".into(),
        role_arn: Some(role.arn.clone()),
        role_name: Some(role.name.clone()),
        policy_hash: Some(role.permissions.fingerprint()),
        verified_role: verified(
            Subject::Role(state.id.clone()),
            wants.role_true,
            before.as_ref().and_then(|b| b.verified_role.clone()),
        ),
        verified_secret: verified(
            Subject::Secret(state.id.clone()),
            wants.secret_true,
            before.as_ref().and_then(|b| b.verified_secret.clone()),
        ),
        drift: match &before {
            Some(before) if wants.is_unread() => before.drift.clone(),
            _ => wants.drift().map(drift_entry).collect(),
        },
        surplus: match live.surplus.get(state.id) {
            Some(surplus) => surplus.clone(),
            None => before.map(|before| before.surplus).unwrap_or_default(),
        },
    };
    JsonText::of(&serde_json::json!(status))
}

/// Conditions of types that Rolecall does not write stay as they are.
fn keep_foreign(conditions: &mut Conditions<'_>) {
    let ours = [
        types::READY,
        types::DRIFTED,
        types::CONFLICT,
        types::IGNORED,
        types::MISSING_TARGET_NAMESPACE,
        types::CREDENTIALS_PROVISION_FAILURE,
        types::INSUFFICIENT_CLOUD_CREDS,
    ];
    let foreign = conditions.previous.iter().filter(|p| !ours.contains(&p.type_.as_str()));
    conditions.out.extend(foreign.cloned());
}

/// Whether two statuses differ only in what upstream's own CRD prunes.
fn equal_but_for_pruned(previous: &CredentialsRequestStatus, status: &CredentialsRequestStatus) -> bool {
    let observed = previous.conditions.iter().any(|condition| condition.observed_generation.is_some());
    let pruned = previous.observed_generation.is_none() && !previous.conditions.is_empty() && !observed;
    let mut bare = status.clone();
    if pruned {
        bare.observed_generation = None;
        bare.conditions.iter_mut().for_each(|condition| condition.observed_generation = None);
    }
    let sorted = |status: &CredentialsRequestStatus| {
        let mut status = status.clone();
        status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        status
    };
    sorted(previous) == sorted(&bare)
}
