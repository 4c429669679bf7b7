//! The comparison on data alone: every obstacle and every difference, and that a plan carried out leaves nothing.

mod effectiveness;
mod harm;
mod keys;
mod leftovers;
mod restored;
mod settling;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::*;
use crate::api::ClusterIdentitySpec;
use crate::desired::consent::Consents;
use crate::desired::keys::{Held, KeySource};
use crate::desired::names::sha256_hex;
use crate::desired::owner::{OWNER_MARK, Owner, Owners};
use crate::desired::request::RequestId;
use crate::desired::secret::SecretKey;
use crate::desired::{Inputs, Wanted, desire};
use crate::observed::{
    AccountUse, BucketState, Contents, FaultClass, Fetched, FetchedDocuments, Leftovers, ObservedBucket,
    ObservedObject, ObservedProvider, ObservedRole, ObservedSecret, SecretState, Seen,
};
use crate::policy::Document;
use crate::release::manifests::{Manifest, read_file};

const PEM: &str = include_str!("../../tests/keys/first.pub");

fn prior_of(verified: BTreeMap<Subject, String>) -> Prior {
    Prior { verified, ..Prior::default() }
}

/// What is known from a status that remembers every role: it was neither emptied nor restored.
fn seasoned() -> Prior {
    Prior { newest_role: Some(Timestamp::MAX), ..Prior::default() }
}

