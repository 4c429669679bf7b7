//! Policy documents as written: read from JSON without losing or guessing anything, and written back.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// Why a text is no policy document. `at` is the path of the offending element, such as `Statement[2].Effect`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is no JSON.
    #[error("the policy is not JSON: {0}")]
    NotJson(String),
    /// Percent-decoding gave bytes that are no UTF-8.
    #[error("the policy as AWS returned it is not UTF-8 after percent-decoding")]
    NotUtf8,
    /// An element has a type that the grammar does not allow.
    #[error("{at}: expected {expected}, found {found}")]
    WrongType {
        /// Where.
        at: String,
        /// What the grammar allows.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// An element that the grammar does not know; it could change the meaning, so it is not skipped.
    #[error("{at}: unknown element")]
    UnknownElement {
        /// Where.
        at: String,
    },
    /// An element that must be there is not.
    #[error("{at}: {missing} is missing")]
    Missing {
        /// Where.
        at: String,
        /// What.
        missing: &'static str,
    },
    /// A value outside its set.
    #[error("{at}: {value:?} is not one of {allowed}")]
    UnknownValue {
        /// Where.
        at: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// Two elements of which only one may be there.
    #[error("{at}: {first} and {second} exclude each other")]
    Exclusive {
        /// Where.
        at: String,
        /// One element.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
}

/// The version of the policy language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// `2008-10-17`, also meant when the element is absent. It has no policy variables.
    #[default]
    V2008,
    /// `2012-10-17`.
    V2012,
}

/// What a statement does with the requests that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It allows them.
    Allow,
    /// It denies them, whatever else allows them.
    Deny,
}

impl Effect {
    /// As the document spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// `Action`/`NotAction` or `Resource`/`NotResource`: patterns, or everything but them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clause {
    /// Whatever one of the patterns matches.
    Only(Vec<String>),
    /// Whatever none of the patterns matches.
    AllBut(Vec<String>),
}

/// `Principal` or `NotPrincipal`, by kind (`AWS`, `Federated`, `Service`, `CanonicalUser`); `*` is kind `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principals {
    /// `NotPrincipal`.
    pub inverted: bool,
    /// The principals of each kind.
    pub by_kind: BTreeMap<String, Vec<String>>,
}

/// One test of a `Condition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The operator as written, such as `ForAnyValue:StringLike`.
    pub operator: String,
    /// The key as written, such as `aws:SourceArn`.
    pub key: String,
    /// Its values; booleans and numbers in their string form.
    pub values: Vec<String>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// An identifier without meaning.
    pub sid: Option<String>,
    /// Allow or Deny.
    pub effect: Effect,
    /// Who; in resource policies and trust policies only.
    pub principals: Option<Principals>,
    /// What may be done.
    pub actions: Clause,
    /// On what; absent in trust policies.
    pub resources: Option<Clause>,
    /// Under which conditions: all of them must hold.
    pub conditions: Vec<Test>,
}

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The version of the language.
    pub version: Version,
    /// An identifier without meaning.
    pub id: Option<String>,
    /// The statements; their order carries no meaning.
    pub statements: Vec<Statement>,
}

impl Document {
    /// Reads a document from JSON text.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let value: Value = serde_json::from_str(text).map_err(|e| PolicyError::NotJson(e.to_string()))?;
        Self::from_value(&value)
    }

    /// Reads a document as IAM returns it, percent-encoded after RFC 3986. It is decoded once; `+` is no blank.
    ///
    /// An encoded document never begins with a brace, so one that does was returned plain (as some emulators do).
    pub fn parse_returned(text: &str) -> Result<Self, PolicyError> {
        if text.trim_start().starts_with('{') {
            return Self::parse(text);
        }
        let decoded = percent_decode_str(text).decode_utf8().map_err(|_| PolicyError::NotUtf8)?;
        Self::parse(&decoded)
    }

    /// Reads a document from a JSON value.
    pub fn from_value(value: &Value) -> Result<Self, PolicyError> {
        let object = object(value, "policy")?;
        known(object, "", &["Version", "Id", "Statement"])?;
        let version = match object.get("Version") {
            None => Version::V2008,
            Some(value) => match string(value, "Version")? {
                "2008-10-17" => Version::V2008,
                "2012-10-17" => Version::V2012,
                other => {
                    return Err(PolicyError::UnknownValue {
                        at: "Version".into(),
                        value: other.into(),
                        allowed: "2008-10-17, 2012-10-17",
                    });
                }
            },
        };
        let id = object.get("Id").map(|v| string(v, "Id").map(str::to_owned)).transpose()?;
        let statements = match object.get("Statement") {
            None => return Err(PolicyError::Missing { at: "policy".into(), missing: "Statement" }),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(i, item)| Statement::from_value(item, &format!("Statement[{i}]")))
                .collect::<Result<_, _>>()?,
            Some(single) => vec![Statement::from_value(single, "Statement")?],
        };
        Ok(Self { version, id, statements })
    }

    /// The document as JSON, in the element order of the grammar.
    pub fn to_value(&self) -> Value {
        let mut object = Map::new();
        object.insert(
            "Version".into(),
            match self.version {
                Version::V2008 => "2008-10-17".into(),
                Version::V2012 => "2012-10-17".into(),
            },
        );
        if let Some(id) = &self.id {
            object.insert("Id".into(), id.as_str().into());
        }
        object.insert("Statement".into(), self.statements.iter().map(Statement::to_value).collect());
        Value::Object(object)
    }

    /// The document as compact JSON text.
    pub fn to_text(&self) -> String {
        self.to_value().to_string()
    }
}

