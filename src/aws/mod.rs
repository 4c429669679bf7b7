//! The only room that talks to AWS.

pub mod account;
pub mod anonymous;
pub mod apply;
pub mod budget;
pub mod clients;
pub mod errors;
pub mod granted;
pub mod meter;
pub mod observe;
mod providers;
pub mod pulse;
mod role_usage;
pub mod roles;
pub mod simulate;
pub mod snapshot;

pub use account::Account;
pub use clients::{Access, Clients, Connection, Session};
