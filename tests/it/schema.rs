//! The schemas as the API server enforces them, and the manifests that the project ships.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::scene::{Scene, list_of, request_json};
use super::support::ControlPlane;
use super::support::process::{project_root, run_dir};

/// A ClusterIdentity with as little in it as possible.
fn minimal(name: &str) -> Value {
    json!({
        "apiVersion": "rolecall.dev/v1alpha1",
        "kind": "ClusterIdentity",
        "metadata": {"name": name, "namespace": "schema"},
        "spec": {
            "infraName": name,
            "region": "eu-west-1",
            "issuer": {"signingKeys": [{"secretRef": {"name": "signer", "key": "key.pub"}}]},
        },
    })
}

/// `minimal` with more in its spec; objects are merged, null removes.
fn with(patch: &Value) -> Value {
    let mut object = minimal("schema");
    merge(&mut object["spec"], patch);
    object
}

fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.shift_remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

/// Applies a file without doing it: what the API server would say.
fn dry_run(text: &str) -> super::support::Run {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = run_dir().join(format!("dry-run-{number}.yaml"));
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let how = ["--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"];
    let mut run = ControlPlane::shared().kubectl(&[&["apply", "-f", &file][..], &how].concat());
    // kubectl says so of what another test has applied the other way; it is nothing that the API server said.
    run.stderr = run.stderr.lines().filter(|line| !line.contains("last-applied-configuration")).collect();
    run
}

#[track_caller]
fn assert_refused(object: &Value, says: &str) {
    let run = dry_run(&object.to_string());
    assert!(!run.success() && run.stderr.contains(says), "{object}\n{}{}\nwanted: {says}", run.stdout, run.stderr);
}

fn plane() -> &'static ControlPlane {
    let plane = ControlPlane::shared();
    plane.install();
    plane.ensure_namespace("schema");
    plane
}

