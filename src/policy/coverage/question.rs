//! One required action pattern on one resource pattern, put to the statements that concern it.

use std::collections::BTreeMap;

use super::layers::{Concerned, Judged, Statements, widened};
use super::spelling::spelt_as;
use super::{Reason, Verdict};
use crate::policy::automaton::{Effort, Glob, Kind, kinds, unnamed_by};
use crate::policy::pattern::tidy_action;

/// A concrete action and resource.
type Example = (String, String);

/// What is asked, and of which statements.
pub(super) struct Question<'s, 'a> {
    /// The action pattern, as the request spells it.
    action: &'s str,
    /// The actions, in lower case.
    pub(super) asked: Glob,
    /// The resources.
    pub(super) wanted: Glob,
    /// The statements that match something of it.
    pub(super) concerned: Vec<Concerned<'s, 'a>>,
    statements: &'s Statements<'a>,
}

/// A verdict, why, and what shows it.
pub(super) struct Worst<'a> {
    pub(super) verdict: Verdict,
    pub(super) reason: Reason,
    /// Where it is not the whole that the verdict concerns.
    pub(super) example: Option<Example>,
    /// The action patterns of the statement that decides, as it spells them.
    pub(super) written: &'a [String],
}

impl<'a> Worst<'a> {
    fn of(judged: Judged<'a>, example: Option<Example>) -> Self {
        Self { verdict: judged.verdict, reason: judged.reason, example, written: judged.written }
    }

    fn without_statement(verdict: Verdict, reason: Reason) -> Self {
        Self { verdict, reason, example: None, written: &[] }
    }
}

impl<'s, 'a> Question<'s, 'a> {
    pub(super) fn new(action: &'s str, resource: &str, statements: &'s Statements<'a>) -> Self {
        let asked = Glob::new(&required_action(action));
        // No resource has an empty name. A variable stands for anything.
        let wanted = Glob::new(&if resource == "*" { "?*".to_owned() } else { widened(resource) });
        let concerned = statements.concerning(&asked, &wanted);
        Self { action, asked, wanted, concerned, statements }
    }

    /// The worst that the statements come to, why, and an example where it is not the whole that this concerns.
    pub(super) fn answer(&self) -> (Verdict, Reason, Option<Example>) {
        let worst = self.at_once().unwrap_or_else(|| self.with_denials());
        let reason = match worst.reason {
            Reason::Denied(by) if worst.example.is_some() => self.denied_in_part(by),
            other => other,
        };
        let example = worst.example.map(|(action, on)| (self.spelt(action, worst.written), on));
        (worst.verdict, reason, example)
    }

    /// An example in the spelling of the request and, before that, of the statement that decides.
    fn spelt(&self, example: String, written: &[String]) -> String {
        // Of several spellings the first one is the last word.
        let patterns = std::iter::once(self.action).chain(written.iter().rev().map(String::as_str));
        patterns.fold(example, |example, pattern| spelt_as(pattern, &example).unwrap_or(example))
    }

