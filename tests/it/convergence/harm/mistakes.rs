//! All mistakes, by name.

use jiff::SignedDuration;

use super::super::operator::Status;
use super::super::seeds::Dice;
use super::trial::Trial;
use super::{aws, requests, spec};

/// What puts right what the correction of spec, requests and sources does not.
pub type Undo = Box<dyn FnOnce(&mut Trial)>;
/// Makes a mistake; nothing where it cannot be made just now.
pub type Make = fn(&mut Trial, &mut Dice) -> Option<Undo>;

/// Nothing more is to be put right.
pub fn done() -> Option<Undo> {
    Some(Box::new(|_| {}))
}

pub const ALL: [(&str, Make); 78] = [
    ("spec: infraName (made anew)", spec::infra_name),
    ("spec: region (made anew)", spec::region),
    ("spec: bucket name (made anew)", spec::bucket),
    ("spec: prefix (made anew)", spec::prefix),
    ("spec: path (made anew)", spec::path),
    ("spec: naming (made anew)", spec::naming),
    ("spec: account", spec::account),
    ("spec: assumed role of another account", spec::assumed_role),
    ("spec: assumed role that is not there", spec::assumed_role_missing),
    ("spec: signing keys, another Secret", spec::other_keys),
    ("spec: signing keys, a Secret that is not there", spec::missing_keys),
    ("spec: retireKeysAfter 0s", spec::retire_keys_after),
    ("spec: audiences without openshift", spec::fewer_audiences),
    ("spec: audiences with one more", spec::more_audiences),
    ("spec: boundary that allows nothing", spec::boundary_of_nothing),
    ("spec: boundary that allows all", spec::boundary_of_all),
    ("spec: boundary that is not there", spec::boundary_missing),
    ("spec: boundary no longer set", spec::no_boundary),
    ("spec: maxSessionDuration", spec::max_session),
    ("spec: tags", spec::tags),
    ("spec: audienceCondition", spec::audience_condition),
    ("spec: deniedActions", spec::denied_actions),
    ("spec: deletionDelay 0s", spec::deletion_delay),
    ("spec: maxDeletions 100", spec::max_deletions),
    ("spec: inUseWindow 0s", spec::in_use_window),
    ("spec: allowedSecretNamespaces", spec::secret_namespaces),
    ("spec: selector that selects nothing", spec::selector_nothing),
    ("spec: selector that selects others", spec::selector_others),
    ("spec: namespaces of others", spec::namespaces),
    ("spec: allowEmpty", spec::allow_empty),
    ("spec: managementPolicy", spec::management_policy),
    ("spec: adoption", spec::adoption),
    ("spec: deletionPolicy", spec::deletion_policy),
    ("spec: interval", spec::interval),
    ("request: asks for less", requests::narrower),
    ("request: asks for more", requests::wider),
    ("request: one service account less", requests::fewer_accounts),
    ("request: refused by a misspelling", requests::misspelt),
    ("request: kind misspelt", requests::kind_misspelt),
    ("request: cannot be read", requests::malformed),
    ("request: removed", requests::removed),
    ("request: two removed", requests::two_removed),
    ("request: all removed", requests::all_removed),
    ("request: those of another release", requests::other_release),
    ("request: another secretRef", requests::other_secret),
    ("request: another secretRef, refused", requests::other_secret_refused),
    ("request: a second one that collides", requests::collides),
    ("request: tombstone", requests::tombstone),
    ("request: candidate", requests::candidate),
    ("keys: source gone", requests::source_gone),
    ("keys: source changed", requests::source_changed),
    ("keys: source has another key too", requests::source_rotated),
    ("keys: source restored to an old one", requests::source_restored),
    ("status: restored", status_restored),
    ("status: emptied", status_emptied),
    ("status: requests' emptied", request_statuses_emptied),
    ("aws: trust of another provider", aws::trust_of_other),
    ("aws: policy narrowed", aws::policy_narrowed),
    ("aws: policy widened", aws::policy_widened),
    ("aws: Deny added", aws::deny_added),
    ("aws: tags removed", aws::tags_removed),
    ("aws: discovery document overwritten", aws::discovery_overwritten),
    ("aws: keys.json replaced", aws::keys_replaced),
    ("aws: bucket closed", aws::bucket_closed),
    ("aws: bucket policy replaced", aws::bucket_policy_replaced),
    ("aws: audience removed", aws::audience_removed),
    ("aws: audience added", aws::audience_added),
    ("aws: role deleted", aws::role_deleted),
    ("aws: provider deleted", aws::provider_deleted),
    ("aws: bucket deleted", aws::bucket_deleted),
    ("aws: a document deleted", aws::document_deleted),
    ("aws: role made anew by somebody else", aws::role_made_anew),
    ("aws: marks removed", aws::marks_removed),
    ("aws: marks of another cluster", aws::marks_foreign),
    ("secret: deleted", aws::secret_deleted),
    ("secret: altered", aws::secret_altered),
    ("secret: holds access keys", aws::secret_with_access_keys),
    ("the ClusterIdentity is deleted while in use", deleted),
];

/// Not in the list of what is always tried first, because they go with everything.
pub const CLOCKS: [i64; 5] = [-24 * 60, -90, 40, 6 * 60, 40 * 60];

fn status_restored(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    trial.stored.status = dice.one_of(&trial.statuses)?.copied();
    let there = |id: &_| trial.stored.wish.requests.iter().any(|request| request.id == *id);
    let mut requests = trial.stored.status.requests.clone();
    requests.retain(|id, _| there(id));
    trial.stored.status.requests = requests;
    if dice.percent(70) {
        trial.restart();
    }
    done()
}

fn status_emptied(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    trial.stored.status = Status::default();
    if dice.percent(70) {
        trial.restart();
    }
    done()
}

fn request_statuses_emptied(trial: &mut Trial, dice: &mut Dice) -> Option<Undo> {
    trial.stored.status.requests.clear();
    if dice.percent(70) {
        trial.restart();
    }
    done()
}

fn deleted(trial: &mut Trial, _: &mut Dice) -> Option<Undo> {
    trial.stored.wish.spec.deletion_policy = rolecall::api::cluster_identity::DeletionPolicy::Delete;
    trial.use_roles();
    trial.deleted = true;
    Some(Box::new(|trial| {
        // What is being deleted cannot be kept: it lets go of everything, and is applied again.
        if trial.deleted {
            trial.remake(|_| {});
        }
    }))
}

/// A clock that is wrong: it goes with other mistakes.
pub fn clock(trial: &mut Trial, dice: &mut Dice) {
    let minutes = *dice.one_of(&CLOCKS).unwrap_or(&0);
    trial.skew = SignedDuration::from_mins(minutes);
    trial.note(&format!("MISTAKE: the clock is ahead by {minutes} min"));
}
