//! An identity that verified anything never acts in another account; one that made nothing may be put right.

use super::*;
use crate::accounts::{Accounts, Tenant, aws_of};
use crate::model::{Rule, Trouble};

const HERE: Tenant = Tenant { account: "121111111111", cluster: "harm-here", external_id: "the-id-of-here" };
const THERE: Tenant = Tenant { account: "122222222222", cluster: "harm-here", external_id: "the-id-of-there" };

fn object(accounts: &Accounts, tenant: Tenant) -> Value {
    accounts.scene.cluster.get_json(&["cid", tenant.cluster, "-n", &accounts.scene.name])
}

/// `spec.aws` of a cluster that runs is changed to another account, by name and by role.
#[test]
fn changed_account_leaves_roles_and_secrets_where_they_are() {
    let mut accounts = Accounts::new("harm-moved", &[HERE, THERE]);
    accounts.apply(HERE, &aws_of(HERE, HERE.external_id), "");
    accounts.start();
    accounts.await_ready(HERE);
    let before = credentials(&accounts.scene, "harm-here-a-creds");
    assert!(before.contains(HERE.account), "{before}");

    let (roles, writes) = (HERE.roles(&accounts.model), accounts.model.counts().writes);
    accounts.apply(THERE, &aws_of(THERE, THERE.external_id), "");
    let unharmed = |accounts: &Accounts| {
        assert_eq!(THERE.roles(&accounts.model), [""; 0], "roles are made where no issuer is");
        assert_eq!(credentials(&accounts.scene, "harm-here-a-creds"), before, "the Secret is pointed elsewhere");
    };
    let message = eventually(SOON, "Ready=False, WrongAccount", || {
        unharmed(&accounts);
        not_ready(&object(&accounts, HERE), "WrongAccount")
    });
    assert!(message.contains(HERE.account) && message.contains(THERE.account), "{message}");
    accounts.scene.await_passes(3.0);
    unharmed(&accounts);
    assert_eq!((HERE.roles(&accounts.model), accounts.model.counts().writes), (roles, writes));

    accounts.apply(HERE, &aws_of(HERE, HERE.external_id), "");
    accounts.await_ready(HERE);
}

const WRONG: Tenant = Tenant { account: "123333333333", cluster: "harm-first", external_id: "the-id-of-wrong" };
const RIGHT: Tenant = Tenant { account: "124444444444", cluster: "harm-first", external_id: "the-id-of-right" };

fn unnamed(tenant: Tenant) -> String {
    format!("{{assumeRoleARN: \"{}\", externalID: \"{}\"}}", tenant.role_arn(), tenant.external_id)
}

/// The first credentials were of a wrong account, where every call was denied: nothing was made, so nothing ties it there.
#[test]
fn account_corrected_before_anything_was_made_is_followed() {
    let mut accounts = Accounts::new("harm-corrected", &[WRONG, RIGHT]);
    accounts.model.add_rule(Rule::always("iam:*", Trouble::Deny));
    accounts.model.add_rule(Rule::always("s3:*", Trouble::Deny));
    accounts.apply(WRONG, &unnamed(WRONG), "");
    accounts.start();
    accounts.await_condition(WRONG, "OperatorPermissionsSufficient", "False");
    accounts.scene.await_passes(2.0);
    assert_eq!(accounts.model.buckets().len(), 0, "nothing was made");
    accounts.apply(RIGHT, &unnamed(RIGHT), "");
    accounts.scene.await_passes(2.0);
    accounts.model.clear_rules();
    eventually(SOON, "the right account to be served", || {
        let object = object(&accounts, RIGHT);
        assert_ne!(said(&object, "Ready", "reason"), "WrongAccount", "{}", said(&object, "Ready", "message"));
        condition_is(&object, "Ready", "True").map(drop)
    });
    accounts.await_ready(RIGHT);
    assert!(WRONG.roles(&accounts.model).is_empty());
}

/// Under `Observe` nothing is made, either.
#[test]
fn account_corrected_while_observing_is_followed() {
    let mut accounts = Accounts::new("harm-observed", &[WRONG, RIGHT]);
    accounts.apply(WRONG, &unnamed(WRONG), "  managementPolicy: Observe\n");
    accounts.start();
    accounts.await_condition(WRONG, "Ready", "False");
    accounts.scene.await_passes(2.0);
    assert_eq!(accounts.model.counts().writes, 0);
    accounts.apply(RIGHT, &unnamed(RIGHT), "");
    eventually(SOON, "the right account to be served", || {
        let object = object(&accounts, RIGHT);
        assert_ne!(said(&object, "Ready", "reason"), "WrongAccount", "{}", said(&object, "Ready", "message"));
        condition_is(&object, "Ready", "True").map(drop)
    });
    accounts.await_ready(RIGHT);
}
