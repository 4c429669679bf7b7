//! What a pass found out about each request, once, for the statuses of both kinds.

use std::collections::{BTreeMap, HashMap};

use crate::apply::Evidence;
use crate::desired::request::{RequestId, RequestRefused};
use crate::desired::{Desired, DesiredRequest, Ignored, RequestVerdict, Wanted};
use crate::observed::{Fault, FaultClass};
use crate::plan::{Difference, Effectiveness, Obstacle, Step, Subject, Verification, drift_among};

use super::outcome::{NOT_EFFECTIVE, Outcome, blocked_by, class_needs_person, obstacle_needs_person};

/// A request after a pass.
pub struct RequestState<'a> {
    /// Which.
    pub id: &'a RequestId,
    /// What it came to.
    pub standing: Standing<'a>,
}

impl RequestState<'_> {
    /// Whether an older ClusterIdentity has it, and writes its status.
    pub const fn belongs_to_another(&self) -> bool {
        matches!(self.standing, Standing::Refused(RequestRefused::BelongsToAnother { .. }))
    }
}

/// What a request came to.
pub enum Standing<'a> {
    /// Rightly nothing.
    Ignored(&'a Ignored),
    /// Nothing, until someone changes it.
    Refused(&'a RequestRefused),
    /// A role and a Secret, in this state.
    Wanted(Wants<'a>),
}

/// A request with a role and a Secret.
pub struct Wants<'a> {
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// What stands in the way.
    pub obstacles: Vec<&'a Obstacle>,
    /// The calls that failed.
    pub failures: Vec<&'a Fault>,
    /// The changes that are wanted or were just made.
    pub steps: Vec<&'a Step>,
    /// Whether the changes may not be made.
    pub withheld: bool,
    /// Whether the role was seen to be right.
    pub role_true: bool,
    /// Whether the Secret was seen to be right.
    pub secret_true: bool,
    /// What the live role lets the component do; none where the role was not seen to be right.
    pub effectiveness: Option<&'a Effectiveness>,
}

impl Wants<'_> {
    /// Whether both were seen to be right.
    pub const fn is_true(&self) -> bool {
        self.role_true && self.secret_true
    }

    /// Why the component may not do something that the request asks for, if that is certain.
    pub fn ineffective(&self) -> Option<&str> {
        match self.effectiveness {
            Some(Effectiveness::Ineffective { why, .. }) => Some(why),
            _ => None,
        }
    }

    /// Whether nothing can be said because AWS or the cluster could not be read, for a passing reason.
    pub fn is_unread(&self) -> bool {
        self.steps.is_empty() && self.obstacles.iter().any(|obstacle| is_unread(obstacle))
    }

    /// What someone else changed.
    pub fn drift(&self) -> impl Iterator<Item = (&Step, &Difference)> {
        drift_among(self.steps.iter().copied())
    }
}

/// Whether an obstacle is only that something could not be read, for a passing reason.
pub fn is_unread(obstacle: &Obstacle) -> bool {
    obstacle.unreadable().is_some_and(|fault| fault.class.is_passing())
}

/// What a pass came to for each request: looked up by request, or a thousand requests would each walk the whole plan.
#[derive(Default)]
struct Found<'a> {
    obstacles: Vec<&'a Obstacle>,
    failures: Vec<&'a Fault>,
    steps: Vec<&'a Step>,
}

fn found_by_request(evidence: &Evidence) -> HashMap<&RequestId, Found<'_>> {
    let plan = evidence.plan();
    let mut found: HashMap<&RequestId, Found<'_>> = HashMap::new();
    for (subject, obstacle) in &plan.obstacles {
        if let Some(id) = subject.request() {
            found.entry(id).or_default().obstacles.push(obstacle);
        }
    }
    for (step, fault) in evidence.failures() {
        if let Some(id) = step.subject.request() {
            found.entry(id).or_default().failures.push(fault);
        }
    }
    for step in &plan.steps {
        if let Some(id) = step.subject.request() {
            found.entry(id).or_default().steps.push(step);
        }
    }
    found
}

/// The state of every request, with what its live role lets its component do.
pub fn states<'a>(
    desired: &'a Desired,
    evidence: &'a Evidence,
    effectiveness: &'a BTreeMap<RequestId, Effectiveness>,
) -> Vec<RequestState<'a>> {
    let mut found = found_by_request(evidence);
    desired
        .requests
        .iter()
        .map(|request| {
            let found = found.remove(&request.id).unwrap_or_default();
            state(request, found, evidence, effectiveness.get(&request.id))
        })
        .collect()
}

fn state<'a>(
    request: &'a DesiredRequest,
    found: Found<'a>,
    evidence: &'a Evidence,
    effectiveness: Option<&'a Effectiveness>,
) -> RequestState<'a> {
    let standing = match &request.verdict {
        RequestVerdict::Ignored(ignored) => Standing::Ignored(ignored),
        RequestVerdict::Refused(refused) => Standing::Refused(refused),
        RequestVerdict::Wanted(wanted) => {
            Standing::Wanted(Wants { effectiveness, ..wants(&request.id, wanted, found, evidence) })
        }
    };
    RequestState { id: &request.id, standing }
}

fn wants<'a>(id: &'a RequestId, wanted: &'a Wanted, found: Found<'a>, evidence: &'a Evidence) -> Wants<'a> {
    let plan = evidence.plan();
    Wants {
        wanted,
        obstacles: found.obstacles,
        failures: found.failures,
        steps: found.steps,
        withheld: matches!(evidence, Evidence::Withheld(_)),
        role_true: plan.is_true(&Subject::Role(id.clone())),
        secret_true: plan.is_true(&Subject::Secret(id.clone())),
        effectiveness: None,
    }
}

/// How the pass ended, the gravest first.
pub fn outcome(evidence: &Evidence, states: &[RequestState<'_>]) -> Outcome {
    let plan = evidence.plan();
    let failed = evidence.failures().into_iter().map(|(_, fault)| fault);
    let classes: Vec<FaultClass> = failed.chain(plan.unreadable()).map(|fault| fault.class).collect();
    let gravest = classes.iter().copied().find(|class| class_needs_person(*class)).or(classes.first().copied());
    if let Some(class) = gravest {
        return Outcome::Failed(class);
    }
    let writes = evidence.made().len();
    if writes > 0 {
        return Outcome::Changed { writes };
    }
    let refused = states.iter().any(|state| matches!(state.standing, Standing::Refused(_)));
    if refused || plan.obstacles.iter().any(|(_, obstacle)| obstacle_needs_person(obstacle)) {
        return Outcome::Blocked(blocked_by(plan.obstacles.iter().map(|(_, obstacle)| obstacle)));
    }
    if states.iter().any(|state| matches!(&state.standing, Standing::Wanted(wants) if wants.ineffective().is_some())) {
        return Outcome::Blocked(NOT_EFFECTIVE);
    }
    if !plan.steps.is_empty() {
        return match evidence {
            Evidence::Withheld(_) => Outcome::Pending { changes: plan.steps.len() },
            // Nothing failed and nothing was made: there was no time left to begin.
            Evidence::Applied(_) => Outcome::TimedOut,
        };
    }
    if plan.obstacles.iter().any(|(_, obstacle)| matches!(obstacle, Obstacle::Settling(_))) {
        return Outcome::Settling;
    }
    if !plan.obstacles.is_empty() {
        return Outcome::Waiting;
    }
    match plan.verification {
        Verification::Wrong(_) => Outcome::IssuerWrong,
        _ => Outcome::Verified,
    }
}
