//! JSON that is kept as its text.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON value as its text. Controllers hold thousands of them, and a parsed one takes several times as much memory.
///
/// The text is taken as it comes, however deeply it is nested and whatever numbers it holds: only [`parse`](Self::parse)
/// and [`read`](Self::read) may refuse it. So an object with such a value in it is decoded all the same.
#[derive(Clone, Debug)]
pub struct JsonText(Box<str>);

impl JsonText {
    /// The text of a value, with keys in their order.
    pub fn of(value: &Value) -> Self {
        Self(value.to_string().into_boxed_str())
    }

    /// The value, or why the text cannot be parsed: it is nested more than 128 levels deep, or holds a number out of range.
    pub fn parse(&self) -> Result<Value, JsonTextError> {
        serde_json::from_str(&self.0).map_err(|error| match error.to_string() {
            message if message.starts_with("recursion limit exceeded") => JsonTextError::TooDeep,
            message => JsonTextError::Invalid(message),
        })
    }

    /// The value as something, if it is that. Fields which that does not know may hold anything.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }
}

/// Why the text of a value cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonTextError {
    /// serde_json stops at 128 levels.
    #[error("the value is nested more than 128 levels deep; flatten it")]
    TooDeep,
    /// A number out of range, or half a surrogate pair.
    #[error("the value cannot be parsed: {0}")]
    Invalid(String),
}

/// The order of keys carries no meaning. Texts that cannot be parsed are equal only letter by letter.
impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || matches!((self.parse(), other.parse()), (Ok(one), Ok(other)) if one == other)
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.parse().map_err(ser::Error::custom)?.serialize(serializer)
    }
}

/// From JSON, or from a parsed JSON value; formats other than JSON cannot hand over their text.
impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(Self(raw.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_comes_out_as_it_went_in() {
        let value = json!({"z": 1, "a": ["é", null, {"k": 1.5}], "n": 18_446_744_073_709_551_615_u64});
        let text: JsonText = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_string(&text).unwrap(), value.to_string());
        assert_eq!(text.parse().unwrap(), value);
        let other: JsonText =
            serde_json::from_str(r#"{"a":["é",null,{"k":1.5}], "n":18446744073709551615,"z":1}"#).unwrap();
        assert_eq!(text, other);
        assert_ne!(text, JsonText::of(&json!({"z": 1})));
        assert_eq!(JsonText::of(&json!(null)).parse().unwrap(), Value::Null);
    }

    #[test]
    fn text_that_cannot_be_parsed_is_kept_and_equal_to_itself_alone() {
        let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let (one, other) = (deep(5_000), deep(6_000));
        let text: JsonText = serde_json::from_str(&one).unwrap();
        assert!(text.parse().unwrap_err().to_string().contains("more than 128 levels deep"));
        assert!(serde_json::to_value(&text).is_err());
        assert_eq!(text, serde_json::from_str(&one).unwrap());
        assert_ne!(text, serde_json::from_str(&other).unwrap());
        let number: JsonText = serde_json::from_str("1e999").unwrap();
        assert!(number.parse().is_err());
        assert_ne!(number, serde_json::from_str("2e999").unwrap());
    }
}
