//! Reads the keys of one entry: PEM, or DER, or what else people have of a public key and how it is converted.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::blocks::{Block, blocks};
use super::problem::{FROM_PRIVATE, FROM_SSH, KeyProblem};
use super::{Key, der};

/// Shorter than any key of 1024 bits in base64; what is shorter is a word.
const SHORTEST_BASE64: usize = 160;

/// What an entry holds.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The keys that can be published, in order.
    pub keys: Vec<Key>,
    /// What else was found.
    pub problems: Vec<KeyProblem>,
}

impl Reading {
    fn of(result: Result<Key, KeyProblem>) -> Self {
        let mut reading = Self::default();
        reading.add(result);
        reading
    }

    fn add(&mut self, result: Result<Key, KeyProblem>) {
        match result {
            Ok(key) => self.keys.push(key),
            Err(problem) => self.problems.push(problem),
        }
    }

    /// The private key in it.
    pub(super) fn private(&self) -> Option<&KeyProblem> {
        self.problems.iter().find(|problem| matches!(problem, KeyProblem::Private { .. } | KeyProblem::PrivateJwk))
    }

    /// What is wrong with it as a source of its own: a private key before all, then a public key that cannot be published.
    pub(super) fn problem(&self) -> Option<&KeyProblem> {
        let of_a_key = || self.problems.iter().find(|problem| problem.is_of_a_public_key());
        self.private().or_else(of_a_key).or_else(|| self.problems.first())
    }

    /// All keys. At least one; nothing else that is a block or a key may stand beside them.
    pub(super) fn into_keys(self) -> Result<Vec<Key>, KeyProblem> {
        match self.problem() {
            Some(problem) => Err(problem.clone()),
            None if self.keys.is_empty() => Err(KeyProblem::Nothing),
            None => Ok(self.keys),
        }
    }
}

/// Reads an entry or a file.
pub(super) fn read(bytes: &[u8]) -> Reading {
    let reading = read_plain(bytes);
    if !reading.keys.is_empty() || !reading.problems.is_empty() {
        return reading;
    }
    let Some(decoded) = base64_of(bytes) else { return reading };
    let inner = read_plain(&decoded);
    match inner.private() {
        Some(private) => Reading::of(Err(private.clone())),
        None if inner.keys.is_empty() => reading,
        None => Reading::of(Err(KeyProblem::Encoded)),
    }
}

fn read_plain(bytes: &[u8]) -> Reading {
    if let Some(result) = der::read(bytes) {
        return Reading::of(result);
    }
    if let Some(problem) = microsoft(bytes) {
        return Reading::of(Err(problem));
    }
    read_text(&text(bytes))
}

/// What a whole text in base64 stands for.
fn base64_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let compact: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if compact.len() < SHORTEST_BASE64 { None } else { STANDARD.decode(compact).ok() }
}

/// The text; Windows PowerShell redirects into UTF-16 with a byte-order mark.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    let read: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return String::from_utf8_lossy(bytes),
    };
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| read(*pair)).collect();
    String::from_utf16_lossy(&units).into()
}

/// A key file of Windows: BLOBHEADER and RSAPUBKEY of wincrypt.h, or a PVK file.
fn microsoft(bytes: &[u8]) -> Option<KeyProblem> {
    let private = |label: &str, command| KeyProblem::Private { label: label.into(), command };
    match bytes {
        [0x06, 0x02, 0, 0, _, _, _, _, b'R', b'S', b'A', b'1', ..] => Some(KeyProblem::MsBlob),
        [0x07, 0x02, 0, 0, _, _, _, _, b'R' | b'D', b'S', b'A' | b'S', b'2', ..] => {
            Some(private("Microsoft PRIVATEKEYBLOB", "openssl rsa -inform MSBLOB -in FILE -pubout"))
        }
        [0x1e, 0xf1, 0xb5, 0xb0, ..] => Some(private("Microsoft PVK", "openssl rsa -inform PVK -in FILE -pubout")),
        _ => None,
    }
}

