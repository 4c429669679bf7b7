//! Writes statuses: only when something changed, cut to what the served schema declares, and verdicts before details.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::api::{Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::core::{NamespaceResourceScope, Status};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::events::{Events, said, said_of_request};
use super::metrics::Metrics;
use super::request_status::{self, Extent};
use super::status::begun;
use super::status_budget::is_large;
use super::undeclared::Undeclared;
use super::watch_health::WatchHealth;
use crate::api::{
    ClusterIdentity, ClusterIdentityStatus, CredentialsRequest, CredentialsRequestStatus, UpgradeCheck,
    UpgradeCheckStatus, conditions as types,
};
use crate::apply::Evidence;
use crate::desired::Desired;
use crate::kubernetes::decoded::{Decoded, DecodedKind};
use crate::kubernetes::errors::fault;
use crate::kubernetes::schema::{refused_fields, refused_values};
use crate::kubernetes::secrets::FIELD_MANAGER;
use crate::kubernetes::served::{ServedSchema, ServedSchemas, StatusKind};
use crate::plan::Plan;

/// Writes statuses, and events about them.
pub struct StatusWriter {
    client: Client,
    /// Writes events.
    pub events: Events,
    schemas: Arc<ServedSchemas>,
    health: WatchHealth,
    metrics: Arc<Metrics>,
    /// The statuses that the watch may not have brought back yet, by uid.
    written: Mutex<HashMap<String, Written>>,
    /// What the served schemas do not declare of the statuses.
    undeclared: Undeclared,
}

/// A status that was written.
struct Written {
    /// The object's resource version with it.
    version: u64,
    /// As the API server returned it.
    status: Arc<dyn Any + Send + Sync>,
    /// They tell who else writes to the status.
    finalizers: Option<Vec<String>>,
    at: Instant,
}

/// A watch brings back what was written within this time, or its object is gone.
const LONGEST_LAG: Duration = Duration::from_mins(10);
/// The fields of a status that may be large and that nothing else rests on.
const DETAILS: [&str; 3] = ["components", "drift", "pendingChanges"];
/// How often a status is tried again that the API server refuses for a field, or because the object has changed meanwhile.
const ATTEMPTS: usize = 5;

/// A kind with a status that Rolecall writes.
pub trait Told:
    DecodedKind
    + HasStatus<Status: Clone + Serialize + DeserializeOwned + Send + Sync + 'static>
    + Resource<Scope = NamespaceResourceScope>
    + Clone
    + Debug
{
    /// Which.
    const KIND: StatusKind;
}

impl Told for ClusterIdentity {
    const KIND: StatusKind = StatusKind::ClusterIdentity;
}

impl Told for CredentialsRequest {
    const KIND: StatusKind = StatusKind::CredentialsRequest;
}

impl Told for UpgradeCheck {
    const KIND: StatusKind = StatusKind::UpgradeCheck;
}

impl StatusWriter {
    /// A writer; the instance names this replica in events, of which a muted one writes none.
    pub fn new(
        client: Client,
        (instance, muted): (String, bool),
        schemas: Arc<ServedSchemas>,
        health: WatchHealth,
        metrics: Arc<Metrics>,
    ) -> Self {
        let events = Events::new(client.clone(), instance, muted);
        Self { client, events, schemas, health, metrics, written: Mutex::default(), undeclared: Undeclared::default() }
    }

    /// Gives an object of a store the status that was last written here, if the store has not caught up with it: a
    /// pass that compares with an older one could take its own news for old and leave the status as it is. And what the
    /// served schema does not declare of it.
    pub fn freshen<K: Told>(&self, object: &mut K) {
        self.catch_up(object);
        self.undeclared.restore(object);
    }

    /// A copy of an object with the status that was last written here.
    pub fn fresh<K: Told + Clone>(&self, object: &K) -> K {
        let mut object = object.clone();
        self.freshen(&mut object);
        object
    }

