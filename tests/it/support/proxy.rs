//! An HTTP proxy before the AWS emulators: it counts and records calls by operation, breaks them on demand, and can do
//! something after the n-th (kill the operator, say). One for each test.

mod faults;
mod moto;
mod operation;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, Response, header};
use tokio::task::JoinHandle;

pub use faults::{Fault, Kind};
pub use operation::Service;

use super::emulators::{ACCOUNT, Emulators};
use super::runtime::{block_on, http, runtime};
use faults::Verdict;
pub(super) use faults::matches;

/// Requests to moto, one at a time over all proxies: it has races.
static MOTO: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The longest body that the proxy takes from anyone.
const BODY_LIMIT: usize = 64 << 20;

/// One call that went through the proxy, or was stopped in it.
#[derive(Debug, Clone)]
pub struct Call {
    /// `iam:CreateRole`, `sts:GetCallerIdentity`, `s3:PutObject`, …: named like the API's operations, not like IAM's
    /// actions (`s3:HeadBucket`, `s3:ListObjectsV2`).
    pub op: String,
    /// The HTTP status that the caller got; 0 when it got none (connection closed, or still under way).
    pub status: u16,
    pub at: Instant,
    /// Whether the call reached the emulator, so may have had an effect.
    pub forwarded: bool,
    /// The access key that signed, empty when nobody did.
    pub access_key_id: String,
    /// The region it was signed for.
    pub region: String,
    /// IAM and STS: the form's fields. S3: `Bucket`, `Key` and what the query says.
    pub params: BTreeMap<String, String>,
    /// S3: headers of the request, names in lower case. Empty for IAM and STS.
    pub headers: BTreeMap<String, String>,
    /// The request's body as sent.
    pub body: Bytes,
}

impl Call {
    /// A parameter, empty if absent: `RoleName`, `PolicyDocument`, `Bucket`, `Key`, ….
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// Whether the call is made to change something, by its name.
    pub fn is_write(&self) -> bool {
        operation::is_write(&self.op)
    }
}

/// A proxy for one test; its ports close when it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    ports: [u16; 3],
    servers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Recorded {
    calls: Vec<Call>,
    /// How many calls were forgotten: the number of the first of `calls`.
    forgotten: usize,
    faults: Vec<Fault>,
    hooks: Vec<Hook>,
    rewrite: Option<Rewrite>,
}

type Rewrite = Arc<dyn Fn(&str, String) -> String + Send + Sync>;

struct Hook {
    pattern: String,
    writes_only: bool,
    left: u32,
    callback: Box<dyn FnOnce() + Send>,
}

struct Shared {
    moto: String,
    s3: String,
    recorded: Mutex<Recorded>,
}

impl Shared {
    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Starts a proxy before the given emulators.
    pub fn start(targets: &Emulators) -> Proxy {
        Self::between(targets.moto_url(), targets.s3_url())
    }

    /// Starts a proxy before one emulator that is asked for everything.
    pub fn start_before(url: &str) -> Proxy {
        Self::between(url, url)
    }

    fn between(iam: &str, s3: &str) -> Proxy {
        let shared = Arc::new(Shared { moto: iam.to_owned(), s3: s3.to_owned(), recorded: Mutex::default() });
        let mut servers = Vec::new();
        let ports = [Service::Iam, Service::Sts, Service::S3].map(|service| {
            let listener = block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("cannot bind a port");
            let port = listener.local_addr().expect("a bound listener has an address").port();
            let app = Router::new().fallback(handle).with_state((service, shared.clone()));
            servers.push(runtime().spawn(async move {
                let _ = axum::serve(listener, app).await;
            }));
            port
        });
        Proxy { shared, ports, servers }
    }

