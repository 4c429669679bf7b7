//! A roll call in the words of the API: as the status of an UpgradeCheck and the JSON of `rolecall check` tell it.

use crate::api::upgrade_check::{
    CheckSummary, CheckedComponent, ExampleRequest, MissingPart, SimulatedPart, SurplusPart, UnadmittedAccount,
};
use crate::plan::upgrade::{Component, ComponentVerdict, Part, RollCall};
use crate::policy::coverage::Verdict;

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The counts.
pub fn summary(roll_call: &RollCall) -> CheckSummary {
    let count = |verdict| number(roll_call.count(verdict));
    CheckSummary {
        covered: count(ComponentVerdict::Covered),
        missing: count(ComponentVerdict::Missing),
        new_roles: count(ComponentVerdict::NewRole),
        trust: number(roll_call.untrusting()),
        conditional: count(ComponentVerdict::Conditional),
        indeterminate: count(ComponentVerdict::Indeterminate),
        retired: count(ComponentVerdict::Retired),
    }
}

/// A component.
pub fn component(component: &Component) -> CheckedComponent {
    let trust = component.trust.iter().map(|unadmitted| UnadmittedAccount {
        service_account: unadmitted.service_account.clone(),
        verdict: word(unadmitted.verdict).into(),
        because: unadmitted.because.clone(),
    });
    let simulated = component.simulated.iter().map(|(question, decision)| SimulatedPart {
        action: question.action.clone(),
        resource: question.resource.clone(),
        decision: decision.as_str().into(),
    });
    CheckedComponent {
        request: component.secret.as_ref().map(ToString::to_string),
        credentials_request: component.request().map(ToString::to_string),
        role: component.role.clone(),
        verdict: component.verdict.as_str().into(),
        missing: component.missing.iter().map(missing).collect(),
        trust: trust.collect(),
        surplus: component.surplus.iter().map(surplus).collect(),
        simulated: simulated.collect(),
        because: component.because.clone(),
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Covered => "Covered",
        Verdict::Conditional => "Conditional",
        Verdict::Indeterminate => "Indeterminate",
        Verdict::Missing => "Missing",
    }
}

fn missing(part: &Part) -> MissingPart {
    let example = part.example.clone().map(|(action, resource)| ExampleRequest { action, resource });
    MissingPart {
        verdict: word(part.verdict).into(),
        actions: part.actions.clone(),
        resource: part.resource.clone(),
        condition: part.condition.clone(),
        because: part.because.clone(),
        example,
    }
}

/// A surplus.
pub fn surplus(part: &Part) -> SurplusPart {
    SurplusPart { actions: part.actions.clone(), resource: part.resource.clone(), condition: part.condition.clone() }
}
