//! What a procedure is gone through on: one or two management clusters, AWS, a directory with manifests, and a shell.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::oracle::{Component, Oracle};
use super::page::{Block, steps};
use super::site::Site;
use crate::adoption::{FIRST, Signer};
use crate::harm::restore_crds;
use crate::model::{Model, Served, access_key};
use crate::scene::{ACCOUNT, REGION, SOON};
use crate::support::process::{kill9, project_root, run_dir, tool};
use crate::support::{ControlPlane, IssuerFront, Schema, block_on};

/// How a procedure is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Straight,
    /// The operator is killed with the first write to AWS of each step, and again when the step's commands are done.
    Killed,
}

/// Longest time for the commands of one step.
const STEP: Duration = Duration::from_mins(4);

/// Everything around one procedure.
pub struct Stage {
    pub way: Way,
    pub model: Model,
    pub oracle: Oracle,
    /// The old management cluster, and the new one where there are two.
    pub sites: Vec<Site>,
    /// `infraName`, and the name and the namespace of the ClusterIdentity.
    pub name: String,
    dir: PathBuf,
    /// The steps of the page that are left, and those that were run.
    steps: Vec<Block>,
    done: Vec<Block>,
    killer: Arc<Killer>,
    _served: Served,
    _front: IssuerFront,
    _one: MutexGuard<'static, ()>,
}

/// Kills operators with the next write to AWS.
#[derive(Debug, Default)]
struct Killer {
    armed: Mutex<bool>,
    pids: Mutex<Vec<u32>>,
    killed: AtomicU32,
}

