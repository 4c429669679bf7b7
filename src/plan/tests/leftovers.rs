//! What is left over, and the end of a ClusterIdentity.

use super::*;
use crate::desired::retained::ProvisionedSecret;
use crate::desired::{Teardown, teardown as desired_teardown};
use crate::observed::{DoomedBucket, Fault, LastUse, Leftover, LeftoverSecret, ObservedTeardown};
use crate::plan::teardown;

fn delete(most: u32) -> Desired {
    let spec = spec(&serde_json::json!({
        "deletionPolicy": "Delete",
        "guardrails": {
            "maxDeletions": most, "deletionDelay": "0s", "inUseWindow": "0s", "allowedSecretNamespaces": ["*"],
        },
    }));
    desire(&inputs(spec)).unwrap()
}

fn left(name: &str, others: &[&str]) -> Leftover {
    let own = format!("prod-eu-{name}");
    let inline = std::iter::once(own.as_str()).chain(others.iter().copied());
    bare(&own).having(inline, &[], &[])
}

fn bare(name: &str) -> Leftover {
    Leftover {
        name: name.to_owned(),
        tags: marked(&BTreeMap::new(), MARK),
        created: Some(Timestamp::UNIX_EPOCH),
        last_used: None,
        trusted: BTreeSet::new(),
        own_policy: false,
        others: Vec::new(),
    }
}

fn left_secret(name: &str) -> LeftoverSecret {
    let key = SecretKey { namespace: "openshift-gone".into(), name: name.into() };
    LeftoverSecret { key, uid: "u".into(), resource_version: "7".into(), mark: Some(MARK.into()) }
}

fn with_leftovers(desired: &Desired, roles: &[Leftover], secrets: &[LeftoverSecret]) -> Observed {
    let roles = roles.iter().cloned().map(Seen::Known).collect();
    Observed { leftovers: Leftovers { roles: Seen::Known(roles), secrets: secrets.to_vec() }, ..perfect(desired) }
}

fn names(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} {}", step.change.name(), step.change.target())).collect()
}

pub(super) fn denied(action: &str) -> Fault {
    Fault { class: FaultClass::Denied, action: action.into(), target: "it".into(), message: "no".into() }
}

#[test]
fn under_retain_leftovers_are_told_and_kept() {
    let desired = desired();
    let plan = plan(&desired, &with_leftovers(&desired, &[left("a", &[])], &[left_secret("s")]), &Prior::default());
    assert_eq!(plan.orphans, ["role/prod-eu-a (without a Secret of this ClusterIdentity)", "secret/openshift-gone/s"]);
    assert!(plan.steps.is_empty() && plan.obstacles.is_empty());
}

/// What was provisioned for a request that is gone: its role is `prod-eu-openshift-gone-s`.
fn provisioned(role_arn: &str) -> Desired {
    let provisioned = ProvisionedSecret {
        key: SecretKey { namespace: "openshift-gone".into(), name: "s".into() },
        request: RequestId { namespace: "prod".into(), name: "gone".into() },
        role_arn: role_arn.into(),
        token_path: "/token".into(),
    };
    desire(&Inputs { provisioned: vec![provisioned], ..inputs(spec(&serde_json::json!({}))) }).unwrap()
}

const ROLE: &str = "arn:aws:iam::123456789012:role/prod-eu-openshift-gone-s";

