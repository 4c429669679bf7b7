//! Health and metrics over HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;
use super::watch_health::{MOST_NAMED, WatchHealth};
use crate::kubernetes::served::ServedSchemas;

/// What the process is doing, for `/readyz`.
#[derive(Clone)]
pub struct Readiness {
    work: Arc<Mutex<Result<(), String>>>,
    health: WatchHealth,
    schemas: Arc<ServedSchemas>,
}

impl Readiness {
    /// Not ready yet.
    pub fn starting(health: WatchHealth, schemas: Arc<ServedSchemas>) -> Self {
        Self { work: Arc::new(Mutex::new(Err("starting".into()))), health, schemas }
    }

    /// Ready: a replica that waits for the lease is, too, or a roll-out would never end.
    pub fn ready(&self) {
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Ok(());
    }

    /// Not ready, and why.
    pub fn waiting(&self, why: String) {
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Err(why);
    }

    /// Whether the process is ready, and a line for each thing that keeps it from being so or that limits it: what waits, lost
    /// watches, fields that the installed CustomResourceDefinitions lack, objects that cannot be decoded.
    fn get(&self) -> (bool, Vec<String>) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut lines: Vec<String> = work.err().into_iter().collect();
        lines.extend(self.health.lost().iter().map(|lost| format!("WatchLost: {lost}")));
        let outdated = self.schemas.outdated();
        // Without conditions nothing can be said of an object at all.
        let is_mute = |fields: &[String]| fields.iter().any(|of| of == "status" || of == "status.conditions");
        let mute = outdated.iter().any(|(_, fields)| is_mute(fields));
        let is_ready = lines.is_empty() && !mute;
        for (kind, fields) in outdated {
            lines.push(format!(
                "CRDOutdated: the CustomResourceDefinition {} does not declare {}; apply the CustomResourceDefinitions of this version (crds/)",
                kind.crd_name(),
                fields.join(", ")
            ));
        }
        lines.extend(self.schemas.unread().map(|why| format!("the served schemas are not known: {why}")));
        for report in self.health.report().into_iter().filter(|report| !report.unreadable.is_empty()) {
            let watch = report.watch.name();
            let more = report.unreadable.len().saturating_sub(MOST_NAMED);
            for (object, problem) in report.unreadable.into_iter().take(MOST_NAMED) {
                lines.push(format!("{watch} {}/{} cannot be read: {problem}", object.namespace, object.name));
            }
            if more > 0 {
                lines.push(format!("{more} more {watch} cannot be read"));
            }
        }
        (is_ready, lines)
    }
}

/// Serves until it is dropped.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, readiness: Readiness) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving health and metrics");
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(serve_metrics))
        .with_state((metrics, readiness));
    axum::serve(listener, router).await
}

type Shared = (Arc<Metrics>, Readiness);

async fn readyz(State((_, readiness)): State<Shared>) -> (StatusCode, String) {
    let (is_ready, lines) = readiness.get();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let first = is_ready.then(|| "ok".to_owned());
    let mut text = first.into_iter().chain(lines).collect::<Vec<_>>().join("\n");
    text.push('\n');
    (status, text)
}

async fn serve_metrics(State((metrics, _)): State<Shared>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], metrics.encode())
}
