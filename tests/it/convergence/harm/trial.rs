//! A cluster that runs, its operator, its people, and the oracle that watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use rolecall::api::cluster_identity::{DeletionPolicy, ManagementPolicy};
use rolecall::api::{ALLOW_NARROWING, CONFIRM_DELETION, ClusterIdentitySpec};
use rolecall::controller::outcome::Outcome;
use rolecall::desired::{IdentityRefused, RequestInput};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::super::cluster::{Cluster, entry};
use super::super::operator::{Ended, Operator, Status, Stored};
use super::super::seeds::{Case, Dice};
use super::super::wishes::{BUCKET, GUARD, REGION, Wish, issuer_host, put_foreign, request, spec};
use super::oracle::{Demand, Oracle, Rules};
use crate::model::{ACCOUNT, Content, Cut, Model, Visible};

/// The key that the cluster signs with, and another one.
pub const KEYS: [&str; 2] = [include_str!("../../../keys/first.pub"), include_str!("../../../keys/second.pub")];
/// Another account, into which the operator may look.
pub const ELSEWHERE: &str = "999999999999";
const PASS_TIMEOUT: Duration = Duration::from_mins(1);
/// Passes within which everything must have come right once all is corrected.
const PATIENCE: u32 = 60;
/// How long ago everything was made.
const AGE: Duration = Duration::from_hours(720);

/// A component and what it asks for: a name, service accounts, statements.
pub const COMPONENTS: [(&str, &[&str]); 4] =
    [("alpha", &["worker", "helper"]), ("beta", &["worker"]), ("gamma", &["worker"]), ("delta", &["worker"])];

pub struct Trial {
    pub model: Model,
    pub cluster: Cluster,
    pub stored: Stored,
    pub operator: Operator,
    pub oracle: Oracle,
    /// What is right.
    pub base: Wish,
    /// The statuses as they once were.
    pub statuses: Vec<Status>,
    /// Whether the ClusterIdentity is being deleted.
    pub deleted: bool,
    pub skew: SignedDuration,
    /// How often the ClusterIdentity was made anew.
    remade: u32,
    /// The key that the cluster signs with, and `keys.json` with it.
    key_id: String,
    keys: Vec<u8>,
    /// Whether the correction takes something away, and whoever makes it consents.
    consents_at_the_end: bool,
    begun: Instant,
    story: Vec<String>,
    said: String,
}

/// A request with two statements.
pub fn component(name: &str, service_accounts: &[&str], actions: &[(&str, &str)]) -> RequestInput {
    let statements: Vec<Value> = actions
        .iter()
        .map(|(action, resource)| json!({"effect": "Allow", "action": [action], "resource": resource}))
        .collect();
    let mut made = request(name, service_accounts);
    let mut spec = serde_json::to_value(made.spec.as_ref().expect("a spec")).expect("JSON");
    spec["providerSpec"]["statementEntries"] = statements.into();
    made.spec = Ok(serde_json::from_value(spec).expect("a spec"));
    made
}

/// What every component asks for.
pub const ACTIONS: [(&str, &str); 2] = [("ec2:DescribeInstances", "*"), ("s3:GetObject", "arn:aws:s3:::data/*")];

/// What a request in force asks for, in the words of the oracle.
pub fn demand(place: &str, service_accounts: &[&str], actions: &[(&str, &str)]) -> Demand {
    let namespace = place.split('/').next().unwrap_or_default();
    let subject = |name: &&str| format!("system:serviceaccount:{namespace}:{name}");
    Demand {
        secret: place.to_owned(),
        subjects: service_accounts.iter().map(subject).collect(),
        actions: actions.iter().map(|(action, on)| ((*action).to_owned(), (*on).to_owned())).collect(),
        removed: None,
    }
}

/// The place of a component's Secret.
pub fn place(name: &str) -> String {
    format!("openshift-{name}/creds")
}

