//! What DER holds: an RSA public key, or what else it is.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::PublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pkcs1::RsaPublicKeyRef;
use spki::der::asn1::{AnyRef, BitStringRef};
use spki::der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::Key;
use super::problem::KeyProblem;

const SMALLEST: usize = 2048;
const LARGEST: usize = 8192;
/// More elements than any structure has that is told apart here.
const MOST_ELEMENTS: usize = 12;
/// An exponent that a key may have (AWS-LC takes 33 bits): two larger numbers are something else, such as a signature.
const LONGEST_EXPONENT: usize = 5;

const PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const PKCS7_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const PKCS7_SIGNED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// The arcs of password-based encryption, of PKCS#5 and PKCS#12.
const ENCRYPTIONS: [&str; 2] = ["1.2.840.113549.1.5.", "1.2.840.113549.1.12.1."];

/// The public key in SPKI or PKCS#1, or what it is instead; `None` for what is no DER, or holds no key of any kind.
pub(super) fn read(der: &[u8]) -> Option<Result<Key, KeyProblem>> {
    let parts = elements(der)?;
    let tags: Vec<Tag> = parts.iter().map(Tagged::tag).collect();
    let problem = match tags.as_slice() {
        [Tag::Sequence, Tag::BitString] => return spki(der),
        [Tag::Integer, Tag::Integer] => {
            let key = RsaPublicKeyRef::from_der(der).ok()?;
            return (key.public_exponent.as_bytes().len() <= LONGEST_EXPONENT).then(|| checked(&key));
        }
        [Tag::Sequence, Tag::Sequence, Tag::BitString] => signed(parts[0].value())?,
        [Tag::Integer, Tag::Sequence, Tag::OctetString, ..] => KeyProblem::private("PKCS#8"),
        [Tag::Integer, Tag::OctetString, ..] => KeyProblem::private("an EC key"),
        [Tag::Integer, Tag::Sequence, ..] if is_pkcs12(parts[1].value()) => KeyProblem::Private {
            label: "a PKCS#12 file, which may hold one".into(),
            command: "openssl pkcs12 -in FILE -nokeys | openssl x509 -pubkey -noout",
        },
        [Tag::Sequence, Tag::OctetString] if is_encrypted(parts[0].value()) => KeyProblem::private("encrypted PKCS#8"),
        integers if integers.len() >= 6 && integers[..6].iter().all(|tag| *tag == Tag::Integer) => {
            KeyProblem::private("PKCS#1")
        }
        _ => return None,
    };
    Some(Err(problem))
}

/// The elements of a sequence that is all of `der`.
fn elements(der: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let outer = AnyRef::from_der(der).ok()?;
    if outer.tag() != Tag::Sequence {
        return None;
    }
    inner(outer.value())
}

/// The elements that a sequence's value is made of.
fn inner(value: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(value).ok()?;
    let mut elements = Vec::new();
    while !reader.is_finished() && elements.len() < MOST_ELEMENTS {
        elements.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(elements)
}

/// The object identifier that a sequence's value begins with.
fn leading_oid(value: &[u8]) -> Option<ObjectIdentifier> {
    inner(value)?.first()?.decode_as::<ObjectIdentifier>().ok()
}

fn is_pkcs12(content: &[u8]) -> bool {
    matches!(leading_oid(content), Some(PKCS7_DATA | PKCS7_SIGNED))
}

fn is_encrypted(algorithm: &[u8]) -> bool {
    let oid = leading_oid(algorithm).map(|oid| oid.to_string()).unwrap_or_default();
    ENCRYPTIONS.iter().any(|arc| oid.starts_with(arc))
}

/// A certificate or a request, by what is signed: RFC 5280, section 4.1, and RFC 2986, section 4.1.
fn signed(signed: &[u8]) -> Option<KeyProblem> {
    let tags: Vec<Tag> = inner(signed)?.iter().map(Tagged::tag).collect();
    match tags.as_slice() {
        [Tag::Integer, Tag::Sequence, Tag::Sequence]
        | [Tag::Integer, Tag::Sequence, Tag::Sequence, Tag::ContextSpecific { .. }] => {
            Some(KeyProblem::CertificateRequest { der: true })
        }
        // The version of a certificate is left out when it is the first.
        [Tag::ContextSpecific { .. }, Tag::Integer, ..]
        | [Tag::Integer, Tag::Sequence, Tag::Sequence, Tag::Sequence, ..] => {
            Some(KeyProblem::Certificate { der: true })
        }
        _ => None,
    }
}

fn spki(der: &[u8]) -> Option<Result<Key, KeyProblem>> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let oid = info.algorithm.oid;
    if oid == PSS {
        return Some(Err(KeyProblem::Pss));
    }
    if oid != pkcs1::ALGORITHM_OID {
        return Some(Err(KeyProblem::NotRsa { kind: kind(oid) }));
    }
    let key = info.subject_public_key.as_bytes().and_then(|bits| RsaPublicKeyRef::from_der(bits).ok());
    Some(key.map_or(Err(KeyProblem::Invalid), |key| checked(&key)))
}

fn kind(oid: ObjectIdentifier) -> String {
    let name = match oid.to_string().as_str() {
        "1.2.840.10045.2.1" => "EC",
        "1.3.101.110" => "X25519",
        "1.3.101.111" => "X448",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        "1.2.840.10040.4.1" => "DSA",
        "1.2.840.113549.1.3.1" => "Diffie-Hellman",
        other => return format!("of the algorithm {other}"),
    };
    name.into()
}

/// The key, with the kid that kube-apiserver computes of it whatever form it was read from.
fn checked(key: &RsaPublicKeyRef<'_>) -> Result<Key, KeyProblem> {
    let (n, e) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
    let zeros = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (n.len() * 8).saturating_sub(zeros);
    if !(SMALLEST..=LARGEST).contains(&bits) {
        return Err(KeyProblem::Size { bits });
    }
    let spki = canonical(key).ok_or(KeyProblem::Invalid)?;
    PublicKey::from_der(&spki).map_err(|_| KeyProblem::Invalid)?;
    Ok(Key {
        kid: URL_SAFE_NO_PAD.encode(digest(&SHA256, &spki)),
        n: URL_SAFE_NO_PAD.encode(n),
        e: URL_SAFE_NO_PAD.encode(e),
    })
}

/// The key as SPKI: byte for byte what Go's `x509.MarshalPKIXPublicKey` writes.
fn canonical(key: &RsaPublicKeyRef<'_>) -> Option<Vec<u8>> {
    let bits = key.to_der().ok()?;
    let subject_public_key = BitStringRef::from_bytes(&bits).ok()?;
    SubjectPublicKeyInfoRef { algorithm: pkcs1::ALGORITHM_ID, subject_public_key }.to_der().ok()
}
