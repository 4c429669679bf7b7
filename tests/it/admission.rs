//! The admission policies of `deploy/deletion-guard`, as somebody meets them who deletes what a cluster lives on.
//!
//! They hold for the whole cluster, so these tests have a control plane of their own. No operator runs there: the tests write the
//! statuses.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::scene::SOON;
use super::support::process::{project_root, run_dir};
use super::support::{ControlPlane, ControllerManager, Run, Schema, eventually};

const CONSENT: &str = "rolecall.dev/confirm-deletion";

/// A control plane with the policies in force.
fn plane() -> &'static ControlPlane {
    static PLANE: OnceLock<ControlPlane> = OnceLock::new();
    PLANE.get_or_init(|| {
        let plane = ControlPlane::start("controlplane-admission", Schema::Rolecall);
        plane.install();
        let guard = project_root().join("deploy/deletion-guard");
        plane.kubectl_ok(&["apply", "-k", guard.to_str().unwrap()]);
        // The API server compiles a policy a moment after it has stored it.
        Identity::on(&plane, "in-force", "probe", json!({"deletionPolicy": "Delete"})).in_use("True", "");
        eventually(SOON, "the policies to be in force", || {
            let identity = plane.kubectl(&["delete", "cid", "probe", "-n", "in-force", "--dry-run=server"]);
            let crd = plane.kubectl(&["delete", "crd", "upgradechecks.rolecall.dev", "--dry-run=server"]);
            if !identity.success() && !crd.success() { Ok(()) } else { Err(format!("{identity:?} {crd:?}")) }
        });
        plane
    })
}