impl Killer {
    fn on_write(&self) {
        if std::mem::take(&mut *self.armed.lock().unwrap_or_else(PoisonError::into_inner)) {
            for pid in self.pids.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                kill9(pid);
            }
            self.killed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The management clusters of these tests: one procedure at a time, since each has operators that serve all namespaces.
fn planes() -> ([&'static ControlPlane; 2], MutexGuard<'static, ()>) {
    static PLANES: OnceLock<[ControlPlane; 2]> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = |name: &str| ControlPlane::start(&format!("controlplane-{name}"), Schema::Rolecall);
    let planes = PLANES.get_or_init(|| ["old", "new"].map(start));
    (planes.each_ref(), one)
}

impl Stage {
    /// For a procedure of the page, on so many management clusters. Nothing is applied and no operator runs yet.
    pub fn new(procedure: &str, clusters: usize, way: Way) -> Self {
        Self::called(procedure, procedure, clusters, way)
    }

    /// The same under a name of its own, for a procedure that several tests go through.
    pub fn called(name: &str, procedure: &str, clusters: usize, way: Way) -> Self {
        let (planes, one) = planes();
        let suffix = if way == Way::Killed { "-k" } else { "" };
        let name = format!("proc-{name}{suffix}");
        let model = Model::new(1);
        let oracle = Oracle::over(&model);
        let killer = Arc::new(Killer::default());
        let inside = killer.clone();
        model.on_write(move |_| inside.on_write());
        let served = block_on(model.serve());
        let front = IssuerFront::before(&served.url(), &[]);
        let dir = run_dir().join(&name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("bin")).expect("a directory");
        let env = environment(&served.url(), &front);
        let guard = project_root().join("deploy/deletion-guard").display().to_string();
        let sites = planes.into_iter().take(clusters).map(|plane| {
            plane.install();
            plane.kubectl_ok(&["delete", "-k", &guard, "--ignore-not-found"]);
            restore_crds(plane);
            Site::new(plane, &format!("{name}-operator"), env.clone())
        });
        let sites: Vec<Site> = sites.collect();
        let steps = steps(procedure);
        let stage = Self {
            way,
            model,
            oracle,
            sites,
            name,
            dir,
            steps,
            done: Vec::new(),
            killer,
            _served: served,
            _front: front,
            _one: one,
        };
        stage.prepare_shell(&env);
        stage.oracle.sign_with(&Signer::of(FIRST).kid);
        stage
    }

    fn prepare_shell(&self, env: &[(String, String)]) {
        symlink(tool("controlplane/kubectl"), self.dir.join("bin/kubectl")).expect("a link");
        let aws = format!(
            "#!/bin/sh\nexec {} {} \"$@\"\n",
            tool("emulators/bin/python3").display(),
            project_root().join("tests/emulators/aws.py").display()
        );
        fs::write(self.dir.join("bin/aws"), aws).expect("a file");
        let executable = Command::new("chmod").arg("+x").arg(self.dir.join("bin/aws")).status();
        assert!(executable.is_ok_and(|status| status.success()));
        fs::write(self.dir.join("kubeconfig"), kubeconfig(&self.sites).to_string()).expect("a file");
        let mut exports = String::new();
        let path = format!("{}:{}", self.dir.join("bin").display(), std::env::var("PATH").expect("a PATH"));
        let (kubeconfig, home) = (self.dir.join("kubeconfig").display().to_string(), run_dir().display().to_string());
        let own = [
            ("PATH", path.as_str()),
            ("KUBECONFIG", &kubeconfig),
            ("HOME", &home),
            ("AWS_DEFAULT_REGION", REGION),
            ("OPERATOR", &self.sites[0].operator_namespace),
            ("NAMESPACE", &self.name),
            ("NAME", &self.name),
            ("INFRA_NAME", &self.name),
            ("OLD", "old"),
            ("NEW", "new"),
            ("CLUSTER", "old"),
        ];
        let of_aws = env.iter().filter(|(name, _)| name.starts_with("AWS_")).map(|(name, value)| (&**name, &**value));
        for (name, value) in own.into_iter().chain(of_aws) {
            exports += &format!("export {name}='{value}'\n");
        }
        fs::write(self.dir.join("state"), exports).expect("a file");
    }

    /// Sets a variable of the shell.
    pub fn set(&self, name: &str, value: &str) {
        let state = self.dir.join("state");
        let text = fs::read_to_string(&state).expect("the state") + &format!("export {name}='{value}'\n");
        fs::write(state, text).expect("a file");
    }

    /// Makes another context the shell's current one.
    pub fn use_context(&self, context: &str) {
        let mut config = kubeconfig(&self.sites);
        config["current-context"] = json!(context);
        fs::write(self.dir.join("kubeconfig"), config.to_string()).expect("a file");
    }

    /// Somebody deletes a request; the operator runs meanwhile.
    pub fn delete_request(&self, request: &str) {
        let plane = self.sites[0].plane;
        plane.kubectl_ok(&["delete", "credentialsrequest", request, "-n", &self.name, "--timeout=60s"]);
    }

    /// A path in the directory that the commands run in.
    pub fn path(&self, path: &str) -> String {
        self.dir.join(path).display().to_string()
    }

    /// Writes a file of the directory that the commands run in.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// The manifests of a cluster with these requests, each for a Secret `<request>-creds` of its namespace and `s3:GetObject`.
    pub fn manifests(&self, requests: &[&str], keys: &[&str], more: &str) {
        self.manifests_of("manifests", &self.name, &self.name, requests, keys, more);
    }

    /// The same for a ClusterIdentity of any name in any namespace.
    pub fn manifests_of(&self, dir: &str, namespace: &str, name: &str, requests: &[&str], keys: &[&str], more: &str) {
        let _ = fs::remove_dir_all(self.dir.join(dir));
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        self.write(&format!("{dir}/00-namespace.json"), &object.to_string());
        let signer = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "signer", "namespace": namespace, "labels": {"rolecall.dev/signing-key": "true"}},
            "data": {"key.pub": keys.concat()},
        });
        self.write(&format!("{dir}/10-signing-keys.json"), &signer.to_string());
        for request in requests {
            let yaml = crate::scene::request_yaml(namespace, request, namespace, "s3:GetObject");
            self.write(&format!("{dir}/20-request-{request}.yaml"), &yaml);
        }
        let yaml = format!(
            "apiVersion: rolecall.dev/v1alpha1\nkind: ClusterIdentity\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  infraName: {0}\n  region: {REGION}\n  aws: {{accountID: \"{ACCOUNT}\"}}\n  issuer:\n    retireKeysAfter: 15s\n    signingKeys:\n    - configMapRef: {{name: signer, key: key.pub}}\n  driftInterval: 1s\n{more}",
            self.name
        );
        self.write(&format!("{dir}/30-cluster-identity.yaml"), &yaml);
    }

