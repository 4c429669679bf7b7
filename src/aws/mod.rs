//! The only room that talks to AWS.

pub mod anonymous;
pub mod apply;
pub mod clients;
pub mod errors;
pub mod meter;
pub mod observe;

pub use clients::{Clients, Connection};