/// A ClusterIdentity that nobody serves.
struct Identity<'a> {
    plane: &'a ControlPlane,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Identity<'a> {
    fn new(namespace: &'a str, name: &'a str, spec: Value) -> Self {
        Self::on(plane(), namespace, name, spec)
    }

    /// One that takes everything along.
    fn deleting(namespace: &'a str, name: &'a str) -> Self {
        Self::new(namespace, name, json!({"deletionPolicy": "Delete"}))
    }

    fn on(plane: &'a ControlPlane, namespace: &'a str, name: &'a str, spec: Value) -> Self {
        plane.ensure_namespace(namespace);
        let mut object = json!({
            "apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterIdentity",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "infraName": format!("infra-{name}"), "region": "eu-west-1",
                "issuer": {"signingKeys": [{"secretRef": {"name": "signer", "key": "key.pub"}}]},
            },
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        plane.apply_ok(&object.to_string());
        Self { plane, namespace, name }
    }

    fn patch(&self, patch: Value, more: &[&str]) {
        let patch = patch.to_string();
        let args = ["patch", "cid", self.name, "-n", self.namespace, "--type=merge", "-p", &patch];
        self.plane.kubectl_ok(&[&args[..], more].concat());
    }

    /// Writes the condition `InUse` beside another, as the operator does.
    fn in_use(self, status: &str, message: &str) -> Self {
        let condition = |type_: &str, status: &str, message: &str| {
            json!({
                "type": type_, "status": status, "reason": "Test", "message": message,
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            })
        };
        let conditions = [condition("Ready", "True", ""), condition("InUse", status, message)];
        self.patch(json!({"status": {"conditions": conditions}}), &["--subresource=status"]);
        self
    }

    fn finalizer(self) -> Self {
        self.patch(json!({"metadata": {"finalizers": ["rolecall.dev/teardown"]}}), &[]);
        self
    }

    fn annotate(&self, value: &str) {
        self.patch(json!({"metadata": {"annotations": {CONSENT: value}}}), &[]);
    }

    fn delete(&self) -> Run {
        self.plane.kubectl(&["delete", "cid", self.name, "-n", self.namespace, "--wait=false"])
    }

    /// By one request for all of the namespace, as controllers do it; `kubectl delete --all` makes one for each object.
    fn delete_collection(&self) -> Run {
        let path = format!("/apis/rolecall.dev/v1alpha1/namespaces/{}/clusteridentities", self.namespace);
        self.plane.kubectl(&["delete", "--raw", &path])
    }

    /// Refused with all of these words, and nothing has begun.
    #[track_caller]
    fn assert_refused(&self, words: &[&str]) {
        for run in [self.delete(), self.delete_collection()] {
            let told = words.iter().all(|word| run.stderr.contains(word));
            assert!(!run.success() && told && run.stderr.contains("clusteridentity-deletion.rolecall.dev"), "{run:?}");
            assert!(!run.stderr.contains("expression"), "the policy itself failed: {run:?}");
        }
        let object = self.plane.get_json(&["cid", self.name, "-n", self.namespace]);
        assert_eq!(object["metadata"]["deletionTimestamp"], Value::Null);
    }

    #[track_caller]
    fn assert_goes(&self) {
        let run = self.delete();
        assert!(run.success(), "{run:?}");
        assert!(!self.plane.kubectl(&["get", "cid", self.name, "-n", self.namespace]).success());
    }
}

#[test]
fn what_is_in_use_is_not_deleted_without_consent() {
    let used =
        Identity::deleting("used", "prod").finalizer().in_use("True", "role prod-a was used at 10:00 in eu-west-1");
    let ways = [
        "ClusterIdentity used/prod may be in use (InUse is True: role prod-a was used at 10:00 in eu-west-1)",
        "set spec.deletionPolicy to Retain",
        "kubectl annotate clusteridentity prod -n used rolecall.dev/confirm-deletion=infra-prod",
    ];
    used.assert_refused(&ways);
    // The consent is to this deletion: not to one of leftovers, and not to that of another cluster.
    for other in ["infra-prod/0123456789abcdef", "infra-other", "prod", "true", ""] {
        used.annotate(other);
        used.assert_refused(&ways);
    }
    used.annotate("infra-prod");
    used.patch(json!({"metadata": {"finalizers": null}}), &[]);
    used.assert_goes();
}

#[test]
fn doubt_is_no_consent() {
    Identity::deleting("doubt", "unknown")
        .in_use("Unknown", "no answer")
        .assert_refused(&["InUse is Unknown: no answer"]);
    // What cannot stand in an answer is left out of it.
    let lines = Identity::deleting("doubt-lines", "lines").in_use("True", "role a\nrole b");
    lines.assert_refused(&["(InUse is True)", "rolecall.dev/confirm-deletion=infra-lines"]);
    let long = Identity::deleting("doubt-long", "long").in_use("True", &"x".repeat(30_000));
    long.assert_refused(&["(InUse is True)", "rolecall.dev/confirm-deletion=infra-long"]);
    // A restored object, or one of an older version: what the operator has made would go, and nobody has looked.
    let silent = Identity::deleting("doubt-silent", "silent").finalizer();
    silent.assert_refused(&["there is no condition InUse", "rolecall.dev/confirm-deletion=infra-silent"]);
    for status in [json!({}), json!({"conditions": []}), Value::Null] {
        replace_status(&silent, &status);
        silent.assert_refused(&["there is no condition InUse"]);
    }
    silent.annotate("infra-silent");
    silent.patch(json!({"metadata": {"finalizers": null}}), &[]);
    silent.assert_goes();
}

/// Puts a whole status, `null` too, which a patch would take for a removal.
fn replace_status(identity: &Identity, status: &Value) {
    let mut object = identity.plane.get_json(&["cid", identity.name, "-n", identity.namespace]);
    object["status"] = status.clone();
    let file = run_dir().join(format!("status-of-{}.json", identity.name));
    fs::write(&file, object.to_string()).unwrap();
    identity.plane.kubectl_ok(&["replace", "--subresource=status", "--validate=false", "-f", file.to_str().unwrap()]);
}

#[test]
fn what_takes_nothing_along_or_is_unused_goes() {
    let spec = |policy: &str, management: &str| json!({"deletionPolicy": policy, "managementPolicy": management});
    Identity::new("goes", "default", json!({})).in_use("True", "").assert_goes();
    Identity::new("goes", "retain", spec("Retain", "Enforce")).in_use("True", "").assert_goes();
    Identity::new("goes", "observe", spec("Delete", "Observe")).in_use("True", "").assert_goes();
    Identity::deleting("goes", "unused").finalizer().in_use("False", "").assert_deletes();
    // Nothing was made for these yet, and nothing would be taken away.
    Identity::deleting("goes", "fresh").assert_goes();
    let emptied = Identity::deleting("goes", "emptied");
    replace_status(&emptied, &Value::Null);
    emptied.assert_goes();
    // The way out that the message names.
    let kept = Identity::deleting("goes", "kept").in_use("True", "");
    assert!(!kept.delete().success());
    kept.patch(json!({"spec": {"deletionPolicy": "Retain"}}), &[]);
    kept.assert_goes();
}

impl Identity<'_> {
    /// The deletion begins, and what has begun may be asked for again whatever is found out meanwhile.
    #[track_caller]
    fn assert_deletes(self) {
        let run = self.delete();
        assert!(run.success(), "{run:?}");
        let identity = self.in_use("True", "used after all");
        for run in [identity.delete(), identity.delete_collection()] {
            assert!(run.success(), "{run:?}");
        }
        let object = identity.plane.get_json(&["cid", identity.name, "-n", identity.namespace]);
        assert_ne!(object["metadata"]["deletionTimestamp"], Value::Null);
        identity.patch(json!({"metadata": {"finalizers": null}}), &[]);
    }
}

