//! A roll call as JSON. The format is versioned: fields are added, never changed, within a version.

use serde_json::{Value, json};

use super::{RollCallReport, checked};
use crate::plan::upgrade::Component;

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
        "summary": checked::summary(roll_call),
        "components": roll_call.components.iter().map(component).collect::<Vec<_>>(),
    });
    if let Some(excluded) = &report.excluded {
        let pairs = excluded.iter().map(|(request, because)| json!({"request": request, "because": because}));
        value["excluded"] = pairs.collect();
    }
    if let Some(passed_over) = &report.passed_over {
        let pairs = passed_over.iter().map(|(role, because)| json!({"role": role, "because": because}));
        value["passedOver"] = pairs.collect();
    }
    value
}

/// A component, as in the status of an UpgradeCheck, but with every field: also an empty list is there to be read.
fn component(component: &Component) -> Value {
    let mut value = json!({
        "request": null,
        "credentialsRequest": null,
        "role": null,
        "verdict": null,
        "missing": [],
        "trust": [],
        "surplus": [],
        "because": null,
    });
    for (key, told) in json!(checked::component(component)).as_object().into_iter().flatten() {
        value[key] = told.clone();
    }
    value
}
