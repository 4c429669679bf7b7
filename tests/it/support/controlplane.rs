//! A real Kubernetes API: etcd and kube-apiserver with RBAC, an audit log, and the project's `kubectl`.
//!
//! There are no controllers: namespaces finish deleting only with a [`ControllerManager`](super::ControllerManager), and
//! nothing is garbage collected.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::openshift_operator::OpenShiftOperator;
use super::process::{Process, free_port, project_root, run_dir, tool};
use super::runtime::block_on;

/// The issuer of this cluster's service account tokens (`--service-account-issuer`).
pub const SERVICE_ACCOUNT_ISSUER: &str = "https://issuer.test";

const ADMIN_TOKEN: &str = "admin-token";

/// Whose CRD for CredentialsRequests a control plane serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// Rolecall's own, from `crds/`: any Kubernetes cluster.
    Rolecall,
    /// OpenShift's, from `tests/openshift/`, with a stand-in for OpenShift's operator beside Rolecall.
    OpenShift,
}

/// etcd and kube-apiserver, started.
pub struct ControlPlane {
    schema: Schema,
    openshift_operator: OnceLock<OpenShiftOperator>,
    dir: PathBuf,
    url: String,
    ports: [u16; 3],
    admin_kubeconfig: PathBuf,
    install: Once,
    operators: Mutex<HashMap<String, PathBuf>>,
    /// The API server and etcd, in the order in which they end.
    servers: Mutex<Vec<Process>>,
}

/// What a run of `kubectl` left behind.
#[derive(Debug, Clone)]
pub struct Run {
    /// The exit code, -1 if a signal ended it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

/// A write that the API server was asked for, from its audit log. Token and access reviews are not logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// Plural, as in a URL: `secrets`.
    pub resource: String,
    pub namespace: String,
    /// Empty for a create with a generated name.
    pub name: String,
    /// `status`, … or empty.
    pub subresource: String,
    /// The HTTP status of the answer: a refused write is a write here too.
    pub code: u16,
}

