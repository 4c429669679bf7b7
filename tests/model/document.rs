//! Policy documents: checked, measured, and shown as IAM shows them.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::refusal::{Outcome, Refusal};

/// RFC 3986: everything but the unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A policy document as it was put, and percent-encoded as IAM returns it.
#[derive(Debug, Clone)]
pub struct Document {
    pub text: Arc<str>,
    encoded: Arc<str>,
}

impl Document {
    pub fn new(text: &str) -> Self {
        Document { text: text.into(), encoded: encode(text).into() }
    }

    /// What IAM returns.
    pub fn shown(&self, reserialised: bool) -> Arc<str> {
        if !reserialised {
            return self.encoded.clone();
        }
        let value = serde_json::from_str(&self.text).expect("a document that was accepted is JSON");
        let other = serde_json::to_string_pretty(&reserialise(value, false)).expect("JSON can be written");
        encode(&other).into()
    }

    /// The length that counts against IAM's quotas: without white space.
    pub fn size(&self) -> usize {
        self.text.chars().filter(|c| !c.is_whitespace()).count()
    }

    /// The document with every mention of a principal's ARN replaced.
    pub fn with_principal(&self, arn: &str, id: &str) -> Option<Document> {
        let quoted = format!("\"{arn}\"");
        self.text.contains(&quoted).then(|| Document::new(&self.text.replace(&quoted, &format!("\"{id}\""))))
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The same meaning in another form: keys in another order, lists of one as the one, other lists turned round, account
/// ids in principals as ARNs.
fn reserialise(value: Value, principal: bool) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .rev()
            .map(|(key, value)| {
                let principal = key == "AWS";
                (key, reserialise(value, principal))
            })
            .collect(),
        Value::Array(mut items) if items.len() == 1 && items[0].is_string() => reserialise(items.remove(0), principal),
        Value::Array(items) => items.into_iter().rev().map(|item| reserialise(item, principal)).collect(),
        Value::String(text) if principal && is_account(&text) => format!("arn:aws:iam::{text}:root").into(),
        other => other,
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks a trust policy; its `AWS` principals, for the caller to look up.
pub fn check_trust(text: &str) -> Outcome<Vec<String>> {
    let mut principals = Vec::new();
    for statement in statements(text)? {
        check_fields(&statement, &["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"])?;
        check_effect(&statement)?;
        let principal = statement.get("Principal").or_else(|| statement.get("NotPrincipal"));
        let principal = principal.ok_or_else(|| Refusal::malformed_document("Missing required field Principal"))?;
        check_principal(principal, &mut principals)?;
        let actions = strings(statement.get("Action").or_else(|| statement.get("NotAction")))?;
        if actions.is_empty() {
            return Err(Refusal::malformed_document("Missing required field Action"));
        }
        let of_sts = |action: &String| action == "*" || action.to_ascii_lowercase().starts_with("sts:");
        if !actions.iter().all(of_sts) {
            let message = "AssumeRole policy may only specify STS AssumeRole actions.";
            return Err(Refusal::malformed_document(message));
        }
        check_condition(&statement)?;
    }
    Ok(principals)
}

/// Checks an identity policy (inline or managed).
pub fn check_permissions(text: &str) -> Outcome<()> {
    for statement in statements(text)? {
        if statement.contains_key("Principal") || statement.contains_key("NotPrincipal") {
            return Err(Refusal::malformed_document("Policy document should not specify a principal."));
        }
        check_fields(&statement, &["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"])?;
        check_effect(&statement)?;
        let actions = strings(statement.get("Action").or_else(|| statement.get("NotAction")))?;
        if actions.is_empty() {
            return Err(Refusal::malformed_document("Policy statement must contain actions."));
        }
        if !actions.iter().all(|action| action == "*" || action.contains(':')) {
            let message = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.";
            return Err(Refusal::malformed_document(message));
        }
        let resources = strings(statement.get("Resource").or_else(|| statement.get("NotResource")))?;
        if resources.is_empty() {
            return Err(Refusal::malformed_document("Policy statement must contain resources."));
        }
        if let Some(odd) = resources.iter().find(|resource| *resource != "*" && !resource.starts_with("arn:")) {
            return Err(Refusal::malformed_document(format!("Resource {odd} must be in ARN format or \"*\".")));
        }
        check_condition(&statement)?;
    }
    Ok(())
}

fn statements(text: &str) -> Outcome<Vec<Map<String, Value>>> {
    let broken = || Refusal::malformed_document("This policy contains invalid Json");
    let syntax = || Refusal::malformed_document("Syntax errors in policy.");
    let Value::Object(mut document) = serde_json::from_str(text).map_err(|_| broken())? else { return Err(syntax()) };
    check_fields(&document, &["Version", "Id", "Statement"])?;
    let version = document.get("Version").map(|version| version.as_str().unwrap_or_default());
    if version.is_some_and(|version| !["2012-10-17", "2008-10-17"].contains(&version)) {
        return Err(syntax());
    }
    let statements = match document.remove("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements,
        Some(statement @ Value::Object(_)) => vec![statement],
        _ => return Err(syntax()),
    };
    let one = |statement| if let Value::Object(statement) = statement { Ok(statement) } else { Err(syntax()) };
    statements.into_iter().map(one).collect()
}

fn check_fields(map: &Map<String, Value>, known: &[&str]) -> Outcome<()> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) if key == "Resource" => Err(Refusal::malformed_document("Has prohibited field Resource")),
        Some(_) => Err(Refusal::malformed_document("Syntax errors in policy.")),
        None => Ok(()),
    }
}

