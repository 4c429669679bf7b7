//! Procedure 9: the signing keys are rotated, as OpenShift documents it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stage, Way, in_both_ways};
use crate::adoption::{FIRST, SECOND, Signer};
use crate::scene::{condition_is, said};

in_both_ways! { signing_keys_are_rotated }

const NEXT: (&str, &str) = ("openshift-kube-apiserver-operator", "next-bound-service-account-signing-key");
const CURRENT: (&str, &str) = ("openshift-kube-apiserver", "bound-service-account-signing-key");
/// A little less than `retireKeysAfter`.
const TOKENS_LIVE: Duration = Duration::from_secs(13);

impl Stage {
    /// What OpenShift's operator for the API server writes.
    fn openshift_key(&self, (namespace, name): (&str, &str), key: &str) {
        let plane = self.sites[0].plane;
        plane.ensure_namespace(namespace);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "stringData": {"service-account.pub": key, "service-account.key": "private"},
        });
        plane.apply_ok(&secret.to_string());
    }

    /// Takes the old key out of the sources; since when it is out at the earliest.
    fn retire(&mut self, again: bool) -> (Instant, String) {
        let begun = Instant::now();
        (begun, if again { self.again("retire") } else { self.run("retire") })
    }

    /// As it lies in Git.
    fn move_old_source_first(&self) {
        let sources = [json!({"configMapRef": {"name": "signer"}}), json!({"configMapRef": {"name": "signer-new"}})];
        let patch = json!({"spec": {"issuer": {"signingKeys": sources}}}).to_string();
        let args = ["patch", "cid", &self.name, "-n", &self.name, "--type=merge", "-p", &patch];
        self.sites[0].plane.kubectl_ok(&args);
    }
}

fn signing_keys_are_rotated(way: Way) {
    let mut stage = Stage::new("keys", 1, way);
    let [old, new] = [FIRST, SECOND].map(|key| Signer::of(key).kid);
    for secret in [NEXT, CURRENT] {
        stage.openshift_key(secret, FIRST);
    }
    stage.serve(&["a"], &[FIRST], "  guardrails: {allowedSecretNamespaces: [\"*\"]}\n");

    stage.run("new-key");
    stage.openshift_key(NEXT, SECOND);
    let printed = stage.run("publish");
    for kid in [&old, &new] {
        assert!(printed.lines().any(|line| line.trim_end() == kid), "{printed}");
    }
    // The API server knows both, and goes over to the new one.
    stage.openshift_key(CURRENT, SECOND);
    stage.oracle.sign_with(&new);
    stage.assert_unharmed("tokens of both keys are in use");
    stage.run("signs");
    stage.set("OLD_SOURCE", "signer");
    let (mut begun, printed) = stage.retire(false);
    assert!(printed.lines().any(|line| line.trim_end() == new), "{printed}");
    assert!(printed.contains(&format!("{old} 20")) || begun.elapsed() > TOKENS_LIVE, "{printed}");
    if way == Way::Straight {
        let printed = stage.run("back");
        for kid in [&old, &new] {
            assert!(printed.lines().any(|line| line.trim_end() == kid), "nothing was dropped: {printed}");
        }
        // The old source is the last one now.
        stage.move_old_source_first();
        (begun, _) = stage.retire(true);
    } else {
        stage.skip("back");
    }
    stage.eventually("the notice, or the end", |stage| {
        let object = stage.identity(0);
        let message = condition_is(&object, "SigningKeyRetirementDue", "True");
        message.and_then(|message| if message.contains(&old) { Ok(()) } else { Err(message) })
    });
    while begun.elapsed() < TOKENS_LIVE {
        stage.eventually("the time to pass", |_| Ok(()));
        stage.assert_unharmed("the old key's time");
    }
    stage.oracle.expired(&old);
    stage.run("dropped");
    let object = stage.identity(0);
    assert_eq!(object["status"]["keys"][0]["kid"], new.as_str());
    assert_eq!(said(&object, "SigningKeyRetirementDue", "status"), "");
    stage.finish();
}
