//! The issuer compared: bucket, documents, provider.

use std::collections::BTreeSet;

use super::change::Expected;
use super::draft::Draft;
use super::drift::{self, Difference, Field};
use super::kept_statements::{Keep, with_kept};
use super::narrowing::Loss;
use super::ownership::{Licence, Verified};
use super::published_keys::{PublishedKeys, to_publish};
use super::{Cause, Change, Obstacle, Subject, Verification, mark};
use crate::desired::Desired;
use crate::desired::consent::PROVIDER as PROVIDER_CONSENT;
use crate::desired::issuer::{
    ACCEPTED_CONTENT_TYPES, CONTENT_TYPE, DesiredBucket, DesiredObject, DesiredProvider, PublicAccessBlock,
    without_scheme,
};
use crate::desired::keys::{KeysRefused, named, published_entries};
use crate::observed::{
    BucketState, Contents, Fault, FaultClass, Observed, ObservedBucket, ObservedObject, ObservedProvider, ReadPolicy,
    Seen,
};
use crate::policy::document::Statement;
use crate::policy::{Document, Effect, equivalent};

const BUCKET: Subject = Subject::Bucket;
const PROVIDER: Subject = Subject::Provider;

pub(super) fn compare(draft: &mut Draft, desired: &Desired, observed: &Observed) {
    let wanted = &desired.issuer;
    draft.want(&BUCKET, wanted.bucket.fingerprint());
    draft.want(&Subject::Discovery, wanted.discovery.fingerprint(&wanted.bucket));
    draft.want(&PROVIDER, wanted.provider.fingerprint());
    if let Ok(keys) = &desired.keys {
        draft.want(&Subject::Keys, keys.document.fingerprint(&wanted.bucket));
    }
    draft.plan.adopted = draft.prior.adopted.clone();
    if let Some(gate) = draft.gate.clone() {
        return obstruct_all(draft, observed, desired, &gate);
    }
    let issuer_is_ours = match &observed.bucket {
        Seen::Unknown(fault) => {
            obstruct_bucket(draft, Obstacle::Unreadable(fault.clone()));
            false
        }
        Seen::Known(BucketState::Forbidden(fault)) => {
            obstruct_bucket(draft, forbidden(&wanted.bucket.name, fault));
            false
        }
        Seen::Known(BucketState::Absent) => create_bucket(draft, desired, observed),
        Seen::Known(BucketState::Present(found)) => compare_bucket(draft, desired, observed, found),
    };
    compare_provider(draft, &wanted.provider, &observed.provider, issuer_is_ours);
}

/// A bucket that may not be looked at, or that another region has.
fn forbidden(bucket: &str, fault: &Fault) -> Obstacle {
    let why = match fault.class {
        FaultClass::Elsewhere => fault.message.clone(),
        _ => format!(
            "another account owns that name, or the operator lacks s3:GetBucketTagging on it ({})",
            fault.message
        ),
    };
    Obstacle::BucketForbidden { bucket: bucket.to_owned(), why }
}

/// Nothing of the issuer is changed while another one may be in force.
fn obstruct_all(draft: &mut Draft, observed: &Observed, desired: &Desired, gate: &Obstacle) {
    match &observed.bucket {
        // What is missing or in the way is told where it belongs.
        Seen::Unknown(fault) => draft.obstruct(&BUCKET, Obstacle::Unreadable(fault.clone())),
        Seen::Known(BucketState::Forbidden(fault)) => {
            draft.obstruct(&BUCKET, forbidden(&desired.issuer.bucket.name, fault));
        }
        Seen::Known(_) => {}
    }
    draft.obstruct(&BUCKET, gate.clone());
    if let Seen::Unknown(fault) = &observed.provider {
        draft.obstruct(&PROVIDER, Obstacle::Unreadable(fault.clone()));
    }
    if let (Err(refused), true) = (&desired.keys, matches!(gate, Obstacle::IssuerUnknown(_))) {
        draft.obstruct(&Subject::Keys, keys_obstacle(observed, refused));
    }
    for subject in [Subject::Discovery, Subject::Keys, PROVIDER] {
        draft.obstruct(&subject, Obstacle::WaitsFor("the issuer"));
    }
}

