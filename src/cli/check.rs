//! `rolecall check`: the roll call before an upgrade, without a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::file;
use super::printer;
use super::release::{self, RegistryArgs, Release};
use super::watched::{roles_read, watched};
use super::yaml;
use crate::api::ClusterIdentitySpec;
use crate::api::cluster_identity::Naming;
use crate::aws::granted::granted_roles;
use crate::aws::meter::Meter;
use crate::aws::snapshot::Freshness;
use crate::aws::{Access, Connection};
use crate::desired::check_spec;
use crate::desired::issuer::{DesiredIssuer, desired_issuer, without_scheme};
use crate::desired::names::role_prefix;
use crate::observed::dump::{DumpedRole, LARGEST_DUMP, read_dump};
use crate::plan::upgrade::owned::{About, Owned};
use crate::plan::upgrade::release::Included;
use crate::plan::upgrade::{Call, LiveRole, Readiness, Target, federated_provider, roll_call};
use crate::release::inclusion::Inclusion;
use crate::release::manifests::Manifest;
use crate::report::roll_call::{RollCallReport, html, json, junit, markdown, sarif, text};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The release to upgrade to: its image (REGISTRY/REPOSITORY:TAG or @sha256:…), or a directory or file with its
    /// manifests (as `oc adm release extract` writes them)
    #[arg(long, value_name = "RELEASE")]
    to: PathBuf,

    /// Compare with the roles exactly as this release asks for them, instead of live ones
    #[arg(long, value_name = "RELEASE", conflicts_with = "account_dump")]
    from: Option<PathBuf>,

    #[command(flatten)]
    registry: RegistryArgs,

    /// Compare with the roles in a dump of `aws iam get-account-authorization-details`, instead of asking AWS
    #[arg(long, value_name = "FILE")]
    account_dump: Option<PathBuf>,

    /// The cluster's name in AWS: what its roles' names begin with (`ccoctl aws --name`, spec.infraName)
    #[arg(long, value_name = "NAME", required_unless_present = "from")]
    name: Option<String>,

    /// The cluster's region
    #[arg(long, value_name = "REGION", env = "AWS_REGION", default_value = "us-east-1")]
    region: String,

    /// The issuer URL, when it is not that of the bucket <NAME>-oidc and the roles do not tell
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,

    /// The audience of the components' tokens
    #[arg(long, value_name = "AUDIENCE", default_value = "openshift")]
    audience: String,

    /// How role names are cut to 64 characters
    #[arg(long, value_name = "NAMING", default_value = "ccoctl")]
    naming: NamingArg,

    /// The cluster's feature set
    #[arg(long, value_name = "SET", default_value = "Default")]
    feature_set: String,

    /// A feature gate that is on; may be repeated
    #[arg(long = "feature-gate", value_name = "GATE")]
    feature_gates: Vec<String>,

    /// A capability that is enabled; may be repeated. By default all are
    #[arg(long = "capability", value_name = "CAPABILITY")]
    capabilities: Vec<String>,

    /// The cluster profile
    #[arg(long, value_name = "PROFILE", default_value = "self-managed-high-availability")]
    profile: String,

    /// Format of the report
    #[arg(long, short, default_value = "text", value_name = "FORMAT")]
    output: Output,

    /// Also list the requests that this cluster does not get, with the reason
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum NamingArg {
    Ccoctl,
    Hashed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
    Yaml,
    Markdown,
    Sarif,
    Junit,
    Html,
}

/// The name that stands in for a cluster's when two releases are compared and none is given.
const UNNAMED: &str = "cluster";
/// The account that stands in for the cluster's when two releases are compared.
const NO_ACCOUNT: &str = "000000000000";

/// A dump of so many bytes takes a moment to read.
const LONG_DUMP: usize = 10_000_000;

