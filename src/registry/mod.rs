//! The only room that talks to container registries: it reads the manifests out of an OpenShift release image.
//!
//! It speaks the few calls of the [OCI distribution specification] that reading takes: a manifest, blobs, and the tokens
//! that a registry asks for. Every answer is bounded in size and time, every blob is held against its digest, and nothing
//! is written to disk. It knows nothing of Kubernetes.
//!
//! [OCI distribution specification]: https://github.com/opencontainers/distribution-spec/blob/main/spec.md

mod auth;
mod challenge;
mod client;
mod digest;
mod error;
mod image;
mod layer;
mod limits;
mod reference;
mod session;
mod zstd;

pub use auth::{Credentials, PullSecret, PullSecretError};
pub use client::{Progress, RegistryClient};
pub use digest::Digest;
pub use error::RegistryError;
pub use limits::{LARGEST_DOCUMENT, LARGEST_IMAGE, LARGEST_LAYER, LARGEST_UNPACKED, MOST_LAYERS};
pub use reference::{Reference, ReferenceError};

use crate::release::manifests::Manifest;
use crate::release::payload::{Below, Payload};
use limits::Budget;
use session::Session;

/// A release, as its image has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseImage {
    /// The digest of what the reference names: of the image, or of the index over several architectures.
    pub digest: Digest,
    /// The release's version, where the image tells.
    pub version: Option<String>,
    /// Its CredentialsRequests, for all clouds.
    pub manifests: Vec<Manifest>,
    /// How many of the image's layers were read, and how many it has.
    pub layers: (usize, usize),
}

/// Reads a release out of its image. Layers are read from the uppermost downwards, and no more of them than count: in
/// what `oc adm release new` made, one.
///
/// The manifests are the same for all architectures (openshift/oc `pkg/cli/admin/release/new.go`, `extractManifests`), so
/// of an index the image for linux/amd64 is taken, or the first.
pub async fn read_release(
    client: &RegistryClient,
    reference: &Reference,
    auth: &PullSecret,
) -> Result<ReleaseImage, RegistryError> {
    let mut session = Session::open(client, reference, auth).await?;
    let (digest, image) = session.image().await?;
    let count = image.layers.len();
    let mut budget = Budget::default();
    let mut payload = Payload::default();
    let mut read = 0;
    for (number, layer) in image.layers.iter().enumerate().rev() {
        let (contents, left) = session.layer(layer, (number + 1, count), budget).await?;
        budget = left;
        read += 1;
        if payload.take(contents).map_err(|source| session.payload(source))? == Below::Hidden {
            break;
        }
    }
    let release = payload.read().map_err(|source| session.payload(source))?;
    Ok(ReleaseImage { digest, version: release.version, manifests: release.manifests, layers: (read, count) })
}
