//! The status of a CredentialsRequest, computed from evidence alone.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::checks::Live;
use super::outcome::{NO_IDENTITY, OTHER_CLOUD, ignored, is_conflict, refused_is_conflict, refused_reason};
use super::status::{drift_entry, effective, kept_entry, request_problems, seconds, summarise, why_not};
use super::status_budget;
use super::verdicts::{RequestState, Standing, Wants};
use crate::api::cluster_identity::DriftEntry;
use crate::api::conditions as types;
use crate::api::credentials_request::{AwsProviderStatus, ProvisionedResources, RequestCondition};
use crate::api::{ALLOW_NARROWING, CredentialsRequest, CredentialsRequestStatus, JsonText};
use crate::observed::FaultClass;
use crate::plan::{Effectiveness, KeptRequest, Obstacle, Plan, Subject};

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
            last_transition_time: match unchanged.map(|previous| previous.last_transition_time.clone()) {
                Some(Some(time)) => Some(time),
                _ => Some(seconds(self.now)),
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

    /// Keeps a verdict that is not False: what was not looked at is not known to be well.
    fn keep_unless_false(&mut self, type_: &str, reason: &str, message: String) {
        match self.previous.iter().find(|condition| condition.type_ == type_ && condition.status == "True") {
            Some(condition) => self.out.push(condition.clone()),
            None => self.set(type_, "Unknown", reason, message),
        }
    }

    fn keep(&mut self, type_: &str, reason: &str, message: String) {
        match self.previous.iter().find(|condition| condition.type_ == type_) {
            Some(condition) => self.out.push(condition.clone()),
            None => self.set(type_, "Unknown", reason, message),
        }
    }
}

/// The status after a pass: Rolecall's own conditions, and the fields of upstream that it may write.
pub fn after_pass(
    previous: &CredentialsRequestStatus,
    generation: Option<i64>,
    state: &RequestState<'_>,
    (identity, plan, live): (&str, &Plan, &Live),
    now: Timestamp,
) -> CredentialsRequestStatus {
    let mut conditions = Conditions { previous: &previous.conditions, generation, now, out: Vec::new() };
    let mut status = CredentialsRequestStatus { observed_generation: generation, ..previous.clone() };
    let before = remembered(previous);
    let provider = match &state.standing {
        Standing::Ignored(why) => {
            let (reason, message) = ignored(why);
            conditions.set(types::IGNORED, "True", reason, message);
            status.provisioned = false;
            before
        }
        Standing::Refused(refused) => {
            let (reason, message) = (refused_reason(refused), summarise(&[refused.to_string()]));
            conditions.set(types::READY, "False", reason, message.clone());
            let drift = drift_of_kept(&mut conditions, plan.kept.get(state.id));
            let failure = Some(("CredentialsProvisionFailure", format!("failed to grant creds: {message}")));
            conditions.abnormal(types::CREDENTIALS_PROVISION_FAILURE, failure, provision_success());
            let conflict = refused_is_conflict(refused).then_some((reason, message));
            conditions.abnormal(types::CONFLICT, conflict, no_conflict());
            status.provisioned = false;
            // What it keeps is looked at, whatever is wrong with the request.
            match (before, drift) {
                (Some(before), Some(drift)) => Some(AwsProviderStatus { drift, ..before }),
                (before, _) => before,
            }
        }
        Standing::Wanted(wants) => {
            requested(&mut conditions, wants);
            synced(&mut status, previous, generation, wants, now);
            let provider = provider_status(before, state, wants, (plan, live));
            Some(AwsProviderStatus { cluster_identity: Some(identity.to_owned()), ..provider })
        }
    };
    status.provider_status = provider.map(written);
    status.conditions = conditions.out;
    status
}

