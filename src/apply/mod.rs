//! Executes a plan. Everything that is ever written, to AWS or to a target cluster, is written from here.

pub mod annotation;

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;

use crate::api::cluster_identity::ManagementPolicy;
use crate::aws::{self, Session};
use crate::desired::request::RequestId;
use crate::desired::secret::SecretKey;
use crate::kubernetes;
use crate::observed::{Fault, FaultClass};
use crate::plan::{Cause, Change, Mark, Plan, Settling, Step, Subject, Withheld};

/// What became of a plan. It can only be made by [`apply`].
#[derive(Debug, Clone)]
pub struct Applied {
    plan: Plan,
    results: Vec<StepResult>,
    /// What became of each mark of the plan.
    marks: Vec<StepResult>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepResult {
    /// The change was made.
    Done,
    /// The call failed.
    Failed(Fault),
    /// It was not tried: something that it rests on failed, or there was no time left.
    Skipped,
}

/// A plan that was carried out, or that may not be: what a status is made of.
#[derive(Debug, Clone)]
pub enum Evidence {
    /// It was carried out.
    Applied(Applied),
    /// It may not be.
    Withheld(Withheld),
}

impl Evidence {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        match self {
            Self::Applied(applied) => &applied.plan,
            Self::Withheld(withheld) => withheld.plan(),
        }
    }

    /// The failed steps.
    pub fn failures(&self) -> Vec<(&Step, &Fault)> {
        let Self::Applied(applied) = self else { return Vec::new() };
        let pairs = applied.plan.steps.iter().zip(&applied.results);
        pairs
            .filter_map(|(step, result)| match result {
                StepResult::Failed(fault) => Some((step, fault)),
                _ => None,
            })
            .collect()
    }

    /// What reads may not show yet: what the plan left so, and what was made or found to exist since.
    pub fn settling(&self, now: Timestamp) -> Settling {
        let mut settling = self.plan().settling.clone();
        let Self::Applied(Applied { plan, results, marks }) = self else { return settling };
        for (mark, result) in plan.marks.iter().zip(marks) {
            if *result == StepResult::Done {
                settling.marked(&mark.subject, now);
            }
        }
        for (step, result) in plan.steps.iter().zip(results) {
            match result {
                StepResult::Done => settling.made(step, now),
                StepResult::Failed(fault) if fault.class == FaultClass::Conflict && step.change.is_creation() => {
                    settling.found_existing(step, now);
                }
                // One of its attempts may have taken effect.
                StepResult::Failed(Fault {
                    class: FaultClass::Network | FaultClass::Server | FaultClass::Throttled,
                    ..
                }) if step.change.is_creation() => {
                    settling.may_have_made(now);
                }
                _ => {}
            }
        }
        settling
    }

    /// The marks that are still to be set, each with why it could not be set.
    pub fn unmarked(&self) -> Vec<(&Mark, Option<&Fault>)> {
        match self {
            Self::Withheld(withheld) => withheld.plan().marks.iter().map(|mark| (mark, None)).collect(),
            Self::Applied(applied) => {
                let pairs = applied.plan.marks.iter().zip(&applied.marks);
                pairs
                    .filter_map(|(mark, result)| match result {
                        StepResult::Done => None,
                        StepResult::Failed(fault) => Some((mark, Some(fault))),
                        StepResult::Skipped => Some((mark, None)),
                    })
                    .collect()
            }
        }
    }

    /// The steps whose changes were made.
    pub fn made(&self) -> Vec<&Step> {
        let Self::Applied(applied) = self else { return Vec::new() };
        let pairs = applied.plan.steps.iter().zip(&applied.results);
        pairs.filter(|(_, result)| **result == StepResult::Done).map(|(step, _)| step).collect()
    }
}

/// Where changes go.
pub struct Targets<'a> {
    /// AWS.
    pub aws: &'a Session,
    /// The target cluster; `None` for a plan without Secrets.
    pub cluster: Option<&'a Client>,
    /// When no further change is begun, so that what was made can still be told; `None` for never.
    pub until: Option<Instant>,
}

impl Targets<'_> {
    fn is_too_late(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// How many subjects are changed side by side; AWS calls are bounded by the account's budget besides.
const SIDE_BY_SIDE: usize = 16;

/// Carries out a plan, or withholds it when its ClusterIdentity only observes.
pub async fn carry_out(targets: &Targets<'_>, plan: Plan) -> Evidence {
    match plan.management {
        ManagementPolicy::Observe => Evidence::Withheld(plan.withhold()),
        ManagementPolicy::Enforce => Evidence::Applied(apply(targets, plan).await),
    }
}

/// Makes the changes: stage by stage in order, within a stage lane by lane side by side, within a lane in order. A
/// failure stops what rests on it and nothing else.
async fn apply(targets: &Targets<'_>, plan: Plan) -> Applied {
    let mut results = vec![StepResult::Skipped; plan.steps.len()];
    let mut broken = BTreeSet::new();
    for stage in stages(&plan) {
        let standing = &broken;
        // Boxed: the compiler cannot see through a stream of borrowing futures that they may be sent.
        let lanes: Vec<_> = stage.into_values().map(|lane| walk(targets, &plan, lane, standing).boxed()).collect();
        let walked: Vec<Walked> = stream::iter(lanes).buffer_unordered(SIDE_BY_SIDE).collect().await;
        for lane in walked {
            lane.results.into_iter().for_each(|(at, result)| results[at] = result);
            broken.extend(lane.broken);
        }
    }
    let marks = set_marks(targets, &plan).await;
    Applied { plan, results, marks }
}

/// Sets the marks of what was seen to be right. One that cannot be set holds up nothing but a later deletion.
async fn set_marks(targets: &Targets<'_>, plan: &Plan) -> Vec<StepResult> {
    let set: Vec<_> = plan.marks.iter().map(|mark| set_mark(targets, mark).boxed()).collect();
    stream::iter(set).buffered(SIDE_BY_SIDE).collect().await
}

async fn set_mark(targets: &Targets<'_>, mark: &Mark) -> StepResult {
    if targets.is_too_late() {
        return StepResult::Skipped;
    }
    execute(targets, &mark.change, "mark").await
}

/// What can be done independently of everything else in its stage: the issuer, a request, something left over.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Issuer,
    Request(RequestId),
    LeftoverRole(String),
    LeftoverSecret(SecretKey),
}

