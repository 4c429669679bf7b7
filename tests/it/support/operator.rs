//! The operator as a process: `rolecall controller`, with its own kubeconfig and AWS behind a proxy.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::controlplane::ControlPlane;
use super::emulators::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use super::eventually::eventually;
use super::issuer_front::IssuerFront;
use super::process::{self, Process, free_port, run_dir};
use super::proxy::Proxy;
use super::runtime::{block_on, http};

/// A running operator; stopped when dropped. Its log is printed when the test fails.
pub struct Operator {
    process: Process,
    address: String,
}

impl Operator {
    /// Starts the operator for one namespace; see [`wait_ready`](Self::wait_ready). `extra_env` comes last and so wins.
    /// Nothing but PATH is taken over from the test's own environment.
    pub fn start(
        control_plane: &ControlPlane,
        namespace: &str,
        proxy: &Proxy,
        issuer_front: Option<&IssuerFront>,
        extra_args: &[&str],
        extra_env: &[(&str, &str)],
    ) -> Operator {
        let args = [&["--namespace", namespace], extra_args].concat();
        Self::start_unscoped(control_plane, namespace, proxy, issuer_front, &args, extra_env)
    }

    /// The same for all namespaces: `namespace` is where its service account is. For a control plane of the test's own.
    pub fn start_unscoped(
        control_plane: &ControlPlane,
        namespace: &str,
        proxy: &Proxy,
        issuer_front: Option<&IssuerFront>,
        extra_args: &[&str],
        extra_env: &[(&str, &str)],
    ) -> Operator {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{}", free_port());
        let kubeconfig = control_plane.operator_kubeconfig(namespace).display().to_string();
        let home = run_dir().display().to_string();
        let (iam, sts, s3) = (proxy.iam_url(), proxy.sts_url(), proxy.s3_url());
        let front = issuer_front.map(|front| (front.proxy_url(), front.ca_file().display().to_string()));
        let mut env = vec![
            ("HOME", home.as_str()),
            ("KUBECONFIG", &kubeconfig),
            ("AWS_ENDPOINT_URL_IAM", &iam),
            ("AWS_ENDPOINT_URL_STS", &sts),
            ("AWS_ENDPOINT_URL_S3", &s3),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("RUST_BACKTRACE", "1"),
        ];
        if let Some((proxy_url, ca_file)) = &front {
            env.extend([
                ("HTTPS_PROXY", proxy_url.as_str()),
                ("SSL_CERT_FILE", ca_file),
                ("NO_PROXY", "127.0.0.1,localhost"),
            ]);
        }
        env.extend(extra_env);
        let args = ["controller", "--listen", &address, "--log-format", "json"];
        let process = Process::start(
            "the operator",
            Path::new(env!("CARGO_BIN_EXE_rolecall")),
            args.iter().chain(extra_args),
            &env,
            &run_dir().join(format!("operator-{number}-{namespace}.log")),
        );
        Operator { process, address }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The operator's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The exit status if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// GET from the operator's own server: status and body. Panics when nobody answers.
    #[track_caller]
    pub fn http_get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|error| panic!("GET {path} from the operator: {error}"))
    }

    fn try_get(&self, path: &str) -> Result<(u16, String), reqwest::Error> {
        block_on(async {
            let answer = http().get(format!("http://{}{path}", self.address)).send().await?;
            Ok((answer.status().as_u16(), answer.text().await?))
        })
    }

    /// The metrics page.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let (status, body) = self.http_get("/metrics");
        assert_eq!(status, 200, "GET /metrics: {body}");
        body
    }

    /// The value of a metric, given as `name` or `name{label="value"}`: the sum over all series which have these labels
    /// (and perhaps others); `None` if there is none.
    #[track_caller]
    pub fn metric(&self, name_with_labels: &str) -> Option<f64> {
        metric(&self.metrics(), name_with_labels)
    }

    /// All that it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Whether `/readyz` answers 200 just now.
    pub fn is_ready(&self) -> bool {
        self.try_get("/readyz").is_ok_and(|(status, _)| status == 200)
    }

    /// Waits until `/readyz` answers 200; panics with the log if the operator ends instead.
    #[track_caller]
    pub fn wait_ready(&mut self, timeout: Duration) {
        let ready = |address: &str| {
            let url = format!("http://{address}/readyz");
            block_on(async { http().get(url).send().await.is_ok_and(|answer| answer.status().is_success()) })
        };
        self.process.wait_until(timeout, || ready(&self.address));
    }

    /// Waits until the log has a line that contains `text`.
    #[track_caller]
    pub fn wait_log(&self, timeout: Duration, text: &str) -> String {
        eventually(timeout, &format!("{text:?} in the operator's log"), || {
            let log = self.log();
            log.lines().find(|line| line.contains(text)).map(str::to_owned).ok_or_else(|| self.process.log_tail(10))
        })
    }

    /// SIGTERM; the status it ended with, within 30 s.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    /// Kills the operator when called: for [`Proxy::on_call`] and [`Proxy::on_write`].
    pub fn killer(&self) -> impl FnOnce() + Send + use<> {
        let pid = self.pid();
        move || process::kill9(pid)
    }

    /// Halts the operator when called (SIGSTOP), as a machine that is suspended does.
    pub fn halter(&self) -> impl FnOnce() + Send + use<> {
        let pid = self.pid();
        move || process::halt(pid)
    }

    /// Lets a halted operator go on (SIGCONT).
    pub fn go_on(&self) {
        assert!(process::signal("CONT", self.pid()), "the operator is gone");
    }

    /// Waits until it has ended by itself (or by a [`killer`](Self::killer)).
    #[track_caller]
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let process = &mut self.process;
        eventually(timeout, "the end of the operator", || process.exited().ok_or_else(|| process.log_tail(10)))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the operator's log, last 60 lines\n{}\n---", self.process.log_tail(60));
        }
    }
}

pub(super) fn metric(page: &str, wanted: &str) -> Option<f64> {
    let (wanted_name, wanted_labels) = split_series(wanted);
    let mut found = None;
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        // The value follows the labels, or the name when there are none; a timestamp may follow the value.
        let end = line.rfind('}').map_or_else(|| line.find(' '), |brace| Some(brace + 1));
        let Some((series, rest)) = end.and_then(|end| line.split_at_checked(end)) else {
            continue;
        };
        let (name, labels) = split_series(series);
        if name == wanted_name && wanted_labels.iter().all(|label| labels.contains(label)) {
            let value: f64 = rest.split_whitespace().next().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN);
            found = Some(found.unwrap_or(0.0) + value);
        }
    }
    found
}

/// `name{a="1",b="2"}` → `name`, [`a="1`, `b="2`].
fn split_series(series: &str) -> (&str, Vec<&str>) {
    match series.split_once('{') {
        None => (series.trim(), Vec::new()),
        Some((name, labels)) => {
            let labels = labels.trim_end().trim_end_matches('}').split("\",");
            (name, labels.map(|label| label.trim_end_matches('"').trim()).filter(|label| !label.is_empty()).collect())
        }
    }
}
