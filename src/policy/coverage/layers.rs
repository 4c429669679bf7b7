//! The statements of all layers, made ready for one question, and what they come to for one kind of request.

use std::collections::HashMap;

use super::contradiction::contradict;
use super::implication::{implies, in_words};
use super::{Granted, Reason, Required, Source, Verdict};
use crate::policy::automaton::{Glob, Language};
use crate::policy::document::{Clause, Effect, Statement, Test, Version};
use crate::policy::pattern::{tidy, tidy_action};

/// Where a statement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Identity,
    Boundary,
    /// A Deny by which the request restricts itself: what it matches is not asked for.
    Exemption,
}

/// How far a statement can be relied on when its action and resource match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Force {
    /// It applies.
    Firm,
    /// It applies when its condition holds.
    IfHolds,
    /// Whether it applies depends on a policy variable.
    Variable,
}

/// A statement, ready to be run.
pub(super) struct Ready<'a> {
    layer: Layer,
    effect: Effect,
    force: Force,
    conditions: &'a [Test],
    pub(super) place: Place<'a>,
    /// The action patterns as the statement spells them; none where they are exceptions.
    pub(super) written: &'a [String],
    /// The resource patterns likewise.
    pub(super) written_resources: &'a [String],
    actions: Language,
    resources: Language,
}

impl Ready<'_> {
    /// Whether it denies whatever it matches.
    pub(super) fn denies_always(&self) -> bool {
        self.effect == Effect::Deny && self.layer != Layer::Exemption && self.force == Force::Firm
    }

    /// Whether it is a Deny by which the request restricts itself.
    pub(super) fn is_exemption(&self) -> bool {
        self.layer == Layer::Exemption
    }
}

/// A statement, as far as it speaks of what is asked for.
pub(super) struct Concerned<'s, 'a> {
    pub(super) ready: &'s Ready<'a>,
    pub(super) actions: Language,
    pub(super) resources: Language,
}

impl<'s, 'a> Concerned<'s, 'a> {
    fn of(ready: &'s Ready<'a>, asked: &Glob, wanted: &Glob) -> Option<Self> {
        Some(Self { ready, actions: ready.actions.within(asked)?, resources: ready.resources.within(wanted)? })
    }

    /// Whether it grants more the more of its patterns match, and so the least to what few of them match.
    pub(super) fn only_adds(&self) -> bool {
        let plain = |language: &Language| !language.inverted || language.globs.is_empty();
        self.ready.effect == Effect::Allow && plain(&self.actions) && plain(&self.resources)
    }
}

/// A statement's place, put into words only when it is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    source: &'a str,
    number: usize,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "statement {} of {}", self.number, self.source)
    }
}

/// All statements that matter for one question.
pub(super) struct Statements<'a> {
    ready: Vec<Ready<'a>>,
    unreadable: Vec<(Layer, Reason)>,
    boundary: Option<&'a str>,
    /// The condition under which it is asked for.
    asked: &'a [Test],
    /// Unconditional grants by action as it is spelt, in one spelling: most questions are answered by these alone.
    plain: HashMap<String, Vec<(&'a [String], Place<'a>)>>,
}

/// What the statements come to for one kind of request.
pub(super) struct Judged<'a> {
    pub(super) verdict: Verdict,
    pub(super) reason: Reason,
    /// The action patterns of the statement that decides, as it spells them.
    pub(super) written: &'a [String],
    /// Whether the request restricts itself here.
    pub(super) exempt: bool,
}

