//! Durations as Kubernetes users write them: `30s`, `5m`, `1h30m`.

use std::borrow::Cow;
use std::time::Duration;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration in Go's notation, hours at the largest unit (what `metav1.Duration` accepts, less signs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl GoDuration {
    /// A duration of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Whole seconds.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl std::fmt::Display for GoDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        let (hours, minutes, rest) = (seconds / 3600, seconds % 3600 / 60, seconds % 60);
        let mut text = String::new();
        for (amount, unit) in [(hours, "h"), (minutes, "m"), (rest, "s"), (u64::from(millis), "ms")] {
            if amount > 0 {
                text.push_str(&format!("{amount}{unit}"));
            }
        }
        f.write_str(if text.is_empty() { "0s" } else { &text })
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no duration; write it like 30s, 5m or 1h30m");
        let signed: SignedDuration = text.parse().map_err(|_| bad())?;
        Duration::try_from(signed).map(Self).map_err(|_| bad())
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "minLength": 2,
            "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_go_notation() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("24h", 86_400), ("0s", 0)] {
            let parsed: GoDuration = serde_json::from_value(text.into()).unwrap();
            assert_eq!(parsed.as_secs(), seconds);
            assert_eq!(parsed.to_string(), text);
        }
        for bad in ["", "5", "-5m", "five minutes"] {
            let error = serde_json::from_value::<GoDuration>(bad.into()).unwrap_err().to_string();
            assert!(error.contains("is no duration"), "{bad}: {error}");
        }
    }
}