/// Whether the issuer may be written into trust policies that do not name it yet: its provider is there with its audiences, and the
/// documents were verified in this reconcile. Where nothing comes back from here, documents that were read in the bucket do, once
/// the issuer was verified before.
pub(super) fn may_be_trusted(
    draft: &Draft,
    verification: &Verification,
    observed: &Observed,
    desired: &Desired,
) -> bool {
    let provider = matches!(observed.provider, Seen::Known(Some(_)));
    let adds = |change: &Change| matches!(change, Change::AddAudience { .. } | Change::CreateProvider(_));
    let is_incomplete = draft.plan.steps.iter().any(|step| step.subject == PROVIDER && adds(&step.change));
    let fingerprint = desired.issuer.discovery.fingerprint(&desired.issuer.bucket);
    let before = draft.prior.verified.get(&Subject::Discovery) == Some(&fingerprint);
    let verified = match verification {
        Verification::Verified => true,
        Verification::Unreachable(_) => before,
        Verification::NotYet | Verification::Wrong(_) => false,
    };
    provider && verified && !is_incomplete && !draft.is_obstructed(&PROVIDER) && draft.gate.is_none()
}

/// Something stands before the bucket, and so before what lies in it.
fn obstruct_bucket(draft: &mut Draft, obstacle: Obstacle) {
    draft.obstruct(&BUCKET, obstacle);
    draft.obstruct(&Subject::Discovery, Obstacle::WaitsFor("the bucket"));
    draft.obstruct(&Subject::Keys, Obstacle::WaitsFor("the bucket"));
}

/// The whole bucket anew. Without keys there is nothing to publish, and nothing is begun.
fn create_bucket(draft: &mut Draft, desired: &Desired, observed: &Observed) -> bool {
    let keys = match &desired.keys {
        Ok(keys) => keys,
        Err(refused) => {
            draft.obstruct(&BUCKET, Obstacle::WaitsFor("the signing keys"));
            draft.obstruct(&Subject::Discovery, Obstacle::WaitsFor("the signing keys"));
            draft.obstruct(&Subject::Keys, keys_obstacle(observed, refused));
            return false;
        }
    };
    let bucket = &desired.issuer.bucket;
    let published = to_publish(draft, desired, keys, None);
    draft.create(&BUCKET, Change::CreateBucket(bucket.clone()), Field::Bucket);
    draft.create(&BUCKET, put_block(bucket), Field::PublicAccessBlock);
    draft.create(&BUCKET, put_policy(bucket, bucket.policy.clone()), Field::BucketPolicy);
    draft.create(
        &Subject::Discovery,
        put_discovery(bucket, &desired.issuer.discovery, Expected::Absent),
        Field::Discovery,
    );
    draft.create(&Subject::Keys, put_keys(bucket, &published, Expected::Absent), Field::Keys);
    draft.plan.keys = Some(published);
    true
}

fn compare_bucket(draft: &mut Draft, desired: &Desired, observed: &Observed, found: &ObservedBucket) -> bool {
    let wanted = &desired.issuer.bucket;
    let licence = match licence_of_bucket(draft, wanted, found) {
        Ok(licence) => licence,
        Err(obstacle) => {
            obstruct_bucket(draft, obstacle);
            return false;
        }
    };
    if let (Licence::FirstContact, Err(refused)) = (licence, &desired.keys) {
        draft.obstruct(&BUCKET, Obstacle::WaitsFor("the signing keys"));
        draft.obstruct(&Subject::Discovery, Obstacle::WaitsFor("the signing keys"));
        draft.obstruct(&Subject::Keys, keys_obstacle(observed, refused));
        return false;
    }
    let missing = drift::missing_tags(&found.tags, &wanted.tags);
    if !missing.is_empty() {
        let difference = drift::tags(&found.tags, &missing);
        // S3 sets all tags at once: those of others go along.
        let mut tags = found.tags.clone();
        tags.extend(missing);
        tags.extend(mark::to_restore(wanted.mark.as_ref(), licence));
        draft.update(&BUCKET, Change::TagBucket { bucket: wanted.name.clone(), tags }, vec![difference]);
    }
    mark::of_bucket(draft, wanted, &found.tags);
    compare_settings(draft, wanted, found, licence);
    compare_discovery(draft, wanted, &desired.issuer.discovery, &found.discovery);
    match (&desired.keys, found.keys.known()) {
        (Err(refused), _) => draft.obstruct(&Subject::Keys, keys_obstacle(observed, refused)),
        (Ok(_), Err(fault)) => draft.obstruct(&Subject::Keys, Obstacle::Unreadable(fault.clone())),
        (Ok(keys), Ok(document)) => {
            let published = to_publish(draft, desired, keys, document.as_ref());
            compare_keys(draft, wanted, &published, document.as_ref());
            draft.plan.keys = Some(published);
        }
    }
    true
}

