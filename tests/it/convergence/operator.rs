//! The operator as the controller drives it: passes, their delays, and what each leaves behind for the next one. What a process
//! remembers is apart from what Kubernetes keeps, since a process may die. Statuses are the controller's own; a cluster that
//! holds Secrets is there only where a test gives one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use rolecall::api::cluster_identity::{DeletionPolicy, ManagementPolicy};
use rolecall::api::{
    ClusterIdentity, ClusterIdentityStatus, CredentialsRequest, CredentialsRequestSpec, CredentialsRequestStatus,
};
use rolecall::apply::{Evidence, Targets, carry_out};
use rolecall::aws::meter::Meter;
use rolecall::aws::observe::{Extent, observe, observe_teardown};
use rolecall::aws::snapshot::Freshness;
use rolecall::aws::{Access, Connection, Session};
use rolecall::controller::outcome::Outcome;
use rolecall::controller::verdicts::{outcome, states};
use rolecall::controller::{self, Live, gather, provisioned, request_status, status};
use rolecall::desired::consent::Consents;
use rolecall::desired::keys::{Held, KeySource};
use rolecall::desired::owner::{Owner, Owners};
use rolecall::desired::request::RequestId;
use rolecall::desired::secret::{IDENTITY_ANNOTATION, SecretKey};
use rolecall::desired::{Desired, Inputs, RequestInput, desire, teardown as desired_teardown};
use rolecall::kubernetes;
use rolecall::observed::{Fault, Fetched, FetchedDocuments, LeftoverSecret, Observed, SecretState, Seen};
use rolecall::plan::teardown::is_held_by_use;
use rolecall::plan::{Obstacle, Prior, Settling, Subject, plan, teardown as plan_teardown};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::wishes::{REGION, Wish};
use crate::model::{ACCOUNT, Model};

/// As `--aws-settle-time` has it by default.
const SETTLE_TIME: Duration = Duration::from_secs(30);
const PEM: &str = include_str!("../../keys/first.pub");
/// The management cluster's uid.
pub const HUB: &str = "hub-uid";
const GENERATION: Option<i64> = Some(1);

/// What Kubernetes holds of a ClusterIdentity.
#[derive(Debug, Clone)]
pub struct Stored {
    pub wish: Wish,
    pub status: Status,
    /// The ClusterIdentity's.
    pub annotations: BTreeMap<String, String>,
    pub uid: String,
    pub created: Option<Timestamp>,
}

/// The statuses.
#[derive(Debug, Clone, Default)]
pub struct Status {
    identity: ClusterIdentityStatus,
    pub requests: BTreeMap<RequestId, CredentialsRequestStatus>,
    /// The ClusterIdentity's as it was written in the midst of a pass, after the one above.
    begun: Arc<Mutex<Option<ClusterIdentityStatus>>>,
}

impl Status {
    fn new(identity: ClusterIdentityStatus, requests: BTreeMap<RequestId, CredentialsRequestStatus>) -> Self {
        Self { identity, requests, begun: Arc::default() }
    }

    /// The ClusterIdentity's.
    pub fn identity(&self) -> ClusterIdentityStatus {
        self.begun.lock().expect("nobody panicked").clone().unwrap_or_else(|| self.identity.clone())
    }

    /// The same as it stands now, whatever is written into the other one later.
    pub fn copied(&self) -> Self {
        Self::new(self.identity(), self.requests.clone())
    }

    /// Whether a part of the issuer was seen to be right.
    pub fn has_verified(&self, part: &str) -> bool {
        self.identity().verified.contains_key(part)
    }
}

impl Stored {
    pub fn new(wish: Wish) -> Self {
        let (status, annotations) = (Status::default(), BTreeMap::new());
        Self { wish, status, annotations, uid: "identity-uid".to_owned(), created: None }
    }

    /// Another wish. A request that is gone has taken its status along.
    pub fn change(&mut self, wish: Wish) {
        self.status.requests.retain(|id, _| wish.requests.iter().any(|request| request.id == *id));
        self.wish = wish;
    }

    /// `namespace/name` of the ClusterIdentity.
    pub fn name(&self) -> String {
        format!("prod/{}", self.wish.spec.infra_name)
    }

    /// Its mark in AWS.
    pub fn mark(&self) -> String {
        format!("{HUB}.{}", self.uid)
    }

