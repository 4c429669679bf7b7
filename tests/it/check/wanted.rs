//! What a release asks for, and what therefore is missing, read from the manifests once more and compared as sets. All
//! that it knows of policies: these manifests spell an action in one way, and a wildcard stands at an action's end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::release;

pub const RELEASES: [&str; 8] = ["4.8", "4.10", "4.12", "4.14", "4.16", "4.18", "4.20", "4.22"];

/// What decides which requests a cluster gets.
#[derive(Debug, Clone, Copy)]
pub struct Cluster {
    pub feature_set: &'static str,
    pub gates: &'static [&'static str],
    pub profile: &'static str,
    /// None of them means all.
    pub capabilities: &'static [&'static str],
}

pub const DEFAULT: Cluster =
    Cluster { feature_set: "Default", gates: &[], profile: "self-managed-high-availability", capabilities: &[] };
/// 4.10 still has the name of the set in the annotation for gates.
pub const PREVIEW: Cluster = Cluster {
    feature_set: "TechPreviewNoUpgrade",
    gates: &["TechPreviewNoUpgrade", "ClusterAPIMachineManagement"],
    ..DEFAULT
};
pub const CUSTOM: Cluster =
    Cluster { feature_set: "CustomNoUpgrade", gates: &["ClusterAPIMachineManagement"], ..DEFAULT };

impl Cluster {
    pub fn args(&self) -> Vec<&'static str> {
        let gates = self.gates.iter().flat_map(|gate| ["--feature-gate", gate]);
        let capabilities = self.capabilities.iter().flat_map(|capability| ["--capability", capability]);
        let one = ["--feature-set", self.feature_set, "--profile", self.profile];
        one.into_iter().chain(gates).chain(capabilities).collect()
    }

    pub fn gets(&self, annotations: &Value) -> bool {
        if annotations.as_object().is_none_or(serde_json::Map::is_empty) {
            return true;
        }
        let text = |key: &str| annotations[key].as_str();
        let (sets, gates) = (text("release.openshift.io/feature-set"), text("release.openshift.io/feature-gate"));
        let of_set = |set: &str| set == self.feature_set || set.is_empty() && self.feature_set == "Default";
        let of_gate = |gate: &str| match gate.strip_prefix('-') {
            Some(off) => !self.gates.contains(&off),
            None => self.gates.contains(&gate),
        };
        let of_profile = |what: &str| text(&format!("{what}.release.openshift.io/{}", self.profile)) == Some("true");
        let capabilities = text("capability.openshift.io/name").filter(|_| !self.capabilities.is_empty());
        !(sets.is_some() && gates.is_some())
            && sets.is_none_or(|sets| sets.split(',').any(of_set))
            && gates.is_none_or(|gates| gates.split(',').all(of_gate))
            && of_profile("include")
            && !of_profile("exclude")
            && capabilities.is_none_or(|names| names.split('+').all(|name| self.capabilities.contains(&name)))
    }
}

/// A permission: action, resource, and condition as JSON text.
pub type Permission = (String, String, String);

/// What a component asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub permissions: BTreeSet<Permission>,
    pub accounts: BTreeSet<String>,
}

/// The documents of a release, whatever they are.
pub fn documents(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(release(name)).unwrap();
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).unwrap();
    documents.into_iter().flatten().collect()
}

/// The requests for AWS that a cluster gets, as the manifests have them.
pub fn requests(name: &str, cluster: &Cluster) -> Vec<Value> {
    requests_in(documents(name), cluster)
}

fn requests_in(documents: Vec<Value>, cluster: &Cluster) -> Vec<Value> {
    let ours = |request: &Value| {
        let annotations = &request["metadata"]["annotations"];
        request["spec"]["providerSpec"]["kind"] == "AWSProviderSpec"
            && annotations["release.openshift.io/delete"] != "true"
            && cluster.gets(annotations)
    };
    documents.into_iter().filter(ours).collect()
}

pub fn secret_of(request: &Value) -> String {
    let secret = &request["spec"]["secretRef"];
    format!("{}/{}", secret["namespace"].as_str().unwrap(), secret["name"].as_str().unwrap())
}

/// What a cluster's components ask for, by Secret.
pub fn asked(documents: Vec<Value>, cluster: &Cluster) -> BTreeMap<String, Asked> {
    let mut all: BTreeMap<String, Asked> = BTreeMap::new();
    for request in requests_in(documents, cluster) {
        let asked = all.entry(secret_of(&request)).or_default();
        let accounts = request["spec"]["serviceAccountNames"].as_array().unwrap();
        asked.accounts.extend(accounts.iter().map(|account| account.as_str().unwrap().to_owned()));
        for entry in request["spec"]["providerSpec"]["statementEntries"].as_array().unwrap() {
            assert_eq!(entry["effect"], "Allow");
            let resource = entry["resource"].as_str().unwrap();
            let condition = condition(&entry["policyCondition"]);
            let actions = entry["action"].as_array().unwrap().iter().map(|action| action.as_str().unwrap());
            let permission = |action: &str| (action.to_owned(), resource.to_owned(), condition.clone());
            asked.permissions.extend(actions.map(permission));
        }
    }
    all
}