fn spec(more: &serde_json::Value) -> ClusterIdentitySpec {
    let mut spec = serde_json::json!({
        "infraName": "prod-eu", "region": "eu-west-1",
        "issuer": {"signingKeys": [{"secretRef": {"name": "signer", "key": "pub"}}]},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

/// A ClusterIdentity that is the only one of its management cluster.
fn owners() -> Owners {
    let own = Owner { cluster: "here".into(), identity: "me".into() };
    Owners { own: Some(own), complete: true, ..Owners::default() }
}

/// Tags with this mark.
fn marked(tags: &BTreeMap<String, String>, mark: &str) -> BTreeMap<String, String> {
    tags.clone().into_iter().chain([(OWNER_MARK.to_owned(), mark.to_owned())]).collect()
}

const MARK: &str = "here.me";

fn inputs(spec: ClusterIdentitySpec) -> Inputs {
    let release = include_str!("../../tests/releases/4.18.yaml");
    let requests = read_file("4.18.yaml", release).unwrap().into_iter().map(Manifest::into_input).collect();
    Inputs {
        identity: "prod/prod-eu".into(),
        spec,
        account: "123456789012".into(),
        trust_limit: None,
        pre_grants: Vec::new(),
        refused_by_aws: BTreeMap::new(),
        granted_ahead: BTreeSet::new(),
        provisioned: Vec::new(),
        keys: vec![KeySource { origin: "Secret signer".into(), held: Ok(Held::Entry(PEM.into())) }],
        remembered_keys: Vec::new(),
        requests,
        owners: owners(),
        consents: Consents::default(),
        now: Timestamp::UNIX_EPOCH,
    }
}

fn desired() -> Desired {
    desire(&inputs(spec(&serde_json::json!({})))).unwrap()
}

fn empty(desired: &Desired) -> Observed {
    Observed {
        bucket: Seen::Known(BucketState::Absent),
        provider: Seen::Known(None),
        other_providers: None,
        boundaries: BTreeMap::new(),
        account_use: account_use(),
        roles: desired.wanted().map(|(_, w)| (w.role.name.clone(), Seen::Known(None))).collect(),
        secrets: desired.wanted().map(|(_, w)| (w.read.secret.clone(), Seen::Known(SecretState::Absent))).collect(),
        leftovers: nothing_left(),
        fetched: None,
        keys_unread: None,
        throttled: false,
    }
}

/// Some role of the account is used, and none trusts the provider.
fn account_use() -> AccountUse {
    AccountUse { any: true, trusting: Seen::Known(BTreeSet::new()), namesakes: BTreeSet::new() }
}

fn nothing_left() -> Leftovers {
    Leftovers { roles: Seen::Known(Vec::new()), secrets: Vec::new() }
}

/// The world as a plan leaves it.
fn perfect(desired: &Desired) -> Observed {
    let issuer = &desired.issuer;
    let keys = desired.keys.as_ref().unwrap();
    let object = |body: &str| Seen::Known(Some(object(body)));
    Observed {
        bucket: Seen::Known(BucketState::Present(Box::new(ObservedBucket {
            tags: marked(&issuer.bucket.tags, MARK),
            contents: Contents::NotLookedAt,
            public_access_block: Seen::Known(Some(issuer.bucket.public_access_block)),
            policy: Seen::Known(Some(Document::parse(&issuer.bucket.policy))),
            discovery: object(&issuer.discovery.body),
            keys: object(&keys.document.body),
        }))),
        provider: Seen::Known(Some(ObservedProvider {
            arn: issuer.provider.arn.clone(),
            url: issuer.provider.host_and_path().into(),
            audiences: issuer.provider.audiences.iter().rev().cloned().collect(),
            tags: marked(&issuer.provider.tags, MARK),
        })),
        other_providers: None,
        boundaries: BTreeMap::new(),
        account_use: account_use(),
        roles: desired.wanted().map(|(_, w)| (w.role.name.clone(), Seen::Known(Some(perfect_role(w))))).collect(),
        secrets: desired.wanted().map(|(_, w)| (w.read.secret.clone(), perfect_secret(w))).collect(),
        leftovers: nothing_left(),
        fetched: Some(FetchedDocuments {
            discovery: fetched(&issuer.discovery.body),
            keys: fetched(&keys.document.body),
        }),
        keys_unread: None,
        throttled: false,
    }
}

fn object(body: &str) -> ObservedObject {
    let content_type = Some("application/json".into());
    ObservedObject { body: body.into(), content_type, etag: Some("\"1\"".into()), revision: None }
}

fn fetched(body: &str) -> Fetched {
    let content_type = Some("application/json".into());
    Fetched::Body { body: body.into(), content_type, etag: None, revision: None }
}

fn perfect_role(wanted: &Wanted) -> ObservedRole {
    ObservedRole {
        name: wanted.role.name.clone(),
        path: "/".into(),
        description: wanted.role.description.clone(),
        max_session_seconds: wanted.role.max_session_seconds,
        trust: Ok(wanted.role.trust.document.clone()),
        permissions: Seen::Known(Some(Ok(wanted.role.permissions.document.clone()))),
        boundary: None,
        tags: marked(&wanted.role.tags, MARK),
        id: "AROA1".into(),
        created: Some(Timestamp::UNIX_EPOCH),
        last_used: None,
    }
}

fn perfect_secret(wanted: &Wanted) -> Seen<SecretState> {
    Seen::Known(SecretState::Present(ObservedSecret {
        resource_version: "1".into(),
        credentials_sha256: Some(sha256_hex(wanted.secret.as_ref().unwrap().credentials.as_bytes())),
        role_arn: Some(wanted.role.arn.clone()),
        token_path: None,
        has_access_key: false,
        type_: "Opaque".into(),
        ours: true,
        labelled: true,
        identity: Some(wanted.secret.as_ref().unwrap().identity.clone()),
        request: Some(wanted.secret.as_ref().unwrap().request.clone()),
        mark: Some(MARK.into()),
        replaceable: false,
    }))
}

fn names(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(|step| step.change.name()).collect()
}

fn bucket(observed: &mut Observed) -> &mut ObservedBucket {
    match &mut observed.bucket {
        Seen::Known(BucketState::Present(bucket)) => bucket,
        other => panic!("{other:?}"),
    }
}

fn unreadable(class: FaultClass) -> Fault {
    Fault { class, action: "iam:GetRole".into(), target: "role x".into(), message: "no".into() }
}

fn machine_api(desired: &Desired) -> (RequestId, Wanted) {
    let (id, wanted) = desired.wanted().find(|(id, _)| id.name == "openshift-machine-api-aws").unwrap();
    (id.clone(), wanted.clone())
}

#[test]
fn an_empty_account_gets_everything_in_order() {
    let desired = desired();
    let plan = plan(&desired, &empty(&desired), &Prior::default());
    assert!(plan.obstacles.is_empty(), "{:?}", plan.obstacles);
    let issuer =
        ["CreateBucket", "PutPublicAccessBlock", "PutBucketPolicy", "PutObject", "PutObject", "CreateProvider"];
    assert_eq!(names(&plan)[..6], issuer);
    assert_eq!(names(&plan)[6..9], ["CreateRole", "PutInlinePolicy", "WriteSecret"]);
    assert_eq!(plan.steps.len(), 6 + 7 * 3);
    assert!(plan.drift().next().is_none(), "what was never there has not drifted");
}

#[test]
fn a_perfect_world_needs_nothing() {
    let desired = desired();
    let plan = plan(&desired, &perfect(&desired), &Prior::default());
    assert!(plan.steps.is_empty() && plan.obstacles.is_empty() && plan.marks.is_empty(), "{plan:?}");
    assert_eq!(plan.verification, Verification::Verified);
}

#[test]
fn one_plan_is_the_same_twice() {
    let desired = desired();
    let once = plan(&desired, &empty(&desired), &Prior::default());
    let twice = plan(&desired, &empty(&desired), &Prior::default());
    assert_eq!(once.steps, twice.steps);
}

#[test]
fn a_change_is_drift_only_after_it_was_true() {
    let desired = desired();
    let (id, wanted) = machine_api(&desired);
    let mut observed = perfect(&desired);
    let mut role = perfect_role(&wanted);
    role.description = "mine now".into();
    role.max_session_seconds = 7200;
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(role)));

    let before = plan(&desired, &observed, &Prior::default());
    assert_eq!(names(&before), ["UpdateRole"]);
    assert_eq!(before.steps[0].cause, Cause::Differs);

    let prior = prior_of(BTreeMap::from([(Subject::Role(id), wanted.role.fingerprint())]));
    let after = plan(&desired, &observed, &prior);
    let fields: Vec<Field> = after.drift().map(|(_, difference)| difference.field).collect();
    assert_eq!(fields, [Field::Description, Field::MaxSessionDuration]);
}

#[test]
fn what_is_not_ours_is_left_alone_and_the_rest_goes_on() {
    let desired = desired();
    let (id, wanted) = machine_api(&desired);
    let mut observed = perfect(&desired);
    let mut role = perfect_role(&wanted);
    role.tags = BTreeMap::from([("Owner".into(), "someone".into())]);
    role.description = "someone's".into();
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(role)));
    bucket(&mut observed).tags.clear();
    bucket(&mut observed).public_access_block = Seen::Known(Some(desired.issuer.bucket.public_access_block));
    bucket(&mut observed).contents = Contents::DocumentsOnly;
    bucket(&mut observed).policy = Seen::Known(None);
    observed.provider = Seen::Known(None);
    let foreign = plan(&desired, &observed, &Prior::default());
    assert!(foreign.steps.is_empty(), "{:?}", foreign.steps);
    assert!(matches!(foreign.obstacle(&Subject::Role(id.clone())), Some(Obstacle::NotOurs { .. })));
    assert!(matches!(foreign.obstacle(&Subject::Bucket), Some(Obstacle::NotOurs { .. })));
    assert!(
        matches!(foreign.obstacle(&Subject::Provider), Some(Obstacle::WaitsFor(_))),
        "no provider is made for a bucket that someone else writes to"
    );

    let adopting = desire(&inputs(spec(&serde_json::json!({"adoption": "Adopt"})))).unwrap();
    let adopted = plan(&adopting, &observed, &Prior::default());
    assert_eq!(names(&adopted), ["TagBucket", "PutBucketPolicy", "CreateProvider", "TagRole", "UpdateRole"]);

    bucket(&mut observed).contents = Contents::Others;
    let private = plan(&adopting, &observed, &Prior::default());
    assert_eq!(names(&private), ["TagRole", "UpdateRole"], "someone's objects are not made public");
    assert!(matches!(private.obstacle(&Subject::Bucket), Some(Obstacle::BucketInUse(_))));
}

