//! What is to be said of a component, one thing at a time: every format says the same things.

use super::name;
use crate::plan::upgrade::{Component, ComponentVerdict, Part, Unadmitted};
use crate::policy::coverage::Verdict;

/// The kinds of remarks. Their identifiers are part of the formats and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A permission that is not granted.
    Missing,
    /// A permission that is granted under a condition.
    Conditional,
    /// A permission of which it cannot be told.
    Undecided,
    /// A service account that is not admitted.
    Unadmitted,
    /// A service account of which it cannot be told.
    PerhapsAdmitted,
    /// A role that does not exist.
    NewRole,
    /// A component that cannot be judged at all.
    Unreadable,
    /// A role that is not asked for any more.
    Retired,
    /// A permission that is granted and not asked for.
    Surplus,
    /// Several requests that differ ask for one component.
    Several,
}

/// How grave a remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The upgrade would break something.
    Error,
    /// It might.
    Warning,
    /// Good to know.
    Note,
}

impl Rule {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Missing,
        Self::Conditional,
        Self::Undecided,
        Self::Unadmitted,
        Self::PerhapsAdmitted,
        Self::NewRole,
        Self::Unreadable,
        Self::Retired,
        Self::Surplus,
        Self::Several,
    ];

    /// Its identifier.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Missing => "missing-permission",
            Self::Conditional => "conditional-permission",
            Self::Undecided => "undecided-permission",
            Self::Unadmitted => "unadmitted-service-account",
            Self::PerhapsAdmitted => "undecided-service-account",
            Self::NewRole => "new-role",
            Self::Unreadable => "unreadable",
            Self::Retired => "retired-role",
            Self::Surplus => "surplus-permission",
            Self::Several => "differing-requests",
        }
    }

    /// What it means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Missing => "The target release needs a permission that the live role does not grant.",
            Self::Conditional => "The live role grants a permission only under a condition that nobody asked for.",
            Self::Undecided => "It cannot be told whether the live role grants a permission.",
            Self::Unadmitted => "The live role's trust policy does not admit a service account.",
            Self::PerhapsAdmitted => {
                "More than a token decides whether the live role's trust policy admits a service account."
            }
            Self::NewRole => "The target release needs a role that does not exist yet.",
            Self::Unreadable => "The component cannot be judged: its request or its role cannot be read.",
            Self::Retired => "The target release does not ask for this role any more.",
            Self::Surplus => "The live role grants what the target release does not ask for.",
            Self::Several => {
                "The target release has several requests for the component's Secret, and the role must grant what each asks for."
            }
        }
    }

    /// How grave it is.
    pub const fn level(self) -> Level {
        match self {
            Self::Missing | Self::Unadmitted | Self::NewRole => Level::Error,
            Self::Conditional | Self::Undecided | Self::PerhapsAdmitted | Self::Unreadable => Level::Warning,
            Self::Retired | Self::Surplus | Self::Several => Level::Note,
        }
    }

    const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Missing => Self::Missing,
            Verdict::Conditional => Self::Conditional,
            Verdict::Indeterminate => Self::Undecided,
            Verdict::Covered => Self::Surplus,
        }
    }
}

/// One thing about a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Its kind.
    pub rule: Rule,
    /// What it is about: actions, a service account, a role.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Remark {
    fn of_part(part: &Part) -> Self {
        let on = if part.resource == "*" { String::new() } else { format!(" on {}", part.resource) };
        let unconditional = part.condition.as_object().is_none_or(serde_json::Map::is_empty);
        let condition = if unconditional { String::new() } else { format!(" if {}", part.condition) };
        let example = match &part.example {
            Some((action, resource)) => format!(" (for instance {action} on {resource})"),
            None => String::new(),
        };
        Self {
            rule: Rule::of(part.verdict),
            what: format!("{}{on}{condition}", part.actions.join(", ")),
            why: format!("{}{example}", part.because),
        }
    }

    fn of_account(unadmitted: &Unadmitted) -> Self {
        Self {
            rule: if unadmitted.verdict == Verdict::Missing { Rule::Unadmitted } else { Rule::PerhapsAdmitted },
            what: format!("service account {}", unadmitted.service_account),
            why: unadmitted.because.clone(),
        }
    }
}

/// All there is to say of a component, the gravest kinds first. Of a covered one there may be nothing.
pub fn remarks(component: &Component) -> Vec<Remark> {
    let whole = |rule: Rule, what: String| Remark { rule, what, why: component.because.clone() };
    let mut remarks: Vec<Remark> = match component.verdict {
        ComponentVerdict::NewRole => vec![whole(Rule::NewRole, format!("role {}", component.role))],
        ComponentVerdict::Retired => vec![whole(Rule::Retired, format!("role {}", component.role))],
        ComponentVerdict::Indeterminate if component.missing.is_empty() && component.trust.is_empty() => {
            vec![whole(Rule::Unreadable, name(component))]
        }
        _ => Vec::new(),
    };
    remarks.extend(component.missing.iter().map(Remark::of_part));
    remarks.extend(component.trust.iter().map(Remark::of_account));
    remarks.extend(component.surplus.iter().map(Remark::of_part));
    remarks.extend(component.several().map(|several| Remark {
        rule: Rule::Several,
        what: name(component),
        why: format!("{several}: the role must grant what each of them asks for"),
    }));
    remarks.sort_by_key(|remark| remark.rule.level());
    remarks
}
