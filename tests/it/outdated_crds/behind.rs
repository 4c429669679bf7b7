//! The operator on CustomResourceDefinitions that lack a field of a status: each field in turn, those of the three kinds side
//! by side. All else goes on being told, drift is found and healed, and idle reconciles write nothing.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::crds::{Crd, Removed, install_without};
use super::*;
use crate::support::aws_state::{self, s3};
use crate::support::block_on;
use crate::written::{await_permissions, take_permissions};

/// Ends a control plane of one's own with its test.
struct Servers(&'static ControlPlane);

impl Drop for Servers {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn own_plane(name: &str, schema: Schema) -> (&'static ControlPlane, Servers) {
    // Leaked, for a Scene's control plane is shared by all; its servers end with this test all the same.
    let plane: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start(name, schema)));
    plane.install();
    (plane, Servers(plane))
}

/// Fields of each status in the order of the rounds; what the first reconcile needs comes first.
fn in_turn(crd: Crd, first: &[&str]) -> Vec<Removed> {
    let mut fields = crd.top_level();
    fields.sort_by_key(|field| first.iter().position(|of| of == field).unwrap_or(first.len()));
    fields.into_iter().map(|field| Removed { crd, path: field }).collect()
}

#[test]
fn an_operator_goes_on_without_any_one_field_of_each_status() {
    let (plane, _servers) = own_plane("controlplane-older", Schema::Rolecall);
    let columns = [
        in_turn(Crd::Identity, &["grantedAhead", "begunBucket"]),
        in_turn(Crd::Request, &["providerStatus"]),
        in_turn(Crd::Check, &["preGrant", "preGrantGeneration"]),
    ];
    let crds = [Crd::Identity, Crd::Request, Crd::Check];
    let rounds = columns.iter().map(Vec::len).max().expect("columns");
    let mut scene = None;
    let mut before: Vec<Removed> = Vec::new();
    for round in 0..rounds {
        let removed: Vec<Removed> = columns.iter().filter_map(|column| column.get(round).cloned()).collect();
        install_without(plane, &crds, &removed);
        let scene = scene.get_or_insert_with(|| scene_on(plane, "older"));
        // What was granted ahead is known to the process that granted it, and to the status once that declares it.
        let is_known_to_the_process = lacks(&before, &[Crd::Identity], "grantedAhead");
        let process = if is_known_to_the_process { Process::TheSame } else { Process::New };
        goes_on(scene, process, &removed, &before);
        before = removed;
    }
    install_without(plane, &crds, &[]);
    goes_on(scene.as_mut().expect("rounds"), Process::New, &[], &before);
}

#[test]
fn an_operator_goes_on_without_any_one_field_of_openshifts_own_status() {
    let (plane, _servers) = own_plane("controlplane-older-openshift", Schema::OpenShift);
    let mut scene = scene_on(plane, "os-older");
    start(&mut scene);
    scene.await_condition("Ready", "True");
    scene.await_synced("a");
    // What it writes into a schema without its fields is lost, and it writes them again and again.
    plane.openshift_operator().stop();
    let mut before: Vec<Removed> = Vec::new();
    for removed in in_turn(Crd::OpenShiftRequest, &[]) {
        let removed = vec![removed];
        install_without(plane, &[Crd::OpenShiftRequest], &removed);
        goes_on(&mut scene, Process::New, &removed, &before);
        before = removed;
    }
    install_without(plane, &[Crd::OpenShiftRequest], &[]);
    goes_on(&mut scene, Process::New, &[], &before);
}

fn lacks(removed: &[Removed], kind: &[Crd], path: &str) -> bool {
    removed.iter().any(|removed| kind.contains(&removed.crd) && removed.path == path)
}

const REQUESTS: [Crd; 2] = [Crd::Request, Crd::OpenShiftRequest];

/// Who meets schemas that have changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    /// One that knows nothing but what statuses say.
    New,
    /// The one that ran before: a field that it writes has to be among those that are missing now.
    TheSame,
}

