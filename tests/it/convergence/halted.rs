//! A process that is halted while it makes a call, and goes on when another may lead.

use std::time::Duration;

use rolecall::aws::meter::Meter;
use rolecall::aws::pulse::Pulse;
use rolecall::aws::{Access, Connection};
use rolecall::observed::FaultClass;
use serde_json::json;
use tokio::time::{advance, sleep};

use super::seeds::in_paused_time;
use super::wishes::{REGION, spec};
use crate::model::{ACCOUNT, Model};

const READ: &str = "iam:ListRoles";

#[test]
fn nothing_is_sent_by_who_slept_until_it_is_seen_to_be_awake() {
    in_paused_time(async {
        let (model, pulse) = (Model::new(1), Pulse::default());
        let aws = Connection::with(&model.sdk_config(ACCOUNT, REGION), Meter::default()).with_pulse(pulse.clone());
        let session = aws.open(&Access::of(&spec(&json!({})))).await.expect("a session");
        let read = || session.account.read(READ, "the roles", || session.clients.iam.list_roles().send());
        let sent = || model.counts().of(READ);
        read().await.expect("before the first beat there is nothing to sleep through");

        assert_eq!(pulse.beat(), Duration::ZERO);
        advance(Duration::from_secs(20)).await;
        let fault = read().await.expect_err("nobody is seen to be awake");
        assert_eq!((fault.class, sent()), (FaultClass::Network, 1), "{fault}");
        assert!(fault.message.contains("halted for 2") && fault.message.contains("was not sent"), "{fault}");

        // The first attempt is held back, the next one is not.
        let awake = async {
            sleep(Duration::from_millis(100)).await;
            pulse.beat()
        };
        let (answer, slept) = tokio::join!(read(), awake);
        answer.expect("it is awake");
        assert!(slept >= Duration::from_secs(20), "{slept:?}");
        assert_eq!(sent(), 2);
    });
}
