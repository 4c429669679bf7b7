//! The released operator on a real API server: time to the first verified pass, calls, memory, CPU.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jiff::Timestamp;

use crate::audit;
use crate::cluster::Cluster;
use crate::front::Front;
use crate::model::{ACCOUNT, Model};
use crate::operator::{Operator, program};
use crate::runtime;
use crate::table::{Table, mebibytes, time};

/// So many idle passes are watched.
const IDLE: u32 = 3;

struct Tables {
    first: Table,
    standing: Table,
    calls: Table,
}

pub fn run(sizes: &[usize]) {
    let size = fs::metadata(program()).map_or(0, |file| file.len()) / 1024;
    println!("\nThe released program has {}.", mebibytes(size));
    let mut tables = Tables {
        first: Table::new(&[
            "requests",
            "account",
            "first verified",
            "passes until then",
            "CPU",
            "VmRSS then",
            "VmHWM",
        ]),
        standing: Table::new(&["requests", "VmRSS idle", "VmHWM", "an idle pass", "its CPU"]),
        calls: Table::new(&["requests", "what", "Kubernetes", "AWS"]),
    };
    for count in sizes {
        runtime(false).block_on(story(*count, &mut tables));
    }
    tables.first.print("From process start to the first verified pass");
    tables.standing.print("Idle (after three passes that found everything right)");
    tables.calls.print("Calls");
}

/// An account is filled, left alone, asked for a change, and found again by another process.
async fn story(count: usize, tables: &mut Tables) {
    let interval = interval(count);
    let cluster = Cluster::start(count, &format!("{}s", interval.as_secs())).await;
    let model = Model::new(1);
    model.set_quotas(ACCOUNT, |quotas| quotas.roles = 100_000);
    let served = model.serve().await;
    let front = Front::start(&served.url(), &format!("front-{count}"));
    let (url, watched) = (served.url(), Watched { cluster: &cluster, model: &model, count });

    let calls = watched.now();
    let mut operator = Operator::start(&cluster, &url, &front);
    first(&mut operator, count, "empty", tables).await;
    calls.end("create", tables);
    operator.wait_passes("verified", 1).await;
    let calls = watched.now();
    cluster.change(count / 2, 1).await;
    operator.wait_passes("changed", 1).await;
    operator.wait_passes("verified", 1).await;
    calls.end("one changed", tables);
    operator.terminate();

    let calls = watched.now();
    let mut operator = Operator::start(&cluster, &url, &front);
    first(&mut operator, count, "right", tables).await;
    calls.end("restart", tables);
    // What it has just made is remembered until no read can be late; idle is who has made nothing.
    operator.wait_passes("verified", 1).await;
    idle(&mut operator, &watched, tables).await;
    operator.terminate();
}

/// Long enough for a pass and some rest, short enough to wait for.
fn interval(count: usize) -> Duration {
    match count {
        0..100 => Duration::from_secs(2),
        100..5_000 => Duration::from_secs(5),
        _ => Duration::from_secs(20),
    }
}

async fn first(operator: &mut Operator, count: usize, account: &str, tables: &mut Tables) {
    operator.wait_until_passes("verified", 1).await;
    let (cpu, rss, peak) = (operator.cpu(), operator.memory("VmRSS"), operator.memory("VmHWM"));
    let passes = operator.logged();
    let until = passes.iter().position(|pass| pass.outcome == "verified").map_or(0, |at| at + 1);
    let told = passes.iter().take(until).map(|pass| format!("{} {}", pass.outcome, time(pass.took)));
    tables.first.row(vec![
        count.to_string(),
        account.into(),
        time(operator.first_verified()),
        told.collect::<Vec<_>>().join(", "),
        time(cpu),
        mebibytes(rss),
        mebibytes(peak),
    ]);
}

async fn idle(operator: &mut Operator, watched: &Watched<'_>, tables: &mut Tables) {
    let (calls, cpu, made) = (watched.now(), operator.cpu(), operator.logged().len());
    operator.wait_passes("verified", u64::from(IDLE)).await;
    let cpu = operator.cpu().saturating_sub(cpu) / IDLE;
    let passes = operator.logged();
    let took = passes.iter().skip(made).map(|pass| pass.took).sum::<Duration>();
    let took = took / u32::try_from(passes.len() - made).unwrap_or(1).max(1);
    calls.end(&format!("{IDLE} idle passes"), tables);
    // Between two passes: what a pass takes is not what an idle operator holds.
    tokio::time::sleep(interval(watched.count) / 2).await;
    tables.standing.row(vec![
        watched.count.to_string(),
        mebibytes(operator.memory("VmRSS")),
        mebibytes(operator.memory("VmHWM")),
        time(took),
        time(cpu),
    ]);
}

/// Where calls are counted.
struct Watched<'a> {
    cluster: &'a Cluster,
    model: &'a Model,
    count: usize,
}

/// Calls that are being counted.
struct Counting<'a> {
    watched: &'a Watched<'a>,
    since: Timestamp,
}

impl Watched<'_> {
    fn now(&self) -> Counting<'_> {
        self.model.keep_log(true);
        Counting { watched: self, since: Timestamp::now() }
    }
}

impl Counting<'_> {
    fn end(self, what: &str, tables: &mut Tables) {
        let of_kubernetes = audit::requests_since(&self.watched.cluster.dir, self.since);
        let mut of_aws: BTreeMap<String, u64> = BTreeMap::new();
        for call in self.watched.model.log() {
            let name = call.op.split_once(':').map_or(call.op, |(_, name)| name);
            // Documents that are fetched over HTTPS, as STS does it.
            let name = if call.account.is_empty() { format!("anonymous {name}") } else { name.to_owned() };
            *of_aws.entry(name).or_default() += 1;
        }
        tables.calls.row(vec![
            self.watched.count.to_string(),
            what.into(),
            in_words(&of_kubernetes),
            in_words(&of_aws),
        ]);
    }
}

fn in_words(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
