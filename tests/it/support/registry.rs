//! A container registry on 127.0.0.1 with what the distribution API takes to push and to pull: token or basic
//! authentication, manifests, blobs. It breaks its answers on demand and writes down who asked for what.

mod image;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use serde_json::json;
use tokio::task::JoinHandle;

pub use image::{Kind, Packing, directory, file, pack, release_layer, sha256, split, tar_of};

use super::runtime::{block_on, http, runtime};

/// The user that every registry knows.
pub const USER: &str = "reader+of_releases";
/// The user's password. Nothing may ever print it, nor [`TOKEN`], nor [`SIGNATURE`].
pub const PASSWORD: &str = "pw-correct-horse-battery";
/// The token that is given for them.
pub const TOKEN: &str = "tok-staple-0123456789abcdef";
/// What stands in the address of a blob that a registry sends readers to.
pub const SIGNATURE: &str = "X-Signature=sig-deadbeef";

/// How a registry finds out who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    Anyone,
    Basic,
    Token,
}

/// What becomes of an answer.
#[derive(Debug, Clone)]
pub enum Break {
    /// This status, with a page.
    Status(u16),
    /// This body instead.
    Body(&'static [u8]),
    /// This header beside the others.
    Header(&'static str, String),
    /// Half of it, then the connection closes.
    Half,
    /// Half of it, then the rest after a while.
    Slow,
    /// It never ends.
    Endless,
    /// Blobs are somewhere else: at this address, in front of the path.
    Elsewhere(String),
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
}

struct Shared {
    auth: Auth,
    realm: Mutex<String>,
    stored: Mutex<BTreeMap<String, (String, Bytes)>>,
    breaks: Mutex<Vec<(String, Break)>>,
    asked: Mutex<Vec<Asked>>,
}

/// A running registry.
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub fn start(auth: Auth) -> Registry {
        let listener = block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            auth,
            realm: Mutex::new(format!("http://{address}/token")),
            stored: Mutex::default(),
            breaks: Mutex::default(),
            asked: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        let server = runtime().spawn(async move { drop(axum::serve(listener, router).await) });
        Registry { address, shared, server }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Where it sends those who need a token.
    pub fn set_realm(&self, realm: &str) {
        realm.clone_into(&mut lock(&self.shared.realm));
    }

    /// Breaks all answers to requests whose path contains `part`, until [`Registry::mend`].
    pub fn break_at(&self, part: &str, how: Break) {
        lock(&self.shared.breaks).push((part.into(), how));
    }

    pub fn mend(&self) {
        lock(&self.shared.breaks).clear();
    }

    /// What was asked for since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *lock(&self.shared.asked))
    }

    /// Pushes an image, the lowest layer first; its digest.
    pub fn push(&self, repository: &str, tag: &str, kind: Kind, layers: &[Vec<u8>]) -> String {
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}).to_string();
        let blobs = layers.iter().map(Vec::as_slice).chain([config.as_bytes()]);
        blobs.for_each(|blob| self.push_blob(repository, blob));
        self.push_manifest(repository, tag, kind.image_type(), &kind.manifest(layers, config.as_bytes()).to_string())
    }

    /// Pushes an index that has other images before and after this one.
    pub fn push_index(&self, repository: &str, tag: &str, kind: Kind, amd64: &str, others: &[(&str, &str)]) -> String {
        let entry = |arch: &str, digest: &str| {
            let platform = json!({"os": if arch == "unknown" { "unknown" } else { "linux" }, "architecture": arch});
            json!({"mediaType": kind.image_type(), "digest": digest, "size": 1, "platform": platform})
        };
        let mut entries: Vec<_> = others.iter().map(|(arch, digest)| entry(arch, digest)).collect();
        entries.insert(1.min(entries.len()), entry("amd64", amd64));
        let index = json!({"schemaVersion": 2, "mediaType": kind.index_type(), "manifests": entries});
        self.push_manifest(repository, tag, kind.index_type(), &index.to_string())
    }

    pub fn push_manifest(&self, repository: &str, tag: &str, media_type: &str, manifest: &str) -> String {
        let put = http().put(format!("http://{}/v2/{repository}/manifests/{tag}", self.address));
        let put = put.header(header::CONTENT_TYPE, media_type).body(manifest.to_owned());
        self.expect(put, 201);
        sha256(manifest.as_bytes())
    }

    /// Uploads in two calls: where to, and then all at once.
    fn push_blob(&self, repository: &str, blob: &[u8]) {
        let post = http().post(format!("http://{}/v2/{repository}/blobs/uploads/", self.address));
        let location = self.expect(post, 202).headers()[header::LOCATION].to_str().expect("a location").to_owned();
        let url = format!("http://{}{location}?digest={}", self.address, sha256(blob));
        self.expect(http().put(url).body(blob.to_vec()), 201);
    }

    fn expect(&self, request: reqwest::RequestBuilder, status: u16) -> reqwest::Response {
        let request = match self.shared.auth {
            Auth::Anyone => request,
            Auth::Basic => request.basic_auth(USER, Some(PASSWORD)),
            Auth::Token => request.bearer_auth(TOKEN),
        };
        let response = block_on(request.send()).expect("the registry answers");
        assert_eq!(response.status().as_u16(), status, "{}", response.url());
        response
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Answer = Response<Body>;

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let authorization = parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str().expect("ASCII").to_owned());
    lock(&shared.asked).push(Asked { path: path.clone(), authorization: authorization.clone() });
    if parts.method == Method::CONNECT {
        return with(StatusCode::METHOD_NOT_ALLOWED, "no tunnels here");
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default();
    let answer = match allowed(&shared, &path, authorization.as_deref()) {
        Err(refusal) => *refusal,
        Ok(()) if path == "/token" => with(StatusCode::OK, json!({"token": TOKEN, "expires_in": 60}).to_string()),
        Ok(()) => match parts.method {
            Method::GET => get(&shared, &path),
            Method::POST => {
                let location = [(header::LOCATION, format!("{path}1"))];
                axum::response::IntoResponse::into_response((StatusCode::ACCEPTED, location))
            }
            Method::PUT => put(&shared, &path, query, parts.headers.get(header::CONTENT_TYPE), body),
            _ => with(StatusCode::METHOD_NOT_ALLOWED, ""),
        },
    };
    let breaks = lock(&shared.breaks).clone();
    let broken = breaks.into_iter().filter(|(part, _)| path.contains(part.as_str()));
    broken.fold(answer, |answer, (_, how)| broken_by(answer, &path, how))
}

