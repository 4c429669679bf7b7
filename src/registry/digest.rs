//! Content digests: `sha256:` or `sha512:` and hexadecimal digits (OCI image specification, `descriptor.md`).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA512};

/// The digest of a manifest or a blob.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The SHA-256 of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(&SHA256, "sha256");
        hasher.update(bytes);
        hasher.finish()
    }

    /// A hasher of this digest's algorithm.
    pub fn hasher(&self) -> Hasher {
        if self.0.starts_with("sha512:") { Hasher::new(&SHA512, "sha512") } else { Hasher::new(&SHA256, "sha256") }
    }

    /// The digest of some bytes, by this one's algorithm.
    #[must_use]
    pub fn digest_of(&self, bytes: &[u8]) -> Self {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Whether it is that of some bytes.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        self.digest_of(bytes) == *self
    }
}

/// The text is no digest of a known algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is sha256: and 64 hexadecimal digits in lower case, or sha512: and 128")]
pub struct NoDigest;

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let digits = match text.split_once(':') {
            Some(("sha256", digits)) if digits.len() == 64 => digits,
            Some(("sha512", digits)) if digits.len() == 128 => digits,
            _ => return Err(NoDigest),
        };
        let hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex { Ok(Self(text.to_owned())) } else { Err(NoDigest) }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes a digest of bytes as they come.
pub struct Hasher {
    context: Context,
    name: &'static str,
}

impl Hasher {
    fn new(algorithm: &'static Algorithm, name: &'static str) -> Self {
        Self { context: Context::new(algorithm), name }
    }

    /// Takes bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        let mut digest = format!("{}:", self.name);
        for byte in self.context.finish().as_ref() {
            digest.push_str(&format!("{byte:02x}"));
        }
        Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_made_and_read() {
        // FIPS 180-4's example, "abc".
        let sha256 = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sha512 = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(Digest::of(b"abc").to_string(), sha256);
        for digest in [sha256, sha512] {
            let read: Digest = digest.parse().unwrap();
            assert!(read.is_of(b"abc") && !read.is_of(b"abd"), "{digest}");
        }
        for text in ["", "sha256:", "sha256:abc", &sha256.to_uppercase(), &sha256.replace("sha256", "md5"), "../x"] {
            assert_eq!(text.parse::<Digest>(), Err(NoDigest), "{text:?}");
        }
        assert_eq!(sha256.replace("ad", "aD").parse::<Digest>(), Err(NoDigest));
    }
}
