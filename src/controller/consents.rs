//! Tells which consents have let something be taken away, who gave them, and which stand without effect.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{Api, ResourceExt};

use super::gather::full_name;
use super::pass::Shared;
use crate::api::{ALLOW_NARROWING, ClusterIdentity};
use crate::apply::Evidence;
use crate::desired::Desired;

/// The consents that stand, by ClusterIdentity, annotation and value.
#[derive(Debug)]
pub struct StandingConsents {
    threshold: Duration,
    since: Mutex<HashMap<(String, &'static str, String), Standing>>,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    since: Instant,
    /// Whether it has had an effect, or its want of one was told.
    settled: bool,
}

impl StandingConsents {
    /// None yet; one that stands for longer than the threshold without effect is told.
    pub fn new(threshold: Duration) -> Self {
        Self { threshold, since: Mutex::default() }
    }

    /// Notes the consents of a ClusterIdentity; those that have stood too long without effect, each once.
    fn overdue(
        &self,
        identity: &str,
        given: &[(&'static str, String)],
        used: &[(&'static str, String)],
    ) -> Vec<(&'static str, String)> {
        let mut all = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, annotation, value), _| {
            of != identity || given.iter().any(|(key, is)| key == annotation && is == value)
        });
        let mut overdue = Vec::new();
        for (annotation, value) in given {
            let key = (identity.to_owned(), *annotation, value.clone());
            let standing = all.entry(key).or_insert(Standing { since: Instant::now(), settled: false });
            standing.settled |= used.iter().any(|(key, _)| key == annotation);
            if !standing.settled && standing.since.elapsed() >= self.threshold {
                standing.settled = true;
                overdue.push((*annotation, value.clone()));
            }
        }
        overdue
    }
}

impl Shared {
    /// Tells what consents came to in a reconcile. One that lets a role stay narrowed has its effect as long as it stands.
    pub async fn tell_consents(
        &self,
        identity: &ClusterIdentity,
        desired: &Desired,
        evidence: &Evidence,
        keeps_narrowed: bool,
    ) {
        let given: Vec<(&'static str, String)> =
            desired.consents.given().map(|(annotation, value)| (annotation, value.to_owned())).collect();
        if given.is_empty() && evidence.plan().consents.is_empty() {
            return;
        }
        let acted = !evidence.made().is_empty() || !evidence.plan().marks.is_empty() && evidence.unmarked().is_empty();
        let used = if acted { evidence.plan().consents.as_slice() } else { &[] };
        if !used.is_empty() {
            let managers = self.managers_of_annotations(identity).await;
            for (annotation, what) in used {
                let value = given.iter().find(|(key, _)| key == annotation).map(|(_, value)| value.as_str());
                let by = managers.get(*annotation).map_or("an unknown field manager", String::as_str);
                let told = format!("{annotation}: {} (set by {by}): {what}", value.unwrap_or_default());
                tracing::info!(identity = full_name(identity), annotation, by, what, "a consent was used");
                self.publisher.events.consent_used(identity, &told).await;
            }
        }
        let kept = keeps_narrowed.then(|| (ALLOW_NARROWING, String::new()));
        let effective: Vec<_> = used.iter().cloned().chain(kept).collect();
        for (annotation, value) in self.standing_consents.overdue(&full_name(identity), &given, &effective) {
            let told = format!(
                "{annotation}: {value} has had no effect so far: it names nothing that waits for it; remove it"
            );
            self.publisher.events.consent_unused(identity, &told).await;
        }
    }

    /// Who has set each annotation, by the managed fields, which the store does not keep.
    async fn managers_of_annotations(&self, identity: &ClusterIdentity) -> HashMap<String, String> {
        let api: Api<ClusterIdentity> = Api::namespaced(self.client.clone(), &identity.namespace().unwrap_or_default());
        let Ok(Some(found)) = api.get_metadata_opt(&identity.name_any()).await else { return HashMap::new() };
        let fields = found.metadata.managed_fields.unwrap_or_default();
        fields
            .iter()
            .flat_map(|entry| annotations_of(entry).map(|key| (key, entry.manager.clone().unwrap_or_default())))
            .collect()
    }
}

/// The annotations that an entry of managed fields owns.
fn annotations_of(entry: &ManagedFieldsEntry) -> impl Iterator<Item = String> {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    let annotations = fields.and_then(|fields| fields["f:metadata"]["f:annotations"].as_object());
    let keys: Vec<String> = annotations
        .into_iter()
        .flat_map(|of| of.keys())
        .filter_map(|key| key.strip_prefix("f:"))
        .map(str::to_owned)
        .collect();
    keys.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consent_without_effect_is_told_once() {
        let consents = StandingConsents::new(Duration::ZERO);
        let given = [("a", "1".to_owned()), ("b", "2".to_owned())];
        let used = [("b", "what".to_owned())];
        assert_eq!(consents.overdue("n/x", &given, &used), [("a", "1".to_owned())]);
        assert!(consents.overdue("n/x", &given, &[]).is_empty());
        assert_eq!(consents.overdue("n/x", &[("a", "3".to_owned())], &[]), [("a", "3".to_owned())]);
        assert!(StandingConsents::new(Duration::from_mins(1)).overdue("n/x", &given, &[]).is_empty());
    }
}