#[test]
fn under_retain_the_secret_of_a_role_that_is_kept_is_put_back() {
    let desired = provisioned(ROLE);
    let key = desired.retained[0].secret.key.clone();
    let found = |secret: Seen<SecretState>| {
        let mut found = with_leftovers(&desired, &[left("openshift-gone-s", &[])], &[]);
        found.secrets.insert(key.clone(), secret);
        found
    };
    let gone = plan(&desired, &found(Seen::Known(SecretState::Absent)), &Prior::default());
    assert_eq!(names(&gone), ["WriteSecret secret/openshift-gone/s"]);
    let Change::WriteSecret { secret, force: false, .. } = &gone.steps[0].change else { panic!("{:?}", gone.steps) };
    assert!(secret.credentials.contains(&format!("role_arn = {ROLE}\nweb_identity_token_file = /token")));
    assert_eq!((gone.orphans.clone(), gone.retained.len()), (vec!["role/prod-eu-openshift-gone-s".to_owned()], 1));
    let prior = Prior { interrupted: Some("the watch of credentialsrequests: forbidden".into()), ..Prior::default() };
    let held = plan(&desired, &found(Seen::Known(SecretState::Absent)), &prior);
    assert!(
        held.steps.is_empty() && matches!(held.obstacles[..], [(_, Obstacle::WatchLost(_))]),
        "{:?}",
        held.obstacles
    );
    let unread = plan(&desired, &found(Seen::Unknown(denied("get secrets"))), &Prior::default());
    assert!(unread.steps.is_empty() && unread.obstacles.is_empty());
    assert_eq!((held.retained.len(), unread.retained.len()), (1, 1), "it is remembered");
    // Who makes the namespace anew may be anybody.
    let no_namespace = plan(&desired, &found(Seen::Known(SecretState::NamespaceMissing)), &Prior::default());
    assert!(no_namespace.steps.is_empty() && no_namespace.retained.is_empty());
    // A role that could not be read is not known to be gone.
    let mut unknown = found(Seen::Known(SecretState::Absent));
    unknown.leftovers.roles = Seen::Known(vec![Seen::Unknown(denied("iam:GetRole"))]);
    let unknown = plan(&desired, &unknown, &Prior::default());
    assert!(unknown.steps.is_empty());
    assert_eq!(unknown.retained.len(), 1);
}

#[test]
fn a_grant_is_taken_back_from_a_role_that_no_component_uses_alone() {
    let desired = provisioned(ROLE);
    let role = Leftover { own_policy: true, ..left("openshift-gone-s", &[]) };
    let granted_ahead = BTreeSet::from([role.name.clone()]);
    let prior = Prior { granted_ahead, ..Prior::default() };
    let taken = |role: &Leftover| plan(&desired, &with_leftovers(&desired, std::slice::from_ref(role), &[]), &prior);
    assert_eq!(names(&taken(&role)), ["DeleteRolePolicy role/prod-eu-openshift-gone-s"]);
    let last_used = Some(LastUse { time: desired.now, region: "eu-west-1".into() });
    let used = taken(&Leftover { last_used, ..role });
    assert!(used.steps.is_empty() && matches!(used.obstacles[..], [(_, Obstacle::RoleInUse { .. })]), "{used:?}");
}

#[test]
fn a_secret_is_put_back_for_the_very_role_that_it_named_alone() {
    let absent = |desired: &Desired, roles: &[Leftover]| {
        let mut found = with_leftovers(desired, roles, &[]);
        found
            .secrets
            .extend(desired.retained.iter().map(|kept| (kept.secret.key.clone(), Seen::Known(SecretState::Absent))));
        plan(desired, &found, &Prior::default())
    };
    // The role is gone as well.
    let none = absent(&provisioned(ROLE), &[left("other", &[])]);
    assert!(none.steps.is_empty() && none.retained.is_empty());
    for other in ["arn:aws:iam::210987654321:role/prod-eu-openshift-gone-s", "arn:aws:iam::123456789012:role/other", ""]
    {
        assert!(provisioned(other).retained.is_empty(), "{other}");
    }
    let provisioned = provisioned(ROLE).retained.remove(0).provisioned;
    // A line of its own would be another setting of the profile.
    let forged = ProvisionedSecret { token_path: "/t\ncredential_process = /bin/sh".into(), ..provisioned.clone() };
    let desired_of = |provisioned| Inputs { provisioned: vec![provisioned], ..inputs(spec(&serde_json::json!({}))) };
    assert!(desire(&desired_of(forged)).unwrap().retained.is_empty());
    let elsewhere = serde_json::json!({"guardrails": {"allowedSecretNamespaces": ["other-*"]}});
    let refused = Inputs { provisioned: vec![provisioned.clone()], ..inputs(spec(&elsewhere)) };
    assert!(desire(&refused).unwrap().retained.is_empty());
    // Under Delete it is served until it goes.
    let delete = spec(&serde_json::json!({"deletionPolicy": "Delete"}));
    assert_eq!(desire(&Inputs { provisioned: vec![provisioned], ..inputs(delete) }).unwrap().retained.len(), 1);
    // A request that asks for the Secret, or for its role, has it.
    let served = desired().wanted().find_map(|(_, wanted)| wanted.secret.clone()).unwrap();
    let of_request = ProvisionedSecret {
        key: served.key.clone(),
        request: RequestId { namespace: "prod".into(), name: "gone".into() },
        role_arn: format!("arn:aws:iam::123456789012:role/{}", desired().role_of(&served.key)),
        token_path: "/token".into(),
    };
    let inputs = Inputs { provisioned: vec![of_request], ..inputs(spec(&serde_json::json!({}))) };
    assert!(desire(&inputs).unwrap().retained.is_empty());
}

