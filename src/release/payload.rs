//! The contents of a release image: which of its files make the release, over all its layers.
//!
//! A release image is an ordinary image with one layer more, which `oc adm release new` makes: the directory
//! `release-manifests/` with `image-references`, `release-metadata` and the manifests of all components, flat.
//! Sources: openshift/oc `pkg/cli/admin/release/new.go` (`writePayload`); which files count, openshift/
//! cluster-version-operator `pkg/payload/payload.go` (`LoadUpdate`); whiteouts, the OCI image specification, `layer.md`.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::manifests::{Manifest, ManifestError, may_hold_requests, read_file};

/// The directory in the image that holds the release.
pub const DIRECTORY: &str = "release-manifests";
/// Most files that a release may have. One of 2025 has about 1000.
pub const MOST_FILES: usize = 20_000;
/// Most bytes that are kept of a release: its CredentialsRequests have about 100 KB, `image-references` about 300 KB.
pub const MOST_KEPT: usize = 8 * 1024 * 1024;

const IMAGE_REFERENCES: &str = "image-references";
const RELEASE_METADATA: &str = "release-metadata";
/// How the names of the manifests begin that `oc adm release new` collects from a release's components.
const MANIFEST_PREFIX: &str = "0000_";
/// Longest version that is believed, in bytes.
const LONGEST_VERSION: usize = 100;

/// Why an image's contents are no release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The image has no release in it.
    #[error(
        "it has no manifests in {DIRECTORY}/, so it is no OpenShift release image; those are named like quay.io/openshift-release-dev/ocp-release:4.18.1-x86_64"
    )]
    NoRelease,
    /// Too many files.
    #[error("it has more than {MOST_FILES} files in {DIRECTORY}/; no OpenShift release has that many")]
    TooManyFiles,
    /// Too many bytes.
    #[error(
        "the files in {DIRECTORY}/ that name a CredentialsRequest have, with {IMAGE_REFERENCES}, more than {MOST_KEPT} bytes; no OpenShift release has that many"
    )]
    TooManyBytes,
    /// A manifest is a link or a device.
    #[error("{file} in it is no regular file, and only such are read; extract the release and give its directory")]
    NotAFile {
        /// Its path.
        file: String,
    },
    /// A manifest is no text.
    #[error("{file} in it is no UTF-8 text")]
    NotText {
        /// Its path.
        file: String,
    },
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// What an entry of a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file, with its content.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A link, a device, a pipe.
    Other,
}

/// What an entry's path means for a release.
#[derive(Debug, PartialEq, Eq)]
enum Meaning<'a> {
    /// The directory itself.
    Release,
    /// The directory is emptied of, or removed with, what lower layers have in it.
    Hides,
    /// A file of lower layers is removed.
    Removes(&'a str),
    /// A file that counts.
    Counts(&'a str),
}

/// Which of a layer's paths concern the release; nothing else need be read.
fn meaning(path: &str) -> Option<Meaning<'_>> {
    let path = path.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
    match path.split_once('/') {
        None if path == DIRECTORY => Some(Meaning::Release),
        None if path == ".wh..wh..opq" || path.strip_prefix(".wh.") == Some(DIRECTORY) => Some(Meaning::Hides),
        Some((DIRECTORY, ".wh..wh..opq")) => Some(Meaning::Hides),
        Some((DIRECTORY, name)) => match name.strip_prefix(".wh.") {
            Some(removed) => counts(removed).then_some(Meaning::Removes(removed)),
            None => counts(name).then_some(Meaning::Counts(name)),
        },
        _ => None,
    }
}

fn counts(name: &str) -> bool {
    let manifest = name.rsplit_once('.').is_some_and(|(_, end)| matches!(end, "yaml" | "yml" | "json"));
    !name.contains('/') && (manifest || name == IMAGE_REFERENCES || name == RELEASE_METADATA)
}

/// Whether an entry of this path is to be given to [`Layer::add`].
pub fn concerns(path: &str) -> bool {
    meaning(path).is_some()
}

/// One layer's part in the release.
#[derive(Debug, Default)]
pub struct Layer {
    /// Files by name; `None` for those without a request in them, of which only the names matter.
    files: BTreeMap<String, Option<Vec<u8>>>,
    removed: BTreeSet<String>,
    hides_lower: bool,
    /// How far the entries came in the order in which `oc adm release new` writes them.
    written: Written,
    kept: usize,
}

/// The order in which `oc adm release new` writes a layer (openshift/oc, `writePayload`). No builder writes so: those sort
/// names, and manifests' begin with digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Written {
    #[default]
    Nothing,
    Directory,
    References,
    Metadata,
    /// Nothing but manifests since.
    Manifests,
    /// In another order.
    Otherwise,
}

impl Written {
    fn and_then(self, meaning: &Meaning<'_>) -> Self {
        match (self, meaning) {
            (Self::Nothing, Meaning::Release) => Self::Directory,
            (Self::Directory, Meaning::Counts(IMAGE_REFERENCES)) => Self::References,
            (Self::References, Meaning::Counts(RELEASE_METADATA)) => Self::Metadata,
            (Self::Metadata | Self::Manifests, Meaning::Counts(name)) if name.starts_with(MANIFEST_PREFIX) => {
                Self::Manifests
            }
            _ => Self::Otherwise,
        }
    }
}

