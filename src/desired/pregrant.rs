//! What an UpgradeCheck grants ahead of an upgrade: to each role what its request in force asks for, and what the target
//! release asks for. Once the request in force changes, the component is upgraded and the granting is over.
//!
//! What is in force always comes first: where both together are refused, the request in force is served as if there were
//! no check. And nothing is taken away by ignorance: what was granted stays while nobody can tell what the target asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::issuer::DesiredIssuer;
use super::names::fingerprint;
use super::request::{ReadRequest, RequestId, RequestRefused, StatementEntry};
use super::role::DesiredRole;
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
    pub targets: Result<Targets, String>,
    /// What the status remembers, by component.
    pub begun: BTreeMap<SecretKey, Begun>,
    /// Whether the check was changed since: what is remembered then says what there is, not what has begun.
    pub stale: bool,
}

/// The components of a target release: what each asks for, or why that cannot be told.
pub type Targets = BTreeMap<SecretKey, Result<Vec<ReadRequest>, String>>;

/// What is remembered of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begun {
    /// What the request in force asked for when the granting began ([`in_force`]); empty for none.
    pub in_force: String,
    /// The policies of the role with what was granted ([`policies`]); empty when nothing was.
    pub policies: String,
}

/// What became of a component of an UpgradeCheck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreGranted {
    /// The UpgradeCheck, `namespace/name`.
    pub check: String,
    /// The component.
    pub secret: SecretKey,
    /// What is to be remembered of it.
    pub begun: Begun,
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
    /// Nothing beyond the request in force.
    Refused(NotGranted),
    /// What is there stays, because nobody can tell just now what the target asks for.
    Kept(String),
}

/// Why nothing is granted beyond a request in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotGranted {
    /// Both together are refused.
    #[error(transparent)]
    Refused(#[from] RequestRefused),
    /// What one of them denies, the other may need.
    #[error("one of the two has Deny statements, so both cannot be granted at once")]
    Deny,
    /// There is a request in force that is not served.
    #[error("the request in force is not served itself")]
    NotServed,
    /// Another request has the role's name.
    #[error("the role name {role} is also that of {other}")]
    NameTaken {
        /// The role name.
        role: String,
        /// The other request.
        other: RequestId,
    },
    /// AWS refused the role with both.
    #[error("{0}")]
    ByAws(String),
    /// The ClusterIdentity writes nothing.
    #[error("managementPolicy is Observe")]
    Observed,
}

/// Why the policies of a role that is there are not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// They are what was granted ahead, and nobody can tell just now whether that is still wanted.
    Granted {
        /// What they are ([`policies`]).
        policies: String,
        /// Why that cannot be told.
        why: String,
    },
    /// No check has made the role, so it may be that of a request which is not served.
    Existing,
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

/// Says what the policies of a role are: changes when their meaning does.
pub fn policies(role: &DesiredRole) -> String {
    format!("{}-{}", role.permissions.fingerprint(), role.trust.fingerprint())
}

/// What a request in force and its target come to together; `None` when that is no more than the request.
fn united(request: &ReadRequest, target: &ReadRequest) -> Result<Option<ReadRequest>, NotGranted> {
    let new = || target.service_accounts.iter().filter(|account| !request.service_accounts.contains(account));
    if covers(request, target) && new().next().is_none() {
        return Ok(None);
    }
    let denies = |request: &ReadRequest| request.statements.iter().any(|entry| entry.effect == Effect::Deny);
    if denies(request) || denies(target) {
        return Err(NotGranted::Deny);
    }
    let mut united = request.clone();
    for entry in &target.statements {
        unite(&mut united.statements, entry);
    }
    united.service_accounts.extend(new().cloned());
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
        for secret in grant.components() {
            let component = Component { inputs, issuer, grant, secret: &secret };
            let fate = match request_of(requests, &secret) {
                Some(at) => component.extend(&mut requests[at]),
                None => component.add(requests),
            };
            if let Some((begun, fate)) = fate {
                granted.push(PreGranted { check: grant.check.clone(), secret, begun, fate });
            }
        }
    }
    remember_what_came_of_it(&mut granted, requests);
    granted
}

