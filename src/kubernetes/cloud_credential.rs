//! The CloudCredential of an OpenShift cluster (`operator.openshift.io/v1`, named `cluster`), its annotations alone.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::errors::fault;
use crate::observed::Fault;
use crate::plan::upgrade::annotation::{Carried, SET_BY, UPGRADEABLE_TO};

const NAME: &str = "cluster";

/// What it carries, and the resource version that this was read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotations {
    /// What matters of its annotations.
    pub carried: Carried,
    resource_version: Option<String>,
}

fn api(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("operator.openshift.io", "v1", "CloudCredential");
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "cloudcredentials"))
}

/// Reads it; `None` where there is none, because the cluster is no OpenShift.
pub async fn read(client: &Client) -> Result<Option<Annotations>, Fault> {
    let found = api(client).get_metadata_opt(NAME).await;
    let found = match found {
        // A kind that is not served is answered by a page, not by a status.
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        found => found.map_err(|error| fault("get cloudcredentials", NAME, &error))?,
    };
    Ok(found.map(|object| Annotations {
        carried: Carried {
            value: object.annotations().get(UPGRADEABLE_TO).cloned(),
            set_by: object.annotations().get(SET_BY).cloned(),
        },
        resource_version: object.resource_version(),
    }))
}

/// Changes it, unless someone else did so since it was read.
pub async fn write(client: &Client, read: &Annotations, carry: &Carried) -> Result<(), Fault> {
    let patch = json!({"metadata": {
        "resourceVersion": read.resource_version,
        "annotations": {UPGRADEABLE_TO: carry.value, SET_BY: carry.set_by},
    }});
    let written = api(client).patch_metadata(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await;
    written.map(drop).map_err(|error| fault("patch cloudcredentials", NAME, &error))
}
