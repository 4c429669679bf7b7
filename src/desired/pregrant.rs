//! What an UpgradeCheck grants ahead of an upgrade: to each role what its request in force asks for, and what the target
//! release asks for. Once the request in force changes, the component is upgraded and the granting is over.
//!
//! What is in force always comes first: where both together are refused, the request in force is served as if there were
//! no check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::issuer::DesiredIssuer;
use super::names::fingerprint;
use super::request::{ReadRequest, RequestId, StatementEntry};
use super::secret::SecretKey;
use super::{DesiredRequest, Inputs, RequestVerdict, Wanted, wanted_role};
use crate::policy::Effect;

/// What an UpgradeCheck wants to be granted.
#[derive(Debug, Clone)]
pub struct PreGrant {
    /// The UpgradeCheck, `namespace/name`.
    pub check: String,
    /// What the components of the target release ask for, or why that cannot be told just now.
    pub targets: Result<Vec<ReadRequest>, String>,
    /// What the requests in force asked for when the granting began, by component ([`in_force`]); empty for none.
    pub begun: BTreeMap<SecretKey, String>,
}

/// What became of a component of an UpgradeCheck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreGranted {
    /// The UpgradeCheck, `namespace/name`.
    pub check: String,
    /// The component.
    pub secret: SecretKey,
    /// What the request in force asked for when the granting began; empty for none.
    pub begun: String,
    /// What is granted.
    pub fate: Fate,
}

/// What is granted ahead of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// What the target release asks for, too.
    Granted,
    /// The request in force asks for as much already.
    Nothing,
    /// The request in force has changed since the granting began: the component is upgraded.
    Over,
    /// Nothing beyond the request in force, because both together are refused.
    Refused(String),
    /// What is there stays, because the target release cannot be read just now.
    Kept(String),
}

/// Says what a request asks for: changes when that changes.
pub fn in_force(request: &ReadRequest) -> String {
    let entries: Vec<_> = request
        .statements
        .iter()
        .map(|entry| {
            json!([entry.effect.as_str(), sorted(&entry.actions), entry.resource, entry.condition]).to_string()
        })
        .collect();
    fingerprint(&json!([sorted(&entries), sorted(&request.service_accounts)]).to_string())
}

fn sorted(texts: &[String]) -> BTreeSet<&str> {
    texts.iter().map(String::as_str).collect()
}

/// What a request in force and its target come to together; `None` when that is no more than the request.
fn united(request: &ReadRequest, target: &ReadRequest) -> Result<Option<ReadRequest>, String> {
    let mut united = request.clone();
    for entry in &target.statements {
        unite(&mut united.statements, entry);
    }
    let new = target.service_accounts.iter().filter(|account| !request.service_accounts.contains(account));
    united.service_accounts.extend(new.cloned());
    if united == *request {
        return Ok(None);
    }
    // What one of them denies, the other may need.
    let denies = |request: &ReadRequest| request.statements.iter().any(|entry| entry.effect == Effect::Deny);
    if denies(request) || denies(target) {
        return Err("one of the two has Deny statements, so both cannot be granted at once".into());
    }
    Ok(Some(united))
}

/// Actions join the entry with the same resource and condition: the policy stays short.
fn unite(statements: &mut Vec<StatementEntry>, entry: &StatementEntry) {
    let like = |of: &&mut StatementEntry| {
        of.effect == entry.effect && of.resource == entry.resource && of.condition == entry.condition
    };
    match statements.iter_mut().find(like) {
        None => statements.push(entry.clone()),
        Some(with) => {
            for action in &entry.actions {
                if !with.actions.iter().any(|known| known.eq_ignore_ascii_case(action)) {
                    with.actions.push(action.clone());
                }
            }
        }
    }
}