    /// Whether the served schema of a status lacks a field, so that only this process remembers it.
    pub fn forgets(&self, kind: StatusKind, field: &str) -> bool {
        !self.schemas.of(kind).declares(field)
    }

    fn catch_up<K: Told>(&self, object: &mut K) {
        let (Some(uid), Some(stored)) = (object.uid(), version(object)) else { return };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get(&uid) {
            Some(Written { version, status, finalizers, .. }) if stored < *version => {
                if let Some(status) = status.downcast_ref::<Option<<K as HasStatus>::Status>>() {
                    object.status_mut().clone_from(status);
                    object.meta_mut().resource_version = Some(version.to_string());
                    object.meta_mut().finalizers.clone_from(finalizers);
                }
            }
            Some(_) => drop(written.remove(&uid)),
            None => {}
        }
    }

    fn remember<K: Told>(&self, object: &K) {
        let (Some(uid), Some(version)) = (object.uid(), version(object)) else { return };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // Now and then: what was deleted is never asked for again.
        if written.len() >= 1_024 && written.len().is_power_of_two() {
            written.retain(|_, written| written.at.elapsed() < LONGEST_LAG);
        }
        let status: Option<<K as HasStatus>::Status> = object.status().cloned();
        let finalizers = object.meta().finalizers.clone();
        written.insert(uid, Written { version, status: Arc::new(status), finalizers, at: Instant::now() });
    }

    /// Notes in the status that the issuer bucket is about to be created: whoever comes after a crash is to know whose the
    /// bucket is. Tags in the creating call would tell it too, but need `s3:TagResource`, and us-east-1 answers that call
    /// with yes for a bucket that the account has already.
    ///
    /// Likewise roles that are made ahead of an upgrade: their UpgradeCheck may be gone by the time that someone comes. Likewise the
    /// deletions that are about to be made, which count from then on, the revision of `keys.json`, and roles that are about to be
    /// made: what is younger in AWS than the status remembers shows that the status was restored from a backup.
    pub async fn begin(
        &self,
        identity: &ClusterIdentity,
        desired: &Desired,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let previous = identity.status.clone().unwrap_or_default();
        let next = begun(&previous, desired, plan, now);
        self.write(identity, &previous, &next).await.map(drop)
    }

    /// Notes that the deletion of what a ClusterIdentity made begins.
    pub async fn begin_teardown(&self, identity: &ClusterIdentity, now: Timestamp) -> Result<(), kube::Error> {
        let previous = identity.status.clone().unwrap_or_default();
        let next = ClusterIdentityStatus { teardown_time: Some(super::status::seconds(now)), ..previous.clone() };
        self.write(identity, &previous, &next).await.map(drop)
    }

    /// Writes the status of a ClusterIdentity after a pass.
    pub async fn identity(
        &self,
        identity: &ClusterIdentity,
        previous: &ClusterIdentityStatus,
        next: &ClusterIdentityStatus,
        evidence: &Evidence,
    ) -> Result<(), kube::Error> {
        // In the order of cause and effect: what was found, what was done, what it came to.
        self.events.drifted(identity, previous, next).await;
        self.events.changed(identity, evidence).await;
        self.identity_refused(identity, previous, next).await?;
        self.events.healed(identity, previous, next).await;
        Ok(())
    }

    /// Writes the status of a ClusterIdentity whose pass ended before there was a plan.
    pub async fn identity_refused(
        &self,
        identity: &ClusterIdentity,
        previous: &ClusterIdentityStatus,
        next: &ClusterIdentityStatus,
    ) -> Result<(), kube::Error> {
        let mut next = next.clone();
        let generation = identity.metadata.generation;
        let mut set = |type_, found| set_abnormal(&mut next.conditions, &previous.conditions, type_, found, generation);
        set(types::CRD_OUTDATED, self.outdated(&StatusKind::ALL));
        set(types::WATCH_LOST, self.watch_lost());
        if self.write(identity, previous, &next).await? {
            let (before, after) = (said(&previous.conditions, types::READY), said(&next.conditions, types::READY));
            self.events.turned(identity, before, after).await;
        }
        Ok(())
    }

