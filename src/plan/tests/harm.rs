//! What must not happen to what works: marks, the issuer in force, narrowing, deletions.

use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::observed::{LastUse, Leftover};
use crate::plan::teardown;

/// Everything that carries a mark carries this one instead.
fn remark(observed: &mut Observed, mark: Option<&str>) {
    let set = |tags: &mut BTreeMap<String, String>| match mark {
        Some(mark) => drop(tags.insert(OWNER_MARK.to_owned(), mark.to_owned())),
        None => drop(tags.remove(OWNER_MARK)),
    };
    set(&mut bucket(observed).tags);
    if let Seen::Known(Some(provider)) = &mut observed.provider {
        set(&mut provider.tags);
    }
    for role in observed.roles.values_mut() {
        if let Seen::Known(Some(role)) = role {
            set(&mut role.tags);
        }
    }
    for secret in observed.secrets.values_mut() {
        if let Seen::Known(SecretState::Present(secret)) = secret {
            secret.mark = mark.map(str::to_owned);
        }
    }
}

pub(super) fn reasons(plan: &Plan) -> BTreeSet<String> {
    plan.obstacles
        .iter()
        .map(|(_, obstacle)| format!("{obstacle:?}").split(['(', ' ']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn what_ccoctl_made_is_marked_once_it_was_verified_and_nothing_else_is_done() {
    let desired = desired();
    let mut observed = perfect(&desired);
    remark(&mut observed, None);
    let first = plan(&desired, &observed, &Prior::default());
    assert!(first.steps.is_empty() && first.obstacles.is_empty(), "{first:?}");
    // Nothing is marked before the status remembers that it was right.
    assert!(first.marks.is_empty());
    assert_eq!(first.later_marks.len(), 2 + 2 * 7);
    let adopted = plan(&desired, &observed, &prior_of(first.fingerprints));
    assert!(adopted.steps.is_empty() && adopted.obstacles.is_empty(), "{adopted:?}");
    // Bucket, provider, and role and Secret of each of seven requests.
    assert_eq!(adopted.marks.len(), 2 + 2 * 7);
    // What is not right is made right first.
    let (id, wanted) = machine_api(&desired);
    let described = ObservedRole { description: "x".into(), tags: wanted.role.tags.clone(), ..perfect_role(&wanted) };
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(described)));
    let first = plan(&desired, &observed, &Prior::default());
    assert_eq!(names(&first), ["UpdateRole"]);
    assert!(!first.marks.iter().any(|mark| mark.subject == Subject::Role(id.clone())));
}

#[test]
fn what_carries_anothers_mark_is_left_alone_unless_it_may_be_taken_over() {
    let mut inputs = inputs(spec(&json!({"adoption": "Adopt"})));
    inputs.owners.others.insert("you".into(), "n/you".into());
    for (mark, reason) in [("here.you", "n/you"), ("there.me", "--take-over-from=there"), ("nonsense", "unknown owner")]
    {
        let desired = desire(&inputs).unwrap();
        let mut observed = perfect(&desired);
        remark(&mut observed, Some(mark));
        bucket(&mut observed).policy = Seen::Known(None);
        let refused = plan(&desired, &observed, &Prior::default());
        assert!(refused.steps.is_empty() && refused.marks.is_empty(), "{mark}: {:?}", refused.steps);
        let told = refused.obstacle(&Subject::Bucket).unwrap().to_string();
        assert!(told.contains(reason), "{told}");
        // What was verified here is lost, and that is said.
        let verified = prior_of(BTreeMap::from([(Subject::Bucket, desired.issuer.bucket.fingerprint())]));
        let lost = plan(&desired, &observed, &verified);
        assert!(matches!(lost.obstacle(&Subject::Bucket), Some(Obstacle::OwnershipLost { .. })));
        assert_eq!(lost.lost.len(), 1);
    }
    inputs.owners.take_over_from.insert("there".into());
    for mark in ["there.me", "here.gone"] {
        let desired = desire(&inputs).unwrap();
        let mut observed = perfect(&desired);
        remark(&mut observed, Some(mark));
        let taken = plan(&desired, &observed, &Prior::default());
        assert!(taken.obstacles.is_empty(), "{:?}", taken.obstacles);
        let taken = plan(&desired, &observed, &prior_of(taken.fingerprints));
        assert!(taken.obstacles.is_empty(), "{:?}", taken.obstacles);
        assert_eq!(taken.marks.len(), 2 + 2 * 7, "{mark}");
    }
}

#[test]
fn an_issuer_that_names_itself_otherwise_is_in_force() {
    let desired = desired();
    let mut observed = perfect(&desired);
    remark(&mut observed, None);
    let private = r#"{"issuer":"https://d111.cloudfront.net"}"#;
    bucket(&mut observed).discovery = Seen::Known(Some(object(private)));
    let (_, wanted) = machine_api(&desired);
    let role = ObservedRole { description: "other".into(), tags: wanted.role.tags.clone(), ..perfect_role(&wanted) };
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(role)));
    let refused = plan(&desired, &observed, &Prior::default());
    assert!(refused.steps.is_empty() && refused.marks.is_empty(), "{:?}", refused.steps);
    let told = refused.obstacle(&Subject::Bucket).unwrap().to_string();
    assert!(told.contains("https://d111.cloudfront.net") && told.contains(&desired.issuer.url), "{told}");

    // Once it was verified here, a document that differs alone is drift.
    let fingerprint = desired.issuer.discovery.fingerprint(&desired.issuer.bucket);
    let verified = prior_of(BTreeMap::from([(Subject::Discovery, fingerprint)]));
    let healed = plan(&desired, &observed, &verified);
    assert!(names(&healed).contains(&"PutObject"), "{:?}", healed.obstacles);
    // Moved together with the roles, it was moved by somebody.
    for role in observed.roles.values_mut() {
        let Seen::Known(Some(role)) = role else { continue };
        let trust = json!({"Statement": {
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/d111.cloudfront.net"},
        }});
        role.trust = Document::from_value(&trust);
    }
    let moved = plan(&desired, &observed, &verified);
    assert!(matches!(moved.obstacle(&Subject::Bucket), Some(Obstacle::IssuerMismatch(_))));
    assert!(!names(&moved).contains(&"PutObject") && !names(&moved).contains(&"UpdateTrust"), "{:?}", names(&moved));
}

