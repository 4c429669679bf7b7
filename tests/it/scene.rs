//! What most tests begin with: a namespace, keys, a ClusterIdentity, requests, and an operator for them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::controlplane::{ControlPlane, Schema};
use super::support::emulators::Emulators;
use super::support::issuer_front::IssuerFront;
use super::support::openshift_operator::FINALIZER;
use super::support::operator::Operator;
use super::support::proxy::Proxy;
use super::support::{aws_state, eventually};

/// Long enough for a slow machine; a test that gets there at all gets there in a fraction of it.
pub const SOON: Duration = Duration::from_mins(4);

/// The beginning of guardrails under which what is left over goes at once.
pub const AT_ONCE: &str = "guardrails: {deletionDelay: 0s, inUseWindow: 0s, maxDeletions: 9, ";

pub const REGION: &str = "eu-west-1";
pub const ACCOUNT: &str = "123456789012";

/// What the ClusterIdentity claims of what it has seen.
pub const CLAIMS: [&str; 9] = [
    "Ready",
    "IssuerPublished",
    "IssuerVerified",
    "ProviderReady",
    "RolesReady",
    "SecretsReady",
    "Drifted",
    "OperatorPermissionsSufficient",
    "SnapshotFresh",
];

/// A namespace with a ClusterIdentity of the same name, and an operator that serves it alone.
pub struct Scene {
    pub cluster: &'static ControlPlane,
    pub proxy: Proxy,
    pub name: String,
    pub operator: Option<Operator>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.operator = None;
        if !std::thread::panicking() {
            aws_state::remove(&format!("{0}-{0}-", self.name), &self.provider_arn());
        }
    }
}

impl Scene {
    /// A namespace with signing keys in it, on Rolecall's schema; no ClusterIdentity, no operator yet.
    pub fn new(name: &str) -> Self {
        Self::on(Schema::Rolecall, name)
    }

    /// The same on either schema. Both control planes share what AWS is made of, so the scene's name is not the same on
    /// both: see [`scene_name`].
    pub fn on(schema: Schema, name: &str) -> Self {
        Self::on_plane(ControlPlane::of(schema), &scene_name(schema, name))
    }

    /// The same on a control plane of the test's own, under just this name.
    pub fn on_plane(cluster: &'static ControlPlane, name: &str) -> Self {
        cluster.install();
        cluster.ensure_namespace(name);
        let scene = Self { cluster, proxy: Proxy::start(Emulators::shared()), name: name.into(), operator: None };
        scene.keys(&[include_str!("../keys/first.pub")]);
        scene
    }

    /// Sets the signing keys: one entry of the Secret for each is united under `key.pub`.
    pub fn keys(&self, pems: &[&str]) {
        let pem = pems.concat().lines().map(|line| format!("    {line}\n")).collect::<String>();
        self.cluster.apply_ok(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: signer\n  namespace: {}\n  labels: {{rolecall.dev/signing-key: \"true\"}}\nstringData:\n  key.pub: |\n{pem}",
            self.name
        ));
    }

    /// What there is in AWS of a scene with one request `a` is complete, and there is nothing twice.
    #[track_caller]
    pub fn assert_complete(&self) {
        let name = self.role_name("a");
        let prefix = format!("{}-", self.name);
        let roles: Vec<String> = aws_state::role_names().into_iter().filter(|role| role.starts_with(&prefix)).collect();
        assert_eq!(roles, std::slice::from_ref(&name));
        let role = self.role("a");
        assert_eq!(role.inline.keys().collect::<Vec<_>>(), [&name]);
        assert_eq!(role.inline[&name]["Statement"][0]["Action"][0], "s3:GetObject");
        let host = self.issuer_host();
        let providers: Vec<String> =
            aws_state::provider_arns().into_iter().filter(|arn| arn.ends_with(&format!("/{host}"))).collect();
        assert_eq!(providers, [self.provider_arn()]);
        let bucket = aws_state::bucket(&self.bucket()).unwrap();
        assert_eq!(bucket.objects.keys().collect::<Vec<_>>(), [".well-known/openid-configuration", "keys.json"]);
        assert!(bucket.policy.is_some() && aws_state::without_mark(&bucket.tags).len() == 2);
    }

    /// Applies the ClusterIdentity; `more` is merged into the spec's YAML, two blanks deep.
    pub fn identity(&self, more: &str) {
        self.cluster.apply_ok(&self.identity_yaml(more));
    }

    /// The ClusterIdentity. Under `deletionPolicy: Delete` what is left over goes at once: the emulators tell no use of roles.
    pub fn identity_yaml(&self, more: &str) -> String {
        let name = &self.name;
        let guardrails = if more.contains("deletionPolicy: Delete") { AT_ONCE } else { "guardrails: {" };
        format!(
            "apiVersion: rolecall.dev/v1alpha1\nkind: ClusterIdentity\nmetadata: {{name: {name}, namespace: {name}}}\nspec:\n  infraName: {name}\n  region: {REGION}\n  aws: {{accountID: \"{ACCOUNT}\"}}\n  issuer:\n    signingKeys:\n    - secretRef: {{name: signer, key: key.pub}}\n  {guardrails}allowedSecretNamespaces: [\"*\"]}}\n  driftInterval: 2s\n{more}"
        )
    }

    /// Starts the operator, with the issuer reachable over HTTPS.
    pub fn start(&mut self) {
        self.start_with(&[], &[]);
    }

    pub fn start_with(&mut self, args: &[&str], env: &[(&str, &str)]) {
        let front = IssuerFront::shared();
        let mut operator = Operator::start(self.cluster, &self.name, &self.proxy, Some(front), args, env);
        operator.wait_ready(SOON);
        self.operator = Some(operator);
    }

    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("the scene's operator was not started")
    }

