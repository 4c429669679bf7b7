//! When roles were used and made.

use std::time::{Duration, SystemTime};

use aws_sdk_iam::primitives::DateTime;
use aws_sdk_iam::types::EntityType;
use tokio::time::advance;

use super::{ACCOUNT, REGION, TRUST, Visible, create, model_and_iam, outcome};

const HOUR: Duration = Duration::from_hours(1);

fn second(date: SystemTime) -> i64 {
    DateTime::from(date).secs()
}

/// `RoleLastUsed` of a role, the same from both calls that have it.
async fn last_used(iam: &aws_sdk_iam::Client, name: &str) -> Option<(i64, String)> {
    let role = iam.get_role().role_name(name).send().await.expect("GetRole").role.expect("a role");
    let details = iam.get_account_authorization_details().filter(EntityType::Role).send().await.expect("details");
    let detail = details.role_detail_list().iter().find(|role| role.role_name() == Some(name)).expect("the role");
    assert_eq!(role.role_last_used, detail.role_last_used);
    let last = role.role_last_used.expect("RoleLastUsed is there, if empty");
    Some((last.last_used_date?.secs(), last.region?))
}

#[tokio::test(start_paused = true)]
async fn a_role_shows_when_it_was_last_used() {
    let (model, iam) = model_and_iam();
    create(&iam, "app").await;
    assert_eq!(last_used(&iam, "app").await, None, "never used");
    advance(HOUR).await;
    let first = model.today();
    model.role_used(ACCOUNT, "app", first, REGION);
    assert_eq!(last_used(&iam, "app").await, Some((second(first), REGION.to_owned())));
    model.role_used(ACCOUNT, "app", first - HOUR, "us-east-1");
    assert_eq!(last_used(&iam, "app").await, Some((second(first), REGION.to_owned())), "the last is the latest");
    let listed = iam.list_roles().send().await.expect("ListRoles").roles;
    assert_eq!(listed[0].role_last_used, None, "ListRoles does not say");

    advance(HOUR * 24 * 400).await;
    assert!(last_used(&iam, "app").await.is_some());
    advance(HOUR).await;
    assert_eq!(last_used(&iam, "app").await, None, "forgotten after 400 days");

    model.role_used(ACCOUNT, "app", model.today(), REGION);
    assert!(last_used(&iam, "app").await.is_some());
    assert_eq!(outcome(iam.delete_role().role_name("app").send().await), "ok");
    create(&iam, "app").await;
    assert_eq!(last_used(&iam, "app").await, None, "another role of that name");
}

#[tokio::test(start_paused = true)]
async fn a_use_can_show_hours_later() {
    let (model, iam) = model_and_iam();
    model.set_options(|options| options.last_used_delay = HOUR * 4);
    model.put_role(ACCOUNT, "app", TRUST, Visible::AtOnce);
    let used = model.today();
    model.role_used(ACCOUNT, "app", used, REGION);
    advance(HOUR * 3).await;
    assert_eq!((last_used(&iam, "app").await, model.role_last_used(ACCOUNT, "app")), (None, None));
    let again = model.today();
    model.role_used(ACCOUNT, "app", again, "us-east-1");
    advance(HOUR).await;
    assert_eq!(last_used(&iam, "app").await, Some((second(used), REGION.to_owned())), "the later one is not known yet");
    advance(HOUR * 3).await;
    assert_eq!(last_used(&iam, "app").await, Some((second(again), "us-east-1".to_owned())));
    assert_eq!(model.role_last_used(ACCOUNT, "app").map(|used| used.when), Some(again));
}

#[tokio::test(start_paused = true)]
async fn dates_of_creation_are_of_the_clock_or_of_the_test() {
    let (model, iam) = model_and_iam();
    advance(HOUR * 1000).await;
    let now = second(model.today());
    create(&iam, "app").await;
    let made = async || {
        let role = iam.get_role().role_name("app").send().await.expect("GetRole").role.expect("a role");
        assert_eq!(iam.list_roles().send().await.expect("ListRoles").roles[0].create_date, role.create_date);
        (role.create_date.secs(), role.role_id)
    };
    let (date, id) = made().await;
    assert!(date == now && id.starts_with("AROA"), "{date} {id}");
    let yesterday = model.today() - HOUR * 24;
    assert!(model.role_created(ACCOUNT, "app", yesterday) && !model.role_created(ACCOUNT, "nobody", yesterday));
    assert_eq!(made().await, (second(yesterday), id.clone()));
    assert_eq!(outcome(iam.delete_role().role_name("app").send().await), "ok");
    advance(HOUR).await;
    create(&iam, "app").await;
    let again = made().await;
    assert!(again.0 == second(model.today()) && again.1 != id, "a role made anew: {again:?}");

    let arn = model.put_provider(ACCOUNT, "issuer.example.com", &["a"], Visible::AtOnce);
    let listed = iam.list_open_id_connect_providers().send().await.expect("ListOpenIDConnectProviders");
    assert_eq!(listed.open_id_connect_provider_list()[0].arn(), Some(arn.as_str()));
    let made = async || {
        let get = iam.get_open_id_connect_provider().open_id_connect_provider_arn(&arn);
        get.send().await.expect("GetOpenIDConnectProvider").create_date.expect("CreateDate").secs()
    };
    assert_eq!(made().await, second(model.today()));
    assert!(model.provider_created(ACCOUNT, &arn, yesterday));
    assert_eq!(made().await, second(yesterday));
}
