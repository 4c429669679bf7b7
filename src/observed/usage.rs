//! Whether roles are used, as far as AWS tells: the evidence that a component still runs.
//!
//! `RoleLastUsed` comes some four hours late and reaches back 400 days at most; it is null where a role was not used as well as
//! where AWS has not tracked it (IAM API reference, `RoleLastUsed`; IAM User Guide, "Refining permissions using last accessed
//! information").

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Fault, Seen};

/// AWS may not have told the first use of a role that is younger than this.
const UNKNOWN_USE: SignedDuration = SignedDuration::from_hours(5);

/// The last use of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub time: Timestamp,
    /// In which region; empty where AWS does not say.
    pub region: String,
}

impl fmt::Display for LastUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time.strftime("%Y-%m-%dT%H:%M:%SZ"))?;
        if self.region.is_empty() { Ok(()) } else { write!(f, " in {}", self.region) }
    }
}

/// How the roles of an account are used, whoever's they are.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountUse {
    /// Whether AWS tells the use of any role of the account.
    pub any: bool,
    /// The roles whose trust policies name the cluster's OIDC provider, by name; or why that is not known.
    pub trusting: Seen<BTreeSet<String>>,
    /// The names, in lower case, of all roles that are named like the cluster's, whoever's they are.
    pub namesakes: BTreeSet<String>,
}

impl AccountUse {
    /// Nothing was read.
    pub const fn unknown(fault: Fault) -> Self {
        Self { any: false, trusting: Seen::Unknown(fault), namesakes: BTreeSet::new() }
    }
}

/// Why a role counts as used; `None` where it does not. A window of zero asks for no evidence.
pub fn in_use(
    name: &str,
    (created, last_used): (Option<Timestamp>, Option<&LastUse>),
    any_in_account: bool,
    window: Duration,
    now: Timestamp,
) -> Option<String> {
    if window.is_zero() {
        return None;
    }
    if !any_in_account {
        return Some(format!(
            "AWS tells no use of any role of the account, so it is not known whether role {name} is used"
        ));
    }
    let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
    match (last_used, created) {
        (Some(last), _) if now.duration_since(last.time) < window => Some(format!("role {name} was last used {last}")),
        (Some(_), _) => None,
        (None, Some(created)) if now.duration_since(created) >= UNKNOWN_USE => None,
        (None, Some(_)) => Some(format!(
            "role {name} is younger than five hours, and AWS tells the use of a role some four hours late"
        )),
        (None, None) => Some(format!("it is not known when role {name} was made and whether it is used")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn hours_ago(hours: i64) -> Timestamp {
        now().checked_sub(SignedDuration::from_hours(hours)).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-10T00:00:00Z".parse().unwrap()
    }

    fn used(created: i64, last: Option<i64>, any: bool, window: Duration) -> Option<String> {
        let last = last.map(|hours| LastUse { time: hours_ago(hours), region: "eu-west-1".into() });
        in_use("r", (Some(hours_ago(created)), last.as_ref()), any, window, now())
    }

    #[test]
    fn use_within_the_window_and_doubt_hold_a_role() {
        assert_eq!(used(100, Some(3), true, DAY).unwrap(), "role r was last used 2026-01-09T21:00:00Z in eu-west-1");
        assert_eq!(used(100, Some(25), true, DAY), None);
        assert_eq!(used(6, None, true, DAY), None);
        assert!(used(4, None, true, DAY).unwrap().contains("younger than five hours"));
        assert!(used(100, None, false, DAY).unwrap().contains("no use of any role"));
        assert_eq!(used(1, Some(0), false, Duration::ZERO), None);
        assert!(in_use("r", (None, None), true, DAY, now()).is_some());
    }
}
