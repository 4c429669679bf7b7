//! Health as Argo CD and Flux see it: the checks that `docs/upgrade.md` shows, evaluated by the engines that those use
//! (`tests/gitops`), on recorded objects and on live ones. And the manual's commands.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::check::docs::{blocks, console};
use super::cli::Ended;
use super::obstacles::{attach_policy, detach_policy};
use super::scene::{SOON, Scene, condition_is, request_yaml, said};
use super::support::eventually;
use super::support::process::{project_root, run_dir, tool};
use super::support::{Fault, Kind};

/// What Argo CD and Flux make of an object.
type Verdicts = (&'static str, &'static str);

const HEALTHY: Verdicts = ("Healthy", "Current");
const DEGRADED: Verdicts = ("Degraded", "Failed");
const PROGRESSING: Verdicts = ("Progressing", "InProgress");
/// Without a status Flux's expressions cannot be evaluated at all; it looks again until its timeout.
const UNTOUCHED: Verdicts = ("Progressing", "Unknown");

/// The recorded objects; the condition whose message a person gets to see.
const RECORDED: [(&str, Verdicts, &str); 16] = [
    ("check-untouched", UNTOUCHED, ""),
    ("check-without-identity", DEGRADED, "UpgradeReady"),
    ("check-ready", HEALTHY, "UpgradeReady"),
    ("check-standing", HEALTHY, "UpgradeReady"),
    ("check-not-ready", DEGRADED, "UpgradeReady"),
    ("check-granted-ahead", HEALTHY, "UpgradeReady"),
    ("check-policy-unreadable", DEGRADED, "UpgradeReady"),
    ("check-release-unreadable", DEGRADED, "UpgradeReady"),
    ("check-reading-release", PROGRESSING, "UpgradeReady"),
    ("check-behind", PROGRESSING, ""),
    ("identity-untouched", UNTOUCHED, ""),
    ("identity-never-served", DEGRADED, "Stalled"),
    ("identity-reconciling", PROGRESSING, "Ready"),
    ("identity-ready", HEALTHY, "Ready"),
    ("identity-behind", PROGRESSING, ""),
    ("identity-stalled", DEGRADED, "Stalled"),
];

fn example(name: &str) -> String {
    fs::read_to_string(project_root().join("examples/gitops").join(name)).unwrap()
}

/// Argo CD's script for a kind.
fn lua(kind: &str) -> String {
    let map: Value = serde_saphyr::from_str(&example("argocd-cm.yaml")).unwrap();
    map["data"][format!("resource.customizations.health.rolecall.dev_{kind}")].as_str().unwrap().to_owned()
}

/// Flux's expressions for a kind.
fn cel(kind: &str) -> Value {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&example("flux-kustomization.yml")).unwrap();
    let checks = documents.iter().filter_map(|document| document["spec"]["healthCheckExprs"].as_array()).flatten();
    checks.into_iter().find(|check| check["kind"] == kind).unwrap_or_else(|| panic!("no check for {kind}")).clone()
}

/// What the engines say of an object: `{"lua": …, "cel": …}`.
fn health(object: &Value) -> Value {
    let kind = object["kind"].as_str().unwrap();
    let question = json!({"lua": lua(kind), "cel": cel(kind), "object": object}).to_string();
    let mut engine = Command::new(tool("gitops/health"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    engine.stdin.take().unwrap().write_all(question.as_bytes()).unwrap();
    let output = engine.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn assert_health(what: &str, object: &Value, wanted: Verdicts, message_of: &str) {
    let found = health(object);
    let (argo, flux) = (&found["lua"], &found["cel"]);
    assert_eq!((argo["status"].as_str(), flux["status"].as_str()), (Some(wanted.0), Some(wanted.1)), "{what}: {found}");
    assert!(argo["error"].is_null(), "{what}: {found}");
    let message = argo["message"].as_str().unwrap();
    if message_of.is_empty() {
        assert!(message.starts_with("Rolecall has not "), "{what}: {message}");
    } else {
        assert_eq!(message, said(object, message_of, "message"), "{what}");
    }
    match flux["error"].as_str() {
        None => assert_ne!(wanted.1, "Unknown", "{what}"),
        Some(error) => {
            assert!(wanted == UNTOUCHED && error.contains("no such attribute(s): status"), "{what}: {error}");
        }
    }
}

fn recorded() -> PathBuf {
    project_root().join("tests/gitops/recorded")
}

#[test]
fn recorded_objects_have_the_health_that_the_manual_promises() {
    for (name, wanted, message_of) in RECORDED {
        let text = fs::read_to_string(recorded().join(format!("{name}.json"))).unwrap();
        assert_health(name, &serde_json::from_str(&text).unwrap(), wanted, message_of);
    }
    let files = fs::read_dir(recorded()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let listed = RECORDED.iter().map(|(name, ..)| format!("{name}.json"));
    assert_eq!(files.collect::<BTreeSet<_>>(), listed.collect());
}

/// Looks at an object as both engines do. With `ROLECALL_RECORD` in the environment it becomes the recorded one.
#[track_caller]
fn look(name: &str, object: &Value) {
    let (_, wanted, message_of) = RECORDED.iter().find(|(known, ..)| *known == name).unwrap();
    assert_health(name, object, *wanted, message_of);
    if std::env::var_os("ROLECALL_RECORD").is_some() {
        let mut object = object.clone();
        let metadata = object["metadata"].as_object_mut().unwrap();
        for of_the_run in ["uid", "resourceVersion", "managedFields", "annotations"] {
            metadata.shift_remove(of_the_run);
        }
        let text = serde_json::to_string_pretty(&object).unwrap() + "\n";
        fs::write(recorded().join(format!("{name}.json")), text).unwrap();
    }
}

fn check(scene: &Scene, name: &str, identity: &str, mut release: Value) {
    release["version"] = json!("4.18.3");
    let check = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "UpgradeCheck",
        "metadata": {"name": name, "namespace": scene.name},
        "spec": {"clusterIdentityRef": {"name": identity}, "release": release},
    });
    scene.cluster.apply_ok(&check.to_string());
}

fn from_map(name: &str) -> Value {
    json!({"configMapRefs": [{"name": name}]})
}

/// A request as a release ships it: for clusters of the default profile.
fn manifest(scene: &str, action: &str) -> String {
    let profile = "annotations: {include.release.openshift.io/self-managed-high-availability: \"true\"}";
    request_yaml(scene, "web", scene, action).replace("metadata: {", &format!("metadata: {{{profile}, "))
}

fn config_map(scene: &Scene, name: &str, manifests: &str) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": scene.name, "labels": {"rolecall.dev/release": "4.18.3"}},
        "data": {"requests.yaml": manifests},
    });
    scene.cluster.apply_ok(&map.to_string());
}

