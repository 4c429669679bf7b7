//! An HTTP proxy between an operator and the API server: it records requests by verb and resource, breaks them on
//! demand, and can cut everything off and come back. Watches stream through it.

mod faults;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, header, request};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use faults::{ApiFault, Broken};

use super::controlplane::ControlPlane;
use super::process::run_dir;
use super::proxy::{close_connection, matches, remove_connection_headers};
use super::runtime::{block_on, runtime};

/// The longest body that an operator sends.
const BODY_LIMIT: usize = 8 << 20;

/// One request that came to the proxy.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// Plural, with the subresource if there is one: `secrets`, `clusteridentities/status`.
    pub resource: String,
    pub at: Instant,
    status: Arc<AtomicU16>,
}

impl Asked {
    /// `patch secrets`: what patterns are compared with.
    pub fn what(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }

    /// The HTTP status that went back; 0 when none did.
    pub fn status(&self) -> u16 {
        self.status.load(Ordering::Relaxed)
    }

    fn of(parts: &request::Parts) -> Asked {
        let mut path: Vec<&str> = parts.uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        // `/api/v1/…` or `/apis/GROUP/VERSION/…`, then perhaps `namespaces/NAME` before what it is about.
        path.drain(..path.len().min(if path.first() == Some(&"api") { 2 } else { 3 }));
        if path.first() == Some(&"namespaces") && path.len() > 2 {
            path.drain(..2);
        }
        let watches = parts.uri.query().is_some_and(|query| query.split('&').any(|part| part.starts_with("watch=")));
        let verb = match parts.method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ if watches => "watch",
            _ if path.len() > 1 => "get",
            _ => "list",
        };
        let resource = match path.as_slice() {
            [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
            [resource, ..] => (*resource).to_owned(),
            [] => parts.uri.path().to_owned(),
        };
        Asked { verb, resource, at: Instant::now(), status: Arc::default() }
    }
}

/// A proxy for one operator; it ends when it is dropped.
pub struct ApiProxy {
    shared: Arc<Shared>,
    kubeconfig: String,
    /// Keeps the port while nobody listens on it.
    _port: TcpSocket,
    port: u16,
    inner: JoinHandle<()>,
    inner_port: u16,
    front: Mutex<Option<Front>>,
}

/// What accepts connections, until it is told to stop.
struct Front {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Shared {
    url: String,
    client: reqwest::Client,
    asked: Mutex<Vec<Asked>>,
    faults: Mutex<Vec<ApiFault>>,
}

impl ApiProxy {
    /// Starts a proxy before the API server, for the operator of a namespace.
    pub fn start(cluster: &ControlPlane, namespace: &str) -> ApiProxy {
        let shared = Arc::new(Shared {
            url: cluster.url().to_owned(),
            client: client(cluster),
            asked: Mutex::default(),
            faults: Mutex::default(),
        });
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).expect("cannot bind a port");
        let inner_port = listener.local_addr().expect("a bound listener has an address").port();
        let app = Router::new().fallback(handle).with_state(shared.clone());
        let inner = runtime().spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        let held = socket(0);
        let port = held.local_addr().expect("a bound socket has an address").port();
        let kubeconfig = write_kubeconfig(cluster, namespace, port);
        let proxy = ApiProxy { shared, kubeconfig, _port: held, port, inner, inner_port, front: Mutex::default() };
        proxy.mend();
        proxy
    }

    /// For the operator's `KUBECONFIG`: its own rights, through this proxy.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// All requests since the start or the last [`forget`](Self::forget), in the order of their arrival.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// How many requests fit a pattern: `patch secrets`, `* leases`, `patch */status`, `*`.
    pub fn count(&self, pattern: &str) -> usize {
        lock(&self.shared.asked).iter().filter(|asked| matches(pattern, &asked.what())).count()
    }

