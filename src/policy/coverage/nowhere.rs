//! What of a request its role is allowed on none of the resources that it is asked for.

use super::{Finding, Granted, Required, Verdict, judge};
use crate::policy::automaton::Glob;
use crate::policy::document::Effect;
use crate::policy::pattern::tidy_action;

/// Of these findings those whose action is allowed nowhere: it is denied, or granted by nothing, on every resource that any
/// statement of the request asks for it, without a condition. A pattern of actions counts as a whole: where a part of it is
/// allowed, a component may do all that it really does.
pub fn allowed_nowhere<'f>(required: &[Required], granted: &Granted, findings: &'f [Finding]) -> Vec<&'f Finding> {
    let mut nowhere: Vec<&Finding> = Vec::new();
    for finding in findings.iter().filter(|finding| is_wholly_missing(finding)) {
        let same = |known: &&Finding| tidy_action(&known.action) == tidy_action(&finding.action);
        if nowhere.iter().any(same) || is_missing_wherever_asked_for(&finding.action, required, granted) {
            nowhere.push(finding);
        }
    }
    nowhere
}

fn is_wholly_missing(finding: &Finding) -> bool {
    finding.verdict == Verdict::Missing && finding.example.is_none()
}

/// Other statements of the request may ask for the same action, by its name or by a pattern, on other resources.
fn is_missing_wherever_asked_for(action: &str, required: &[Required], granted: &Granted) -> bool {
    let asked = Glob::new(&tidy_action(action));
    let asks = |entry: &&Required| {
        entry.effect == Effect::Allow
            && entry.actions.iter().any(|pattern| Glob::new(&tidy_action(pattern)).includes(&asked))
    };
    let of_action =
        required.iter().filter(asks).map(|entry| Required { actions: vec![action.to_owned()], ..entry.clone() });
    let exempt = required.iter().filter(|entry| entry.effect == Effect::Deny).cloned();
    judge(&of_action.chain(exempt).collect::<Vec<_>>(), granted).iter().all(is_wholly_missing)
}
