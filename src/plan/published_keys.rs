//! What `keys.json` publishes: the keys of the sources, keys that retire, and keys that nobody knows. A key that nobody knows may be
//! the one that the cluster signs with, so it is never removed without being named.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::draft::Draft;
use crate::api::REMOVE_KEYS;
use crate::api::cluster_identity::UnknownKey;
use crate::desired::issuer::{DesiredObject, jwks_document_with};
use crate::desired::keys::{Key, Number, PublishedEntry, WantedKey, published_entries};
use crate::desired::{Desired, DesiredKeys};
use crate::observed::ObservedObject;

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKeys {
    /// The document.
    pub document: DesiredObject,
    /// The keys that a source holds or held.
    pub known: Vec<WantedKey>,
    /// The keys that nobody knows.
    pub unknown: Vec<UnknownKey>,
    /// The kids of all of them.
    pub kids: BTreeSet<String>,
    /// The revision of the document that is there.
    pub revision: i64,
    /// The revision that a write of the document notes.
    pub next_revision: i64,
    /// Whether the document is newer than what the status remembers, which was restored from a backup then.
    pub is_restored: bool,
    /// Whether the document that is there will do.
    pub is_published: bool,
}

/// What is to be published, by what is there.
pub(super) fn to_publish(
    draft: &mut Draft,
    desired: &Desired,
    keys: &DesiredKeys,
    found: Option<&ObservedObject>,
) -> PublishedKeys {
    let entries = found.and_then(|found| published_entries(&found.body));
    let revision = found.and_then(|found| found.revision).unwrap_or(0);
    let known_revision = draft.prior.keys_revision.unwrap_or(0);
    // Where nothing at all is remembered, nothing could be removed by that.
    let remembers = draft.prior.keys_revision.is_some() || !keys.remembered.is_empty();
    let restored = remembers && revision > known_revision;
    if restored {
        draft.restored =
            Some(format!("keys.json has the revision {revision} and the status remembers {known_revision}"));
    }
    let known = known_keys(keys, entries.as_deref(), restored);
    let unknown = unknown_keys(draft, keys, &known, entries.as_deref(), restored, desired.now);
    let removed: Vec<&str> = entries
        .iter()
        .flatten()
        .map(|entry| entry.name.as_str())
        .filter(|name| draft.frame.consents.removes_key(name) && !unknown.iter().any(|key| key.kid == *name))
        .filter(|name| !known.iter().any(|wanted| wanted.key.kid == *name))
        .collect();
    if !removed.is_empty() {
        draft.plan.consents.push((REMOVE_KEYS, format!("removes {}", removed.join(", "))));
    }
    let plain: Vec<Key> = known.iter().map(|wanted| wanted.key.clone()).collect();
    let texts: Vec<String> = unknown.iter().map(|key| key.entry.clone()).collect();
    let body = jwks_document_with(&plain, &texts);
    let is_published = !restored
        && found.is_some_and(|found| {
            found.body == body.as_bytes()
                || !unknown.is_empty()
                    && entries.as_ref().is_some_and(|entries| says_the_same(entries, &plain, &unknown))
        });
    PublishedKeys {
        kids: plain.iter().map(|key| key.kid.clone()).chain(unknown.iter().map(|key| key.kid.clone())).collect(),
        document: DesiredObject { body, ..keys.document.clone() },
        known,
        unknown,
        revision,
        next_revision: revision.max(known_revision).saturating_add(1),
        is_restored: restored,
        is_published,
    }
}

/// The keys of the sources, and those that retire. A status that was restored remembers keys that may have been removed since:
/// only those that are still published count.
fn known_keys(keys: &DesiredKeys, published: Option<&[PublishedEntry]>, restored: bool) -> Vec<WantedKey> {
    let numbers: BTreeSet<&Number> =
        published.into_iter().flatten().filter_map(|entry| entry.number.as_ref()).collect();
    let counts =
        |wanted: &&WantedKey| !restored || wanted.retiring_since.is_none() || numbers.contains(&wanted.key.number());
    keys.keys.iter().filter(counts).cloned().collect()
}

fn unknown_keys(
    draft: &Draft,
    keys: &DesiredKeys,
    known: &[WantedKey],
    published: Option<&[PublishedEntry]>,
    restored: bool,
    now: Timestamp,
) -> Vec<UnknownKey> {
    let wanted: BTreeSet<Number> = known.iter().map(|wanted| wanted.key.number()).collect();
    let remembered: BTreeSet<Number> = keys.remembered.iter().map(Key::number).collect();
    let is_known = |entry: &PublishedEntry| {
        let Some(number) = &entry.number else { return false };
        // What this identity published from a source, and what has retired by now, goes; not by a memory that is too old.
        wanted.contains(number) || !restored && remembered.contains(number)
    };
    let before = &draft.prior.unknown_keys;
    // Where the document is lost, what was in it is only remembered.
    let of_memory: Vec<PublishedEntry> = match published {
        Some(_) => Vec::new(),
        None => before
            .iter()
            .filter_map(|key| Some(PublishedEntry { name: key.kid.clone(), ..PublishedEntry::read(&key.entry)? }))
            .collect(),
    };
    let entries = published.unwrap_or(&of_memory).iter();
    let kept = entries.filter(|entry| !is_known(entry) && (restored || !draft.frame.consents.removes_key(&entry.name)));
    let since = |entry: &PublishedEntry| before.iter().find(|key| key.kid == entry.name).map(|key| key.since.clone());
    kept.map(|entry| UnknownKey {
        kid: entry.name.clone(),
        since: since(entry).unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        entry: entry.text.clone(),
    })
    .collect()
}

/// Whether a document has these keys under their kids, and no others.
fn says_the_same(entries: &[PublishedEntry], known: &[Key], unknown: &[UnknownKey]) -> bool {
    let has = |key: &Key| entries.iter().any(|entry| entry.name == key.kid && entry.number == Some(key.number()));
    known.iter().all(has)
        && unknown.iter().all(|key| entries.iter().any(|entry| entry.text == key.entry))
        && entries.len() == known.len() + unknown.len()
}