/// A bucket as a crash between its creation and its first tag leaves it.
fn half_made() -> ObservedBucket {
    ObservedBucket {
        tags: BTreeMap::new(),
        contents: Contents::Empty,
        public_access_block: Seen::Known(None),
        policy: Seen::Known(None),
        discovery: Seen::Known(None),
        keys: Seen::Known(None),
    }
}

#[test]
fn a_bucket_left_by_a_crash_is_finished_but_never_one_with_something_in_it() {
    let desired = desired();
    let begun = Prior { begun_bucket: Some(desired.issuer.bucket.fingerprint()), ..Prior::default() };
    let mut observed = empty(&desired);
    let mut half = half_made();
    observed.bucket = Seen::Known(BucketState::Present(Box::new(half.clone())));
    let finishing = plan(&desired, &observed, &begun);
    let names = names(&finishing);
    assert_eq!(names[..5], ["TagBucket", "PutPublicAccessBlock", "PutBucketPolicy", "PutObject", "PutObject"]);

    half.contents = Contents::Others;
    observed.bucket = Seen::Known(BucketState::Present(Box::new(half)));
    let foreign = plan(&desired, &observed, &begun);
    assert!(matches!(foreign.obstacle(&Subject::Bucket), Some(Obstacle::NotOurs { .. })));
}

