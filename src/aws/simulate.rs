//! Asks AWS what a role may do (`iam:SimulatePrincipalPolicy`): it knows the policies that we may not read, the permissions
//! boundary and the organisation's policies (IAM User Guide, "Testing IAM policies").

use std::collections::BTreeMap;

use aws_sdk_iam::types::{EvaluationResult, PolicyEvaluationDecisionType};

use super::Session;
use crate::observed::Fault;
use crate::plan::upgrade::simulation::{Answer, Decision, Question};

/// Most actions of one call: the request stays far below IAM's limit on its size, and the answer is one page or few.
const BATCH: usize = 100;

/// Asks about a role, all actions on one resource in one call. An answer that depends on the context of a request, which
/// nobody knows beforehand, is none.
pub async fn simulate(session: &Session, role_arn: &str, questions: &[Question]) -> Result<Vec<Answer>, Fault> {
    let mut by_resource: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for question in questions {
        by_resource.entry(&question.resource).or_default().push(&question.action);
    }
    let mut answers = Vec::new();
    for (resource, actions) in by_resource {
        for batch in actions.chunks(BATCH) {
            answers.extend(ask(session, role_arn, resource, batch).await?);
        }
    }
    Ok(answers)
}

async fn ask(session: &Session, role_arn: &str, resource: &str, actions: &[&str]) -> Result<Vec<Answer>, Fault> {
    let (account, mut answers, mut marker) = (&session.account, Vec::new(), None);
    loop {
        let call = session
            .clients
            .iam
            .simulate_principal_policy()
            .policy_source_arn(role_arn)
            .set_action_names(Some(actions.iter().map(|action| (*action).to_owned()).collect()))
            .resource_arns(resource)
            .set_marker(marker);
        let page = account.read("iam:SimulatePrincipalPolicy", role_arn, || call.clone().send()).await?;
        answers.extend(
            page.evaluation_results.unwrap_or_default().iter().filter_map(|result| answer(resource, actions, result)),
        );
        match page.marker.filter(|_| page.is_truncated) {
            Some(next) => marker = Some(next),
            None => return Ok(answers),
        }
    }
}

fn answer(resource: &str, actions: &[&str], result: &EvaluationResult) -> Option<Answer> {
    if !result.missing_context_values().is_empty() {
        return None;
    }
    let decision = match &result.eval_decision {
        PolicyEvaluationDecisionType::Allowed => Decision::Allowed,
        PolicyEvaluationDecisionType::ExplicitDeny => Decision::ExplicitDeny,
        PolicyEvaluationDecisionType::ImplicitDeny => Decision::ImplicitDeny,
        _ => return None,
    };
    let action = actions.iter().find(|action| action.eq_ignore_ascii_case(&result.eval_action_name))?;
    Some((Question { resource: resource.to_owned(), action: (*action).to_owned() }, decision))
}
