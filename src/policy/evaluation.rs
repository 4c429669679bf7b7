//! The reference: one concrete request against policies, after AWS's evaluation logic.
//!
//! Source: "Policy evaluation logic" and "IAM JSON policy elements: Condition operators" in the AWS IAM User Guide.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use super::condition::{base_operator, canonical_value};
use super::document::{Clause, Document, Effect, Principals, Statement, Test};
use super::pattern::{arn_matches, matches};

/// A concrete request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The action, such as `ec2:RunInstances`.
    pub action: String,
    /// The ARN of what it is made on; `None` in trust policies.
    pub resource: Option<String>,
    /// Kind and id of who makes it, such as `Federated` and a provider's ARN; only resource and trust policies ask.
    pub principal: Option<(String, String)>,
    /// The context, by key in lower case.
    pub context: BTreeMap<String, Vec<String>>,
}

/// What a set of policies says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allowed,
    /// A statement denies it.
    Denied,
    /// No statement speaks of it.
    Unmentioned,
}

/// What policies of one layer together say of a request. A test that cannot be evaluated (an unknown operator, a policy
/// variable in a condition) counts against the request: it does not let an Allow match, and lets a Deny match. Variables in
/// resources are not known here: they are taken as they are written.
pub fn decide<'a>(documents: impl IntoIterator<Item = &'a Document>, request: &Request) -> Decision {
    let mut decision = Decision::Unmentioned;
    for statement in documents.into_iter().flat_map(|document| &document.statements) {
        if applies(statement, request) {
            match statement.effect {
                Effect::Deny => return Decision::Denied,
                Effect::Allow => decision = Decision::Allowed,
            }
        }
    }
    decision
}

/// Whether identity policies within a boundary allow a request.
pub fn allowed(identity: &[&Document], boundary: Option<&Document>, request: &Request) -> bool {
    decide(identity.iter().copied(), request) == Decision::Allowed
        && boundary.is_none_or(|boundary| decide([boundary], request) == Decision::Allowed)
}

/// Whether a statement speaks of a request.
pub fn applies(statement: &Statement, request: &Request) -> bool {
    let unclear = statement.effect == Effect::Deny;
    let action = request.action.to_ascii_lowercase();
    let principal = statement.principals.as_ref().is_none_or(|principals| {
        let named = request.principal.as_ref().is_some_and(|principal| names(principals, statement.effect, principal));
        named != principals.inverted
    });
    principal
        && within(&statement.actions, |pattern| matches(&pattern.to_ascii_lowercase(), &action))
        && match (&statement.resources, &request.resource) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(resources), Some(resource)) => within(resources, |pattern| matches(pattern, resource)),
        }
        && statement.conditions.iter().all(|test| holds(test, &request.context).unwrap_or(unclear))
}

/// Whether an element lists a principal.
///
/// The guide calls `{"AWS": "*"}` another spelling of `"*"`, everyone, but services are known to differ in that. In doubt it
/// counts against the request: it lists everyone where that denies or leaves out, and AWS's own principals alone where that
/// admits.
fn names(principals: &Principals, effect: Effect, (kind, id): &(String, String)) -> bool {
    let of_kind = |kind: &str| principals.by_kind.get(kind).into_iter().flatten();
    let admits = effect == Effect::Allow && !principals.inverted;
    let everyone = !admits && of_kind("AWS").any(|known| known == "*");
    everyone || of_kind(kind).chain(of_kind("*")).any(|known| known == "*" || known == id)
}

fn within(clause: &Clause, matching: impl Fn(&str) -> bool) -> bool {
    match clause {
        Clause::Only(patterns) => patterns.iter().any(|pattern| matching(pattern)),
        Clause::AllBut(patterns) => !patterns.iter().any(|pattern| matching(pattern)),
    }
}

/// Whether a test holds in a context; `None` when that cannot be told.
pub fn holds(test: &Test, context: &BTreeMap<String, Vec<String>>) -> Option<bool> {
    if test.values.iter().any(|value| value.contains("${")) {
        return None;
    }
    let found = context.get(&test.key.to_ascii_lowercase()).filter(|values| !values.is_empty());
    let base = base_operator(&test.operator);
    if base == "Null" {
        let absent = test.values.iter().any(|value| value.eq_ignore_ascii_case("true"));
        return Some(found.is_none() == absent);
    }
    let all = test.operator.starts_with("ForAllValues:");
    let any = test.operator.starts_with("ForAnyValue:");
    let negated = is_negated(base);
    let Some(found) = found else {
        return Some(test.operator.ends_with("IfExists") || all || negated && !any);
    };
    let mut verdicts = Vec::with_capacity(found.len());
    for value in found {
        let mut matched = false;
        for wanted in &test.values {
            matched |= compare(base, wanted, value)?;
        }
        // A negated operator holds when none of its values matches.
        verdicts.push(matched != negated);
    }
    Some(if any || !all && !negated { verdicts.contains(&true) } else { !verdicts.contains(&false) })
}

/// Whether an operator holds where its positive form does not.
pub fn is_negated(base: &str) -> bool {
    base.contains("Not")
}