    /// Writes the status of an UpgradeCheck, and an event when its verdict turns.
    pub async fn check(&self, check: &UpgradeCheck, next: &UpgradeCheckStatus) -> Result<(), kube::Error> {
        let (previous, mut next) = (check.status.clone().unwrap_or_default(), next.clone());
        let outdated = self.outdated(&[StatusKind::UpgradeCheck]);
        let generation = check.metadata.generation;
        set_abnormal(&mut next.conditions, &previous.conditions, types::CRD_OUTDATED, outdated, generation);
        if self.write(check, &previous, &next).await? {
            let before = said(&previous.conditions, types::UPGRADE_READY);
            let after = said(&next.conditions, types::UPGRADE_READY);
            self.events.turned(check, before, after).await;
        }
        Ok(())
    }

    /// Writes the status of a CredentialsRequest, of which others write a part: their fields stay as they are, and where the
    /// conditions are one value for the API server, the write counts only for the object as it was read.
    pub async fn request(
        &self,
        request: &CredentialsRequest,
        previous: &CredentialsRequestStatus,
        next: &CredentialsRequestStatus,
    ) -> Result<(), kube::Error> {
        let (mut stored, mut repeats_required) = (request.clone(), false);
        for _ in 0..ATTEMPTS {
            let schema = self.schemas.of(StatusKind::CredentialsRequest);
            let extent = Extent {
                merges_conditions: schema.merges_conditions(),
                declares_generation: schema.declares("observedGeneration"),
                repeats_required,
            };
            let uid = request.metadata.uid.as_deref();
            let cut_to = self.undeclared.cut_to(uid).unwrap_or_else(|| schema.clone());
            let body = |status| request_status::body(&stored, status, extent);
            let before = cut_to.cut(body(stored.status.as_ref().unwrap_or(previous)));
            let after = schema.cut(body(next));
            let shared = request_status::is_shared(&stored) || !schema.merges_conditions();
            match self.patch_in_steps::<CredentialsRequest>(&stored.metadata, &before, &after, shared).await {
                Err(kube::Error::Api(status)) if shared && status.code == 409 => match self.read(&stored).await? {
                    Some(found) => stored = found,
                    None => return Ok(()),
                },
                Err(kube::Error::Api(status)) if shared && !repeats_required && lacks_required(&status) => {
                    repeats_required = true;
                }
                Ok(written) => {
                    match serde_json::to_value(next) {
                        Ok(whole) => self.keep_undeclared(StatusKind::CredentialsRequest, uid, schema, whole),
                        Err(error) => tracing::debug!(%error, "a status could not be remembered"),
                    }
                    if !written {
                        return Ok(());
                    }
                    let before = said_of_request(&previous.conditions, types::READY);
                    let after = said_of_request(&next.conditions, types::READY);
                    self.events.turned(request, before, after).await;
                    return Ok(());
                }
                Err(error) => {
                    self.count_failure(StatusKind::CredentialsRequest, &error);
                    return Err(error);
                }
            }
        }
        // Somebody writes this status all the time. The next reconcile tries again.
        let status = Status::failure("the request's status is changed by others all the time", "Conflict");
        let error = kube::Error::Api(status.with_code(409).boxed());
        self.count_failure(StatusKind::CredentialsRequest, &error);
        Err(error)
    }

    /// The object as it is now; `None` when it is gone, or another one.
    async fn read(&self, object: &CredentialsRequest) -> Result<Option<CredentialsRequest>, kube::Error> {
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<Decoded<CredentialsRequest>> = Api::namespaced(self.client.clone(), &namespace);
        let found = api.get_opt(&object.name_any()).await?;
        Ok(found.and_then(|found| found.0.ok()).filter(|found| found.metadata.uid == object.metadata.uid))
    }

