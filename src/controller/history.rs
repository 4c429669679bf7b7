//! What the passes over each ClusterIdentity leave behind for the timing of the next.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// By ClusterIdentity.
#[derive(Default)]
pub struct History(Mutex<HashMap<String, Past>>);

#[derive(Default)]
struct Past {
    /// Unsettled passes in a row.
    unsettled: u32,
    /// When the next pass is due.
    due: Option<Instant>,
    /// No pass for this generation before this time.
    held: Option<(Option<i64>, Instant)>,
    /// What drifted and was healed: how often, each time soon after the one before it, and when last.
    healed: HashMap<String, (u32, Instant)>,
}

/// From so many on that are gone, they are forgotten.
const MANY_GONE: usize = 100;
/// Drift that was healed so long ago has nothing to do with what drifts now.
const FORGIVEN: Duration = Duration::from_mins(10);

impl History {
    /// Notes when the next pass is due.
    pub fn set_due(&self, identity: &str, wait: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(identity.to_owned()).or_default().due = Some(Instant::now() + wait);
    }

    /// Whether a pass comes because it is due, and not because something happened.
    pub fn is_due(&self, identity: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(identity).and_then(|past| past.due).is_some_and(|due| due <= Instant::now())
    }

    /// Whether the last pass settled, and nothing was healed lately: what the next one changes is looked at at once.
    pub fn is_calm(&self, identity: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(identity).is_none_or(|past| past.unsettled == 0 && past.healed.is_empty())
    }

    /// Counts a pass; how many unsettled ones there were in a row before it. A settled one starts anew.
    pub fn count(&self, identity: &str, unsettled: bool) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let past = all.entry(identity.to_owned()).or_default();
        if !unsettled {
            *past = Past { healed: std::mem::take(&mut past.healed), ..Past::default() };
            return 0;
        }
        let before = past.unsettled;
        past.unsettled = before.saturating_add(1);
        before
    }

    /// Counts what drifted and was healed; how often any of it was before, in a row. Passes that found all well may lie in
    /// between: who writes what Rolecall writes may take its time.
    pub fn heal(&self, identity: &str, drift: &[String]) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let healed = &mut all.entry(identity.to_owned()).or_default().healed;
        healed.retain(|_, (_, at)| at.elapsed() < FORGIVEN);
        let mut most = 0;
        for what in drift {
            let (times, at) = healed.entry(what.clone()).or_insert((0, Instant::now()));
            most = most.max(*times);
            (*times, *at) = (times.saturating_add(1), Instant::now());
        }
        most
    }

    /// Forgets a ClusterIdentity that is gone.
    pub fn forget(&self, identity: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(identity);
    }

    /// Forgets ClusterIdentities that are gone, once there are many more than these.
    pub fn forget_gone(&self, known: usize, is_known: impl Fn(&str) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > MANY_GONE + 2 * known {
            all.retain(|identity, _| is_known(identity));
        }
    }

    /// Holds passes for a generation back for a while; a change of the spec is served at once.
    pub fn hold(&self, identity: &str, generation: Option<i64>, wait: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(identity.to_owned()).or_default().held = Some((generation, Instant::now() + wait));
    }

    /// How long a pass for this generation is still held back.
    pub fn too_soon(&self, identity: &str, generation: Option<i64>) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, until) = all.get(identity)?.held?;
        let wait = until.checked_duration_since(Instant::now())?;
        // The timer may be a little early; that is no event.
        (held == generation && wait > Duration::from_millis(20)).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsettled_passes_are_counted_until_one_settles() {
        let history = History::default();
        assert_eq!([(); 3].map(|()| history.count("a", true)), [0, 1, 2]);
        assert_eq!(history.count("b", true), 0);
        assert_eq!(history.count("a", false), 0);
        assert_eq!(history.count("a", true), 0);
    }

    #[test]
    fn drift_that_is_healed_again_and_again_is_counted_whatever_comes_between() {
        let history = History::default();
        let heals = ["trust", "tags", "trust", "trust"].map(|what| {
            history.count("a", true);
            let before = history.heal("a", &[what.to_owned()]);
            history.count("a", false);
            before
        });
        assert_eq!(heals, [0, 0, 1, 2]);
        history.forget("a");
        assert_eq!(history.heal("a", &["trust".to_owned()]), 0);
    }

    #[test]
    fn it_is_calm_until_something_does_not_settle_or_is_healed() {
        let history = History::default();
        assert!(history.is_calm("a"), "nothing is known of it");
        history.count("a", true);
        assert!(!history.is_calm("a"));
        history.count("a", false);
        assert!(history.is_calm("a"));
        history.heal("a", &["trust".to_owned()]);
        history.count("a", false);
        assert!(!history.is_calm("a"));
    }

    #[test]
    fn a_hold_is_for_one_generation() {
        let history = History::default();
        history.hold("a", Some(1), Duration::from_mins(1));
        assert!(history.too_soon("a", Some(1)).is_some());
        assert!(history.too_soon("a", Some(2)).is_none());
        assert!(history.too_soon("b", Some(1)).is_none());
        history.count("a", false);
        assert!(history.too_soon("a", Some(1)).is_none());
    }
}
