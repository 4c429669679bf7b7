//! Languages of patterns, compared exactly: one pattern's texts, told apart by which of many other patterns match them.
//!
//! A pattern is run as a set of positions, kept as bits. Positions before the last `*` that was reached add nothing to
//! what follows from that star, so they are dropped; without `?`, that leaves as many sets as the pattern has positions,
//! and a question stays polynomial however many stars there are. Patterns with many `?` after a `*` can still be hard (to
//! decide whether some of them cover everything is as hard as tautology), so there is a limit on what is looked at.
//! A pattern that a text has left behind is followed no further: of a thousand names, hardly one is.

mod shared;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::pattern::tidy;

/// How many states are looked at before a question is given up as too large.
pub const MOST_STATES: usize = 20_000;

/// How much is done for the patterns in all states together, counted in words of their sets, before a question is given
/// up: a state may have a thousand patterns to follow.
const MOST_WORDS: usize = 2_000_000;

/// What may be done for a number of questions together.
#[derive(Debug)]
pub struct Effort {
    states: usize,
    words: usize,
}

impl Effort {
    /// For questions that belong together.
    pub const fn new() -> Self {
        Self { states: MOST_STATES, words: MOST_WORDS }
    }

    /// Takes as much of what is left.
    fn spend(&mut self, states: usize, words: usize) -> Result<(), TooLarge> {
        match (self.states.checked_sub(states), self.words.checked_sub(words)) {
            (Some(states), Some(words)) => {
                (self.states, self.words) = (states, words);
                Ok(())
            }
            _ => Err(TooLarge),
        }
    }
}

impl Default for Effort {
    fn default() -> Self {
        Self::new()
    }
}

/// A set of positions.
type Positions = Box<[u64]>;

/// The character that stands for all that no pattern names.
const ANY_OTHER: char = '\u{10FFFF}';

/// A pattern, ready to be run.
#[derive(Debug, Clone)]
pub struct Glob {
    elements: Vec<char>,
    stars: Positions,
}

impl Glob {
    /// A pattern with `*` and `?`. The case of letters counts.
    pub fn new(pattern: &str) -> Self {
        let elements: Vec<char> = tidy(pattern).chars().collect();
        let mut stars = vec![0; elements.len() / 64 + 1].into_boxed_slice();
        for (at, _) in elements.iter().enumerate().filter(|(_, c)| **c == '*') {
            stars[at / 64] |= 1 << (at % 64);
        }
        Self { elements, stars }
    }

