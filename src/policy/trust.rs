//! Whether a role's trust policy admits a service account by a token of an issuer.

use std::collections::BTreeMap;

use super::document::{Document, Effect, Statement};
use super::evaluation::{Decision, Request, decide, holds};

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

/// Why a token is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NotAdmitted {
    /// No statement lets tokens of the provider in.
    #[error("no statement of the trust policy admits tokens of {0}")]
    Provider(String),
    /// A statement of the provider asks for another subject.
    #[error("the trust policy admits other subjects only")]
    Subject,
    /// A statement admits the subject, but not the audience.
    #[error("the trust policy admits the subject, but not the audience {0}")]
    Audience(String),
    /// A statement denies it.
    #[error("a statement of the trust policy denies it")]
    Denied,
    /// The statement asks for more than a token's subject and audience.
    #[error("the trust policy also asks for {0}")]
    MoreConditions(String),
}

/// Whether a trust policy admits a token, after AWS's evaluation logic.
pub fn admits(trust: &Document, token: &Token<'_>) -> Result<(), NotAdmitted> {
    match decide([trust], &request(token)) {
        Decision::Allowed => Ok(()),
        Decision::Denied => Err(NotAdmitted::Denied),
        Decision::Unmentioned => Err(why_not(trust, token)),
    }
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
fn why_not(trust: &Document, token: &Token<'_>) -> NotAdmitted {
    let request = request(token);
    let without_conditions = |statement: &Statement| {
        let bare = Statement { conditions: Vec::new(), ..statement.clone() };
        super::evaluation::applies(&bare, &request)
    };
    let of_provider: Vec<&Statement> = trust
        .statements
        .iter()
        .filter(|statement| statement.effect == Effect::Allow && without_conditions(statement))
        .collect();
    let failing = |statement: &Statement| -> Vec<String> {
        let failed = statement.conditions.iter().filter(|test| holds(test, &request.context) != Some(true));
        failed.map(|test| test.key.to_ascii_lowercase()).collect()
    };
    let nearest = of_provider.iter().map(|statement| failing(statement)).min_by_key(Vec::len);
    match nearest {
        None => NotAdmitted::Provider(token.provider.to_owned()),
        Some(failed) if failed.contains(&key(token, "sub")) => NotAdmitted::Subject,
        Some(failed) if failed == [key(token, "aud")] => NotAdmitted::Audience(token.audience.to_owned()),
        Some(failed) => NotAdmitted::MoreConditions(failed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/i.example";

    fn trust(condition: &str) -> Document {
        Document::parse(&format!(
            r#"{{"Statement":{{"Effect":"Allow","Principal":{{"Federated":"{PROVIDER}"}},"Action":"sts:AssumeRoleWithWebIdentity"{condition}}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn admission_is_by_provider_subject_and_audience() {
        let token = Token {
            provider: PROVIDER,
            issuer: "i.example",
            audience: "openshift",
            subject: "system:serviceaccount:n:a",
        };
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
                Err(NotAdmitted::MoreConditions("j.example:sub".into())),
            ),
        ] {
            assert_eq!(admits(&trust(condition), &token), expected, "{condition}");
        }
        let other = Token { provider: "arn:aws:iam::123456789012:oidc-provider/j.example", ..token };
        assert!(matches!(admits(&trust(""), &other), Err(NotAdmitted::Provider(_))));
    }
}
