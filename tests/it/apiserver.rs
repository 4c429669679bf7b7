//! The API server restarts, is away, conflicts, throttles, fails, hangs, loses its answers: the operator goes on, what
//! is true in AWS stays so, nothing is written twice, and nobody is told more than there is to tell.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::scene::{SOON, Scene, condition_is, on_both_schemas, scene_name};
use super::support::api_proxy::Asked;
use super::support::{ApiFault, ApiProxy, Broken, ControlPlane, IssuerFront, Operator, Schema, eventually};
use super::written::{assert_written_once, await_permissions, take_permissions, taken};

on_both_schemas! {
    the_api_server_restarts_and_the_operator_goes_on,
    cut_off_for_a_minute_aws_is_kept_true_and_the_rest_is_caught_up_with,
    cut_off_from_its_lease_a_leader_ends_and_writes_nothing,
    a_calm_first_run,
    conflicts_are_got_over,
    throttling_of_every_second_request_is_got_over,
    failures_of_every_second_request_are_got_over,
    connections_that_close_are_got_over,
    lost_answers_to_patches_make_nothing_twice,
    drift_is_told_of_once_though_the_answer_is_lost,
    what_hangs_is_given_up,
    keys_that_cannot_be_read_just_now_block_nothing,
}

/// A scene whose operator reaches the API server through a proxy.
struct Behind {
    scene: Scene,
    api: ApiProxy,
}

impl Behind {
    /// With a ClusterIdentity and a request `a`; no operator yet.
    fn new(schema: Schema, name: &str) -> Self {
        let scene = Scene::on(schema, name);
        scene.identity("");
        scene.request("a");
        let api = ApiProxy::start(scene.cluster, &scene.name);
        Self { scene, api }
    }

    /// An operator that is started, and perhaps not ready.
    fn operator(&self, args: &[&str]) -> Operator {
        let env = [("KUBECONFIG", self.api.kubeconfig())];
        let (scene, front) = (&self.scene, Some(IssuerFront::shared()));
        Operator::start(scene.cluster, &scene.name, &scene.proxy, front, args, &env)
    }

    /// Started, Ready, and past what the first writes triggered; nothing is counted yet.
    fn ready(schema: Schema, name: &str, args: &[&str]) -> Self {
        let mut behind = Self::new(schema, name);
        behind.scene.operator = Some(behind.operator(args));
        behind.scene.await_condition("Ready", "True");
        behind.scene.passes(2);
        behind.scene.proxy.reset_counts();
        behind.api.forget();
        behind
    }

    fn events(&self) -> usize {
        let changes = self.scene.cluster.changes_by(&self.scene.name);
        changes.iter().filter(|write| write.resource == "events").count()
    }

    /// All is well, and further passes change nothing.
    #[track_caller]
    fn assert_settled(&mut self) {
        let scene = &mut self.scene;
        scene.await_condition("Ready", "True");
        scene.await_request("a", "Ready", "True");
        scene.await_synced("a");
        scene.await_condition("Drifted", "False");
        scene.await_condition("SnapshotFresh", "True");
        scene.passes(2);
        scene.proxy.reset_counts();
        let written = scene.cluster.changes_by(&scene.name).len();
        scene.passes(2);
        assert_eq!(scene.proxy.write_ops(), [""; 0]);
        assert_eq!(scene.cluster.changes_by(&scene.name)[written..], []);
        let operator = scene.operator.as_mut().unwrap();
        assert!(operator.exited().is_none(), "the operator goes on");
        // kube calls every answer that is none an error; what Rolecall calls so is a defect.
        let log = operator.log();
        let error = log.lines().find(|line| line.contains("\"ERROR\"") && line.contains("\"target\":\"rolecall"));
        assert_eq!(error, None);
    }
}

