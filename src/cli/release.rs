//! Where a release's requests come from: files, a directory, or the release image in its registry.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::file;
use super::manifests::read_requests;
use super::printer;
use crate::registry::{Progress, PullSecret, PullSecretError, Reference, RegistryClient, read_release};
use crate::release::manifests::Manifest;

/// Largest pull secret that is read, in bytes.
const LARGEST_PULL_SECRET: usize = 1024 * 1024;
/// Time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// How registries are talked to.
#[derive(Debug, clap::Args)]
pub struct RegistryArgs {
    /// The pull secret for release images: a .dockerconfigjson, or podman's auth.json. By default what podman and docker
    /// have: ${XDG_RUNTIME_DIR}/containers/auth.json, then ~/.docker/config.json
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    registry_config: Option<PathBuf>,

    /// Talk plain HTTP to registries that do not speak HTTPS. Those on this machine may always
    #[arg(long)]
    insecure_registry: bool,
}

/// A release's requests.
#[derive(Debug)]
pub struct Release {
    /// The requests, for all clouds and clusters.
    pub manifests: Vec<Manifest>,
    /// Where they are from: the path; or the image, its version and digest.
    pub in_words: String,
}

/// Reads a release. What exists as a file or a directory is one; anything else has to be an image.
pub fn read(source: &Path, registry: &RegistryArgs) -> anyhow::Result<Release> {
    match std::fs::metadata(source) {
        Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::NotADirectory => {}
        _ => return Ok(Release { manifests: read_requests(source)?, in_words: source.display().to_string() }),
    }
    let reference: Reference = match source.to_string_lossy().parse() {
        Ok(reference) => reference,
        Err(why) => bail!("{} is no file or directory that exists, and no image: {why}", source.display()),
    };
    let pull_secret = pull_secret(registry)?;
    super::runtime()?.block_on(read_image(&reference, &pull_secret, registry.insecure_registry))
}

async fn read_image(reference: &Reference, pull_secret: &PullSecret, insecure: bool) -> anyhow::Result<Release> {
    let shown = Mutex::new(Instant::now());
    let client = RegistryClient::new(insecure)?.watched(move |progress| show(progress, &shown));
    let read = Box::pin(read_release(&client, reference, pull_secret)).await;
    printer::progress("");
    let image = read?;
    let about = match (&image.version, &reference.digest) {
        (Some(version), Some(_)) => format!("version {version}"),
        (Some(version), None) => format!("version {version}, {}", image.digest),
        (None, Some(_)) => "no version named in it".into(),
        (None, None) => image.digest.to_string(),
    };
    Ok(Release { manifests: image.manifests, in_words: format!("{reference} ({about})") })
}

fn show(progress: &Progress, shown: &Mutex<Instant>) {
    let Ok(mut shown) = shown.lock() else { return };
    if shown.elapsed() < PROGRESS_INTERVAL {
        return;
    }
    *shown = Instant::now();
    let ((number, count), mega) = (progress.layer, 1_000_000);
    let (received, size) = (progress.received / mega, progress.size.div_ceil(mega));
    printer::progress(&format!("{}: layer {number} of {count}, {received} of {size} MB", progress.image));
}

/// The pull secret as given, or where podman and docker keep it; none when neither has one.
fn pull_secret(args: &RegistryArgs) -> anyhow::Result<PullSecret> {
    if let Some(file) = &args.registry_config {
        return Ok(read_pull_secret(file)??);
    }
    let podman = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("containers/auth.json"));
    let docker = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker/config.json"));
    let Some(file) = [podman, docker].into_iter().flatten().find(|file| file.exists()) else {
        return Ok(PullSecret::default());
    };
    match read_pull_secret(&file)? {
        // docker's file holds other settings, too, and may have no more than those.
        Err(PullSecretError::NoAuths { .. }) => Ok(PullSecret::default()),
        read => Ok(read?),
    }
}

fn read_pull_secret(file: &Path) -> anyhow::Result<Result<PullSecret, PullSecretError>> {
    let text = file::text(file, LARGEST_PULL_SECRET, "pull secrets").context("the pull secret")?;
    Ok(PullSecret::parse(&text, &file.display().to_string()))
}