#[test]
fn a_bucket_of_a_chosen_name_is_finished_only_if_it_was_begun() {
    let named = spec(&serde_json::json!({"issuer": {
        "signingKeys": [{"secretRef": {"name": "s", "key": "k"}}], "bucket": {"name": "chosen"},
    }}));
    let desired = desire(&inputs(named)).unwrap();
    let observed = Observed { bucket: Seen::Known(BucketState::Present(Box::new(half_made()))), ..empty(&desired) };
    let foreign = plan(&desired, &observed, &Prior::default());
    assert!(matches!(foreign.obstacle(&Subject::Bucket), Some(Obstacle::NotOurs { .. })));
    let begun_bucket = Some(desired.issuer.bucket.fingerprint());
    let ours = plan(&desired, &observed, &Prior { begun_bucket, ..Prior::default() });
    assert_eq!(names(&ours)[..2], ["TagBucket", "PutPublicAccessBlock"]);
}

/// Someone deletes the bucket and makes one of its name for something else.
#[test]
fn what_lies_in_a_bucket_that_was_made_anew_is_not_opened_because_the_name_was_ours() {
    let desired = desired();
    let verified = BTreeMap::from([(Subject::Bucket, desired.issuer.bucket.fingerprint())]);
    let mut observed = perfect(&desired);
    *bucket(&mut observed) = ObservedBucket {
        tags: BTreeMap::new(),
        contents: Contents::Others,
        public_access_block: Seen::Known(None),
        ..bucket(&mut observed).clone()
    };
    let private = plan(&desired, &observed, &prior_of(verified.clone()));
    assert!(private.steps.iter().all(|step| step.subject.request().is_some()), "{:?}", private.steps);
    assert!(matches!(private.obstacle(&Subject::Bucket), Some(Obstacle::BucketInUse(_))));
    // Where it is as open as it was, our mark was taken away and nothing else.
    bucket(&mut observed).public_access_block = Seen::Known(Some(desired.issuer.bucket.public_access_block));
    assert_eq!(names(&plan(&desired, &observed, &prior_of(verified)))[..1], ["TagBucket"]);
}

#[test]
fn without_keys_an_issuer_is_neither_begun_nor_emptied() {
    let mut inputs = inputs(spec(&serde_json::json!({})));
    let published = perfect(&desire(&inputs).unwrap());
    inputs.keys[0].held = Err("the Secret does not exist".into());
    let desired = desire(&inputs).unwrap();
    let fresh = plan(&desired, &empty(&desired), &Prior::default());
    assert!(fresh.steps.iter().all(|step| step.subject.request().is_some()), "{:?}", fresh.steps);
    let running = plan(&desired, &published, &Prior::default());
    assert!(running.steps.is_empty());
    assert!(matches!(running.obstacle(&Subject::Keys), Some(Obstacle::Keys(_))));
}

