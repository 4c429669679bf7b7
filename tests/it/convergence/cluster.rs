//! The management cluster in this process, as far as passes need it: Secrets behind a client of kube's, server-side apply, and a
//! caller who may die at any call. It knows nothing of Rolecall.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::service_fn;

/// `namespace/name`.
pub type Place = String;

/// A write to a Secret that took effect.
#[derive(Debug, Clone)]
pub struct SecretWrite {
    pub place: Place,
    /// The Secret before it.
    pub before: Option<Value>,
    pub deleted: bool,
}

type Witness = Arc<dyn Fn(&SecretWrite) + Send + Sync>;

/// The cluster. Clones are the same one.
#[derive(Clone, Default)]
pub struct Cluster {
    state: Arc<Mutex<State>>,
    died: Arc<Notify>,
}

#[derive(Default)]
struct State {
    secrets: BTreeMap<Place, Value>,
    /// Who wrote `data.credentials` last.
    managers: BTreeMap<Place, String>,
    missing_namespaces: BTreeSet<String>,
    version: u64,
    witness: Option<Witness>,
    /// After how many calls the caller dies, and whether the last one takes effect.
    cut: Option<(u64, bool)>,
    dead: bool,
}

/// What is to become of a call.
enum Fate {
    Lives,
    DiesAfter,
    DiesBefore,
}

impl Cluster {
    /// A client that calls it. It has to be made within a runtime.
    pub fn client(&self) -> Client {
        let cluster = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let cluster = cluster.clone();
            async move { Ok::<_, Infallible>(cluster.serve(request).await) }
        });
        Client::new(service, "default")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls back after every write of a caller to a Secret.
    pub fn on_write(&self, witness: impl Fn(&SecretWrite) + Send + Sync + 'static) {
        self.lock().witness = Some(Arc::new(witness));
    }

    /// Lets the caller die with its n-th call from now.
    pub fn cut_after(&self, calls: u64, takes_effect: bool) {
        self.lock().cut = Some((calls.max(1), takes_effect));
    }

    pub fn revive(&self) {
        let mut state = self.lock();
        (state.cut, state.dead) = (None, false);
    }

    /// Returns once the caller is dead.
    pub async fn until_cut(&self) {
        loop {
            let died = self.died.notified();
            if self.lock().dead {
                return;
            }
            died.await;
        }
    }

    /// A write to a status: it may be the last thing that the caller does. Whether it takes effect; never comes back when the caller
    /// is dead and it has none.
    pub async fn write_status(&self, write: impl FnOnce()) {
        match self.fate() {
            Fate::Lives => write(),
            Fate::DiesAfter => {
                write();
                self.die().await;
            }
            Fate::DiesBefore => self.die().await,
        }
    }

    async fn die(&self) {
        self.lock().dead = true;
        self.died.notify_waiters();
        std::future::pending::<()>().await;
    }

    fn fate(&self) -> Fate {
        let mut state = self.lock();
        if state.dead {
            return Fate::DiesBefore;
        }
        match &mut state.cut {
            Some((left, takes_effect)) => {
                *left -= 1;
                match (*left, *takes_effect) {
                    (0, true) => Fate::DiesAfter,
                    (0, false) => Fate::DiesBefore,
                    _ => Fate::Lives,
                }
            }
            None => Fate::Lives,
        }
    }

    async fn serve(&self, request: Request<Body>) -> Response<Body> {
        let fate = self.fate();
        if matches!(fate, Fate::DiesBefore) {
            self.die().await;
        }
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.expect("a body");
        let (status, answer, write) = self.answer(&parts, &serde_json::from_slice(&body).unwrap_or(Value::Null));
        if let Some(write) = write {
            let witness = self.lock().witness.clone();
            witness.inspect(|witness| witness(&write));
        }
        if matches!(fate, Fate::DiesAfter) {
            self.die().await;
        }
        let answer = serde_json::to_vec(&answer).expect("JSON");
        Response::builder().status(status).body(Body::from(answer)).expect("a response")
    }

    fn answer(&self, parts: &http::request::Parts, body: &Value) -> (u16, Value, Option<SecretWrite>) {
        let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        let ["api", "v1", "namespaces", namespace, "secrets", name] = path[..] else {
            return (404, failure(404, "NotFound", parts.uri.path()), None);
        };
        let (place, mut state) = (format!("{namespace}/{name}"), self.lock());
        let before = state.secrets.get(&place).cloned();
        let write = |deleted| Some(SecretWrite { place: place.clone(), before: before.clone(), deleted });
        let query = parts.uri.query().unwrap_or_default();
        let content_type = parts.headers.get("content-type").and_then(|of| of.to_str().ok()).unwrap_or_default();
        match (&parts.method, &before) {
            (&Method::GET, Some(found)) => (200, found.clone(), None),
            (&Method::GET | &Method::DELETE, None) => (404, failure(404, "NotFound", &place), None),
            (&Method::DELETE, Some(found)) => {
                let wanted = &body["preconditions"];
                let meets = |field: &str| wanted[field].is_null() || wanted[field] == found["metadata"][field];
                if !meets("uid") || !meets("resourceVersion") {
                    return (409, failure(409, "Conflict", "precondition"), None);
                }
                state.secrets.remove(&place);
                state.managers.remove(&place);
                (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}), write(true))
            }
            (&Method::PATCH, _) if content_type.contains("apply") => {
                if state.missing_namespaces.contains(namespace) {
                    return (404, failure(404, "NotFound", namespace), None);
                }
                match state.apply(&place, body, query.contains("force=true")) {
                    Ok(applied) => (200, applied, write(false)),
                    Err(refused) => (409, refused, None),
                }
            }
            (&Method::PATCH, Some(_)) => {
                let merged = state.merge(&place, body);
                (200, merged, write(false))
            }
            _ => (405, failure(405, "MethodNotAllowed", parts.uri.path()), None),
        }
    }
}

