//! What a change would take away from a role.

use std::collections::BTreeSet;
use std::fmt;

use super::deletion::digest;
use crate::desired::Wanted;
use crate::desired::issuer::DesiredProvider;
use crate::desired::keys::named;
use crate::desired::request::ReadRequest;
use crate::observed::{ReadPolicy, Seen};
use crate::policy::coverage::{Finding, Granted, Required, Source, Verdict, judge};
use crate::policy::document::{Clause, Statement};
use crate::policy::trust::{Token, admits};
use crate::policy::{Document, Effect};

/// The audience that the components of OpenShift put into their tokens.
const AUDIENCE: &str = "openshift";
/// What a change takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    /// In words, not all of it where it is much.
    words: String,
    /// Names all of it.
    digest: String,
}

impl Loss {
    /// These things of one kind, which is named before them; nothing where there are none.
    pub(super) fn of(kind: &str, parts: &[String]) -> Option<Self> {
        if parts.is_empty() {
            return None;
        }
        let parts = || parts.iter().map(String::as_str);
        Some(Self { words: format!("{kind}{}", named(parts())), digest: digest(parts()) })
    }

    /// What cannot be told apart, in words.
    pub(super) fn unknown(words: String) -> Self {
        Self { digest: digest(std::iter::once(words.as_str())), words }
    }

    /// The value of the consent to it, for what a thing is called: what is lost later has another.
    pub(super) fn consent(&self, what: &str) -> String {
        format!("{what}/{}", self.digest)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// What an inline policy grants that the wanted one does not surely grant.
pub(super) fn lost_permissions(found: &ReadPolicy, wanted: &Document) -> Option<Loss> {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let words = format!("what its inline policy grants, which cannot be read ({error})");
            return Some(Loss::unknown(words));
        }
    };
    let granted =
        Granted { identity: vec![Source { name: "the request".into(), document: Ok(wanted.clone()) }], boundary: None };
    let said: Vec<Required> = found.statements.iter().flat_map(entries).collect();
    doubtful(judge(&said, &granted))
}

/// What a request would no longer surely get under a boundary.
pub(super) fn denied_by_boundary(wanted: &Wanted, boundary: &Seen<Document>, arn: &str) -> Option<Loss> {
    let document = match boundary.known() {
        Ok(document) => Ok(document.clone()),
        Err(fault) => Err(fault.to_string()),
    };
    denied_by(wanted, &wanted.read, Source { name: format!("permissions boundary {arn}"), document })
}

/// What a request, the one in force or what is granted ahead with it, does not surely get under this boundary.
pub(super) fn denied_by(wanted: &Wanted, request: &ReadRequest, boundary: Source) -> Option<Loss> {
    let granted = Granted {
        identity: vec![Source { name: "the request".into(), document: Ok(wanted.role.permissions.document.clone()) }],
        boundary: Some(boundary),
    };
    doubtful(judge(&request.required(), &granted))
}

/// The findings that are no clear yes.
fn doubtful(findings: Vec<Finding>) -> Option<Loss> {
    let lost = findings.into_iter().filter(|finding| finding.verdict != Verdict::Covered);
    let lost: Vec<String> = lost.map(|finding| format!("{} on {}", finding.action, finding.resource)).collect();
    Loss::of("", &lost)
}

/// A statement, resource by resource; one that speaks of everything but something as everything.
fn entries(statement: &Statement) -> Vec<Required> {
    let all = |clause: &Clause| match clause {
        Clause::Only(patterns) => patterns.clone(),
        Clause::AllBut(_) => vec!["*".to_owned()],
    };
    let everything_but =
        matches!(statement.actions, Clause::AllBut(_)) || matches!(statement.resources, Some(Clause::AllBut(_)));
    if statement.effect == Effect::Deny && everything_but {
        // It denies less than everything: what it leaves may be lost.
        return Vec::new();
    }
    let resources = statement.resources.as_ref().map_or_else(|| vec!["*".to_owned()], all);
    let entry = |resource: String| Required {
        effect: statement.effect,
        actions: all(&statement.actions),
        resource,
        conditions: statement.conditions.clone(),
    };
    resources.into_iter().map(entry).collect()
}

/// The subjects that a trust policy admits by the provider and that are not among those wanted.
pub(super) fn lost_subjects(found: &ReadPolicy, provider: &DesiredProvider, wanted: &Document) -> Option<Loss> {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let words = format!("who its trust policy admits, which cannot be read ({error})");
            return Some(Loss::unknown(words));
        }
    };
    let after = subjects(wanted, provider);
    let lost: Vec<String> = subjects(found, provider).difference(&after).cloned().collect();
    Loss::of("the subjects ", &lost)
}

fn subjects(trust: &Document, provider: &DesiredProvider) -> BTreeSet<String> {
    let key = format!("{}:sub", provider.host_and_path());
    let names = |statement: &&Statement| {
        statement.effect == Effect::Allow
            && statement
                .principals
                .as_ref()
                .is_some_and(|who| who.by_kind.get("Federated").is_some_and(|arns| arns.contains(&provider.arn)))
    };
    let of_statement = |statement: &Statement| {
        let mut tests = statement.conditions.iter().filter(|test| test.key.eq_ignore_ascii_case(&key)).peekable();
        match tests.peek() {
            None => vec!["any subject".to_owned()],
            Some(_) => tests.flat_map(|test| test.values.clone()).collect(),
        }
    };
    trust.statements.iter().filter(names).flat_map(of_statement).collect()
}

/// The service accounts of a request that a trust policy admits now, and would not admit any more.
pub(super) fn shut_out(
    found: &ReadPolicy,
    wanted: &Wanted,
    after: &Document,
    provider: &DesiredProvider,
) -> Option<Loss> {
    let Ok(found) = found else { return None };
    let shut_out = wanted.read.service_accounts.iter().filter(|account| {
        let subject = format!("system:serviceaccount:{}:{account}", wanted.read.secret.namespace);
        let token =
            Token { provider: &provider.arn, issuer: provider.host_and_path(), audience: AUDIENCE, subject: &subject };
        admits(found, &token).is_ok() && admits(after, &token).is_err()
    });
    Loss::of("the service accounts ", &shut_out.cloned().collect::<Vec<_>>())
}