/// Several checks may grant to one role: what each is to remember of its policies is what all of them together have made.
fn remember_what_came_of_it(granted: &mut [PreGranted], requests: &[DesiredRequest]) {
    for one in granted.iter_mut().filter(|one| one.fate == Fate::Granted) {
        let of_component = requests.iter().find_map(|request| match &request.verdict {
            RequestVerdict::Wanted(wanted) if wanted.read.secret == one.secret => Some(&wanted.role),
            _ => None,
        });
        if let Some(role) = of_component {
            one.begun.policies = policies(role);
        }
    }
}

impl PreGrant {
    /// The components of the release, and those that were granted something.
    fn components(&self) -> BTreeSet<SecretKey> {
        let remembered = self.begun.keys();
        let targets = self.targets.iter().flat_map(BTreeMap::keys);
        remembered.chain(targets).cloned().collect()
    }

    /// The components that have, as far as is known, no request in force.
    pub(super) fn new_components(&self) -> impl Iterator<Item = SecretKey> {
        let known = |component: &SecretKey| self.begun.get(component).is_some_and(|begun| !begun.in_force.is_empty());
        self.components().into_iter().filter(move |component| !known(component))
    }

    /// What a component asks for; nothing when the release has none of that name.
    fn asks(&self, component: &SecretKey) -> Result<&[ReadRequest], &str> {
        match self.targets.as_ref().map(|targets| targets.get(component)) {
            Err(why) => Err(why),
            Ok(None) => Ok(&[]),
            Ok(Some(asks)) => asks.as_ref().map(Vec::as_slice).map_err(String::as_str),
        }
    }

    /// What has begun for a component, unless the check was changed since.
    fn begun(&self, component: &SecretKey) -> Option<&Begun> {
        self.begun.get(component).filter(|_| !self.stale || self.asks(component).is_err())
    }
}

fn request_of(requests: &[DesiredRequest], component: &SecretKey) -> Option<usize> {
    let is = |request: &DesiredRequest| match &request.verdict {
        RequestVerdict::Wanted(wanted) => wanted.read.secret == *component && wanted.secret.is_some(),
        _ => false,
    };
    requests.iter().position(is)
}

/// A component of a check.
struct Component<'a> {
    inputs: &'a Inputs,
    issuer: &'a DesiredIssuer,
    grant: &'a PreGrant,
    secret: &'a SecretKey,
}

