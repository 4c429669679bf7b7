//! Triggers and wiring: what is watched, who leads, when a pass is made, how the process ends.

mod gather;
pub mod metrics;
pub mod outcome;
mod pass;
mod publish;
mod request_status;
pub mod server;
mod status;
mod verdicts;
mod watches;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_controller::LeaderElection;
use kube::api::ListParams;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::store;
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{ClusterIdentity, CredentialsRequest};
use crate::aws::Connection;
use crate::aws::anonymous::AnonymousReader;
use metrics::{Metrics, Standing};
use pass::{Ended, Shared};
use publish::Publisher;
use server::Readiness;
use watches::{GuardedIdentity, Stores};

/// How the controller runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Only ClusterIdentities of this namespace; `None` for all.
    pub namespace: Option<String>,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// How many passes run side by side.
    pub concurrency: u16,
    /// Longest time for one pass.
    pub pass_timeout: Duration,
    /// The lease, when replicas elect a leader.
    pub lease: Option<Lease>,
    /// This replica's name.
    pub instance: String,
}

/// The lease that replicas elect a leader by.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Health and metrics could not be served.
    #[error("cannot serve health and metrics on {address}: {error}; choose another --listen address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// A part of the process ended that never should.
    #[error("{0} ended unexpectedly; see the log above")]
    Ended(&'static str),
    /// The lease went to another replica.
    #[error("the lease was lost; the process ends, so that nothing is written without it")]
    LeaseLost,
}

/// How often the API server is asked whether the CRDs are there.
const CRD_POLL: Duration = Duration::from_secs(2);
/// Events within this time make one pass.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Delay after the API server could not be written to.
const KUBERNETES_RETRY: Duration = Duration::from_secs(5);

/// Runs until `stop` is cancelled.
pub async fn run(client: Client, settings: Settings, stop: CancellationToken) -> Result<(), ControllerError> {
    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::starting();
    let serving = server::serve(settings.listen, metrics.clone(), readiness.clone());
    let address = settings.listen;
    // Health and metrics are served until the last pass is finished.
    tokio::select! {
        worked = work(client, settings, metrics, readiness, stop) => worked,
        served = serving => match served {
            Err(error) => Err(ControllerError::Listen { address, error }),
            Ok(()) => Err(ControllerError::Ended("the health server")),
        },
    }
}

async fn work(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), ControllerError> {
    if stop.run_until_cancelled(wait_for_crds(&client, &settings, &readiness)).await.is_none() {
        return Ok(());
    }
    readiness.ready();
    let election = settings
        .lease
        .as_ref()
        .map(|lease| LeaderElection::new(client.clone(), &lease.namespace, &lease.name, &settings.instance));
    let leads = Arc::new(AtomicBool::new(false));
    let leading = {
        let (metrics, leads, stop) = (metrics.clone(), leads.clone(), stop.clone());
        async move {
            leads.store(true, Ordering::Relaxed);
            metrics.set_leader(true);
            Box::pin(lead(client, settings, metrics, stop)).await
        }
    };
    let working = async {
        match &election {
            None => leading.await,
            Some(election) => election.with_lease(leading).await.unwrap_or(Err(ControllerError::LeaseLost)),
        }
    };
    let result = tokio::select! {
        result = working => result,
        () = patience(&stop, &leads) => Ok(()),
    };
    metrics.set_leader(false);
    if let Some(election) = election.filter(|_| leads.load(Ordering::Relaxed)) {
        election.release().await;
    }
    result
}

/// Ends when the process was asked to stop and has had its time. A replica that does not lead has nothing to finish.
async fn patience(stop: &CancellationToken, leads: &AtomicBool) {
    stop.cancelled().await;
    if leads.load(Ordering::Relaxed) {
        tokio::time::sleep(SHUTDOWN).await;
    }
}

