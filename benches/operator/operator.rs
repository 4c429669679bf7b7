//! The released operator as a process, and what `/proc` says of it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::front::Front;
use crate::model::{ACCOUNT, access_key};
use crate::requests::NAME;
use crate::support::process::{Process, free_port, run_dir};

/// Longest wait for a pass.
const PATIENCE: Duration = Duration::from_mins(20);

pub struct Operator {
    process: Process,
    address: String,
    http: reqwest::Client,
    /// When it was started.
    pub begun: Timestamp,
}

impl Operator {
    pub fn start(cluster: &Cluster, aws_url: &str, front: &Front) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{}", free_port());
        let kubeconfig = cluster.operator_kubeconfig().display().to_string();
        let (home, proxy, ca) = (run_dir().display().to_string(), front.proxy_url(), front.ca_file());
        let env = [
            ("HOME", home.as_str()),
            ("KUBECONFIG", &kubeconfig),
            ("AWS_ENDPOINT_URL", aws_url),
            ("AWS_ACCESS_KEY_ID", &access_key(ACCOUNT)),
            ("AWS_SECRET_ACCESS_KEY", "a secret of the model"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("HTTPS_PROXY", &proxy),
            ("SSL_CERT_FILE", &ca),
            ("NO_PROXY", "127.0.0.1,localhost"),
        ];
        let args = ["controller", "--namespace", NAME, "--listen", &address, "--log-format", "json"];
        let long = ["--pass-timeout", "3600"];
        let log = run_dir().join(format!("operator-{number}.log"));
        let process = Process::start("the operator", &program(), args.iter().chain(&long), &env, &log);
        // `tests/keep` has told the process id by now: what the shell took is not the operator's.
        let begun = Timestamp::now();
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { process, address, http, begun }
    }

    /// How many passes ended so, or in any way.
    pub async fn passes(&self, outcome: &str) -> u64 {
        let url = format!("http://{}/metrics", self.address);
        let page = async { self.http.get(url).send().await?.text().await }.await.unwrap_or_default();
        let of_outcome =
            page.lines().filter(|line| line.starts_with("rolecall_passes_total") && line.contains(outcome));
        let values = of_outcome.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
        values.map(|value| value as u64).sum()
    }

    /// Waits until so many more passes have ended so.
    pub async fn wait_passes(&mut self, outcome: &str, more: u64) {
        let wanted = self.passes(outcome).await + more;
        self.wait_until_passes(outcome, wanted).await;
    }

    /// Waits until so many passes have ended so since the start.
    pub async fn wait_until_passes(&mut self, outcome: &str, wanted: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.passes(outcome).await < wanted {
            assert!(self.process.exited().is_none(), "the operator ended:\n{}", self.process.log_tail(20));
            assert!(Instant::now() < deadline, "no {outcome} pass:\n{}", self.process.log_tail(20));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The passes that the log tells of: when each ended, how, and how long it took.
    pub fn logged(&self) -> Vec<Pass> {
        let log = self.process.log();
        let lines = log.lines().filter(|line| line.contains(r#""message":"pass""#));
        lines.filter_map(|line| Pass::read(&serde_json::from_str(line).ok()?)).collect()
    }

    /// From the start to the end of the first pass that found everything right.
    pub fn first_verified(&self) -> Duration {
        let passes = self.logged();
        let first = passes.iter().find(|pass| pass.outcome == "verified").expect("a verified pass");
        first.ended.duration_since(self.begun).try_into().unwrap_or_default()
    }

    /// A line of `/proc/PID/status`, in KiB.
    pub fn memory(&self, line: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap_or_default();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
        value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// CPU time so far: `utime` and `stime` of `/proc/PID/stat`, in ticks of 10 ms.
    pub fn cpu(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).unwrap_or_default();
        // The name before it may hold blanks; fields are counted from behind its bracket.
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(10 * ticks)
    }

    pub fn terminate(mut self) {
        self.process.terminate();
    }
}

/// A pass, as it is logged.
pub struct Pass {
    pub ended: Timestamp,
    pub outcome: String,
    pub took: Duration,
}

impl Pass {
    fn read(line: &Value) -> Option<Self> {
        Some(Self {
            ended: line["timestamp"].as_str()?.parse().ok()?,
            outcome: line["outcome"].as_str()?.to_owned(),
            took: Duration::from_millis(line["took_ms"].as_u64()?),
        })
    }
}

/// What `cargo build --release` made: as it is shipped, without the features that tests add to dependencies.
pub fn program() -> PathBuf {
    let chosen = std::env::var_os("ROLECALL_BENCH_PROGRAM").map(PathBuf::from);
    let built = || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("release").join("rolecall");
    let program = chosen.unwrap_or_else(built);
    assert!(program.exists(), "{} is missing: run `make bench`", program.display());
    program
}
