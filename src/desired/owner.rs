//! Who owns a resource: Rolecall's mark, and what it says to a ClusterIdentity.
//!
//! ccoctl's tag says only for which cluster a resource was made, by whoever. Rolecall's mark says which ClusterIdentity of which
//! management cluster has made it or has verified it, and nothing is deleted without it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::secret::SecretKey;

/// Key of the tag, and of a Secret's annotation, that holds the mark.
pub const OWNER_MARK: &str = "rolecall.dev/owner";

/// A ClusterIdentity of a management cluster, by the uids that Kubernetes gives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The uid of the management cluster's namespace `kube-system`.
    pub cluster: String,
    /// The uid of the ClusterIdentity.
    pub identity: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.cluster, self.identity)
    }
}

impl Owner {
    /// Reads a mark; `None` for a text that is none.
    pub fn read(mark: &str) -> Option<Self> {
        let (cluster, identity) = mark.split_once('.')?;
        let is_uid = |text: &str| {
            !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        (is_uid(cluster) && is_uid(identity))
            .then(|| Self { cluster: cluster.to_owned(), identity: identity.to_owned() })
    }

    /// The mark of a Secret, which also says where it belongs: a copy elsewhere is nobody's.
    pub fn mark_of_secret(&self, key: &SecretKey) -> String {
        format!("{self}:{key}")
    }
}

/// The mark of a Secret without its place; `None` for a copy, whose mark names another place.
pub fn secret_mark<'a>(mark: &'a str, key: &SecretKey) -> Option<&'a str> {
    let (owner, place) = mark.split_once(':')?;
    (place == key.to_string()).then_some(owner)
}

/// The mark among tags. IAM compares keys without regard to case.
pub fn mark_in(tags: &BTreeMap<String, String>) -> Option<&String> {
    tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(OWNER_MARK)).map(|(_, mark)| mark)
}

/// What a ClusterIdentity knows of owners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// Itself; `None` without a management cluster, where marks hinder nothing.
    pub own: Option<Owner>,
    /// The other ClusterIdentities of the management cluster, uid to `namespace/name`.
    pub others: BTreeMap<String, String>,
    /// Whether those are all there are: Rolecall watches all namespaces and has seen them.
    pub complete: bool,
    /// Uids of the `kube-system` namespaces of management clusters whose marks may be taken over.
    pub take_over_from: BTreeSet<String>,
}

/// Whose a resource is by its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// It carries no mark.
    Nobody,
    /// It carries the ClusterIdentity's own mark.
    Own,
    /// It carries a mark that may be taken over: of a ClusterIdentity that exists no longer, or of a management cluster that was
    /// named.
    Former,
    /// It carries the mark of another ClusterIdentity of this management cluster.
    OtherIdentity {
        /// Which.
        owner: Owner,
        /// Its `namespace/name`, where it is seen.
        name: Option<String>,
    },
    /// It carries the mark of another management cluster.
    OtherCluster(Owner),
    /// It carries a mark that cannot be read, which counts as another's.
    Unreadable(String),
}

impl Owners {
    /// Whose a resource with this mark is.
    pub fn holder(&self, mark: Option<&str>) -> Holder {
        let (Some(own), Some(mark)) = (&self.own, mark) else { return Holder::Nobody };
        let Some(owner) = Owner::read(mark) else { return Holder::Unreadable(mark.chars().take(200).collect()) };
        if owner == *own {
            return Holder::Own;
        }
        if owner.cluster != own.cluster {
            return if self.take_over_from.contains(&owner.cluster) {
                Holder::Former
            } else {
                Holder::OtherCluster(owner)
            };
        }
        match self.others.get(&owner.identity) {
            Some(name) => Holder::OtherIdentity { name: Some(name.clone()), owner },
            // Who names its own management cluster says that the ClusterIdentity is gone that this one cannot see to be.
            None if self.complete || self.take_over_from.contains(&own.cluster) => Holder::Former,
            None => Holder::OtherIdentity { name: None, owner },
        }
    }

    /// Whose a resource with these tags is.
    pub fn holder_by_tags(&self, tags: &BTreeMap<String, String>) -> Holder {
        self.holder(mark_in(tags).map(String::as_str))
    }

    /// The mark that resources are to carry.
    pub fn mark(&self) -> Option<String> {
        self.own.as_ref().map(ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(complete: bool) -> Owners {
        Owners {
            own: Some(Owner { cluster: "here".into(), identity: "me".into() }),
            others: BTreeMap::from([("you".into(), "n/you".into())]),
            complete,
            take_over_from: BTreeSet::from(["old".into()]),
        }
    }

    #[test]
    fn a_mark_says_whose_a_resource_is() {
        let known = owners(true);
        let holder = |mark| known.holder(Some(mark));
        assert_eq!(known.holder(None), Holder::Nobody);
        assert_eq!(holder("here.me"), Holder::Own);
        assert!(matches!(holder("here.you"), Holder::OtherIdentity { name: Some(name), .. } if name == "n/you"));
        assert_eq!(holder("here.gone"), Holder::Former);
        assert_eq!(holder("old.any"), Holder::Former);
        assert!(matches!(holder("there.any"), Holder::OtherCluster(_)));
        for mark in ["", "here", "here.", "here.a.b c", "here.me:x"] {
            assert!(matches!(holder(mark), Holder::Unreadable(_)), "{mark:?}");
        }
    }

    #[test]
    fn an_identity_that_is_not_seen_is_gone_only_where_all_are_seen() {
        assert!(matches!(owners(false).holder(Some("here.gone")), Holder::OtherIdentity { name: None, .. }));
        let mut named = owners(false);
        named.take_over_from.insert("here".into());
        assert_eq!(named.holder(Some("here.gone")), Holder::Former);
        assert!(matches!(named.holder(Some("here.you")), Holder::OtherIdentity { .. }));
        assert_eq!(Owners::default().holder(Some("there.any")), Holder::Nobody);
    }

    #[test]
    fn a_copy_of_a_secret_is_nobodys() {
        let (owner, key) = (owners(true).own.unwrap(), SecretKey { namespace: "n".into(), name: "s".into() });
        let mark = owner.mark_of_secret(&key);
        assert_eq!(secret_mark(&mark, &key), Some("here.me"));
        assert_eq!(secret_mark(&mark, &SecretKey { name: "copy".into(), ..key }), None);
    }
}