#[test]
fn what_cannot_be_read_is_not_written() {
    let desired = desired();
    let (id, wanted) = machine_api(&desired);
    let fault = unreadable(FaultClass::Throttled);
    let mut observed = perfect(&desired);
    observed.roles.insert(wanted.role.name.clone(), Seen::Unknown(fault.clone()));
    observed.provider = Seen::Unknown(fault.clone());
    observed.bucket = Seen::Unknown(fault);
    let plan = plan(&desired, &observed, &Prior::default());
    assert!(plan.steps.is_empty());
    for subject in [Subject::Role(id), Subject::Provider, Subject::Bucket] {
        assert!(matches!(plan.obstacle(&subject), Some(Obstacle::Unreadable(_))), "{subject:?}");
    }
    assert_eq!(plan.verification, Verification::NotYet);
}

#[test]
fn foreign_secrets_are_never_written() {
    let mut inputs = inputs(spec(&serde_json::json!({})));
    inputs.owners.others.insert("one".into(), "other/one".into());
    let desired = desire(&inputs).unwrap();
    let (id, wanted) = machine_api(&desired);
    let Seen::Known(SecretState::Present(ours)) = perfect_secret(&wanted) else { panic!() };
    let other = Some(sha256_hex(b"other"));
    for (secret, says) in [
        (ObservedSecret { has_access_key: true, ..ours.clone() }, "holds an AWS access key"),
        (ObservedSecret { type_: "kubernetes.io/tls".into(), ..ours.clone() }, "has type"),
        (
            ObservedSecret { identity: Some("other/one".into()), mark: None, ..ours.clone() },
            "belongs to the ClusterIdentity",
        ),
        (
            ObservedSecret { ours: false, identity: None, mark: None, credentials_sha256: other, ..ours.clone() },
            "written by someone else",
        ),
    ] {
        let mut observed = perfect(&desired);
        observed.secrets.insert(wanted.read.secret.clone(), Seen::Known(SecretState::Present(secret)));
        let plan = plan(&desired, &observed, &Prior::default());
        assert!(plan.steps.is_empty(), "{says}");
        assert!(plan.obstacle(&Subject::Secret(id.clone())).unwrap().to_string().contains(says), "{says}");
    }
    let unmarked = ObservedSecret { ours: false, labelled: false, identity: None, request: None, mark: None, ..ours };
    let mut observed = perfect(&desired);
    observed.secrets.insert(wanted.read.secret.clone(), Seen::Known(SecretState::Present(unmarked)));
    let adopted = plan(&desired, &observed, &Prior::default());
    assert!(
        matches!(adopted.steps[0].change, Change::WriteSecret { force: false, .. }),
        "what says the same is shared"
    );
}

#[test]
fn what_was_ours_under_another_name_or_account_makes_nothing_ours() {
    let desired = desired();
    let (id, wanted) = machine_api(&desired);
    let mut observed = perfect(&desired);
    let mut role = perfect_role(&wanted);
    role.tags.clear();
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(role)));

    // It is the very role that was verified, by its unique id.
    let known = KnownRole { id: perfect_role(&wanted).id, ..KnownRole::default() };
    let untagged_by_someone = Prior {
        roles: BTreeMap::from([(id.clone(), known)]),
        ..prior_of(BTreeMap::from([(Subject::Role(id.clone()), wanted.role.fingerprint())]))
    };
    let healed = plan(&desired, &observed, &untagged_by_someone);
    assert_eq!(names(&healed), ["TagRole"]);

    for (field, value) in [("infraName", "prod-us"), ("account", "999999999999")] {
        let mut other = inputs(spec(&serde_json::json!({})));
        match field {
            "account" => other.account = value.into(),
            _ => other.spec.infra_name = value.into(),
        }
        let (_, elsewhere) = machine_api(&desire(&other).unwrap());
        let prior = prior_of(BTreeMap::from([(Subject::Role(id.clone()), elsewhere.role.fingerprint())]));
        let foreign = plan(&desired, &observed, &prior);
        assert!(foreign.steps.is_empty(), "{field}: {:?}", foreign.steps);
        assert!(matches!(foreign.obstacle(&Subject::Role(id.clone())), Some(Obstacle::NotOurs { .. })), "{field}");
    }
}

