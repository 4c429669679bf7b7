//! Rolecall on OpenShift itself: OpenShift's own CRD for CredentialsRequests, and a stand-in for OpenShift's operator that
//! writes to the same requests.

mod deleted;
mod outcomes;
mod shared_status;
mod upgradeable;

use serde_json::Value;

use super::ended::{SETTLED, ready_on};
use super::scene::{SOON, Scene, condition_is};
use super::support::{Schema, eventually};

/// A scene on OpenShift's schema, everything Ready and written by both operators.
fn ready(name: &str, more: &str, requests: &[&str]) -> Scene {
    let scene = ready_on(Schema::OpenShift, name, more, requests);
    for request in requests {
        await_settled(&scene, request);
    }
    scene
}

/// Waits until Rolecall's status and that of OpenShift's operator are of the request's generation; returns the request.
#[track_caller]
fn await_settled(scene: &Scene, request: &str) -> Value {
    let object = eventually(SOON, &format!("the status of {request} to be current"), || {
        let object = scene.request_object(request);
        condition_is(&object, "Ready", "True")?;
        if scene.observed_generation(&object) == object["metadata"]["generation"] {
            Ok(object)
        } else {
            Err(object["status"].to_string())
        }
    });
    scene.assert_provisioned(&object, true);
    scene.request_object(request)
}

/// No reconcile has ended with its statuses unwritten.
#[track_caller]
fn assert_all_written(scene: &Scene) {
    let not_written = scene.operator().metric("rolecall_passes_total{outcome=\"not_written\"}").unwrap_or(0.0);
    assert!(not_written < 1.0, "{not_written} reconciles wrote no status");
}