fn with(status: StatusCode, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer
}

fn allowed(shared: &Shared, path: &str, authorization: Option<&str>) -> Result<(), Box<Answer>> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let bearer = format!("Bearer {TOKEN}");
    let (wanted, challenge) = match shared.auth {
        Auth::Anyone => return Ok(()),
        Auth::Basic => (basic, r#"Basic realm="registry""#.to_owned()),
        Auth::Token if path == "/token" => (basic, r#"Basic realm="tokens""#.to_owned()),
        Auth::Token => (bearer, format!(r#"Bearer realm="{}",service="reg & co""#, lock(&shared.realm))),
    };
    if authorization == Some(&wanted) {
        return Ok(());
    }
    let mut refusal = with(StatusCode::UNAUTHORIZED, r#"{"errors": [{"code": "UNAUTHORIZED"}]}"#);
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().expect("a header"));
    Err(Box::new(refusal))
}

fn get(shared: &Shared, path: &str) -> Answer {
    let stored = lock(&shared.stored).get(path).cloned();
    let Some((media_type, bytes)) = stored else {
        return with(StatusCode::NOT_FOUND, r#"{"errors": [{"code": "MANIFEST_UNKNOWN"}]}"#);
    };
    let mut answer = with(StatusCode::OK, bytes.clone());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type.parse().expect("a type"));
    headers.insert("docker-content-digest", sha256(&bytes).parse().expect("a digest"));
    answer
}

fn put(shared: &Shared, path: &str, query: &str, media_type: Option<&header::HeaderValue>, body: Bytes) -> Answer {
    let digest = sha256(&body);
    let mut stored = lock(&shared.stored);
    if let Some((repository, _)) = path.split_once("/blobs/uploads/") {
        if query != format!("digest={digest}") {
            return with(StatusCode::BAD_REQUEST, "another digest");
        }
        stored.insert(format!("{repository}/blobs/{digest}"), ("application/octet-stream".into(), body));
    } else if let Some((repository, _)) = path.split_once("/manifests/") {
        let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        stored.insert(format!("{repository}/manifests/{digest}"), (media_type.clone(), body.clone()));
        stored.insert(path.to_owned(), (media_type, body));
    }
    with(StatusCode::CREATED, "")
}

fn broken_by(mut answer: Answer, path: &str, how: Break) -> Answer {
    match how {
        Break::Status(status) => with(StatusCode::from_u16(status).expect("a status"), "<html>sorry</html>"),
        Break::Body(body) => {
            *answer.body_mut() = Body::from(body);
            answer.headers_mut().remove("docker-content-digest");
            answer
        }
        Break::Header(name, value) => {
            answer.headers_mut().insert(name, value.parse().expect("a header"));
            answer
        }
        Break::Half => halved(answer, Duration::from_millis(100), false),
        Break::Slow => halved(answer, Duration::from_millis(600), true),
        Break::Endless => {
            let (parts, _) = answer.into_parts();
            let piece = Bytes::from(vec![b' '; 65536]);
            let pieces = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
            Response::from_parts(parts, Body::from_stream(pieces))
        }
        Break::Elsewhere(base) => {
            let mut answer = with(StatusCode::TEMPORARY_REDIRECT, "");
            let location = format!("{base}{path}?{SIGNATURE}");
            answer.headers_mut().insert(header::LOCATION, location.parse().expect("a location"));
            answer
        }
    }
}

/// The first half of a body, a pause, and then the rest, or an error, which closes the connection.
fn halved(answer: Answer, pause: Duration, goes_on: bool) -> Answer {
    let (parts, body) = answer.into_parts();
    let pieces = futures::stream::once(axum::body::to_bytes(body, usize::MAX)).flat_map(move |whole| {
        let whole = whole.expect("a body");
        let (half, rest) = (whole.slice(..whole.len() / 2), whole.slice(whole.len() / 2..));
        // The half has to be sent before the connection closes.
        let last = futures::stream::once(async move {
            tokio::time::sleep(pause).await;
            if goes_on { Ok(rest) } else { Err(std::io::Error::other("cut")) }
        });
        futures::stream::iter([Ok(half)]).chain(last)
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}
