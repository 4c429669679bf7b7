//! What is refused before any write, whoever asks for it: guardrails, limits, collisions.

use std::collections::BTreeMap;

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
/// How many of the others a collision names: thousands that collide would each name thousands.
const MOST_NAMED: usize = 10;

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
    guardrails.allowed_secret_namespaces.iter().any(|pattern| matches(pattern, namespace))
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

/// The requests that collide with others, each with its refusal. IAM compares role names without case.
pub fn collisions<'a>(
    wanted: impl Iterator<Item = (&'a RequestId, &'a DesiredRole, &'a SecretKey)> + Clone,
) -> BTreeMap<RequestId, RequestRefused> {
    let mut by_secret: BTreeMap<&SecretKey, Vec<&RequestId>> = BTreeMap::new();
    let mut by_role: BTreeMap<String, Vec<&RequestId>> = BTreeMap::new();
    for (id, role, secret) in wanted.clone() {
        by_secret.entry(secret).or_default().push(id);
        by_role.entry(role.name.to_ascii_lowercase()).or_default().push(id);
    }
    let mut refused = BTreeMap::new();
    for (id, role, secret) in wanted {
        let others = |ids: &[&RequestId]| {
            let others = ids.iter().filter(|other| **other != id).take(MOST_NAMED);
            let named = others.map(ToString::to_string).collect::<Vec<_>>();
            match ids.len().saturating_sub(1 + MOST_NAMED) {
                more if more > 0 && named.len() == MOST_NAMED => format!("{} and {more} more", named.join(", ")),
                _ => named.join(", "),
            }
        };
        let (same_secret, same_role) = (others(&by_secret[secret]), others(&by_role[&role.name.to_ascii_lowercase()]));
        if !same_secret.is_empty() {
            refused.insert(
                id.clone(),
                RequestRefused::SecretCollision { secret: secret.to_string(), others: same_secret },
            );
        } else if !same_role.is_empty() {
            refused
                .insert(id.clone(), RequestRefused::RoleNameCollision { role: role.name.clone(), others: same_role });
        }
    }
    refused
}