    fn identity(&self) -> ClusterIdentity {
        let mut identity = ClusterIdentity::new(&self.wish.spec.infra_name, self.wish.spec.clone());
        identity.metadata.namespace = Some("prod".to_owned());
        identity.metadata.uid = Some(self.uid.clone());
        identity.metadata.generation = GENERATION;
        identity.metadata.creation_timestamp = self.created.map(Time);
        identity.metadata.annotations = Some(self.annotations.clone());
        identity.status = Some(self.status.identity());
        identity
    }

    /// The requests' objects, as the controller has them: without their specs.
    fn objects(&self) -> BTreeMap<RequestId, CredentialsRequest> {
        let object = |request: &RequestInput| {
            let mut object = CredentialsRequest::new(&request.id.name, CredentialsRequestSpec::default());
            object.metadata.namespace = Some(request.id.namespace.clone());
            object.status = self.status.requests.get(&request.id).cloned();
            (request.id.clone(), object)
        };
        self.selected().map(object).collect()
    }

    /// The requests that the ClusterIdentity selects; each carries its name as a label.
    fn selected(&self) -> impl Iterator<Item = &RequestInput> {
        let identity = self.identity();
        self.wish.requests.iter().filter(move |request| {
            let labels = BTreeMap::from([("component".to_owned(), request.id.name.clone())]);
            controller::selects(&identity, &request.id.namespace, &labels)
        })
    }

    fn requests(&self) -> Vec<RequestInput> {
        let with_status = |request: &RequestInput| {
            let has = self.status.requests.get(&request.id).and_then(gather::provisioned);
            RequestInput { has, ..request.clone() }
        };
        self.selected().map(with_status).collect()
    }

    fn owners(&self) -> Owners {
        let consents = Consents::of(&self.annotations);
        Owners {
            own: Some(Owner { cluster: HUB.to_owned(), identity: self.uid.clone() }),
            others: BTreeMap::new(),
            complete: true,
            take_over_from: consents.named(rolecall::api::TAKE_OVER_FROM).map(str::to_owned).collect(),
        }
    }

    fn consents(&self) -> Consents {
        Consents::of(&self.annotations)
    }
}

/// A process, as long as it lives.
pub struct Operator {
    model: Model,
    cluster: Option<(Cluster, Client)>,
    aws: Arc<Connection>,
    settling: Settling,
    /// `status.lastChangedTime` as this process has set it; as the controller remembers it.
    own_change: Option<String>,
    provisioned: provisioned::Known,
    /// The provider beside which the account was seen to have no other of the cluster.
    without_other_providers: Option<String>,
    begun: Instant,
    /// Unsettled passes in a row.
    unsettled: u32,
    /// When there was last something that reads may not show.
    changed: Option<Instant>,
    /// Whether passes are made because they are due, and not because something has happened.
    pub due: bool,
    /// How long after its beginning a pass begins changes.
    pub time_to_begin: Option<Duration>,
    /// How far the process's clock is ahead.
    pub skew: SignedDuration,
}

/// What came of a pass.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    /// The status to be written.
    pub status: Status,
    /// When the next pass is due, when nothing causes one before.
    pub delay: Duration,
    /// What was called drift.
    pub drift: Vec<String>,
    /// What stood in the way, what failed, what was made.
    pub told: Vec<String>,
}

impl Operator {
    pub fn start(model: &Model) -> Self {
        let aws = Connection::with(&model.sdk_config(ACCOUNT, REGION), Meter::default());
        Self::sharing(model, Arc::new(aws))
    }

    /// One with a cluster to look in.
    pub fn start_in(model: &Model, cluster: &Cluster) -> Self {
        Self { cluster: Some((cluster.clone(), cluster.client())), ..Self::start(model) }
    }

    /// One that shares its way into AWS with others, as the passes of one process do.
    pub fn sharing(model: &Model, aws: Arc<Connection>) -> Self {
        Self {
            model: model.clone(),
            cluster: None,
            aws,
            settling: Settling::default(),
            own_change: None,
            provisioned: provisioned::Known::new(),
            without_other_providers: None,
            begun: Instant::now(),
            unsettled: 0,
            changed: None,
            due: false,
            time_to_begin: None,
            skew: SignedDuration::ZERO,
        }
    }

