//! One misfortune at every place, all of them: a death after each call of a first run, of a change and of a teardown,
//! and each kind of fault at each call.

use std::time::Duration;

use rolecall::controller::outcome::Outcome;
use tokio::time::sleep;

use super::life::{Calm, LAGGING, Life};
use super::seeds::{Case, for_each_case, in_paused_time};
use super::wishes::{BUCKET, first, inventory, put_foreign, second};
use crate::model::{ACCOUNT, Cut, Model, Rule, Trouble};

/// A stretch of a cluster's life.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stretch {
    FirstRun,
    Change,
    Teardown,
    /// A first run that is not finished before the cluster is deleted.
    Abandoned,
}

const STRETCHES: [Stretch; 4] = [Stretch::FirstRun, Stretch::Change, Stretch::Teardown, Stretch::Abandoned];
/// Calls beyond those of a calm stretch that are tried too: a stretch with trouble takes longer.
const MORE: u64 = 4;

/// A misfortune at the n-th call of a stretch.
#[derive(Debug, Clone)]
struct Misfortune {
    stretch: Stretch,
    call: u64,
    lag: Duration,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Death { takes_effect: bool },
    Fault { trouble: Trouble, times: u32 },
}

/// A cluster at the beginning of a stretch.
async fn at_beginning_of(stretch: Stretch) -> Life {
    let model = Model::new(1);
    put_foreign(&model);
    let mut life = Life::new(&model, first());
    if matches!(stretch, Stretch::Change | Stretch::Teardown) {
        life.until(&Outcome::Verified, false).await.expect("the first wish");
        life.stored.change(second());
    }
    if stretch == Stretch::Teardown {
        life.until(&Outcome::Verified, false).await.expect("the second wish");
    }
    // The process is older than what reads may hide.
    sleep(Duration::from_mins(1)).await;
    life
}

async fn to_its_end(life: &mut Life, stretch: Stretch, calm: &Calm) -> Case {
    match stretch {
        Stretch::FirstRun => life.until_true(&calm.first).await,
        Stretch::Change => life.until_true(&calm.second).await,
        Stretch::Teardown => life.until_gone(&calm.gone).await,
        Stretch::Abandoned => {
            life.note("deleted");
            life.until(&Outcome::LetGo, true).await?;
            life.is_gone(&calm.gone)
        }
    }
}

/// How many calls a stretch takes when nothing goes wrong.
fn calls_of(stretch: Stretch) -> u64 {
    in_paused_time(async {
        let mut life = at_beginning_of(stretch).await;
        life.model.reset_counts();
        let deleted = stretch == Stretch::Teardown;
        let wanted = if deleted { Outcome::LetGo } else { Outcome::Verified };
        life.until(&wanted, deleted).await.expect("calm");
        life.model.counts().total()
    })
}

fn at_every_call(kinds: &[Kind], lags: &[u64]) -> Vec<Misfortune> {
    let mut all = Vec::new();
    for stretch in STRETCHES {
        let calls = calls_of(stretch) + MORE;
        for call in 1..=calls {
            for (kind, lag) in kinds.iter().flat_map(|kind| lags.iter().map(move |lag| (kind, lag))) {
                all.push(Misfortune { stretch, call, lag: Duration::from_secs(*lag), kind: kind.clone() });
            }
        }
    }
    all
}

fn all_converge(misfortunes: &[Misfortune]) {
    let calm = Calm::live();
    let count = u64::try_from(misfortunes.len()).unwrap_or(0);
    assert!(count > 100, "{count} cases are too few to be all");
    for_each_case(count, |number| {
        let misfortune = &misfortunes[usize::try_from(number).unwrap_or(0)];
        let calm = &calm;
        async move { converges(misfortune, calm).await.map_err(|why| format!("{misfortune:?}: {why}")) }
    });
}

async fn converges(misfortune: &Misfortune, calm: &Calm) -> Case {
    let Misfortune { stretch, call, lag, kind } = misfortune;
    let mut life = at_beginning_of(*stretch).await;
    for pattern in LAGGING {
        life.model.stale_reads(pattern, *lag);
    }
    match kind {
        Kind::Death { takes_effect } => {
            let cut = Cut { after: *call, writes_only: false, takes_effect: *takes_effect };
            life.model.cut_after(cut);
            if die(&mut life, *stretch == Stretch::Teardown).await {
                return life.is_gone(&calm.gone);
            }
            life.restart();
        }
        Kind::Fault { trouble, times } => {
            go_wrong_at(&life.model, *call, trouble.clone(), *times);
            if *stretch == Stretch::Abandoned {
                life.pass(false).await;
            }
        }
    }
    to_its_end(&mut life, *stretch, calm).await
}

