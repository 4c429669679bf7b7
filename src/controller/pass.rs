//! One pass over one ClusterIdentity: inputs, desired, observed, plan, evidence, statuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::Client;
use tokio::sync::Mutex;

use super::gather::{self, Requests};
use super::outcome::Outcome;
use super::publish::Publisher;
use super::verdicts::{outcome, states};
use super::watches::Stores;
use super::{request_status, status};
use crate::api::ClusterIdentity;
use crate::apply::{Evidence, Targets, carry_out};
use crate::aws::anonymous::AnonymousReader;
use crate::aws::observe::{observe, trust_limit};
use crate::aws::{Clients, Connection};
use crate::desired::request::RequestRefused;
use crate::desired::secret::SecretKey;
use crate::desired::{Desired, IdentityRefused, Inputs, RequestVerdict, desire};
use crate::kubernetes;
use crate::observed::{FaultClass, Observed, ObservedSecret, SecretState, Seen};
use crate::plan::{Change, plan};

/// How long an account's quota is believed: people have it raised when a request was refused for it.
const TRUST_LIMIT_AGE: Duration = Duration::from_mins(5);

/// How many Secrets are read side by side.
const SIDE_BY_SIDE: usize = 8;

/// Everything that passes share.
pub struct Shared {
    /// The management cluster, which is the target cluster too.
    pub client: Client,
    /// AWS.
    pub aws: Connection,
    /// The anonymous reader.
    pub reader: AnonymousReader,
    /// The stores of the watches.
    pub stores: Stores,
    /// Writes statuses and events.
    pub publisher: Publisher,
    /// Secrets as they were last read, valid while their resource version is that of the watch. Values are not in it.
    pub secrets: Mutex<BTreeMap<SecretKey, ObservedSecret>>,
    /// Quotas on trust policies, by account; read only when a trust policy is longer than AWS's default.
    pub trust_limits: Mutex<BTreeMap<String, (Instant, usize)>>,
}

/// How a pass ended, and when something falls due before the next interval.
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// What the status says of `Ready` now: `true`, `false` or `unknown`.
    pub ready: &'static str,
    /// When a key is due to be dropped.
    pub due: Option<Timestamp>,
    /// How many differences were someone else's doing.
    pub drifted: usize,
}

/// Makes a pass and writes the statuses.
pub async fn pass(shared: &Arc<Shared>, identity: &ClusterIdentity, now: Timestamp) -> Result<Ended, kube::Error> {
    let mut requests = gather::requests(&shared.stores, identity);
    requests.objects.values_mut().for_each(|request| shared.publisher.freshen(request));
    match Box::pin(look_and_act(shared, identity, &requests, now)).await {
        Ok((desired, evidence)) => {
            let states = states(&desired, &evidence);
            let outcome = outcome(&evidence, &states);
            let previous = identity.status.clone().unwrap_or_default();
            let generation = identity.metadata.generation;
            let next = status::after_pass(&previous, generation, &desired, &evidence, &states, &outcome, now);
            // One status that cannot be written holds back no other.
            let mut written = Ok(());
            for state in states.iter().filter(|state| !state.belongs_to_another()) {
                let Some(request) = requests.objects.get(state.id) else { continue };
                let previous = request.status.clone().unwrap_or_default();
                let generation = request.metadata.generation;
                let next = request_status::after_pass(&previous, generation, state, evidence.plan(), now);
                written = written.and(shared.publisher.request(request, &previous, &next).await);
            }
            shared.publisher.identity(identity, &previous, &next, &evidence).await.and(written)?;
            let due = status::next_retirement(&desired);
            Ok(Ended { outcome, ready: status::ready(&next), due, drifted: evidence.plan().drift().count() })
        }
        Err(outcome) => {
            let message = message(&outcome);
            given_up(shared, identity, outcome, &message, now).await
        }
    }
}

/// The sentence for a pass that ended before there was a plan.
fn message(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refused) => refused.to_string(),
        Outcome::NoAccount(fault) => fault.to_string(),
        other => other.reason().to_owned(),
    }
}

/// Says in the status that a pass was given up, and why.
pub async fn given_up(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    outcome: Outcome,
    message: &str,
    now: Timestamp,
) -> Result<Ended, kube::Error> {
    let previous = identity.status.clone().unwrap_or_default();
    let next = status::without_plan(&previous, identity.metadata.generation, &outcome, message, now);
    shared.publisher.identity_refused(identity, &previous, &next).await?;
    Ok(Ended { outcome, ready: status::ready(&next), due: None, drifted: 0 })
}

