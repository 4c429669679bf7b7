//! A second opinion on what the policies at hand cannot decide: what to ask AWS (`iam:SimulatePrincipalPolicy`), and what
//! its answers come to.
//!
//! AWS knows the layers that we may not read, but answers for concrete actions only (IAM API reference: "does not support
//! using wildcards (*) in an action name"), and for a resource with a wildcard it would be asked about one resource of that
//! name: such parts stay undecided. `*` is asked, and a denial of it is one. But AWS answers as for a call that names no
//! resource, where a Deny on single resources does not show, so that what it allows on `*` is `Conditional` at best: nobody
//! has seen what the layers that we may not read deny.

use super::{Component, ComponentVerdict, GRANTS_ALL, Part, because_of};
use crate::policy::coverage::Verdict;

/// A question to AWS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// The resource.
    pub resource: String,
    /// The action.
    pub action: String,
}

/// AWS's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is allowed.
    Allowed,
    /// A statement denies it.
    ExplicitDeny,
    /// Nothing allows it.
    ImplicitDeny,
}

impl Decision {
    /// AWS's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::ExplicitDeny => "explicitDeny",
            Self::ImplicitDeny => "implicitDeny",
        }
    }
}

/// A question with its answer.
pub type Answer = (Question, Decision);

/// What to ask about a component, in a fixed order.
pub fn questions(component: &Component) -> Vec<Question> {
    let mut questions: Vec<Question> =
        component.missing.iter().filter(|part| can_be_asked(part)).flat_map(of).collect();
    questions.sort();
    questions.dedup();
    questions
}

fn can_be_asked(part: &Part) -> bool {
    let concrete = part.resource == "*" || !part.resource.contains(['*', '?', '$']);
    let unconditional = part.condition.as_object().is_none_or(serde_json::Map::is_empty);
    // An example says that only a part of what the pattern matches is undecided: that is not what AWS would be asked about.
    part.verdict == Verdict::Indeterminate && concrete && unconditional && part.example.is_none()
}

/// Whether a resource is a pattern: an answer for it is not one for each that it matches.
fn names_many(resource: &str) -> bool {
    resource.contains(['*', '?'])
}

fn of(part: &Part) -> impl Iterator<Item = Question> {
    let concrete = part.actions.iter().filter(|action| !action.contains(['*', '?']));
    concrete.map(|action| Question { resource: part.resource.clone(), action: action.clone() })
}

/// Takes AWS's answers into a component's verdict.
pub fn answer(component: &mut Component, answers: &[Answer]) {
    let mut parts = Vec::new();
    for part in std::mem::take(&mut component.missing) {
        if can_be_asked(&part) { parts.extend(decided(&part, answers)) } else { parts.push(part) }
    }
    component.missing = parts;
    component.simulated.extend_from_slice(answers);
    component.verdict = component.verdict_of_parts();
    component.because = match (component.verdict, answers.is_empty()) {
        (ComponentVerdict::Covered, false) => component
            .because(format!("{GRANTS_ALL}, as iam:SimulatePrincipalPolicy says where policies could not be judged")),
        _ => because_of(component),
    };
}

