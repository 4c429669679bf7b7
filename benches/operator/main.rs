//! `make bench`: what Rolecall costs. Everything is printed as tables; nothing is asserted, least of all on time.
//!
//! - [`core`]: the pure core, where a quadratic loop would show.
//! - [`judgement`]: the roll call before an upgrade, on real releases, on patterns made to be hard, and its growth.
//! - [`account`], [`budget`]: calls to AWS and their time, in process, on the model of AWS through the real SDK.
//! - [`process`]: the released `rolecall controller` on a real API server, with the model behind a port as AWS.
//!
//! ```text
//! cargo bench --profile measure --bench operator -- [core] [judgement] [account] [budget] [process] [--sizes …]
//! ```
#![allow(
    missing_docs,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, may panic, and reads its arguments without clap"
)]

mod account;
mod audit;
mod budget;
mod cluster;
mod core;
mod front;
mod judgement;
mod operator;
mod passes;
mod process;
mod requests;
mod table;

#[path = "../../tests/model/mod.rs"]
mod model;

/// Those parts of the integration tests' support that start the control plane.
#[path = "../../tests/it/support"]
#[allow(dead_code, missing_docs, clippy::missing_panics_doc, reason = "the benchmark uses a part of it")]
mod support {
    pub mod controlplane;
    pub mod openshift_operator;
    pub mod process;
    pub mod runtime;
}

const PARTS: [&str; 5] = ["core", "judgement", "account", "budget", "process"];
const SIZES: [usize; 3] = [7, 1_000, 10_000];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let chosen: Vec<&str> = PARTS.into_iter().filter(|part| args.iter().any(|arg| arg == part)).collect();
    let chosen = if chosen.is_empty() { PARTS.to_vec() } else { chosen };
    let sizes = args.iter().position(|arg| arg == "--sizes").and_then(|at| args.get(at + 1));
    let sizes = sizes.map_or(SIZES.to_vec(), |list| {
        list.split(',').map(|size| size.parse().expect("--sizes takes numbers, as in 7,1000")).collect()
    });
    // The SDK is not used over TLS here, but the clients of the API server are.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for part in chosen {
        match part {
            "core" => core::run(),
            "judgement" => judgement::run(),
            "account" => account::run(),
            "budget" => budget::run(),
            _ => process::run(&sizes),
        }
    }
}

/// A runtime on which time does not pass while anybody waits for it, or an ordinary one.
fn runtime(time_stands_still: bool) -> tokio::runtime::Runtime {
    let mut builder = if time_stands_still {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.enable_all().start_paused(time_stands_still).build().expect("a tokio runtime")
}
