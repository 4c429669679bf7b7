//! A role compared.

use super::draft::Draft;
use super::drift::{self, Difference, Field};
use super::kept_statements::{Keep, is_about_provider, with_kept};
use super::narrowing::Loss;
use super::ownership::{Licence, Verified};
use super::{Change, Obstacle, Subject, mark, narrowing};
use crate::desired::names::fingerprint;
use crate::desired::pregrant::Hold;
use crate::desired::request::RequestId;
use crate::desired::role::DesiredRole;
use crate::desired::{Desired, Wanted};
use crate::observed::{Fault, FaultClass, Observed, ObservedRole, Seen, trusted_providers};
use crate::policy::Canonical;

/// What a role is compared under.
struct Comparison<'a> {
    id: &'a RequestId,
    subject: Subject,
    wanted: &'a Wanted,
    desired: &'a Desired,
    observed: &'a Observed,
}

pub(super) fn compare(draft: &mut Draft, id: &RequestId, wanted: &Wanted, desired: &Desired, observed: &Observed) {
    let (subject, role) = (Subject::Role(id.clone()), &wanted.role);
    draft.want(&subject, role.fingerprint());
    match observed.roles.get(&role.name) {
        Some(Seen::Known(Some(_))) if draft.prior.settling.has_deleted(&role.name) => {
            draft.obstruct(&subject, Obstacle::Settling("DeleteRole".into()));
        }
        Some(Seen::Known(Some(found))) => {
            compare_present(draft, &Comparison { id, subject, wanted, desired, observed }, found);
        }
        Some(Seen::Unknown(fault)) => draft.obstruct(&subject, Obstacle::Unreadable(fault.clone())),
        Some(Seen::Known(None)) | None if draft.gate.is_some() => {
            draft.obstruct(&subject, Obstacle::WaitsFor("the issuer"));
        }
        Some(Seen::Known(None)) | None => {
            draft.create(&subject, Change::CreateRole(Box::new(role.clone())), Field::Role);
            let policy = Change::PutInlinePolicy { role: role.name.clone(), policy: role.permissions.text.clone() };
            draft.create(&subject, policy, Field::InlinePolicy);
        }
    }
}

fn compare_present(draft: &mut Draft, of: &Comparison<'_>, found: &ObservedRole) {
    let (subject, wanted) = (&of.subject, &of.wanted.role);
    if found.name != wanted.name {
        let obstacle = Obstacle::OtherCase { role: wanted.name.clone(), found: found.name.clone() };
        return draft.obstruct(subject, obstacle);
    }
    // A role that was made anew under the name is not the one that was verified.
    let known_id = draft.prior.roles.get(of.id).map(|known| known.id.as_str()).unwrap_or_default();
    let verified = match draft.was_ours(subject) {
        true if known_id == found.id => Verified::ThisVery,
        true if known_id.is_empty() => Verified::ByName,
        _ => Verified::No,
    };
    let licence = match draft.licence(subject, &format!("role {}", wanted.name), &found.tags, verified) {
        Ok(licence) => licence,
        Err(obstacle) => return draft.obstruct(subject, obstacle),
    };
    if found.path != wanted.path {
        let obstacle =
            Obstacle::OtherPath { role: wanted.name.clone(), found: found.path.clone(), wanted: wanted.path.clone() };
        return draft.obstruct(subject, obstacle);
    }
    if licence == Licence::FirstContact && draft.gate.is_some() {
        return draft.obstruct(subject, Obstacle::WaitsFor("the issuer"));
    }
    draft.plan.role_ids.insert(of.id.clone(), found.id.clone());
    let missing = drift::missing_iam_tags(&found.tags, &wanted.tags);
    if !missing.is_empty() {
        let difference = drift::tags(&found.tags, &missing);
        let tags = missing.into_iter().chain(mark::to_restore(wanted.mark.as_ref(), licence)).collect();
        draft.update(subject, Change::TagRole { role: wanted.name.clone(), tags }, vec![difference]);
    }
    mark::of_role(draft, subject, wanted, &found.tags);
    compare_policies(draft, of, found, licence);
    // What first contact leaves on a role is not taken away by a boundary either.
    if licence != Licence::FirstContact || !draft.is_obstructed(subject) {
        compare_boundary(draft, of, found);
    }
    compare_attributes(draft, subject, wanted, found);
}

fn compare_policies(draft: &mut Draft, of: &Comparison<'_>, found: &ObservedRole, licence: Licence) {
    let (subject, wanted) = (&of.subject, &of.wanted.role);
    let before = draft.plan.steps.len();
    compare_trust(draft, of, found, licence);
    compare_permissions(draft, of, found, licence);
    if draft.plan.steps.len() == before {
        return;
    }
    match &of.wanted.hold {
        // What was granted ahead of an upgrade must not be taken away because it is not known just now. What is neither
        // that nor as it should be is someone's doing.
        Some(Hold::Granted { policies, why }) if *policies == policies_found(found) => {
            draft.plan.steps.truncate(before);
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
            draft.plan.steps.truncate(before);
            draft.obstruct(subject, Obstacle::NotPreGranted(wanted.name.clone()));
        }
        _ => {}
    }
}

