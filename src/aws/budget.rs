//! How fast an account is called: a number of slots, and a pace that AWS's throttling sets.
//!
//! AWS does not publish IAM's rate limits, and they hold for the whole account, other callers included. So there is no
//! fixed rate: calls are free until AWS throttles one. Then the rate is halved at every throttling and grows slowly with
//! every success (additive increase, multiplicative decrease). Who waits is served in the order of arrival, so that many
//! ClusterIdentities of one account slow down evenly.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// The slowest pace, in calls a second.
const SLOWEST: f64 = 0.5;
/// From this pace on, nothing is held back any more, in calls a second.
const FREE: f64 = 100.0;
/// How much the pace grows in a second without throttling, in calls a second.
const GROWTH: f64 = 2.0;
/// Throttlings within this time are one: they were under way together.
const ONE_STORM: Duration = Duration::from_secs(1);

/// The budget of one account for calls of one kind.
#[derive(Debug)]
pub struct Budget {
    slots: Semaphore,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    /// Calls a second; `None` while nothing is held back.
    rate: Option<f64>,
    /// When the next call may start.
    next: Instant,
    /// When the rate was last lowered.
    lowered: Option<Instant>,
    /// Calls that started in the current second, and in the one before: the measured rate.
    second: Instant,
    started: u32,
    started_before: u32,
}

impl Budget {
    /// A budget for so many calls at once, which holds nothing back yet.
    pub fn new(slots: usize) -> Self {
        let now = Instant::now();
        let pace = Pace { rate: None, next: now, lowered: None, second: now, started: 0, started_before: 0 };
        Self { slots: Semaphore::new(slots), pace: Mutex::new(pace) }
    }

    /// Waits for a slot and for the pace. The slot is held until the permit is dropped.
    pub async fn admit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        let permit = self.slots.acquire().await.ok();
        let at = self.with(|pace| pace.reserve(Instant::now()));
        sleep_until(at).await;
        permit
    }

    /// AWS throttled a call.
    pub fn throttled(&self) {
        self.with(|pace| pace.lower(Instant::now()));
    }

    /// AWS answered a call.
    pub fn answered(&self) {
        self.with(Pace::raise);
    }

    /// The pace, in calls a second; `None` while nothing is held back.
    pub fn rate(&self) -> Option<f64> {
        self.with(|pace| pace.rate)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Pace) -> T) -> T {
        act(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pace {
    /// When the next call may start.
    fn reserve(&mut self, now: Instant) -> Instant {
        let at = match self.rate {
            None => now,
            Some(rate) => {
                let at = self.next.max(now);
                self.next = at + Duration::from_secs_f64(1.0 / rate);
                at
            }
        };
        self.count(at);
        at
    }

    fn count(&mut self, at: Instant) {
        let seconds = at.saturating_duration_since(self.second).as_secs();
        if seconds >= 1 {
            self.started_before = if seconds == 1 { self.started } else { 0 };
            self.started = 0;
            self.second += Duration::from_secs(seconds);
        }
        self.started += 1;
    }

    fn lower(&mut self, now: Instant) {
        if self.lowered.is_some_and(|lowered| now.saturating_duration_since(lowered) < ONE_STORM) {
            return;
        }
        let measured = f64::from(self.started.max(self.started_before));
        let rate = self.rate.unwrap_or(measured).min(FREE);
        self.rate = Some((rate / 2.0).max(SLOWEST));
        self.lowered = Some(now);
    }

    fn raise(&mut self) {
        // As many answers come in a second as the rate allows, so this adds GROWTH in a second.
        self.rate = self.rate.map(|rate| rate + GROWTH / rate.max(1.0)).filter(|rate| *rate < FREE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn calls_in_ten_seconds(budget: &Budget, limit: f64) -> (u32, u32) {
        let (mut answered, mut throttled) = (0, 0);
        let begun = Instant::now();
        let (mut tokens, mut last) = (limit, begun);
        while begun.elapsed() < Duration::from_secs(10) {
            let _slot = budget.admit().await;
            tokens = (tokens + last.elapsed().as_secs_f64() * limit).min(limit);
            last = Instant::now();
            if tokens >= 1.0 {
                tokens -= 1.0;
                answered += 1;
                budget.answered();
            } else {
                throttled += 1;
                budget.throttled();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (answered, throttled)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_held_back_before_a_throttling() {
        let budget = Budget::new(10);
        let begun = Instant::now();
        for _ in 0..1000 {
            drop(budget.admit().await);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(budget.rate(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_settles_near_what_the_account_allows() {
        let budget = Budget::new(10);
        calls_in_ten_seconds(&budget, 20.0).await;
        let (answered, throttled) = calls_in_ten_seconds(&budget, 20.0).await;
        // Most of the 200 that the account would have answered, and hardly a call in vain.
        assert!(answered > 120, "{answered}");
        assert!(throttled < 15, "{throttled}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_lowers_the_pace_once_and_never_below_the_slowest() {
        let budget = Budget::new(10);
        for _ in 0..40 {
            drop(budget.admit().await);
        }
        (0..10).for_each(|_| budget.throttled());
        assert_eq!(budget.rate(), Some(20.0));
        for _ in 0..20 {
            tokio::time::advance(ONE_STORM).await;
            budget.throttled();
        }
        assert_eq!(budget.rate(), Some(SLOWEST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_that_has_grown_enough_holds_nothing_back() {
        let budget = Budget::new(10);
        budget.throttled();
        for _ in 0..10_000 {
            budget.answered();
        }
        assert_eq!(budget.rate(), None);
    }
}