    /// The characters that the pattern names.
    fn letters(&self) -> impl Iterator<Item = char> + '_ {
        self.elements.iter().copied().filter(|c| !matches!(c, '*' | '?'))
    }

    /// Whether no text can match both patterns, as far as their beginnings tell.
    pub(super) fn begins_otherwise(&self, other: &Self) -> bool {
        let plain = |c: &char| !matches!(c, '*' | '?');
        let pairs = self.elements.iter().zip(&other.elements);
        pairs.take_while(|(a, b)| plain(a) && plain(b)).any(|(a, b)| a != b)
    }

    /// Whether some text matches both patterns. Exact, in time proportional to the product of their lengths.
    pub(super) fn meets(&self, other: &Self) -> bool {
        if self.begins_otherwise(other) {
            return false;
        }
        let (rows, columns) = (&self.elements, &other.elements);
        // Whether a text leads to a place in `rows` and this place in `columns`.
        let mut reached = vec![false; columns.len() + 1];
        reached[0] = true;
        for at in 0..=rows.len() {
            let row = rows.get(at).copied();
            let mut next = vec![false; columns.len() + 1];
            for place in 0..=columns.len() {
                if !reached[place] {
                    continue;
                }
                let column = columns.get(place).copied();
                // A star may end, or take what stands on the other side, another star too.
                if row == Some('*') {
                    next[place] = true;
                }
                if column == Some('*') || row == Some('*') && column.is_some() {
                    reached[place + 1] = true;
                }
                if column == Some('*') && row.is_some() {
                    next[place] = true;
                }
                if let (Some(a), Some(b)) = (row, column)
                    && (a == b || a == '?' || b == '?')
                {
                    next[place + 1] = true;
                }
            }
            if at == rows.len() {
                return reached[columns.len()];
            }
            reached = next;
        }
        false
    }

    /// Whether every text that `inner` matches surely matches this pattern. `false` says so little as that only where this
    /// pattern has a `?`; otherwise it is exact: a text of `inner` whose wildcards stand for a character that no pattern
    /// names can match only by way of this pattern's stars, and those take any other text in its place.
    pub(super) fn includes(&self, inner: &Self) -> bool {
        super::pattern::walks(&self.elements, &inner.elements, |element, c| {
            c != '*' && (element == c || element == '?')
        })
    }

    /// Whether the pattern has a `?`.
    pub(super) fn counts(&self) -> bool {
        self.elements.contains(&'?')
    }

    /// A text that the pattern matches, with this in the place of each star and a letter for each `?`.
    pub(super) fn text(&self, star: &str, one: char) -> String {
        let mut out = String::with_capacity(self.elements.len());
        for element in &self.elements {
            match element {
                '*' => out += star,
                '?' => out.push(one),
                c => out.push(*c),
            }
        }
        out
    }

    fn start(&self) -> Positions {
        let mut set = vec![0; self.elements.len() / 64 + 1].into_boxed_slice();
        set[0] = 1;
        self.close(set)
    }

    fn accepts(&self, set: &Positions) -> bool {
        let end = self.elements.len();
        set[end / 64] >> (end % 64) & 1 == 1
    }

    /// After one more letter, which wildcards match only when `wild`.
    fn step(&self, set: &Positions, letter: char, wild: bool) -> Positions {
        let mut next = vec![0; set.len()].into_boxed_slice();
        for (word, bits) in set.iter().enumerate() {
            let mut left = *bits;
            while left != 0 {
                let at = word * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                match self.elements.get(at) {
                    Some('*') if wild => next[at / 64] |= 1 << (at % 64),
                    Some(c) if *c == letter || *c == '?' && wild => next[(at + 1) / 64] |= 1 << ((at + 1) % 64),
                    _ => {}
                }
            }
        }
        self.close(next)
    }

    /// Adds the positions after optional stars and drops those before the last star. Stars never follow each other.
    fn close(&self, mut set: Positions) -> Positions {
        let mut last = None;
        for word in 0..set.len() {
            let mut reached = set[word] & self.stars[word];
            while reached != 0 {
                let at = word * 64 + reached.trailing_zeros() as usize;
                reached &= reached - 1;
                set[(at + 1) / 64] |= 1 << ((at + 1) % 64);
                last = Some(at);
            }
        }
        if let Some(star) = last {
            set[..star / 64].fill(0);
            set[star / 64] &= u64::MAX << (star % 64);
        }
        set
    }
}

/// Patterns, or everything but them.
#[derive(Debug, Clone)]
pub struct Language {
    /// Everything but what the patterns match.
    pub inverted: bool,
    /// The patterns.
    pub globs: Vec<Glob>,
}

impl Language {
    /// The same language as far as texts of `asked` go, without the patterns that none of these matches; `None` when none
    /// of these is in it.
    pub(super) fn within(&self, asked: &Glob) -> Option<Self> {
        let meets = |glob: &&Glob| glob.meets(asked);
        let globs: Vec<Glob> = self.globs.iter().filter(meets).cloned().collect();
        (self.inverted || !globs.is_empty()).then_some(Self { inverted: self.inverted, globs })
    }

    /// Whether a text is in it. Of a pattern: whether all its texts surely are, where the language is not inverted.
    pub(super) fn includes(&self, inner: &Glob) -> bool {
        self.globs.iter().any(|glob| glob.includes(inner)) != self.inverted
    }
}

/// Texts that the same languages match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The places of the languages that match them.
    pub matching: BTreeSet<usize>,
    /// One of the texts, among the shortest.
    pub example: String,
}

/// The kinds of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds {
    /// Those that were found, each once.
    pub found: Vec<Kind>,
    /// Whether there are surely no others.
    pub complete: bool,
}

