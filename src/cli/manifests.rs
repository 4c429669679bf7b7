//! Reads CredentialsRequests from files and directories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::FileType;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::file;
use crate::desired::request::RequestId;
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
        if !kind_of(&file)?.is_file() {
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

/// One name stands for one object in a cluster, so two requests of one name cannot both be applied. Tombstones are none, and
/// clouds share names: a cluster gets the requests of one.
pub fn refuse_duplicates(manifests: &[Manifest]) -> anyhow::Result<()> {
    let mut files: BTreeMap<&RequestId, &str> = BTreeMap::new();
    let ours = |manifest: &&Manifest| !manifest.is_tombstone() && manifest.cloud.why_not_aws().is_none();
    for manifest in manifests.iter().filter(ours) {
        if let Some(first) = files.insert(&manifest.id, &manifest.file) {
            bail!("{} stands in {first} and in {}: keep one of them", manifest.id, manifest.file);
        }
    }
    Ok(())
}

/// The files below a directory that may be manifests, in the order of their names.
fn files_below(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let top = canonical(root)?;
    let mut walk = Walk { visited: BTreeSet::from([top.clone()]), top, files: Vec::new() };
    walk.descend(root)?;
    Ok(walk.files)
}

/// A walk through a directory that follows links. Links may lead in a circle, so each directory is read once.
struct Walk {
    /// The directory that was given, as it is without links.
    top: PathBuf,
    /// The directories that were read, or are being read, as they are without links.
    visited: BTreeSet<PathBuf>,
    files: Vec<PathBuf>,
}

impl Walk {
    fn descend(&mut self, dir: &Path) -> anyhow::Result<()> {
        for path in entries(dir)? {
            if kind_of(&path)?.is_dir() {
                self.enter(&path)?;
            } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
                self.files.push(path);
            }
        }
        Ok(())
    }

    fn enter(&mut self, dir: &Path) -> anyhow::Result<()> {
        let real = canonical(dir)?;
        // Passing it over could leave requests out, and following it would read what nobody has given.
        if real != self.top && self.top.starts_with(&real) {
            bail!(
                "{} is a link to {}, which {} is in: remove the link, or give that directory instead",
                dir.display(),
                real.display(),
                self.top.display()
            );
        }
        if self.visited.insert(real) { self.descend(dir) } else { Ok(()) }
    }
}

/// What a directory holds, by name. A mounted ConfigMap keeps its files twice: under a name that begins with two dots, and as
/// links to there, which are read.
fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", dir.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        if !entry.file_name().to_string_lossy().starts_with("..") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// What stands there, links followed. One that leads nowhere may stand for any number of requests.
fn kind_of(path: &Path) -> anyhow::Result<FileType> {
    match (std::fs::metadata(path), std::fs::read_link(path)) {
        (Ok(metadata), _) => Ok(metadata.file_type()),
        (Err(error), Ok(target)) => bail!(
            "{} is a link to {}, where nothing can be read ({error}): mend the link, or remove it",
            path.display(),
            target.display()
        ),
        (Err(error), Err(_)) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn canonical(path: &Path) -> anyhow::Result<PathBuf> {
    std::fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))
}
