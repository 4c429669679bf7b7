//! Credentials Secrets: read for what matters of them, written by server-side apply.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::errors::fault;
use crate::api::REPLACE_WITH;
use crate::desired::names::sha256_hex;
use crate::desired::owner::{OWNER_MARK, secret_mark};
use crate::desired::secret::{
    CREDENTIALS_KEY, DesiredSecret, IDENTITY_ANNOTATION, MANAGED_BY_LABEL, SecretKey, UPSTREAM_LABEL,
};
use crate::observed::{Fault, LeftoverSecret, ObservedSecret};

/// Field manager of everything that Rolecall applies.
pub const FIELD_MANAGER: &str = "rolecall";

/// Upstream's annotation with the request, `namespace/name`; its key is that of the label.
const REQUEST_ANNOTATION: &str = UPSTREAM_LABEL;

/// The entries of a Secret that hold an access key.
const ACCESS_KEY_ENTRIES: [&str; 2] = ["aws_access_key_id", "aws_secret_access_key"];

/// Reads a Secret. Its values are looked at here and dropped; none of them leaves this function.
pub async fn read(client: &Client, key: &SecretKey) -> Result<Option<ObservedSecret>, Fault> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &key.namespace);
    let secret = api.get_opt(&key.name).await.map_err(|e| fault("get secrets", &format!("Secret {key}"), &e))?;
    Ok(secret.map(|secret| look_at(&secret)))
}

fn look_at(secret: &Secret) -> ObservedSecret {
    let data = secret.data.as_ref();
    let credentials = data.and_then(|data| data.get(CREDENTIALS_KEY)).map(|value| value.0.as_slice());
    let text = credentials.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    let has_access_key = text.contains(ACCESS_KEY_ENTRIES[0])
        || data.is_some_and(|data| ACCESS_KEY_ENTRIES.iter().any(|entry| data.contains_key(*entry)));
    let line = |name: &str| {
        let value = text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == name);
        value.filter(|_| !has_access_key).map(|(_, value)| value.trim().to_owned())
    };
    let label = |name: &str| secret.labels().get(name).map(String::as_str);
    let managed_by_us = secret.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    let key = SecretKey { namespace: secret.namespace().unwrap_or_default(), name: secret.name_any() };
    let annotation = |name: &str| secret.annotations().get(name).map(String::as_str);
    let marked = label(MANAGED_BY_LABEL.0) == Some(MANAGED_BY_LABEL.1);
    ObservedSecret {
        resource_version: secret.resource_version().unwrap_or_default(),
        credentials_sha256: credentials.map(sha256_hex),
        role_arn: line("role_arn"),
        token_path: line("web_identity_token_file"),
        has_access_key,
        type_: secret.type_.clone().unwrap_or_else(|| "Opaque".into()),
        ours: marked || managed_by_us,
        labelled: marked && label(UPSTREAM_LABEL) == Some("true"),
        identity: secret.annotations().get(IDENTITY_ANNOTATION).cloned(),
        request: secret.annotations().get(REQUEST_ANNOTATION).cloned(),
        mark: annotation(OWNER_MARK).and_then(|mark| secret_mark(mark, &key)).map(str::to_owned),
        replaceable: annotation(REPLACE_WITH) == Some("sts"),
    }
}

/// Deletes a Secret, if it is still the one that was looked at.
pub async fn delete(client: &Client, secret: &LeftoverSecret) -> Result<(), Fault> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &secret.key.namespace);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(secret.uid.clone()),
            resource_version: Some(secret.resource_version.clone()),
        }),
        ..DeleteParams::default()
    };
    match api.delete(&secret.key.name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(fault("delete secrets", &format!("Secret {}", secret.key), &error)),
    }
}

/// Writes a Secret. With `force`, fields that other managers hold are taken over; access keys that it replaces are removed.
pub async fn write(
    client: &Client,
    wanted: &DesiredSecret,
    force: bool,
    removes_access_keys: bool,
) -> Result<(), Fault> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &wanted.key.namespace);
    let failed = |error: kube::Error| fault("patch secrets", &format!("Secret {}", wanted.key), &error);
    let labels = [(MANAGED_BY_LABEL.0, MANAGED_BY_LABEL.1), (UPSTREAM_LABEL, "true")];
    let annotations = [(REQUEST_ANNOTATION, wanted.request.as_str()), (IDENTITY_ANNOTATION, wanted.identity.as_str())];
    let mark = wanted.mark.as_deref().map(|mark| (OWNER_MARK, mark));
    let owned = |pairs: &mut dyn Iterator<Item = (&str, &str)>| {
        Some(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>())
    };
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(wanted.key.name.clone()),
            namespace: Some(wanted.key.namespace.clone()),
            labels: owned(&mut labels.into_iter()),
            annotations: owned(&mut annotations.into_iter().chain(mark)),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(CREDENTIALS_KEY.to_owned(), ByteString(wanted.credentials.clone().into_bytes()))])),
        ..Secret::default()
    };
    let mut params = PatchParams::apply(FIELD_MANAGER);
    params.force = force;
    api.patch(&wanted.key.name, &params, &Patch::Apply(&secret)).await.map_err(failed)?;
    if removes_access_keys {
        // Others own these entries, so that an apply leaves them.
        let gone: BTreeMap<&str, Option<()>> = ACCESS_KEY_ENTRIES.into_iter().map(|entry| (entry, None)).collect();
        let patch = json!({"data": gone, "metadata": {"annotations": {REPLACE_WITH: null}}});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        api.patch(&wanted.key.name, &params, &Patch::Merge(&patch)).await.map_err(failed)?;
    }
    Ok(())
}
