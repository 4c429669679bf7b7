//! What a pass costs, in calls: counted, not measured.

use std::time::Duration;

use rolecall::aws::granted::granted_roles;
use rolecall::aws::meter::Meter;
use rolecall::aws::snapshot::Freshness;
use rolecall::aws::{Access, Connection};
use rolecall::controller::outcome::Outcome;
use tokio::time::sleep;

use super::life::Life;
use super::operator::Operator;
use super::seeds::in_paused_time;
use super::wishes::{INFRA, REGION, first, many, request, role_of};
use crate::model::{ACCOUNT, Counts, Model, Rule, Trouble, Visible};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

const POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}"#;

/// The issuer's own writes: bucket, tags, block, policy, two documents, provider.
const OF_ISSUER: u64 = 7;
/// What reading the issuer takes once it is there: tags, block and policy of the bucket, the provider.
const READS_OF_ISSUER: u64 = 4;

/// A model with an account that allows for that many roles.
fn large_model() -> Model {
    let model = Model::new(1);
    model.set_quotas(ACCOUNT, |quotas| quotas.roles = 10_000);
    model
}

fn put_foreign_roles(model: &Model, count: usize) {
    for n in 0..count {
        model.put_role(ACCOUNT, &format!("theirs-{n:05}"), TRUST, Visible::AtOnce);
    }
}

/// The calls of one pass. The two anonymous reads of the documents are no calls with credentials, and are not counted.
async fn calls_of_a_pass(life: &mut Life) -> Counts {
    // A snapshot of this very moment would do for the next pass as well.
    sleep(Duration::from_secs(1)).await;
    life.model.reset_counts();
    let ended = life.pass(false).await.expect("alive");
    let remembered = life.stored.status.identity().verified.len();
    life.stored.status = ended.status;
    let mut counts = life.model.counts();
    if remembered > 0 {
        assert_eq!(counts.of("s3:GetObject"), 2, "only the anonymous ones");
        counts.reads -= 2;
    }
    counts
}

async fn until_verified(life: &mut Life) {
    life.until(&Outcome::Verified, false).await.expect("verified");
}

#[test]
fn three_requests_with_their_issuer_cost_seventeen_calls_and_nothing_once_they_are_there() {
    in_paused_time(async {
        let mut life = Life::new(&Model::new(1), first());
        let counts = calls_of_a_pass(&mut life).await;
        assert_eq!(counts.of("sts:GetCallerIdentity"), 1);
        assert_eq!(counts.writes, OF_ISSUER + 2 * 3);
        // One of them looks for other providers of the cluster, at first contact.
        assert_eq!(counts.of("iam:ListOpenIDConnectProviders"), 1);
        assert!(counts.total() - 1 <= 17, "{counts:?}");
        until_verified(&mut life).await;

        // By a process that knows the account, and by a new one.
        let again = calls_of_a_pass(&mut life).await;
        assert_eq!((again.reads, again.writes), (READS_OF_ISSUER + 2, 0), "{again:?}");
        life.operator = Operator::start(&life.model);
        let anew = calls_of_a_pass(&mut life).await;
        assert_eq!((anew.reads, anew.writes), (READS_OF_ISSUER + 2 + 1, 0), "{anew:?}");
        assert_eq!(anew.of("sts:GetCallerIdentity"), 1);
    });
}

#[test]
fn a_thousand_roles_are_read_in_two_calls_and_each_new_one_takes_two() {
    in_paused_time(async {
        let model = large_model();
        let mut life = Life::new(&model, many(INFRA, 1_000));
        let made = calls_of_a_pass(&mut life).await;
        assert_eq!(made.writes, OF_ISSUER + 2 * 1_000, "{made:?}");
        until_verified(&mut life).await;

        let looked = calls_of_a_pass(&mut life).await;
        assert_eq!((looked.reads, looked.writes), (READS_OF_ISSUER + 2, 0), "{looked:?}");
        assert_eq!(looked.of("iam:*"), 3, "two listings and the provider");

        // A sweep, once everything surely shows what was made.
        until_quiet(&mut life).await;
        let swept = calls_of_a_pass(&mut life).await;
        assert_eq!((swept.reads, swept.writes), (READS_OF_ISSUER + 1, 0), "{swept:?}");
        assert_eq!((swept.of("iam:ListRoles"), swept.of("iam:GetAccountAuthorizationDetails")), (0, 1));
        life.operator.due = false;

        life.stored.wish.requests.push(request("one-more", &["worker"]));
        let grown = calls_of_a_pass(&mut life).await;
        assert_eq!(grown.writes, 2);
        assert_eq!((grown.of("iam:CreateRole"), grown.of("iam:PutRolePolicy")), (1, 1));
    });
}

