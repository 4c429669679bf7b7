//! The operator as the controller drives it, without Kubernetes: passes, their delays, and what each leaves behind for
//! the next one. What a process remembers is apart from what Kubernetes keeps, since a process may die.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rolecall::apply::{Evidence, Targets, carry_out};
use rolecall::aws::meter::Meter;
use rolecall::aws::observe::{observe, observe_teardown};
use rolecall::aws::snapshot::Freshness;
use rolecall::aws::{Access, Connection, Session};
use rolecall::controller::outcome::Outcome;
use rolecall::controller::verdicts::{outcome, states};
use rolecall::desired::keys::{Held, KeySource, RememberedKey};
use rolecall::desired::{Desired, Inputs, desire, teardown as desired_teardown};
use rolecall::observed::{Fault, Fetched, FetchedDocuments, Leftovers, Observed};
use rolecall::plan::{Change, Plan, Prior, Settling, Subject, plan, teardown as plan_teardown};
use tokio::time::Instant;

use super::wishes::{REGION, Wish};
use crate::model::{ACCOUNT, Model};

/// As `--aws-settle-time` has it by default.
const SETTLE_TIME: Duration = Duration::from_secs(30);
const PEM: &str = include_str!("../../keys/first.pub");

/// What Kubernetes holds of a ClusterIdentity.
#[derive(Debug, Clone)]
pub struct Stored {
    pub wish: Wish,
    pub status: Status,
}

/// What statuses remember.
#[derive(Debug, Clone, Default)]
pub struct Status {
    pub verified: BTreeMap<Subject, String>,
    pub keys: Vec<RememberedKey>,
    /// Written in the midst of a pass.
    pub begun_bucket: Arc<Mutex<Option<String>>>,
    pub last_changed: Option<Timestamp>,
}

/// A process, as long as it lives.
pub struct Operator {
    model: Model,
    aws: Arc<Connection>,
    settling: Settling,
    begun: Instant,
    /// Unsettled passes in a row.
    unsettled: u32,
    /// When there was last something that reads may not show.
    changed: Option<Instant>,
    /// Whether passes are made because they are due, and not because something has happened.
    pub due: bool,
    /// How long after its beginning a pass begins changes.
    pub time_to_begin: Option<Duration>,
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

impl Stored {
    pub fn new(wish: Wish) -> Self {
        Self { wish, status: Status::default() }
    }

    /// Another wish. A request that is gone has taken its status along.
    pub fn change(&mut self, wish: Wish) {
        self.status.verified.retain(|subject, _| {
            subject.request().is_none_or(|id| wish.requests.iter().any(|request| request.id == *id))
        });
        self.wish = wish;
    }
}

impl Operator {
    pub fn start(model: &Model) -> Self {
        let aws = Connection::with(&model.sdk_config(ACCOUNT, REGION), Meter::default());
        Self::sharing(model, Arc::new(aws))
    }

    /// One that shares its way into AWS with others, as the passes of one process do.
    pub fn sharing(model: &Model, aws: Arc<Connection>) -> Self {
        Self {
            model: model.clone(),
            aws,
            settling: Settling::default(),
            begun: Instant::now(),
            unsettled: 0,
            changed: None,
            due: false,
            time_to_begin: None,
        }
    }

    /// Makes a pass.
    pub async fn pass(&mut self, stored: &Stored) -> Ended {
        match Box::pin(self.look_and_act(stored)).await {
            Err(fault) => self.without_account(stored, fault),
            Ok((desired, evidence)) => {
                let states = states(&desired, &evidence);
                let outcome = outcome(&evidence, &states);
                let status = status_after(&stored.status, &desired, &evidence, self.now());
                self.ended(stored, outcome, status, Some(&evidence))
            }
        }
    }

    /// Makes a pass over what is being deleted.
    pub async fn teardown(&mut self, stored: &Stored) -> Ended {
        match Box::pin(self.look_and_tear_down(stored)).await {
            Err(fault) => self.without_account(stored, fault),
            Ok(evidence) => {
                let outcome = outcome(&evidence, &[]);
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
                let mut ended = self.ended(stored, outcome, stored.status.clone(), Some(&evidence));
                if let Some(due) = due {
                    let wait = Duration::try_from(due.duration_since(self.now())).unwrap_or_default();
                    ended.delay = ended.delay.min(wait + Duration::from_millis(500));
                }
                if let (true, Some(wait)) = (is_gone, wait) {
                    ended.delay = ended.delay.min(wait + Duration::from_millis(500));
                }
                ended
            }
        }
    }