#[test]
fn a_role_that_cannot_be_read_gets_no_secret_unless_it_was_ours() {
    let desired = desired();
    let (id, wanted) = machine_api(&desired);
    let fault = unreadable(FaultClass::Denied);
    let mut observed = perfect(&desired);
    observed.roles.insert(wanted.role.name.clone(), Seen::Unknown(fault));
    observed.secrets.insert(wanted.read.secret.clone(), Seen::Known(SecretState::Absent));
    let doubtful = plan(&desired, &observed, &Prior::default());
    assert!(doubtful.steps.is_empty(), "{:?}", doubtful.steps);
    let prior = prior_of(BTreeMap::from([(Subject::Role(id), wanted.role.fingerprint())]));
    assert_eq!(names(&plan(&desired, &observed, &prior)), ["WriteSecret"]);
}

#[test]
fn conditional_denials_in_the_bucket_policy_are_someones_guard() {
    let desired = desired();
    let mut observed = perfect(&desired);
    let mut policy = Document::parse(&desired.issuer.bucket.policy).unwrap();
    let tls_only = r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":false}}}}"#;
    policy.statements.extend(Document::parse(tls_only).unwrap().statements);
    bucket(&mut observed).policy = Seen::Known(Some(Ok(policy.clone())));
    assert!(plan(&desired, &observed, &Prior::default()).steps.is_empty());

    let deny_all = r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}}"#;
    policy.statements.extend(Document::parse(deny_all).unwrap().statements);
    bucket(&mut observed).policy = Seen::Known(Some(Ok(policy)));
    assert_eq!(names(&plan(&desired, &observed, &Prior::default())), ["PutBucketPolicy"]);
}

#[test]
fn an_answer_that_would_make_sts_refuse_is_told_from_no_answer() {
    let desired = desired();
    let reading = |discovery: Fetched| {
        let mut observed = perfect(&desired);
        observed.fetched.as_mut().unwrap().discovery = discovery;
        plan(&desired, &observed, &Prior::default()).verification
    };
    assert!(matches!(reading(Fetched::Status(403)), Verification::Wrong(_)));
    assert!(matches!(reading(fetched("{}")), Verification::Wrong(_)));
    assert!(matches!(reading(Fetched::Status(503)), Verification::Unreachable(_)));
    assert!(matches!(reading(Fetched::Unreachable("no route".into())), Verification::Unreachable(_)));
}

#[test]
fn a_missing_namespace_holds_back_its_secret_alone() {
    let desired = desired();
    let mut observed = empty(&desired);
    let key = SecretKey { namespace: "openshift-machine-api".into(), name: "aws-cloud-credentials".into() };
    observed.secrets.insert(key, Seen::Known(SecretState::NamespaceMissing));
    let plan = plan(&desired, &observed, &Prior::default());
    assert_eq!(plan.steps.len(), 6 + 7 * 3 - 1);
    assert_eq!(plan.obstacles.len(), 1);
}

#[test]
fn the_plan_for_an_empty_account_reads_like_this() {
    let desired = desired();
    let plan = plan(&desired, &empty(&desired), &Prior::default());
    let report = crate::report::PlanReport {
        desired: &desired,
        plan: &plan,
        account: "123456789012",
        secrets_compared: true,
        passed_over: &[],
        marks: &[],
    };
    insta::assert_snapshot!(crate::report::text::render(&report));
    insta::assert_snapshot!(format!("{:#}", crate::report::json::render(&report)));
}