#[test]
fn while_a_watch_fails_nothing_is_deleted() {
    let desired = delete(9);
    let found = with_leftovers(&desired, &[left("a", &[])], &[left_secret("s")]);
    let prior = Prior { interrupted: Some("the watch of secrets: forbidden".into()), ..Prior::default() };
    let held = plan(&desired, &found, &prior);
    assert!(held.steps.is_empty());
    let [(Subject::Leftovers, obstacle @ Obstacle::WatchLost(_))] = &held.obstacles[..] else {
        panic!("{:?}", held.obstacles)
    };
    assert_eq!(
        obstacle.to_string(),
        "nothing is deleted or put back before it answers again: the watch of secrets: forbidden; what is asked for may not be seen"
    );
    assert_eq!(plan(&desired, &found, &seasoned()).steps.len(), 3);
    let nothing = plan(&desired, &perfect(&desired), &prior);
    assert!(nothing.obstacles.is_empty(), "nothing waits where nothing is left over");
}

#[test]
fn under_delete_a_role_goes_with_its_policy_and_its_secret() {
    let desired = delete(1);
    let plan =
        plan(&desired, &with_leftovers(&desired, &[left("openshift-gone-s", &[])], &[left_secret("s")]), &seasoned());
    assert_eq!(
        names(&plan),
        [
            "DeleteSecret secret/openshift-gone/s",
            "DeleteRolePolicy role/prod-eu-openshift-gone-s",
            "DeleteRole role/prod-eu-openshift-gone-s"
        ]
    );
    assert!(plan.drift().next().is_none(), "what is left over is no drift");
}

/// Its role has lost its tags, so nobody knows how it is used: the Secret is of use as long as the role is there.
#[test]
fn a_secret_stays_while_a_role_of_its_name_is_there_that_is_not_ours() {
    let desired = delete(1);
    let mut found = with_leftovers(&desired, &[], &[left_secret("s")]);
    found.account_use.namesakes.insert("prod-eu-openshift-gone-s".into());
    let kept = plan(&desired, &found, &seasoned());
    assert!(kept.steps.is_empty() && kept.deletions.pending.is_empty(), "{:?}", names(&kept));
    let told = "secret/openshift-gone/s (its role prod-eu-openshift-gone-s is kept, and so is it)";
    assert_eq!(kept.orphans, [told]);
    found.account_use.namesakes.clear();
    assert_eq!(names(&plan(&desired, &found, &seasoned())), ["DeleteSecret secret/openshift-gone/s"]);
}

#[test]
fn more_than_the_guardrail_allows_holds_every_deletion_and_says_so() {
    let desired = delete(1);
    let found = with_leftovers(&desired, &[left("a", &[]), left("b", &[])], &[]);
    let plan = plan(&desired, &found, &seasoned());
    assert!(plan.steps.is_empty());
    let said = plan.obstacle(&Subject::Leftovers).unwrap().to_string();
    assert!(said.contains("2 components") && said.contains("maxDeletions is 1"), "{said}");
    assert!(plan.deletions.pending.iter().all(|of| of.hold.as_ref().unwrap().reason == "TooManyDeletions"));
}

