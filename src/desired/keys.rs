//! The public signing keys: read from their sources, named by their kid, united and retired.

mod blocks;
mod der;
mod jwks;
mod problem;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use jwks::{PublishedEntry, kids_of, named, published_entries};
pub use problem::KeyProblem;

/// The most RSA keys that AWS accepts in a JWKS (IAM User Guide, "Create an OpenID Connect (OIDC) identity provider in
/// IAM": each JWKS may have 100 RSA keys and 100 EC keys).
pub const MOST_KEYS: usize = 100;

/// Why there is no set of keys to publish. `origin` is the source, such as `Secret signer, key tls.pub`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysRefused {
    /// A source could not be read.
    #[error("{origin}: {problem}; nothing is published until every source of signing keys can be read")]
    SourceMissing {
        /// The source.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An entry holds no key that can be published, or something beside it.
    #[error("{origin} {problem}")]
    Unusable {
        /// The entry.
        origin: String,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// An object that is a source as a whole has a private key in one of its entries.
    #[error(
        "{origin}, key {entry} holds a private key ({label}), so {origin} cannot be a source as a whole; {}. Where only public keys belong, remove the private key now, and treat it as known to all who may read that object (`{command}` writes its public key)",
        if .public.is_empty() { "no entry of it holds a public key that could be named".to_owned() }
        else { format!("name the entry that holds the public key (key: {})", named(.public.iter().map(String::as_str))) }
    )]
    PrivateInObject {
        /// The object.
        origin: String,
        /// The entry with the private key.
        entry: String,
        /// The PEM label, or what the form is called.
        label: String,
        /// Writes the public key.
        command: &'static str,
        /// The entries that hold public keys alone.
        public: Vec<String>,
    },
    /// An object that is a source as a whole has no public key in any of its entries.
    #[error(
        "{origin} holds no RSA public key in any of its {entries} entries; put the public key into one of them in PEM (-----BEGIN PUBLIC KEY----- or -----BEGIN RSA PUBLIC KEY-----), or name another object"
    )]
    NoKeyInObject {
        /// The object.
        origin: String,
        /// How many entries it has.
        entries: usize,
    },
    /// More keys than AWS accepts.
    #[error(
        "{count} keys would be published, {retiring} of them because they are retiring; AWS accepts at most {MOST_KEYS} RSA keys in a JWKS. Nothing is published or taken away: take keys out of issuer.signingKeys, or shorten issuer.retireKeysAfter"
    )]
    TooMany {
        /// How many.
        count: usize,
        /// How many of them no source holds any more.
        retiring: usize,
    },
}

/// Modulus and exponent of an RSA key, big-endian, without leading zeros.
pub type Number = (Vec<u8>, Vec<u8>);

/// An RSA public key as it is published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Unpadded base64url of the SHA-256 over the SPKI in DER: what kube-apiserver computes.
    pub kid: String,
    /// The modulus, unpadded base64url.
    pub n: String,
    /// The exponent, unpadded base64url.
    pub e: String,
}

/// A source of signing keys and what was read from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    /// The source, in words.
    pub origin: String,
    /// What it holds, or what kept it from being read.
    pub held: Result<Held, String>,
}

/// What a source holds.
#[derive(Clone, PartialEq, Eq)]
pub enum Held {
    /// One entry, or a file: every block of it must be a key.
    Entry(Vec<u8>),
    /// All entries of an object, by name: those that hold no key are passed over.
    Object(BTreeMap<String, Vec<u8>>),
}

/// Tells sizes, never contents: there may be a private key among them.
impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(bytes) => write!(f, "Entry({} bytes)", bytes.len()),
            Self::Object(entries) => write!(f, "Object({} entries)", entries.len()),
        }
    }
}

/// A key that was published before, as status remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedKey {
    /// The key.
    pub key: Key,
    /// When it left its source.
    pub retiring_since: Option<Timestamp>,
}

/// A key to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedKey {
    /// The key.
    pub key: Key,
    /// When it left its source; `None` for a key that a source holds.
    pub retiring_since: Option<Timestamp>,
}

/// All keys of one source, of which there is at least one; of an object in the order of its entries' names.
pub fn read_source(source: &KeySource) -> Result<Vec<Key>, KeysRefused> {
    let origin = source.origin.clone();
    match &source.held {
        Ok(Held::Entry(bytes)) => {
            read::read(bytes).into_keys().map_err(|problem| KeysRefused::Unusable { origin, problem })
        }
        Ok(Held::Object(entries)) => read_object(&origin, entries),
        Err(problem) => Err(KeysRefused::SourceMissing { origin, problem: problem.clone() }),
    }
}

/// The keys of all entries that hold some. A private key anywhere, or a public key that cannot be published, refuses all.
fn read_object(origin: &str, entries: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Key>, KeysRefused> {
    let read: Vec<_> = entries.iter().map(|(name, bytes)| (name, read::read(bytes))).collect();
    let private = read.iter().find_map(|(name, reading)| Some((*name, reading.private()?)));
    if let Some((entry, KeyProblem::Private { label, command })) = private {
        let public = read.iter().filter(|(_, reading)| reading.problem().is_none() && !reading.keys.is_empty());
        return Err(KeysRefused::PrivateInObject {
            origin: origin.into(),
            entry: entry.clone(),
            label: label.clone(),
            command,
            public: public.map(|(name, _)| (*name).clone()).collect(),
        });
    }
    let mut keys = Vec::new();
    for (name, reading) in read {
        if reading.keys.is_empty() && !reading.problems.iter().any(KeyProblem::is_of_a_public_key) {
            continue;
        }
        let problem = |problem| KeysRefused::Unusable { origin: format!("{origin}, key {name}"), problem };
        keys.extend(reading.into_keys().map_err(problem)?);
    }
    if keys.is_empty() {
        return Err(KeysRefused::NoKeyInObject { origin: origin.into(), entries: entries.len() });
    }
    Ok(keys)
}

/// The keys to publish: the union of the sources, and remembered keys until they have been away for `retire_after`; at
/// most [`MOST_KEYS`]. Two keys are the same when modulus and exponent are.
///
/// Keys of the sources come first, in the order of the sources (ccoctl publishes one key; this keeps its bytes).
pub fn wanted_keys(
    sources: &[KeySource],
    remembered: &[RememberedKey],
    retire_after: std::time::Duration,
    now: Timestamp,
) -> Result<Vec<WantedKey>, KeysRefused> {
    let mut seen = BTreeSet::new();
    let mut wanted = Vec::new();
    for source in sources {
        for key in read_source(source)? {
            if seen.insert(key.number()) {
                wanted.push(WantedKey { key, retiring_since: None });
            }
        }
    }
    if wanted.is_empty() {
        return Err(KeysRefused::SourceMissing {
            origin: "issuer.signingKeys".into(),
            problem: "no source is given".into(),
        });
    }
    for old in remembered {
        let since = old.retiring_since.unwrap_or(now);
        if retire_at(since, retire_after) > now && seen.insert(old.key.number()) {
            wanted.push(WantedKey { key: old.key.clone(), retiring_since: Some(since) });
        }
    }
    if wanted.len() > MOST_KEYS {
        let retiring = wanted.iter().filter(|key| key.retiring_since.is_some()).count();
        return Err(KeysRefused::TooMany { count: wanted.len(), retiring });
    }
    Ok(wanted)
}

/// When a key that left its source at `since` is no longer published.
pub fn retire_at(since: Timestamp, retire_after: std::time::Duration) -> Timestamp {
    since.saturating_add(retire_after).unwrap_or(Timestamp::MAX)
}