fn read_text(text: &str) -> Reading {
    let mut reading = Reading::default();
    let blocks = blocks(text);
    for block in &blocks {
        reading.add(read_block(block));
    }
    reading.problems.extend(text.lines().filter_map(|line| read_line(line.trim())));
    if blocks.is_empty() && reading.problems.is_empty() && is_printed(text) {
        reading.problems.push(KeyProblem::Text);
    }
    if blocks.is_empty() && is_private_jwk(text) {
        reading.problems.push(KeyProblem::PrivateJwk);
    }
    reading
}

/// Whether it is a private key as JSON (RFC 7517), alone or among others: `d` is its private part (RFC 7518, section 6).
fn is_private_jwk(text: &str) -> bool {
    let is_private = |key: &Value| key.get("kty").is_some() && (key.get("d").is_some() || key.get("k").is_some());
    let Ok(jwk) = serde_json::from_str::<Value>(text) else { return false };
    is_private(&jwk) || jwk["keys"].as_array().is_some_and(|keys| keys.iter().any(is_private))
}

/// Whether it is what openssl prints of a public key; a printed certificate is no key.
fn is_printed(text: &str) -> bool {
    let begins = |start: &str| text.lines().any(|line| line.trim_start().starts_with(start));
    (text.contains("Public-Key: (") || begins("Modulus=")) && !begins("Certificate")
}

/// The key of a block. The label decides what it ought to be, the contents which of two encodings it is: OpenShift writes
/// SPKI under the label of PKCS#1 (cluster-kube-apiserver-operator, `publicKeyToPem`; installer, `PublicKeyToPem`).
fn read_block(block: &Block) -> Result<Key, KeyProblem> {
    let label = block.label.clone();
    if block.is_private() {
        let command = if label.contains("OPENSSH") { FROM_SSH } else { FROM_PRIVATE };
        return Err(KeyProblem::Private { label, command });
    }
    match label.as_str() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "RSA-PSS PUBLIC KEY" => return Err(KeyProblem::Pss),
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
            return Err(KeyProblem::Certificate { der: false });
        }
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            return Err(KeyProblem::CertificateRequest { der: false });
        }
        _ => return Err(KeyProblem::WrongBlock { label }),
    }
    let broken = |why| KeyProblem::Broken { label: block.label.clone(), line: block.line, why };
    let contents = block.contents.as_ref().map_err(|why| broken(why))?;
    match der::read(contents) {
        None | Some(Err(KeyProblem::Certificate { .. } | KeyProblem::CertificateRequest { .. })) => {
            Err(broken("it is neither SPKI nor PKCS#1"))
        }
        Some(result) => result,
    }
}

/// A key in a form that stands on lines of its own.
fn read_line(line: &str) -> Option<KeyProblem> {
    let private = |label: &str, command| Some(KeyProblem::Private { label: label.into(), command });
    if line.starts_with("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY") {
        return private("SSH2 ENCRYPTED PRIVATE KEY", FROM_SSH);
    }
    if line.starts_with("---- BEGIN SSH2 PUBLIC KEY") {
        return Some(KeyProblem::Ssh2);
    }
    if line.starts_with("PuTTY-User-Key-File-") {
        return private("PuTTY", "puttygen FILE -L > FILE.ssh && ssh-keygen -e -m PKCS8 -f FILE.ssh");
    }
    if line.starts_with("privateExponent:") || line == "priv:" || line.contains("Private-Key: (") {
        return private("as openssl prints it, from FILE", FROM_PRIVATE);
    }
    let (type_, rest) = line.split_once(' ')?;
    if !rest.trim_start().starts_with("AAAA") {
        return None;
    }
    match type_ {
        "ssh-rsa" => Some(KeyProblem::OpenSsh),
        "ssh-dss" | "ssh-ed25519" => Some(KeyProblem::NotRsa { kind: type_.into() }),
        ecdsa if ecdsa.starts_with("ecdsa-sha2-nistp") && ecdsa.len() < 24 => {
            Some(KeyProblem::NotRsa { kind: ecdsa.into() })
        }
        _ => None,
    }
}