/// The live side.
struct Live {
    roles: BTreeMap<String, Result<LiveRole, String>>,
    owned: Owned,
    account: String,
    in_words: String,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let spec = spec(args)?;
    let to = release::read(&args.to, &args.registry)?;
    let target = included(args, to.manifests, &to.in_words)?;
    let live = match (&args.from, &args.account_dump) {
        (Some(from), _) => live_of_release(args, &spec, from)?,
        (None, Some(dump)) => live_of_dump(&spec, dump)?,
        (None, None) => super::runtime()?.block_on(live_of_aws(&spec))?,
    };
    let issuer = desired_issuer(&spec, &live.account);
    let targets = target.targets(&spec);
    let (provider, host) = trusted(args, &issuer, &live, &targets);
    let passed_over = args.verbose.then(|| passed_over(&live, &targets));
    let result = roll_call(&Call {
        targets,
        live: live.roles,
        in_force: live.owned.in_force,
        provider,
        issuer: host.clone(),
        audience: args.audience.clone(),
    });
    let left_out = target.excluded.iter().chain(&target.other_clouds);
    let excluded = args.verbose.then(|| left_out.map(|(id, why)| (id.to_string(), why.clone())).collect());
    let report = RollCallReport {
        roll_call: &result,
        live: live.in_words,
        target: to.in_words,
        issuer: format!("https://{host}"),
        excluded,
        passed_over,
    };
    printer::out(&match args.output {
        Output::Text => text::render(&report),
        Output::Json => format!("{:#}\n", json::render(&report)),
        Output::Yaml => yaml::of(&json::render(&report)).context("cannot write the report as YAML")?,
        Output::Markdown => markdown::render(&report),
        Output::Sarif => format!("{:#}\n", sarif::render(&report)),
        Output::Junit => junit::render(&report),
        Output::Html => html::render(&report),
    })?;
    Ok(match result.readiness() {
        Readiness::Ready => ExitCode::SUCCESS,
        Readiness::NotReady => ExitCode::from(2),
        Readiness::Unknown => ExitCode::from(3),
    })
}

/// The cluster as far as names are made of it.
fn spec(args: &Args) -> anyhow::Result<ClusterIdentitySpec> {
    let naming = match args.naming {
        NamingArg::Ccoctl => Naming::Ccoctl,
        NamingArg::Hashed => Naming::Hashed,
    };
    let spec: ClusterIdentitySpec = serde_json::from_value(serde_json::json!({
        "infraName": args.name.as_deref().unwrap_or(UNNAMED),
        "region": args.region,
        "issuer": {"signingKeys": []},
        "roles": {"naming": naming},
    }))?;
    check_spec(&spec).context("--name and --region name no cluster")?;
    Ok(spec)
}

/// What a release has for the cluster.
fn included(args: &Args, manifests: Vec<Manifest>, source: &str) -> anyhow::Result<Included> {
    let inclusion = Inclusion {
        feature_set: args.feature_set.clone(),
        feature_gates: args.feature_gates.iter().cloned().collect(),
        capabilities: (!args.capabilities.is_empty()).then(|| args.capabilities.iter().cloned().collect()),
        profile: args.profile.clone(),
    };
    let included = Included::of(manifests, &inclusion);
    if let Some(problem) = included.emptiness(source) {
        bail!(problem);
    }
    Ok(included)
}

fn live_of_release(args: &Args, spec: &ClusterIdentitySpec, from: &Path) -> anyhow::Result<Live> {
    let Release { manifests, in_words } = release::read(from, &args.registry)?;
    let release = included(args, manifests, &in_words)?;
    let issuer = desired_issuer(spec, NO_ACCOUNT);
    Ok(Live {
        roles: release.live(spec, NO_ACCOUNT, &issuer),
        owned: Owned { in_force: release.in_force(spec), ..Owned::default() },
        account: NO_ACCOUNT.into(),
        in_words: format!("roles as {in_words} asks for them"),
    })
}

fn live_of_dump(spec: &ClusterIdentitySpec, file: &Path) -> anyhow::Result<Live> {
    let dumped = dumped_roles(spec, file)?;
    let account = dumped.iter().find_map(|role| role.arn.split(':').nth(4)).unwrap_or(NO_ACCOUNT).to_owned();
    let mut owned = Owned::default();
    let mut roles = BTreeMap::new();
    for role in dumped {
        // A dump has no descriptions.
        let about = About { name: &role.name, tags: &role.tags, description: "", trust: &role.trust };
        owned.add(&spec.infra_name, about);
        let live = LiveRole { name: role.name, trust: role.trust, granted: role.granted };
        roles.insert(live.name.to_ascii_lowercase(), Ok(live));
    }
    Ok(Live { roles, owned, in_words: format!("roles of {} in {}", spec.infra_name, file.display()), account })
}