    /// What the statements come to for a text, or for what is surely matched by them of a pattern.
    fn matching(&self, action: &Glob, resource: &Glob) -> Judged<'a> {
        let all = self.concerned.iter().filter(|one| one.actions.includes(action) && one.resources.includes(resource));
        self.statements.evaluate(&all.map(|one| one.ready).collect::<Vec<_>>())
    }

    /// The verdict where the texts may have to be told apart. What is surely denied, as a whole or in a part of which something
    /// is allowed, is missing without that; and it is where they cannot be told apart.
    fn with_denials(&self) -> Worst<'a> {
        let Some(denial) = self.sure_denial() else { return self.of_every_kind() };
        if denial.example.is_none() || self.is_allowed_in_part() {
            return denial;
        }
        let worst = self.of_every_kind();
        if worst.verdict == Verdict::Missing { worst } else { denial }
    }

    /// Whether something of what is asked for is surely not missing.
    fn is_allowed_in_part(&self) -> bool {
        let allowed = |(action, resource): &Example| {
            let judged = self.matching(&Glob::new(action), &Glob::new(resource));
            judged.verdict < Verdict::Missing && !judged.exempt
        };
        self.plain_texts().iter().any(allowed)
    }

    /// The verdict on the worst kind of texts, told apart by which statements match them.
    fn of_every_kind(&self) -> Worst<'a> {
        let mut effort = Effort::new();
        let languages: Vec<_> = self.concerned.iter().map(|statement| &statement.actions).collect();
        let of_action = kinds(&self.asked, &languages, &mut effort);
        let mut complete = of_action.complete;
        let mut worst: Option<(Judged<'a>, String, String)> = None;
        let mut best = Verdict::Missing;
        let mut of_resource: BTreeMap<Vec<usize>, Vec<Kind>> = BTreeMap::new();
        for kind in of_action.found {
            let matching: Vec<usize> = kind.matching.iter().copied().collect();
            if !of_resource.contains_key(&matching) {
                let languages: Vec<_> = matching.iter().map(|at| &self.concerned[*at].resources).collect();
                let found = kinds(&self.wanted, &languages, &mut effort);
                complete &= found.complete;
                of_resource.insert(matching.clone(), found.found);
            }
            for on in of_resource.get(&matching).into_iter().flatten() {
                let effective: Vec<_> = on.matching.iter().map(|at| self.concerned[matching[*at]].ready).collect();
                let judged = self.statements.evaluate(&effective);
                if judged.exempt {
                    continue; // what the request denies itself is not asked for
                }
                best = best.min(judged.verdict);
                if worst.as_ref().is_none_or(|(known, ..)| judged.verdict > known.verdict) {
                    worst = Some((judged, kind.example.clone(), on.example.clone()));
                }
            }
        }
        match worst {
            // What was found to be missing is missing, whatever else there is.
            Some((judged, on_action, on_resource)) if complete || judged.verdict == Verdict::Missing => {
                // An example tells which part; of the whole there is none to be told.
                let example = (!complete || best != judged.verdict).then_some((on_action, on_resource));
                Worst::of(judged, example)
            }
            None if complete => {
                Worst::without_statement(Verdict::Covered, Reason::Allowed("nothing is asked for".into()))
            }
            _ => Worst::without_statement(Verdict::Indeterminate, Reason::TooLarge),
        }
    }

    /// The verdict where only plain grants concern what is asked for, which is nearly always so, and then polynomial: no
    /// text is allowed by fewer of them than one whose wildcards stand for a character that no pattern names. `None` where
    /// the texts have to be told apart.
    fn at_once(&self) -> Option<Worst<'a>> {
        if !self.concerned.iter().all(Concerned::only_adds) {
            return None;
        }
        let least = self.matching(&self.asked, &self.wanted);
        if least.verdict == Verdict::Covered {
            return Some(Worst::of(least, None));
        }
        let mut globs = self.concerned.iter().flat_map(|one| one.actions.globs.iter().chain(&one.resources.globs));
        if globs.any(Glob::counts) {
            return None;
        }
        let most = self.statements.evaluate(&self.concerned.iter().map(|one| one.ready).collect::<Vec<_>>());
        if most.verdict == least.verdict {
            return Some(Worst::of(least, None));
        }
        // What a policy and the boundary grant may have nothing in common.
        if self.statements.has_boundary() {
            return None;
        }
        let shows = |(action, resource): &Example| {
            self.matching(&Glob::new(action), &Glob::new(resource)).verdict == least.verdict
        };
        let example = self.plain_texts().into_iter().find(shows);
        Some(Worst::of(least, example))
    }

    /// Texts of what is asked for that the fewest patterns match: with nothing, and with a character that no pattern names,
    /// in the place of each star.
    fn plain_texts(&self) -> [Example; 2] {
        let other = self.unnamed();
        ["", &other.to_string()].map(|star| (self.asked.text(star, other), self.wanted.text(star, other)))
    }

    /// A character that no pattern names.
    pub(super) fn unnamed(&self) -> char {
        let mut globs = vec![&self.asked, &self.wanted];
        globs.extend(self.concerned.iter().flat_map(|one| one.actions.globs.iter().chain(&one.resources.globs)));
        unnamed_by(&globs)
    }
}

/// The required actions as a pattern over lower-case names: an action has a service and a name, neither empty.
fn required_action(action: &str) -> String {
    let action = tidy_action(action);
    match action.split_once(':') {
        Some((service, "*")) => format!("{service}:?*"),
        None if action == "*" => "?*:?*".to_owned(),
        _ => action,
    }
}