/// Adds to what requests in force come to what UpgradeChecks grant ahead.
pub(super) fn grant(inputs: &Inputs, issuer: &DesiredIssuer, requests: &mut Vec<DesiredRequest>) -> Vec<PreGranted> {
    let mut granted = Vec::new();
    let mut roles: BTreeSet<String> = requests
        .iter()
        .filter_map(|request| match &request.verdict {
            RequestVerdict::Wanted(wanted) => Some(wanted.role.name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    for grant in &inputs.pre_grants {
        for component in components(grant) {
            let target = grant.targets.as_ref().map(|targets| targets.iter().filter(|t| t.secret == component));
            let targets = target.map(Iterator::collect::<Vec<_>>).map_err(Clone::clone);
            let fate = match request_of(requests, &component) {
                Some(at) => extend(inputs, issuer, &mut requests[at], grant, &component, targets),
                None => add(inputs, issuer, requests, &mut roles, grant, &component, targets),
            };
            granted.extend(fate);
        }
    }
    granted
}

impl PreGrant {
    /// The components that have, as far as is known, no request in force.
    pub(super) fn new_components(&self) -> impl Iterator<Item = SecretKey> {
        components(self).into_iter().filter(|component| self.begun.get(component).is_none_or(String::is_empty))
    }
}

/// The components of a check: those of its release, or, while that cannot be read, those that were granted something.
fn components(grant: &PreGrant) -> BTreeSet<SecretKey> {
    let remembered = grant.begun.keys().cloned();
    let targets = grant.targets.iter().flatten().map(|target| target.secret.clone());
    remembered.chain(targets).collect()
}

fn request_of(requests: &[DesiredRequest], component: &SecretKey) -> Option<usize> {
    let is = |request: &DesiredRequest| match &request.verdict {
        RequestVerdict::Wanted(wanted) => wanted.read.secret == *component && wanted.secret.is_some(),
        _ => false,
    };
    requests.iter().position(is)
}

/// What is already known to be granted to a component, as the status remembers it.
fn granted(grant: &PreGrant, component: &SecretKey, begun: String, fate: Fate) -> Option<PreGranted> {
    Some(PreGranted { check: grant.check.clone(), secret: component.clone(), begun, fate })
}

type Targets<'a> = Result<Vec<&'a ReadRequest>, String>;

fn extend(
    inputs: &Inputs,
    issuer: &DesiredIssuer,
    request: &mut DesiredRequest,
    grant: &PreGrant,
    component: &SecretKey,
    targets: Targets<'_>,
) -> Option<PreGranted> {
    let RequestVerdict::Wanted(wanted) = &mut request.verdict else { return None };
    let now = in_force(&wanted.in_force);
    let begun = grant.begun.get(component).cloned().unwrap_or_else(|| now.clone());
    let fate = |fate| granted(grant, component, begun.clone(), fate);
    if begun != now {
        return fate(Fate::Over);
    }
    let targets = match targets {
        Ok(targets) => targets,
        Err(why) => {
            wanted.kept = Some(format!("the release of the UpgradeCheck {} cannot be read: {why}", grant.check));
            return fate(Fate::Kept(why));
        }
    };
    let mut read = (*wanted.read).clone();
    let mut more = false;
    for target in targets {
        match united(&read, target) {
            Ok(None) => {}
            Ok(Some(both)) => (read, more) = (both, true),
            Err(why) => return fate(Fate::Refused(why)),
        }
    }
    if !more {
        return fate(Fate::Nothing);
    }
    match wanted_role(inputs, issuer, &read) {
        Ok(role) => {
            wanted.role = role;
            wanted.read = Arc::new(read);
            fate(Fate::Granted)
        }
        Err(refused) => fate(Fate::Refused(refused.to_string())),
    }
}

/// A component that has no request in force yet gets a role, and no Secret.
fn add(
    inputs: &Inputs,
    issuer: &DesiredIssuer,
    requests: &mut Vec<DesiredRequest>,
    roles: &mut BTreeSet<String>,
    grant: &PreGrant,
    component: &SecretKey,
    targets: Targets<'_>,
) -> Option<PreGranted> {
    let fate = |fate| granted(grant, component, String::new(), fate);
    let was_in_force = grant.begun.get(component).is_some_and(|begun| !begun.is_empty());
    let claimed = super::claimed_in_force(inputs, component);
    if was_in_force {
        return granted(grant, component, grant.begun.get(component).cloned().unwrap_or_default(), Fate::Over);
    }
    if claimed {
        return fate(Fate::Refused("the request in force is refused itself".into()));
    }
    let targets = match targets {
        Ok(targets) => targets,
        Err(why) => return fate(Fate::Kept(why)),
    };
    let (first, rest) = targets.split_first()?;
    let mut read = (*first).clone();
    for target in rest {
        match united(&read, target) {
            Ok(both) => read = both.unwrap_or(read),
            Err(why) => return fate(Fate::Refused(why)),
        }
    }
    let role = match wanted_role(inputs, issuer, &read) {
        Ok(role) => role,
        Err(refused) => return fate(Fate::Refused(refused.to_string())),
    };
    if !roles.insert(role.name.to_ascii_lowercase()) {
        // Another check may have granted it: the first one stands.
        let same = requests.iter().any(|request| match &request.verdict {
            RequestVerdict::Wanted(wanted) => wanted.secret.is_none() && *wanted.read == read,
            _ => false,
        });
        let taken = || Fate::Refused(format!("the role name {} is also that of another request", role.name));
        return fate(if same { Fate::Granted } else { taken() });
    }
    let (namespace, check) = grant.check.split_once('/').unwrap_or_default();
    // No object has a name with a slash in it.
    let id =
        RequestId { namespace: namespace.into(), name: format!("{check}/{}.{}", component.namespace, component.name) };
    let read = Arc::new(read);
    let wanted = Wanted { role, secret: None, in_force: read.clone(), read, kept: None };
    requests.push(DesiredRequest { id, verdict: RequestVerdict::Wanted(Box::new(wanted)) });
    fate(Fate::Granted)
}
