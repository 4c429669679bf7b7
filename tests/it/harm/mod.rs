//! What Rolecall must never do to a cluster that works: each test is a mishap of somebody's, and what has to be there after it.
//!
//! What the API server does not declare yet is dropped from a spec here, not refused ([`ControlPlane::apply_unchecked`]): so
//! what a test reports is the harm itself.

mod accounts;
mod deletion;
mod in_use;
mod issuer;
mod keys;
mod on_model;
mod ownership;
mod requests;
mod secrets;
mod teardown;
mod ways;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::{Value, json};

use super::ended::{DELETE, SETTLED};
use super::scene::{AT_ONCE as DEFAULT, SOON, Scene, condition_is, said};
use super::support::aws_state::{self, BucketView, ProviderView, RoleView, iam};
use super::support::process::project_root;
use super::support::{Call, ControlPlane, IssuerFront, Operator, Schema, block_on, eventually};
use super::written::taken_in_order;

/// Guardrails under which a leftover goes at once, as far as time and use are concerned: the emulators know of no use.
pub const AT_ONCE: &str = "deletionDelay: 0s, inUseWindow: 0s";
/// Guardrails under which no leftover goes in a test's time.
pub const LATER: &str = "deletionDelay: 1h, inUseWindow: 0s";

/// The tag that says whose a resource is; setting it is no harm.
const OWNER_TAG: &str = "rolecall.dev/owner";

/// The ClusterIdentity with further guardrails, looked at every second.
pub fn guarded_yaml(scene: &Scene, guardrails: &str, more: &str) -> String {
    let yaml = scene.identity_yaml(more).replace("driftInterval: 2s", "driftInterval: 1s");
    let yaml = yaml.replace(DEFAULT, "guardrails: {");
    if guardrails.is_empty() {
        return yaml;
    }
    let guarded = yaml.replacen("guardrails: {", &format!("guardrails: {{{guardrails}, "), 1);
    assert_ne!(guarded, yaml);
    guarded
}

pub fn specify(scene: &Scene, guardrails: &str, more: &str) {
    scene.cluster.apply_unchecked(&guarded_yaml(scene, guardrails, more));
}

/// A scene in which everything is Ready; from here on, calls are counted.
pub fn ready(name: &str, guardrails: &str, more: &str, requests: &[&str]) -> Scene {
    let mut scene = Scene::new(name);
    specify(&scene, guardrails, more);
    for request in requests {
        scene.request(request);
    }
    start(&mut scene);
    await_settled(&scene);
    scene
}

/// Starts the operator; its service account is in a namespace of its own, and outlives the scene's.
pub fn start(scene: &mut Scene) {
    let home = scene.cluster.operator_kubeconfig(&format!("{}-operator", scene.name));
    scene.start_with(&SETTLED, &[("KUBECONFIG", &home.display().to_string())]);
}

/// The same for all namespaces: who sees everything can tell that a ClusterIdentity no longer exists.
pub fn start_unscoped(scene: &mut Scene) {
    let home = format!("{}-operator", scene.name);
    let front = Some(IssuerFront::shared());
    let mut operator = Operator::start_unscoped(scene.cluster, &home, &scene.proxy, front, &SETTLED, &[]);
    operator.wait_ready(SOON);
    scene.operator = Some(operator);
}

pub fn stop(scene: &mut Scene) {
    assert_eq!(scene.operator.take().expect("an operator").terminate().code(), Some(0));
}

/// A control plane for operators that serve all namespaces, one test at a time; each is to take its ClusterIdentity away.
pub fn alone() -> (&'static ControlPlane, MutexGuard<'static, ()>) {
    static PLANE: OnceLock<ControlPlane> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let plane = PLANE.get_or_init(|| ControlPlane::start("controlplane-harm", Schema::Rolecall));
    plane.install();
    restore_crds(plane);
    (plane, one)
}

/// Lets every ClusterIdentity go without a deletion in AWS, and serves all definitions again.
pub fn restore_crds(plane: &ControlPlane) {
    let crds = project_root().join("crds").display().to_string();
    eventually(SOON, "the definitions to be served, and no ClusterIdentity", || {
        let applied = plane.kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &crds]);
        let names = "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}";
        let left = plane.kubectl(&["get", "cid", "--all-namespaces", "-o", names]).stdout;
        for (namespace, name) in left.lines().filter_map(|line| line.split_once(' ')) {
            plane.kubectl(&["delete", "cid", name, "-n", namespace, "--wait=false"]);
            let patch = r#"{"metadata":{"finalizers":null}}"#;
            plane.kubectl(&["patch", "cid", name, "-n", namespace, "--type=merge", "-p", patch]);
        }
        let times = "jsonpath={.items[*].metadata.deletionTimestamp}";
        let going = plane.kubectl(&["get", "crd", "-o", times]).stdout;
        if applied.success() && left.is_empty() && going.is_empty() {
            Ok(())
        } else {
            Err(going + &left + &applied.stderr)
        }
    });
    plane.wait(30, &["--for=condition=Established", "crd", "--all"]);
}

