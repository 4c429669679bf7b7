//! Everything together: a cluster's whole life under a process that dies now and then, an AWS that throttles, fails,
//! loses answers and shows what was, and a stranger who alters things.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rolecall::controller::outcome::Outcome;
use tokio::time::{Instant, sleep, timeout};

use super::operator::{Ended, Operator, Stored};
use super::seeds::{Case, Dice, for_each_seed, in_paused_time};
use super::stranger::{ALL, Altered, Leave, alter};
use super::wishes::{Wish, differences, first, foreign, inventory, put_foreign, second};
use crate::model::{Cut, Model, Rule, Trouble};

/// How long IAM, and a bucket's configuration, may show what was.
const LAG: Duration = Duration::from_secs(20);
/// What lags in AWS: IAM as a whole, and of S3 the configuration of buckets, but no objects.
pub const LAGGING: [&str; 4] = ["iam:*", "s3:GetBucket*", "s3:GetPublicAccessBlock", "s3:HeadBucket"];
/// As `--pass-timeout`, but short enough to be met.
const PASS_TIMEOUT: Duration = Duration::from_secs(40);
/// Passes within which everything must have come right once there is no more trouble.
const PATIENCE: u32 = 30;

/// A cluster, its operator, and all that happened.
pub struct Life {
    pub model: Model,
    pub stored: Stored,
    pub operator: Operator,
    begun: Instant,
    story: Vec<String>,
}

impl Life {
    pub fn new(model: &Model, wish: Wish) -> Self {
        let (stored, operator) = (Stored::new(wish), Operator::start(model));
        Self { model: model.clone(), stored, operator, begun: Instant::now(), story: Vec::new() }
    }

    pub fn note(&mut self, what: &str) {
        self.story.push(format!("{:8.2} {what}", self.begun.elapsed().as_secs_f64()));
    }

    /// An error with all that came before it.
    pub fn wrong<T>(&self, what: impl std::fmt::Display) -> Result<T, String> {
        let from = self.story.len().saturating_sub(60);
        Err(format!("{what}\n{}", self.story[from..].join("\n")))
    }

    /// Makes a pass, unless the process dies in it; its status is for the caller to keep.
    pub async fn pass(&mut self, deleted: bool) -> Option<Ended> {
        let model = self.model.clone();
        let stored = &self.stored;
        let work =
            async { if deleted { self.operator.teardown(stored).await } else { self.operator.pass(stored).await } };
        let work = Box::pin(work);
        let ended = tokio::select! {
            biased;
            () = model.until_cut() => None,
            ended = timeout(PASS_TIMEOUT, work) => Some(ended),
        };
        let ended = match ended {
            None => {
                self.note("the process died");
                return None;
            }
            Some(Ok(ended)) => ended,
            Some(Err(_)) => self.operator.timed_out(&self.stored),
        };
        let Ended { outcome, drift, told, .. } = &ended;
        let line = format!("{outcome:?} {}{}", told.join("; "), if drift.is_empty() { "" } else { " DRIFT " });
        self.note(&(line + &drift.join(", ")));
        Some(ended)
    }

    /// A new process in place of the old one.
    pub fn restart(&mut self) {
        self.model.revive();
        self.operator = Operator::start(&self.model);
    }

    /// Goes on without further deaths until a pass ends like this; the passes that took.
    pub async fn until(&mut self, wanted: &Outcome, deleted: bool) -> Result<u32, String> {
        for passes in 1..=PATIENCE {
            let Some(ended) = self.pass(deleted).await else { return self.wrong("dead in calm times") };
            self.stored.status = ended.status;
            if ended.outcome == *wanted {
                return Ok(passes);
            }
            sleep(ended.delay).await;
        }
        self.wrong(format_args!("no {wanted:?} after {PATIENCE} passes"))
    }