fn the_api_server_restarts_and_the_operator_goes_on(schema: Schema) {
    // Leaked, for a Scene's control plane is shared by all; its servers end with this test all the same.
    let name = scene_name(schema, "restarted");
    let cluster: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start(&name, schema)));
    let _servers = Servers(cluster);
    let mut scene = Scene::on_plane(cluster, &name);
    scene.identity("");
    scene.request("a");
    scene.start();
    scene.await_condition("Ready", "True");
    scene.passes(2);
    scene.proxy.reset_counts();
    let secret = |secret: &str| scene.cluster.get_json(&["secret", secret, "-n", &name]);
    let version = secret("a-creds")["metadata"]["resourceVersion"].clone();

    cluster.stop();
    take_permissions(&scene, "a");
    scene.operator().wait_log(SOON, "a watch was interrupted");
    cluster.start_again();
    await_permissions(&scene, "a");
    scene.request("b");
    scene.await_request("b", "Ready", "True");
    scene.await_condition("Ready", "True");
    scene.await_condition("Drifted", "False");
    let (a, b) = (scene.role_name("a"), scene.role_name("b"));
    let wanted = [format!("iam:CreateRole {b}"), format!("iam:PutRolePolicy {a}"), format!("iam:PutRolePolicy {b}")];
    assert_eq!(taken(&scene.proxy.calls()), wanted);
    assert_eq!(secret("a-creds")["metadata"]["resourceVersion"], version, "nobody touched it");
    secret("b-creds");
    assert_eq!(scene.operator.as_mut().unwrap().exited(), None, "the same process all along");
    assert_eq!(scene.operator.as_mut().unwrap().terminate().code(), Some(0));
}