/// What was seen of the role and the Secret that a refused request keeps; what differs, where something could be compared.
fn drift_of_kept(conditions: &mut Conditions<'_>, kept: Option<&KeptRequest>) -> Option<Vec<DriftEntry>> {
    let Some(kept) = kept else {
        conditions.set(types::DRIFTED, "False", "NothingWanted", "nothing is provisioned".into());
        return None;
    };
    let drift: Vec<DriftEntry> = kept.drift.iter().map(kept_entry).collect();
    let untouched = "the request is refused, so what it has is left as it is";
    if !drift.is_empty() {
        let told: Vec<String> = drift.iter().map(|entry| format!("{} {}", entry.resource, entry.field)).collect();
        conditions.set(types::DRIFTED, "True", "Drifted", format!("{}; {untouched}", summarise(&told)));
    } else if let Some(unknown) = &kept.unknown {
        conditions.keep_unless_false(types::DRIFTED, "NotRead", summarise(std::slice::from_ref(unknown)));
    } else {
        conditions.set(
            types::DRIFTED,
            "False",
            "AsWanted",
            format!("nothing differs from what was last verified; {untouched}"),
        );
    }
    Some(drift)
}

fn written(mut provider: AwsProviderStatus) -> JsonText {
    status_budget::cut_provider_status(&mut provider);
    JsonText::of(&json!(provider))
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
    CredentialsRequestStatus {
        observed_generation: generation,
        provisioned: false,
        provider_status: None,
        conditions: conditions.out,
        ..previous.clone()
    }
}

/// The status while Rolecall does not see what is asked for, or by whom: nothing is claimed, and what is remembered stays.
pub fn unseen(
    previous: &CredentialsRequestStatus,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> CredentialsRequestStatus {
    // Nobody knows which generation there is.
    let generation = previous.observed_generation;
    let mut conditions = Conditions { previous: &previous.conditions, generation, now, out: Vec::new() };
    for condition in previous.conditions.iter().filter(|condition| OURS.contains(&condition.type_.as_str())) {
        if [types::READY, types::DRIFTED].contains(&condition.type_.as_str()) {
            conditions.set(&condition.type_, "Unknown", reason, message.to_owned());
        } else {
            conditions.out.push(condition.clone());
        }
    }
    let provider_status = remembered(previous).map(written);
    CredentialsRequestStatus { conditions: conditions.out, provider_status, ..previous.clone() }
}

/// The condition types that Rolecall writes on requests.
const OURS: [&str; 7] = [
    types::READY,
    types::DRIFTED,
    types::CONFLICT,
    types::IGNORED,
    types::MISSING_TARGET_NAMESPACE,
    types::CREDENTIALS_PROVISION_FAILURE,
    types::INSUFFICIENT_CLOUD_CREDS,
];

/// The finalizer of OpenShift's own operator (cloud-credential-operator, `pkg/apis/cloudcredential/v1`): it serves each
/// request that carries it, and keeps upstream's fields of its status.
const OPENSHIFT_FINALIZER: &str = "cloudcredential.openshift.io/deprovision";

/// Whether OpenShift's own operator writes a part of the status.
pub fn is_shared(request: &CredentialsRequest) -> bool {
    request.finalizers().iter().any(|finalizer| finalizer == OPENSHIFT_FINALIZER)
}

/// Whether a condition is Rolecall's. Upstream's types are OpenShift's operator's where it serves the request: it turns them back
/// with every synchronisation of its own. Of a request for another cloud both say the same.
fn is_ours(condition: &RequestCondition, shared: bool) -> bool {
    match condition.type_.as_str() {
        types::READY | types::DRIFTED | types::CONFLICT => true,
        types::IGNORED if shared => condition.reason.as_deref() == Some(OTHER_CLOUD),
        other => !shared && OURS.contains(&other),
    }
}

/// How much of a request's status is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Whether the API server merges conditions by type. Where it does not, those of others are repeated as they stand.
    pub merges_conditions: bool,
    /// Whether the status declares `observedGeneration`. Where it does not, `providerStatus` has it.
    pub declares_generation: bool,
    /// Whether upstream's required fields are repeated as they stand, beside OpenShift's operator: it owns them once it has
    /// changed them, and until then they would be gone if Rolecall left them out.
    pub repeats_required: bool,
}

