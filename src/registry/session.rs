//! Reading one image: where its registry is, who we are there, its manifest, its layers.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::auth::{Credentials, PullSecret};
use super::challenge::{Challenge, choose};
use super::client::{Progress, RegistryClient};
use super::digest::Digest;
use super::error::{RegistryError, innermost};
use super::image::{self, ACCEPTED, Document, Image, NoDocument};
use super::layer::{self, Problem};
use super::limits::{Budget, DOCUMENT_TIME, LARGEST_DOCUMENT, LARGEST_LAYER, LAYER_TIME, MOST_LAYERS};
use super::reference::{Reference, is_loopback};
use crate::release::payload::{self, PayloadError};

/// Pieces of a layer that may wait between the network and the unpacking.
const WAITING: usize = 8;

/// What proves who we are, once the registry has asked.
enum Authorization<'a> {
    Basic(&'a Credentials),
    Bearer(String),
}

/// What is asked for.
enum Asked<'a> {
    /// What the reference names.
    Manifest,
    /// A part of it.
    Part(&'a Digest, String),
}

/// The reading of one image.
pub struct Session<'a> {
    client: &'a RegistryClient,
    reference: &'a Reference,
    auth: &'a PullSecret,
    base: String,
    /// The registry's host and port, as URLs have them.
    own: Option<(String, u16)>,
    authorization: Option<Authorization<'a>>,
}

impl<'a> Session<'a> {
    /// Finds out how the registry is to be talked to.
    pub async fn open(
        client: &'a RegistryClient,
        reference: &'a Reference,
        auth: &'a PullSecret,
    ) -> Result<Self, RegistryError> {
        let scheme = scheme(client, reference).await?;
        let base = format!("{scheme}://{}", reference.host);
        let own = Url::parse(&base).ok().as_ref().and_then(authority);
        Ok(Self { client, reference, auth, base, own, authorization: None })
    }

    /// The image, and the digest of what the reference names.
    pub async fn image(&mut self) -> Result<(Digest, Image), RegistryError> {
        let what = Asked::Manifest.in_words(self.reference);
        let (digest, image) = in_time(DOCUMENT_TIME, &what, self.find_image()).await?;
        let count = image.layers.len();
        if count > MOST_LAYERS {
            return Err(RegistryError::ManyLayers { image: self.reference.to_string(), count });
        }
        Ok((digest, image))
    }

    async fn find_image(&mut self) -> Result<(Digest, Image), RegistryError> {
        let named = self.reference.digest.clone();
        let (digest, document) = self.manifest(&self.reference.version(), named.as_ref(), &Asked::Manifest).await?;
        let chosen = match document {
            Document::Image(image) => return Ok((digest, image)),
            Document::Index(chosen) => chosen,
        };
        let asked = Asked::Part(&chosen, format!("the image in the index {}", self.reference));
        match self.manifest(&chosen.to_string(), Some(&chosen), &asked).await?.1 {
            Document::Image(image) => Ok((digest, image)),
            Document::Index(_) => Err(self.media_type("the image in its index".into(), "another index".into())),
        }
    }

    async fn manifest(
        &mut self,
        version: &str,
        named: Option<&Digest>,
        asked: &Asked<'_>,
    ) -> Result<(Digest, Document), RegistryError> {
        let what = asked.in_words(self.reference);
        let url = format!("{}/v2/{}/manifests/{version}", self.base, self.reference.repository);
        let response = self.get(&url, Some(ACCEPTED), asked).await?;
        let host = host_of(&response);
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let content_type = header(CONTENT_TYPE.as_str());
        let told = header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        let bytes = document(response, &what).await?;
        let expected = named.cloned().or(told);
        if let Some(expected) = expected.as_ref().filter(|expected| !expected.is_of(&bytes)) {
            let found = expected.digest_of(&bytes);
            return Err(RegistryError::Digest { what, expected: expected.clone(), found });
        }
        let read = image::read(&bytes, content_type.as_deref()).map_err(|problem| match problem {
            NoDocument::Garbage(problem) => RegistryError::Garbage { host, what, problem },
            NoDocument::MediaType { what, found } => self.media_type(what, found),
        })?;
        Ok((expected.unwrap_or_else(|| Digest::of(&bytes)), read))
    }

    /// A layer's part in the release, and what is left of the limits. `place` is its number, from 1, and how many there
    /// are.
    pub async fn layer(
        &mut self,
        layer: &image::Layer,
        place: (usize, usize),
        budget: Budget,
    ) -> Result<(payload::Layer, Budget), RegistryError> {
        let what = format!("layer {} of {} of {}", place.0, place.1, self.reference);
        if layer.size > LARGEST_LAYER.min(budget.stored) {
            return Err(RegistryError::LargeLayer { what, size: layer.size });
        }
        let (contents, unpacked) =
            in_time(LAYER_TIME, &what, self.read_layer(layer, place, &what, budget.unpacked)).await?;
        let left = Budget {
            stored: budget.stored.saturating_sub(layer.size),
            unpacked: budget.unpacked.saturating_sub(unpacked),
        };
        Ok((contents, left))
    }