#[test]
fn roles_that_trust_another_provider_speak_for_it() {
    let desired = desired();
    let mut observed = empty(&desired);
    let (_, wanted) = machine_api(&desired);
    let trust = |provider: &str| {
        Document::from_value(&json!({"Statement": {
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": format!("arn:aws:iam::123456789012:oidc-provider/{provider}")},
        }}))
    };
    let role = ObservedRole {
        trust: trust("prod-eu-oidc.s3.us-west-2.amazonaws.com"),
        tags: wanted.role.tags.clone(),
        ..perfect_role(&wanted)
    };
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(role)));
    let refused = plan(&desired, &observed, &Prior::default());
    assert!(refused.steps.is_empty(), "{:?}", names(&refused));
    assert!(reasons(&refused).contains("IssuerMismatch"), "{:?}", refused.obstacles);

    // Named by consent, it may be replaced, but for roles that are used or may be.
    let consent = BTreeMap::from([(
        crate::api::REPLACE_ISSUER.to_owned(),
        "https://prod-eu-oidc.s3.us-west-2.amazonaws.com".to_owned(),
    )]);
    let mut inputs = inputs(spec(&json!({})));
    inputs.consents = Consents::of(&consent);
    inputs.now = time("2026-01-10T00:00:00Z");
    let desired = desire(&inputs).unwrap();
    let replaced = plan(&desired, &observed, &Prior::default());
    assert!(names(&replaced).contains(&"CreateBucket"), "{:?}", replaced.obstacles);
    assert!(!names(&replaced).contains(&"UpdateTrust"), "not before the new issuer was verified");
    let refused = |observed: &Observed, why: &str| {
        let used = plan(&desired, observed, &Prior::default());
        assert!(used.steps.is_empty() && reasons(&used).contains("IssuerMismatch"), "{:?}", used.obstacles);
        assert!(used.obstacles.iter().any(|(_, obstacle)| obstacle.to_string().contains(why)), "{:?}", used.obstacles);
    };
    // A role that is left over is used by a component of the cluster all the same.
    let mut used = observed.clone();
    let other = "arn:aws:iam::123456789012:oidc-provider/prod-eu-oidc.s3.us-west-2.amazonaws.com";
    let mut role = left_over("a", time("2025-01-01T00:00:00Z"), Some(time("2026-01-09T23:00:00Z")));
    role.trusted = [other.to_owned()].into();
    used.leftovers.roles = Seen::Known(vec![Seen::Known(role)]);
    refused(&used, "role prod-eu-a was last used");
    used.leftovers.roles = Seen::Unknown(super::leftovers::denied("iam:ListRoles"));
    refused(&used, "cannot be listed");
    used.leftovers.roles = Seen::Known(vec![Seen::Unknown(super::leftovers::denied("iam:GetRole"))]);
    refused(&used, "cannot be read");
    let mut used = observed.clone();
    let (_, ingress) = desired.wanted().find(|(_, other)| other.role.name != wanted.role.name).unwrap();
    used.roles.insert(ingress.role.name.clone(), Seen::Unknown(super::leftovers::denied("iam:GetRole")));
    refused(&used, "cannot be read");
    let mut used = observed.clone();
    used.account_use.any = false;
    refused(&used, "no use of any role");
    if let Some(Seen::Known(Some(role))) = observed.roles.get_mut(&wanted.role.name) {
        role.last_used = Some(LastUse { time: time("2026-01-09T23:00:00Z"), region: "eu-west-1".into() });
    }
    refused(&observed, "was last used");
}