/// One object in use holds up a deletecollection, and takes none of the others' right to go.
#[test]
fn others_are_not_concerned() {
    let used = Identity::deleting("others", "used").in_use("True", "");
    let idle = Identity::deleting("others", "idle").in_use("False", "");
    let request = json!({
        "apiVersion": "cloudcredential.openshift.io/v1", "kind": "CredentialsRequest",
        "metadata": {"name": "a", "namespace": "others"},
        "spec": {"secretRef": {"name": "a", "namespace": "others"}},
    });
    used.plane.apply_ok(&request.to_string());
    assert!(!used.plane.kubectl(&["delete", "cid", "--all", "-n", "others"]).success());
    assert!(!idle.plane.kubectl(&["get", "cid", "idle", "-n", "others"]).success());
    used.plane.kubectl_ok(&["delete", "credentialsrequest", "--all", "-n", "others"]);
    used.assert_refused(&[]);
}

#[test]
fn a_namespace_waits_for_consent() {
    let confirmed = Identity::deleting("ns-confirmed", "a").in_use("True", "role a was used");
    let retained = Identity::deleting("ns-retained", "b").in_use("True", "role b was used");
    let _controller = ControllerManager::start(plane(), "controller-manager-admission");
    for identity in [&confirmed, &retained] {
        let Identity { plane, namespace, name } = identity;
        plane.kubectl_ok(&["create", "configmap", "other", "-n", namespace]);
        plane.kubectl_ok(&["delete", "ns", namespace, "--wait=false"]);
        let waits = format!("The deletion of namespace {namespace} waits until one of the two is done");
        let way = format!("kubectl annotate clusteridentity {name} -n {namespace} {CONSENT}=infra-{name}");
        eventually(SOON, "the namespace to say why it stays", || {
            let status = plane.get_json(&["ns", namespace])["status"].clone();
            let told = |condition: &Value| {
                let message = condition["message"].as_str().unwrap_or_default();
                condition["status"] == "True" && message.contains(&waits) && message.contains(&way)
            };
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            if conditions.iter().any(told) { Ok(()) } else { Err(status.to_string()) }
        });
        // All else in it goes: that is not the policies' to hold.
        assert!(!plane.kubectl(&["get", "configmap", "other", "-n", namespace]).success());
        let object = plane.get_json(&["cid", name, "-n", namespace]);
        assert_eq!(object["metadata"]["deletionTimestamp"], Value::Null);
    }
    confirmed.annotate("infra-a");
    retained.patch(json!({"spec": {"deletionPolicy": "Retain"}}), &[]);
    for Identity { plane, namespace, .. } in [confirmed, retained] {
        // The namespace controller waits ever longer between its attempts.
        eventually(Duration::from_mins(2), "the end of the namespace", || {
            let found = plane.kubectl(&["get", "ns", namespace, "--ignore-not-found", "-o", "json"]);
            if found.success() && found.stdout.is_empty() { Ok(()) } else { Err(found.stdout) }
        });
    }
}

