//! Each field of each status, taken out of the schema that a real API server enforces: the status that Rolecall writes is
//! refused whole, and once it is cut all else of it is taken.

use rolecall::api::{ClusterIdentityStatus, CredentialsRequestStatus, UpgradeCheckStatus};
use rolecall::kubernetes::schema::refused_fields;
use rolecall::kubernetes::served::ServedSchema;
use serde_json::{Value, json};

use super::crds::{Crd, complete, paths, refusal, send, take_out, take_out_of_status};
use super::*;
use crate::support::block_on;

/// The API server wants a list's keys declared.
const KEYS_OF_LISTS: [(Crd, &[&str]); 4] = [
    (Crd::Identity, &["conditions[].type", "provisionedSecrets[].secret", "retainedSecrets[].secret"]),
    (Crd::Request, &["conditions[].type"]),
    (Crd::OpenShiftRequest, &[]),
    (Crd::Check, &["conditions[].type"]),
];

/// How many fields there are, so that none is passed over unnoticed.
const FIELDS: [(Crd, usize); 4] =
    [(Crd::Identity, 75), (Crd::Request, 15), (Crd::OpenShiftRequest, 13), (Crd::Check, 56)];

#[test]
fn a_status_loses_no_more_than_the_field_that_a_crd_does_not_declare() {
    let (plane, _changing) = changeable();
    let mut scene = scene_on(plane, "paths");
    start(&mut scene);
    scene.await_condition("Ready", "True");
    scene.await_request("a", "Ready", "True");
    await_check(&scene, AHEAD, "PreGranted", "True");
    for crd in Crd::ALL {
        let object = match crd {
            Crd::Identity => scene.identity_object(),
            Crd::Request | Crd::OpenShiftRequest => scene.request_object("a"),
            Crd::Check => object(&scene, AHEAD),
        };
        let mut refused_crds = Vec::new();
        let mut tried = Vec::new();
        let all = paths(&crd.status());
        for path in &all {
            match Variant::of(crd, path) {
                Some(variant) => tried.push(variant),
                None => refused_crds.push(path.as_str()),
            }
        }
        let expected = KEYS_OF_LISTS.iter().find(|(of, _)| *of == crd).expect("each kind").1;
        assert_eq!(refused_crds, expected, "{crd:?}");
        let count = FIELDS.iter().find(|(of, _)| *of == crd).expect("each kind").1;
        assert_eq!(all.len(), count, "the fields of {crd:?}: {all:?}");
        each_is_cut(plane, crd, &object["status"], &tried, expected);
    }
}

/// A schema without one field, as a version of a CustomResourceDefinition of its own.
struct Variant {
    path: String,
    schema: Value,
}

impl Variant {
    /// None where a list would lose its key.
    fn of(crd: Crd, path: &str) -> Option<Self> {
        let mut schema = crd.status();
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        if let Some(list) = parent.strip_suffix("[]") {
            let pointer = format!("/properties/{}", list.replace("[]", "/items").replace('.', "/properties/"));
            let keys = &schema.pointer(&pointer).expect("a list")["x-kubernetes-list-map-keys"];
            if keys.as_array().is_some_and(|keys| keys.iter().any(|key| key == name)) {
                return None;
            }
        }
        take_out(&mut schema, path);
        Some(Self { path: path.to_owned(), schema })
    }
}

fn version(name: &str, is_stored: bool, status: &Value) -> Value {
    json!({
        "name": name, "served": true, "storage": is_stored, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "status": status,
        }}},
    })
}

/// The same kind in a group of its own, with these versions.
fn definition(crd: Crd, group: &str, versions: Vec<Value>) -> Value {
    let mut names = crd.shipped()["spec"]["names"].clone();
    names.as_object_mut().expect("names").shift_remove("shortNames");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{group}", crd.plural())},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions},
    })
}