#[test]
fn a_bucket_that_was_closed_before_it_was_ours_is_not_opened() {
    let desired = desired();
    let mut observed = perfect(&desired);
    remark(&mut observed, None);
    let closed = crate::desired::issuer::PublicAccessBlock {
        block_public_policy: true,
        restrict_public_buckets: true,
        ..desired.issuer.bucket.public_access_block
    };
    bucket(&mut observed).public_access_block = Seen::Known(Some(closed));
    bucket(&mut observed).discovery = Seen::Known(None);
    bucket(&mut observed).keys = Seen::Known(None);
    let refused = plan(&desired, &observed, &Prior::default());
    assert!(matches!(refused.obstacle(&Subject::Bucket), Some(Obstacle::BucketClosed(_))));
    assert!(refused.steps.iter().all(|step| step.subject.request().is_some()), "{:?}", names(&refused));
    remark(&mut observed, Some(MARK));
    assert!(names(&plan(&desired, &observed, &Prior::default())).contains(&"PutPublicAccessBlock"));
}

/// A role that grants and admits more than its request asks for, and that was never verified here.
fn wider(desired: &Desired, wanted: &Wanted) -> ObservedRole {
    let provider = &desired.issuer.provider;
    let mut role = ObservedRole { tags: wanted.role.tags.clone(), ..perfect_role(wanted) };
    let more = json!({"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    let mut permissions = wanted.role.permissions.document.clone();
    permissions.statements.extend(Document::from_value(&more).unwrap().statements);
    role.permissions = Seen::Known(Some(Ok(permissions)));
    let mut trust = wanted.role.trust.document.clone();
    let others = json!({"Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": provider.arn},
         "Condition": {"StringEquals": {format!("{}:sub", provider.host_and_path()): "system:serviceaccount:n:more"}}},
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
    ]});
    trust.statements.extend(Document::from_value(&others).unwrap().statements);
    role.trust = Ok(trust);
    role
}