/// The question was too large to be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Tells the texts that `pattern` matches apart by which of the languages match them: every combination that occurs, each
/// with an example, as far as the effort allows.
pub fn kinds(pattern: &Glob, languages: &[&Language], effort: &mut Effort) -> Kinds {
    // A pattern that begins otherwise matches none of the texts, so it need not be run.
    let globs: Vec<(usize, &Glob)> = languages
        .iter()
        .enumerate()
        .flat_map(|(at, language)| language.globs.iter().map(move |glob| (at, glob)))
        .filter(|(_, glob)| !glob.begins_otherwise(pattern))
        .collect();
    let inverted: BTreeSet<usize> =
        languages.iter().enumerate().filter(|(_, language)| language.inverted).map(|(at, _)| at).collect();
    let mut run = Run::new(pattern, globs.iter().map(|(_, glob)| *glob).collect(), effort);
    let mut found: HashMap<BTreeSet<usize>, String> = HashMap::new();
    let mut order = Vec::new();
    let mut complete = true;
    while let Some((state, at)) = run.next() {
        if pattern.accepts(&state.0) {
            let hit: BTreeSet<usize> = state
                .1
                .iter()
                .map(|(at, set)| (&globs[*at], set))
                .filter(|((_, glob), set)| glob.accepts(set))
                .map(|((of, _), _)| *of)
                .collect();
            let matching: BTreeSet<usize> = hit.symmetric_difference(&inverted).copied().collect();
            if let Entry::Vacant(vacant) = found.entry(matching) {
                order.push(vacant.key().clone());
                vacant.insert(run.text_to(at));
            }
        }
        if run.advance(&state, at).is_err() {
            complete = false;
            break;
        }
    }
    let kind = |matching| Kind { example: found.remove(&matching).unwrap_or_default(), matching };
    Kinds { found: order.into_iter().map(kind).collect(), complete }
}

/// Whether the patterns together match every text that `inner` matches. The wildcards of `inner` stand for the characters
/// of `alphabet`; without one, for any.
pub fn covered_by(inner: &Glob, outer: &[Glob], alphabet: Option<RangeInclusive<char>>) -> Result<bool, TooLarge> {
    if alphabet.is_none() {
        if outer.iter().any(|glob| glob.includes(inner)) {
            return Ok(true);
        }
        if !outer.iter().any(Glob::counts) {
            return Ok(false);
        }
    }
    let globs: Vec<&Glob> = outer.iter().filter(|glob| !glob.begins_otherwise(inner)).collect();
    let mut effort = Effort::new();
    let mut run = Run::new(inner, globs.clone(), &mut effort);
    if let Some(alphabet) = alphabet {
        run.letters = alphabet.clone().chain(inner.letters()).collect::<BTreeSet<char>>().into_iter().collect();
        run.alphabet = Some(alphabet);
    }
    while let Some((state, at)) = run.next() {
        if inner.accepts(&state.0) && !state.1.iter().any(|(at, set)| globs[*at].accepts(set)) {
            return Ok(false);
        }
        run.advance(&state, at)?;
    }
    Ok(true)
}

/// Where the pattern stands, and where those of the others do that may still match.
type State = (Positions, Vec<(usize, Positions)>);

fn is_empty(set: &Positions) -> bool {
    set.iter().all(|word| *word == 0)
}

/// A walk through all states that texts of the pattern lead to, in the order of the texts' lengths.
struct Run<'a> {
    pattern: &'a Glob,
    globs: Vec<&'a Glob>,
    letters: Vec<char>,
    /// What the pattern's wildcards stand for; `None` for anything.
    alphabet: Option<RangeInclusive<char>>,
    seen: HashSet<Rc<State>>,
    /// How each state was first reached: from where, by which letter.
    reached: Vec<Option<(usize, char)>>,
    queue: VecDeque<(Rc<State>, usize)>,
    effort: &'a mut Effort,
}

