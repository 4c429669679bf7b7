//! What can go wrong between us and a registry. No message holds credentials, tokens or signed addresses.

use super::digest::Digest;
use super::limits::{LARGEST_DOCUMENT, LARGEST_IMAGE, LARGEST_LAYER, LARGEST_RATIO, LARGEST_UNPACKED, MOST_LAYERS};
use crate::release::manifests::LARGEST_FILE;
use crate::release::payload::PayloadError;

/// Why a release could not be read from its image.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no client.
    #[error("no connection can be made at all: {0}")]
    NoClient(String),
    /// Nothing came back.
    #[error(
        "{host} gave no answer: {problem}; check the name, the network, HTTPS_PROXY, and SSL_CERT_FILE for an own CA"
    )]
    NoAnswer {
        /// Who was asked.
        host: String,
        /// The cause.
        problem: String,
    },
    /// It took too long.
    #[error("{what} was not there after {seconds} s; try again")]
    TooSlow {
        /// What was asked for.
        what: String,
        /// The limit, in seconds.
        seconds: u64,
    },
    /// Who asks is not let in.
    #[error(
        "{host} refuses to give {image} (HTTP {status}), asked with {tried}; registries say so of images that do not exist, too"
    )]
    Denied {
        /// The image.
        image: String,
        /// Who refused.
        host: String,
        /// The HTTP status.
        status: u16,
        /// Which credentials were tried.
        tried: String,
    },
    /// Whom the registry sends us to does not let us in.
    #[error(
        "{registry} sends those who ask for {what} to {host}, which refuses them (HTTP {status}); credentials for {registry} are not sent there; try again, and if it stays so, the registry's store has to be mended"
    )]
    RefusedElsewhere {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Who refused.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// The registry wants to be asked in a way that is not known here.
    #[error("{host} asks for credentials in a way that is not known here: neither Basic nor Bearer")]
    UnknownChallenge {
        /// Who.
        host: String,
    },
    /// The registry sends us with our credentials to where anyone could read them.
    #[error("{host} asks for a token from {realm:?}, which is no https URL; credentials are not sent there")]
    UnsafeRealm {
        /// Who.
        host: String,
        /// Where.
        realm: String,
    },
    /// There is no such image.
    #[error("{image} does not exist in its registry; check repository, tag and digest")]
    NoImage {
        /// The image.
        image: String,
    },
    /// A part of the image is not there.
    #[error("{image} is incomplete: its registry has no {digest}; push or mirror it again")]
    NoBlob {
        /// The image.
        image: String,
        /// What is missing.
        digest: Digest,
    },
    /// Another status.
    #[error("{host} answered HTTP {status} when asked for {what}; {}", advice(*.status))]
    Status {
        /// Who.
        host: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not what a registry says.
    #[error("what {host} answered when asked for {what} is not a registry's: {problem}")]
    Garbage {
        /// Who.
        host: String,
        /// What was asked for.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// It is of a kind that is not read.
    #[error(
        "{image}: {what} has the type {found:?}, which is none of a container image that can be read (Docker schema 2, OCI)"
    )]
    MediaType {
        /// The image.
        image: String,
        /// The manifest or the layer.
        what: String,
        /// The type it has.
        found: String,
    },
    /// The content is not what its digest says.
    #[error("{what} has the digest {found}, not {expected}: it was damaged or changed on the way; do not use it")]
    Digest {
        /// What.
        what: String,
        /// As it was named.
        expected: Digest,
        /// As it came.
        found: Digest,
    },
    /// The answer ended too early.
    #[error("{what} ended after {received} bytes{}: {problem}; try again", of(*.expected))]
    Truncated {
        /// What.
        what: String,
        /// How many bytes came.
        received: u64,
        /// How many there should be.
        expected: Option<u64>,
        /// The cause.
        problem: String,
    },
    /// The answer goes on beyond what it should have.
    #[error("{what} has more than the {expected} bytes that the image's manifest says; do not use it")]
    TooLong {
        /// What.
        what: String,
        /// How many there should be.
        expected: u64,
    },
    /// A document is too large.
    #[error("{what} has more than {LARGEST_DOCUMENT} bytes; no release image's has")]
    LargeDocument {
        /// What.
        what: String,
    },
    /// A layer is too large.
    #[error(
        "{what} has {size} bytes; layers of at most {LARGEST_LAYER} bytes are read, and {LARGEST_IMAGE} of an image"
    )]
    LargeLayer {
        /// What.
        what: String,
        /// How many.
        size: u64,
    },
    /// Too many layers.
    #[error("{image} has {count} layers; at most {MOST_LAYERS} are read")]
    ManyLayers {
        /// The image.
        image: String,
        /// How many.
        count: usize,
    },
    /// A layer unpacks to far more than it is.
    #[error(
        "{what} unpacks to more than {LARGEST_RATIO} times its size, or than {LARGEST_UNPACKED} bytes; it is refused"
    )]
    Bomb {
        /// What.
        what: String,
    },
    /// A file is too large.
    #[error("{what}: {file} has {size} bytes; manifests of at most {LARGEST_FILE} bytes are read")]
    LargeFile {
        /// The layer.
        what: String,
        /// The file.
        file: String,
        /// Its size.
        size: u64,
    },
    /// A layer cannot be unpacked.
    #[error("{what} cannot be unpacked: {problem}")]
    Layer {
        /// What.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// The contents are no release.
    #[error("{image}: {source}")]
    Payload {
        /// The image.
        image: String,
        /// What is wrong.
        source: PayloadError,
    },
}

fn of(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |expected| format!(" of {expected}"))
}

fn advice(status: u16) -> &'static str {
    match status {
        429 => "it has had too many requests; try again later",
        500.. => "try again later",
        _ => "is it a container registry?",
    }
}

/// The innermost cause of an error: without the address, which may be a signed one.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

impl RegistryError {
    /// Whether it may pass by itself: nobody has said that the image cannot be read.
    pub const fn will_pass(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::TooSlow { .. } | Self::Truncated { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}
