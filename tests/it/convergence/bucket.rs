//! The issuer's bucket, where S3 says something other than yes and no.

use std::time::Duration;

use rolecall::controller::outcome::Outcome;
use rolecall::observed::FaultClass;
use serde_json::json;
use tokio::time::sleep;

use super::life::Life;
use super::operator::Ended;
use super::seeds::in_paused_time;
use super::wishes::{BUCKET, MARK, REGION, first, inventory, role_of, spec};
use crate::model::{ACCOUNT, Cut, Model, Rule, Trouble, Visible};

const STRANGER: &str = "999999999999";

/// Makes a pass, and keeps its status.
async fn pass(life: &mut Life, deleted: bool) -> Ended {
    let ended = life.pass(deleted).await.expect("alive");
    life.stored.status = ended.status.clone();
    ended
}

/// A region says so in three ways, and says it to anyone.
#[test]
fn a_bucket_of_another_region_is_named_and_holds_no_deletion() {
    for (asked, region, owner) in [
        (REGION, "us-west-2", ACCOUNT),
        (REGION, "us-west-2", STRANGER),
        (REGION, "me-south-1", STRANGER),
        ("us-east-1", REGION, ACCOUNT),
    ] {
        in_paused_time(async {
            let model = Model::new(1);
            model.add_account(STRANGER);
            model.put_bucket(owner, region, BUCKET, Visible::AtOnce);
            let before = inventory(&model);
            let mut wish = first();
            wish.spec = spec(&json!({"region": asked}));
            let mut life = Life::new(&model, wish);
            life.until(&Outcome::Blocked("IssuerMismatch"), false).await.expect("nothing is made for another issuer");
            assert!(model.role(ACCOUNT, &role_of("alpha")).is_none());
            let told = pass(&mut life, false).await.told.join("\n");
            let words = format!("bucket {BUCKET} cannot be looked at");
            assert!(told.contains(&words) && told.contains("it lies in another region than spec.region"), "{told}");
            life.until_gone(&before).await.expect("nothing holds the deletion");
        });
    }
}

/// What we had there is not left behind in silence.
#[test]
fn a_bucket_that_was_ours_holds_the_deletion_wherever_it_is() {
    in_paused_time(async {
        let model = Model::new(1);
        let mut life = Life::new(&model, first());
        life.until(&Outcome::Verified, false).await.expect("verified");
        model.alter_bucket(BUCKET, Visible::AtOnce, |bucket| "us-west-2".clone_into(&mut bucket.region));
        life.until(&Outcome::Failed(FaultClass::Elsewhere), true).await.expect("held");
        let told = pass(&mut life, true).await.told.join("\n");
        assert!(told.contains("s3:GetBucketTagging on bucket prod-eu-oidc was sent to the wrong region"), "{told}");
        model.alter_bucket(BUCKET, Visible::AtOnce, |bucket| REGION.clone_into(&mut bucket.region));
        life.until(&Outcome::LetGo, true).await.expect("gone");
        assert!(model.bucket(BUCKET).is_none());
    });
}

/// A crash between making and tagging the bucket leaves one that has to be listed, to know that nothing is in it.
#[test]
fn a_bucket_that_cannot_be_listed_just_now_is_nobody_elses() {
    for (trouble, class) in [
        (Trouble::Throttle, FaultClass::Throttled),
        (Trouble::ServerError, FaultClass::Server),
        (Trouble::LoseAnswer, FaultClass::Network),
    ] {
        in_paused_time(async {
            let model = Model::new(1);
            let mut life = Life::new(&model, first());
            model.cut_after(Cut { after: 1, writes_only: true, takes_effect: true });
            assert!(life.pass(false).await.is_none() && model.bucket(BUCKET).is_some(), "it died after CreateBucket");
            life.restart();
            sleep(Duration::from_mins(1)).await;
            model.add_rule(Rule::always("s3:ListObjectsV2", trouble));
            let ended = pass(&mut life, false).await;
            assert_eq!(ended.outcome, Outcome::Failed(class), "{:?}", ended.told);
            let told = ended.told.join("\n");
            assert!(!told.contains("not ours") && told.contains("s3:ListBucket on bucket prod-eu-oidc"), "{told}");
            model.clear_rules();
            life.until(&Outcome::Verified, false).await.expect("finished");
        });
    }
    in_paused_time(async {
        let model = Model::new(1);
        model.put_bucket(ACCOUNT, REGION, BUCKET, Visible::AtOnce);
        model.add_rule(Rule::always("s3:ListObjectsV2", Trouble::Deny));
        let mut life = Life::new(&model, first());
        life.until(&Outcome::Blocked("Blocked"), false).await.expect("one that may not be listed is not taken over");
        assert!(model.bucket(BUCKET).expect("the bucket").tags.is_none());
    });
}

/// Whatever a stranger puts before them: `+` sorts before `.`, `a` between our two.
#[test]
fn no_number_of_strangers_keys_keeps_our_documents_published() {
    in_paused_time(async {
        let model = Model::new(1);
        let mut life = Life::new(&model, first());
        life.until(&Outcome::Verified, false).await.expect("verified");
        for key in ["+1", "+2", "+3", "+4", "+5", "a1", "keys.json.bak", ".well-known/openid-configuration.bak"] {
            model.put_object(BUCKET, key, "theirs", "text/plain", Visible::AtOnce);
        }
        sleep(Duration::from_mins(1)).await;
        life.until(&Outcome::Blocked("Blocked"), true).await.expect("held by what is left");
        assert_eq!(model.objects(BUCKET).len(), 8, "{:?}", model.objects(BUCKET).keys());
        assert!(model.object(BUCKET, "keys.json").is_none());
        assert!(model.object(BUCKET, ".well-known/openid-configuration").is_none());
        // It waits: nothing is deleted again and again, and looking costs two calls more at most.
        model.reset_counts();
        assert_eq!(pass(&mut life, true).await.outcome, Outcome::Blocked("Blocked"));
        assert_eq!((model.counts().writes, model.counts().of("s3:ListObjectsV2")), (0, 3));
        assert!(model.bucket(BUCKET).expect("the bucket").tags.as_ref().is_some_and(|tags| tags.contains_key(MARK)));
    });
}

/// An account that blocks public policies is no missing permission, and is done with once the block is lifted.
#[test]
fn a_block_of_public_policies_is_called_what_it_is() {
    in_paused_time(async {
        let model = Model::new(1);
        model.block_public_policies(ACCOUNT, true);
        let mut life = Life::new(&model, first());
        let blocked = Outcome::Failed(FaultClass::PublicAccessBlocked);
        life.until(&blocked, false).await.expect("blocked");
        let ended = pass(&mut life, false).await;
        assert_eq!((&ended.outcome, ended.outcome.is_stalled()), (&blocked, false));
        let told = ended.told.join("\n");
        for words in
            ["s3:PutBucketPolicy on bucket prod-eu-oidc was prevented by S3 Block Public Access", "the account"]
        {
            assert!(told.contains(words), "{told}");
        }
        model.block_public_policies(ACCOUNT, false);
        life.until(&Outcome::Verified, false).await.expect("verified");
    });
}
