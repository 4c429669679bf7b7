//! What is in use is not deleted: IAM tells when a role was last used. The emulators never do, so AWS is the model here.

use std::time::Duration;

use super::on_model::{DAY, OnModel};
use super::*;
use crate::ended::{await_gone, delete, delete_request};
use crate::model::Visible;
use crate::scene::ACCOUNT;

const HOUR: Duration = Duration::from_hours(1);
const REGION: &str = "eu-central-1";

impl OnModel {
    /// The role of a request was used so long ago.
    fn used(&self, request: &str, ago: Duration) {
        self.model.role_used(ACCOUNT, &self.scene.role_name(request), self.model.today() - ago, REGION);
    }

    fn has_role(&self, request: &str) -> bool {
        self.model.role(ACCOUNT, &self.scene.role_name(request)).is_some()
    }

    #[track_caller]
    fn assert_kept(&self, requests: &[&str]) {
        for request in requests {
            assert!(self.has_role(request), "the role of {request} is gone");
            assert!(crate::ended::has_secret(&self.scene, request), "the Secret of {request} is gone");
        }
    }

    /// Waits until a leftover is held because of its use, and nothing of it goes meanwhile; the condition's message.
    #[track_caller]
    fn await_in_use(&self, request: &str) -> String {
        eventually(SOON, &format!("{request} to be held as in use"), || {
            self.assert_kept(&[request]);
            let object = self.scene.identity_object();
            let entry = pending(&object, &self.scene.role_name(request))?;
            if entry["heldBy"] != "InUse" {
                return Err(entry.to_string());
            }
            condition_is(&object, "OrphanedCloudResource", "True")
        })
    }

    #[track_caller]
    fn await_no_role(&self, request: &str) {
        eventually(SOON, &format!("the role of {request} to go"), || {
            if self.has_role(request) { Err(self.scene.identity_object()["status"].to_string()) } else { Ok(()) }
        });
    }

    /// Waits until the whole deletion is held by use; nothing goes meanwhile.
    #[track_caller]
    fn await_teardown_held(&self, requests: &[&str]) -> String {
        let message = eventually(SOON, "Ready=False, InUse", || {
            self.assert_kept(requests);
            assert_eq!(self.model.providers(ACCOUNT).len(), 1, "the provider is gone");
            not_ready(&self.scene.identity_object(), "InUse")
        });
        self.scene.passes(3);
        self.assert_kept(requests);
        assert_eq!(self.model.providers(ACCOUNT).len(), 1);
        assert!(self.model.bucket(&self.scene.bucket()).is_some());
        message
    }
}

#[test]
fn leftover_used_within_the_window_is_held_and_another_goes() {
    let used = OnModel::ready("harm-used", "deletionDelay: 0s", &["a", "b", "c"]);
    for request in ["a", "b"] {
        used.used(request, HOUR);
    }
    used.used("c", 10 * DAY);
    delete_request(&used.scene, "a");
    let message = used.await_in_use("a");
    assert!(message.contains(&used.scene.role_name("a")) && message.contains(REGION), "{message}");
    used.scene.await_condition("InUse", "True");
    delete_request(&used.scene, "c");
    used.await_no_role("c");
    used.scene.passes(2);
    used.assert_kept(&["a", "b"]);
}

#[test]
fn leftover_goes_once_its_use_is_over() {
    let used = OnModel::ready("harm-over-use", "deletionDelay: 0s, inUseWindow: 12s", &["a", "b"]);
    for request in ["a", "b"] {
        used.used(request, Duration::ZERO);
    }
    delete_request(&used.scene, "a");
    used.await_in_use("a");
    used.await_no_role("a");
    used.assert_kept(&["b"]);
}

/// IAM tells of a use some four hours late.
#[test]
fn young_leftover_without_known_use_is_held() {
    let used = OnModel::ready("harm-young", "deletionDelay: 0s", &["a", "b"]);
    used.used("b", 10 * DAY);
    used.made("a", HOUR);
    delete_request(&used.scene, "a");
    used.await_in_use("a");
    used.scene.passes(2);
    used.assert_kept(&["a", "b"]);
    used.made("a", 6 * HOUR);
    used.await_no_role("a");
    used.assert_kept(&["b"]);
}

/// No role of the account shows any use: there is no evidence to be had.
#[test]
fn leftover_in_an_account_without_evidence_is_held() {
    let used = OnModel::ready("harm-blind", "deletionDelay: 0s", &["a", "b"]);
    delete_request(&used.scene, "a");
    used.await_in_use("a");
    used.scene.passes(2);
    used.assert_kept(&["a", "b"]);
    // Who knows better switches the question off.
    patch(&used.scene, &json!({"spec": {"guardrails": {"inUseWindow": "0s"}}}));
    used.await_no_role("a");
}

#[test]
fn teardown_with_one_component_in_use_is_held_as_a_whole() {
    let used = OnModel::ready("harm-whole", "deletionDelay: 0s", &["a", "b", "c"]);
    used.used("a", HOUR);
    used.used("b", 10 * DAY);
    delete(&used.scene);
    let message = used.await_teardown_held(&["a", "b", "c"]);
    let words = [used.scene.role_name("a"), REGION.to_owned(), "rolecall.dev/confirm-deletion".to_owned()];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    consent(&used.scene, "rolecall.dev/confirm-deletion", &used.scene.name);
    await_gone(&used.scene);
    assert!(used.model.roles(ACCOUNT).is_empty() && used.model.providers(ACCOUNT).is_empty());
}

#[test]
fn teardown_of_what_nobody_uses_takes_all_of_it() {
    let used = OnModel::ready("harm-idle", "", &["a", "b"]);
    used.used("a", 10 * DAY);
    used.used("b", 20 * DAY);
    delete(&used.scene);
    await_gone(&used.scene);
    assert!(used.model.roles(ACCOUNT).is_empty() && used.model.providers(ACCOUNT).is_empty());
    assert!(used.model.bucket(&used.scene.bucket()).is_none());
}

/// Workloads of the cluster have roles of their own, made by somebody; they trust the cluster's issuer.
#[test]
fn issuer_that_a_workloads_role_trusts_outlives_the_identity() {
    let used = OnModel::ready("harm-workload", "", &["a", "b"]);
    for request in ["a", "b"] {
        used.used(request, 10 * DAY);
    }
    let host = used.scene.issuer_host();
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": used.scene.provider_arn()},
        "Condition": {"StringEquals": {format!("{host}:sub"): "system:serviceaccount:shop:basket"}},
    }]});
    used.model.put_role(ACCOUNT, "basket", &trust.to_string(), Visible::AtOnce);
    delete(&used.scene);
    // Whether the components go meanwhile is not said here.
    let message = used.await_teardown_held(&[]);
    assert!(message.contains("basket"), "{message}");
    used.model.delete_role(ACCOUNT, "basket", Visible::AtOnce);
    await_gone(&used.scene);
    assert!(used.model.providers(ACCOUNT).is_empty());
}
