//! Procedures 4 and 5: two management clusters.

use super::{Stage, Way, in_both_ways};
use crate::adoption::FIRST;

in_both_ways! { identity_moves_to_another_management_cluster, two_management_clusters_take_turns }

const DELETE: &str =
    "  deletionPolicy: Delete\n  guardrails: {deletionDelay: 0s, inUseWindow: 0s, allowedSecretNamespaces: [\"*\"]}\n";

fn identity_moves_to_another_management_cluster(way: Way) {
    let mut stage = Stage::new("move", 2, way);
    stage.serve(&["a", "b"], &[FIRST], DELETE);
    stage.sites[1].look_after();
    stage.changes();
    stage.run("stop-old");
    let printed = stage.run("look");
    let pending: Vec<&str> = printed.lines().filter(|line| line.contains(": ")).collect();
    assert!(!pending.is_empty() && pending.iter().all(|line| line.starts_with("WriteSecret ")), "{printed}");
    stage.run("take-over");
    stage.assert_marked_by(1);
    stage.run("back");
    stage.assert_marked_by(0);
    stage.again("stop-old");
    stage.again("take-over");
    stage.assert_marked_by(1);
    stage.run("remove-old");
    assert_eq!(stage.changes(), [""; 0], "AWS has new tags and nothing else");
    stage.await_settled(1);
    assert_eq!(stage.secrets(&stage.sites[1]).len(), 2);
    stage.finish();
}

fn two_management_clusters_take_turns(way: Way) {
    let mut stage = Stage::new("blue-green", 2, way);
    stage.serve(&["a", "b"], &[FIRST], DELETE);
    stage.sites[1].look_after();
    stage.changes();
    stage.run("prepare");
    let pending = &stage.identity(1)["status"]["pendingMarks"];
    let uid = crate::harm::cluster_uid(stage.sites[0].plane);
    let marks = pending.as_array().into_iter().flatten();
    let named = marks.filter(|mark| mark["currentOwner"].as_str().is_some_and(|owner| owner.starts_with(&uid)));
    assert_eq!(named.count(), 4, "bucket, provider and two roles: {pending}");
    stage.set("FROM", "old");
    stage.set("TO", "new");
    stage.run("switch");
    stage.assert_marked_by(1);
    assert_eq!(stage.changes(), [""; 0], "AWS has new tags and nothing else");

    // A request comes while the second one writes; both have it from Git.
    stage.manifests(&["a", "b", "c"], &[FIRST], DELETE);
    let manifests = stage.path("manifests");
    for site in &stage.sites {
        site.plane.kubectl_ok(&["apply", "-f", &manifests]);
    }
    let role = stage.role_name("c");
    stage.eventually("the new request to be served", |stage| {
        stage.model.role(crate::scene::ACCOUNT, &role).map(drop).ok_or_else(|| "there is no role".to_owned())
    });
    stage.await_settled(1);
    stage.look_after(&["c"]);
    stage.changes();
    stage.set("FROM", "new");
    stage.set("TO", "old");
    stage.again("switch");
    stage.assert_marked_by(0);
    assert!(stage.changes().iter().all(|change| change.contains("s3:PutObject")), "AWS has new tags");
    stage.await_settled(0);
    assert_eq!(stage.secrets(&stage.sites[0]).len(), 3);
    stage.finish();
}
