//! Work under a lease by a process that may be halted: a node that is starved, a virtual machine that is moved.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the time is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Who has slept so long may have lost the lease: less than what lies between the renewal's deadline and the lease's end.
const LONG: Duration = Duration::from_secs(4);

/// A future that lets whoever is polled beside it go first when the process has slept. The timers of both are due then, and
/// the one that says that the lease is lost must come before the one that a write was waiting for.
pub async fn second_after_a_sleep<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    poll_fn(|context| {
        while tick.poll_tick(context).is_ready() {}
        let slept = last.elapsed();
        last = Instant::now();
        if slept >= LONG {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::FutureExt;
    use futures::future::select;
    use tokio::time::{advance, sleep};

    use super::*;

    /// Which of two that became due in a sleep was first, the work or the loss of the lease.
    async fn first(slept: Duration, wrap: bool) -> &'static str {
        let written = Cell::new(false);
        let work = async {
            sleep(Duration::from_millis(500)).await;
            written.set(true);
            std::future::pending::<()>().await;
        };
        let lost = sleep(Duration::from_millis(800));
        let asleep = async {
            // Both have been polled once.
            tokio::task::yield_now().await;
            advance(slept).await;
            std::future::pending::<()>().await;
        };
        let work = if wrap { second_after_a_sleep(work).left_future() } else { work.right_future() };
        let held = async {
            select(pin!(work), pin!(lost)).await;
        };
        tokio::select! { biased; () = held => {}, () = asleep => {} }
        if written.get() { "the write" } else { "the loss" }
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_the_lease_comes_before_a_write_that_was_waiting() {
        assert_eq!(first(Duration::from_secs(20), true).await, "the loss");
        assert_eq!(first(Duration::from_secs(20), false).await, "the write", "that is what it is for");
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_after_a_sleep_and_without_one() {
        let begun = Instant::now();
        let work = second_after_a_sleep(async {
            sleep(Duration::from_mins(1)).await;
            7
        });
        assert_eq!(work.await, 7);
        assert!(begun.elapsed() < Duration::from_secs(61));
    }
}