/// Consents to all that a plan asks them for.
fn consents_to(plan: &Plan) -> Consents {
    let asked = plan.obstacles.iter().filter_map(|(_, obstacle)| match obstacle {
        Obstacle::WouldNarrow { consent, .. } | Obstacle::WouldDeny { consent, .. } => Some(consent.clone()),
        _ => None,
    });
    let value = asked.collect::<Vec<_>>().join(",");
    Consents::of(&BTreeMap::from([(crate::api::ALLOW_NARROWING.to_owned(), value)]))
}

#[test]
fn first_contact_takes_nothing_away() {
    let desired = desired();
    let (id, wanted) = machine_api(&desired);
    let mut observed = perfect(&desired);
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(wider(&desired, &wanted))));
    let first = plan(&desired, &observed, &Prior::default());
    assert!(first.steps.is_empty(), "{:?}", names(&first));
    let told: Vec<String> = first.obstacles.iter().map(|(_, obstacle)| obstacle.to_string()).collect();
    assert!(told.iter().any(|told| told.contains("s3:GetObject")), "{told:?}");
    assert!(told.iter().any(|told| told.contains("system:serviceaccount:n:more")), "{told:?}");
    // Consent names the role and what it loses; statements of others are kept all the same.
    let mut inputs = inputs(spec(&json!({})));
    inputs.consents =
        Consents::of(&BTreeMap::from([(crate::api::ALLOW_NARROWING.to_owned(), wanted.role.name.clone())]));
    assert!(plan(&desire(&inputs).unwrap(), &observed, &Prior::default()).steps.is_empty());
    inputs.consents = consents_to(&first);
    let allowed = plan(&desire(&inputs).unwrap(), &observed, &Prior::default());
    assert_eq!(names(&allowed), ["UpdateTrust", "PutInlinePolicy"]);
    let Change::UpdateTrust { policy, .. } = &allowed.steps[0].change else { panic!() };
    assert!(policy.contains("123456789012:root") && !policy.contains("n:more"), "{policy}");
    assert_eq!(allowed.adopted_trust[&id].len(), 1);
    // A role that was verified is simply made right, what was adopted apart.
    let adopted_statements = allowed.adopted_trust[&id].clone();
    let known = KnownRole { id: "AROA1".into(), adopted_statements, request_created: None };
    let prior = Prior {
        verified: BTreeMap::from([(Subject::Role(id.clone()), wanted.role.fingerprint())]),
        roles: BTreeMap::from([(id.clone(), known)]),
        ..Prior::default()
    };
    let later = plan(&desired, &observed, &prior);
    assert_eq!(names(&later), ["UpdateTrust", "PutInlinePolicy"]);
    // A request that was made anew does not know what was kept for the one before it; its role tells that it is older.
    let forgotten = |request_created: &str| {
        let known = KnownRole { request_created: Some(time(request_created)), ..KnownRole::default() };
        let prior = Prior { verified: BTreeMap::new(), roles: BTreeMap::from([(id.clone(), known)]), ..prior.clone() };
        let mut observed = observed.clone();
        let made = Some(time("2026-01-01T00:00:00Z"));
        let tags = marked(&wanted.role.tags, MARK);
        let role = ObservedRole { created: made, tags, ..wider(&desired, &wanted) };
        observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(role)));
        plan(&desired, &observed, &prior).adopted_trust[&id].len()
    };
    assert_eq!((forgotten("2026-01-01T00:00:01Z"), forgotten("2025-12-31T23:59:59Z")), (1, 0));
    // One that was made anew is another.
    let anew = ObservedRole { id: "AROA2".into(), tags: BTreeMap::new(), ..wider(&desired, &wanted) };
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(anew)));
    let foreign = plan(&desired, &observed, &prior);
    assert!(matches!(foreign.obstacle(&Subject::Role(id)), Some(Obstacle::NotOurs { .. })));
}

