//! 1,000 requests at 50 ms: beside calling one after the other, and beside what the account's budget of writes allows.

use std::time::Duration;

use rolecall::apply::Evidence;
use rolecall::aws::snapshot::Freshness;
use rolecall::controller::outcome::Outcome;
use rolecall::desired::desire;
use tokio::time::Instant;

use crate::model::{ACCOUNT, Rate};
use crate::passes::Work;
use crate::requests::{REGION, role_name};
use crate::runtime;
use crate::table::{Table, time};

const REQUESTS: usize = 1_000;
const LATENCY: Duration = Duration::from_millis(50);
/// So many roles are really made one after the other.
const MEASURED: usize = 100;
const INTERVAL: Duration = Duration::from_mins(5);

pub fn run() {
    let mut sequential = Table::new(&["what", "calls", "time", "calls × 50 ms", "ratio"]);
    let made = runtime(false).block_on(one_after_the_other());
    sequential.row(row(&format!("{MEASURED} roles, one call after the other"), 2 * MEASURED as u64, made));
    let (calls, took) = runtime(false).block_on(side_by_side());
    sequential.row(row(&format!("{REQUESTS} requests, Rolecall"), calls, took));
    sequential.print("1,000 requests at 50 ms beside calls one after the other");

    let head = ["writes a second", "writes", "writes / rate", "time", "ratio", "passes", "throttled"];
    let mut limited = Table::new(&head);
    for rate in [20.0, 50.0, 100.0] {
        limited.row(runtime(true).block_on(within(rate)));
    }
    limited.print("1,000 requests at 50 ms in an account that throttles (virtual time, until a pass finds all right)");
}

fn row(what: &str, calls: u64, took: Duration) -> Vec<String> {
    let computed = LATENCY.saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX));
    let ratio = took.as_secs_f64() / computed.as_secs_f64();
    vec![what.into(), calls.to_string(), time(took), time(computed), format!("{ratio:.2}")]
}

async fn one_after_the_other() -> Duration {
    let work = Work::new(1, LATENCY);
    let iam = aws_sdk_iam::Client::new(&work.model.sdk_config(ACCOUNT, REGION));
    let wanted = desire(&work.inputs).expect("the spec is right");
    let (_, wanted) = wanted.wanted().next().expect("one request is wanted");
    let (trust, permissions) = (&wanted.role.trust.text, &wanted.role.permissions.text);
    let begun = Instant::now();
    for number in 0..MEASURED {
        let role = role_name(number);
        iam.create_role().role_name(&role).assume_role_policy_document(trust).send().await.expect("CreateRole");
        let put = iam.put_role_policy().role_name(&role).policy_name(&role);
        put.policy_document(permissions).send().await.expect("PutRolePolicy");
    }
    begun.elapsed()
}

async fn side_by_side() -> (u64, Duration) {
    let mut work = Work::new(REQUESTS, LATENCY);
    let took = work.pass(Freshness::from_now_on()).await.took;
    (work.model.counts().total(), took)
}

/// Passes with the controller's delays between them, until one has nothing to do.
async fn within(rate: f64) -> Vec<String> {
    let mut work = Work::new(REQUESTS, LATENCY);
    work.model.limit_rate("iam:*", Rate { reads_per_second: rate, writes_per_second: rate, burst: rate });
    let begun = Instant::now();
    let (mut passes, mut unsettled) = (0, 0);
    loop {
        let evidence = work.pass(Freshness::from_now_on()).await.evidence;
        passes += 1;
        let Some(outcome) = unfinished(&evidence) else { break };
        tokio::time::sleep(outcome.delay(INTERVAL, unsettled)).await;
        unsettled += 1;
    }
    let (took, counts) = (begun.elapsed(), work.model.counts());
    let throttled = counts.with_outcome("iam:*", "Throttling");
    let writes = counts.with_outcome("iam:CreateRole", "ok") + counts.with_outcome("iam:PutRolePolicy", "ok");
    let allowed = writes as f64 / rate;
    vec![
        format!("{rate}"),
        writes.to_string(),
        format!("{allowed:.1} s"),
        time(took),
        format!("{:.2}", took.as_secs_f64() / allowed),
        passes.to_string(),
        throttled.to_string(),
    ]
}

/// How a pass ended that is to be followed by another.
fn unfinished(evidence: &Evidence) -> Option<Outcome> {
    let plan = evidence.plan();
    let fault = evidence.failures().first().map(|(_, fault)| fault.class);
    if let Some(class) = fault.or(plan.unreadable().next().map(|fault| fault.class)) {
        return Some(Outcome::Failed(class));
    }
    let writes = evidence.made().len();
    (writes > 0 || !plan.obstacles.is_empty()).then_some(Outcome::Changed { writes })
}