impl Layer {
    /// Takes an entry in. Where a path stands twice, the later one counts.
    pub fn add(&mut self, path: &str, entry: Entry) -> Result<(), PayloadError> {
        self.written = meaning(path).map_or(self.written, |meaning| self.written.and_then(&meaning));
        match (meaning(path), entry) {
            (None, _) | (Some(Meaning::Release), Entry::Directory) => {}
            (Some(Meaning::Hides | Meaning::Release), _) => self.hides_lower = true,
            (Some(Meaning::Removes(name) | Meaning::Counts(name)), Entry::Directory)
            | (Some(Meaning::Removes(name)), _) => {
                self.removed.insert(name.to_owned());
            }
            (Some(Meaning::Counts(name)), Entry::Other) => {
                return Err(PayloadError::NotAFile { file: format!("{DIRECTORY}/{name}") });
            }
            (Some(Meaning::Counts(name)), Entry::File(content)) => self.keep(name, content),
        }
        if self.files.len() + self.removed.len() > MOST_FILES {
            return Err(PayloadError::TooManyFiles);
        }
        if self.kept > MOST_KEPT { Err(PayloadError::TooManyBytes) } else { Ok(()) }
    }

    fn keep(&mut self, name: &str, content: Vec<u8>) {
        let wanted = name == IMAGE_REFERENCES || name == RELEASE_METADATA || may_hold_requests(&content);
        let content = wanted.then_some(content);
        self.kept += content.as_ref().map_or(0, Vec::len);
        self.files.insert(name.to_owned(), content);
    }

    /// Whether the layer is a whole release, so that none below it matters: written as `oc` does, with at least as many
    /// manifests as images (a release has some 190 images and 900 manifests). In doubt it is not, which costs no more than time.
    fn is_whole(&self) -> bool {
        let references = self.files.get(IMAGE_REFERENCES).and_then(Option::as_ref);
        let images = references.map_or(0, |text| images_in_references(text));
        let manifests = self.files.len().saturating_sub([IMAGE_REFERENCES, RELEASE_METADATA].len());
        self.written == Written::Manifests && images > 0 && manifests >= images
    }
}

/// Whether layers below the last one taken in can still matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// They can.
    Matters,
    /// They are hidden.
    Hidden,
}

/// A release, put together from the uppermost layer downwards.
#[derive(Debug, Default)]
pub struct Payload {
    files: BTreeMap<String, Option<Vec<u8>>>,
    removed: BTreeSet<String>,
    kept: usize,
}

/// What a release image holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The version, where the image tells.
    pub version: Option<String>,
    /// Its CredentialsRequests, in the order of their files.
    pub manifests: Vec<Manifest>,
}

impl Payload {
    /// Takes in the next layer below.
    pub fn take(&mut self, layer: Layer) -> Result<Below, PayloadError> {
        let below = if layer.hides_lower || layer.is_whole() { Below::Hidden } else { Below::Matters };
        for (name, content) in layer.files {
            if self.removed.contains(&name) {
                continue;
            }
            if let Slot::Vacant(slot) = self.files.entry(name) {
                self.kept += content.as_ref().map_or(0, Vec::len);
                slot.insert(content);
            }
        }
        // A layer's whiteouts are for those below it, not for its own files.
        self.removed.extend(layer.removed);
        if self.files.len() + self.removed.len() > MOST_FILES {
            return Err(PayloadError::TooManyFiles);
        }
        if self.kept > MOST_KEPT { Err(PayloadError::TooManyBytes) } else { Ok(below) }
    }

    /// Reads what was put together.
    pub fn read(mut self) -> Result<Release, PayloadError> {
        let metadata = self.files.remove(RELEASE_METADATA).flatten();
        let references = self.files.remove(IMAGE_REFERENCES).flatten();
        if self.files.is_empty() {
            return Err(PayloadError::NoRelease);
        }
        let mut manifests = Vec::new();
        for (name, content) in self.files {
            let Some(content) = content else { continue };
            let file = format!("{DIRECTORY}/{name}");
            let text = String::from_utf8(content).map_err(|_| PayloadError::NotText { file: file.clone() })?;
            manifests.extend(read_file(&file, &text)?);
        }
        let version = metadata.and_then(|text| version_in_metadata(&text));
        let version = version.or_else(|| references.and_then(|text| version_in_references(&text)));
        Ok(Release { version: version.filter(|version| is_version(version)), manifests })
    }
}

/// `release-metadata`: what the update graph is made of.
fn version_in_metadata(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        version: String,
    }
    serde_json::from_slice::<Metadata>(text).ok().map(|metadata| metadata.version)
}

/// `image-references`: an ImageStream with the release's name.
fn version_in_references(text: &[u8]) -> Option<String> {
    let stream: serde_json::Value = serde_json::from_slice(text).ok()?;
    Some(stream.pointer("/metadata/name")?.as_str()?.to_owned())
}

/// How many images a release has.
fn images_in_references(text: &[u8]) -> usize {
    let stream: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    stream.and_then(|stream| stream.pointer("/spec/tags")?.as_array().map(Vec::len)).unwrap_or(0)
}

/// It is going to be printed, so it has to be one.
fn is_version(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_');
    !text.is_empty() && text.len() <= LONGEST_VERSION && text.chars().all(plain)
}

#[cfg(test)]
mod tests;