    async fn read_layer(
        &mut self,
        layer: &image::Layer,
        place: (usize, usize),
        what: &str,
        limit: u64,
    ) -> Result<(payload::Layer, u64), RegistryError> {
        let url = format!("{}/v2/{}/blobs/{}", self.base, self.reference.repository, layer.digest);
        let mut response = self.get(&url, None, &Asked::Part(&layer.digest, what.to_owned())).await?;
        let (pieces, receiver) = tokio::sync::mpsc::channel(WAITING);
        let digest = layer.digest.clone();
        // Unpacking is no work for the runtime's own threads. It ends when the pieces do.
        let unpacking = tokio::task::spawn_blocking(move || layer::unpack(receiver, &digest, limit));
        let fetched = async {
            let mut received = 0;
            while let Some(piece) = next(&mut response, what, received, Some(layer.size)).await? {
                received += piece.len() as u64;
                if received > layer.size {
                    return Err(RegistryError::TooLong { what: what.to_owned(), expected: layer.size });
                }
                let image = self.reference.to_string();
                self.client.progress(&Progress { image, layer: place, received, size: layer.size });
                if pieces.send(piece).await.is_err() {
                    return Ok(()); // The unpacking gave up, and says why.
                }
            }
            ended(what, received, layer.size)
        }
        .await;
        drop(pieces);
        let unpacked = unpacking.await;
        fetched?;
        let broken = |problem: String| RegistryError::Layer { what: what.to_owned(), problem };
        match unpacked.map_err(|error| broken(error.to_string()))? {
            Ok(unpacked) => Ok(unpacked),
            Err(Problem::Broken(problem)) => Err(broken(problem)),
            Err(Problem::Bomb) => Err(RegistryError::Bomb { what: what.to_owned() }),
            Err(Problem::LargeFile { file, size }) => {
                Err(RegistryError::LargeFile { what: what.to_owned(), file, size })
            }
            Err(Problem::Digest(found)) => {
                Err(RegistryError::Digest { what: what.to_owned(), expected: layer.digest.clone(), found })
            }
            Err(Problem::Payload(source)) => Err(self.payload(source)),
        }
    }

    /// That the image's contents are no release.
    pub fn payload(&self, source: PayloadError) -> RegistryError {
        RegistryError::Payload { image: self.reference.to_string(), source }
    }

    fn media_type(&self, what: String, found: String) -> RegistryError {
        RegistryError::MediaType { image: self.reference.to_string(), what, found }
    }

    /// Asks, and when the registry wants to know who asks, says so and asks again. Tokens of an earlier call may have
    /// ended, so each call may do that. Only the registry itself is told: a store that it sends us to could name a token
    /// server of its own, which would learn the password (as in CVE-2020-15157).
    async fn get(&mut self, url: &str, accept: Option<&str>, asked: &Asked<'_>) -> Result<Response, RegistryError> {
        let mut response = self.send(url, accept).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.is_from_registry(&response) {
            self.authorization = self.authorize(&response).await?;
            if self.authorization.is_some() {
                response = self.send(url, accept).await?;
            }
        }
        let image = || self.reference.to_string();
        let host = host_of(&response);
        match (response.status().as_u16(), asked) {
            (200, _) => Ok(response),
            (status @ (401 | 403), _) if !self.is_from_registry(&response) => {
                Err(self.refused_elsewhere(host, asked.in_words(self.reference), status))
            }
            (status @ (401 | 403), _) => Err(self.denied(host, status)),
            (404, Asked::Manifest) => Err(RegistryError::NoImage { image: image() }),
            (404, Asked::Part(digest, _)) => Err(RegistryError::NoBlob { image: image(), digest: (*digest).clone() }),
            (status, _) => Err(RegistryError::Status { host, what: asked.in_words(self.reference), status }),
        }
    }

    async fn send(&self, url: &str, accept: Option<&str>) -> Result<Response, RegistryError> {
        let mut request = self.client.http.get(url);
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        request = match &self.authorization {
            None => request,
            Some(Authorization::Basic(who)) => request.basic_auth(&who.user, Some(&who.password)),
            Some(Authorization::Bearer(token)) => request.bearer_auth(token),
        };
        request.send().await.map_err(|error| no_answer(&self.reference.host, &error))
    }

