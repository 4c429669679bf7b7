//! The operator is killed after each single call to AWS of a first run, of a change and of a deletion, reads too: a restart
//! finishes what was begun, nothing is made twice, and nothing is left over.

mod change;
mod deletion;
mod first_run;

use std::any::Any;
use std::thread;

use super::ended::SETTLED;
use super::scene::{SOON, Scene};
use super::support::operator::Operator;
use super::support::{Call, eventually};

/// How many scenes run side by side.
const SIDE_BY_SIDE: u32 = 3;

/// The spec of a ClusterIdentity that is looked at only when something happens: no call is made that a test does not cause.
fn seldom(scene: &Scene, more: &str) -> String {
    scene.identity_yaml(more).replace("driftInterval: 2s", "driftInterval: 10m")
}

/// Runs each number once, in scenes side by side, each number in the scene that the one before it has left.
#[allow(clippy::print_stderr, reason = "which of many runs it was that failed")]
fn in_turns(numbers: u32, begin: impl Fn(u32) -> Scene + Copy + Send + 'static, run: fn(&mut Scene, u32)) {
    let lanes = (1..=SIDE_BY_SIDE).map(|lane| {
        thread::spawn(move || {
            let mut scene = begin(lane);
            for n in (lane..=numbers).step_by(SIDE_BY_SIDE as usize) {
                eprintln!("killed after call {n} of {numbers}, in {}", scene.name);
                run(&mut scene, n);
            }
        })
    });
    let lanes: Vec<_> = lanes.collect();
    let failed = lanes.into_iter().filter_map(|lane| lane.join().err());
    // Said once more at the end: what a scene's operator has logged is long.
    let said: Vec<String> = failed.map(|panic| said(&*panic)).collect();
    assert!(said.is_empty(), "{} of {SIDE_BY_SIDE} scenes: {said:#?}", said.len());
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
}

/// Waits for the kill, and starts the operator again. That the kill comes at all shows that so many calls are made.
#[track_caller]
fn await_kill_and_start(scene: &mut Scene) {
    scene.operator.as_mut().expect("an operator").wait_exit(SOON);
    scene.start_with(&SETTLED, &[]);
}

/// Waits until a pass has found everything true. From the log: many runs that ask the API server make it slow for all.
#[track_caller]
fn await_verified_pass(operator: &Operator) {
    operator.wait_log(SOON, "\"outcome\":\"verified\"");
}

/// Two passes that find nothing to write.
#[track_caller]
fn assert_idle(scene: &Scene) {
    scene.proxy.reset_counts();
    scene.passes(2);
    assert_eq!(scene.proxy.write_ops(), [""; 0]);
}

/// The operations of all calls so far, sorted. Which providers of others are in the account, and are read at first contact, depends
/// on the other tests.
fn ops(scene: &Scene) -> Vec<String> {
    let ours = scene.provider_arn();
    let others =
        |call: &Call| call.op == "iam:GetOpenIDConnectProvider" && call.param("OpenIDConnectProviderArn") != ours;
    let calls = scene.proxy.calls().into_iter().filter(|call| !others(call));
    let mut ops: Vec<String> = calls.map(|call| call.op).collect();
    ops.sort();
    ops
}

/// Waits until a run without a kill has made these calls. An event that comes late, as on a busy machine, has it look once
/// more: the same reads again, and no other write.
#[track_caller]
fn assert_calls(scene: &Scene, wanted: &[&str]) {
    eventually(SOON, "the calls of a run without a kill", || {
        let ops = ops(scene);
        let mut again: Vec<&str> = ops.iter().map(String::as_str).collect();
        let missing = wanted.iter().filter(|op| match again.iter().position(|made| made == *op) {
            Some(at) => {
                again.remove(at);
                false
            }
            None => true,
        });
        let missing = missing.count();
        let is_read = |op: &&str| [":Get", ":List"].iter().any(|verb| op.contains(verb)) && wanted.contains(op);
        if missing == 0 && again.iter().all(is_read) { Ok(()) } else { Err(format!("{ops:?}")) }
    });
}
