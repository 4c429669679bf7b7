//! The schemas that the API server serves for the three kinds whose statuses Rolecall writes, and what they lack.
//!
//! They are read from the API server's OpenAPI, which any authenticated account may read, while the
//! CustomResourceDefinitions themselves are an administrator's. The index at `/openapi/v3` has a hash for each group, so that
//! a look for changes costs one small answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kube::{Client, CustomResourceExt};
use serde::Deserialize;
use serde_json::Value;

use super::errors::fault;
use super::schema::SchemaNode;
use crate::api::{ClusterIdentity, CredentialsRequest, UpgradeCheck};
use crate::observed::{Fault, FaultClass};

/// How often the API server is asked whether a schema has changed.
pub const REFRESH_INTERVAL: Duration = Duration::from_mins(1);

/// A kind whose status Rolecall writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusKind {
    /// `clusteridentities.rolecall.dev`.
    ClusterIdentity,
    /// `credentialsrequests.cloudcredential.openshift.io`, Rolecall's CRD or OpenShift's own.
    CredentialsRequest,
    /// `upgradechecks.rolecall.dev`.
    UpgradeCheck,
}

impl StatusKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ClusterIdentity, Self::CredentialsRequest, Self::UpgradeCheck];

    /// The name of its CustomResourceDefinition.
    pub const fn crd_name(self) -> &'static str {
        match self {
            Self::ClusterIdentity => "clusteridentities.rolecall.dev",
            Self::CredentialsRequest => "credentialsrequests.cloudcredential.openshift.io",
            Self::UpgradeCheck => "upgradechecks.rolecall.dev",
        }
    }

    /// Group and version, as in a URL.
    const fn group_version(self) -> &'static str {
        match self {
            Self::ClusterIdentity | Self::UpgradeCheck => "apis/rolecall.dev/v1alpha1",
            Self::CredentialsRequest => "apis/cloudcredential.openshift.io/v1",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::ClusterIdentity => "ClusterIdentity",
            Self::CredentialsRequest => "CredentialsRequest",
            Self::UpgradeCheck => "UpgradeCheck",
        }
    }

    /// The schema that this version of Rolecall is built with.
    fn built_in(self) -> SchemaNode {
        let crd = match self {
            Self::ClusterIdentity => ClusterIdentity::crd(),
            Self::CredentialsRequest => CredentialsRequest::crd(),
            Self::UpgradeCheck => UpgradeCheck::crd(),
        };
        let versions = serde_json::to_value(crd.spec.versions).unwrap_or_default();
        SchemaNode::of(&versions[0]["schema"]["openAPIV3Schema"])
    }
}

/// The fields of Rolecall's CredentialsRequest that OpenShift's own does not declare
/// (openshift/cloud-credential-operator, `manifests/0000_03_cloud-credential-operator_01_crd.yaml`). Nothing is missing where
/// they are not declared: what they say is in `providerStatus` too.
const BEYOND_OPENSHIFT: [&str; 2] = ["status.conditions[].observedGeneration", "status.observedGeneration"];

/// Without these nothing can be said at all, so that they are never left out.
const INDISPENSABLE: [&str; 4] =
    ["status", "status.conditions", "status.conditions[].type", "status.conditions[].status"];

/// The fields that a status can do without.
fn dispensable(fields: &BTreeSet<String>) -> impl Iterator<Item = &String> {
    fields.iter().filter(|field| !INDISPENSABLE.contains(&field.as_str()))
}

/// What is served for a kind.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedSchema {
    status: SchemaNode,
    /// The fields of spec and status that Rolecall knows and that the served CustomResourceDefinition does not declare.
    pub missing: Vec<String>,
}

impl ServedSchema {
    /// Reads the schema of a kind in an OpenAPI document of its group and version; `None` when the kind is not in it.
    pub fn in_document(kind: StatusKind, document: &Value) -> Option<Self> {
        served(kind, document).map(|served| Self::new(kind, &served))
    }

    fn new(kind: StatusKind, served: &SchemaNode) -> Self {
        let status = served.field("status").cloned().unwrap_or(SchemaNode::Object(BTreeMap::new()));
        let built_in = kind.built_in();
        let mut missing = Vec::new();
        for part in ["spec", "status"] {
            match (built_in.field(part), served.field(part)) {
                (Some(built_in), Some(served)) => built_in.not_in(served, part, &mut missing),
                (Some(_), None) => missing.push(part.to_owned()),
                (None, _) => {}
            }
        }
        let schema = Self { status, missing };
        if kind == StatusKind::CredentialsRequest && !schema.merges_conditions() {
            return Self {
                missing: schema
                    .missing
                    .into_iter()
                    .filter(|field| !BEYOND_OPENSHIFT.contains(&field.as_str()))
                    .collect(),
                ..schema
            };
        }
        schema
    }

