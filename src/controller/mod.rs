//! Triggers and wiring: what is watched, who leads, when a pass is made, how the process ends.

mod awake;
mod checks;
mod consents;
mod effective;
mod events;
pub mod gather;
mod history;
mod look;
pub mod metrics;
pub mod outcome;
mod oversee;
mod owners;
mod pass;
pub mod provisioned;
pub mod request_status;
pub mod server;
mod startup;
pub mod status;
mod status_budget;
mod status_writer;
mod stray_requests;
mod teardown;
#[cfg(test)]
mod tests;
mod undeclared;
mod unreadable;
mod unseen;
pub mod verdicts;
mod watch_health;
mod watches;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_controller::LeaderElection;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::ClusterIdentity;
use crate::api::cluster_identity::ManagementPolicy;
use crate::aws::anonymous::AnonymousReader;
use crate::aws::pulse::Pulse;
use crate::aws::snapshot::Freshness;
use crate::aws::{Access, Connection};
use crate::kubernetes::served::ServedSchemas;
use awake::second_after_a_sleep;
use checks::Releases;
use consents::StandingConsents;
use gather::full_name;
use history::History;
use metrics::{Metrics, Standing};
use outcome::Outcome;
use oversee::oversee;
use owners::OwnerSettings;
use pass::{Ended, Shared, Terms};
use server::Readiness;
use startup::{wait_for_crds, wait_for_schemas};
use status_writer::StatusWriter;
use watch_health::{Watch, WatchHealth};
use watches::{DecodedIdentity, IdentityRef, Stores};

pub use checks::Live;
pub use watch_health::WatchLimits;
pub use watches::selects;

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
    /// How long AWS's reads may lag behind its writes.
    pub settle_time: Duration,
    /// When a watch counts as lost.
    pub watch_limits: WatchLimits,
    /// Uids of the namespaces `kube-system` of management clusters whose owner marks are taken over.
    pub take_over_from: BTreeSet<String>,
    /// Whether nothing is written but statuses and the lease.
    pub read_only: bool,
    /// How long a consent may stand without effect before that is told.
    pub unused_consent_threshold: Duration,
}

impl Settings {
    /// The objects that are served: those of one namespace, or all.
    fn served<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }
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

/// How long the first lists may take before `/readyz` says that they are missing.
const FIRST_LISTS: Duration = Duration::from_secs(10);
/// When a status is tried again that says that its object cannot be read.
const UNREADABLE_RETRY: Duration = Duration::from_secs(10);
/// How long the API server is waited for when a pass or the process ends: kube's client waits for ever.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Events within this time make one pass.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// From so many passes in a row on that did not settle, or that healed drift, events alone bring no pass before the delay is
/// over: something else writes what Rolecall writes, and its events would make the two go faster and faster.
const PATIENCE: u32 = 4;

/// Runs until `stop` is cancelled.
pub async fn run(client: Client, settings: Settings, stop: CancellationToken) -> Result<(), ControllerError> {
    let metrics = Arc::new(Metrics::new());
    let health = WatchHealth::new(settings.watch_limits);
    let schemas = Arc::new(ServedSchemas::new(client.clone()));
    metrics.set_kubernetes(health.clone(), schemas.clone());
    let readiness = Readiness::starting(health.clone(), schemas.clone());
    let seeing = Seeing { health, schemas };
    let serving = server::serve(settings.listen, metrics.clone(), readiness.clone());
    let address = settings.listen;
    // Health and metrics are served until the last pass is finished.
    tokio::select! {
        worked = work(client, settings, metrics, seeing, readiness, stop) => worked,
        served = serving => match served {
            Err(error) => Err(ControllerError::Listen { address, error }),
            Ok(()) => Err(ControllerError::Ended("the health server")),
        },
    }
}

/// What the process sees of the API server: its watches, and the schemas that it serves.
#[derive(Clone)]
struct Seeing {
    health: WatchHealth,
    schemas: Arc<ServedSchemas>,
}

