//! When two documents mean the same, and in what they differ.
//!
//! [`Canonical`] is a form in which the rules of the language hold: two documents are equal if and only if their
//! forms are. It does not merge statements: two ways to cut one grant into statements are different documents.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::canonical_value;
use super::document::{Clause, Document, Effect, Principals, Statement, Version};
use super::pattern::{tidy, tidy_action};

/// A document in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Canonical {
    /// Whether `${…}` are variables in it; without any, the version has no meaning.
    variables: bool,
    statements: BTreeSet<CanonicalStatement>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CanonicalStatement {
    effect: Effect,
    principals: Option<(bool, BTreeMap<String, BTreeSet<String>>)>,
    actions: CanonicalClause,
    resources: Option<CanonicalClause>,
    conditions: BTreeSet<(String, String, BTreeSet<String>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CanonicalClause {
    inverted: bool,
    patterns: BTreeSet<String>,
}

impl Canonical {
    /// The canonical form of a document.
    pub fn of(document: &Document) -> Self {
        Self {
            variables: document.version == Version::V2012 && document.statements.iter().any(has_variables),
            statements: document.statements.iter().map(CanonicalStatement::of).collect(),
        }
    }

    /// A text that is equal for equal forms, for fingerprints.
    pub fn to_text(&self) -> String {
        let mut text = format!("variables={}\n", self.variables);
        for statement in &self.statements {
            for line in statement.lines(&Spelling::new()) {
                text.push_str(&line);
                text.push('\n');
            }
            text.push_str("--\n");
        }
        text
    }

    fn lines(&self, spelling: &Spelling) -> BTreeSet<String> {
        self.statements.iter().flat_map(|statement| statement.lines(spelling)).collect()
    }
}

/// Whether two documents mean the same.
pub fn equivalent(left: &Document, right: &Document) -> bool {
    Canonical::of(left) == Canonical::of(right)
}

/// In what `found` differs from `wanted`: one line for each grant that only one of them has, `-` for what is missing
/// and `+` for what should not be there. Empty for equal documents.
pub fn differences(found: &Document, wanted: &Document) -> Vec<String> {
    let spelling: Spelling =
        [found, wanted].into_iter().flat_map(actions).map(|a| (tidy_action(a), a.clone())).collect();
    let (found, wanted) = (Canonical::of(found), Canonical::of(wanted));
    if found == wanted {
        return Vec::new();
    }
    let (found_lines, wanted_lines) = (found.lines(&spelling), wanted.lines(&spelling));
    let missing = wanted_lines.difference(&found_lines).map(|line| format!("-{line}"));
    let extra = found_lines.difference(&wanted_lines).map(|line| format!("+{line}"));
    let lines: Vec<String> = missing.chain(extra).collect();
    if lines.is_empty() {
        return vec!["the same grants, cut into other statements".into()];
    }
    lines
}

/// How a document spells an action, by its canonical form.
type Spelling = BTreeMap<String, String>;

fn actions(document: &Document) -> impl Iterator<Item = &String> {
    document.statements.iter().flat_map(|statement| match &statement.actions {
        Clause::Only(actions) | Clause::AllBut(actions) => actions,
    })
}

impl CanonicalStatement {
    fn of(statement: &Statement) -> Self {
        Self {
            effect: statement.effect,
            principals: statement.principals.as_ref().map(canonical_principals),
            actions: CanonicalClause::of(&statement.actions, tidy_action),
            resources: statement.resources.as_ref().map(|clause| CanonicalClause::of(clause, tidy)),
            conditions: statement
                .conditions
                .iter()
                .map(|test| {
                    let values = test.values.iter().map(|value| canonical_value(&test.operator, value)).collect();
                    (test.operator.clone(), test.key.to_ascii_lowercase(), values)
                })
                .collect(),
        }
    }

    /// One line for each action (or principal) of the statement.
    fn lines(&self, spelling: &Spelling) -> Vec<String> {
        let mut tail = String::new();
        if let Some(resources) = &self.resources {
            tail.push_str(if resources.inverted { " on all but " } else { " on " });
            tail.push_str(&join(&resources.patterns));
        }
        if let Some((inverted, kinds)) = &self.principals {
            tail.push_str(if *inverted { " for all but " } else { " for " });
            tail.push_str(&kinds.values().map(join).collect::<Vec<_>>().join(" and "));
        }
        for (operator, key, values) in &self.conditions {
            tail.push_str(&format!(" if {operator} {key} {}", join(values)));
        }
        let effect = self.effect.as_str();
        if self.actions.inverted {
            return vec![format!("{effect} all but {}{tail}", join(&self.actions.patterns))];
        }
        let spelt = |action: &String| spelling.get(action).unwrap_or(action).clone();
        self.actions.patterns.iter().map(|action| format!("{effect} {}{tail}", spelt(action))).collect()
    }
}

impl CanonicalClause {
    fn of(clause: &Clause, tidy: impl Fn(&str) -> String) -> Self {
        let (inverted, patterns) = match clause {
            Clause::Only(patterns) => (false, patterns),
            Clause::AllBut(patterns) => (true, patterns),
        };
        Self { inverted, patterns: patterns.iter().map(|p| tidy(p)).collect() }
    }
}

/// `"*"` is `{"AWS": "*"}`, and an account's id is its root user's ARN.
fn canonical_principals(principals: &Principals) -> (bool, BTreeMap<String, BTreeSet<String>>) {
    let mut kinds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (kind, ids) in &principals.by_kind {
        let kind = if kind == "*" { "AWS" } else { kind };
        let ids = ids.iter().map(|id| if kind == "AWS" { account_of_root(id).unwrap_or(id) } else { id }.to_owned());
        kinds.entry(kind.to_owned()).or_default().extend(ids);
    }
    (principals.inverted, kinds)
}

fn account_of_root(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let (_, _, service, _, account, rest) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (service == "iam" && rest == "root").then_some(account)
}

fn has_variables(statement: &Statement) -> bool {
    let clause = |clause: &Clause| match clause {
        Clause::Only(p) | Clause::AllBut(p) => p.iter().any(|p| p.contains("${")),
    };
    statement.resources.as_ref().is_some_and(clause)
        || statement.conditions.iter().any(|test| test.values.iter().any(|v| v.contains("${")))
}

fn join(items: &BTreeSet<String>) -> String {
    items.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
