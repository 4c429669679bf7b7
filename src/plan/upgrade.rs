//! The roll call before an upgrade: what each component of the target release needs, and whether its live role grants it.

pub mod annotation;
pub mod owned;
pub mod release;
pub mod simulation;
mod surplus;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::desired::request::{ReadRequest, RequestId};
use crate::desired::secret::SecretKey;
use crate::observed::ReadPolicy;
use crate::policy::Document;
use crate::policy::coverage::{Finding, Granted, Required, Verdict, judge};
use crate::policy::document::Test;
use crate::policy::trust::{Token, admits};
pub use surplus::surplus;

/// A role as it is, with all that it is granted.
#[derive(Debug, Clone)]
pub struct LiveRole {
    /// Its name.
    pub name: String,
    /// Its trust policy.
    pub trust: ReadPolicy,
    /// Its policies.
    pub granted: Granted,
}

/// A request, and where it stands: a release may have several of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The request.
    pub request: RequestId,
    /// The file; empty for an object in the cluster.
    pub file: String,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.file.as_str() {
            "" => write!(f, "{}", self.request),
            file => write!(f, "{} in {file}", self.request),
        }
    }
}

/// A component of the target release.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its Secret: what identifies the component from release to release.
    pub secret: SecretKey,
    /// The request that asks for it.
    pub origin: Origin,
    /// The name of its role.
    pub role: String,
    /// What it asks for, or why that cannot be told.
    pub asks: Result<ReadRequest, String>,
}

/// Everything that the roll call is made of.
#[derive(Debug, Clone)]
pub struct Call {
    /// The components of the target release.
    pub targets: Vec<Target>,
    /// The live roles, by name in lower case: IAM keeps names unique without regard to case.
    pub live: BTreeMap<String, Result<LiveRole, String>>,
    /// The components in force now: those whose role no target asks for are retired.
    pub in_force: Vec<InForce>,
    /// ARN of the IAM OIDC provider.
    pub provider: String,
    /// The issuer without its scheme.
    pub issuer: String,
    /// The audience of the components' tokens.
    pub audience: String,
}

/// A component in force now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Its Secret, where that is known: a role's name alone does not tell.
    pub secret: Option<SecretKey>,
    /// The name of its role.
    pub role: String,
}

/// The verdict on a component, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentVerdict {
    /// The next release does not ask for it any more.
    Retired,
    /// The live role grants all that it needs.
    Covered,
    /// It grants it when a condition holds.
    Conditional,
    /// It cannot be told.
    Indeterminate,
    /// The live role does not admit all of its service accounts.
    TrustMissing,
    /// There is no role yet.
    NewRole,
    /// The live role does not grant all that it needs.
    Missing,
}

impl ComponentVerdict {
    /// As it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retired => "Retired",
            Self::Covered => "Covered",
            Self::Conditional => "Conditional",
            Self::Indeterminate => "Indeterminate",
            Self::TrustMissing => "TrustMissing",
            Self::NewRole => "NewRole",
            Self::Missing => "Missing",
        }
    }

    /// What it means for the whole.
    pub const fn readiness(self) -> Readiness {
        match self {
            Self::Retired | Self::Covered => Readiness::Ready,
            Self::Conditional | Self::Indeterminate => Readiness::Unknown,
            Self::TrustMissing | Self::NewRole | Self::Missing => Readiness::NotReady,
        }
    }
}

/// The verdict on the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Readiness {
    /// Every component of the target release finds what it needs.
    Ready,
    /// It cannot be told: no verdict by ignorance.
    Unknown,
    /// Something is missing.
    NotReady,
}

impl Readiness {
    /// As it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Unknown => "Unknown",
            Self::NotReady => "NotReady",
        }
    }
}

/// A part of what a component needs, or has too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How grave it is; `Covered` for a surplus.
    pub verdict: Verdict,
    /// The actions, as the document spells them.
    pub actions: Vec<String>,
    /// The resource.
    pub resource: String,
    /// The condition, as a policy's `Condition` element; `{}` for none.
    pub condition: Value,
    /// Why.
    pub because: String,
    /// A concrete action and resource, where the part is not missing as a whole.
    pub example: Option<(String, String)>,
}

/// A service account that the live trust policy does not surely admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unadmitted {
    /// Its name; its namespace is the Secret's.
    pub service_account: String,
    /// How grave it is: `Missing`, or `Conditional` or `Indeterminate` where it may be admitted.
    pub verdict: Verdict,
    /// Why.
    pub because: String,
}

/// A component and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its Secret; of a retired component it may not be known.
    pub secret: Option<SecretKey>,
    /// The requests of the target release, each different from the others, and mostly one. A retired component has none.
    pub origins: Vec<Origin>,
    /// The name of its role.
    pub role: String,
    /// The verdict.
    pub verdict: ComponentVerdict,
    /// What is not surely granted.
    pub missing: Vec<Part>,
    /// Who is not admitted.
    pub trust: Vec<Unadmitted>,
    /// What is granted and not asked for.
    pub surplus: Vec<Part>,
    /// What AWS itself decided, when it was asked.
    pub simulated: Vec<simulation::Answer>,
    /// Why, in one sentence.
    pub because: String,
}