#[test]
fn a_bad_identity_is_refused_by_the_api_server() {
    plane();
    let (secret, map) = (json!({"name": "a", "key": "b"}), json!({"name": "a", "key": "b"}));
    let one = "exactly one of secretRef and configMapRef must be set";
    let reserved = "aws:…, Name and openshift.io/cloud-credential-operator/… are reserved";
    let s3 = "this prefix or suffix of a bucket name is reserved by S3";
    for (patch, says) in [
        (json!({"infraName": null}), "spec.infraName: Required value"),
        (json!({"infraName": "Prod"}), "spec.infraName: Invalid value: \"Prod\""),
        (json!({"infraName": "-prod"}), "spec.infraName: Invalid value"),
        (json!({"infraName": "x".repeat(59)}), "spec.infraName: Too long"),
        (json!({"region": "Europe"}), "spec.region: Invalid value: \"Europe\""),
        (json!({"aws": {"accountID": "12345"}}), "spec.aws.accountID: Invalid value: \"12345\""),
        (json!({"issuer": {"signingKeys": []}}), "spec.issuer.signingKeys: Invalid value"),
        (json!({"issuer": {"signingKeys": null}}), "spec.issuer.signingKeys: Required value"),
        (json!({"issuer": {"signingKeys": [{}]}}), one),
        (json!({"issuer": {"signingKeys": [{"secretRef": secret, "configMapRef": map}]}}), one),
        (json!({"issuer": {"signingKeys": [{"secretRef": null, "configMapRef": null}]}}), one),
        (json!({"issuer": {"signingKeys": [{"secretRef": {"key": "b"}}]}}), "secretRef.name: Required value"),
        (json!({"issuer": {"signingKeys": [{"secretRef": {"name": "a", "key": ""}}]}}), "secretRef.key: Invalid value"),
        (json!({"issuer": {"bucket": {"name": "a.b.c"}}}), "spec.issuer.bucket.name: Invalid value: \"a.b.c\""),
        (json!({"issuer": {"bucket": {"name": "ab"}}}), "spec.issuer.bucket.name"),
        (json!({"issuer": {"bucket": {"name": "xn--abc"}}}), s3),
        (json!({"issuer": {"bucket": {"name": "sthree-abc"}}}), s3),
        (json!({"issuer": {"bucket": {"name": "amzn-s3-demo-abc"}}}), s3),
        (json!({"issuer": {"bucket": {"name": "abc-s3alias"}}}), s3),
        (json!({"issuer": {"bucket": {"name": "abc--x-s3"}}}), s3),
        (json!({"issuer": {"bucket": {"prefix": "/a/"}}}), "spec.issuer.bucket.prefix: Invalid value"),
        (json!({"issuer": {"audiences": []}}), "spec.issuer.audiences: Invalid value"),
        (json!({"issuer": {"audiences": ["a", "a"]}}), "duplicate entries for key [=\"a\"]"),
        (json!({"issuer": {"retireKeysAfter": "soon"}}), "spec.issuer.retireKeysAfter: Invalid value: \"soon\""),
        (json!({"roles": {"maxSessionDuration": "59m"}}), "maxSessionDuration must be between 1h and 12h"),
        (json!({"roles": {"maxSessionDuration": "13h"}}), "maxSessionDuration must be between 1h and 12h"),
        (json!({"roles": {"path": "openshift/"}}), "spec.roles.path: Invalid value"),
        (json!({"roles": {"path": "/openshift"}}), "spec.roles.path: Invalid value"),
        (json!({"roles": {"naming": "Random"}}), "supported values: \"Ccoctl\", \"Hashed\""),
        (json!({"roles": {"permissionsBoundaryARN": "boundary"}}), "spec.roles.permissionsBoundaryARN: Invalid value"),
        (json!({"roles": {"tags": {"aws:x": "y"}}}), reserved),
        (json!({"roles": {"tags": {"Name": "y"}}}), reserved),
        (json!({"roles": {"tags": {"openshift.io/cloud-credential-operator/x": "owned"}}}), reserved),
        (json!({"roles": {"tags": {"k".repeat(129): "y"}}}), "tag keys may have 128 characters"),
        (json!({"managementPolicy": "Delete"}), "supported values: \"Enforce\", \"Observe\""),
        (json!({"adoption": "Steal"}), "supported values: \"OwnedOnly\", \"Adopt\""),
        (json!({"driftInterval": "999ms"}), "driftInterval must be between 1s and 24h"),
        (json!({"driftInterval": "25h"}), "driftInterval must be between 1s and 24h"),
        (json!({"driftInterval": "5 minutes"}), "spec.driftInterval: Invalid value: \"5 minutes\""),
        (json!({"guardrials": {}}), ".spec.guardrials: field not declared in schema"),
        (json!({"roles": {"permissionsBoundaryArn": "x"}}), ".spec.roles.permissionsBoundaryArn: field not declared"),
    ] {
        assert_refused(&with(&patch), says);
    }
    for patch in [
        json!({}),
        json!({"infraName": "x".repeat(58), "driftInterval": "1s", "roles": {"maxSessionDuration": "12h", "path": "/a/b/"}}),
        json!({"issuer": {"signingKeys": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "a"}}]}}),
        json!({"issuer": {"signingKeys": [{"secretRef": null, "configMapRef": {"name": "a"}}]}}),
        json!({"driftInterval": "24h", "issuer": {"signingKeys": [{"configMapRef": map}]}}),
        json!({"region": "us-gov-west-1", "issuer": {"bucket": {"prefix": "a/b"}}, "roles": {"tags": {"team": "a"}}}),
    ] {
        let run = dry_run(&with(&patch).to_string());
        assert!(run.success(), "{patch}: {}", run.stderr);
    }
}