impl<'a> Run<'a> {
    fn new(pattern: &'a Glob, globs: Vec<&'a Glob>, effort: &'a mut Effort) -> Self {
        let named = globs.iter().flat_map(|glob| glob.letters()).chain(pattern.letters());
        let mut letters: Vec<char> = named.collect::<BTreeSet<char>>().into_iter().collect();
        // Letters first: an example made of them reads like a name.
        letters.sort_by_key(|c| (!c.is_alphanumeric(), *c));
        letters.push(ANY_OTHER);
        let start: State = (pattern.start(), globs.iter().map(|glob| glob.start()).enumerate().collect());
        let start = Rc::new(start);
        Self {
            pattern,
            globs,
            letters,
            alphabet: None,
            seen: HashSet::from([Rc::clone(&start)]),
            reached: vec![None],
            queue: VecDeque::from([(start, 0)]),
            effort,
        }
    }

    fn next(&mut self) -> Option<(Rc<State>, usize)> {
        self.queue.pop_front()
    }

    fn advance(&mut self, (inner, outer): &State, at: usize) -> Result<(), TooLarge> {
        for index in 0..self.letters.len() {
            let letter = self.letters[index];
            let wild = self.alphabet.as_ref().is_none_or(|alphabet| alphabet.contains(&letter));
            let next = self.pattern.step(inner, letter, wild);
            if is_empty(&next) {
                continue;
            }
            self.effort.spend(0, inner.len() + outer.iter().map(|(_, set)| set.len()).sum::<usize>())?;
            let followed = outer.iter().map(|(at, set)| (*at, self.globs[*at].step(set, letter, true)));
            let state = Rc::new((next, followed.filter(|(_, set)| !is_empty(set)).collect()));
            if self.seen.contains(&state) {
                continue;
            }
            self.effort.spend(1, 0)?;
            self.seen.insert(Rc::clone(&state));
            self.queue.push_back((state, self.reached.len()));
            self.reached.push(Some((at, letter)));
        }
        Ok(())
    }

    fn text_to(&self, mut at: usize) -> String {
        let mut letters = Vec::new();
        while let Some(Some((from, letter))) = self.reached.get(at) {
            // What no pattern names is written as a letter that none of them names either.
            letters.push(if *letter == ANY_OTHER { self.unnamed() } else { *letter });
            at = *from;
        }
        letters.iter().rev().collect()
    }

    fn unnamed(&self) -> char {
        unnamed(|c| self.letters.contains(&c))
    }
}

/// A character that is not named, and reads well in an example.
fn unnamed(named: impl Fn(char) -> bool) -> char {
    let legible = ('a'..='z').rev().chain('0'..='9');
    // There are more characters than any pattern is long.
    legible.chain('\u{a1}'..ANY_OTHER).find(|c| !named(*c)).unwrap_or(ANY_OTHER)
}

