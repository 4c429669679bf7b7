//! What the listings of an account tell of the use of its roles, whoever's they are.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::primitives::DateTime;
use aws_sdk_iam::types::RoleLastUsed;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::observed::LastUse;

/// The use of all roles of an account.
#[derive(Debug, Clone, Default)]
pub struct RoleUsage {
    /// Whether AWS tells the use of any of them.
    any: bool,
    /// The roles whose trust policies name an OIDC provider, by the provider's host and path.
    trusting: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

/// What stands before the host and path of a provider in its ARN.
const PROVIDER: &str = ":oidc-provider/";

impl RoleUsage {
    /// Notes a role of a listing; its trust policy may be percent-encoded.
    pub(super) fn note(&mut self, name: &str, trust: Option<&str>, last_used: Option<&LastUse>) {
        self.any |= last_used.is_some();
        let trust = percent_decode_str(trust.unwrap_or_default()).decode_utf8_lossy();
        // That the text names the provider is enough: what cannot be parsed may trust it.
        for part in trust.split(PROVIDER).skip(1) {
            let provider = part.split(['"', '\\']).next().unwrap_or_default();
            self.trusting.entry(provider.into()).or_default().insert(name.into());
        }
    }

    /// Whether AWS tells the use of any role of the account.
    pub const fn any(&self) -> bool {
        self.any
    }

    /// The names of the roles whose trust policies name the provider of this host and path.
    pub fn trusting(&self, provider: &str) -> BTreeSet<String> {
        self.trusting.get(provider).into_iter().flatten().map(ToString::to_string).collect()
    }
}

/// The last use of a role, where AWS tells one.
pub(super) fn last_use(told: Option<&RoleLastUsed>) -> Option<LastUse> {
    let told = told?;
    let time = timestamp(told.last_used_date.as_ref())?;
    Some(LastUse { time, region: told.region.clone().unwrap_or_default() })
}

/// A time of the SDK, to the second.
pub(super) fn timestamp(time: Option<&DateTime>) -> Option<Timestamp> {
    // What was never set is the beginning of time in some answers.
    time.and_then(|time| Timestamp::from_second(time.secs()).ok()).filter(|time| *time > Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_known_by_the_providers_that_their_trust_policies_name() {
        let mut usage = RoleUsage::default();
        let plain =
            r#"{"Principal":{"Federated":["arn:aws:iam::1:oidc-provider/a/b","arn:aws:iam::1:oidc-provider/c"]}}"#;
        usage.note("one", Some(plain), None);
        usage.note("two", Some("%7B%22Federated%22%3A%22arn%3Aaws%3Aiam%3A%3A1%3Aoidc-provider%2Fc%22%7D"), None);
        usage.note("three", None, None);
        assert_eq!(usage.trusting("c").into_iter().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(usage.trusting("a/b").len(), 1);
        assert!(usage.trusting("a").is_empty() && !usage.any());
        let used = LastUse { time: Timestamp::UNIX_EPOCH, region: String::new() };
        usage.note("four", None, Some(&used));
        assert!(usage.any());
    }
}
