//! What a ClusterIdentity's status remembers for later passes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::issuer_parts::ISSUER_PARTS;
use super::seconds;
use crate::api::ClusterIdentityStatus;
use crate::api::cluster_identity::ManagementPolicy;
use crate::apply::Evidence;
use crate::desired::Desired;
use crate::plan::{Change, Plan, Subject};

/// The ARN of the provider, once that was seen to be right.
pub(super) fn provider_arn(previous: &ClusterIdentityStatus, desired: &Desired, plan: &Plan) -> Option<String> {
    let verified = plan.is_true(&Subject::Provider).then(|| desired.issuer.provider.arn.clone());
    verified.or_else(|| previous.provider_arn.clone())
}

/// The fingerprints of what is true now; what is not keeps the one it had.
pub(super) fn verified(previous: &ClusterIdentityStatus, evidence: &Evidence) -> BTreeMap<String, String> {
    let plan = evidence.plan();
    let mut verified = previous.verified.clone();
    for (subject, name) in ISSUER_PARTS {
        if let Some(fingerprint) = plan.fingerprints.get(&subject).filter(|_| plan.is_true(&subject)) {
            verified.insert(name.to_owned(), fingerprint.clone());
        }
    }
    verified
}

/// The roles that UpgradeChecks have made, or are about to make, for components that no request in force asks for. One that
/// nobody asks for any more is remembered until it grants nothing.
pub fn granted_ahead(previous: &[String], desired: &Desired, plan: &Plan) -> Vec<String> {
    let was = |role: &str| previous.iter().any(|name| name.eq_ignore_ascii_case(role));
    let in_force =
        |role: &str| desired.wanted().any(|(_, w)| w.secret.is_some() && w.role.name.eq_ignore_ascii_case(role));
    let gives = |subject: &Subject| {
        let makes = |change: &Change| matches!(change, Change::CreateRole(_) | Change::PutInlinePolicy { .. });
        desired.management == ManagementPolicy::Enforce
            && plan.steps.iter().any(|step| step.subject == *subject && makes(&step.change))
    };
    let ahead = desired.wanted().filter(|(_, wanted)| wanted.secret.is_none());
    let ahead = ahead.filter(|(id, wanted)| was(&wanted.role.name) || gives(&Subject::Role((*id).clone())));
    let mut roles: BTreeSet<String> = ahead.map(|(_, wanted)| wanted.role.name.clone()).collect();
    roles.extend(
        previous
            .iter()
            .filter(|role| !in_force(role))
            .filter(|role| {
                let left_over = [Subject::LeftoverRole((*role).clone()), Subject::Leftovers];
                desired.claims.roles.contains(&role.to_ascii_lowercase())
                    || left_over.iter().any(|part| !plan.is_true(part))
            })
            .cloned(),
    );
    roles.into_iter().collect()
}

pub(super) fn last_changed_time(
    previous: &ClusterIdentityStatus,
    evidence: &Evidence,
    now: Timestamp,
) -> Option<String> {
    let changed = evidence.made().iter().any(|step| step.change.is_of_aws());
    if changed { Some(seconds(now)) } else { previous.last_changed_time.clone() }
}

/// What is to be remembered of an issuer bucket that was begun: until it was seen to be right.
pub(super) fn begun_bucket(previous: &ClusterIdentityStatus, plan: &Plan) -> Option<String> {
    let begun = to_begin(plan).or(previous.begun_bucket.as_ref());
    begun.filter(|_| !plan.is_true(&Subject::Bucket)).cloned()
}

/// The fingerprint of the issuer bucket, if a plan is to create it.
pub fn to_begin(plan: &Plan) -> Option<&String> {
    let creates = plan.steps.iter().any(|step| matches!(step.change, Change::CreateBucket(_)));
    plan.fingerprints.get(&Subject::Bucket).filter(|_| creates)
}
