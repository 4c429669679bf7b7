//! The operator is killed after each single call of a deletion, and after each write of a change: a restart finishes.

use std::thread;

use super::ended::{DELETE, SETTLED, assert_all_gone, await_gone, delete};
use super::scene::{ACCOUNT, SOON, Scene, condition_is};
use super::support::aws_state;
use super::support::eventually;

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

fn seldom(scene: &Scene, more: &str) -> String {
    scene.identity_yaml(more).replace("driftInterval: 2s", "driftInterval: 10m")
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

const REQUESTS: [&str; 3] = ["a", "b", "c"];

/// The requests with a second service account each.
fn with_second_account(scene: &Scene) -> String {
    let name = &scene.name;
    let yaml = |request: &&str| {
        let yaml = super::scene::request_yaml(name, request, name, "s3:GetObject");
        yaml.replace(&format!("serviceAccountNames: [{request}]"), &format!("serviceAccountNames: [{request}, second]"))
    };
    REQUESTS.iter().map(yaml).collect::<Vec<_>>().join("---\n")
}

/// Whether the role of a request is as the change wants it.
fn is_changed(scene: &Scene, request: &str) -> Result<(), String> {
    let role = scene.role(request);
    let subjects = role.trust.to_string();
    let changed = role.boundary.as_deref() == Some(&boundary())
        && role.tags.get("team").is_some_and(|team| team == "blue")
        && subjects.contains(&format!("system:serviceaccount:{}:second", scene.name));
    if changed { Ok(()) } else { Err(format!("{role:?}")) }
}

/// Whether the changed request was seen to be right: an operator that was killed in its last write has not said so.
fn is_verified(scene: &Scene, request: &str) -> Result<(), String> {
    let object = scene.request_object(request);
    condition_is(&object, "Ready", "True")?;
    let (observed, wanted) = (&object["status"]["observedGeneration"], &object["metadata"]["generation"]);
    if observed == wanted { Ok(()) } else { Err(format!("{observed}, not {wanted}")) }
}

fn boundary() -> String {
    format!("arn:aws:iam::{ACCOUNT}:policy/boundary")
}

/// A boundary, a second service account and a new tag for three roles, killed after its n-th write.
fn change_killed_after(n: u32) -> bool {
    let mut scene = at_rest(&format!("changekill{n}"), &REQUESTS);
    let before = REQUESTS.map(|request| scene.role(request).inline);
    scene.proxy.on_write(n, scene.operator().killer());
    let more = format!("{DELETE}  roles: {{permissionsBoundaryARN: \"{}\", tags: {{team: blue}}}}\n", boundary());
    scene.cluster.apply_ok(&format!("{}---\n{}", seldom(&scene, &more), with_second_account(&scene)));
    let all_verified = |scene: &Scene| REQUESTS.iter().try_for_each(|request| is_verified(scene, request));
    let killed = killed_before(&mut scene, all_verified);
    eventually(SOON, "all three requests to be verified", || all_verified(&scene));
    eventually(SOON, "all three roles to be changed", || {
        REQUESTS.iter().try_for_each(|request| is_changed(&scene, request))
    });
    scene.await_condition("Ready", "True");

    let prefix = format!("{}-", scene.name);
    let roles: Vec<String> = aws_state::role_names().into_iter().filter(|role| role.starts_with(&prefix)).collect();
    assert_eq!(roles, REQUESTS.map(|request| scene.role_name(request)), "no role twice, and none left over");
    assert_eq!(REQUESTS.map(|request| scene.role(request).inline), before);
    let made = super::written::taken(&scene.proxy.calls());
    let mut once = made.clone();
    once.dedup();
    assert_eq!(made, once, "nothing was written twice");
    assert_eq!(made.len(), 9, "{made:?}");
    scene.proxy.reset_counts();
    scene.passes(2);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
    killed
}

#[test]
fn a_change_survives_a_kill_after_any_write() {
    let killed = in_turns(1..=10, change_killed_after);
    // A trust policy, a boundary and a tag for each of three roles; a tenth write there is not.
    let wanted: Vec<bool> = (1..=10).map(|n| n <= 9).collect();
    assert_eq!(killed, wanted);
}