/// Passes are due from now on, and the last one has read all that a sweep need not read again.
async fn until_quiet(life: &mut Life) {
    life.operator.due = true;
    sleep(Duration::from_mins(11)).await;
    life.stored.status = life.pass(false).await.expect("alive").status;
    sleep(Duration::from_mins(5)).await;
}

#[test]
fn what_a_sweep_takes_from_an_earlier_listing_is_looked_at_in_time() {
    in_paused_time(async {
        let model = Model::new(1);
        let mut life = Life::new(&model, first());
        until_verified(&mut life).await;
        until_quiet(&mut life).await;
        let alpha = role_of("alpha");
        model.alter_role(ACCOUNT, &alpha, Visible::AtOnce, |role| role.description = Some("mine now".to_owned()));
        let mut sweeps = 0;
        let healed = loop {
            sweeps += 1;
            let counts = calls_of_a_pass(&mut life).await;
            if counts.writes > 0 {
                break counts;
            }
            sleep(life.stored.wish.spec.drift_interval.0).await;
        };
        assert!((5..=11).contains(&sweeps), "{sweeps}");
        assert_eq!((healed.of("iam:ListRoles"), healed.of("iam:UpdateRole"), healed.writes), (1, 1, 1));

        // Whoever asks for a look gets a whole one.
        until_quiet(&mut life).await;
        model.alter_role(ACCOUNT, &alpha, Visible::AtOnce, |role| role.max_session_seconds = 7_200);
        life.operator.due = false;
        assert_eq!(calls_of_a_pass(&mut life).await.of("iam:UpdateRole"), 1);

        // A role that was made anew is not taken for the one before.
        until_quiet(&mut life).await;
        model.delete_role(ACCOUNT, &role_of("beta"), Visible::AtOnce);
        model.put_role(ACCOUNT, &role_of("beta"), TRUST, Visible::AtOnce);
        let swept = calls_of_a_pass(&mut life).await;
        assert_eq!(swept.of("iam:ListRoles"), 1, "{swept:?}");
    });
}

#[test]
fn three_thousand_roles_of_others_cost_their_pages() {
    in_paused_time(async {
        let model = large_model();
        put_foreign_roles(&model, 3_000);
        let mut life = Life::new(&model, first());
        until_verified(&mut life).await;
        let swept = calls_of_a_pass(&mut life).await;
        assert_eq!((swept.of("iam:ListRoles"), swept.of("iam:GetAccountAuthorizationDetails")), (4, 4));
        assert_eq!((swept.reads, swept.writes), (READS_OF_ISSUER + 4 + 4, 0), "{swept:?}");
        until_quiet(&mut life).await;
        let swept = calls_of_a_pass(&mut life).await;
        assert_eq!((swept.reads, swept.writes), (READS_OF_ISSUER + 4, 0), "{swept:?}");
    });
}

#[test]
fn a_role_among_thousands_of_others_is_read_by_itself() {
    in_paused_time(async {
        let model = large_model();
        put_foreign_roles(&model, 3_000);
        let mut life = Life::new(&model, many(INFRA, 1));
        until_verified(&mut life).await;
        let swept = calls_of_a_pass(&mut life).await;
        assert_eq!((swept.of("iam:ListRoles"), swept.of("iam:GetAccountAuthorizationDetails")), (4, 0));
        assert_eq!((swept.of("iam:GetRole"), swept.of("iam:GetRolePolicy")), (1, 1));
        assert!(model.role(ACCOUNT, &role_of("c0000")).is_some());
    });
}

/// IAM may return fewer policies than a page holds although there are more, and the last one may deny.
#[test]
fn all_policies_of_a_role_are_read_whatever_the_pages() {
    in_paused_time(async {
        let model = Model::new(1);
        let role = role_of("alpha");
        model.put_role(ACCOUNT, &role, TRUST, Visible::AtOnce);
        let policies = [1, 2, 3].map(|n| model.put_policy(ACCOUNT, &format!("p{n}"), POLICY));
        model.alter_role(ACCOUNT, &role, Visible::AtOnce, |role| role.attached.extend(policies));
        let iam = aws_sdk_iam::Client::new(&model.sdk_config(ACCOUNT, REGION));
        for name in ["a", "b", "c"] {
            iam.put_role_policy().role_name(&role).policy_name(name).policy_document(POLICY).send().await.expect("put");
        }
        model.limit_pages(Some(1));
        model.add_rule(Rule::always("iam:GetAccountAuthorizationDetails", Trouble::Deny));
        let connection = Connection::with(&model.sdk_config(ACCOUNT, REGION), Meter::default());
        let session = connection.open(&Access { region: REGION.to_owned(), assume: None }).await.expect("a session");
        let read = granted_roles(&session, INFRA, None, Freshness::from_now_on()).await.expect("roles");
        let read = read.roles[&role.to_ascii_lowercase()].as_ref().expect("a role");
        assert_eq!(read.live.granted.identity.len(), 6, "{read:?}");
    });
}
