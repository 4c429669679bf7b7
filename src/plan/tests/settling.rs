//! Reads that are older than what was written.

use std::time::Duration;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What is remembered after every step of a plan was made.
fn all_made(plan: &Plan, second: i64) -> Prior {
    let mut settling = plan.settling.clone();
    plan.steps.iter().for_each(|step| settling.made(step, at(second)));
    Prior { settling, ..Prior::default() }
}

#[test]
fn a_stale_read_makes_nothing_twice_and_is_no_drift() {
    let desired = desired();
    let first = plan(&desired, &empty(&desired), &Prior::default());
    let prior = all_made(&first, 0);
    let second = plan(&desired, &empty(&desired), &prior);
    // Secrets are Kubernetes', whose reads are not stale.
    assert!(second.steps.iter().all(|step| !step.change.is_of_aws()), "{:?}", second.steps);
    assert!(second.drift().next().is_none());
    let settling = second.obstacles.iter().filter(|(_, obstacle)| matches!(obstacle, Obstacle::Settling(_))).count();
    assert_eq!(settling, desired.wanted().count() + 4, "each role, bucket, two documents, provider");
    let seen = plan(&desired, &perfect(&desired), &Prior { settling: second.settling, ..Prior::default() });
    assert!(seen.obstacles.is_empty() && seen.steps.is_empty());
    // Another replica may still not know of it.
    let again = plan(&desired, &empty(&desired), &Prior { settling: seen.settling.clone(), ..Prior::default() });
    assert!(again.steps.iter().all(|step| !step.change.is_of_aws()) && !again.obstacles.is_empty());
    // What is neither as it was nor as it should be was done by someone else, and since.
    let mut altered = perfect(&desired);
    let (id, wanted) = desired.wanted().next().unwrap();
    let mut role = perfect_role(wanted);
    role.description = "by hand".into();
    altered.roles.insert(wanted.role.name.clone(), Seen::Known(Some(role)));
    let verified = BTreeMap::from([(Subject::Role(id.clone()), wanted.role.fingerprint())]);
    let drifted = plan(&desired, &altered, &Prior { settling: seen.settling, verified, ..Prior::default() });
    assert_eq!((drifted.steps.len(), drifted.drift().count()), (1, 1));
}

#[test]
fn a_change_that_was_seen_and_undone_in_another_way_is_drift_at_once() {
    let before = desired();
    let after = desire(&inputs(spec(&serde_json::json!({"roles": {"maxSessionDuration": "2h"}})))).unwrap();
    let prior = all_made(&plan(&after, &perfect(&before), &Prior::default()), 0);
    let seen = plan(&after, &perfect(&after), &prior);
    assert!(seen.steps.is_empty() && seen.obstacles.is_empty());
    let verified = after.wanted().map(|(id, w)| (Subject::Role(id.clone()), w.role.fingerprint())).collect();
    let prior = Prior { settling: seen.settling, verified, ..Prior::default() };
    // As it was before the change: a replica that lags.
    let stale = plan(&after, &perfect(&before), &prior);
    assert_eq!((stale.steps.len(), stale.drift().count()), (0, 0));
    // As it never was: someone's doing.
    let third = desire(&inputs(spec(&serde_json::json!({"roles": {"maxSessionDuration": "3h"}})))).unwrap();
    let drifted = plan(&after, &perfect(&third), &prior);
    assert_eq!(drifted.drift().count(), before.wanted().count());
}

#[test]
fn what_one_of_two_changes_found_is_no_drift_after_the_other_was_seen() {
    let wish =
        |session: &str| desire(&inputs(spec(&serde_json::json!({"roles": {"maxSessionDuration": session}})))).unwrap();
    let [first, second, third] = ["1h", "2h", "3h"].map(wish);
    let prior = all_made(&plan(&second, &perfect(&first), &Prior::default()), 0);
    let mut settling = plan(&third, &perfect(&second), &prior);
    settling.steps.iter().for_each(|step| settling.settling.made(step, at(1)));
    let seen = plan(&third, &perfect(&third), &Prior { settling: settling.settling, ..Prior::default() });
    assert!(seen.steps.is_empty());
    let verified = third.wanted().map(|(id, w)| (Subject::Role(id.clone()), w.role.fingerprint())).collect();
    let mut prior = Prior { settling: seen.settling, verified, ..Prior::default() };
    for stale in [&first, &second] {
        let held = plan(&third, &perfect(stale), &prior);
        assert_eq!((held.steps.len(), held.drift().count()), (0, 0));
    }
    // What the first found may be shown for as long as the first is young.
    prior.settling.expire(at(30), Duration::from_secs(30));
    assert_eq!(plan(&third, &perfect(&first), &prior).drift().count(), third.wanted().count());
}

