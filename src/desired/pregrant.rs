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
use crate::policy::coverage::{Granted, Source, Verdict, judge};

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
    let new = || target.service_accounts.iter().filter(|account| !request.service_accounts.contains(account));
    if covers(request, target) && new().next().is_none() {
        return Ok(None);
    }
    let mut united = request.clone();
    for entry in &target.statements {
        unite(&mut united.statements, entry);
    }
    united.service_accounts.extend(new().cloned());
    // What one of them denies, the other may need.
    let denies = |request: &ReadRequest| request.statements.iter().any(|entry| entry.effect == Effect::Deny);
    if denies(request) || denies(target) {
        return Err("one of the two has Deny statements, so both cannot be granted at once".into());
    }
    Ok(Some(united))
}

/// Whether a request asks for all that a target needs, however the two are written.
fn covers(request: &ReadRequest, target: &ReadRequest) -> bool {
    let granted =
        Granted { identity: vec![Source::asking_for("the request in force", request.required())], boundary: None };
    judge(&target.required(), &granted).iter().all(|finding| finding.verdict == Verdict::Covered)
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
    for grant in &inputs.pre_grants {
        for secret in components(grant) {
            let of = |targets: &Vec<ReadRequest>| targets.iter().filter(|t| t.secret == secret).cloned().collect();
            let component = Component {
                inputs,
                issuer,
                check: &grant.check,
                secret: &secret,
                targets: grant.targets.as_ref().map(of).map_err(Clone::clone),
            };
            let begun = grant.begun.get(&secret);
            let fate = match request_of(requests, &secret) {
                Some(at) => component.extend(&mut requests[at], begun),
                None => component.add(requests, begun),
            };
            if let Some((begun, fate)) = fate {
                granted.push(PreGranted { check: grant.check.clone(), secret, begun, fate });
            }
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

/// A component of a check, and what the target release asks for it.
struct Component<'a> {
    inputs: &'a Inputs,
    issuer: &'a DesiredIssuer,
    check: &'a str,
    secret: &'a SecretKey,
    targets: Result<Vec<ReadRequest>, String>,
}

/// What the request in force asked for when the granting began, and what is granted.
type Begun = Option<(String, Fate)>;

impl Component<'_> {
    /// Grants what the target asks for beyond a request in force.
    fn extend(&self, request: &mut DesiredRequest, begun: Option<&String>) -> Begun {
        let RequestVerdict::Wanted(wanted) = &mut request.verdict else { return None };
        let now = in_force(&wanted.in_force);
        let begun = begun.unwrap_or(&now).clone();
        let fate = if begun == now { self.unite_with(wanted) } else { Fate::Over };
        Some((begun, fate))
    }

    fn unite_with(&self, wanted: &mut Wanted) -> Fate {
        let targets = match &self.targets {
            Ok(targets) => targets,
            Err(why) => {
                wanted.kept = Some(format!("the release of the UpgradeCheck {} cannot be read: {why}", self.check));
                return Fate::Kept(why.clone());
            }
        };
        match together(&wanted.read, targets) {
            Ok(None) => Fate::Nothing,
            Err(why) => Fate::Refused(why),
            Ok(Some(both)) => match wanted_role(self.inputs, self.issuer, &both) {
                Ok(role) => {
                    wanted.role = role;
                    wanted.read = Arc::new(both);
                    Fate::Granted
                }
                Err(refused) => Fate::Refused(refused.to_string()),
            },
        }
    }

    /// A component that has no request in force yet gets a role, and no Secret.
    fn add(&self, requests: &mut Vec<DesiredRequest>, begun: Option<&String>) -> Begun {
        let fate = match (begun, &self.targets) {
            (Some(begun), _) if !begun.is_empty() => return Some((begun.clone(), Fate::Over)),
            _ if super::claimed_in_force(self.inputs, self.secret) => {
                Fate::Refused("the request in force is refused itself".into())
            }
            (_, Err(why)) => Fate::Kept(why.clone()),
            (_, Ok(targets)) => {
                let (first, rest) = targets.split_first()?;
                self.make_role(requests, first, rest).map_or_else(Fate::Refused, |()| Fate::Granted)
            }
        };
        Some((String::new(), fate))
    }

    fn make_role(
        &self,
        requests: &mut Vec<DesiredRequest>,
        first: &ReadRequest,
        rest: &[ReadRequest],
    ) -> Result<(), String> {
        let read = together(first, rest)?.unwrap_or_else(|| first.clone());
        let role = wanted_role(self.inputs, self.issuer, &read).map_err(|refused| refused.to_string())?;
        let same_name = |request: &&DesiredRequest| match &request.verdict {
            RequestVerdict::Wanted(wanted) => wanted.role.name.eq_ignore_ascii_case(&role.name),
            _ => false,
        };
        if let Some(other) = requests.iter().find(same_name) {
            return match &other.verdict {
                // Another check grants it already.
                RequestVerdict::Wanted(wanted) if wanted.secret.is_none() && *wanted.read == read => Ok(()),
                _ => Err(format!("the role name {} is also that of {}", role.name, other.id)),
            };
        }
        let (namespace, check) = self.check.split_once('/').unwrap_or_default();
        // No object has a name with a slash in it.
        let name = format!("{check}/{}.{}", self.secret.namespace, self.secret.name);
        let id = RequestId { namespace: namespace.into(), name };
        let read = Arc::new(read);
        let wanted = Wanted { role, secret: None, in_force: read.clone(), read, kept: None };
        requests.push(DesiredRequest { id, verdict: RequestVerdict::Wanted(Box::new(wanted)) });
        Ok(())
    }
}

/// What a request and others for the same Secret come to together; `None` when that is no more than the request.
fn together(request: &ReadRequest, others: &[ReadRequest]) -> Result<Option<ReadRequest>, String> {
    let mut all = None;
    for other in others {
        let sum = united(all.as_ref().unwrap_or(request), other)?;
        all = sum.or(all);
    }
    Ok(all)
}