#[test]
fn what_names_are_made_of_cannot_be_changed() {
    let plane = plane();
    plane.apply_ok(&minimal("immutable").to_string());
    let mut named = minimal("named");
    named["spec"]["issuer"]["bucket"] = json!({"name": "immutable-named"});
    plane.apply_ok(&named.to_string());
    let refuses = |name: &str, patch: &Value, says: &str| {
        let patch = json!({"spec": patch}).to_string();
        let run = plane.kubectl(&["patch", "cid", name, "-n", "schema", "--type=merge", "-p", &patch]);
        assert!(!run.success() && run.stderr.contains(says), "{patch}\n{}{}", run.stdout, run.stderr);
    };
    // While nothing was made under them, region and bucket can be corrected.
    let correct = json!({"spec": {"region": "eu-west-2", "issuer": {"bucket": {"prefix": "corrected"}}}});
    plane.kubectl_ok(&["patch", "cid", "immutable", "-n", "schema", "--type=merge", "-p", &correct.to_string()]);
    for name in ["immutable", "named"] {
        let begun = json!({"status": {"begunBucket": "x"}}).to_string();
        plane.kubectl_ok(&["patch", "cid", name, "-n", "schema", "--subresource=status", "--type=merge", "-p", &begun]);
    }
    let bucket = "issuer.bucket is immutable once anything of the issuer was made or verified";
    refuses("immutable", &json!({"infraName": "other"}), "infraName is immutable: every AWS name is made of it");
    refuses(
        "immutable",
        &json!({"region": "eu-west-3"}),
        "region is immutable once anything of the issuer was made or verified",
    );
    refuses("immutable", &json!({"issuer": {"bucket": {"name": "other"}}}), bucket);
    refuses("immutable", &json!({"issuer": {"bucket": {"prefix": "other"}}}), bucket);
    refuses("named", &json!({"issuer": {"bucket": {"name": "other"}}}), bucket);
    refuses("named", &json!({"issuer": {"bucket": null}}), bucket);
    refuses("immutable", &json!({"roles": {"path": "/other/"}}), "path is immutable: IAM cannot move a role");
    refuses(
        "immutable",
        &json!({"roles": {"naming": "Hashed"}}),
        "naming is immutable: it would leave every role behind",
    );
    // What may be left out cannot be smuggled in by leaving out and putting back.
    refuses("immutable", &json!({"roles": null, "infraName": "other"}), "infraName is immutable");
    let change = json!({"spec": {"driftInterval": "1m", "roles": {"tags": {"a": "b"}}, "managementPolicy": "Observe"}});
    plane.kubectl_ok(&["patch", "cid", "immutable", "-n", "schema", "--type=merge", "-p", &change.to_string()]);
}

#[test]
fn defaults_are_filled_in() {
    let plane = plane();
    plane.apply_ok(&minimal("defaults").to_string());
    let wanted = json!({
        "infraName": "defaults",
        "region": "eu-west-1",
        "aws": {},
        "issuer": {
            "signingKeys": [{"secretRef": {"name": "signer", "key": "key.pub"}}],
            "audiences": ["openshift", "sts.amazonaws.com"],
            "retireKeysAfter": "25h",
        },
        "roles": {"path": "/", "maxSessionDuration": "1h", "naming": "Ccoctl", "audienceCondition": false},
        "guardrails": {
            "deniedActions": ["*", "iam:*"],
            "allowedSecretNamespaces": ["openshift-*"],
            "deletionDelay": "15m",
            "maxDeletions": 3,
            "inUseWindow": "24h",
        },
        "credentialsRequests": {},
        "managementPolicy": "Enforce",
        "adoption": "OwnedOnly",
        "deletionPolicy": "Retain",
        "driftInterval": "5m",
    });
    assert_eq!(plane.get_json(&["cid", "defaults", "-n", "schema"])["spec"], wanted);
}

