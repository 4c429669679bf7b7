//! Whether a write took away what worked. It asks the model who gets a role's credentials and what the role may do, and the
//! cluster's Secrets which role a component uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::super::cluster::{Cluster, Place, entry};
use super::super::operator::HUB;
use crate::model::evaluation::{Token, can_assume, is_allowed, why_not_assume};
use crate::model::{ACCOUNT, Model};

/// What a component asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// `namespace/name` of its Secret.
    pub secret: Place,
    /// Its service accounts.
    pub subjects: BTreeSet<String>,
    /// Actions, each with a resource.
    pub actions: BTreeSet<(String, String)>,
    /// Since when nobody asks for it any more.
    pub removed: Option<Removal>,
}

/// That nobody asks for a component any more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Removal {
    since: Instant,
    /// When the first pass after that began, on the process's clock, or the first after that clock was set back.
    seen: Option<Timestamp>,
}

impl Removal {
    /// From now on.
    pub fn now() -> Self {
        Self { since: Instant::now(), seen: None }
    }
}

/// What the rules allow at the moment, as the ClusterIdentity states them.
#[derive(Debug, Clone)]
pub struct Rules {
    pub deletes: bool,
    /// Whether the ClusterIdentity is being deleted.
    pub teardown: bool,
    pub delay: Duration,
    pub most: usize,
    pub window: Duration,
    /// The longest time between two looks.
    pub gap: Duration,
    pub retire_keys_after: Duration,
    /// The mark of the ClusterIdentity.
    pub mark: String,
}

/// What works, and what carries which mark.
#[derive(Debug, Default, Clone)]
struct Sight {
    works: BTreeMap<(String, String), bool>,
    /// The role that each component's Secret names.
    roles: BTreeMap<String, String>,
    marks: BTreeMap<String, Option<String>>,
    /// What carries another's mark, as it is.
    foreign: BTreeMap<String, String>,
    access_keys: BTreeSet<Place>,
}

struct State {
    demands: BTreeMap<String, Demand>,
    rules: Rules,
    issuer: String,
    key_id: String,
    /// Since when, on the process's clock, no source has the key that the cluster signs with.
    without_source: Option<Timestamp>,
    /// The process's time, as of the last look.
    now: Timestamp,
    before: Sight,
    /// Components whose deletion was in order, and when it began.
    gone: Vec<(Instant, String)>,
    harm: Vec<String>,
}

/// The oracle. Clones are the same one.
#[derive(Clone)]
pub struct Oracle {
    model: Model,
    cluster: Cluster,
    state: Arc<Mutex<State>>,
}

