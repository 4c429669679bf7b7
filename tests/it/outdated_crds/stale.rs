//! A CustomResourceDefinition that changes under a running operator: what it knows of the schema is old until a write is
//! refused, or until it looks again.

use serde_json::{Value, json};

use super::crds::{Crd, Removed, install_without, refusal, send};
use super::*;
use crate::support::block_on;
use crate::written::{await_permissions, take_permissions};

/// The schemas are looked at again every minute.
const REFRESHED: std::time::Duration = std::time::Duration::from_mins(2);

#[test]
fn a_write_that_a_changed_schema_refuses_is_cut_and_made_again_in_the_same_reconcile() {
    let (plane, _changing) = changeable();
    let mut scene = scene_on(plane, "stale");
    start(&mut scene);
    scene.await_condition("Ready", "True");
    await_check(&scene, AHEAD, "PreGranted", "True");
    await_told(&scene, &[]);
    scene.passes(2);
    let verified = scene.identity_object()["status"]["verified"].clone();
    assert!(verified.is_object());

    let removed = [Removed::of(Crd::Identity, "verified"), Removed::of(Crd::Request, "providerStatus")];
    install_without(plane, &[Crd::Identity, Crd::Request], &removed);
    await_refusal(&scene, Crd::Identity, &json!({"verified": {"a": "b"}}));
    await_refusal(&scene, Crd::Request, &json!({"providerStatus": {"a": "b"}}));
    let written = scene.cluster.changes_by("stale").len();
    take_permissions(&scene, "a");
    scene.poke();
    await_permissions(&scene, "a");
    await_told(&scene, &removed);
    scene.await_condition("Ready", "True");
    scene.await_condition("Drifted", "False");
    // The first write of the two kinds is refused, and made again at once; all others know better.
    let all = scene.cluster.changes_by("stale").split_off(written);
    let refused: Vec<usize> = (0..all.len()).filter(|at| all[*at].code >= 400).collect();
    assert!((1..=2).contains(&refused.len()), "{all:?}");
    for at in refused {
        let same = |write: &&Write| write.resource == all[at].resource && write.subresource == "status";
        assert_eq!((all[at].verb.as_str(), all[at].subresource.as_str()), ("patch", "status"), "{all:?}");
        assert_eq!(all[at + 1..].iter().find(same).map(|write| write.code), Some(200), "{all:?}");
    }
    assert!(all.iter().any(|write| write.code >= 400), "{all:?}");
    assert!(scene.operator().log().contains("the API server refuses fields of a status"));
    assert_all_written(&scene);
    let counted = scene.operator().metric("rolecall_status_update_errors_total").unwrap_or(0.0);
    assert!(counted < 1.0, "what was made again is no failure: {counted}");

    scene.passes(2);
    let written = scene.cluster.changes_by("stale").len();
    scene.passes(20);
    assert_eq!(scene.cluster.changes_by("stale")[written..], []);

    // Put back, it is seen without any reason to write, and what this process remembers is told again.
    install_without(plane, &[Crd::Identity, Crd::Request], &[]);
    eventually(REFRESHED, "CRDOutdated to go away", || {
        let told = said(&scene.identity_object(), "CRDOutdated", "message");
        if told.is_empty() { Ok(()) } else { Err(told) }
    });
    eventually(SOON, "what was missing", || {
        let (identity, request) = (scene.identity_object(), scene.request_object("a"));
        let provider = &request["status"]["providerStatus"];
        if identity["status"]["verified"] == verified && !provider["verifiedRole"].is_null() {
            Ok(())
        } else {
            Err(format!("{} {}", identity["status"], request["status"]))
        }
    });
    assert!(condition(&object(&scene, AHEAD), "CRDOutdated").is_none());
    assert_all_written(&scene);
}

/// Waits until the API server refuses a field.
fn await_refusal(scene: &Scene, crd: Crd, status: &Value) {
    let client = scene.cluster.client();
    let name = if crd == Crd::Identity { scene.name.as_str() } else { "a" };
    let kind = &crd.shipped()["spec"]["names"]["kind"];
    let body = json!({"apiVersion": crd.group_version(), "kind": kind, "metadata": {"name": name}, "status": status});
    let url = format!(
        "/apis/{}/namespaces/{}/{}/{name}/status?dryRun=All&fieldManager=tests&force=true",
        crd.group_version(),
        scene.name,
        crd.plural()
    );
    eventually(SOON, &format!("{status} to be refused"), || match block_on(send(&client, "PATCH", &url, &body)) {
        Ok(taken) => Err(taken["status"].to_string()),
        Err(error) => {
            let (_, says) = refusal(Err(error));
            if says.contains("field not declared in schema") { Ok(()) } else { Err(says) }
        }
    });
}
