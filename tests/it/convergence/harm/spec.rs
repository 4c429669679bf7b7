//! Every field of a ClusterIdentity's spec, changed by mistake.

use std::collections::BTreeMap;
use std::time::Duration;

use rolecall::api::ClusterIdentitySpec;
use rolecall::api::cluster_identity::{Adoption, Bucket, DeletionPolicy, ManagementPolicy, Naming, SigningKeySource};
use serde_json::{Value, json};

use super::super::seeds::Dice;
use super::super::wishes::{GUARD, provider_arn};
use super::mistakes::{Undo, done};
use super::oracle::Removal;
use super::trial::{COMPONENTS, ELSEWHERE, Trial};
use crate::model::{ACCOUNT, Visible};

/// What cannot be edited is in an object that was made anew.
fn anew(trial: &mut Trial, edit: impl FnOnce(&mut ClusterIdentitySpec)) -> Option<Undo> {
    // Where nothing runs, a spec is wrong about nothing.
    if trial.deleted || trial.model.provider(ACCOUNT, &provider_arn()).is_none() {
        return None;
    }
    trial.remake(edit);
    Some(Box::new(|trial| {
        let base = trial.base.spec.clone();
        trial.remake(|spec| *spec = base);
    }))
}

fn edited(trial: &mut Trial, edit: impl FnOnce(&mut ClusterIdentitySpec)) -> Option<Undo> {
    trial.edit(edit);
    done()
}

pub fn infra_name(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    anew(trial, |spec| "prod-ex".clone_into(&mut spec.infra_name))
}

pub fn region(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    anew(trial, |spec| "eu-central-1".clone_into(&mut spec.region))
}

pub fn bucket(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    anew(trial, |spec| spec.issuer.bucket = Some(Bucket { name: Some("another-bucket".to_owned()), prefix: None }))
}

pub fn prefix(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    anew(trial, |spec| spec.issuer.bucket = Some(Bucket { name: None, prefix: Some("below".to_owned()) }))
}

pub fn path(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    anew(trial, |spec| "/other/".clone_into(&mut spec.roles.path))
}

pub fn naming(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    anew(trial, |spec| spec.roles.naming = Naming::Hashed)
}

pub fn account(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.aws.account_id = Some(ELSEWHERE.to_owned()))
}

pub fn assumed_role(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
    let arn = trial.model.put_role(ELSEWHERE, "rolecall", trust, Visible::AtOnce);
    edited(trial, |spec| spec.aws.assume_role_arn = Some(arn))
}

pub fn assumed_role_missing(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.aws.assume_role_arn = Some(format!("arn:aws:iam::{ACCOUNT}:role/nobody")))
}

fn source(name: &str) -> Vec<SigningKeySource> {
    let source: Value = json!([{"secretRef": {"name": name, "key": "pub"}}]);
    serde_json::from_value(source).expect("a source")
}

pub fn other_keys(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    let now = trial.operator.now();
    trial.oracle.key_has_no_source(Some(now));
    edited(trial, |spec| spec.issuer.signing_keys = source("other-signer"))
}

pub fn missing_keys(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.issuer.signing_keys = source("nothing"))
}

pub fn retire_keys_after(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.issuer.retire_keys_after = serde_json::from_value(json!("0s")).expect("a duration"))
}

pub fn fewer_audiences(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.issuer.audiences = vec!["sts.amazonaws.com".to_owned()])
}

pub fn more_audiences(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    trial.edit(|spec| spec.issuer.audiences.push("more".to_owned()));
    // What was published is taken away by name only.
    Some(consenting())
}

/// The correction takes something away, and whoever makes it consents.
fn consenting() -> Undo {
    Box::new(Trial::consent_at_the_end)
}

fn boundary(trial: &mut Trial, name: Option<&str>) -> Option<Undo> {
    let arn = name.map(|name| format!("arn:aws:iam::{ACCOUNT}:policy/{name}"));
    edited(trial, |spec| spec.roles.permissions_boundary_arn = arn)
}

pub fn boundary_of_nothing(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    drop(boundary(trial, Some("nothing")));
    // Rolecall leaves a boundary alone that the spec does not name.
    Some(Box::new(|trial| {
        for role in trial.model.roles(ACCOUNT) {
            trial.model.alter_role(ACCOUNT, &role.name, Visible::AtOnce, |role| {
                role.boundary = role.boundary.take().filter(|arn| !arn.ends_with(":policy/nothing"));
            });
        }
    }))
}

pub fn boundary_of_all(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    boundary(trial, Some(GUARD))
}

pub fn boundary_missing(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    boundary(trial, Some("not-there"))
}

pub fn no_boundary(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    boundary(trial, None)
}

pub fn max_session(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.roles.max_session_duration = serde_json::from_value(json!("4h")).expect("a duration"))
}

pub fn tags(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.roles.tags = BTreeMap::from([("Team".to_owned(), "payments".to_owned())]))
}

pub fn audience_condition(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.roles.audience_condition = !spec.roles.audience_condition)
}

pub fn denied_actions(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.guardrails.denied_actions.push("ec2:Describe*".to_owned()))
}

pub fn deletion_delay(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.guardrails.deletion_delay = serde_json::from_value(json!("0s")).expect("a duration"))
}

pub fn max_deletions(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.guardrails.max_deletions = 100)
}

pub fn in_use_window(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.guardrails.in_use_window = serde_json::from_value(json!("0s")).expect("a duration"))
}

pub fn secret_namespaces(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.guardrails.allowed_secret_namespaces = vec!["elsewhere-*".to_owned()])
}

/// A selector takes requests away as their removal does.
fn selects(trial: &mut Trial, selector: &Value, keeps: impl Fn(&str) -> bool) -> Option<Undo> {
    trial.oracle.change(|all| {
        for (name, demand) in all.iter_mut().filter(|(name, _)| !keeps(name)) {
            demand.removed =
                demand.removed.or(Some(Removal::now())).filter(|_| COMPONENTS.iter().any(|(of, _)| of == name));
        }
    });
    let selector = serde_json::from_value(selector.clone()).expect("a selector");
    edited(trial, |spec| spec.credentials_requests = selector)
}

pub fn selector_nothing(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    selects(trial, &json!({"selector": {"matchLabels": {"component": "nothing"}}}), |_| false)
}

pub fn selector_others(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    let selector = json!({"selector": {"matchExpressions": [{"key": "component", "operator": "In", "values": ["alpha", "beta", "gamma"]}]}});
    selects(trial, &selector, |name| ["alpha", "beta", "gamma"].contains(&name))
}

pub fn namespaces(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    selects(trial, &json!({"namespaces": ["others"]}), |_| false)
}

pub fn allow_empty(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.credentials_requests.allow_empty = true)
}

pub fn management_policy(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.management_policy = ManagementPolicy::Observe)
}

pub fn adoption(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| spec.adoption = Adoption::Adopt)
}

pub fn deletion_policy(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    edited(trial, |spec| {
        spec.deletion_policy = match spec.deletion_policy {
            DeletionPolicy::Delete => DeletionPolicy::Retain,
            DeletionPolicy::Retain => DeletionPolicy::Delete,
        };
    })
}

pub fn interval(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let interval = Duration::from_secs(if dice.percent(50) { 1 } else { 6 * 3600 });
    edited(trial, |spec| spec.drift_interval.0 = interval)
}
