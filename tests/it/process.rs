//! The operator as a process: what it serves and logs, how it leads, waits and ends.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::scene::{SOON, Scene};
use super::support::operator::Operator;
use super::support::process::run_dir;
use super::support::{ControlPlane, IssuerFront, eventually};

/// How long a process that is asked to end is given for the passes at hand.
const SHUTDOWN: Duration = Duration::from_secs(20);

#[test]
fn it_tells_how_it_is_doing() {
    let mut scene = Scene::new("telling");
    scene.identity("");
    scene.request("web");
    scene.start();
    scene.await_condition("Ready", "True");
    scene.await_passes(2.0);
    let operator = scene.operator();
    assert_eq!(operator.http_get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(operator.http_get("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(operator.http_get("/other").0, 404);

    let metric = |name: &str| operator.metric(name);
    assert!(metric("rolecall_passes_total{outcome=\"changed\"}") >= Some(1.0));
    assert!(metric("rolecall_passes_total{outcome=\"verified\"}") >= Some(2.0));
    assert_eq!(metric("rolecall_cluster_identities{ready=\"true\"}"), Some(1.0));
    assert_eq!(metric("rolecall_cluster_identities{ready=\"false\"}"), Some(0.0));
    assert_eq!(metric("rolecall_drifted_resources"), Some(0.0));
    assert_eq!(metric("rolecall_leader"), Some(1.0));
    assert!(metric("rolecall_pass_duration_seconds_count") >= Some(3.0));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - metric("rolecall_last_verified_timestamp_seconds").unwrap();
    assert!((-1.0..20.0).contains(&age), "verified {age} s ago");
    assert_eq!(metric("rolecall_aws_calls_total{service=\"iam\",operation=\"CreateRole\",outcome=\"ok\"}"), Some(1.0));
    assert!(metric("rolecall_aws_calls_total{service=\"s3\",operation=\"GetBucketTagging\"}") >= Some(2.0));
    assert_eq!(metric("rolecall_aws_calls_total{service=\"sts\"}"), Some(1.0));
    let page = operator.metrics();
    assert!(!page.contains("telling") && !page.contains("web-creds"), "names of objects are no labels: {page}");
    assert!(page.ends_with("# EOF\n"), "OpenMetrics ends so");

    let log = operator.log();
    assert!(log.lines().count() > 5);
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry["timestamp"].is_string() && entry["level"].is_string() && entry["message"].is_string(), "{line}");
        assert!(!line.contains("web_identity_token_file") && !line.contains("BEGIN PUBLIC KEY"), "{line}");
    }
    let pass = operator.wait_log(SOON, "\"outcome\":\"verified\"");
    assert_eq!(serde_json::from_str::<Value>(&pass).unwrap()["identity"], "telling/telling");
    assert!(log.contains("\"change\":\"CreateRole\"") && log.contains("role/telling-telling-web-creds"), "{log}");

    let begun = Instant::now();
    let status = scene.operator.as_mut().unwrap().terminate();
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < SHUTDOWN, "{:?}", begun.elapsed());
    assert!(!scene.operator().log().contains("\"level\":\"ERROR\""));
}