    /// For `AWS_ENDPOINT_URL_IAM`.
    pub fn iam_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// For `AWS_ENDPOINT_URL_STS`.
    pub fn sts_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[1])
    }

    /// For `AWS_ENDPOINT_URL_S3`.
    pub fn s3_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[2])
    }

    /// All calls since the start or the last [`reset_counts`](Self::reset_counts), in the order of their arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.recorded().calls.clone()
    }

    /// How many calls match a pattern (`iam:CreateRole`, `s3:*`).
    pub fn count(&self, pattern: &str) -> usize {
        self.shared.recorded().calls.iter().filter(|call| matches(pattern, &call.op)).count()
    }

    /// The calls that were made to change something, whether or not they did.
    pub fn writes(&self) -> Vec<Call> {
        self.shared.recorded().calls.iter().filter(|call| call.is_write()).cloned().collect()
    }

    /// The names of the operations of [`writes`](Self::writes): for messages and short assertions.
    pub fn write_ops(&self) -> Vec<String> {
        self.writes().into_iter().map(|call| call.op).collect()
    }

    /// Forgets the calls so far. Faults and hooks stay.
    pub fn reset_counts(&self) {
        let mut recorded = self.shared.recorded();
        recorded.forgotten += recorded.calls.len();
        recorded.calls.clear();
    }

    /// From now on, calls that match are broken. The first matching fault that is not used up counts.
    pub fn inject(&self, fault: Fault) {
        self.shared.recorded().faults.push(fault);
    }

    /// Ends all faults and rewriting; calls already held up by a [`Kind::Delay`] stay so.
    pub fn clear_faults(&self) {
        let mut recorded = self.shared.recorded();
        recorded.faults.clear();
        recorded.rewrite = None;
    }

    /// Passes the body of every successful text answer through a closure, with the operation's name. To present the
    /// same thing in another form, as AWS may: policy documents with other white space or order.
    pub fn rewrite(&self, rewrite: impl Fn(&str, String) -> String + Send + Sync + 'static) {
        self.shared.recorded().rewrite = Some(Arc::new(rewrite));
    }

    /// Calls `callback` once, after the `n`-th (from 1, from now) forwarded call that matches took effect and before
    /// its answer goes back; the answer waits for it.
    pub fn on_call(&self, pattern: &str, n: u32, callback: impl FnOnce() + Send + 'static) {
        self.hook(pattern, false, n, callback);
    }

    /// Like [`on_call`](Self::on_call), counting writes of any kind only.
    pub fn on_write(&self, n: u32, callback: impl FnOnce() + Send + 'static) {
        self.hook("*", true, n, callback);
    }

    fn hook(&self, pattern: &str, writes_only: bool, n: u32, callback: impl FnOnce() + Send + 'static) {
        assert!(n > 0, "calls are counted from 1");
        let hook = Hook { pattern: pattern.to_owned(), writes_only, left: n, callback: Box::new(callback) };
        self.shared.recorded().hooks.push(hook);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

/// What goes back to the caller; `None` closes the connection without an answer.
type Reply = Option<Response<Bytes>>;

async fn handle(State((service, shared)): State<(Service, Arc<Shared>)>, request: Request) -> Response<Body> {
    // In a task of its own: once it is here a call is carried out and recorded to its end, even if the caller dies.
    match tokio::spawn(serve(service, shared, request)).await.ok().flatten() {
        Some(reply) => reply.map(Body::from),
        None => close_connection(),
    }
}

/// An answer whose body fails before the first byte: the server closes the connection and sends nothing.
pub(super) fn close_connection() -> Response<Body> {
    Response::new(Body::from_stream(BrokenStream))
}

/// A request as it came, and what it asks for.
#[derive(Clone)]
struct Asked {
    service: Service,
    op: String,
    params: BTreeMap<String, String>,
    method: Method,
    /// Path and query, not decoded: signatures are over these bytes.
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }
}

async fn serve(service: Service, shared: Arc<Shared>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_LIMIT).await.ok()?;
    let call = operation::describe(service, &parts, body.clone());
    let asked = Asked {
        service,
        op: call.op.clone(),
        params: call.params.clone(),
        method: parts.method,
        path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: parts.headers,
        body,
    };
    let (number, fault) = {
        let mut recorded = shared.recorded();
        let fault = faults::take(&mut recorded.faults, &asked.op, &asked.params);
        recorded.calls.push(call);
        (recorded.forgotten + recorded.calls.len() - 1, fault)
    };

    let verdict = match fault {
        Some(kind) => kind.judge(&asked).await,
        None => Verdict::Forward,
    };
    let (reply, forwarded) = match verdict {
        Verdict::Answer(reply) => (reply, false),
        _ if asks_for_a_foreign_bucket(&asked) => (Some(faults::access_denied(&asked)), false),
        Verdict::Forward => (forward(&shared, &asked).await, true),
        Verdict::ForwardAndLose => {
            forward(&shared, &asked).await;
            (None, true)
        }
    };

    let mut recorded = shared.recorded();
    let index = number.checked_sub(recorded.forgotten); // none: forgotten in the meantime
    if let Some(call) = index.and_then(|index| recorded.calls.get_mut(index)) {
        call.status = reply.as_ref().map_or(0, |reply| reply.status().as_u16());
        call.forwarded = forwarded;
    }
    reply
}