impl ControlPlane {
    /// The one control plane of this test binary with Rolecall's schema; starts it the first time (about 5 s).
    pub fn shared() -> &'static ControlPlane {
        static SHARED: OnceLock<ControlPlane> = OnceLock::new();
        SHARED.get_or_init(|| ControlPlane::start("controlplane", Schema::Rolecall))
    }

    /// The one control plane of this test binary with OpenShift's schema; starts it the first time (about 5 s).
    pub fn openshift() -> &'static ControlPlane {
        static SHARED: OnceLock<ControlPlane> = OnceLock::new();
        SHARED.get_or_init(|| ControlPlane::start("controlplane-openshift", Schema::OpenShift))
    }

    /// The shared control plane with this schema.
    pub fn of(schema: Schema) -> &'static ControlPlane {
        match schema {
            Schema::Rolecall => Self::shared(),
            Schema::OpenShift => Self::openshift(),
        }
    }

    /// A control plane of your own, to stop and start; `name` is that of its directory.
    pub fn start(name: &str, schema: Schema) -> ControlPlane {
        let dir = run_dir().join(name);
        fs::create_dir_all(&dir).expect("cannot create the control plane's directory");
        let file = |name: &str| dir.join(name).display().to_string();
        openssl(&["genrsa", "-out", &file("sa.key"), "2048"]);
        openssl(&["rsa", "-in", &file("sa.key"), "-pubout", "-out", &file("sa.pub")]);
        write(&dir.join("tokens.csv"), &format!("{ADMIN_TOKEN},admin,admin,system:masters\n"));
        write(&dir.join("audit-policy.yaml"), AUDIT_POLICY);

        let ports = [(); 3].map(|()| free_port());
        let servers = start_servers(&dir, ports, 0);
        let url = format!("https://127.0.0.1:{}", ports[2]);
        let admin_kubeconfig = dir.join("admin.kubeconfig");
        write(&admin_kubeconfig, &kubeconfig(&url, &dir.join("certificates/apiserver.crt"), ADMIN_TOKEN, "default"));
        let plane = ControlPlane {
            schema,
            openshift_operator: OnceLock::new(),
            dir,
            url,
            ports,
            admin_kubeconfig,
            install: Once::new(),
            operators: Mutex::default(),
            servers: Mutex::new(servers),
        };
        plane.wait_ready();
        plane
    }

    /// Ends both servers; what etcd wrote stays.
    pub fn stop(&self) {
        self.servers().clear();
    }

    /// Starts both servers again, on the same ports and data.
    pub fn start_again(&self) {
        static STARTS: AtomicU32 = AtomicU32::new(1);
        *self.servers() = start_servers(&self.dir, self.ports, STARTS.fetch_add(1, Ordering::Relaxed));
        self.wait_ready();
    }

    /// Ends both servers for good, and the stand-in for OpenShift's operator if there is one.
    pub fn end(&self) {
        if let Some(operator) = self.openshift_operator.get() {
            operator.stop();
        }
        self.stop();
    }

    fn wait_ready(&self) {
        let ready = || run_kubectl(&self.admin_kubeconfig, &["get", "--raw", "/readyz"], None).success();
        self.servers()[0].wait_until(Duration::from_mins(4), ready);
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Process>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API server's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate authority of the API server, for a kubeconfig of your own.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("certificates/apiserver.crt")
    }

    /// The kubeconfig of `system:masters`.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Applies the CRDs of the control plane's schema and the operator's ClusterRole, once for the test binary. With
    /// OpenShift's schema it also starts the stand-in for OpenShift's operator.
    pub fn install(&self) {
        self.install.call_once(|| {
            self.apply_crds();
            if self.schema == Schema::OpenShift {
                let operator = OpenShiftOperator::start(self.client());
                assert!(self.openshift_operator.set(operator).is_ok(), "it is started once");
            }
        });
    }

    /// The same without the stand-in, which cannot parse what the tests of hostile objects make. For a control plane of
    /// the test's own.
    pub fn install_alone(&self) {
        self.install.call_once(|| self.apply_crds());
    }

    fn apply_crds(&self) {
        let crds: &[(&str, &str)] = match self.schema {
            Schema::Rolecall => &[("-k", "crds")],
            Schema::OpenShift => &[
                ("-f", "crds/clusteridentities.rolecall.dev.yaml"),
                ("-f", "crds/upgradechecks.rolecall.dev.yaml"),
                ("-f", "tests/openshift"),
            ],
        };
        for (flag, path) in crds.iter().chain(&[("-f", "deploy/base/clusterrole.yaml")]) {
            let path = project_root().join(path);
            assert!(path.exists(), "{} is missing: the control plane has nothing to install", path.display());
            self.kubectl_ok(&["apply", "--server-side", "--force-conflicts", flag, &path.display().to_string()]);
        }
        self.wait(30, &["--for=condition=Established", "crd", "--all"]);
    }

    /// Whose CRD for CredentialsRequests it serves.
    pub fn schema(&self) -> Schema {
        self.schema
    }

    /// The stand-in for OpenShift's operator; panics with Rolecall's schema, beside which there is none.
    #[track_caller]
    pub fn openshift_operator(&self) -> &OpenShiftOperator {
        self.openshift_operator.get().expect("a control plane with OpenShift's schema, installed")
    }

    /// A client of the API server, as admin: for what has to be quicker than `kubectl`.
    pub fn client(&self) -> Client {
        // kube wants a provider; an error means that there is one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        block_on(async {
            let kubeconfig = Kubeconfig::read_from(&self.admin_kubeconfig).expect("the kubeconfig was written");
            let options = KubeConfigOptions::default();
            let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a kubeconfig");
            config.proxy_url = None;
            Client::try_from(config).expect("a client")
        })
    }

    /// Runs `kubectl` as admin.
    pub fn kubectl(&self, args: &[&str]) -> Run {
        run_kubectl(&self.admin_kubeconfig, args, None)
    }

    /// Runs `kubectl` as admin and returns what it printed; panics when it fails.
    #[track_caller]
    pub fn kubectl_ok(&self, args: &[&str]) -> String {
        expect_success(&format!("kubectl {}", args.join(" ")), self.kubectl(args))
    }

    /// Runs `kubectl` as whoever the kubeconfig names.
    #[allow(clippy::unused_self, reason = "reads like the others")]
    pub fn kubectl_as(&self, kubeconfig: &Path, args: &[&str]) -> Run {
        run_kubectl(kubeconfig, args, None)
    }

    /// Applies manifests as a user does (`kubectl apply -f -`), as admin.
    pub fn apply(&self, yaml: &str) -> Run {
        run_kubectl(&self.admin_kubeconfig, &["apply", "--server-side=false", "-f", "-"], Some(yaml))
    }

    /// Creates an object as it stands (`kubectl create -f -`): an apply would keep a second copy in an annotation.
    pub fn create(&self, manifest: &str) -> Run {
        run_kubectl(&self.admin_kubeconfig, &["create", "--validate=false", "-f", "-"], Some(manifest))
    }

    /// Like [`apply`](Self::apply); panics when it fails.
    #[track_caller]
    pub fn apply_ok(&self, yaml: &str) -> String {
        expect_success("kubectl apply -f -", self.apply(yaml))
    }

    /// The same without asking what the schema declares: a field that it does not is dropped, not refused.
    #[track_caller]
    pub fn apply_unchecked(&self, yaml: &str) {
        let args = ["apply", "--server-side=false", "--validate=ignore", "-f", "-"];
        expect_success("kubectl apply", run_kubectl(&self.admin_kubeconfig, &args, Some(yaml)));
    }

    /// `kubectl apply --prune`: what carries the label, is of these kinds and is not in the manifest, goes.
    #[track_caller]
    pub fn prune(&self, manifest: &str, label: &str, kinds: &[&str]) {
        let allowed = kinds.iter().map(|kind| format!("--prune-allowlist={kind}"));
        let args = ["apply", "--server-side=false", "--prune", "-l", label, "-f", "-"].map(str::to_owned);
        let args: Vec<String> = args.into_iter().chain(allowed).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        expect_success("kubectl apply --prune", run_kubectl(&self.admin_kubeconfig, &args, Some(manifest)));
    }

    /// Puts an object's status in place of the one that is there, as a restore does.
    #[track_caller]
    pub fn replace_status(&self, object: &Value) {
        let args = ["replace", "--subresource=status", "--validate=ignore", "-f", "-"];
        expect_success("kubectl replace", run_kubectl(&self.admin_kubeconfig, &args, Some(&object.to_string())));
    }

    /// The uid of the namespace that stands for the cluster in owner marks.
    pub fn kube_system_uid(&self) -> String {
        self.kubectl_ok(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"])
    }

    /// `kubectl get ARGS… -o json`; panics when it fails.
    #[track_caller]
    pub fn get_json(&self, args: &[&str]) -> Value {
        let args = [&["get", "-o", "json"], args].concat();
        let text = self.kubectl_ok(&args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("kubectl {args:?} printed no JSON ({error}): {text}"))
    }

    /// `kubectl wait --timeout=…s ARGS…`; panics when the time is over.
    #[track_caller]
    pub fn wait(&self, timeout_s: u32, args: &[&str]) {
        let timeout = format!("--timeout={timeout_s}s");
        self.kubectl_ok(&[&["wait", &timeout], args].concat());
    }

    /// Creates a namespace unless it exists.
    #[track_caller]
    pub fn ensure_namespace(&self, namespace: &str) {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        self.apply_ok(&manifest.to_string());
    }

    /// The public half of the key that signs service account tokens, PEM.
    pub fn sa_public_key_pem(&self) -> String {
        fs::read_to_string(self.dir.join("sa.pub")).expect("the service account key was written at start")
    }

    /// A token of an existing service account, as the API server signs it.
    #[track_caller]
    pub fn sa_token(&self, namespace: &str, service_account: &str, audience: &str) -> String {
        let audience = format!("--audience={audience}");
        let token = self.kubectl_ok(&["create", "token", service_account, "-n", namespace, &audience]);
        token.trim().to_owned()
    }

    /// The operator's own kubeconfig in a namespace (made if need be): its ServiceAccount `rolecall`, bound to the
    /// ClusterRole `rolecall` and to the leader election Role, and nothing more. Its default namespace is `namespace`.
    pub fn operator_kubeconfig(&self, namespace: &str) -> PathBuf {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.entry(namespace.to_owned()).or_insert_with(|| self.make_operator(namespace)).clone()
    }

    fn make_operator(&self, namespace: &str) -> PathBuf {
        let subject = json!([{"kind": "ServiceAccount", "name": "rolecall", "namespace": namespace}]);
        let rbac = "rbac.authorization.k8s.io/v1";
        let group = "rbac.authorization.k8s.io";
        self.ensure_namespace(namespace);
        let manifests = json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": "rolecall", "namespace": namespace},
            },
            {
                "apiVersion": rbac, "kind": "ClusterRoleBinding",
                "metadata": {"name": format!("rolecall-{namespace}")},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "rolecall"},
                "subjects": subject,
            },
            {
                "apiVersion": rbac, "kind": "Role",
                "metadata": {"name": "rolecall-leader-election", "namespace": namespace},
                "rules": [{
                    "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                    "verbs": ["get", "create", "update", "patch"],
                }],
            },
            {
                "apiVersion": rbac, "kind": "RoleBinding",
                "metadata": {"name": "rolecall-leader-election", "namespace": namespace},
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "rolecall-leader-election"},
                "subjects": subject,
            },
        ]});
        self.apply_ok(&manifests.to_string());
        let token = self.kubectl_ok(&["create", "token", "rolecall", "-n", namespace, "--duration=8h"]);
        let path = self.dir.join(format!("operator-{namespace}.kubeconfig"));
        write(&path, &kubeconfig(&self.url, &self.ca_file(), token.trim(), namespace));
        path
    }

    /// All writes so far by the operator of a namespace, refused ones included, in order.
    pub fn writes_by(&self, service_account_namespace: &str) -> Vec<Write> {
        let user = format!("system:serviceaccount:{service_account_namespace}:rolecall");
        let log = fs::read_to_string(self.dir.join("audit.log")).unwrap_or_default();
        log.lines()
            // Most lines are other users': parse only those that may count.
            .filter(|line| line.contains(&user))
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["user"]["username"] == user.as_str())
            .map(|event| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let object = &event["objectRef"];
                Write {
                    verb: text(&event["verb"]),
                    resource: text(&object["resource"]),
                    namespace: text(&object["namespace"]),
                    name: text(&object["name"]),
                    subresource: text(&object["subresource"]),
                    code: event["responseStatus"]["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or(0),
                }
            })
            .collect()
    }

    /// [`writes_by`](Self::writes_by) without the leader election's lease, which is renewed all the time.
    pub fn changes_by(&self, service_account_namespace: &str) -> Vec<Write> {
        let mut writes = self.writes_by(service_account_namespace);
        writes.retain(|write| write.resource != "leases");
        writes
    }
}