impl Trial {
    /// A cluster that runs: made by Rolecall, or by ccoctl and then adopted.
    pub async fn running(seed: u64, dice: &mut Dice) -> Result<Self, String> {
        let (model, cluster) = (Model::new(seed), Cluster::default());
        put_foreign(&model);
        model.add_account(ELSEWHERE);
        model.put_policy(ACCOUNT, "nothing", NOTHING);
        let late = Duration::from_hours(if dice.percent(60) { 4 } else { 0 });
        model.set_options(|options| options.last_used_delay = late);
        cluster.put("prod/signer", &[("pub", KEYS[0])]);
        cluster.put("prod/other-signer", &[("pub", KEYS[1])]);
        let window = ["24h", "24h", "1h", "0s"][usize::try_from(dice.below(4)).unwrap_or(0)];
        let policy = if dice.percent(75) { "Delete" } else { "Retain" };
        let boundary = dice.percent(20).then(|| format!("arn:aws:iam::{ACCOUNT}:policy/{GUARD}"));
        let spec = spec(&json!({
            "deletionPolicy": policy, "guardrails": {"inUseWindow": window},
            "roles": {"permissionsBoundaryARN": boundary},
        }));
        let operator = Operator::start_in(&model, &cluster);
        let created = Some(operator.now());
        let requests = COMPONENTS.map(|(name, accounts)| component(name, accounts, &ACTIONS));
        let requests = requests.map(|request| RequestInput { created, ..request }).into();
        let base = Wish { spec, requests };
        let mut stored = Stored::new(base.clone());
        stored.created = Some(operator.now());
        let issuer = format!("https://{}", issuer_host());
        let rules = rules(&stored, false);
        let oracle = Oracle::of(&model, &cluster, &issuer, "", rules, operator.now());
        let begun = Instant::now();
        let mut trial = Self {
            model,
            cluster,
            stored,
            operator,
            oracle,
            base,
            statuses: Vec::new(),
            deleted: false,
            skew: SignedDuration::ZERO,
            remade: 0,
            key_id: String::new(),
            keys: Vec::new(),
            consents_at_the_end: false,
            begun,
            story: Vec::new(),
            said: String::new(),
        };
        trial.until_verified().await?;
        trial.grow_old(dice);
        let key = trial.model.object(BUCKET, "keys.json").expect("keys");
        trial.keys = key.body.to_vec();
        let key: Value = serde_json::from_slice(&key.body).expect("JSON");
        key["keys"][0]["kid"].as_str().expect("a kid").clone_into(&mut trial.key_id);
        trial.oracle.signs_with(&trial.key_id);
        let demands = COMPONENTS.map(|(name, accounts)| (name.to_owned(), demand(&place(name), accounts, &ACTIONS)));
        trial.oracle.change(|all| *all = demands.into());
        let lacks = trial.oracle.lacks();
        if !lacks.is_empty() {
            return trial.wrong(format_args!("it does not run: {lacks:?}"));
        }
        if dice.percent(40) {
            trial.be_ccoctls();
            if dice.percent(60) {
                trial.until_verified().await?;
            }
        }
        trial.note("it runs");
        Ok(trial)
    }

    /// Lets everything be old, and used lately.
    fn grow_old(&mut self, dice: &mut Dice) {
        let made = self.model.today() - AGE;
        if dice.percent(80) {
            for role in self.model.roles(ACCOUNT) {
                self.model.role_created(ACCOUNT, &role.name, made);
            }
        }
        if dice.percent(85) {
            let when = self.model.today() - Duration::from_hours(5);
            let roles = self.model.roles(ACCOUNT).into_iter().filter(|role| role.name.contains("-openshift-"));
            roles.for_each(|role| self.model.role_used(ACCOUNT, &role.name, when, REGION));
        }
    }

    /// Takes away all that only Rolecall makes: what is left is as ccoctl makes it.
    fn be_ccoctls(&mut self) {
        self.note("all is as ccoctl has made it, and to be adopted");
        self.strip_marks();
        self.model.alter_object(BUCKET, "keys.json", Visible::AtOnce, |content| content.metadata.clear());
        for place in self.cluster.secrets().keys().filter(|place| place.starts_with("openshift-")) {
            self.cluster.alter(place, |secret| {
                let meta = secret["metadata"].as_object_mut().expect("metadata");
                meta.shift_remove("labels");
                meta.shift_remove("annotations");
                secret["metadata"]["managedFields"] = json!([{"manager": "oc", "operation": "Update"}]);
            });
        }
        self.stored = Stored::new(self.base.clone());
        self.remake(|_| {});
        self.stored.status = Status::default();
        self.statuses.clear();
        self.restart();
    }

