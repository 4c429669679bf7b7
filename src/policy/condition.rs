//! Canonical values of conditions: two spellings of one value compare equal under their operator.
//!
//! Source: "IAM JSON policy elements: Condition operators" in the AWS IAM User Guide.

use jiff::Timestamp;

/// The operator without its set prefix (`ForAnyValue:`, `ForAllValues:`) and its `IfExists` suffix.
pub fn base_operator(operator: &str) -> &str {
    let bare =
        operator.strip_prefix("ForAnyValue:").or_else(|| operator.strip_prefix("ForAllValues:")).unwrap_or(operator);
    bare.strip_suffix("IfExists").unwrap_or(bare)
}

/// One spelling for all spellings of `value` that mean the same under `operator`. An unknown operator changes nothing.
pub fn canonical_value(operator: &str, value: &str) -> String {
    match base_operator(operator) {
        "Bool" | "Null" | "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" => value.to_ascii_lowercase(),
        base if base.starts_with("Numeric") => number(value),
        base if base.starts_with("Date") => date(value),
        "IpAddress" | "NotIpAddress" => address(value),
        "StringLike" | "StringNotLike" | "ArnLike" | "ArnNotLike" | "ArnEquals" | "ArnNotEquals" => {
            super::pattern::tidy(value)
        }
        _ => value.to_owned(),
    }
}

/// A decimal number without needless zeros or sign; anything else as it is.
fn number(text: &str) -> String {
    let trimmed = text.trim();
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return text.to_owned();
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let mut out = String::new();
    if negative && !(whole.is_empty() && fraction.is_empty()) {
        out.push('-');
    }
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// ISO 8601 or seconds since the epoch, as an instant; anything else as it is.
fn date(text: &str) -> String {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return instant.to_string();
    }
    match text.parse::<i64>().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        Some(instant) => instant.to_string(),
        None => text.to_owned(),
    }
}

/// An address without a prefix length is that one address.
fn address(text: &str) -> String {
    match text.parse::<std::net::IpAddr>() {
        Ok(ip) => format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }),
        Err(_) => text.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_are_equal() {
        for (operator, left, right) in [
            ("Bool", "true", "True"),
            ("BoolIfExists", "false", "FALSE"),
            ("NumericEquals", "10", "010.0"),
            ("NumericLessThan", "-0", "0"),
            ("DateGreaterThan", "2020-04-01T00:00:00Z", "1585699200"),
            ("IpAddress", "10.0.0.1", "10.0.0.1/32"),
            ("ForAnyValue:StringLike", "a**b", "a*b"),
            ("StringEqualsIgnoreCase", "Ab", "aB"),
        ] {
            assert_eq!(canonical_value(operator, left), canonical_value(operator, right), "{operator}");
        }
    }

    #[test]
    fn different_values_stay_different() {
        for (operator, left, right) in [
            ("StringEquals", "true", "True"),
            ("NumericEquals", "1", "10"),
            ("NumericEquals", "9007199254740993", "9007199254740992"),
            ("StringEquals", "a**b", "a*b"),
            ("IpAddress", "10.0.0.0/8", "10.0.0.0/9"),
        ] {
            assert_ne!(canonical_value(operator, left), canonical_value(operator, right), "{operator}");
        }
    }
}
