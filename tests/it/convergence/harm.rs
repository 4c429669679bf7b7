//! No mistake that people make takes away what works. Clusters run, people make mistakes by name and correct them, the process
//! dies now and then, clocks jump; after every single write to AWS and to a Secret an oracle, which knows nothing of Rolecall's
//! code, is asked whether a component has lost what it had, and whether anything was deleted that does not carry the mark of
//! the ClusterIdentity. In the end everything converges.
//!
//! What AWS, or a person, takes away is no loss of Rolecall's: the oracle judges the state before a write against that after it.

#![allow(clippy::unnecessary_wraps, reason = "all mistakes have one signature")]

mod aws;
mod mistakes;
mod oracle;
mod requests;
mod spec;
mod trial;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mistakes::ALL;
use trial::Trial;

use super::seeds::{Case, Dice, for_each_seed};

/// How often each mistake was made.
type Counts = Mutex<BTreeMap<&'static str, u32>>;

/// As many histories as make every mistake several times.
const HISTORIES: u64 = 160;

#[test]
fn no_mistake_takes_away_what_works_and_once_corrected_everything_converges() {
    let counts = Counts::default();
    let enough = for_each_seed(HISTORIES, |seed| history(seed, &counts));
    let counts = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<String> = counts.iter().map(|(name, count)| format!("{count:6} {name}")).collect();
    #[allow(clippy::print_stdout, reason = "how often each mistake was made is to be seen")]
    {
        println!("{}", lines.join("\n"));
    }
    let never: Vec<&str> = ALL.iter().map(|(name, _)| *name).filter(|name| !counts.contains_key(name)).collect();
    assert!(!enough || never.is_empty(), "mistakes that nobody made: {never:?}");
}

/// A cluster that runs, one to four mistakes, and their correction.
async fn history(seed: u64, counts: &Counts) -> Case {
    let mut dice = Dice::of(seed);
    let mut trial = Trial::running(seed, &mut dice).await?;
    let mut undone: Vec<mistakes::Undo> = Vec::new();
    // Every mistake has its turn; the others come by chance.
    let first = usize::try_from(seed).unwrap_or(0) % ALL.len();
    for number in 0..=dice.below(4) {
        let by_chance = usize::try_from(dice.below(ALL.len() as u64)).unwrap_or(0);
        let (name, make) = ALL[if number == 0 { first } else { by_chance }];
        let Some(undo) = make(&mut trial, &mut dice) else { continue };
        trial.note(&format!("MISTAKE: {name}"));
        *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        undone.push(undo);
        if dice.percent(12) {
            mistakes::clock(&mut trial, &mut dice);
            *counts.lock().unwrap_or_else(PoisonError::into_inner).entry("a clock that is wrong").or_default() += 1;
        }
        trial.passes(&mut dice).await?;
        if dice.percent(30) {
            trial.rest(&mut dice).await?;
        }
    }
    trial.note("all is corrected");
    while let Some(undo) = undone.pop() {
        undo(&mut trial);
    }
    trial.correct();
    trial.converges().await
}
