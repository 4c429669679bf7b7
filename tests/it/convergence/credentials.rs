//! Credentials of assumed roles: kept as long as they are good, and STS's bad hours are no lack of them.

use std::collections::BTreeMap;
use std::time::Duration;

use rolecall::aws::meter::Meter;
use rolecall::aws::{Access, Connection};
use rolecall::observed::{Fault, FaultClass};
use serde_json::json;
use tokio::time::sleep;

use super::seeds::in_paused_time;
use super::wishes::{REGION, spec};
use crate::model::{ACCOUNT, Model, Rule, Trouble, Visible};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"sts:AssumeRole"}]}"#;

/// A role to assume, and the way into its account.
fn access(model: &Model, name: &str) -> Access {
    let arn = model.put_role(ACCOUNT, name, TRUST, Visible::AtOnce);
    Access::of(&spec(&json!({"aws": {"assumeRoleARN": arn}})))
}

fn connection(model: &Model) -> Connection {
    Connection::with(&model.sdk_config(ACCOUNT, REGION), Meter::default())
}

/// The SDK keeps 64 identities, and throws out any when there is one more.
#[test]
fn a_hundred_roles_are_assumed_once_each() {
    in_paused_time(async {
        let model = Model::new(1);
        let aws = connection(&model);
        let mut sessions = BTreeMap::new();
        for n in 0..100 {
            let name = format!("rolecall-{n}");
            let session = aws.open(&access(&model, &name)).await.expect("a session");
            sessions.insert(name, session);
        }
        for (name, session) in &sessions {
            session.clients.iam.get_role().role_name(name).send().await.expect("the role");
        }
        assert_eq!(model.counts().of("sts:AssumeRole"), 100);
    });
}

/// Each try at an account that does not answer uses the credentials of the one before.
#[test]
fn a_role_is_not_assumed_again_for_every_try() {
    in_paused_time(async {
        let model = Model::new(1);
        let (aws, access) = (connection(&model), access(&model, "rolecall"));
        model.add_rule(Rule::always("sts:GetCallerIdentity", Trouble::ServerError));
        for _ in 0..5 {
            let fault = aws.open(&access).await.expect_err("no answer");
            assert_eq!((fault.class, fault.action.as_str()), (FaultClass::Server, "sts:GetCallerIdentity"));
        }
        model.clear_rules();
        aws.open(&access).await.expect("a session");
        assert_eq!(model.counts().of("sts:AssumeRole"), 1);
    });
}

async fn refused(model: &Model, trouble: Trouble) -> Fault {
    let access = access(model, "rolecall");
    model.add_rule(Rule::always("sts:AssumeRole", trouble));
    connection(model).open(&access).await.expect_err("no session")
}

#[test]
fn a_throttled_sts_is_asked_again_and_called_throttled() {
    in_paused_time(async {
        let model = Model::new(1);
        let access = access(&model, "rolecall");
        model.add_rule(Rule::times("sts:AssumeRole", 2, Trouble::Throttle));
        connection(&model).open(&access).await.expect("the third attempt");
        assert_eq!(model.counts().of("sts:AssumeRole"), 3);

        let fault = refused(&model, Trouble::Throttle).await;
        assert_eq!(fault.class, FaultClass::Throttled);
        let wanted =
            "sts:AssumeRole on arn:aws:iam::123456789012:role/rolecall (spec.aws) was throttled; it is tried again";
        assert!(fault.to_string().starts_with(wanted), "{fault}");
        assert_eq!(model.counts().of("sts:AssumeRole"), 6);
    });
}

#[test]
fn what_sts_cannot_do_just_now_is_no_lack_of_credentials() {
    let denied = || Trouble::Refuse { status: 403, code: "AccessDenied", message: "not authorized" };
    for (trouble, class) in [
        (Trouble::ServerError, FaultClass::Server),
        (Trouble::LoseAnswer, FaultClass::Network),
        (Trouble::Delay(Duration::from_hours(1)), FaultClass::Network),
        (denied(), FaultClass::Denied),
        (
            Trouble::Refuse { status: 403, code: "ExpiredToken", message: "the security token is expired" },
            FaultClass::Credentials,
        ),
    ] {
        in_paused_time(async {
            let model = Model::new(1);
            let fault = refused(&model, trouble).await;
            assert_eq!(fault.class, class, "{fault}");
        });
    }
}

/// The session had been opened, and its credentials ended: so says every call, of IAM and of S3.
#[test]
fn a_renewal_that_fails_says_that_sts_has_failed() {
    for (trouble, class) in [
        (Trouble::Throttle, FaultClass::Throttled),
        (Trouble::ServerError, FaultClass::Server),
        (Trouble::Deny, FaultClass::Credentials),
    ] {
        in_paused_time(async {
            let model = Model::new(1);
            let access = access(&model, "rolecall");
            let session = connection(&model).open(&access).await.expect("a session");
            sleep(Duration::from_hours(1)).await;
            model.add_rule(Rule::always("sts:AssumeRole", trouble));
            let call = session.clients.iam.get_role().role_name("rolecall");
            let read = session.account.read("iam:GetRole", "role rolecall", || call.clone().send());
            let fault = read.await.expect_err("no credentials");
            assert_eq!((fault.class, fault.action.as_str()), (class, "sts:AssumeRole"), "{fault}");
        });
    }
}