fn compare_trust(draft: &mut Draft, of: &Comparison<'_>, found: &ObservedRole, licence: Licence) {
    let (subject, wanted, provider) = (&of.subject, &of.wanted.role, &of.desired.issuer.provider);
    let known = draft.prior.roles.get(of.id).map(|known| known.adopted_statements.clone()).unwrap_or_default();
    let keep =
        if licence == Licence::FirstContact || forgets(draft, of, found) { Keep::All } else { Keep::Known(&known) };
    let about_us = |statement: &_| is_about_provider(statement, &provider.arn);
    let (trust, kept) = with_kept(&wanted.trust.document, Some(&found.trust), keep, about_us);
    let text = if kept.is_empty() { wanted.trust.text.clone() } else { trust.to_text() };
    draft.plan.adopted_trust.insert(of.id.clone(), kept);
    draft.plan.trust_hashes.insert(of.id.clone(), fingerprint(&Canonical::of(&trust).to_text()));
    let Some(difference) = drift::policy(Field::TrustPolicy, Some(&found.trust), &trust) else { return };
    if draft.gate.is_some() {
        return draft.obstruct(subject, Obstacle::WaitsFor("the issuer"));
    }
    if !trusted_providers(&found.trust).contains(&provider.arn) {
        if !draft.trust_may_be_given {
            return draft.obstruct(subject, Obstacle::WaitsFor("the issuer to be verified"));
        }
    } else if !matches!(of.observed.provider, Seen::Known(Some(_))) {
        return draft.obstruct(subject, Obstacle::WaitsFor("the OIDC provider"));
    }
    if licence == Licence::FirstContact
        && let Some(loses) = narrowing::lost_subjects(&found.trust, provider, &trust)
        && !draft.is_narrowed_by_consent(&wanted.name, &loses)
    {
        return draft.obstruct(subject, would_narrow(&wanted.name, &loses));
    }
    // A trust policy follows the provider's audiences, and these may not be narrowed.
    let is_narrowing = |(part, obstacle): &(Subject, Obstacle)| {
        *part == Subject::Provider && matches!(obstacle, Obstacle::WouldDeny { .. } | Obstacle::WouldNarrow { .. })
    };
    if draft.plan.obstacles.iter().any(is_narrowing) {
        return draft.obstruct(subject, Obstacle::WaitsFor("the OIDC provider"));
    }
    if let Some(loses) = narrowing::shut_out(&found.trust, of.wanted, &trust, provider)
        && !draft.is_narrowed_by_consent(&wanted.name, &loses)
    {
        let change = "a change of the trust policy".to_owned();
        return draft.obstruct(subject, would_deny(change, &wanted.name, &loses));
    }
    let change = Change::UpdateTrust { role: wanted.name.clone(), policy: text };
    draft.update(subject, change, vec![difference]);
}

/// Whether a role is older than its request, and nothing is remembered of it: what was known when it was adopted went with the
/// request that it was made for.
fn forgets(draft: &Draft, of: &Comparison<'_>, found: &ObservedRole) -> bool {
    let Some(known) = draft.prior.roles.get(of.id) else { return false };
    let is_older = known.request_created.zip(found.created).is_some_and(|(request, role)| role < request);
    is_older && known.id.is_empty() && !draft.was_ours(&of.subject)
}

fn compare_permissions(draft: &mut Draft, of: &Comparison<'_>, found: &ObservedRole, licence: Licence) {
    let (subject, wanted) = (&of.subject, &of.wanted.role);
    let permissions = match found.permissions.known() {
        Err(fault) => return draft.obstruct(subject, Obstacle::Unreadable(fault.clone())),
        Ok(permissions) => permissions,
    };
    let document = &wanted.permissions.document;
    let Some(difference) = drift::policy(Field::InlinePolicy, permissions.as_ref(), document) else { return };
    if licence == Licence::FirstContact
        && let Some(loses) = permissions.as_ref().and_then(|found| narrowing::lost_permissions(found, document))
        && !draft.is_narrowed_by_consent(&wanted.name, &loses)
    {
        return draft.obstruct(subject, would_narrow(&wanted.name, &loses));
    }
    let change = Change::PutInlinePolicy { role: wanted.name.clone(), policy: wanted.permissions.text.clone() };
    draft.update(subject, change, vec![difference]);
}

fn would_narrow(role: &str, loses: &Loss) -> Obstacle {
    Obstacle::WouldNarrow { what: format!("role {role}"), loses: loses.to_string(), consent: loses.consent(role) }
}

fn would_deny(change: String, role: &str, loses: &Loss) -> Obstacle {
    Obstacle::WouldDeny { change, what: format!("role {role}"), loses: loses.to_string(), consent: loses.consent(role) }
}

/// What the policies of a role are, as `desired::pregrant::policies` says it; empty when one cannot be read.
fn policies_found(found: &ObservedRole) -> String {
    let (Ok(trust), Ok(Some(Ok(permissions)))) = (&found.trust, found.permissions.known()) else {
        return String::new();
    };
    let of = |document| fingerprint(&Canonical::of(document).to_text());
    format!("{}-{}", of(permissions), of(trust))
}

/// A boundary that nobody asked us for is someone's guard, and is left alone. One that would take away what the request asks for
/// is not set.
fn compare_boundary(draft: &mut Draft, of: &Comparison<'_>, found: &ObservedRole) {
    let (subject, wanted) = (&of.subject, &of.wanted.role);
    let Some(boundary) = &wanted.boundary else { return };
    if found.boundary.as_ref() == Some(boundary) {
        return;
    }
    let loses = match of.observed.boundaries.get(boundary) {
        None => Some(Loss::unknown("nobody has read the boundary".to_owned())),
        Some(document) => narrowing::denied_by_boundary(of.wanted, document, boundary),
    };
    // What nobody has read takes away nobody knows what: no consent is for that.
    let is_read = of.observed.boundaries.get(boundary).is_some_and(|document| document.known().is_ok());
    if let Some(loses) = loses.filter(|loses| !is_read || !draft.is_narrowed_by_consent(&wanted.name, loses)) {
        let change = format!("the permissions boundary {boundary}");
        return draft.obstruct(subject, would_deny(change, &wanted.name, &loses));
    }
    let found = found.boundary.clone().unwrap_or_else(|| drift::NONE.into());
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
