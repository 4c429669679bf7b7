//! A management cluster: an API server, and what of a node is needed to run the operator by its Deployment.

use std::fs;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::{Value, json};

use crate::ended::SETTLED;
use crate::support::process::{kill9, project_root};
use crate::support::{ControlPlane, Emulators, Operator, Proxy};

/// A management cluster.
pub struct Site {
    pub plane: &'static ControlPlane,
    /// The operator's namespace.
    pub operator_namespace: String,
    env: Vec<(String, String)>,
    generation: Option<i64>,
    operator: Option<Operator>,
}

impl Site {
    /// With a Deployment of Rolecall, not yet run.
    pub fn new(plane: &'static ControlPlane, operator_namespace: &str, env: Vec<(String, String)>) -> Self {
        plane.install();
        let _ = plane.operator_kubeconfig(operator_namespace);
        let base = fs::read_to_string(project_root().join("deploy/base/deployment.yaml")).expect("the Deployment");
        plane.apply_ok(&base.replace("rolecall-system", operator_namespace));
        let operator_namespace = operator_namespace.to_owned();
        Self { plane, operator_namespace, env, generation: None, operator: None }
    }

    /// Does what a node does: runs the operator as its Deployment says, and starts it again when it has ended.
    pub fn look_after(&mut self) {
        let namespace = self.operator_namespace.clone();
        let found = self.plane.kubectl(&["get", "deployment", "rolecall", "-n", &namespace, "-o", "json"]);
        // Its API server may be down.
        let Ok(deployment) = serde_json::from_str::<Value>(&found.stdout) else { return };
        let generation = deployment["metadata"]["generation"].as_i64();
        let ended = self.operator.as_mut().is_none_or(|operator| operator.exited().is_some());
        if self.generation == generation && !ended {
            return;
        }
        if self.generation != generation
            && let Some(mut operator) = self.operator.take()
        {
            operator.terminate();
        }
        self.operator = None;
        self.start(&deployment);
        self.generation = generation;
        self.tell_rolled_out(generation);
    }

    fn start(&mut self, deployment: &Value) {
        let set = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().into_iter().flatten();
        let set = set.filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)));
        let env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (&**name, &**value)).chain(set).collect();
        let namespace = &self.operator_namespace;
        let operator = Operator::start_unscoped(self.plane, namespace, unused_proxy(), None, &SETTLED, &env);
        self.operator = Some(operator);
        let begun = Instant::now();
        // It may be killed while it starts.
        while begun.elapsed() < crate::scene::SOON {
            let operator = self.operator.as_mut().expect("it was started");
            if operator.exited().is_some() || operator.is_ready() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("the operator is not ready");
    }

    /// What a Deployment's controller writes once all replicas are new, for `kubectl rollout status`.
    fn tell_rolled_out(&self, generation: Option<i64>) {
        let status = json!({"status": {
            "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        }})
        .to_string();
        let namespace = &self.operator_namespace;
        let patch = ["patch", "deployment", "rolecall", "-n", namespace, "--subresource=status", "--type=merge", "-p"];
        self.plane.kubectl_ok(&[&patch[..], &[&status]].concat());
    }

    /// Sets a variable of the operator in its Deployment.
    pub fn set_env(&self, name: &str, value: &str) {
        let variable = format!("{name}={value}");
        let namespace = &self.operator_namespace;
        self.plane.kubectl_ok(&["set", "env", "deployment/rolecall", "-n", namespace, &variable]);
    }

    pub fn pid(&self) -> Option<u32> {
        self.operator.as_ref().map(Operator::pid)
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(pid) = self.pid() {
            kill9(pid);
        }
    }

    /// Ends the operator until it is looked after again.
    pub fn pause(&mut self) {
        self.generation = None;
        if let Some(mut operator) = self.operator.take() {
            operator.terminate();
        }
    }

    /// It is gone for good: node and all.
    pub fn lose(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            operator.kill9();
        }
    }
}

/// All calls go to the model instead.
fn unused_proxy() -> &'static Proxy {
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    PROXY.get_or_init(|| Proxy::start(Emulators::shared()))
}