impl Component {
    /// The request of the target release, the first one where there are several.
    pub fn request(&self) -> Option<&RequestId> {
        self.origins.first().map(|origin| &origin.request)
    }

    /// The requests by name and place, where there are several.
    pub fn several(&self) -> Option<String> {
        let origins: Vec<String> = self.origins.iter().map(Origin::to_string).collect();
        (origins.len() > 1).then(|| format!("{} requests that differ ask for it, {}", origins.len(), few(&origins)))
    }

    /// A reason, and with it the requests where there are several: any of them may be what it is about.
    fn because(&self, why: String) -> String {
        match self.several() {
            Some(several) => format!("{why}; {several}"),
            None => why,
        }
    }

    /// The verdict on a component with a live role: what is missing of its policies and of its trust policy.
    fn verdict_of_parts(&self) -> ComponentVerdict {
        let of_trust = match self.trust.iter().map(|unadmitted| unadmitted.verdict).max().unwrap_or(Verdict::Covered) {
            Verdict::Covered => ComponentVerdict::Covered,
            Verdict::Conditional => ComponentVerdict::Conditional,
            Verdict::Indeterminate => ComponentVerdict::Indeterminate,
            Verdict::Missing => ComponentVerdict::TrustMissing,
        };
        let of_policies = match self.missing.iter().map(|part| part.verdict).max().unwrap_or(Verdict::Covered) {
            Verdict::Covered => ComponentVerdict::Covered,
            Verdict::Conditional => ComponentVerdict::Conditional,
            Verdict::Indeterminate => ComponentVerdict::Indeterminate,
            Verdict::Missing => ComponentVerdict::Missing,
        };
        of_policies.max(of_trust)
    }
}

/// The result, components in the order of their Secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollCall {
    /// The components.
    pub components: Vec<Component>,
}

impl RollCall {
    /// The verdict on the whole.
    pub fn readiness(&self) -> Readiness {
        self.components.iter().map(|component| component.verdict.readiness()).max().unwrap_or(Readiness::Unknown)
    }

    /// How many components have a verdict.
    pub fn count(&self, verdict: ComponentVerdict) -> usize {
        self.components.iter().filter(|component| component.verdict == verdict).count()
    }

    /// How many components have service accounts that are not admitted, whatever their verdict.
    pub fn untrusting(&self) -> usize {
        let refuses = |component: &&Component| component.trust.iter().any(|one| one.verdict == Verdict::Missing);
        self.components.iter().filter(refuses).count()
    }
}

/// The OIDC provider that trust policies agree on, when none of them names the expected one.
pub fn federated_provider<'a>(trusts: impl Iterator<Item = &'a Document>, expected: &str) -> Option<String> {
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for trust in trusts {
        let principals = trust.statements.iter().filter_map(|statement| statement.principals.as_ref());
        let federated = principals.filter_map(|principals| principals.by_kind.get("Federated")).flatten();
        named.extend(federated.map(String::as_str).filter(|arn| arn.contains(":oidc-provider/")));
    }
    match (named.contains(expected), named.into_iter().collect::<Vec<_>>().as_slice()) {
        (false, [one]) => Some((*one).to_owned()),
        _ => None,
    }
}

/// Why a component is covered.
const GRANTS_ALL: &str = "the live role grants all that it needs";

/// Calls the roll. Pure, total, and in the same order for the same arguments.
pub fn roll_call(call: &Call) -> RollCall {
    let mut by_secret: BTreeMap<&SecretKey, Vec<&Target>> = BTreeMap::new();
    for target in &call.targets {
        by_secret.entry(&target.secret).or_default().push(target);
    }
    let mut components: Vec<Component> = by_secret.values().map(|targets| component(call, targets)).collect();
    let asked_for: BTreeSet<String> = call.targets.iter().map(|target| target.role.to_ascii_lowercase()).collect();
    let retired = call.in_force.iter().filter(|old| !asked_for.contains(&old.role.to_ascii_lowercase()));
    components.extend(retired.map(|old| Component {
        secret: old.secret.clone(),
        origins: Vec::new(),
        role: old.role.clone(),
        verdict: ComponentVerdict::Retired,
        missing: Vec::new(),
        trust: Vec::new(),
        surplus: Vec::new(),
        simulated: Vec::new(),
        because: "the target release does not ask for it".into(),
    }));
    components.sort_by(|a, b| (&a.secret, &a.role).cmp(&(&b.secret, &b.role)));
    RollCall { components }
}

