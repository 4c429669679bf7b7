//! A release's CredentialsRequests, as `oc adm release extract` writes them, and as a release image holds them.

pub mod inclusion;
pub mod manifests;
pub mod payload;
#[cfg(test)]
mod tests;
