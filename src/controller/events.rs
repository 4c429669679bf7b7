//! Kubernetes events: what was found, what was done, what it came to. On transitions only.

use k8s_controller::events::{Event, EventRecorder, EventType, Reporter};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Client, Resource};

use super::status::summarise;
use crate::api::credentials_request::RequestCondition;
use crate::api::{ClusterIdentity, ClusterIdentityStatus};
use crate::apply::Evidence;
use crate::plan::Step;

/// Writes events.
pub struct Events {
    recorder: EventRecorder,
    /// Whether none are written: the operator writes nothing but statuses.
    muted: bool,
}

/// What a condition says, whichever kind it belongs to.
#[derive(PartialEq)]
pub struct Said<'a> {
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Events {
    /// Events of one replica.
    pub fn new(client: Client, instance: String, muted: bool) -> Self {
        let reporter = Reporter { controller: "rolecall.dev/controller".into(), instance: Some(instance) };
        Self { recorder: EventRecorder::new(client, reporter), muted }
    }

    /// What was changed.
    pub async fn changed(&self, identity: &ClusterIdentity, evidence: &Evidence) {
        let made = evidence.made();
        if !made.is_empty() {
            self.publish(identity, EventType::Normal, "Changed", &in_words(&made)).await;
        }
    }

    /// What differs from what was last made true.
    pub async fn drifted(
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
        self.publish(identity, EventType::Warning, "Drifted", &summarise(&told)).await;
    }

    /// That nothing differs any more.
    pub async fn healed(
        &self,
        identity: &ClusterIdentity,
        previous: &ClusterIdentityStatus,
        next: &ClusterIdentityStatus,
    ) {
        if next.drift.is_empty() && !previous.drift.is_empty() {
            let told: Vec<String> = previous.drift.iter().map(|d| format!("{} {}", d.resource, d.field)).collect();
            self.publish(identity, EventType::Normal, "DriftHealed", &summarise(&told)).await;
        }
    }

    /// That a consent has let something be taken away.
    pub async fn consent_used(&self, identity: &ClusterIdentity, told: &str) {
        self.publish(identity, EventType::Normal, "ConsentUsed", told).await;
    }

    /// That a consent has stood for long without effect.
    pub async fn consent_unused(&self, identity: &ClusterIdentity, told: &str) {
        self.publish(identity, EventType::Warning, "ConsentUnused", told).await;
    }

    /// That a ClusterIdentity is let go.
    pub async fn let_go(&self, identity: &ClusterIdentity, why: &str) {
        self.publish(identity, EventType::Normal, "LetGo", why).await;
    }

    /// When a condition turns, or stays untrue for another reason. Work in progress is no news.
    pub async fn turned<K>(&self, object: &K, before: Option<Said<'_>>, after: Option<Said<'_>>)
    where
        K: Resource<DynamicType = ()>,
    {
        let Some(after) = after else { return };
        let turned = before.is_none_or(|before| (before.status, before.reason) != (after.status, after.reason));
        let in_progress = ["Reconciling", "BeingVerified", "ReadingRelease", "Settling"].contains(&after.reason);
        if turned && !in_progress {
            let type_ = if after.status == "True" { EventType::Normal } else { EventType::Warning };
            self.publish(object, type_, after.reason, after.message).await;
        }
    }

    /// An event that cannot be written changes nothing: the status has said the same.
    async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, type_: EventType, reason: &str, note: &str) {
        if self.muted {
            return;
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            action: "Reconcile".into(),
            note: Some(note.to_owned()),
            related: None,
        };
        match self.recorder.publish(object, &event).await {
            Ok(()) => {}
            // A namespace on its way out takes no events; that is nothing to look into.
            Err(error) if error.to_string().contains("being terminated") => {
                tracing::debug!(%error, reason, "an event could not be written");
            }
            Err(error) => tracing::warn!(%error, reason, "an event could not be written"),
        }
    }
}

/// The changes that were made, in words.
fn in_words(made: &[&Step]) -> String {
    let lines: Vec<String> =
        made.iter().map(|step| format!("{} {}", step.change.name(), step.change.target())).collect();
    summarise(&lines)
}

/// What a condition says.
pub fn said<'a>(conditions: &'a [Condition], type_: &str) -> Option<Said<'a>> {
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(Said { status: &condition.status, reason: &condition.reason, message: &condition.message })
}

/// What a condition of a request says.
pub fn said_of_request<'a>(conditions: &'a [RequestCondition], type_: &str) -> Option<Said<'a>> {
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(Said {
        status: &condition.status,
        reason: condition.reason.as_deref().unwrap_or_default(),
        message: condition.message.as_deref().unwrap_or_default(),
    })
}
