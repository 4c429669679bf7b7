//! What was called how often, and with what result.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Counters of the model.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// By operation (`iam:GetRole`) and outcome: `ok`, AWS's error code, or `lost` (no answer).
    pub calls: BTreeMap<(&'static str, Cow<'static, str>), u64>,
    /// Calls that were made to read something, whatever came of them.
    pub reads: u64,
    /// Calls that were made to change something, whatever came of them.
    pub writes: u64,
    /// Most calls under way at one time.
    pub most_in_flight: usize,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The operation, `iam:GetRole`.
    pub op: &'static str,
    /// The account of the caller; empty when nobody signed.
    pub account: String,
    /// The role, provider, bucket or object; empty when the call is about none in particular.
    pub target: String,
    /// As in [`Counts::calls`].
    pub outcome: Cow<'static, str>,
}

impl Counts {
    /// How many calls match a pattern (`iam:CreateRole`, `s3:*`), whatever came of them.
    pub fn of(&self, pattern: &str) -> u64 {
        let matching = self.calls.iter().filter(|((op, _), _)| super::operation::matches(pattern, op));
        matching.map(|(_, count)| count).sum()
    }

    /// How many calls that match a pattern had this outcome.
    pub fn with_outcome(&self, pattern: &str, outcome: &str) -> u64 {
        let fits = |op: &str, result: &str| result == outcome && super::operation::matches(pattern, op);
        self.calls.iter().filter(|((op, result), _)| fits(op, result)).map(|(_, count)| count).sum()
    }

    /// All calls.
    pub fn total(&self) -> u64 {
        self.reads + self.writes
    }

    pub(super) fn count(&mut self, op: &'static str, write: bool, outcome: Cow<'static, str>) {
        *self.calls.entry((op, outcome)).or_default() += 1;
        if write {
            self.writes += 1;
        } else {
            self.reads += 1;
        }
    }
}