    /// Writes a status whose fields are all Rolecall's. Whether there was something to write.
    async fn write<K, S>(&self, object: &K, previous: &S, next: &S) -> Result<bool, kube::Error>
    where
        K: Told,
        S: Serialize + PartialEq,
    {
        let uid = object.meta().uid.as_deref();
        let cut_to = self.undeclared.cut_to(uid);
        if previous == next && cut_to.is_none() {
            return Ok(false);
        }
        let schema = self.schemas.of(K::KIND);
        let (previous, whole) = match (serde_json::to_value(previous), serde_json::to_value(next)) {
            (Ok(previous), Ok(next)) => (previous, next),
            (Err(error), _) | (_, Err(error)) => return Err(kube::Error::SerdeError(error)),
        };
        // What stands there was cut to the schema that there was then.
        let previous = cut_to.as_ref().unwrap_or(&schema).cut(previous);
        let written = self.patch_in_steps::<K>(object.meta(), &previous, &schema.cut(whole.clone()), false).await;
        match &written {
            Ok(_) => self.keep_undeclared(K::KIND, uid, schema, whole),
            Err(error) => self.count_failure(K::KIND, error),
        }
        written
    }

    /// Remembers what was not declared of a status, by the schema that it was cut to: a refusal may have shown another one.
    fn keep_undeclared(&self, kind: StatusKind, uid: Option<&str>, schema: Arc<ServedSchema>, whole: Value) {
        let now = self.schemas.of(kind);
        let schema = if now.missing.len() > schema.missing.len() { now } else { schema };
        self.undeclared.keep(uid, &schema, whole);
    }

    /// Writes the status of an object that cannot be decoded.
    pub async fn raw<K: Told>(&self, of: &ObjectMeta, previous: &Value, next: &Value) -> Result<(), kube::Error> {
        let schema = self.schemas.of(K::KIND);
        let (previous, next) = (schema.cut(previous.clone()), schema.cut(next.clone()));
        self.patch_in_steps::<K>(of, &previous, &next, false).await.map(drop)
    }

    fn count_failure(&self, kind: StatusKind, error: &kube::Error) {
        self.metrics.status_update_failed(kind, fault("patch status", kind.crd_name(), error).class);
    }

    /// Conditions are written by themselves and first where there are many details, so that these never keep a verdict back.
    /// Whether there was something to write.
    async fn patch_in_steps<K: Told>(
        &self,
        of: &ObjectMeta,
        previous: &Value,
        next: &Value,
        only_this_version: bool,
    ) -> Result<bool, kube::Error> {
        if previous == next {
            return Ok(false);
        }
        let mut version = of.resource_version.clone().filter(|_| only_this_version);
        let mut verdict = next.clone();
        for field in DETAILS {
            match previous.get(field) {
                Some(of) => verdict[field] = of.clone(),
                None => drop(verdict.as_object_mut().map(|verdict| verdict.shift_remove(field))),
            }
        }
        if is_large(next) && verdict != *previous && verdict != *next {
            let Some(written) = self.patch::<K>(of, &verdict, version.as_deref()).await? else { return Ok(false) };
            version = version.map(|_| written);
        }
        self.patch::<K>(of, next, version.as_deref()).await?;
        Ok(true)
    }

