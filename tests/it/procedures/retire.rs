//! Procedures 7 and 8: a component, or a whole cluster, is retired.

use std::time::Duration;

use super::{Stage, Way, in_both_ways};
use crate::adoption::FIRST;
use crate::scene::{ACCOUNT, REGION};
use crate::support::process::project_root;

in_both_ways! { one_component_is_retired, cluster_is_retired_in_a_pipeline }

const HOUR: Duration = Duration::from_hours(1);
/// A leftover waits long enough to be called back.
const GUARDS: &str = "  guardrails: {deletionDelay: 20s, allowedSecretNamespaces: [\"*\"]}\n";

impl Stage {
    /// The roles are a month old, and were last used so long ago.
    fn used(&self, requests: &[&str], ago: Duration) {
        for request in requests {
            let (role, now) = (self.role_name(request), self.model.today());
            assert!(self.model.role_created(ACCOUNT, &role, now - 720 * HOUR));
            self.model.role_used(ACCOUNT, &role, now - ago, REGION);
        }
        self.oracle.rebase();
    }
}

fn one_component_is_retired(way: Way) {
    let mut stage = Stage::new("component", 1, way);
    stage.serve(&["a", "b"], &[FIRST], &format!("  deletionPolicy: Delete\n{GUARDS}"));
    stage.used(&["a"], HOUR);
    stage.used(&["b"], 240 * HOUR);
    stage.set("REQUEST", "b");
    let printed = stage.run("use");
    assert!(printed.contains("LastUsedDate") && printed.contains(REGION), "{printed}");
    let printed = stage.run("delete");
    let role = stage.role_name("b");
    assert!(printed.contains(&format!("{role} not before ")), "{printed}");
    let was_there = stage.model.role(ACCOUNT, &role).is_some();
    if was_there {
        stage.run("back");
        assert!(stage.model.role(ACCOUNT, &role).is_some(), "it waits, and is let be");
    } else {
        panic!("{role} did not wait");
    }

    // Again, and to the end. Its use holds it, so that only the consent lets it go.
    stage.used(&["b"], HOUR);
    stage.delete_request("b");
    stage.eventually("it to be held by its use", |stage| {
        let object = stage.identity(0);
        let held = &object["status"]["pendingDeletions"][0]["heldBy"];
        if held == "InUse" { Ok(()) } else { Err(object["status"].to_string()) }
    });
    // Somebody deletes the Secret meanwhile.
    let plane = stage.sites[0].plane;
    plane.kubectl_ok(&["delete", "secret", "b-creds", "-n", &stage.name.clone()]);
    stage.eventually("the Secret to be back", |stage| {
        let found = stage.secrets(&stage.sites[0]);
        if found.len() == 2 { Ok(()) } else { Err(format!("{found:?}")) }
    });
    stage.oracle.is_to_go(&stage.role_arn("b"));
    stage.run("confirm");
    let printed = stage.run("gone");
    assert_eq!(printed.lines().last().unwrap_or_default().trim(), "", "{printed}");
    assert!(stage.model.role(ACCOUNT, &role).is_none());
    assert!(stage.model.role(ACCOUNT, &stage.role_name("a")).is_some());
    assert_eq!(stage.secrets(&stage.sites[0]).len(), 1);
    stage.finish();
}

/// By evidence when it goes straight, by consent when the operator is killed.
fn cluster_is_retired_in_a_pipeline(way: Way) {
    let mut stage = Stage::new("cluster", 1, way);
    let guard = project_root().join("deploy/deletion-guard").display().to_string();
    stage.sites[0].plane.kubectl_ok(&["apply", "-k", &guard]);
    // What is a day elsewhere is half a minute here.
    let window = if way == Way::Straight { "inUseWindow: 30s, " } else { "" };
    stage.serve(&["a", "b"], &[FIRST], &GUARDS.replace("allowed", &format!("{window}allowed")));
    stage.used(&["a", "b"], Duration::ZERO);
    let printed = stage.run("allow");
    assert!(printed.contains("InUse=True: 2 of 2 roles"), "{printed}");
    let printed = stage.run("refused");
    for words in ["may be in use", "rolecall.dev/confirm-deletion", "deletionPolicy to Retain"] {
        assert!(printed.contains(words), "{printed}");
    }
    if way == Way::Straight {
        // Time goes by, and nobody uses them.
        stage.run("unused");
        stage.skip("confirm");
    } else {
        stage.skip("unused");
        stage.run("confirm");
    }
    stage.oracle.is_to_go(&stage.name);
    stage.run("delete");
    let printed = stage.run("check");
    assert_eq!(printed.trim(), "");
    assert!(stage.model.roles(ACCOUNT).is_empty() && stage.model.providers(ACCOUNT).is_empty());
    assert!(stage.model.buckets().is_empty());
    assert_eq!(stage.secrets(&stage.sites[0]), []);
    stage.finish();
}
