//! What a first visit makes of a keys.json that is there already.

use serde_json::json;

use super::*;
use crate::desired::keys::KeysRefused;

/// The plan of a first visit to an account where this keys.json is published.
fn plan_over(jwks: &serde_json::Value, more: &serde_json::Value) -> Plan {
    let desired = desire(&inputs(spec(more))).unwrap();
    let mut observed = perfect(&desired);
    let Seen::Known(BucketState::Present(bucket)) = &mut observed.bucket else { unreachable!("it is there") };
    let body = jwks.to_string().into_bytes();
    bucket.keys = Seen::Known(Some(ObservedObject { body, content_type: Some("application/json".into()) }));
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
fn what_is_published_and_no_key_of_ours_is_named() {
    let (n, e) = published();
    let kid = desired().keys.unwrap().keys[0].key.kid.clone();
    for (entry, name) in [
        (json!({"kty": "RSA", "kid": "old", "n": "AQID", "e": e}), "old"),
        (json!({"kty": "RSA", "kid": "other-exponent", "n": n, "e": "Aw"}), "other-exponent"),
        (json!({"kty": "RSA", "kid": kid, "n": "AQID", "e": e}), kid.as_str()),
        (json!({"kty": "RSA", "kid": "no-number"}), "no-number"),
        (json!({"kty": "RSA", "kid": "no-e", "n": n}), "no-e"),
        (json!({"kty": "EC", "kid": "curve", "x": "AQ", "y": "AQ"}), "curve"),
        (json!({"kty": "RSA", "n": "AQID", "e": e}), "entry 2 (without a kid)"),
        (json!("text"), "entry 2 (without a kid)"),
    ] {
        let ours = json!({"kty": "RSA", "kid": "x", "n": n, "e": e});
        let plan = plan_over(&json!({"keys": [ours, entry]}), &json!({}));
        assert_eq!(refusal(&plan), Some(&KeysRefused::WouldShrink { kids: vec![name.into()] }), "{entry}");
        assert!(!writes_keys(&plan), "{entry}");
    }
    let unreadable = plan_over(&json!({"keys": 7}), &json!({}));
    assert_eq!(refusal(&unreadable), Some(&KeysRefused::PublishedUnreadable));
    assert!(!writes_keys(&unreadable));
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
    let plan = plan(&desire(&inputs).unwrap(), &observed, &Prior::default());
    assert_eq!(refusal(&plan), Some(&KeysRefused::TooMany { count: 101, retiring: 100 }));
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
}