    /// Goes on until everything is as wanted, also where reads lag no longer, and a pass more writes nothing.
    pub async fn until_true(&mut self, wanted: &[String]) -> Case {
        self.until(&Outcome::Verified, false).await?;
        // What was altered last is to be seen by now, and a snapshot is as old as that.
        sleep(LAG * 2).await;
        for pattern in LAGGING {
            self.model.stale_reads(pattern, Duration::ZERO);
        }
        self.until(&Outcome::Verified, false).await?;
        let found = inventory(&self.model);
        if found != wanted {
            return self.wrong(format!("not as it should be: {:#?}", differences(wanted, &found)));
        }
        let writes = self.model.counts().writes;
        sleep(LAG).await;
        self.until(&Outcome::Verified, false).await?;
        if self.model.counts().writes != writes || inventory(&self.model) != wanted {
            return self.wrong("a pass over what is right wrote something");
        }
        Ok(())
    }

    /// Goes on until the finalizer is taken back; only what is of others is left then.
    pub async fn until_gone(&mut self, left: &[String]) -> Case {
        self.until(&Outcome::LetGo, true).await?;
        self.is_gone(left)
    }

    pub fn is_gone(&self, left: &[String]) -> Case {
        let found = inventory(&self.model);
        if found == left { Ok(()) } else { self.wrong(format!("let go, but: {:#?}", differences(left, &found))) }
    }
}

/// What a life without trouble has to show after each wish, and at its end.
pub struct Calm {
    pub first: Vec<String>,
    pub second: Vec<String>,
    pub gone: Vec<String>,
}

impl Calm {
    pub fn live() -> Self {
        in_paused_time(async {
            let model = Model::new(0);
            put_foreign(&model);
            let gone = inventory(&model);
            let mut life = Life::new(&model, first());
            life.until(&Outcome::Verified, false).await.expect("the first wish");
            let first = inventory(&model);
            life.stored.change(second());
            life.until(&Outcome::Verified, false).await.expect("the second wish");
            Calm { first, second: inventory(&model), gone }
        })
    }
}

/// The trouble of one life.
struct Ordeal {
    dice: Dice,
    /// Whether the stranger is still about.
    about: Arc<AtomicBool>,
    /// Whether the stranger took a mark away: it has to be put back before the cluster may go.
    unmarked: bool,
    /// What was altered, in all lives.
    altered: Arc<Alterations>,
}