/// The operator in front of schemas without some fields. `before` are those that were missing until now.
fn goes_on(scene: &mut Scene, process: Process, removed: &[Removed], before: &[Removed]) {
    if process == Process::New {
        if let Some(mut operator) = scene.operator.take() {
            operator.terminate();
        }
        start(scene);
    } else {
        take_permissions(scene, "a");
        scene.poke();
        await_permissions(scene, "a");
    }
    let mute = |crd: &[Crd]| lacks(removed, crd, "conditions");
    tells_what_is_missing(scene, removed);
    all_is_told(scene, removed);

    let told = |scene: &Scene| transition(&scene.identity_object(), "Ready");
    let since = (!mute(&[Crd::Identity])).then(|| told(scene));
    if let Some(since) = since {
        // Conditions have whole seconds.
        let next = since + jiff::SignedDuration::from_secs(1);
        eventually(SOON, "the next second", || {
            if Timestamp::now() > next { Ok(()) } else { Err("the same second".to_owned()) }
        });
    }
    let drifted = scene.operator().metric("rolecall_passes_total{outcome=\"changed\"}").unwrap_or(0.0);
    scene.proxy.reset_counts();
    if lacks(removed, &[Crd::Identity], "begunBucket") {
        delete_bucket(scene);
    } else {
        take_permissions(scene, "a");
    }
    scene.poke();
    eventually(SOON, "the drift to be healed", || {
        let changed = scene.operator().metric("rolecall_passes_total{outcome=\"changed\"}").unwrap_or(0.0);
        if changed > drifted { Ok(()) } else { Err(scene.operator().log().lines().last().unwrap_or("").to_owned()) }
    });
    await_permissions(scene, "a");
    all_is_told(scene, removed);
    if let Some(since) = since {
        let object = scene.identity_object();
        assert!(told(scene) > since, "Ready was False in between ({removed:?}): {}", object["status"]);
        assert!(transition(&object, "Drifted") > since, "drift was told ({removed:?}): {}", object["status"]);
    }
    if lacks(removed, &[Crd::Check], "preGrant") || lacks(removed, &[Crd::Check], "preGrantGeneration") {
        grants_ahead_anew(scene, removed);
    }
    is_idle(scene, removed);
    was_put_back(scene, removed, before);
    assert_all_written(scene);
}

fn transition(object: &Value, type_: &str) -> Timestamp {
    said(object, type_, "lastTransitionTime").parse().unwrap_or_else(|error| panic!("{error}: {object}"))
}

fn tells_what_is_missing(scene: &Scene, removed: &[Removed]) {
    let operator = scene.operator();
    let line = |removed: &Removed| {
        format!(
            "CRDOutdated: the CustomResourceDefinition {} does not declare status.{}; apply the CustomResourceDefinitions of this version (crds/)",
            removed.crd.name(),
            removed.path
        )
    };
    let mut wanted: Vec<String> = removed.iter().map(line).collect();
    wanted.sort();
    let mute = removed.iter().any(Removed::is_conditions);
    eventually(SOON, &format!("/readyz to name {removed:?}"), || {
        let (code, page) = operator.http_get("/readyz");
        let mut lines: Vec<&str> = page.lines().filter(|line| *line != "ok").collect();
        lines.sort_unstable();
        if lines == wanted && code == if mute { 503 } else { 200 } { Ok(()) } else { Err(format!("{code} {page}")) }
    });
    for crd in [Crd::Identity, Crd::Request, Crd::Check] {
        let lacking = removed.iter().any(|removed| removed.crd.name() == crd.name());
        let metric = operator.metric(&format!("rolecall_crd_missing_fields{{crd=\"{}\"}}", crd.name()));
        assert_eq!(metric, Some(if lacking { 1.0 } else { 0.0 }), "{crd:?}");
    }
    if !lacks(removed, &[Crd::Identity], "conditions") {
        await_told(scene, removed);
    }
    if !lacks(removed, &[Crd::Check], "conditions") {
        let own: Vec<Removed> = removed.iter().filter(|removed| removed.crd == Crd::Check).cloned().collect();
        eventually(SOON, "CRDOutdated of the UpgradeCheck", || {
            let told = said(&object(scene, AHEAD), "CRDOutdated", "message");
            if told == crds::message(&own) { Ok(()) } else { Err(told) }
        });
    }
}

