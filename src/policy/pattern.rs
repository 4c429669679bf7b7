//! Patterns with `*` (any run of characters, the empty one too) and `?` (any one character).

use super::automaton::{Glob, covered_by};

/// One spelling for all spellings of a pattern that differ only in runs of wildcards: `**` is `*`, `*?` is `?*`.
pub fn tidy(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '*' && c != '?' {
            out.push(c);
            continue;
        }
        let (mut star, mut ones) = (c == '*', usize::from(c == '?'));
        while let Some(&next) = rest.peek() {
            match next {
                '*' => star = true,
                '?' => ones += 1,
                _ => break,
            }
            rest.next();
        }
        out.extend(std::iter::repeat_n('?', ones));
        if star {
            out.push('*');
        }
    }
    out
}

/// An action pattern in one spelling: without regard to case, wildcards tidied.
pub fn tidy_action(action: &str) -> String {
    tidy(&action.to_ascii_lowercase())
}

/// Whether `pattern` matches `text`, in time proportional to the product of their lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    walks(&pattern, &text, |element, c| element == '?' || element == c)
}

/// The components of an ARN, or of a pattern for ARNs: what `ArnLike` compares one by one, so that no wildcard reaches from one
/// into the next (IAM User Guide, "ARN condition operators"). The last one may hold colons. `None` for what is no ARN.
pub fn arn_components(arn: &str) -> Option<[&str; 6]> {
    arn.splitn(6, ':').collect::<Vec<_>>().try_into().ok()
}

/// Whether a pattern for ARNs matches an ARN, component by component.
pub fn arn_matches(pattern: &str, arn: &str) -> bool {
    match (arn_components(pattern), arn_components(arn)) {
        (Some(patterns), Some(components)) => patterns.iter().zip(components).all(|(p, c)| matches(p, c)),
        _ => false,
    }
}

/// Whether the elements of a pattern take a text, each `*` any run of it and each other element one character that it
/// fits.
pub(super) fn walks(pattern: &[char], text: &[char], fits: impl Fn(char, char) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&element) if fits(element, text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Whether action patterns together allow every action that `denied` names; `None` when that is too large to be decided.
///
/// Action names are made of letters and are never empty, so `iam:?*`, or `iam:a*` to `iam:z*`, allow all of `iam:*`.
pub fn actions_contain(actions: &[String], denied: &str) -> Option<bool> {
    let denied = tidy_action(denied);
    let denied = match denied.split_once(':') {
        Some((service, "*")) => format!("{service}:?*"),
        None if denied == "*" => "?*".to_owned(),
        _ => denied,
    };
    let actions: Vec<String> = actions.iter().map(|action| wild(&tidy_action(action))).collect();
    // Most come nowhere near: one denied name that none of them allows settles it at once.
    let name = denied.replace('*', "zzzz").replace('?', "z");
    if !actions.iter().any(|action| matches(action, &name)) {
        return Some(false);
    }
    let actions: Vec<Glob> = actions.iter().map(|action| Glob::new(action)).collect();
    covered_by(&Glob::new(&denied), &actions, Some('a'..='z')).ok()
}

/// `service:???*` is `service:*`: no action has a name so short that it would matter.
fn wild(action: &str) -> String {
    match action.split_once(':') {
        Some((service, name)) if name.ends_with('*') && name.chars().all(|c| c == '*' || c == '?') => {
            format!("{service}:*")
        }
        _ => action.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tidies_wildcards_only() {
        for (from, to) in [("s3:**", "s3:*"), ("a*?*b", "a?*b"), ("??*?", "???*"), ("plain", "plain"), ("", "")] {
            assert_eq!(tidy(from), to);
        }
    }

    #[test]
    fn no_wildcard_reaches_from_one_component_of_an_arn_into_the_next() {
        for (pattern, arn, expected) in [
            ("arn:aws:iam::*:role/a*", "arn:aws:iam::123456789012:role/ab", true),
            ("arn:aws:sns:*:1:t", "arn:aws:sns:eu-west-1:1:t", true),
            ("arn:aws:sns:*:t", "arn:aws:sns:eu-west-1:1:t", false),
            ("arn:*x", "arn:aws:sns:eu-west-1:1:x", false),
            ("*", "arn:aws:sns:eu-west-1:1:x", false),
            ("arn:aws:rds:*:*:*", "arn:aws:rds:eu-west-1:1:db:x", true),
        ] {
            assert_eq!(arn_matches(pattern, arn), expected, "{pattern} {arn}");
        }
    }

    #[test]
    fn actions_that_allow_all_of_a_service_are_found_out() {
        let each: Vec<String> = ('a'..='z').map(|c| format!("iam:{c}*")).collect();
        for (actions, denied, all) in [
            (vec!["*"], "iam:*", true),
            (vec!["iam:?*"], "iam:*", true),
            (vec!["IAM:???????*"], "iam:*", true),
            (vec!["s3:GetObject", "iam:**"], "iam:*", true),
            (each.iter().map(String::as_str).collect(), "iam:*", true),
            (each[1..].iter().map(String::as_str).collect(), "iam:*", false),
            (vec!["iam:Get*", "iam:PassRole"], "iam:*", false),
            (vec!["iam:*"], "*", false),
            (vec!["iam:Create*"], "iam:CreateUser", true),
        ] {
            let actions: Vec<String> = actions.into_iter().map(str::to_owned).collect();
            assert_eq!(actions_contain(&actions, denied), Some(all), "{actions:?} over {denied}");
        }
    }

    proptest! {
        #[test]
        fn tidy_keeps_the_language(pattern in "[a*?]{0,7}", text in "[ab]{0,8}") {
            prop_assert_eq!(matches(&pattern, &text), matches(&tidy(&pattern), &text));
        }
    }
}
