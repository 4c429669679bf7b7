//! A Secret compared.

use super::drift::{Difference, Field};
use super::{Change, Draft, Obstacle, Subject};
use crate::desired::names::sha256_hex;
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
        // A Secret must not point a component at a role that is not ours.
        Ok(SecretState::Absent) if role_in_doubt(draft, &role) => {
            draft.obstruct(&subject, Obstacle::WaitsFor("the role"));
        }
        Ok(SecretState::Absent) => {
            draft.create(&subject, Change::WriteSecret { secret: wanted.clone(), force: false }, Field::Secret);
        }
        Ok(SecretState::Present(found)) => compare_present(draft, &subject, wanted, found),
    }
}

fn role_in_doubt(draft: &Draft, role: &Subject) -> bool {
    // What stands before the role was noted last: a walk over all obstacles would be one for each request.
    let of_role = draft.obstacles.iter().rev().take_while(|(of, _)| of == role);
    // A role that cannot be read just now is no reason for doubt once it was seen to be ours.
    of_role.into_iter().any(|(_, obstacle)| !(matches!(obstacle, Obstacle::Unreadable(_)) && draft.was_ours(role)))
}

fn compare_present(draft: &mut Draft, subject: &Subject, wanted: &DesiredSecret, found: &ObservedSecret) {
    let same = found.credentials_sha256.as_deref() == Some(&sha256_hex(wanted.credentials.as_bytes()));
    if let Some(problem) = foreign(wanted, found, same, draft.adopt) {
        let secret = wanted.key.to_string();
        return draft.obstruct(subject, Obstacle::ForeignSecret { secret, problem });
    }
    let mut differences = Vec::new();
    if !same {
        differences.push(Difference::new(Field::Credentials, profile_in_words(found), wanted_in_words(wanted)));
    }
    let annotated =
        found.identity.as_ref() == Some(&wanted.identity) && found.request.as_ref() == Some(&wanted.request);
    if !found.labelled || !annotated {
        differences.push(Difference::new(Field::Labels, "not as set", "as set"));
    }
    if !differences.is_empty() {
        // What another tool wrote with the same contents is shared, not taken.
        let force = found.ours || !same;
        draft.update(subject, Change::WriteSecret { secret: wanted.clone(), force }, differences);
    }
}

/// Why a Secret is not ours to change.
fn foreign(wanted: &DesiredSecret, found: &ObservedSecret, same: bool, adopt: bool) -> Option<String> {
    if found.has_access_key {
        return Some("holds an AWS access key".into());
    }
    if found.type_ != "Opaque" {
        return Some(format!("has type {}", found.type_));
    }
    if let Some(other) = found.identity.as_ref().filter(|other| **other != wanted.identity) {
        return Some(format!("belongs to the ClusterIdentity {other}"));
    }
    // What ccoctl wrote carries no mark, but says the same.
    if found.ours || same || (adopt && found.role_arn.as_deref() == Some(line(wanted, "role_arn = "))) {
        return None;
    }
    Some("was written by someone else and says something else".into())
}

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
    let (arn, path) = (line(wanted, "role_arn = "), line(wanted, "web_identity_token_file = "));
    format!("role_arn {arn}, web_identity_token_file {path}")
}

/// A setting of the wanted profile.
fn line<'a>(wanted: &'a DesiredSecret, key: &str) -> &'a str {
    wanted.credentials.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default()
}