    /// Makes a pass.
    pub async fn pass(&mut self, stored: &Stored) -> Ended {
        let previous = stored.status.identity();
        match Box::pin(self.look_and_act(stored)).await {
            Err(outcome) => self.without_plan(stored, outcome),
            Ok((desired, evidence)) => {
                let unjudged = BTreeMap::new();
                let states = states(&desired, &evidence, &unjudged);
                let outcome = outcome(&evidence, &states);
                let now = self.now();
                let next = status::after_pass(&previous, GENERATION, &desired, &evidence, &states, &outcome, now);
                if next.last_changed_time != previous.last_changed_time {
                    self.own_change.clone_from(&next.last_changed_time);
                }
                let live = Live {
                    roll_calls: Vec::new(),
                    unread: None,
                    surplus: BTreeMap::new(),
                    effectiveness: BTreeMap::new(),
                };
                let mut requests = stored.status.requests.clone();
                for state in &states {
                    let previous = requests.get(state.id).cloned().unwrap_or_default();
                    // What is about to be looked at again is told then.
                    if matches!(outcome, Outcome::Changed { .. }) && previous.conditions.is_empty() {
                        continue;
                    }
                    let next = request_status::after_pass(
                        &previous,
                        GENERATION,
                        state,
                        (&desired.identity, evidence.plan(), &live),
                        now,
                    );
                    requests.insert(state.id.clone(), next);
                }
                let due = Self::due_after(&desired, &evidence, now);
                let mut ended = self.ended(stored, outcome, Status::new(next, requests), Some(&evidence));
                ended.delay = self.no_later(ended.delay, due);
                ended
            }
        }
    }

    /// Makes a pass over what is being deleted.
    pub async fn teardown(&mut self, stored: &Stored) -> Ended {
        let spec = &stored.wish.spec;
        if spec.deletion_policy != DeletionPolicy::Delete || spec.management_policy != ManagementPolicy::Enforce {
            return self.ended(stored, Outcome::LetGo, stored.status.clone(), None);
        }
        match Box::pin(self.look_and_tear_down(stored)).await {
            Err(outcome) => self.without_plan(stored, outcome),
            Ok(evidence) => {
                let outcome = outcome(&evidence, &[]);
                if is_held_by_use(evidence.plan(), stored.status.identity().teardown_time.is_some()) {
                    // What is in use, or may be, is not taken away, and goes on being served.
                    let served = self.pass(stored).await;
                    let previous = served.status.identity();
                    let message = status::summarise(&status::problems(&evidence, &[]));
                    let next = status::held_while_in_use(&previous, GENERATION, &outcome, &message, self.now());
                    let status = Status::new(next, served.status.requests);
                    let told = [told(&evidence), served.told].concat();
                    return Ended { outcome, status, told, ..served };
                }
                let wait = self.unsettled_for();
                let is_gone = outcome == Outcome::Verified;
                let outcome = match (is_gone, wait) {
                    (true, None) => Outcome::LetGo,
                    (true, Some(_)) => Outcome::Settling,
                    _ => outcome,
                };
                let due = match outcome {
                    Outcome::Changed { .. } => Some(self.now()),
                    Outcome::Settling => evidence.plan().settling.next_expiry(SETTLE_TIME),
                    _ => None,
                };
                let status = self.status_of_teardown(stored, &evidence, &outcome, is_gone);
                let mut ended = self.ended(stored, outcome, status, Some(&evidence));
                ended.delay = self.no_later(ended.delay, due);
                if let (true, Some(wait)) = (is_gone, wait) {
                    ended.delay = ended.delay.min(wait + Duration::from_millis(500));
                }
                ended
            }
        }
    }

    fn status_of_teardown(&self, stored: &Stored, evidence: &Evidence, outcome: &Outcome, is_gone: bool) -> Status {
        let (previous, now) = (stored.status.identity(), self.now());
        let next = if is_gone {
            status::held_in_teardown(&previous, GENERATION, outcome, "", now)
        } else {
            status::during_teardown(&previous, GENERATION, evidence, outcome, now)
        };
        let told = *outcome == Outcome::LetGo || !is_gone;
        let gone = |status: &CredentialsRequestStatus| {
            if told { request_status::deprovisioned(status, GENERATION, &stored.name(), now) } else { status.clone() }
        };
        Status::new(next, stored.status.requests.iter().map(|(id, status)| (id.clone(), gone(status))).collect())
    }

