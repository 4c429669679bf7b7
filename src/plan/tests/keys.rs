//! What a first visit makes of a keys.json that is there already.

use serde_json::json;

use super::*;
use crate::desired::keys::KeysRefused;
use crate::observed::ObservedObject;

/// The plan of a first visit to an account where this keys.json is published.
fn plan_over(jwks: &serde_json::Value, more: &serde_json::Value) -> Plan {
    let desired = desire(&inputs(spec(more))).unwrap();
    let mut observed = perfect(&desired);
    let Seen::Known(BucketState::Present(bucket)) = &mut observed.bucket else { unreachable!("it is there") };
    bucket.keys = Seen::Known(Some(object(&jwks.to_string())));
    plan(&desired, &observed, &Prior::default())
}

fn refusal(plan: &Plan) -> Option<&KeysRefused> {
    plan.obstacles.iter().find_map(|(_, obstacle)| match obstacle {
        Obstacle::Keys(refused) => Some(refused),
        _ => None,
    })
}

fn writes_keys(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| step.subject == Subject::Keys)
}

fn published() -> (String, String) {
    let desired = desired();
    let key = desired.keys.unwrap().keys.remove(0).key;
    (key.n, key.e)
}

#[test]
fn a_published_key_is_known_by_its_number() {
    let (n, e) = published();
    let zeros = |text: &str| {
        use base64::Engine;
        use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
        URL_SAFE.encode([&[0][..], &URL_SAFE_NO_PAD.decode(text).unwrap()].concat())
    };
    for entry in [
        json!({"kty": "RSA", "kid": "another", "n": n, "e": e}),
        json!({"kty": "RSA", "kid": "", "n": n, "e": e}),
        json!({"kty": "RSA", "n": n, "e": e}),
        json!({"n": format!("{n}=="), "e": e}),
        json!({"kty": "RSA", "kid": 7, "n": zeros(&n), "e": zeros(&e)}),
    ] {
        let plan = plan_over(&json!({"keys": [entry, entry]}), &json!({}));
        assert_eq!(refusal(&plan), None, "{entry}");
        assert!(writes_keys(&plan), "published anew under our kid: {entry}");
    }
}

#[test]
fn what_is_published_and_no_key_of_ours_is_kept_and_named() {
    let (n, e) = published();
    let kid = desired().keys.unwrap().keys[0].key.kid.clone();
    for (entry, name) in [
        (json!({"kty": "RSA", "kid": "old", "n": "AQID", "e": e}), "old"),
        (json!({"kty": "RSA", "kid": "other-exponent", "n": n, "e": "Aw"}), "other-exponent"),
        (json!({"kty": "RSA", "kid": kid, "n": "AQID", "e": e}), kid.as_str()),
        (json!({"kty": "RSA", "kid": "no-number"}), "no-number"),
        (json!({"kty": "RSA", "kid": "no-e", "n": n}), "no-e"),
        (json!({"kty": "EC", "kid": "curve", "x": "AQ", "y": "AQ"}), "curve"),
        (json!({"kty": "RSA", "n": "AQID", "e": "AQAB"}), "without-kid-"),
        (json!({"kty": "RSA", "kid": "a, b", "n": "AQID", "e": "AQAB"}), "ab-"),
        (json!("text"), "without-kid-"),
    ] {
        let ours = json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e});
        let plan = plan_over(&json!({"keys": [ours, entry]}), &json!({}));
        let keys = plan.keys.as_ref().unwrap();
        let told: Vec<&str> = keys.unknown.iter().map(|key| key.kid.as_str()).collect();
        assert!(
            matches!(told[..], [told] if told == name || name.ends_with('-') && told.starts_with(name)),
            "{told:?}"
        );
        assert!(!writes_keys(&plan), "what is there will do: {entry}");
    }
    let unreadable = plan_over(&json!({"keys": 7}), &json!({}));
    assert!(matches!(unreadable.obstacle(&Subject::Bucket), Some(Obstacle::IssuerUnknown(_))));
    assert!(!writes_keys(&unreadable));
}