#[test]
fn a_boundary_that_would_deny_is_not_set() {
    let arn = "arn:aws:iam::123456789012:policy/boundary";
    let desired = desire(&inputs(spec(&json!({"roles": {"permissionsBoundaryARN": arn}})))).unwrap();
    let with = |statement: serde_json::Value| {
        let mut observed = perfect(&desired);
        let document = Document::from_value(&json!({"Statement": [statement]})).unwrap();
        observed.boundaries.insert(arn.to_owned(), Seen::Known(document));
        plan(&desired, &observed, &Prior::default())
    };
    let nothing = with(json!({"Effect": "Allow", "Action": "sqs:ListQueues", "Resource": "*"}));
    assert!(nothing.steps.is_empty() && reasons(&nothing).contains("WouldDeny"), "{:?}", nothing.obstacles);
    // Consent is to what the message names: a boundary that takes more is another.
    let some = with(json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}));
    let values = [&nothing, &some].map(consents_to);
    assert_ne!(values[0], values[1]);
    let all = with(json!({"Effect": "Allow", "Action": "*", "Resource": "*"}));
    assert_eq!(names(&all), ["PutBoundary"; 7]);
    // What nobody has read is not set, whatever was consented to.
    let mut inputs = inputs(spec(&json!({"roles": {"permissionsBoundaryARN": arn}})));
    inputs.consents = consents_to(&plan(&desired, &perfect(&desired), &Prior::default()));
    assert_ne!(inputs.consents, Consents::default());
    for desired in [&desired, &desire(&inputs).unwrap()] {
        let unread = plan(desired, &perfect(desired), &Prior::default());
        assert!(unread.steps.is_empty() && reasons(&unread).contains("WouldDeny"), "{:?}", unread.obstacles);
    }
    // Nor is it set where it would take away what first contact leaves.
    let (_, wanted) = machine_api(&desired);
    let mut observed = perfect(&desired);
    let asked_for = wanted.role.permissions.document.clone();
    observed.boundaries.insert(arn.to_owned(), Seen::Known(asked_for));
    observed.roles.retain(|name, _| *name == wanted.role.name);
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(wider(&desired, &wanted))));
    let narrow = plan(&desired, &observed, &Prior::default());
    assert!(reasons(&narrow).contains("WouldNarrow") && !names(&narrow).contains(&"PutBoundary"), "{:?}", narrow.steps);
}