impl Statement {
    fn from_value(value: &Value, at: &str) -> Result<Self, PolicyError> {
        const KNOWN: [&str; 9] = [
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        let object = object(value, at)?;
        known(object, at, &KNOWN)?;
        let effect = match object.get("Effect") {
            None => return Err(PolicyError::Missing { at: at.into(), missing: "Effect" }),
            Some(value) => effect(string(value, &format!("{at}.Effect"))?, &format!("{at}.Effect"))?,
        };
        let sid = object.get("Sid").map(|v| string(v, &format!("{at}.Sid")).map(str::to_owned)).transpose()?;
        let actions = clause(object, at, "Action", "NotAction")?
            .ok_or_else(|| PolicyError::Missing { at: at.into(), missing: "Action" })?;
        let resources = clause(object, at, "Resource", "NotResource")?;
        let principals = match (object.get("Principal"), object.get("NotPrincipal")) {
            (Some(_), Some(_)) => return Err(exclusive(at, "Principal", "NotPrincipal")),
            (Some(value), None) => Some(principals(value, &format!("{at}.Principal"), false)?),
            (None, Some(value)) => Some(principals(value, &format!("{at}.NotPrincipal"), true)?),
            (None, None) => None,
        };
        let conditions = match object.get("Condition") {
            None => Vec::new(),
            Some(value) => tests(value, &format!("{at}.Condition"))?,
        };
        Ok(Self { sid, effect, principals, actions, resources, conditions })
    }

    fn to_value(&self) -> Value {
        let mut object = Map::new();
        if let Some(sid) = &self.sid {
            object.insert("Sid".into(), sid.as_str().into());
        }
        object.insert("Effect".into(), self.effect.as_str().into());
        if let Some(principals) = &self.principals {
            let key = if principals.inverted { "NotPrincipal" } else { "Principal" };
            let value = match principals.by_kind.get("*") {
                Some(_) => json!("*"),
                None => principals
                    .by_kind
                    .iter()
                    .map(|(kind, ids)| (kind.clone(), one_or_list(ids)))
                    .collect::<Map<_, _>>()
                    .into(),
            };
            object.insert(key.into(), value);
        }
        put_clause(&mut object, &self.actions, "Action", "NotAction");
        if let Some(resources) = &self.resources {
            put_clause(&mut object, resources, "Resource", "NotResource");
        }
        if !self.conditions.is_empty() {
            let mut condition = Map::new();
            for test in &self.conditions {
                let block = condition.entry(test.operator.clone()).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(keys) = block {
                    keys.insert(test.key.clone(), one_or_list(&test.values));
                }
            }
            object.insert("Condition".into(), Value::Object(condition));
        }
        Value::Object(object)
    }
}

/// Reads an effect; `at` goes into the error.
pub fn effect(text: &str, at: &str) -> Result<Effect, PolicyError> {
    match text {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        other => Err(PolicyError::UnknownValue { at: at.into(), value: other.into(), allowed: "Allow, Deny" }),
    }
}

/// Reads a `Condition` element; `at` goes into the error.
pub fn tests(value: &Value, at: &str) -> Result<Vec<Test>, PolicyError> {
    let mut tests = Vec::new();
    for (operator, keys) in object(value, at)? {
        let at = format!("{at}.{operator}");
        for (key, values) in object(keys, &at)? {
            let values = scalars(values, &format!("{at}.{key}"))?;
            tests.push(Test { operator: operator.clone(), key: key.clone(), values });
        }
    }
    Ok(tests)
}

fn principals(value: &Value, at: &str, inverted: bool) -> Result<Principals, PolicyError> {
    let by_kind = match value {
        Value::String(star) if star == "*" => BTreeMap::from([("*".to_owned(), vec!["*".to_owned()])]),
        Value::Object(kinds) => kinds
            .iter()
            .map(|(kind, ids)| Ok((kind.clone(), strings(ids, &format!("{at}.{kind}"))?)))
            .collect::<Result<_, PolicyError>>()?,
        other => return Err(wrong(at, "\"*\" or an object", other)),
    };
    Ok(Principals { inverted, by_kind })
}

fn clause(
    object: &Map<String, Value>,
    at: &str,
    only: &'static str,
    but: &'static str,
) -> Result<Option<Clause>, PolicyError> {
    match (object.get(only), object.get(but)) {
        (Some(_), Some(_)) => Err(exclusive(at, only, but)),
        (Some(value), None) => Ok(Some(Clause::Only(strings(value, &format!("{at}.{only}"))?))),
        (None, Some(value)) => Ok(Some(Clause::AllBut(strings(value, &format!("{at}.{but}"))?))),
        (None, None) => Ok(None),
    }
}

fn put_clause(object: &mut Map<String, Value>, clause: &Clause, only: &str, but: &str) {
    match clause {
        Clause::Only(patterns) => object.insert(only.into(), one_or_list(patterns)),
        Clause::AllBut(patterns) => object.insert(but.into(), one_or_list(patterns)),
    };
}

fn one_or_list(items: &[String]) -> Value {
    match items {
        [one] => one.as_str().into(),
        many => many.iter().map(|s| Value::from(s.as_str())).collect(),
    }
}

fn known(object: &Map<String, Value>, at: &str, names: &[&str]) -> Result<(), PolicyError> {
    match object.keys().find(|key| !names.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) if at.is_empty() => Err(PolicyError::UnknownElement { at: key.clone() }),
        Some(key) => Err(PolicyError::UnknownElement { at: format!("{at}.{key}") }),
    }
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, PolicyError> {
    value.as_object().ok_or_else(|| wrong(at, "an object", value))
}

fn string<'a>(value: &'a Value, at: &str) -> Result<&'a str, PolicyError> {
    value.as_str().ok_or_else(|| wrong(at, "a string", value))
}

