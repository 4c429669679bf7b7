//! Executes a plan. Everything that is ever written, to AWS or to a target cluster, is written from here.

use std::collections::BTreeSet;

use kube::Client;

use crate::api::cluster_identity::ManagementPolicy;
use crate::aws::{self, Clients};
use crate::kubernetes;
use crate::observed::Fault;
use crate::plan::{Change, Plan, Step, Subject, Withheld};

/// What became of a plan. It can only be made by [`apply`].
#[derive(Debug, Clone)]
pub struct Applied {
    plan: Plan,
    results: Vec<StepResult>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepResult {
    /// The change was made.
    Done,
    /// The call failed.
    Failed(Fault),
    /// Something that it rests on failed, so it was not tried.
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
    pub aws: &'a Clients,
    /// The account that everything must belong to.
    pub account: &'a str,
    /// The target cluster; `None` for a plan without Secrets.
    pub cluster: Option<&'a Client>,
}

/// Carries out a plan, or withholds it when its ClusterIdentity only observes.
pub async fn carry_out(targets: &Targets<'_>, plan: Plan) -> Evidence {
    match plan.management {
        ManagementPolicy::Observe => Evidence::Withheld(plan.withhold()),
        ManagementPolicy::Enforce => Evidence::Applied(apply(targets, plan).await),
    }
}

/// Makes the changes in order. A failure stops what rests on it and nothing else.
async fn apply(targets: &Targets<'_>, plan: Plan) -> Applied {
    let mut broken: BTreeSet<Subject> = BTreeSet::new();
    let mut results = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        if rests_on(&step.subject).iter().any(|subject| broken.contains(subject)) {
            results.push(StepResult::Skipped);
            continue;
        }
        let result = match &step.change {
            Change::WriteSecret { secret, force } => {
                let Some(client) = targets.cluster else {
                    results.push(StepResult::Skipped);
                    continue;
                };
                kubernetes::secrets::write(client, secret, *force).await
            }
            change => aws::apply::apply(targets.aws, targets.account, change).await,
        };
        let (change, resource) = (step.change.name(), step.change.target());
        results.push(match result {
            Ok(()) => {
                tracing::info!(change, resource, cause = ?step.cause, "made");
                StepResult::Done
            }
            Err(fault) => {
                tracing::warn!(change, resource, class = fault.class.as_str(), error = %fault, "failed");
                if step.change.is_creation() {
                    broken.insert(step.subject.clone());
                }
                StepResult::Failed(fault)
            }
        });
    }
    Applied { plan, results }
}

/// The subjects that must not have failed to come into being for a step to make sense.
fn rests_on(subject: &Subject) -> Vec<Subject> {
    match subject {
        // A provider without its documents trusts nobody, but one for a bucket that someone else may yet take is a hole.
        Subject::Bucket | Subject::Discovery | Subject::Keys | Subject::Provider => {
            vec![Subject::Bucket, subject.clone()]
        }
        Subject::Role(id) | Subject::Secret(id) => vec![Subject::Role(id.clone()), subject.clone()],
    }
}
