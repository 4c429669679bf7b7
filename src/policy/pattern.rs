//! Patterns with `*` (any run of characters, the empty one too) and `?` (any one character).

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::RangeInclusive;

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
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
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

/// How many states of the product automaton are looked at before [`contains`] gives up.
const MOST_STATES: usize = 20_000;

/// Whether the `outer` patterns together match every text that `inner` matches. The wildcards of `inner` stand for the
/// characters of `alphabet`; without one, for any: those that `outer` names, and one for all others.
///
/// `None` when the question is too large to be decided (only patterns with many `?` after a `*` are).
fn contains_over(outer: &[String], inner: &str, alphabet: Option<RangeInclusive<char>>) -> Option<bool> {
    let outer: Vec<Vec<char>> = outer.iter().map(|pattern| tidy(pattern).chars().collect()).collect();
    let inner: Vec<char> = tidy(inner).chars().collect();
    let letters: BTreeSet<char> = match alphabet {
        Some(alphabet) => alphabet.collect(),
        None => outer.iter().flatten().copied().filter(|c| !"*?".contains(*c)).chain(['\u{10FFFF}']).collect(),
    };
    let start = (0, outer.iter().map(|pattern| closure(pattern, BTreeSet::from([0]))).collect::<Vec<_>>());
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start]);
    while let Some((at, sets)) = queue.pop_front() {
        let step_all = |c| outer.iter().zip(&sets).map(|(pattern, set)| step(pattern, set, c)).collect::<Vec<_>>();
        let next: Vec<_> = match inner.get(at) {
            None if !outer.iter().zip(&sets).any(|(pattern, set)| set.contains(&pattern.len())) => return Some(false),
            None => Vec::new(),
            Some('*') => {
                let stay = letters.iter().map(|&c| (at, step_all(c)));
                std::iter::once((at + 1, sets.clone())).chain(stay).collect()
            }
            Some('?') => letters.iter().map(|&c| (at + 1, step_all(c))).collect(),
            Some(&c) => vec![(at + 1, step_all(c))],
        };
        queue.extend(next.into_iter().filter(|state| seen.insert(state.clone())));
        if seen.len() > MOST_STATES {
            return None;
        }
    }
    Some(true)
}

/// Whether `outer` matches every text that `inner` matches; `None` when that is too large to be decided.
pub fn contains(outer: &str, inner: &str) -> Option<bool> {
    contains_over(&[outer.to_owned()], inner, None)
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
    contains_over(&actions, &denied, Some('a'..='z'))
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

fn step(pattern: &[char], from: &BTreeSet<usize>, c: char) -> BTreeSet<usize> {
    let next = from
        .iter()
        .filter_map(|&i| match pattern.get(i) {
            Some('*') => Some(i),
            Some(&p) if p == '?' || p == c => Some(i + 1),
            _ => None,
        })
        .collect();
    closure(pattern, next)
}

/// Positions after optional stars; whatever lies before the last star that was reached matches no more than the star does.
fn closure(pattern: &[char], mut set: BTreeSet<usize>) -> BTreeSet<usize> {
    let mut extra: Vec<usize> = set.iter().copied().collect();
    while let Some(i) = extra.pop() {
        if pattern.get(i) == Some(&'*') && set.insert(i + 1) {
            extra.push(i + 1);
        }
    }
    let last_star = set.iter().copied().filter(|&i| pattern.get(i) == Some(&'*')).max();
    match last_star {
        Some(star) => set.split_off(&star),
        None => set,
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
    fn containment() {
        for (outer, inner, expected) in [
            ("*", "iam:*", true),
            ("iam:*", "iam:*", true),
            ("iam:**", "iam:*", true),
            ("iam:Get*", "iam:*", false),
            ("iam:GetUser", "iam:*", false),
            ("iam:?*", "iam:*", false),
            ("a*b*c", "aXbYc", true),
            ("*a*", "*b*", false),
            ("*ab*", "*a*b*", false),
            ("*a*b*", "*ab*", true),
            ("a?*", "ab*", true),
        ] {
            assert_eq!(contains(outer, inner), Some(expected), "{outer} over {inner}");
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
        fn containment_agrees_with_matching(outer in "[ab*?]{0,6}", inner in "[ab*?]{0,5}", texts in prop::collection::vec("[abc]{0,7}", 200)) {
            let contained = contains(&outer, &inner).unwrap();
            for text in texts.iter().filter(|t| matches(&inner, t)) {
                prop_assert!(!contained || matches(&outer, text), "{outer} is said to contain {inner}, not {text}");
            }
            // And where it is not contained, a short text shows it: all texts up to length 7 over {a, b, c} are enough here.
            if !contained {
                prop_assert!(all_texts(7).iter().any(|t| matches(&inner, t) && !matches(&outer, t)), "{outer} over {inner}");
            }
        }

        #[test]
        fn tidy_keeps_the_language(pattern in "[a*?]{0,7}", text in "[ab]{0,8}") {
            prop_assert_eq!(matches(&pattern, &text), matches(&tidy(&pattern), &text));
        }
    }

    fn all_texts(longest: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..longest {
            last = last.iter().flat_map(|t| ["a", "b", "c"].map(|c| format!("{t}{c}"))).collect();
            all.extend(last.iter().cloned());
        }
        all
    }
}