async fn work(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    seeing: Seeing,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), ControllerError> {
    let begin = async {
        wait_for_crds(&client, &settings, &readiness).await;
        wait_for_schemas(&seeing.schemas, &readiness).await;
    };
    if stop.run_until_cancelled(begin).await.is_none() {
        return Ok(());
    }
    readiness.ready();
    let election = settings
        .lease
        .as_ref()
        .map(|lease| LeaderElection::new(client.clone(), &lease.namespace, &lease.name, &settings.instance));
    let leads = Arc::new(AtomicBool::new(false));
    let leading = {
        let (metrics, leads, readiness, stop) = (metrics.clone(), leads.clone(), readiness.clone(), stop.clone());
        async move {
            leads.store(true, Ordering::Relaxed);
            metrics.set_leader(true);
            let pulse = Pulse::default();
            let leading = Box::pin(lead(client, settings, metrics, seeing, pulse.clone(), readiness, stop));
            second_after_a_sleep(&pulse, leading).await
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
        // Who waits for an answer that does not come keeps Kubernetes from starting it again.
        let _ = tokio::time::timeout(LAST_WORD, election.release()).await;
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

struct Context {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    history: History,
    pass_timeout: Duration,
    filled: tokio::sync::OnceCell<()>,
}

impl Context {
    fn new(
        client: Client,
        settings: &Settings,
        aws: Connection,
        stores: Stores,
        triggers: mpsc::UnboundedSender<IdentityRef>,
        metrics: Arc<Metrics>,
        Seeing { health, schemas }: Seeing,
    ) -> Self {
        let instance = settings.instance.clone();
        let shared = Shared {
            aws,
            reader: AnonymousReader::new(),
            releases: Releases::new(client.clone(), triggers),
            publisher: StatusWriter::new(
                client.clone(),
                (instance, settings.read_only),
                schemas,
                health.clone(),
                metrics.clone(),
            ),
            health,
            stores,
            secrets: tokio::sync::Mutex::default(),
            trust_limits: tokio::sync::Mutex::default(),
            recent: std::sync::Mutex::default(),
            refused: std::sync::Mutex::default(),
            provisioned: std::sync::Mutex::default(),
            annotating: tokio::sync::Mutex::default(),
            settle_time: settings.settle_time,
            without_other_providers: std::sync::Mutex::default(),
            owner_settings: OwnerSettings {
                take_over_from: settings.take_over_from.clone(),
                namespace: settings.namespace.clone(),
            },
            read_only: settings.read_only,
            standing_consents: StandingConsents::new(settings.unused_consent_threshold),
            begun: tokio::time::Instant::now(),
            client,
        };
        Self {
            shared: Arc::new(shared),
            metrics,
            history: History::default(),
            pass_timeout: settings.pass_timeout,
            filled: tokio::sync::OnceCell::new(),
        }
    }

    fn is_known(&self, identity: &str) -> bool {
        let Some((namespace, name)) = identity.split_once('/') else { return false };
        self.shared.stores.identities.get(&ObjectRef::new(name).within(namespace)).is_some()
    }

    /// Waits for the first lists. One waits for all: `wait_until_ready` wakes only the last of several who wait for the
    /// same store.
    async fn until_filled(&self) {
        self.filled.get_or_init(|| until_filled(&self.shared.stores)).await;
    }
}

async fn lead(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    seeing: Seeing,
    pulse: Pulse,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), ControllerError> {
    let health = seeing.health.clone();
    // A replica that has waited for the lease has watched nothing.
    health.start();
    let api: Api<DecodedIdentity> = settings.served(&health.client(&client, Watch::ClusterIdentities, false));
    let (identities, writer) = store();
    let (triggers, triggered) = mpsc::unbounded_channel();
    let checks_of = |client| settings.served(&client);
    let (stores, mut watching) = watches::start(&client, identities.clone(), checks_of, &health, &triggers);
    // Our own writes of status bring no news; finalizers and annotations do.
    let news = predicates::generation
        .combine(predicates::annotations)
        .combine(predicates::labels)
        .combine(predicates::finalizers);
    let main = reflector(writer, watches::observed(api, &health, Watch::ClusterIdentities, None))
        .default_backoff()
        .touched_objects()
        .predicate_filter(news, PredicateConfig::default());
    let aws = Connection::new(metrics.aws.clone()).await.with_pulse(pulse);
    let overseeing = oversee(seeing.clone(), stores.clone(), triggers.clone());
    let context = Arc::new(Context::new(client, &settings, aws, stores.clone(), triggers, metrics, seeing));
    let filling = context.clone();
    let strays = futures::future::join(
        checks::tend_strays(context.shared.clone()),
        stray_requests::tend(context.shared.clone()),
    );
    let known = stores.clone();
    context.metrics.set_known(move || known.identities.state().iter().map(|identity| full_name(&**identity)).collect());
    let known = stores.clone();
    context.metrics.set_verdicts(move || known.well_formed_checks().iter().map(checks::verdict).collect());
    let triggered = futures::stream::unfold(triggered, |mut triggered| async move {
        triggered.recv().await.map(|identity| (identity, triggered))
    });
    let controller = Controller::for_stream(main, identities)
        .with_config(Config::default().concurrency(settings.concurrency).debounce(DEBOUNCE))
        .reconcile_on(triggered)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile, error_policy, context)
        .for_each(|result| async move {
            // Errors of the watch were noted when they came.
            if let Err(error) = result {
                tracing::debug!(%error, "a trigger came to nothing");
            }
        });
    let tending = async {
        if tokio::time::timeout(FIRST_LISTS, filling.until_filled()).await.is_err() {
            let failing: Vec<String> = health.failing().iter().map(ToString::to_string).collect();
            let why = format!(
                "waiting for the first lists of ClusterIdentities, CredentialsRequests, UpgradeChecks, namespaces and Secrets: may the operator list them in all namespaces (deploy/base/clusterrole.yaml)? {}",
                failing.join("; ")
            );
            tracing::warn!("{why}");
            readiness.waiting(why);
            filling.until_filled().await;
            readiness.ready();
        }
        strays.await;
    };
    let watches = futures::future::select_all(watching.iter_mut());
    let result = tokio::select! {
        () = controller => if stop.is_cancelled() { Ok(()) } else { Err(ControllerError::Ended("the controller")) },
        _ = watches => Err(ControllerError::Ended("a watch")),
        () = tending => Err(ControllerError::Ended("the care for strays")),
        () = overseeing => Err(ControllerError::Ended("the look at the watches")),
    };
    watching.iter().for_each(tokio::task::JoinHandle::abort);
    result
}

async fn reconcile(decoded: Arc<DecodedIdentity>, context: Arc<Context>) -> Result<Action, Infallible> {
    context.until_filled().await;
    let identity = match &decoded.0 {
        Ok(identity) => identity,
        Err(undecodable) => {
            let name = full_name(&*decoded);
            tracing::error!(identity = name, error = undecodable.error, "a ClusterIdentity cannot be read");
            context.metrics.unreadable_identity(&name);
            let told = unreadable::tell_identity(&context.shared.publisher, undecodable, Timestamp::now()).await;
            return Ok(match told {
                Ok(()) => Action::await_change(),
                Err(error) => {
                    tracing::warn!(identity = name, %error, "a status could not be written");
                    Action::requeue(UNREADABLE_RETRY)
                }
            });
        }
    };
    let doomed = identity.metadata.deletion_timestamp.is_some();
    if doomed && !crate::kubernetes::finalizer::TEARDOWN.is_set(identity) {
        context.history.forget(&full_name(identity));
        return Ok(Action::await_change());
    }
    let mut identity = identity.clone();
    context.shared.publisher.freshen(&mut identity);
    if context.shared.read_only {
        identity.spec.management_policy = ManagementPolicy::Observe;
    }
    if let Some(wait) = context.history.too_soon(&full_name(&identity), identity.metadata.generation) {
        return Ok(Action::requeue(wait));
    }
    let now = Timestamp::now();
    let work = async {
        if doomed {
            teardown::pass(&context.shared, &identity, terms(&context, &identity, now)).await
        } else {
            pass::pass(&context.shared, &identity, terms(&context, &identity, now)).await
        }
    };
    Ok(Action::requeue(Box::pin(attend(&context, &identity, now, work)).await))
}

/// Makes a pass, counts it and logs it, however it ends; when the next one is due.
async fn attend(
    context: &Context,
    identity: &ClusterIdentity,
    now: Timestamp,
    work: impl Future<Output = Result<Ended, kube::Error>>,
) -> Duration {
    let (begun, name) = (Instant::now(), full_name(identity));
    let ended = pass_within_bounds(context, identity, now, work).await;
    let delay = next_delay(context, identity, &name, &ended, now);
    if ended.outcome == Outcome::LetGo {
        context.history.forget(&name);
    } else {
        context.history.set_due(&name, delay);
        context.history.forget_gone(context.shared.stores.identities.len(), |name| context.is_known(name));
    }
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
    delay
}

/// What a pass is made under. One that something has caused looks at the account's roles for itself.
fn terms(context: &Context, identity: &ClusterIdentity, now: Timestamp) -> Terms {
    let freshness = if context.history.is_due(&full_name(identity)) {
        let changed = context.shared.last_changed(identity);
        Freshness::due(identity.spec.drift_interval.0, changed, context.shared.settle_time)
    } else {
        Freshness::from_now_on()
    };
    // The rest of the time is for the calls under way, and for the statuses.
    let until = tokio::time::Instant::now() + context.pass_timeout.mul_f64(0.8);
    Terms { freshness, until, followed: context.history.is_calm(&full_name(identity)), now }
}

/// A pass that ends in time, whatever happens in it.
async fn pass_within_bounds(
    context: &Context,
    identity: &ClusterIdentity,
    now: Timestamp,
    work: impl Future<Output = Result<Ended, kube::Error>>,
) -> Ended {
    let limit = context.pass_timeout;
    let bounded = tokio::time::timeout(limit, work);
    let result = match Box::pin(contain(bounded)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => {
            let throttled = context.shared.aws.known(&Access::of(&identity.spec)).await;
            let throttled = throttled.is_some_and(|session| session.account.is_held_back());
            let why = if throttled { "; AWS throttles this account, so calls are held back" } else { "" };
            let message = format!("a pass took longer than {} s and was given up{why}", limit.as_secs());
            give_up(context, identity, Outcome::TimedOut, &message, now).await
        }
        Err(panic) => {
            tracing::error!(identity = full_name(identity), panic, "a pass panicked; please report this");
            let message = format!("a pass ended in a defect of Rolecall: {panic}");
            give_up(context, identity, Outcome::Panicked, &message, now).await
        }
    };
    result.unwrap_or_else(|error| {
        tracing::warn!(identity = full_name(identity), %error, "a status could not be written");
        let fault = crate::kubernetes::errors::fault("patch status", "a status", &error);
        Ended::without_status(Outcome::NotWritten(fault.class), identity)
    })
}

/// Says in the status that a pass was given up; what the API server does not take in time is left to the next pass.
async fn give_up(
    context: &Context,
    identity: &ClusterIdentity,
    outcome: Outcome,
    message: &str,
    now: Timestamp,
) -> Result<Ended, kube::Error> {
    let telling = pass::given_up(&context.shared, identity, outcome.clone(), message, now);
    context.shared.remember_given_up(identity);
    tokio::time::timeout(LAST_WORD, telling).await.unwrap_or_else(|_| {
        tracing::warn!(identity = full_name(identity), message, "the API server took no status in time");
        Ok(Ended::without_status(outcome, identity))
    })
}

/// Keeps a panic within the future that panicked; its message comes back.
async fn contain<T>(future: impl Future<Output = T>) -> Result<T, String> {
    std::panic::AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
    })
}

