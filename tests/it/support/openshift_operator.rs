//! A stand-in for OpenShift's cloud-credential-operator in manual mode: what the real one was seen to write to
//! CredentialsRequests, Secrets and nothing else, for all requests of a control plane with OpenShift's schema.
//!
//! It sets its finalizer, then `provisioned`, `lastSyncTimestamp` and `lastSyncGeneration` by a PUT of the whole status, and
//! no condition. When a request is deleted it deletes the Secret that the request names, whatever Rolecall's
//! `deletionPolicy` says. It makes no Secret and asks AWS for nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::runtime::{block_on, runtime};

/// What it sets on each CredentialsRequest.
pub const FINALIZER: &str = "cloudcredential.openshift.io/deprovision";

/// The annotation on the CloudCredential `cluster` that alone makes it Upgradeable in manual mode.
pub const UPGRADEABLE_TO: &str = "cloudcredential.openshift.io/upgradeable-to";

const FIELD_MANAGER: &str = "cloud-credential-operator";

/// It syncs a request again after this time.
const SYNC_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// How often it looks for requests whose time is over.
const RELIST: Duration = Duration::from_secs(30);

/// How long after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Its condition `Upgradeable` on the ClusterOperator: `True`, or `False` with a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgradeable {
    True,
    False { reason: &'static str },
}

/// The stand-in, running; it ends when it is dropped.
pub struct OpenShiftOperator {
    client: Client,
    written: Arc<Mutex<Written>>,
    task: JoinHandle<()>,
}

/// What the API server accepted from it, by namespace and name.
#[derive(Default)]
struct Written {
    /// Writes to a request, those to its Secret not counted.
    requests: HashMap<(String, String), usize>,
    /// Deletions of a Secret.
    secrets: HashMap<(String, String), usize>,
}

impl OpenShiftOperator {
    /// Starts it as whoever the client is.
    pub fn start(client: Client) -> Self {
        let written = Arc::<Mutex<Written>>::default();
        let worker = Worker { client: client.clone(), written: written.clone() };
        Self { client, written, task: runtime().spawn(worker.run()) }
    }

    pub fn stop(&self) {
        self.task.abort();
    }

    /// How many writes to requests of a namespace the API server accepted from it.
    pub fn writes_in(&self, namespace: &str) -> usize {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.requests.iter().filter(|((of, _), _)| of == namespace).map(|(_, count)| count).sum()
    }

    /// How many writes to one request the API server accepted from it.
    pub fn writes_to(&self, namespace: &str, request: &str) -> usize {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.requests.get(&(namespace.to_owned(), request.to_owned())).copied().unwrap_or(0)
    }

    /// How often it has deleted a Secret that was there.
    pub fn deletions_of(&self, namespace: &str, secret: &str) -> usize {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.secrets.get(&(namespace.to_owned(), secret.to_owned())).copied().unwrap_or(0)
    }

    /// What it says of a cluster at a version (`4.16.3`): it reads nothing but the annotation, and compares minor versions.
    pub fn upgradeable(&self, version: &str) -> Upgradeable {
        let kind = GroupVersionKind::gvk("operator.openshift.io", "v1", "CloudCredential");
        let resource = ApiResource::from_gvk_with_plural(&kind, "cloudcredentials");
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let object = block_on(api.get("cluster")).expect("the CloudCredential cluster");
        let annotated = object.annotations().get(UPGRADEABLE_TO).and_then(|value| minor_version(value));
        if annotated > minor_version(version) {
            Upgradeable::True
        } else {
            Upgradeable::False { reason: "MissingUpgradeableAnnotation" }
        }
    }
}

impl Drop for OpenShiftOperator {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `4.18.3` and `v4.18` → (4, 18).
pub(super) fn minor_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

struct Worker {
    client: Client,
    written: Arc<Mutex<Written>>,
}

impl Worker {
    /// Watches all requests; lists them anew now and then, and when the API server was away.
    async fn run(self) {
        loop {
            let mut events = watcher(self.all(), watcher::Config::default()).boxed();
            let mut relist = Instant::now() + RELIST;
            while let Ok(Some(Ok(event))) = timeout_at(relist, events.next()).await {
                if let Event::Apply(object) | Event::InitApply(object) = event
                    && self.reconcile(object).await.is_err()
                {
                    relist = relist.min(Instant::now() + TRY_AGAIN);
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn resource() -> ApiResource {
        let kind = GroupVersionKind::gvk("cloudcredential.openshift.io", "v1", "CredentialsRequest");
        ApiResource::from_gvk_with_plural(&kind, "credentialsrequests")
    }

    fn all(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &Self::resource())
    }

    /// Makes one write after the other until there is none to make; what changed in between is read anew.
    async fn reconcile(&self, mut object: DynamicObject) -> kube::Result<()> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &Self::resource());
        loop {
            let Some(answer) = self.next_write(&api, &object).await else { return Ok(()) };
            match answer {
                Ok(()) => {
                    let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                    *written.requests.entry((namespace.clone(), name.clone())).or_default() += 1;
                }
                Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
                Err(error) => return Err(error),
            }
            match api.get_opt(&name).await? {
                Some(found) => object = found,
                None => return Ok(()),
            }
        }
    }

    /// Makes the one write that is due, if any.
    async fn next_write(&self, api: &Api<DynamicObject>, read: &DynamicObject) -> Option<kube::Result<()>> {
        let name = read.name_any();
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let marked = read.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
        let mut object = read.clone();
        if read.metadata.deletion_timestamp.is_some() {
            if !marked {
                return None;
            }
            if let Err(error) = self.delete_secret(&read.data["spec"]["secretRef"]).await {
                return Some(Err(error));
            }
            object.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
            return Some(api.replace(&name, &parameters, &object).await.map(drop));
        }
        if !marked {
            object.finalizers_mut().push(FINALIZER.into());
            return Some(api.replace(&name, &parameters, &object).await.map(drop));
        }
        let now = Timestamp::now();
        if !is_due(read, now) {
            return None;
        }
        if !object.data["status"].is_object() {
            object.data["status"] = json!({});
        }
        let status = &mut object.data["status"];
        status["provisioned"] = json!(true);
        status["lastSyncTimestamp"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        status["lastSyncGeneration"] = json!(read.metadata.generation);
        Some(api.replace_status(&name, &parameters, &object).await.map(drop))
    }

    async fn delete_secret(&self, reference: &Value) -> kube::Result<()> {
        let (Some(namespace), Some(name)) = (reference["namespace"].as_str(), reference["name"].as_str()) else {
            return Ok(());
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => {
                let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                *written.secrets.entry((namespace.to_owned(), name.to_owned())).or_default() += 1;
                Ok(())
            }
            // It is gone already, or no Secret can have that name.
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a request is to be synced: its spec has changed, it is not provisioned, or an hour is over.
fn is_due(object: &DynamicObject, now: Timestamp) -> bool {
    let status = &object.data["status"];
    let synced: Option<Timestamp> = status["lastSyncTimestamp"].as_str().and_then(|time| time.parse().ok());
    status["provisioned"] != true
        || status["lastSyncGeneration"].as_i64() != object.metadata.generation
        || synced.is_none_or(|synced| now.duration_since(synced) >= SYNC_AGAIN)
}
