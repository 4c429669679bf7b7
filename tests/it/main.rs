//! Integration tests: the real binary against a real kube-apiserver and etcd, and AWS emulators behind a proxy.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::format_collect,
    clippy::cloned_ref_to_slice_refs,
    clippy::disallowed_methods,
    reason = "tests may panic, and say why"
)]

mod adoption;
mod aws_failures;
mod cli;
mod contract;
mod drift;
mod idle;
mod keys;
mod process;
mod refusals;
mod releases;
mod rooms;
mod scene;
mod schema;
mod secrets;
mod support;
