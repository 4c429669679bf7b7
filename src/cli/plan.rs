//! `rolecall plan`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use jiff::Timestamp;

use super::printer;
use crate::api::ClusterIdentity;
use crate::aws::anonymous::AnonymousReader;
use crate::aws::meter::Meter;
use crate::aws::{Connection, observe};
use crate::desired::keys::KeySource;
use crate::desired::{Inputs, desire};
use crate::observed::Observed;
use crate::plan::{Prior, plan};
use crate::release::inclusion::Inclusion;
use crate::release::manifests::{LARGEST_FILE, Manifest, read_file};
use crate::report::{PlanReport, json, text};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file with the ClusterIdentity
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,

    /// A file with CredentialsRequests, or a directory of such files (.yaml, .yml, .json)
    #[arg(long, value_name = "PATH")]
    credentials_requests: PathBuf,

    /// A file with public signing keys in PEM, in place of the ClusterIdentity's sources; may be repeated
    #[arg(long = "public-key-file", value_name = "FILE", required = true)]
    public_key_files: Vec<PathBuf>,

    /// Leave out the requests that a default cluster does not get (feature set, feature gates, profile)
    #[arg(long)]
    included: bool,

    /// Format of the plan
    #[arg(long, short, default_value = "text", value_name = "FORMAT")]
    output: Output,

    /// Exit with 2 when something is to be changed, is in the way or is refused
    #[arg(long)]
    detailed_exitcode: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let identity = read_identity(&args.identity)?;
    let (manifests, passed_over) = select(read_requests(&args.credentials_requests)?, args.included);
    refuse_doubles(&manifests)?;
    let keys = args.public_key_files.iter().map(|file| key_source(file)).collect();
    super::runtime()?.block_on(show(args, identity, manifests, keys, &passed_over))
}

async fn show(
    args: &Args,
    identity: ClusterIdentity,
    manifests: Vec<Manifest>,
    keys: Vec<KeySource>,
    passed_over: &[String],
) -> anyhow::Result<ExitCode> {
    crate::desired::check_spec(&identity.spec)?;
    let connection = Connection::new(Meter::default()).await;
    let (clients, account) = connection.open(&identity.spec.region).await?;
    let name = identity.metadata.name.as_deref().unwrap_or_default();
    let namespace = identity.metadata.namespace.as_deref().unwrap_or("default");
    let trust_limit = observe::trust_limit(&clients).await.ok();
    let inputs = Inputs {
        identity: format!("{namespace}/{name}"),
        spec: identity.spec,
        account: account.clone(),
        trust_limit,
        keys,
        remembered_keys: Vec::new(),
        requests: manifests.into_iter().map(Manifest::into_input).collect(),
        now: Timestamp::now(),
    };
    let desired = desire(&inputs)?;
    let aws = Box::pin(observe::observe(&clients, &account, &desired)).await;
    let fetched =
        if aws.has_documents() { Some(AnonymousReader::new().fetch(&desired.issuer.url).await) } else { None };
    let observed = Observed {
        bucket: aws.bucket,
        provider: aws.provider,
        roles: aws.roles,
        secrets: std::collections::BTreeMap::new(),
        fetched,
    };
    let plan = plan(&desired, &observed, &Prior::default());
    let report = PlanReport { desired: &desired, plan: &plan, account: &account, secrets_compared: false, passed_over };
    printer::out(&match args.output {
        Output::Text => text::render(&report),
        Output::Json => format!("{:#}\n", json::render(&report)),
    });
    let code = if args.detailed_exitcode && !report.is_clean() { 2 } else { 0 };
    Ok(ExitCode::from(code))
}

/// The part of a manifest that says what it is.
#[derive(Default, serde::Deserialize)]
struct Kind {
    #[serde(default)]
    kind: Option<String>,
}

fn read_identity(file: &Path) -> anyhow::Result<ClusterIdentity> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let kind: Kind = serde_saphyr::from_str(&text).unwrap_or_default();
    if let Some(kind) = kind.kind.filter(|kind| kind != "ClusterIdentity") {
        bail!("{}: kind is {kind:?}; expected ClusterIdentity", file.display());
    }
    let identity: ClusterIdentity = serde_saphyr::from_str(&text).map_err(|error| {
        anyhow::anyhow!("{}: {}", file.display(), error.to_string().lines().next().unwrap_or_default())
    })?;
    Ok(identity)
}

fn read_requests(path: &Path) -> anyhow::Result<Vec<Manifest>> {
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

/// The requests to plan for, and a line for each that is left out.
fn select(manifests: Vec<Manifest>, included: bool) -> (Vec<Manifest>, Vec<String>) {
    let inclusion = Inclusion::default();
    let mut passed_over = Vec::new();
    let mut kept = Vec::new();
    for manifest in manifests {
        match inclusion.decide(&manifest.annotations) {
            Err(excluded) if included => passed_over.push(format!("{}: {excluded}", manifest.id)),
            _ => kept.push(manifest),
        }
    }
    (kept, passed_over)
}

/// One name stands for one object in a cluster, so two manifests of one name are a mistake.
fn refuse_doubles(manifests: &[Manifest]) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeMap::new();
    for manifest in manifests.iter().filter(|manifest| !manifest.is_tombstone()) {
        if let Some(first) = seen.insert(&manifest.id, &manifest.file) {
            bail!("{} stands in {first} and in {}: keep one of them", manifest.id, manifest.file);
        }
    }
    Ok(())
}

fn key_source(file: &Path) -> KeySource {
    let pem = std::fs::read_to_string(file).map_err(|error| format!("it cannot be read: {error}"));
    KeySource { origin: file.display().to_string(), pem }
}