    /// The requests that were made to change something.
    pub fn writes(&self) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| !["get", "list", "watch"].contains(&asked.verb));
        asked
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        lock(&self.shared.asked).clear();
    }

    /// From now on, requests that match are broken. The first matching fault that is not used up counts.
    pub fn inject(&self, fault: ApiFault) {
        lock(&self.shared.faults).push(fault);
    }

    /// How many requests are still to be broken by faults that were given a number.
    pub fn unspent(&self) -> u32 {
        lock(&self.shared.faults).iter().map(ApiFault::left).sum()
    }

    /// Ends all faults; what hangs already goes on hanging.
    pub fn clear_faults(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Refuses connections, and closes those that are open.
    pub fn cut(&self) {
        if let Some(front) = lock(&self.front).take() {
            front.stop.cancel();
            block_on(front.task).expect("the front ends when it is told to");
        }
    }

    /// Takes connections again.
    pub fn mend(&self) {
        let _inside = runtime().enter();
        let listener = socket(self.port).listen(1024).expect("the port was kept");
        let stop = CancellationToken::new();
        let task = runtime().spawn(accept(listener, self.inner_port, stop.clone()));
        *lock(&self.front) = Some(Front { stop, task });
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.cut();
        self.inner.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket on a port of 127.0.0.1 that does not listen. Several may share a port as long as only one listens.
fn socket(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("cannot make a socket");
    socket.set_reuseaddr(true).expect("cannot share a port");
    socket.bind(([127, 0, 0, 1], port).into()).expect("cannot bind a port");
    socket
}

/// Hands connections on; when it is told to stop, all of them end with it.
async fn accept(listener: TcpListener, inner_port: u16, stop: CancellationToken) {
    let mut open = JoinSet::new();
    while let Some(Ok((mut from, _))) = stop.run_until_cancelled(listener.accept()).await {
        open.spawn(async move {
            if let Ok(mut to) = TcpStream::connect(("127.0.0.1", inner_port)).await {
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}

/// A client that trusts the API server alone.
fn client(cluster: &ControlPlane) -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pem = std::fs::read(cluster.ca_file()).expect("the API server's certificate");
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).expect("certificates"))
        .build()
        .expect("cannot build an HTTP client")
}

fn write_kubeconfig(cluster: &ControlPlane, namespace: &str, port: u16) -> String {
    let own = std::fs::read_to_string(cluster.operator_kubeconfig(namespace)).expect("the operator's kubeconfig");
    let mut kubeconfig: Value = serde_json::from_str(&own).expect("written as JSON");
    kubeconfig["clusters"][0]["cluster"] = json!({"server": format!("http://127.0.0.1:{port}")});
    let file = run_dir().join(format!("api-proxy-{port}.kubeconfig"));
    std::fs::write(&file, kubeconfig.to_string()).expect("cannot write a kubeconfig");
    file.display().to_string()
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let asked = Asked::of(&parts);
    lock(&shared.asked).push(asked.clone());
    let fault = faults::take(&mut lock(&shared.faults), &asked.what());
    let answer = match fault {
        None => forward(&shared, parts, body).await,
        Some(Broken::LostAnswer) => {
            // Read to its end: only then has it surely taken effect.
            if let Some(answer) = forward(&shared, parts, body).await {
                let _ = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            }
            None
        }
        Some(Broken::Closed) => None,
        // Until the operator goes away, which ends this future.
        Some(Broken::Hang) => std::future::pending().await,
        Some(Broken::Status { code, retry_after }) => Some(faults::answer(code, retry_after)),
    };
    match answer {
        Some(answer) => {
            asked.status.store(answer.status().as_u16(), Ordering::Relaxed);
            answer
        }
        None => close_connection(),
    }
}

async fn forward(shared: &Shared, parts: request::Parts, body: Body) -> Option<Response<Body>> {
    let body = axum::body::to_bytes(body, BODY_LIMIT).await.ok()?;
    let mut headers = parts.headers;
    remove_connection_headers(&mut headers);
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let url = format!("{}{}", shared.url, parts.uri);
    let mut answer = shared.client.request(parts.method, url).headers(headers).body(body).send().await.ok()?;
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = answer.status();
    *reply.headers_mut() = std::mem::take(answer.headers_mut());
    remove_connection_headers(reply.headers_mut());
    let chunks = futures::stream::try_unfold(answer, |mut answer| async move {
        let chunk = answer.chunk().await?;
        Ok::<_, reqwest::Error>(chunk.map(|chunk| (chunk, answer)))
    });
    *reply.body_mut() = Body::from_stream(chunks);
    Some(reply)
}