    /// Has the oracle look after the components of these requests.
    pub fn look_after(&self, requests: &[&str]) {
        for request in requests {
            self.oracle.add(self.component(request));
        }
    }

    pub fn component(&self, request: &str) -> Component {
        Component {
            role: self.role_arn(request),
            subject: format!("system:serviceaccount:{}:{request}", self.name),
            allowed: vec![("s3:GetObject".into(), "arn:aws:s3:::any/thing".into())],
            issuer: format!("https://{}", self.issuer_host()),
        }
    }

    pub fn role_name(&self, request: &str) -> String {
        format!("{0}-{0}-{request}-creds", self.name)
    }

    pub fn role_arn(&self, request: &str) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role/{}", self.role_name(request))
    }

    pub fn bucket(&self) -> String {
        format!("{}-oidc", self.name)
    }

    pub fn issuer_host(&self) -> String {
        format!("{}.s3.{REGION}.amazonaws.com", self.bucket())
    }

    pub fn provider_arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{}", self.issuer_host())
    }

    /// A cluster that the old management cluster serves: applied, Ready and marked; nothing of it is watched before.
    pub fn serve(&mut self, requests: &[&str], keys: &[&str], more: &str) {
        self.manifests(requests, keys, more);
        let manifests = self.dir.join("manifests").display().to_string();
        self.sites[0].plane.kubectl_ok(&["apply", "-f", &manifests]);
        self.sites[0].look_after();
        self.look_after(requests);
        let roles: Vec<String> = requests.iter().map(|request| self.role_arn(request)).collect();
        self.eventually("a Secret for each component, and credentials with it", |stage| {
            let secrets = stage.secrets(&stage.sites[0]);
            for role in &roles {
                if let Some(why) = stage.oracle.why_not(role) {
                    return Err(why);
                }
                if !secrets.iter().any(|(_, named)| named == role) {
                    return Err(format!("no Secret names {role}"));
                }
            }
            Ok(())
        });
        self.await_settled(0);
        self.oracle.rebase();
    }

    /// Runs a step of the page; what it printed.
    pub fn run(&mut self, step: &str) -> String {
        let block = self.take(step);
        let printed = self.go_through(&block);
        self.done.push(block);
        printed
    }

    /// Runs a step of the page once more.
    pub fn again(&mut self, step: &str) -> String {
        let block = self.done.iter().find(|block| block.step() == step).expect("it was run").clone();
        self.go_through(&block)
    }

    /// Leaves a step of the page out: another of its ways is gone.
    pub fn skip(&mut self, step: &str) {
        self.take(step);
    }

    fn take(&mut self, step: &str) -> Block {
        let at = self.steps.iter().position(|block| block.step() == step);
        self.steps.remove(at.unwrap_or_else(|| panic!("the page has no further step {step}")))
    }

    fn go_through(&mut self, block: &Block) -> String {
        if self.way == Way::Killed {
            self.arm();
        }
        let printed = self.shell(block);
        if self.way == Way::Killed {
            self.sites.iter().for_each(Site::kill);
            self.sites.iter_mut().for_each(look_after_if_begun);
        }
        self.assert_unharmed(&block.name);
        printed
    }

    /// All steps of the page were gone through; all is well.
    pub fn finish(mut self) {
        assert!(self.steps.is_empty(), "steps of the page are left: {:?}", self.steps);
        self.eventually("the last step's end", |_| Ok(()));
        self.assert_unharmed("the end");
        let killed = self.killer.killed.load(Ordering::Relaxed);
        assert_eq!(killed > 0, self.way == Way::Killed, "killed with a write {killed} times");
    }

    fn arm(&self) {
        *self.killer.pids.lock().unwrap_or_else(PoisonError::into_inner) =
            self.sites.iter().filter_map(Site::pid).collect();
        *self.killer.armed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Runs commands with bash, and the operators meanwhile.
    fn shell(&mut self, block: &Block) -> String {
        let script = format!("set -euo pipefail\n. ./state\n{}\nexport -p > state.next\n", block.commands);
        let (out, err) = (self.dir.join("out"), self.dir.join("err"));
        let mut shell = Command::new("bash")
            .args(["-c", &script])
            .current_dir(&self.dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("a file"))
            .stderr(File::create(&err).expect("a file"))
            .spawn()
            .expect("bash");
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = shell.try_wait().expect("it can be waited for") {
                break status;
            }
            if begun.elapsed() > STEP {
                let _ = shell.kill();
                let _ = shell.wait();
                let printed =
                    fs::read_to_string(&out).unwrap_or_default() + &fs::read_to_string(&err).unwrap_or_default();
                panic!("{} takes too long:\n{}\n{printed}\n{}", block.name, block.commands, self.told());
            }
            self.sites.iter_mut().for_each(look_after_if_begun);
            std::thread::sleep(Duration::from_millis(200));
        };
        self.sites.iter_mut().for_each(look_after_if_begun);
        let (out, err) = [out, err].map(|path| fs::read_to_string(path).unwrap_or_default()).into();
        assert_eq!(
            status.code(),
            Some(block.exits),
            "{}:\n{}\n{out}{err}\n{}",
            block.name,
            block.commands,
            self.told()
        );
        if block.exits == 0 {
            fs::rename(self.dir.join("state.next"), self.dir.join("state")).expect("the shell's state");
            return out;
        }
        out + &err
    }

    /// Statuses and what AWS has, for the message of a failure.
    fn told(&self) -> String {
        let mut told = self.model.inventory().join("\n");
        for site in &self.sites {
            told += &site.plane.kubectl(&["get", "cid", "-A", "-o", "yaml"]).stdout;
        }
        told
    }

    /// Nobody has lost anything, and each Secret that there is names a role that its component gets.
    #[track_caller]
    pub fn assert_unharmed(&self, after: &str) {
        self.oracle.assert_nothing_lost(after);
        for site in &self.sites {
            for (secret, role) in self.secrets(site) {
                let why = self.oracle.why_not(&role);
                assert_eq!(why, None, "{after}: Secret {secret} names {role}");
            }
        }
    }

    /// The Secrets that Rolecall has written for the cluster: name, and the role that each names.
    pub fn secrets(&self, site: &Site) -> Vec<(String, String)> {
        let template = "go-template={{range .items}}{{if .data.credentials}}{{.metadata.name}} {{.data.credentials|base64decode}}{{\"\\n---\\n\"}}{{end}}{{end}}";
        let found = site.plane.kubectl(&["get", "secret", "-n", &self.name, "-o", template]).stdout;
        let each = found.split("\n---\n").filter_map(|text| {
            let (name, profile) = text.split_once(' ')?;
            let role = profile.lines().find_map(|line| line.strip_prefix("role_arn = "))?;
            Some((name.to_owned(), role.to_owned()))
        });
        each.collect()
    }

    /// Waits for something, and runs the operators meanwhile.
    #[track_caller]
    pub fn eventually<T>(&mut self, what: &str, mut probe: impl FnMut(&Self) -> Result<T, String>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            self.sites.iter_mut().for_each(look_after_if_begun);
            match probe(self) {
                Ok(value) => return value,
                Err(error) => assert!(Instant::now() < deadline, "{what}; last: {error}\n{}", self.told()),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The ClusterIdentity on a management cluster.
    pub fn identity(&self, site: usize) -> Value {
        self.sites[site].plane.get_json(&["cid", &self.name, "-n", &self.name])
    }

    /// Waits until all is as wanted, marks included.
    #[track_caller]
    pub fn await_settled(&mut self, site: usize) {
        self.eventually("Ready=True, and no mark to be set", |stage| {
            let object = stage.identity(site);
            crate::scene::condition_is(&object, "Ready", "True")?;
            let pending = &object["status"]["pendingMarks"];
            if pending.as_array().is_none_or(Vec::is_empty) { Ok(()) } else { Err(pending.to_string()) }
        });
    }

    /// Everything of the cluster in AWS carries the mark of this management cluster.
    #[track_caller]
    pub fn assert_marked_by(&self, site: usize) {
        let uid = crate::harm::cluster_uid(self.sites[site].plane);
        for role in self.model.roles(ACCOUNT) {
            let mark = role.tags.get("rolecall.dev/owner").cloned().unwrap_or_default();
            assert!(mark.starts_with(&uid), "{}: {mark}", role.arn);
        }
    }

    /// Changes to AWS since the log was last begun, past those that set a mark; begins it anew.
    pub fn changes(&self) -> Vec<String> {
        const MARKS: [&str; 3] = ["iam:TagRole", "iam:TagOpenIDConnectProvider", "s3:PutBucketTagging"];
        let is_read =
            |op: &str| ["Get", "List", "Head", "AssumeRole"].iter().any(|verb| op.contains(&format!(":{verb}")));
        let log = self.model.log().into_iter().filter(|call| call.outcome == "ok" && !is_read(call.op));
        let changes = log.filter(|call| !MARKS.contains(&call.op)).map(|call| format!("{} {}", call.op, call.target));
        let changes = changes.collect();
        self.model.keep_log(false);
        self.model.keep_log(true);
        changes
    }
}

/// One that was never started, or is lost, stays so.
fn look_after_if_begun(site: &mut Site) {
    if site.pid().is_some() {
        site.look_after();
    }
}

/// What the operator and the AWS CLI find.
fn environment(url: &str, front: &IssuerFront) -> Vec<(String, String)> {
    let key = access_key(ACCOUNT);
    let (proxy, ca) = (front.proxy_url(), front.ca_file().display().to_string());
    let env = [
        ("AWS_ENDPOINT_URL_IAM", url),
        ("AWS_ENDPOINT_URL_STS", url),
        ("AWS_ENDPOINT_URL_S3", url),
        ("AWS_ACCESS_KEY_ID", &key),
        ("AWS_SECRET_ACCESS_KEY", "any"),
        ("HTTPS_PROXY", &proxy),
        ("SSL_CERT_FILE", &ca),
        ("NO_PROXY", "127.0.0.1,localhost"),
    ];
    env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// A context `old`, the current one, and one `new`.
fn kubeconfig(sites: &[Site]) -> Value {
    let (mut clusters, mut users, mut contexts) = (Vec::new(), Vec::new(), Vec::new());
    for (name, site) in ["old", "new"].into_iter().zip(sites) {
        let text = fs::read_to_string(site.plane.admin_kubeconfig()).expect("a kubeconfig");
        let of: Value = serde_json::from_str(&text).expect("it is JSON");
        clusters.push(json!({"name": name, "cluster": of["clusters"][0]["cluster"]}));
        users.push(json!({"name": name, "user": of["users"][0]["user"]}));
        contexts.push(json!({"name": name, "context": {"cluster": name, "user": name}}));
    }
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "old",
        "clusters": clusters, "users": users, "contexts": contexts,
    })
}