/// Several requests for one Secret share its role, so it must grant what all of them need.
fn component(call: &Call, targets: &[&Target]) -> Component {
    let first = targets[0];
    let mut component = Component {
        secret: Some(first.secret.clone()),
        origins: targets.iter().map(|target| target.origin.clone()).collect(),
        role: first.role.clone(),
        verdict: ComponentVerdict::Covered,
        missing: Vec::new(),
        trust: Vec::new(),
        surplus: Vec::new(),
        simulated: Vec::new(),
        because: GRANTS_ALL.into(),
    };
    let mut asks = Vec::new();
    for target in targets {
        match &target.asks {
            Ok(read) => asks.push(read),
            Err(why) => {
                let which = if targets.len() > 1 { format!("{}: ", target.origin) } else { String::new() };
                let why = format!("the request of the target release cannot be read: {which}{why}");
                component.verdict = ComponentVerdict::Indeterminate;
                component.because = component.because(why);
                return component;
            }
        }
    }
    match call.live.get(&first.role.to_ascii_lowercase()) {
        None => {
            component.verdict = ComponentVerdict::NewRole;
            component.because = component.because(format!("there is no role {} yet", first.role));
        }
        Some(Err(why)) => {
            component.verdict = ComponentVerdict::Indeterminate;
            component.because = component.because(format!("the role could not be read ({why})"));
        }
        Some(Ok(live)) => judge_live(call, &mut component, live, &asks),
    }
    component
}

fn judge_live(call: &Call, component: &mut Component, live: &LiveRole, asks: &[&ReadRequest]) {
    let required: Vec<Required> = asks.iter().flat_map(|read| read.required()).collect();
    component.missing = parts(judge(&required, &live.granted), |finding| finding.verdict != Verdict::Covered);
    component.trust = unadmitted(call, live, asks);
    component.surplus = surplus(&live.granted, required);
    component.verdict = component.verdict_of_parts();
    component.because = because_of(component);
}

/// How many actions a sentence names; all of them are in the component's parts.
const MOST_NAMED: usize = 5;

fn few(actions: &[String]) -> String {
    let named = actions.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match actions.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The gravest thing first, in one sentence.
fn because_of(component: &Component) -> String {
    let gravest = component.missing.iter().map(|part| part.verdict).max();
    let part = component.missing.iter().find(|part| Some(part.verdict) == gravest);
    let unadmitted = component.trust.iter().rev().max_by_key(|unadmitted| unadmitted.verdict);
    component.because(match (part, unadmitted) {
        (Some(part), unadmitted) if unadmitted.is_none_or(|one| part.verdict >= one.verdict) => {
            let on = if part.resource == "*" { String::new() } else { format!(" on {}", part.resource) };
            format!("{}{on}: {}", few(&part.actions), part.because)
        }
        (_, Some(unadmitted)) => format!("service account {}: {}", unadmitted.service_account, unadmitted.because),
        _ => GRANTS_ALL.into(),
    })
}

fn unadmitted(call: &Call, live: &LiveRole, asks: &[&ReadRequest]) -> Vec<Unadmitted> {
    let of = |read: &'_ ReadRequest| {
        read.service_accounts.iter().map(|a| (read.secret.namespace.clone(), a.clone())).collect::<Vec<_>>()
    };
    let accounts: BTreeSet<(String, String)> = asks.iter().flat_map(|read| of(read)).collect();
    let verdict = |namespace: &str, account: &str| {
        let subject = format!("system:serviceaccount:{namespace}:{account}");
        let token =
            Token { provider: &call.provider, issuer: &call.issuer, audience: &call.audience, subject: &subject };
        match &live.trust {
            Ok(trust) => admits(trust, &token).err().map(|why| (why.verdict(), why.to_string())),
            Err(problem) => Some((Verdict::Indeterminate, format!("the trust policy cannot be read: {problem}"))),
        }
    };
    let refused = accounts.into_iter().filter_map(|(namespace, account)| {
        let (verdict, because) = verdict(&namespace, &account)?;
        Some(Unadmitted { service_account: account, verdict, because })
    });
    refused.collect()
}

/// The findings of a kind, those of one resource, condition and reason together.
fn parts(findings: Vec<Finding>, wanted: impl Fn(&Finding) -> bool) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for finding in findings.into_iter().filter(wanted) {
        let (condition, because) = (condition(&finding.conditions), finding.reason.to_string());
        // An example belongs to its action alone.
        let same = parts.iter_mut().find(|part| {
            part.example.is_none()
                && finding.example.is_none()
                && part.verdict == finding.verdict
                && part.resource == finding.resource
                && part.condition == condition
                && part.because == because
        });
        match same {
            // Two statements, or two requests of one Secret, may ask for the same.
            Some(part) if part.actions.iter().any(|known| known.eq_ignore_ascii_case(&finding.action)) => {}
            Some(part) => part.actions.push(finding.action),
            None => parts.push(Part {
                verdict: finding.verdict,
                actions: vec![finding.action],
                resource: finding.resource,
                condition,
                because,
                example: finding.example,
            }),
        }
    }
    parts
}

/// A condition as a policy spells it.
fn condition(tests: &[Test]) -> Value {
    let mut condition = serde_json::Map::new();
    for test in tests {
        let block = condition.entry(test.operator.clone()).or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Value::Object(keys) = block {
            let value = match test.values.as_slice() {
                [one] => Value::from(one.as_str()),
                many => Value::from(many),
            };
            keys.insert(test.key.clone(), value);
        }
    }
    Value::Object(condition)
}
