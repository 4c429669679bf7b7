//! Procedure 1: a running cluster is taken over from ccoctl.

use super::{Stage, Way, in_both_ways};
use crate::adoption::FIRST;

in_both_ways! { cluster_is_taken_over_from_ccoctl }

fn cluster_is_taken_over_from_ccoctl(way: Way) {
    let mut stage = Stage::new("take-over", 1, way);
    let requests = ["a", "b"];
    stage.made_by_ccoctl(FIRST, &requests);
    stage.look_after(&requests);
    stage.assert_unharmed("ccoctl");
    stage.manifests(
        &requests,
        &[FIRST],
        "  managementPolicy: Observe\n  guardrails: {allowedSecretNamespaces: [\"*\"]}\n",
    );
    stage.sites[0].look_after();
    stage.changes();

    stage.run("observe");
    let printed = stage.run("read");
    let (marks, changes): (Vec<&str>, Vec<&str>) = printed.lines().partition(|line| line.starts_with("mark "));
    assert!(changes.iter().all(|change| change.starts_with("WriteSecret ")), "{changes:?}");
    assert!(marks.iter().all(|mark| mark.ends_with(' ')), "nobody is named: {marks:?}");
    for part in ["bucket/", "provider/", "role/proc"] {
        assert!(marks.iter().any(|mark| mark.contains(part)), "{part}: {marks:?}");
    }
    let printed = stage.model.log();
    assert!(
        stage.changes().is_empty() && printed.iter().all(|call| !call.op.contains("Tag") || call.op.contains("Get"))
    );

    stage.run("enforce");
    stage.assert_marked_by(0);
    assert_eq!(stage.changes(), [""; 0], "AWS has new tags and nothing else");
    stage.run("back");
    assert_eq!(stage.changes(), [""; 0]);
    stage.finish();
}
