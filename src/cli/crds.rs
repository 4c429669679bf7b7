//! `rolecall crds`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::printer;
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
        let yaml = to_yaml(&crd).with_context(|| format!("cannot write {name} as YAML"))?;
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

/// YAML that stays the same from run to run: nothing is folded, so that differences show what changed.
fn to_yaml(crd: &CustomResourceDefinition) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! {
        prefer_block_scalars: false,
        compact_list_indent: true,
    };
    let value = serde_json::to_value(crd)?;
    Ok(serde_saphyr::to_string_with_options(&value, options)?)
}
