//! Procedure 6: a ClusterIdentity gets another name, or lies in another namespace.

use super::{Stage, Way, in_both_ways};
use crate::adoption::FIRST;
use crate::harm::not_ready;
use crate::scene::{SOON, said};
use crate::support::eventually;

in_both_ways! { identity_is_renamed, identity_is_renamed_under_an_operator_for_one_namespace, identity_moves_to_another_namespace }

const GUARDS: &str = "  guardrails: {deletionDelay: 0s, inUseWindow: 0s, allowedSecretNamespaces: [\"*\"]}\n";
const DELETE: &str =
    "  deletionPolicy: Delete\n  guardrails: {deletionDelay: 0s, inUseWindow: 0s, allowedSecretNamespaces: [\"*\"]}\n";

fn identity_is_renamed(way: Way) {
    let mut stage = Stage::new("rename", 1, way);
    stage.serve(&["a", "b"], &[FIRST], DELETE);
    let (namespace, name) = (stage.name.clone(), format!("{}-new", stage.name));
    stage.manifests_of("manifests-renamed", &namespace, &name, &["a", "b"], &[FIRST], GUARDS);
    go_through(stage, &namespace, &name, false);
}

/// That operator cannot see that the old one is gone.
fn identity_is_renamed_under_an_operator_for_one_namespace(way: Way) {
    let mut stage = Stage::called("rename-scoped", "rename", 1, way);
    let (namespace, name) = (stage.name.clone(), format!("{}-new", stage.name));
    stage.sites[0].set_env("ROLECALL_NAMESPACE", &namespace);
    stage.serve(&["a", "b"], &[FIRST], DELETE);
    stage.manifests_of("manifests-renamed", &namespace, &name, &["a", "b"], &[FIRST], GUARDS);
    go_through(stage, &namespace, &name, true);
}

/// The statuses of the requests remember what the old one has verified: that is no memory of the new one's.
#[test]
fn renamed_identity_does_not_say_that_it_lost_what_it_never_verified() {
    let mut stage = Stage::called("rename-lost", "rename", 1, Way::Straight);
    let (namespace, name) = (stage.name.clone(), format!("{}-new", stage.name));
    stage.sites[0].set_env("ROLECALL_NAMESPACE", &namespace);
    stage.serve(&["a"], &[FIRST], DELETE);
    stage.manifests_of("manifests-renamed", &namespace, &name, &["a"], &[FIRST], GUARDS);
    stage.set("NEW_NAMESPACE", &namespace);
    stage.set("NEW_NAME", &name);
    stage.run("retain");
    stage.run("replace");
    let plane = stage.sites[0].plane;
    let object = stage.eventually("the new one to be refused", |_| {
        let object = plane.get_json(&["cid", &name, "-n", &namespace]);
        crate::scene::condition_is(&object, "Ready", "False").map(|_| object)
    });
    assert_eq!(said(&object, "Ready", "reason"), "OwnedByAnother");
    assert_eq!(object["status"]["lostOwnership"], serde_json::Value::Null);
}

/// The requests stay where they are; the ClusterIdentity selects them there.
fn identity_moves_to_another_namespace(way: Way) {
    let mut stage = Stage::called("rename-away", "rename", 1, way);
    stage.serve(&["a", "b"], &[FIRST], DELETE);
    let (old, new) = (stage.name.clone(), format!("{}-elsewhere", stage.name));
    let more = format!("{GUARDS}  credentialsRequests: {{namespaces: [{old}]}}\n");
    stage.manifests_of("manifests-renamed", &new, &old, &[], &[FIRST], &more);
    go_through(stage, &new, &old, false);
}

fn go_through(mut stage: Stage, namespace: &str, name: &str, scoped: bool) {
    let plane = stage.sites[0].plane;
    let uid = |namespace: &str, name: &str| {
        let object = plane.get_json(&["cid", name, "-n", namespace]);
        object["metadata"]["uid"].as_str().expect("a uid").to_owned()
    };
    stage.set("NEW_NAMESPACE", namespace);
    stage.set("NEW_NAME", name);
    stage.changes();
    stage.run("retain");
    stage.run("replace");
    if scoped {
        stage.eventually("the new one to be refused", |_| {
            let object = plane.get_json(&["cid", name, "-n", namespace]);
            let message = not_ready(&object, "OwnedByAnother").or_else(|_| not_ready(&object, "OwnershipLost"))?;
            if message.contains("rolecall.dev/take-over-from") { Ok(()) } else { Err(message) }
        });
        stage.run("scoped");
    } else {
        stage.skip("scoped");
    }
    stage.run("ready");
    let new = uid(namespace, name);
    for role in stage.model.roles(crate::scene::ACCOUNT) {
        assert!(role.tags["rolecall.dev/owner"].ends_with(&new), "{:?}", role.tags);
    }
    stage.run("policy");
    assert_eq!(stage.changes(), [""; 0], "AWS has new tags and nothing else");
    assert_eq!(stage.secrets(&stage.sites[0]).len(), 2);
    // What is deleted from now on is deleted for the new one: its Secrets are known to be its own.
    eventually(SOON, "nothing to be left over", || {
        let object = plane.get_json(&["cid", name, "-n", namespace]);
        let orphaned = said(&object, "OrphanedCloudResource", "message");
        if orphaned.is_empty() { Ok(()) } else { Err(orphaned) }
    });
    stage.finish();
}
