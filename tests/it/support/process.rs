//! Server processes that die with the test process, even when that is killed: see `tests/keep`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The project's directory.
pub fn project_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program under `.tools/`, which `tests/setup` installs.
pub fn tool(path: &str) -> PathBuf {
    let program = project_root().join(".tools").join(path);
    assert!(program.exists(), "{} is missing: run `make test` or tests/setup", program.display());
    program
}

/// The directory of this test run: logs, keys, data. Left behind for reading; removed by the next run.
pub fn run_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        remove_runs_of_the_dead(parent);
        let dir = parent.join(format!("run-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot create {}: {error}", dir.display()));
        dir
    })
}

fn remove_runs_of_the_dead(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("run-")).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| !is_alive(pid)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A port that is free now, and that no connection is given as its own end: those are from 32768 on.
pub fn free_port() -> u16 {
    // Two tests that ask at the same time must not get the same one.
    static GIVEN: Mutex<u32> = Mutex::new(0);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = 10_000 + (std::process::id().wrapping_mul(97).wrapping_add(*given) % 22_000);
        let port = u16::try_from(port).expect("a port below 32000");
        *given += 1;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Sends a signal by name (`TERM`, `KILL`, `0`); whether the process was there.
pub(super) fn signal(name: &str, pid: u32) -> bool {
    Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Halts a process (SIGSTOP) and waits until it stands still: on a busy machine its threads go on for a while.
pub(super) fn halt(pid: u32) {
    assert!(signal("STOP", pid), "process {pid} is gone");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !stands_still(pid) {
        assert!(Instant::now() < deadline, "process {pid} does not stop");
        sleep(Duration::from_millis(1));
    }
}

/// Whether all threads of a process are stopped (`T` in proc(5)'s stat, behind the name in brackets).
fn stands_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    threads.filter_map(Result::ok).all(|thread| {
        // One that is gone does nothing.
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
    })
}

/// Whether a process with this id exists.
pub fn is_alive(pid: u32) -> bool {
    signal("0", pid)
}

/// Kills a process (SIGKILL) and waits until it is gone.
pub fn kill9(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while signal("KILL", pid) {
        assert!(Instant::now() < deadline, "process {pid} does not die");
        sleep(Duration::from_millis(20));
    }
}

/// A running program; stopped when dropped.
pub struct Process {
    name: String,
    keeper: Child,
    pid: u32,
    log_file: PathBuf,
}

impl Process {
    /// Starts `program` under `tests/keep`, its output going to `log_file`. The environment is `env` plus PATH.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        env: &[(&str, &str)],
        log_file: &Path,
    ) -> Process {
        let log = File::create(log_file).unwrap_or_else(|error| panic!("{}: {error}", log_file.display()));
        let mut keeper = Command::new(project_root().join("tests/keep"))
            .arg(program)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(env.iter().copied())
            .current_dir(run_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} by tests/keep: {error}"));
        let mut first_line = String::new();
        let stdout = keeper.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut first_line).expect("tests/keep prints a line");
        let pid = first_line.trim().parse().unwrap_or_else(|_| panic!("tests/keep printed no pid for {name}"));
        Process { name: name.to_owned(), keeper, pid, log_file: log_file.to_owned() }
    }

    /// The program's own process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit status if the program has ended (`code()` is 128 + n after signal n).
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.keeper.try_wait().expect("tests/keep can be waited for")
    }

    /// What the program has printed so far.
    pub fn log(&self) -> String {
        fs::read(&self.log_file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last `n` lines of what the program has printed.
    pub fn log_tail(&self, n: usize) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(n)..].join("\n")
    }

    /// Waits until `ready` holds; panics with the log if the program ends before, or does not get there in time.
    pub fn wait_until(&mut self, timeout: Duration, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + timeout;
        while !ready() {
            if let Some(status) = self.exited() {
                panic!("{} ended with {status} instead of getting ready:\n{}", self.name, self.log_tail(40));
            }
            assert!(Instant::now() < deadline, "{} is not ready after {timeout:?}:\n{}", self.name, self.log_tail(40));
            sleep(Duration::from_millis(50));
        }
    }

    /// Asks the program to end (SIGTERM) and returns its status; panics if it takes longer than 30 s.
    pub fn terminate(&mut self) -> ExitStatus {
        self.end_by("TERM", Duration::from_secs(30))
    }

    /// Kills the program (SIGKILL) and waits until it is gone.
    pub fn kill9(&mut self) -> ExitStatus {
        self.end_by("KILL", Duration::from_secs(10))
    }

    fn end_by(&mut self, signal_name: &str, bound: Duration) -> ExitStatus {
        if self.exited().is_none() {
            signal(signal_name, self.pid);
        }
        let deadline = Instant::now() + bound;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} did not end within {bound:?} after SIG{signal_name}:\n{}",
                self.name,
                self.log_tail(40)
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Ends the program, by force if it does not want to, and waits for that.
    pub fn stop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
