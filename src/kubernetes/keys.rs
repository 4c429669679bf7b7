//! Reads the sources of signing keys. What they hold is used for one pass and not kept.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use super::errors::fault;
use crate::api::cluster_identity::{KeyReference, SigningKeySource};
use crate::desired::keys::KeySource;

/// Reads every source, in order. A source that cannot be read says why.
pub async fn read_all(client: &Client, namespace: &str, sources: &[SigningKeySource]) -> Vec<KeySource> {
    let mut read = Vec::with_capacity(sources.len());
    for source in sources {
        read.push(read_one(client, namespace, source).await);
    }
    read
}

async fn read_one(client: &Client, namespace: &str, source: &SigningKeySource) -> KeySource {
    match (&source.secret_ref, &source.config_map_ref) {
        (Some(reference), _) => KeySource {
            origin: format!("Secret {namespace}/{}, key {}", reference.name, reference.key),
            pem: from_secret(client, namespace, reference).await,
        },
        (None, Some(reference)) => KeySource {
            origin: format!("ConfigMap {namespace}/{}, key {}", reference.name, reference.key),
            pem: from_config_map(client, namespace, reference).await,
        },
        (None, None) => KeySource {
            origin: "issuer.signingKeys".into(),
            pem: Err("an entry names neither a Secret nor a ConfigMap".into()),
        },
    }
}

async fn from_secret(client: &Client, namespace: &str, reference: &KeyReference) -> Result<String, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = api.get_opt(&reference.name).await;
    let secret = secret.map_err(|e| fault("get secrets", &reference.name, &e).to_string())?;
    let data = secret.ok_or("the Secret does not exist")?.data.unwrap_or_default();
    let value = data.get(&reference.key).ok_or_else(|| no_such_key(reference, data.keys()))?;
    String::from_utf8(value.0.clone()).map_err(|_| "the entry is no text".into())
}

async fn from_config_map(client: &Client, namespace: &str, reference: &KeyReference) -> Result<String, String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = api.get_opt(&reference.name).await;
    let map = map.map_err(|e| fault("get configmaps", &reference.name, &e).to_string())?;
    let data = map.ok_or("the ConfigMap does not exist")?.data.unwrap_or_default();
    data.get(&reference.key).cloned().ok_or_else(|| no_such_key(reference, data.keys()))
}

fn no_such_key<'a>(reference: &KeyReference, there: impl Iterator<Item = &'a String>) -> String {
    let there: Vec<&str> = there.map(String::as_str).collect();
    format!("it has no entry {}; there are: {}", reference.key, there.join(", "))
}
