//! A release's CredentialsRequests, as `oc adm release extract` writes them.

pub mod inclusion;
pub mod manifests;
#[cfg(test)]
mod tests;