/// How long a pass may go on after the process was asked to stop.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// Waits until both kinds are served, saying so instead of dying.
async fn wait_for_crds(client: &Client, settings: &Settings, readiness: &Readiness) {
    loop {
        let identities: Api<ClusterIdentity> = match &settings.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let requests: Api<CredentialsRequest> = Api::all(client.clone());
        let one = ListParams::default().limit(1);
        let (identities, requests) = tokio::join!(identities.list_metadata(&one), requests.list_metadata(&one));
        let missing = [
            ("clusteridentities.rolecall.dev", identities.err()),
            ("credentialsrequests.cloudcredential.openshift.io", requests.err()),
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

/// What the passes over one ClusterIdentity leave behind.
#[derive(Default)]
struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    fn after(&self, identity: &str, failed: bool) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed {
            let count = counts.entry(identity.to_owned()).or_default();
            *count = count.saturating_add(1);
            *count - 1
        } else {
            counts.remove(identity);
            0
        }
    }
}

struct Context {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    failures: Failures,
    pass_timeout: Duration,
    filled: tokio::sync::OnceCell<()>,
}

async fn lead(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), ControllerError> {
    let api: Api<GuardedIdentity> = match &settings.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (identities, writer) = store();
    let (triggers, triggered) = mpsc::unbounded_channel();
    let (stores, mut watching) = watches::start(&client, identities.clone(), &triggers);
    // Our own writes of status bring no news; finalizers and annotations do.
    let news = predicates::generation
        .combine(predicates::annotations)
        .combine(predicates::labels)
        .combine(predicates::finalizers);
    let main = reflector(writer, watcher(api, watcher::Config::default()))
        .default_backoff()
        .touched_objects()
        .predicate_filter(news, PredicateConfig::default());
    let context = Arc::new(Context {
        shared: Arc::new(Shared {
            aws: Connection::new(metrics.aws.clone()).await,
            reader: AnonymousReader::new(),
            publisher: Publisher::new(client.clone(), settings.instance.clone()),
            stores: stores.clone(),
            secrets: tokio::sync::Mutex::default(),
            trust_limits: tokio::sync::Mutex::default(),
            client,
        }),
        metrics,
        failures: Failures::default(),
        pass_timeout: settings.pass_timeout,
        filled: tokio::sync::OnceCell::new(),
    });
    let triggered = futures::stream::unfold(triggered, |mut triggered| async move {
        triggered.recv().await.map(|identity| (identity, triggered))
    });
    let controller = Controller::for_stream(main, identities)
        .with_config(Config::default().concurrency(settings.concurrency).debounce(DEBOUNCE))
        .reconcile_on(triggered)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile, error_policy, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(%error, "a trigger came to nothing");
            }
        });
    let watches = futures::future::select_all(watching.iter_mut());
    let result = tokio::select! {
        () = controller => if stop.is_cancelled() { Ok(()) } else { Err(ControllerError::Ended("the controller")) },
        _ = watches => Err(ControllerError::Ended("a watch")),
    };
    watching.iter().for_each(tokio::task::JoinHandle::abort);
    result
}

async fn reconcile(guarded: Arc<GuardedIdentity>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let stores = &context.shared.stores;
    // One waits for all: `wait_until_ready` wakes only the last of several who wait for the same store.
    context.filled.get_or_init(|| until_filled(stores)).await;
    let identity = match &guarded.0 {
        Ok(identity) => identity,
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::error!(identity = name, error = %invalid, "a ClusterIdentity cannot be read and is left alone");
            return Ok(Action::await_change());
        }
    };
    if identity.metadata.deletion_timestamp.is_some() {
        context.metrics.forget(&pass::name(identity));
        return Ok(Action::await_change());
    }
    let mut identity = identity.clone();
    context.shared.publisher.freshen(&mut identity);
    let identity = &identity;
    let name = pass::name(identity);
    let begun = Instant::now();
    let now = Timestamp::now();
    let ended = match tokio::time::timeout(context.pass_timeout, pass::pass(&context.shared, identity, now)).await {
        Ok(ended) => ended?,
        Err(_) => pass::timed_out(&context.shared, identity, context.pass_timeout, now).await?,
    };
    let delay = next_delay(&context, identity, &name, &ended, now);
    let took = begun.elapsed();
    context.metrics.pass(&name, &ended.outcome, took, standing(&ended, now));
    tracing::info!(
        identity = name,
        outcome = ended.outcome.label(),
        reason = ended.outcome.reason(),
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        next_s = delay.as_secs_f64(),
        "pass"
    );
    Ok(Action::requeue(delay))
}

fn next_delay(context: &Context, identity: &ClusterIdentity, name: &str, ended: &Ended, now: Timestamp) -> Duration {
    let failures = context.failures.after(name, ended.outcome.is_failure());
    let delay = ended.outcome.delay(identity.spec.drift_interval.0, failures);
    // A key that is due to be dropped is dropped then, not an interval later.
    let due = ended.due.and_then(|due| Duration::try_from(due.duration_since(now)).ok());
    due.map_or(delay, |due| delay.min(due.saturating_add(Duration::from_millis(500))))
}

/// The stores answer for absence only once they are filled.
async fn until_filled(stores: &Stores) {
    let filled = tokio::join!(
        stores.identities.wait_until_ready(),
        stores.requests.wait_until_ready(),
        stores.namespaces.wait_until_ready(),
        stores.secrets.wait_until_ready(),
    );
    drop(filled);
}

fn standing(ended: &Ended, now: Timestamp) -> Standing {
    Standing {
        ready: ended.ready,
        drifted: i64::try_from(ended.drifted).unwrap_or(i64::MAX),
        verified_at: (ended.outcome == outcome::Outcome::Verified).then_some(now),
    }
}

/// Only the API server can fail a pass; what AWS does is an outcome.
#[allow(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
fn error_policy(guarded: Arc<GuardedIdentity>, error: &kube::Error, _: Arc<Context>) -> Action {
    tracing::warn!(identity = guarded.name_any(), %error, "the status could not be written; tried again soon");
    Action::requeue(KUBERNETES_RETRY)
}
