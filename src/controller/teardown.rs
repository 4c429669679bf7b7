//! The last passes over a ClusterIdentity that is being deleted: what carries its mark goes, then the finalizer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryFutureExt;
use jiff::Timestamp;
use kube::ResourceExt;

use super::gather::{self, full_name};
use super::outcome::Outcome;
use super::pass::{Ended, Shared, Terms, tell_served};
use super::verdicts::outcome;
use super::watches::reference;
use super::{request_status, status};
use crate::api::cluster_identity::{DeletionPolicy, ManagementPolicy};
use crate::api::{ClusterIdentity, CredentialsRequestStatus};
use crate::apply::{Evidence, Targets, carry_out};
use crate::aws::observe::observe_teardown;
use crate::aws::{Access, Session};
use crate::desired;
use crate::desired::consent::Consents;
use crate::kubernetes::finalizer::TEARDOWN;
use crate::plan::teardown::is_held_by_use;
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

/// Whether something was taken away already.
fn has_begun(identity: &ClusterIdentity) -> bool {
    identity.status.as_ref().is_some_and(|status| status.teardown_time.is_some())
}

/// Makes a pass over a ClusterIdentity that is being deleted and carries the finalizer.
pub async fn pass(shared: &Arc<Shared>, identity: &ClusterIdentity, terms: Terms) -> Result<Ended, kube::Error> {
    let now = terms.now;
    if shared.read_only {
        let message = "the operator runs with --read-only: nothing is deleted, and the finalizer stays";
        return hold(shared, identity, Outcome::Pending { changes: 0 }, message, now).await;
    }
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
                // What is in use, or may be, is not taken away, and goes on being served.
                _ if is_held_by_use(evidence.plan(), has_begun(identity)) => {
                    let ended = super::pass::serve(shared, identity, terms).await?;
                    tell_in_use(shared, identity, &evidence, (outcome, ended), now).await
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
    gather::refuse_other_account(identity, &BTreeMap::new(), &session.account.id).map_err(Outcome::Refused)?;
    let name = full_name(identity);
    let owners = shared.owners_of(identity).ok_or_else(|| Outcome::WatchLost(super::owners::not_seen()))?;
    let (account, consents) = (&session.account.id, Consents::of(identity.annotations()));
    let begun = has_begun(identity);
    let mut doomed =
        desired::teardown(&name, &identity.spec, account, owners, &consents, now).map_err(Outcome::Refused)?;
    // What is half gone is not put back because the other half cannot be told to be unused any more.
    doomed.confirmed |= begun;
    let observed = Box::pin(observe_teardown(&session, &doomed)).await;
    let secrets = shared.stores.secrets_of(&name);
    let mut settling = shared.settling_of(identity, now);
    if shared.is_young() {
        // What another replica, or this one before a crash, made a moment ago is not remembered here.
        settling.may_have_made(shared.began(now));
    }
    let interrupted = shared.health.interrupted().map(|lost| lost.to_string());
    let prior = Prior { settling, interrupted, ..gather::prior(identity, &[].into()) };
    let plan = teardown(&doomed, &observed, &secrets, &prior);
    if !begun && !plan.steps.is_empty() {
        shared.publisher.begin_teardown(identity, now).await.map_err(|error| super::pass::not_begun(&error))?;
    }
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
    // That the deletion has begun was noted since the object was read.
    let identity = &shared.publisher.fresh(identity);
    let previous = identity.status.clone().unwrap_or_default();
    let next = status::during_teardown(&previous, identity.metadata.generation, evidence, &outcome, now);
    shared.publisher.identity(identity, &previous, &next, evidence).await?;
    if evidence.plan().waits_for_a_watch() {
        // Nothing was taken away yet.
        shared.health.wait(reference(identity));
    } else {
        tell_requests(shared, identity, now).await;
    }
    let due = match outcome {
        // Nothing comes back in a teardown, so there is no fight to go slowly about.
        Outcome::Changed { .. } => Some(now),
        Outcome::Settling => evidence.plan().settling.next_expiry(shared.settle_time),
        _ => None,
    };
    Ok(Ended { due, ..Ended::with(outcome, status::ready(&next)) })
}

/// Says, over the status of a ClusterIdentity that is served, that its deletion is held.
async fn tell_in_use(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    evidence: &Evidence,
    (outcome, ended): (Outcome, Ended),
    now: Timestamp,
) -> Result<Ended, kube::Error> {
    let identity = &shared.publisher.fresh(identity);
    let previous = identity.status.clone().unwrap_or_default();
    let message = status::summarise(&status::problems(evidence, &[]));
    let next = status::held_while_in_use(&previous, identity.metadata.generation, &outcome, &message, now);
    shared.publisher.identity_refused(identity, &previous, &next).await?;
    // A role is used no more at some time, and nothing tells when.
    Ok(Ended { ready: status::ready(&next), outcome, ..ended })
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
    Ok(Ended::with(outcome, status::ready(&next)))
}

/// The requests are served by nobody from now on.
async fn tell_requests(shared: &Arc<Shared>, identity: &ClusterIdentity, now: Timestamp) {
    let name = full_name(identity);
    let next = |previous: &CredentialsRequestStatus, generation| {
        request_status::deprovisioned(previous, generation, &name, now)
    };
    tell_served(shared, identity, &next).await;
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
    shared.publisher.events.let_go(identity, why).await;
    tracing::info!(identity = full_name(identity), why, "let go");
    Ok(Ended::with(Outcome::LetGo, "unknown"))
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
