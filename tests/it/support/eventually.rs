//! Waiting for something that another process brings about.

use std::time::{Duration, Instant};

/// Calls `probe` until it answers, at most for `timeout`; panics with `what` and the last error after that.
#[track_caller]
pub fn eventually<T>(timeout: Duration, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(20);
    loop {
        match probe() {
            Ok(value) => return value,
            Err(error) if Instant::now() >= deadline => {
                panic!("{what}: not within {timeout:?}; last: {error}")
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}
