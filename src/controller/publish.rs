//! Writes statuses and events: only when something changed, and only on transitions.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_controller::events::{Event, EventRecorder, EventType, Reporter};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::core::object::HasStatus;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::status::{granted_ahead, summarise, to_begin};
use crate::api::cluster_identity::ManagementPolicy;
use crate::api::credentials_request::RequestCondition;
use crate::api::{
    ClusterIdentity, ClusterIdentityStatus, CredentialsRequest, CredentialsRequestStatus, UpgradeCheck,
    UpgradeCheckStatus, conditions as types,
};
use crate::apply::Evidence;
use crate::desired::Desired;
use crate::kubernetes::secrets::FIELD_MANAGER;
use crate::plan::{Plan, Step};

/// Writes statuses and events.
pub struct Publisher {
    client: Client,
    events: EventRecorder,
    /// The statuses that the watch may not have brought back yet, by uid.
    written: Mutex<HashMap<String, Written>>,
}

/// A status that was written.
struct Written {
    /// The object's resource version with it.
    version: u64,
    status: Value,
    at: Instant,
}

/// A watch brings back what was written within this time, or its object is gone.
const LONGEST_LAG: Duration = Duration::from_mins(10);

/// What a condition says, whichever kind it belongs to.
#[derive(PartialEq)]
struct Said<'a> {
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Publisher {
    /// A publisher; `instance` names this replica in events.
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: "rolecall.dev/controller".into(), instance: Some(instance) };
        Self { events: EventRecorder::new(client.clone(), reporter), client, written: Mutex::default() }
    }

    /// Gives an object of a store the status that was last written here, if the store has not caught up with it: a
    /// pass that compares with an older one could take its own news for old and leave the status as it is.
    pub fn freshen<K>(&self, object: &mut K)
    where
        K: Resource + HasStatus,
        K::Status: DeserializeOwned,
    {
        let (Some(uid), Some(stored)) = (object.uid(), version(object)) else { return };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get(&uid) {
            Some(Written { version, status, .. }) if stored < *version => {
                if let Ok(status) = K::Status::deserialize(status) {
                    *object.status_mut() = Some(status);
                }
            }
            Some(_) => drop(written.remove(&uid)),
            None => {}
        }
    }

    fn remember<K>(&self, object: &K)
    where
        K: Resource + HasStatus,
        K::Status: Serialize,
    {
        let (Some(uid), Some(version)) = (object.uid(), version(object)) else { return };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // Now and then: what was deleted is never asked for again.
        if written.len() >= 1_024 && written.len().is_power_of_two() {
            written.retain(|_, written| written.at.elapsed() < LONGEST_LAG);
        }
        written.insert(uid, Written { version, status: json!(object.status()), at: Instant::now() });
    }

    /// Notes in the status that the issuer bucket is about to be created: whoever comes after a crash is to know whose the
    /// bucket is. Tags in the creating call would tell it too, but need `s3:TagResource`, and us-east-1 answers that call
    /// with yes for a bucket that the account has already.
    ///
    /// Likewise roles that are made ahead of an upgrade: their UpgradeCheck may be gone by the time that someone comes.
    pub async fn begin(&self, identity: &ClusterIdentity, desired: &Desired, plan: &Plan) -> Result<(), kube::Error> {
        let previous = identity.status.clone().unwrap_or_default();
        let mut next = previous.clone();
        if plan.management == ManagementPolicy::Enforce {
            next.begun_bucket = to_begin(plan).cloned().or(next.begun_bucket);
        }
        let ahead = granted_ahead(&previous.granted_ahead, desired, plan);
        next.granted_ahead.extend(ahead.into_iter().filter(|role| !previous.granted_ahead.contains(role)));
        if next == previous { Ok(()) } else { self.write(identity, &next).await }
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
        self.drifted_event(identity, previous, next).await;
        let made = evidence.made();
        if !made.is_empty() {
            self.event(identity, EventType::Normal, "Changed", &in_words(&made)).await;
        }
        self.identity_refused(identity, previous, next).await?;
        self.healed_event(identity, previous, next).await;
        Ok(())
    }

    /// Writes the status of a ClusterIdentity whose pass ended before there was a plan.
    pub async fn identity_refused(
        &self,
        identity: &ClusterIdentity,
        previous: &ClusterIdentityStatus,
        next: &ClusterIdentityStatus,
    ) -> Result<(), kube::Error> {
        if previous == next {
            return Ok(());
        }
        self.write(identity, next).await?;
        let (before, after) = (said(&previous.conditions, types::READY), said(&next.conditions, types::READY));
        self.ready_event(identity, before, after).await;
        Ok(())
    }

    /// Writes the status of a CredentialsRequest.
    pub async fn request(
        &self,
        request: &CredentialsRequest,
        previous: &CredentialsRequestStatus,
        next: &CredentialsRequestStatus,
    ) -> Result<(), kube::Error> {
        if previous == next {
            return Ok(());
        }
        self.write(request, next).await?;
        let before = said_of_request(&previous.conditions, types::READY);
        let after = said_of_request(&next.conditions, types::READY);
        self.ready_event(request, before, after).await;
        Ok(())
    }

    /// Writes the status of an UpgradeCheck, and an event when its verdict turns.
    pub async fn check(&self, check: &UpgradeCheck, next: &UpgradeCheckStatus) -> Result<(), kube::Error> {
        let previous = check.status.clone().unwrap_or_default();
        if previous == *next {
            return Ok(());
        }
        self.write(check, next).await?;
        let before = said(&previous.conditions, types::UPGRADE_READY);
        let after = said(&next.conditions, types::UPGRADE_READY);
        self.ready_event(check, before, after).await;
        Ok(())
    }

    /// Says that a ClusterIdentity is let go.
    pub async fn let_go_event(&self, identity: &ClusterIdentity, why: &str) {
        self.event(identity, EventType::Normal, "LetGo", why).await;
    }

    async fn write<K>(&self, object: &K, status: &impl Serialize) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + DeserializeOwned + HasStatus,
        K::Status: Serialize,
    {
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // Another object of the name is not meant: what this one remembers is none of its business.
            "metadata": {"name": object.name_any(), "namespace": namespace, "uid": object.meta().uid},
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&object.name_any(), &params, &Patch::Apply(&patch)).await {
            Ok(written) => {
                self.remember(&written);
                Ok(())
            }
            // It was deleted meanwhile, and perhaps made anew: there is nobody left to tell.
            Err(kube::Error::Api(status)) if status.code == 404 || is_of_another(&status) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An event when `Ready` turns, or stays untrue for another reason. Work in progress is no news.
    async fn ready_event<K>(&self, object: &K, before: Option<Said<'_>>, after: Option<Said<'_>>)
    where
        K: Resource<DynamicType = ()>,
    {
        let Some(after) = after else { return };
        let turned = before.is_none_or(|before| (before.status, before.reason) != (after.status, after.reason));
        let in_progress = ["Reconciling", "BeingVerified", "ReadingRelease", "Settling"].contains(&after.reason);
        if turned && !in_progress {
            let type_ = if after.status == "True" { EventType::Normal } else { EventType::Warning };
            self.event(object, type_, after.reason, after.message).await;
        }
    }

    async fn drifted_event(
        &self,
        identity: &ClusterIdentity,
        previous: &ClusterIdentityStatus,
        next: &ClusterIdentityStatus,
    ) {
        if next.drift.is_empty() || next.drift == previous.drift {
            return;
        }
        let told: Vec<String> = next
            .drift
            .iter()
            .map(|d| format!("{} {}: found {}, wanted {}", d.resource, d.field, d.found, d.wanted))
            .collect();
        self.event(identity, EventType::Warning, "Drifted", &summarise(&told)).await;
    }

    async fn healed_event(
        &self,
        identity: &ClusterIdentity,
        previous: &ClusterIdentityStatus,
        next: &ClusterIdentityStatus,
    ) {
        if next.drift.is_empty() && !previous.drift.is_empty() {
            let told: Vec<String> = previous.drift.iter().map(|d| format!("{} {}", d.resource, d.field)).collect();
            self.event(identity, EventType::Normal, "DriftHealed", &summarise(&told)).await;
        }
    }

    /// An event that cannot be written changes nothing: the status has said the same.
    async fn event<K: Resource<DynamicType = ()>>(&self, object: &K, type_: EventType, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            action: "Reconcile".into(),
            note: Some(note.to_owned()),
            related: None,
        };
        match self.events.publish(object, &event).await {
            Ok(()) => {}
            // A namespace on its way out takes no events; that is nothing to look into.
            Err(error) if error.to_string().contains("being terminated") => {
                tracing::debug!(%error, reason, "an event could not be written");
            }
            Err(error) => tracing::warn!(%error, reason, "an event could not be written"),
        }
    }
}

/// Whether the API server says that the object of this name is another one.
fn is_of_another(status: &Status) -> bool {
    status.code == 409 && status.message.to_ascii_lowercase().contains("uid")
}

/// A resource version as a number: Kubernetes lets those of one resource be compared (KEP-5504), etcd counts.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

/// The changes that were made, in words.
fn in_words(made: &[&Step]) -> String {
    let lines: Vec<String> =
        made.iter().map(|step| format!("{} {}", step.change.name(), step.change.target())).collect();
    summarise(&lines)
}

fn said<'a>(conditions: &'a [Condition], type_: &str) -> Option<Said<'a>> {
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(Said { status: &condition.status, reason: &condition.reason, message: &condition.message })
}

fn said_of_request<'a>(conditions: &'a [RequestCondition], type_: &str) -> Option<Said<'a>> {
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(Said {
        status: &condition.status,
        reason: condition.reason.as_deref().unwrap_or_default(),
        message: condition.message.as_deref().unwrap_or_default(),
    })
}
