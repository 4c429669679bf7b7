//! The issuer's documents over HTTPS under their real name, out of the model: see `tests/emulators/issuer_front.py`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::requests::{NAME, REGION};
use crate::support::process::{Process, free_port, project_root, run_dir};

pub struct Front {
    port: u16,
    dir: PathBuf,
    _process: Process,
}

impl Front {
    /// A front before the model that is served at this URL.
    pub fn start(s3_url: &str, name: &str) -> Self {
        let (port, dir) = (free_port(), run_dir().join(name));
        let script = project_root().join("tests/emulators/issuer_front.py").display().to_string();
        let (port_text, dir_text) = (port.to_string(), dir.display().to_string());
        let args = [script.as_str(), "--listen-port", &port_text, "--s3", s3_url, "--dir", &dir_text];
        let python = which("python3");
        let mut process = Process::start(name, &python, args, &[], &run_dir().join(format!("{name}.log")));
        process.wait_until(Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let front = Self { port, dir, _process: process };
        front.make_certificate();
        front
    }

    /// For `HTTPS_PROXY`.
    pub fn proxy_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The certificate authority, for `SSL_CERT_FILE`.
    pub fn ca_file(&self) -> String {
        self.dir.join("ca.pem").display().to_string()
    }

    /// The front makes a certificate when a host is first asked for, which AWS has long done.
    fn make_certificate(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the front listens");
        let host = format!("{NAME}-oidc.s3.{REGION}.amazonaws.com:443");
        write!(stream, "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("the front takes a request");
        stream.read_exact(&mut [0; 12]).expect("the front answers");
    }
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|program: &PathBuf| program.exists());
    found.unwrap_or_else(|| Path::new(program).to_owned())
}
