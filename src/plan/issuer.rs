//! The issuer compared: bucket, documents, provider.

use std::collections::BTreeSet;

use super::drift::{self, Difference, Field};
use super::{Change, Draft, Obstacle, Subject};
use crate::desired::issuer::{
    ACCEPTED_CONTENT_TYPES, CONTENT_TYPE, DesiredBucket, DesiredObject, DesiredProvider, without_scheme,
};
use crate::desired::keys::{KeysRefused, Number, named, published_entries};
use crate::desired::{Desired, DesiredKeys};
use crate::observed::{
    BucketState, Contents, Observed, ObservedBucket, ObservedObject, ObservedProvider, ReadPolicy, Seen,
};
use crate::policy::Effect;

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
    let issuer_is_ours = match &observed.bucket {
        Seen::Unknown(fault) => {
            obstruct_bucket(draft, Obstacle::Unreadable(fault.clone()));
            false
        }
        Seen::Known(BucketState::Forbidden(fault)) => {
            let (bucket, fault) = (wanted.bucket.name.clone(), fault.message.clone());
            obstruct_bucket(draft, Obstacle::BucketForbidden { bucket, fault });
            false
        }
        Seen::Known(BucketState::Absent) => create_bucket(draft, desired, observed),
        Seen::Known(BucketState::Present(found)) => compare_bucket(draft, desired, observed, found),
    };
    compare_provider(draft, &wanted.provider, &observed.provider, issuer_is_ours);
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
    draft.create(&BUCKET, Change::CreateBucket(bucket.clone()), Field::Bucket);
    draft.create(&BUCKET, put_block(bucket), Field::PublicAccessBlock);
    draft.create(&BUCKET, put_policy(bucket), Field::BucketPolicy);
    draft.create(&Subject::Discovery, put_object(bucket, &desired.issuer.discovery), Field::Discovery);
    draft.create(&Subject::Keys, put_object(bucket, &keys.document), Field::Keys);
    true
}

fn compare_bucket(draft: &mut Draft, desired: &Desired, observed: &Observed, found: &ObservedBucket) -> bool {
    let wanted = &desired.issuer.bucket;
    // A bucket of this account with neither a tag nor an object is what a crash between creating and tagging leaves.
    // Under a name that the spec chose, it may as well be someone's new bucket, unless we were about to create it.
    let expected = wanted.default_name || draft.was_begun(&wanted.fingerprint());
    let half_made = expected && found.tags.is_empty() && found.contents == Contents::Empty;
    // Our policy opens the whole bucket to the public: one with anything else in it is not even adopted. One that was ours
    // may have been deleted and made again for something else; only where nothing is left to be opened is it still that.
    let holds_others =
        found.contents == Contents::Others && !(draft.was_ours(&BUCKET) && is_open_already(wanted, found));
    if !half_made && (holds_others || !draft.may_change(&BUCKET, &found.tags)) {
        let obstacle = if holds_others && (draft.adopt || draft.was_ours(&BUCKET)) {
            Obstacle::BucketInUse(wanted.name.clone())
        } else {
            draft.not_ours(format!("bucket {}", wanted.name))
        };
        obstruct_bucket(draft, obstacle);
        return false;
    }
    let missing = drift::missing_tags(&found.tags, &wanted.tags);
    if !missing.is_empty() {
        let difference = drift::tags(&found.tags, &missing);
        // S3 sets all tags at once: those of others go along.
        let mut tags = found.tags.clone();
        tags.extend(missing);
        draft.update(&BUCKET, Change::TagBucket { bucket: wanted.name.clone(), tags }, vec![difference]);
    }
    compare_settings(draft, wanted, found);
    compare_document(draft, wanted, &Subject::Discovery, &desired.issuer.discovery, &found.discovery);
    match keys_to_publish(desired, found) {
        Ok(keys) => compare_document(draft, wanted, &Subject::Keys, &keys.document, &found.keys),
        Err(refused) => draft.obstruct(&Subject::Keys, keys_obstacle(observed, &refused)),
    }
    true
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

fn compare_settings(draft: &mut Draft, wanted: &DesiredBucket, found: &ObservedBucket) {
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
    let (policy, document) = match (found.policy.known(), wanted.policy_document()) {
        (Err(fault), _) => return draft.obstruct(&BUCKET, Obstacle::Unreadable(fault.clone())),
        (Ok(_), Err(_)) => return,
        (Ok(policy), Ok(document)) => (policy.clone().map(without_guards), document),
    };
    if let Some(difference) = drift::policy(Field::BucketPolicy, policy.as_ref(), &document) {
        draft.update(&BUCKET, put_policy(wanted), vec![difference]);
    }
}

/// What stands in the way of the keys: a source that could not be read just now says nothing about them.
fn keys_obstacle(observed: &Observed, refused: &KeysRefused) -> Obstacle {
    observed.keys_unread.clone().map_or_else(|| Obstacle::Keys(refused.clone()), Obstacle::Unreadable)
}

/// The keys, unless publishing them would drop one that we know nothing of. Once we have published, a strange key in
/// the document is someone's intrusion and goes; before that, it may be the cluster's own.
fn keys_to_publish<'a>(desired: &'a Desired, found: &ObservedBucket) -> Result<&'a DesiredKeys, KeysRefused> {
    let keys = desired.keys.as_ref().map_err(Clone::clone)?;
    let first_visit = keys.remembered.is_empty() && !keys.retire_after.is_zero();
    let published = match found.keys.known() {
        Ok(Some(object)) if first_visit => published_entries(&object.body).ok_or(KeysRefused::PublishedUnreadable)?,
        _ => return Ok(keys),
    };
    // A key is known by its number, whatever kid it is published under: the one that we write instead is the one that
    // kube-apiserver puts into its tokens.
    let wanted: BTreeSet<Number> = keys.keys.iter().map(|key| key.key.number()).collect();
    let is_known = |number: &Option<Number>| number.as_ref().is_some_and(|number| wanted.contains(number));
    let lost: Vec<String> =
        published.into_iter().filter(|entry| !is_known(&entry.number)).map(|entry| entry.name).collect();
    if lost.is_empty() { Ok(keys) } else { Err(KeysRefused::WouldShrink { kids: lost }) }
}

