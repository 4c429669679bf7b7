//! The judgement held against the reference, request by request.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::*;
use crate::policy::automaton::Glob;
use crate::policy::evaluation::{Request, allowed, applies, holds};

/// A key that holds a boolean.
const FLAG: &str = "kms:GrantIsForAWSResource";
/// A key that holds one text.
const REGION: &str = "aws:RequestedRegion";

/// A small generator: the same cases in every run, and as many as are asked for.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % most as u64).unwrap()
    }

    fn one_of<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    fn pattern(&mut self, start: &str) -> String {
        let length = self.below(4);
        (0..length).fold(start.to_owned(), |text, _| text + self.one_of(&["a", "b", "*", "?", "A"]))
    }

    fn text_of(&mut self, pattern: &str) -> String {
        let mut out = String::new();
        for c in pattern.chars() {
            match c {
                '*' => (0..self.below(4)).for_each(|_| out += self.one_of(&["a", "b", "c"])),
                '?' => out += self.one_of(&["a", "b", "c"]),
                c => out.push(c),
            }
        }
        out
    }

    fn action(&mut self) -> String {
        if self.below(12) == 0 {
            return "*".into();
        }
        let service = self.one_of(&["s:", "t:"]);
        let pattern = self.pattern(service);
        if pattern.ends_with(':') { pattern + "a" } else { pattern }
    }

    fn condition(&mut self) -> String {
        let most = [0, 0, 0, 1, 1, 2][self.below(6)];
        self.tests(most)
    }

    /// A condition of so many tests at most; of each key what it may hold: a boolean, one text, or several.
    fn tests(&mut self, most: usize) -> String {
        const OPERATORS: [&str; 12] = [
            "StringEquals",
            "StringEquals",
            "StringNotEquals",
            "StringNotEquals",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "StringEqualsIfExists",
            "StringNotEqualsIfExists",
            "StringLikeIfExists",
            "ForAnyValue:StringEquals",
            "ForAllValues:StringNotEquals",
            "Null",
        ];
        let mut condition = Map::new();
        for _ in 0..most {
            let key = self.one_of(&[FLAG, FLAG, REGION, REGION, "k", "K"]);
            let operator = match key {
                FLAG => self.one_of(&["Bool", "Bool", "BoolIfExists", "StringEquals", "StringNotEquals", "Null"]),
                _ => self.one_of(&OPERATORS),
            };
            let value = match (key, operator) {
                (_, "Null") | (FLAG, _) => json!(self.below(2) == 0),
                (_, "StringLikeIfExists") => json!(["a*", "?"]),
                _ => json!((0..=self.below(2)).map(|_| self.one_of(&["a", "A", "b"])).collect::<Vec<_>>()),
            };
            let tests = condition.entry(operator).or_insert_with(|| json!({}));
            tests[key] = value;
        }
        if condition.is_empty() { String::new() } else { format!(r#","Condition":{}"#, Value::Object(condition)) }
    }

    fn policies(&mut self) -> Granted {
        let policies = (0..=self.below(2)).map(|_| {
            let statements: Vec<String> = (0..=self.below(3)).map(|_| self.statement()).collect();
            source("p", &statements.join(","))
        });
        let identity: Vec<Source> = policies.collect();
        let boundary = (self.below(4) == 0).then(|| {
            let statements: Vec<String> = (0..=self.below(3)).map(|_| self.statement()).collect();
            source("b", &statements.join(","))
        });
        Granted { identity, boundary }
    }

    /// All is granted, and something denied under a condition, which may contradict what is asked for.
    fn guard(&mut self) -> String {
        let (action, condition) = (self.action(), self.tests(1));
        format!(
            r#"{{"Effect":"Allow","Action":"*","Resource":"*"}},{{"Effect":"Deny","Action":"{action}","Resource":"*"{condition}}}"#
        )
    }

    fn statement(&mut self) -> String {
        let effect = if self.below(4) == 0 { "Deny" } else { "Allow" };
        let list = |items: Vec<String>| serde_json::to_string(&items).unwrap();
        let (actions, resources) = (1 + self.below(3), 1 + self.below(2));
        let actions = list((0..actions).map(|_| self.action()).collect());
        let resources = list((0..resources).map(|_| self.pattern("r")).collect());
        let not = |chance: &mut Self| if chance.below(6) == 0 { "Not" } else { "" };
        let (not_action, not_resource) = (not(self), not(self));
        let condition = self.condition();
        format!(
            r#"{{"Effect":"{effect}","{not_action}Action":{actions},"{not_resource}Resource":{resources}{condition}}}"#
        )
    }
}

/// How many concrete requests of what is called covered are put to the reference; more when built with `ROLECALL_SAMPLES`
/// set (`make soak`).
fn samples() -> usize {
    option_env!("ROLECALL_SAMPLES").and_then(|samples| samples.parse().ok()).unwrap_or(50_000)
}

/// No request of what is called covered is denied by the reference, and every example of what is missing is.
#[test]
fn covered_is_sound_and_missing_has_a_witness() {
    let (mut chance, contexts) = (Chance(7), contexts());
    let (mut left, mut verdicts) = (samples(), BTreeMap::new());
    while left > 0 {
        let guarded = chance.below(3) == 0;
        let (policies, conditions) = if guarded {
            let identity = vec![source("g", &chance.guard())];
            (Granted { identity, boundary: None }, chance.tests(1))
        } else {
            (chance.policies(), chance.condition())
        };
        let conditions = conditions.replace(",\"Condition\":", "");
        let (action, resource) = (chance.action(), chance.pattern("r"));
        let wanted = required(&[&action], &resource, &conditions);
        let finding = one(wanted.clone(), &policies);
        *verdicts.entry(finding.verdict).or_insert(0) += 1;
        left -= check(&mut chance, &contexts, &wanted, &policies, &finding).min(left);
    }
    // The generator reaches every verdict that needs no unreadable layer.
    for verdict in [Verdict::Covered, Verdict::Conditional, Verdict::Missing] {
        assert!(verdicts.get(&verdict).is_some_and(|count| *count > 100), "{verdicts:?}");
    }
}

/// Whoever is told that an action is allowed nowhere is denied it by the reference, on whatever is asked for and in any context.
#[test]
fn what_is_allowed_nowhere_is_never_allowed() {
    let (mut chance, contexts) = (Chance(11), contexts());
    let mut found = 0;
    for _ in 0..1_500 {
        let policies = chance.policies();
        let asked: Vec<Required> = (0..=chance.below(2))
            .map(|_| {
                let (action, resource) = (chance.action(), chance.pattern("r"));
                required(&[&action], &resource, &chance.condition().replace(",\"Condition\":", ""))
            })
            .collect();
        let findings = judge(&asked, &policies);
        for finding in allowed_nowhere(&asked, &policies, &findings) {
            let action = Glob::new(&tidy_action(&finding.action));
            let asks = |entry: &&Required| Glob::new(&tidy_action(&entry.actions[0])).includes(&action);
            for entry in asked.iter().filter(asks) {
                found += usize::from(never_allowed(&mut chance, &contexts, (entry, finding), &policies));
            }
        }
    }
    assert!(found > 200, "{found}");
}

/// Draws concrete requests of an action out of what is required, none of which the reference allows; whether there was one.
fn never_allowed(
    chance: &mut Chance,
    contexts: &[Context],
    (wanted, finding): (&Required, &Finding),
    policies: &Granted,
) -> bool {
    let documents: Vec<&Document> = policies.identity.iter().map(|source| source.document.as_ref().unwrap()).collect();
    let boundary = policies.boundary.as_ref().map(|source| source.document.as_ref().unwrap());
    let mut put = false;
    for _ in 0..4 {
        let (action, resource) = (chance.text_of(&finding.action), chance.text_of(&wanted.resource));
        for context in contexts {
            let request = request(&action, &resource, context);
            if is_asked_for(wanted, &request) {
                put = true;
                assert!(!allowed(&documents, boundary, &request), "{request:?} of {wanted:?} by {policies:?}");
            }
        }
    }
    put
}

/// A context, by key in lower case.
type Context = BTreeMap<String, Vec<String>>;

/// Every context that the drawn conditions tell apart, and some more. A boolean and a region are one, a `k` may be several.
fn contexts() -> Vec<Context> {
    let values = |all: &[&[&str]]| -> Vec<Vec<String>> {
        all.iter().map(|values| values.iter().map(|value| (*value).to_owned()).collect()).collect()
    };
    let mut contexts = Vec::new();
    for flag in values(&[&[], &["true"], &["false"]]) {
        for region in values(&[&[], &["a"], &["A"], &["b"], &["c"]]) {
            for k in values(&[&[], &["a"], &["A"], &["b"], &["c"], &["a", "b"], &["A", "b"], &["a", "c"]]) {
                let all = [(FLAG, &flag), (REGION, &region), ("k", &k)];
                contexts.push(all.map(|(key, values)| (key.to_ascii_lowercase(), values.clone())).into());
            }
        }
    }
    contexts
}

fn request(action: &str, resource: &str, context: &Context) -> Request {
    let (action, resource) = (action.to_owned(), Some(resource.to_owned()));
    Request { action, resource, context: context.clone(), ..Request::default() }
}

/// Draws concrete requests out of what is required and puts those of what is covered to the reference; how many.
fn check(chance: &mut Chance, contexts: &[Context], wanted: &Required, policies: &Granted, finding: &Finding) -> usize {
    let documents: Vec<&Document> = policies.identity.iter().map(|source| source.document.as_ref().unwrap()).collect();
    let boundary = policies.boundary.as_ref().map(|source| source.document.as_ref().unwrap());
    let under_condition = |context: &&Context| wanted.conditions.iter().all(|test| holds(test, context) == Some(true));
    let contexts: Vec<&Context> = contexts.iter().filter(under_condition).collect();
    let mut put = 0;
    if finding.verdict == Verdict::Covered && !contexts.is_empty() {
        for _ in 0..8 {
            let (action, resource) = (chance.text_of(&wanted.actions[0]), chance.text_of(&wanted.resource));
            for _ in 0..8 {
                let request = request(&action, &resource, contexts[chance.below(contexts.len())]);
                if is_asked_for(wanted, &request) {
                    put += 1;
                    assert!(allowed(&documents, boundary, &request), "{request:?} of {wanted:?} by {policies:?}");
                }
            }
        }
    }
    if finding.verdict == Verdict::Missing {
        // Without an example the whole of it is missing.
        let whole = || (chance.text_of(&wanted.actions[0]), chance.text_of(&wanted.resource));
        let (action, resource) = &finding.example.clone().unwrap_or_else(whole);
        assert!(
            matches(&wanted.actions[0].to_lowercase(), &action.to_lowercase()) && matches(&wanted.resource, resource)
        );
        // Nobody asks for anything under a condition that contradicts itself.
        let mut asked = contexts.iter().map(|context| request(action, resource, context));
        let refused =
            asked.clone().any(|request| is_asked_for(wanted, &request) && !allowed(&documents, boundary, &request));
        let asked_for = asked.any(|request| is_asked_for(wanted, &request));
        assert!(asked_for || contexts.is_empty() || finding.example.is_none(), "{finding:?} is not asked for");
        assert!(refused || !asked_for, "{finding:?} {action} {resource} by {policies:?}");
    }
    put
}

/// Whether a request lies in what is required: action names are never empty.
fn is_asked_for(wanted: &Required, request: &Request) -> bool {
    let statement = crate::policy::Statement {
        sid: None,
        effect: Effect::Allow,
        principals: None,
        actions: crate::policy::Clause::Only(wanted.actions.clone()),
        resources: Some(crate::policy::Clause::Only(vec![wanted.resource.clone()])),
        conditions: wanted.conditions.clone(),
    };
    let named = request.action.split_once(':').is_none_or(|(_, name)| !name.is_empty());
    !request.action.is_empty() && named && request.resource.as_deref() != Some("") && applies(&statement, request)
}
