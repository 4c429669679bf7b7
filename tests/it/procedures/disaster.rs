//! Procedures 2 and 3: the management cluster is gone, or set back.

use std::fs;
use std::process::Command;

use super::{Stage, Way, in_both_ways};
use crate::adoption::{FIRST, SECOND, Signer};
use crate::scene::{condition_is, said};
use crate::support::process::run_dir;

in_both_ways! { management_cluster_is_made_anew_from_git, etcd_is_set_back }

const DELETE: &str =
    "  deletionPolicy: Delete\n  guardrails: {deletionDelay: 0s, inUseWindow: 0s, allowedSecretNamespaces: [\"*\"]}\n";

fn management_cluster_is_made_anew_from_git(way: Way) {
    let mut stage = Stage::new("disaster", 2, way);
    stage.serve(&["a", "b"], &[FIRST], DELETE);
    stage.sites[0].lose();
    // The shell's current context is the new one.
    stage.use_context("new");
    stage.sites[1].look_after();
    stage.changes();

    stage.run("read-only");
    let printed = stage.run("apply");
    assert!(printed.lines().any(|line| line.contains("WriteSecret")), "{printed}");
    let pending = printed.lines().filter(|line| line.contains(": "));
    assert!(pending.clone().all(|line| line.starts_with("WriteSecret ")), "{printed}");
    let owner = stage.run("owner");
    assert_eq!(owner.trim(), crate::harm::cluster_uid(stage.sites[0].plane));
    assert_eq!(stage.changes(), [""; 0], "nothing is written before the take-over");
    stage.run("take-over");
    stage.assert_marked_by(1);
    stage.run("end");
    assert_eq!(stage.changes(), [""; 0], "AWS has new tags and nothing else");
    assert_eq!(stage.secrets(&stage.sites[1]).len(), 2);

    // The old one was only away, and comes back.
    stage.sites[0].look_after();
    stage.eventually("the old one to see that it has lost the cluster", |stage| {
        crate::harm::not_ready(&stage.identity(0), "OwnershipLost")
    });
    stage.await_settled(1);
    assert_eq!(stage.changes(), [""; 0], "the two work against each other");
    stage.assert_marked_by(1);
    stage.finish();
}

/// After the snapshot a request came and the key was rotated.
fn etcd_is_set_back(way: Way) {
    let mut stage = Stage::new("restore", 1, way);
    stage.serve(&["a", "b"], &[FIRST], DELETE);
    let plane = stage.sites[0].plane;
    let (etcd, snapshot) = (run_dir().join("controlplane-old/etcd"), run_dir().join(format!("{}-etcd", stage.name)));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let _ = fs::remove_dir_all(to);
        assert!(Command::new("cp").arg("-a").args([from, to]).status().is_ok_and(|status| status.success()));
    };
    stage.sites[0].pause();
    plane.stop();
    copy(&etcd, &snapshot);
    plane.start_again();
    stage.sites[0].look_after();

    stage.serve(&["a", "b", "c"], &[FIRST, SECOND], DELETE);
    let second = Signer::of(SECOND).kid;
    stage.oracle.sign_with(&second);
    stage.assert_unharmed("the rotation");
    stage.sites[0].pause();
    plane.stop();
    copy(&snapshot, &etcd);
    plane.start_again();
    // The operator starts as it was at the time of the snapshot.
    stage.sites[0].look_after();
    stage.changes();
    stage.eventually("what is newer to be seen", |stage| {
        let object = stage.identity(0);
        condition_is(&object, "UnknownKeysPublished", "True")?;
        let held = &object["status"]["pendingDeletions"][0]["heldBy"];
        if held == "StatusRestored" { Ok(()) } else { Err(object["status"].to_string()) }
    });
    stage.assert_unharmed("the restore");

    stage.run("read-only");
    stage.eventually("the roles that are newer", |stage| {
        let object = stage.identity(0);
        let pending = &object["status"]["pendingDeletions"][0];
        let held = pending["heldBy"].as_str().unwrap_or_default();
        let known = pending["component"] == stage.role_name("c").as_str();
        if known && ["StatusRestored", "Observe"].contains(&held) { Ok(()) } else { Err(object["status"].to_string()) }
    });
    let printed = stage.run("read");
    assert!(printed.contains(&second) && printed.contains("UnknownKeysPublished=True"), "{printed}");
    assert!(printed.contains(&stage.role_name("c")) && printed.contains("StatusRestored"), "{printed}");
    stage.run("apply");
    stage.run("go-on");
    let object = stage.identity(0);
    for gone in ["UnknownKeysPublished", "OrphanedCloudResource"] {
        assert_eq!(said(&object, gone, "status"), "", "{object}");
    }
    assert_eq!(stage.secrets(&stage.sites[0]).len(), 3);
    assert!(stage.changes().iter().all(|change| !change.contains(":Delete")), "nothing was deleted");
    stage.finish();
}