fn compare(base: &str, wanted: &str, found: &str) -> Option<bool> {
    let ordering = |less: &str| match base.strip_prefix(less) {
        Some("Equals" | "NotEquals") => Some((true, false, false)),
        Some("LessThan") => Some((false, true, false)),
        Some("LessThanEquals") => Some((true, true, false)),
        Some("GreaterThan") => Some((false, false, true)),
        Some("GreaterThanEquals") => Some((true, false, true)),
        _ => None,
    };
    let ordered = |order: std::cmp::Ordering, (equal, less, greater): (bool, bool, bool)| match order {
        std::cmp::Ordering::Equal => equal,
        std::cmp::Ordering::Less => less,
        std::cmp::Ordering::Greater => greater,
    };
    Some(match base {
        "StringEquals" | "StringNotEquals" | "BinaryEquals" => wanted == found,
        "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" | "Bool" => wanted.eq_ignore_ascii_case(found),
        "StringLike" | "StringNotLike" => matches(wanted, found),
        "ArnLike" | "ArnNotLike" | "ArnEquals" | "ArnNotEquals" => arn_matches(wanted, found),
        "IpAddress" | "NotIpAddress" => in_network(wanted, found)?,
        _ if base.starts_with("Numeric") => {
            let (found, wanted): (f64, f64) = (found.parse().ok()?, wanted.parse().ok()?);
            ordered(found.partial_cmp(&wanted)?, ordering("Numeric")?)
        }
        _ if base.starts_with("Date") => {
            let instant = |text: &str| canonical_value(base, text).parse::<Timestamp>().ok();
            ordered(instant(found)?.cmp(&instant(wanted)?), ordering("Date")?)
        }
        _ => return None,
    })
}

/// Whether an address lies in a network (`10.0.0.0/8`), or is that address.
fn in_network(network: &str, address: &str) -> Option<bool> {
    let (base, length) = network.split_once('/').map_or((network, None), |(base, length)| (base, Some(length)));
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let (base, width) = bits(base.parse().ok()?);
    let (address, other_width) = bits(address.parse().ok()?);
    let length: u32 = length.map_or(Some(width), |length| length.parse().ok()).filter(|length| *length <= width)?;
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    Some(width == other_width && base & mask == address & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(operator: &str, values: &[&str]) -> Test {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Test { operator: operator.into(), key: "aws:Key".into(), values }
    }

    #[test]
    fn conditions_hold_as_the_guide_says() {
        for (operator, values, found, holds_) in [
            ("StringEquals", &["a", "b"][..], &["b"][..], Some(true)),
            ("StringEquals", &["a"], &["A"], Some(false)),
            ("StringEquals", &["a"], &[], Some(false)),
            ("StringEqualsIfExists", &["a"], &[], Some(true)),
            ("StringNotEquals", &["a", "b"], &["c"], Some(true)),
            ("StringNotEquals", &["a", "b"], &["b"], Some(false)),
            ("StringNotEquals", &["a"], &[], Some(true)),
            ("StringLike", &["a*"], &["abc"], Some(true)),
            ("Bool", &["true"], &["True"], Some(true)),
            ("Null", &["true"], &[], Some(true)),
            ("Null", &["false"], &["x"], Some(true)),
            ("Null", &["true"], &["x"], Some(false)),
            ("ForAllValues:StringEquals", &["a", "b"], &["a", "b"], Some(true)),
            ("ForAllValues:StringEquals", &["a"], &["a", "b"], Some(false)),
            ("ForAllValues:StringEquals", &["a"], &[], Some(true)),
            ("ForAnyValue:StringEquals", &["a"], &["a", "b"], Some(true)),
            ("ForAnyValue:StringEquals", &["a"], &[], Some(false)),
            ("NumericLessThan", &["10"], &["9.5"], Some(true)),
            ("NumericGreaterThanEquals", &["10"], &["9"], Some(false)),
            ("DateGreaterThan", &["2020-01-01T00:00:00Z"], &["2021-01-01T00:00:00Z"], Some(true)),
            ("IpAddress", &["10.0.0.0/8"], &["10.1.2.3"], Some(true)),
            ("NotIpAddress", &["10.0.0.0/8"], &["10.1.2.3"], Some(false)),
            ("IpAddress", &["::1"], &["10.1.2.3"], Some(false)),
            ("StringEquals", &["${aws:username}"], &["a"], None),
            ("MadeUp", &["a"], &["a"], None),
        ] {
            let found = found.iter().map(|value| (*value).to_owned()).collect();
            let context = BTreeMap::from([("aws:key".to_owned(), found)]);
            assert_eq!(holds(&test(operator, values), &context), holds_, "{operator} {values:?}");
        }
    }

    #[test]
    fn a_denial_outweighs_and_a_boundary_cuts() {
        let policy = |text: &str| Document::parse(text).unwrap();
        let all = policy(r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#);
        let no_delete = policy(r#"{"Statement":{"Effect":"Deny","Action":"S3:delete*","Resource":"*"}}"#);
        let only_s3 = policy(r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#);
        let request = |action: &str| Request {
            action: action.into(),
            resource: Some("arn:aws:s3:::b".into()),
            ..Request::default()
        };
        assert!(allowed(&[&all], None, &request("s3:DeleteBucket")));
        assert!(!allowed(&[&all, &no_delete], None, &request("s3:DeleteBucket")));
        assert!(allowed(&[&all, &no_delete], Some(&only_s3), &request("s3:GetObject")));
        assert!(!allowed(&[&all], Some(&only_s3), &request("ec2:RunInstances")));
    }
}
