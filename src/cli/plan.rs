//! `rolecall plan`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use jiff::Timestamp;

use super::file;
use super::manifests::{read_requests, refuse_duplicates};
use super::{printer, yaml};
use crate::api::ClusterIdentity;
use crate::aws::anonymous::AnonymousReader;
use crate::aws::meter::Meter;
use crate::aws::observe::Extent;
use crate::aws::snapshot::Freshness;
use crate::aws::{Access, Connection, observe};
use crate::desired::consent::Consents;
use crate::desired::keys::{Held, KeySource};
use crate::desired::owner::{Owners, mark_in};
use crate::desired::{Desired, Inputs, desire};
use crate::observed::{BucketState, Observed, Seen};
use crate::plan::{Prior, plan};
use crate::release::inclusion::Inclusion;
use crate::release::manifests::{Cloud, LARGEST_FILE, Manifest};
use crate::report::{PlanReport, html, json, markdown, text};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file with the ClusterIdentity
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,

    /// A file with CredentialsRequests, or a directory of such files (.yaml, .yml, .json)
    #[arg(long, value_name = "PATH")]
    credentials_requests: PathBuf,

    /// A file with public signing keys (PEM or DER), in place of the ClusterIdentity's sources; may be repeated
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
    Yaml,
    Markdown,
    Html,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let identity = read_identity(&args.identity)?;
    let (manifests, passed_over) = select(read_requests(&args.credentials_requests)?, args.included);
    refuse_duplicates(&manifests)?;
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
    let session = connection.open(&Access::of(&identity.spec)).await?;
    let account = session.account.id.clone();
    let name = identity.metadata.name.as_deref().unwrap_or_default();
    let namespace = identity.metadata.namespace.as_deref().unwrap_or("default");
    let trust_limit = observe::trust_limit(&session).await.ok();
    let inputs = Inputs {
        identity: format!("{namespace}/{name}"),
        spec: identity.spec,
        account: account.clone(),
        trust_limit,
        keys,
        remembered_keys: Vec::new(),
        requests: manifests.into_iter().map(Manifest::into_input).collect(),
        now: Timestamp::now(),
        pre_grants: Vec::new(),
        refused_by_aws: BTreeMap::new(),
        granted_ahead: std::collections::BTreeSet::new(),
        provisioned: Vec::new(),
        owners: Owners::default(),
        consents: Consents::of(identity.metadata.annotations.as_ref().unwrap_or(&BTreeMap::new())),
    };
    let desired = desire(&inputs)?;
    let extent = Extent { freshness: Freshness::from_now_on(), other_providers: true };
    let aws = Box::pin(observe::observe(&session, &desired, None, extent)).await;
    let fetched =
        if aws.has_documents() { Some(AnonymousReader::new().fetch(&desired.issuer.url).await) } else { None };
    let observed = aws.with_fetched(&session, fetched);
    let plan = plan(&desired, &observed, &Prior::default());
    let marks = owner_marks(&desired, &observed);
    let report = PlanReport {
        desired: &desired,
        plan: &plan,
        account: &account,
        secrets_compared: false,
        passed_over,
        marks: &marks,
    };
    printer::out(&match args.output {
        Output::Text => text::render(&report),
        Output::Json => format!("{:#}\n", json::render(&report)),
        Output::Yaml => yaml::of(&json::render(&report)).context("cannot write the report as YAML")?,
        Output::Markdown => markdown::render(&report),
        Output::Html => html::render(&report),
    })?;
    let code = if args.detailed_exitcode && !report.is_clean() { 2 } else { 0 };
    Ok(ExitCode::from(code))
}