impl Component<'_> {
    fn why(&self, why: &str) -> String {
        format!("the release of the UpgradeCheck {} cannot be read: {why}", self.grant.check)
    }

    /// Grants what the target asks for beyond a request in force.
    fn extend(&self, request: &mut DesiredRequest) -> Option<(Begun, Fate)> {
        let RequestVerdict::Wanted(wanted) = &mut request.verdict else { return None };
        let now = in_force(&wanted.in_force);
        let before = self.grant.begun(self.secret).cloned();
        if let Some(before) = before.clone().filter(|before| before.in_force != now) {
            return Some((Begun { policies: String::new(), ..before }, Fate::Over));
        }
        let begun = |policies| Begun { in_force: now.clone(), policies };
        let asks = match self.grant.asks(self.secret) {
            Ok(asks) => asks,
            Err(why) => {
                // What is not remembered was not granted.
                let before = before?;
                if !before.policies.is_empty() {
                    wanted.hold = Some(Hold::Granted { policies: before.policies.clone(), why: self.why(why) });
                }
                return Some((before, Fate::Kept(why.to_owned())));
            }
        };
        let both = match together(&wanted.read, asks) {
            Ok(None) => return Some((begun(String::new()), Fate::Nothing)),
            Ok(Some(both)) => both,
            Err(why) => return Some((begun(String::new()), Fate::Refused(why))),
        };
        Some(match self.role(&both) {
            Ok(role) => {
                let policies = policies(&role);
                wanted.role = role;
                wanted.read = Arc::new(both);
                (begun(policies), Fate::Granted)
            }
            Err(why) => (begun(String::new()), Fate::Refused(why)),
        })
    }

    /// The role with both, unless it is refused, by us or by AWS a moment ago.
    fn role(&self, both: &ReadRequest) -> Result<DesiredRole, NotGranted> {
        let role = wanted_role(self.inputs, self.issuer, both)?;
        match self.inputs.refused_by_aws.get(&role.fingerprint()) {
            Some(why) => Err(NotGranted::ByAws(why.clone())),
            None => Ok(role),
        }
    }

    /// A component that has no request in force yet gets a role, and no Secret.
    fn add(&self, requests: &mut Vec<DesiredRequest>) -> Option<(Begun, Fate)> {
        let before = self.grant.begun(self.secret).cloned();
        if let Some(before) = before.clone().filter(|before| !before.in_force.is_empty()) {
            return Some((before, Fate::Over));
        }
        let asks = match self.grant.asks(self.secret) {
            Ok(asks) => asks,
            Err(why) => return Some((before?, Fate::Kept(why.to_owned()))),
        };
        let (first, rest) = asks.split_first()?;
        // A request in force that nobody can read may be the one for this role.
        if super::claimed_in_force(self.inputs, self.secret) {
            return Some((Begun::default(), Fate::Refused(NotGranted::NotServed)));
        }
        Some(match self.make_role(requests, first, rest) {
            Ok(policies) => (Begun { in_force: String::new(), policies }, Fate::Granted),
            Err(why) => (Begun::default(), Fate::Refused(why)),
        })
    }

    fn make_role(
        &self,
        requests: &mut Vec<DesiredRequest>,
        first: &ReadRequest,
        rest: &[ReadRequest],
    ) -> Result<String, NotGranted> {
        let of_others = requests.iter().position(|request| match &request.verdict {
            RequestVerdict::Wanted(wanted) => wanted.secret.is_none() && wanted.read.secret == *self.secret,
            _ => false,
        });
        // What another check grants to it stays.
        let base = match of_others.map(|at| &requests[at].verdict) {
            Some(RequestVerdict::Wanted(wanted)) => {
                together(&wanted.read, std::slice::from_ref(first))?.unwrap_or_else(|| (*wanted.read).clone())
            }
            _ => first.clone(),
        };
        let read = together(&base, rest)?.unwrap_or(base);
        let role = self.role(&read)?;
        let policies = policies(&role);
        if let Some(at) = of_others {
            if let RequestVerdict::Wanted(wanted) = &mut requests[at].verdict {
                wanted.role = role;
                wanted.in_force = Arc::new(read.clone());
                wanted.read = Arc::new(read);
            }
            return Ok(policies);
        }
        let same_name = |request: &&DesiredRequest| match &request.verdict {
            RequestVerdict::Wanted(wanted) => wanted.role.name.eq_ignore_ascii_case(&role.name),
            _ => false,
        };
        if let Some(other) = requests.iter().find(same_name) {
            return Err(NotGranted::NameTaken { role: role.name, other: other.id.clone() });
        }
        let (namespace, check) = self.grant.check.split_once('/').unwrap_or_default();
        // No object has a name with a slash in it.
        let name = format!("{check}/{}.{}", self.secret.namespace, self.secret.name);
        let id = RequestId { namespace: namespace.into(), name };
        let (read, role_name) = (Arc::new(read), role.name.clone());
        let wanted = Wanted { role, secret: None, in_force: read.clone(), read, hold: self.hold(&role_name) };
        requests.push(DesiredRequest { id, verdict: RequestVerdict::Wanted(Box::new(wanted)), has: None });
        Ok(policies)
    }

    /// A role of this name that no check has made was made for something else; one that a check keeps, whose release
    /// cannot be read, must not lose what that one has granted.
    fn hold(&self, role: &str) -> Option<Hold> {
        let mut remembered = self.inputs.pre_grants.iter().filter_map(|grant| {
            let begun = grant.begun.get(self.secret).filter(|begun| !begun.policies.is_empty())?;
            Some((begun, grant.asks(self.secret).err()))
        });
        let first = remembered.next();
        let kept = first.iter().copied().chain(remembered).find_map(|(begun, unread)| Some((begun, unread?)));
        match (first, kept) {
            (None, _) if self.inputs.granted_ahead.contains(role) => None,
            (None, _) => Some(Hold::Existing),
            (Some(_), Some((begun, why))) => {
                Some(Hold::Granted { policies: begun.policies.clone(), why: self.why(why) })
            }
            (Some(_), None) => None,
        }
    }
}

/// What a request and others for the same Secret come to together; `None` when that is no more than the request.
fn together(request: &ReadRequest, others: &[ReadRequest]) -> Result<Option<ReadRequest>, NotGranted> {
    let mut all = None;
    for other in others {
        let sum = united(all.as_ref().unwrap_or(request), other)?;
        all = sum.or(all);
    }
    Ok(all)
}
