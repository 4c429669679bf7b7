//! What stands in the way and is someone else's stays as it is, whether or not reads show it, and the rest is done.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rolecall::controller::outcome::Outcome;
use serde_json::json;
use tokio::time::sleep;

use super::life::{LAGGING, Life};
use super::seeds::{Case, Dice, for_each_seed};
use super::wishes::{BUCKET, INFRA, REGION, first, inventory, issuer_host, put_foreign, role_of, spec};
use crate::model::{ACCOUNT, Model, Rule, Trouble, Visible};

const ELSEWHERE: &str = "999999999999";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// What is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum InTheWay {
    Role,
    RoleOfOtherCase,
    Provider,
    BucketWithOthers,
    BucketOfOtherAccount,
    BucketOfOtherRegion,
}

const ALL: [InTheWay; 6] = [
    InTheWay::Role,
    InTheWay::RoleOfOtherCase,
    InTheWay::Provider,
    InTheWay::BucketWithOthers,
    InTheWay::BucketOfOtherAccount,
    InTheWay::BucketOfOtherRegion,
];

impl InTheWay {
    fn put(self, model: &Model, visible: Visible) {
        match self {
            Self::Role => drop(model.put_role(ACCOUNT, &role_of("beta"), TRUST, visible)),
            Self::RoleOfOtherCase => drop(model.put_role(ACCOUNT, &role_of("beta").to_uppercase(), TRUST, visible)),
            Self::Provider => drop(model.put_provider(ACCOUNT, &issuer_host(), &["theirs"], visible)),
            Self::BucketWithOthers => {
                model.put_bucket(ACCOUNT, REGION, BUCKET, visible);
                model.put_object(BUCKET, "theirs.txt", "private", "text/plain", Visible::AtOnce);
            }
            Self::BucketOfOtherAccount => {
                model.add_account(ELSEWHERE);
                model.put_bucket(ELSEWHERE, REGION, BUCKET, visible);
            }
            Self::BucketOfOtherRegion => model.put_bucket(ACCOUNT, "us-west-2", BUCKET, visible),
        }
    }

    /// The reason that is told: where the bucket cannot be looked at, or is elsewhere, nothing tells which issuer is in force.
    fn reason(self) -> &'static str {
        match self {
            Self::BucketOfOtherAccount => "IssuerUnknown",
            Self::BucketOfOtherRegion => "IssuerMismatch",
            _ => "Blocked",
        }
    }

    /// Whether a line of the inventory, or a part of it, is not made because of it.
    fn keeps_away(self, line: &str) -> bool {
        match self {
            Self::Role | Self::RoleOfOtherCase => line.contains(&role_of("beta")),
            Self::Provider => line.contains("oidc-provider/prod-eu-oidc") && line.contains(" provider "),
            Self::BucketOfOtherAccount | Self::BucketOfOtherRegion
                if line.contains(" role ") && line.contains(":role/prod-eu-openshift-") =>
            {
                true
            }
            Self::BucketWithOthers | Self::BucketOfOtherAccount | Self::BucketOfOtherRegion => {
                line.contains(" provider arn:aws:iam::123456789012:oidc-provider/prod-eu-oidc")
                    || line.contains(&format!(" bucket {BUCKET} "))
                    || line.starts_with(&format!("object {BUCKET}/"))
            }
        }
    }
}

#[test]
fn what_is_in_the_way_and_not_ours_stays_as_it_is_and_the_rest_is_done() {
    let calm = super::life::Calm::live().first;
    let met = Mutex::default();
    if for_each_seed(60, |seed| around_it(seed, &calm, &met)) {
        let met = met.into_inner().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(met, BTreeSet::from(ALL), "everything was in the way of someone");
    }
}

async fn around_it(seed: u64, calm: &[String], met: &Mutex<BTreeSet<InTheWay>>) -> Case {
    let mut dice = Dice::of(seed);
    let Some(&obstacle) = dice.one_of(&ALL) else { return Err("nothing is in the way".to_owned()) };
    met.lock().unwrap_or_else(PoisonError::into_inner).insert(obstacle);
    let model = Model::new(seed);
    put_foreign(&model);
    if dice.percent(70) {
        for pattern in LAGGING {
            model.stale_reads(pattern, dice.time(Duration::from_secs(25)));
        }
    }
    // Before the first pass, but not for all reads.
    obstacle.put(&model, if dice.percent(50) { Visible::Eventually } else { Visible::AtOnce });
    let before = inventory(&model);
    model.add_rule(Rule::always("*", Trouble::Delay(Duration::from_millis(60))));
    model.add_rule(Rule::sometimes("*", 0.1, Trouble::LoseAnswer));
    model.add_rule(Rule::sometimes("*", 0.1, Trouble::Throttle));
    let mut life = Life::new(&model, first());
    life.note(&format!("{obstacle:?} in the way"));
    for _ in 0..8 {
        let Some(ended) = life.pass(false).await else { return life.wrong("it died") };
        life.stored.status = ended.status;
        sleep(ended.delay).await;
    }
    model.clear_rules();
    life.until(&Outcome::Blocked(obstacle.reason()), false).await?;
    let mut wanted: Vec<String> = calm.iter().filter(|line| !obstacle.keeps_away(line)).cloned().collect();
    wanted.extend(before.iter().filter(|line| !calm.contains(line)).cloned());
    let mut found = inventory(&model);
    // Until the bucket was seen, roles may have been made.
    if obstacle.reason() != "Blocked" {
        found.retain(|line| before.contains(line) || !obstacle.keeps_away(line));
    }
    wanted.sort();
    found.sort();
    if found != wanted {
        return life.wrong(format!("{:#?}", super::wishes::differences(&wanted, &found)));
    }
    life.note("deleted");
    life.until_gone(&before).await
}

/// In us-east-1, S3 says yes to who creates a bucket of its own again.
#[test]
fn a_bucket_that_is_not_seen_yet_is_not_taken_over_where_creating_it_again_succeeds() {
    for_each_seed(1, |_| async {
        let model = Model::new(1);
        for pattern in LAGGING {
            model.stale_reads(pattern, Duration::from_secs(20));
        }
        model.put_bucket(ACCOUNT, "us-east-1", BUCKET, Visible::Eventually);
        model.put_object(BUCKET, "theirs.txt", "private", "text/plain", Visible::AtOnce);
        let before = format!("{:?}", model.bucket(BUCKET));
        let mut wish = first();
        wish.spec = spec(&json!({"region": "us-east-1"}));
        assert_eq!(wish.spec.infra_name, INFRA);
        let mut life = Life::new(&model, wish);
        for _ in 0..8 {
            let Some(ended) = life.pass(false).await else { return life.wrong("it died") };
            life.stored.status = ended.status;
            sleep(ended.delay).await;
        }
        let after = format!("{:?}", model.bucket(BUCKET));
        if before == after { Ok(()) } else { life.wrong(format_args!("{before} became {after}")) }
    });
}