    /// Gives up a pass that took too long.
    pub fn timed_out(&mut self, stored: &Stored) -> Ended {
        let now = self.now();
        self.settling.may_have_made(now);
        self.settling.changed_unknown(now);
        self.ended(stored, Outcome::TimedOut, stored.status.clone(), None)
    }

    async fn look_and_act(&mut self, stored: &Stored) -> Result<(Desired, Evidence), Fault> {
        let until = self.time_to_begin.map(|time| Instant::now() + time);
        let session = self.session(stored).await?;
        let desired = desire(&self.inputs(stored, &session)).expect("a spec in order");
        let prior = prior_of(&stored.status, self.settled(&stored.status));
        let observed = Box::pin(self.look(stored, &session, &desired, &prior)).await;
        let plan = plan(&desired, &observed, &prior);
        begin(stored, &plan);
        let evidence = Box::pin(carry_out(&Targets { aws: &session, cluster: None, until }, plan)).await;
        self.settling = evidence.settling(self.now());
        if !self.settling.is_empty() {
            self.changed = Some(Instant::now());
        }
        Ok((desired, evidence))
    }

    async fn look_and_tear_down(&mut self, stored: &Stored) -> Result<Evidence, Fault> {
        let until = self.time_to_begin.map(|time| Instant::now() + time);
        let session = self.session(stored).await?;
        let doomed = desired_teardown("prod/prod-eu", &stored.wish.spec, &session.account.id).expect("our account");
        let observed = Box::pin(observe_teardown(&session, &doomed)).await;
        let mut status = stored.status.clone();
        status.verified.retain(|subject, _| subject.request().is_none());
        let mut settling = self.settled(&status);
        if self.begun.elapsed() < SETTLE_TIME {
            settling.may_have_made(self.began());
        }
        let prior = prior_of(&status, settling);
        let plan = plan_teardown(&doomed, &observed, &[], &prior);
        let evidence = Box::pin(carry_out(&Targets { aws: &session, cluster: None, until }, plan)).await;
        self.settling = evidence.settling(self.now());
        Ok(evidence)
    }

    async fn session(&self, stored: &Stored) -> Result<Session, Fault> {
        self.aws.open(&Access::of(&stored.wish.spec)).await
    }

    fn inputs(&self, stored: &Stored, session: &Session) -> Inputs {
        Inputs {
            identity: format!("prod/{}", stored.wish.spec.infra_name),
            spec: stored.wish.spec.clone(),
            account: session.account.id.clone(),
            trust_limit: None,
            pre_grants: Vec::new(),
            refused_by_aws: BTreeMap::new(),
            granted_ahead: BTreeSet::new(),
            provisioned: Vec::new(),
            keys: vec![KeySource { origin: "Secret signer".to_owned(), held: Ok(Held::Entry(PEM.into())) }],
            remembered_keys: stored.status.keys.clone(),
            requests: stored.wish.requests.clone(),
            now: self.now(),
        }
    }

    async fn look(&self, stored: &Stored, session: &Session, desired: &Desired, prior: &Prior) -> Observed {
        let url = &desired.issuer.url;
        let published = [Subject::Discovery, Subject::Keys].iter().all(|part| prior.verified.contains_key(part));
        let mut fetched = if published { Some(self.fetch(url).await) } else { None };
        let freshness = if self.due {
            Freshness::due(stored.wish.spec.drift_interval.0, self.changed, SETTLE_TIME)
        } else {
            Freshness::from_now_on()
        };
        let aws = Box::pin(observe(session, desired, fetched.as_ref(), freshness)).await;
        if fetched.is_none() && aws.has_documents() {
            fetched = Some(self.fetch(url).await);
        }
        Observed {
            bucket: aws.bucket,
            provider: aws.provider,
            roles: aws.roles.wanted,
            leftovers: Leftovers { roles: aws.roles.leftovers, secrets: Vec::new() },
            secrets: BTreeMap::new(),
            fetched,
            keys_unread: None,
            throttled: session.account.is_held_back(),
        }
    }