/// Starts etcd and the API server; returns the API server first.
fn start_servers(dir: &Path, ports: [u16; 3], number: u32) -> Vec<Process> {
    let file = |name: &str| dir.join(name).display().to_string();
    let [etcd_port, peer_port, port] = ports;
    let etcd_url = format!("http://127.0.0.1:{etcd_port}");
    let etcd_args = [
        format!("--data-dir={}", file("etcd")),
        format!("--listen-client-urls={etcd_url}"),
        format!("--advertise-client-urls={etcd_url}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
        "--unsafe-no-fsync".to_owned(),
    ];
    let etcd =
        Process::start("etcd", &tool("controlplane/etcd"), etcd_args, &[], &dir.join(format!("etcd-{number}.log")));

    let api_args = [
        format!("--etcd-servers={etcd_url}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", file("certificates")),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", file("tokens.csv")),
        format!("--service-account-issuer={SERVICE_ACCOUNT_ISSUER}"),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--api-audiences=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        format!("--audit-policy-file={}", file("audit-policy.yaml")),
        format!("--audit-log-path={}", file("audit.log")),
    ];
    let program = tool("controlplane/kube-apiserver");
    let api =
        Process::start("kube-apiserver", &program, api_args, &[], &dir.join(format!("kube-apiserver-{number}.log")));
    vec![api, etcd]
}

const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None # reviews and tokens are questions, though they are asked by a create
  resources:
  - group: authentication.k8s.io
  - group: authorization.k8s.io
  - group: ''
    resources: [serviceaccounts/token]
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
";

fn kubeconfig(url: &str, ca_file: &Path, token: &str, namespace: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": ca_file}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{
            "name": "test",
            "context": {"cluster": "test", "user": "test", "namespace": namespace},
        }],
    })
    .to_string()
}

fn run_kubectl(kubeconfig: &Path, args: &[&str], input: Option<&str>) -> Run {
    let mut child = Command::new(tool("controlplane/kubectl"))
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", run_dir()) // its caches
        .env("NO_PROXY", "127.0.0.1")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot run kubectl");
    if let Some(input) = input {
        // kubectl reads all of its input before it prints; an error here shows in what it says.
        let _ = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes());
    }
    let output = child.wait_with_output().expect("cannot wait for kubectl");
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[track_caller]
fn expect_success(what: &str, run: Run) -> String {
    assert!(run.success(), "{what} failed with {}:\n{}{}", run.status, run.stdout, run.stderr);
    run.stdout
}

fn openssl(args: &[&str]) {
    let output = Command::new("openssl").args(args).output().expect("cannot run openssl: install it");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
