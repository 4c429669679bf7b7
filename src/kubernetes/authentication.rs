//! Which cluster this is: the issuer of its service-account tokens, as OpenShift has it (`config.openshift.io/v1`
//! Authentication, named `cluster`).

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};

use super::errors::fault;
use crate::observed::Fault;

const NAME: &str = "cluster";

/// The issuer of the cluster that Rolecall runs on, empty for that of clusters without short-term credentials; `None` where
/// there is no such object, because the cluster is no OpenShift.
pub async fn issuer(client: &Client) -> Result<Option<String>, Fault> {
    let kind = GroupVersionKind::gvk("config.openshift.io", "v1", "Authentication");
    let api: Api<DynamicObject> =
        Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "authentications"));
    let found = match api.get_opt(NAME).await {
        // A kind that is not served is answered by a page, not by a status.
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        found => found.map_err(|error| fault("get authentications", NAME, &error))?,
    };
    Ok(found.map(|object| object.data["spec"]["serviceAccountIssuer"].as_str().unwrap_or_default().to_owned()))
}
