//! Work under a lease by a process that may be halted: a node that is starved, a virtual machine that is moved.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::ready;
use std::time::Duration;

use futures::future::{Fuse, FusedFuture, FutureExt};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::aws::pulse::{LONG, Pulse};

/// How often the pulse beats at least.
const TICK: Duration = Duration::from_secs(1);
/// How long work waits after a sleep: for the renewal of the lease that is due then, or for word that it is lost.
const GRACE: Duration = Duration::from_millis(500);

/// A future that lets whoever is polled beside it go first when the process has slept. The timers of both are due then, and
/// the one that says that the lease is lost must come before the one that a write was waiting for.
pub async fn second_after_a_sleep<T>(pulse: &Pulse, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut grace = pin!(Fuse::terminated());
    poll_fn(|context| {
        while tick.poll_tick(context).is_ready() {}
        if pulse.beat() >= LONG {
            grace.set(sleep(GRACE).fuse());
        }
        if !grace.is_terminated() {
            ready!(grace.as_mut().poll(context));
        }
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::future::select;
    use tokio::time::{Instant, advance};

    use super::*;

    /// Which of two that became due in a sleep was first, the work or the loss of the lease. The loss is found out so long
    /// after it is due.
    async fn first(slept: Duration, late: Duration, wrap: bool) -> &'static str {
        let (written, pulse) = (Cell::new(false), Pulse::default());
        let work = async {
            sleep(Duration::from_millis(500)).await;
            written.set(true);
            std::future::pending::<()>().await;
        };
        let lost = async {
            sleep(Duration::from_millis(800)).await;
            sleep(late).await;
        };
        let asleep = async {
            // Both have been polled once.
            tokio::task::yield_now().await;
            advance(slept).await;
            std::future::pending::<()>().await;
        };
        let work = if wrap { second_after_a_sleep(&pulse, work).left_future() } else { work.right_future() };
        let held = async {
            select(pin!(work), pin!(lost)).await;
        };
        tokio::select! { biased; () = held => {}, () = asleep => {} }
        if written.get() { "the write" } else { "the loss" }
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_the_lease_comes_before_a_write_that_was_waiting() {
        let asleep = Duration::from_secs(20);
        for late in [0, 1, 5, 400].map(Duration::from_millis) {
            assert_eq!(first(asleep, late, true).await, "the loss", "{late:?}");
        }
        assert_eq!(first(asleep, Duration::ZERO, false).await, "the write", "that is what it is for");
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_after_a_sleep_and_without_one() {
        let (begun, pulse) = (Instant::now(), Pulse::default());
        let work = second_after_a_sleep(&pulse, async {
            sleep(Duration::from_mins(1)).await;
            7
        });
        assert_eq!(work.await, 7);
        assert!(begun.elapsed() < Duration::from_secs(61));
        let work = second_after_a_sleep(&pulse, async {
            advance(Duration::from_mins(1)).await;
            sleep(Duration::from_secs(1)).await;
            7
        });
        assert_eq!(work.await, 7, "after a sleep in the midst of it");
    }
}
