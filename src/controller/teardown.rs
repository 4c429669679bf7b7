//! The last passes over a ClusterIdentity that is being deleted: what carries its mark goes, then the finalizer.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryFutureExt, stream};
use jiff::Timestamp;

use super::gather::{self, full_name};
use super::outcome::Outcome;
use super::pass::{Ended, SIDE_BY_SIDE, Shared, Terms};
use super::verdicts::outcome;
use super::{request_status, status};
use crate::api::ClusterIdentity;
use crate::api::cluster_identity::{DeletionPolicy, ManagementPolicy};
use crate::apply::{Evidence, Targets, carry_out};
use crate::aws::observe::observe_teardown;
use crate::aws::{Access, Session};
use crate::desired;
use crate::kubernetes::finalizer::TEARDOWN;
use crate::plan::{Prior, teardown};

/// Whether deleting the object is to take what it owns along.
pub fn is_wanted(identity: &ClusterIdentity) -> bool {
    identity.spec.deletion_policy == DeletionPolicy::Delete
        && identity.spec.management_policy == ManagementPolicy::Enforce
}

/// Sets the finalizer before anything is made, and takes it back when the spec no longer asks for it.
pub async fn keep_finalizer(shared: &Shared, identity: &ClusterIdentity) -> Result<(), kube::Error> {
    match (is_wanted(identity), TEARDOWN.is_set(identity)) {
        (true, false) => TEARDOWN.set(&shared.client, identity).await,
        (false, true) => TEARDOWN.take_back(&shared.client, identity).await,
        _ => Ok(()),
    }
}

/// Makes a pass over a ClusterIdentity that is being deleted and carries the finalizer.
pub async fn pass(shared: &Arc<Shared>, identity: &ClusterIdentity, terms: Terms) -> Result<Ended, kube::Error> {
    let now = terms.now;
    if !is_wanted(identity) {
        // Its requests keep what they have, and what their statuses say of it.
        return release(shared, identity, "spec keeps what it owns from being touched").await;
    }
    // One that was refused has made nothing: all that it could name is its elder's.
    if let Err(refused) = gather::refuse_duplicate(&shared.stores, identity) {
        return let_go(shared, identity, &format!("it has made nothing: {refused}"), now).await;
    }
    match Box::pin(look_and_act(shared, identity, terms)).await {
        Err(outcome) => {
            let message = super::pass::message(&outcome);
            hold(shared, identity, outcome, &message, now).await
        }
        Ok(evidence) => {
            let outcome = outcome(&evidence, &[]);
            match (&outcome, shared.unsettled(identity, now)) {
                (Outcome::Verified, None) => {
                    let_go(shared, identity, "nothing that carries the cluster's mark is left", now).await
                }
                (Outcome::Verified, Some(wait)) => {
                    let message = "nothing is left to be seen; looked at again soon, because AWS's reads may not show yet what was made";
                    let ended = hold(shared, identity, Outcome::Settling, message, now).await?;
                    Ok(Ended { due: now.checked_add(wait).ok(), ..ended })
                }
                _ => tell(shared, identity, outcome, &evidence, now).await,
            }
        }
    }
}

async fn look_and_act(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    Terms { until, now, .. }: Terms,
) -> Result<Evidence, Outcome> {
    let session = shared.aws.open(&Access::of(&identity.spec)).map_err(Outcome::NoAccount).await?;
    gather::refuse_other_account(identity, &session.account.id).map_err(Outcome::Refused)?;
    let name = full_name(identity);
    let doomed = desired::teardown(&name, &identity.spec, &session.account.id).map_err(Outcome::Refused)?;
    let observed = Box::pin(observe_teardown(&session, &doomed)).await;
    let secrets = shared.stores.secrets_of(&name);
    let mut settling = shared.settling_of(identity, now);
    if shared.is_young() {
        // What another replica, or this one before a crash, made a moment ago is not remembered here.
        settling.may_have_made(shared.began(now));
    }
    let prior = Prior { settling, ..gather::prior(identity, &[].into()) };
    let plan = teardown(&doomed, &observed, &secrets, &prior);
    let evidence = carry_out(&Targets { aws: &session, cluster: Some(&shared.client), until: Some(until) }, plan).await;
    shared.remember_settling(identity, &evidence, Timestamp::now());
    Ok(evidence)
}

