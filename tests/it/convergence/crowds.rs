//! An account that throttles: everything gets done, few calls are made in vain, and nobody waits much longer than
//! others.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rolecall::aws::Connection;
use rolecall::aws::meter::Meter;
use rolecall::controller::outcome::Outcome;
use tokio::time::{Instant, sleep};

use super::operator::{Operator, Stored};
use super::seeds::in_paused_time;
use super::wishes::{INFRA, REGION, many};
use crate::model::{ACCOUNT, Counts, Model, Rate, Rule, Trouble};

/// Calls in a hundred that may be made in vain. The pace grows until the account refuses a call and is halved then, so
/// with ten writes a second it finds the limit anew every three seconds or so.
const MOST_IN_VAIN: u64 = 15;

/// An account that allows for so much, and answers as fast as AWS does.
fn strict_account() -> Model {
    let model = Model::new(1);
    model.set_quotas(ACCOUNT, |quotas| quotas.roles = 10_000);
    model.add_rule(Rule::always("*", Trouble::Delay(Duration::from_millis(50))));
    model.limit_rate("iam:*", Rate { reads_per_second: 20.0, writes_per_second: 10.0, burst: 20.0 });
    model
}

/// Goes on until everything is verified; how long that took.
async fn until_verified(operator: &mut Operator, stored: &mut Stored) -> Duration {
    let begun = Instant::now();
    for _ in 0..50 {
        let ended = operator.pass(stored).await;
        stored.status = ended.status;
        if ended.outcome == Outcome::Verified {
            return begun.elapsed();
        }
        sleep(ended.delay).await;
    }
    panic!("not verified after 50 passes and {:?}", begun.elapsed());
}

/// How many calls in a hundred were made in vain.
fn in_vain(counts: &Counts) -> u64 {
    counts.with_outcome("*", "Throttling") * 100 / counts.total()
}

#[test]
fn two_hundred_requests_in_an_account_that_throttles_are_done_without_many_calls_in_vain() {
    in_paused_time(async {
        let model = strict_account();
        let mut stored = Stored::new(many(INFRA, 200));
        let took = until_verified(&mut Operator::start(&model), &mut stored).await;
        let counts = model.counts();
        assert_eq!(model.roles(ACCOUNT).len(), 200);
        assert_eq!(counts.with_outcome("iam:CreateRole", "ok"), 200);
        assert!(in_vain(&counts) <= MOST_IN_VAIN, "{} in a hundred: {:?}", in_vain(&counts), counts.calls);
        // 400 writes at ten a second, after the first twenty: 38 seconds at the best.
        assert!(took < Duration::from_mins(2), "{took:?}");
    });
}

#[test]
fn clusters_of_one_account_slow_down_evenly() {
    in_paused_time(async {
        let model = strict_account();
        let config = model.sdk_config(ACCOUNT, REGION);
        let aws = Arc::new(Connection::with(&config, Meter::default()));
        let clusters = (0..10).map(|n| {
            let (mut operator, aws) = (Operator::sharing(&model, aws.clone()), many(&format!("cluster-{n}"), 20));
            async move { until_verified(&mut operator, &mut Stored::new(aws)).await }
        });
        let mut took: Vec<Duration> = join_all(clusters.map(Box::pin)).await;
        took.sort();
        let (Some(first), Some(last)) = (took.first(), took.last()) else { return };
        let counts = model.counts();
        // How long one waits between two passes is drawn by lot.
        assert!(*last < *first * 3, "from {first:?} to {last:?}");
        assert!(*last < Duration::from_mins(3), "{last:?}");
        assert!(in_vain(&counts) <= MOST_IN_VAIN, "{} in a hundred: {:?}", in_vain(&counts), counts.calls);
    });
}