    /// Meets a registry's challenge; `None` when there is nothing to meet it with.
    async fn authorize(&self, response: &Response) -> Result<Option<Authorization<'a>>, RegistryError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let host = || self.reference.host.clone();
        match choose(headers.filter_map(|value| value.to_str().ok())) {
            None => Err(RegistryError::UnknownChallenge { host: host() }),
            Some(Challenge::Basic) => Ok(self.credentials().map(Authorization::Basic)),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let url = self.token_url(&realm, service, scope)?;
                self.token(url).await.map(|token| Some(Authorization::Bearer(token)))
            }
        }
    }

    /// Where the token comes from. Who gives it learns the password, so it is asked as safely as the registry.
    fn token_url(&self, realm: &str, service: Option<String>, scope: Option<String>) -> Result<Url, RegistryError> {
        let unsafe_realm = || RegistryError::UnsafeRealm {
            host: self.reference.host.clone(),
            realm: realm.chars().take(200).collect(),
        };
        let mut url = Url::parse(realm).map_err(|_| unsafe_realm())?;
        let here = url.host_str().is_some_and(is_loopback);
        let plain = url.scheme() == "http" && self.base.starts_with("http://") && (here || self.client.insecure);
        if url.scheme() != "https" && !plain {
            return Err(unsafe_realm());
        }
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.reference.repository));
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", &service);
        }
        url.query_pairs_mut().append_pair("scope", &scope);
        Ok(url)
    }

    async fn token(&self, url: Url) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let server = authority(&url);
        let mut request = self.client.http.get(url);
        if let Some(who) = self.credentials() {
            request = request.basic_auth(&who.user, Some(&who.password));
        }
        let response = request.send().await.map_err(|error| no_answer(&host, &error))?;
        let host = host_of(&response);
        let what = format!("a token for {}", self.reference);
        match response.status().as_u16() {
            200 => {}
            status @ (401 | 403) if authority(response.url()) != server => {
                return Err(self.refused_elsewhere(host, what, status));
            }
            status @ (401 | 403) => return Err(self.denied(host, status)),
            status => return Err(RegistryError::Status { host, what, status }),
        }
        let bytes = document(response, &what).await?;
        let answer = serde_json::from_slice::<Answer>(&bytes).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token));
        // What cannot stand in a header is no token.
        let token = token.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        token.ok_or_else(|| RegistryError::Garbage { host, what, problem: "it holds no token".into() })
    }

    fn credentials(&self) -> Option<&'a Credentials> {
        self.auth.for_repository(&self.reference.host, &self.reference.repository)
    }

    /// Whether it was the registry that answered, and nobody that it sent us to.
    fn is_from_registry(&self, response: &Response) -> bool {
        self.own.is_some() && authority(response.url()) == self.own
    }

    fn refused_elsewhere(&self, host: String, what: String, status: u16) -> RegistryError {
        RegistryError::RefusedElsewhere { registry: self.reference.host.clone(), what, host, status }
    }

    fn denied(&self, host: String, status: u16) -> RegistryError {
        let tried = self.auth.in_words(&self.reference.host, &self.reference.repository);
        RegistryError::Denied { image: self.reference.to_string(), host, status, tried }
    }
}

impl Asked<'_> {
    fn in_words(&self, reference: &Reference) -> String {
        match self {
            Self::Manifest => format!("the manifest of {reference}"),
            Self::Part(_, words) => words.clone(),
        }
    }
}

/// HTTPS, and where plain HTTP is allowed, that if HTTPS is not spoken there. A certificate that is not trusted is no
/// reason to go without.
async fn scheme(client: &RegistryClient, reference: &Reference) -> Result<&'static str, RegistryError> {
    if !client.insecure && !reference.is_loopback() {
        return Ok("https");
    }
    match client.http.get(format!("https://{}/v2/", reference.host)).send().await {
        Err(error) if innermost(&error).contains("certificate") => Err(no_answer(&reference.host, &error)),
        Err(error) if error.is_connect() => Ok("http"),
        _ => Ok("https"),
    }
}

async fn in_time<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let too_slow = |_| RegistryError::TooSlow { what: what.to_owned(), seconds: limit.as_secs() };
    tokio::time::timeout(limit, work).await.map_err(too_slow)?
}

/// The whole of an answer that is no blob.
async fn document(mut response: Response, what: &str) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut response, what, bytes.len() as u64, None).await? {
        if bytes.len() + piece.len() > LARGEST_DOCUMENT {
            return Err(RegistryError::LargeDocument { what: what.to_owned() });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The next piece of an answer. `received` and `expected` are for the message.
async fn next(
    response: &mut Response,
    what: &str,
    received: u64,
    expected: Option<u64>,
) -> Result<Option<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + Send + use<>>, RegistryError> {
    response.chunk().await.map_err(|error| RegistryError::Truncated {
        what: what.to_owned(),
        received,
        expected,
        problem: innermost(&error),
    })
}

fn ended(what: &str, received: u64, size: u64) -> Result<(), RegistryError> {
    if received == size {
        return Ok(());
    }
    let problem = "the registry sent no more".to_owned();
    Err(RegistryError::Truncated { what: what.to_owned(), received, expected: Some(size), problem })
}

fn no_answer(host: &str, error: &reqwest::Error) -> RegistryError {
    RegistryError::NoAnswer { host: host.to_owned(), problem: innermost(error) }
}

/// Host and port, written in one way only.
fn authority(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// Who answered in the end, after redirects.
fn host_of(response: &Response) -> String {
    let url = response.url();
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
