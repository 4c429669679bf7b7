//! Whether a role's trust policy admits a service account by a token of an issuer.

use std::collections::BTreeMap;

use super::coverage::Verdict;
use super::document::{Document, Effect, Statement};
use super::evaluation::{Request, applies, holds};

/// The call by which a service account becomes a role.
const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

/// Who asks: a token as the issuer signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<'a> {
    /// ARN of the IAM OIDC provider.
    pub provider: &'a str,
    /// The issuer without its scheme, as condition keys name it.
    pub issuer: &'a str,
    /// The audience (`aud`).
    pub audience: &'a str,
    /// The subject (`sub`), such as `system:serviceaccount:openshift-ingress-operator:ingress-operator`.
    pub subject: &'a str,
}

/// Why a token is not surely admitted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NotAdmitted {
    /// No statement lets tokens of the provider in.
    #[error("no statement of the trust policy admits tokens of {0}")]
    Provider(String),
    /// The statement asks for a claim of another issuer, which these tokens never have.
    #[error("the trust policy asks for {0}, a claim of another issuer")]
    OtherIssuer(String),
    /// A statement of the provider asks for another subject.
    #[error("the trust policy admits other subjects only")]
    Subject,
    /// A statement admits the subject, but not the audience.
    #[error("the trust policy admits the subject, but not the audience {0}")]
    Audience(String),
    /// A statement denies it.
    #[error("a statement of the trust policy denies it")]
    Denied,
    /// The statement asks for more than a token's claims.
    #[error("the trust policy also asks for {0}")]
    MoreConditions(String),
    /// A statement denies it under a condition that a token does not decide.
    #[error("a statement of the trust policy denies it depending on {0}")]
    DeniedIf(String),
}

impl NotAdmitted {
    /// How grave it is: `Conditional` where something beside the token decides.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::MoreConditions(_) | Self::DeniedIf(_) => Verdict::Conditional,
            _ => Verdict::Missing,
        }
    }
}

/// How the tests of a statement stand for a token.
#[derive(Default)]
struct Standing {
    /// The keys of tests that do not hold, in lower case.
    failed: Vec<String>,
    /// The keys of tests that a token does not decide.
    open: Vec<String>,
}

/// Whether a trust policy surely admits a token, after AWS's evaluation logic. `{"AWS": "*"}` denies it as `"*"` does, but
/// does not surely admit it: trust policies that are equal get one answer, but for an Allow so spelt.
pub fn admits(trust: &Document, token: &Token<'_>) -> Result<(), NotAdmitted> {
    let request = request(token);
    // Statements that speak of such tokens at all.
    let of = |effect| -> Vec<Standing> {
        let bare = |statement: &Statement| Statement { conditions: Vec::new(), ..statement.clone() };
        let speaks = |statement: &&Statement| statement.effect == effect && applies(&bare(statement), &request);
        trust.statements.iter().filter(speaks).map(|statement| standing(statement, &request)).collect()
    };
    let denials: Vec<Standing> = of(Effect::Deny).into_iter().filter(|standing| standing.failed.is_empty()).collect();
    if denials.iter().any(|denial| denial.open.is_empty()) {
        return Err(NotAdmitted::Denied);
    }
    let grants = of(Effect::Allow);
    if !grants.iter().any(|grant| grant.failed.is_empty() && grant.open.is_empty()) {
        return Err(why_not(&grants, token));
    }
    match denials.first() {
        Some(denial) => Err(NotAdmitted::DeniedIf(denial.open.join(", "))),
        None => Ok(()),
    }
}

fn standing(statement: &Statement, request: &Request) -> Standing {
    let mut standing = Standing::default();
    for test in &statement.conditions {
        let key = test.key.to_ascii_lowercase();
        // A token has claims of its own issuer and of no other; all else is the caller's and the account's doing.
        match holds(test, &request.context).filter(|_| is_claim(&key)) {
            Some(true) => {}
            Some(false) => standing.failed.push(key),
            None => standing.open.push(key),
        }
    }
    standing
}

/// Whether a key names a claim of an issuer, such as `i.example:sub`. Global and service keys have no dot in their prefix.
fn is_claim(key: &str) -> bool {
    key.rsplit_once(':').is_some_and(|(issuer, claim)| issuer.contains('.') && matches!(claim, "sub" | "aud"))
}

fn request(token: &Token<'_>) -> Request {
    let context = [("sub", token.subject), ("aud", token.audience)]
        .map(|(claim, value)| (key(token, claim), vec![value.to_owned()]));
    Request {
        action: ACTION.into(),
        resource: None,
        principal: Some(("Federated".into(), token.provider.into())),
        context: BTreeMap::from(context),
    }
}

