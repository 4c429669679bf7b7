//! A Secret compared. It follows its role: a component is never pointed at a role that it cannot assume.

use super::draft::Draft;
use super::drift::{Difference, Field};
use super::{Change, Obstacle, Subject, mark};
use crate::api::REPLACE_WITH;
use crate::desired::names::sha256_hex;
use crate::desired::owner::Holder;
use crate::desired::request::RequestId;
use crate::desired::secret::DesiredSecret;
use crate::observed::{ObservedSecret, SecretState, Seen};

pub(super) fn compare(draft: &mut Draft, id: &RequestId, wanted: &DesiredSecret, found: Option<&Seen<SecretState>>) {
    let subject = Subject::Secret(id.clone());
    // Without a cluster to look in, nothing is said of Secrets.
    let Some(found) = found else { return };
    draft.want(&subject, wanted.fingerprint());
    let role = Subject::Role(id.clone());
    match found.known() {
        Err(fault) => draft.obstruct(&subject, Obstacle::Unreadable(fault.clone())),
        Ok(SecretState::NamespaceMissing) => {
            draft.obstruct(&subject, Obstacle::NamespaceMissing(wanted.key.namespace.clone()));
        }
        Ok(SecretState::Absent) => match why_not_to_name(draft, &role) {
            // It is written back whatever AWS says just now: the role of this very ARN was verified.
            _ if draft.was_ours(&role) => write(draft, &subject, wanted, false),
            Some(waits) => draft.obstruct(&subject, waits),
            None => write(draft, &subject, wanted, true),
        },
        Ok(SecretState::Present(found)) => compare_present(draft, &subject, &role, wanted, found),
    }
}

fn write(draft: &mut Draft, subject: &Subject, wanted: &DesiredSecret, points_anew: bool) {
    let change = Change::WriteSecret { secret: wanted.clone(), force: false, points_anew, removes_access_keys: false };
    draft.create(subject, change, Field::Secret);
}

/// Why a Secret must not name its role: a role that is made by this plan will do, one that is in doubt will not.
fn why_not_to_name(draft: &Draft, role: &Subject) -> Option<Obstacle> {
    // What stands before the role was noted last: a walk over all obstacles would be one for each request.
    let of_role = draft.plan.obstacles.iter().rev().take_while(|(of, _)| of == role);
    if draft.gate.is_some() {
        return Some(Obstacle::WaitsFor("the issuer"));
    }
    // A role that cannot be read just now is no reason for doubt once it was seen to be ours.
    let is_doubt = |obstacle: &Obstacle| !(matches!(obstacle, Obstacle::Unreadable(_)) && draft.was_ours(role));
    of_role.into_iter().any(|(_, obstacle)| is_doubt(obstacle)).then_some(Obstacle::WaitsFor("the role"))
}

/// Why a component must not be pointed at another role: nothing may be in doubt of the provider, either.
fn why_not_to_point_at(draft: &Draft, role: &Subject) -> Option<Obstacle> {
    if let Some(why) = why_not_to_name(draft, role) {
        return Some(why);
    }
    let of_issuer = draft.plan.obstacles.iter().take_while(|(of, _)| of.request().is_none());
    let mut of_provider = of_issuer.filter(|(of, _)| *of == Subject::Provider).map(|(_, obstacle)| obstacle);
    let is_doubt =
        |obstacle: &Obstacle| !(matches!(obstacle, Obstacle::Unreadable(_)) && draft.was_ours(&Subject::Provider));
    of_provider.any(is_doubt).then_some(Obstacle::WaitsFor("the OIDC provider"))
}

/// Whether a role was read back as it is wanted, with the provider in force.
fn is_read_back(draft: &Draft, role: &Subject) -> bool {
    let changed = draft.plan.steps.iter().rev().take_while(|step| step.subject == *role).next().is_some();
    !changed && why_not_to_point_at(draft, role).is_none() && !draft.issuer_changes(&Subject::Provider)
}

