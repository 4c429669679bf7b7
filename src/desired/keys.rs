//! The public signing keys: read from PEM, named by their kid, united and retired.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::PublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
    /// A source holds no PEM.
    #[error("{origin} holds no PEM; put the public key there (-----BEGIN PUBLIC KEY-----)")]
    NotPem {
        /// The source.
        origin: String,
    },
    /// A source holds a private key.
    #[error(
        "{origin} holds a private key ({label}); only the public key belongs there: remove it now, and treat it as known to all who may read that object"
    )]
    PrivateKey {
        /// The source.
        origin: String,
        /// The PEM label.
        label: String,
    },
    /// A source holds another kind of PEM block.
    #[error("{origin} holds a PEM block {label:?}; expected \"PUBLIC KEY\"")]
    WrongBlock {
        /// The source.
        origin: String,
        /// The PEM label.
        label: String,
    },
    /// The block is no RSA public key.
    #[error("{origin} holds a public key that is not RSA of 2048 to 8192 bits; OpenShift signs tokens with RS256")]
    NotRsa {
        /// The source.
        origin: String,
    },
    /// The bucket publishes a document that cannot be read, so what it would lose is unknown.
    #[error(
        "the published keys.json cannot be read as a JWKS whose keys all have a kid, so it is not known which keys would be lost; check it, then set issuer.retireKeysAfter to 0s to replace it"
    )]
    PublishedUnreadable,
    /// The bucket publishes keys that no source holds and that we never published.
    #[error("keys.json publishes {}, which no source of signing keys holds; tokens signed by it would be refused. Add the key to issuer.signingKeys, or set issuer.retireKeysAfter to 0s to drop it", .kids.join(", "))]
    WouldShrink {
        /// The keys that would be lost.
        kids: Vec<String>,
    },
}

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
    /// Its text, or what kept it from being read.
    pub pem: Result<String, String>,
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

/// All keys of one source. At least one; every block must be an RSA public key.
pub fn read_source(source: &KeySource) -> Result<Vec<Key>, KeysRefused> {
    let origin = source.origin.clone();
    let text = match &source.pem {
        Ok(text) => text,
        Err(problem) => return Err(KeysRefused::SourceMissing { origin, problem: problem.clone() }),
    };
    let blocks = pem::parse_many(text).map_err(|_| KeysRefused::NotPem { origin: origin.clone() })?;
    if blocks.is_empty() {
        return Err(KeysRefused::NotPem { origin });
    }
    blocks.iter().map(|block| read_block(block, &origin)).collect()
}

fn read_block(block: &pem::Pem, origin: &str) -> Result<Key, KeysRefused> {
    let origin = origin.to_owned();
    match block.tag() {
        "PUBLIC KEY" => {}
        label if label.ends_with("PRIVATE KEY") => return Err(KeysRefused::PrivateKey { origin, label: label.into() }),
        label => return Err(KeysRefused::WrongBlock { origin, label: label.into() }),
    }
    let spki = block.contents();
    let key = PublicKey::from_der(spki).map_err(|_| KeysRefused::NotRsa { origin })?;
    Ok(Key {
        kid: URL_SAFE_NO_PAD.encode(digest(&SHA256, spki).as_ref()),
        n: URL_SAFE_NO_PAD.encode(key.modulus().big_endian_without_leading_zero()),
        e: URL_SAFE_NO_PAD.encode(key.exponent().big_endian_without_leading_zero()),
    })
}

/// The keys to publish: the union of the sources, and remembered keys until they have been away for `retire_after`.
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
            if seen.insert(key.kid.clone()) {
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
        if retire_at(since, retire_after) > now && seen.insert(old.key.kid.clone()) {
            wanted.push(WantedKey { key: old.key.clone(), retiring_since: Some(since) });
        }
    }
    Ok(wanted)
}

/// When a key that left its source at `since` is no longer published.
pub fn retire_at(since: Timestamp, retire_after: std::time::Duration) -> Timestamp {
    since.saturating_add(retire_after).unwrap_or(Timestamp::MAX)
}

/// The kids of a published JWKS, or why it is none.
pub fn kids_of(jwks: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Jwks {
        keys: Vec<Jwk>,
    }
    #[derive(Deserialize)]
    struct Jwk {
        kid: String,
    }
    let jwks: Jwks = serde_json::from_slice(jwks).ok()?;
    Some(jwks.keys.into_iter().map(|key| key.kid).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source(pem: &str) -> KeySource {
        KeySource { origin: "Secret signer, key pub".into(), pem: Ok(pem.into()) }
    }

    /// A 2048-bit key made with openssl for these tests alone.
    pub const PUBLIC: &str = include_str!("../../tests/keys/first.pub");
    const SECOND: &str = include_str!("../../tests/keys/second.pub");
    const EC: &str = include_str!("../../tests/keys/ec.pub");

    #[test]
    fn the_kid_is_what_kube_apiserver_computes() {
        let keys = read_source(&source(PUBLIC)).unwrap();
        assert_eq!(keys.len(), 1);
        // openssl pkey -pubin -outform DER -in first.pub | openssl dgst -sha256 -binary | basenc --base64url
        assert_eq!(keys[0].kid, include_str!("../../tests/keys/first.kid").trim().trim_end_matches('='));
        assert_eq!(keys[0].e, "AQAB");
        assert_eq!(URL_SAFE_NO_PAD.decode(&keys[0].n).unwrap().len(), 256);
    }

    #[test]
    fn what_is_no_public_rsa_key_is_refused_by_name() {
        let private = "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n";
        for (pem, says) in [
            ("junk", "holds no PEM"),
            ("", "holds no PEM"),
            (private, "holds a private key (RSA PRIVATE KEY)"),
            ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "PEM block \"CERTIFICATE\""),
            ("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n", "not RSA"),
            (EC, "not RSA"),
        ] {
            let error = read_source(&source(pem)).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("Secret signer"), "{error}");
        }
    }

    #[test]
    fn a_key_that_left_its_source_stays_until_it_is_retired() {
        let day = Duration::from_hours(24);
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let old = read_source(&source(PUBLIC)).unwrap().remove(0);
        let remembered = [RememberedKey { key: old.clone(), retiring_since: None }];
        let both = wanted_keys(&[source(SECOND)], &remembered, day, start).unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(both[1], WantedKey { key: old.clone(), retiring_since: Some(start) });

        let retiring = [RememberedKey { key: old, retiring_since: Some(start) }];
        let almost = start + Duration::from_secs(86_399);
        assert_eq!(wanted_keys(&[source(SECOND)], &retiring, day, almost).unwrap().len(), 2);
        assert_eq!(wanted_keys(&[source(SECOND)], &retiring, day, start + day).unwrap().len(), 1);
        let returned = wanted_keys(&[source(SECOND), source(PUBLIC)], &retiring, day, almost).unwrap();
        assert!(returned.iter().all(|key| key.retiring_since.is_none()));
    }

    #[test]
    fn an_empty_set_is_refused() {
        assert!(wanted_keys(&[], &[], Duration::ZERO, Timestamp::UNIX_EPOCH).is_err());
        let gone = KeySource { origin: "Secret a, key b".into(), pem: Err("the Secret does not exist".into()) };
        let error = wanted_keys(&[source(PUBLIC), gone], &[], Duration::ZERO, Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(error.to_string().contains("the Secret does not exist"));
    }
}
