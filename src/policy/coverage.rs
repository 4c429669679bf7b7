//! Whether what a role's policies grant contains what a request asks for, exactly: action × resource × condition.
//!
//! What is asked for is itself a language: `ec2:Describe*` is covered only if every action that it matches is allowed, by
//! whichever statements together. The texts of each required pattern are told apart by which statements match them
//! ([`super::automaton`]); each kind is judged by AWS's evaluation logic, and the worst verdict is the answer.
//!
//! The judgement is sound: what is called [`Verdict::Covered`] is allowed, request by request, by the reference
//! ([`super::evaluation`]). Policy variables and layers that cannot be read are never guessed at.

mod contradiction;
mod implication;
mod layers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::automaton::{Effort, Glob, Kind, Language, kinds, unnamed_by};
use super::document::{Clause, Document, Effect, Statement, Test, Version};
use super::pattern::tidy_action;
pub use implication::implies;
use layers::{Concerned, Judged, Statements, widened};

/// A layer of policies: one document and what it is called.
#[derive(Debug, Clone)]
pub struct Source {
    /// What it is, in words: `inline policy x`, `attached policy arn:…`, `permissions boundary arn:…`.
    pub name: String,
    /// The document, or why it could not be read.
    pub document: Result<Document, String>,
}

impl Source {
    /// A policy that grants just what is asked for.
    pub fn asking_for(name: &str, required: Vec<Required>) -> Self {
        let statements = required.into_iter().map(|entry| Statement {
            sid: None,
            effect: entry.effect,
            principals: None,
            actions: Clause::Only(entry.actions),
            resources: Some(Clause::Only(vec![entry.resource])),
            conditions: entry.conditions,
        });
        let document = Document { version: Version::V2012, id: None, statements: statements.collect() };
        Self { name: name.to_owned(), document: Ok(document) }
    }
}

/// What a role is granted.
#[derive(Debug, Clone, Default)]
pub struct Granted {
    /// Its inline and attached policies.
    pub identity: Vec<Source>,
    /// Its permissions boundary.
    pub boundary: Option<Source>,
}

/// A statement of what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    /// Allow, or a Deny by which a request restricts itself.
    pub effect: Effect,
    /// Action patterns, as the request spells them.
    pub actions: Vec<String>,
    /// A resource pattern.
    pub resource: String,
    /// The condition.
    pub conditions: Vec<Test>,
}

/// A verdict, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// All of it is allowed.
    Covered,
    /// It is allowed when a condition holds that the request does not ask for.
    Conditional,
    /// It cannot be told: a policy variable, or a layer that could not be read.
    Indeterminate,
    /// Some of it is not allowed.
    Missing,
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Reason {
    /// Allowed by these statements.
    #[error("allowed by {0}")]
    Allowed(String),
    /// Allowed under a condition.
    #[error("{statement} allows it only if {condition}")]
    OnlyIf {
        /// The statement.
        statement: String,
        /// The condition.
        condition: String,
    },
    /// Denied under a condition.
    #[error("{statement} denies it if {condition}")]
    DeniedIf {
        /// The statement.
        statement: String,
        /// The condition.
        condition: String,
    },
    /// A policy variable decides.
    #[error("{0} has a policy variable, whose value is not known here")]
    Variable(String),
    /// A layer could not be read.
    #[error("{name} could not be read ({why})")]
    Unreadable {
        /// The layer.
        name: String,
        /// Why.
        why: String,
    },
    /// The question is too large.
    #[error("the patterns are too involved to be compared")]
    TooLarge,
    /// Nothing allows it.
    #[error("no statement of the inline policy or of an attached policy allows it")]
    NoStatement,
    /// The boundary does not allow it.
    #[error("{0} does not allow it")]
    OutsideBoundary(String),
    /// A statement denies it.
    #[error("{0} denies it")]
    Denied(String),
}

/// The judgement of one required action pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The action pattern, as the request spells it.
    pub action: String,
    /// The resource pattern.
    pub resource: String,
    /// The condition that the request asks for.
    pub conditions: Vec<Test>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// A concrete action and resource to which this applies, where it is not the whole pattern.
    pub example: Option<(String, String)>,
}

/// Judges everything that is required, in the order in which it is asked for.
pub fn judge(required: &[Required], granted: &Granted) -> Vec<Finding> {
    let exempt: Vec<&Required> = required.iter().filter(|entry| entry.effect == Effect::Deny).collect();
    let mut findings = Vec::new();
    for entry in required.iter().filter(|entry| entry.effect == Effect::Allow) {
        let statements = Statements::new(granted, &exempt, entry);
        let mut seen = BTreeSet::new();
        for action in entry.actions.iter().filter(|action| seen.insert(tidy_action(action))) {
            findings.push(judge_one(action, entry, &statements));
        }
    }
    findings
}

fn judge_one(action: &str, entry: &Required, statements: &Statements<'_>) -> Finding {
    let judged = match statements.allow_at_once(action, &entry.resource) {
        Some(reason) => (Verdict::Covered, reason, None),
        None => worst(action, &entry.resource, statements),
    };
    let (verdict, reason, example) = judged;
    Finding {
        action: action.to_owned(),
        resource: entry.resource.clone(),
        conditions: entry.conditions.clone(),
        verdict,
        reason,
        example,
    }
}

