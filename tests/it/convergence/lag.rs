//! Reads that show what was, and nothing else wrong: nothing is made twice, nothing is called drift, and nothing is
//! written that would not be written if reads were as they should be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rolecall::api::ALLOW_NARROWING;
use rolecall::api::cluster_identity::default_audiences;
use rolecall::aws::Connection;
use rolecall::aws::meter::Meter;
use rolecall::controller::outcome::Outcome;
use rolecall::plan::deletion::digest;
use serde_json::json;
use tokio::time::sleep;

use super::life::{Calm, LAGGING, Life};
use super::operator::{Operator, Stored};
use super::seeds::{Case, Dice, for_each_seed, in_paused_time};
use super::wishes::{REGION, Wish, first, many, put_foreign, request, role_of, second, spec};
use crate::model::{ACCOUNT, Model, Rule, Trouble};

/// How long reads may lag, in milliseconds: shorter than the time that the operator allows for.
const LONGEST_LAG: u64 = 25_000;

/// Each new process waits once more until reads surely show what was made.
const MOST_RESTARTS: u32 = 4;

/// Successful writes by operation.
type Writes = BTreeMap<&'static str, u64>;

fn writes(model: &Model) -> Writes {
    let counts = model.counts();
    let is_write = |op: &str| !["Get", "List", "Head"].iter().any(|read| op.contains(&format!(":{read}")));
    let done = counts.calls.iter().filter(|((op, outcome), _)| outcome == "ok" && is_write(op));
    done.map(|((op, _), count)| (*op, *count)).collect()
}

/// A cluster's life as a row of wishes, and then its end; what each of them writes.
async fn live(life: &mut Life, wishes: &[Wish], lag: &mut Lag) -> Result<Vec<Writes>, String> {
    let mut written = Vec::new();
    for wish in wishes {
        life.stored.change(wish.clone());
        life.model.reset_counts();
        without_drift(life, &Outcome::Verified, false, lag).await?;
        if lag.rests {
            rest(life, lag).await?;
        }
        written.push(writes(&life.model));
        // The next wish, and the end, may come to a process that knows nothing of the last.
        if lag.dice.percent(lag.restarts) {
            life.restart();
            without_drift(life, &Outcome::Verified, false, lag).await?;
        }
    }
    life.model.reset_counts();
    without_drift(life, &Outcome::LetGo, true, lag).await?;
    written.push(writes(&life.model));
    Ok(written)
}

/// How much reads lag.
struct Lag {
    dice: Dice,
    longest: u64,
    /// Whether each pass meets another lag, so that reads go to and fro.
    wavers: bool,
    /// Whether every wish lasts so long that sweeps take a part from an earlier listing.
    rests: bool,
    /// In how many of a hundred cases a new process takes over after a pass.
    restarts: u64,
}

/// Sweeps over what is right.
async fn rest(life: &mut Life, lag: &mut Lag) -> Case {
    life.operator.due = true;
    for minutes in [lag.dice.below(12), 11, 5, 5] {
        sleep(Duration::from_mins(minutes)).await;
        without_drift(life, &Outcome::Verified, false, lag).await?;
    }
    Ok(())
}

impl Lag {
    fn set(&mut self, model: &Model, waver: bool) {
        let lag = if waver { self.dice.below(self.longest + 1) } else { self.longest };
        for pattern in LAGGING {
            model.stale_reads(pattern, Duration::from_millis(lag));
        }
        // What was is remembered as long as any read may ask for it.
        model.stale_reads("none", Duration::from_millis(LONGEST_LAG));
    }
}

async fn without_drift(life: &mut Life, wanted: &Outcome, deleted: bool, lag: &mut Lag) -> Case {
    let mut left = MOST_RESTARTS;
    for _ in 0..30 {
        if lag.wavers {
            lag.set(&life.model, true);
        }
        let Some(ended) = life.pass(deleted).await else { return life.wrong("it died") };
        life.stored.status = ended.status;
        if !ended.drift.is_empty() {
            return life.wrong("what the operator did itself was called drift");
        }
        if ended.outcome == *wanted {
            return Ok(());
        }
        if left > 0 && lag.dice.percent(lag.restarts) {
            left -= 1;
            life.note("another process takes over");
            life.restart();
        }
        sleep(ended.delay).await;
    }
    life.wrong(format_args!("no {wanted:?}"))
}

