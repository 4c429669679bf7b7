//! Objects as lists and watches deliver them, each decoded by itself.
//!
//! The API server stores objects that a parser refuses: it takes up to 10,000 levels where a schema preserves unknown
//! fields, serde_json stops at 128, and `metadata.managedFields` is nested as deep as the object. kube decodes a list as a
//! whole, so that one such object would hide all others. [`Decoded`] takes each item as text, which has no limit, and decodes
//! it afterwards: an item that cannot be decoded becomes an object with an error in the store.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::PartialObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::api::{ClusterIdentity, CredentialsRequest, UpgradeCheck};

/// An item of a list or a watch: the object, or why it cannot be decoded.
#[derive(Debug, Clone)]
pub struct Decoded<K>(pub Result<K, Undecodable>);

/// An object that this version of Rolecall cannot decode.
#[derive(Debug, Clone)]
pub struct Undecodable {
    /// Its metadata, without `managedFields`.
    pub metadata: ObjectMeta,
    /// What is wrong, and where.
    pub error: String,
    /// Its spec as text, if it has one.
    pub spec: Option<Box<str>>,
    /// Its status as text, if it has one.
    pub status: Option<Box<str>>,
}

/// A kind that is decoded part by part.
pub trait DecodedKind: Resource<DynamicType = ()> + Sized {
    /// Its spec; `()` where nothing of it is needed.
    type Spec: DeserializeOwned;
    /// Its status.
    type Status: DeserializeOwned;

    /// The object made of its parts. `spec` is `None` where the object has none.
    fn assemble(metadata: ObjectMeta, spec: Option<Self::Spec>, status: Option<Self::Status>) -> Result<Self, String>;

    /// What of a decoded object cannot be parsed all the same: a part that is kept as text.
    fn problem(&self) -> Option<String> {
        None
    }
}

impl DecodedKind for ClusterIdentity {
    type Spec = crate::api::ClusterIdentitySpec;
    type Status = crate::api::ClusterIdentityStatus;

    fn assemble(metadata: ObjectMeta, spec: Option<Self::Spec>, status: Option<Self::Status>) -> Result<Self, String> {
        Ok(Self { metadata, spec: spec.ok_or(NO_SPEC)?, status })
    }
}

impl DecodedKind for CredentialsRequest {
    type Spec = crate::api::CredentialsRequestSpec;
    type Status = crate::api::CredentialsRequestStatus;

    fn assemble(metadata: ObjectMeta, spec: Option<Self::Spec>, status: Option<Self::Status>) -> Result<Self, String> {
        Ok(Self { metadata, spec: spec.ok_or(NO_SPEC)?, status })
    }

    fn problem(&self) -> Option<String> {
        let error = self.spec.provider_spec.as_ref()?.parse().err()?;
        Some(format!("spec.providerSpec: {error}"))
    }
}

impl DecodedKind for UpgradeCheck {
    type Spec = crate::api::UpgradeCheckSpec;
    type Status = crate::api::UpgradeCheckStatus;

    fn assemble(metadata: ObjectMeta, spec: Option<Self::Spec>, status: Option<Self::Status>) -> Result<Self, String> {
        Ok(Self { metadata, spec: spec.ok_or(NO_SPEC)?, status })
    }
}

/// Of these kinds the metadata alone is asked for.
impl<K: Resource<DynamicType = ()>> DecodedKind for PartialObjectMeta<K> {
    type Spec = serde::de::IgnoredAny;
    type Status = serde::de::IgnoredAny;

    fn assemble(metadata: ObjectMeta, _: Option<Self::Spec>, _: Option<Self::Status>) -> Result<Self, String> {
        Ok(Self { metadata, types: None, _phantom: std::marker::PhantomData })
    }
}

const NO_SPEC: &str = "spec is missing";

impl<K: DecodedKind> Decoded<K> {
    /// What of the object cannot be parsed.
    pub fn problem(&self) -> Option<String> {
        match &self.0 {
            Ok(object) => object.problem(),
            Err(undecodable) => Some(undecodable.error.clone()),
        }
    }
}

/// The parts of an object, before any of them is decoded.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

impl<K: DecodedKind> Decoded<K> {
    /// Decodes the text of an object.
    fn of(text: &str) -> Self {
        let parts: Parts<'_> = match serde_json::from_str(text) {
            Ok(parts) => parts,
            Err(error) => return Self(Err(Undecodable::nameless(error.to_string()))),
        };
        let metadata = match serde_json::from_str::<Metadata<'_>>(parts.metadata.get()) {
            Ok(metadata) => metadata.into_object_meta(),
            Err(error) => return Self(Err(Undecodable::nameless(format!("metadata: {error}")))),
        };
        let refused = |error: String| {
            let text = |part: Option<&RawValue>| part.map(|part| part.get().into());
            Undecodable { metadata: metadata.clone(), error, spec: text(parts.spec), status: text(parts.status) }
        };
        let object = decode("spec", parts.spec)
            .and_then(|spec| Ok((spec, decode("status", parts.status)?)))
            .and_then(|(spec, status)| K::assemble(metadata.clone(), spec, status));
        Self(object.map_err(refused))
    }
}

fn decode<T: DeserializeOwned>(name: &str, part: Option<&RawValue>) -> Result<Option<T>, String> {
    part.map(|part| serde_json::from_str(part.get()).map_err(|error| format!("{name}: {error}"))).transpose()
}

impl Undecodable {
    fn nameless(error: String) -> Self {
        Self { metadata: ObjectMeta::default(), error, spec: None, status: None }
    }
}