const CRDS: [&str; 3] = [
    "clusteridentities.rolecall.dev",
    "upgradechecks.rolecall.dev",
    "credentialsrequests.cloudcredential.openshift.io",
];

#[track_caller]
fn assert_crd_refused(run: &Run, crd: &str) {
    let way = format!("kubectl annotate crd {crd} {CONSENT}={crd}");
    assert!(!run.success() && run.stderr.contains(&way) && run.stderr.contains("in all namespaces"), "{run:?}");
}

#[test]
fn definitions_are_not_deleted_without_consent() {
    let plane = plane();
    for crd in CRDS {
        assert_crd_refused(&plane.kubectl(&["delete", "crd", crd]), crd);
        let annotate = |value: &str| {
            plane.kubectl_ok(&["annotate", "crd", crd, "--overwrite", &format!("{CONSENT}={value}")]);
        };
        annotate("true");
        assert_crd_refused(&plane.kubectl(&["delete", "crd", crd]), crd);
        annotate(crd);
        plane.kubectl_ok(&["delete", "crd", crd, "--dry-run=server"]);
        plane.kubectl_ok(&["annotate", "crd", crd, &format!("{CONSENT}-")]);
        // As one of many.
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldSelector=metadata.name%3D";
        assert_crd_refused(&plane.kubectl(&["delete", "--raw", &format!("{path}{crd}")]), crd);
    }
    let crds = project_root().join("crds");
    let run = plane.kubectl(&["delete", "-k", crds.to_str().unwrap()]);
    for crd in CRDS {
        assert_crd_refused(&run, crd);
    }
    // What a cluster of OpenShift does with its own definition is its own affair; Rolecall's are none of its own.
    let as_openshift = |crd: &str| {
        let groups = ["--as-group=system:masters", "--as-group=system:serviceaccounts:openshift-cluster-version"];
        let user = "--as=system:serviceaccount:openshift-cluster-version:default";
        plane.kubectl(&["delete", "crd", crd, "--dry-run=server", user, groups[0], groups[1]])
    };
    let own = as_openshift(CRDS[2]);
    assert!(own.success(), "{own:?}");
    for crd in &CRDS[..2] {
        assert_crd_refused(&as_openshift(crd), crd);
    }
    // No other test here has to do with UpgradeChecks.
    plane.kubectl_ok(&["annotate", "crd", CRDS[1], &format!("{CONSENT}={}", CRDS[1])]);
    plane.kubectl_ok(&["delete", "crd", CRDS[1]]);
}

#[test]
fn definitions_of_others_are_not_concerned() {
    let plane = plane();
    plane.apply_ok(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: others.example.com}\n\
         spec:\n  group: example.com\n  scope: Cluster\n  names: {kind: Other, plural: others, singular: other}\n  \
         versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: {openAPIV3Schema: {type: object}}\n",
    );
    plane.kubectl_ok(&["delete", "crd", "others.example.com"]);
}

#[test]
fn the_policies_are_shipped_and_can_be_left_out() {
    let plane = ControlPlane::shared();
    let copy = run_dir().join("without-guard");
    fs::create_dir_all(&copy).unwrap();
    for dir in ["deploy", "crds"] {
        let status = Command::new("cp").arg("-r").arg(project_root().join(dir)).arg(&copy).status().unwrap();
        assert!(status.success());
    }
    let kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
                         resources: [deploy/overlays/web-identity]\ncomponents: [deploy/components/no-deletion-guard]\n";
    fs::write(copy.join("kustomization.yaml"), kustomization).unwrap();
    let build = |dir: &str| plane.kubectl_ok(&["kustomize", copy.join(dir).to_str().unwrap()]);
    for dir in ["deploy/base", "deploy/overlays/web-identity", "deploy/overlays/openshift"] {
        assert_eq!(build(dir).matches("\nkind: ValidatingAdmissionPolicy").count(), 4, "{dir}");
    }
    let without = build(".");
    assert!(!without.contains("ValidatingAdmissionPolicy") && without.contains("kind: Deployment"));
    assert_eq!(without.matches("kind: CustomResourceDefinition").count(), 3);
}