    /// Applies a status, without the fields that the API server refuses. The object's new resource version.
    async fn patch<K: Told>(
        &self,
        of: &ObjectMeta,
        status: &Value,
        version: Option<&str>,
    ) -> Result<Option<String>, kube::Error> {
        let mut status = status.clone();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let refused = match self.apply::<K>(of, &status, version).await {
                Err(kube::Error::Api(answer)) if attempt < ATTEMPTS => {
                    let of_value = refused_values(answer.code, &answer.message);
                    if !of_value.is_empty() {
                        tracing::warn!(crd = K::KIND.crd_name(), fields = ?of_value, "values of a status are refused");
                        status = self.schemas.of(K::KIND).cut_without(status, &of_value);
                        continue;
                    }
                    let fields = refused_fields(answer.code, &answer.message);
                    if fields.is_empty() {
                        return Err(kube::Error::Api(answer));
                    }
                    fields
                }
                result => return result,
            };
            // The schema has changed since it was read, or another API server has another one.
            if let Err(error) = self.schemas.refresh().await {
                tracing::warn!(%error, "the served schemas could not be read again");
            }
            let cut = self.schemas.of(K::KIND).cut(status.clone());
            if cut == status {
                self.schemas.without(K::KIND, &refused);
            }
            tracing::warn!(crd = K::KIND.crd_name(), fields = ?refused, "the API server refuses fields of a status");
            status = self.schemas.of(K::KIND).cut(cut);
        }
    }

    async fn apply<K: Told>(
        &self,
        of: &ObjectMeta,
        status: &Value,
        version: Option<&str>,
    ) -> Result<Option<String>, kube::Error> {
        let (namespace, name) = (of.namespace.clone().unwrap_or_default(), of.name.clone().unwrap_or_default());
        // The answer is the whole object, which may hold what cannot be decoded.
        let api: Api<Decoded<K>> = Api::namespaced(self.client.clone(), &namespace);
        let mut patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // Another object of the name is not meant: what this one remembers is none of its business.
            "metadata": {"name": name, "namespace": namespace, "uid": of.uid},
            "status": status,
        });
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
            Ok(written) => {
                if let Ok(written) = &written.0 {
                    self.remember(written);
                }
                Ok(written.resource_version())
            }
            // It was deleted meanwhile, and perhaps made anew: there is nobody left to tell.
            Err(kube::Error::Api(status)) if status.code == 404 || is_of_another(&status) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is missing in the served schemas of some kinds.
    fn outdated(&self, kinds: &[StatusKind]) -> Option<(&'static str, String)> {
        let outdated = self.schemas.outdated();
        let lacking: Vec<String> = outdated
            .into_iter()
            .filter(|(kind, _)| kinds.contains(kind))
            .map(|(kind, fields)| format!("{} ({})", kind.crd_name(), fields.join(", ")))
            .collect();
        let message = || {
            format!(
                "the installed CustomResourceDefinitions do not declare all fields that this version of Rolecall writes: {}; these fields are not reported. Apply the CustomResourceDefinitions of this version (crds/)",
                lacking.join("; ")
            )
        };
        (!lacking.is_empty()).then(|| ("FieldsNotDeclared", message()))
    }

    fn watch_lost(&self) -> Option<(&'static str, String)> {
        let lost: Vec<String> = self.health.lost().iter().map(ToString::to_string).collect();
        (!lost.is_empty()).then(|| ("WatchFailed", lost.join("; ")))
    }
}

/// Sets a condition that is there only while it is true.
fn set_abnormal(
    conditions: &mut Vec<Condition>,
    previous: &[Condition],
    type_: &str,
    found: Option<(&'static str, String)>,
    generation: Option<i64>,
) {
    conditions.retain(|condition| condition.type_ != type_);
    let Some((reason, message)) = found else { return };
    let since = previous.iter().find(|condition| condition.type_ == type_);
    conditions.push(Condition {
        type_: type_.into(),
        status: "True".into(),
        reason: reason.into(),
        message,
        observed_generation: generation,
        last_transition_time: since
            .map_or_else(|| Time(jiff::Timestamp::now()), |since| since.last_transition_time.clone()),
    });
}

/// Whether the API server misses fields that OpenShift's CustomResourceDefinition requires.
fn lacks_required(status: &Status) -> bool {
    status.code == 422 && status.message.contains("Required value")
}

/// Whether the API server says that the object of this name is another one.
fn is_of_another(status: &Status) -> bool {
    // "uid mismatch: the provided object specified uid …", "Precondition failed: UID in precondition: …"
    status.code == 409 && ["uid mismatch", "UID in precondition"].iter().any(|word| status.message.contains(word))
}

/// A resource version as a number: Kubernetes lets those of one resource be compared (KEP-5504), etcd counts.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}
