//! Waiting for something that another process brings about.

use std::time::{Duration, Instant};

/// Calls `probe` until it answers, at most for `timeout`; panics with `what` and the last error after that.
///
/// A probe that is a program of its own (`kubectl`) costs a tenth of a second of a processor: who waits spends at most a
/// quarter of the time on asking, or the tests that wait take the machine from those that are waited for.
#[track_caller]
pub fn eventually<T>(timeout: Duration, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(20);
    loop {
        let asked = Instant::now();
        match probe() {
            Ok(value) => return value,
            Err(error) if Instant::now() >= deadline => {
                panic!("{what}: not within {timeout:?}; last: {error}")
            }
            Err(_) => std::thread::sleep(pause.max(asked.elapsed() * 3)),
        }
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}