fn object(scene: &Scene, name: &str) -> Value {
    scene.cluster.get_json(&["upgradecheck", name, "-n", &scene.name])
}

fn await_check(scene: &Scene, name: &str, type_: &str, status: &str, reason: &str) -> Value {
    eventually(SOON, &format!("{type_}={status} for {reason} of {name}"), || {
        let object = object(scene, name);
        condition_is(&object, type_, status)?;
        if said(&object, type_, "reason") == reason { Ok(object) } else { Err(object["status"].to_string()) }
    })
}

fn await_identity(scene: &Scene, type_: &str, status: &str, reason: &str) -> Value {
    eventually(SOON, &format!("{type_}={status} for {reason}"), || {
        let object = scene.identity_object();
        condition_is(&object, type_, status)?;
        if said(&object, type_, "reason") == reason { Ok(object) } else { Err(object["status"].to_string()) }
    })
}

fn patch(scene: &Scene, kind: &str, name: &str, spec: Value) {
    let patch = json!({"spec": spec}).to_string();
    scene.cluster.kubectl_ok(&["patch", kind, name, "-n", &scene.name, "--type=merge", "-p", &patch]);
}

/// Every state that was recorded, as the operator writes it today: the recorded ones cannot be left behind.
#[test]
fn live_objects_have_the_health_that_the_manual_promises() {
    let mut scene = Scene::new("gitops");
    scene.request("web");
    scene.identity("");
    config_map(&scene, "same", &manifest("gitops", "s3:GetObject"));
    config_map(&scene, "next", &manifest("gitops", "s3:PutObject"));
    check(&scene, "same", "gitops", from_map("same"));
    look("identity-untouched", &scene.identity_object());
    look("check-untouched", &object(&scene, "same"));

    scene.proxy.inject(Fault::always("sts:GetCallerIdentity", Kind::AccessDenied));
    scene.start();
    look("identity-never-served", &await_identity(&scene, "Stalled", "True", "AccessDenied"));
    scene.proxy.clear_faults();
    look("identity-ready", &await_identity(&scene, "Ready", "True", "Verified"));
    look("check-ready", &await_check(&scene, "same", "UpgradeReady", "True", "Covered"));

    scene.proxy.inject(Fault::always("*", Kind::Throttle));
    look("check-standing", &await_check(&scene, "same", "Ready", "Unknown", "Throttled"));
    scene.proxy.clear_faults();
    await_check(&scene, "same", "Ready", "True", "Judged");

    check(&scene, "next", "gitops", from_map("next"));
    look("check-not-ready", &await_check(&scene, "next", "UpgradeReady", "False", "PermissionsMissing"));
    patch(&scene, "upc", "next", json!({"action": "PreGrant"}));
    look("check-granted-ahead", &await_check(&scene, "next", "UpgradeReady", "True", "Covered"));

    check(&scene, "absent", "gitops", from_map("absent"));
    look("check-release-unreadable", &await_check(&scene, "absent", "UpgradeReady", "Unknown", "ReleaseUnreadable"));
    check(&scene, "stray", "nobody", from_map("same"));
    look("check-without-identity", &await_check(&scene, "stray", "UpgradeReady", "Unknown", "NoClusterIdentity"));
    // A registry that takes the call and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = silent.local_addr().unwrap().to_string();
    let image = json!({"image": {"reference": format!("{registry}/ocp/release:4.18.3")}});
    check(&scene, "image", "gitops", image);
    let text = await_check(&scene, "image", "Ready", "Unknown", "ReadingRelease").to_string();
    let reading = serde_json::from_str(&text.replace(&registry, "registry.example")).unwrap();
    look("check-reading-release", &reading);

    scene.proxy.inject(Fault::always("iam:GetPolicy", Kind::AccessDenied));
    let policy = attach_policy(&scene.role_name("web"));
    look("check-policy-unreadable", &await_check(&scene, "same", "UpgradeReady", "Unknown", "Indeterminate"));
    detach_policy(&scene.role_name("web"), &policy);
    scene.proxy.clear_faults();
    await_check(&scene, "same", "UpgradeReady", "True", "Covered");

    scene.cluster.apply_ok(&request_yaml("gitops", "elsewhere", "gitops-elsewhere", "s3:GetObject"));
    look("identity-reconciling", &await_identity(&scene, "Ready", "False", "Waiting"));
    scene.cluster.ensure_namespace("gitops-elsewhere");
    await_identity(&scene, "Ready", "True", "Verified");

    // A verdict on what was asked before is none on what is asked now.
    scene.operator.take().unwrap().terminate();
    patch(&scene, "upc", "same", json!({"audience": "sts.amazonaws.com"}));
    patch(&scene, "cid", "gitops", json!({"aws": {"accountID": "999999999999"}}));
    condition_is(&object(&scene, "same"), "UpgradeReady", "True").unwrap();
    look("check-behind", &object(&scene, "same"));
    condition_is(&scene.identity_object(), "Ready", "True").unwrap();
    look("identity-behind", &scene.identity_object());
    scene.start();
    look("identity-stalled", &await_identity(&scene, "Stalled", "True", "WrongAccount"));
}

