//! The command line: one file for each verb.

mod check;
mod controller;
mod crds;
mod file;
mod manifests;
mod plan;
mod printer;
mod release;
mod watched;
mod yaml;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

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
    /// Tell before an upgrade what the next release needs and the live roles lack (exit 0 ready, 2 not ready, 3 unknown)
    Check(check::Args),
    /// Print the CustomResourceDefinitions, or write them to a directory
    Crds(crds::Args),
}

/// Runs the command line and says how the process is to end: 0 done, 1 an error, 2 and 3 where a verb documents it. A
/// command line that cannot be read ends with 2, but not where `check` is meant.
pub fn main() -> ExitCode {
    // Two TLS providers compiled in, or none chosen, would make rustls panic at the first handshake.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.verb {
        Verb::Controller(args) => controller::run(args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Check(args) => check::run(&args),
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

/// Shows help, the version, or what is wrong with the command line. `check` says with 2 that a cluster is not ready, so
/// there a typo is an error like others; so it is in a verb that does not exist, for that may have been meant as `check`.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    match std::env::args_os().nth(1) {
        Some(verb) if verb == "check" || Cli::command().find_subcommand(&verb).is_none() => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    }
}

/// A runtime for the verbs that talk to others.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
