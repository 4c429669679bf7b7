//! Who gets a role's credentials, and what a role may do, as the state of the model is now: written from the IAM User
//! Guide ("Policy evaluation logic", "IAM JSON policy elements reference", "Create an OpenID Connect identity provider in
//! IAM"), for tests that ask after every write. Nothing here is counted, late or broken, so [`Model::on_write`] may ask.
//!
//! What it does not do: policy variables (`${…}`), session policies, SCPs, resource policies (but the issuer's bucket's),
//! signatures and times of tokens. Of AWS's own managed policies it knows `AdministratorAccess`; all others grant nothing.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Model;
use super::document::strings;
use super::resources::{Content, Role};

/// What a token says that is put before `AssumeRoleWithWebIdentity`.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// `iss`: `https://bucket.s3.region.amazonaws.com`. Issuers elsewhere cannot be read.
    pub issuer: &'a str,
    /// `sub`: `system:serviceaccount:namespace:name`.
    pub subject: &'a str,
    /// `aud`.
    pub audience: &'a str,
    /// `kid` in its header: the key that signed it.
    pub key_id: &'a str,
}

/// Whether a token gets the credentials of a role.
pub fn can_assume(model: &Model, role_arn: &str, token: &Token<'_>) -> bool {
    why_not_assume(model, role_arn, token).is_none()
}

/// Why a token does not get the credentials of a role; nothing when it does.
pub fn why_not_assume(model: &Model, role_arn: &str, token: &Token<'_>) -> Option<String> {
    trusted(model, role_arn, token).and_then(|()| signed(model, token)).err()
}

/// Whether a role may do something with a resource: by its inline and attached policies, within its boundary. A denial
/// with a condition is taken not to apply, a permission with one to apply.
pub fn is_allowed(model: &Model, role_arn: &str, action: &str, resource: &str) -> bool {
    let Some(role) = find(model, role_arn) else { return false };
    let attached = role.attached.iter().flat_map(|arn| managed(model, role_arn, arn));
    let own: Vec<_> = role.inline.values().flat_map(|policy| statements(&policy.text)).chain(attached).collect();
    let boundary: Option<Vec<_>> = role.boundary.as_ref().map(|arn| managed(model, role_arn, arn));

    let of = |statements: &[Statement], effect: &str| {
        statements.iter().any(|statement| {
            let conditional = effect == "Deny" && statement.contains_key("Condition");
            has_effect(statement, effect) && !conditional && is_about(statement, action, resource)
        })
    };
    let denied = of(&own, "Deny") || boundary.as_ref().is_some_and(|boundary| of(boundary, "Deny"));
    !denied && of(&own, "Allow") && boundary.is_none_or(|boundary| of(&boundary, "Allow"))
}

type Statement = Map<String, Value>;

/// Whether the role's account knows the issuer and the audience, and the role trusts the token.
fn trusted(model: &Model, role_arn: &str, token: &Token<'_>) -> Result<(), String> {
    let role = find(model, role_arn).ok_or_else(|| format!("there is no role {role_arn}"))?;
    let (partition, account) = partition_and_account(role_arn);
    let issuer = token.issuer.strip_prefix("https://").ok_or("the issuer has no https:// URL")?;
    let arn = format!("arn:{partition}:iam::{account}:oidc-provider/{issuer}");
    let provider = model.provider(account, &arn).ok_or_else(|| format!("there is no provider {arn}"))?;
    if !provider.audiences.iter().any(|audience| audience == token.audience) {
        return Err(format!("the provider has no audience {}", token.audience));
    }
    let statements = statements(&role.trust.text);
    let any = |effect: &str| {
        let mut fitting = statements.iter().filter(|statement| has_effect(statement, effect));
        fitting.any(|statement| admits(statement, &arn, issuer, token))
    };
    match (any("Allow"), any("Deny")) {
        (_, true) => Err("the trust policy denies it".to_owned()),
        (false, false) => Err("the trust policy does not allow it".to_owned()),
        (true, false) => Ok(()),
    }
}

/// Whether the issuer shows AWS the key that signed the token: first its discovery document, then the keys which that
/// names, both without credentials.
fn signed(model: &Model, token: &Token<'_>) -> Result<(), String> {
    let at = format!("{}/.well-known/openid-configuration", token.issuer.trim_end_matches('/'));
    let discovery = public_json(model, &at)?;
    if discovery["issuer"] != token.issuer {
        return Err(format!("{at} names the issuer {}", discovery["issuer"]));
    }
    let at = discovery["jwks_uri"].as_str().ok_or_else(|| format!("{at} names no keys"))?;
    let keys = public_json(model, at)?;
    let has = keys["keys"].as_array().is_some_and(|keys| keys.iter().any(|key| key["kid"] == token.key_id));
    if has { Ok(()) } else { Err(format!("{at} has no key {}", token.key_id)) }
}

fn public_json(model: &Model, url: &str) -> Result<Value, String> {
    let found: Arc<Content> = model.public_object(url).ok_or_else(|| format!("the public cannot read {url}"))?;
    serde_json::from_slice(&found.body).map_err(|error| format!("{url} is no JSON: {error}"))
}

fn find(model: &Model, role_arn: &str) -> Option<Arc<Role>> {
    let name = role_arn.rsplit('/').next()?;
    model.role(partition_and_account(role_arn).1, name).filter(|role| role.arn == role_arn)
}