#[test]
fn what_was_deleted_a_moment_ago_is_not_counted_again() {
    let desired = delete(2);
    let deleted = Step {
        subject: Subject::LeftoverRole("prod-eu-a".into()),
        change: Change::DeleteRole { role: "prod-eu-a".into() },
        cause: Cause::LeftOver,
        differences: Vec::new(),
    };
    let mut settling = Settling::default();
    settling.made(&deleted, Timestamp::UNIX_EPOCH);
    let found = with_leftovers(&desired, &[left("a", &[]), left("b", &["theirs"]), left("c", &[])], &[]);
    let plan = plan(&desired, &found, &Prior { settling, ..seasoned() });
    assert!(plan.obstacle(&Subject::Leftovers).is_none(), "{:?}", plan.obstacles);
    assert!(names(&plan).contains(&"DeleteRole role/prod-eu-c".to_owned()), "{:?}", names(&plan));
    assert!(matches!(plan.obstacle(&Subject::LeftoverRole("prod-eu-b".into())), Some(Obstacle::RoleInUse { .. })));
}

#[test]
fn a_bucket_that_was_begun_and_came_no_further_goes_too() {
    let teardown_of = |begun: bool, documents: &[&str]| {
        let doomed = doomed();
        let bucket = DoomedBucket {
            tags: BTreeMap::new(),
            versioned: false,
            documents: documents.iter().map(|key| (*key).to_owned()).collect(),
            others: Vec::new(),
        };
        let found = ObservedTeardown { bucket: Seen::Known(Some(bucket)), ..nothing_there() };
        let begun_bucket = begun.then(|| doomed.issuer.bucket.fingerprint());
        names(&teardown(&doomed, &found, &[], &Prior { begun_bucket, ..Prior::default() }))
    };
    assert_eq!(teardown_of(true, &[]), ["DeleteBucket bucket/prod-eu-oidc"]);
    assert!(teardown_of(false, &[]).is_empty(), "it may be someone's new one");
    assert!(teardown_of(true, &["keys.json"]).is_empty(), "documents are written after the mark");
}

#[test]
fn a_request_that_does_not_say_what_is_its_own_holds_every_deletion() {
    let spec = spec(&serde_json::json!({"deletionPolicy": "Delete"}));
    let mut inputs = inputs(spec);
    inputs.requests[0].spec = Err("undecodable".into());
    let desired = desire(&inputs).unwrap();
    let plan = plan(&desired, &with_leftovers(&desired, &[left("a", &[])], &[]), &Prior::default());
    assert!(plan.steps.is_empty());
    assert!(matches!(plan.obstacle(&Subject::Leftovers), Some(Obstacle::ClaimUnknown(_))));
}

#[test]
fn what_a_refused_request_had_is_not_left_over() {
    let spec = spec(&serde_json::json!({
        "deletionPolicy": "Delete", "guardrails": {"deniedActions": ["ec2:*", "s3:*", "*"], "allowedSecretNamespaces": []},
    }));
    let desired = desire(&inputs(spec)).unwrap();
    assert_eq!(desired.wanted().count(), 0, "all are refused");
    let claimed: Vec<&String> = desired.claims.roles.iter().collect();
    assert!(claimed.iter().any(|name| name.as_str() == "prod-eu-openshift-machine-api-aws-cloud-credentials"));
    assert!(desired.claims.unknown.is_empty());
}

