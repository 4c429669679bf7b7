//! What a published JWKS holds. It may have been written by anyone.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::Value;

use super::{Key, Number};
use crate::desired::names::sha256_hex;

/// As many entries as a message names; there may be any number.
const MOST_NAMED: usize = 10;
/// As many characters of a kid as a message shows; kube-apiserver's have 43.
const LONGEST_KID: usize = 64;
/// How many digits of a digest tell entries apart.
const DIGEST: usize = 12;

/// base64url as it comes: padded or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// An entry of a published JWKS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedEntry {
    /// Its kid, fit for a message and for an annotation that lists names; with a digest of the entry, or that alone, where the kid
    /// is not.
    pub name: String,
    /// Modulus and exponent; `None` for what is no RSA key.
    pub number: Option<Number>,
    /// The entry as it stands there, compact.
    pub text: String,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// The entries of a published JWKS; `None` when it is no JSON object with a list `keys`.
pub fn published_entries(jwks: &[u8]) -> Option<Vec<PublishedEntry>> {
    let jwks: Jwks = serde_json::from_slice(jwks).ok()?;
    Some(jwks.keys.iter().map(PublishedEntry::of).collect())
}

impl PublishedEntry {
    fn of(entry: &Value) -> Self {
        let field = |name: &str| entry.get(name).and_then(Value::as_str);
        let number = match (field("kty"), field("n"), field("e")) {
            (Some("RSA") | None, Some(n), Some(e)) => number(n, e),
            _ => None,
        };
        let digest = || sha256_hex(entry.to_string().as_bytes()).chars().take(DIGEST).collect::<String>();
        let name = match field("kid").filter(|kid| !kid.is_empty()) {
            Some(kid) if kid.chars().all(is_plain) && kid.chars().count() <= LONGEST_KID => kid.to_owned(),
            // Whoever wants it removed has to be able to name it, and it alone.
            Some(kid) => {
                let plain: String = kid.chars().filter(|c| is_plain(*c)).take(LONGEST_KID).collect();
                format!("{plain}-{}", digest())
            }
            None => format!("without-kid-{}", digest()),
        };
        Self { name, number, text: entry.to_string() }
    }

    /// An entry as it was once found.
    pub fn read(text: &str) -> Option<Self> {
        let entry: Value = serde_json::from_str(text).ok()?;
        entry.is_object().then(|| Self::of(&entry))
    }
}

/// Whether a character separates nothing in a list of names.
fn is_plain(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && c != ','
}

/// The names of entries in one line, of which a message has room for some.
pub fn named<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let mut text = names.take(MOST_NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

/// Modulus and exponent without leading zeros; `None` when one of them is no number.
fn number(n: &str, e: &str) -> Option<Number> {
    let bytes = |text: &str| {
        let bytes = LENIENT.decode(text).ok()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        (zeros < bytes.len()).then(|| bytes[zeros..].to_vec())
    };
    Some((bytes(n)?, bytes(e)?))
}

impl Key {
    /// Modulus and exponent, which make the key what it is; its text where that is no number.
    pub fn number(&self) -> Number {
        number(&self.n, &self.e).unwrap_or_else(|| (self.n.clone().into_bytes(), self.e.clone().into_bytes()))
    }
}

/// The kids of a published JWKS, in order; `None` when it is none, or one of its keys has no kid.
pub fn kids_of(jwks: &[u8]) -> Option<Vec<String>> {
    let jwks: Jwks = serde_json::from_slice(jwks).ok()?;
    jwks.keys.iter().map(|key| Some(key.get("kid")?.as_str()?.to_owned())).collect()
}