/// Says what is being done, or what stands in the way.
async fn tell(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    outcome: Outcome,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<Ended, kube::Error> {
    let previous = identity.status.clone().unwrap_or_default();
    let next = status::during_teardown(&previous, identity.metadata.generation, evidence, &outcome, now);
    shared.publisher.identity(identity, &previous, &next, evidence).await?;
    tell_requests(shared, identity, now).await;
    let due = match outcome {
        // Nothing comes back in a teardown, so there is no fight to go slowly about.
        Outcome::Changed { .. } => Some(now),
        Outcome::Settling => evidence.plan().settling.next_expiry(shared.settle_time),
        _ => None,
    };
    Ok(Ended { outcome, ready: status::ready(&next), due, drift: Vec::new() })
}

/// Says that the object stays for now, and why. The namespace that it is in waits for it.
async fn hold(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    outcome: Outcome,
    message: &str,
    now: Timestamp,
) -> Result<Ended, kube::Error> {
    let previous = identity.status.clone().unwrap_or_default();
    let next = status::held_in_teardown(&previous, identity.metadata.generation, &outcome, message, now);
    shared.publisher.identity_refused(identity, &previous, &next).await?;
    Ok(Ended { outcome, ready: status::ready(&next), due: None, drift: Vec::new() })
}

/// The requests are served by nobody from now on. One whose status cannot be written holds up nothing: it may be refused for
/// ever, and the object is to go.
async fn tell_requests(shared: &Arc<Shared>, identity: &ClusterIdentity, now: Timestamp) {
    let mut requests = gather::requests(&shared.stores, identity);
    // What an older ClusterIdentity serves goes on being served.
    let claimed = requests.inputs.iter().filter(|input| input.claimed_by.is_some());
    for input in claimed {
        requests.objects.remove(&input.id);
    }
    let name = full_name(identity);
    stream::iter(requests.objects.into_values())
        .map(|mut request| {
            let name = &name;
            // Boxed: the compiler cannot see through a stream of borrowing futures that they may be sent.
            async move {
                shared.publisher.freshen(&mut request);
                let previous = request.status.clone().unwrap_or_default();
                let next = request_status::deprovisioned(&previous, request.metadata.generation, name, now);
                if let Err(error) = shared.publisher.request(&request, &previous, &next).await {
                    tracing::warn!(request = full_name(&request), %error, "a status could not be written");
                }
            }
            .boxed()
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect::<()>()
        .await;
}

async fn let_go(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    why: &str,
    now: Timestamp,
) -> Result<Ended, kube::Error> {
    tell_requests(shared, identity, now).await;
    release(shared, identity, why).await
}

async fn release(shared: &Arc<Shared>, identity: &ClusterIdentity, why: &str) -> Result<Ended, kube::Error> {
    TEARDOWN.take_back(&shared.client, identity).await?;
    shared.forget(identity).await;
    shared.publisher.let_go_event(identity, why).await;
    tracing::info!(identity = full_name(identity), why, "let go");
    Ok(Ended { outcome: Outcome::LetGo, ready: "unknown", due: None, drift: Vec::new() })
}

impl Shared {
    /// How long to wait until a read surely shows all that was made; `None` when it does.
    fn unsettled(&self, identity: &ClusterIdentity, now: Timestamp) -> Option<Duration> {
        let young = self.settle_time.checked_sub(self.begun.elapsed()).filter(|left| !left.is_zero());
        let made = self.settling_of(identity, now).may_hide_something().then_some(Duration::from_secs(1));
        young.or(made)
    }

    fn is_young(&self) -> bool {
        self.begun.elapsed() < self.settle_time
    }

    async fn forget(&self, identity: &ClusterIdentity) {
        self.forget_settling(identity);
        if let Some(Session { account, .. }) = self.aws.known(&Access::of(&identity.spec)).await {
            account.forget(&desired::names::role_prefix(&identity.spec.infra_name));
        }
    }
}