#[test]
fn a_role_that_someone_else_uses_is_told_and_left_as_it_is() {
    let desired = delete(3);
    let used = bare("prod-eu-a").having(
        ["prod-eu-a", "theirs"].into_iter(),
        &["arn:aws:iam::aws:policy/ReadOnlyAccess".into()],
        &["workers".into()],
    );
    let plan = plan(&desired, &with_leftovers(&desired, &[used, left("b", &[])], &[]), &seasoned());
    assert_eq!(names(&plan), ["DeleteRolePolicy role/prod-eu-b", "DeleteRole role/prod-eu-b"]);
    let said = plan.obstacle(&Subject::LeftoverRole("prod-eu-a".into())).unwrap().to_string();
    for part in
        ["inline policy theirs", "attached policy arn:aws:iam::aws:policy/ReadOnlyAccess", "instance profile workers"]
    {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_listing_that_may_not_be_made_is_missed_by_the_report_alone_under_retain() {
    for (desired, obstructs) in [(desired(), false), (delete(3), true)] {
        let roles = Seen::Unknown(denied("iam:ListRoles"));
        let found = Observed { leftovers: Leftovers { roles, secrets: Vec::new() }, ..perfect(&desired) };
        let plan = plan(&desired, &found, &Prior::default());
        assert_eq!(plan.obstacle(&Subject::Leftovers).is_some(), obstructs);
        assert_eq!(plan.done_without.is_empty(), obstructs);
    }
}

fn doomed() -> Teardown {
    let guardrails = serde_json::json!({"inUseWindow": "0s", "allowedSecretNamespaces": ["*"]});
    let spec = spec(&serde_json::json!({"guardrails": guardrails}));
    let (consents, now) = (Consents::default(), Timestamp::UNIX_EPOCH);
    desired_teardown("prod/prod-eu", &spec, "123456789012", owners(), &consents, now).unwrap()
}

fn all_there() -> ObservedTeardown {
    let desired = desired();
    let Seen::Known(provider) = perfect(&desired).provider else { unreachable!() };
    ObservedTeardown {
        roles: Seen::Known(vec![Seen::Known(left("a", &[])), Seen::Known(left("b", &[]))]),
        provider: Seen::Known(provider),
        bucket: Seen::Known(Some(DoomedBucket {
            tags: marked(&BTreeMap::new(), MARK),
            versioned: false,
            documents: vec![".well-known/openid-configuration".into(), "keys.json".into()],
            others: Vec::new(),
        })),
        account_use: account_use(),
    }
}

fn nothing_there() -> ObservedTeardown {
    ObservedTeardown {
        roles: Seen::Known(Vec::new()),
        provider: Seen::Known(None),
        bucket: Seen::Known(None),
        account_use: account_use(),
    }
}

fn torn(observed: &ObservedTeardown) -> Plan {
    teardown(&doomed(), observed, &[left_secret("s")], &Prior::default())
}

#[test]
fn a_teardown_takes_secrets_and_roles_then_the_provider_then_the_documents_then_the_bucket() {
    assert_eq!(
        names(&torn(&all_there())),
        [
            "DeleteSecret secret/openshift-gone/s",
            "DeleteRolePolicy role/prod-eu-a",
            "DeleteRole role/prod-eu-a",
            "DeleteRolePolicy role/prod-eu-b",
            "DeleteRole role/prod-eu-b",
            "DeleteProvider provider/prod-eu-oidc.s3.eu-west-1.amazonaws.com",
            "DeleteObject bucket/prod-eu-oidc/.well-known/openid-configuration",
            "DeleteObject bucket/prod-eu-oidc/keys.json",
            "DeleteBucket bucket/prod-eu-oidc",
        ]
    );
}

#[test]
fn a_teardown_keeps_the_issuer_while_a_role_stays() {
    let mut observed = all_there();
    observed.roles = Seen::Known(vec![Seen::Known(left("a", &["theirs"])), Seen::Known(left("b", &[]))]);
    let plan = torn(&observed);
    assert!(
        !names(&plan).iter().any(|step| step.contains("provider") || step.contains("bucket")),
        "{:?}",
        names(&plan)
    );
    assert!(names(&plan).contains(&"DeleteRole role/prod-eu-b".to_owned()));
    assert!(matches!(plan.obstacle(&Subject::Provider), Some(Obstacle::WaitsFor(_))));
}

/// Neither a role that somebody else's mark is on nor one without any tags goes with the ClusterIdentity.
#[test]
fn a_teardown_takes_no_secret_of_a_role_that_stays_and_may_be_used() {
    let last_used = Some(LastUse { time: doomed().now, region: "eu-west-1".into() });
    let tags = marked(&BTreeMap::new(), "here.somebody");
    let anothers = Leftover { tags, last_used, ..left("openshift-gone-s", &[]) };
    let mut observed = nothing_there();
    observed.roles = Seen::Known(vec![Seen::Known(anothers.clone())]);
    let unknown = {
        let mut observed = nothing_there();
        observed.account_use.namesakes.insert("prod-eu-openshift-gone-s".into());
        observed
    };
    let mut careful = doomed();
    careful.deletion.in_use_window = std::time::Duration::from_hours(1);
    for observed in [&observed, &unknown] {
        let held = teardown(&careful, observed, &[left_secret("s")], &Prior::default());
        assert!(held.steps.is_empty(), "{:?}", names(&held));
        assert!(matches!(held.obstacle(&Subject::Leftovers), Some(Obstacle::InUse(..))), "{:?}", held.obstacles);
        let confirmed = Teardown { confirmed: true, ..careful.clone() };
        let confirmed = teardown(&confirmed, observed, &[left_secret("s")], &Prior::default());
        assert_eq!(names(&confirmed), ["DeleteSecret secret/openshift-gone/s"]);
    }
}

/// What was not read may be in use, and nothing says that it may go all the same.
#[test]
fn a_teardown_that_cannot_read_what_is_in_use_takes_nothing_away() {
    let unread = |of: Subject, change: &dyn Fn(&mut ObservedTeardown)| {
        let mut observed = all_there();
        change(&mut observed);
        let held = torn(&observed);
        assert!(held.steps.is_empty(), "{:?}", names(&held));
        assert!(matches!(held.obstacle(&of), Some(Obstacle::Unreadable(_))), "{:?}", held.obstacles);
        assert!(crate::plan::teardown::is_held_by_use(&held, false));
        let confirmed = Teardown { confirmed: true, ..doomed() };
        teardown(&confirmed, &observed, &[left_secret("s")], &Prior::default())
    };
    let no_roles = unread(Subject::Leftovers, &|observed| observed.roles = Seen::Unknown(denied("iam:ListRoles")));
    assert_eq!(names(&no_roles), ["DeleteSecret secret/openshift-gone/s"]);
    unread(Subject::Leftovers, &|observed| {
        let Seen::Known(roles) = &mut observed.roles else { unreachable!() };
        roles[0] = Seen::Unknown(denied("iam:GetRole"));
    });
    unread(Subject::Leftovers, &|observed| observed.account_use.trusting = Seen::Unknown(denied("iam:ListRoles")));
    unread(Subject::Provider, &|observed| observed.provider = Seen::Unknown(denied("iam:GetOpenIDConnectProvider")));
    let throttled = Fault { class: FaultClass::Throttled, ..denied("s3:GetBucketTagging") };
    unread(Subject::Bucket, &|observed| observed.bucket = Seen::Unknown(throttled.clone()));
}

#[test]
fn a_versioned_bucket_and_foreign_objects_are_named_and_kept() {
    let mut observed = all_there();
    let bucket = |versioned, others: &[&str]| DoomedBucket {
        tags: marked(&BTreeMap::new(), MARK),
        versioned,
        documents: vec!["keys.json".into()],
        others: others.iter().map(|key| (*key).to_owned()).collect(),
    };
    observed.bucket = Seen::Known(Some(bucket(true, &[])));
    let plan = torn(&observed);
    assert!(!names(&plan).iter().any(|step| step.contains("bucket/")));
    assert!(plan.obstacle(&Subject::Bucket).unwrap().to_string().contains("versioned"));
    observed.bucket = Seen::Known(Some(bucket(false, &["theirs.txt"])));
    let plan = torn(&observed);
    assert!(names(&plan).contains(&"DeleteObject bucket/prod-eu-oidc/keys.json".to_owned()));
    assert!(!names(&plan).contains(&"DeleteBucket bucket/prod-eu-oidc".to_owned()));
    assert!(plan.obstacle(&Subject::Bucket).unwrap().to_string().contains("theirs.txt"));
}

#[test]
fn a_teardown_leaves_what_is_not_ours() {
    let mut observed = all_there();
    let Seen::Known(Some(provider)) = &mut observed.provider else { unreachable!() };
    provider.tags.clear();
    observed.bucket = Seen::Known(None);
    observed.roles = Seen::Known(Vec::new());
    let plan = teardown(&doomed(), &observed, &[], &Prior::default());
    assert!(plan.steps.is_empty() && plan.obstacles.is_empty());
    // A bucket that may not be looked at is someone else's, unless it was seen to be ours.
    observed.bucket = Seen::Unknown(denied("s3:GetBucketTagging"));
    assert!(teardown(&doomed(), &observed, &[], &Prior::default()).obstacles.is_empty());
    let ours = prior_of(BTreeMap::from([(Subject::Bucket, "x-y".into())]));
    assert!(teardown(&doomed(), &observed, &[], &ours).obstacle(&Subject::Bucket).is_some());
}
