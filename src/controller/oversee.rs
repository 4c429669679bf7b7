//! Has every ClusterIdentity looked at when what the process sees of the API server changes.

use std::time::{Duration, Instant};

use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use super::watches::{IdentityRef, Stores};
use super::{LAST_WORD, Seeing};
use crate::kubernetes::served::REFRESH_INTERVAL;

/// How often it is looked whether a watch was lost or has come back.
const WATCH_POLL: Duration = Duration::from_secs(1);

/// Has every ClusterIdentity looked at when what the process sees changes: a watch is lost or comes back, a schema changes.
pub async fn oversee(Seeing { health, schemas }: Seeing, stores: Stores, triggers: mpsc::UnboundedSender<IdentityRef>) {
    let lost_watches = || health.lost().into_iter().map(|lost| lost.watch).collect::<Vec<_>>();
    let (mut lost, mut outdated) = (lost_watches(), schemas.outdated());
    let mut refreshed = Instant::now();
    loop {
        tokio::time::sleep(WATCH_POLL).await;
        if refreshed.elapsed() >= REFRESH_INTERVAL {
            if !matches!(tokio::time::timeout(LAST_WORD, schemas.refresh()).await, Ok(Ok(_))) {
                tracing::debug!("the served schemas could not be looked at; what was read before goes on being used");
            }
            refreshed = Instant::now();
        }
        // A closed channel means that the process is stopping.
        for identity in health.waited() {
            let _ = triggers.send(identity);
        }
        let (lost_now, outdated_now) = (lost_watches(), schemas.outdated());
        if lost_now == lost && outdated_now == outdated {
            continue;
        }
        for watch in health.lost().iter().filter(|of| !lost.contains(&of.watch)) {
            tracing::error!(watch = watch.watch.name(), cause = watch.cause, "a watch is lost");
        }
        (lost, outdated) = (lost_now, outdated_now);
        for identity in stores.identities.state() {
            let _ = triggers.send(ObjectRef::from_obj(&*identity));
        }
    }
}