/// Waits until all is as wanted, marks included, and forgets the calls so far.
#[track_caller]
pub fn await_settled(scene: &Scene) {
    eventually(SOON, &format!("Ready=True of {}, and no mark to be set", scene.name), || {
        let object = scene.identity_object();
        condition_is(&object, "Ready", "True")?;
        let pending = &object["status"]["pendingMarks"];
        if pending.as_array().is_none_or(Vec::is_empty) { Ok(()) } else { Err(pending.to_string()) }
    });
    scene.passes(1);
    scene.proxy.reset_counts();
}

/// Patches the ClusterIdentity; a field that is not declared is dropped.
pub fn patch(scene: &Scene, patch: &Value) {
    let patch = patch.to_string();
    scene.cluster.kubectl_ok(&["patch", "cid", &scene.name, "-n", &scene.name, "--type=merge", "-p", &patch]);
}

/// Sets an annotation of the ClusterIdentity: a consent.
pub fn consent(scene: &Scene, annotation: &str, value: &str) {
    patch(scene, &json!({"metadata": {"annotations": {annotation: value}}}));
}

/// The uid of a management cluster: that of its namespace `kube-system`.
pub fn cluster_uid(cluster: &ControlPlane) -> String {
    let namespace = cluster.get_json(&["ns", "kube-system"]);
    namespace["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

/// What a scene has in AWS, and the values of its Secrets, without Rolecall's marks. No other scene's name may begin with this
/// one's and a hyphen.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    roles: BTreeMap<String, RoleView>,
    providers: BTreeMap<String, ProviderView>,
    bucket: Option<BucketView>,
    secrets: BTreeMap<String, Value>,
}

impl Kept {
    pub fn of(scene: &Scene) -> Self {
        let prefix = format!("{}-", scene.name);
        let role = |name: String| {
            let mut role = aws_state::role(&name)?;
            role.tags.remove(OWNER_TAG);
            Some((name, role))
        };
        let provider = |arn: String| {
            let mut provider = aws_state::provider(&arn)?;
            provider.tags.remove(OWNER_TAG);
            Some((arn, provider))
        };
        let bucket = aws_state::bucket(&scene.bucket()).map(|mut bucket| {
            bucket.tags.remove(OWNER_TAG);
            bucket
        });
        let names = aws_state::role_names().into_iter().filter(|name| name.starts_with(&prefix));
        let roles = names.filter_map(role).collect();
        let arns = aws_state::provider_arns().into_iter().filter(|arn| arn.contains(&format!("/{prefix}oidc")));
        let providers = arns.filter_map(provider).collect();
        Self { roles, providers, bucket, secrets: secrets(scene) }
    }

    /// All of it is there as it was; what came since is nobody's loss.
    #[track_caller]
    pub fn assert_there(&self, scene: &Scene) {
        let now = Self::of(scene);
        self.assert_aws_in(&now);
        for (name, data) in &self.secrets {
            assert_eq!(now.secrets.get(name), Some(data), "Secret {name}");
        }
    }

    /// The same without the Secrets: their namespace goes.
    #[track_caller]
    pub fn assert_aws_there(&self, scene: &Scene) {
        self.assert_aws_in(&Self::of(scene));
    }

    #[track_caller]
    fn assert_aws_in(&self, now: &Self) {
        for (name, role) in &self.roles {
            assert_eq!(now.roles.get(name), Some(role), "role {name}");
        }
        for (arn, provider) in &self.providers {
            assert_eq!(now.providers.get(arn), Some(provider), "{arn}");
        }
        assert_eq!(now.bucket, self.bucket, "the bucket");
    }
}

/// The values of the Secrets in the scene's namespace, the signing keys excepted.
pub fn secrets(scene: &Scene) -> BTreeMap<String, Value> {
    let found = scene.cluster.get_json(&["secrets", "-n", &scene.name]);
    let items = found["items"].as_array().expect("a list").iter();
    let named = items.map(|secret| (secret["metadata"]["name"].as_str().expect("a name"), secret["data"].clone()));
    named.filter(|(name, _)| *name != "signer").map(|(name, data)| (name.to_owned(), data)).collect()
}

/// What a Secret points at: its profile as text; empty when there is none.
pub fn credentials(scene: &Scene, secret: &str) -> String {
    let template = "go-template={{.data.credentials|base64decode}}";
    scene.cluster.kubectl(&["get", "secret", secret, "-n", &scene.name, "-o", template]).stdout
}

/// The writes that AWS took, past those that set a mark.
pub fn changes(scene: &Scene) -> Vec<String> {
    const MARKS: [&str; 3] = ["iam:TagRole", "iam:TagOpenIDConnectProvider", "s3:PutBucketTagging"];
    let calls: Vec<Call> = scene.proxy.calls();
    let calls: Vec<Call> = calls.into_iter().filter(|call| !MARKS.contains(&call.op.as_str())).collect();
    taken_in_order(&calls)
}

/// What AWS was asked to take away.
pub fn removals(scene: &Scene) -> Vec<String> {
    changes(scene).into_iter().filter(|call| call.contains(":Delete") || call.contains(":Remove")).collect()
}

/// The Secrets that the operator has deleted, `namespace/name`. Its service account is in a namespace of its own.
pub fn deleted_secrets(scene: &Scene) -> Vec<String> {
    let writes = scene.cluster.changes_by(&format!("{}-operator", scene.name)).into_iter();
    let deleted = writes.filter(|write| write.resource == "secrets" && write.verb == "delete");
    deleted.map(|write| format!("{}/{}", write.namespace, write.name)).collect()
}

/// Nothing was taken away: no call to AWS, no Secret.
#[track_caller]
pub fn assert_nothing_removed(scene: &Scene) {
    assert_eq!(removals(scene), [""; 0], "AWS was asked to take this away");
    assert_eq!(deleted_secrets(scene), [""; 0], "these Secrets were deleted");
}

/// Nothing was changed in AWS, and no Secret deleted.
#[track_caller]
pub fn assert_nothing_changed(scene: &Scene) {
    assert_eq!(changes(scene), [""; 0], "AWS was asked to change this");
    assert_eq!(deleted_secrets(scene), [""; 0], "these Secrets were deleted");
}

/// Waits until the ClusterIdentity says this, and fails as soon as something was taken away meanwhile.
#[track_caller]
pub fn await_unharmed<T>(scene: &Scene, what: &str, mut probe: impl FnMut(&Value) -> Result<T, String>) -> T {
    eventually(SOON, what, || {
        assert_nothing_removed(scene);
        probe(&scene.identity_object())
    })
}

/// Waits until the ClusterIdentity says this, and fails as soon as anything was changed meanwhile.
#[track_caller]
pub fn await_unchanged<T>(scene: &Scene, what: &str, mut probe: impl FnMut(&Value) -> Result<T, String>) -> T {
    eventually(SOON, what, || {
        assert_nothing_changed(scene);
        probe(&scene.identity_object())
    })
}

/// `Ready=False` with this reason; the message.
pub fn not_ready(object: &Value, reason: &str) -> Result<String, String> {
    let message = condition_is(object, "Ready", "False")?;
    if said(object, "Ready", "reason") == reason {
        Ok(message)
    } else {
        Err(object["status"]["conditions"].to_string())
    }
}

/// The entry of a component in `pendingDeletions`.
pub fn pending(object: &Value, role: &str) -> Result<Value, String> {
    let all = object["status"]["pendingDeletions"].as_array().into_iter().flatten();
    let mut entries = all.filter(|entry| entry["component"] == role);
    entries.next().cloned().ok_or_else(|| object["status"].to_string())
}

/// Waits until these are left over and wait, each held by this; nothing goes meanwhile. The status object.
#[track_caller]
pub fn await_pending(scene: &Scene, requests: &[&str], held_by: &str) -> Value {
    let what = format!("{requests:?} to wait for their deletion, held by {held_by}");
    let object = await_unharmed(scene, &what, |object| {
        for request in requests {
            let entry = pending(object, &scene.role_name(request))?;
            if entry["heldBy"] != held_by {
                return Err(entry.to_string());
            }
        }
        condition_is(object, "OrphanedCloudResource", "True")?;
        Ok(object.clone())
    });
    assert_tells_what_waits(scene, &object, requests);
    object
}

/// The condition says what waits, and how to let it go.
#[track_caller]
fn assert_tells_what_waits(scene: &Scene, object: &Value, requests: &[&str]) {
    assert_eq!(said(object, "OrphanedCloudResource", "reason"), "DeletionPending");
    let message = said(object, "OrphanedCloudResource", "message");
    for request in requests {
        assert!(message.contains(&scene.role_name(request)), "{request}: {message}");
    }
    let digest = object["status"]["pendingDeletionsDigest"].as_str().unwrap_or_default();
    assert_eq!(digest.len(), 16, "{}", object["status"]);
    let way = format!("{}/{digest}", scene.name);
    assert!(message.contains("rolecall.dev/confirm-deletion") && message.contains(&way), "{message}");
    for request in requests {
        let entry = pending(object, &scene.role_name(request)).expect("it waits");
        let resources = entry["resources"].to_string();
        for resource in [format!("role/{}", scene.role_name(request)), format!("secret/{}/{request}-creds", scene.name)]
        {
            assert!(resources.contains(&resource), "{entry}");
        }
        let [since, after] = ["since", "deleteAfter"].map(|field| time(&entry[field]));
        assert!(since <= after, "{entry}");
    }
}

pub fn time(value: &Value) -> jiff::Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A role as ccoctl makes it for a request, by IAM's own means, with these statements beside its own.
pub fn add_to_trust(role: &str, statement: Value) {
    let mut trust = aws_state::role(role).expect("the role").trust;
    trust["Statement"].as_array_mut().expect("statements").push(statement);
    let update = iam().update_assume_role_policy().role_name(role).policy_document(trust.to_string());
    block_on(update.send()).expect("UpdateAssumeRolePolicy");
}
