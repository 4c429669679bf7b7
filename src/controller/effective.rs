//! What the live roles let their components do, after a pass that has read them.

use std::collections::BTreeMap;

use super::outcome::NOT_EFFECTIVE;
use super::request_status::remembered;
use super::status::effective::EFFECTIVE_PERMISSIONS;
use crate::api::{CredentialsRequest, CredentialsRequestStatus, conditions as types};
use crate::aws::granted::GrantedRoles;
use crate::desired::request::RequestId;
use crate::desired::{Desired, Wanted};
use crate::observed::Fault;
use crate::plan::{BoundarySetBy, Effectiveness, Plan, Subject, effectiveness};

/// Requests with a role that is as wanted. What a role that is to be changed allows is judged once it was changed.
fn right<'a>(desired: &'a Desired, plan: &'a Plan) -> impl Iterator<Item = (&'a RequestId, &'a Wanted)> {
    desired.wanted().filter(|(id, wanted)| wanted.secret.is_some() && plan.is_true(&Subject::Role((*id).clone())))
}

/// Judges each role that is as wanted by all that was read of it.
pub fn of_roles(desired: &Desired, plan: &Plan, live: &GrantedRoles) -> BTreeMap<RequestId, Effectiveness> {
    right(desired, plan).map(|(id, wanted)| (id.clone(), of_role(desired, wanted, live))).collect()
}

fn of_role(desired: &Desired, wanted: &Wanted, live: &GrantedRoles) -> Effectiveness {
    let name = wanted.role.name.to_ascii_lowercase();
    let judged = match live.roles.get(&name) {
        Some(Ok(role)) => {
            let is_wanted = role.boundary == wanted.role.boundary;
            let boundary = if is_wanted { BoundarySetBy::Spec } else { BoundarySetBy::Others };
            effectiveness(wanted, &role.live, boundary, &desired.issuer.provider, &desired.consents)
        }
        Some(Err(why)) => not_read(wanted, why),
        // Its inline policy is as wanted, and there is nothing else.
        None if live.plain.contains(&name) => Effectiveness::Effective,
        None => not_read(wanted, "the last listing of the account's roles does not show it as it is now"),
    };
    match judged {
        Effectiveness::Unknown(why) if live.passing.is_some() => Effectiveness::Unread(why),
        judged => judged,
    }
}

/// Nothing is known of what else is on the roles, because of this.
pub fn untold(desired: &Desired, plan: &Plan, fault: &Fault) -> BTreeMap<RequestId, Effectiveness> {
    let why = fault.to_string();
    let of = |wanted| match not_read(wanted, &why) {
        Effectiveness::Unknown(why) if fault.class.is_passing() => Effectiveness::Unread(why),
        unknown => unknown,
    };
    right(desired, plan).map(|(id, wanted)| (id.clone(), of(wanted))).collect()
}

/// Where it could not be read for a passing reason, an older verdict that a role does not allow something stands.
pub fn keep_older_verdicts(
    effectiveness: &mut BTreeMap<RequestId, Effectiveness>,
    requests: &BTreeMap<RequestId, CredentialsRequest>,
) {
    for (id, judged) in effectiveness.iter_mut() {
        if matches!(judged, Effectiveness::Unread(_))
            && let Some(older) = requests.get(id).and_then(|request| ineffective_before(request.status.as_ref()?))
        {
            *judged = older;
        }
    }
}

/// What a request's status says of a role that does not allow something.
fn ineffective_before(status: &CredentialsRequestStatus) -> Option<Effectiveness> {
    let ready = status.conditions.iter().find(|condition| condition.type_ == types::READY)?;
    let is_told = ready.status == "False" && ready.reason.as_deref() == Some(NOT_EFFECTIVE);
    let drift = remembered(status).map(|remembered| remembered.drift).unwrap_or_default();
    is_told.then(|| Effectiveness::Ineffective {
        why: ready.message.clone().unwrap_or_default(),
        is_drift: drift.iter().any(|entry| entry.field == EFFECTIVE_PERMISSIONS),
    })
}

fn not_read(wanted: &Wanted, why: &str) -> Effectiveness {
    Effectiveness::Unknown(format!("all that role {} is granted could not be read: {why}", wanted.role.name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(reason: &str, drift: &Value) -> CredentialsRequest {
        let status = if reason == "Verified" { "True" } else { "False" };
        let ready = json!({"type": "Ready", "status": status, "reason": reason, "message": "a Deny"});
        let provider = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "AWSProviderStatus", "drift": drift});
        let request = json!({
            "apiVersion": "cloudcredential.openshift.io/v1", "kind": "CredentialsRequest",
            "metadata": {"name": "a", "namespace": "n"}, "spec": {"secretRef": {"name": "s", "namespace": "n"}},
            "status": {"conditions": [ready], "providerStatus": provider},
        });
        serde_json::from_str(&request.to_string()).unwrap()
    }

    fn stood(judged: Effectiveness, request: CredentialsRequest) -> Effectiveness {
        let id = RequestId { namespace: "n".into(), name: "a".into() };
        let mut effectiveness = BTreeMap::from([(id.clone(), judged)]);
        keep_older_verdicts(&mut effectiveness, &BTreeMap::from([(id.clone(), request)]));
        effectiveness.remove(&id).unwrap()
    }

    #[test]
    fn a_moment_without_an_answer_takes_no_verdict_back() {
        let unread = || Effectiveness::Unread("throttled".into());
        let drift = json!([{"resource": "role/r", "field": "effectivePermissions", "found": "f", "wanted": "w"}]);
        for (drift, is_drift) in [(json!([]), false), (drift, true)] {
            let stands = Effectiveness::Ineffective { why: "a Deny".into(), is_drift };
            assert_eq!(stood(unread(), told("NotEffective", &drift)), stands);
        }
        assert_eq!(stood(unread(), told("Verified", &json!([]))), unread());
        assert_eq!(stood(unread(), told("BeingVerified", &json!([]))), unread());
        let now = stood(Effectiveness::Effective, told("NotEffective", &json!([])));
        assert_eq!(now, Effectiveness::Effective, "what was read counts");
    }
}