    /// Gives up a pass that took too long.
    pub fn timed_out(&mut self, stored: &Stored) -> Ended {
        let now = self.now();
        self.settling.may_have_made(now);
        self.settling.changed_unknown(now);
        self.ended(stored, Outcome::TimedOut, stored.status.clone(), None)
    }

    async fn look_and_act(&mut self, stored: &Stored) -> Result<(Desired, Evidence), Outcome> {
        let until = self.time_to_begin.map(|time| Instant::now() + time);
        let (identity, objects) = (stored.identity(), stored.objects());
        let (keys, keys_unread) = self.keys(stored).await;
        let session = self.session(stored).await.map_err(Outcome::NoAccount)?;
        let account = &session.account.id;
        gather::refuse_other_account(&identity, &objects, account).map_err(Outcome::Refused)?;
        let now = self.now();
        let mut inputs = gather::inputs(&identity, account, keys, stored.requests(), stored.owners(), now);
        provisioned::restore(&mut inputs.requests, self.provisioned.values());
        let provisioned = provisioned::no_longer_asked_for(&inputs, Some(&self.provisioned));
        let inputs = Inputs { provisioned, ..inputs };
        let desired = desire(&inputs).map_err(Outcome::Refused)?;
        let settling = self.settled(&identity.status.clone().unwrap_or_default());
        let prior = Prior { settling, ..gather::prior(&identity, &objects) };
        let mut observed = Box::pin(self.look(stored, &session, &desired, &prior)).await;
        observed.keys_unread = keys_unread;
        let plan = plan(&desired, &observed, &prior);
        let before = stored.status.identity();
        let begun = status::begun(&before, &desired, &plan, now);
        if begun != before {
            self.write_ahead(stored, begun).await;
        }
        let client = self.cluster.as_ref().map(|(_, client)| client);
        let evidence = Box::pin(carry_out(&Targets { aws: &session, cluster: client, until }, plan)).await;
        self.settling = evidence.settling(self.now());
        if !self.settling.is_empty() {
            self.changed = Some(Instant::now());
        }
        if desired.management == ManagementPolicy::Enforce {
            provisioned::remember(&mut self.provisioned, &desired, &evidence);
        } else {
            self.provisioned.clear();
        }
        Ok((desired, evidence))
    }

    /// Writes the status before the changes are made.
    async fn write_ahead(&self, stored: &Stored, begun: ClusterIdentityStatus) {
        let write = || *stored.status.begun.lock().expect("nobody panicked") = Some(begun);
        match &self.cluster {
            Some((cluster, _)) => cluster.write_status(write).await,
            None => write(),
        }
    }

    async fn look_and_tear_down(&mut self, stored: &Stored) -> Result<Evidence, Outcome> {
        let until = self.time_to_begin.map(|time| Instant::now() + time);
        let session = self.session(stored).await.map_err(Outcome::NoAccount)?;
        let (identity, account) = (stored.identity(), &session.account.id);
        gather::refuse_other_account(&identity, &BTreeMap::new(), account).map_err(Outcome::Refused)?;
        let (name, consents) = (stored.name(), stored.consents());
        let doomed = desired_teardown(&name, &identity.spec, account, stored.owners(), &consents, self.now());
        let doomed = doomed.map_err(Outcome::Refused)?;
        let observed = Box::pin(observe_teardown(&session, &doomed)).await;
        let mut settling = self.settled(&stored.status.identity());
        if self.begun.elapsed() < SETTLE_TIME {
            settling.may_have_made(self.began());
        }
        let prior = Prior { settling, ..gather::prior(&identity, &BTreeMap::new()) };
        let plan = plan_teardown(&doomed, &observed, &self.leftover_secrets(&name), &prior);
        let client = self.cluster.as_ref().map(|(_, client)| client);
        let evidence = Box::pin(carry_out(&Targets { aws: &session, cluster: client, until }, plan)).await;
        self.settling = evidence.settling(self.now());
        Ok(evidence)
    }

    async fn session(&self, stored: &Stored) -> Result<Session, Fault> {
        self.aws.open(&Access::of(&stored.wish.spec)).await
    }