#[test]
fn an_audience_that_the_spec_had_is_not_taken_away() {
    let before = desired();
    let changed = json!({"issuer": {
        "audiences": ["sts.amazonaws.com"], "signingKeys": [{"secretRef": {"name": "signer", "key": "pub"}}],
    }});
    let desired = desire(&inputs(spec(&changed))).unwrap();
    let prior = prior_of(BTreeMap::from([(Subject::Provider, before.issuer.provider.fingerprint())]));
    let held = plan(&desired, &perfect(&before), &prior);
    assert!(held.steps.is_empty() && reasons(&held).contains("WouldDeny"), "{:?}", held.obstacles);
    // What nobody can remember to have adopted is left, too.
    let mut foreign = perfect(&before);
    let Seen::Known(Some(provider)) = &mut foreign.provider else { unreachable!() };
    provider.audiences.push("theirs".into());
    let statement = json!({"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "*"});
    let Seen::Known(Some(Ok(policy))) = &mut bucket(&mut foreign).policy else { unreachable!() };
    policy.statements.extend(Document::from_value(&json!({"Statement": [statement]})).unwrap().statements);
    let known = prior_of(plan(&before, &perfect(&before), &Prior::default()).fingerprints);
    let healed = plan(&before, &foreign, &known);
    assert_eq!(names(&healed), ["PutBucketPolicy", "RemoveAudience"]);
    let unknown = plan(&before, &foreign, &Prior { forgets_adopted: true, ..known });
    assert!(unknown.steps.is_empty() && unknown.obstacles.is_empty(), "{:?}", names(&unknown));
    // Nor by the roles, whose trust policies follow the provider's audiences.
    let bound = |audiences: &[&str]| {
        let issuer = json!({"audiences": audiences, "signingKeys": [{"secretRef": {"name": "signer", "key": "pub"}}]});
        desire(&inputs(spec(&json!({"issuer": issuer, "roles": {"audienceCondition": true}})))).unwrap()
    };
    let (before, desired) = (bound(&["openshift", "sts.amazonaws.com"]), bound(&["openshift"]));
    let prior = prior_of(plan(&before, &perfect(&before), &Prior::default()).fingerprints);
    let held = plan(&desired, &perfect(&before), &prior);
    assert!(held.steps.is_empty() && reasons(&held).contains("WaitsFor"), "{:?} {:?}", held.steps, held.obstacles);
}

#[test]
fn a_secret_is_pointed_at_no_role_that_was_not_read_back() {
    let desired = desired();
    let (id, wanted) = machine_api(&desired);
    let mut observed = perfect(&desired);
    let Seen::Known(SecretState::Present(secret)) = perfect_secret(&wanted) else { panic!() };
    let elsewhere = ObservedSecret {
        credentials_sha256: Some(sha256_hex(b"other")),
        role_arn: Some("arn:aws:iam::123456789012:role/before".into()),
        ..secret
    };
    observed.secrets.insert(wanted.read.secret.clone(), Seen::Known(SecretState::Present(elsewhere.clone())));
    let follows = plan(&desired, &observed, &Prior::default());
    assert_eq!(names(&follows), ["WriteSecret"]);
    // Not while the role is elsewhere, absent, or only about to be right.
    for (role, steps) in [
        (Some(ObservedRole { path: "/elsewhere/".into(), ..perfect_role(&wanted) }), vec![]),
        (None, vec!["CreateRole", "PutInlinePolicy"]),
        (Some(ObservedRole { description: "x".into(), ..perfect_role(&wanted) }), vec!["UpdateRole"]),
    ] {
        observed.roles.insert(wanted.role.name.clone(), Seen::Known(role));
        let held = plan(&desired, &observed, &Prior::default());
        assert_eq!(names(&held), steps);
        assert!(matches!(held.obstacle(&Subject::Secret(id.clone())), Some(Obstacle::WaitsFor(_))));
    }
    // Access keys go by consent on the Secret alone.
    observed.roles.insert(wanted.role.name.clone(), Seen::Known(Some(perfect_role(&wanted))));
    let keys = ObservedSecret { has_access_key: true, role_arn: None, ours: false, ..elsewhere };
    observed.secrets.insert(wanted.read.secret.clone(), Seen::Known(SecretState::Present(keys.clone())));
    assert!(plan(&desired, &observed, &Prior::default()).steps.is_empty());
    let replaceable = ObservedSecret { replaceable: true, ..keys };
    observed.secrets.insert(wanted.read.secret.clone(), Seen::Known(SecretState::Present(replaceable)));
    let replaced = plan(&desired, &observed, &Prior::default());
    assert!(matches!(replaced.steps[0].change, Change::WriteSecret { removes_access_keys: true, .. }));
    // A kill between the two writes leaves the profile beside the keys.
    let Seen::Known(SecretState::Present(perfect)) = perfect_secret(&wanted) else { unreachable!() };
    let half = ObservedSecret { has_access_key: true, replaceable: true, ..perfect };
    observed.secrets.insert(wanted.read.secret.clone(), Seen::Known(SecretState::Present(half)));
    let finished = plan(&desired, &observed, &Prior::default());
    assert!(matches!(finished.steps[0].change, Change::WriteSecret { removes_access_keys: true, .. }));
}

#[test]
fn an_identity_that_selects_nothing_says_so() {
    let with = |more: serde_json::Value| {
        let mut inputs = inputs(spec(&more));
        inputs.requests.clear();
        let desired = desire(&inputs).unwrap();
        plan(&desired, &perfect(&desired), &Prior::default()).obstacle(&Subject::Requests).cloned()
    };
    assert!(matches!(with(json!({})), Some(Obstacle::NothingSelected { others: 0, .. })));
    assert_eq!(with(json!({"credentialsRequests": {"allowEmpty": true}})), None);
}

pub(super) fn left_over(name: &str, created: Timestamp, last_used: Option<Timestamp>) -> Leftover {
    Leftover {
        name: format!("prod-eu-{name}"),
        tags: marked(&BTreeMap::new(), MARK),
        created: Some(created),
        last_used: last_used.map(|time| LastUse { time, region: "eu-west-1".into() }),
        trusted: BTreeSet::new(),
        own_policy: false,
        others: Vec::new(),
    }
}

/// The plan at a time, over these leftovers and what is remembered.
pub(super) fn at(now: Timestamp, roles: &[Leftover], change: impl FnOnce(&mut Inputs, &mut Prior)) -> Plan {
    let mut inputs = inputs(spec(&json!({"deletionPolicy": "Delete"})));
    let mut prior = seasoned();
    inputs.now = now;
    change(&mut inputs, &mut prior);
    let desired = desire(&inputs).unwrap();
    let roles = Seen::Known(roles.iter().cloned().map(Seen::Known).collect());
    let found = Observed { leftovers: Leftovers { roles, secrets: Vec::new() }, ..perfect(&desired) };
    plan(&desired, &found, &prior)
}

fn holds(plan: &Plan) -> Vec<Option<&'static str>> {
    plan.deletions.pending.iter().map(|deletion| deletion.hold.as_ref().map(|hold| hold.reason)).collect()
}

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_leftover_waits_and_the_wait_is_of_looks_without_a_gap() {
    let (then, now) = (time("2026-01-10T00:00:00Z"), time("2026-01-10T00:16:00Z"));
    let old = [left_over("a", time("2025-01-01T00:00:00Z"), None)];
    assert_eq!(holds(&at(now, &old, |_, _| {})), [Some("DeletionDelay")]);
    let waited = |seen: Timestamp| {
        move |_: &mut Inputs, prior: &mut Prior| {
            prior.deletions.pending.insert("prod-eu-a".into(), then);
            prior.deletions.seen = Some(seen);
        }
    };
    let gone = at(now, &old, waited(time("2026-01-10T00:12:00Z")));
    assert_eq!((holds(&gone), names(&gone)), (vec![None], vec!["DeleteRole"]));
    // Nobody has looked for more than three intervals of five minutes.
    assert_eq!(holds(&at(now, &old, waited(then))), [Some("DeletionDelay")]);
    // What does not carry our own mark never goes.
    let mut unmarked = old.clone();
    unmarked[0].tags = BTreeMap::from([("openshift.io/cloud-credential-operator/prod-eu".into(), "owned".into())]);
    let kept = at(now, &unmarked, waited(now));
    assert!(kept.steps.is_empty() && kept.deletions.pending.is_empty() && kept.orphans.len() == 1);
}

#[test]
fn what_is_used_or_may_be_used_stays() {
    let now = time("2026-01-10T00:00:00Z");
    let before = |hours: i64| now.checked_sub(SignedDuration::from_hours(hours)).unwrap();
    let at_once = |inputs: &mut Inputs, _: &mut Prior| {
        inputs.spec.guardrails.deletion_delay = crate::api::GoDuration::from_secs(0);
    };
    for (role, held) in [
        (left_over("a", before(900), Some(before(3))), Some("InUse")),
        (left_over("a", before(900), Some(before(30))), None),
        (left_over("a", before(4), None), Some("InUse")),
        (left_over("a", before(6), None), None),
    ] {
        assert_eq!(holds(&at(now, &[role], at_once)), [held]);
    }
}

#[test]
fn deletions_count_over_an_hour_until_they_are_confirmed() {
    let now = time("2026-01-10T00:00:00Z");
    let old = time("2025-01-01T00:00:00Z");
    let four: Vec<Leftover> = ["a", "b", "c", "d"].map(|name| left_over(name, old, None)).into();
    let at_once = |inputs: &mut Inputs| inputs.spec.guardrails.deletion_delay = crate::api::GoDuration::from_secs(0);
    let many = at(now, &four, |inputs, _| at_once(inputs));
    assert!(many.steps.is_empty() && reasons(&many).contains("TooManyDeletions"));
    let three = at(now, &four[..3], |inputs, _| at_once(inputs));
    assert_eq!(three.steps.len(), 3);
    // One after another within the hour they count together; a deletion that was begun goes on.
    let recent =
        |at: Timestamp| vec![("prod-eu-x".to_owned(), at), ("prod-eu-y".to_owned(), at), ("prod-eu-a".to_owned(), at)];
    let fourth = at(now, &four[..2], |inputs, prior| {
        at_once(inputs);
        prior.deletions.recent = recent(time("2026-01-09T23:30:00Z"));
    });
    assert_eq!(holds(&fourth), [None, Some("TooManyDeletions")]);
    let later = at(now, &four[..2], |inputs, prior| {
        at_once(inputs);
        prior.deletions.recent = recent(time("2026-01-09T22:59:00Z"));
    });
    assert_eq!(holds(&later), [None, None]);
    // Consent names what the status names, and nothing that came later.
    let pending = |prior: &mut Prior, of: &[Leftover]| {
        prior.deletions.pending = of.iter().map(|role| (role.name.clone(), old)).collect();
        prior.deletions.seen = Some(now);
    };
    let confirm = |inputs: &mut Inputs, of: &[Leftover]| {
        let digest = deletion::digest(of.iter().map(|role| role.name.as_str()));
        let consent = BTreeMap::from([(crate::api::CONFIRM_DELETION.to_owned(), format!("prod-eu/{digest}"))]);
        inputs.consents = Consents::of(&consent);
    };
    let confirmed = at(now, &four, |inputs, prior| {
        at_once(inputs);
        pending(prior, &four);
        confirm(inputs, &four);
    });
    assert_eq!(confirmed.steps.len(), 4);
    let newcomer = at(now, &four, |inputs, prior| {
        at_once(inputs);
        pending(prior, &four[..3]);
        confirm(inputs, &four[..3]);
    });
    assert_eq!(holds(&newcomer)[..3], [None, None, None]);
    let stale = at(now, &four, |inputs, prior| {
        at_once(inputs);
        pending(prior, &four);
        confirm(inputs, &four[..3]);
    });
    assert!(stale.steps.is_empty());
}

#[test]
fn a_teardown_takes_only_what_carries_its_mark_and_nothing_that_is_used() {
    let desired = desired();
    let Seen::Known(Some(provider)) = perfect(&desired).provider else { unreachable!() };
    let now = time("2026-01-10T00:00:00Z");
    let teardown_of = |mark: &str, trusting: &[&str], last_used: Option<Timestamp>| {
        let mut role = left_over("a", time("2025-01-01T00:00:00Z"), last_used);
        role.tags = marked(&BTreeMap::new(), mark);
        let doomed = crate::desired::teardown(
            "prod/prod-eu",
            &spec(&json!({})),
            "123456789012",
            owners(),
            &Consents::default(),
            now,
        )
        .unwrap();
        let observed = crate::observed::ObservedTeardown {
            roles: Seen::Known(vec![Seen::Known(role)]),
            provider: Seen::Known(Some(ObservedProvider { tags: marked(&BTreeMap::new(), mark), ..provider.clone() })),
            bucket: Seen::Known(None),
            account_use: AccountUse {
                any: true,
                trusting: Seen::Known(trusting.iter().map(|name| (*name).to_owned()).collect()),
                namesakes: BTreeSet::new(),
            },
        };
        teardown(&doomed, &observed, &[], &Prior::default())
    };
    assert_eq!(names(&teardown_of(MARK, &[], None)), ["DeleteRole", "DeleteProvider"]);
    for mark in ["there.me", "here.you", "here.gone"] {
        assert!(names(&teardown_of(mark, &[], None)).is_empty(), "{mark}");
    }
    let recently = Some(time("2026-01-09T20:00:00Z"));
    for held in [teardown_of(MARK, &[], recently), teardown_of(MARK, &["prod-eu-a", "someones"], None)] {
        assert!(held.steps.is_empty() && reasons(&held).contains("InUse"), "{:?}", held.obstacles);
    }
}