    /// A small request in this namespace for a Secret in it.
    pub fn request(&self, name: &str) {
        self.cluster.apply_ok(&request_yaml(&self.name, name, &self.name, "s3:GetObject"));
    }

    pub fn role_name(&self, request: &str) -> String {
        format!("{0}-{0}-{request}-creds", self.name)
    }

    pub fn bucket(&self) -> String {
        format!("{}-oidc", self.name)
    }

    pub fn issuer_host(&self) -> String {
        format!("{}-oidc.s3.{REGION}.amazonaws.com", self.name)
    }

    pub fn provider_arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{}", self.issuer_host())
    }

    pub fn identity_object(&self) -> Value {
        self.cluster.get_json(&["clusteridentity", &self.name, "-n", &self.name])
    }

    pub fn request_object(&self, name: &str) -> Value {
        self.cluster.get_json(&["credentialsrequest", name, "-n", &self.name])
    }

    /// Waits until a condition of the ClusterIdentity has a status; returns its message.
    pub fn await_condition(&self, type_: &str, status: &str) -> String {
        eventually(SOON, &format!("{type_}={status} of {}", self.name), || {
            condition_is(&self.identity_object(), type_, status)
        })
    }

    /// Waits until a condition of a request has a status; returns its message.
    pub fn await_request(&self, request: &str, type_: &str, status: &str) -> String {
        eventually(SOON, &format!("{type_}={status} of {}/{request}", self.name), || {
            condition_is(&self.request_object(request), type_, status)
        })
    }

    /// The generation that a request's status speaks of. OpenShift's schema declares no such field: there it is in
    /// `providerStatus`.
    pub fn observed_generation(&self, request: &Value) -> Value {
        match self.cluster.schema() {
            Schema::Rolecall => request["status"]["observedGeneration"].clone(),
            Schema::OpenShift => request["status"]["providerStatus"]["observedGeneration"].clone(),
        }
    }

    /// Rolecall has written this value of `provisioned` into a status that was read. Beside OpenShift's operator the field
    /// is that one's, which sets it to true for every request: Rolecall does not take it back.
    #[track_caller]
    pub fn assert_provisioned(&self, request: &Value, wanted: bool) {
        let name = request["metadata"]["name"].as_str().expect("a name");
        match self.cluster.schema() {
            Schema::Rolecall => assert_eq!(request["status"]["provisioned"], wanted, "{name}"),
            Schema::OpenShift => self.await_synced(name),
        }
    }

    /// On OpenShift's schema: waits until OpenShift's operator has written all that it writes to a request.
    #[track_caller]
    pub fn await_synced(&self, request: &str) {
        if self.cluster.schema() == Schema::Rolecall {
            return;
        }
        eventually(SOON, &format!("{request} to be synced by OpenShift's operator"), || {
            let object = self.request_object(request);
            let status = &object["status"];
            let finalizers = object["metadata"]["finalizers"].as_array();
            let marked = finalizers.is_some_and(|finalizers| finalizers.contains(&json!(FINALIZER)));
            let current = status["lastSyncGeneration"] == object["metadata"]["generation"];
            if marked && current && status["provisioned"] == true { Ok(()) } else { Err(object.to_string()) }
        });
    }

    /// Whether Rolecall writes upstream's conditions. Beside OpenShift's operator they are that one's, and Rolecall leaves
    /// them as they are once the request carries its finalizer.
    pub fn writes_upstream_conditions(&self) -> bool {
        self.cluster.schema() == Schema::Rolecall
    }

    /// Waits until so many more passes were made.
    pub fn await_passes(&self, more: f64) {
        let passes = || self.operator().metric("rolecall_passes_total").unwrap_or(0.0);
        let begun = passes();
        eventually(SOON, "further passes", || {
            let made = passes() - begun;
            if made >= more { Ok(()) } else { Err(format!("{made} of {more}")) }
        });
    }

    /// Asks for a pass now: an annotation is news like any other.
    pub fn poke(&self) {
        static POKES: AtomicU32 = AtomicU32::new(0);
        let poke = format!("tests.rolecall.dev/poke={}", POKES.fetch_add(1, Ordering::Relaxed));
        self.cluster.kubectl_ok(&["annotate", "--overwrite", "cid", &self.name, "-n", &self.name, &poke]);
    }

    /// Has so many further passes made, one after the other.
    pub fn passes(&self, more: u32) {
        let made = || self.operator().metric("rolecall_passes_total").unwrap_or(0.0);
        let begun = made();
        for pass in 1..=more {
            self.poke();
            eventually(SOON, "a further pass", || {
                let made = made() - begun;
                if made >= f64::from(pass) { Ok(()) } else { Err(format!("{made} of {pass}")) }
            });
        }
    }

    pub fn role(&self, request: &str) -> aws_state::RoleView {
        let name = self.role_name(request);
        aws_state::role(&name).unwrap_or_else(|| panic!("role {name} does not exist"))
    }
}

