//! Reads the sources of signing keys. What they hold is used for one pass and not kept.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use super::errors::fault;
use crate::api::cluster_identity::{KeyReference, SigningKeySource};
use crate::desired::keys::{Held, KeySource, named};
use crate::observed::{Fault, FaultClass};

/// Reads every source, in order. A source that cannot be read says why; the first fault that will pass comes with them.
pub async fn read_all(
    client: &Client,
    namespace: &str,
    sources: &[SigningKeySource],
) -> (Vec<KeySource>, Option<Fault>) {
    let (mut read, mut unread) = (Vec::with_capacity(sources.len()), None);
    for source in sources {
        let (origin, held) = read_one(client, namespace, source).await;
        let held = held.unwrap_or_else(|fault| {
            let problem = fault.to_string();
            if matches!(fault.class, FaultClass::Throttled | FaultClass::Server | FaultClass::Network) {
                unread.get_or_insert(fault);
            }
            Err(problem)
        });
        read.push(KeySource { origin, held });
    }
    (read, unread)
}

/// What a source holds or what is wrong with it; the fault when it could not be asked for.
type Read = Result<Result<Held, String>, Fault>;

async fn read_one(client: &Client, namespace: &str, source: &SigningKeySource) -> (String, Read) {
    match (&source.secret_ref, &source.config_map_ref) {
        (Some(reference), None) => {
            (origin("Secret", namespace, reference), from_secret(client, namespace, reference).await)
        }
        (None, Some(reference)) => {
            (origin("ConfigMap", namespace, reference), from_config_map(client, namespace, reference).await)
        }
        (None, None) => refused("an entry names neither a Secret nor a ConfigMap"),
        (Some(_), Some(_)) => refused("an entry names both a Secret and a ConfigMap; make two entries of it"),
    }
}

fn refused(problem: &str) -> (String, Read) {
    ("issuer.signingKeys".into(), Ok(Err(problem.into())))
}

fn origin(kind: &str, namespace: &str, reference: &KeyReference) -> String {
    let entry = reference.key.as_ref().map(|key| format!(", key {key}")).unwrap_or_default();
    format!("{kind} {namespace}/{}{entry}", reference.name)
}

async fn from_secret(client: &Client, namespace: &str, reference: &KeyReference) -> Read {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = api.get_opt(&reference.name).await.map_err(|e| fault("get secrets", &reference.name, &e))?;
    let Some(secret) = secret else { return Ok(Err("the Secret does not exist".into())) };
    let entries = secret.data.unwrap_or_default().into_iter().map(|(name, value)| (name, value.0)).collect();
    // What entries a Secret has is not told to whoever may write a ClusterIdentity but not read Secrets.
    Ok(held(entries, reference, |_| String::new()))
}

async fn from_config_map(client: &Client, namespace: &str, reference: &KeyReference) -> Read {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = api.get_opt(&reference.name).await.map_err(|e| fault("get configmaps", &reference.name, &e))?;
    let Some(map) = map else { return Ok(Err("the ConfigMap does not exist".into())) };
    Ok(held(entries_of(map), reference, |entries| {
        format!("; there are: {}", named(entries.keys().map(String::as_str)))
    }))
}

/// The entries of a ConfigMap. What is no UTF-8 lies in `binaryData`; a name is in one of both.
fn entries_of(map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.unwrap_or_default().into_iter().map(|(name, text)| (name, text.into_bytes()));
    let binary = map.binary_data.unwrap_or_default().into_iter().map(|(name, value)| (name, value.0));
    text.chain(binary).collect()
}

/// The entry that is asked for, or all of them; `there` tells of those that there are instead.
fn held(
    mut entries: BTreeMap<String, Vec<u8>>,
    reference: &KeyReference,
    there: impl Fn(&BTreeMap<String, Vec<u8>>) -> String,
) -> Result<Held, String> {
    let Some(key) = &reference.key else { return Ok(Held::Object(entries)) };
    match entries.remove(key) {
        Some(entry) => Ok(Held::Entry(entry)),
        None => Err(format!("it has no entry {key}{}", there(&entries))),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn reference(key: Option<&str>) -> KeyReference {
        KeyReference { name: "signer".into(), key: key.map(Into::into) }
    }

    #[test]
    fn an_entry_of_a_config_map_may_be_text_or_binary() {
        let map = || ConfigMap {
            data: Some(BTreeMap::from([("a".into(), "text".into())])),
            binary_data: Some(BTreeMap::from([("b".into(), ByteString(vec![0xff]))])),
            ..ConfigMap::default()
        };
        let read = |key| held(entries_of(map()), &reference(key), |there| format!("; {} others", there.len()));
        assert_eq!(read(Some("a")), Ok(Held::Entry(b"text".to_vec())));
        assert_eq!(read(Some("b")), Ok(Held::Entry(vec![0xff])));
        assert_eq!(read(Some("c")), Err("it has no entry c; 2 others".into()));
        let Ok(Held::Object(all)) = read(None) else { panic!("all entries") };
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b"]);
    }
}
