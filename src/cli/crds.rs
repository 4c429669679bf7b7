//! `rolecall crds`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use kube::CustomResourceExt;

use super::{printer, yaml};
use crate::api::{ClusterIdentity, CredentialsRequest, UpgradeCheck};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write one file for each CustomResourceDefinition to this directory, instead of printing them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    for crd in [ClusterIdentity::crd(), CredentialsRequest::crd(), UpgradeCheck::crd()] {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let yaml = serde_json::to_value(&crd).map_err(anyhow::Error::from).and_then(|value| yaml::of(&value));
        let yaml = yaml.with_context(|| format!("cannot write {name} as YAML"))?;
        match &args.dir {
            None => printer::out(&format!("---\n{yaml}"))?,
            Some(dir) => {
                let file = dir.join(format!("{name}.yaml"));
                std::fs::write(&file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