/// All that can be told is told of all three objects, and what is removed is not there.
fn all_is_told(scene: &Scene, removed: &[Removed]) {
    let healthy = "rolecall_cluster_identities{ready=\"true\"}";
    eventually(SOON, "the metric to say that all is well", || match scene.operator().metric(healthy) {
        Some(1.0) => Ok(()),
        other => Err(format!("{other:?}: {}", scene.operator().log().lines().last().unwrap_or(""))),
    });
    eventually(SOON, &format!("the ClusterIdentity to be told of without {removed:?}"), || {
        let object = scene.identity_object();
        let status = &object["status"];
        if !lacks(removed, &[Crd::Identity], "conditions") {
            condition_is(&object, "Ready", "True")?;
            condition_is(&object, "Drifted", "False")?;
            condition_is(&object, "PreGranted", "True")?;
        }
        let wanted = ["issuerURL", "providerARN", "roles", "keys", "verified", "lastVerifiedTime", "grantedAhead"];
        is_there(status, &wanted, removed, &[Crd::Identity])
    });
    eventually(SOON, &format!("the request to be told of without {removed:?}"), || {
        let object = scene.request_object("a");
        let status = &object["status"];
        if !lacks(removed, &REQUESTS, "conditions") {
            condition_is(&object, "Ready", "True")?;
            condition_is(&object, "Drifted", "False")?;
        }
        let provider = &status["providerStatus"];
        if !provider.is_null() && (provider["verifiedRole"].is_null() || provider["verifiedSecret"].is_null()) {
            return Err(status.to_string());
        }
        let wanted: &[&str] = match scene.cluster.schema() {
            Schema::Rolecall => &["provisioned", "lastSyncGeneration", "lastSyncTimestamp", "providerStatus"],
            Schema::OpenShift => &["providerStatus"],
        };
        is_there(status, wanted, removed, &REQUESTS)
    });
    eventually(SOON, &format!("the UpgradeCheck to be told of without {removed:?}"), || {
        let object = object(scene, AHEAD);
        if !lacks(removed, &[Crd::Check], "conditions") {
            condition_is(&object, "UpgradeReady", "True")?;
            condition_is(&object, "PreGranted", "True")?;
        }
        let wanted = ["release", "summary", "components", "preGrant", "preGrantGeneration", "lastCheckedTime"];
        is_there(&object["status"], &wanted, removed, &[Crd::Check])
    });
}

fn is_there(status: &Value, wanted: &[&str], removed: &[Removed], kind: &[Crd]) -> Result<(), String> {
    for field in wanted {
        let wanted = !lacks(removed, kind, field);
        if status[field].is_null() == wanted {
            return Err(format!("{field} ({wanted}): {status}"));
        }
    }
    Ok(())
}

fn delete_bucket(scene: &Scene) {
    let bucket = scene.bucket();
    for key in aws_state::bucket(&bucket).expect("the bucket").objects.keys() {
        block_on(s3().delete_object().bucket(&bucket).key(key).send()).expect("DeleteObject");
    }
    block_on(s3().delete_bucket().bucket(&bucket).send()).expect("DeleteBucket");
}

/// A check that is made while its memory has no place in the status.
fn grants_ahead_anew(scene: &Scene, removed: &[Removed]) {
    scene.cluster.kubectl_ok(&["delete", "upc", AHEAD, "-n", &scene.name]);
    let role = scene.role_name("new");
    let grants = |wanted: bool| {
        eventually(SOON, &format!("{role} to grant: {wanted}"), || {
            let granted = aws_state::role(&role).is_some_and(|role| !role.inline.is_empty());
            if granted == wanted { Ok(()) } else { Err(scene.identity_object()["status"].to_string()) }
        });
    };
    grants(false);
    let again = check(scene, AHEAD, from_map("next"), json!({"action": "PreGrant"}));
    scene.cluster.apply_ok(&again.to_string());
    grants(true);
    all_is_told(scene, removed);
}

fn is_idle(scene: &Scene, removed: &[Removed]) {
    scene.passes(2);
    let written = scene.cluster.changes_by(&scene.name).len();
    scene.proxy.reset_counts();
    scene.passes(20);
    assert_eq!(scene.cluster.changes_by(&scene.name)[written..], [], "without {removed:?}");
    assert_eq!(scene.proxy.write_ops(), [""; 0], "without {removed:?}");
    all_is_told(scene, removed);
}

/// What was missing before and no longer is, is told again.
fn was_put_back(scene: &Scene, removed: &[Removed], before: &[Removed]) {
    // There is nothing to tell of these, or they are others'.
    let silent = [
        "adoptedSettings",
        "begunBucket",
        "begunRoles",
        "drift",
        "lostOwnership",
        "pendingChanges",
        "pendingDeletions",
        "pendingDeletionsDigest",
        "pendingDeletionsTime",
        "pendingMarks",
        "recentDeletions",
        "retainedSecrets",
        "teardownTime",
        "unknownKeys",
        "omittedFindings",
    ];
    let others = ["lastSyncCloudCredsSecretResourceVersion", "lastSyncInfrastructureResourceVersion"];
    let openshifts = ["lastSyncGeneration", "lastSyncTimestamp", "provisioned"];
    for Removed { crd, path } in before.iter().filter(|of| !removed.contains(of)) {
        if silent.contains(&path.as_str())
            || others.contains(&path.as_str())
            || *crd == Crd::OpenShiftRequest && openshifts.contains(&path.as_str())
        {
            continue;
        }
        let object = match crd {
            Crd::Identity => scene.identity_object(),
            Crd::Request | Crd::OpenShiftRequest => scene.request_object("a"),
            Crd::Check => object(scene, AHEAD),
        };
        assert!(!object["status"][path].is_null(), "{path} of {crd:?} is not told again: {}", object["status"]);
    }
}
