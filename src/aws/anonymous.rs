//! The issuer's documents as an anonymous reader gets them over HTTPS, which is how STS reads them.

use std::time::Duration;

use crate::observed::{Fetched, FetchedDocuments};

/// Longest time for one document.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest document that is read, in bytes.
const LARGEST: usize = 256 * 1024;

/// The header of the object metadata that holds the revision of `keys.json`.
const REVISION_HEADER: &str = "x-amz-meta-rolecall-revision";

/// Fetches documents without credentials. It follows no redirects, as STS does not; it honours `HTTPS_PROXY`,
/// `NO_PROXY` and the system's trust roots (`SSL_CERT_FILE`).
#[derive(Debug, Clone)]
pub struct AnonymousReader {
    client: Result<reqwest::Client, String>,
}

impl AnonymousReader {
    /// A reader; when TLS cannot be set up, every fetch says so.
    pub fn new() -> Self {
        let client = reqwest::Client::builder()
            .https_only(true)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("rolecall/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| innermost(&error));
        Self { client }
    }

    /// Both documents of an issuer.
    pub async fn fetch(&self, issuer: &str) -> FetchedDocuments {
        let (discovery, keys) = tokio::join!(
            self.get(format!("{issuer}/.well-known/openid-configuration")),
            self.get(format!("{issuer}/keys.json")),
        );
        FetchedDocuments { discovery, keys }
    }

    async fn get(&self, url: String) -> Fetched {
        let client = match &self.client {
            Ok(client) => client,
            Err(why) => return Fetched::Unreachable(why.clone()),
        };
        let mut response = match client.get(url).send().await {
            Ok(response) => response,
            Err(error) => return Fetched::Unreachable(innermost(&error)),
        };
        if response.status() != reqwest::StatusCode::OK {
            return Fetched::Status(response.status().as_u16());
        }
        let content_type = response.headers().get(reqwest::header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = header("etag").map(str::to_owned);
        let revision = header(REVISION_HEADER).and_then(|value| value.trim().parse().ok());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Fetched::Unreachable(format!("more than {LARGEST} bytes came back")),
                Ok(None) => return Fetched::Body { body, content_type, etag, revision },
                Err(error) => return Fetched::Unreachable(innermost(&error)),
            }
        }
    }
}

impl Default for AnonymousReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The innermost cause: the same for the same trouble, without ports or addresses of this side.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