impl Oracle {
    /// One that is asked after every write.
    pub fn of(model: &Model, cluster: &Cluster, issuer: &str, key_id: &str, rules: Rules, now: Timestamp) -> Self {
        let state = State {
            demands: BTreeMap::new(),
            rules,
            issuer: issuer.to_owned(),
            key_id: key_id.to_owned(),
            without_source: None,
            now,
            before: Sight::default(),
            gone: Vec::new(),
            harm: Vec::new(),
        };
        let oracle = Self { model: model.clone(), cluster: cluster.clone(), state: Arc::new(Mutex::new(state)) };
        let judge = oracle.clone();
        model.on_write(move |write| judge.judge(&format!("{} {}", write.op, write.target), None));
        let judge = oracle.clone();
        cluster.on_write(move |write| {
            let verb = if write.deleted { "delete" } else { "write" };
            let replaceable = write
                .before
                .as_ref()
                .map(|before| before["metadata"]["annotations"]["rolecall.dev/replace-with"] == "sts");
            judge.judge(&format!("{verb} Secret {}", write.place), replaceable);
        });
        oracle
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what others have altered: no loss of Rolecall's.
    pub fn look(&self, now: Timestamp) {
        let sight = self.see();
        let mut state = self.lock();
        (state.before, state.now) = (sight, now);
        for removal in state.demands.values_mut().filter_map(|demand| demand.removed.as_mut()) {
            // With a clock that was set back the wait begins anew.
            removal.seen = Some(removal.seen.map_or(now, |seen| seen.min(now)));
        }
    }

    pub fn set_rules(&self, rules: Rules) {
        self.lock().rules = rules;
    }

    /// The cluster signs with this key.
    pub fn signs_with(&self, key_id: &str) {
        key_id.clone_into(&mut self.lock().key_id);
    }

    /// Changes what is asked for.
    pub fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Demand>) -> T) -> T {
        change(&mut self.lock().demands)
    }

    /// Says since when no source has the key that the cluster signs with.
    pub fn key_has_no_source(&self, since: Option<Timestamp>) {
        let mut state = self.lock();
        state.without_source = since.map(|since| state.without_source.unwrap_or(since));
    }

    /// What was wrong.
    pub fn harm(&self) -> Vec<String> {
        self.lock().harm.clone()
    }

    /// What each component lacks.
    pub fn lacks(&self) -> Vec<String> {
        let (demands, issuer, key) = {
            let state = self.lock();
            (state.demands.clone(), state.issuer.clone(), state.key_id.clone())
        };
        let mut lacks = Vec::new();
        for (component, demand) in demands.iter().filter(|(_, demand)| demand.removed.is_none()) {
            let secret = self.cluster.secret(&demand.secret);
            let Some(role) = secret.as_ref().and_then(role_of) else {
                lacks.push(format!("{component}: its Secret names no role"));
                continue;
            };
            for subject in &demand.subjects {
                lacks.extend(why_not_assume(&self.model, &role, &token(&issuer, subject, &key)));
            }
            let denied = demand.actions.iter().filter(|(action, on)| !is_allowed(&self.model, &role, action, on));
            lacks.extend(denied.map(|(action, on)| format!("{component}: {action} on {on} is not allowed to {role}")));
        }
        lacks
    }

    /// The roles that components in force use.
    pub fn roles_in_use(&self) -> Vec<String> {
        let state = self.lock();
        let of = |component: &String| state.before.roles.get(component).filter(|role| !role.is_empty()).cloned();
        state.demands.iter().filter(|(_, demand)| demand.removed.is_none()).filter_map(|(name, _)| of(name)).collect()
    }

    fn see(&self) -> Sight {
        let (demands, issuer, key, mark) = {
            let state = self.lock();
            (state.demands.clone(), state.issuer.clone(), state.key_id.clone(), state.rules.mark.clone())
        };
        let mut sight = Sight::default();
        for (component, demand) in &demands {
            let secret = self.cluster.secret(&demand.secret);
            let with_keys = secret.as_ref().is_some_and(has_access_key);
            if with_keys {
                sight.access_keys.insert(demand.secret.clone());
            }
            let role = secret.as_ref().and_then(role_of);
            let role = role.unwrap_or_default();
            for subject in &demand.subjects {
                let can =
                    with_keys || (!role.is_empty() && can_assume(&self.model, &role, &token(&issuer, subject, &key)));
                sight.works.insert((component.clone(), format!("credentials of {subject}")), can);
            }
            for (action, on) in &demand.actions {
                let may = with_keys || (!role.is_empty() && is_allowed(&self.model, &role, action, on));
                sight.works.insert((component.clone(), format!("{action} on {on}")), may);
            }
            sight.roles.insert(component.clone(), role);
        }
        self.see_marks(&mut sight, &mark);
        sight
    }

    fn see_marks(&self, sight: &mut Sight, own: &str) {
        let mut note = |what: String, mark: Option<&String>, as_it_is: &dyn Fn() -> String| {
            // That of a ClusterIdentity that is there no longer may be taken over.
            if mark.is_some_and(|mark| mark != own && !mark.starts_with(&format!("{HUB}."))) {
                sight.foreign.insert(what.clone(), as_it_is());
            }
            sight.marks.insert(what, mark.cloned());
        };
        for role in self.model.roles(ACCOUNT) {
            let mark = role.tags.get(MARK);
            note(format!("role {}", role.name), mark, &|| format!("{role:?}"));
            for policy in role.inline.keys() {
                note(format!("policy {policy} of role {}", role.name), mark, &String::new);
            }
        }
        for provider in self.model.providers(ACCOUNT) {
            note(format!("provider {}", provider.arn), provider.tags.get(MARK), &|| format!("{provider:?}"));
        }
        for bucket in self.model.buckets() {
            let mark = bucket.tags.as_ref().and_then(|tags| tags.get(MARK));
            let objects = self.model.objects(&bucket.name);
            // One that is empty and has no tags was perhaps begun.
            if !objects.is_empty() || bucket.tags.is_some() {
                note(format!("bucket {}", bucket.name), mark, &|| format!("{bucket:?}"));
            }
            for key in objects.keys() {
                note(format!("object {key} in bucket {}", bucket.name), mark, &String::new);
            }
        }
        for (place, secret) in self.cluster.secrets() {
            let mark = secret["metadata"]["annotations"][MARK].as_str();
            let mark = mark.and_then(|mark| mark.strip_suffix(&format!(":{place}"))).map(str::to_owned);
            note(format!("Secret {place}"), mark.as_ref(), &|| secret["data"].to_string());
        }
    }

    /// Judges a write by what was before it. `replaceable`: of a Secret that was there, whether its access keys may go.
    fn judge(&self, write: &str, replaceable: Option<bool>) {
        let after = self.see();
        let mut state = self.lock();
        let state = &mut *state;
        let before = std::mem::replace(&mut state.before, after.clone());
        for (what, mark) in before.marks.iter().filter(|(what, _)| !after.marks.contains_key(*what)) {
            if mark.as_deref() != Some(&state.rules.mark) {
                state.harm.push(format!("{write}: deleted {what}, whose mark is {mark:?}"));
            }
        }
        for (what, as_it_was) in &before.foreign {
            if after.foreign.get(what).is_some_and(|as_it_is| as_it_is != as_it_was) {
                state.harm.push(format!("{write}: changed {what}, which carries another's mark"));
            }
        }
        if replaceable == Some(false)
            && let Some(place) = before.access_keys.iter().find(|place| write.ends_with(&format!(" {place}")))
            && !after.access_keys.contains(place)
        {
            state.harm.push(format!("{write}: replaced access keys"));
        }
        let lost: Vec<_> =
            before.works.iter().filter(|(what, worked)| **worked && after.works.get(*what) == Some(&false)).collect();
        for ((component, what), _) in lost {
            if let Err(why) = self.licence(state, component, &before) {
                let role = &before.roles[component];
                state.harm.push(format!("{write}: {component} lost {what} of {role}: {why}"));
            }
        }
    }

    /// Whether a component may lose what it had.
    fn licence(&self, state: &mut State, component: &str, before: &Sight) -> Result<(), String> {
        let rules = &state.rules;
        let name = before.roles[component].rsplit('/').next().unwrap_or_default().to_owned();
        let hour = Duration::from_hours(1);
        let recent: BTreeSet<&String> =
            state.gone.iter().filter(|(at, _)| at.elapsed() < hour).map(|(_, name)| name).collect();
        let begun = recent.contains(&component.to_owned());
        if let Some(since) = state.without_source {
            let retired = Duration::try_from(state.now.duration_since(since)).unwrap_or_default();
            if retired + Duration::from_secs(1) >= rules.retire_keys_after {
                return Ok(());
            }
        }
        if !rules.deletes {
            return Err("nothing may be deleted".to_owned());
        }
        let removed = state.demands.get(component).and_then(|demand| demand.removed);
        match removed {
            _ if rules.teardown => {}
            None => return Err("it is in force".to_owned()),
            Some(Removal { since, seen }) => {
                let shown = seen.map(|seen| state.now.duration_since(seen)).unwrap_or_default();
                let shown = Duration::try_from(shown).unwrap_or_default();
                let second = Duration::from_secs(1);
                if shown + second < rules.delay || since.elapsed() + rules.gap + second < rules.delay {
                    return Err(format!("it is left over for {:?} only", since.elapsed()));
                }
                if !begun && recent.len() >= rules.most {
                    return Err(format!("{} were deleted within the hour", recent.len()));
                }
            }
        }
        if !begun {
            self.is_unused(&name, rules.window, state.now)?;
            state.gone.push((Instant::now(), component.to_owned()));
        }
        Ok(())
    }

    /// Whether AWS tells of a use within the window, or cannot tell.
    fn is_unused(&self, role: &str, window: Duration, now: Timestamp) -> Result<(), String> {
        if window.is_zero() {
            return Ok(());
        }
        let age = |when: SystemTime| {
            let ago = now.duration_since(Timestamp::try_from(when).expect("a date"));
            Duration::try_from(ago).unwrap_or_default()
        };
        match self.model.role_last_used(ACCOUNT, role) {
            Some(used) if age(used.when) + Duration::from_secs(1) < window => {
                Err(format!("it was used {:?} ago, within the window of {window:?}", age(used.when)))
            }
            _ => Ok(()),
        }
    }
}

const MARK: &str = "rolecall.dev/owner";

fn token<'a>(issuer: &'a str, subject: &'a str, key_id: &'a str) -> Token<'a> {
    Token { issuer, subject, audience: "openshift", key_id }
}

fn role_of(secret: &Value) -> Option<String> {
    let credentials = entry(secret, "credentials")?;
    let line =
        |key: &str| credentials.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned());
    line("web_identity_token_file = ").and_then(|_| line("role_arn = "))
}

fn has_access_key(secret: &Value) -> bool {
    !secret["data"]["aws_access_key_id"].is_null()
}