fn wishes() -> [Wish; 3] {
    [first(), second(), first()]
}

/// What is written when reads do not lag.
fn calm_writes() -> Vec<Writes> {
    in_paused_time(async {
        let model = Model::new(0);
        put_foreign(&model);
        let mut life = Life::new(&model, first());
        let mut lag = Lag { dice: Dice::of(0), longest: 0, wavers: false, rests: false, restarts: 0 };
        live(&mut life, &wishes(), &mut lag).await.expect("a calm life")
    })
}

async fn a_lagging_life(seed: u64, wavers: bool, restarts: u64, calm: &[Writes]) -> Case {
    let mut dice = Dice::of(seed);
    let model = Model::new(seed);
    put_foreign(&model);
    let slow = Duration::from_millis(dice.below(400));
    model.add_rule(Rule::always("*", Trouble::Delay(slow)));
    let mut life = Life::new(&model, first());
    let rests = dice.percent(50);
    let mut lag = Lag { longest: dice.below(LONGEST_LAG), dice, wavers, rests, restarts };
    life.note(&format!("reads lag by {} ms, calls take {slow:?}", lag.longest));
    lag.set(&model, false);
    let mut written = live(&mut life, &wishes(), &mut lag).await?;
    if restarts > 0 {
        written.iter_mut().for_each(keep_creations);
        // A role that was deleted a moment ago may still be shown to whoever asks for it again.
        let more = written
            .iter()
            .zip(calm)
            .any(|(written, calm)| written.iter().any(|(op, count)| calm.get(op).is_none_or(|calm| count > calm)));
        return if more { life.wrong(format_args!("wrote {written:#?}\n, more than {calm:#?}")) } else { Ok(()) };
    }
    if written == calm { Ok(()) } else { life.wrong(format_args!("wrote {written:#?}\n, not {calm:#?}")) }
}

#[test]
fn reads_that_lag_cost_no_write_and_no_alarm() {
    let calm = calm_writes();
    assert_eq!(calm[0]["iam:CreateRole"], 3);
    for_each_seed(60, |seed| a_lagging_life(seed, false, 0, &calm));
}

#[test]
fn reads_that_go_to_and_fro_cost_no_write_and_no_alarm() {
    let calm = calm_writes();
    for_each_seed(60, |seed| a_lagging_life(seed, true, 0, &calm));
}

/// Who takes over knows from the status alone that something was changed a moment ago, and not what. Changes that were not
/// seen to be true may be made again, which alters nothing; creations may not.
#[test]
fn another_process_that_reads_what_was_calls_nothing_drift_and_creates_nothing_twice() {
    let mut calm = calm_writes();
    calm.iter_mut().for_each(keep_creations);
    for_each_seed(120, |seed| a_lagging_life(seed, seed % 2 == 0, 40, &calm));
}

fn keep_creations(writes: &mut Writes) {
    writes.retain(|op, _| op.contains(":Create"));
}

/// Wishes that change before the one before is seen to be true.
#[test]
fn wishes_that_come_too_fast_for_reads_are_no_drift_and_come_true() {
    let calm = Calm::live();
    for_each_seed(60, |seed| a_hasty_life(seed, &calm));
}

/// The first wish in one of several forms.
fn whim(dice: &mut Dice) -> Wish {
    let session = if dice.percent(50) { "1h" } else { "2h" };
    let team = if dice.percent(50) { "payments" } else { "ledger" };
    let mut audiences = default_audiences();
    audiences.extend(dice.percent(50).then(|| "more".to_owned()));
    let mut wish = first();
    wish.spec = spec(&json!({"roles": {"maxSessionDuration": session, "tags": {"Team": team}}}));
    wish.spec.issuer.audiences = audiences;
    if dice.percent(50) {
        wish.requests[0] = request("alpha", &["worker", "helper"]);
    }
    wish
}

