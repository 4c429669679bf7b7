//! What is refused before any write, whoever asks for it: guardrails, limits, collisions.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::request::{ReadRequest, RequestId, RequestRefused};
use super::role::DesiredRole;
use super::secret::SecretKey;
use crate::api::cluster_identity::Guardrails;
use crate::policy::Effect;
use crate::policy::pattern::{actions_contain, matches};

/// Characters of all inline policies of a role together, without white space (IAM quota, not raisable).
pub const INLINE_POLICY_LIMIT: usize = 10_240;
/// Characters of a trust policy by default; the account's own quota may be larger.
pub const DEFAULT_TRUST_LIMIT: usize = 2_048;

/// Checks a request against the guardrails of its ClusterIdentity.
pub fn check(guardrails: &Guardrails, request: &ReadRequest) -> Result<(), RequestRefused> {
    let namespace = &request.secret.namespace;
    if !allows_namespace(guardrails, namespace) {
        return Err(RequestRefused::NamespaceNotAllowed {
            namespace: namespace.clone(),
            allowed: guardrails.allowed_secret_namespaces.join(", "),
        });
    }
    for guardrail in &guardrails.denied_actions {
        check_actions(guardrail, request)?;
    }
    Ok(())
}

/// Whether Secrets may be written to a namespace.
pub fn allows_namespace(guardrails: &Guardrails, namespace: &str) -> bool {
    is_among(&guardrails.allowed_secret_namespaces, namespace)
}

/// Whether a namespace is among these (with `*` and `?`).
pub fn is_among(namespaces: &[String], namespace: &str) -> bool {
    namespaces.iter().any(|pattern| matches(pattern, namespace))
}

/// Refuses actions that allow all that a guardrail names, alone or together.
fn check_actions(guardrail: &str, request: &ReadRequest) -> Result<(), RequestRefused> {
    let allowing = request.statements.iter().enumerate().filter(|(_, entry)| entry.effect == Effect::Allow);
    let actions: Vec<(usize, &String)> =
        allowing.flat_map(|(index, entry)| entry.actions.iter().map(move |action| (index, action))).collect();
    // A question too large to decide counts as yes.
    let asks_for = |actions: &[String]| actions_contain(actions, guardrail).unwrap_or(true);
    let alone = actions.iter().find(|(_, action)| asks_for(std::slice::from_ref(*action)));
    let refusal =
        |index: usize, action: String| RequestRefused::DeniedAction { index, action, guardrail: guardrail.into() };
    if let Some((index, action)) = alone {
        return Err(refusal(*index, (*action).clone()));
    }
    let all: Vec<String> = actions.iter().map(|(_, action)| (*action).clone()).collect();
    match actions.first() {
        Some((index, action)) if asks_for(&all) => {
            Err(refusal(*index, format!("{action} and others that together come to it")))
        }
        _ => Ok(()),
    }
}

/// Checks a role against IAM's limits. `trust_limit` is the account's quota, in characters.
pub fn check_limits(role: &DesiredRole, trust_limit: usize) -> Result<(), RequestRefused> {
    for (document, text) in [("inline policy", &role.permissions.text), ("trust policy", &role.trust.text)] {
        let legal = |c: &char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{FF}');
        if let Some(character) = text.chars().find(|c| !legal(c)) {
            return Err(RequestRefused::IllegalCharacter { document, character });
        }
    }
    let length = role.permissions.counted_length();
    if length > INLINE_POLICY_LIMIT {
        return Err(RequestRefused::PolicyTooLong { length, limit: INLINE_POLICY_LIMIT });
    }
    let length = role.trust.counted_length();
    if length > trust_limit {
        return Err(RequestRefused::TrustTooLong { length, limit: trust_limit });
    }
    Ok(())
}

/// A request that asks for a role and a Secret.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Which.
    pub id: RequestId,
    /// Name of the role.
    pub role: String,
    /// The Secret.
    pub secret: SecretKey,
    /// Whether it has that role already.
    pub has_role: bool,
    /// Whether it has that Secret already.
    pub has_secret: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// The requests that ask for what another one keeps, each with its refusal: the one that has it already keeps it, otherwise the
/// older one. IAM compares role names without case.
pub fn collisions(asking: &[Asking]) -> BTreeMap<RequestId, RequestRefused> {
    let mut by_secret: BTreeMap<&SecretKey, Vec<&Asking>> = BTreeMap::new();
    let mut by_role: BTreeMap<String, Vec<&Asking>> = BTreeMap::new();
    for one in asking {
        by_secret.entry(&one.secret).or_default().push(one);
        by_role.entry(one.role.to_ascii_lowercase()).or_default().push(one);
    }
    // Without a time it counts as the youngest.
    let age = |one: &Asking| (one.created.unwrap_or(Timestamp::MAX), one.id.clone());
    for group in by_secret.values_mut() {
        group.sort_by_cached_key(|one| (!one.has_secret, age(one)));
    }
    for group in by_role.values_mut() {
        group.sort_by_cached_key(|one| (!one.has_role, age(one)));
    }
    let mut refused = BTreeMap::new();
    for one in asking {
        let keeper =
            |group: &[&Asking]| group.first().filter(|first| first.id != one.id).map(|first| first.id.to_string());
        if let Some(keeper) = keeper(&by_secret[&one.secret]) {
            let secret = one.secret.to_string();
            refused.insert(one.id.clone(), RequestRefused::SecretCollision { secret, keeper });
        } else if let Some(keeper) = keeper(&by_role[&one.role.to_ascii_lowercase()]) {
            refused.insert(one.id.clone(), RequestRefused::RoleNameCollision { role: one.role.clone(), keeper });
        }
    }
    refused
}
