//! A real API server with everything that an operator finds there: its kinds, its permissions, and requests.

use std::fs;
use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use rolecall::api::{ClusterIdentity, CredentialsRequest};
use serde_json::{Value, json};

use crate::audit;
use crate::requests::{NAME, NAMESPACES, identity_spec, key_pem, request_name, request_spec, secret_namespace};
use crate::support::controlplane::{ControlPlane, Schema};
use crate::support::process::run_dir;

/// How many objects are created side by side.
const SIDE_BY_SIDE: usize = 16;

pub struct Cluster {
    plane: ControlPlane,
    client: Client,
    /// Where its audit log is.
    pub dir: PathBuf,
}

impl Cluster {
    /// A control plane with as many requests, and no operator yet.
    pub async fn start(count: usize, drift_interval: &str) -> Self {
        let name = format!("bench-{count}");
        let plane = ControlPlane::start(&name, Schema::Rolecall);
        let dir = run_dir().join(name);
        plane.stop();
        fs::write(dir.join("audit-policy.yaml"), audit::POLICY).expect("the audit policy");
        plane.start_again();
        plane.install();
        let kubeconfig = Kubeconfig::read_from(plane.admin_kubeconfig()).expect("the admin's kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a configuration")).expect("a client");
        let cluster = Self { plane, client, dir };
        cluster.fill(count, drift_interval).await;
        cluster
    }

    pub fn operator_kubeconfig(&self) -> PathBuf {
        self.plane.operator_kubeconfig(NAME)
    }

    async fn fill(&self, count: usize, drift_interval: &str) {
        let own = [NAME.to_owned()].into_iter();
        let namespaces = own.chain((0..NAMESPACES.min(count)).map(secret_namespace));
        let api = Api::all_with(self.client.clone(), &ApiResource::erase::<Namespace>(&()));
        create(&api, namespaces.map(|name| object("v1", "Namespace", "", &name, &json!({})))).await;
        let mut signer = object("v1", "Secret", NAME, "signer", &json!({"stringData": {"key.pub": key_pem()}}));
        signer["metadata"]["labels"] = json!({"rolecall.dev/signing-key": "true"});
        create(&self.own::<Secret>(), [signer].into_iter()).await;
        let requests = (0..count).map(|number| {
            let more = json!({"spec": request_spec(number, 0)});
            object("cloudcredential.openshift.io/v1", "CredentialsRequest", NAME, &request_name(number), &more)
        });
        create(&self.own::<CredentialsRequest>(), requests).await;
        let more = json!({"spec": identity_spec(drift_interval)});
        let identity = object("rolecall.dev/v1alpha1", "ClusterIdentity", NAME, NAME, &more);
        create(&self.own::<ClusterIdentity>(), [identity].into_iter()).await;
    }

    fn own<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), NAME, &ApiResource::erase::<K>(&()))
    }

    /// Changes what one request asks for.
    pub async fn change(&self, number: usize, revision: usize) {
        let patch = Patch::Merge(json!({"spec": request_spec(number, revision)}));
        let api = self.own::<CredentialsRequest>();
        api.patch(&request_name(number), &PatchParams::default(), &patch).await.expect("a patch");
    }
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str, more: &Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

/// Creates objects as they are written here, side by side.
async fn create(api: &Api<DynamicObject>, objects: impl Iterator<Item = Value>) {
    let created =
        stream::iter(objects).map(Ok::<_, kube::Error>).try_for_each_concurrent(SIDE_BY_SIDE, |object| async {
            let object: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
            api.create(&PostParams::default(), &object).await.map(drop)
        });
    created.await.expect("objects that the API server takes");
}
