//! Reads CredentialsRequests from files and directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::file;
use crate::desired::request::{Reading, RequestId, read};
use crate::release::manifests::{LARGEST_FILE, Manifest, may_hold_requests, read_file};

/// What the files are called.
const KIND: &str = "manifests";

/// The requests in a file, or in all files below a directory. Of a directory, files that name no request may be as they
/// like: a release has templates beside its requests.
pub fn read_requests(path: &Path) -> anyhow::Result<Vec<Manifest>> {
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !metadata.is_dir() {
        return requests_in(path, file::bytes(path, LARGEST_FILE, KIND)?);
    }
    let files = files_below(path)?;
    if files.is_empty() {
        bail!("{} holds no .yaml, .yml or .json file", path.display());
    }
    let mut manifests = Vec::new();
    for file in files {
        let metadata = std::fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?;
        if !metadata.is_file() {
            bail!("{} is no regular file, and only such are read of a directory", file.display());
        }
        let bytes = file::bytes(&file, LARGEST_FILE, KIND)?;
        if may_hold_requests(&bytes) {
            manifests.extend(requests_in(&file, bytes)?);
        }
    }
    Ok(manifests)
}

fn requests_in(file: &Path, bytes: Vec<u8>) -> anyhow::Result<Vec<Manifest>> {
    Ok(read_file(&file.display().to_string(), &file::as_text(file, bytes)?)?)
}

/// The file of each request for AWS, tombstones apart. One name stands for one object in a cluster, so two manifests of
/// one name are a mistake. Clouds share names: a cluster gets the requests of one.
pub fn files_of<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> anyhow::Result<BTreeMap<RequestId, String>> {
    let mut files: BTreeMap<RequestId, String> = BTreeMap::new();
    for manifest in manifests.into_iter().filter(|manifest| !manifest.is_tombstone() && !is_of_another_cloud(manifest))
    {
        if let Some(first) = files.insert(manifest.id.clone(), manifest.file.clone()) {
            bail!("{} stands in {first} and in {}: keep one of them", manifest.id, manifest.file);
        }
    }
    Ok(files)
}

fn is_of_another_cloud(manifest: &Manifest) -> bool {
    manifest.spec.as_ref().is_ok_and(|spec| matches!(read(spec), Ok(Reading::OtherCloud { .. })))
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