/// A condition as text, its values as strings: `true` and `"true"` are the same to IAM.
pub fn condition(value: &Value) -> String {
    let mut condition = value.as_object().cloned().unwrap_or_default();
    for keys in condition.values_mut() {
        for value in keys.as_object_mut().unwrap().values_mut() {
            if let Value::Bool(b) = *value {
                *value = json!(b.to_string());
            }
        }
    }
    Value::Object(condition).to_string()
}

/// What must be said of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub verdict: String,
    /// The verdict on each permission that is not covered.
    pub missing: BTreeSet<(Permission, String)>,
    pub trust: BTreeSet<String>,
    pub surplus: BTreeSet<Permission>,
}

/// How far permissions grant one that is asked for.
fn verdict(granted: &BTreeSet<Permission>, (action, resource, condition): &Permission) -> &'static str {
    let begins = |pattern: &str| pattern.strip_suffix('*').is_some_and(|start| action.starts_with(start));
    let grants = granted
        .iter()
        .filter(|(pattern, on, _)| (pattern == action || begins(pattern)) && (on == resource || on == "*"));
    let grants: Vec<&String> = grants.map(|(_, _, condition)| condition).collect();
    if grants.iter().any(|only_if| *only_if == condition || *only_if == "{}") {
        "Covered"
    } else if grants.is_empty() {
        "Missing"
    } else {
        "Conditional"
    }
}

/// What must be said of each component when roles as one release has them meet another release.
pub fn expected(from: &str, to: &str, cluster: &Cluster) -> BTreeMap<String, Said> {
    between(&asked(documents(from), cluster), &asked(documents(to), cluster))
}

/// The same of what two releases ask for.
pub fn between(old: &BTreeMap<String, Asked>, new: &BTreeMap<String, Asked>) -> BTreeMap<String, Said> {
    let mut all = BTreeMap::new();
    for (secret, wants) in new {
        let said = match old.get(secret) {
            None => Said { verdict: "NewRole".into(), ..Said::default() },
            Some(has) => compared(has, wants),
        };
        all.insert(secret.clone(), said);
    }
    for secret in old.keys().filter(|secret| !new.contains_key(*secret)) {
        all.insert(secret.clone(), Said { verdict: "Retired".into(), ..Said::default() });
    }
    all
}

fn compared(has: &Asked, wants: &Asked) -> Said {
    let judged = wants.permissions.iter().map(|p| (p.clone(), verdict(&has.permissions, p).to_owned()));
    let missing: BTreeSet<(Permission, String)> = judged.filter(|(_, verdict)| verdict != "Covered").collect();
    let trust: BTreeSet<String> = wants.accounts.difference(&has.accounts).cloned().collect();
    let surplus = has.permissions.iter().filter(|p| verdict(&wants.permissions, p) == "Missing").cloned().collect();
    let with = |wanted: &str| missing.iter().any(|(_, verdict)| verdict == wanted);
    let verdict = match (with("Missing"), trust.is_empty(), with("Conditional")) {
        (true, ..) => "Missing",
        (_, false, _) => "TrustMissing",
        (_, _, true) => "Conditional",
        _ => "Covered",
    };
    Said { verdict: verdict.into(), missing, trust, surplus }
}

/// What a report says, in the same form.
pub fn said(report: &Value) -> BTreeMap<String, Said> {
    let permissions = |part: &Value| -> Vec<Permission> {
        let actions = part["actions"].as_array().unwrap().iter();
        let resource = part["resource"].as_str().unwrap();
        actions.map(|a| (a.as_str().unwrap().to_owned(), resource.to_owned(), condition(&part["condition"]))).collect()
    };
    let of = |component: &Value| {
        let list = |key: &str| component[key].as_array().unwrap().clone();
        let verdict = |part: &Value| part["verdict"].as_str().unwrap().to_owned();
        Said {
            verdict: component["verdict"].as_str().unwrap().to_owned(),
            missing: list("missing")
                .iter()
                .flat_map(|part| permissions(part).into_iter().map(|p| (p, verdict(part))).collect::<Vec<_>>())
                .collect(),
            trust: list("trust").iter().map(|one| one["serviceAccount"].as_str().unwrap().to_owned()).collect(),
            surplus: list("surplus").iter().flat_map(permissions).collect(),
        }
    };
    let components = report["components"].as_array().unwrap();
    let all: BTreeMap<String, Said> =
        components.iter().map(|c| (c["request"].as_str().unwrap().to_owned(), of(c))).collect();
    assert_eq!(all.len(), components.len(), "a component stands in the report twice: {report:#}");
    all
}
