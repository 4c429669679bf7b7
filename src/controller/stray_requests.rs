//! Requests that no ClusterIdentity selects any more: after an edit of the selection, or after the deletion of the ClusterIdentity under
//! `deletionPolicy: Retain`. No pass sees them, so what their status says is withdrawn here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::gather::full_name;
use super::outcome::NO_IDENTITY;
use super::pass::Shared;
use super::request_status::{self, remembered};
use super::watch_health::Watch;
use super::watches::{IdentityRef, selects};
use crate::api::{ClusterIdentity, CredentialsRequest, RELEASE_LABEL};

/// How often requests are looked at that no pass looks at.
const INTERVAL: Duration = Duration::from_secs(20);

/// Says of requests that were served and are selected by no ClusterIdentity any more that nothing is known of them.
pub async fn tend(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        for decoded in shared.stores.requests.state() {
            let Ok(request) = &decoded.0 else { continue };
            let Some(message) = nobody_serves(&shared, request) else { continue };
            let mut request = request.clone();
            shared.publisher.freshen(&mut request);
            let previous = request.status.clone().unwrap_or_default();
            let next = request_status::unseen(&previous, NO_IDENTITY, &message, Timestamp::now());
            if let Err(error) = shared.publisher.request(&request, &previous, &next).await {
                tracing::warn!(request = full_name(&request), %error, "a status could not be written; it is tried again");
            }
        }
    }
}

/// Why a request that was served is served by nobody; `None` if somebody serves it, or if that cannot be told.
fn nobody_serves(shared: &Shared, request: &CredentialsRequest) -> Option<String> {
    let lost = [Watch::ClusterIdentities, Watch::CredentialsRequests].map(|watch| shared.health.is_failing(watch));
    if lost.contains(&true) || request.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let (namespace, labels) =
        (request.metadata.namespace.clone()?, request.metadata.labels.clone().unwrap_or_default());
    let name = remembered(request.status.as_ref()?)?.cluster_identity?;
    let (of_identity, identity) = name.split_once('/')?;
    // Operators for single namespaces see the requests of all, and the ClusterIdentities of their own.
    let is_seen = shared.owner_settings.namespace.as_ref().is_none_or(|seen| seen == of_identity);
    if !is_seen || labels.contains_key(RELEASE_LABEL) {
        return None;
    }
    let found = shared.stores.identities.get(&IdentityRef::new(identity).within(of_identity));
    let why = match found.as_deref().map(|decoded| &decoded.0) {
        None => format!("there is no ClusterIdentity {name} any more"),
        Some(Ok(found)) if !selects(found, &namespace, &labels) => {
            format!("the ClusterIdentity {name} selects this request no more (spec.credentialsRequests)")
        }
        Some(_) => return None,
    };
    let selecting = |identity: &ClusterIdentity| selects(identity, &namespace, &labels).then_some(());
    if !shared.stores.among_identities(selecting).is_empty() {
        return None;
    }
    Some(format!("{why}, and no other selects it: nobody verifies or heals its role and its Secret"))
}
