//! What is waited for at the start: the kinds that Rolecall serves, and the schemas that their statuses are cut to.

use std::time::Duration;

use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

use super::server::Readiness;
use super::{FIRST_LISTS, Settings};
use crate::api::{ClusterIdentity, CredentialsRequest, UpgradeCheck};
use crate::kubernetes::decoded::{Decoded, DecodedKind};
use crate::kubernetes::served::ServedSchemas;
use crate::observed::FaultClass;

/// How often the API server is asked whether the CRDs are there.
const CRD_POLL: Duration = Duration::from_secs(2);
/// How often the schemas are tried before work begins without them.
const SCHEMA_ATTEMPTS: usize = 5;

/// Waits until all kinds are served, saying so instead of dying.
pub async fn wait_for_crds(client: &Client, settings: &Settings, readiness: &Readiness) {
    loop {
        let answers = async {
            tokio::join!(
                may_list::<ClusterIdentity>(settings.served(client)),
                may_list::<CredentialsRequest>(Api::all(client.clone())),
                may_list::<UpgradeCheck>(settings.served(client)),
            )
        };
        let Ok((identities, requests, checks)) = tokio::time::timeout(FIRST_LISTS, answers).await else {
            readiness.waiting("waiting for the API server, which takes requests and does not answer".into());
            continue;
        };
        let missing = [
            ("clusteridentities.rolecall.dev", identities.err()),
            ("credentialsrequests.cloudcredential.openshift.io", requests.err()),
            ("upgradechecks.rolecall.dev", checks.err()),
        ]
        .into_iter()
        .find_map(|(crd, error)| error.map(|error| (crd, error)));
        let Some((crd, error)) = missing else { return };
        let why = match error {
            kube::Error::Api(status) if status.code == 404 => {
                format!("waiting for the CustomResourceDefinition {crd}: apply the manifests in crds/")
            }
            kube::Error::Api(status) if status.code == 403 => {
                format!("waiting for permission to list {crd}: apply the roles in deploy/base ({})", status.message)
            }
            other => format!("waiting for the API server: {other}"),
        };
        tracing::warn!("{why}");
        readiness.waiting(why);
        tokio::time::sleep(CRD_POLL).await;
    }
}

/// Whether a kind is served and may be listed; what its objects hold does not matter.
async fn may_list<K: DecodedKind + Clone + std::fmt::Debug>(
    api: Api<Decoded<PartialObjectMeta<K>>>,
) -> Result<(), kube::Error> {
    api.list(&ListParams::default().limit(1)).await.map(drop)
}

/// Waits until the schemas are known that statuses are cut to. Where they may not be read, or cannot be after some attempts,
/// what every known schema declares is written all the same; they are tried again every minute.
pub async fn wait_for_schemas(schemas: &ServedSchemas, readiness: &Readiness) {
    for _ in 0..SCHEMA_ATTEMPTS {
        let why = match tokio::time::timeout(FIRST_LISTS, schemas.refresh()).await {
            Ok(Ok(_)) => break,
            Ok(Err(fault)) if matches!(fault.class, FaultClass::Denied | FaultClass::NotFound) => {
                tracing::warn!(error = %fault, "the served schemas cannot be read; statuses are cut to the least of them");
                break;
            }
            Ok(Err(fault)) => format!("waiting for the schemas that the API server serves: {fault}"),
            Err(_) => "waiting for the API server, which takes requests and does not answer".to_owned(),
        };
        tracing::warn!("{why}");
        readiness.waiting(why);
        tokio::time::sleep(CRD_POLL).await;
    }
    for (kind, fields) in schemas.outdated() {
        tracing::warn!(
            crd = kind.crd_name(),
            fields = fields.join(", "),
            "the CustomResourceDefinition does not declare all fields of this version; apply the manifests in crds/"
        );
    }
}