/// The name of a scene on a schema: no test on the other has the same.
pub fn scene_name(schema: Schema, name: &str) -> String {
    match schema {
        Schema::Rolecall => name.to_owned(),
        Schema::OpenShift => format!("os-{name}"),
    }
}

/// Makes tests of functions that take a [`Schema`]: `rolecall_schema::name` and `openshift_schema::name` for each.
macro_rules! on_both_schemas {
    ($($test:ident),+ $(,)?) => {
        mod rolecall_schema {
            $(#[test]
            fn $test() {
                super::$test($crate::support::Schema::Rolecall);
            })+
        }

        mod openshift_schema {
            $(#[test]
            fn $test() {
                super::$test($crate::support::Schema::OpenShift);
            })+
        }
    };
}
pub(crate) use on_both_schemas;

/// A request for a Secret `<name>-creds` in `target`.
pub fn request_yaml(namespace: &str, name: &str, target: &str, action: &str) -> String {
    format!(
        "apiVersion: cloudcredential.openshift.io/v1\nkind: CredentialsRequest\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  secretRef: {{name: {name}-creds, namespace: {target}}}\n  serviceAccountNames: [{name}]\n  providerSpec:\n    apiVersion: cloudcredential.openshift.io/v1\n    kind: AWSProviderSpec\n    statementEntries:\n    - {{effect: Allow, action: [\"{action}\"], resource: \"*\"}}\n"
    )
}

/// The same small request as JSON, to be spoilt; its Secret is in its own namespace.
pub fn request_json(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "cloudcredential.openshift.io/v1",
        "kind": "CredentialsRequest",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "secretRef": {"name": format!("{name}-creds"), "namespace": namespace},
            "serviceAccountNames": [name],
            "providerSpec": {
                "apiVersion": "cloudcredential.openshift.io/v1",
                "kind": "AWSProviderSpec",
                "statementEntries": [{"effect": "Allow", "action": ["s3:GetObject"], "resource": "*"}],
            },
        },
    })
}

/// A List of objects, for one `kubectl apply`.
pub fn list_of(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// A field of a condition, empty when the condition is not there.
pub fn said(object: &Value, type_: &str, field: &str) -> String {
    condition(object, type_).and_then(|condition| condition[field].as_str()).unwrap_or_default().to_owned()
}

/// The condition's message when it has the status; the whole condition otherwise.
pub fn condition_is(object: &Value, type_: &str, status: &str) -> Result<String, String> {
    match condition(object, type_) {
        Some(condition) if condition["status"] == status => {
            Ok(condition["message"].as_str().unwrap_or_default().into())
        }
        Some(condition) => Err(condition.to_string()),
        None => Err(format!("no condition {type_}; status is {}", object["status"])),
    }
}

pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}