#[test]
fn a_document_that_somebody_deletes_again_is_drift_at_once() {
    let desired = desired();
    let mut settling = all_made(&plan(&desired, &empty(&desired), &Prior::default()), 0).settling;
    let verified = plan(&desired, &perfect(&desired), &Prior::default()).fingerprints;
    let mut look = |document: Option<&str>, second: i64| {
        let mut observed = perfect(&desired);
        if let Some(document) = document {
            bucket(&mut observed).discovery = Seen::Known((document != "none").then(|| object(document)));
        }
        let prior = Prior { settling: settling.clone(), verified: verified.clone(), ..Prior::default() };
        let plan = plan(&desired, &observed, &prior);
        settling = plan.settling.clone();
        plan.steps.iter().for_each(|step| settling.made(step, at(second)));
        plan.drift().count()
    };
    assert_eq!(look(None, 1), 0);
    for (second, document) in [(2, r#"{"issuer": "https://e.vil/"}"#), (4, "none")] {
        assert_eq!((look(Some(document), second), look(None, second + 1)), (1, 0), "{document}");
    }
}

#[test]
fn what_is_too_old_to_settle_is_made_again() {
    let desired = desired();
    let mut prior = all_made(&plan(&desired, &empty(&desired), &Prior::default()), 0);
    prior.settling.expire(at(29), Duration::from_secs(30));
    assert!(!prior.settling.is_empty());
    prior.settling.expire(at(30), Duration::from_secs(30));
    assert!(prior.settling.is_empty());
}

#[test]
fn a_step_that_was_not_made_goes_on_while_another_settles() {
    let desired = desired();
    let first = plan(&desired, &empty(&desired), &Prior::default());
    let mut settling = Settling::default();
    let created = first.steps.iter().find(|step| step.change.name() == "CreateRole").unwrap();
    settling.made(created, at(0));
    let second = plan(&desired, &empty(&desired), &Prior { settling, ..Prior::default() });
    let of_role = second.steps.iter().filter(|step| step.subject == created.subject);
    assert_eq!(of_role.map(|step| step.change.name()).collect::<Vec<_>>(), ["PutInlinePolicy"]);
}

#[test]
fn a_role_that_exists_unseen_is_not_touched_before_it_is_seen() {
    let desired = desired();
    let first = plan(&desired, &empty(&desired), &Prior::default());
    let mut settling = Settling::default();
    let created = first.steps.iter().find(|step| step.change.name() == "CreateRole").unwrap();
    settling.found_existing(created, at(0));
    let second = plan(&desired, &empty(&desired), &Prior { settling, ..Prior::default() });
    let id = created.subject.request().unwrap();
    // Neither the role nor a Secret that would point at it: it may be someone else's.
    assert!(second.steps.iter().all(|step| step.subject.request() != Some(id)));
    assert!(matches!(second.obstacle(&created.subject), Some(Obstacle::Settling(_))));
    assert!(second.obstacle(&Subject::Secret(id.clone())).is_some());
}

#[test]
fn a_wish_that_changed_back_is_not_judged_by_a_read_that_may_be_older_than_the_change() {
    let before = desired();
    let after = desire(&inputs(spec(&serde_json::json!({"roles": {"maxSessionDuration": "2h"}})))).unwrap();
    let change = plan(&after, &perfect(&before), &Prior::default());
    assert_eq!(change.steps.len(), before.wanted().count());
    let prior = all_made(&change, 0);
    // Another change before that one was seen goes ahead, and is no drift.
    let third = desire(&inputs(spec(&serde_json::json!({"roles": {"maxSessionDuration": "3h"}})))).unwrap();
    let on = plan(&third, &perfect(&before), &prior);
    assert_eq!((on.steps.len(), on.obstacles.len()), (before.wanted().count(), 0));
    // So does one that asks for something else besides.
    let more = serde_json::json!({"roles": {"maxSessionDuration": "2h", "tags": {"team": "a"}}});
    let more = plan(&desire(&inputs(spec(&more))).unwrap(), &perfect(&after), &prior);
    assert!(more.steps.iter().all(|step| step.change.name() == "TagRole") && more.obstacles.is_empty());
    // The spec is changed back, and the read still shows what was there in the first place.
    let back = plan(&before, &perfect(&before), &prior);
    assert!(back.steps.is_empty());
    assert_eq!(back.obstacles.len(), before.wanted().count(), "nothing is called right");
    // Once the read shows the change, it is taken back; that it is there is nobody else's doing.
    let verified = before.wanted().map(|(id, w)| (Subject::Role(id.clone()), w.role.fingerprint())).collect();
    let shown = plan(&before, &perfect(&after), &Prior { verified, ..prior });
    assert_eq!(shown.steps.len(), before.wanted().count());
    assert!(shown.drift().next().is_none());
}

/// The policy was put back a moment ago; then the whole role goes.
#[test]
fn what_is_made_anew_gets_all_that_belongs_to_it() {
    let desired = desired();
    let (id, wanted) = desired.wanted().next().unwrap();
    let without = |role: Option<ObservedRole>| {
        let mut observed = perfect(&desired);
        observed.roles.insert(wanted.role.name.clone(), Seen::Known(role));
        observed
    };
    let bare = ObservedRole { permissions: Seen::Known(None), ..perfect_role(wanted) };
    let put_back = plan(&desired, &without(Some(bare)), &Prior::default());
    assert_eq!(put_back.steps.len(), 1);
    let seen = plan(&desired, &perfect(&desired), &all_made(&put_back, 0));
    let verified = BTreeMap::from([(Subject::Role(id.clone()), wanted.role.fingerprint())]);
    let gone = plan(&desired, &without(None), &Prior { settling: seen.settling, verified, ..Prior::default() });
    let names: Vec<&str> = gone.steps.iter().map(|step| step.change.name()).collect();
    assert_eq!(names, ["CreateRole", "PutInlinePolicy"]);
    assert_eq!(gone.drift().count(), 2);
}