impl Ended {
    /// A pass whose status could not be written: what is known is what the status said before.
    pub fn without_status(outcome: Outcome, identity: &ClusterIdentity) -> Self {
        let ready = identity.status.as_ref().map_or("unknown", status::ready);
        Self { outcome, ready, due: None, drifted: 0 }
    }
}

async fn look_and_act(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    requests: &Requests,
    now: Timestamp,
) -> Result<(Desired, Evidence), Outcome> {
    gather::refuse_duplicate(&shared.stores, identity).map_err(Outcome::Refused)?;
    let namespace = identity.metadata.namespace.clone().unwrap_or_default();
    let (keys, opened) = tokio::join!(
        kubernetes::keys::read_all(&shared.client, &namespace, &identity.spec.issuer.signing_keys),
        shared.aws.open(&identity.spec.region),
    );
    let (clients, account) = opened.map_err(Outcome::NoAccount)?;
    let inputs = gather::inputs(identity, &account, keys, requests.inputs.clone(), now);
    let desired = desire_within_quota(shared, &clients, inputs).await.map_err(Outcome::Refused)?;
    let observed = Box::pin(look(shared, &clients, &account, &desired)).await;
    let plan = plan(&desired, &observed, &gather::prior(identity, &requests.objects));
    let targets = Targets { aws: &clients, account: &account, cluster: Some(&shared.client) };
    let evidence = carry_out(&targets, plan).await;
    let mut known = shared.secrets.lock().await;
    for step in evidence.made() {
        // What was just written is read again, whatever the watch has brought so far.
        if let Change::WriteSecret { secret, .. } = &step.change {
            known.remove(&secret.key);
        }
    }
    drop(known);
    Ok((desired, evidence))
}

/// The account's quota on trust policies is asked for only when AWS's default would refuse one.
async fn desire_within_quota(
    shared: &Arc<Shared>,
    clients: &Clients,
    mut inputs: Inputs,
) -> Result<Desired, IdentityRefused> {
    let known = shared.trust_limits.lock().await.get(&inputs.account).copied();
    let known = known.filter(|(asked, _)| asked.elapsed() < TRUST_LIMIT_AGE);
    inputs.trust_limit = known.map(|(_, limit)| limit);
    let desired = desire(&inputs)?;
    let too_long = desired
        .requests
        .iter()
        .any(|request| matches!(&request.verdict, RequestVerdict::Refused(RequestRefused::TrustTooLong { .. })));
    if !too_long || inputs.trust_limit.is_some() {
        return Ok(desired);
    }
    match trust_limit(clients).await {
        Ok(limit) => {
            shared.trust_limits.lock().await.insert(inputs.account.clone(), (Instant::now(), limit));
            inputs.trust_limit = Some(limit);
            desire(&inputs)
        }
        // Unknown, AWS's default stands: the request is refused with that number, nothing is written.
        Err(fault) => {
            tracing::warn!(error = %fault, "the account's quota on trust policies is unknown");
            Ok(desired)
        }
    }
}

async fn look(shared: &Arc<Shared>, clients: &Clients, account: &str, desired: &Desired) -> Observed {
    let keys: Vec<SecretKey> = desired.wanted().map(|(_, wanted)| wanted.secret.key.clone()).collect();
    let secrets = stream::iter(keys)
        .map(|key| async move {
            let seen = secret(shared, &key).await;
            (key, seen)
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect();
    let (aws, secrets) = tokio::join!(observe(clients, account, desired), secrets);
    let fetched = if aws.has_documents() { Some(shared.reader.fetch(&desired.issuer.url).await) } else { None };
    Observed { bucket: aws.bucket, provider: aws.provider, roles: aws.roles, secrets, fetched }
}

async fn secret(shared: &Arc<Shared>, key: &SecretKey) -> Seen<SecretState> {
    let version = shared.stores.secret_version(&key.namespace, &key.name);
    if let Some(version) = version {
        let known = shared.secrets.lock().await.get(key).cloned();
        if let Some(known) = known.filter(|known| known.resource_version == version) {
            return Seen::Known(SecretState::Present(known));
        }
    }
    match kubernetes::secrets::read(&shared.client, key).await {
        Ok(Some(secret)) => {
            shared.secrets.lock().await.insert(key.clone(), secret.clone());
            Seen::Known(SecretState::Present(secret))
        }
        Ok(None) => {
            shared.secrets.lock().await.remove(key);
            let there = shared.stores.has_namespace(&key.namespace);
            Seen::Known(if there { SecretState::Absent } else { SecretState::NamespaceMissing })
        }
        Err(fault) if fault.class == FaultClass::NotFound => Seen::Known(SecretState::NamespaceMissing),
        Err(fault) => Seen::Unknown(fault),
    }
}
