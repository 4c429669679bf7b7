//! What the operator asked of the API server: counted from an audit log that has reads in it too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

/// The integration tests' policy leaves reads out. Only service accounts are logged: the benchmark itself is none.
pub const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, Panic]
omitManagedFields: true
rules:
- level: Metadata
  userGroups: [system:serviceaccounts]
- level: None
";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    object_ref: Option<Object>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    resource: String,
    #[serde(default)]
    subresource: String,
}

/// The requests that came since, by verb and resource (`patch credentialsrequests/status`).
pub fn requests_since(dir: &Path, since: Timestamp) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for file in logs(dir) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok());
        for event in events.filter(|event| event.request_received_timestamp >= since && is_counted(event)) {
            *counted.entry(name(&event)).or_default() += 1;
        }
    }
    counted
}

/// A watch goes on: its beginning counts. Everything else counts when it is answered.
fn is_counted(event: &Event) -> bool {
    event.stage == if event.verb == "watch" { "ResponseStarted" } else { "ResponseComplete" }
}

fn name(event: &Event) -> String {
    let object = event.object_ref.as_ref();
    let resource = object.map_or("", |object| object.resource.as_str());
    match object.map_or("", |object| object.subresource.as_str()) {
        "" => format!("{} {resource}", event.verb),
        subresource => format!("{} {resource}/{subresource}", event.verb),
    }
}

/// The log and the older ones that it was rotated to.
fn logs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the control plane's directory").flatten().map(|entry| entry.path());
    let of_audit = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("audit") && Path::new(name).extension().is_some_and(|extension| extension == "log")
    };
    entries.filter(of_audit).collect()
}
