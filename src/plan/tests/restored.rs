//! A status that is older than what AWS has, or that was emptied: nothing is deleted on the strength of it.

use super::harm::{at, left_over, reasons, time};
use super::*;

#[test]
fn a_status_that_was_restored_deletes_nothing() {
    let now = time("2026-01-10T00:00:00Z");
    let role = left_over("a", time("2026-01-09T12:00:00Z"), None);
    let restored = at(now, &[role], |inputs, prior| {
        inputs.spec.guardrails.deletion_delay = crate::api::GoDuration::from_secs(0);
        prior.newest_role = Some(time("2026-01-09T00:00:00Z"));
    });
    assert!(restored.steps.is_empty() && reasons(&restored).contains("StatusRestored"), "{:?}", restored.obstacles);
    // What showed it shows it in the next reconcile too, whatever else is younger by then.
    assert_eq!(restored.youngest, None);
}

/// A role carries the mark that this very ClusterIdentity has set, and the status knows nothing of it.
#[test]
fn a_status_that_was_emptied_deletes_nothing() {
    let now = time("2026-01-10T00:00:00Z");
    let role = left_over("a", time("2026-01-01T00:00:00Z"), None);
    let after = |begun: &[&str]| {
        at(now, std::slice::from_ref(&role), |inputs, prior| {
            inputs.spec.guardrails.deletion_delay = crate::api::GoDuration::from_secs(0);
            prior.newest_role = None;
            prior.begun_roles = begun.iter().map(|name| (*name).to_owned()).collect();
        })
    };
    let emptied = after(&[]);
    assert!(emptied.steps.is_empty() && reasons(&emptied).contains("StatusRestored"), "{:?}", emptied.obstacles);
    assert_eq!(emptied.youngest, None);
    assert_eq!(names(&after(&["prod-eu-a"])), ["DeleteRole"], "it was noted before it was made");
}
