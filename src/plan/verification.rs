//! Whether an anonymous reader, as STS is one, gets the documents that make the issuer work.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Subject;
use super::draft::Draft;
use crate::desired::Desired;
use crate::desired::keys::published_entries;
use crate::observed::{Fetched, Observed};

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// Issuer and keys were fetched and are right.
    Verified,
    /// The documents are not right in the bucket yet, so fetching them proves nothing.
    NotYet,
    /// Something came back that would make STS refuse every token.
    Wrong(String),
    /// Nothing came back; the way from here may be closed while STS's is open.
    Unreachable(String),
}

pub(super) fn verify(desired: &Desired, observed: &Observed, draft: &Draft) -> Verification {
    let pending =
        draft.plan.steps.iter().map(|step| &step.subject).chain(draft.plan.obstacles.iter().map(|(of, _)| of));
    let issuer = [Subject::Bucket, Subject::Discovery, Subject::Keys];
    if pending.into_iter().any(|subject| issuer.contains(subject)) {
        return Verification::NotYet;
    }
    let (Some(fetched), Some(keys)) = (&observed.fetched, &draft.plan.keys) else { return Verification::NotYet };
    let url = &desired.issuer.url;
    let discovery = match body(&fetched.discovery, &format!("{url}/.well-known/openid-configuration")) {
        Ok(body) => body,
        Err(verdict) => return verdict,
    };
    let issuer = serde_json::from_slice::<Value>(discovery).ok().and_then(|d| d["issuer"].as_str().map(str::to_owned));
    if issuer.as_deref() != Some(url) {
        let found = issuer.unwrap_or_else(|| "none".into());
        return Verification::Wrong(format!("the discovery document at {url} names the issuer {found}"));
    }
    let jwks = match body(&fetched.keys, &format!("{url}/keys.json")) {
        Ok(body) => body,
        Err(verdict) => return verdict,
    };
    match published_entries(jwks) {
        Some(entries) if entries.iter().map(|entry| entry.name.clone()).collect::<BTreeSet<_>>() == keys.kids => {
            Verification::Verified
        }
        _ => Verification::Wrong(format!("{url}/keys.json does not return the keys that were published")),
    }
}

fn body<'a>(fetched: &'a Fetched, url: &str) -> Result<&'a [u8], Verification> {
    match fetched {
        Fetched::Body { body, .. } => Ok(body),
        // S3 is overloaded or failing: that says nothing about the documents.
        Fetched::Status(status @ (429 | 500..=599)) => {
            Err(Verification::Unreachable(format!("an anonymous GET of {url} returned HTTP {status}")))
        }
        Fetched::Status(status) => {
            Err(Verification::Wrong(format!("an anonymous GET of {url} returned HTTP {status}")))
        }
        Fetched::Unreachable(why) => Err(Verification::Unreachable(format!("{url} could not be fetched: {why}"))),
    }
}