fn partition_and_account(arn: &str) -> (&str, &str) {
    let parts: Vec<&str> = arn.split(':').collect();
    if let [_, partition, _, _, account, ..] = parts[..] { (partition, account) } else { panic!("{arn} is no ARN") }
}

/// The statements of a managed policy; none if it is not there.
fn managed(model: &Model, role_arn: &str, arn: &str) -> Vec<Statement> {
    if arn.ends_with(":iam::aws:policy/AdministratorAccess") {
        return statements(r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#);
    }
    let policy = model.policy(partition_and_account(role_arn).1, arn);
    policy.map(|policy| statements(&policy.document.text)).unwrap_or_default()
}

/// The statements of a document: one, or a list of them.
fn statements(document: &str) -> Vec<Statement> {
    let document: Value = serde_json::from_str(document).expect("a document that was accepted is JSON");
    let statement = |value: &Value| value.as_object().expect("a statement is an object").clone();
    match &document["Statement"] {
        Value::Array(statements) => statements.iter().map(statement).collect(),
        one => vec![statement(one)],
    }
}

fn has_effect(statement: &Statement, effect: &str) -> bool {
    statement.get("Effect").is_some_and(|found| found == effect)
}

/// Whether a statement is about an action and a resource. Actions are not distinguished by case.
fn is_about(statement: &Statement, action: &str, resource: &str) -> bool {
    is_about_action(statement, action) && one_of(statement, "Resource", |pattern| fits(pattern, resource))
}

fn is_about_action(statement: &Statement, action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    one_of(statement, "Action", |pattern| fits(&pattern.to_ascii_lowercase(), &action))
}

/// Whether an element names something, or its `Not…` does not.
fn one_of(statement: &Statement, element: &str, names: impl Fn(&str) -> bool) -> bool {
    let listed = |value| list(value).iter().any(|pattern| names(pattern));
    let not = statement.get(&format!("Not{element}"));
    statement.get(element).is_some_and(listed) || not.is_some_and(|value| !listed(value))
}

/// Whether a statement of a trust policy is about a token that a provider vouches for.
fn admits(statement: &Statement, provider: &str, issuer: &str, token: &Token<'_>) -> bool {
    let names = |principal: &Value| {
        let everyone = |value: &Value| list(value).iter().any(|name| name == "*");
        let federated = principal.get("Federated").is_some_and(|value| list(value).iter().any(|arn| arn == provider));
        everyone(principal) || principal.get("AWS").is_some_and(everyone) || federated
    };
    let not = statement.get("NotPrincipal");
    let about = statement.get("Principal").is_some_and(names) || not.is_some_and(|principal| !names(principal));
    about && is_about_action(statement, "sts:AssumeRoleWithWebIdentity") && conditions_hold(statement, issuer, token)
}

/// Whether all conditions of a statement hold. Of the keys only `<issuer>:sub` and `<issuer>:aud` are there; a key that is
/// not there fails all but the negated operators and those that end in `IfExists`.
fn conditions_hold(statement: &Statement, issuer: &str, token: &Token<'_>) -> bool {
    let Some(condition) = statement.get("Condition").and_then(Value::as_object) else { return true };
    let value = |key: &str| {
        let (of, claim) = key.rsplit_once(':')?;
        let ours = of.eq_ignore_ascii_case(issuer);
        match claim.to_ascii_lowercase().as_str() {
            "sub" if ours => Some(token.subject),
            "aud" if ours => Some(token.audience),
            _ => None,
        }
    };
    condition.iter().all(|(operator, tests)| {
        let tests = tests.as_object().expect("an operator has keys");
        tests.iter().all(|(key, wanted)| holds(operator, value(key), &list(wanted)))
    })
}

/// One condition. The keys of tokens have one value each, so that `ForAnyValue` and `ForAllValues` differ only where it is
/// not there.
fn holds(operator: &str, found: Option<&str>, wanted: &[String]) -> bool {
    let (all, any) = (operator.strip_prefix("ForAllValues:"), operator.strip_prefix("ForAnyValue:"));
    let bare = all.or(any).unwrap_or(operator);
    let (bare, optional) = bare.strip_suffix("IfExists").map_or((bare, false), |bare| (bare, true));
    let negated = bare.starts_with("StringNot");
    let Some(found) = found else { return optional || all.is_some() || (negated && any.is_none()) };
    let is = |wanted: &String| match bare {
        "StringEquals" | "StringNotEquals" => wanted == found,
        "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" => wanted.eq_ignore_ascii_case(found),
        "StringLike" | "StringNotLike" => fits(wanted, found),
        _ => panic!("this evaluation does not know the condition operator {operator}"),
    };
    wanted.iter().any(is) != negated
}

/// A string or a list of strings; nothing for anything else.
fn list(value: &Value) -> Vec<String> {
    strings(Some(value)).unwrap_or_default()
}

/// Whether a text fits a pattern: `*` stands for any characters, `?` for one.
fn fits(pattern: &str, text: &str) -> bool {
    fn from(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|start| from(rest, &text[start..])),
            Some((wanted, rest)) => {
                let first = text.first().is_some_and(|found| *wanted == b'?' || wanted == found);
                first && from(rest, &text[1..])
            }
        }
    }
    from(pattern.as_bytes(), text.as_bytes())
}