/// Whether the bucket may be changed.
fn licence_of_bucket(draft: &mut Draft, wanted: &DesiredBucket, found: &ObservedBucket) -> Result<Licence, Obstacle> {
    // A bucket of this account with neither a tag nor an object is what a crash between creating and tagging leaves, if we were
    // about to create it.
    let begun = draft.was_begun(&wanted.fingerprint());
    if begun && found.tags.is_empty() && found.contents == Contents::Empty {
        return Ok(Licence::Ours);
    }
    // Our policy opens the whole bucket to the public: one with anything else in it is not even adopted. One that was ours
    // may have been deleted and made again for something else; only where nothing is left to be opened is it still that.
    let was_ours = draft.was_ours(&BUCKET);
    let holds_others = found.contents == Contents::Others && !(was_ours && is_open_already(wanted, found));
    let what = format!("bucket {}", wanted.name);
    let licence = draft.licence(&BUCKET, &what, &found.tags, memory(was_ours))?;
    if holds_others {
        return Err(if draft.frame.adopt || was_ours {
            Obstacle::BucketInUse(wanted.name.clone())
        } else {
            draft.not_ours(what)
        });
    }
    if licence == Licence::FirstContact && !was_ours && !begun && is_closed(found) {
        return Err(Obstacle::BucketClosed(wanted.name.clone()));
    }
    Ok(licence)
}

const fn memory(was_ours: bool) -> Verified {
    if was_ours { Verified::ThisVery } else { Verified::No }
}

/// Whether somebody keeps the public out. S3 does so with every new bucket.
fn is_closed(found: &ObservedBucket) -> bool {
    let closes = |block: &PublicAccessBlock| block.block_public_policy || block.restrict_public_buckets;
    matches!(found.public_access_block.known(), Ok(Some(block)) if closes(block))
}

/// Whether the bucket is as public as we would make it.
fn is_open_already(wanted: &DesiredBucket, found: &ObservedBucket) -> bool {
    let block = matches!(found.public_access_block.known(), Ok(Some(block)) if *block == wanted.public_access_block);
    let policy = match (found.policy.known(), wanted.policy_document()) {
        (Ok(Some(policy)), Ok(document)) => {
            drift::policy(Field::BucketPolicy, Some(&without_guards(policy.clone())), &document).is_none()
        }
        _ => false,
    };
    block && policy
}

fn compare_settings(draft: &mut Draft, wanted: &DesiredBucket, found: &ObservedBucket, licence: Licence) {
    match found.public_access_block.known() {
        Err(fault) => draft.obstruct(&BUCKET, Obstacle::Unreadable(fault.clone())),
        Ok(block) if *block == Some(wanted.public_access_block) => {}
        Ok(block) => {
            let found = block.map_or_else(|| drift::NONE.to_owned(), |block| format!("{block:?}"));
            let difference =
                Difference::new(Field::PublicAccessBlock, found, format!("{:?}", wanted.public_access_block));
            draft.update(&BUCKET, put_block(wanted), vec![difference]);
        }
    }
    let (policy, ours) = match (found.policy.known(), wanted.policy_document()) {
        (Err(fault), _) => return draft.obstruct(&BUCKET, Obstacle::Unreadable(fault.clone())),
        (Ok(_), Err(_)) => return,
        (Ok(policy), Ok(document)) => (policy, document),
    };
    let known = draft.prior.adopted.bucket_policy_statements.clone();
    let keeps_all = licence == Licence::FirstContact || draft.prior.forgets_adopted;
    let keep = if keeps_all { Keep::All } else { Keep::Known(&known) };
    let is_ours = |statement: &Statement| is_statement_of(statement, &ours) || is_guard(statement);
    let (document, kept) = with_kept(&ours, policy.as_ref(), keep, is_ours);
    draft.plan.adopted.bucket_policy_statements.clone_from(&kept);
    if let Some(difference) = drift::policy(Field::BucketPolicy, policy.clone().map(without_guards).as_ref(), &document)
    {
        let guards = policy.iter().flatten().flat_map(|policy| &policy.statements).filter(|of| is_guard(of)).cloned();
        let written = Document { statements: document.statements.iter().cloned().chain(guards).collect(), ..document };
        // Where nothing of others is kept, the text is ccoctl's.
        let is_plain = kept.is_empty() && written.statements.len() == ours.statements.len();
        let text = if is_plain { wanted.policy.clone() } else { written.to_text() };
        draft.update(&BUCKET, put_policy(wanted, text), vec![difference]);
    }
}