fn compare_document(
    draft: &mut Draft,
    bucket: &DesiredBucket,
    subject: &Subject,
    wanted: &DesiredObject,
    found: &Seen<Option<ObservedObject>>,
) {
    let field = if *subject == Subject::Keys { Field::Keys } else { Field::Discovery };
    let found = match found.known() {
        Err(fault) => return draft.obstruct(subject, Obstacle::Unreadable(fault.clone())),
        Ok(None) => return draft.create(subject, put_object(bucket, wanted), field),
        Ok(Some(found)) => found,
    };
    let mut differences = Vec::new();
    if found.body != wanted.body.as_bytes() {
        let describe = |body: &[u8]| match published_entries(body) {
            Some(entries) if field == Field::Keys => {
                format!("keys {}", named(entries.iter().map(|entry| entry.name.as_str())))
            }
            _ => format!("{} other bytes", body.len()),
        };
        let wanted = if field == Field::Keys { describe(wanted.body.as_bytes()) } else { "ours".into() };
        differences.push(Difference::new(field, describe(&found.body), wanted));
    }
    let content_type = found.content_type.as_deref().unwrap_or("none");
    if !ACCEPTED_CONTENT_TYPES.contains(&content_type) {
        differences.push(Difference::new(Field::ContentType, content_type, CONTENT_TYPE));
    }
    if !differences.is_empty() {
        draft.update(subject, put_object(bucket, wanted), differences);
    }
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
    if without_scheme(&found.url) != wanted.host_and_path() || !draft.may_change(&PROVIDER, &found.tags) {
        let obstacle = draft.not_ours(format!("OIDC provider {}", wanted.arn));
        return draft.obstruct(&PROVIDER, obstacle);
    }
    let missing = drift::missing_iam_tags(&found.tags, &wanted.tags);
    if !missing.is_empty() {
        let difference = drift::tags(&found.tags, &missing);
        draft.update(&PROVIDER, Change::TagProvider { arn: wanted.arn.clone(), tags: missing }, vec![difference]);
    }
    let have: BTreeSet<&String> = found.audiences.iter().collect();
    let want: BTreeSet<&String> = wanted.audiences.iter().collect();
    let difference = |found: &str, wanted: &str| vec![Difference::new(Field::Audiences, found, wanted)];
    for audience in want.difference(&have) {
        let change = Change::AddAudience { arn: wanted.arn.clone(), audience: (*audience).clone() };
        draft.update(&PROVIDER, change, difference(&format!("no {audience}"), audience));
    }
    for audience in have.difference(&want) {
        let change = Change::RemoveAudience { arn: wanted.arn.clone(), audience: (*audience).clone() };
        draft.update(&PROVIDER, change, difference(audience, &format!("no {audience}")));
    }
}

/// The policy without conditional denials: organisations add them to every bucket (TLS only, for instance), and they
/// grant nothing.
fn without_guards(policy: ReadPolicy) -> ReadPolicy {
    policy.map(|mut document| {
        document.statements.retain(|statement| statement.effect == Effect::Allow || statement.conditions.is_empty());
        document
    })
}

fn put_block(bucket: &DesiredBucket) -> Change {
    Change::PutPublicAccessBlock { bucket: bucket.name.clone(), block: bucket.public_access_block }
}

fn put_policy(bucket: &DesiredBucket) -> Change {
    Change::PutBucketPolicy { bucket: bucket.name.clone(), policy: bucket.policy.clone() }
}

fn put_object(bucket: &DesiredBucket, object: &DesiredObject) -> Change {
    Change::PutObject { bucket: bucket.name.clone(), object: object.clone() }
}
