//! The condition `Effective`, and what of it is drift.

use super::{Conditions, Says, summarise};
use crate::api::cluster_identity::DriftEntry;
use crate::api::{ALLOW_NARROWING, conditions as types};
use crate::controller::outcome::NOT_EFFECTIVE;
use crate::controller::verdicts::{RequestState, Standing, Wants};
use crate::plan::Effectiveness;

/// The field of a drift entry about what others have put on a role.
pub const EFFECTIVE_PERMISSIONS: &str = "effectivePermissions";

fn wants<'a>(states: &'a [RequestState<'a>]) -> impl Iterator<Item = (&'a RequestState<'a>, &'a Wants<'a>)> {
    states.iter().filter_map(|state| match &state.standing {
        Standing::Wanted(wants) => Some((state, wants)),
        _ => None,
    })
}

/// Whether every live role allows what its request in force asks for. One that certainly does not is told before those of
/// which it cannot be told.
pub(super) fn condition(conditions: &mut Conditions<'_>, states: &[RequestState<'_>]) {
    let (mut certain, mut doubtful, mut unread, mut unjudged, mut narrowed, mut all) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    for (state, wants) in wants(states) {
        all += 1;
        let told = |why: &str| format!("{}: {why}", state.id);
        match wants.effectiveness {
            Some(Effectiveness::Effective) => {}
            Some(Effectiveness::Narrowed(why)) => narrowed.push(told(why)),
            Some(Effectiveness::Unknown(why)) => doubtful.push(told(why)),
            Some(Effectiveness::Unread(why)) => unread.push(told(why)),
            Some(Effectiveness::Ineffective { why, .. }) => certain.push(told(why)),
            None => unjudged.push(state.id.to_string()),
        }
    }
    let says = if !certain.is_empty() {
        Says { status: Some(false), reason: NOT_EFFECTIVE, message: summarise(&certain) }
    } else if !unread.is_empty() {
        return conditions.keep(types::EFFECTIVE, "NotRead", &summarise(&unread));
    } else if !doubtful.is_empty() {
        Says { status: None, reason: "Indeterminate", message: summarise(&doubtful) }
    } else if !unjudged.is_empty() {
        let message = format!("not judged before their roles are as wanted: {}", summarise(&unjudged));
        Says { status: None, reason: "RolesNotReady", message }
    } else if !narrowed.is_empty() {
        let message = format!(
            "roles allow what their requests ask for, but for what the annotation {ALLOW_NARROWING} names: {}",
            summarise(&narrowed)
        );
        Says { status: Some(true), reason: "NarrowingAllowed", message }
    } else {
        let message = format!("{all} of {all} roles allow what their requests ask for");
        Says { status: Some(true), reason: "PermissionsSufficient", message }
    };
    conditions.set(types::EFFECTIVE, says);
}

/// What others have put on a role that takes away what its request asks for.
pub fn drift<'a>(wants: &'a Wants<'a>) -> Option<DriftEntry> {
    match wants.effectiveness {
        Some(Effectiveness::Ineffective { why, is_drift: true }) => Some(DriftEntry {
            resource: format!("role/{}", wants.wanted.role.name),
            field: EFFECTIVE_PERMISSIONS.to_owned(),
            found: why.clone(),
            wanted: "all that the request asks for is allowed".to_owned(),
        }),
        _ => None,
    }
}

/// The same for all requests.
pub fn drift_of_all<'a>(states: &'a [RequestState<'a>]) -> impl Iterator<Item = DriftEntry> + 'a {
    wants(states).filter_map(|(_, wants)| drift(wants))
}
