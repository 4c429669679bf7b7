//! Reads CredentialsRequests from files and directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::desired::request::RequestId;
use crate::release::manifests::{LARGEST_FILE, Manifest, read_file};

/// The requests in a file, or in all files below a directory.
pub fn read_requests(path: &Path) -> anyhow::Result<Vec<Manifest>> {
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let files = if metadata.is_dir() { files_below(path)? } else { vec![path.to_owned()] };
    if files.is_empty() {
        bail!("{} holds no .yaml, .yml or .json file", path.display());
    }
    let mut manifests = Vec::new();
    for file in files {
        let size = std::fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
        if size > LARGEST_FILE as u64 {
            bail!("{}: {size} bytes; manifests of at most {LARGEST_FILE} bytes are read", file.display());
        }
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        manifests.extend(read_file(&file.display().to_string(), &text)?);
    }
    Ok(manifests)
}

/// The file of each request, tombstones apart. One name stands for one object in a cluster, so two manifests of one name
/// are a mistake.
pub fn files_of<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> anyhow::Result<BTreeMap<RequestId, String>> {
    let mut files: BTreeMap<RequestId, String> = BTreeMap::new();
    for manifest in manifests.into_iter().filter(|manifest| !manifest.is_tombstone()) {
        if let Some(first) = files.insert(manifest.id.clone(), manifest.file.clone()) {
            bail!("{} stands in {first} and in {}: keep one of them", manifest.id, manifest.file);
        }
    }
    Ok(files)
}

fn files_below(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let path = entry.path();
        // A mounted ConfigMap keeps its files twice, behind links whose names begin with two dots.
        if entry.file_name().to_string_lossy().starts_with("..") {
            continue;
        }
        // A link to a directory may lead back up.
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&path)?);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
