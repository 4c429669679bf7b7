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

mod accounts;
mod admission;
mod adoption;
mod apiserver;
mod aws_failures;
mod check;
mod cli;
mod contract;
mod convergence;
mod corpus;
mod deletion;
mod differential;
mod drift;
mod effective;
mod ended;
mod gitops;
mod harm;
mod hostile_objects;
mod idle;
mod key_forms;
mod keys;
mod kills;
mod many;
#[path = "../model/mod.rs"]
mod model;
mod model_agrees;
mod model_evaluation;
mod model_switches;
mod moved;
mod namespaces;
mod obstacles;
mod openshift;
mod operators_policy;
mod orphans;
mod outdated_crds;
mod procedures;
mod process;
mod refusals;
mod registry;
mod releases;
mod replicas;
mod rooms;
mod scene;
mod schema;
mod secrets;
mod served;
mod support;
mod upgrade_checks;
mod watch_lost;
mod written;
