//! When two conditions never hold together: a Deny under one of them denies nothing that is asked for under the other.

use crate::policy::condition::base_operator;
use crate::policy::document::Test;

/// Whether no request meets all tests of both conditions. `false` where that is not certain.
pub(super) fn contradict(left: &[Test], right: &[Test]) -> bool {
    left.iter().any(|one| right.iter().any(|other| never_both(one, other)))
}

fn never_both(one: &Test, other: &Test) -> bool {
    if !one.key.eq_ignore_ascii_case(&other.key) {
        return false;
    }
    let (Some(a), Some(b)) = (Taken::by(one), Taken::by(other)) else { return false };
    // Where the key is absent, both may hold.
    if a.absent && b.absent {
        return false;
    }
    match (&a.present, &b.present) {
        (Present::Never, _) | (_, Present::Never) => true,
        // Of several values each may be what one of the two asks for.
        (Present::If(a), Present::If(b)) => has_one_value(one, other) && !a.meet(b),
        (Present::If(wanted), Present::Unless(excluded)) | (Present::Unless(excluded), Present::If(wanted)) => {
            excluded.hold_all(wanted)
        }
        _ => false,
    }
}

/// In which requests a test holds.
struct Taken<'a> {
    /// Whether it holds where the key is absent.
    absent: bool,
    present: Present<'a>,
}

/// When a test holds where the key is present.
enum Present<'a> {
    Never,
    Always,
    /// If the key has one of the values.
    If(Values<'a>),
    /// If the key has none of them.
    Unless(Values<'a>),
}

/// Values, and whether their case counts.
struct Values<'a> {
    texts: &'a [String],
    exact: bool,
}

impl<'a> Taken<'a> {
    /// `None` for what is not known here: patterns, order, operators over sets, and policy variables.
    fn by(test: &'a Test) -> Option<Self> {
        if test.values.iter().any(|value| value.contains("${")) {
            return None;
        }
        if test.operator == "Null" {
            return Self::by_absence(&test.values);
        }
        let if_exists = test.operator.ends_with("IfExists");
        let values = |exact| Values { texts: &test.values, exact };
        let (absent, present) = match base_operator(&test.operator) {
            _ if test.operator.contains(':') => return None,
            "StringEquals" => (if_exists, Present::If(values(true))),
            "StringEqualsIgnoreCase" | "Bool" => (if_exists, Present::If(values(false))),
            "StringNotEquals" => (true, Present::Unless(values(true))),
            "StringNotEqualsIgnoreCase" => (true, Present::Unless(values(false))),
            _ => return None,
        };
        Some(Self { absent, present })
    }

    fn by_absence(values: &[String]) -> Option<Self> {
        let all = |word: &str| !values.is_empty() && values.iter().all(|value| value.eq_ignore_ascii_case(word));
        match (all("true"), all("false")) {
            (true, _) => Some(Self { absent: true, present: Present::Never }),
            (_, true) => Some(Self { absent: false, present: Present::Always }),
            _ => None,
        }
    }
}

impl Values<'_> {
    /// Whether one value may be in both.
    fn meet(&self, other: &Self) -> bool {
        let exact = self.exact && other.exact;
        self.texts.iter().any(|a| other.texts.iter().any(|b| same(a, b, exact)))
    }

    /// Whether all of the others are surely among these.
    fn hold_all(&self, others: &Self) -> bool {
        // A spelling that only the others take would not be.
        (others.exact || !self.exact)
            && others.texts.iter().all(|other| self.texts.iter().any(|known| same(known, other, self.exact)))
    }
}

fn same(a: &str, b: &str, exact: bool) -> bool {
    if exact { a == b } else { a.eq_ignore_ascii_case(b) }
}