    async fn keys(&self, stored: &Stored) -> (Vec<KeySource>, Option<Fault>) {
        match &self.cluster {
            Some((_, client)) => {
                kubernetes::keys::read_all(client, "prod", &stored.wish.spec.issuer.signing_keys).await
            }
            None => (vec![KeySource { origin: "Secret signer".to_owned(), held: Ok(Held::Entry(PEM.into())) }], None),
        }
    }

    async fn look(&mut self, stored: &Stored, session: &Session, desired: &Desired, prior: &Prior) -> Observed {
        let url = &desired.issuer.url;
        let published = [Subject::Discovery, Subject::Keys].iter().all(|part| prior.verified.contains_key(part));
        let mut fetched = if published { Some(self.fetch(url).await) } else { None };
        let freshness = if self.due {
            Freshness::due(stored.wish.spec.drift_interval.0, self.changed, SETTLE_TIME)
        } else {
            Freshness::from_now_on()
        };
        let fingerprint = desired.issuer.discovery.fingerprint(&desired.issuer.bucket);
        let other_providers = prior.verified.get(&Subject::Discovery) != Some(&fingerprint)
            && self.without_other_providers.as_ref() != Some(&desired.issuer.provider.arn);
        let extent = Extent { freshness, other_providers };
        let aws = Box::pin(observe(session, desired, fetched.as_ref(), extent)).await;
        if fetched.is_none() && aws.has_documents() {
            fetched = Some(self.fetch(url).await);
        }
        if aws.has_no_other_provider(desired) {
            self.without_other_providers = Some(desired.issuer.provider.arn.clone());
        }
        let mut observed = aws.with_fetched(session, fetched);
        observed.leftovers.secrets = self.leftover_secrets(&desired.identity);
        observed.secrets = self.secrets(desired).await;
        observed
    }

    async fn secrets(&self, desired: &Desired) -> BTreeMap<SecretKey, Seen<SecretState>> {
        let Some((cluster, client)) = &self.cluster else { return BTreeMap::new() };
        let mut secrets = BTreeMap::new();
        for key in desired.secrets_to_read() {
            let seen = match kubernetes::secrets::read(client, &key).await {
                Ok(Some(secret)) => Seen::Known(SecretState::Present(secret)),
                Ok(None) if cluster.has_namespace(&key.namespace) => Seen::Known(SecretState::Absent),
                Ok(None) => Seen::Known(SecretState::NamespaceMissing),
                Err(fault) => Seen::Unknown(fault),
            };
            secrets.insert(key, seen);
        }
        secrets
    }

    /// The Secrets that carry the ClusterIdentity's name, as the watch has them.
    fn leftover_secrets(&self, identity: &str) -> Vec<LeftoverSecret> {
        let Some((cluster, _)) = &self.cluster else { return Vec::new() };
        let of_identity = cluster.secrets().into_iter().filter_map(|(place, secret)| {
            let (meta, annotations) = (&secret["metadata"], &secret["metadata"]["annotations"]);
            let (namespace, name) = place.split_once('/')?;
            let key = SecretKey { namespace: namespace.to_owned(), name: name.to_owned() };
            let labelled = meta["labels"]["app.kubernetes.io/managed-by"] == "rolecall";
            (labelled && annotations[IDENTITY_ANNOTATION] == identity).then(|| LeftoverSecret {
                mark: annotations["rolecall.dev/owner"]
                    .as_str()
                    .and_then(|mark| mark.strip_suffix(&format!(":{place}")))
                    .map(str::to_owned),
                key,
                uid: meta["uid"].as_str().unwrap_or_default().to_owned(),
                resource_version: meta["resourceVersion"].as_str().unwrap_or_default().to_owned(),
            })
        });
        of_identity.collect()
    }

    async fn fetch(&self, url: &str) -> FetchedDocuments {
        FetchedDocuments {
            discovery: self.get(format!("{url}/.well-known/openid-configuration")).await,
            keys: self.get(format!("{url}/keys.json")).await,
        }
    }