    /// Takes the owner marks away in AWS.
    pub fn strip_marks(&self) {
        let mark = "rolecall.dev/owner";
        for role in self.model.roles(ACCOUNT) {
            self.model.alter_role(ACCOUNT, &role.name, Visible::AtOnce, |role| drop(role.tags.remove(mark)));
        }
        for provider in self.model.providers(ACCOUNT) {
            self.model.alter_provider(ACCOUNT, &provider.arn, Visible::AtOnce, |of| drop(of.tags.remove(mark)));
        }
        self.model.alter_bucket(BUCKET, Visible::AtOnce, |bucket| {
            drop(bucket.tags.as_mut().map(|tags| tags.remove(mark)));
        });
    }

    pub fn note(&mut self, what: &str) {
        // What is said again and again is no news.
        if self.said != what {
            self.story.push(format!("{:9.1} {what}", self.begun.elapsed().as_secs_f64()));
            what.clone_into(&mut self.said);
        }
    }

    /// An error with all that came before it.
    pub fn wrong<T>(&self, what: impl std::fmt::Display) -> Result<T, String> {
        let from = self.story.len().saturating_sub(50);
        Err(format!("{what}\n{}", self.story[from..].join("\n")))
    }

    /// Changes the spec.
    pub fn edit(&mut self, edit: impl FnOnce(&mut ClusterIdentitySpec)) {
        edit(&mut self.stored.wish.spec);
    }

    /// The ClusterIdentity is made anew, as after `deletionPolicy: Retain` and a deletion, with a change of its spec.
    pub fn remake(&mut self, edit: impl FnOnce(&mut ClusterIdentitySpec)) {
        self.remade += 1;
        let requests = std::mem::take(&mut self.stored.status.requests);
        let mut stored = Stored::new(self.stored.wish.clone());
        edit(&mut stored.wish.spec);
        stored.uid = format!("identity-{}", self.remade);
        stored.created = Some(self.operator.now());
        stored.status.requests = requests;
        (self.stored, self.deleted) = (stored, false);
        self.statuses.clear();
    }

    pub fn restart(&mut self) {
        self.model.revive();
        self.cluster.revive();
        self.operator = Operator::start_in(&self.model, &self.cluster);
        self.operator.skew = self.skew;
    }

    /// The components use their roles.
    pub fn use_roles(&self) {
        for arn in self.oracle.roles_in_use() {
            let name = arn.rsplit('/').next().unwrap_or_default();
            if self.model.role(ACCOUNT, name).is_some_and(|role| role.arn == arn) {
                self.model.role_used(ACCOUNT, name, self.model.today(), REGION);
            }
        }
    }

