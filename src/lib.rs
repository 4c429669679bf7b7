//! Rolecall keeps the AWS identity of OpenShift clusters true.
//!
//! The house is described in `docs/architecture.md`. The core rooms ([`policy`], [`release`], [`desired`],
//! [`observed`], [`plan`], [`report`]) know no I/O.

pub mod api;
pub mod apply;
pub mod aws;
pub mod cli;
pub mod controller;
pub mod desired;
pub mod kubernetes;
pub mod observed;
pub mod plan;
pub mod policy;
pub mod registry;
pub mod release;
pub mod report;