    async fn get(&self, url: String) -> Fetched {
        let Some(answer) = self.model.fetch(&url).await else {
            return Fetched::Unreachable("the connection broke".to_owned());
        };
        let header = |name: &str| {
            let found = answer.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        match answer.status {
            200 => Fetched::Body {
                content_type: header("content-type"),
                etag: header("etag"),
                revision: header("x-amz-meta-rolecall-revision").and_then(|text| text.trim().parse().ok()),
                body: answer.body.to_vec(),
            },
            status => Fetched::Status(status),
        }
    }

    /// The wall clock, which goes with tokio's.
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::try_from(self.model.clock().date(Instant::now())).expect("a date");
        now.saturating_add(self.skew).expect("a date")
    }

    fn began(&self) -> Timestamp {
        let age = SignedDuration::try_from(self.begun.elapsed()).expect("no age of the world");
        self.now().checked_sub(age).expect("a date")
    }

    fn settled(&mut self, status: &ClusterIdentityStatus) -> Settling {
        let now = self.now();
        self.settling.expire(now, SETTLE_TIME);
        let mut settling = self.settling.clone();
        let of_another = status.last_changed_time.as_ref().filter(|changed| self.own_change.as_ref() != Some(*changed));
        if let Some(changed) = of_another {
            settling.changed_before(changed, self.began());
            settling.expire(now, SETTLE_TIME);
        }
        settling
    }

    /// How long to wait until a read surely shows all that was made; as the controller's teardown has it.
    fn unsettled_for(&self) -> Option<Duration> {
        let young = SETTLE_TIME.checked_sub(self.begun.elapsed()).filter(|left| !left.is_zero());
        young.or(self.settling.may_hide_something().then_some(Duration::from_secs(1)))
    }

    /// When something falls due before the interval is over.
    fn due_after(desired: &Desired, evidence: &Evidence, now: Timestamp) -> Option<Timestamp> {
        let plan = evidence.plan();
        let retirement = status::keys::next_retirement(desired, now);
        let deletion = status::deletions::next_due(plan, now);
        let held = plan.obstacles.iter().any(|(_, obstacle)| matches!(obstacle, Obstacle::Settling(_)))
            || plan.settling.hides_the_unknown();
        let settled = held.then(|| plan.settling.next_expiry(SETTLE_TIME)).flatten();
        retirement.into_iter().chain(deletion).chain(settled).min()
    }

    fn no_later(&self, delay: Duration, due: Option<Timestamp>) -> Duration {
        let Some(due) = due else { return delay };
        let wait = Duration::try_from(due.duration_since(self.now())).unwrap_or_default();
        delay.min(wait + Duration::from_millis(500))
    }

    fn without_plan(&mut self, stored: &Stored, outcome: Outcome) -> Ended {
        let message = match &outcome {
            Outcome::Refused(refused) => refused.to_string(),
            Outcome::NoAccount(fault) => fault.to_string(),
            other => other.reason().to_owned(),
        };
        let now = self.now();
        let next = status::without_plan(&stored.status.identity(), GENERATION, &outcome, &message, now);
        let next = status::deletions::with_use_unknown(next, &stored.identity(), now);
        let mut ended = self.ended(stored, outcome, Status::new(next, stored.status.requests.clone()), None);
        ended.told.push(message);
        ended
    }

    fn ended(&mut self, stored: &Stored, outcome: Outcome, status: Status, evidence: Option<&Evidence>) -> Ended {
        let unsettled = if outcome.is_unsettled() { self.unsettled } else { 0 };
        self.unsettled = if outcome.is_unsettled() { self.unsettled + 1 } else { 0 };
        let delay = outcome.delay(stored.wish.spec.drift_interval.0, unsettled);
        let drift = evidence.into_iter().flat_map(|evidence| evidence.plan().drift());
        let drift = drift.map(|(step, difference)| format!("{} {:?}", step.change.target(), difference.field));
        let drift = drift.collect();
        Ended { outcome, status, delay, drift, told: evidence.map(told).unwrap_or_default() }
    }
}

fn told(evidence: &Evidence) -> Vec<String> {
    let obstacles = evidence.plan().obstacles.iter().map(|(subject, obstacle)| format!("{subject:?}: {obstacle}"));
    let failures = evidence.failures();
    let failures = failures.iter().map(|(step, fault)| format!("{} failed: {fault}", step.change.name()));
    let made = evidence.made();
    let made = made.iter().map(|step| format!("made {} {}", step.change.name(), step.change.target()));
    obstacles.chain(failures).chain(made).collect()
}
