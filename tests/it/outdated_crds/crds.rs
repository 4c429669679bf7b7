//! The CustomResourceDefinitions of the three kinds, and how fields are taken out of them.

use http::Request;
use kube::Client;
use rolecall::kubernetes::served::{ServedSchema, StatusKind};
use serde_json::{Value, json};

use super::super::support::process::project_root;
use super::*;
use crate::support::block_on;

/// A CustomResourceDefinition with a status that Rolecall writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crd {
    Identity,
    Request,
    /// OpenShift's own.
    OpenShiftRequest,
    Check,
}

/// A field that a CustomResourceDefinition does not declare: its path below `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    pub crd: Crd,
    pub path: String,
}

impl Removed {
    pub fn of(crd: Crd, path: &str) -> Self {
        Self { crd, path: path.into() }
    }

    /// Whether nothing can be said of an object any more.
    pub fn is_conditions(&self) -> bool {
        self.path == "conditions"
    }
}

impl Crd {
    pub const ALL: [Self; 4] = [Self::Identity, Self::Request, Self::OpenShiftRequest, Self::Check];

    pub const fn kind(self) -> StatusKind {
        match self {
            Self::Identity => StatusKind::ClusterIdentity,
            Self::Request | Self::OpenShiftRequest => StatusKind::CredentialsRequest,
            Self::Check => StatusKind::UpgradeCheck,
        }
    }

    pub fn name(self) -> &'static str {
        self.kind().crd_name()
    }

    pub fn plural(self) -> &'static str {
        self.name().split('.').next().expect("a name has a plural")
    }

    pub const fn group_version(self) -> &'static str {
        match self {
            Self::Identity | Self::Check => "rolecall.dev/v1alpha1",
            Self::Request | Self::OpenShiftRequest => "cloudcredential.openshift.io/v1",
        }
    }

    /// As the file has it.
    pub fn shipped(self) -> Value {
        let file = match self {
            Self::OpenShiftRequest => "tests/openshift/credentialsrequests.yaml".to_owned(),
            _ => format!("crds/{}.yaml", self.name()),
        };
        let text = std::fs::read_to_string(project_root().join(file)).expect("the CustomResourceDefinition");
        serde_saphyr::from_str(&text).expect("YAML")
    }

    /// The schema of its status.
    pub fn status(self) -> Value {
        self.shipped().pointer(STATUS).expect("a schema of the status").clone()
    }

    /// The fields of its status itself.
    pub fn top_level(self) -> Vec<String> {
        self.status()["properties"].as_object().expect("properties").keys().cloned().collect()
    }
}

const STATUS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/status";

/// The path of every field below a schema: `keys`, `keys[].kid`.
pub fn paths(schema: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        paths.push(name.clone());
        let list = &of["items"];
        let (below, joint) = if list.is_object() { (list, "[].") } else { (of, ".") };
        paths.extend(self::paths(below).into_iter().map(|path| format!("{name}{joint}{path}")));
    }
    paths
}

/// Takes a field out of a schema, and out of those that it requires.
pub fn take_out(schema: &mut Value, path: &str) {
    let (below, name) = below(path);
    let mut at = schema;
    for part in below {
        at = match part {
            "[]" => &mut at["items"],
            part => &mut at["properties"][part],
        };
    }
    at["properties"].as_object_mut().expect("properties").shift_remove(name).expect("the field");
    if let Some(required) = at["required"].as_array_mut() {
        required.retain(|field| field != name);
    }
    if at["required"].as_array().is_some_and(Vec::is_empty) {
        at.as_object_mut().expect("a schema").shift_remove("required");
    }
}

/// Takes a field out of a status.
pub fn take_out_of_status(status: &mut Value, path: &str) {
    let (below, name) = below(path);
    let mut all = vec![status];
    for part in below {
        all = all
            .into_iter()
            .flat_map(|at| match part {
                "[]" => at.as_array_mut().into_iter().flatten().collect::<Vec<_>>(),
                part => at.get_mut(part).into_iter().collect(),
            })
            .collect();
    }
    for at in all {
        at.as_object_mut().expect("an object").shift_remove(name);
    }
}