/// Whether the key of two tests has one value at most: no key of AWS's holds several booleans, and of the others this is
/// believed of those that the IAM User Guide and the Service Authorization Reference call so.
fn has_one_value(one: &Test, other: &Test) -> bool {
    const GLOBAL: [&str; 17] = [
        "calledviafirst",
        "calledvialast",
        "principalaccount",
        "principalarn",
        "principalorgid",
        "principalservicename",
        "principaltype",
        "requestedregion",
        "resourceaccount",
        "resourceorgid",
        "sourceaccount",
        "sourcearn",
        "sourceorgid",
        "sourcevpc",
        "sourcevpce",
        "userid",
        "username",
    ];
    let boolean = |test: &Test| base_operator(&test.operator) == "Bool";
    if boolean(one) && boolean(other) {
        return true;
    }
    let key = one.key.to_ascii_lowercase();
    match key.split_once(':') {
        Some(("aws", name)) if GLOBAL.contains(&name) => true,
        Some(("ec2", "createaction") | ("iam", "awsservicename" | "passedtoservice") | ("kms", "viaservice")) => true,
        // A tag has one value.
        Some((_, name)) => ["principaltag/", "requesttag/", "resourcetag/"].iter().any(|tag| name.starts_with(tag)),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::evaluation::holds;

    fn test(key: &str, operator: &str, values: &[&str]) -> Test {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Test { operator: operator.into(), key: key.into(), values }
    }

    #[test]
    fn conditions_contradict_where_no_request_meets_both() {
        let of = |key: &'static str| move |operator: &str, values: &[&str]| test(key, operator, values);
        let (flag, region, any) = (of("kms:GrantIsForAWSResource"), of("aws:RequestedRegion"), of("x:key"));
        for (asked, denied, expected) in [
            (flag("Bool", &["true"]), flag("Bool", &["False"]), true),
            (flag("Bool", &["true"]), flag("BoolIfExists", &["false"]), true),
            (flag("BoolIfExists", &["true"]), flag("Bool", &["false"]), true),
            (flag("BoolIfExists", &["true"]), flag("BoolIfExists", &["false"]), false),
            (flag("Bool", &["true"]), flag("Bool", &["true"]), false),
            (flag("Bool", &["true"]), flag("Bool", &["true", "false"]), false),
            (flag("Bool", &["true"]), flag("Null", &["true"]), true),
            (flag("Bool", &["true"]), flag("Null", &["false"]), false),
            (flag("Null", &["true"]), flag("Null", &["false"]), true),
            (flag("BoolIfExists", &["true"]), flag("Null", &["true"]), false),
            (region("StringEquals", &["a"]), region("StringEquals", &["b", "c"]), true),
            (region("StringEquals", &["a"]), region("StringEquals", &["A"]), true),
            (region("StringEquals", &["a"]), region("StringEqualsIgnoreCase", &["A"]), false),
            (region("StringEquals", &["a"]), region("StringNotEquals", &["a", "b"]), true),
            (region("StringEquals", &["a", "b"]), region("StringNotEquals", &["a"]), false),
            (region("StringEqualsIfExists", &["a"]), region("StringNotEquals", &["a"]), false),
            (region("StringEqualsIgnoreCase", &["a"]), region("StringNotEquals", &["a"]), false),
            (region("StringEqualsIgnoreCase", &["a"]), region("StringNotEqualsIgnoreCase", &["A"]), true),
            (region("StringNotEquals", &["a"]), region("StringEquals", &["a"]), true),
            (region("StringNotEquals", &["a"]), region("StringNotEquals", &["b"]), false),
            (region("StringEquals", &["a"]), region("ForAnyValue:StringEquals", &["b"]), false),
            (region("StringEquals", &["a"]), region("StringEquals", &["${aws:username}"]), false),
            (region("StringEquals", &["a"]), any("StringEquals", &["b"]), false),
            // Nobody says that such a key has one value only, but a value that is there is not absent from all of them.
            (any("StringEquals", &["a"]), any("StringEquals", &["b"]), false),
            (any("StringEquals", &["a"]), any("StringNotEquals", &["a"]), true),
            (
                test("aws:ResourceTag/t", "StringEquals", &["a"]),
                test("AWS:resourceTag/t", "StringEquals", &["b"]),
                true,
            ),
            (test("aws:TagKeys", "StringEquals", &["a"]), test("aws:TagKeys", "StringEquals", &["b"]), false),
        ] {
            let (asked, denied) = ([asked], [denied]);
            assert_eq!(contradict(&asked, &denied), expected, "{asked:?} and {denied:?}");
            assert_eq!(contradict(&denied, &asked), expected, "{denied:?} and {asked:?}");
        }
    }

    /// All pairs of tests over two letters in both cases, in every context that they tell apart.
    #[test]
    fn what_contradicts_never_holds_together() {
        let lists: [&[&str]; 8] = [&[], &["a"], &["A"], &["b"], &["a", "b"], &["a", "A"], &["true"], &["false"]];
        let operators = ["StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"];
        let set = ["ForAnyValue:StringEquals", "ForAllValues:StringNotEquals", "StringLike", "Null", "Bool"];
        let all =
            operators.into_iter().chain(set).flat_map(|operator| [operator.to_owned(), format!("{operator}IfExists")]);
        let all: Vec<String> = all.collect();
        let one: [&[&str]; 7] = [&[], &["a"], &["A"], &["b"], &["c"], &["true"], &["false"]];
        let several: [&[&str]; 4] = [&["a", "b"], &["A", "b"], &["a", "c"], &["a", "A"]];
        let mut found = 0;
        for (key, contexts) in [("aws:requestedregion", one.to_vec()), ("x:k", [&one[..], &several].concat())] {
            let tests = all.iter().flat_map(|operator| lists.map(|values| test(key, operator, values)));
            let tests: Vec<Test> = tests.collect();
            for (left, right) in tests.iter().flat_map(|left| tests.iter().map(move |right| (left, right))) {
                // A boolean is one.
                let booleans = [left, right].iter().all(|test| test.operator.starts_with("Bool"));
                if !contradict(std::slice::from_ref(left), std::slice::from_ref(right)) {
                    continue;
                }
                found += 1;
                for context in contexts.iter().filter(|values| !booleans || values.len() < 2) {
                    let values = context.iter().map(|value| (*value).to_owned()).collect();
                    let context = BTreeMap::from([(key.to_owned(), values)]);
                    // What cannot be told lets a Deny match.
                    let both = holds(left, &context) == Some(true) && holds(right, &context).unwrap_or(true);
                    assert!(!both, "{left:?} and {right:?} in {context:?}");
                }
            }
        }
        assert!(found > 1_000, "{found}");
    }
}
