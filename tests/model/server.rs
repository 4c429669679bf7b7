//! The model behind a port, for programs that speak HTTP: `AWS_ENDPOINT_URL_IAM`, `…_STS` and `…_S3` all name it.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Model;
use super::request::Request;

/// The longest body that the model takes.
const LONGEST: usize = 64 << 20;

/// A model behind a port, until it is dropped.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Model {
    /// Serves the model on a free port of 127.0.0.1. Buckets are addressed by path; who signs for `iam` or `sts` gets
    /// those, everyone else S3.
    pub async fn serve(&self) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("cannot bind a port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let app = Router::new().fallback(handle).with_state(self.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Served { address, server }
    }
}

impl Served {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn handle(State(model): State<Model>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST).await else { return close_connection() };
    let request = Request { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    let Some(answer) = model.call(request).await else { return close_connection() };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(&*name, value);
    }
    response.body(Body::from(answer.body)).expect("an answer that can be sent")
}

/// An answer whose body fails before its first byte: the server closes the connection without sending anything.
fn close_connection() -> Response<Body> {
    let broken = futures::stream::once(async { Err::<Bytes, _>(Error::from(ErrorKind::ConnectionAborted)) });
    Response::new(Body::from_stream(broken))
}