/// Whether a statement is one that Rolecall writes.
fn is_statement_of(statement: &Statement, document: &Document) -> bool {
    let alone = |statement: &Statement| Document { statements: vec![statement.clone()], ..document.clone() };
    document.statements.iter().any(|ours| equivalent(&alone(ours), &alone(statement)))
}

/// What stands in the way of the keys: a source that could not be read just now says nothing about them.
fn keys_obstacle(observed: &Observed, refused: &KeysRefused) -> Obstacle {
    observed.keys_unread.clone().map_or_else(|| Obstacle::Keys(refused.clone()), Obstacle::Unreadable)
}

/// The version of a document that a write is to replace.
fn version_of(found: Option<&ObservedObject>) -> Expected {
    match found {
        None => Expected::Absent,
        Some(found) => found.etag.clone().map_or(Expected::Anything, Expected::Version),
    }
}

fn compare_discovery(
    draft: &mut Draft,
    bucket: &DesiredBucket,
    wanted: &DesiredObject,
    found: &Seen<Option<ObservedObject>>,
) {
    let subject = Subject::Discovery;
    let found = match found.known() {
        Err(fault) => return draft.obstruct(&subject, Obstacle::Unreadable(fault.clone())),
        Ok(found) => found.as_ref(),
    };
    let change = put_discovery(bucket, wanted, version_of(found));
    let Some(found) = found else { return draft.create(&subject, change, Field::Discovery) };
    let mut differences = Vec::new();
    if found.body != wanted.body.as_bytes() {
        differences.push(Difference::new(Field::Discovery, format!("{} other bytes", found.body.len()), "ours"));
    }
    differences.extend(content_type(found));
    if !differences.is_empty() {
        draft.update(&subject, change, differences);
    }
}

fn compare_keys(draft: &mut Draft, bucket: &DesiredBucket, wanted: &PublishedKeys, found: Option<&ObservedObject>) {
    let change = put_keys(bucket, wanted, version_of(found));
    let Some(found) = found else { return draft.create(&Subject::Keys, change, Field::Keys) };
    let mut differences = Vec::new();
    if !wanted.is_published {
        let describe = |body: &[u8]| match published_entries(body) {
            Some(entries) => format!("keys {}", named(entries.iter().map(|entry| entry.name.as_str()))),
            None => format!("{} other bytes", body.len()),
        };
        let wanted = describe(wanted.document.body.as_bytes());
        differences.push(Difference::new(Field::Keys, describe(&found.body), wanted));
    }
    differences.extend(content_type(found));
    if !differences.is_empty() {
        draft.update(&Subject::Keys, change, differences);
    }
}

fn content_type(found: &ObservedObject) -> Option<Difference> {
    let content_type = found.content_type.as_deref().unwrap_or("none");
    let is_right = ACCEPTED_CONTENT_TYPES.contains(&content_type);
    (!is_right).then(|| Difference::new(Field::ContentType, content_type, CONTENT_TYPE))
}