/// A verdict, why, and a concrete action and resource that show it.
type Worst = (Verdict, Reason, Option<(String, String)>);

fn worst(action: &str, resource: &str, statements: &Statements<'_>) -> Worst {
    let asked = Glob::new(&required_action(action));
    // No resource has an empty name. A variable stands for anything.
    let wanted = Glob::new(&if resource == "*" { "?*".to_owned() } else { widened(resource) });
    let by_action = statements.concerning(&asked, &wanted);
    let judged = at_once(&asked, &wanted, &by_action, statements)
        .unwrap_or_else(|| of_every_kind(&asked, &wanted, &by_action, statements));
    spelt(action, judged)
}

/// The verdict on the worst kind of texts, told apart by which statements match them.
fn of_every_kind(asked: &Glob, wanted: &Glob, concerned: &[Concerned<'_, '_>], statements: &Statements<'_>) -> Worst {
    let mut effort = Effort::new();
    let languages: Vec<_> = concerned.iter().map(|statement| &statement.actions).collect();
    let of_action = kinds(asked, &languages, &mut effort);
    let mut complete = of_action.complete;
    let mut worst: Option<(Judged, String, String)> = None;
    let mut best = Verdict::Missing;
    let mut of_resource: BTreeMap<Vec<usize>, Vec<Kind>> = BTreeMap::new();
    for kind in of_action.found {
        let matching: Vec<usize> = kind.matching.iter().copied().collect();
        if !of_resource.contains_key(&matching) {
            let languages: Vec<_> = matching.iter().map(|at| &concerned[*at].resources).collect();
            let found = kinds(wanted, &languages, &mut effort);
            complete &= found.complete;
            of_resource.insert(matching.clone(), found.found);
        }
        for on in of_resource.get(&matching).into_iter().flatten() {
            let effective: Vec<_> = on.matching.iter().map(|at| concerned[matching[*at]].ready).collect();
            let judged = statements.evaluate(&effective);
            if judged.exempt {
                continue; // what the request denies itself is not asked for
            }
            best = best.min(judged.verdict);
            if worst.as_ref().is_none_or(|(known, ..)| judged.verdict > known.verdict) {
                worst = Some((judged, kind.example.clone(), on.example.clone()));
            }
        }
    }
    match worst {
        // What was found to be missing is missing, whatever else there is.
        Some((judged, on_action, on_resource)) if complete || judged.verdict == Verdict::Missing => {
            // An example tells which part; of the whole there is none to be told.
            let example = (!complete || best != judged.verdict).then_some((on_action, on_resource));
            (judged.verdict, judged.reason, example)
        }
        None if complete => (Verdict::Covered, Reason::Allowed("nothing is asked for".into()), None),
        _ => (Verdict::Indeterminate, Reason::TooLarge, None),
    }
}

/// An example that is the action itself is spelt as the request spells it.
fn spelt(action: &str, (verdict, reason, example): Worst) -> Worst {
    let example = example.map(|(example, on)| {
        let itself = example.eq_ignore_ascii_case(action);
        (if itself { action.to_owned() } else { example }, on)
    });
    (verdict, reason, example)
}

/// The verdict where only plain grants concern what is asked for, which is nearly always so, and then polynomial: no text
/// is allowed by fewer of them than one whose wildcards stand for a character that no pattern names. `None` where the
/// texts have to be told apart.
fn at_once(asked: &Glob, wanted: &Glob, concerned: &[Concerned<'_, '_>], statements: &Statements<'_>) -> Option<Worst> {
    if !concerned.iter().all(Concerned::only_adds) {
        return None;
    }
    let matching = |action: &Glob, resource: &Glob| -> Judged {
        let includes = |language: &Language, text| language.inverted || language.globs.iter().any(|g| g.includes(text));
        let all = concerned.iter().filter(|one| includes(&one.actions, action) && includes(&one.resources, resource));
        statements.evaluate(&all.map(|one| one.ready).collect::<Vec<_>>())
    };
    let least = matching(asked, wanted);
    if least.verdict == Verdict::Covered {
        return Some((least.verdict, least.reason, None));
    }
    let mut globs = vec![asked, wanted];
    globs.extend(concerned.iter().flat_map(|one| one.actions.globs.iter().chain(&one.resources.globs)));
    if globs[2..].iter().any(|glob| glob.counts()) {
        return None;
    }
    let most = statements.evaluate(&concerned.iter().map(|one| one.ready).collect::<Vec<_>>());
    if most.verdict == least.verdict {
        return Some((least.verdict, least.reason, None));
    }
    // What a policy and the boundary grant may have nothing in common.
    if statements.has_boundary() {
        return None;
    }
    let other = unnamed_by(&globs);
    let examples = ["", &other.to_string()].map(|star| (asked.text(star, other), wanted.text(star, other)));
    let shows = |(action, resource): &(String, String)| {
        matching(&Glob::new(action), &Glob::new(resource)).verdict == least.verdict
    };
    Some((least.verdict, least.reason, examples.into_iter().find(shows)))
}

/// The required actions as a pattern over lower-case names: an action has a service and a name, neither empty.
fn required_action(action: &str) -> String {
    let action = tidy_action(action);
    match action.split_once(':') {
        Some((service, "*")) => format!("{service}:?*"),
        None if action == "*" => "?*:?*".to_owned(),
        _ => action,
    }
}
