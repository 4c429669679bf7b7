//! Whether what a role's policies grant contains what a request asks for, exactly: action × resource × condition.
//!
//! What is asked for is itself a language: `ec2:Describe*` is covered only if every action that it matches is allowed, by
//! whichever statements together. The texts of each required pattern are told apart by which statements match them
//! ([`super::automaton`]); each kind is judged by AWS's evaluation logic, and the worst verdict is the answer.
//!
//! The judgement is sound: what is called [`Verdict::Covered`] is allowed, request by request, by the reference
//! ([`super::evaluation`]). Policy variables and layers that cannot be read are never guessed at.

mod contradiction;
mod denial;
mod implication;
mod layers;
mod nowhere;
mod question;
mod spelling;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::document::{Clause, Document, Effect, Statement, Test, Version};
use super::pattern::tidy_action;
pub use implication::implies;
use layers::Statements;
pub use nowhere::allowed_nowhere;
use question::Question;

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
    /// Statements deny parts of it: which statement denies which actions, in words.
    #[error("{0}")]
    DeniedInPart(String),
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
    /// A concrete action and resource to which this applies, where it is not the whole pattern. The action is spelt as the
    /// statement that decides spells it, and else as the request does.
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
    let (verdict, reason, example) = match statements.allow_at_once(action, &entry.resource) {
        Some(reason) => (Verdict::Covered, reason, None),
        None => Question::new(action, &entry.resource, statements).answer(),
    };
    Finding {
        action: action.to_owned(),
        resource: entry.resource.clone(),
        conditions: entry.conditions.clone(),
        verdict,
        reason,
        example,
    }
}