    /// Makes a pass, unless the process dies in it; whether it lived.
    async fn pass(&mut self) -> Result<Option<Ended>, String> {
        self.operator.skew = self.skew;
        self.oracle.set_rules(rules(&self.stored, self.deleted));
        self.oracle.look(self.operator.now());
        let (model, cluster, stored) = (self.model.clone(), self.cluster.clone(), &self.stored);
        let work = async {
            let deleted = self.deleted;
            let ended = if deleted { self.operator.teardown(stored).await } else { self.operator.pass(stored).await };
            // The last write: it may be lost as well.
            cluster.write_status(|| {}).await;
            ended
        };
        let ended = tokio::select! {
            biased;
            () = model.until_cut() => None,
            () = cluster.until_cut() => None,
            ended = timeout(PASS_TIMEOUT, Box::pin(work)) => Some(ended),
        };
        let ended = match ended {
            None => None,
            Some(Ok(ended)) => Some(ended),
            Some(Err(_)) => Some(self.operator.timed_out(&self.stored)),
        };
        match &ended {
            None => self.note("the process died"),
            Some(Ended { outcome, drift, told, .. }) => {
                let drift = if drift.is_empty() { String::new() } else { format!(" DRIFT {}", drift.join(", ")) };
                self.note(&format!("{outcome:?} {}{drift}", told.join("; ")));
            }
        }
        let harm = self.oracle.harm();
        if !harm.is_empty() {
            return self.wrong(format_args!("HARM: {harm:#?}"));
        }
        let Some(ended) = ended else { return Ok(None) };
        self.stored.status = ended.status.copied();
        self.statuses.push(ended.status.copied());
        if self.deleted && ended.outcome == Outcome::LetGo {
            self.note("it was let go, and is applied again");
            let kept = self.stored.wish.spec.deletion_policy == DeletionPolicy::Retain;
            self.remake(|_| {});
            if !kept {
                self.stored.status = Status::default();
            }
        }
        Ok(Some(ended))
    }

    /// Some passes, in which the process may die.
    pub async fn passes(&mut self, dice: &mut Dice) -> Case {
        for _ in 0..=dice.below(5) {
            if dice.percent(50) {
                self.use_roles();
            }
            if dice.percent(30) {
                let after = 1 + dice.below(25);
                if dice.percent(70) {
                    let (writes_only, takes_effect) = (dice.percent(60), dice.percent(60));
                    self.model.cut_after(Cut { after, writes_only, takes_effect });
                } else {
                    self.cluster.cut_after(1 + after / 2, dice.percent(60));
                }
            }
            match self.pass().await? {
                None => self.restart(),
                Some(ended) => {
                    let most = dice.time(Duration::from_mins(10));
                    sleep(ended.delay.min(most)).await;
                }
            }
        }
        self.model.revive();
        self.cluster.revive();
        Ok(())
    }

    /// Time goes by, with a pass now and then.
    pub async fn rest(&mut self, dice: &mut Dice) -> Case {
        let total = dice.time(Duration::from_mins(90));
        let begun = Instant::now();
        while begun.elapsed() < total {
            if dice.percent(50) {
                self.use_roles();
            }
            let Some(ended) = self.pass().await? else { return self.wrong("it died") };
            sleep(ended.delay.clamp(Duration::from_secs(45), Duration::from_mins(10))).await;
        }
        Ok(())
    }

    /// People put right what they had got wrong.
    pub fn correct(&mut self) {
        let base = self.base.clone();
        self.stored.change(base);
        self.stored.annotations.clear();
        self.skew = SignedDuration::ZERO;
        self.cluster.put("prod/signer", &[("pub", KEYS[0])]);
        self.oracle.key_has_no_source(None);
        // A key that has retired by a wrong clock, or a wrong source, is put back by whoever knows it.
        let is_published = |content: Arc<Content>| String::from_utf8_lossy(&content.body).contains(&self.key_id);
        let is_in_service = self.model.bucket(BUCKET).is_some_and(|bucket| bucket.tags.is_some())
            || self.model.object(BUCKET, ".well-known/openid-configuration").is_some();
        if is_in_service && !self.model.object(BUCKET, "keys.json").is_some_and(is_published) {
            self.model.put_object(BUCKET, "keys.json", self.keys.clone(), "application/json", Visible::AtOnce);
        }
        let demands = COMPONENTS.map(|(name, accounts)| (name.to_owned(), demand(&place(name), accounts, &ACTIONS)));
        self.oracle.change(|all| all.extend(BTreeMap::from(demands)));
    }

    /// The correction takes something away, and whoever makes it consents at once.
    pub fn consent_at_the_end(&mut self) {
        self.consents_at_the_end = true;
    }

    /// Somebody deletes a Secret that names no role of the cluster.
    pub fn drop_if_not_ours(&self, place: &str) {
        let names_ours = self.cluster.secret(place).and_then(|secret| entry(&secret, "credentials"));
        if !names_ours.is_some_and(|text| text.contains(":role/prod-eu-openshift-")) {
            self.cluster.delete(place);
        }
    }

