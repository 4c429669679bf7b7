//! A roll call as SARIF 2.1.0 (OASIS Standard, 27 March 2020): a result for each thing that is to be said.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::remark::{Level, Remark, Rule, remarks};
use super::{RollCallReport, name};
use crate::plan::upgrade::Component;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// What a path may hold as it is in a URI (RFC 3986, unreserved characters).
const PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Renders a roll call.
pub fn render(report: &RollCallReport<'_>) -> Value {
    let of = |component: &Component| -> Vec<Value> {
        remarks(component).iter().map(|remark| result(report, component, remark)).collect()
    };
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "rolecall",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": Rule::ALL.map(rule),
            }},
            "automationDetails": {"id": "rolecall-check/"},
            "invocations": [invocation(report)],
            "results": report.roll_call.components.iter().flat_map(of).collect::<Vec<_>>(),
            "properties": {
                "verdict": report.roll_call.readiness().as_str(),
                "live": report.live,
                "target": report.target,
                "issuer": report.issuer,
            },
        }],
    })
}

/// What the cluster does not get, and what was not looked at, is no result; it is told as notes on the run.
fn invocation(report: &RollCallReport<'_>) -> Value {
    let mut invocation = json!({"executionSuccessful": true});
    let note = |text: String| json!({"level": "note", "message": {"text": text}});
    if let Some(excluded) = &report.excluded {
        let requests = excluded.iter().map(|(request, why)| note(format!("{request} is not for this cluster: {why}")));
        let roles =
            report.passed_over().iter().map(|(role, why)| note(format!("role {role} was not looked at: {why}")));
        invocation["toolExecutionNotifications"] = requests.chain(roles).collect();
    }
    invocation
}

fn rule(rule: Rule) -> Value {
    json!({
        "id": rule.id(),
        "shortDescription": {"text": rule.meaning()},
        "defaultConfiguration": {"level": level(rule)},
    })
}

const fn level(rule: Rule) -> &'static str {
    match rule.level() {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

fn result(report: &RollCallReport<'_>, component: &Component, remark: &Remark) -> Value {
    let component_name = name(component);
    let mut files = component.origins.iter().map(|origin| &origin.file).filter(|file| !file.is_empty());
    let file = files.next().unwrap_or(&report.target);
    let mut result = json!({
        "ruleId": remark.rule.id(),
        "ruleIndex": Rule::ALL.iter().position(|rule| *rule == remark.rule),
        "level": level(remark.rule),
        "message": {"text": format!("{component_name}: {}: {}", remark.what, remark.why)},
        "locations": [{
            // Where in the file is not known; viewers that need a line get the first.
            "physicalLocation": {"artifactLocation": {"uri": uri(file)}, "region": {"startLine": 1}},
            "logicalLocations": [{"fullyQualifiedName": component_name, "kind": "resource"}],
        }],
        // What makes it the same result in another run: not the reason, whose words may change.
        "partialFingerprints": {"rolecall/v1": format!("{} {component_name} {}", remark.rule.id(), remark.what)},
        "properties": {"role": component.role},
    });
    // Any of several requests may be what asks for it.
    let others: Vec<Value> =
        files.map(|file| json!({"physicalLocation": {"artifactLocation": {"uri": uri(file)}}})).collect();
    if !others.is_empty() {
        result["relatedLocations"] = others.into();
    }
    result
}

/// A path as a URI reference.
fn uri(path: &str) -> String {
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    format!("{scheme}{}", utf8_percent_encode(path, &PATH))
}
