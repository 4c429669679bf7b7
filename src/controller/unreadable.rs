//! Objects that this version of Rolecall cannot decode: they say so in their own status, and keep what they have.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde_json::{Value, json};

use super::status::{Conditions, Says};
use super::status_writer::{StatusWriter, Told};
use crate::api::cluster_identity::{ClusterIdentitySpec, RequestSelection};
use crate::api::{ClusterIdentity, UpgradeCheck, conditions as types};
use crate::kubernetes::decoded::Undecodable;

/// The reason of conditions on an object that cannot be decoded.
pub const UNREADABLE: &str = "Unreadable";

/// Says in the status of a ClusterIdentity that it cannot be read. What older versions remember in it stays.
pub async fn tell_identity(
    writer: &StatusWriter,
    undecodable: &Undecodable,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let message = format!(
        "this version of Rolecall cannot read the object, so it neither changes nor verifies anything for it: {}; correct the object, or run the version that it is written for",
        undecodable.error
    );
    tell::<ClusterIdentity>(writer, undecodable, &[], &message, now).await
}

/// Says in the status of an UpgradeCheck that it cannot be read.
pub async fn tell_check(writer: &StatusWriter, undecodable: &Undecodable, now: Timestamp) -> Result<(), kube::Error> {
    let message = format!(
        "this version of Rolecall cannot read the object, so it has no verdict: {}; correct the object, or run the version that it is written for",
        undecodable.error
    );
    tell::<UpgradeCheck>(writer, undecodable, &[types::UPGRADE_READY], &message, now).await
}

async fn tell<K: Told>(
    writer: &StatusWriter,
    undecodable: &Undecodable,
    verdicts: &[&str],
    message: &str,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let previous = status(undecodable);
    let next = unreadable_status(&undecodable.metadata, &previous, verdicts, message, now);
    writer.raw::<K>(&undecodable.metadata, &previous, &next).await
}

/// The status as it stands; what is no object is none.
fn status(undecodable: &Undecodable) -> Value {
    let status = undecodable.status.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    status.filter(Value::is_object).unwrap_or_else(|| json!({}))
}

/// The same status with conditions that claim nothing; `verdicts` are told to be unknown even where nothing was told before.
/// Work under way, and other states that are told only while they are true, are no longer told.
fn unreadable_status(
    metadata: &ObjectMeta,
    previous: &Value,
    verdicts: &[&str],
    message: &str,
    now: Timestamp,
) -> Value {
    let known = previous["conditions"].as_array().into_iter().flatten();
    let known: Vec<Condition> = known.filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect();
    let mut conditions = Conditions::over(&known, metadata.generation, now);
    let says = |status| Says { status, reason: UNREADABLE, message: message.to_owned() };
    conditions.set(types::READY, says(Some(false)));
    for type_ in verdicts {
        conditions.set(type_, says(None));
    }
    let passing = [types::RECONCILING, types::STALLED, types::ORPHANED, types::PRE_GRANTED];
    let others = known.iter().map(|condition| condition.type_.as_str());
    let others = others.filter(|of| *of != types::READY && !passing.contains(of) && !verdicts.contains(of));
    for type_ in others {
        conditions.set(type_, says(None));
    }
    let mut next = previous.clone();
    next["conditions"] = json!(conditions.out);
    next
}

