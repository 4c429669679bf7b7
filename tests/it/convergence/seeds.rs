//! Many cases from many seeds, each in a runtime of its own whose time does not pass.

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many cases run side by side.
const THREADS: usize = 2;
/// The futures of the SDK are large where nothing is optimised.
const STACK: usize = 8 * 1024 * 1024;

/// What came of a case, or what is wrong.
pub type Case = Result<(), String>;

/// Of more seeds than by default, so many may fail before the others are given up: a night is long.
const FAILURES_OF_A_NIGHT: usize = 20;

/// Runs a case for every seed until one fails, or some of many. Whether these were as many as are run by default, or more:
/// enough to ask what happened in all of them together.
pub fn for_each_seed<F: Future<Output = Case>>(default: u64, case: impl Fn(u64) -> F + Sync) -> bool {
    let seeds = seeds(default);
    assert!(!seeds.is_empty(), "there is no seed in {seeds:?}");
    let most = if seeds.end - seeds.start > default { FAILURES_OF_A_NIGHT } else { 1 };
    let failures = side_by_side(seeds.clone(), most, |seed| {
        let again = format!("ROLECALL_SEEDS={seed}..{}", seed + 1);
        in_paused_time(case(seed)).map_err(|why| format!("{again}: {why}"))
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    seeds.end - seeds.start >= default
}

/// Runs all cases, told apart by numbers from 0.
pub fn for_each_case<F: Future<Output = Case>>(count: u64, case: impl Fn(u64) -> F + Sync) {
    let failures = side_by_side(0..count, usize::MAX, |number| in_paused_time(case(number)));
    let some: Vec<&String> = failures.iter().take(3).collect();
    assert!(failures.is_empty(), "{} of {count} cases failed, among them {some:#?}", failures.len());
}

/// Runs numbered cases on some threads, until so many failed; what is wrong with those.
fn side_by_side(numbers: Range<u64>, most_failures: usize, case: impl Fn(u64) -> Case + Sync) -> Vec<String> {
    let failures = Mutex::new(Vec::new());
    let failed = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    let next = AtomicU64::new(numbers.start);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end || failed().len() >= most_failures {
                return;
            }
            if let Err(why) = case(number) {
                failed().push(why);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = [(); THREADS].map(|()| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work));
        for thread in threads {
            thread.expect("a thread").join().expect("a case that does not panic");
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one future in a runtime of its own.
pub fn in_paused_time<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(Box::pin(future))
}

fn seeds(default: u64) -> Range<u64> {
    let number = |text: &str| text.trim().parse().expect("ROLECALL_SEEDS is a number or a range like 17..18");
    match std::env::var("ROLECALL_SEEDS").ok().as_deref() {
        None => 0..default,
        Some(range) => match range.split_once("..") {
            Some((from, to)) => number(from)..number(to),
            None => 0..number(range),
        },
    }
}

/// splitmix64, as the model's own chance.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0, below the bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    /// Whether something happens that happens so often in a hundred.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// One of several.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(choices.len()).unwrap_or(0);
        let at = self.below(count);
        choices.get(usize::try_from(at).unwrap_or(0))
    }

    /// A time up to this one.
    pub fn time(&mut self, most: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(most.as_millis()).unwrap_or(u64::MAX)))
    }
}
