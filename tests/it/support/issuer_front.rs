//! The issuer's documents over HTTPS, as STS reads them: see `tests/emulators/issuer_front.py`.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::emulators::Emulators;
use super::process::{Process, free_port, project_root, run_dir, tool};

/// A running front.
pub struct IssuerFront {
    port: u16,
    dir: PathBuf,
    process: Mutex<Process>,
}

impl IssuerFront {
    /// The front of this test binary, before MiniStack, which refuses no host.
    pub fn shared() -> &'static IssuerFront {
        static SHARED: OnceLock<IssuerFront> = OnceLock::new();
        SHARED.get_or_init(|| IssuerFront::start(Emulators::shared(), &[]))
    }

    /// A front of your own, with further arguments: `--refuse HOST`, `--cloudfront HOST=BUCKET`.
    pub fn start(emulators: &Emulators, extra_args: &[&str]) -> IssuerFront {
        Self::before(emulators.s3_url(), extra_args)
    }

    /// A front of your own before another S3.
    pub fn before(s3_url: &str, extra_args: &[&str]) -> IssuerFront {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = run_dir().join(format!("issuer-front-{number}"));
        let port = free_port();
        let script = project_root().join("tests/emulators/issuer_front.py").display().to_string();
        let (port_text, dir_text) = (port.to_string(), dir.display().to_string());
        let args = [script.as_str(), "--listen-port", &port_text, "--s3", s3_url, "--dir", &dir_text];
        let log = run_dir().join(format!("issuer-front-{number}.log"));
        let python = tool("emulators/bin/python3");
        let mut process = Process::start("the issuer front", &python, args.iter().chain(extra_args), &[], &log);
        process.wait_until(Duration::from_mins(1), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        IssuerFront { port, dir, process: Mutex::new(process) }
    }

    /// For `HTTPS_PROXY`.
    pub fn proxy_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The certificate authority, for `SSL_CERT_FILE`.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// What it has printed: a line for each request.
    pub fn log(&self) -> String {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).log()
    }

    /// Where its certificates are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
