//! What live roles grant and nobody asks for.

use super::{Part, parts};
use crate::policy::coverage::{Granted, Required, Source, Verdict, judge};
use crate::policy::document::{Clause, Document, Effect, Statement};

/// What the policies of a role grant beyond what is asked for. What they deny is not granted; policies that cannot be read
/// are passed over.
pub fn surplus(granted: &Granted, required: Vec<Required>) -> Vec<Part> {
    let documents = || granted.identity.iter().filter_map(|source| source.document.as_ref().ok());
    let statements = || documents().flat_map(|document: &Document| &document.statements);
    let said: Vec<Required> = statements().flat_map(entries).collect();
    let asked = Granted { identity: vec![Source::asking_for("the request", required)], boundary: None };
    let mut parts = parts(judge(&said, &asked), |finding| finding.verdict == Verdict::Missing);
    parts.extend(statements().filter(|statement| statement.effect == Effect::Allow).filter_map(|s| all_but(s, &asked)));
    for part in &mut parts {
        part.verdict = Verdict::Covered;
        part.because = "no request asks for it".into();
    }
    parts
}

/// A statement, resource by resource; nothing where it speaks of everything but something.
fn entries(statement: &Statement) -> Vec<Required> {
    let (Clause::Only(actions), Some(Clause::Only(resources))) = (&statement.actions, &statement.resources) else {
        return Vec::new();
    };
    let entry = |resource: &String| Required {
        effect: statement.effect,
        actions: actions.clone(),
        resource: resource.clone(),
        conditions: statement.conditions.clone(),
    };
    resources.iter().map(entry).collect()
}

/// What a statement grants that speaks of everything but something: all of it, unless as much is asked for.
fn all_but(statement: &Statement, asked: &Granted) -> Option<Part> {
    let words = |clause: &Clause, name: &str| match clause {
        Clause::Only(patterns) => patterns.join(", "),
        Clause::AllBut(patterns) => format!("{name} {}", patterns.join(", ")),
    };
    let resources = statement.resources.as_ref()?;
    if matches!((&statement.actions, resources), (Clause::Only(_), Clause::Only(_))) {
        return None;
    }
    let all = |clause: &Clause| match clause {
        Clause::Only(patterns) => patterns.clone(),
        Clause::AllBut(_) => vec!["*".to_owned()],
    };
    let everything = all(resources).into_iter().map(|resource| Required {
        effect: Effect::Allow,
        actions: all(&statement.actions),
        resource,
        conditions: statement.conditions.clone(),
    });
    let findings = judge(&everything.collect::<Vec<_>>(), asked);
    let part = parts(findings, |finding| finding.verdict == Verdict::Missing).into_iter().next()?;
    Some(Part {
        actions: vec![words(&statement.actions, "NotAction")],
        resource: words(resources, "NotResource"),
        example: None,
        ..part
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::document::Test;

    fn granted(statements: &str) -> Granted {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        let document = Ok(Document::parse(&text).unwrap());
        Granted { identity: vec![Source { name: "p".into(), document }], boundary: None }
    }

    fn asks(effect: Effect, action: &str) -> Required {
        Required { effect, actions: vec![action.into()], resource: "*".into(), conditions: Vec::<Test>::new() }
    }

    fn told(granted: &Granted, required: Vec<Required>) -> Vec<(String, String)> {
        surplus(granted, required).into_iter().map(|part| (part.actions.join(","), part.resource)).collect()
    }

    #[test]
    fn what_is_denied_is_no_surplus() {
        let live = granted(
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:DeleteBucket","Resource":"*"}"#,
        );
        let exactly = vec![asks(Effect::Allow, "s3:*"), asks(Effect::Deny, "s3:DeleteBucket")];
        assert_eq!(told(&live, exactly), []);
        let open = granted(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#);
        let less = vec![asks(Effect::Allow, "s3:*"), asks(Effect::Deny, "s3:DeleteBucket")];
        assert_eq!(told(&open, less), [("s3:*".into(), "*".into())]);
    }

    #[test]
    fn everything_but_something_is_told_as_it_is_said() {
        let live = granted(r#"{"Effect":"Allow","NotAction":["iam:*","sts:*"],"Resource":"*"}"#);
        assert_eq!(told(&live, vec![asks(Effect::Allow, "s3:Get*")]), [("NotAction iam:*, sts:*".into(), "*".into())]);
        assert_eq!(told(&live, vec![asks(Effect::Allow, "*")]), []);
    }
}