    async fn fetch(&self, url: &str) -> FetchedDocuments {
        FetchedDocuments {
            discovery: self.get(format!("{url}/.well-known/openid-configuration")).await,
            keys: self.get(format!("{url}/keys.json")).await,
        }
    }

    async fn get(&self, url: String) -> Fetched {
        match self.model.read_anonymously(&url).await {
            Some((200, body)) => Fetched::Body { body, content_type: Some("application/json".to_owned()) },
            Some((status, _)) => Fetched::Status(status),
            None => Fetched::Unreachable("the connection broke".to_owned()),
        }
    }

    /// The wall clock, which goes with tokio's.
    fn now(&self) -> Timestamp {
        Timestamp::try_from(self.model.clock().date(Instant::now())).expect("a date")
    }

    fn began(&self) -> Timestamp {
        Timestamp::try_from(self.model.clock().date(self.begun)).expect("a date")
    }

    fn settled(&mut self, status: &Status) -> Settling {
        let now = self.now();
        self.settling.expire(now, SETTLE_TIME);
        let mut settling = self.settling.clone();
        if let Some(changed) = status.last_changed.filter(|changed| *changed <= self.began()) {
            settling.changed_unknown(changed);
            settling.expire(now, SETTLE_TIME);
        }
        settling
    }

    /// How long to wait until a read surely shows all that was made; as the controller's teardown has it.
    fn unsettled_for(&self) -> Option<Duration> {
        let young = SETTLE_TIME.checked_sub(self.begun.elapsed()).filter(|left| !left.is_zero());
        young.or(self.settling.may_hide_something().then_some(Duration::from_secs(1)))
    }

    fn without_account(&mut self, stored: &Stored, fault: Fault) -> Ended {
        self.ended(stored, Outcome::NoAccount(fault), stored.status.clone(), None)
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

/// Notes that the bucket is about to be created.
fn begin(stored: &Stored, plan: &Plan) {
    let creates = plan.steps.iter().any(|step| matches!(step.change, Change::CreateBucket(_)));
    if let Some(fingerprint) = plan.fingerprints.get(&Subject::Bucket).filter(|_| creates) {
        *stored.status.begun_bucket.lock().expect("nobody panicked") = Some(fingerprint.clone());
    }
}

fn prior_of(status: &Status, settling: Settling) -> Prior {
    let begun_bucket = status.begun_bucket.lock().expect("nobody panicked").clone();
    Prior { verified: status.verified.clone(), settling, begun_bucket, ..Prior::default() }
}

fn told(evidence: &Evidence) -> Vec<String> {
    let obstacles = evidence.plan().obstacles.iter().map(|(subject, obstacle)| format!("{subject:?}: {obstacle}"));
    let failures = evidence.failures();
    let failures = failures.iter().map(|(step, fault)| format!("{} failed: {fault}", step.change.name()));
    let made = evidence.made();
    let made = made.iter().map(|step| format!("made {} {}", step.change.name(), step.change.target()));
    obstacles.chain(failures).chain(made).collect()
}

/// What the controller writes into the statuses after a pass.
fn status_after(before: &Status, desired: &Desired, evidence: &Evidence, now: Timestamp) -> Status {
    let plan = evidence.plan();
    if plan.steps.is_empty() && plan.unreadable().next().is_some() {
        return before.clone();
    }
    let mut status = before.clone();
    if evidence.made().iter().any(|step| step.change.is_of_aws()) {
        status.last_changed = Some(now);
    }
    let seen_right = plan.fingerprints.iter().filter(|(subject, _)| plan.is_true(subject));
    status.verified.extend(seen_right.map(|(subject, fingerprint)| (subject.clone(), fingerprint.clone())));
    if plan.is_true(&Subject::Bucket) {
        status.begun_bucket.lock().expect("nobody panicked").take();
    }
    if let Ok(keys) = &desired.keys
        && plan.is_true(&Subject::Keys)
    {
        let remember = |key: &rolecall::desired::keys::WantedKey| RememberedKey {
            key: key.key.clone(),
            retiring_since: key.retiring_since,
        };
        status.keys = keys.keys.iter().map(remember).collect();
    }
    status
}
