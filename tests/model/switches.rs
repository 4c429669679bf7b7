//! What can be made to go wrong, and when. Chance comes from a seed: the same calls in the same order meet the same
//! trouble.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::operation::matches;

/// Trouble for calls that match.
#[derive(Debug, Clone)]
pub struct Rule {
    pattern: String,
    trouble: Trouble,
    probability: f64,
    times: Option<u32>,
}

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// "Too fast" in the service's words; nothing happens.
    Throttle,
    /// HTTP 500 in the service's words; nothing happens.
    ServerError,
    /// `AccessDenied` in AWS's words; nothing happens. Fits IAM actions too: `s3:PutObjectTagging`, `s3:ListBucket`.
    Deny,
    /// This error; nothing happens.
    Refuse { status: u16, code: &'static str, message: &'static str },
    /// The connection breaks before the call takes effect.
    LoseRequest,
    /// The connection breaks after the call took effect.
    LoseAnswer,
    /// The call takes this much longer: half before it takes effect, half after.
    Delay(Duration),
}

impl Rule {
    /// Trouble for every call that matches: `iam:CreateRole`, `s3:*`, `*Policy*`.
    pub fn always(pattern: &str, trouble: Trouble) -> Self {
        Rule { pattern: pattern.to_owned(), trouble, probability: 1.0, times: None }
    }

    /// Trouble for a share of the calls that match.
    pub fn sometimes(pattern: &str, probability: f64, trouble: Trouble) -> Self {
        Rule { probability, ..Rule::always(pattern, trouble) }
    }

    /// Trouble for the next `times` calls that match.
    pub fn times(pattern: &str, times: u32, trouble: Trouble) -> Self {
        Rule { times: Some(times), ..Rule::always(pattern, trouble) }
    }
}

/// How many calls per second an account may make, from a token bucket.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub reads_per_second: f64,
    pub writes_per_second: f64,
    /// How many calls may come at once after a pause, of each kind.
    pub burst: f64,
}

/// When the caller dies.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// The number of the call, from 1, from now.
    pub after: u64,
    /// Whether only calls that change something are counted.
    pub writes_only: bool,
    /// Whether that call still takes effect. Its answer never comes.
    pub takes_effect: bool,
}

/// splitmix64: small, and good enough for trouble.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn from_seed(seed: u64) -> Self {
        Chance(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn comes(&mut self, probability: f64) -> bool {
        if probability >= 1.0 {
            return true;
        }
        let share = u32::try_from(self.next() >> 32).unwrap_or_default();
        f64::from(share) < probability * f64::from(u32::MAX)
    }
}

/// All switches of a model, as they stand.
#[derive(Debug)]
pub struct Switches {
    pub chance: Chance,
    pub rules: Vec<Rule>,
    pub rates: Vec<(String, Rate)>,
    tokens: HashMap<(usize, String, bool), (Instant, f64)>,
    /// How old the state is that reads see, by operation. The last that matches counts.
    pub stale: Vec<(String, Duration)>,
    pub page_size: Option<usize>,
    pub cut: Option<Cut>,
    /// Whether the caller is dead.
    pub dead: bool,
    /// How often the caller came back to life: answers of an earlier life never come.
    pub life: u64,
}

impl Switches {
    pub fn new(seed: u64) -> Self {
        Switches {
            chance: Chance::from_seed(seed),
            rules: Vec::new(),
            rates: Vec::new(),
            tokens: HashMap::new(),
            stale: Vec::new(),
            page_size: None,
            cut: None,
            dead: false,
            life: 0,
        }
    }

    /// How much longer a call takes: all delays that match, together.
    pub fn delay(&mut self, op: &str) -> Duration {
        let mut total = Duration::ZERO;
        for rule in &mut self.rules {
            if let Trouble::Delay(delay) = rule.trouble
                && fires(rule, &mut self.chance, &[op])
            {
                total += delay;
            }
        }
        total
    }

    /// The first trouble for a call, other than a delay. `actions` are the IAM actions that it needs.
    pub fn trouble(&mut self, op: &str, actions: &[&'static str]) -> Option<(Trouble, Option<&'static str>)> {
        for rule in &mut self.rules {
            match rule.trouble {
                Trouble::Delay(_) => {}
                Trouble::Deny => {
                    let own = matches(&rule.pattern, op).then(|| actions.first()).flatten();
                    let denied = own.or_else(|| actions.iter().find(|action| matches(&rule.pattern, action))).copied();
                    if let Some(action) = denied
                        && fires(rule, &mut self.chance, &[op, action])
                    {
                        return Some((Trouble::Deny, Some(action)));
                    }
                }
                _ => {
                    if fires(rule, &mut self.chance, &[op]) {
                        return Some((rule.trouble.clone(), None));
                    }
                }
            }
        }
        None
    }

    /// Whether an account calls faster than it may; if not, this call is paid for.
    pub fn too_fast(&mut self, op: &str, write: bool, account: &str, now: Instant) -> bool {
        let Some(index) = self.rates.iter().position(|(pattern, _)| matches(pattern, op)) else { return false };
        let rate = self.rates[index].1;
        let per_second = if write { rate.writes_per_second } else { rate.reads_per_second };
        let bucket = self.tokens.entry((index, account.to_owned(), write)).or_insert((now, rate.burst));
        let refilled = bucket.1 + now.saturating_duration_since(bucket.0).as_secs_f64() * per_second;
        let tokens = refilled.min(rate.burst);
        // Rounding must not cost a call that is due to the second.
        let pays = tokens > 1.0 - 1e-6;
        *bucket = (now, if pays { tokens - 1.0 } else { tokens });
        !pays
    }

    /// How old the state is that a read sees.
    pub fn staleness(&self, op: &str) -> Duration {
        let last = self.stale.iter().rev().find(|(pattern, _)| matches(pattern, op));
        last.map_or(Duration::ZERO, |(_, age)| *age)
    }

    /// The oldest state that any read may ask for.
    pub fn horizon(&self) -> Duration {
        self.stale.iter().map(|(_, age)| *age).max().unwrap_or_default()
    }

    /// Counts a call towards the cut; the cut, when this is the one.
    pub fn cuts(&mut self, write: bool) -> Option<Cut> {
        let cut = self.cut.as_mut().filter(|cut| write || !cut.writes_only)?;
        cut.after -= 1;
        (cut.after == 0).then(|| self.cut.take()).flatten()
    }

    /// Limits the rate of calls that match, with full buckets to begin with.
    pub fn limit_rate(&mut self, pattern: &str, rate: Rate) {
        self.rates.retain(|(known, _)| known != pattern);
        self.rates.push((pattern.to_owned(), rate));
        self.tokens.clear();
    }
}

fn fires(rule: &mut Rule, chance: &mut Chance, names: &[&str]) -> bool {
    let fits = rule.times != Some(0) && names.iter().any(|name| matches(&rule.pattern, name));
    if !fits || !chance.comes(rule.probability) {
        return false;
    }
    rule.times = rule.times.map(|times| times - 1);
    true
}
