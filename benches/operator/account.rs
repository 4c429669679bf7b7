//! What passes ask of AWS, and how long they take, for accounts of different sizes.

use std::collections::BTreeMap;
use std::time::Duration;

use rolecall::aws::snapshot::Freshness;

use crate::model::{ACCOUNT, Counts, Model};
use crate::passes::{Passed, Work};
use crate::requests::{REGION, input, role_name};
use crate::runtime;
use crate::table::{Table, time};

const SIZES: [usize; 4] = [3, 100, 1_000, 10_000];
/// From this size on, waiting is not waited for.
const LARGE: usize = 10_000;
const LATENCY: Duration = Duration::from_millis(50);
const FOREIGN: usize = 3_000;
/// How often a pass is due. Shorter than usual, so that waiting for one to be due takes no time.
const INTERVAL: Duration = Duration::from_secs(5);

/// One pass of a story.
struct Line {
    name: &'static str,
    reads: u64,
    writes: u64,
    anonymous: u64,
    calls: String,
    took: Duration,
}

pub fn run() {
    let mut calls = Table::new(&["requests", "pass", "reads", "writes", "anonymous GETs"]);
    let mut operations = Table::new(&["pass", "calls"]);
    let mut times = Table::new(&["requests", "pass", "0 ms", "50 ms"]);
    for (count, foreign) in SIZES.map(|count| (count, 0)).into_iter().chain([(1_000, FOREIGN)]) {
        let at_once = runtime(false).block_on(story(count, foreign, Duration::ZERO));
        let with_latency = runtime(count >= LARGE).block_on(story(count, foreign, LATENCY));
        let label = if foreign == 0 { count.to_string() } else { format!("{count}, {foreign} foreign roles") };
        for (line, slow) in at_once.into_iter().zip(with_latency) {
            times.row(vec![label.clone(), line.name.into(), time(line.took), time(slow.took)]);
            let numbers = [line.reads, line.writes, line.anonymous].map(|number| number.to_string());
            calls.row([vec![label.clone(), line.name.into()], numbers.to_vec()].concat());
            if count == SIZES[0] {
                operations.row(vec![line.name.into(), line.calls]);
            }
        }
    }
    calls.print("Calls to AWS (GetCallerIdentity, once for each process, is not among the reads)");
    operations.print("The same by operation, for 3 requests");
    times.print("Time of a pass in process, when AWS answers at once and after 50 ms (10,000 at 50 ms: virtual time)");
}

/// Everything that happens to an account: it is filled, looked at, changed, tampered with.
async fn story(count: usize, foreign: usize, latency: Duration) -> Vec<Line> {
    let mut work = Work::new(count, latency);
    if foreign > 0 {
        add_foreign_roles(&work.model, foreign).await;
    }
    let caused = Freshness::from_now_on;
    let due = || Freshness::due(INTERVAL, None, Duration::ZERO);
    let mut lines = vec![line(&mut work, "create", caused()).await];
    // What was read a moment ago will do when a pass is due; what was written since is read apart.
    lines.push(line(&mut work, "verify", due()).await);
    work.restart();
    lines.push(line(&mut work, "re-run", caused()).await);
    // What was read for the one before will not do.
    tokio::time::sleep(INTERVAL / 5).await;
    lines.push(line(&mut work, "sweep", due()).await);
    work.inputs.requests[count / 2] = input(count / 2, 1);
    lines.push(line(&mut work, "one changed", caused()).await);
    work.pass(caused()).await;
    take_permissions(&work.model, &role_name(count / 3)).await;
    lines.push(line(&mut work, "one drifted", caused()).await);
    lines
}

async fn line(work: &mut Work, name: &'static str, freshness: Freshness) -> Line {
    work.model.reset_counts();
    let Passed { evidence, anonymous, took } = work.pass(freshness).await;
    assert!(evidence.failures().is_empty(), "{:?}", evidence.failures());
    let counts = work.model.counts();
    let reads = counts.reads - counts.of("sts:GetCallerIdentity") - anonymous;
    Line { name, reads, writes: counts.writes, anonymous, calls: by_operation(&counts, anonymous), took }
}

fn by_operation(counts: &Counts, anonymous: u64) -> String {
    let mut calls: BTreeMap<&str, u64> = BTreeMap::new();
    for ((operation, _), count) in &counts.calls {
        *calls.entry(operation.split_once(':').map_or(*operation, |(_, name)| name)).or_default() += count;
    }
    calls.remove("GetCallerIdentity");
    if let Some(documents) = calls.get_mut("GetObject") {
        *documents -= anonymous;
    }
    let words = calls.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{name} {count}"));
    words.collect::<Vec<_>>().join(", ")
}

fn iam(model: &Model) -> aws_sdk_iam::Client {
    aws_sdk_iam::Client::new(&model.sdk_config(ACCOUNT, REGION))
}

async fn add_foreign_roles(model: &Model, count: usize) {
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    let iam = iam(model);
    let create = |number| iam.create_role().role_name(format!("foreign-{number}")).assume_role_policy_document(trust);
    let roles: Vec<_> = (0..count).map(|number| create(number).send()).collect();
    for role in futures::future::join_all(roles).await {
        role.expect("a role");
    }
}

async fn take_permissions(model: &Model, role: &str) {
    iam(model).delete_role_policy().role_name(role).policy_name(role).send().await.expect("DeleteRolePolicy");
}