    /// What is assumed where the schemas may not be read: what both Rolecall's and OpenShift's declare.
    fn assumed(kind: StatusKind) -> Self {
        let mut status = kind.built_in().field("status").cloned().unwrap_or(SchemaNode::Any);
        if kind == StatusKind::CredentialsRequest {
            for field in BEYOND_OPENSHIFT {
                status.remove(field.trim_start_matches("status."));
            }
            if let SchemaNode::Object(fields) = &mut status
                && let Some(SchemaNode::List { by_key, .. }) = fields.get_mut("conditions")
            {
                *by_key = false;
            }
        }
        Self { status, missing: Vec::new() }
    }

    /// Whether conditions are merged by their type, so that each author has his own; the list is one value otherwise.
    pub fn merges_conditions(&self) -> bool {
        matches!(self.status.field("conditions"), Some(SchemaNode::List { by_key: true, .. }))
    }

    /// Whether the status declares a field.
    pub fn declares(&self, field: &str) -> bool {
        self.status.field(field).is_some()
    }

    /// Cuts a status to what is declared, and leaves some fields out.
    pub fn cut_without(&self, mut status: Value, fields: &BTreeSet<String>) -> Value {
        let mut schema = self.status.clone();
        for field in dispensable(fields) {
            schema.remove(field.trim_start_matches("status."));
        }
        schema.prune(&mut status, "status", &mut BTreeSet::new());
        status
    }

    /// Puts back into a status what is not declared, from the status that it was cut from.
    pub fn restore(&self, status: &mut Value, whole: &Value) {
        self.status.restore(status, whole);
    }

    /// Cuts a status to what is declared.
    pub fn cut(&self, mut status: Value) -> Value {
        self.status.prune(&mut status, "status", &mut BTreeSet::new());
        status
    }
}

/// The schemas as they were last read.
pub struct ServedSchemas {
    client: Client,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// Where the schemas of a group were read: the URL has their hash.
    urls: BTreeMap<&'static str, String>,
    kinds: BTreeMap<StatusKind, Arc<ServedSchema>>,
    /// Why they could not be read when that was last tried.
    unread: Option<String>,
}

/// The index of the API server's OpenAPI.
#[derive(Deserialize)]
struct Index {
    paths: BTreeMap<String, IndexEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexEntry {
    #[serde(rename = "serverRelativeURL")]
    server_relative_url: String,
}

impl ServedSchemas {
    /// Nothing is read yet; until then only what every known schema declares is sent.
    pub fn new(client: Client) -> Self {
        Self { client, state: RwLock::default() }
    }

    /// What is served for a kind.
    pub fn of(&self, kind: StatusKind) -> Arc<ServedSchema> {
        let known = self.state.read().unwrap_or_else(PoisonError::into_inner).kinds.get(&kind).cloned();
        known.unwrap_or_else(|| Arc::new(ServedSchema::assumed(kind)))
    }

    /// The kinds whose served schema lacks fields that this version of Rolecall knows, and which.
    pub fn outdated(&self) -> Vec<(StatusKind, Vec<String>)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let lacking = state.kinds.iter().filter(|(_, schema)| !schema.missing.is_empty());
        lacking.map(|(kind, schema)| (*kind, schema.missing.clone())).collect()
    }

