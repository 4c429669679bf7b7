//! The annotation by which OpenShift is told that a cluster's credentials are ready for the next minor release: what it
//! should say, given what it says and what the roll call says.
//!
//! The Cloud Credential Operator of a cluster in manual mode reports `Upgradeable=False` until the CloudCredential `cluster`
//! carries `cloudcredential.openshift.io/upgradeable-to` with the next version (OpenShift documentation, "Indicating that the
//! cluster is ready to upgrade").

/// The annotation.
pub const UPGRADEABLE_TO: &str = "cloudcredential.openshift.io/upgradeable-to";
/// Our mark beside it: which UpgradeCheck set which value (`namespace/name=value`).
pub const SET_BY: &str = "rolecall.dev/upgradeable-to";

/// What the CloudCredential carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// The annotation's value.
    pub value: Option<String>,
    /// Our mark's value.
    pub set_by: Option<String>,
}

/// What to do about the annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Annotate {
    /// It says so already.
    Right,
    /// Set it.
    Set(Carried),
    /// Withdraw it: we have set it, and it is no longer true.
    Withdraw,
    /// It is not there, rightly.
    Absent,
    /// Someone else has set something newer, or something that is no version.
    Newer(String),
    /// It is not true, and someone else has set it.
    NotOurs(String),
}

/// Decides. `check` is the UpgradeCheck, `namespace/name`.
pub fn decide(carried: &Carried, check: &str, version: &str, ready: bool) -> Annotate {
    let wanted = plain(version);
    let ours = |value: &String| carried.set_by.as_ref() == Some(&format!("{check}={value}"));
    match (&carried.value, ready) {
        (None, false) => Annotate::Absent,
        (Some(value), false) if ours(value) => Annotate::Withdraw,
        (Some(value), false) => Annotate::NotOurs(value.clone()),
        (Some(value), true) if plain(value) == wanted => Annotate::Right,
        (Some(value), true) if !ours(value) && !is_older(value, &wanted) => Annotate::Newer(value.clone()),
        (_, true) => Annotate::Set(Carried { set_by: Some(format!("{check}={wanted}")), value: Some(wanted) }),
    }
}

/// A version without a leading `v` and without what follows a hyphen or a plus.
fn plain(version: &str) -> String {
    let version = version.strip_prefix('v').unwrap_or(version);
    version.split(['-', '+']).next().unwrap_or(version).to_owned()
}

/// Whether a release's version is the one that is meant: `4.18.3-x86_64` is 4.18.3, and also 4.18.
pub fn is_version(version: &str, meant: &str) -> bool {
    match (numbers(&plain(version)), numbers(&plain(meant))) {
        (Some(version), Some(meant)) => version.starts_with(&meant),
        _ => plain(version) == plain(meant),
    }
}

/// Whether a value is a version older than another. What is no version is not.
fn is_older(value: &str, than: &str) -> bool {
    match (numbers(&plain(value)), numbers(than)) {
        (Some(value), Some(than)) => value < than,
        _ => false,
    }
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(value: &str, set_by: Option<&str>) -> Carried {
        Carried { value: Some(value.into()), set_by: set_by.map(Into::into) }
    }

    #[test]
    fn it_is_set_when_true_and_withdrawn_when_it_turns() {
        let set = decide(&Carried::default(), "prod/to-4-18", "v4.18.3", true);
        assert_eq!(set, Annotate::Set(carried("4.18.3", Some("prod/to-4-18=4.18.3"))));
        let ours = carried("4.18.3", Some("prod/to-4-18=4.18.3"));
        assert_eq!(decide(&ours, "prod/to-4-18", "4.18.3", true), Annotate::Right);
        assert_eq!(decide(&ours, "prod/to-4-18", "4.18.3", false), Annotate::Withdraw);
        assert_eq!(decide(&Carried::default(), "prod/to-4-18", "4.18.3", false), Annotate::Absent);
    }

    #[test]
    fn what_a_person_set_is_replaced_only_when_it_is_older_and_withdrawn_never() {
        assert!(matches!(decide(&carried("4.17.9", None), "p/c", "4.18.3", true), Annotate::Set(_)));
        assert!(matches!(decide(&carried("4.17", None), "p/c", "4.18.3", true), Annotate::Set(_)));
        assert_eq!(decide(&carried("v4.18.10", None), "p/c", "4.18.9", true), Annotate::Newer("v4.18.10".into()));
        assert_eq!(decide(&carried("soon", None), "p/c", "4.18.9", true), Annotate::Newer("soon".into()));
        assert_eq!(decide(&carried("4.19.0", None), "p/c", "4.18.9", false), Annotate::NotOurs("4.19.0".into()));
        // Our mark says another value: a person has changed it since.
        let changed = carried("4.19.0", Some("p/c=4.18.9"));
        assert_eq!(decide(&changed, "p/c", "4.18.9", false), Annotate::NotOurs("4.19.0".into()));
        assert_eq!(decide(&changed, "p/c", "4.18.9", true), Annotate::Newer("4.19.0".into()));
    }

    #[test]
    fn an_image_of_another_version_is_not_meant() {
        assert!(is_version("4.18.3-x86_64", "v4.18.3") && is_version("4.18.3", "4.18"));
        assert!(!is_version("4.17.9", "4.18.3") && !is_version("4.18.30", "4.18.3") && !is_version("4.18", "4.18.3"));
    }

    #[test]
    fn a_check_for_an_older_release_takes_its_own_newer_value_back() {
        let ours = carried("4.19.0", Some("p/c=4.19.0"));
        assert_eq!(decide(&ours, "p/c", "4.18.9", true), Annotate::Set(carried("4.18.9", Some("p/c=4.18.9"))));
    }
}
