//! The model's time: tokio's, so that `tokio::time::pause` and `advance` move it, with a date of its own.

use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use jiff::Timestamp;
use tokio::time::Instant;

/// A clock that started at the wall clock's time and goes on with tokio's.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    epoch: SystemTime,
}

/// When a call is carried out, and how long what it replaces is remembered for stale reads.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Instant,
    /// How far back a read may look. Zero: what the resource was is forgotten.
    pub keep: Duration,
}

impl Clock {
    /// Within the second of the wall clock's the seed says where it starts, so that a seed tells one story: times in statuses have whole
    /// seconds.
    pub fn start(seed: u64) -> Self {
        let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let phase = Duration::from_millis(seed.wrapping_mul(617) % 1000);
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(today.as_secs()) + phase;
        Clock { started: Instant::now(), epoch }
    }

    /// The date at an instant.
    pub fn date(self, at: Instant) -> SystemTime {
        self.epoch + at.saturating_duration_since(self.started)
    }

    /// The date now.
    pub fn today(self) -> SystemTime {
        self.date(Instant::now())
    }

    /// `2026-01-31T12:00:00Z`, as IAM and STS write dates.
    pub fn iso(self, at: Instant) -> String {
        iso(self.date(at))
    }

    /// `Sat, 31 Jan 2026 12:00:00 GMT`, as HTTP headers have it.
    pub fn http(self, at: Instant) -> String {
        stamp(self.date(at)).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

/// A date as IAM and STS write it: to the second.
pub fn iso(date: SystemTime) -> String {
    stamp(date).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn stamp(date: SystemTime) -> Timestamp {
    Timestamp::try_from(date).expect("a date that can be written")
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.date(Instant::now())
    }
}