/// What strangers have altered.
#[derive(Default)]
struct Alterations(Mutex<BTreeSet<&'static str>>);

impl Alterations {
    /// Takes down what was altered, and says it in words.
    fn take_down(&self, altered: Altered) -> String {
        let Some((kind, what)) = altered else { return "nothing is there to be altered".to_owned() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
        format!("{kind}: {what}")
    }
}

#[test]
fn whatever_happens_everything_is_true_in_the_end_and_gone_after_it() {
    let (calm, altered) = (Calm::live(), Arc::<Alterations>::default());
    if for_each_seed(50, |seed| a_life(seed, &calm, altered.clone())) {
        let altered = altered.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(altered.iter().copied().collect::<Vec<_>>(), ALL, "the strangers did all that they can do");
    }
}

async fn a_life(seed: u64, calm: &Calm, altered: Arc<Alterations>) -> Case {
    let model = Model::new(seed);
    put_foreign(&model);
    let others = foreign(&model);
    let about = Arc::new(AtomicBool::new(true));
    let mut trouble = Ordeal { dice: Dice::of(seed), about, unmarked: false, altered };
    let mut life = Life::new(&model, first());
    trouble.begin(&life);
    trouble.passes(&mut life, false).await?;
    let looked_at = trouble.dice.percent(30);
    if looked_at {
        trouble.end(&life);
        life.until_true(&calm.first).await?;
        trouble.begin(&life);
    }
    life.stored.change(second());
    life.note("another wish");
    trouble.passes(&mut life, false).await?;
    // No life goes by without a look at what has become of its wishes.
    if !looked_at || trouble.unmarked || trouble.dice.percent(50) {
        trouble.end(&life);
        life.until_true(&calm.second).await?;
        trouble.unmarked = false;
        trouble.begin(&life);
    }
    life.note("deleted");
    if !trouble.passes(&mut life, true).await? {
        trouble.end(&life);
        life.until_gone(&calm.gone).await?;
    }
    life.is_gone(&calm.gone)?;
    if foreign(&model) == others { Ok(()) } else { life.wrong("something foreign was touched") }
}

impl Ordeal {
    fn begin(&self, life: &Life) {
        let model = &life.model;
        self.about.store(true, Ordering::Relaxed);
        model.add_rule(Rule::always("*", Trouble::Delay(Duration::from_millis(60))));
        model.add_rule(Rule::sometimes("*", 0.005, Trouble::Delay(Duration::from_secs(15))));
        model.add_rule(Rule::sometimes("*", 0.3, Trouble::Throttle));
        model.add_rule(Rule::sometimes("*", 0.05, Trouble::ServerError));
        model.add_rule(Rule::sometimes("*", 0.02, Trouble::LoseAnswer));
        for pattern in LAGGING {
            model.stale_reads(pattern, LAG);
        }
    }

    /// Ends all trouble but the lag of reads.
    fn end(&self, life: &Life) {
        self.about.store(false, Ordering::Relaxed);
        life.model.clear_rules();
        life.model.revive();
    }

    /// Makes some passes; whether the cluster is gone after them.
    async fn passes(&mut self, life: &mut Life, deleted: bool) -> Result<bool, String> {
        for _ in 0..3 + self.dice.below(12) {
            self.send_the_stranger(life, deleted);
            self.threaten(life);
            match life.pass(deleted).await {
                None => life.restart(),
                Some(ended) if ended.outcome == Outcome::LetGo => return Ok(true),
                Some(ended) => self.aftermath(life, ended).await,
            }
        }
        life.model.revive();
        Ok(false)
    }

    /// Now and then the process is to die, in one of the next calls.
    fn threaten(&mut self, life: &Life) {
        if self.dice.percent(25) {
            let after = 1 + self.dice.below(30);
            let (writes_only, takes_effect) = (self.dice.percent(50), self.dice.percent(50));
            life.model.cut_after(Cut { after, writes_only, takes_effect });
        }
    }

    /// Now and then someone alters something, before the pass or in the midst of it.
    fn send_the_stranger(&mut self, life: &mut Life, deleted: bool) {
        if !self.dice.percent(35) {
            return;
        }
        let status = &life.stored.status;
        let seen = status.has_verified("bucket") && status.has_verified("provider");
        let leave = Leave {
            documents: !status.identity().keys.is_empty() && status.has_verified("discovery"),
            marks: seen && !deleted,
        };
        self.unmarked |= leave.marks;
        if self.dice.percent(50) {
            let what = self.altered.take_down(alter(&life.model, &mut self.dice, leave));
            life.note(&format!("someone: {what}"));
            return;
        }
        let (model, about, mut dice) = (life.model.clone(), self.about.clone(), self.dice.clone());
        let altered = self.altered.clone();
        let after = u32::try_from(1 + self.dice.below(12)).unwrap_or(1);
        life.note(&format!("someone comes at call {after}"));
        life.model.on_call("*", after, move || {
            if about.load(Ordering::Relaxed) {
                altered.take_down(alter(&model, &mut dice, leave));
            }
        });
    }

    /// The status is written, or not; the process goes on, or not; the next pass comes when it is due, or before.
    async fn aftermath(&mut self, life: &mut Life, ended: Ended) {
        if self.dice.percent(93) {
            life.stored.status = ended.status;
        }
        if self.dice.percent(7) {
            life.note("the process ended");
            life.restart();
        }
        let caused = self.dice.percent(50).then(|| self.dice.time(Duration::from_secs(8)));
        sleep(caused.map_or(ended.delay, |caused| caused.min(ended.delay))).await;
    }
}
