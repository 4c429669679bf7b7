//! Consents: annotations of a ClusterIdentity whose value names what may be taken away.

use std::collections::BTreeMap;

use crate::api::{ALLOW_NARROWING, CONFIRM_DELETION, REMOVE_KEYS, REPLACE_ISSUER, TAKE_OVER_FROM};

/// What consent calls the IAM OIDC provider.
pub const PROVIDER: &str = "oidc-provider";

/// The consents of a ClusterIdentity, by annotation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consents(BTreeMap<&'static str, String>);

/// Every annotation that is a consent.
pub const ALL: [&str; 5] = [TAKE_OVER_FROM, CONFIRM_DELETION, REPLACE_ISSUER, ALLOW_NARROWING, REMOVE_KEYS];

impl Consents {
    /// The consents among annotations.
    pub fn of(annotations: &BTreeMap<String, String>) -> Self {
        let given = |key: &'static str| Some((key, annotations.get(key)?.trim().to_owned()));
        Self(ALL.into_iter().filter_map(given).filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The consents that were given, annotation and value.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// What a consent names.
    pub fn named(&self, consent: &str) -> impl Iterator<Item = &str> {
        let value = self.0.get(consent).map(String::as_str).unwrap_or_default();
        value.split([',', ' ', '\n']).map(str::trim).filter(|name| !name.is_empty())
    }

    /// Whether a consent names this.
    pub fn names(&self, consent: &str, what: &str) -> bool {
        self.named(consent).any(|named| named == what)
    }

    /// Whether what this value names may be taken from a role or from the provider: `<role>/<digest>` or `oidc-provider/<digest>`,
    /// as the status says it.
    pub fn allows_narrowing(&self, value: &str) -> bool {
        self.named(ALLOW_NARROWING).any(|named| named.eq_ignore_ascii_case(value))
    }

    /// Whether a deletion is confirmed by this value.
    pub fn confirms_deletion(&self, value: &str) -> bool {
        self.names(CONFIRM_DELETION, value)
    }

    /// Whether a published key is to be removed.
    pub fn removes_key(&self, kid: &str) -> bool {
        self.names(REMOVE_KEYS, kid)
    }

    /// Whether the issuer that is in force may be replaced.
    pub fn replaces_issuer(&self, in_force: &str) -> bool {
        self.named(REPLACE_ISSUER).any(|named| named.trim_end_matches('/') == in_force.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consent_is_for_what_it_names() {
        let annotations = BTreeMap::from([
            (ALLOW_NARROWING.to_owned(), "role-a/1, role-b/2".to_owned()),
            (REPLACE_ISSUER.to_owned(), "https://old/".to_owned()),
            (REMOVE_KEYS.to_owned(), " ".to_owned()),
        ]);
        let consents = Consents::of(&annotations);
        assert!(consents.allows_narrowing("Role-A/1") && consents.allows_narrowing("role-b/2"));
        assert!(!consents.allows_narrowing("role-a") && !consents.allows_narrowing("role-b/1"));
        assert!(!consents.removes_key(""));
        assert!(consents.replaces_issuer("https://old") && !consents.replaces_issuer("https://new"));
        assert_eq!(consents.given().count(), 2);
    }
}
