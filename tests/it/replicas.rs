//! Two replicas, one lease: who waits does nothing, who dies or sleeps is followed, and who wakes up too late ends.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::scene::{SOON, Scene, on_both_schemas};
use super::support::api_proxy::Asked;
use super::support::{ApiProxy, Call, Emulators, IssuerFront, Operator, Proxy, Schema, eventually};
use super::written::{assert_written_once, await_permissions, take_permissions};

on_both_schemas! { a_leader_killed_in_its_first_run_is_followed_and_nothing_is_made_twice }

/// A replica, with proxies of its own: what one does is told from what the other does.
struct Replica {
    operator: Operator,
    aws: Proxy,
    api: ApiProxy,
}

impl Replica {
    fn start(scene: &Scene, instance: &str) -> Self {
        let aws = Proxy::start(Emulators::shared());
        let api = ApiProxy::start(scene.cluster, &scene.name);
        let args = ["--leader-elect", "--lease-namespace", &scene.name, "--instance", instance];
        let env = [("KUBECONFIG", api.kubeconfig())];
        let front = Some(IssuerFront::shared());
        let mut operator = Operator::start(scene.cluster, &scene.name, &aws, front, &args, &env);
        operator.wait_ready(SOON);
        Self { operator, aws, api }
    }

    fn leads(&self) -> bool {
        self.operator.metric("rolecall_leader") == Some(1.0)
    }

    /// A lease that nobody lets go lasts for 15 seconds.
    #[track_caller]
    fn await_lead(&self) {
        eventually(SOON, "this replica to lead", || if self.leads() { Ok(()) } else { Err("not yet".to_owned()) });
    }

    /// Waits until it asked for the lease so many times more: it has seen who holds it.
    #[track_caller]
    fn await_looks(&self, more: usize) {
        let begun = self.api.count("get leases");
        eventually(SOON, "looks at the lease", || match self.api.count("get leases") - begun {
            looks if looks >= more => Ok(()),
            looks => Err(format!("{looks} of {more}")),
        });
    }
}

/// The first leads, the second waits; there is nothing to serve yet.
fn two(name: &str) -> (Scene, Replica, Replica) {
    two_on(Schema::Rolecall, name)
}

/// The same on either schema.
fn two_on(schema: Schema, name: &str) -> (Scene, Replica, Replica) {
    let scene = Scene::on(schema, name);
    let first = Replica::start(&scene, "first");
    first.await_lead();
    let second = Replica::start(&scene, "second");
    second.await_looks(1);
    (scene, first, second)
}

/// The longest that a replica waits between two looks at the lease.
const RETRY: SignedDuration = SignedDuration::from_secs(3);
/// What a request, and who waits for a processor, may take beside that.
const SLACK: SignedDuration = SignedDuration::from_secs(10);

/// What the lease says.
fn lease(scene: &Scene) -> Value {
    scene.cluster.get_json(&["lease", "rolecall", "-n", &scene.name])["spec"].clone()
}

fn time(lease: &Value, field: &str) -> Timestamp {
    lease[field].as_str().expect("a time").parse().expect("a time")
}

/// The second took over once the lease of the first had run out, and not long after: by what the lease itself says. It
/// counts from when it sees a renewal, which is a look later at most, and sees that the time is over another look later.
#[track_caller]
fn assert_taken_over(last_of_first: &Value, scene: &Scene) {
    let taken = lease(scene);
    assert_eq!((&last_of_first["holderIdentity"], &taken["holderIdentity"]), (&"first".into(), &"second".into()));
    let lasts = SignedDuration::from_secs(last_of_first["leaseDurationSeconds"].as_i64().expect("seconds"));
    let waited = time(&taken, "acquireTime").duration_since(time(last_of_first, "renewTime"));
    assert!(waited >= lasts, "taken over after {waited}, while the lease lasts for {lasts}");
    assert!(waited <= lasts + RETRY * 2 + SLACK, "taken over only after {waited}");
    let transitions = |lease: &Value| lease["leaseTransitions"].as_i64().unwrap_or(0);
    assert_eq!(transitions(&taken), transitions(last_of_first) + 1);
}

fn begin(scene: &Scene) {
    scene.request("a");
    scene.identity("");
}

fn calls_of(first: &Replica, second: &Replica) -> Vec<Call> {
    [first.aws.calls(), second.aws.calls()].concat()
}

#[test]
fn the_one_who_waits_serves_its_health_and_touches_nothing() {
    let (scene, first, second) = two("waiting");
    begin(&scene);
    scene.await_condition("Ready", "True");
    second.await_looks(2);
    assert!(first.leads() && !second.leads());
    assert_eq!(second.operator.metric("rolecall_leader"), Some(0.0));
    assert_eq!((second.operator.http_get("/healthz").0, second.operator.http_get("/readyz").0), (200, 200));
    assert_eq!(second.aws.calls().len(), 0, "no call to AWS, not even a question");
    let asked: BTreeSet<String> = second.api.asked().iter().map(Asked::what).collect();
    // The schemas that statuses are cut to, and whether the kinds are there.
    let wanted = [
        "get cloudcredential.openshift.io",
        "get leases",
        "get rolecall.dev",
        "list /openapi/v3",
        "list clusteridentities",
        "list credentialsrequests",
        "list upgradechecks",
    ];
    assert_eq!(asked, BTreeSet::from(wanted.map(str::to_owned)));
    assert_written_once(&scene, &first.aws.calls());
}

fn a_leader_killed_in_its_first_run_is_followed_and_nothing_is_made_twice(schema: Schema) {
    let (scene, mut first, second) = two_on(schema, "followed");
    first.aws.on_write(4, first.operator.killer());
    begin(&scene);
    first.operator.wait_exit(SOON);
    let last_of_first = lease(&scene);
    let made = first.aws.writes().len();
    assert!((4..9).contains(&made), "it died in the midst of it: {made} of 9 writes");
    second.await_lead();
    assert_taken_over(&last_of_first, &scene);
    scene.await_condition("Ready", "True");
    scene.await_request("a", "Ready", "True");
    assert_written_once(&scene, &calls_of(&first, &second));
}

#[test]
fn a_leader_that_slept_through_its_lease_ends_without_a_write() {
    let (scene, mut first, second) = two("asleep");
    begin(&scene);
    scene.await_condition("Ready", "True");
    first.operator.halter()();
    second.await_lead();
    first.aws.reset_counts();
    // Something to do for both of them when the first wakes up.
    take_permissions(&scene, "a");
    first.operator.go_on();
    assert_eq!(first.operator.wait_exit(SOON).code(), Some(1));
    assert!(first.operator.log().contains("the lease was lost"));
    await_permissions(&scene, "a");
    assert_eq!(first.aws.write_ops(), [""; 0]);
    assert_eq!(second.aws.write_ops(), ["iam:PutRolePolicy"]);
    assert!(second.leads());
}

/// Halted between two writes of its first run: the worst moment to wake up in.
#[test]
fn a_leader_halted_between_two_writes_does_not_go_on_with_them() {
    let (scene, mut first, second) = two("between");
    first.aws.on_write(4, first.operator.halter());
    begin(&scene);
    second.await_lead();
    scene.await_condition("Ready", "True");
    first.operator.go_on();
    assert_eq!(first.operator.wait_exit(SOON).code(), Some(1));
    assert_written_once(&scene, &calls_of(&first, &second));
}
