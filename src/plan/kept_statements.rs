//! Statements of others in a policy that Rolecall writes. Those that were there when the resource was adopted are kept.

use crate::desired::names::fingerprint;
use crate::observed::ReadPolicy;
use crate::policy::document::{Statement, Version};
use crate::policy::{Canonical, Document};

/// Which statements of others are kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep<'a> {
    /// All: the resource is being adopted.
    All,
    /// Those with these fingerprints, which were kept when it was adopted.
    Known(&'a [String]),
}

/// A policy with the statements of others that are kept, and the fingerprints of these.
pub(super) fn with_kept(
    wanted: &Document,
    found: Option<&ReadPolicy>,
    keep: Keep<'_>,
    is_ours: impl Fn(&Statement) -> bool,
) -> (Document, Vec<String>) {
    let Some(Ok(found)) = found else { return (wanted.clone(), Vec::new()) };
    let kept: Vec<(&Statement, String)> = found
        .statements
        .iter()
        .filter(|statement| !is_ours(statement))
        .map(|statement| (statement, fingerprint_of(statement, found.version)))
        .filter(|(_, fingerprint)| match keep {
            Keep::All => true,
            Keep::Known(known) => known.contains(fingerprint),
        })
        .collect();
    let mut document = wanted.clone();
    document.statements.extend(kept.iter().map(|(statement, _)| (*statement).clone()));
    (document, kept.into_iter().map(|(_, fingerprint)| fingerprint).collect())
}

fn fingerprint_of(statement: &Statement, version: Version) -> String {
    // An identifier has no meaning, and IAM may drop it.
    let statement = Statement { sid: None, ..statement.clone() };
    fingerprint(&Canonical::of(&Document { version, id: None, statements: vec![statement] }).to_text())
}

/// Whether a statement of a trust policy is about tokens of this provider and nobody else.
pub(super) fn is_about_provider(statement: &Statement, provider: &str) -> bool {
    statement.principals.as_ref().is_some_and(|who| {
        !who.inverted
            && who.by_kind.len() == 1
            && who.by_kind.get("Federated").is_some_and(|arns| arns.iter().all(|arn| arn == provider))
    })
}
