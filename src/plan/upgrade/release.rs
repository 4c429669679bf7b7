//! The two sides of a roll call as they come out of a release's manifests: what it asks for, and the roles as it would
//! have them.

use std::collections::{BTreeMap, BTreeSet};

use super::{InForce, LiveRole, Origin, Target};
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
    /// Those that say what they ask for. A release may have the same twice, which counts once.
    pub requests: Vec<(Origin, ReadRequest)>,
    /// Those that do not, with the Secret where they name one, and the reason.
    pub unreadable: Vec<(Origin, Option<SecretKey>, String)>,
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
        let origin = Origin { request: manifest.id, file: manifest.file };
        let reading = match &manifest.spec {
            Ok(spec) => read(spec).map_err(|refused| refused.to_string()),
            Err(problem) => Err(problem.clone()),
        };
        match reading {
            Ok(Reading::Ours(read)) => {
                if self.requests.iter().all(|(_, known)| *known != *read) {
                    self.requests.push((origin, *read));
                }
            }
            Ok(Reading::OtherCloud { .. }) => {}
            Err(why) => {
                let secret = manifest.spec.ok().and_then(|spec| {
                    Some(SecretKey { namespace: spec.secret_ref.namespace?, name: spec.secret_ref.name? })
                });
                // What cannot be read is compared by what is wrong with it, which is the same in the same document.
                let same = |(known, of, what): &(Origin, Option<SecretKey>, String)| {
                    known.request == origin.request && *of == secret && *what == why
                };
                if !self.unreadable.iter().any(same) {
                    self.unreadable.push((origin, secret, why));
                }
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
        let readable = self.requests.iter().map(|(origin, read)| {
            let role = name(&read.secret);
            let others = secrets_of.get(&role.to_ascii_lowercase()).map_or(0, BTreeSet::len);
            let asks = if others > 1 {
                Err(format!("the role name {role} is also that of another request: names are cut at 64 characters"))
            } else {
                Ok(read.clone())
            };
            Target { secret: read.secret.clone(), origin: origin.clone(), role, asks }
        });
        let unreadable = self.unreadable.iter().map(|(origin, secret, why)| {
            let id = &origin.request;
            let unnamed = || SecretKey { namespace: id.namespace.clone(), name: id.name.clone() };
            let secret = secret.clone().unwrap_or_else(unnamed);
            Target { role: name(&secret), secret, origin: origin.clone(), asks: Err(why.clone()) }
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
        // Several requests for one Secret are one component.
        let of_secret: BTreeMap<SecretKey, String> =
            self.targets(spec).into_iter().map(|t| (t.secret, t.role)).collect();
        of_secret.into_iter().map(|(secret, role)| InForce { secret: Some(secret), role }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::issuer::desired_issuer;
    use crate::plan::upgrade::{Call, ComponentVerdict, roll_call};
    use crate::release::manifests::{Cloud, read_file};

    fn request(action: &str) -> String {
        format!(
            r#"{{apiVersion: cloudcredential.openshift.io/v1, kind: CredentialsRequest, metadata: {{namespace: r, name: a}},
            spec: {{secretRef: {{namespace: of, name: secret}}, serviceAccountNames: [x], providerSpec: {{
            apiVersion: cloudcredential.openshift.io/v1, kind: AWSProviderSpec,
            statementEntries: [{{effect: Allow, action: ["{action}"], resource: "*"}}]}}}}}}"#
        )
    }

    /// The entries of a ConfigMap, as an UpgradeCheck has them.
    fn included(entries: &[&str]) -> Included {
        let read = |(number, text): (usize, &&str)| read_file(&format!("ConfigMap r/m, entry {number}"), text).unwrap();
        Included::of(entries.iter().enumerate().flat_map(read).collect(), &Inclusion::default())
    }

    fn spec() -> ClusterIdentitySpec {
        let spec = serde_json::json!({"infraName": "c", "region": "us-east-1", "issuer": {"signingKeys": []}});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_same_request_counts_once_and_those_that_differ_are_one_component() {
        let (one, other) = (request("s3:GetObject"), request("s3:PutObject"));
        let (spec, release) = (spec(), included(&[&one, &one, &other]));
        assert_eq!((release.requests.len(), release.in_force(&spec).len()), (2, 1));
        let issuer = desired_issuer(&spec, "1");
        let result = roll_call(&Call {
            targets: release.targets(&spec),
            live: included(&[&one]).live(&spec, "1", &issuer),
            in_force: Vec::new(),
            provider: issuer.provider.arn.clone(),
            issuer: issuer.provider.host_and_path().to_owned(),
            audience: "openshift".into(),
        });
        assert_eq!(result.components.len(), 1);
        let component = &result.components[0];
        assert_eq!(component.verdict, ComponentVerdict::Missing);
        let both = "2 requests that differ ask for it, r/a in ConfigMap r/m, entry 0, r/a in ConfigMap r/m, entry 2";
        assert!(component.because.starts_with("s3:PutObject: ") && component.because.ends_with(both), "{component:?}");
    }

    #[test]
    fn what_is_not_for_aws_is_put_aside_and_what_may_be_is_not() {
        let azure = request("*").replace("AWSProviderSpec", "AzureProviderSpec").replace("[x]", "all");
        let release = included(&[&azure]);
        assert_eq!((release.other_clouds.len(), release.is_empty()), (1, true));
        let problem = release.emptiness("it").unwrap();
        assert!(problem.contains("(0 are for other clusters, 1 not for AWS)"), "{problem}");
        // An object of which nothing can be read may be for AWS.
        let mut manifests = read_file("", &azure).unwrap();
        manifests[0].cloud = Cloud::Unknown;
        assert_eq!(Included::of(manifests, &Inclusion::default()).unreadable.len(), 1);
    }
}
