//! A leftover is deleted once it was one for `deletionDelay`, and no more than `maxDeletions` are in an hour.

use std::time::{Duration, Instant};

use super::*;
use crate::ended::{await_no_role, delete_request, deletion_of_role, has_role, has_secret};
use crate::scene::condition;

/// `deletionDelay` of the first test.
const DELAY: Duration = Duration::from_secs(6);

#[test]
fn leftover_waits_for_the_delay_and_then_goes() {
    let scene = ready("harm-delay", "deletionDelay: 6s, inUseWindow: 0s", DELETE, &["a", "b"]);
    let (asked, kept) = (Instant::now(), Kept::of(&scene));
    delete_request(&scene, "a");
    let object = eventually(SOON, "the leftover to wait", || {
        assert!(asked.elapsed() > DELAY || removals(&scene).is_empty(), "{:?}", removals(&scene));
        let object = scene.identity_object();
        pending(&object, &scene.role_name("a")).map(|_| object)
    });
    assert_eq!(said(&object, "Ready", "status"), "True", "a leftover that only waits is no lack");
    let entry = pending(&object, &scene.role_name("a")).expect("it waits");
    assert_eq!(entry["heldBy"], "DeletionDelay");
    let message = said(&object, "OrphanedCloudResource", "message");
    assert!(message.contains(entry["deleteAfter"].as_str().expect("a time")), "{message}");
    assert_tells_what_waits(&scene, &object, &["a"]);
    await_no_role(&scene, "a");
    let calls = scene.proxy.calls();
    let first = calls.iter().find(|call| call.op.starts_with("iam:Delete")).expect("a deletion").at;
    assert!(first.duration_since(asked) >= DELAY, "after {:?}", first.duration_since(asked));
    assert_eq!(changes(&scene), deletion_of_role(&scene, "a"));
    eventually(SOON, "the deletion to be told", || {
        let object = scene.identity_object();
        let recent = object["status"]["recentDeletions"].as_array().into_iter().flatten();
        let told = recent.filter(|entry| entry["component"] == scene.role_name("a").as_str()).count();
        let waits = condition(&object, "OrphanedCloudResource").is_some();
        if told == 1 && !waits { Ok(()) } else { Err(object["status"].to_string()) }
    });
    assert!(!has_secret(&scene, "a"));
    assert_eq!(kept.bucket, Kept::of(&scene).bucket);
    assert!(has_role(&scene, "b") && has_secret(&scene, "b"));
}

/// `kubectl delete` in a loop, slow enough for every deletion to have a pass of its own: the hour counts, not the pass.
#[test]
fn third_deletion_within_the_hour_waits_where_two_may_go() {
    let scene = ready("harm-hour", &format!("{AT_ONCE}, maxDeletions: 2"), DELETE, &["a", "b", "c", "d"]);
    for request in ["a", "b"] {
        delete_request(&scene, request);
        await_no_role(&scene, request);
    }
    let kept = Kept::of(&scene);
    let gone = removals(&scene).len();
    delete_request(&scene, "c");
    let held = |scene: &Scene| {
        assert_eq!(removals(scene).len(), gone, "the third goes, too: {:?}", removals(scene));
        let object = scene.identity_object();
        let entry = pending(&object, &scene.role_name("c"))?;
        if entry["heldBy"] == "TooManyDeletions" { Ok(object) } else { Err(entry.to_string()) }
    };
    let object = eventually(SOON, "the third to be held", || held(&scene));
    assert_tells_what_waits(&scene, &object, &["c"]);
    eventually(SOON, "Ready=False, TooManyDeletions", || {
        not_ready(&scene.identity_object(), "TooManyDeletions").map(drop)
    });
    scene.passes(3);
    held(&scene).expect("it is held");
    kept.assert_there(&scene);
    scene.await_request("d", "Ready", "True");
}

