//! The command line: one file for each verb.

mod controller;
mod crds;
mod plan;
mod printer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps the AWS identity of OpenShift clusters true.
#[derive(Debug, Parser)]
#[command(name = "rolecall", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the operator
    Controller(controller::Args),
    /// Show what the operator would do for a directory of CredentialsRequests, without a cluster
    Plan(plan::Args),
    /// Print the CustomResourceDefinitions, or write them to a directory
    Crds(crds::Args),
}

/// Runs the command line and says how the process is to end: 0 done, 1 an error, 2 where a verb documents it.
pub fn main() -> ExitCode {
    // Two TLS providers compiled in, or none chosen, would make rustls panic at the first handshake.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Controller(args) => controller::run(args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Crds(args) => crds::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            printer::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A runtime for the verbs that talk to others.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