/// What is sent of a status: what is Rolecall's. What is repeated as it stands counts only with the resource version that it
/// was read at.
pub fn body(stored: &CredentialsRequest, status: &CredentialsRequestStatus, extent: Extent) -> Value {
    let of_stored = stored.status.as_ref();
    let shared = is_shared(stored);
    let mut conditions: Vec<&RequestCondition> =
        status.conditions.iter().filter(|condition| is_ours(condition, shared)).collect();
    if !extent.merges_conditions {
        let is_told = |type_: &str| conditions.iter().any(|condition| condition.type_ == type_);
        let of_others = of_stored.into_iter().flat_map(|status| &status.conditions);
        let of_others: Vec<_> = of_others.filter(|of| !is_ours(of, shared) && !is_told(&of.type_)).collect();
        conditions.extend(of_others);
    }
    // Another order is no change.
    let place = |condition: &RequestCondition| OURS.iter().position(|of| *of == condition.type_).unwrap_or(OURS.len());
    conditions.sort_by(|one, other| place(one).cmp(&place(other)).then_with(|| one.type_.cmp(&other.type_)));
    let mut body = json!({"conditions": conditions});
    let upstream = if shared { of_stored.filter(|_| extent.repeats_required) } else { Some(status) };
    if let Some(upstream) = upstream {
        body["provisioned"] = upstream.provisioned.into();
        body["lastSyncGeneration"] = upstream.last_sync_generation.into();
        if let Some(time) = &upstream.last_sync_timestamp {
            body["lastSyncTimestamp"] = time.clone().into();
        }
    }
    // What others have added to it is theirs, and what cannot be read is not repeated.
    let mut provider = remembered(status);
    match status.observed_generation {
        Some(generation) if extent.declares_generation => body["observedGeneration"] = generation.into(),
        // Nothing is provisioned for a request of another cloud, and there is nothing of AWS's to say of it.
        Some(_) if provider.is_none() && status.conditions.iter().any(|of| of.type_ == types::IGNORED) => {}
        Some(generation) => provider.get_or_insert_default().observed_generation = Some(generation),
        None => {}
    }
    if let Some(provider) = provider {
        body["providerStatus"] = json!(provider);
    }
    body
}

fn requested(conditions: &mut Conditions<'_>, wants: &Wants<'_>) {
    let problems: Vec<String> = request_problems(wants).collect();
    if wants.is_unread() {
        conditions.keep(types::READY, why_not(wants), summarise(&problems));
    } else if wants.is_true() && wants.ineffective().is_none() {
        let message = match wants.effectiveness {
            Some(Effectiveness::Narrowed(why)) => {
                format!("role and Secret are as wanted; the annotation {ALLOW_NARROWING} allows that {why}")
            }
            _ => "role and Secret are as wanted".to_owned(),
        };
        conditions.set(types::READY, "True", "Verified", message);
    } else if problems.is_empty() {
        let names: Vec<String> = wants.steps.iter().map(|step| step.change.name().to_owned()).collect();
        conditions.set(types::READY, "False", why_not(wants), summarise(&names));
    } else {
        conditions.set(types::READY, "False", why_not(wants), summarise(&problems));
    }
    let drift = wants.drift().map(|(step, d)| format!("{} {}", step.change.target(), d.field.as_str()));
    let by_others = effective::drift(wants).map(|entry| format!("{} {}", entry.resource, entry.field));
    let drift: Vec<String> = drift.chain(by_others).collect();
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
    // What others take away from a role that is as wanted is no failure to grant it.
    let failed = !problems.is_empty() && !missing && !wants.is_unread() && !wants.is_true();
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
    let news = !previous.provisioned
        || Some(previous.last_sync_generation) != generation
        || previous.last_sync_timestamp.is_none();
    if wants.is_true() && news {
        status.last_sync_timestamp = Some(seconds(now));
        status.last_sync_generation = generation.unwrap_or_default();
    }
}

