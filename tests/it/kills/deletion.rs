//! A deletion: one role and its issuer.

use std::thread;

use super::{SOON, seldom};
use crate::ended::{DELETE, SETTLED, assert_all_gone, await_gone, delete};
use crate::scene::Scene;
use crate::support::eventually;

/// How many scenes run side by side.
const SIDE_BY_SIDE: usize = 6;

/// A scene at rest, looked at again only when something happens: no call is made that a test does not cause.
fn at_rest(name: &str, requests: &[&str]) -> Scene {
    let mut scene = Scene::new(name);
    scene.cluster.apply_ok(&seldom(&scene, DELETE));
    for request in requests {
        scene.request(request);
    }
    scene.start_with(&SETTLED, &[]);
    scene.await_condition("Ready", "True");
    scene.passes(2);
    scene.proxy.reset_counts();
    scene
}

/// Runs all, some side by side; whether each was killed.
fn in_turns(numbers: impl Iterator<Item = u32>, run: fn(u32) -> bool) -> Vec<bool> {
    let numbers: Vec<u32> = numbers.collect();
    let run_some = |some: &[u32]| {
        let runs: Vec<_> = some
            .iter()
            .map(|n| {
                (
                    *n,
                    thread::spawn({
                        let n = *n;
                        move || run(n)
                    }),
                )
            })
            .collect();
        runs.into_iter().map(|(n, run)| run.join().unwrap_or_else(|_| panic!("run {n} failed"))).collect::<Vec<_>>()
    };
    numbers.chunks(SIDE_BY_SIDE).flat_map(run_some).collect()
}

/// Waits for the kill or for `done`, and starts the operator again after the kill; whether it was killed.
fn killed_before(scene: &mut Scene, done: impl Fn(&Scene) -> Result<(), String>) -> bool {
    let killed = eventually(SOON, "the kill, or the end of the run", || {
        if scene.operator.as_mut().is_some_and(|operator| operator.exited().is_some()) {
            return Ok(true);
        }
        done(scene).map(|()| false)
    });
    if killed {
        scene.start_with(&SETTLED, &[]);
    }
    killed
}

fn is_gone(scene: &Scene) -> Result<(), String> {
    let args = ["get", "cid", &scene.name, "-n", &scene.name, "--ignore-not-found", "-o", "name"];
    let found = scene.cluster.kubectl(&args);
    if found.success() && found.stdout.is_empty() { Ok(()) } else { Err(found.stdout) }
}

/// One deletion whose operator is killed after its n-th call to AWS; whether it came that far.
fn deletion_killed_after(n: u32) -> bool {
    let mut scene = at_rest(&format!("endkill{n}"), &["a"]);
    scene.proxy.on_call("*", n, scene.operator().killer());
    delete(&scene);
    let killed = killed_before(&mut scene, is_gone);
    await_gone(&scene);
    assert_all_gone(&scene, &["a"]);
    killed
}

#[test]
fn a_deletion_survives_a_kill_after_any_call() {
    let killed = in_turns(1..=16, deletion_killed_after);
    // Six reads, five deletions (policy, role, provider, two documents), the bucket; three reads to see that all is gone.
    let wanted: Vec<bool> = (1..=16).map(|n| n <= 15).collect();
    assert_eq!(killed, wanted);
}