/// Ends a control plane of one's own with its test.
struct Servers(&'static ControlPlane);

impl Drop for Servers {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn cut_off_for_a_minute_aws_is_kept_true_and_the_rest_is_caught_up_with(schema: Schema) {
    let mut behind = Behind::ready(schema, "cutoff", &[]);
    let (scene, api) = (&behind.scene, &behind.api);
    let (events, begun) = (behind.events(), Instant::now());
    api.cut();
    let passes = || scene.operator().metric("rolecall_passes_total").unwrap_or(0.0);
    let before = passes();
    // Alone, the operator needs no lease: what it last saw of the cluster stands.
    take_permissions(scene, "a");
    await_permissions(scene, "a");
    scene.request("b");
    std::thread::sleep(Duration::from_mins(1).saturating_sub(begun.elapsed()));
    let made = passes() - before;
    assert!(made < 60.0, "{made} passes in a minute at an interval of two seconds");
    assert_eq!(scene.operator().http_get("/healthz").0, 200);
    api.mend();
    scene.await_request("b", "Ready", "True");
    scene.await_condition("Ready", "True");
    let (a, b) = (scene.role_name("a"), scene.role_name("b"));
    let wanted = [format!("iam:CreateRole {b}"), format!("iam:PutRolePolicy {a}"), format!("iam:PutRolePolicy {b}")];
    assert_eq!(taken(&scene.proxy.calls()), wanted);
    let status = &scene.identity_object()["status"];
    assert_eq!((status["roles"]["summary"].as_str(), status["observedGeneration"].as_i64()), (Some("2/2"), Some(1)));
    let told = behind.events() - events;
    assert!(told <= 6, "{told} events");
    behind.assert_settled();
}

fn cut_off_from_its_lease_a_leader_ends_and_writes_nothing(schema: Schema) {
    let namespace = scene_name(schema, "unleased");
    let elect = ["--leader-elect", "--lease-namespace", &namespace, "--instance", "first"];
    let mut behind = Behind::ready(schema, "unleased", &elect);
    behind.api.cut();
    let status = behind.scene.operator.as_mut().unwrap().wait_exit(SOON);
    assert_eq!(status.code(), Some(1));
    assert!(behind.scene.operator().log().contains("failed to renew leadership lease"));
    take_permissions(&behind.scene, "a");

    // As Kubernetes starts it again: it waits, serves its health and touches nothing.
    let operator = behind.operator(&["--leader-elect", "--lease-namespace", &namespace, "--instance", "second"]);
    operator.wait_log(SOON, "waiting for the API server");
    assert_eq!((operator.http_get("/healthz").0, operator.http_get("/readyz").0), (200, 503));
    assert_eq!(behind.scene.proxy.write_ops(), [""; 0], "nobody held the lease");
    behind.api.mend();
    behind.scene.operator = Some(operator);
    await_permissions(&behind.scene, "a");
    assert_eq!(behind.scene.proxy.write_ops(), ["iam:PutRolePolicy"]);
    behind.assert_settled();
}

/// A first run while the API server misbehaves: until every counted fault is used up, and for so many seconds.
fn first_run(schema: Schema, name: &str, faults: Vec<ApiFault>, seconds: u64) -> Behind {
    let mut behind = Behind::new(schema, name);
    let begun = Instant::now();
    for fault in faults {
        behind.api.inject(fault);
    }
    behind.scene.operator = Some(behind.operator(&[]));
    eventually(SOON, "the last of the faults", || match behind.api.unspent() {
        0 => Ok(()),
        left => Err(format!("{left} to come")),
    });
    std::thread::sleep(Duration::from_secs(seconds).saturating_sub(begun.elapsed()));
    behind.api.clear_faults();
    behind.scene.await_request("a", "Ready", "True");
    behind.scene.await_condition("Ready", "True");
    assert_written_once(&behind.scene, &behind.scene.proxy.calls());
    behind
}

/// A run without faults makes some thirty requests and three events.
#[track_caller]
fn assert_bounded(behind: &Behind, requests: usize, events: usize) {
    let asked: Vec<String> = behind.api.asked().iter().map(Asked::what).collect();
    let kinds: BTreeSet<&String> = asked.iter().collect();
    let counted: Vec<String> = kinds.iter().map(|kind| format!("{kind}: {}", behind.api.count(kind))).collect();
    assert!(asked.len() <= requests, "{} requests: {counted:?}", asked.len());
    let told = behind.api.count("* events");
    assert!(told <= events, "{told} events: {counted:?}");
}

fn a_calm_first_run(schema: Schema) {
    let mut behind = first_run(schema, "calm", Vec::new(), 0);
    assert_bounded(&behind, 100, 8);
    behind.assert_settled();
}

fn conflicts_are_got_over(schema: Schema) {
    let conflict = Broken::status(409);
    let faults = vec![
        ApiFault::times(4, "patch clusteridentities/status", conflict),
        ApiFault::times(4, "patch credentialsrequests/status", conflict),
        ApiFault::times(2, "patch secrets", conflict),
    ];
    let mut behind = first_run(schema, "conflicting", faults, 0);
    assert_bounded(&behind, 150, 12);
    behind.assert_settled();
}

fn throttling_of_every_second_request_is_got_over(schema: Schema) {
    let throttled = Broken::Status { code: 429, retry_after: Some(1) };
    let mut behind = first_run(schema, "throttling", vec![ApiFault::some(50, "*", throttled)], 8);
    assert_bounded(&behind, 250, 12);
    behind.assert_settled();
}

fn failures_of_every_second_request_are_got_over(schema: Schema) {
    let mut behind = first_run(schema, "failing", vec![ApiFault::some(50, "*", Broken::status(500))], 8);
    assert_bounded(&behind, 250, 16);
    behind.assert_settled();
}

fn connections_that_close_are_got_over(schema: Schema) {
    let mut behind = first_run(schema, "closing", vec![ApiFault::some(50, "*", Broken::Closed)], 8);
    assert_bounded(&behind, 250, 16);
    behind.assert_settled();
}

fn lost_answers_to_patches_make_nothing_twice(schema: Schema) {
    let faults = vec![
        ApiFault::once("patch secrets", Broken::LostAnswer),
        ApiFault::times(2, "patch clusteridentities/status", Broken::LostAnswer),
        ApiFault::times(2, "patch credentialsrequests/status", Broken::LostAnswer),
        ApiFault::once("create events", Broken::LostAnswer),
    ];
    let mut behind = first_run(schema, "lostpatch", faults, 0);
    assert_bounded(&behind, 150, 12);
    behind.assert_settled();
}

/// A lost answer in a settled scene: the very drift that is healed is told of once.
fn drift_is_told_of_once_though_the_answer_is_lost(schema: Schema) {
    let mut behind = Behind::ready(schema, "losttold", &[]);
    behind.api.inject(ApiFault::once("patch clusteridentities/status", Broken::LostAnswer));
    take_permissions(&behind.scene, "a");
    await_permissions(&behind.scene, "a");
    behind.assert_settled();
    let scene = &behind.scene;
    let events = scene.cluster.get_json(&["events.events.k8s.io", "-n", &scene.name]);
    let events = events["items"].as_array().expect("a list");
    let told = |reason: &str| events.iter().filter(|event| event["reason"] == reason).count();
    let reasons: Vec<&str> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
    assert_eq!((told("Drifted"), told("DriftHealed")), (1, 1), "{reasons:?}");
    let again = |event: &&Value| !event["series"].is_null();
    let again: Vec<&str> = events.iter().filter(again).filter_map(|event| event["reason"].as_str()).collect();
    assert!(again.iter().all(|reason| *reason == "Verified"), "told more than once: {again:?}");
    // What drifted, what was changed, and that it is healed.
    assert_eq!(behind.api.count("create events"), 3, "{reasons:?}");
}

/// What hangs is given up with its pass, the status too, and the next pass is made.
fn what_hangs_is_given_up(schema: Schema) {
    let mut behind = Behind::ready(schema, "hanging", &["--pass-timeout", "2"]);
    for pattern in ["get secrets", "patch clusteridentities/status"] {
        behind.api.inject(ApiFault::always(pattern, Broken::Hang));
        take_permissions(&behind.scene, "a");
        behind.scene.poke();
        eventually(SOON, &format!("a hanging {pattern}"), || match behind.api.count(pattern) {
            0 => Err("none yet".to_owned()),
            _ => Ok(()),
        });
        behind.scene.await_passes(2.0);
        behind.api.clear_faults();
        await_permissions(&behind.scene, "a");
        behind.scene.await_condition("Ready", "True");
        behind.api.forget();
    }
    behind.assert_settled();
}

/// At the start, and for the lease: an API server that takes requests and never answers holds nothing for ever.
#[test]
fn an_api_server_that_does_not_answer_holds_nothing_for_ever() {
    let mut behind = Behind::new(Schema::Rolecall, "silent");
    behind.api.inject(ApiFault::always("list clusteridentities", Broken::Hang));
    let elect = ["--leader-elect", "--lease-namespace", "silent", "--instance", "first"];
    behind.scene.operator = Some(behind.operator(&elect));
    let operator = behind.scene.operator();
    operator.wait_log(SOON, "serving health and metrics");
    eventually(SOON, "it to say what it waits for", || match operator.http_get("/readyz") {
        (503, why) if why.contains("takes requests and does not answer") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(operator.http_get("/healthz").0, 200);
    behind.api.clear_faults();
    behind.scene.await_condition("Ready", "True");
    behind.api.inject(ApiFault::always("* leases", Broken::Hang));
    assert_eq!(behind.scene.operator.as_mut().unwrap().wait_exit(SOON).code(), Some(1));
    assert!(behind.scene.operator().log().contains("the lease was lost"));
    assert_written_once(&behind.scene, &behind.scene.proxy.calls());
}

/// The API server fails for a moment: nothing is wrong with the keys, no person is needed, and older verdicts stand.
fn keys_that_cannot_be_read_just_now_block_nothing(schema: Schema) {
    let mut behind = Behind::ready(schema, "keysaway", &[]);
    behind.api.inject(ApiFault::always("get secrets", Broken::status(500)));
    behind.scene.await_condition("SnapshotFresh", "False");
    behind.scene.await_passes(2.0);
    let object = behind.scene.identity_object();
    assert!(condition_is(&object, "Stalled", "True").is_err(), "{object}");
    for type_ in ["Ready", "IssuerPublished"] {
        condition_is(&object, type_, "True").unwrap_or_else(|why| panic!("{why}"));
    }
    behind.api.clear_faults();
    behind.assert_settled();
}
