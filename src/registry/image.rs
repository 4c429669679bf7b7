//! Image manifests and indexes, of Docker (schema 2) and of OCI: which layers an image has.
//!
//! Sources: OCI image specification, `manifest.md` and `image-index.md`; distribution, "Image Manifest Version 2, Schema 2".

use serde::Deserialize;

use super::digest::Digest;

/// Types of what a reference may name, for the header `Accept`.
pub const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const IMAGES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const LAYERS: [&str; 6] = [
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.v1.tar",
];
/// Longest type that is repeated in a message, in characters.
const LONGEST_TYPE: usize = 120;

/// What a reference names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Images for several platforms: the digest of the one to read.
    Index(Digest),
    /// An image.
    Image(Image),
}

/// An image's layers, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The layers.
    pub layers: Vec<Layer>,
}

/// A layer as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Why a document is neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoDocument {
    /// It is not what a registry says.
    Garbage(String),
    /// It, or a layer, is of a type that is not read.
    MediaType {
        /// Which.
        what: String,
        /// The type it has.
        found: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parsed {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

/// Reads what a registry gave for a reference.
pub fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Document, NoDocument> {
    let parsed: Parsed = serde_json::from_slice(bytes)
        .map_err(|error| NoDocument::Garbage(format!("no image manifest in JSON, from line {} on", error.line())))?;
    let header = content_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
    // OCI documents need not say their type; then the header does, or their shape.
    let media_type = parsed.media_type.or(header).unwrap_or_default();
    let schema = parsed.schema_version;
    match (parsed.manifests, parsed.layers) {
        (Some(manifests), None) if schema == Some(2) && !IMAGES.contains(&media_type.as_str()) => {
            choose(&manifests).map(Document::Index)
        }
        (None, Some(layers)) if schema == Some(2) && !INDEXES.contains(&media_type.as_str()) => {
            layers.iter().map(layer).collect::<Result<_, _>>().map(|layers| Document::Image(Image { layers }))
        }
        _ if schema == Some(1) => {
            Err(NoDocument::MediaType { what: "the manifest".into(), found: "Docker schema 1".into() })
        }
        _ if schema.is_none() => Err(NoDocument::Garbage("JSON, but no image manifest".into())),
        _ => Err(NoDocument::MediaType { what: "the manifest".into(), found: shortened(&media_type) }),
    }
}

/// The image for linux/amd64, or the first.
fn choose(manifests: &[Descriptor]) -> Result<Digest, NoDocument> {
    let is_amd64 = |m: &&Descriptor| m.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == "amd64");
    let is_image = |m: &&Descriptor| m.media_type.as_deref().is_none_or(|found| IMAGES.contains(&found));
    let mut images = manifests.iter().filter(is_image);
    let chosen = images.clone().find(is_amd64).or_else(|| images.next());
    digest(&chosen.ok_or_else(|| NoDocument::Garbage("an index without images".into()))?.digest)
}

fn layer(descriptor: &Descriptor) -> Result<Layer, NoDocument> {
    let found = descriptor.media_type.as_deref().unwrap_or_default();
    if !LAYERS.contains(&found) {
        return Err(NoDocument::MediaType { what: "a layer".into(), found: shortened(found) });
    }
    Ok(Layer { digest: digest(&descriptor.digest)?, size: descriptor.size })
}

fn digest(text: &str) -> Result<Digest, NoDocument> {
    text.parse().map_err(|_| NoDocument::Garbage(format!("{:?} is no digest", shortened(text))))
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_TYPE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(document: &Value, content_type: Option<&str>) -> Result<Document, NoDocument> {
        read(document.to_string().as_bytes(), content_type)
    }

    fn digest_of(n: u8) -> String {
        Digest::of(&[n]).to_string()
    }

    #[test]
    fn images_of_both_kinds() {
        for (kind, layer) in [(IMAGES[0], LAYERS[3]), (IMAGES[1], LAYERS[0]), (IMAGES[0], LAYERS[4])] {
            let layers = json!([{"mediaType": layer, "digest": digest_of(1), "size": 7}]);
            let mut image = json!({"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": layers});
            let wanted = Document::Image(Image { layers: vec![Layer { digest: Digest::of(&[1]), size: 7 }] });
            assert_eq!(parsed(&image, None).as_ref(), Ok(&wanted), "{kind}");
            image.as_object_mut().unwrap().remove("mediaType");
            assert_eq!(parsed(&image, Some(&format!("{kind}; charset=utf-8"))).as_ref(), Ok(&wanted));
            assert_eq!(parsed(&image, None).as_ref(), Ok(&wanted));
        }
    }

    #[test]
    fn of_an_index_linux_amd64_or_the_first_image() {
        let entry = |n: u8, kind: &str, os: &str, arch: &str| json!({"mediaType": kind, "digest": digest_of(n), "size": 1, "platform": {"os": os, "architecture": arch}});
        let index = |manifests: Value| json!({"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": manifests});
        let (arm, amd) = (entry(1, IMAGES[0], "linux", "arm64"), entry(2, IMAGES[0], "linux", "amd64"));
        let other = entry(3, "application/vnd.in-toto+json", "unknown", "unknown");
        let chosen = |manifests: Value| parsed(&index(manifests), None);
        assert_eq!(chosen(json!([other, arm, amd])), Ok(Document::Index(Digest::of(&[2]))));
        assert_eq!(chosen(json!([other, arm])), Ok(Document::Index(Digest::of(&[1]))));
        for none in [json!([]), json!([other])] {
            assert_eq!(chosen(none), Err(NoDocument::Garbage("an index without images".into())));
        }
    }

    #[test]
    fn other_types_and_garbage_are_told_apart() {
        let found = |document: Value| match parsed(&document, None).unwrap_err() {
            NoDocument::MediaType { what, found } => format!("{what}: {found}"),
            NoDocument::Garbage(why) => why,
        };
        assert_eq!(found(json!({"schemaVersion": 1, "fsLayers": []})), "the manifest: Docker schema 1");
        assert_eq!(found(json!({"schemaVersion": 2, "mediaType": "x/y"})), "the manifest: x/y");
        let helm = json!([{"mediaType": "application/vnd.cncf.helm.chart", "digest": digest_of(1), "size": 1}]);
        assert_eq!(found(json!({"schemaVersion": 2, "layers": helm})), "a layer: application/vnd.cncf.helm.chart");
        assert_eq!(found(json!({"errors": []})), "JSON, but no image manifest");
        let bad = json!([{"mediaType": LAYERS[0], "digest": "../../x", "size": 1}]);
        assert_eq!(found(json!({"schemaVersion": 2, "layers": bad})), "\"../../x\" is no digest");
        for text in ["", "<html>", "[]", "{\"layers\": 1}", "{\"schemaVersion\": 2, \"layers\": [{\"size\": -1}]}"] {
            assert!(matches!(read(text.as_bytes(), None), Err(NoDocument::Garbage(_))), "{text}");
        }
    }
}