/// What a ClusterIdentity that cannot be read may have: its names, its issuer and its requests, as far as they can be told. In
/// doubt it has more: all requests of its namespaces.
pub fn claims(undecodable: &Undecodable) -> Option<ClusterIdentity> {
    let spec = undecodable.spec.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or_default();
    let names = json!({
        "infraName": spec["infraName"].as_str().unwrap_or_default(),
        "region": spec["region"].as_str().unwrap_or_default(),
        "issuer": {"signingKeys": [], "bucket": spec["issuer"]["bucket"]},
    });
    let without_bucket = || {
        json!({
            "infraName": names["infraName"], "region": names["region"], "issuer": {"signingKeys": []},
        })
    };
    let read = |value: Value| serde_json::from_value::<ClusterIdentitySpec>(value).ok();
    let requests = &spec["credentialsRequests"];
    let selection = match requests {
        Value::Null => RequestSelection::default(),
        _ => serde_json::from_value(requests.clone()).unwrap_or_else(|_| RequestSelection {
            namespaces: serde_json::from_value(requests["namespaces"].clone()).unwrap_or_default(),
            selector: None,
            allow_empty: false,
        }),
    };
    let spec = read(names.clone()).or_else(|| read(without_bucket()))?;
    let spec = ClusterIdentitySpec { credentials_requests: selection, ..spec };
    Some(ClusterIdentity { metadata: undecodable.metadata.clone(), spec, status: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undecodable(spec: &Value, status: &Value) -> Undecodable {
        Undecodable {
            metadata: serde_json::from_value(json!({"name": "a", "namespace": "n", "generation": 4})).unwrap(),
            error: "spec: unknown variant `Both`".into(),
            spec: Some(spec.to_string().into()),
            status: Some(status.to_string().into()),
        }
    }

    #[test]
    fn its_status_claims_nothing_and_remembers_all() {
        let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "Verified", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({
            "observedGeneration": 3, "verified": {"bucket": "f"}, "unknownField": {"a": 1},
            "conditions": [condition("Ready", "True"), condition("Drifted", "False"), condition("Stalled", "True")],
        });
        let object = undecodable(&json!({}), &status);
        let next =
            unreadable_status(&object.metadata, &super::status(&object), &[], "cannot be read", Timestamp::UNIX_EPOCH);
        for field in ["observedGeneration", "verified", "unknownField"] {
            assert_eq!(next[field], status[field]);
        }
        let said: Vec<(&str, &str, &str)> = next["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap(), c["reason"].as_str().unwrap()))
            .collect();
        assert_eq!(said, [("Ready", "False", UNREADABLE), ("Drifted", "Unknown", UNREADABLE)]);
        let again = unreadable_status(&object.metadata, &next, &[], "cannot be read", Timestamp::MAX);
        assert_eq!(again, next, "nothing is written twice");
        let verdict = unreadable_status(&object.metadata, &json!({}), &["UpgradeReady"], "m", Timestamp::MAX);
        assert_eq!(verdict["conditions"][1]["status"], "Unknown");
    }

    #[test]
    fn it_keeps_its_names_and_its_requests() {
        let spec = json!({
            "infraName": "prod", "region": "eu-west-1", "managementPolicy": "Both",
            "issuer": {"bucket": {"name": "prod-issuer"}, "signingKeys": 7},
            "credentialsRequests": {"namespaces": ["a", "b"], "selector": {"matchLabels": {"c": "prod"}}},
        });
        let identity = claims(&undecodable(&spec, &json!({}))).unwrap();
        assert_eq!((identity.spec.infra_name.as_str(), identity.spec.region.as_str()), ("prod", "eu-west-1"));
        assert_eq!(identity.spec.issuer.bucket.as_ref().unwrap().name.as_deref(), Some("prod-issuer"));
        assert_eq!(identity.spec.credentials_requests.namespaces, ["a", "b"]);
        assert!(identity.spec.credentials_requests.selector.is_some());
    }

    #[test]
    fn what_cannot_be_told_counts_as_more() {
        let spec = json!({
            "infraName": "prod", "issuer": {"bucket": 7},
            "credentialsRequests": {"namespaces": ["a"], "selector": {"matchLabels": 7}},
        });
        let identity = claims(&undecodable(&spec, &json!({}))).unwrap();
        assert_eq!(identity.spec.infra_name, "prod");
        let requests = &identity.spec.credentials_requests;
        assert!(requests.namespaces == ["a"] && requests.selector.is_none());
        let nothing = claims(&Undecodable { spec: None, ..undecodable(&spec, &json!(7)) }).unwrap();
        assert_eq!(nothing.spec.infra_name, "");
    }
}
