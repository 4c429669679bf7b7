//! JSON that is kept as its text.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A JSON value as its text. Controllers hold thousands of them, and a parsed one takes several times as much memory.
#[derive(Clone, Debug)]
pub struct JsonText(Box<str>);

impl JsonText {
    /// The text of a value, with keys in their order.
    pub fn of(value: &Value) -> Self {
        Self(value.to_string().into_boxed_str())
    }

    /// The value.
    pub fn parse(&self) -> Value {
        // What was made of a value can be read back.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The value as something, if it is that.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }
}

/// The order of keys carries no meaning.
impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.parse() == other.parse()
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.parse().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::of(&value))
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
        assert_eq!(text.parse(), value);
        let other: JsonText =
            serde_json::from_str(r#"{"a":["é",null,{"k":1.5}],"n":18446744073709551615,"z":1}"#).unwrap();
        assert_eq!(text, other);
        assert_ne!(text, JsonText::of(&json!({"z": 1})));
        assert_eq!(JsonText::of(&json!(null)).parse(), Value::Null);
    }
}
