//! Whether the live role of a request in force lets its component do what the request asks for.
//!
//! Rolecall's inline policy grants all of it. What else is on the role may take it away again: other inline and attached
//! policies, a permissions boundary, and statements of others in the trust policy.

use super::narrowing::{Loss, denied_by};
use super::upgrade::LiveRole;
use crate::api::ALLOW_NARROWING;
use crate::desired::Wanted;
use crate::desired::consent::Consents;
use crate::desired::issuer::DesiredProvider;
use crate::desired::request::ReadRequest;
use crate::policy::coverage::{Finding, Granted, Verdict, allowed_nowhere, judge};
use crate::policy::trust::{NotAdmitted, Token, admits};

/// The audience that the components of OpenShift put into their tokens.
const AUDIENCE: &str = "openshift";
/// How many actions a message names.
const MOST_NAMED: usize = 5;

/// What a live role lets its component do of what the request in force asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effectiveness {
    /// All of it.
    Effective,
    /// All but what the permissions boundary of the ClusterIdentity denies and its annotation `rolecall.dev/allow-narrowing` names.
    Narrowed(String),
    /// It cannot be told, or depends on a condition, on the resource, or on which actions of a pattern exist; why.
    Unknown(String),
    /// It was not read, for a reason that passes by itself: an older verdict stands.
    Unread(String),
    /// Something is allowed on none of the resources that it is asked for, whatever the conditions are.
    Ineffective {
        /// What, and why.
        why: String,
        /// Whether somebody else has put on the role what takes it away; not so for the permissions boundary that the
        /// ClusterIdentity asks for.
        is_drift: bool,
    },
}

/// Whose wish the permissions boundary of a live role is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundarySetBy {
    /// The ClusterIdentity names it.
    Spec,
    /// Somebody has set it on the role.
    Others,
}

/// Judges all that a live role has against its request in force.
pub fn effectiveness(
    wanted: &Wanted,
    live: &LiveRole,
    boundary: BoundarySetBy,
    provider: &DesiredProvider,
    consents: &Consents,
) -> Effectiveness {
    let request = &*wanted.in_force;
    let required = request.required();
    let mut findings = judge(&required, &live.granted);
    findings.retain(|finding| finding.verdict != Verdict::Covered);
    let nowhere = allowed_nowhere(&required, &live.granted, &findings);
    let denied = denied_by_trust(request, live, provider);
    let mut narrowed = None;
    if !nowhere.is_empty() {
        let why = format!("role {} does not allow {}", live.name, in_words(&nowhere));
        let unbounded = Granted { boundary: None, ..live.granted.clone() };
        let mut without = judge(&required, &unbounded);
        let is_drift =
            boundary == BoundarySetBy::Others || !allowed_nowhere(&required, &unbounded, &without).is_empty();
        if is_drift {
            return Effectiveness::Ineffective { why, is_drift };
        }
        if let Err(consent) = allowed_by(consents, wanted, live) {
            let why = format!(
                "{why}. Widen the boundary, or, if the component can do without it, set the annotation {ALLOW_NARROWING}: {consent} on the ClusterIdentity"
            );
            return Effectiveness::Ineffective { why, is_drift };
        }
        // The consent is for what the boundary takes away, and for nothing else.
        without.retain(|finding| finding.verdict != Verdict::Covered);
        (findings, narrowed) = (without, Some(why));
    }
    match denied {
        Some((Verdict::Missing, why)) => Effectiveness::Ineffective { why, is_drift: true },
        Some((_, why)) => Effectiveness::Unknown(why),
        None if findings.is_empty() => narrowed.map_or(Effectiveness::Effective, Effectiveness::Narrowed),
        None => {
            let gravest = findings.iter().map(|finding| finding.verdict).max();
            let gravest: Vec<&Finding> = findings.iter().filter(|finding| Some(finding.verdict) == gravest).collect();
            Effectiveness::Unknown(format!("role {} may not allow {}", live.name, in_words(&gravest)))
        }
    }
}

/// Whether the ClusterIdentity allows what the boundary of a live role takes away; if not, the value of that consent. The one by which
/// the boundary was set may have been for the request in force alone, or for that with what is granted ahead.
fn allowed_by(consents: &Consents, wanted: &Wanted, live: &LiveRole) -> Result<(), String> {
    let loss = |of| denied_by(wanted, of, live.granted.boundary.clone()?);
    let losses: Vec<Loss> = [&*wanted.in_force, &*wanted.read].into_iter().filter_map(loss).collect();
    let values: Vec<String> = losses.iter().map(|loss| loss.consent(&wanted.role.name)).collect();
    if values.iter().any(|value| consents.allows_narrowing(value)) {
        return Ok(());
    }
    Err(values.into_iter().next().unwrap_or_default())
}

/// The first service account whose token a statement of somebody else in the trust policy denies. That the trust policy admits
/// all of them apart from that is seen when it is compared with the wanted one.
fn denied_by_trust(request: &ReadRequest, live: &LiveRole, provider: &DesiredProvider) -> Option<(Verdict, String)> {
    let trust = live.trust.as_ref().ok()?;
    let denied = request.service_accounts.iter().filter_map(|account| {
        let subject = format!("system:serviceaccount:{}:{account}", request.secret.namespace);
        let token =
            Token { provider: &provider.arn, issuer: provider.host_and_path(), audience: AUDIENCE, subject: &subject };
        let why = admits(trust, &token).err()?;
        matches!(why, NotAdmitted::Denied | NotAdmitted::DeniedIf(_))
            .then(|| (why.verdict(), format!("role {} does not admit the service account {account}: {why}", live.name)))
    });
    denied.max_by_key(|(verdict, _)| *verdict)
}

/// The actions, and why of the first of them.
fn in_words(findings: &[&Finding]) -> String {
    let Some(first) = findings.first() else { return String::new() };
    let mut named: Vec<String> = Vec::new();
    for finding in findings {
        let of = match &finding.example {
            Some((action, resource)) => format!("{action} on {resource}"),
            None if finding.resource == "*" => finding.action.clone(),
            None => format!("{} on {}", finding.action, finding.resource),
        };
        if !named.contains(&of) {
            named.push(of);
        }
    }
    let more = named.len().saturating_sub(MOST_NAMED);
    named.truncate(MOST_NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}: {}", named.join(", "), first.reason)
}
