//! Who owns what, as the management cluster tells it: the uids behind the owner marks.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::gather::full_name;
use super::pass::Shared;
use super::watch_health::Watch;
use crate::api::{ClusterIdentity, TAKE_OVER_FROM};
use crate::desired::consent::Consents;
use crate::desired::owner::{Owner, Owners};

/// The namespace whose uid stands for a cluster: it is made with the cluster and cannot be deleted.
const CLUSTER: &str = "kube-system";

/// Where the operator may act as owner.
#[derive(Debug, Clone, Default)]
pub struct OwnerSettings {
    /// Uids of the namespaces `kube-system` of management clusters whose marks are taken over.
    pub take_over_from: BTreeSet<String>,
    /// The namespace whose ClusterIdentities are seen; `None`: those of all.
    pub namespace: Option<String>,
}

impl Shared {
    /// What a ClusterIdentity knows of owners; `None` while the namespace is not seen that stands for the management cluster, so
    /// that no mark could be told from another's.
    pub fn owners_of(&self, identity: &ClusterIdentity) -> Option<Owners> {
        let cluster = self.stores.namespaces.get(&ObjectRef::new(CLUSTER))?.uid()?;
        let own = Owner { cluster, identity: identity.uid()? };
        let others: BTreeMap<String, String> = self
            .stores
            .identities
            .state()
            .iter()
            .filter_map(|other| Some((other.meta().uid.clone()?, full_name(&**other))))
            .filter(|(uid, _)| *uid != own.identity)
            .collect();
        let consents = Consents::of(identity.annotations());
        let named = consents.named(TAKE_OVER_FROM).map(str::to_owned);
        Some(Owners {
            own: Some(own),
            others,
            // A watch that fails may not show one that exists.
            complete: self.owner_settings.namespace.is_none() && !self.health.is_failing(Watch::ClusterIdentities),
            take_over_from: self.owner_settings.take_over_from.iter().cloned().chain(named).collect(),
        })
    }
}

/// What is said while the management cluster cannot be told from another.
pub fn not_seen() -> String {
    format!(
        "the namespace {CLUSTER}, whose uid stands for this management cluster in owner marks, is not seen: may the operator list namespaces?"
    )
}
