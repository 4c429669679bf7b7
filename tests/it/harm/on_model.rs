//! A scene whose AWS is the model, behind a port: for what the emulators cannot tell or do.

use std::time::Duration;

use super::*;
use crate::model::{Model, Served, access_key};
use crate::scene::ACCOUNT;

pub const DAY: Duration = Duration::from_hours(24);

/// A scene on the model, behind a port.
pub struct OnModel {
    pub scene: Scene,
    pub model: Model,
    _served: Served,
    _front: IssuerFront,
}

impl OnModel {
    /// Everything is Ready; all roles are a month old and were never used.
    pub fn ready(name: &str, guardrails: &str, requests: &[&str]) -> Self {
        let model = Model::new(1);
        let served = block_on(model.serve());
        let front = IssuerFront::before(&served.url(), &[]);
        let mut scene = Scene::new(name);
        specify(&scene, guardrails, DELETE);
        for request in requests {
            scene.request(request);
        }
        let (url, key, proxy) = (served.url(), access_key(ACCOUNT), front.proxy_url());
        let ca = front.ca_file().display().to_string();
        let home = scene.cluster.operator_kubeconfig(&format!("{name}-operator")).display().to_string();
        let endpoints = ["AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_S3"];
        let mut env: Vec<(&str, &str)> = endpoints.map(|endpoint| (endpoint, url.as_str())).to_vec();
        env.extend([("AWS_ACCESS_KEY_ID", key.as_str()), ("AWS_SECRET_ACCESS_KEY", "any")]);
        env.extend([("HTTPS_PROXY", proxy.as_str()), ("SSL_CERT_FILE", &ca), ("NO_PROXY", "127.0.0.1,localhost")]);
        env.push(("KUBECONFIG", &home));
        let mut operator = Operator::start(scene.cluster, name, &scene.proxy, None, &SETTLED, &env);
        operator.wait_ready(SOON);
        scene.operator = Some(operator);
        await_settled(&scene);
        let on_model = Self { scene, model, _served: served, _front: front };
        for request in requests {
            on_model.made(request, 30 * DAY);
        }
        on_model
    }

    /// The role of a request was made so long ago.
    pub fn made(&self, request: &str, ago: Duration) {
        assert!(self.model.role_created(ACCOUNT, &self.scene.role_name(request), self.model.today() - ago));
    }
}