/// Goes on until the process dies; whether the cluster was let go before.
async fn die(life: &mut Life, deleted: bool) -> bool {
    loop {
        let Some(ended) = life.pass(deleted).await else { return false };
        if ended.outcome == Outcome::LetGo {
            return true;
        }
        life.stored.status = ended.status;
        sleep(ended.delay).await;
    }
}

/// Trouble for so many calls from the n-th on.
fn go_wrong_at(model: &Model, call: u64, trouble: Trouble, times: u32) {
    let rule = Rule::times("*", times, trouble);
    match u32::try_from(call - 1) {
        Ok(0) | Err(_) => model.add_rule(rule),
        Ok(before) => {
            let inside = model.clone();
            model.on_call("*", before, move || inside.add_rule(rule));
        }
    }
}

#[test]
fn who_dies_after_any_call_leaves_what_the_next_one_finishes() {
    let deaths = [true, false].map(|takes_effect| Kind::Death { takes_effect });
    all_converge(&at_every_call(&deaths, &[0, 20]));
}

/// By a fault that passes, or a permission that is missing for a while.
#[test]
fn a_bucket_that_cannot_be_marked_is_not_built_upon() {
    let calm = Calm::live();
    for trouble in [Trouble::Throttle, Trouble::Deny] {
        let done = in_paused_time(async {
            let mut life = at_beginning_of(Stretch::FirstRun).await;
            life.model.add_rule(Rule::always("s3:PutBucketTagging", trouble));
            for _ in 0..4 {
                life.stored.status = life.pass(false).await.expect("alive").status;
                sleep(Duration::from_mins(1)).await;
            }
            assert!(life.model.objects(BUCKET).is_empty() && life.model.providers(ACCOUNT).len() == 1);
            life.model.clear_rules();
            life.until_true(&calm.first).await
        });
        assert_eq!(done, Ok(()));
    }
}

#[test]
fn a_fault_of_any_kind_at_any_call_is_got_over() {
    let once = [Trouble::LoseAnswer, Trouble::LoseRequest, Trouble::ServerError, Trouble::Throttle];
    // Longer than a call is waited for.
    let slow = Trouble::Delay(Duration::from_secs(30));
    // So often in a row that a call is given up, and others with it.
    let storms = [Trouble::LoseAnswer, Trouble::ServerError, Trouble::Throttle];
    let once = once.into_iter().chain([slow]).map(|trouble| Kind::Fault { trouble, times: 1 });
    let storms = storms.map(|trouble| Kind::Fault { trouble, times: 9 });
    let all: Vec<Kind> = once.chain(storms).collect();
    all_converge(&at_every_call(&all, &[0]));
}

#[test]
fn answers_that_are_lost_while_reads_lag_are_got_over() {
    let lost = [1, 3, 12].map(|times| Kind::Fault { trouble: Trouble::LoseAnswer, times });
    all_converge(&at_every_call(&lost, &[20]));
}

/// Reads that take all the time of a pass leave none for changes: nothing is begun, the pass has timed out, and the next one
/// comes soon.
#[test]
fn a_pass_that_has_no_time_left_begins_nothing_and_is_tried_again_soon() {
    for deleted in [false, true] {
        in_paused_time(async {
            let mut life = at_beginning_of(if deleted { Stretch::Teardown } else { Stretch::FirstRun }).await;
            let before = inventory(&life.model);
            life.model.add_rule(Rule::always("*", Trouble::Delay(Duration::from_secs(2))));
            life.operator.time_to_begin = Some(Duration::from_secs(1));
            for soonest in [1, 2, 4].map(Duration::from_secs) {
                let ended = life.pass(deleted).await.expect("alive");
                assert_eq!(ended.outcome, Outcome::TimedOut, "{:?}", ended.told);
                assert!((soonest..soonest * 2).contains(&ended.delay), "{:?}", ended.delay);
                life.stored.status = ended.status;
            }
            assert_eq!(inventory(&life.model), before);
            life.model.clear_rules();
            let end = if deleted { Outcome::LetGo } else { Outcome::Verified };
            life.until(&end, deleted).await.expect("all is well again");
        });
    }
}