/// What is left of a part: what AWS denies, what it allows without having told for each resource, and what nobody could
/// decide.
fn decided(part: &Part, answers: &[Answer]) -> Vec<Part> {
    let decision = |action: &String| {
        let asked = |(question, _): &&Answer| question.action == *action && question.resource == part.resource;
        answers.iter().find(asked).map(|(_, decision)| *decision)
    };
    let with = |verdict: Option<Decision>| -> Vec<String> {
        part.actions.iter().filter(|action| decision(action) == verdict).cloned().collect()
    };
    let mut parts = Vec::new();
    for denied in [Decision::ExplicitDeny, Decision::ImplicitDeny] {
        let actions = with(Some(denied));
        if !actions.is_empty() {
            let because = format!("iam:SimulatePrincipalPolicy says {}", denied.as_str());
            parts.push(Part { verdict: Verdict::Missing, actions, because, example: None, ..part.clone() });
        }
    }
    let allowed = with(Some(Decision::Allowed));
    if !allowed.is_empty() && names_many(&part.resource) {
        let because = format!(
            "iam:SimulatePrincipalPolicy says allowed, where a Deny on single resources does not show ({})",
            part.because
        );
        parts.push(Part { verdict: Verdict::Conditional, actions: allowed, because, ..part.clone() });
    }
    let open = with(None);
    if !open.is_empty() {
        parts.push(Part { actions: open, ..part.clone() });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(actions: &[&str], resource: &str, verdict: Verdict) -> Part {
        Part {
            verdict,
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            resource: resource.into(),
            condition: json!({}),
            because: "attached policy x could not be read".into(),
            example: None,
        }
    }

    fn component(missing: Vec<Part>) -> Component {
        Component {
            secret: None,
            origins: Vec::new(),
            role: "r".into(),
            verdict: ComponentVerdict::Indeterminate,
            missing,
            trust: Vec::new(),
            surplus: Vec::new(),
            simulated: Vec::new(),
            because: String::new(),
        }
    }

    #[test]
    fn only_what_aws_can_be_asked_about_is_asked() {
        let of = component(vec![
            part(&["s3:GetObject", "s3:Put*"], "*", Verdict::Indeterminate),
            part(&["s3:ListBucket"], "arn:aws:s3:::b-*", Verdict::Indeterminate),
            part(&["s3:DeleteBucket"], "*", Verdict::Missing),
        ]);
        assert_eq!(questions(&of), [Question { resource: "*".into(), action: "s3:GetObject".into() }]);
    }

    #[test]
    fn answers_decide_and_what_is_open_stays_open() {
        let question = |action: &str| Question { resource: "*".into(), action: action.into() };
        let bucket = "arn:aws:s3:::b";
        let mut all = component(vec![part(&["s3:ListBucket"], bucket, Verdict::Indeterminate)]);
        let of_bucket = Question { resource: bucket.into(), action: "s3:ListBucket".into() };
        answer(&mut all, &[(of_bucket.clone(), Decision::Allowed)]);
        assert_eq!((all.verdict, all.missing.len(), all.simulated.len()), (ComponentVerdict::Covered, 0, 1));
        let mut denied = component(vec![part(&["s3:ListBucket"], bucket, Verdict::Indeterminate)]);
        answer(&mut denied, &[(of_bucket, Decision::ExplicitDeny)]);
        assert_eq!((denied.verdict, denied.missing.len()), (ComponentVerdict::Missing, 1));

        let mut some =
            component(vec![part(&["s3:GetObject", "s3:Put*", "s3:ListBucket"], "*", Verdict::Indeterminate)]);
        answer(
            &mut some,
            &[(question("s3:GetObject"), Decision::Allowed), (question("s3:ListBucket"), Decision::ImplicitDeny)],
        );
        assert_eq!(some.verdict, ComponentVerdict::Missing);
        let left: Vec<_> = some.missing.iter().map(|part| (part.verdict, part.actions.clone())).collect();
        assert_eq!(
            left,
            [
                (Verdict::Missing, vec!["s3:ListBucket".to_owned()]),
                (Verdict::Conditional, vec!["s3:GetObject".to_owned()]),
                (Verdict::Indeterminate, vec!["s3:Put*".to_owned()])
            ]
        );

        let mut none = component(vec![part(&["s3:GetObject"], "*", Verdict::Indeterminate)]);
        answer(&mut none, &[]);
        assert_eq!((none.verdict, none.missing.len()), (ComponentVerdict::Indeterminate, 1));
    }

    /// A policy that could not be read may deny it on one bucket: AWS would still say that it is allowed on `*`.
    #[test]
    fn what_aws_allows_on_any_resource_is_not_covered_by_that() {
        let mut component = component(vec![part(&["s3:GetObject", "s3:ListBucket"], "*", Verdict::Indeterminate)]);
        let answers = questions(&component).into_iter().map(|question| (question, Decision::Allowed));
        let answers: Vec<Answer> = answers.collect();
        answer(&mut component, &answers);
        assert_eq!((component.verdict, component.missing.len()), (ComponentVerdict::Conditional, 1));
        assert_eq!(component.missing[0].actions, ["s3:GetObject", "s3:ListBucket"]);
        let because = "iam:SimulatePrincipalPolicy says allowed, where a Deny on single resources does not show (attached policy x could not be read)";
        assert_eq!(component.missing[0].because, because);
        assert!(component.because.ends_with(because), "{}", component.because);
    }
}