async fn a_hasty_life(seed: u64, calm: &Calm) -> Case {
    let mut dice = Dice::of(seed);
    let model = Model::new(seed);
    put_foreign(&model);
    model.add_rule(Rule::always("*", Trouble::Delay(Duration::from_millis(60))));
    let mut life = Life::new(&model, first());
    life.stored
        .annotations
        .insert(ALLOW_NARROWING.to_owned(), format!("oidc-provider/{}", digest(["more"].into_iter())));
    Lag { longest: dice.below(LONGEST_LAG), dice: dice.clone(), wavers: false, rests: false, restarts: 0 }
        .set(&model, false);
    for _ in 0..6 + dice.below(8) {
        let Some(ended) = life.pass(false).await else { return life.wrong("it died") };
        life.stored.status = ended.status;
        if !ended.drift.is_empty() {
            return life.wrong("what the operator did itself was called drift");
        }
        sleep(ended.delay.min(dice.time(Duration::from_secs(10)))).await;
        if dice.percent(40) {
            let wish = whim(&mut dice);
            life.note(&format!("another wish: {:?}", wish.spec.roles));
            life.stored.change(wish);
        }
    }
    if dice.percent(50) {
        life.note("the last wish");
        life.stored.change(second());
        life.until_true(&calm.second).await?;
    }
    life.note("deleted");
    life.until_gone(&calm.gone).await
}

/// Clusters of one account share listings when their passes are due: one that was made for another a moment before a change
/// does not show it, and is not to be believed when the change is remembered no longer.
#[test]
fn clusters_that_share_listings_call_nothing_drift_and_make_nothing_twice() {
    for_each_seed(24, neighbours);
}

const NEIGHBOURS: u64 = 3;
const ROLES_OF_EACH: u64 = 4;
/// Passes in which both changes grow old.
const LONG_ENOUGH: u64 = 34;

async fn neighbours(seed: u64) -> Case {
    let mut dice = Dice::of(seed);
    let model = Model::new(seed);
    model.add_rule(Rule::always("*", Trouble::Delay(Duration::from_millis(60))));
    for pattern in LAGGING {
        model.stale_reads(pattern, Duration::from_millis(dice.below(LONGEST_LAG)));
    }
    let aws = Arc::new(Connection::with(&model.sdk_config(ACCOUNT, REGION), Meter::default()));
    let lives = (0..NEIGHBOURS).map(|n| {
        let mut operator = Operator::sharing(&model, aws.clone());
        operator.due = true;
        let dice = Dice::of(seed * NEIGHBOURS + n);
        Box::pin(a_due_life(operator, format!("cluster-{n}"), dice))
    });
    for life in join_all(lives).await {
        life?;
    }
    let counts = model.counts();
    let made = ["iam:CreateRole", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy"].map(|op| counts.of(op));
    let all = NEIGHBOURS * ROLES_OF_EACH;
    if made == [all, all, NEIGHBOURS] { Ok(()) } else { Err(format!("{made:?}")) }
}

/// A cluster that is made, and of which one role is wanted otherwise after a while.
async fn a_due_life(mut operator: Operator, infra: String, mut dice: Dice) -> Case {
    let mut stored = Stored::new(many(&infra, usize::try_from(ROLES_OF_EACH).unwrap_or(0)));
    let change = 12 + dice.below(6);
    for pass in 0..LONG_ENOUGH {
        if pass == change {
            stored.wish.requests[0] = request("c0000", &["worker", "helper"]);
        }
        let ended = operator.pass(&stored).await;
        stored.status = ended.status;
        if !ended.drift.is_empty() {
            return Err(format!("{infra}, pass {pass}: {:?}", ended.drift));
        }
        if pass == LONG_ENOUGH - 1 && ended.outcome != Outcome::Verified {
            return Err(format!("{infra}: {:?} {:?}", ended.outcome, ended.told));
        }
        sleep(ended.delay.min(Duration::from_secs(5) + dice.time(Duration::from_secs(20)))).await;
    }
    Ok(())
}

/// A request that is taken away and comes back within the lag.
#[test]
fn a_role_that_is_wanted_again_right_after_it_was_deleted_is_not_called_right_before_it_is() {
    in_paused_time(async {
        let model = Model::new(1);
        let mut life = Life::new(&model, first());
        life.until(&Outcome::Verified, false).await.expect("verified");
        sleep(Duration::from_mins(1)).await;
        for pattern in LAGGING {
            model.stale_reads(pattern, Duration::from_secs(20));
        }
        let mut less = first();
        less.requests.remove(1);
        life.stored.change(less);
        life.pass(false).await.expect("alive");
        assert!(model.role(ACCOUNT, &role_of("beta")).is_none(), "deleted, though reads show it for a while");
        life.stored.change(first());
        sleep(Duration::from_secs(5)).await;
        let ended = life.pass(false).await.expect("alive");
        assert_ne!(ended.outcome, Outcome::Verified, "the role is not there");
    });
}
