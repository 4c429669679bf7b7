//! kube-controller-manager with its namespace controller alone: what empties a namespace that is deleted, and ends it.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::controlplane::ControlPlane;
use super::process::{Process, run_dir, tool};

/// A running controller manager.
pub struct ControllerManager {
    _process: Mutex<Process>,
}

impl ControllerManager {
    /// The one of this test binary; starts it the first time. Before that, deleted namespaces stay as they are.
    pub fn shared() -> &'static ControllerManager {
        static SHARED: OnceLock<ControllerManager> = OnceLock::new();
        SHARED.get_or_init(|| ControllerManager::start(ControlPlane::shared(), "controller-manager"))
    }

    /// One for a control plane of the test's own; `name` is that of its log.
    pub fn start(cluster: &ControlPlane, name: &str) -> ControllerManager {
        let args = [
            format!("--kubeconfig={}", cluster.admin_kubeconfig().display()),
            "--controllers=namespace-controller".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        let log = run_dir().join(format!("{name}.log"));
        let program = tool("controller-manager/kube-controller-manager");
        let mut process = Process::start("kube-controller-manager", &program, args, &[], &log);
        // It serves no port here: what it can do is the sign that it is ready.
        cluster.ensure_namespace("controller-manager");
        cluster.kubectl_ok(&["delete", "ns", "controller-manager", "--wait=false"]);
        let gone = || !cluster.kubectl(&["get", "ns", "controller-manager"]).success();
        process.wait_until(Duration::from_mins(4), gone);
        ControllerManager { _process: Mutex::new(process) }
    }
}
