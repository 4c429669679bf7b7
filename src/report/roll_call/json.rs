//! A roll call as JSON. The format is versioned: fields are added, never changed, within a version.

use serde_json::{Value, json};

use super::RollCallReport;
use crate::plan::upgrade::{Component, ComponentVerdict, Part, RollCall};

/// Version of the format.
pub const VERSION: u32 = 1;

/// Renders a roll call.
pub fn render(report: &RollCallReport<'_>) -> Value {
    let roll_call = report.roll_call;
    let mut value = json!({
        "version": VERSION,
        "kind": "RollCall",
        "verdict": roll_call.readiness().as_str(),
        "live": report.live,
        "target": report.target,
        "issuer": report.issuer,
        "summary": summary(roll_call),
        "components": roll_call.components.iter().map(component).collect::<Vec<_>>(),
    });
    if let Some(excluded) = &report.excluded {
        let pairs = excluded.iter().map(|(request, because)| json!({"request": request, "because": because}));
        value["excluded"] = pairs.collect();
    }
    value
}

/// The counts, as in the status of an UpgradeCheck.
pub fn summary(roll_call: &RollCall) -> Value {
    json!({
        "covered": roll_call.count(ComponentVerdict::Covered),
        "missing": roll_call.count(ComponentVerdict::Missing),
        "newRoles": roll_call.count(ComponentVerdict::NewRole),
        "trust": roll_call.untrusting(),
        "conditional": roll_call.count(ComponentVerdict::Conditional),
        "indeterminate": roll_call.count(ComponentVerdict::Indeterminate),
        "retired": roll_call.count(ComponentVerdict::Retired),
    })
}

/// A component, as in the status of an UpgradeCheck.
pub fn component(component: &Component) -> Value {
    json!({
        "request": component.secret.as_ref().map(ToString::to_string),
        "credentialsRequest": component.request.as_ref().map(ToString::to_string),
        "role": component.role,
        "verdict": component.verdict.as_str(),
        "missing": component.missing.iter().map(missing).collect::<Vec<_>>(),
        "trust": component.trust.iter().map(|unadmitted| json!({
            "serviceAccount": unadmitted.service_account,
            "because": unadmitted.because,
        })).collect::<Vec<_>>(),
        "surplus": component.surplus.iter().map(surplus).collect::<Vec<_>>(),
        "because": component.because,
    })
}

fn missing(part: &Part) -> Value {
    let mut value = json!({
        "verdict": format!("{:?}", part.verdict),
        "actions": part.actions,
        "resource": part.resource,
        "condition": part.condition,
        "because": part.because,
    });
    if let Some((action, resource)) = &part.example {
        value["example"] = json!({"action": action, "resource": resource});
    }
    value
}

fn surplus(part: &Part) -> Value {
    json!({"actions": part.actions, "resource": part.resource, "condition": part.condition})
}