/// A character that none of the patterns names.
pub(super) fn unnamed_by(globs: &[&Glob]) -> char {
    unnamed(|c| globs.iter().any(|glob| glob.elements.contains(&c)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::pattern::matches;
    use proptest::prelude::*;

    fn covered(outer: &[&str], inner: &str) -> bool {
        covered_by(&Glob::new(inner), &outer.iter().map(|p| Glob::new(p)).collect::<Vec<_>>(), None).unwrap()
    }

    #[test]
    fn containment() {
        for (outer, inner, expected) in [
            (&["*"][..], "iam:*", true),
            (&["iam:Get*"], "iam:*", false),
            (&["a*b*c"], "aXbYc", true),
            (&["*a*"], "*b*", false),
            (&["*ab*"], "*a*b*", false),
            (&["*a*b*"], "*ab*", true),
            (&["a?*"], "ab*", true),
            (&["a*", "b*"], "?*", false),
            (&["", "?*"], "*", true),
            (&["??", "?", "", "???*"], "*", true),
            (&["a*", "*b"], "a*b", true),
        ] {
            assert_eq!(covered(outer, inner), expected, "{outer:?} over {inner}");
        }
    }

    #[test]
    fn many_stars_stay_cheap() {
        let stars = "*a".repeat(500);
        let glob = Glob::new(&stars);
        let mut effort = Effort::new();
        let mut run = Run::new(&glob, vec![&glob], &mut effort);
        let mut states = 0;
        while let Some((state, at)) = run.next() {
            states += 1;
            run.advance(&state, at).unwrap();
        }
        // As many as the pattern has positions, not their square.
        assert!(states <= 1_100, "{states}");
        assert!(covered(&[&stars], &stars));
        assert!(covered(&[&stars], &format!("{stars}*a")));
        assert!(!covered(&[&format!("{stars}*a")], &stars));
    }

    #[test]
    fn patterns_left_behind_cost_nothing() {
        let names: Vec<Glob> = (0..1_000).map(|n| Glob::new(&format!("bucket-{n:03}-of-a-cluster/*"))).collect();
        let inner = Glob::new("bucket-*");
        let mut effort = Effort::new();
        let mut run = Run::new(&inner, names.iter().collect(), &mut effort);
        while let Some((state, at)) = run.next() {
            run.advance(&state, at).unwrap();
        }
        // In most states one name is left, and some twenty letters may follow.
        let (states, words) = (run.seen.len(), MOST_WORDS - effort.words);
        assert!(words <= 60 * states, "{words} in {states} states");
        assert_eq!(covered_by(&inner, &names, None), Ok(false));
    }

    #[test]
    fn many_patterns_that_all_stay_are_too_large() {
        let stay: Vec<Glob> = (0..1_000).map(|n| Glob::new(&format!("*{n:03}-of-a-cluster?*"))).collect();
        let all = Language { inverted: false, globs: stay };
        assert!(!kinds(&Glob::new("*"), &[&all], &mut Effort::new()).complete);
    }

    #[test]
    fn what_is_too_large_is_said_to_be() {
        let hard = Glob::new(&format!("*a{}", "?".repeat(40)));
        assert_eq!(covered_by(&Glob::new("*"), &[hard], None), Ok(false), "a counterexample is near");
        let hard = [Glob::new(&format!("*a{}", "?".repeat(40))), Glob::new(&format!("*b{}", "?".repeat(41)))];
        let all = Language { inverted: false, globs: hard.to_vec() };
        let kinds = kinds(&Glob::new("*"), &[&all], &mut Effort::new());
        assert!(!kinds.complete);
        assert!(kinds.found.iter().any(|kind| kind.matching.is_empty()), "what was found before is told");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn shortcuts_agree_with_the_automaton(
            inner in "[ab*?]{0,6}",
            outer in "[ab*?]{0,6}",
        ) {
            let (inner, outer) = (Glob::new(&inner), Glob::new(&outer));
            let language = Language { inverted: false, globs: vec![outer.clone()] };
            let kinds = kinds(&inner, &[&language], &mut Effort::new()).found;
            let all = kinds.iter().all(|kind| !kind.matching.is_empty());
            let some = kinds.iter().any(|kind| !kind.matching.is_empty());
            prop_assert_eq!(outer.meets(&inner), some);
            prop_assert_eq!(inner.meets(&outer), some);
            prop_assert!(!outer.includes(&inner) || all);
            prop_assert!(outer.counts() || outer.includes(&inner) == all);
        }

        #[test]
        fn kinds_agree_with_matching(
            inner in "[ab*?]{0,5}",
            patterns in prop::collection::vec(("[ab*?]{0,5}", any::<bool>()), 0..4),
        ) {
            let languages: Vec<Language> = patterns.iter().map(|(p, inverted)| Language { inverted: *inverted, globs: vec![Glob::new(p)] }).collect();
            let kinds = kinds(&Glob::new(&inner), &languages.iter().collect::<Vec<_>>(), &mut Effort::new());
            prop_assert!(kinds.complete);
            let kinds = kinds.found;
            let of = |text: &str| -> BTreeSet<usize> {
                patterns.iter().enumerate().filter(|(_, (p, inverted))| matches(p, text) != *inverted).map(|(i, _)| i).collect()
            };
            for kind in &kinds {
                prop_assert!(matches(&inner, &kind.example), "{} of {inner}", kind.example);
                prop_assert_eq!(&of(&kind.example), &kind.matching);
            }
            let found: BTreeSet<_> = kinds.iter().map(|kind| kind.matching.clone()).collect();
            for text in all_texts(6).iter().filter(|text| matches(&inner, text)) {
                prop_assert!(found.contains(&of(text)), "{text} of {inner} is of no kind");
            }
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