#[test]
fn only_one_replica_leads() {
    let mut scene = Scene::new("replicas");
    scene.identity("");
    scene.request("web");
    let elect = |instance| ["--leader-elect", "--lease-namespace", "replicas", "--instance", instance];
    scene.start_with(&elect("first"), &[]);
    let leads = |operator: &Operator| operator.metric("rolecall_leader");
    eventually(SOON, "the first to lead", || match leads(scene.operator()) {
        Some(1.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    scene.await_condition("Ready", "True");
    let front = IssuerFront::shared();
    let mut second = Operator::start(scene.cluster, "replicas", &scene.proxy, Some(front), &elect("second"), &[]);
    second.wait_ready(SOON);
    scene.await_passes(2.0);
    assert_eq!((leads(scene.operator()), leads(&second)), (Some(1.0), Some(0.0)));
    assert!(second.metric("rolecall_passes_total").is_none(), "it makes no pass");
    assert_eq!(scene.operator().http_get("/readyz").0, 200);
    assert_eq!(second.http_get("/readyz").0, 200);
    let holder = || {
        let lease = scene.cluster.get_json(&["lease", "rolecall", "-n", "replicas"]);
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    };
    assert!(holder().contains("first"), "{}", holder());

    let mut first = scene.operator.take().unwrap();
    assert_eq!(first.terminate().code(), Some(0));
    assert!(!holder().contains("first"), "the lease is let go: {}", holder());
    eventually(SOON, "the second to lead", || match leads(&second) {
        Some(1.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let lease = scene.cluster.get_json(&["lease", "rolecall", "-n", "replicas"]);
    assert!(lease["spec"]["holderIdentity"].as_str().unwrap().contains("second"), "{lease}");
    scene.operator = Some(second);
    scene.await_passes(1.0);
    assert_eq!(scene.operator.as_mut().unwrap().terminate().code(), Some(0));
}

#[test]
fn a_standby_ends_when_asked() {
    let mut scene = Scene::new("standby");
    let elect = |instance| ["--leader-elect", "--lease-namespace", "standby", "--instance", instance];
    scene.start_with(&elect("first"), &[]);
    eventually(SOON, "the first to lead", || match scene.operator().metric("rolecall_leader") {
        Some(1.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let mut second = Operator::start(scene.cluster, "standby", &scene.proxy, None, &elect("second"), &[]);
    second.wait_ready(SOON);
    let begun = Instant::now();
    assert_eq!(second.terminate().code(), Some(0));
    assert!(begun.elapsed() < SHUTDOWN, "it had nothing to finish: {:?}", begun.elapsed());
}

/// A kubeconfig of a service account that has no permissions yet; the file's path.
fn kubeconfig_without_permissions(cluster: &ControlPlane, name: &str) -> String {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": name}});
    cluster.apply_ok(&account.to_string());
    let token = cluster.kubectl_ok(&["create", "token", name, "-n", name]);
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": cluster.url(), "certificate-authority": cluster.ca_file()}}],
        "users": [{"name": "x", "user": {"token": token.trim()}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": name}}],
    });
    let file = run_dir().join(format!("{name}.kubeconfig"));
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    file.display().to_string()
}

/// Gives a ClusterRole to the service account of [`kubeconfig_without_permissions`].
fn bind(cluster: &ControlPlane, name: &str, role: &str) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": format!("{name}-{role}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": name}],
    });
    cluster.apply_ok(&binding.to_string());
}

/// Many wait for the same watch to be filled; when it is, none may be forgotten.
#[test]
fn every_identity_gets_its_pass_once_the_watches_are_filled() {
    const HOW_MANY: u32 = 8;
    let scene = Scene::new("many");
    let cluster = scene.cluster;
    let yaml = scene.identity_yaml("  managementPolicy: Observe\n").replace("2s", "10m");
    let identities: Vec<String> = (0..HOW_MANY)
        .map(|n| {
            let yaml = yaml.replace("{name: many, namespace", &format!("{{name: many{n}, namespace"));
            yaml.replace("infraName: many", &format!("infraName: many{n}"))
        })
        .collect();
    cluster.apply_ok(&identities.join("---\n"));
    // All permissions but those on Secrets: that watch stays empty until they come.
    let mut role = cluster.get_json(&["clusterrole", "rolecall"]);
    role["metadata"] = json!({"name": "many"});
    role["rules"].as_array_mut().unwrap().retain(|rule| rule["resources"][0] != "secrets");
    cluster.apply_ok(&role.to_string());
    let path = kubeconfig_without_permissions(cluster, "many");
    bind(cluster, "many", "many");
    let env = [("KUBECONFIG", path.as_str())];
    let mut operator = Operator::start(cluster, "many", &scene.proxy, Some(IssuerFront::shared()), &[], &env);
    operator.wait_ready(SOON);
    operator.wait_log(SOON, "a watch was interrupted");
    assert!(operator.metric("rolecall_passes_total").is_none(), "no pass without having seen everything");
    bind(cluster, "many", "rolecall");
    eventually(SOON, "a pass over each", || {
        let known = operator.metric("rolecall_cluster_identities").unwrap_or(0.0);
        if known >= f64::from(HOW_MANY) { Ok(()) } else { Err(format!("{known} of {HOW_MANY}")) }
    });
    assert_eq!(operator.terminate().code(), Some(0));
}

#[test]
fn without_permission_it_waits_and_says_for_what() {
    let scene = Scene::new("stranger");
    let cluster = scene.cluster;
    let path = kubeconfig_without_permissions(cluster, "stranger");
    let env = [("KUBECONFIG", path.as_str())];
    let mut operator = Operator::start(cluster, "stranger", &scene.proxy, Some(IssuerFront::shared()), &[], &env);
    let line = operator.wait_log(SOON, "waiting for permission to list clusteridentities.rolecall.dev");
    assert!(line.contains("apply the roles in deploy/base") && line.contains("stranger"), "{line}");
    let (status, body) = operator.http_get("/readyz");
    assert_eq!(status, 503);
    assert!(body.starts_with("waiting for permission to list clusteridentities.rolecall.dev"), "{body}");
    assert_eq!(operator.http_get("/healthz").0, 200, "waiting is no reason to be restarted");

    scene.identity("");
    scene.request("a");
    bind(cluster, "stranger", "rolecall");
    operator.wait_ready(SOON);
    scene.await_condition("Ready", "True");
    assert_eq!(operator.terminate().code(), Some(0));
}

/// Runs `rolecall controller` with these arguments until it ends: exit code and standard error.
fn refused(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rolecall"))
        .arg("controller")
        .args(args)
        .env_clear()
        .env("HOME", run_dir())
        .envs(env.iter().copied())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn bad_flags_and_a_missing_cluster_are_said_clearly() {
    for (args, says) in [
        (&["--no-such-flag"][..], "unexpected argument '--no-such-flag'"),
        (&["--listen", "nonsense"], "invalid value 'nonsense' for '--listen <ADDRESS>'"),
        (&["--concurrency", "0"], "0 is not in 1..=256"),
        (&["--log-format", "xml"], "[possible values: text, json]"),
    ] {
        let (code, stderr) = refused(args, &[]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(says) && stderr.contains("--help"), "{stderr}");
    }
    assert!(refused(&["--no-such-flag"], &[]).1.contains("Usage: rolecall controller"));
    let (code, stderr) = refused(&["--log", "rolecall=loud"], &[]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("--log \"rolecall=loud\" is no filter"), "{stderr}");

    let (code, stderr) = refused(&[], &[]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("rolecall: no Kubernetes cluster: set KUBECONFIG"), "{stderr}");
    let (code, stderr) = refused(&[], &[("KUBECONFIG", "/nonexistent/config")]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no Kubernetes cluster") && stderr.contains("/nonexistent/config"), "{stderr}");

    // A port that is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let kubeconfig = ControlPlane::shared().admin_kubeconfig().display().to_string();
    let (code, stderr) = refused(&["--listen", &address, "--namespace", "nobody"], &[("KUBECONFIG", &kubeconfig)]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("cannot serve health and metrics on {address}")), "{stderr}");
    assert!(stderr.contains("choose another --listen address"), "{stderr}");
}
