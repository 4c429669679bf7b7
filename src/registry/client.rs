//! The HTTP client for registries: TLS with the system's trust roots, proxies as the environment has them, few redirects.

use std::fmt;

use reqwest::redirect::{Attempt, Policy};

use super::error::{RegistryError, innermost};
use super::limits::{CONNECT_TIME, SILENCE};

/// Most redirects that are followed. Registries send readers of blobs to their stores by one.
const MOST_REDIRECTS: usize = 5;

/// How far the reading of an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The image.
    pub image: String,
    /// Which layer is being read, from 1, and how many the image has.
    pub layer: (usize, usize),
    /// Bytes of the layer that have come.
    pub received: u64,
    /// Bytes of the layer as it is stored.
    pub size: u64,
}

type Watcher = Box<dyn Fn(&Progress) + Send + Sync>;

/// A client for any number of registries. It keeps no credentials and no tokens.
pub struct RegistryClient {
    pub(super) http: reqwest::Client,
    pub(super) insecure: bool,
    watcher: Option<Watcher>,
}

impl RegistryClient {
    /// A client. Registries on this machine may speak plain HTTP; with `insecure` all may, when HTTPS is not answered.
    pub fn new(insecure: bool) -> Result<Self, RegistryError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME)
            .read_timeout(SILENCE)
            .redirect(Policy::custom(redirect))
            .user_agent(concat!("rolecall/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| RegistryError::NoClient(innermost(&error)))?;
        Ok(Self { http, insecure, watcher: None })
    }

    /// Calls `watcher` for each piece of a layer that comes.
    #[must_use]
    pub fn watched(self, watcher: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        Self { watcher: Some(Box::new(watcher)), ..self }
    }

    pub(super) fn progress(&self, progress: &Progress) {
        if let Some(watcher) = &self.watcher {
            watcher(progress);
        }
    }
}

impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClient").field("insecure", &self.insecure).finish_non_exhaustive()
    }
}

/// reqwest takes credentials off when the host changes; that HTTPS stays HTTPS is on us.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from_tls = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > MOST_REDIRECTS {
        attempt.error("too many redirects")
    } else if from_tls && attempt.url().scheme() != "https" {
        attempt.error("it redirects from https to http")
    } else {
        attempt.follow()
    }
}
