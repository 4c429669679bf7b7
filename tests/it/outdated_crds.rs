//! CustomResourceDefinitions that are older or newer than the operator, and statuses that are larger than they may become.
//!
//! CustomResourceDefinitions are those of the whole cluster: these tests change them on control planes of their own.

mod behind;
mod crds;
mod every_path;
mod large;
mod newer;
mod stale;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::json;

use super::ended::SETTLED;
use super::scene::{SOON, Scene, condition, condition_is, request_json, said};
use super::support::{ControlPlane, IssuerFront, Operator, Schema, Write, eventually};
use super::upgrade_checks::{await_check, check, config_map, from_map, object};
use crds::Removed;

/// A control plane whose CustomResourceDefinitions one test at a time may change, and is to put back.
fn changeable() -> (&'static ControlPlane, MutexGuard<'static, ()>) {
    static PLANE: OnceLock<ControlPlane> = OnceLock::new();
    static CHANGING: Mutex<()> = Mutex::new(());
    let changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let plane = PLANE.get_or_init(|| ControlPlane::start("controlplane-crds", Schema::Rolecall));
    plane.install();
    (plane, changing)
}

/// The name of the UpgradeCheck that grants ahead.
const AHEAD: &str = "ahead";

/// A ClusterIdentity that is looked at when it is asked for, a request `a`, and an UpgradeCheck that grants ahead a component
/// which has no role yet. No operator.
fn scene_on(plane: &'static ControlPlane, name: &str) -> Scene {
    let scene = Scene::on_plane(plane, name);
    let yaml = scene.identity_yaml("").replace("driftInterval: 2s", "driftInterval: 1h");
    scene.cluster.apply_ok(&yaml);
    scene.request("a");
    let release = [request_json(name, "a"), request_json(name, "new")].map(|request| request.to_string());
    config_map(&scene, "next", &release.join("\n---\n"));
    scene.cluster.apply_ok(&check(&scene, AHEAD, from_map("next"), json!({"action": "PreGrant"})).to_string());
    scene
}

/// Starts the operator and waits until it has made a reconcile: it may be that it is not ready.
fn start(scene: &mut Scene) {
    let front = Some(IssuerFront::shared());
    let operator = Operator::start(scene.cluster, &scene.name, &scene.proxy, front, &SETTLED, &[]);
    operator.wait_log(SOON, "serving health and metrics");
    eventually(SOON, "the first reconcile", || match operator.metric("rolecall_passes_total") {
        Some(passes) if passes >= 1.0 => Ok(()),
        _ => Err(operator.http_get("/readyz").1),
    });
    scene.operator = Some(operator);
}

/// No reconcile has ended with its statuses unwritten.
#[track_caller]
fn assert_all_written(scene: &Scene) {
    let not_written = scene.operator().metric("rolecall_passes_total{outcome=\"not_written\"}").unwrap_or(0.0);
    assert!(not_written < 1.0, "{not_written} reconciles wrote no status: {}", scene.operator().log());
}

/// Writes of the operator to statuses of a kind, since so many of its writes.
fn writes_to(scene: &Scene, plural: &str, after: usize) -> Vec<Write> {
    let mut writes = scene.cluster.changes_by(&scene.name).split_off(after);
    writes.retain(|write| write.resource == plural && write.subresource == "status");
    writes
}

/// Waits until the ClusterIdentity says of CustomResourceDefinitions exactly what they lack, or nothing.
#[track_caller]
fn await_told(scene: &Scene, removed: &[Removed]) {
    let wanted = crds::message(removed);
    eventually(SOON, &format!("CRDOutdated to say {wanted:?}"), || {
        let object = scene.identity_object();
        let told = said(&object, "CRDOutdated", "message");
        if told == wanted { Ok(()) } else { Err(object["status"]["conditions"].to_string()) }
    });
}