fn lane(subject: &Subject) -> Lane {
    match subject {
        Subject::Bucket
        | Subject::Discovery
        | Subject::Keys
        | Subject::Provider
        | Subject::Requests
        | Subject::Leftovers => Lane::Issuer,
        Subject::Role(id) | Subject::Secret(id) => Lane::Request(id.clone()),
        Subject::LeftoverRole(name) => Lane::LeftoverRole(name.clone()),
        Subject::LeftoverSecret(key) => Lane::LeftoverSecret(key.clone()),
    }
}

/// The steps by stage and lane, as places in the plan. The issuer's steps are a stage of their own, wherever the plan has
/// put them: before what it makes, after what it deletes.
fn stages(plan: &Plan) -> Vec<BTreeMap<Lane, Vec<usize>>> {
    let mut stages: Vec<BTreeMap<Lane, Vec<usize>>> = Vec::new();
    let mut of_issuer = None;
    for (at, step) in plan.steps.iter().enumerate() {
        let lane = lane(&step.subject);
        let is_issuer = lane == Lane::Issuer;
        if of_issuer != Some(is_issuer) {
            stages.push(BTreeMap::new());
            of_issuer = Some(is_issuer);
        }
        if let Some(stage) = stages.last_mut() {
            stage.entry(lane).or_default().push(at);
        }
    }
    stages
}

/// What became of a lane's steps, and the subjects that others must not build upon.
#[derive(Default)]
struct Walked {
    results: Vec<(usize, StepResult)>,
    broken: BTreeSet<Subject>,
}

async fn walk(targets: &Targets<'_>, plan: &Plan, lane: Vec<usize>, before: &BTreeSet<Subject>) -> Walked {
    let mut walked = Walked::default();
    for at in lane {
        let step = &plan.steps[at];
        let rests_on_broken = rests_on_broken(step, before) || rests_on_broken(step, &walked.broken);
        let skip = rests_on_broken || targets.is_too_late();
        let result = if skip { StepResult::Skipped } else { make(targets, step).await };
        // What was not deleted keeps what comes after it, too.
        let needed = step.change.is_creation() || step.change.is_deletion() || marks_anew(step);
        if result != StepResult::Done && needed {
            walked.broken.insert(step.subject.clone());
        }
        walked.results.push((at, result));
    }
    walked
}

/// Whether a step marks a bucket that was never seen to be ours. Until that is done nothing is built upon it: a bucket that
/// holds documents and no mark is someone else's to the next pass.
fn marks_anew(step: &Step) -> bool {
    matches!(step.change, Change::TagBucket { .. }) && step.cause != Cause::Drift
}

async fn make(targets: &Targets<'_>, step: &Step) -> StepResult {
    execute(targets, &step.change, step.cause.as_str()).await
}

async fn execute(targets: &Targets<'_>, change: &Change, cause: &str) -> StepResult {
    let result = match (change, targets.cluster) {
        (Change::WriteSecret { .. } | Change::DeleteSecret(_), None) => return StepResult::Skipped,
        (Change::WriteSecret { secret, force, removes_access_keys, .. }, Some(client)) => {
            kubernetes::secrets::write(client, secret, *force, *removes_access_keys).await
        }
        (Change::DeleteSecret(secret), Some(client)) => kubernetes::secrets::delete(client, secret).await,
        (change, _) => aws::apply::apply(targets.aws, change).await,
    };
    let (change, resource) = (change.name(), change.target());
    match result {
        Ok(()) => {
            tracing::info!(change, resource, cause, "made");
            StepResult::Done
        }
        Err(fault) => {
            tracing::warn!(change, resource, class = fault.class.as_str(), error = %fault, "failed");
            StepResult::Failed(fault)
        }
    }
}

/// Whether a step makes no sense because something that it rests on is not as it should be by now.
fn rests_on_broken(step: &Step, broken: &BTreeSet<Subject>) -> bool {
    if broken.is_empty() {
        return false;
    }
    match &step.subject {
        // An issuer is not taken away under what is still there.
        _ if step.change.is_deletion() && lane(&step.subject) == Lane::Issuer => true,
        // A provider for a bucket that someone else may yet take is a hole.
        Subject::Bucket | Subject::Discovery | Subject::Keys | Subject::Provider => {
            broken.contains(&Subject::Bucket) || broken.contains(&step.subject)
        }
        Subject::Secret(id) if matches!(step.change, Change::WriteSecret { points_anew: true, .. }) => {
            broken.contains(&Subject::Role(id.clone())) || broken.contains(&step.subject)
        }
        Subject::Role(id) => broken.contains(&Subject::Role(id.clone())),
        subject => broken.contains(subject),
    }
}