fn next_delay(context: &Context, identity: &ClusterIdentity, name: &str, ended: &Ended, now: Timestamp) -> Duration {
    let unsettled = context.history.count(name, ended.outcome.is_unsettled() || ended.unwritten.is_some());
    let changed = ended.writes > 0;
    let healed = if changed { context.history.heal(name, &ended.drift) } else { 0 };
    let in_vain = unsettled.max(healed);
    let times = if in_vain >= PATIENCE { in_vain } else { unsettled };
    let interval = identity.spec.drift_interval.0;
    let mut delay = ended.outcome.delay(interval, times);
    if let Some(class) = ended.unwritten {
        delay = delay.min(Outcome::NotWritten(class).delay(interval, times));
        // What was made is looked at, whether it could be told or not.
        if changed {
            delay = delay.min(Outcome::Changed { writes: ended.writes }.delay(interval, times));
        }
    }
    // A failed pass causes no events; one that changes the same thing again and again does.
    if changed && in_vain >= PATIENCE {
        context.history.hold(name, identity.metadata.generation, delay);
    }
    // A key that is due to be dropped is dropped then, not an interval later.
    let due = ended.due.and_then(|due| Duration::try_from(due.duration_since(now)).ok());
    due.map_or(delay, |due| delay.min(due.saturating_add(Duration::from_millis(500))))
}

/// The stores answer for absence only once they are filled.
async fn until_filled(stores: &Stores) {
    let filled = tokio::join!(
        stores.identities.wait_until_ready(),
        stores.requests.wait_until_ready(),
        stores.checks.wait_until_ready(),
        stores.namespaces.wait_until_ready(),
        stores.secrets.wait_until_ready(),
    );
    drop(filled);
}

fn standing(ended: &Ended, now: Timestamp) -> Standing {
    Standing {
        ready: ended.ready,
        drifted: i64::try_from(ended.drift.len()).unwrap_or(i64::MAX),
        verified_at: (ended.outcome == Outcome::Verified).then_some(now),
    }
}

/// What happens in a pass is an outcome, never an error.
#[allow(
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is the controller's"
)]
fn error_policy(_: Arc<DecodedIdentity>, error: &Infallible, _: Arc<Context>) -> Action {
    match *error {}
}
