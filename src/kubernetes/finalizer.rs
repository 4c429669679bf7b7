//! The finalizer that keeps a ClusterIdentity until what it owns in AWS is gone.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use crate::api::{ClusterIdentity, TEARDOWN_FINALIZER};

/// Field manager of the finalizer alone, so that setting and taking it back touches no other field and no other
/// finalizer.
const FIELD_MANAGER: &str = "rolecall-teardown";

/// Whether the object carries the finalizer.
pub fn is_set(identity: &ClusterIdentity) -> bool {
    identity.finalizers().iter().any(|finalizer| finalizer == TEARDOWN_FINALIZER)
}

/// Sets the finalizer.
pub async fn set(client: &Client, identity: &ClusterIdentity) -> Result<(), kube::Error> {
    apply(client, identity, &[TEARDOWN_FINALIZER]).await
}

/// Takes the finalizer back. An object that is gone by now needs none.
pub async fn take_back(client: &Client, identity: &ClusterIdentity) -> Result<(), kube::Error> {
    match apply(client, identity, &[]).await {
        // An apply to what is not there would create it, which its uid forbids.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) && is_gone(client, identity).await => {
            Ok(())
        }
        result => result,
    }
}

async fn is_gone(client: &Client, identity: &ClusterIdentity) -> bool {
    let api: Api<ClusterIdentity> = Api::namespaced(client.clone(), &identity.namespace().unwrap_or_default());
    let found = api.get_metadata_opt(&identity.name_any()).await;
    matches!(found, Ok(found) if found.as_ref().and_then(|found| found.metadata.uid.clone()) != identity.uid())
}

async fn apply(client: &Client, identity: &ClusterIdentity, finalizers: &[&str]) -> Result<(), kube::Error> {
    let namespace = identity.namespace().unwrap_or_default();
    let api: Api<ClusterIdentity> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({
        "apiVersion": ClusterIdentity::api_version(&()),
        "kind": ClusterIdentity::kind(&()),
        "metadata": {
            "name": identity.name_any(),
            "namespace": namespace,
            "uid": identity.uid(),
            "finalizers": finalizers,
        },
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_metadata(&identity.name_any(), &params, &Patch::Apply(&patch)).await.map(drop)
}