/// `a.b[].c` → [a, b, []], c.
fn below(path: &str) -> (Vec<&str>, &str) {
    let (below, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parts = below.split('.').filter(|part| !part.is_empty());
    let parts = parts.flat_map(|part| match part.strip_suffix("[]") {
        Some(list) => vec![list, "[]"],
        None => vec![part],
    });
    (parts.collect(), name)
}

/// Sends JSON to the API server.
pub async fn send(client: &Client, method: &str, path: &str, body: &Value) -> kube::Result<Value> {
    let content_type = if method == "PATCH" { "application/apply-patch+yaml" } else { "application/json" };
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("Content-Type", content_type);
    client.request(request.body(body).expect("a request")).await
}

/// The code and the message of a refusal.
pub fn refusal(answer: kube::Result<Value>) -> (u16, String) {
    match answer {
        Err(kube::Error::Api(status)) => (status.code, status.message.clone()),
        other => panic!("no refusal: {other:?}"),
    }
}

/// Replaces the schema of the status of CustomResourceDefinitions: all fields but these.
pub fn install_without(plane: &ControlPlane, crds: &[Crd], removed: &[Removed]) {
    for crd in crds {
        install(plane, *crd, |object| {
            // A rule that speaks of a field that is not there is refused.
            let schema = object.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").expect("a schema");
            if removed.iter().any(|removed| removed.crd == *crd) {
                schema.as_object_mut().expect("an object").shift_remove("x-kubernetes-validations");
            }
            for Removed { path, .. } in removed.iter().filter(|removed| removed.crd == *crd) {
                take_out(object.pointer_mut(STATUS).expect("a status"), path);
            }
        });
    }
    for crd in crds {
        let of_crd = removed.iter().filter(|removed| removed.crd == *crd);
        await_served(plane, *crd, &of_crd.map(|removed| format!("status.{}", removed.path)).collect::<Vec<_>>());
    }
}

/// Installs a CustomResourceDefinition as it is shipped, but for a change.
pub fn install(plane: &ControlPlane, crd: Crd, change: impl Fn(&mut Value)) {
    let client = plane.client();
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}", crd.name());
    let mut wanted = crd.shipped();
    change(&mut wanted);
    eventually(SOON, &format!("{} to be replaced", crd.name()), || {
        block_on(async {
            let mut object = send(&client, "GET", &path, &Value::Null).await.map_err(|error| error.to_string())?;
            object["spec"] = wanted["spec"].clone();
            send(&client, "PUT", &path, &object).await.map(drop).map_err(|error| error.to_string())
        })
    });
}

/// The API server's OpenAPI of the kind's group, by the index, which is behind for up to a second.
pub fn openapi(client: &Client, crd: Crd) -> Result<Value, String> {
    let get = |path: &str| block_on(send(client, "GET", path, &Value::Null)).map_err(|error| error.to_string());
    let index = get("/openapi/v3")?;
    let url = &index["paths"][format!("apis/{}", crd.group_version())]["serverRelativeURL"];
    get(url.as_str().ok_or("the group is not served")?)
}

/// Waits until the API server's OpenAPI lacks just these fields.
pub fn await_served(plane: &ControlPlane, crd: Crd, missing: &[String]) {
    let client = plane.client();
    eventually(SOON, &format!("the schema of {} without {missing:?}", crd.name()), || {
        let document = openapi(&client, crd)?;
        let served = ServedSchema::in_document(crd.kind(), &document).ok_or("the kind is not served")?;
        if served.missing == missing { Ok(()) } else { Err(format!("{:?}", served.missing)) }
    });
}

/// What the condition CRDOutdated of a ClusterIdentity says; nothing where nothing is missing.
pub fn message(removed: &[Removed]) -> String {
    let mut lacking: Vec<String> =
        removed.iter().map(|removed| format!("{} (status.{})", removed.crd.name(), removed.path)).collect();
    lacking.sort();
    if lacking.is_empty() {
        return String::new();
    }
    format!(
        "the installed CustomResourceDefinitions do not declare all fields that this version of Rolecall writes: {}; these fields are not reported. Apply the CustomResourceDefinitions of this version (crds/)",
        lacking.join("; ")
    )
}

/// A value of a schema with every field in it.
pub fn sample(schema: &Value) -> Value {
    if schema["properties"].is_object() {
        let mut value = json!({});
        complete(schema, &mut value);
        return value;
    }
    match schema["type"].as_str() {
        Some("array") => json!([sample(&schema["items"])]),
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        Some("object") if schema["additionalProperties"].is_object() => {
            json!({"key": sample(&schema["additionalProperties"])})
        }
        Some("object") => json!({"key": "value"}),
        _ if schema["format"] == "date-time" => json!("2026-01-02T03:04:05Z"),
        _ => json!("text"),
    }
}

/// Adds what a value lacks of its schema.
pub fn complete(schema: &Value, value: &mut Value) {
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        match value.get_mut(name) {
            None => value[name] = sample(of),
            Some(Value::Array(list)) => list.iter_mut().for_each(|item| complete(&of["items"], item)),
            Some(value) => complete(of, value),
        }
    }
}