/// The plan over an issuer that was verified, with this keys.json and this revision.
fn later(jwks: &serde_json::Value, revision: Option<i64>, change: impl FnOnce(&mut Inputs, &mut Prior)) -> Plan {
    let mut inputs = inputs(spec(&json!({})));
    let mut prior = Prior::default();
    change(&mut inputs, &mut prior);
    let desired = desire(&inputs).unwrap();
    let fingerprint = desired.issuer.discovery.fingerprint(&desired.issuer.bucket);
    prior.verified.insert(Subject::Discovery, fingerprint);
    let mut observed = perfect(&desired);
    bucket(&mut observed).keys = Seen::Known(Some(ObservedObject { revision, ..object(&jwks.to_string()) }));
    plan(&desired, &observed, &prior)
}

fn kids(plan: &Plan) -> Vec<String> {
    plan.keys.as_ref().unwrap().kids.iter().filter(|kid| kid.len() < 20).cloned().collect()
}

#[test]
fn a_key_that_nobody_knows_goes_when_it_is_named_and_not_before() {
    let (n, e) = published();
    let jwks =
        json!({"keys": [{"kid": "ours", "n": n, "e": e}, {"kty": "RSA", "kid": "stranger", "n": "AQID", "e": e}]});
    let kept = later(&jwks, None, |_, _| {});
    assert_eq!(kids(&kept), ["stranger"]);
    assert!(writes_keys(&kept), "our kid is written, and the stranger's key with it");
    let removed = later(&jwks, None, |inputs, _| {
        inputs.consents = Consents::of(&BTreeMap::from([(crate::api::REMOVE_KEYS.into(), "stranger".into())]));
    });
    assert!(kids(&removed).is_empty() && writes_keys(&removed));
    assert_eq!(removed.consents.len(), 1);
}

#[test]
fn a_key_that_was_published_from_a_source_goes_when_its_time_is_over() {
    let (n, e) = published();
    let jwks =
        json!({"keys": [{"kid": "ours", "n": n, "e": e}, {"kty": "RSA", "kid": "old", "n": "AQID", "e": "AQAB"}]});
    let old = |since: Timestamp| crate::desired::keys::RememberedKey {
        key: crate::desired::keys::Key { kid: "old".into(), n: "AQID".into(), e: "AQAB".into() },
        retiring_since: Some(since),
    };
    let plan = later(&jwks, Some(3), |inputs, prior| {
        inputs.remembered_keys = vec![old("1969-01-01T00:00:00Z".parse().unwrap())];
        prior.keys_revision = Some(3);
    });
    assert!(kids(&plan).is_empty() && writes_keys(&plan));
    // A status that was restored from a backup removes nothing, and ends the fence by a write of its own.
    let restored = later(&jwks, Some(4), |inputs, prior| {
        inputs.remembered_keys = vec![old("1969-01-01T00:00:00Z".parse().unwrap())];
        prior.keys_revision = Some(3);
    });
    assert_eq!(kids(&restored), ["old"]);
    let keys = restored.keys.as_ref().unwrap();
    assert_eq!((keys.next_revision, keys.unknown.len()), (5, 1));
    assert!(writes_keys(&restored));
    // Nor does it publish a key anew that was removed since.
    let gone = later(&json!({"keys": [{"kid": "ours", "n": n, "e": e}]}), Some(4), |inputs, prior| {
        inputs.remembered_keys = vec![old(Timestamp::UNIX_EPOCH)];
        prior.keys_revision = Some(3);
    });
    assert!(kids(&gone).is_empty());
}

#[test]
fn too_many_keys_change_nothing() {
    let mut inputs = inputs(spec(&json!({})));
    inputs.remembered_keys = (0..100)
        .map(|number: u32| crate::desired::keys::RememberedKey {
            key: crate::desired::keys::Key { kid: format!("k{number}"), n: format!("AQ{number:02}"), e: "AQAB".into() },
            retiring_since: None,
        })
        .collect();
    let observed = perfect(&desired());
    let desired = desire(&inputs).unwrap();
    let fingerprint = desired.issuer.discovery.fingerprint(&desired.issuer.bucket);
    let plan = plan(&desired, &observed, &prior_of(BTreeMap::from([(Subject::Discovery, fingerprint)])));
    assert_eq!(refusal(&plan), Some(&KeysRefused::TooMany { count: 101, retiring: 100 }));
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
}
