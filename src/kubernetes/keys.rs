//! Reads the sources of signing keys. What they hold is used for one pass and not kept.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use super::errors::fault;
use crate::api::cluster_identity::{KeyReference, SigningKeySource};
use crate::desired::keys::KeySource;
use crate::observed::{Fault, FaultClass};

/// Reads every source, in order. A source that cannot be read says why; the first fault that will pass comes with them.
pub async fn read_all(
    client: &Client,
    namespace: &str,
    sources: &[SigningKeySource],
) -> (Vec<KeySource>, Option<Fault>) {
    let (mut read, mut unread) = (Vec::with_capacity(sources.len()), None);
    for source in sources {
        let (origin, pem) = read_one(client, namespace, source).await;
        let pem = pem.unwrap_or_else(|fault| {
            let problem = fault.to_string();
            if matches!(fault.class, FaultClass::Throttled | FaultClass::Server | FaultClass::Network) {
                unread.get_or_insert(fault);
            }
            Err(problem)
        });
        read.push(KeySource { origin, pem });
    }
    (read, unread)
}

/// A text or what is wrong with the source; the fault when it could not be asked for.
type Read = Result<Result<String, String>, Fault>;

async fn read_one(client: &Client, namespace: &str, source: &SigningKeySource) -> (String, Read) {
    match (&source.secret_ref, &source.config_map_ref) {
        (Some(reference), _) => (
            format!("Secret {namespace}/{}, key {}", reference.name, reference.key),
            from_secret(client, namespace, reference).await,
        ),
        (None, Some(reference)) => (
            format!("ConfigMap {namespace}/{}, key {}", reference.name, reference.key),
            from_config_map(client, namespace, reference).await,
        ),
        (None, None) => {
            ("issuer.signingKeys".into(), Ok(Err("an entry names neither a Secret nor a ConfigMap".into())))
        }
    }
}

async fn from_secret(client: &Client, namespace: &str, reference: &KeyReference) -> Read {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = api.get_opt(&reference.name).await.map_err(|e| fault("get secrets", &reference.name, &e))?;
    let Some(secret) = secret else { return Ok(Err("the Secret does not exist".into())) };
    let data = secret.data.unwrap_or_default();
    Ok(match data.get(&reference.key) {
        None => Err(no_such_key(reference, data.keys())),
        Some(value) => String::from_utf8(value.0.clone()).map_err(|_| "the entry is no text".into()),
    })
}

async fn from_config_map(client: &Client, namespace: &str, reference: &KeyReference) -> Read {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = api.get_opt(&reference.name).await.map_err(|e| fault("get configmaps", &reference.name, &e))?;
    let Some(map) = map else { return Ok(Err("the ConfigMap does not exist".into())) };
    let data = map.data.unwrap_or_default();
    Ok(data.get(&reference.key).cloned().ok_or_else(|| no_such_key(reference, data.keys())))
}

fn no_such_key<'a>(reference: &KeyReference, there: impl Iterator<Item = &'a String>) -> String {
    let there: Vec<&str> = there.map(String::as_str).collect();
    format!("it has no entry {}; there are: {}", reference.key, there.join(", "))
}