fn key(token: &Token<'_>, claim: &str) -> String {
    format!("{}:{claim}", token.issuer).to_ascii_lowercase()
}

/// The statement that comes nearest tells what is missing.
fn why_not(grants: &[Standing], token: &Token<'_>) -> NotAdmitted {
    let Some(nearest) = grants.iter().min_by_key(|grant| (grant.failed.len(), grant.open.len())) else {
        return NotAdmitted::Provider(token.provider.to_owned());
    };
    let (subject, audience) = (key(token, "sub"), key(token, "aud"));
    let foreign = nearest.failed.iter().find(|failed| **failed != subject && **failed != audience);
    match (foreign, nearest.failed.as_slice()) {
        (Some(foreign), _) => NotAdmitted::OtherIssuer(foreign.clone()),
        (None, []) => NotAdmitted::MoreConditions(nearest.open.join(", ")),
        (None, [one]) if *one == audience => NotAdmitted::Audience(token.audience.to_owned()),
        (None, _) => NotAdmitted::Subject,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::equivalent;

    const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/i.example";

    fn trust(condition: &str) -> Document {
        Document::parse(&format!(
            r#"{{"Statement":{{"Effect":"Allow","Principal":{{"Federated":"{PROVIDER}"}},"Action":"sts:AssumeRoleWithWebIdentity"{condition}}}}}"#
        ))
        .unwrap()
    }

    fn token() -> Token<'static> {
        Token { provider: PROVIDER, issuer: "i.example", audience: "openshift", subject: "system:serviceaccount:n:a" }
    }

    #[test]
    fn admission_is_by_provider_subject_and_audience() {
        let token = token();
        for (condition, expected) in [
            ("", Ok(())),
            (
                r#","Condition":{"StringEquals":{"i.example:sub":["system:serviceaccount:n:a","system:serviceaccount:n:b"]}}"#,
                Ok(()),
            ),
            (r#","Condition":{"StringLike":{"I.example:Sub":"system:serviceaccount:n:*"}}"#, Ok(())),
            (
                r#","Condition":{"StringEquals":{"i.example:sub":"system:serviceaccount:n:b"}}"#,
                Err(NotAdmitted::Subject),
            ),
            (
                r#","Condition":{"StringEquals":{"i.example:sub":"system:serviceaccount:n:a","i.example:aud":"sts.amazonaws.com"}}"#,
                Err(NotAdmitted::Audience("openshift".into())),
            ),
            (
                r#","Condition":{"StringEquals":{"aws:RequestedRegion":"x"}}"#,
                Err(NotAdmitted::MoreConditions("aws:requestedregion".into())),
            ),
            // The key of another issuer says nothing of this one's tokens.
            (
                r#","Condition":{"StringEquals":{"j.example:sub":"system:serviceaccount:n:a"}}"#,
                Err(NotAdmitted::OtherIssuer("j.example:sub".into())),
            ),
            // What a token does not decide is no refusal.
            (
                r#","Condition":{"StringEquals":{"i.example:sub":"system:serviceaccount:n:a"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#,
                Err(NotAdmitted::MoreConditions("aws:sourceip".into())),
            ),
            (
                r#","Condition":{"StringLike":{"i.example:sub":"system:serviceaccount:${aws:PrincipalTag/n}:a"}}"#,
                Err(NotAdmitted::MoreConditions("i.example:sub".into())),
            ),
        ] {
            assert_eq!(admits(&trust(condition), &token), expected, "{condition}");
        }
        let guarded = |guard: &str| {
            let text = trust("").to_text();
            Document::parse(&text.replace(r#""Statement":["#, &format!(r#""Statement":[{guard},"#))).unwrap()
        };
        let denies = r#"{"Effect":"Deny","Principal":"*","Action":"*""#;
        let firm = guarded(&format!(r#"{denies},"Condition":{{"StringEquals":{{"i.example:aud":"openshift"}}}}}}"#));
        assert_eq!(admits(&firm, &token), Err(NotAdmitted::Denied));
        let other = guarded(&format!(r#"{denies},"Condition":{{"StringEquals":{{"i.example:aud":"else"}}}}}}"#));
        assert_eq!(admits(&other, &token), Ok(()));
        let open = guarded(&format!(r#"{denies},"Condition":{{"NotIpAddress":{{"aws:SourceIp":"10.0.0.0/8"}}}}}}"#));
        assert_eq!(admits(&open, &token), Err(NotAdmitted::DeniedIf("aws:sourceip".into())));
        assert_eq!(NotAdmitted::DeniedIf(String::new()).verdict(), Verdict::Conditional);
        assert_eq!(NotAdmitted::Subject.verdict(), Verdict::Missing);
        let other = Token { provider: "arn:aws:iam::123456789012:oidc-provider/j.example", ..token };
        assert!(matches!(admits(&trust(""), &other), Err(NotAdmitted::Provider(_))));
    }

    #[test]
    fn everyone_in_either_spelling_is_denied_and_admitted_only_where_that_is_sure() {
        let token = token();
        let allow =
            |principal: &str| format!(r#"{{"Effect":"Allow",{principal},"Action":"sts:AssumeRoleWithWebIdentity"}}"#);
        let admitted = allow(&format!(r#""Principal":{{"Federated":"{PROVIDER}"}}"#));
        let denied = |principal: &str| format!(r#"{admitted},{{"Effect":"Deny",{principal},"Action":"sts:*"}}"#);
        let nobody = Err(NotAdmitted::Provider(PROVIDER.into()));
        for (statements, expected) in [
            (denied(r#""Principal":"*""#), Err(NotAdmitted::Denied)),
            (denied(r#""Principal":{"AWS":"*"}"#), Err(NotAdmitted::Denied)),
            (denied(r#""Principal":{"AWS":["123456789012","*"]}"#), Err(NotAdmitted::Denied)),
            (denied(r#""Principal":{"AWS":"123456789012"}"#), Ok(())),
            (denied(r#""NotPrincipal":{"AWS":"123456789012"}"#), Err(NotAdmitted::Denied)),
            // All but everyone is nobody.
            (denied(r#""NotPrincipal":"*""#), Ok(())),
            (denied(r#""NotPrincipal":{"AWS":"*"}"#), Ok(())),
            (allow(r#""Principal":"*""#), Ok(())),
            (allow(r#""Principal":{"AWS":"*"}"#), nobody.clone()),
            (allow(r#""NotPrincipal":"*""#), nobody.clone()),
            (allow(r#""NotPrincipal":{"AWS":"*"}"#), nobody),
        ] {
            let trust = Document::parse(&format!(r#"{{"Statement":[{statements}]}}"#)).unwrap();
            assert_eq!(admits(&trust, &token), expected, "{statements}");
        }
    }

    /// A statement, with whom it names in a first spelling and in a second.
    fn statement() -> impl Strategy<Value = [Value; 2]> {
        let spellings = vec![
            [json!("*"), json!({"AWS": "*"})],
            [json!("*"), json!({"AWS": ["*"]})],
            [json!({"AWS": "123456789012"}), json!({"AWS": ["arn:aws:iam::123456789012:root"]})],
            [json!({"AWS": ["*", "123456789012"]}), json!({"AWS": ["123456789012", "*", "*"]})],
            [json!({"Federated": PROVIDER}), json!({"Federated": [PROVIDER, PROVIDER]})],
            [json!({"Federated": "*"}), json!({"Federated": ["*"]})],
            [json!({"Federated": PROVIDER, "AWS": "*"}), json!({"AWS": ["*"], "Federated": [PROVIDER]})],
            [json!({"Service": "ec2.amazonaws.com"}), json!({"Service": ["ec2.amazonaws.com"]})],
        ];
        let conditions = vec![
            json!({}),
            json!({"StringEquals": {"i.example:aud": "openshift"}}),
            json!({"StringEquals": {"i.example:aud": "else"}}),
            json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
        ];
        (select(spellings), select(conditions), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(principals, condition, allows, inverted, swapped)| {
                let [one, other] = principals;
                // `{"AWS": "*"}` is not believed to admit everyone, so an Allow keeps its spelling.
                let admits = allows && !inverted;
                let principals = match (admits, swapped) {
                    (true, false) => [one.clone(), one],
                    (true, true) => [other.clone(), other],
                    (false, _) => [one, other],
                };
                principals.map(|principals| {
                    let mut statement = json!({"Effect": if allows { "Allow" } else { "Deny" }, "Action": "sts:*"});
                    statement[if inverted { "NotPrincipal" } else { "Principal" }] = principals;
                    statement["Condition"] = condition.clone();
                    statement
                })
            },
        )
    }

    proptest! {
        #[test]
        fn equal_trust_policies_get_one_answer(statements in vec(statement(), 1..4)) {
            let admitted = json!({"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": "sts:*"});
            for base in [vec![], vec![admitted]] {
                let spelt = |at: usize| {
                    let statements: Vec<Value> =
                        base.iter().cloned().chain(statements.iter().map(|pair| pair[at].clone())).collect();
                    Document::from_value(&json!({"Statement": statements})).unwrap()
                };
                let (first, second) = (spelt(0), spelt(1));
                prop_assert!(equivalent(&first, &second));
                prop_assert_eq!(admits(&first, &token()), admits(&second, &token()), "{:?} {:?}", first, second);
            }
        }
    }
}
