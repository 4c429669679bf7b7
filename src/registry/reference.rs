//! Names of images: `HOST[:PORT]/REPOSITORY:TAG`, `HOST[:PORT]/REPOSITORY@sha256:…`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::digest::Digest;

/// Longest name that is taken, in bytes.
const LONGEST: usize = 1024;

/// The name of an image. The registry has to be in it: no registry stands in for one that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry's host, with its port where it has one.
    pub host: String,
    /// The repository.
    pub repository: String,
    /// The tag. With a digest beside it, it says nothing.
    pub tag: Option<String>,
    /// The digest.
    pub digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is no host in it.
    #[error("it names no registry; an image is HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:…")]
    NoHost,
    /// There is no repository in it.
    #[error("{0:?} is no repository: lower-case letters, digits, and . _ - between them, in parts parted by /")]
    Repository(String),
    /// Neither tag nor digest.
    #[error("it has neither a tag nor a digest; an image is HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:…")]
    Unversioned,
    /// The tag is none.
    #[error("{0:?} is no tag: letters, digits, and . _ -, 128 at most")]
    Tag(String),
    /// The digest is none.
    #[error("{0:?} is no digest: sha256: and 64 hexadecimal digits in lower case, or sha512: and 128")]
    Digest(String),
}

impl Reference {
    /// What the distribution API wants after `/manifests/`.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_default(),
        }
    }

    /// Whether the registry is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(
            self.host
                .rsplit_once(':')
                .map_or(self.host.as_str(), |(host, port)| if port.ends_with(']') { self.host.as_str() } else { host }),
        )
    }
}

/// Whether a host without its port is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// The grammar is that of the distribution specification ("Pulling manifests"). `docker://` before it is passed over.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let (host, rest) = text.split_once('/').ok_or(ReferenceError::NoHost)?;
        if text.len() > LONGEST || !is_host(host) {
            return Err(ReferenceError::NoHost);
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| ReferenceError::Digest(digest.to_owned()))?))
            }
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((_, tag)) if !is_tag(tag) => return Err(ReferenceError::Tag(tag.to_owned())),
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        if !repository.split('/').all(is_repository_part) {
            return Err(ReferenceError::Repository(repository.to_owned()));
        }
        if tag.is_none() && digest.is_none() {
            return Err(ReferenceError::Unversioned);
        }
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A host has a dot or a port in it, or is `localhost`: otherwise it could be a directory.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if !port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    (port.is_some() || host.contains('.') || host == "localhost") && host.split('.').all(label)
}

fn is_repository_part(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<u8>| b.is_some_and(plain);
    part.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'))
        && ends(part.bytes().next())
        && ends(part.bytes().last())
        && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_in_full() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, host, repository) in [
            (
                "quay.io/openshift-release-dev/ocp-release:4.18.1-x86_64".to_owned(),
                "quay.io",
                "openshift-release-dev/ocp-release",
            ),
            (format!("registry.example.com:5000/a@{digest}"), "registry.example.com:5000", "a"),
            (format!("localhost/a/b/c-d:x@{digest}"), "localhost", "a/b/c-d"),
            ("[::1]:5000/a:b".to_owned(), "[::1]:5000", "a"),
            ("mirror:5000/a__b:B_1.-".to_owned(), "mirror:5000", "a__b"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.host.as_str(), reference.repository.as_str()), (host, repository));
            assert_eq!(reference.to_string(), text);
        }
        let reference: Reference = format!("docker://h.example/a:t@{digest}").parse().unwrap();
        assert_eq!(reference.version(), digest);
    }

    #[test]
    fn what_is_no_image_says_why() {
        let why = |text: &str| text.parse::<Reference>().unwrap_err().to_string();
        for text in ["", "4.18", "releases/4.18", "./a/b:c", "../a:b", "/a/b:c", "-a.b/c:d", "a..b/c:d", "a:0/b:c"] {
            assert!(why(text).contains("names no registry"), "{text:?}: {}", why(text));
        }
        assert!(why("https://quay.io/a:b").contains("names no registry"));
        assert!(why(&format!("a.b/{}:c", "d".repeat(LONGEST))).contains("names no registry"));
        assert!(why("quay.io/a").contains("neither a tag nor a digest"));
        for text in ["quay.io/A:b", "quay.io/:b", "quay.io/a/../b:c", "quay.io/a//b:c", "quay.io/a-:c", "quay.io/a b:c"]
        {
            assert!(why(text).contains("is no repository"), "{text:?}: {}", why(text));
        }
        assert!(why("quay.io/a:").contains("\"\" is no tag") && why("quay.io/a:b/c").contains("is no tag"));
        assert!(why("quay.io/a@sha256:12").contains("\"sha256:12\" is no digest"));
    }

    #[test]
    fn loopback_is_this_machine() {
        let is = |host: &str| format!("{host}/a:b").parse::<Reference>().unwrap().is_loopback();
        for host in ["localhost", "localhost:5000", "127.0.0.1:1", "127.8.0.1", "[::1]", "[::1]:5000"] {
            assert!(is(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1:5000", "[2001:db8::1]:5000", "127.0.0.1.example.com"] {
            assert!(!is(host), "{host}");
        }
    }
}
