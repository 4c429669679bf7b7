//! The finalizers that keep our objects until what hangs on them is cleared away.

use kube::api::{Patch, PatchParams};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::{TEARDOWN_FINALIZER, UPGRADEABLE_FINALIZER};

/// A finalizer, with a field manager of its own: setting and taking it back touches no other field and no other
/// finalizer.
#[derive(Debug, Clone, Copy)]
pub struct Finalizer {
    name: &'static str,
    manager: &'static str,
}

/// Keeps a ClusterIdentity until what it owns in AWS is gone.
pub const TEARDOWN: Finalizer = Finalizer { name: TEARDOWN_FINALIZER, manager: "rolecall-teardown" };
/// Keeps an UpgradeCheck until its annotation on the CloudCredential is withdrawn.
pub const UPGRADEABLE: Finalizer = Finalizer { name: UPGRADEABLE_FINALIZER, manager: "rolecall-upgradeable" };

impl Finalizer {
    /// Whether the object carries the finalizer.
    pub fn is_set<K: Resource>(self, object: &K) -> bool {
        object.finalizers().iter().any(|finalizer| finalizer == self.name)
    }

    /// Sets the finalizer.
    pub async fn set<K>(self, client: &Client, object: &K) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
    {
        self.apply(client, object, &[self.name]).await.map(drop)
    }

    /// Takes the finalizer back. An object that is gone by now needs none.
    pub async fn take_back<K>(self, client: &Client, object: &K) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
    {
        match self.release(client, object).await {
            // An apply to what is not there would create it, which its uid forbids.
            Err(kube::Error::Api(status))
                if matches!(status.code, 404 | 409 | 422) && is_gone(client, object).await =>
            {
                Ok(())
            }
            result => result,
        }
    }

    async fn release<K>(self, client: &Client, object: &K) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
    {
        let left = self.apply(client, object, &[]).await?;
        if !self.is_set(&left) {
            return Ok(());
        }
        // An apply takes away only what its manager has set, and an object that was restored from a copy had the finalizer
        // from whoever restored it. The resource version keeps another's finalizer that is set meanwhile.
        let others: Vec<&String> = left.finalizers().iter().filter(|finalizer| *finalizer != self.name).collect();
        let patch = json!({"metadata": {
            "uid": object.uid(),
            "resourceVersion": left.resource_version(),
            "finalizers": others,
        }});
        let params = PatchParams { field_manager: Some(self.manager.to_owned()), ..PatchParams::default() };
        api_of(client, object).patch_metadata(&object.name_any(), &params, &Patch::Merge(&patch)).await.map(drop)
    }

    async fn apply<K>(
        self,
        client: &Client,
        object: &K,
        finalizers: &[&str],
    ) -> Result<PartialObjectMeta<K>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
    {
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {
                "name": object.name_any(),
                "namespace": object.namespace().unwrap_or_default(),
                "uid": object.uid(),
                "finalizers": finalizers,
            },
        });
        let params = PatchParams::apply(self.manager).force();
        api_of(client, object).patch_metadata(&object.name_any(), &params, &Patch::Apply(&patch)).await
    }
}

fn api_of<K>(client: &Client, object: &K) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &object.namespace().unwrap_or_default())
}

async fn is_gone<K>(client: &Client, object: &K) -> bool
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
{
    let found = api_of(client, object).get_metadata_opt(&object.name_any()).await;
    matches!(found, Ok(found) if found.as_ref().and_then(|found| found.metadata.uid.clone()) != object.uid())
}
