//! What a cluster's making means to its pods, after every single write.

use std::sync::{Arc, Mutex, PoisonError};

use rolecall::controller::outcome::Outcome;
use serde_json::Value;

use super::life::Life;
use super::seeds::in_paused_time;
use super::wishes::{BUCKET, first, issuer_host, role_of};
use crate::model::evaluation::{Token, can_assume, is_allowed, why_not_assume};
use crate::model::{ACCOUNT, Model};

fn arn_of(request: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{}", role_of(request))
}

/// The key that the issuer shows; nothing as long as it shows none.
fn key_id(model: &Model) -> Option<String> {
    let keys: Value = serde_json::from_slice(&model.object(BUCKET, "keys.json")?.body).expect("JSON");
    Some(keys["keys"][0]["kid"].as_str().expect("a key id").to_owned())
}

/// How many of the roles serve their pods now, and how many pods of others are served: none ever should be.
fn served(model: &Model) -> (usize, usize) {
    let (issuer, Some(key_id)) = (format!("https://{}", issuer_host()), key_id(model)) else { return (0, 0) };
    let requests = ["alpha", "beta", "gamma"];
    let serves = |role: &str, pod: &str| {
        let subject = format!("system:serviceaccount:openshift-{pod}:worker");
        let token = Token { issuer: &issuer, subject: &subject, audience: "openshift", key_id: &key_id };
        can_assume(model, &arn_of(role), &token)
    };
    let own = requests.iter().filter(|request| serves(request, request)).count();
    let pairs = requests.iter().flat_map(|role| requests.map(|pod| (*role, pod)));
    (own, pairs.filter(|(role, pod)| role != pod && serves(role, pod)).count())
}

#[test]
fn pods_are_served_once_all_is_there_and_nobody_else_is_at_any_time() {
    in_paused_time(async {
        let model = Model::new(1);
        let seen = Arc::new(Mutex::new(Vec::new()));
        model.on_write({
            let (model, seen) = (model.clone(), seen.clone());
            move |_| seen.lock().unwrap_or_else(PoisonError::into_inner).push(served(&model))
        });
        let mut life = Life::new(&model, first());
        life.until(&Outcome::Verified, false).await.expect("verified");
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(seen.is_sorted() && seen.iter().all(|(_, others)| *others == 0), "{seen:?}");
        assert_eq!(seen.last(), Some(&(3, 0)));

        let (issuer, key_id) = (format!("https://{}", issuer_host()), key_id(&model).expect("a key"));
        let token = Token {
            issuer: &issuer,
            subject: "system:serviceaccount:openshift-alpha:worker",
            audience: "openshift",
            key_id: &key_id,
        };
        assert_eq!(why_not_assume(&model, &arn_of("alpha"), &token), None);
        assert!(is_allowed(&model, &arn_of("alpha"), "ec2:DescribeInstances", "*"));
        assert!(!is_allowed(&model, &arn_of("alpha"), "ec2:TerminateInstances", "*"));
    });
}