fn compare_provider(
    draft: &mut Draft,
    wanted: &DesiredProvider,
    found: &Seen<Option<ObservedProvider>>,
    issuer_is_ours: bool,
) {
    let found = match found.known() {
        Err(fault) => return draft.obstruct(&PROVIDER, Obstacle::Unreadable(fault.clone())),
        // A provider trusts whoever writes the documents: it is made only when that is us.
        Ok(None) if !issuer_is_ours => return draft.obstruct(&PROVIDER, Obstacle::WaitsFor("the bucket")),
        Ok(None) => return draft.create(&PROVIDER, Change::CreateProvider(wanted.clone()), Field::Provider),
        Ok(Some(found)) => found,
    };
    let what = format!("OIDC provider {}", wanted.arn);
    if without_scheme(&found.url) != wanted.host_and_path() {
        let obstacle = draft.not_ours(what);
        return draft.obstruct(&PROVIDER, obstacle);
    }
    let was_ours = draft.was_ours(&PROVIDER);
    let licence = match draft.licence(&PROVIDER, &what, &found.tags, memory(was_ours)) {
        Ok(licence) => licence,
        Err(obstacle) => return draft.obstruct(&PROVIDER, obstacle),
    };
    let missing = drift::missing_iam_tags(&found.tags, &wanted.tags);
    if !missing.is_empty() {
        let difference = drift::tags(&found.tags, &missing);
        let tags = missing.into_iter().chain(mark::to_restore(wanted.mark.as_ref(), licence)).collect();
        draft.update(&PROVIDER, Change::TagProvider { arn: wanted.arn.clone(), tags }, vec![difference]);
    }
    mark::of_provider(draft, wanted, &found.tags);
    compare_audiences(draft, wanted, found, licence);
}

/// Audiences that others had added before the provider was adopted are kept; one that was published by the spec goes only with
/// consent, because components may ask for it; any other is someone's doing.
fn compare_audiences(draft: &mut Draft, wanted: &DesiredProvider, found: &ObservedProvider, licence: Licence) {
    let have: BTreeSet<&String> = found.audiences.iter().collect();
    let want: BTreeSet<&String> = wanted.audiences.iter().collect();
    let difference = |found: &str, wanted: &str| vec![Difference::new(Field::Audiences, found, wanted)];
    for audience in want.difference(&have) {
        let change = Change::AddAudience { arn: wanted.arn.clone(), audience: (*audience).clone() };
        draft.update(&PROVIDER, change, difference(&format!("no {audience}"), audience));
    }
    let foreign: Vec<String> = have.difference(&want).map(|audience| (*audience).clone()).collect();
    let keeps_all = licence == Licence::FirstContact || draft.prior.forgets_adopted;
    let is_adopted = |audience: &String| keeps_all || draft.prior.adopted.audiences.contains(audience);
    let (adopted, foreign): (Vec<String>, Vec<String>) = foreign.into_iter().partition(is_adopted);
    draft.plan.adopted.audiences = adopted;
    let Some(loses) = Loss::of("the audiences ", &foreign) else { return };
    if draft.cause(&PROVIDER) != Cause::Drift && !draft.is_narrowed_by_consent(PROVIDER_CONSENT, &loses) {
        let obstacle = Obstacle::WouldDeny {
            change: "a change of issuer.audiences".into(),
            what: format!("OIDC provider {}", wanted.arn),
            loses: loses.to_string(),
            consent: loses.consent(PROVIDER_CONSENT),
        };
        return draft.obstruct(&PROVIDER, obstacle);
    }
    for audience in foreign {
        let change = Change::RemoveAudience { arn: wanted.arn.clone(), audience: audience.clone() };
        draft.update(&PROVIDER, change, difference(&audience, &format!("no {audience}")));
    }
}

/// The policy without conditional denials: organisations add them to every bucket (TLS only, for instance), and they
/// grant nothing.
fn without_guards(policy: ReadPolicy) -> ReadPolicy {
    policy.map(|mut document| {
        document.statements.retain(|statement| !is_guard(statement));
        document
    })
}

fn is_guard(statement: &Statement) -> bool {
    statement.effect == Effect::Deny && !statement.conditions.is_empty()
}

fn put_block(bucket: &DesiredBucket) -> Change {
    Change::PutPublicAccessBlock { bucket: bucket.name.clone(), block: bucket.public_access_block }
}

fn put_policy(bucket: &DesiredBucket, policy: String) -> Change {
    Change::PutBucketPolicy { bucket: bucket.name.clone(), policy }
}

fn put_discovery(bucket: &DesiredBucket, object: &DesiredObject, expected: Expected) -> Change {
    Change::PutObject { bucket: bucket.name.clone(), object: object.clone(), expected, revision: None }
}

fn put_keys(bucket: &DesiredBucket, keys: &PublishedKeys, expected: Expected) -> Change {
    let (object, revision) = (keys.document.clone(), Some(keys.next_revision));
    Change::PutObject { bucket: bucket.name.clone(), object, expected, revision }
}