fn each_is_cut(plane: &ControlPlane, crd: Crd, told: &Value, variants: &[Variant], keys: &[&str]) {
    let client = plane.client();
    let group = format!("{crd:?}.paths.test").to_lowercase();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for key in keys {
        let mut schema = crd.status();
        take_out(&mut schema, key);
        let definition = definition(crd, &group, vec![version("v1", true, &schema)]);
        let (code, says) = refusal(block_on(send(&client, "POST", &format!("{definitions}?dryRun=All"), &definition)));
        assert!(code == 422 && says.contains("x-kubernetes-list-map-keys"), "{key}: {code} {says}");
    }
    let mut versions = vec![version("v1", true, &crd.status())];
    let names: Vec<String> = (0..variants.len()).map(|number| format!("v{}", number + 2)).collect();
    versions.extend(names.iter().zip(variants).map(|(name, variant)| version(name, false, &variant.schema)));
    block_on(send(&client, "POST", definitions, &definition(crd, &group, versions))).expect("the definition");

    // What the operator has told, and an example of what it had no reason to tell; as the kind's own schema has it.
    let mut whole = told.clone();
    complete(&crd.status(), &mut whole);
    let whole = served(plane, crd, &group, "v1").cut(whole);
    let url =
        |version: &str, suffix: &str| format!("/apis/{group}/{version}/namespaces/paths/{}{suffix}", crd.plural());
    let kind = crd.shipped()["spec"]["names"]["kind"].clone();
    let body = |version: &str, more: &Value| {
        let mut body = json!({
            "apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": {"name": "x", "namespace": "paths"},
        });
        body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        body
    };
    let created = eventually(SOON, &format!("{group} to be served"), || {
        let answer = block_on(send(&client, "POST", &url("v1", ""), &body("v1", &json!({"spec": {}}))));
        answer.map_err(|error| error.to_string())
    });
    assert_eq!(created["metadata"]["name"], "x");
    let apply = |version: &str, status: &Value| {
        let url = url(version, "/x/status?dryRun=All&force=true&fieldManager=rolecall");
        block_on(send(&client, "PATCH", &url, &body(version, &json!({"status": status}))))
    };
    assert_eq!(apply("v1", &whole).expect("the whole status")["status"], whole);
    for (version, Variant { path, .. }) in names.iter().zip(variants) {
        let (code, says) = refusal(apply(version, &whole));
        assert!([422, 500].contains(&code), "{path}: {code} {says}");
        let full = format!("status.{path}");
        let named = refused_fields(code, &says);
        assert!(named.iter().any(|field| *field == full), "{path}: {named:?} of {says}");

        let schema = served(plane, crd, &group, version);
        assert_eq!(schema.missing, [full], "{path}");
        let mut wanted = whole.clone();
        take_out_of_status(&mut wanted, path);
        let written = apply(version, &schema.cut(whole.clone())).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(written["status"], wanted, "{path}");
        assert!(decodes(crd, &wanted), "{path}: what is left cannot be decoded");
    }
}

/// The schema of a version, read as the operator does it.
fn served(plane: &ControlPlane, crd: Crd, group: &str, version: &str) -> ServedSchema {
    let client = plane.client();
    let path = format!("/openapi/v3/apis/{group}/{version}");
    eventually(SOON, &format!("the OpenAPI of {group}/{version}"), || {
        let document = block_on(send(&client, "GET", &path, &Value::Null)).map_err(|error| error.to_string())?;
        let own = document
            .to_string()
            .replace(&format!("/apis/{group}/{version}/"), &format!("/apis/{}/", crd.group_version()));
        let own: Value = serde_json::from_str(&own).expect("JSON");
        ServedSchema::in_document(crd.kind(), &own).ok_or_else(|| own.to_string())
    })
}

fn decodes(crd: Crd, status: &Value) -> bool {
    let status = status.clone();
    match crd {
        Crd::Identity => serde_json::from_value::<ClusterIdentityStatus>(status).is_ok(),
        Crd::Request | Crd::OpenShiftRequest => serde_json::from_value::<CredentialsRequestStatus>(status).is_ok(),
        Crd::Check => serde_json::from_value::<UpgradeCheckStatus>(status).is_ok(),
    }
}