fn dumped_roles(spec: &ClusterIdentitySpec, file: &Path) -> anyhow::Result<Vec<DumpedRole>> {
    let text = file::text(file, LARGEST_DUMP, "dumps")?;
    let is_long = text.len() >= LONG_DUMP;
    if is_long {
        printer::progress(&format!("{}: {} MB of roles and policies are read", file.display(), text.len() / 1_000_000));
    }
    let dumped = read_dump(&text, &role_prefix(&spec.infra_name)).with_context(|| file.display().to_string());
    if is_long {
        printer::progress("");
    }
    dumped
}

async fn live_of_aws(spec: &ClusterIdentitySpec) -> anyhow::Result<Live> {
    let meter = Meter::default();
    let access = Access::of(spec);
    let connecting = async { Connection::new(meter.clone()).await.open(&access).await };
    let session = watched(Box::pin(connecting), || "asking AWS which account this is".into()).await?;
    let account = session.account.id.clone();
    let prefix = role_prefix(&spec.infra_name);
    let reading = granted_roles(&session, &prefix, None, Freshness::from_now_on());
    let granted = watched(Box::pin(reading), || roles_read(&account, &meter)).await?.roles;
    let mut owned = Owned::default();
    for (name, role) in &granted {
        match role {
            Ok(role) => {
                let (tags, description) = (&role.tags, role.description.as_str());
                let about = About { name: &role.live.name, tags, description, trust: &role.live.trust };
                owned.add(&spec.infra_name, about);
            }
            Err(why) => drop(owned.others.insert(name.clone(), format!("it could not be read ({why})"))),
        }
    }
    Ok(Live {
        roles: granted.into_iter().map(|(name, role)| (name, role.map(|role| role.live))).collect(),
        owned,
        in_words: format!("roles of {} in account {account}", spec.infra_name),
        account,
    })
}

/// The roles that were not looked at, with the reason: neither does the target release ask for one of their name, nor are
/// they known to be the cluster's.
fn passed_over(live: &Live, targets: &[Target]) -> Vec<(String, String)> {
    let asked_for: BTreeSet<String> = targets.iter().map(|target| target.role.to_ascii_lowercase()).collect();
    let others = live.owned.others.iter().filter(|(name, _)| !asked_for.contains(*name));
    let written = |name: &String| match live.roles.get(name) {
        Some(Ok(role)) => role.name.clone(),
        _ => name.clone(),
    };
    let told = others
        .map(|(name, why)| (written(name), format!("{why}, and the target release asks for no role of its name")));
    told.collect()
}

/// The provider that the roles must trust, and the issuer without its scheme: as given, as the cluster's bucket has it,
/// or the one that the cluster's roles agree on. Others may have roles whose names begin as the cluster's do.
fn trusted(args: &Args, issuer: &DesiredIssuer, live: &Live, targets: &[Target]) -> (String, String) {
    let arn_of = |host: &str| {
        let prefix = issuer.provider.arn.split_once("oidc-provider/").map_or("", |(prefix, _)| prefix);
        format!("{prefix}oidc-provider/{host}")
    };
    if let Some(url) = &args.issuer {
        let host = without_scheme(url.trim_end_matches('/')).to_owned();
        return (arn_of(&host), host);
    }
    let default = issuer.provider.host_and_path().to_owned();
    let of_targets = targets.iter().map(|target| target.role.to_ascii_lowercase());
    let of_cluster: BTreeSet<String> =
        live.owned.in_force.iter().map(|role| role.role.to_ascii_lowercase()).chain(of_targets).collect();
    let roles = live.roles.iter().filter(|(name, _)| of_cluster.contains(*name));
    let trusts = roles.filter_map(|(_, role)| role.as_ref().ok()?.trust.as_ref().ok());
    match federated_provider(trusts, &issuer.provider.arn) {
        Some(arn) => {
            let host = arn.split_once("oidc-provider/").map_or(default.clone(), |(_, host)| host.to_owned());
            (arn, host)
        }
        None => (issuer.provider.arn.clone(), default),
    }
}