/// A restart forgets nothing of what was deleted within the hour.
#[test]
fn restart_forgets_no_deletion_of_the_hour() {
    let mut scene = ready("harm-again", &format!("{AT_ONCE}, maxDeletions: 1"), DELETE, &["a", "b"]);
    delete_request(&scene, "a");
    await_no_role(&scene, "a");
    scene.passes(1);
    stop(&mut scene);
    let kept = Kept::of(&scene);
    scene.proxy.reset_counts();
    delete_request(&scene, "b");
    start(&mut scene);
    let object = eventually(SOON, "the second to be held", || {
        assert_eq!(removals(&scene), [""; 0]);
        let object = scene.identity_object();
        pending(&object, &scene.role_name("b")).map(|_| object)
    });
    assert_eq!(pending(&object, &scene.role_name("b")).expect("it waits")["heldBy"], "TooManyDeletions");
    scene.passes(2);
    assert_eq!(removals(&scene), [""; 0]);
    kept.assert_there(&scene);
}

/// A consent is for what status names at that moment, and for nothing that comes later.
#[test]
fn confirmed_leftovers_go_and_later_ones_wait() {
    let scene =
        ready("harm-yes", "deletionDelay: 10s, inUseWindow: 0s, maxDeletions: 1", DELETE, &["a", "b", "c", "d"]);
    for request in ["a", "b"] {
        delete_request(&scene, request);
    }
    let object = await_pending(&scene, &["a", "b"], "TooManyDeletions");
    let digest = object["status"]["pendingDeletionsDigest"].as_str().expect("a digest").to_owned();
    // What is said of another set, or of another cluster, is no consent.
    consent(&scene, "rolecall.dev/confirm-deletion", &format!("{}/0123456789abcdef", scene.name));
    scene.passes(2);
    assert_nothing_removed(&scene);
    consent(&scene, "rolecall.dev/confirm-deletion", &scene.name);
    scene.passes(2);
    assert_nothing_removed(&scene);
    consent(&scene, "rolecall.dev/confirm-deletion", &format!("{}/{digest}", scene.name));
    await_no_role(&scene, "a");
    await_no_role(&scene, "b");
    scene.passes(1);
    scene.proxy.reset_counts();
    let kept = Kept::of(&scene);
    delete_request(&scene, "c");
    eventually(SOON, "the third to wait", || {
        assert_eq!(removals(&scene), [""; 0]);
        pending(&scene.identity_object(), &scene.role_name("c")).map(drop)
    });
    scene.passes(3);
    assert_eq!(removals(&scene), [""; 0]);
    kept.assert_there(&scene);
}

/// OpenShift's operator deletes a request's Secret with the request; a component that runs on is served on.
#[test]
fn secret_of_a_waiting_leftover_is_put_back() {
    let scene = ready("harm-back", LATER, DELETE, &["a", "b"]);
    let kept = Kept::of(&scene);
    delete_request(&scene, "a");
    await_pending(&scene, &["a"], "DeletionDelay");
    scene.cluster.kubectl_ok(&["delete", "secret", "a-creds", "-n", &scene.name]);
    eventually(SOON, "the Secret to be back", || {
        let now = secrets(&scene);
        if now.get("a-creds") == kept.secrets.get("a-creds") { Ok(()) } else { Err(format!("{now:?}")) }
    });
    assert_nothing_removed(&scene);
    kept.assert_there(&scene);
}

/// Asked for again while it waits: nothing has happened.
#[test]
fn leftover_that_is_asked_for_again_stays_as_it_was() {
    let scene = ready("harm-oops", LATER, DELETE, &["a", "b"]);
    let kept = Kept::of(&scene);
    delete_request(&scene, "a");
    await_pending(&scene, &["a"], "DeletionDelay");
    scene.request("a");
    scene.await_request("a", "Ready", "True");
    await_unharmed(&scene, "nothing to wait any more", |object| {
        let waits = condition(object, "OrphanedCloudResource").is_some();
        let listed = object["status"]["pendingDeletions"].as_array().map_or(0, Vec::len);
        if !waits && listed == 0 { Ok(()) } else { Err(object["status"].to_string()) }
    });
    assert_nothing_changed(&scene);
    kept.assert_there(&scene);
}