fn provider_status(
    before: Option<AwsProviderStatus>,
    state: &RequestState<'_>,
    wants: &Wants<'_>,
    (plan, live): (&Plan, &Live),
) -> AwsProviderStatus {
    let role = &wants.wanted.role;
    let verified = |subject: Subject, is_true: bool, was: Option<String>| {
        if is_true { plan.fingerprints.get(&subject).cloned().or(was) } else { was }
    };
    AwsProviderStatus {
        role_arn: Some(role.arn.clone()),
        role_name: Some(role.name.clone()),
        policy_hash: Some(role.permissions.fingerprint()),
        trust_hash: plan.trust_hashes.get(state.id).cloned().or_else(|| before.as_ref()?.trust_hash.clone()),
        adopted_trust_statements: match (plan.adopted_trust.get(state.id), &before) {
            (Some(kept), _) => kept.clone(),
            (None, Some(before)) => before.adopted_trust_statements.clone(),
            (None, None) => Vec::new(),
        },
        provisioned: provisioned(before.as_ref(), state, wants, plan),
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
            _ => wants.drift().map(drift_entry).chain(effective::drift(wants)).collect(),
        },
        omitted_surplus: match live.surplus.get(state.id) {
            Some(_) => None,
            None => before.as_ref().and_then(|before| before.omitted_surplus),
        },
        surplus: match live.surplus.get(state.id) {
            Some(surplus) => surplus.clone(),
            None => before.map(|before| before.surplus).unwrap_or_default(),
        },
        ..AwsProviderStatus::new()
    }
}