/// The metadata that Rolecall looks at. `managedFields` are as deep as the object and never parsed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Metadata<'a> {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    annotations: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

/// Where kubectl keeps a second copy of what was applied: it takes more room than all the rest, and is never looked at.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Metadata<'_> {
    fn into_object_meta(self) -> ObjectMeta {
        let annotations = self.annotations.map(|annotations| {
            let kept = annotations.into_iter().filter(|(key, _)| key != LAST_APPLIED);
            // Annotations are strings; the API server takes nothing else.
            kept.filter_map(|(key, value)| Some((key.into_owned(), serde_json::from_str(value.get()).ok()?))).collect()
        });
        ObjectMeta {
            name: self.name,
            namespace: self.namespace,
            uid: self.uid,
            resource_version: self.resource_version,
            generation: self.generation,
            creation_timestamp: self.creation_timestamp,
            deletion_timestamp: self.deletion_timestamp,
            labels: self.labels,
            annotations,
            finalizers: self.finalizers,
            owner_references: self.owner_references,
            ..ObjectMeta::default()
        }
    }
}

impl<'de, K: DecodedKind> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The scanner of raw values is not recursive and looks at no number.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::of(raw.get()))
    }
}

impl<K: Resource> Resource for Decoded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(undecodable) => &undecodable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(undecodable) => &mut undecodable.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use kube::ResourceExt;
    use kube::core::ObjectList;
    use kube::core::watch::WatchEvent;

    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
    }

    /// A request as the API server returns it: `managedFields` are as deep as the spec.
    fn request(name: &str, provider_spec: &str) -> String {
        format!(
            r#"{{"apiVersion":"cloudcredential.openshift.io/v1","kind":"CredentialsRequest","metadata":{{"name":"{name}","namespace":"n","generation":3,"managedFields":[{{"fieldsV1":{provider_spec}}}],"annotations":{{"{LAST_APPLIED}":"{{}}","a":"\u00e9\ud83d\ude00\u0000"}}}},"spec":{{"secretRef":{{"name":"s","namespace":"n"}},"providerSpec":{provider_spec}}},"status":{{"provisioned":true,"lastSyncGeneration":2,"providerStatus":{provider_spec}}}}}"#
        )
    }

    #[test]
    fn a_hostile_item_costs_the_list_nothing() {
        let items = [
            request("small", r#"{"kind":"AWSProviderSpec"}"#),
            request("deep", &nested(5_000)),
            request("number", r#"{"n":1e999}"#),
            request("escapes", r#"{"\ud83d\ude00\u0000":"\\u0000\u2028"}"#),
            request("lone", r#"{"n":"\ud83d"}"#),
            r#"{"metadata":{"name":"no-spec","namespace":"n"}}"#.to_owned(),
            r#"{"metadata":{"name":"other-types","namespace":"n"},"spec":{"secretRef":7}}"#.to_owned(),
            r#"{"metadata":7}"#.to_owned(),
            "7".to_owned(),
        ];
        let list = format!(r#"{{"apiVersion":"v1","kind":"List","metadata":{{}},"items":[{}]}}"#, items.join(","));
        let list: ObjectList<Decoded<CredentialsRequest>> = serde_json::from_str(&list).unwrap();
        let problems: Vec<(String, Option<String>)> =
            list.items.iter().map(|item| (item.meta().name.clone().unwrap_or_default(), item.problem())).collect();
        let says = |name: &str| problems.iter().find(|(of, _)| of == name).unwrap().1.clone().unwrap_or_default();
        assert_eq!(problems.len(), 9);
        assert_eq!(says("small"), "");
        assert_eq!(says("escapes"), "");
        assert!(
            says("deep").starts_with("spec.providerSpec: the value is nested more than 128 levels deep"),
            "{}",
            says("deep")
        );
        assert!(
            says("number").starts_with("spec.providerSpec: the value cannot be parsed: number out of range"),
            "{}",
            says("number")
        );
        assert!(says("lone").starts_with("spec.providerSpec: "), "{}", says("lone"));
        assert_eq!(says("no-spec"), "spec is missing");
        assert!(says("other-types").starts_with("spec: invalid type"), "{}", says("other-types"));
        // What can be read of an object is read: its generation, its status, its annotations.
        let deep = list.items[1].0.as_ref().unwrap();
        assert_eq!((deep.metadata.generation, deep.status.as_ref().unwrap().last_sync_generation), (Some(3), 2));
        assert_eq!(deep.annotations().len(), 1);
        assert_eq!(deep.annotations()["a"], "é😀\0");
        assert!(list.items[6].0.as_ref().unwrap_err().spec.as_deref() == Some(r#"{"secretRef":7}"#));
    }

    #[test]
    fn a_hostile_event_is_an_event() {
        let line = format!(r#"{{"type":"MODIFIED","object":{}}}"#, request("deep", &nested(9_000)));
        let event: WatchEvent<Decoded<CredentialsRequest>> = serde_json::from_str(&line).unwrap();
        let WatchEvent::Modified(item) = event else { panic!("{event:?}") };
        assert!(item.problem().is_some() && item.0.is_ok());
    }

    #[test]
    fn of_a_secret_the_metadata_alone_is_kept() {
        let text = r#"{"kind":"PartialObjectMetadata","metadata":{"name":"s","resourceVersion":"7"},"data":{"a":"b"}}"#;
        let secret: Decoded<PartialObjectMeta<Secret>> = serde_json::from_str(text).unwrap();
        assert_eq!(secret.0.unwrap().metadata.resource_version.as_deref(), Some("7"));
    }
}
