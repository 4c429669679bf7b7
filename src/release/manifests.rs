//! Reading manifests: multi-document YAML with comments, empty documents, tombstones and foreign kinds among them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::api::{CredentialsRequestSpec, RELEASE_LABEL};
use crate::desired::RequestInput;
use crate::desired::request::{AWS_KIND, OTHER_CLOUDS, RequestId};

/// Annotation that marks a request which the release has removed.
pub const DELETE_ANNOTATION: &str = "release.openshift.io/delete";

/// The kind of a request.
const KIND: &str = "CredentialsRequest";

/// Largest manifest file that is read, in bytes. A release's largest has about 60 KB.
pub const LARGEST_FILE: usize = 4 * 1024 * 1024;

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The file is too large.
    #[error("{file}: {size} bytes; manifests of at most {LARGEST_FILE} bytes are read")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        size: usize,
    },
    /// The file is no YAML.
    #[error("{file}: {problem}")]
    NotYaml {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

/// Which cloud a request is for: what `spec.providerSpec.kind` says, whatever else is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cloud {
    /// AWS.
    Aws,
    /// Another one; the kind.
    Other(String),
    /// There is no such kind.
    Unnamed,
    /// It cannot be told: there is no cloud of that kind, or nothing is left of an object that could not be read.
    Unknown,
}

impl Cloud {
    /// By the kind of a `providerSpec`, if it has one.
    pub fn of_kind(kind: Option<&str>) -> Self {
        match kind {
            Some(AWS_KIND) => Self::Aws,
            Some(kind) if OTHER_CLOUDS.contains(&kind) => Self::Other(kind.to_owned()),
            // A slip in the kind must not take the request out of the release.
            Some(_) => Self::Unknown,
            None => Self::Unnamed,
        }
    }

    /// Why no cluster on AWS gets the request, as `oc adm release extract --cloud=aws` decides it.
    pub fn why_not_aws(&self) -> Option<String> {
        match self {
            Self::Aws | Self::Unknown => None,
            Self::Other(kind) => Some(format!("for another cloud ({kind})")),
            Self::Unnamed => Some(format!("for no cloud: spec.providerSpec has no kind, which for AWS is {AWS_KIND}")),
        }
    }
}

/// A CredentialsRequest of a release.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The file it stands in.
    pub file: String,
    /// Which request.
    pub id: RequestId,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Which cloud it is for. Most specs that cannot be read say so, too.
    pub cloud: Cloud,
    /// Its spec; a tombstone has none.
    pub spec: Result<CredentialsRequestSpec, String>,
}

impl Manifest {
    /// Whether the release has removed the request.
    pub fn is_tombstone(&self) -> bool {
        self.annotations.get(DELETE_ANNOTATION).is_some_and(|value| value == "true")
    }

    /// The request as input of a pass.
    pub fn into_input(self) -> RequestInput {
        RequestInput {
            tombstone: self.is_tombstone(),
            candidate_of: self.labels.get(RELEASE_LABEL).cloned(),
            id: self.id,
            spec: self.spec,
            claimed_by: None,
            claim_in_doubt: false,
            has: None,
            created: None,
        }
    }
}

/// Whether a file may hold requests: it has to name their kind somewhere. A release has a thousand files that do not, and
/// of those some are templates that are no YAML. What has NULs in it may name it in UTF-16.
pub fn may_hold_requests(content: &[u8]) -> bool {
    content.contains(&0) || content.windows(KIND.len()).any(|window| window == KIND.as_bytes())
}

/// The CredentialsRequests of one file; everything else in it is passed over.
pub fn read_file(file: &str, text: &str) -> Result<Vec<Manifest>, ManifestError> {
    if text.len() > LARGEST_FILE {
        return Err(ManifestError::TooLarge { file: file.into(), size: text.len() });
    }
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(text)
        .map_err(|error| ManifestError::NotYaml { file: file.into(), problem: first_line(&error.to_string()) })?;
    let mut found = Vec::new();
    for document in documents.into_iter().flatten() {
        collect(file, &document, &mut found);
    }
    Ok(found)
}

fn collect(file: &str, document: &Value, found: &mut Vec<Manifest>) {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("kind") == "List" && text("apiVersion") == "v1" {
        let items = document.get("items").and_then(Value::as_array);
        items.into_iter().flatten().for_each(|item| collect(file, item, found));
        return;
    }
    if text("kind") != KIND || text("apiVersion") != "cloudcredential.openshift.io/v1" {
        return;
    }
    // Each value by itself: one of another type than it should be must not hide that the release has removed the request.
    let of_metadata =
        |key: &str| document.get("metadata").and_then(|metadata| metadata.get(key)).filter(|value| !value.is_null());
    let name = |key: &str| of_metadata(key).map(as_text).unwrap_or_default();
    let strings = |key: &str| {
        let pairs = of_metadata(key).and_then(Value::as_object).into_iter().flatten();
        pairs.map(|(key, value)| (key.clone(), as_text(value))).collect()
    };
    found.push(Manifest {
        file: file.into(),
        id: RequestId { namespace: name("namespace"), name: name("name") },
        annotations: strings("annotations"),
        labels: strings("labels"),
        cloud: Cloud::of_kind(document.pointer("/spec/providerSpec/kind").and_then(Value::as_str)),
        spec: match document.get("spec") {
            None | Some(Value::Null) => Err("spec is missing".into()),
            Some(spec) => CredentialsRequestSpec::deserialize(spec).map_err(|error| format!("spec: {error}")),
        },
    });
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