/// AWS refuses a request that expects another owner of the bucket; MiniStack does not look.
fn asks_for_a_foreign_bucket(asked: &Asked) -> bool {
    let expected = asked.headers.get("x-amz-expected-bucket-owner");
    asked.service == Service::S3 && expected.is_some_and(|expected| expected.as_bytes() != ACCOUNT.as_bytes())
}

/// Lets a request take effect, with all that happens after it; its answer, if the emulator gave one.
async fn forward(shared: &Shared, asked: &Asked) -> Reply {
    let answer = if asked.service == Service::S3 {
        // moto may be asked for S3 as well, and then one at a time, too.
        let _one_at_a_time = if shared.s3 == shared.moto { Some(MOTO.lock().await) } else { None };
        send(&shared.s3, asked).await
    } else {
        let _one_at_a_time = MOTO.lock().await;
        moto::forward(&shared.moto, asked).await
    };
    run_hooks(shared, &asked.op).await;
    let rewrite = shared.recorded().rewrite.clone();
    match (answer, rewrite) {
        (Ok(reply), Some(rewrite)) if reply.status().is_success() => Some(rewrite_body(&*rewrite, &asked.op, reply)),
        (Ok(reply), _) => Some(reply),
        (Err(error), _) => {
            eprintln!("proxy: {} did not get through to the emulator: {error}", asked.op);
            None
        }
    }
}

async fn send(target: &str, asked: &Asked) -> Result<Response<Bytes>, reqwest::Error> {
    let mut headers = asked.headers.clone();
    remove_connection_headers(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::EXPECT);
    let url = format!("{target}{}", asked.path);
    let request = http().request(asked.method.clone(), url).headers(headers).body(asked.body.clone());
    let answer = request.send().await?;

    let mut reply = Response::new(Bytes::new());
    *reply.status_mut() = answer.status();
    let mut headers = answer.headers().clone();
    remove_connection_headers(&mut headers);
    if asked.method != Method::HEAD {
        // Set again from the body; a HEAD has none to set it from.
        headers.remove(header::CONTENT_LENGTH);
    }
    *reply.headers_mut() = headers;
    *reply.body_mut() = answer.bytes().await?;
    Ok(reply)
}

pub(super) fn remove_connection_headers(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::UPGRADE, KEEP_ALIVE] {
        headers.remove(name);
    }
}

fn rewrite_body(
    rewrite: &(dyn Fn(&str, String) -> String + Send + Sync),
    op: &str,
    reply: Response<Bytes>,
) -> Response<Bytes> {
    reply.map(|body| match String::from_utf8(body.to_vec()) {
        Ok(text) if !text.is_empty() => rewrite(op, text).into(),
        _ => body,
    })
}

async fn run_hooks(shared: &Shared, op: &str) {
    let due: Vec<Hook> = {
        let mut recorded = shared.recorded();
        let write = operation::is_write(op);
        for hook in &mut recorded.hooks {
            if matches(&hook.pattern, op) && (write || !hook.writes_only) {
                hook.left -= 1;
            }
        }
        let (due, waiting) = std::mem::take(&mut recorded.hooks).into_iter().partition(|hook| hook.left == 0);
        recorded.hooks = waiting;
        due
    };
    for hook in due {
        if tokio::task::spawn_blocking(hook.callback).await.is_err() {
            eprintln!("proxy: the callback after {op} panicked");
        }
    }
}

use broken::BrokenStream;

mod broken {
    use std::io::{Error, ErrorKind};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::Bytes;
    use futures::Stream;

    /// A body that fails at once.
    pub struct BrokenStream;

    impl Stream for BrokenStream {
        type Item = Result<Bytes, Error>;

        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(Some(Err(ErrorKind::ConnectionAborted.into())))
        }
    }
}
