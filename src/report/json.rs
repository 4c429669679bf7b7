//! A plan as JSON, for machines. The format is versioned: fields are added, never changed, within a version.

use serde_json::{Value, json};

use super::PlanReport;
use crate::plan::{Step, Verification};

/// Version of the format.
pub const VERSION: u32 = 1;

/// Renders a plan.
pub fn render(report: &PlanReport<'_>) -> Value {
    let plan = report.plan;
    json!({
        "version": VERSION,
        "kind": "Plan",
        "identity": report.desired.identity,
        "account": report.account,
        "issuerURL": report.desired.issuer.url,
        "providerARN": report.desired.issuer.provider.arn,
        "issuerVerification": match &plan.verification {
            Verification::Verified => json!({"result": "Verified"}),
            Verification::NotYet => json!({"result": "NotPublished"}),
            Verification::Wrong(why) => json!({"result": "Wrong", "message": why}),
            Verification::Unreachable(why) => json!({"result": "Unreachable", "message": why}),
        },
        "clean": report.is_clean(),
        "changes": plan.steps.iter().map(change).collect::<Vec<_>>(),
        "obstacles": plan.obstacles.iter().map(|(subject, obstacle)| json!({
            "request": subject.request().map(ToString::to_string),
            "message": obstacle.to_string(),
        })).collect::<Vec<_>>(),
        "deletions": plan.deletions.pending.iter().map(|deletion| json!({
            "component": deletion.component,
            "resources": deletion.resources,
            "deleteAfter": deletion.after.to_string(),
            "heldBy": deletion.hold.as_ref().map(|hold| hold.reason),
            "message": deletion.hold.as_ref().map(|hold| hold.message.as_str()),
        })).collect::<Vec<_>>(),
        "orphans": plan.orphans,
        "unknownKeys": plan.keys.iter().flat_map(|keys| &keys.unknown).map(|key| &key.kid).collect::<Vec<_>>(),
        "ownerMarks": report.marks.iter().map(|(resource, mark)| json!({"resource": resource, "mark": mark})).collect::<Vec<_>>(),
        "refused": pairs(report.refused()),
        "ignored": pairs(report.ignored()),
        "passedOver": report.passed_over,
        "secretsCompared": report.secrets_compared,
    })
}

fn change(step: &Step) -> Value {
    json!({
        "action": step.change.name(),
        "target": step.change.target(),
        "request": step.subject.request().map(ToString::to_string),
        "cause": step.cause,
        "differences": step.differences,
    })
}

fn pairs(items: impl Iterator<Item = (String, String)>) -> Vec<Value> {
    items.map(|(request, message)| json!({"request": request, "message": message})).collect()
}