/// The role and the Secret that the request has: those that it asks for, once both were seen to be right.
fn provisioned(
    before: Option<&AwsProviderStatus>,
    state: &RequestState<'_>,
    wants: &Wants<'_>,
    plan: &Plan,
) -> Option<ProvisionedResources> {
    let known = before.and_then(|before| before.provisioned.clone());
    let Some(secret) = wants.wanted.secret.as_ref().filter(|_| wants.is_true()) else { return known };
    let role = &wants.wanted.role;
    let role_id = plan.role_ids.get(state.id).cloned();
    let known_id = known.filter(|known| known.role_arn == role.arn).map(|known| known.role_id);
    Some(ProvisionedResources {
        role_name: role.name.clone(),
        role_arn: role.arn.clone(),
        role_id: role_id.or(known_id).unwrap_or_default(),
        secret: secret.key.to_string(),
        cloud_token_path: wants.wanted.read.token_path.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(finalizers: &Value, status: &Value) -> CredentialsRequest {
        let request = json!({
            "apiVersion": "cloudcredential.openshift.io/v1", "kind": "CredentialsRequest",
            "metadata": {"name": "a", "namespace": "n", "finalizers": finalizers},
            "spec": {"secretRef": {"name": "s", "namespace": "n"}}, "status": status,
        });
        serde_json::from_str(&request.to_string()).unwrap()
    }

    /// As OpenShift's operator and someone else have left it.
    fn stored(finalizers: &Value) -> CredentialsRequest {
        let status = json!({
            "provisioned": true, "lastSyncGeneration": 7, "lastSyncTimestamp": "2026-01-01T00:00:00Z",
            "lastSyncCloudCredsSecretResourceVersion": "42",
            "conditions": [
                {"type": "Foreign", "status": "True", "reason": "R", "message": "m"},
                {"type": "Ready", "status": "False"},
            ],
            "providerStatus": {"roleName": "r", "foreign": {"a": 1}},
        });
        request(finalizers, &status)
    }

    fn next() -> CredentialsRequestStatus {
        let ready = RequestCondition { type_: "Ready".into(), status: "True".into(), ..RequestCondition::default() };
        let provider = AwsProviderStatus { role_name: Some("r".into()), ..AwsProviderStatus::new() };
        CredentialsRequestStatus {
            provisioned: false,
            observed_generation: Some(8),
            conditions: vec![ready],
            provider_status: Some(JsonText::of(&json!(provider))),
            ..CredentialsRequestStatus::default()
        }
    }

    const OURS_ALONE: Extent = Extent { merges_conditions: true, declares_generation: true, repeats_required: false };
    const OPENSHIFT: Extent = Extent { merges_conditions: false, declares_generation: false, repeats_required: false };

    #[test]
    fn on_rolecalls_schema_nothing_of_others_is_sent() {
        let body = body(&stored(&json!([])), &next(), OURS_ALONE);
        assert_eq!(body["conditions"], json!([{"type": "Ready", "status": "True"}]));
        assert_eq!((&body["provisioned"], &body["lastSyncGeneration"]), (&json!(false), &json!(0)));
        assert_eq!(body["observedGeneration"], 8);
        assert!(body.get("lastSyncCloudCredsSecretResourceVersion").is_none());
        assert!(body["providerStatus"].get("foreign").is_none());
        assert!(body["providerStatus"].get("observedGeneration").is_none());
    }

    #[test]
    fn beside_openshifts_operator_its_fields_are_left_out() {
        let stored = stored(&json!([OPENSHIFT_FINALIZER]));
        assert!(is_shared(&stored));
        let left_out = body(&stored, &next(), OPENSHIFT);
        assert_eq!(
            left_out.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["conditions", "providerStatus"],
            "{left_out}"
        );
        // The list is one value there, so it is sent as a whole.
        let types: Vec<&Value> = left_out["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
        assert_eq!(types, ["Ready", "Foreign"]);
        assert_eq!(left_out["providerStatus"]["observedGeneration"], 8);

        let repeated = body(&stored, &next(), Extent { repeats_required: true, ..OPENSHIFT });
        assert_eq!((&repeated["provisioned"], &repeated["lastSyncGeneration"]), (&json!(true), &json!(7)));
        assert_eq!(repeated["lastSyncTimestamp"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn beside_openshifts_operator_upstreams_conditions_are_its_own() {
        let mut status = next();
        let condition = |type_: &str, status: &str, reason: &str| RequestCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            ..RequestCondition::default()
        };
        status.conditions.push(condition("CredentialsProvisionFailure", "True", "CredentialsProvisionFailure"));
        status.conditions.push(condition("Ignored", "True", "Candidate"));
        let mut stored = stored(&json!([OPENSHIFT_FINALIZER]));
        let theirs = condition("CredentialsProvisionFailure", "False", "CredentialsProvisionSuccess");
        stored.status.as_mut().unwrap().conditions.push(theirs);
        let of = |body: &Value| -> Vec<String> {
            let conditions = body["conditions"].as_array().unwrap().iter();
            conditions.map(|c| format!("{}={}", c["type"].as_str().unwrap(), c["status"].as_str().unwrap())).collect()
        };
        let sent = of(&body(&stored, &status, OPENSHIFT));
        assert_eq!(sent, ["Ready=True", "CredentialsProvisionFailure=False", "Foreign=True"]);
        let merged = of(&body(&stored, &status, Extent { merges_conditions: true, ..OPENSHIFT }));
        assert_eq!(merged, ["Ready=True"]);
        status.conditions[2].reason = Some(OTHER_CLOUD.into());
        assert!(of(&body(&stored, &status, OPENSHIFT)).contains(&"Ignored=True".to_owned()));
    }

    #[test]
    fn another_order_of_conditions_is_no_change() {
        let mut status = next();
        let drifted =
            RequestCondition { type_: "Drifted".into(), status: "False".into(), ..RequestCondition::default() };
        status.conditions.push(drifted);
        let one = body(&stored(&json!([])), &status, OPENSHIFT);
        status.conditions.reverse();
        assert_eq!(body(&stored(&json!([])), &status, OPENSHIFT), one);
    }
}