fn strings(value: &Value, at: &str) -> Result<Vec<String>, PolicyError> {
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(items) => items.iter().map(|item| string(item, at).map(str::to_owned)).collect(),
        other => Err(wrong(at, "a string or a list of strings", other)),
    }
}

fn scalars(value: &Value, at: &str) -> Result<Vec<String>, PolicyError> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(b) => Ok(b.to_string()),
        Value::Number(n) => Ok(n.to_string()),
        other => Err(wrong(at, "a string, a boolean, a number or a list of them", other)),
    };
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        single => Ok(vec![scalar(single)?]),
    }
}

fn wrong(at: &str, expected: &'static str, found: &Value) -> PolicyError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    PolicyError::WrongType { at: at.into(), expected, found }
}

fn exclusive(at: &str, first: &'static str, second: &'static str) -> PolicyError {
    PolicyError::Exclusive { at: at.into(), first, second }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_documents_are_named_by_place() {
        for (text, says) in [
            ("<html>", "the policy is not JSON"),
            ("[]", "policy: expected an object, found a list"),
            ("{}", "policy: Statement is missing"),
            (r#"{"Version":"2020-01-01","Statement":[]}"#, r#"Version: "2020-01-01" is not one of"#),
            (
                r#"{"Statement":{"Effect":"Permit","Action":"*"}}"#,
                r#"Statement.Effect: "Permit" is not one of Allow, Deny"#,
            ),
            (r#"{"Statement":[{"Effect":"Allow"}]}"#, "Statement[0]: Action is missing"),
            (r#"{"Statement":[{"Effect":"Allow","Action":7}]}"#, "Statement[0].Action: expected a string or a list"),
            (r#"{"Statement":[{"Effect":"Allow","Action":"*","NotAction":"*"}]}"#, "exclude each other"),
            (
                r#"{"Statement":[{"Effect":"Allow","Action":"*","Conditions":{}}]}"#,
                "Statement[0].Conditions: unknown element",
            ),
        ] {
            let error = Document::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn plus_and_percent_survive_what_iam_returns() {
        let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::a+b%20c%","Condition":{"StringEquals":{"aws:x":"1+1=2%"}}}]}"#;
        let encoded = percent_encoding::utf8_percent_encode(document, percent_encoding::NON_ALPHANUMERIC).to_string();
        assert_eq!(Document::parse_returned(&encoded), Document::parse(document));
        assert_eq!(Document::parse_returned(document), Document::parse(document));
    }

    #[test]
    fn what_is_read_is_written_back() {
        let text = r#"{"Version":"2012-10-17","Id":"x","Statement":[{"Sid":"1","Effect":"Deny","NotPrincipal":{"AWS":["a","b"]},"NotAction":"s3:*","NotResource":"*","Condition":{"Bool":{"a":"true","b":["1","2"]}}}]}"#;
        assert_eq!(Document::parse(text).unwrap().to_text(), text);
    }
}