    /// Why the schemas could not be read when that was last tried.
    pub fn unread(&self) -> Option<String> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).unread.clone()
    }

    /// Looks whether the schemas have changed, and reads those that have. Whether any has.
    pub async fn refresh(&self) -> Result<bool, Fault> {
        let read = self.read_changed().await;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.unread = read.as_ref().err().map(ToString::to_string);
        let mut changed = false;
        for (group_version, url, document) in read? {
            for kind in StatusKind::ALL.into_iter().filter(|kind| kind.group_version() == group_version) {
                let Some(schema) = ServedSchema::in_document(kind, &document) else { continue };
                changed |= state.kinds.get(&kind).is_none_or(|known| **known != schema);
                state.kinds.insert(kind, Arc::new(schema));
            }
            state.urls.insert(group_version, url);
        }
        Ok(changed)
    }

    async fn read_changed(&self) -> Result<Vec<(&'static str, String, Value)>, Fault> {
        let index: Index = self.get("/openapi/v3").await?;
        let known = self.state.read().unwrap_or_else(PoisonError::into_inner).urls.clone();
        let groups: BTreeSet<&'static str> = StatusKind::ALL.into_iter().map(StatusKind::group_version).collect();
        let mut changed = Vec::new();
        for group in groups {
            let Some(IndexEntry { server_relative_url: url }) = index.paths.get(group) else { continue };
            if known.get(group) != Some(url) {
                changed.push((group, url.clone(), self.get(url).await?));
            }
        }
        Ok(changed)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, Fault> {
        let failed = |error: &kube::Error| fault("get the API server's OpenAPI", url, error);
        let request = http::Request::get(url).body(Vec::new()).map_err(|error| Fault {
            class: FaultClass::Malformed,
            action: "get the API server's OpenAPI".into(),
            target: url.into(),
            message: error.to_string(),
        })?;
        self.client.request(request).await.map_err(|error| failed(&error))
    }

    /// Takes fields out that the API server has refused though its schema declares them: another of several API servers may
    /// have an older one. The schema is read anew with the next refresh, and they are tried again.
    pub fn without(&self, kind: StatusKind, fields: &BTreeSet<String>) {
        let mut schema = ServedSchema::clone(&self.of(kind));
        for field in dispensable(fields) {
            schema.status.remove(field.trim_start_matches("status."));
            if !schema.missing.contains(field) {
                schema.missing.push(field.clone());
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.urls.remove(kind.group_version());
        state.kinds.insert(kind, Arc::new(schema));
    }
}

/// The schema of a kind in an OpenAPI document. One without a status subresource takes no status.
fn served(kind: StatusKind, document: &Value) -> Option<SchemaNode> {
    let schemas = document.pointer("/components/schemas")?.as_object()?;
    let is_meant = |schema: &&Value| {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.into_iter().flatten().any(|of| of["kind"] == kind.kind())
    };
    let mut schema = SchemaNode::of(schemas.values().find(is_meant)?);
    let plural = kind.crd_name().split('.').next().unwrap_or_default();
    let path = format!("/{}/namespaces/{{namespace}}/{plural}/{{name}}/status", kind.group_version());
    if document["paths"].get(&path).is_none() {
        schema.remove("status");
    }
    Some(schema)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(kind: StatusKind, schema: &Value) -> Value {
        let plural = kind.crd_name().split('.').next().unwrap();
        let path = format!("/{}/namespaces/{{namespace}}/{plural}/{{name}}/status", kind.group_version());
        let mut schema = schema.clone();
        schema["x-kubernetes-group-version-kind"] = json!([{"group": "g", "kind": kind.kind(), "version": "v"}]);
        json!({
            "paths": {path: {}},
            "components": {"schemas": {"other": {"type": "object"}, "this": schema}},
        })
    }

    fn crd_schema(kind: StatusKind) -> Value {
        let crd = match kind {
            StatusKind::ClusterIdentity => ClusterIdentity::crd(),
            StatusKind::CredentialsRequest => CredentialsRequest::crd(),
            StatusKind::UpgradeCheck => UpgradeCheck::crd(),
        };
        serde_json::to_value(crd.spec.versions).unwrap()[0]["schema"]["openAPIV3Schema"].clone()
    }

    #[test]
    fn the_built_in_schemas_lack_nothing() {
        for kind in StatusKind::ALL {
            let served = served(kind, &document(kind, &crd_schema(kind))).unwrap();
            let schema = ServedSchema::new(kind, &served);
            assert_eq!(schema.missing, [""; 0], "{kind:?}");
            assert!(schema.merges_conditions() && schema.declares("observedGeneration"), "{kind:?}");
        }
    }

    #[test]
    fn openshifts_own_schema_lacks_nothing_but_what_it_should_declare() {
        let kind = StatusKind::CredentialsRequest;
        let mut upstream = crd_schema(kind);
        let status = upstream["properties"]["status"]["properties"].as_object_mut().unwrap();
        status.shift_remove("observedGeneration");
        let conditions = status["conditions"].as_object_mut().unwrap();
        conditions.shift_remove("x-kubernetes-list-type");
        conditions["items"]["properties"].as_object_mut().unwrap().shift_remove("observedGeneration");
        let schema = ServedSchema::new(kind, &served(kind, &document(kind, &upstream)).unwrap());
        assert_eq!(schema.missing, [""; 0]);
        assert!(!schema.merges_conditions());
        assert_eq!(schema, ServedSchema::assumed(kind));
        let status = json!({"observedGeneration": 1, "provisioned": true, "providerStatus": {"observedGeneration": 1}});
        assert_eq!(schema.cut(status), json!({"provisioned": true, "providerStatus": {"observedGeneration": 1}}));

        upstream["properties"]["status"]["properties"].as_object_mut().unwrap().shift_remove("providerStatus");
        let schema = ServedSchema::new(kind, &served(kind, &document(kind, &upstream)).unwrap());
        assert_eq!(schema.missing, ["status.providerStatus"]);
    }

    #[test]
    fn a_crd_without_the_status_subresource_takes_no_status() {
        let kind = StatusKind::UpgradeCheck;
        let mut document = document(kind, &crd_schema(kind));
        document["paths"] = json!({});
        let schema = ServedSchema::new(kind, &served(kind, &document).unwrap());
        assert_eq!(schema.missing, ["status"]);
        assert_eq!(schema.cut(json!({"conditions": []})), json!({}));
    }
}
