//! CredentialsRequests and sources of keys, changed by mistake. Whether an edit is refused is said here, not asked of Rolecall.

use rolecall::desired::RequestInput;
use serde_json::{Value, json};

use super::super::seeds::Dice;
use super::mistakes::{Undo, done};
use super::oracle::Removal;
use super::trial::{ACTIONS, COMPONENTS, KEYS, Trial, component, demand, place};

/// Names of requests that collide.
const NEWCOMERS: [&str; 2] = ["aaa", "zzz"];

fn any(dice: &mut Dice) -> (&'static str, &'static [&'static str]) {
    *dice.one_of(&COMPONENTS).expect("there are some")
}

/// The request of a component, if it is there.
fn of<'a>(trial: &'a mut Trial, name: &str) -> Option<&'a mut RequestInput> {
    trial.stored.wish.requests.iter_mut().find(|request| request.id.name == name && request.spec.is_ok())
}

/// Replaces a request's spec, and what is asked for with it.
fn accepted(trial: &mut Trial, name: &str, accounts: &[&str], actions: &[(&str, &str)]) -> Option<Undo> {
    let request = of(trial, name)?;
    request.spec = component(name, accounts, actions).spec;
    trial.oracle.change(|all| {
        let removed = all.get(name).and_then(|demand| demand.removed);
        let mut demand = demand(&place(name), accounts, actions);
        demand.removed = removed;
        all.insert(name.to_owned(), demand);
    });
    done()
}

/// Edits a request in a way that is refused: what was accepted last stays in force.
fn refused(trial: &mut Trial, dice: &mut Dice, edit: impl FnOnce(&mut Value)) -> Option<Undo> {
    let request = of(trial, any(dice).0)?;
    let mut spec = serde_json::to_value(request.spec.as_ref().ok()?).expect("JSON");
    edit(&mut spec);
    request.spec = Ok(serde_json::from_value(spec).expect("a spec"));
    done()
}

pub fn narrower(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let (name, accounts) = any(dice);
    accepted(trial, name, accounts, &ACTIONS[..1])
}

pub fn wider(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let (name, accounts) = any(dice);
    accepted(trial, name, accounts, &[ACTIONS[0], ACTIONS[1], ("sqs:SendMessage", "*")])
}

pub fn fewer_accounts(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    accepted(trial, "alpha", &["worker"], &ACTIONS)
}

pub fn misspelt(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let (entry, account) = (dice.percent(50), dice.percent(30));
    refused(trial, dice, |spec| {
        if account {
            spec["serviceAccountNames"] = json!([]);
        } else if entry {
            spec["providerSpec"]["statementEntries"][0]["effect"] = "Alow".into();
        } else {
            spec["providerSpec"]["statementEntries"][1]["action"] = json!(["s3GetObject"]);
        }
    })
}

pub fn kind_misspelt(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let kind = ["AWSProviderSpecs", "awsProviderSpec", "AzureProviderspec"];
    let kind = (*dice.one_of(&kind)?).to_owned();
    refused(trial, dice, |spec| spec["providerSpec"]["kind"] = kind.into())
}

pub fn malformed(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    of(trial, any(dice).0)?.spec = Err("spec.serviceAccountNames: invalid type".to_owned());
    done()
}

/// Whether another request asks for the Secret of a component: what that gives up is handed over to it.
fn has_newcomer(trial: &Trial) -> bool {
    trial.stored.wish.requests.iter().any(|request| NEWCOMERS.contains(&request.id.name.as_str()))
}

/// Takes requests away. OpenShift's operator may take the Secret along.
fn gone(trial: &mut Trial, dice: &mut Dice, names: &[&str]) -> Option<Undo> {
    if has_newcomer(trial) {
        return None;
    }
    let mut wish = trial.stored.wish.clone();
    let before = wish.requests.len();
    wish.requests.retain(|request| !names.contains(&request.id.name.as_str()));
    if wish.requests.len() == before {
        return None;
    }
    trial.stored.change(wish);
    trial.oracle.change(|all| {
        let of = |name: &str| names.contains(&name.trim_end_matches("-moved"));
        for (_, demand) in all.iter_mut().filter(|(name, _)| of(name)) {
            demand.removed = demand.removed.or(Some(Removal::now()));
        }
    });
    if dice.percent(40) {
        for name in names {
            trial.cluster.delete(&place(name));
        }
    }
    done()
}