fn compare_present(
    draft: &mut Draft,
    subject: &Subject,
    role: &Subject,
    wanted: &DesiredSecret,
    found: &ObservedSecret,
) {
    let same = found.credentials_sha256.as_deref() == Some(&sha256_hex(wanted.credentials.as_bytes()));
    if let Some(obstacle) = foreign(draft, subject, wanted, found, same) {
        return draft.obstruct(subject, obstacle);
    }
    let names_another = found.has_access_key || found.role_arn.as_deref().is_some_and(|arn| arn != line(wanted, ROLE));
    let was_verified = draft.was_ours(role);
    if !same && names_another && !is_read_back(draft, role) || !was_verified && draft.gate.is_some() {
        let waits = if draft.gate.is_some() { "the issuer" } else { "the role to be read back" };
        return draft.obstruct(subject, Obstacle::WaitsFor(waits));
    }
    if !same
        && !was_verified
        && let Some(waits) = why_not_to_point_at(draft, role)
    {
        return draft.obstruct(subject, waits);
    }
    let mut differences = Vec::new();
    // A kill may have come between the two writes that replace access keys.
    if !same || found.has_access_key {
        differences.push(Difference::new(Field::Credentials, profile_in_words(found), wanted_in_words(wanted)));
    }
    let annotated =
        found.identity.as_ref() == Some(&wanted.identity) && found.request.as_ref() == Some(&wanted.request);
    if !found.labelled || !annotated {
        differences.push(Difference::new(Field::Labels, "not as set", "as set"));
    }
    if differences.is_empty() {
        return mark::of_secret(draft, subject, wanted, found);
    }
    // What another tool wrote with the same contents is shared, not taken.
    let change = Change::WriteSecret {
        secret: wanted.clone(),
        force: found.ours || !same,
        points_anew: names_another,
        removes_access_keys: found.has_access_key,
    };
    draft.update(subject, change, differences);
}

/// What stands in the way of a Secret that is not ours to change.
fn foreign(
    draft: &mut Draft,
    subject: &Subject,
    wanted: &DesiredSecret,
    found: &ObservedSecret,
    same: bool,
) -> Option<Obstacle> {
    let told = |problem, remedy| Some(Obstacle::ForeignSecret { secret: wanted.key.to_string(), problem, remedy });
    let obstacle = |problem| told(problem, "remove it or give the request another secretRef");
    let holder = draft.frame.owners.holder(found.mark.as_deref());
    if !draft.observes() && !matches!(holder, Holder::Own | Holder::Former | Holder::Nobody) {
        let mark = found.mark.clone().unwrap_or_default();
        return Some(draft.anothers(subject, &format!("Secret {}", wanted.key), &holder, mark));
    }
    if found.has_access_key && !found.replaceable {
        return obstacle(format!(
            "holds an AWS access key; to replace it, set the annotation {REPLACE_WITH}: sts on the Secret"
        ));
    }
    if found.type_ != "Opaque" {
        return obstacle(format!("has type {}", found.type_));
    }
    // Secrets of older versions carry no mark, but the name of their ClusterIdentity. One that is gone owns nothing.
    let named = found.identity.as_ref().filter(|other| holder == Holder::Nobody && **other != wanted.identity);
    let owners = draft.frame.owners;
    let exists = |name: &String| !owners.complete || owners.others.values().any(|other| other == name);
    if let Some(other) = named.filter(|other| exists(other)) {
        return obstacle(format!("belongs to the ClusterIdentity {other}"));
    }
    // Under its own name and without what it remembers, an identity may be a newcomer with a wrong name: nothing tells it that the
    // component that runs with another role would do with this one.
    let names_another = found.role_arn.as_deref().filter(|arn| !same && *arn != line(wanted, ROLE));
    let is_newcomer = holder != Holder::Own && !draft.was_ours(subject);
    if let Some(arn) = names_another.filter(|_| found.ours && is_newcomer && !found.has_access_key) {
        let problem =
            format!("names the role {arn} in place of {}, and this ClusterIdentity never wrote it", line(wanted, ROLE));
        return told(problem, WRONG_NAME);
    }
    // What ccoctl wrote carries no mark, but says the same.
    let adoptable = draft.frame.adopt && found.role_arn.as_deref() == Some(line(wanted, ROLE));
    if found.ours || same || found.has_access_key || adoptable {
        return None;
    }
    obstacle("was written by someone else and says something else".into())
}

/// What to do about a Secret that names a role of another infraName, as it seems.
const WRONG_NAME: &str = "if the cluster runs with that role, spec.infraName is wrong: delete this ClusterIdentity with deletionPolicy: Retain and make it with the right one; delete the Secret only if nothing uses it";
/// The setting of a profile that names the role.
const ROLE: &str = "role_arn = ";

/// What can be told of a profile without telling what may be a secret.
fn profile_in_words(found: &ObservedSecret) -> String {
    match (&found.role_arn, &found.token_path) {
        (Some(arn), Some(path)) => format!("role_arn {arn}, web_identity_token_file {path}"),
        (Some(arn), None) => format!("role_arn {arn}, no web_identity_token_file"),
        _ if found.credentials_sha256.is_none() => "no credentials entry".into(),
        _ => "other contents".into(),
    }
}

fn wanted_in_words(wanted: &DesiredSecret) -> String {
    let (arn, path) = (line(wanted, ROLE), line(wanted, "web_identity_token_file = "));
    format!("role_arn {arn}, web_identity_token_file {path}")
}

/// A setting of the wanted profile.
fn line<'a>(wanted: &'a DesiredSecret, key: &str) -> &'a str {
    wanted.credentials.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default()
}
