//! What a schema declares of an object, and what of a value it does not.
//!
//! Server-side apply refuses a whole status when one of its fields is not declared in the served schema ("field not declared
//! in schema", HTTP 500), so a status is cut to the schema before it is sent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A part of a structural schema, as far as it decides which fields the API server takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaNode {
    /// Anything: unknown fields are preserved, or the schema says nothing.
    Any,
    /// One value of a type: `string`, `integer`, `number` or `boolean`.
    Scalar(String),
    /// An object with these fields and no others.
    Object(BTreeMap<String, Self>),
    /// An object with any keys.
    Map(Box<Self>),
    /// A list.
    List {
        /// What its items are.
        items: Box<Self>,
        /// Whether items are merged by key (`x-kubernetes-list-type: map`); the list is one value otherwise.
        by_key: bool,
    },
}

impl SchemaNode {
    /// Reads an OpenAPI schema, as it stands in a CustomResourceDefinition and in the API server's `/openapi/v3`.
    pub fn of(schema: &Value) -> Self {
        let is_set = |key: &str| schema.get(key) == Some(&Value::Bool(true));
        if is_set("x-kubernetes-preserve-unknown-fields") || is_set("x-kubernetes-int-or-string") {
            return Self::Any;
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            return Self::Object(properties.iter().map(|(name, of)| (name.clone(), Self::of(of))).collect());
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => return Self::Any,
            Some(values @ Value::Object(_)) => return Self::Map(Box::new(Self::of(values))),
            _ => {}
        }
        if let Some(items) = schema.get("items") {
            let by_key = schema.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("map");
            return Self::List { items: Box::new(Self::of(items)), by_key };
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => Self::Object(BTreeMap::new()),
            Some(scalar @ ("string" | "integer" | "number" | "boolean")) => Self::Scalar(scalar.to_owned()),
            _ => Self::Any,
        }
    }

