//! When one condition holds wherever another does.

use std::collections::BTreeSet;

use crate::policy::automaton::{Glob, covered_by};
use crate::policy::condition::{base_operator, canonical_value};
use crate::policy::document::Test;
use crate::policy::evaluation::is_negated;
use crate::policy::pattern::arn_components;

/// Whether all tests of `granted` hold wherever all tests of `asked` do. `false` where that is not certain.
pub fn implies(asked: &[Test], granted: &[Test]) -> bool {
    granted.iter().all(|wanted| asked.iter().any(|known| implies_one(known, wanted)))
}

fn implies_one(known: &Test, wanted: &Test) -> bool {
    if !known.key.eq_ignore_ascii_case(&wanted.key) || variable(known) != variable(wanted) {
        return false;
    }
    let values = |test: &Test| -> BTreeSet<String> {
        test.values.iter().map(|value| canonical_value(&test.operator, value)).collect()
    };
    let (has, wants) = (values(known), values(wanted));
    if same_operator(known, wanted) && has == wants {
        return true;
    }
    // A variable's value is not known, so only the same text is the same.
    if variable(known) || has.is_empty() {
        return false;
    }
    let (known_base, wanted_base) = (base_operator(&known.operator), base_operator(&wanted.operator));
    if same_operator(known, wanted) && is_set_like(known_base) {
        return if is_negated(known_base) { wants.is_subset(&has) } else { narrower(known_base, &has, &wants) };
    }
    // `StringEquals` is a `StringLike` without wildcards, unless a value has one as a plain character.
    known_base == "StringEquals" && wanted_base == "StringLike" && same_frame(known, wanted) && {
        has.iter().all(|value| !value.contains(['*', '?'])) && narrower("StringLike", &has, &wants)
    }
}

/// Whether each of the values lies in the others: as they are, or as patterns.
fn narrower(base: &str, values: &BTreeSet<String>, others: &BTreeSet<String>) -> bool {
    if !matches!(base, "StringLike" | "ArnLike" | "ArnEquals") {
        return values.is_subset(others);
    }
    if base.starts_with("Arn") {
        return values.iter().all(|value| others.iter().any(|other| arn_includes(other, value)));
    }
    let others: Vec<Glob> = others.iter().map(|pattern| Glob::new(pattern)).collect();
    values.iter().all(|value| covered_by(&Glob::new(value), &others, None).unwrap_or(false))
}

/// Whether every ARN that `inner` matches surely matches `outer`: component by component.
fn arn_includes(outer: &str, inner: &str) -> bool {
    let pair = (arn_components(outer), arn_components(inner));
    let (Some(outer), Some(inner)) = pair else { return false };
    outer.iter().zip(inner).all(|(outer, inner)| Glob::new(outer).includes(&Glob::new(inner)))
}

/// Operators whose values are alternatives, so that fewer of them ask for less. Order relations are not.
fn is_set_like(base: &str) -> bool {
    base.starts_with("String")
        || base.starts_with("Arn")
        || matches!(base, "Bool" | "BinaryEquals" | "IpAddress" | "NotIpAddress")
        || matches!(base, "NumericEquals" | "NumericNotEquals" | "DateEquals" | "DateNotEquals")
}

fn same_operator(known: &Test, wanted: &Test) -> bool {
    base_operator(&known.operator) == base_operator(&wanted.operator) && same_frame(known, wanted)
}

/// The same prefix, and an `IfExists` only where the other test asks for less by it.
fn same_frame(known: &Test, wanted: &Test) -> bool {
    let prefix = |test: &Test| test.operator.split_once(':').map(|(prefix, _)| prefix.to_owned());
    let if_exists = |test: &Test| test.operator.ends_with("IfExists");
    prefix(known) == prefix(wanted) && (!if_exists(known) || if_exists(wanted))
}

fn variable(test: &Test) -> bool {
    test.values.iter().any(|value| value.contains("${"))
}

/// A condition in words.
pub fn in_words(tests: &[Test]) -> String {
    let one = |test: &Test| format!("{} {} {}", test.key, test.operator, test.values.join(" or "));
    tests.iter().map(one).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(operator: &str, values: &[&str]) -> Vec<Test> {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        vec![Test { operator: operator.into(), key: "aws:Key".into(), values }]
    }

    #[test]
    fn narrower_conditions_imply_wider_ones() {
        for (asked, granted, expected) in [
            (test("Bool", &["true"]), vec![], true),
            (vec![], test("Bool", &["true"]), false),
            (test("Bool", &["true"]), test("Bool", &["True"]), true),
            (test("StringEquals", &["a"]), test("StringEquals", &["a", "b"]), true),
            (test("StringEquals", &["a", "b"]), test("StringEquals", &["a"]), false),
            (test("StringNotEquals", &["a", "b"]), test("StringNotEquals", &["a"]), true),
            (test("StringNotEquals", &["a"]), test("StringNotEquals", &["a", "b"]), false),
            (test("StringEquals", &["abc"]), test("StringLike", &["a*"]), true),
            (test("StringEquals", &["a*"]), test("StringLike", &["a*"]), false),
            (test("StringLike", &["ab*"]), test("StringLike", &["a*"]), true),
            (test("StringLike", &["a*"]), test("StringEquals", &["abc"]), false),
            (test("ArnLike", &["arn:aws:iam::1:role/ab"]), test("ArnLike", &["arn:aws:iam::*:role/a*"]), true),
            (test("ArnLike", &["arn:aws:sns:eu-west-1:1:x"]), test("ArnLike", &["arn:*x"]), false),
            (test("StringEquals", &["a"]), test("StringEqualsIfExists", &["a"]), true),
            (test("StringEqualsIfExists", &["a"]), test("StringEquals", &["a"]), false),
            (test("NumericLessThan", &["5"]), test("NumericLessThan", &["5.0"]), true),
            (test("NumericLessThan", &["5"]), test("NumericLessThan", &["5", "9"]), false),
            (test("ForAllValues:StringEquals", &["a"]), test("ForAnyValue:StringEquals", &["a"]), false),
            (test("StringEquals", &["${aws:x}"]), test("StringEquals", &["${aws:x}"]), true),
            (test("StringEquals", &["${aws:x}"]), test("StringLike", &["*"]), false),
            (test("ForAllValues:StringNotEquals", &["a", "b"]), test("ForAllValues:StringNotEquals", &["a"]), true),
        ] {
            assert_eq!(implies(&asked, &granted), expected, "{asked:?} => {granted:?}");
        }
    }
}
