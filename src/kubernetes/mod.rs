//! The only room that talks to API servers outside the controller's watches.

pub mod authentication;
pub mod client;
pub mod cloud_credential;
pub mod decoded;
pub mod errors;
pub mod finalizer;
pub mod keys;
pub mod schema;
pub mod secrets;
pub mod served;
