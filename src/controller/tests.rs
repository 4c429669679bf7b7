//! A pass that panics, before an API server that takes every write and remembers it.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, Uri};
use kube::runtime::reflector::store;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::aws::meter::Meter;

/// Each write: method and path, and what was written.
type Written = Arc<Mutex<Vec<(String, Value)>>>;

/// A client of an API server that answers a write with what was written.
#[allow(clippy::disallowed_methods, reason = "the server ends with the runtime of its test")]
async fn client(written: Written) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let take = |State(written): State<Written>, method: Method, uri: Uri, body: Bytes| async move {
        let mut object: Value = serde_json::from_slice(&body).unwrap_or_default();
        let what = format!("{method} {}", uri.path());
        written.lock().unwrap_or_else(PoisonError::into_inner).push((what, object.clone()));
        if uri.path().contains("/clusteridentities/") {
            object["spec"] = spec();
        }
        ([("content-type", "application/json")], object.to_string())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take).with_state(written)).await });
    Client::try_from(kube::Config::new(format!("http://{address}").parse().expect("a URL"))).expect("a client")
}

fn spec() -> Value {
    json!({
        "infraName": "prod", "region": "eu-west-1", "driftInterval": "10m",
        "issuer": {"signingKeys": [{"secretRef": {"name": "signer", "key": "pub"}}]},
    })
}

fn identity(name: &str) -> ClusterIdentity {
    let metadata = json!({"name": name, "namespace": "ns", "uid": name, "generation": 1, "resourceVersion": "1"});
    let object = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterIdentity", "metadata": metadata, "spec": spec(),
    });
    serde_json::from_value(object).expect("a ClusterIdentity")
}

fn context(client: Client) -> Context {
    let settings = Settings {
        namespace: None,
        listen: ([127, 0, 0, 1], 0).into(),
        concurrency: 2,
        pass_timeout: Duration::from_mins(1),
        lease: None,
        instance: "test".into(),
        settle_time: Duration::from_secs(30),
        watch_limits: WatchLimits::default(),
        take_over_from: BTreeSet::new(),
        read_only: false,
        unused_consent_threshold: Duration::from_hours(1),
    };
    let health = WatchHealth::new(settings.watch_limits);
    health.start();
    let seeing = Seeing { health, schemas: Arc::new(ServedSchemas::new(client.clone())) };
    let stores = Stores {
        identities: store().0,
        requests: store().0,
        checks: store().0,
        namespaces: store().0,
        secrets: store().0,
    };
    let aws = Connection::with(&aws_config::SdkConfig::builder().build(), Meter::default());
    Context::new(client, &settings, aws, stores, mpsc::unbounded_channel().0, Arc::new(Metrics::new()), seeing)
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines_with(&self, words: &[&str]) -> usize {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

async fn panics() -> Result<Ended, kube::Error> {
    tokio::task::yield_now().await;
    panic!("no {}", "luck")
}

async fn verifies() -> Result<Ended, kube::Error> {
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(Ended::with(Outcome::Verified, "true"))
}

#[tokio::test]
async fn a_pass_that_panics_is_counted_logged_and_told_and_the_others_go_on() {
    let log = Log::default();
    let _logging =
        tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish());
    let written = Written::default();
    let context = context(client(written.clone()).await);
    let (unlucky, other, now) = (identity("unlucky"), identity("other"), Timestamp::now());
    let (after_panic, after_other) =
        tokio::join!(attend(&context, &unlucky, now, panics()), attend(&context, &other, now, verifies()));
    assert_eq!(after_other, Duration::from_mins(10));
    assert!((1.0..1.25).contains(&after_panic.as_secs_f64()), "{after_panic:?}");

    let counted = |page: &str, outcome: &str, times: u32| {
        page.contains(&format!("rolecall_passes_total{{outcome=\"{outcome}\"}} {times}\n"))
    };
    let page = context.metrics.encode();
    assert!(counted(&page, "panicked", 1) && counted(&page, "verified", 1), "{page}");
    assert_eq!(log.lines_with(&["ERROR", "a pass panicked", "ns/unlucky", "no luck"]), 1);
    assert_eq!(log.lines_with(&["INFO", "outcome=\"panicked\"", "ns/unlucky"]), 1);
    assert_eq!(log.lines_with(&["INFO", "outcome=\"verified\"", "ns/other"]), 1);
    {
        let written = written.lock().unwrap_or_else(PoisonError::into_inner);
        let path = "PATCH /apis/rolecall.dev/v1alpha1/namespaces/ns/clusteridentities/unlucky/status";
        let statuses: Vec<&Value> =
            written.iter().filter(|(what, _)| what == path).map(|(_, body)| &body["status"]).collect();
        assert_eq!(statuses.len(), 1, "{written:?}");
        let conditions = statuses[0]["conditions"].as_array().expect("conditions");
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").expect("Ready");
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("Unknown"), &json!("Panicked")));
        assert_eq!(ready["message"], "a pass ended in a defect of Rolecall: no luck");
        assert!(!written.iter().any(|(what, _)| what.contains("/other")), "{written:?}");
    }

    // The next one panics, too, and is waited for longer; one that gets through ends that.
    let again = attend(&context, &unlucky, now, panics()).await;
    assert!((2.0..2.5).contains(&again.as_secs_f64()), "{again:?}");
    assert_eq!(attend(&context, &unlucky, now, verifies()).await, Duration::from_mins(10));
    let page = context.metrics.encode();
    assert!(counted(&page, "panicked", 2) && counted(&page, "verified", 2), "{page}");
}
