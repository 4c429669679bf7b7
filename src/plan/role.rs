//! A role compared.

use super::drift::{self, Difference, Field};
use super::{Change, Draft, Obstacle, Subject};
use crate::desired::Wanted;
use crate::desired::names::fingerprint;
use crate::desired::pregrant::Hold;
use crate::desired::request::RequestId;
use crate::desired::role::DesiredRole;
use crate::observed::{Fault, FaultClass, ObservedRole, Seen};
use crate::policy::Canonical;

pub(super) fn compare(
    draft: &mut Draft,
    id: &RequestId,
    Wanted { role: wanted, hold, .. }: &Wanted,
    found: Option<&Seen<Option<ObservedRole>>>,
) {
    let subject = Subject::Role(id.clone());
    draft.want(&subject, wanted.fingerprint());
    match found {
        Some(Seen::Known(Some(_))) if draft.prior.settling.has_deleted(&wanted.name) => {
            draft.obstruct(&subject, Obstacle::Settling("DeleteRole".into()));
        }
        Some(Seen::Known(Some(found))) => compare_present(draft, &subject, wanted, hold.as_ref(), found),
        Some(Seen::Unknown(fault)) => draft.obstruct(&subject, Obstacle::Unreadable(fault.clone())),
        Some(Seen::Known(None)) | None => {
            draft.create(&subject, Change::CreateRole(Box::new(wanted.clone())), Field::Role);
            let policy = Change::PutInlinePolicy { role: wanted.name.clone(), policy: wanted.permissions.text.clone() };
            draft.create(&subject, policy, Field::InlinePolicy);
        }
    }
}

fn compare_present(
    draft: &mut Draft,
    subject: &Subject,
    wanted: &DesiredRole,
    hold: Option<&Hold>,
    found: &ObservedRole,
) {
    if found.name != wanted.name {
        let obstacle = Obstacle::OtherCase { role: wanted.name.clone(), found: found.name.clone() };
        return draft.obstruct(subject, obstacle);
    }
    if !draft.may_change(subject, &found.tags) {
        let obstacle = draft.not_ours(format!("role {}", wanted.name));
        return draft.obstruct(subject, obstacle);
    }
    if found.path != wanted.path {
        let obstacle =
            Obstacle::OtherPath { role: wanted.name.clone(), found: found.path.clone(), wanted: wanted.path.clone() };
        return draft.obstruct(subject, obstacle);
    }
    let missing = drift::missing_iam_tags(&found.tags, &wanted.tags);
    if !missing.is_empty() {
        let difference = drift::tags(&found.tags, &missing);
        draft.update(subject, Change::TagRole { role: wanted.name.clone(), tags: missing }, vec![difference]);
    }
    compare_boundary(draft, subject, wanted, found);
    compare_policies(draft, subject, wanted, hold, found);
    compare_attributes(draft, subject, wanted, found);
}

fn compare_policies(
    draft: &mut Draft,
    subject: &Subject,
    wanted: &DesiredRole,
    hold: Option<&Hold>,
    found: &ObservedRole,
) {
    let before = draft.steps.len();
    let role = || wanted.name.clone();
    if let Some(difference) = drift::policy(Field::TrustPolicy, Some(&found.trust), &wanted.trust.document) {
        let change = Change::UpdateTrust { role: role(), policy: wanted.trust.text.clone() };
        draft.update(subject, change, vec![difference]);
    }
    match found.permissions.known() {
        Err(fault) => draft.obstruct(subject, Obstacle::Unreadable(fault.clone())),
        Ok(permissions) => {
            if let Some(difference) =
                drift::policy(Field::InlinePolicy, permissions.as_ref(), &wanted.permissions.document)
            {
                let change = Change::PutInlinePolicy { role: role(), policy: wanted.permissions.text.clone() };
                draft.update(subject, change, vec![difference]);
            }
        }
    }
    if draft.steps.len() == before {
        return;
    }
    match hold {
        // What was granted ahead of an upgrade must not be taken away because it is not known just now. What is neither
        // that nor as it should be is someone's doing.
        Some(Hold::Granted { policies, why }) if *policies == policies_found(found) => {
            draft.steps.truncate(before);
            let fault = Fault {
                class: FaultClass::Network,
                action: "reading what is granted ahead of an upgrade".into(),
                target: format!("role {}", wanted.name),
                message: why.clone(),
            };
            draft.obstruct(subject, Obstacle::Unreadable(fault));
        }
        // Without a policy it serves nobody.
        Some(Hold::Existing) if !matches!(found.permissions, Seen::Known(None)) => {
            draft.steps.truncate(before);
            draft.obstruct(subject, Obstacle::NotPreGranted(wanted.name.clone()));
        }
        _ => {}
    }
}

/// What the policies of a role are, as `desired::pregrant::policies` says it; empty when one cannot be read.
fn policies_found(found: &ObservedRole) -> String {
    let (Ok(trust), Ok(Some(Ok(permissions)))) = (&found.trust, found.permissions.known()) else {
        return String::new();
    };
    let of = |document| fingerprint(&Canonical::of(document).to_text());
    format!("{}-{}", of(permissions), of(trust))
}

/// A boundary that nobody asked us for is someone's guard, and is left alone.
fn compare_boundary(draft: &mut Draft, subject: &Subject, wanted: &DesiredRole, found: &ObservedRole) {
    let Some(boundary) = &wanted.boundary else { return };
    if found.boundary.as_ref() == Some(boundary) {
        return;
    }
    let found = found.boundary.clone().unwrap_or_else(|| "none".into());
    let difference = Difference::new(Field::PermissionsBoundary, found, boundary);
    let change = Change::PutBoundary { role: wanted.name.clone(), boundary: boundary.clone() };
    draft.update(subject, change, vec![difference]);
}

fn compare_attributes(draft: &mut Draft, subject: &Subject, wanted: &DesiredRole, found: &ObservedRole) {
    let mut differences = Vec::new();
    if found.description != wanted.description {
        differences.push(Difference::new(Field::Description, &found.description, &wanted.description));
    }
    if found.max_session_seconds != wanted.max_session_seconds {
        differences.push(Difference::new(
            Field::MaxSessionDuration,
            format!("{} s", found.max_session_seconds),
            format!("{} s", wanted.max_session_seconds),
        ));
    }
    if !differences.is_empty() {
        let change = Change::UpdateRole {
            role: wanted.name.clone(),
            description: wanted.description.clone(),
            max_session_seconds: wanted.max_session_seconds,
        };
        draft.update(subject, change, differences);
    }
}
