//! A text that two patterns have in common.

use super::Glob;

/// How many pairs of places in two patterns are looked at to find a text of both.
const MOST_PLACES: usize = 4_000_000;

impl Glob {
    /// A text that both patterns match, with `one` where neither names a character; `None` where there is none, or where the
    /// patterns are too long to look for it.
    pub(in crate::policy) fn shared_text(&self, other: &Self, one: char) -> Option<String> {
        let (rows, columns) = (&self.elements, &other.elements);
        let width = columns.len() + 1;
        let places = (rows.len() + 1).checked_mul(width).filter(|places| *places <= MOST_PLACES)?;
        // The step by which a text first leads to a place in `rows` and a place in `columns`.
        let mut steps: Vec<Option<(bool, bool)>> = vec![None; places];
        steps[0] = Some((false, false));
        for at in 0..places {
            if steps[at].is_none() {
                continue;
            }
            let (row, column) = (rows.get(at / width).copied(), columns.get(at % width).copied());
            let both = row.zip(column).is_some_and(|(a, b)| a != '*' && b != '*' && (a == b || a == '?' || b == '?'));
            // A star may end, or take what stands on the other side.
            let down = row == Some('*') || column == Some('*') && row.is_some();
            let right = column == Some('*') || row == Some('*') && column.is_some();
            for (goes, step, to) in [
                (both, (true, true), at + width + 1),
                (down, (true, false), at + width),
                (right, (false, true), at + 1),
            ] {
                if goes && steps[to].is_none() {
                    steps[to] = Some(step);
                }
            }
        }
        let mut letters = Vec::new();
        let mut at = places - 1;
        while at != 0 {
            let (down, right) = steps[at]?;
            at -= usize::from(down) * width + usize::from(right);
            // What stands there, if the step went over it, and is no star.
            let over = |goes: bool, element: Option<&char>| element.copied().filter(|c| goes && *c != '*');
            let passed = [over(down, rows.get(at / width)), over(right, columns.get(at % width))];
            let letter = passed.into_iter().flatten().min_by_key(|c| *c == '?');
            letters.extend(letter.map(|c| if c == '?' { one } else { c }));
        }
        Some(letters.iter().rev().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::pattern::matches;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn patterns_that_meet_share_a_text(one in "[ab*?]{0,7}", other in "[ab*?]{0,7}") {
            let (a, b) = (Glob::new(&one), Glob::new(&other));
            let shared = a.shared_text(&b, 'c');
            prop_assert_eq!(shared.is_some(), a.meets(&b));
            if let Some(text) = shared {
                prop_assert!(matches(&one, &text) && matches(&other, &text), "{} of {} and {}", text, one, other);
            }
        }
    }

    #[test]
    fn it_is_a_short_one() {
        for (one, other, expected) in [
            ("s3:delete*", "s3:deletebucket", "s3:deletebucket"),
            ("s3:get*", "s3:getbucket*", "s3:getbucket"),
            ("s3:delete*", "s3:*bucket", "s3:deletebucket"),
            ("?*", "*", "z"),
            ("arn:aws:s3:::*", "arn:*:s3:*/x", "arn:aws:s3:::/x"),
        ] {
            assert_eq!(Glob::new(one).shared_text(&Glob::new(other), 'z').as_deref(), Some(expected), "{one} {other}");
        }
    }
}