pub fn removed(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let name = any(dice).0;
    gone(trial, dice, &[name])
}

pub fn two_removed(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    gone(trial, dice, &["beta", "delta"])
}

pub fn all_removed(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    gone(trial, dice, &["alpha", "beta", "gamma", "delta"])
}

pub fn other_release(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    gone(trial, dice, &["gamma"]);
    drop(accepted(trial, "alpha", &["worker", "helper"], &[ACTIONS[0], ("ec2:DescribeVpcs", "*")]));
    if !trial.stored.wish.requests.iter().any(|request| request.id.name == "epsilon") {
        trial.stored.wish.requests.push(component("epsilon", &["worker"], &ACTIONS));
        trial.oracle.change(|all| all.insert("epsilon".to_owned(), demand(&place("epsilon"), &["worker"], &ACTIONS)));
    }
    Some(Box::new(move |trial| {
        trial.oracle.change(|all| {
            if let Some(demand) = all.get_mut("epsilon") {
                demand.removed = Some(Removal::now());
            }
        });
    }))
}

/// Points a request at another Secret.
fn points_at(trial: &mut Trial, name: &str, namespace: &str, secret: &str) -> Option<()> {
    let request = of(trial, name)?;
    let mut spec = serde_json::to_value(request.spec.as_ref().ok()?).expect("JSON");
    spec["secretRef"] = json!({"namespace": namespace, "name": secret});
    request.spec = Ok(serde_json::from_value(spec).expect("a spec"));
    Some(())
}

pub fn other_secret(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    if has_newcomer(trial) {
        return None;
    }
    points_at(trial, "beta", "openshift-beta", "other")?;
    trial.oracle.change(|all| {
        all.get_mut("beta").expect("a component").removed = Some(Removal::now());
        all.insert("beta-moved".to_owned(), demand("openshift-beta/other", &["worker"], &ACTIONS));
    });
    Some(Box::new(|trial| {
        trial.oracle.change(|all| {
            if let Some(demand) = all.get_mut("beta-moved") {
                demand.removed = Some(Removal::now());
            }
        });
    }))
}

pub fn other_secret_refused(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    points_at(trial, "gamma", "kube-system", "creds")?;
    done()
}

pub fn collides(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    let name = any(dice).0;
    let is_there = trial.stored.wish.requests.iter().any(|request| request.id.name == name);
    let gives_up = trial.oracle.change(|all| all.get(name).is_none_or(|demand| demand.removed.is_some()));
    if has_newcomer(trial) || !is_there || gives_up {
        return None;
    }
    let mut second = component(name, &["intruder"], &[("iam:GetUser", "*")]);
    // In the order of their names it may come first.
    NEWCOMERS[usize::from(dice.percent(50))].clone_into(&mut second.id.name);
    second.created = Some(trial.operator.now());
    trial.stored.wish.requests.push(second);
    done()
}

pub fn tombstone(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    if has_newcomer(trial) {
        return None;
    }
    let name = any(dice).0;
    of(trial, name)?.tombstone = true;
    trial.oracle.change(|all| {
        let demand = all.get_mut(name).expect("a component");
        demand.removed = demand.removed.or(Some(Removal::now()));
    });
    done()
}

pub fn candidate(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    of(trial, any(dice).0)?.candidate_of = Some("4.19.0".to_owned());
    done()
}

pub fn source_gone(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    trial.cluster.delete("prod/signer");
    done()
}

pub fn source_changed(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    let now = trial.operator.now();
    trial.oracle.key_has_no_source(Some(now));
    trial.cluster.put("prod/signer", &[("pub", KEYS[1])]);
    done()
}

pub fn source_rotated(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    trial.cluster.put("prod/signer", &[("pub", &format!("{}{}", KEYS[0], KEYS[1]))]);
    done()
}

/// The cluster goes on to sign with the key that it has, and the source says another one again after a while.
pub fn source_restored(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    let now = trial.operator.now();
    trial.oracle.key_has_no_source(Some(now));
    trial.cluster.put("prod/signer", &[("pub", KEYS[1])]);
    trial.restart();
    done()
}
