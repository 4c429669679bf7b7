//! What the integration tests stand on: a real control plane, AWS emulators behind a proxy that counts and breaks
//! things, the issuer's documents over HTTPS, and the operator as a process.
//!
//! Servers which all tests share start on first use ([`ControlPlane::shared`], [`ControlPlane::openshift`],
//! [`Emulators::shared`], [`IssuerFront::shared`]) and die with the test process. A test keeps to itself by a namespace,
//! an infra name and a [`Proxy`] of its own. Logs of everything are in `target/tmp/run-<pid>/`.
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "each test uses its part of this; a test's support may panic, and says why"
)]

pub mod api_proxy;
pub mod aws_state;
pub mod controller_manager;
pub mod controlplane;
pub mod emulators;
pub mod eventually;
pub mod issuer_front;
pub mod openshift_operator;
pub mod operator;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod runtime;
mod selftest;

pub use api_proxy::{ApiFault, ApiProxy, Broken};
pub use controller_manager::ControllerManager;
pub use controlplane::{ControlPlane, Run, Schema, Write};
pub use emulators::Emulators;
pub use eventually::eventually;
pub use issuer_front::IssuerFront;
pub use openshift_operator::{OpenShiftOperator, Upgradeable};
pub use operator::Operator;
pub use proxy::{Call, Fault, Kind, Proxy};
pub use runtime::block_on;