fn manual() -> String {
    fs::read_to_string(project_root().join("docs/upgrade.md")).unwrap()
}

#[test]
fn the_manual_shows_the_files_that_were_tested() {
    let shown: Vec<(String, String)> = blocks(&manual(), "yaml");
    for (file, block) in &shown {
        let file = file.strip_prefix("examples/gitops/").unwrap_or_else(|| panic!("whose file is this?\n{block}"));
        assert_eq!(*block, example(file), "docs/upgrade.md and examples/gitops/{file} differ");
    }
    let files = fs::read_dir(project_root().join("examples/gitops")).unwrap();
    let files = files.map(|entry| format!("examples/gitops/{}", entry.unwrap().file_name().display()));
    assert_eq!(shown.into_iter().map(|(file, _)| file).collect::<BTreeSet<_>>(), files.collect());
}

#[test]
fn the_commands_of_the_manual_work() {
    let mut scene = Scene::new("gitopsdocs");
    scene.request("web");
    scene.identity("");
    scene.start();
    scene.await_condition("Ready", "True");

    let place = run_dir().join("gitops-manual");
    fs::create_dir_all(place.join("next")).unwrap();
    fs::write(place.join("next/web.yaml"), manifest("gitopsdocs", "s3:PutObject")).unwrap();
    fs::create_dir(place.join("bin")).unwrap();
    symlink(tool("controlplane/kubectl"), place.join("bin/kubectl")).unwrap();
    let kubeconfig = fs::read_to_string(scene.cluster.admin_kubeconfig()).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&kubeconfig).unwrap();
    kubeconfig["contexts"][0]["context"]["namespace"] = json!(scene.name);
    fs::write(place.join("kubeconfig"), kubeconfig.to_string()).unwrap();
    // The repository's file, for this scene's cluster.
    let check = example("upgrade-check.yaml");
    let ours = check.replace("openshift-cloud-credential-operator", &scene.name).replace("prod-eu", &scene.name);
    fs::write(place.join("upgrade-check.yaml"), ours).unwrap();

    let path = format!("{}:{}", place.join("bin").display(), std::env::var_os("PATH").unwrap().display());
    let (not_run, run): (Vec<_>, Vec<_>) =
        blocks(&manual(), "sh").into_iter().partition(|(comment, _)| comment.starts_with("not run: "));
    assert_eq!((run.len(), not_run.len()), (6, 1), "blocks that are run, and that are not");
    // The front page's, for this scene's cluster.
    let readme = fs::read_to_string(project_root().join("README.md")).unwrap().replace("prod-eu", &scene.name);
    let readme = console(&readme).into_iter().filter(|command| command.starts_with("kubectl "));
    let readme: Vec<(String, String)> = readme.map(|command| (String::new(), command)).collect();
    assert_eq!(readme.len(), 2, "{readme:?}");
    for (comment, commands) in readme.into_iter().chain(run) {
        let mut shell = Command::new("bash");
        shell.args(["-e", "-c", &commands]).current_dir(&place).env_clear().env("PATH", &path);
        shell.env("KUBECONFIG", place.join("kubeconfig")).env("HOME", &place);
        let ended = Ended::of(&mut shell);
        assert_eq!(ended.code, Some(0), "{commands}\n{}{}", ended.stdout, ended.stderr);
        if let Some(printed) = comment.strip_prefix("prints ") {
            assert!(ended.stdout.contains(printed), "{commands}\n{}\nwanted: {printed}", ended.stdout);
        }
    }
}