fn check_effect(statement: &Map<String, Value>) -> Outcome<()> {
    match statement.get("Effect").and_then(Value::as_str) {
        Some("Allow" | "Deny") => Ok(()),
        Some(other) => Err(Refusal::malformed_document(format!("Invalid effect: {other}"))),
        None => Err(Refusal::malformed_document("Missing required field Effect")),
    }
}

fn check_principal(principal: &Value, found: &mut Vec<String>) -> Outcome<()> {
    let syntax = || Refusal::malformed_document("Syntax errors in policy.");
    let map = match principal {
        Value::String(all) if all == "*" => return Ok(()),
        Value::Object(map) if !map.is_empty() => map,
        _ => return Err(syntax()),
    };
    for (kind, names) in map {
        let names = strings(Some(names))?;
        let invalid =
            |name: &str| Refusal::malformed_document(format!("Invalid principal in policy: \"{kind}\":\"{name}\""));
        match kind.as_str() {
            "AWS" => {
                let known =
                    |name: &str| name == "*" || is_account(name) || name.starts_with("arn:") || name.starts_with('A');
                if let Some(odd) = names.iter().find(|name| !known(name)) {
                    return Err(invalid(odd));
                }
                found.extend(names);
            }
            "Service" => {
                if let Some(odd) = names.iter().find(|name| !name.contains(".amazonaws.com")) {
                    return Err(invalid(odd));
                }
            }
            "Federated" => {
                let known = |name: &String| {
                    name.contains(":oidc-provider/") || name.contains(":saml-provider/") || !name.contains(':')
                };
                if !names.iter().all(known) {
                    let message = "Federated principals must be valid domain names or SAML metadata ARNs";
                    return Err(Refusal::malformed_document(message));
                }
            }
            "CanonicalUser" => {}
            _ => return Err(syntax()),
        }
    }
    Ok(())
}

fn check_condition(statement: &Map<String, Value>) -> Outcome<()> {
    let syntax = || Refusal::malformed_document("Syntax errors in policy.");
    let Some(condition) = statement.get("Condition") else { return Ok(()) };
    let operators = condition.as_object().ok_or_else(syntax)?;
    for tests in operators.values() {
        for wanted in tests.as_object().ok_or_else(syntax)?.values() {
            let fine = |value: &Value| value.is_string() || value.is_boolean() || value.is_number();
            if !(fine(wanted) || wanted.as_array().is_some_and(|values| values.iter().all(fine))) {
                return Err(syntax());
            }
        }
    }
    Ok(())
}

/// A string or a list of strings; nothing for nothing.
pub fn strings(value: Option<&Value>) -> Outcome<Vec<String>> {
    let syntax = || Refusal::malformed_document("Syntax errors in policy.");
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) => many.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(syntax)).collect(),
        Some(_) => Err(syntax()),
    }
}