    /// The part under a field of an object.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.get(name),
            _ => None,
        }
    }

    /// Removes from a value what this schema does not declare, and tells where: `status.conditions[].observedGeneration`.
    /// `path` is that of the value.
    pub fn prune(&self, value: &mut Value, path: &str, removed: &mut BTreeSet<String>) {
        match (self, value) {
            (Self::Object(fields), Value::Object(object)) => object.retain(|name, of| {
                let path = format!("{path}.{name}");
                let fits = fields.get(name).is_some_and(|field| field.fits(of));
                match fields.get(name).filter(|_| fits) {
                    Some(field) => field.prune(of, &path, removed),
                    None => drop(removed.insert(path)),
                }
                fits
            }),
            (Self::Map(values), Value::Object(object)) => {
                object.values_mut().for_each(|of| values.prune(of, &format!("{path}.*"), removed));
            }
            (Self::List { items, .. }, Value::Array(list)) => {
                let path = format!("{path}[]");
                list.retain(|of| {
                    let fits = items.fits(of);
                    if !fits {
                        removed.insert(path.clone());
                    }
                    fits
                });
                for of in list {
                    items.prune(of, &path, removed);
                }
            }
            _ => {}
        }
    }

    /// Puts back into a value what this schema does not declare; `whole` is what the value was cut from, or was once.
    pub fn restore(&self, value: &mut Value, whole: &Value) {
        match (self, value, whole) {
            (Self::Object(fields), Value::Object(object), Value::Object(whole)) => {
                for (name, of) in whole {
                    match fields.get(name).filter(|field| field.fits(of)) {
                        None => drop(object.insert(name.clone(), of.clone())),
                        Some(field) => {
                            if let Some(value) = object.get_mut(name) {
                                field.restore(value, of);
                            }
                        }
                    }
                }
            }
            (Self::Map(values), Value::Object(object), Value::Object(whole)) => {
                for (key, value) in object.iter_mut() {
                    if let Some(of) = whole.get(key) {
                        values.restore(value, of);
                    }
                }
            }
            (Self::List { items, .. }, Value::Array(list), Value::Array(whole)) => {
                let cut = |item: &Value| {
                    let mut item = item.clone();
                    items.prune(&mut item, "", &mut BTreeSet::new());
                    item
                };
                let known: Vec<Value> = whole.iter().map(cut).collect();
                for item in list {
                    let rest = cut(item);
                    if let Some(at) = known.iter().position(|known| *known == rest) {
                        items.restore(item, &whole[at]);
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether a value is of the type that is declared.
    fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Object(_) | Self::Map(_) => value.is_object(),
            Self::List { .. } => value.is_array(),
            Self::Scalar(scalar) => match scalar.as_str() {
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                _ => value.is_number(),
            },
        }
    }

    /// The fields that this schema declares and the other does not, or declares to be of another type: the topmost ones.
    pub fn not_in(&self, other: &Self, path: &str, missing: &mut Vec<String>) {
        match (self, other) {
            (_, Self::Any) => {}
            (Self::Object(fields), Self::Object(others)) => {
                for (name, field) in fields {
                    let path = format!("{path}.{name}");
                    match others.get(name) {
                        Some(other) => field.not_in(other, &path, missing),
                        None => missing.push(path),
                    }
                }
            }
            (Self::Map(values), Self::Map(others)) => values.not_in(others, &format!("{path}.*"), missing),
            (Self::List { items, .. }, Self::List { items: others, .. }) => {
                items.not_in(others, &format!("{path}[]"), missing);
            }
            (Self::Scalar(one), Self::Scalar(other)) if one == other => {}
            _ => missing.push(path.to_owned()),
        }
    }

    /// Takes a field out of the schema; `path` begins below this node: `conditions[].observedGeneration`.
    pub fn remove(&mut self, path: &str) {
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        let name = first.trim_end_matches("[]");
        let Self::Object(fields) = self else { return };
        let Some(rest) = rest else {
            fields.remove(name);
            return;
        };
        let mut below = fields.get_mut(name);
        for _ in 0..first.matches("[]").count() {
            below = match below {
                Some(Self::List { items, .. }) => Some(items),
                _ => None,
            };
        }
        match below {
            Some(Self::Map(values)) => values.remove(rest.split_once('.').map_or(rest, |(_, rest)| rest)),
            Some(below) => below.remove(rest),
            None => {}
        }
    }
}

/// The fields that an answer of the API server to an apply names as undeclared or of another type, as paths below the object:
/// `status.conditions[].observedGeneration`. An answer that names none is about something else.
pub fn refused_fields(code: u16, message: &str) -> BTreeSet<String> {
    // What an admission webhook says has a code of its own choice.
    if !matches!(code, 400 | 500) || !message.contains("failed to create typed patch object") {
        return BTreeSet::new();
    }
    named_fields(message, &["field not declared in schema", "expected "])
}

/// The fields whose values the schema does not allow. Other values of them may be right.
pub fn refused_values(code: u16, message: &str) -> BTreeSet<String> {
    if code == 422 {
        named_fields(message, &["Invalid value", "Unsupported value", "Too long"])
    } else {
        BTreeSet::new()
    }
}

fn named_fields(message: &str, words: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in message.match_indices("status") {
        let (before, rest) = message.split_at(at);
        let before = before.strip_suffix('.').unwrap_or(before).chars().last();
        let begins = before.is_none_or(|c| c.is_whitespace() || c == '[');
        let Some((path, says)) = split_path(rest).filter(|_| begins) else { continue };
        if words.iter().any(|word| says.starts_with(word)) {
            found.insert(without_keys(path));
        }
    }
    found
}

/// A path and what is said of it. The keys of list items are in brackets, and may hold anything.
fn split_path(text: &str) -> Option<(&str, &str)> {
    let (mut quoted, mut depth) = (false, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '"' if depth > 0 => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth = depth.saturating_sub(1),
            ':' if depth == 0 => return Some((&text[..at], text[at..].strip_prefix(": ")?)),
            c if depth == 0 && c.is_whitespace() => return None,
            _ => {}
        }
    }
    None
}

/// `conditions[type="Ready"].reason` → `conditions[].reason`.
fn without_keys(path: &str) -> String {
    let (mut plain, mut depth) = (String::new(), 0_usize);
    for c in path.chars() {
        match c {
            '[' => {
                depth += 1;
                plain.push_str("[]");
            }
            ']' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> SchemaNode {
        SchemaNode::of(&json!({"type": "object", "properties": {
            "count": {"type": "integer", "format": "int64"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "conditions": {"type": "array", "items": {"type": "object", "properties": {
                "type": {"type": "string"}, "status": {"type": "string"},
            }}},
        }}))
    }

    #[test]
    fn what_is_not_declared_is_removed_and_named() {
        let mut status = json!({
            "count": 1, "observedGeneration": 7, "free": {"a": {"b": 1}}, "labels": {"a": "b"},
            "conditions": [{"type": "Ready", "observedGeneration": 7}, {"type": "Drifted", "observedGeneration": 7}],
        });
        let mut removed = BTreeSet::new();
        schema().prune(&mut status, "status", &mut removed);
        let left = json!({
            "count": 1, "free": {"a": {"b": 1}}, "labels": {"a": "b"},
            "conditions": [{"type": "Ready"}, {"type": "Drifted"}],
        });
        assert_eq!(status, left);
        assert_eq!(Vec::from_iter(removed), ["status.conditions[].observedGeneration", "status.observedGeneration"]);
    }

    #[test]
    fn what_is_not_declared_is_put_back_from_memory() {
        let whole = json!({
            "count": 1, "observedGeneration": 7, "labels": {"a": "b"}, "gone": {"a": 1},
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Verified"},
                {"type": "Drifted", "status": "True", "reason": "Drifted"},
            ],
        });
        // As it is read: another count, another status, one condition that is new; and a default where a reason was cut.
        let mut read = json!({
            "count": 2, "labels": {"c": "d"},
            "conditions": [
                {"type": "New", "status": "True", "reason": ""},
                {"type": "Drifted", "status": "False", "reason": ""},
                {"type": "Ready", "status": "True", "reason": ""},
            ],
        });
        schema().restore(&mut read, &whole);
        let restored = json!({
            "count": 2, "observedGeneration": 7, "labels": {"c": "d"}, "gone": {"a": 1},
            "conditions": [
                {"type": "New", "status": "True", "reason": ""},
                {"type": "Drifted", "status": "False", "reason": ""},
                {"type": "Ready", "status": "True", "reason": "Verified"},
            ],
        });
        assert_eq!(read, restored);
    }

    #[test]
    fn a_value_of_another_type_is_removed() {
        let mut status = json!({"count": "1", "free": 7, "labels": [], "conditions": {"a": 1}});
        let mut removed = BTreeSet::new();
        schema().prune(&mut status, "status", &mut removed);
        assert_eq!(status, json!({"free": 7}));
        let mut list = json!({"conditions": [{"type": "Ready"}, 7]});
        schema().prune(&mut list, "status", &mut removed);
        assert_eq!(list, json!({"conditions": [{"type": "Ready"}]}));
    }

    #[test]
    fn missing_fields_are_the_topmost_ones_that_the_other_lacks() {
        let mut older = schema();
        older.remove("conditions[].status");
        older.remove("count");
        older.remove("nothing.of[].the.kind");
        let mut missing = Vec::new();
        schema().not_in(&older, "status", &mut missing);
        assert_eq!(missing, ["status.conditions[].status", "status.count"]);
        let mut missing = Vec::new();
        older.not_in(&schema(), "status", &mut missing);
        schema().not_in(&SchemaNode::Any, "status", &mut missing);
        assert!(missing.is_empty(), "a newer schema lacks nothing");
        let mut changed = Vec::new();
        let other = SchemaNode::of(&json!({"properties": {"count": {"type": "string"}}}));
        SchemaNode::of(&json!({"properties": {"count": {"type": "integer"}}})).not_in(&other, "status", &mut changed);
        assert_eq!(changed, ["status.count"]);
    }

    #[test]
    fn the_fields_that_the_api_server_refuses_are_read_from_its_answer() {
        let one = "failed to create typed patch object (a/b; rolecall.dev/v1alpha1, Kind=ClusterIdentity): .status.x: field not declared in schema";
        assert_eq!(Vec::from_iter(refused_fields(500, one)), ["status.x"]);
        let several = "failed to create typed patch object (status/status; g/v, Kind=K): errors:\n  .status.observedGeneration: field not declared in schema\n  .status.conditions[type=\"Ready: a.b\"].observedGeneration: field not declared in schema\n  .status.roles.ready: expected numeric (int or float), got string\n  .status.conditions[type=\"A\"].status: field not declared in schema";
        assert_eq!(
            Vec::from_iter(refused_fields(500, several)),
            [
                "status.conditions[].observedGeneration",
                "status.conditions[].status",
                "status.observedGeneration",
                "status.roles.ready"
            ]
        );
        let invalid = "UpgradeCheck.rolecall.dev \"a\" is invalid: [status.summary.covered: Invalid value: \"string\": must be an integer, status.components[3].verdict: Unsupported value: \"New\"]";
        assert_eq!(
            Vec::from_iter(refused_values(422, invalid)),
            ["status.components[].verdict", "status.summary.covered"]
        );
        assert!(refused_fields(403, several).is_empty(), "a webhook may say what it likes");
        for other in ["etcdserver: request is too large", "status.lastSyncGeneration: Required value", ""] {
            assert!(refused_fields(500, other).is_empty() && refused_values(422, other).is_empty(), "{other}");
        }
    }
}