#[test]
fn kubectl_get_shows_what_matters() {
    let mut scene = Scene::new("columns");
    scene.identity("");
    let mut request = request_json("columns", "web");
    request["spec"]["providerSpec"]["statementEntries"][0]["madeUp"] = json!(1);
    // A request is judged by Rolecall, not by the schema: upstream's own takes any providerSpec.
    scene.cluster.apply_ok(&list_of(&[request.clone()]));
    request["spec"]["providerSpec"]["statementEntries"][0].as_object_mut().unwrap().shift_remove("madeUp");
    scene.cluster.apply_ok(&request.to_string());
    scene.start();
    scene.await_condition("Ready", "True");
    let table = |kind: &str| {
        let table = scene.cluster.kubectl_ok(&["get", kind, "-n", "columns"]);
        table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let identities = table("cid");
    assert_eq!(identities[0], ["NAME", "READY", "DRIFTED", "ROLES", "ISSUER", "VERIFIED", "AGE"]);
    let issuer = format!("https://{}", scene.issuer_host());
    assert_eq!(identities[1][..5], ["columns", "True", "False", "1/1", &issuer]);
    assert_eq!(identities[1].len(), 7);
    let requests = table("credentialsrequests");
    assert_eq!(requests[0], ["NAME", "READY", "DRIFTED", "ROLE", "SECRET", "SYNCED", "AGE"]);
    assert_eq!(requests[1][..5], ["web", "True", "False", "columns-columns-web-creds", "web-creds"]);
    assert_eq!(requests[1].len(), 7);
}

fn yaml_files(dir: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(project_root().join(dir)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(yaml_files(path.to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_examples_are_valid() {
    plane();
    let files = yaml_files("examples");
    assert!(files.len() >= 12, "{files:?}");
    for file in files {
        if file.parent().is_some_and(|dir| dir.ends_with("tombstone")) {
            continue; // has no spec and is not for applying
        }
        // The namespaces of the examples are another test's: here only the words matter.
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace("namespace: openshift-cloud-credential-operator", "namespace: schema");
        let run = dry_run(&text);
        assert!(run.success(), "{}: {}", file.display(), run.stderr);
        assert!(!run.stderr.to_lowercase().contains("warning"), "{}: {}", file.display(), run.stderr);
    }
}

#[test]
fn the_shipped_crds_are_those_of_the_binary() {
    let dir = run_dir().join("crds");
    fs::create_dir_all(&dir).unwrap();
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_rolecall")).args(args).output().unwrap();
    let output = run(&["crds", "--dir", dir.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(run(&["crds"]).stdout).unwrap();
    let names = [
        "clusteridentities.rolecall.dev.yaml",
        "credentialsrequests.cloudcredential.openshift.io.yaml",
        "upgradechecks.rolecall.dev.yaml",
    ];
    let mut all = String::new();
    for name in names {
        let written = fs::read_to_string(dir.join(name)).unwrap();
        let shipped = fs::read_to_string(project_root().join("crds").join(name)).unwrap();
        assert!(written == shipped, "crds/{name} is out of date: run `rolecall crds --dir crds`");
        all.push_str(&format!("---\n{written}"));
    }
    assert_eq!(printed, all);
    let output = run(&["crds", "--dir", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("rolecall: cannot write /nonexistent/clusteridentities.rolecall.dev.yaml: "),
        "{stderr}"
    );
}

#[test]
fn the_manifests_can_be_applied() {
    let plane = plane();
    plane.ensure_namespace("rolecall-system");
    let build = |dir: &str| plane.kubectl_ok(&["kustomize", project_root().join(dir).to_str().unwrap()]);
    let (base, openshift) = (build("deploy/base"), build("deploy/overlays/openshift"));
    let web_identity = build("deploy/overlays/web-identity");
    for (what, text) in [("base", &base), ("openshift", &openshift), ("web-identity", &web_identity)] {
        let run = dry_run(text);
        assert!(run.success(), "{what}: {}", run.stderr);
        // The namespace enforces the restricted Pod Security Standard; a Deployment that breaks it is only warned of.
        assert!(!run.stderr.contains("Warning"), "{what}: {}", run.stderr);
        assert!(run.stdout.contains("deployment.apps/rolecall serverside-applied"), "{what}: {}", run.stdout);
    }
    let requests_crd = "name: credentialsrequests.cloudcredential.openshift.io";
    assert!(base.contains(requests_crd) && web_identity.contains(requests_crd));
    assert!(!openshift.contains(requests_crd) && openshift.contains("name: clusteridentities.rolecall.dev"));
    assert!(web_identity.contains("AWS_WEB_IDENTITY_TOKEN_FILE") && !base.contains("AWS_WEB_IDENTITY_TOKEN_FILE"));
}
