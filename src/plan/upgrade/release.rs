//! The two sides of a roll call as they come out of a release's manifests: what it asks for, and the roles as it would
//! have them.

use std::collections::{BTreeMap, BTreeSet};

use super::{InForce, LiveRole, Target};
use crate::api::ClusterIdentitySpec;
use crate::desired::issuer::DesiredIssuer;
use crate::desired::names::{full_role_name, role_name};
use crate::desired::request::{ReadRequest, Reading, RequestId, read};
use crate::desired::role::desired_role;
use crate::desired::secret::SecretKey;
use crate::policy::coverage::{Granted, Source};
use crate::release::inclusion::Inclusion;
use crate::release::manifests::Manifest;

/// The requests of a release that a cluster gets, for AWS alone.
#[derive(Debug, Clone, Default)]
pub struct Included {
    /// Those that say what they ask for.
    pub requests: Vec<(RequestId, ReadRequest)>,
    /// Those that do not, with the Secret where they name one, and the reason.
    pub unreadable: Vec<(RequestId, Option<SecretKey>, String)>,
    /// Those that the cluster does not get, with the reason.
    pub excluded: Vec<(RequestId, String)>,
    /// Those that are not for AWS, with the reason.
    pub other_clouds: Vec<(RequestId, String)>,
}

impl Included {
    /// Decides over a release's manifests. Tombstones are nothing to speak of. What is not for AWS is put aside before anything
    /// else of it is read: it may be as it likes.
    pub fn of(manifests: Vec<Manifest>, inclusion: &Inclusion) -> Self {
        let mut included = Self::default();
        for manifest in manifests.into_iter().filter(|manifest| !manifest.is_tombstone()) {
            if let Some(why) = manifest.cloud.why_not_aws() {
                included.other_clouds.push((manifest.id, why));
            } else if let Err(why) = inclusion.decide(&manifest.annotations) {
                included.excluded.push((manifest.id, why.to_string()));
            } else {
                included.take(manifest);
            }
        }
        included
    }

    fn take(&mut self, manifest: Manifest) {
        let reading = match &manifest.spec {
            Ok(spec) => read(spec).map_err(|refused| refused.to_string()),
            Err(problem) => Err(problem.clone()),
        };
        match reading {
            Ok(Reading::Ours(read)) => self.requests.push((manifest.id, *read)),
            Ok(Reading::OtherCloud { .. }) => {}
            Err(why) => {
                let secret = manifest.spec.ok().and_then(|spec| {
                    Some(SecretKey { namespace: spec.secret_ref.namespace?, name: spec.secret_ref.name? })
                });
                self.unreadable.push((manifest.id, secret, why));
            }
        }
    }

    /// Whether the release has nothing for this cluster, which is more likely a mistake than true.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.unreadable.is_empty()
    }

    /// What is wrong with a release that has nothing for this cluster, in a sentence about its `source`.
    pub fn emptiness(&self, source: &str) -> Option<String> {
        let (clusters, clouds) = (self.excluded.len(), self.other_clouds.len());
        self.is_empty().then(|| format!(
            "{source} holds no CredentialsRequest for AWS that this cluster would get ({clusters} are for other clusters, {clouds} not for AWS); is it a release's manifests?"
        ))
    }

    /// What the release asks for, as targets of a roll call.
    pub fn targets(&self, spec: &ClusterIdentitySpec) -> Vec<Target> {
        let name = |secret: &SecretKey| {
            role_name(&full_role_name(&spec.infra_name, &secret.namespace, &secret.name), spec.roles.naming)
        };
        let mut secrets_of: BTreeMap<String, BTreeSet<&SecretKey>> = BTreeMap::new();
        for (_, read) in &self.requests {
            secrets_of.entry(name(&read.secret).to_ascii_lowercase()).or_default().insert(&read.secret);
        }
        let readable = self.requests.iter().map(|(id, read)| {
            let role = name(&read.secret);
            let others = secrets_of.get(&role.to_ascii_lowercase()).map_or(0, BTreeSet::len);
            let asks = if others > 1 {
                Err(format!("the role name {role} is also that of another request: names are cut at 64 characters"))
            } else {
                Ok(read.clone())
            };
            Target { secret: read.secret.clone(), request: id.clone(), role, asks }
        });
        let unreadable = self.unreadable.iter().map(|(id, secret, why)| {
            let unnamed = || SecretKey { namespace: id.namespace.clone(), name: id.name.clone() };
            let secret = secret.clone().unwrap_or_else(unnamed);
            Target { role: name(&secret), secret, request: id.clone(), asks: Err(why.clone()) }
        });
        readable.chain(unreadable).collect()
    }

    /// The roles exactly as the release asks for them.
    pub fn live(
        &self,
        spec: &ClusterIdentitySpec,
        account: &str,
        issuer: &DesiredIssuer,
    ) -> BTreeMap<String, Result<LiveRole, String>> {
        let mut live = BTreeMap::new();
        // Several requests for one Secret share its role.
        let mut of_secret: BTreeMap<&SecretKey, ReadRequest> = BTreeMap::new();
        for (_, read) in &self.requests {
            match of_secret.get_mut(&read.secret) {
                None => drop(of_secret.insert(&read.secret, read.clone())),
                Some(all) => {
                    all.statements.extend(read.statements.iter().cloned());
                    all.service_accounts.extend(read.service_accounts.iter().cloned());
                }
            }
        }
        for read in of_secret.values() {
            let Ok(role) = desired_role(spec, account, &issuer.provider, read, &read.secret) else { continue };
            let document = Ok(role.permissions.document);
            let policy = Source { name: format!("inline policy {}", role.name), document };
            let granted = Granted { identity: vec![policy], boundary: None };
            let key = role.name.to_ascii_lowercase();
            live.insert(key, Ok(LiveRole { name: role.name, trust: Ok(role.trust.document), granted }));
        }
        for target in self.targets(spec) {
            if let Err(why) = target.asks {
                live.insert(target.role.to_ascii_lowercase(), Err(why));
            }
        }
        live
    }

    /// The components that the release has.
    pub fn in_force(&self, spec: &ClusterIdentitySpec) -> Vec<InForce> {
        self.targets(spec).into_iter().map(|t| InForce { secret: Some(t.secret), role: t.role }).collect()
    }
}
