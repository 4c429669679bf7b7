//! What is asked for and denied: whether that is sure, and what of it, by name.

use std::collections::BTreeSet;

use super::layers::Concerned;
use super::question::{Question, Worst};
use super::{Reason, Verdict};
use crate::policy::automaton::{Glob, Language};
use crate::policy::pattern::tidy_action;

/// How many actions, and how many resources of a statement, a reason names.
const MOST_NAMED: usize = 5;

impl<'a> Question<'_, 'a> {
    /// What surely denies something of what is asked for that the request does not deny itself; without an example where
    /// that is all of it. Patterns that meet settle it, so it takes no telling apart of texts.
    pub(super) fn sure_denial(&self) -> Option<Worst<'a>> {
        let everything = Glob::new("*");
        let denials = self.concerned.iter().filter(|one| one.ready.denies_always());
        let mut parts = denials.filter_map(|one| Some((one, self.denied_part(one, &everything)?)));
        let (denial, (action, resource)) = parts.next()?;
        let of = |example| Worst {
            verdict: Verdict::Missing,
            reason: Reason::Denied(denial.ready.place.to_string()),
            example,
            written: denial.ready.written,
        };
        if action.includes(&self.asked) && resource.includes(&self.wanted) {
            return Some(of(None));
        }
        let other = self.unnamed();
        Some(of(Some((self.asked.shared_text(action, other)?, self.wanted.shared_text(resource, other)?))))
    }

    /// An action pattern and a resource pattern of a Deny that meet nothing which the request denies itself.
    fn denied_part<'p>(&self, denial: &'p Concerned<'_, 'a>, everything: &'p Glob) -> Option<(&'p Glob, &'p Glob)> {
        let (actions, resources) = (plain(&denial.actions, everything)?, plain(&denial.resources, everything)?);
        let meets = |language: &Language, glob: &Glob| language.globs.iter().any(|own| own.meets(glob));
        let mut parts = actions.iter().filter_map(|action| {
            let own = self.concerned.iter().filter(|one| one.ready.is_exemption() && meets(&one.actions, action));
            let own: Vec<&Language> = own.map(|one| &one.resources).collect();
            let resource = resources.iter().find(|resource| !own.iter().any(|language| meets(language, resource)));
            resource.map(|resource| (*action, *resource))
        });
        parts.next()
    }

    /// The reason why a part of what is asked for is denied, by this statement at least: the action patterns inside of what
    /// is asked for that are denied whatever holds, by which statements and on what.
    pub(super) fn denied_in_part(&self, by: String) -> Reason {
        let (mut seen, mut told) = (BTreeSet::new(), Vec::new());
        let (mut named, mut more) = (0, 0);
        let mut is_named = false;
        for one in self.concerned.iter().filter(|one| one.ready.denies_always()) {
            let place = one.ready.place.to_string();
            let mut names = self.denied_inside(one);
            is_named |= place == by && !names.is_empty();
            names.retain(|name| seen.insert(tidy_action(name)));
            let left = names.split_off(names.len().min(MOST_NAMED - named));
            more += left.len();
            named += names.len();
            if !names.is_empty() {
                told.push(format!("{place} denies {}{}", names.join(", "), self.on(one)));
            }
        }
        if told.is_empty() {
            return Reason::Denied(by);
        }
        if !is_named {
            told.insert(0, Reason::Denied(by).to_string());
        }
        if more > 0 {
            told.push(format!("{more} more are denied"));
        }
        Reason::DeniedInPart(told.join("; "))
    }

    /// The action patterns of a Deny that lie inside of what is asked for, where the request does not deny them itself.
    fn denied_inside(&self, denial: &Concerned<'_, 'a>) -> Vec<&'a str> {
        let inside = |glob: &Glob| self.asked.includes(glob) && !glob.includes(&self.asked);
        let exempt = |glob: &Glob| {
            let own = self.concerned.iter().filter(|one| one.ready.is_exemption());
            own.flat_map(|one| &one.actions.globs).any(|own| own.meets(glob))
        };
        let patterns = denial.ready.written.iter().map(String::as_str);
        let is_named = |pattern: &&str| {
            let glob = Glob::new(&tidy_action(pattern));
            inside(&glob) && !exempt(&glob)
        };
        patterns.filter(is_named).collect()
    }

    /// On what a statement denies something, where that is not all that is asked for.
    fn on(&self, denial: &Concerned<'_, 'a>) -> String {
        let resources = denial.ready.written_resources;
        if resources.is_empty() || denial.resources.includes(&self.wanted) {
            return String::new();
        }
        let named = resources.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        match resources.len().saturating_sub(MOST_NAMED) {
            0 => format!(" on {named}"),
            more => format!(" on {named} and {more} more"),
        }
    }
}

/// The patterns of a language that they make up alone; `None` where there are exceptions.
fn plain<'p>(language: &'p Language, everything: &'p Glob) -> Option<Vec<&'p Glob>> {
    match (language.inverted, language.globs.as_slice()) {
        (false, globs) => Some(globs.iter().collect()),
        (true, []) => Some(vec![everything]),
        (true, _) => None,
    }
}