impl<'a> Statements<'a> {
    /// The statements, for what is asked for on this resource and under this condition.
    pub(super) fn new(granted: &'a Granted, exempt: &[&'a Required], entry: &'a Required) -> Self {
        let mut all = Self {
            asked: &entry.conditions,
            ready: Vec::new(),
            unreadable: Vec::new(),
            boundary: granted.boundary.as_ref().map(|source| source.name.as_str()),
            plain: HashMap::new(),
        };
        for source in &granted.identity {
            all.add(source, Layer::Identity, entry);
        }
        if let Some(boundary) = &granted.boundary {
            all.add(boundary, Layer::Boundary, entry);
        }
        for denied in exempt {
            all.exempt(denied);
        }
        all
    }

    fn add(&mut self, source: &'a Source, layer: Layer, entry: &Required) {
        let document = match &source.document {
            Ok(document) => document,
            Err(why) => {
                let reason = Reason::Unreadable { name: source.name.clone(), why: why.clone() };
                return self.unreadable.push((layer, reason));
            }
        };
        for (number, statement) in (1..).zip(&document.statements) {
            if statement.effect == Effect::Deny && contradict(self.asked, &statement.conditions) {
                continue; // it denies nothing of what is asked for
            }
            if statement.effect == Effect::Allow && statement.principals.is_some() {
                continue; // a role's policy names nobody, and IAM takes none that does: it grants the role nothing
            }
            let place = Place { source: &source.name, number };
            let knows_variables = document.version == Version::V2012;
            // What looks like a variable is plain text to the older version, and so not the variable that is asked for.
            let readable = knows_variables || !statement.conditions.iter().any(mentions_variable);
            let applies = readable && implies(self.asked, &statement.conditions);
            self.note_plain(layer, statement, place, applies && knows_variables);
            let has_variables = knows_variables && has_variables(statement);
            for (force, widened) in forces(statement, applies, has_variables) {
                let mut ready = ready(layer, statement, place, force, widened);
                if has_variables && statement.effect == Effect::Allow && names_resource(statement, &entry.resource) {
                    // The same variable stands for the same on both sides.
                    ready.resources = Language { inverted: true, globs: Vec::new() };
                }
                self.ready.push(ready);
            }
        }
    }

    fn note_plain(&mut self, layer: Layer, statement: &'a Statement, place: Place<'a>, applies: bool) {
        let (Clause::Only(actions), Some(Clause::Only(resources))) = (&statement.actions, &statement.resources) else {
            return;
        };
        if layer == Layer::Identity && statement.effect == Effect::Allow && applies {
            for action in actions {
                self.plain.entry(tidy_action(action)).or_default().push((resources, place));
            }
        }
    }

    fn exempt(&mut self, entry: &'a Required) {
        let holds = implies(self.asked, &entry.conditions);
        self.ready.push(Ready {
            layer: Layer::Exemption,
            effect: Effect::Deny,
            force: if holds { Force::Firm } else { Force::IfHolds },
            conditions: &entry.conditions,
            place: Place { source: "the request", number: 0 },
            written: &entry.actions,
            written_resources: std::slice::from_ref(&entry.resource),
            actions: language(false, &entry.actions, tidy_action),
            resources: language(false, std::slice::from_ref(&entry.resource), tidy),
        });
    }

    /// The reason why an action on a resource is allowed, when one plain statement says so and nothing can object.
    pub(super) fn allow_at_once(&self, action: &str, resource: &str) -> Option<Reason> {
        let objects = |ready: &Ready<'_>| ready.layer != Layer::Identity || ready.effect == Effect::Deny;
        if self.boundary.is_some() || !self.unreadable.is_empty() || self.ready.iter().any(objects) {
            return None;
        }
        let grants = self.plain.get(&tidy_action(action))?;
        let grant = grants.iter().find(|(resources, _)| resources.iter().any(|r| r == "*" || r == resource))?;
        Some(Reason::Allowed(grant.1.to_string()))
    }

    /// The statements that match something of what is asked for.
    pub(super) fn concerning(&self, asked: &Glob, wanted: &Glob) -> Vec<Concerned<'_, 'a>> {
        let concerned = |ready| Concerned::of(ready, asked, wanted);
        self.ready.iter().filter_map(concerned).collect()
    }

    /// Whether a boundary has a say, too.
    pub(super) const fn has_boundary(&self) -> bool {
        self.boundary.is_some()
    }

    /// What the matching statements come to: a Deny first, then what the policies allow, then what the boundary does.
    pub(super) fn evaluate(&self, matching: &[&Ready<'a>]) -> Judged<'a> {
        let exempt = matching.iter().any(|ready| ready.layer == Layer::Exemption && ready.force == Force::Firm);
        let mut worst = self.granted_by(Layer::Identity, matching);
        if let Some(boundary) = self.boundary {
            let within = match self.granted_by(Layer::Boundary, matching) {
                (Verdict::Missing, Reason::NoStatement, written) => {
                    (Verdict::Missing, Reason::OutsideBoundary(boundary.to_owned()), written)
                }
                other => other,
            };
            if within.0 > worst.0 {
                worst = within;
            }
        }
        let denials = matching.iter().filter(|ready| ready.effect == Effect::Deny && ready.layer != Layer::Exemption);
        for denial in denials.filter(|denial| !self.is_asked_for_as_well(denial, matching)) {
            let place = denial.place.to_string();
            let denied = match denial.force {
                Force::Firm => (Verdict::Missing, Reason::Denied(place)),
                Force::IfHolds => (
                    Verdict::Conditional,
                    Reason::DeniedIf { statement: place, condition: in_words(denial.conditions) },
                ),
                Force::Variable => (Verdict::Indeterminate, Reason::Variable(place)),
            };
            // A denial says more than the lack of a grant.
            if denied.0 > worst.0 || denied.0 == Verdict::Missing {
                worst = (denied.0, denied.1, denial.written);
            }
        }
        // A policy that could not be read may deny what others grant.
        let unread = self.unreadable.iter().find(|_| worst.0 < Verdict::Indeterminate);
        if let Some((_, reason)) = unread {
            worst = (Verdict::Indeterminate, reason.clone(), &[]);
        }
        let (verdict, reason, written) = worst;
        Judged { verdict, reason, written, exempt }
    }

    /// Whether the request denies itself what a statement denies: wherever the one holds, the other does, too.
    fn is_asked_for_as_well(&self, denial: &Ready<'a>, matching: &[&Ready<'a>]) -> bool {
        let of_request = matching.iter().filter(|ready| ready.layer == Layer::Exemption);
        let mut tests = of_request.map(|own| own.conditions);
        tests.any(|tests| {
            tests.iter().all(|test| {
                let test = std::slice::from_ref(test);
                implies(denial.conditions, test) || implies(self.asked, test)
            })
        })
    }

    /// What the Allow statements of a layer come to, the best of them, and the action patterns of that one.
    fn granted_by(&self, layer: Layer, matching: &[&Ready<'a>]) -> (Verdict, Reason, &'a [String]) {
        let grants = || matching.iter().filter(|ready| ready.layer == layer && ready.effect == Effect::Allow);
        if let Some(grant) = grants().find(|grant| grant.force == Force::Firm) {
            return (Verdict::Covered, Reason::Allowed(grant.place.to_string()), grant.written);
        }
        if let Some(grant) = grants().find(|grant| grant.force == Force::IfHolds) {
            let statement = grant.place.to_string();
            let reason = Reason::OnlyIf { statement, condition: in_words(grant.conditions) };
            return (Verdict::Conditional, reason, grant.written);
        }
        if let Some(grant) = grants().find(|grant| grant.force == Force::Variable) {
            return (Verdict::Indeterminate, Reason::Variable(grant.place.to_string()), grant.written);
        }
        match self.unreadable.iter().find(|(of, _)| *of == layer) {
            Some((_, reason)) => (Verdict::Indeterminate, reason.clone(), &[]),
            None => (Verdict::Missing, Reason::NoStatement, &[]),
        }
    }
}

/// With what force a statement takes part, and whether its variables stand for anything then. A grant with variables is
/// firm only for what it says literally.
fn forces(statement: &Statement, applies: bool, has_variables: bool) -> Vec<(Force, bool)> {
    let force = if applies { Force::Firm } else { Force::IfHolds };
    let complement = matches!(statement.resources, Some(Clause::AllBut(_)));
    match (has_variables, statement.effect) {
        (false, _) => vec![(force, false)],
        // Everything but what the variable may stand for is surely granted; the rest may be.
        (true, Effect::Allow) if complement => vec![(force, true), (Force::Variable, false)],
        (true, Effect::Allow) => vec![(force, false), (Force::Variable, true)],
        (true, Effect::Deny) => vec![(Force::Variable, !complement)],
    }
}

fn ready<'a>(layer: Layer, statement: &'a Statement, place: Place<'a>, force: Force, widened: bool) -> Ready<'a> {
    let (inverted, actions) = parts(&statement.actions);
    let spell = |pattern: &str| if widened { tidy(&self::widened(pattern)) } else { tidy(pattern) };
    let resources = match &statement.resources {
        // A statement without resources, as in a trust policy, does not restrict them.
        None => Language { inverted: true, globs: Vec::new() },
        // What a variable in an exception stands for is not known: for what may apply, the exceptions are left out.
        Some(Clause::AllBut(patterns)) if force == Force::Variable => {
            let known: Vec<String> = patterns.iter().filter(|pattern| !pattern.contains("${")).cloned().collect();
            language(true, &known, tidy)
        }
        Some(clause) => {
            let (inverted, patterns) = parts(clause);
            language(inverted, patterns, spell)
        }
    };
    Ready {
        layer,
        effect: statement.effect,
        force,
        conditions: &statement.conditions,
        place,
        written: named(&statement.actions),
        written_resources: statement.resources.as_ref().map_or(&[], named),
        actions: language(inverted, actions, tidy_action),
        resources,
    }
}

fn parts(clause: &Clause) -> (bool, &[String]) {
    match clause {
        Clause::Only(patterns) => (false, patterns),
        Clause::AllBut(patterns) => (true, patterns),
    }
}

/// The patterns of what a clause names; of a complement none.
fn named(clause: &Clause) -> &[String] {
    match clause {
        Clause::Only(patterns) => patterns,
        Clause::AllBut(_) => &[],
    }
}

fn language(inverted: bool, patterns: &[String], spell: impl Fn(&str) -> String) -> Language {
    Language { inverted, globs: patterns.iter().map(|pattern| Glob::new(&spell(pattern))).collect() }
}

fn has_variables(statement: &Statement) -> bool {
    statement.resources.as_ref().is_some_and(|clause| parts(clause).1.iter().any(|pattern| pattern.contains("${")))
}

fn mentions_variable(test: &Test) -> bool {
    test.values.iter().any(|value| value.contains("${"))
}

/// Whether a statement names just this resource, which holds a variable.
fn names_resource(statement: &Statement, resource: &str) -> bool {
    resource.contains("${")
        && matches!(&statement.resources, Some(Clause::Only(patterns)) if patterns.iter().any(|p| p == resource))
}

/// A pattern in which variables stand for anything.
pub(super) fn widened(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        out += before;
        match after.split_once('}') {
            Some((_, after)) => {
                out.push('*');
                rest = after;
            }
            None => return out + "*",
        }
    }
    out + rest
}