/// What people do: not a caller's calls, and told to nobody.
impl Cluster {
    pub fn secret(&self, place: &str) -> Option<Value> {
        self.lock().secrets.get(place).cloned()
    }

    /// All Secrets by place.
    pub fn secrets(&self) -> BTreeMap<Place, Value> {
        self.lock().secrets.clone()
    }

    pub fn has_namespace(&self, name: &str) -> bool {
        !self.lock().missing_namespaces.contains(name)
    }

    /// Puts a Secret with these entries, in place of any other.
    pub fn put(&self, place: &str, data: &[(&str, &str)]) {
        let mut state = self.lock();
        let (namespace, name) = place.split_once('/').expect("namespace/name");
        state.version += 1;
        let version = state.version;
        let data: BTreeMap<&str, String> = data.iter().map(|(key, value)| (*key, encoded(value))).collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
            "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{version}"),
                "resourceVersion": version.to_string(), "managedFields": [{"manager": "someone", "operation": "Update"}]},
        });
        state.secrets.insert(place.to_owned(), secret);
        state.managers.insert(place.to_owned(), "someone".to_owned());
    }

    /// Alters a Secret; whether there is one.
    pub fn alter(&self, place: &str, alter: impl FnOnce(&mut Value)) -> bool {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version.to_string();
        let Some(secret) = state.secrets.get_mut(place) else { return false };
        alter(secret);
        secret["metadata"]["resourceVersion"] = version.into();
        state.managers.insert(place.to_owned(), "someone".to_owned());
        true
    }

    /// Deletes a Secret; whether there was one.
    pub fn delete(&self, place: &str) -> bool {
        let mut state = self.lock();
        state.managers.remove(place);
        state.secrets.remove(place).is_some()
    }
}

impl State {
    fn apply(&mut self, place: &str, wanted: &Value, force: bool) -> Result<Value, Value> {
        let (namespace, name) = place.split_once('/').expect("namespace/name");
        self.version += 1;
        let uid = format!("uid-{}", self.version);
        let new = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace, "uid": uid}});
        let mut secret = self.secrets.get(place).cloned().unwrap_or(new);
        let others = self.managers.get(place).is_some_and(|manager| manager != "rolecall");
        let differs = ["credentials"]
            .iter()
            .any(|entry| !secret["data"][entry].is_null() && secret["data"][entry] != wanted["data"][entry]);
        if others && differs && !force {
            return Err(failure(409, "Conflict", "Apply failed with 1 conflict: .data.credentials"));
        }
        for part in ["labels", "annotations"] {
            merge(&mut secret["metadata"][part], &wanted["metadata"][part]);
        }
        merge(&mut secret["data"], &wanted["data"]);
        secret["type"] = wanted["type"].clone();
        secret["metadata"]["resourceVersion"] = self.version.to_string().into();
        secret["metadata"]["managedFields"] = json!([{"manager": "rolecall", "operation": "Apply"}]);
        self.managers.insert(place.to_owned(), "rolecall".to_owned());
        self.secrets.insert(place.to_owned(), secret.clone());
        Ok(secret)
    }

    fn merge(&mut self, place: &str, patch: &Value) -> Value {
        self.version += 1;
        let version = self.version.to_string();
        let secret = self.secrets.get_mut(place).expect("it was there a moment ago");
        merge(secret, patch);
        secret["metadata"]["resourceVersion"] = version.into();
        secret.clone()
    }
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        if !patch.is_null() {
            *into = patch.clone();
        }
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().expect("an object").shift_remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

/// An entry of `data` as it lies in the object.
pub fn encoded(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// An entry of a Secret; nothing where it has none, or no text.
pub fn entry(secret: &Value, name: &str) -> Option<String> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(secret["data"][name].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}
