//! Images as builders make them: layers of files, packed, and the manifest over them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// Whose types an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Docker,
    Oci,
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
    Plain,
}

impl Kind {
    pub fn image_type(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
        }
    }

    pub fn index_type(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::Oci => "application/vnd.oci.image.index.v1+json",
        }
    }

    fn layer_type(self, layer: &[u8]) -> &'static str {
        match (self, layer.first()) {
            (Self::Docker, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Oci, Some(0x28)) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::Oci, Some(0x1F)) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Oci, _) => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    pub fn manifest(self, layers: &[Vec<u8>], config: &[u8]) -> Value {
        let config_type = match self {
            Self::Docker => "application/vnd.docker.container.image.v1+json",
            Self::Oci => "application/vnd.oci.image.config.v1+json",
        };
        let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()});
        let layers: Vec<Value> = layers.iter().map(|layer| descriptor(self.layer_type(layer), layer)).collect();
        json!({
            "schemaVersion": 2,
            "mediaType": self.image_type(),
            "config": descriptor(config_type, config),
            "layers": layers,
        })
    }
}

/// `sha256:…` of some bytes.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    format!("sha256:{}", digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// An entry of a layer: path and content, or a directory.
pub type Entry = (String, Option<Vec<u8>>);

pub fn file(path: &str, content: impl AsRef<[u8]>) -> Entry {
    (path.to_owned(), Some(content.as_ref().to_vec()))
}

pub fn directory(path: &str) -> Entry {
    (path.to_owned(), None)
}

pub fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = Header::new_gnu();
        let content = content.as_deref();
        header.set_entry_type(if content.is_some() { EntryType::Regular } else { EntryType::Directory });
        header.set_mode(0o444);
        header.set_size(content.map_or(0, <[u8]>::len) as u64);
        builder.append_data(&mut header, path, content.unwrap_or_default()).expect("an entry");
    }
    builder.into_inner().expect("an archive")
}

pub fn pack(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Zstd => compress_to_vec(bytes, CompressionLevel::Fastest),
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).expect("a buffer");
            encoder.finish().expect("a buffer")
        }
    }
}

/// The requests of a file of `tests/releases`, each as a file named as a release has it.
pub fn split(requests: &str) -> Vec<(String, String)> {
    let documents = requests.split("\n---\n").filter(|document| document.contains("kind: CredentialsRequest"));
    let named = documents.enumerate().map(|(number, document)| {
        let operator = document.lines().find_map(|line| line.trim().strip_prefix("name: ")).expect("a name");
        (format!("release-manifests/0000_{:02}_{operator}_00_credentials-request.yaml", 30 + number), document)
    });
    named.map(|(name, document)| (name, format!("---\n{document}\n"))).collect()
}

/// What `oc adm release new` puts over the image of the cluster-version operator: the directory, what images there are,
/// the metadata, and then the manifests of all components.
pub fn release_layer(version: &str, requests: &str) -> Vec<Entry> {
    let images =
        ["aws-ebs-csi-driver", "cloud-credential-operator", "cluster-version-operator", "machine-api-operator"];
    let tag = |name: &str| json!({"name": name, "from": {"kind": "DockerImage", "name": "quay.io/x@sha256:1"}});
    let references = json!({
        "kind": "ImageStream",
        "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": version},
        "spec": {"tags": images.map(tag)},
    });
    let metadata = json!({"kind": "cincinnati-metadata-v0", "version": version, "previous": []});
    let mut entries = vec![
        directory("release-manifests"),
        file("release-manifests/image-references", references.to_string()),
        file("release-manifests/release-metadata", metadata.to_string()),
        file("release-manifests/0000_00_cluster-version-operator_03_deployment.yaml", DEPLOYMENT),
        file("release-manifests/0000_03_config-operator_01_proxies.crd.yaml", CRD),
    ];
    entries.extend(split(requests).into_iter().map(|(name, text)| file(&name, text)));
    entries.push(file("release-manifests/0000_90_etcd-operator_01_alerts.yaml", ALERTS));
    entries.push(file("release-manifests/README.md", "not a manifest"));
    entries
}

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cluster-version-operator, namespace: openshift-cluster-version}\n";
/// Names the kind, and is no request.
const CRD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: credentialsrequests.cloudcredential.openshift.io}\nspec: {names: {kind: CredentialsRequest}}\n";
/// Text that is no YAML for us, as rules with templates in them are.
const ALERTS: &str = "kind: PrometheusRule\nsummary: {{ $labels.job }} has gone: [\n";
