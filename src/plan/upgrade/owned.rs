//! Which live roles are a cluster's, and of which Secrets: what tags, descriptions and trust policies tell.

use std::collections::{BTreeMap, BTreeSet};

use super::InForce;
use crate::desired::names::{ROLE_NAME_MAX, full_role_name, owner_tag_key};
use crate::desired::secret::SecretKey;
use crate::observed::ReadPolicy;
use crate::policy::{Document, Effect};

/// What is known of a role beside its policies.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its tags.
    pub tags: &'a BTreeMap<String, String>,
    /// Its description, where it was read.
    pub description: &'a str,
    /// Its trust policy.
    pub trust: &'a ReadPolicy,
}

/// The roles whose names begin as a cluster's do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owned {
    /// Those that carry the cluster's tag.
    pub in_force: Vec<InForce>,
    /// Those that are not known to be the cluster's, by name in lower case, with the reason.
    pub others: BTreeMap<String, String>,
}

impl Owned {
    /// Takes a role in.
    pub fn add(&mut self, infra_name: &str, role: About<'_>) {
        let tag = owner_tag_key(infra_name);
        if role.tags.contains_key(&tag) {
            self.in_force.push(InForce { secret: secret(infra_name, role), role: role.name.to_owned() });
        } else {
            self.others
                .insert(role.name.to_ascii_lowercase(), format!("it has no tag {tag}, which the cluster's roles have"));
        }
    }
}

fn secret(infra_name: &str, role: About<'_>) -> Option<SecretKey> {
    let by_trust = || secret_by_trust(infra_name, role.name, role.trust.as_ref().ok()?);
    secret_by_description(role.description).or_else(by_trust)
}

/// The Secret that a description names, as ccoctl and Rolecall write it.
fn secret_by_description(description: &str) -> Option<SecretKey> {
    let (namespace, name) = description.strip_prefix("OpenShift role for ")?.split_once('/')?;
    Some(SecretKey { namespace: namespace.into(), name: name.into() })
}

/// A role's name alone does not tell where the Secret's namespace ends; its service accounts are in that namespace. A name
/// as long as a name can be may have been cut.
fn secret_by_trust(infra_name: &str, role: &str, trust: &Document) -> Option<SecretKey> {
    if role.len() >= ROLE_NAME_MAX {
        return None;
    }
    let secret = |namespace: &str| {
        let name = role.strip_prefix(&full_role_name(infra_name, namespace, ""))?;
        (!name.is_empty()).then(|| SecretKey { namespace: namespace.to_owned(), name: name.to_owned() })
    };
    let mut secrets = namespaces(trust).into_iter().filter_map(secret);
    match (secrets.next(), secrets.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// The namespaces of the service accounts that a trust policy admits by name.
fn namespaces(trust: &Document) -> BTreeSet<&str> {
    let allowed = trust.statements.iter().filter(|statement| statement.effect == Effect::Allow);
    let subjects = allowed.flat_map(|statement| &statement.conditions).filter(|test| {
        let operator = test.operator.to_ascii_lowercase();
        matches!(operator.as_str(), "stringequals" | "stringlike") && test.key.to_ascii_lowercase().ends_with(":sub")
    });
    subjects.flat_map(|test| &test.values).filter_map(|subject| namespace_of(subject)).collect()
}

fn namespace_of(subject: &str) -> Option<&str> {
    let (namespace, _) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusting(conditions: &str) -> Document {
        Document::parse(&format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Principal": {{"Federated": "p"}}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {conditions}}}}}"#
        ))
        .unwrap()
    }

    fn told(role: &str, conditions: &str) -> Option<String> {
        secret_by_trust("prod", role, &trusting(conditions)).map(|secret| secret.to_string())
    }

    #[test]
    fn the_namespace_of_the_service_accounts_tells_where_a_name_is_parted() {
        let sub = |subjects: &str| format!(r#"{{"StringEquals": {{"issuer:sub": {subjects}}}}}"#);
        let one = sub(r#""system:serviceaccount:openshift-a:x""#);
        assert_eq!(told("prod-openshift-a-cloud-creds", &one).as_deref(), Some("openshift-a/cloud-creds"));
        let many = sub(r#"["system:serviceaccount:openshift-a:x", "system:serviceaccount:openshift-a:y", "z"]"#);
        assert_eq!(told("prod-openshift-a-cloud-creds", &many).as_deref(), Some("openshift-a/cloud-creds"));
        let like = r#"{"StringLike": {"issuer:sub": "system:serviceaccount:openshift-a:*"}}"#;
        assert_eq!(told("prod-openshift-a-b", like).as_deref(), Some("openshift-a/b"));
    }

    #[test]
    fn what_does_not_tell_tells_nothing() {
        let sub = |subjects: &str| format!(r#"{{"StringEquals": {{"issuer:sub": {subjects}}}}}"#);
        let one = sub(r#""system:serviceaccount:openshift-a:x""#);
        for role in ["prod-openshift-b-creds", "prod-openshift-a-", "prod-openshift-a", "other-openshift-a-creds"] {
            assert_eq!(told(role, &one), None, "{role}");
        }
        let cut = format!("prod-openshift-a-{}", "c".repeat(ROLE_NAME_MAX - "prod-openshift-a-".len()));
        assert_eq!(told(&cut, &one), None, "it may have been cut");
        assert!(told(&cut[..ROLE_NAME_MAX - 1], &one).is_some());
        let both = sub(r#"["system:serviceaccount:openshift:x", "system:serviceaccount:openshift-a:x"]"#);
        assert_eq!(told("prod-openshift-a-creds", &both), None, "two ways to part it");
        let but = r#"{"StringNotEquals": {"issuer:sub": "system:serviceaccount:openshift-a:x"}}"#;
        assert_eq!(told("prod-openshift-a-creds", but), None);
    }

    #[test]
    fn a_role_without_the_tag_is_another() {
        let (trust, mut tags) = (Ok(trusting("{}")), BTreeMap::new());
        let mut owned = Owned::default();
        owned.add("prod", About { name: "prod-X", tags: &tags, description: "", trust: &trust });
        tags.insert(owner_tag_key("prod"), "owned".to_owned());
        let description = "OpenShift role for a/b";
        owned.add("prod", About { name: "prod-Y", tags: &tags, description, trust: &trust });
        assert_eq!(owned.others.keys().collect::<Vec<_>>(), ["prod-x"]);
        let secret = Some(SecretKey { namespace: "a".into(), name: "b".into() });
        assert_eq!(owned.in_force, [InForce { secret, role: "prod-Y".into() }]);
    }
}
