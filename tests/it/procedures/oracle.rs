//! Asked after every write to AWS, without Rolecall's code: whether somebody has lost something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::evaluation::{Token, can_assume, is_allowed, why_not_assume};
use crate::model::{Logged, Model};
use crate::scene::ACCOUNT;

const OWNER: &str = "rolecall.dev/owner";

/// What a component has when it works.
#[derive(Debug, Clone)]
pub struct Component {
    pub role: String,
    pub subject: String,
    /// Actions and resources of its request.
    pub allowed: Vec<(String, String)>,
    pub issuer: String,
}

/// Looks after components and marks.
#[derive(Debug, Clone)]
pub struct Oracle {
    model: Model,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    components: Vec<Component>,
    /// The keys by which tokens are signed that are in use.
    kids: BTreeSet<String>,
    /// Losses that contain one of these were wanted.
    wanted: Vec<String>,
    facts: BTreeSet<String>,
    /// What exists, with its owner mark.
    marks: BTreeMap<String, Option<String>>,
    violations: Vec<String>,
}

impl Oracle {
    /// Looks at a model from now on.
    pub fn over(model: &Model) -> Self {
        let oracle = Self { model: model.clone(), state: Arc::default() };
        let inside = oracle.clone();
        model.on_write(move |write| inside.look(write));
        oracle
    }

    /// Looks after a component from now on.
    pub fn add(&self, component: Component) {
        self.state().components.push(component);
        self.rebase();
    }

    /// Tokens that this key has signed are in use from now on.
    pub fn sign_with(&self, kid: &str) {
        self.state().kids.insert(kid.to_owned());
        self.rebase();
    }

    /// No token of this key is in use any more.
    pub fn expired(&self, kid: &str) {
        self.state().kids.remove(kid);
        self.rebase();
    }

    /// Who goes through the procedure wants what this is part of to be lost.
    pub fn is_to_go(&self, part: &str) {
        self.state().wanted.push(part.to_owned());
    }

    /// Takes what is now for granted: the test has altered something itself.
    pub fn rebase(&self) {
        let mut state = self.state();
        state.facts = facts(&self.model, &state);
        state.marks = marks(&self.model);
    }

    /// Why a component gets no credentials with tokens in use now.
    pub fn why_not(&self, role: &str) -> Option<String> {
        let state = self.state();
        let mut of_role = state.components.iter().filter(|component| component.role == role).peekable();
        if of_role.peek().is_none() {
            return Some(format!("{role} is the role of no component"));
        }
        of_role
            .flat_map(|component| state.kids.iter().map(move |kid| (component, kid)))
            .find_map(|(component, kid)| why_not_assume(&self.model, role, &token(component, kid)))
    }

    #[track_caller]
    pub fn assert_nothing_lost(&self, after: &str) {
        let violations = std::mem::take(&mut self.state().violations);
        assert!(violations.is_empty(), "{after}:\n{}", violations.join("\n"));
    }

    fn look(&self, write: &Logged) {
        let mut state = self.state();
        let (facts, marks) = (facts(&self.model, &state), marks(&self.model));
        let is_wanted = |fact: &str| state.wanted.iter().any(|part| fact.contains(part));
        let mut violations: Vec<String> = state
            .facts
            .difference(&facts)
            .filter(|fact| !is_wanted(fact))
            .map(|fact| format!("{} {}: no longer true: {fact}", write.op, write.target))
            .collect();
        let gone = state.marks.iter().filter(|(what, mark)| mark.is_none() && !marks.contains_key(*what));
        violations.extend(gone.map(|(what, _)| format!("{} {}: {what} had no mark", write.op, write.target)));
        state.violations.extend(violations);
        (state.facts, state.marks) = (facts, marks);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn token<'a>(component: &'a Component, kid: &'a str) -> Token<'a> {
    Token { issuer: &component.issuer, subject: &component.subject, audience: "openshift", key_id: kid }
}

fn facts(model: &Model, state: &State) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for component in &state.components {
        let role = &component.role;
        let kids = state.kids.iter().filter(|kid| can_assume(model, role, &token(component, kid)));
        facts.extend(kids.map(|kid| format!("{} gets {role} with a token of {kid}", component.subject)));
        let allowed = component.allowed.iter().filter(|(action, resource)| is_allowed(model, role, action, resource));
        facts.extend(allowed.map(|(action, resource)| format!("{role} may {action} on {resource}")));
    }
    facts
}

fn marks(model: &Model) -> BTreeMap<String, Option<String>> {
    let roles = model.roles(ACCOUNT).into_iter();
    let roles = roles.map(|role| (role.arn.clone(), role.tags.get(OWNER).cloned()));
    let providers = model.providers(ACCOUNT).into_iter();
    let providers = providers.map(|provider| (provider.arn.clone(), provider.tags.get(OWNER).cloned()));
    let buckets = model.buckets().into_iter().map(|bucket| {
        let mark = bucket.tags.as_ref().and_then(|tags| tags.get(OWNER).cloned());
        (format!("bucket {}", bucket.name), mark)
    });
    roles.chain(providers).chain(buckets).collect()
}

/// Who guards the guard: what it must see, it sees.
#[test]
fn oracle_sees_credentials_permissions_and_strangers_lost() {
    use crate::model::{Document, Visible};
    use crate::support::block_on;

    let model = Model::new(1);
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    let role = model.put_role(ACCOUNT, "r", trust, Visible::AtOnce);
    let all = r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
    model.alter_role(ACCOUNT, "r", Visible::AtOnce, |found| {
        found.inline.insert("r".into(), Document::new(all));
    });
    let oracle = Oracle::over(&model);
    let allowed = vec![("s3:GetObject".to_owned(), "arn:aws:s3:::b/k".to_owned())];
    let issuer = "https://b.s3.eu-west-1.amazonaws.com".to_owned();
    oracle.add(Component { role, subject: "system:serviceaccount:n:a".into(), allowed, issuer });
    oracle.sign_with("k");
    let iam = aws_sdk_iam::Client::new(&model.sdk_config(ACCOUNT, "eu-west-1"));
    block_on(iam.delete_role_policy().role_name("r").policy_name("r").send()).expect("DeleteRolePolicy");
    block_on(iam.delete_role().role_name("r").send()).expect("DeleteRole");
    let seen = oracle.state().violations.join("\n");
    assert!(seen.contains("r may s3:GetObject on arn:aws:s3:::b/k"), "{seen}");
    assert!(seen.contains("role/r had no mark"), "{seen}");
}