/// The owner marks that were found. Without a management cluster nobody can tell whose they are, and they hinder nothing.
fn owner_marks(desired: &Desired, observed: &Observed) -> Vec<(String, String)> {
    let mut tagged: Vec<(String, &BTreeMap<String, String>)> = Vec::new();
    if let Seen::Known(BucketState::Present(bucket)) = &observed.bucket {
        tagged.push((format!("bucket/{}", desired.issuer.bucket.name), &bucket.tags));
    }
    if let Seen::Known(Some(provider)) = &observed.provider {
        tagged.push((format!("provider/{}", desired.issuer.provider.host_and_path()), &provider.tags));
    }
    for (name, role) in &observed.roles {
        if let Seen::Known(Some(role)) = role {
            tagged.push((format!("role/{name}"), &role.tags));
        }
    }
    let mark = |(resource, tags): (String, &BTreeMap<String, String>)| Some((resource, mark_in(tags)?.clone()));
    tagged.into_iter().filter_map(mark).collect()
}

/// The part of a manifest that says what it is.
#[derive(Default, serde::Deserialize)]
struct Kind {
    #[serde(default)]
    kind: Option<String>,
}

fn read_identity(file: &Path) -> anyhow::Result<ClusterIdentity> {
    let text = file::text(file, LARGEST_FILE, "ClusterIdentities")?;
    let kind: Kind = serde_saphyr::from_str(&text).unwrap_or_default();
    if let Some(kind) = kind.kind.filter(|kind| kind != "ClusterIdentity") {
        bail!("{}: kind is {kind:?}; expected ClusterIdentity", file.display());
    }
    let identity: ClusterIdentity = serde_saphyr::from_str(&text).map_err(|error| {
        anyhow::anyhow!("{}: {}", file.display(), error.to_string().lines().next().unwrap_or_default())
    })?;
    Ok(identity)
}

/// The requests to plan for, and a line for each that is left out.
fn select(manifests: Vec<Manifest>, included: bool) -> (Vec<Manifest>, Vec<String>) {
    let inclusion = Inclusion::default();
    let mut passed_over = Vec::new();
    let mut kept = Vec::new();
    for manifest in manifests {
        match (inclusion.decide(&manifest.annotations), &manifest.cloud) {
            (Err(excluded), _) if included => passed_over.push(format!("{}: {excluded}", manifest.id)),
            // Another cloud's request may be as it likes.
            (_, Cloud::Other(kind)) if manifest.spec.is_err() => {
                passed_over.push(format!("{}: for another cloud ({kind})", manifest.id));
            }
            _ => kept.push(manifest),
        }
    }
    (kept, passed_over)
}

/// Bytes that a file with keys may have: as many as an object of Kubernetes.
const LARGEST_KEY_FILE: usize = 1 << 20;

fn key_source(file: &Path) -> KeySource {
    let held = file::bytes(file, LARGEST_KEY_FILE, "files with signing keys").map(Held::Entry);
    // The source is named already.
    let problem = |error: anyhow::Error| match error.downcast_ref::<std::io::Error>() {
        Some(error) => format!("it cannot be read: {error}"),
        None => format!("it is too long: files with signing keys may have {LARGEST_KEY_FILE} bytes"),
    };
    KeySource { origin: file.display().to_string(), held: held.map_err(problem) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::manifests::read_file;

    #[test]
    fn another_clouds_request_that_cannot_be_read_is_passed_over_and_ours_is_not() {
        let request = |name: &str, kind: &str| {
            format!(
                "apiVersion: cloudcredential.openshift.io/v1\nkind: CredentialsRequest\nmetadata: {{name: {name}, namespace: r}}\nspec: {{providerSpec: {{kind: {kind}}}}}\n---\n"
            )
        };
        let text = request("ours", "AWSProviderSpec") + &request("theirs", "AzureProviderSpec");
        let (kept, passed_over) = select(read_file("x.yaml", &text).unwrap(), false);
        assert_eq!(passed_over, ["r/theirs: for another cloud (AzureProviderSpec)"]);
        assert!(kept.len() == 1 && kept[0].id.name == "ours" && kept[0].spec.is_err());
    }
}