    async fn until_verified(&mut self) -> Case {
        for _ in 0..PATIENCE {
            let Some(ended) = self.pass().await? else { return self.wrong("it died") };
            let marked = self.stored.status.identity().pending_marks.is_empty();
            if ended.outcome == Outcome::Verified && marked {
                return Ok(());
            }
            sleep(ended.delay).await;
        }
        self.wrong("it does not begin to run")
    }

    /// Goes on until all is as wanted; components go on using their roles.
    pub async fn converges(&mut self) -> Case {
        let mut last = None;
        for number in 0..PATIENCE {
            self.use_roles();
            let Some(ended) = self.pass().await? else { return self.wrong("it died") };
            let status = self.stored.status.identity();
            let lacks = self.oracle.lacks();
            if ended.outcome == Outcome::Verified && status.pending_marks.is_empty() && lacks.is_empty() {
                return Ok(());
            }
            // What is left over of the mistake may go: the status says how.
            if number > 10
                && lacks.is_empty()
                && let Some(digest) = &status.pending_deletions_digest
            {
                let value = format!("{}/{digest}", self.stored.wish.spec.infra_name);
                self.stored.annotations.insert(CONFIRM_DELETION.to_owned(), value);
            }
            // What an object that was made anew finds, and what a correction takes away, is named: the message says how.
            let narrows = [Outcome::Blocked("WouldNarrow"), Outcome::Blocked("WouldDeny")].contains(&ended.outcome);
            if narrows && (number > 10 || self.consents_at_the_end) {
                self.stored.annotations.insert(ALLOW_NARROWING.to_owned(), narrowing_consents(&ended.told).join(","));
            }
            // Who has had everything made in another account makes a new ClusterIdentity, as the message says.
            if number > 10 && matches!(ended.outcome, Outcome::Refused(IdentityRefused::AccountChanged { .. })) {
                self.remake(|_| {});
                self.stored.status.requests.clear();
            }
            // A role that was made at another path is in the way until it is deleted, as the message says.
            if number > 10 && ended.told.iter().any(|told| told.contains("and IAM cannot move it")) {
                for role in self.model.roles(ACCOUNT).into_iter().filter(|role| role.path != "/") {
                    self.model.delete_role(ACCOUNT, &role.name, Visible::AtOnce);
                }
            }
            // A Secret that was written for a role of another name stays as it is until it is deleted, as the message says.
            if number > 10 {
                let names_another = |secret: &Value| {
                    entry(secret, "credentials").is_some_and(|text| text.contains(":role/prod-ex-openshift-"))
                };
                for (place, _) in self.cluster.secrets().iter().filter(|(_, secret)| names_another(secret)) {
                    self.cluster.delete(place);
                }
            }
            sleep(ended.delay.max(Duration::from_millis(500))).await;
            last = Some((lacks, status.pending_marks));
        }
        self.wrong(format_args!("DOES NOT CONVERGE: {last:?}"))
    }
}

const NOTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:GetCallerIdentity","Resource":"*"}]}"#;

/// What the spec allows.
fn rules(stored: &Stored, teardown: bool) -> Rules {
    let spec = &stored.wish.spec;
    let enforced = spec.management_policy == ManagementPolicy::Enforce;
    Rules {
        deletes: spec.deletion_policy == DeletionPolicy::Delete && enforced,
        teardown,
        delay: spec.guardrails.deletion_delay.0,
        most: spec.guardrails.max_deletions as usize,
        window: spec.guardrails.in_use_window.0,
        gap: (spec.drift_interval.0 * 3).max(Duration::from_mins(1)),
        retire_keys_after: spec.issuer.retire_keys_after.0,
        mark: stored.mark(),
    }
}

/// The values of the consents that messages ask for.
fn narrowing_consents(told: &[String]) -> Vec<String> {
    let asked = told.iter().filter_map(|told| told.split_once(&format!("{ALLOW_NARROWING}: ")));
    asked.filter_map(|(_, rest)| Some(rest.split_whitespace().next()?.to_owned())).collect()
}
