//! `rolecall controller`.

use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::api::GoDuration;
use crate::controller::{Lease, Settings, WatchLimits, run as run_controller};
use crate::kubernetes::client::client;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only serve ClusterIdentities of this namespace
    #[arg(long, env = "ROLECALL_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, env = "ROLECALL_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// How many ClusterIdentities are worked on side by side
    #[arg(long, env = "ROLECALL_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,

    /// Longest time for one pass over one ClusterIdentity, in seconds
    #[arg(long, env = "ROLECALL_PASS_TIMEOUT", default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pass_timeout: u64,

    /// How long AWS's reads may lag behind its writes, in seconds: until then nothing is concluded from not seeing a change
    #[arg(long, env = "ROLECALL_AWS_SETTLE_TIME", default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=600))]
    aws_settle_time: u64,

    /// How long a watch request to the API server lasts before it is made anew (`60s`)
    #[arg(long, env = "ROLECALL_WATCH_RENEWAL_INTERVAL", default_value = "60s", value_name = "DURATION", value_parser = watch_time)]
    watch_renewal_interval: Duration,

    /// How long a watch may fail before what it tells counts as unknown (condition WatchLost)
    #[arg(long, env = "ROLECALL_WATCH_FAILURE_THRESHOLD", default_value = "2m", value_name = "DURATION", value_parser = watch_time)]
    watch_failure_threshold: Duration,

    /// How long a watch may deliver nothing, not even a bookmark, before what it tells counts as unknown
    #[arg(long, env = "ROLECALL_WATCH_SILENCE_THRESHOLD", default_value = "5m", value_name = "DURATION", value_parser = watch_time)]
    watch_silence_threshold: Duration,

    /// Uids of the kube-system namespaces of other management clusters whose ClusterIdentities are taken over
    #[arg(long, env = "ROLECALL_TAKE_OVER_FROM", value_name = "UID", value_delimiter = ',')]
    take_over_from: Vec<String>,

    /// Write nothing but statuses and the lease: every ClusterIdentity is only observed
    #[arg(long, env = "ROLECALL_READ_ONLY")]
    read_only: bool,

    /// How long a consent, an annotation that lets something be taken away, may stand without effect before an event says so
    #[arg(long, env = "ROLECALL_UNUSED_CONSENT_THRESHOLD", default_value = "1h", value_name = "DURATION", value_parser = watch_time)]
    unused_consent_threshold: Duration,

    /// Let replicas elect a leader; the others serve health and metrics and wait
    #[arg(long, env = "ROLECALL_LEADER_ELECT")]
    leader_elect: bool,

    /// Namespace of the lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "rolecall-system", value_name = "NAMESPACE")]
    lease_namespace: String,

    /// Name of the lease
    #[arg(long, env = "ROLECALL_LEASE_NAME", default_value = "rolecall", value_name = "NAME")]
    lease_name: String,

    /// This replica's name in the lease and in events; unique among replicas, by default made of a random number
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    instance: Option<String>,

    /// Format of the log
    #[arg(long, env = "ROLECALL_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or a filter such as info,rolecall=debug
    #[arg(long, env = "ROLECALL_LOG", default_value = "info,kube_runtime=error", value_name = "FILTER")]
    log: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    start_log(&args)?;
    let runtime = super::runtime()?;
    let result = runtime.block_on(serve(args));
    // A call that hangs must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let silence = args.watch_silence_threshold;
    // A quiet watch answers when it is renewed, and not before.
    anyhow::ensure!(
        silence >= args.watch_renewal_interval * 2,
        "--watch-silence-threshold must be at least twice --watch-renewal-interval ({} s)",
        args.watch_renewal_interval.as_secs()
    );
    let config = kube::Config::infer()
        .await
        .context("no Kubernetes cluster: set KUBECONFIG, or run in a pod with a service account")?;
    let client = client(config).context("the Kubernetes configuration cannot be used")?;
    let stop = CancellationToken::new();
    let settings = Settings {
        namespace: args.namespace,
        listen: args.listen,
        concurrency: args.concurrency,
        pass_timeout: Duration::from_secs(args.pass_timeout),
        settle_time: Duration::from_secs(args.aws_settle_time),
        watch_limits: WatchLimits {
            renewal: args.watch_renewal_interval,
            failing: args.watch_failure_threshold,
            silent: args.watch_silence_threshold,
        },
        take_over_from: args.take_over_from.into_iter().filter(|uid| !uid.is_empty()).collect(),
        read_only: args.read_only,
        unused_consent_threshold: args.unused_consent_threshold,
        lease: args.leader_elect.then_some(Lease { namespace: args.lease_namespace, name: args.lease_name }),
        // Two replicas of one name would both take the lease for theirs.
        instance: args
            .instance
            .unwrap_or_else(|| format!("rolecall-{:08x}", RandomState::new().hash_one(std::process::id()))),
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let running = run_controller(client, settings, stop.clone());
    tokio::pin!(running);
    tokio::select! {
        result = &mut running => return Ok(result?),
        _ = terminate.recv() => tracing::info!("SIGTERM: finishing the passes at hand"),
        _ = interrupt.recv() => tracing::info!("SIGINT: finishing the passes at hand"),
    }
    stop.cancel();
    Ok(running.await?)
}

/// A time in Go's notation, at least a second: watch requests last whole seconds.
fn watch_time(text: &str) -> Result<Duration, String> {
    let GoDuration(time) = text.parse()?;
    let bounds = Duration::from_secs(1)..=Duration::from_hours(1);
    if bounds.contains(&time) { Ok(time) } else { Err("it must be between 1s and 1h".to_owned()) }
}

/// kube logs the whole answer of the API server when it cannot be decoded, Secrets included. No filter brings that back.
const NO_BODIES: &str = "kube_client::client=error";

fn start_log(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).with_context(|| format!("--log {:?} is no filter", args.log))?;
    let filter = filter.add_directive(NO_BODIES.parse()?);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        LogFormat::Text => builder.init(),
    }
    Ok(())
}
