//! Passes as `controller/pass.rs` makes them, without a cluster: desire, observe, plan, carry out.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method};
use rolecall::apply::{Evidence, Targets, carry_out};
use rolecall::aws::meter::Meter;
use rolecall::aws::observe::{Extent, observe};
use rolecall::aws::snapshot::Freshness;
use rolecall::aws::{Access, Connection};
use rolecall::desired::{Inputs, desire};
use rolecall::observed::{Fetched, FetchedDocuments};
use rolecall::plan::{Prior, Subject, plan};
use tokio::time::Instant;

use crate::model::{ACCOUNT, Model, Request, Rule, Trouble};
use crate::requests::{REGION, inputs};

/// An account, and what the controller keeps between passes.
pub struct Work {
    pub model: Model,
    pub inputs: Inputs,
    connection: Connection,
    prior: Prior,
}

/// A pass that was made.
pub struct Passed {
    pub evidence: Evidence,
    /// Documents that were fetched without credentials.
    pub anonymous: u64,
    pub took: Duration,
}

impl Work {
    /// An empty account that answers so much later, for so many requests.
    pub fn new(count: usize, latency: Duration) -> Self {
        let model = Model::new(1);
        model.set_quotas(ACCOUNT, |quotas| quotas.roles = 100_000);
        if !latency.is_zero() {
            model.add_rule(Rule::always("*", Trouble::Delay(latency)));
        }
        Self { connection: connect(&model), model, inputs: inputs(count), prior: Prior::default() }
    }

    /// Nothing but the statuses is left, as after a restart.
    pub fn restart(&mut self) {
        self.connection = connect(&self.model);
        self.prior.settling = rolecall::plan::Settling::default();
    }

    pub async fn pass(&mut self, freshness: Freshness) -> Passed {
        let begun = Instant::now();
        let session = self.connection.open(&Access::of(&self.inputs.spec)).await.expect("the model knows the key");
        let desired = desire(&self.inputs).expect("the spec is right");
        let url = desired.issuer.url.clone();
        let published = [Subject::Discovery, Subject::Keys].iter().all(|part| self.prior.verified.contains_key(part));
        let mut fetched = if published { Some(fetch(&self.model, &url).await) } else { None };
        let other_providers = self.prior.verified.is_empty();
        let extent = Extent { freshness, other_providers };
        let aws = Box::pin(observe(&session, &desired, fetched.as_ref(), extent)).await;
        if fetched.is_none() && aws.has_documents() {
            fetched = Some(fetch(&self.model, &url).await);
        }
        let anonymous = if fetched.is_some() { 2 } else { 0 };
        let observed = aws.with_fetched(&session, fetched);
        let plan = plan(&desired, &observed, &self.prior);
        let evidence = Box::pin(carry_out(&Targets { aws: &session, cluster: None, until: None }, plan)).await;
        self.remember(&evidence);
        Passed { evidence, anonymous, took: begun.elapsed() }
    }

    fn remember(&mut self, evidence: &Evidence) {
        let plan = evidence.plan();
        let verified = plan.fingerprints.iter().filter(|(subject, _)| plan.is_true(subject));
        self.prior.verified.extend(verified.map(|(subject, print)| (subject.clone(), print.clone())));
        self.prior.settling = evidence.settling(self.inputs.now);
    }
}

fn connect(model: &Model) -> Connection {
    Connection::with(&model.sdk_config(ACCOUNT, REGION), Meter::default())
}

async fn fetch(model: &Model, url: &str) -> FetchedDocuments {
    let (discovery, keys) = tokio::join!(
        document(model, format!("{url}/.well-known/openid-configuration")),
        document(model, format!("{url}/keys.json")),
    );
    FetchedDocuments { discovery, keys }
}

async fn document(model: &Model, url: String) -> Fetched {
    let uri = url.parse().expect("a URL");
    let request = Request { method: Method::GET, uri, headers: HeaderMap::new(), body: Bytes::new() };
    let Some(answer) = model.call(request).await else { return Fetched::Unreachable("no answer".into()) };
    if answer.status != 200 {
        return Fetched::Status(answer.status);
    }
    let content_type = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    Fetched::Body {
        body: answer.body.to_vec(),
        content_type: content_type.map(|(_, value)| value.clone()),
        etag: None,
        revision: None,
    }
}
