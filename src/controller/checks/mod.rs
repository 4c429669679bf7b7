//! UpgradeChecks: judged in the pass of their ClusterIdentity, against the roles as that pass has read them.

mod annotate;
mod releases;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::effective;
use super::gather::full_name;
use super::outcome::{Outcome, fault_reason};
use super::pass::Shared;
use super::unreadable;
use super::watch_health::Watch;
use super::watches::check_reference;
use crate::api::cluster_identity::ManagementPolicy;
use crate::api::upgrade_check::{Action, ReadRelease, Simulate, SurplusPart};
use crate::api::{ClusterIdentity, UpgradeCheck, conditions as types};
use crate::apply::Evidence;
use crate::aws::Session;
use crate::aws::granted::{Asked, GrantedRole, granted_roles, roles_with_more};
use crate::aws::simulate::simulate;
use crate::aws::snapshot::Freshness;
use crate::desired::issuer::desired_issuer;
use crate::desired::pregrant::{Begun, Fate, PreGrant, Targets};
use crate::desired::request::{ReadRequest, RequestId};
use crate::desired::secret::SecretKey;
use crate::desired::{Desired, Wanted};
use crate::kubernetes::finalizer::UPGRADEABLE;
use crate::observed::{Fault, FaultClass};
use crate::plan::upgrade::annotation;
use crate::plan::upgrade::release::Included;
use crate::plan::upgrade::simulation::{answer, questions};
use crate::plan::upgrade::{self, Call, InForce, Readiness, RollCall, Target, roll_call};
use crate::plan::{Effectiveness, Plan, Subject};
use crate::policy::coverage::Required;
use crate::release::inclusion::Inclusion;
use crate::report::roll_call::checked;

use annotate::annotate;
pub use releases::Releases;
use releases::{Release, Unread};
use status::{Ahead, Look, Told};

/// An UpgradeCheck with the release that it is about.
pub struct Check {
    object: UpgradeCheck,
    release: Result<ReleaseForCluster, Unread>,
}

/// A release as a cluster gets it.
struct ReleaseForCluster {
    included: Included,
    read: ReadRelease,
}

/// Gathers the UpgradeChecks of a ClusterIdentity and reads their releases.
pub async fn gather(shared: &Shared, identity: &ClusterIdentity) -> Vec<Check> {
    let mut checks = Vec::new();
    for mut object in of(shared, identity) {
        shared.publisher.freshen(&mut object);
        let release = shared.releases.read(&shared.stores, identity, &object.spec.release).await;
        let release = release.and_then(|release| included(&object, release));
        checks.push(Check { object, release });
    }
    checks
}

/// The UpgradeChecks of a ClusterIdentity that are not being deleted.
fn of(shared: &Shared, identity: &ClusterIdentity) -> Vec<UpgradeCheck> {
    let mut checks = shared.stores.well_formed_checks();
    checks.retain(|check| {
        check.namespace() == identity.namespace()
            && check.spec.cluster_identity_ref.name == identity.name_any()
            && check.metadata.deletion_timestamp.is_none()
    });
    checks
}

fn included(check: &UpgradeCheck, release: Release) -> Result<ReleaseForCluster, Unread> {
    let of = &check.spec.inclusion;
    let inclusion = Inclusion {
        feature_set: of.feature_set.clone(),
        feature_gates: of.feature_gates.iter().cloned().collect(),
        capabilities: (!of.capabilities.is_empty()).then(|| of.capabilities.iter().cloned().collect()),
        profile: of.profile.clone(),
    };
    let included = Included::of(release.manifests, &inclusion);
    if let Some(problem) = included.emptiness(&release.source) {
        return Err(Unread::Failed(problem));
    }
    let wanted = &check.spec.release.version;
    if let Some(version) = release.version.as_ref().filter(|version| !annotation::is_version(version, wanted)) {
        return Err(Unread::Failed(format!(
            "{} is release {version}, and spec.release.version says {wanted}",
            release.source
        )));
    }
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let read = ReadRelease {
        source: release.source,
        version: release.version,
        digest: release.digest,
        requests: number(included.requests.len() + included.unreadable.len()),
        excluded: number(included.excluded.len()),
    };
    Ok(ReleaseForCluster { included, read })
}

/// What the checks grant ahead.
pub fn pre_grants(checks: &[Check], identity: &ClusterIdentity) -> Vec<PreGrant> {
    let granting = checks.iter().filter(|check| check.object.spec.action == Action::PreGrant);
    granting
        .map(|check| {
            let begun = begun(&check.object);
            let targets = match &check.release {
                Ok(release) => Ok(asked(&release.included, identity, begun.keys())),
                Err(unread) => Err(unread.message().to_owned()),
            };
            let status = check.object.status.as_ref();
            let stale = status.and_then(|status| status.pre_grant_generation) != check.object.metadata.generation;
            PreGrant { check: full_name(&check.object), targets, begun, stale }
        })
        .collect()
}

/// What each component of a release asks for, or why that cannot be told.
fn asked<'a>(
    included: &Included,
    identity: &ClusterIdentity,
    remembered: impl Iterator<Item = &'a SecretKey>,
) -> Targets {
    let mut asked = Targets::new();
    for target in included.targets(&identity.spec) {
        let of_secret = asked.entry(target.secret).or_insert_with(|| Ok(Vec::new()));
        match (target.asks, of_secret) {
            (Ok(read), Ok(all)) => all.push(read),
            (Err(why), of_secret) => *of_secret = Err(why),
            (Ok(_), Err(_)) => {}
        }
    }
    // A request that does not even say which Secret it is for may be any component's.
    if let Some((origin, _, why)) = included.unreadable.iter().find(|(_, secret, _)| secret.is_none()) {
        for secret in remembered {
            asked.entry(secret.clone()).or_insert_with(|| Err(format!("{}: {why}", origin.request)));
        }
    }
    asked
}

/// What the status remembers.
fn begun(check: &UpgradeCheck) -> BTreeMap<SecretKey, Begun> {
    let remembered = check.status.iter().flat_map(|status| &status.pre_grant);
    let pairs = remembered.filter_map(|component| {
        let (namespace, name) = component.request.split_once('/')?;
        let begun = Begun { in_force: component.in_force.clone(), policies: component.policies.clone() };
        Some((SecretKey { namespace: namespace.into(), name: name.into() }, begun))
    });
    pairs.collect()
}

/// What a pass has learned of the live roles, beside its plan.
pub struct Live {
    /// The roll calls, in the order of the checks; none when the live roles are not known.
    pub roll_calls: Vec<Option<RollCall>>,
    /// Why they are not known.
    pub unread: Option<Fault>,
    /// What roles grant beyond what is asked for, by request; a request that is not in it may have any.
    pub surplus: BTreeMap<RequestId, Vec<SurplusPart>>,
    /// Whether the roles that are as wanted let their components do what is asked for, by request.
    pub effectiveness: BTreeMap<RequestId, Effectiveness>,
}

/// Reads what the live roles grant, and judges. Without a listing of the account's roles, which failed by the fault in
/// `unlisted`, only checks are worth the calls.
pub async fn judge(
    session: &Session,
    desired: &Desired,
    plan: &Plan,
    identity: &ClusterIdentity,
    checks: &[Check],
    unlisted: Option<Fault>,
    freshness: Freshness,
) -> Live {
    if let Some(fault) = unlisted.filter(|_| checks.is_empty()) {
        let effectiveness = effective::untold(desired, plan, &fault);
        return Live { roll_calls: Vec::new(), unread: None, surplus: BTreeMap::new(), effectiveness };
    }
    let wanted: BTreeSet<String> = desired.wanted().map(|(_, wanted)| wanted.role.name.clone()).collect();
    let read = if checks.is_empty() {
        // Of a role that is as wanted, only what others have added is of interest.
        let is_as_wanted = |id: &RequestId| {
            plan.is_true(&Subject::Role(id.clone())) && plan.adopted_trust.get(id).is_none_or(Vec::is_empty)
        };
        let whole = desired.wanted().filter(|(id, _)| !is_as_wanted(id));
        let whole = whole.map(|(_, wanted)| wanted.role.name.to_ascii_lowercase()).collect();
        let in_force = wanted.iter().map(|name| name.to_ascii_lowercase()).collect();
        Box::pin(roles_with_more(session, &desired.role_prefix, freshness, &Asked { in_force, whole })).await
    } else {
        let targets = checks.iter().filter_map(|check| check.release.as_ref().ok());
        let of_targets = targets.flat_map(|target| target.included.targets(&identity.spec)).map(|target| target.role);
        let named = wanted.into_iter().chain(of_targets).collect();
        Box::pin(granted_roles(session, &desired.role_prefix, Some(&named), freshness)).await
    };
    let live = match read {
        Ok(live) => live,
        Err(fault) => {
            let roll_calls = checks.iter().map(|_| None).collect();
            let effectiveness = effective::untold(desired, plan, &fault);
            return Live { roll_calls, unread: Some(fault), surplus: BTreeMap::new(), effectiveness };
        }
    };
    let effectiveness = effective::of_roles(desired, plan, &live);
    let (live, passing) = (live.roles, live.passing);
    let mut unread = passing.clone();
    let mut roll_calls = Vec::new();
    for check in checks {
        let Ok(target) = &check.release else {
            roll_calls.push(None);
            continue;
        };
        let (result, fault) = Box::pin(call(session, desired, identity, check, target, &live)).await;
        // What is missing is missing, whatever could not be read besides.
        let is_told = passing.is_none() && fault.is_none() || result.readiness() == Readiness::NotReady;
        roll_calls.push(is_told.then_some(result));
        unread = unread.or(fault);
    }
    Live { roll_calls, unread, surplus: surplus(desired, identity, checks, &live), effectiveness }
}

async fn call(
    session: &Session,
    desired: &Desired,
    identity: &ClusterIdentity,
    check: &Check,
    target: &ReleaseForCluster,
    live: &BTreeMap<String, Result<GrantedRole, String>>,
) -> (RollCall, Option<Fault>) {
    let in_force = desired.wanted().filter(|(_, wanted)| wanted.secret.is_some());
    let mut result = roll_call(&Call {
        targets: target.included.targets(&identity.spec),
        live: live
            .iter()
            .map(|(name, role)| (name.clone(), role.as_ref().map(|r| r.live.clone()).map_err(Clone::clone)))
            .collect(),
        in_force: in_force
            .map(|(_, wanted)| InForce { secret: Some(wanted.read.secret.clone()), role: wanted.role.name.clone() })
            .collect(),
        provider: desired.issuer.provider.arn.clone(),
        issuer: desired.issuer.provider.host_and_path().to_owned(),
        audience: check.object.spec.audience.clone(),
    });
    let mut passing = None;
    if check.object.spec.simulate == Simulate::WhenIndeterminate {
        passing = Box::pin(ask_aws(session, desired, live, &mut result)).await;
    }
    (result, passing)
}

/// Has AWS decide what the policies at hand cannot; why it did not answer, if that will pass.
async fn ask_aws(
    session: &Session,
    desired: &Desired,
    live: &BTreeMap<String, Result<GrantedRole, String>>,
    result: &mut RollCall,
) -> Option<Fault> {
    let mut passing = None;
    let account = desired.issuer.provider.arn.split_once(":oidc-provider/").map_or("", |(account, _)| account);
    for component in &mut result.components {
        let questions = questions(component);
        let Some(Ok(role)) = live.get(&component.role.to_ascii_lowercase()).filter(|_| !questions.is_empty()) else {
            continue;
        };
        let arn = format!("{account}:role{}{}", role.path, role.live.name);
        match simulate(session, &arn, &questions).await {
            Ok(answers) => answer(component, &answers),
            Err(fault) if will_pass(fault.class) => passing = Some(fault),
            Err(fault) => component.because = format!("{}; AWS could not be asked: {fault}", component.because),
        }
    }
    passing
}

/// What the live roles grant and neither a request in force nor a check asks for.
fn surplus(
    desired: &Desired,
    identity: &ClusterIdentity,
    checks: &[Check],
    live: &BTreeMap<String, Result<GrantedRole, String>>,
) -> BTreeMap<RequestId, Vec<SurplusPart>> {
    let targets: Vec<Target> = checks
        .iter()
        .filter_map(|check| check.release.as_ref().ok())
        .flat_map(|target| target.included.targets(&identity.spec))
        .collect();
    let asked_by_checks = |wanted: &Wanted| -> Vec<Required> {
        let of = targets.iter().filter(|target| target.secret == wanted.read.secret);
        of.filter_map(|target| target.asks.as_ref().ok()).flat_map(ReadRequest::required).collect()
    };
    // What was granted ahead for a release that cannot be read just now is asked for, though nobody can tell by whom.
    let kept = desired.pre_granted.iter().filter(|granted| matches!(granted.fate, Fate::Kept(_)));
    let kept: BTreeSet<&SecretKey> = kept.map(|granted| &granted.secret).collect();
    let mut found = BTreeMap::new();
    for (id, wanted) in desired.wanted().filter(|(_, wanted)| !kept.contains(&wanted.read.secret)) {
        let parts = match live.get(&wanted.role.name.to_ascii_lowercase()) {
            None => Vec::new(),
            Some(Err(_)) => continue,
            Some(Ok(role)) => {
                let required = wanted.read.required().into_iter().chain(asked_by_checks(wanted)).collect();
                upgrade::surplus(&role.live.granted, required)
            }
        };
        found.insert(id.clone(), parts.iter().map(checked::surplus).collect());
    }
    found
}

/// What came of the statuses of the checks.
pub struct ToldChecks {
    /// The first that could not be written.
    pub written: Result<(), kube::Error>,
    /// Whether a verdict waits until AWS's reads show what was just changed.
    pub awaits_reads: bool,
}

/// Writes the statuses of the checks after a pass, and what hangs on them.
pub async fn tell(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    desired: &Desired,
    evidence: &Evidence,
    checks: Vec<Check>,
    live: Live,
    now: Timestamp,
) -> ToldChecks {
    let mut all = ToldChecks { written: Ok(()), awaits_reads: false };
    if checks.is_empty() {
        return all;
    }
    let unseen = evidence.settling(now).unseen_roles();
    for (check, roll_call) in checks.into_iter().zip(live.roll_calls) {
        let look = match (check.release, roll_call, &live.unread) {
            (Err(unread), ..) => Look::NoRelease(unread),
            (Ok(_), Some(roll_call), _) if is_too_early(&roll_call, &unseen) => {
                all.awaits_reads = true;
                Look::NoRoles {
                    reason: "Settling",
                    message: "roles were changed a moment ago, and AWS's reads may not show that yet".into(),
                    passing: true,
                }
            }
            (Ok(target), Some(roll_call), _) => Look::Judged(roll_call, target.read),
            (Ok(_), None, fault) => no_roles(fault.as_ref()),
        };
        let ahead = Ahead::of(&full_name(&check.object), desired, evidence.plan());
        let written = Box::pin(publish(shared, identity, &check.object, &look, &ahead, now)).await;
        all.written = all.written.and(written);
    }
    all
}

/// Whether a verdict that says yes rests on a role whose last change no read has shown.
fn is_too_early(roll_call: &RollCall, unseen: &BTreeSet<String>) -> bool {
    let rests_on = |component: &upgrade::Component| unseen.contains(&component.role.to_ascii_lowercase());
    roll_call.readiness() == Readiness::Ready && roll_call.components.iter().any(rests_on)
}

fn no_roles(fault: Option<&Fault>) -> Look {
    match fault {
        Some(fault) => Look::NoRoles {
            reason: fault_reason(fault.class),
            message: fault.to_string(),
            passing: will_pass(fault.class),
        },
        None => Look::NoRoles { reason: "NotRead", message: "the live roles were not read".into(), passing: true },
    }
}

/// Whether an older verdict may stand meanwhile. Credentials that do not work need a person.
const fn will_pass(class: FaultClass) -> bool {
    class.is_passing() && !matches!(class, FaultClass::Credentials)
}

/// Writes the statuses of the checks of a ClusterIdentity whose pass ended before there was a plan.
pub async fn tell_unread(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    outcome: &Outcome,
    message: &str,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let passing = match outcome {
        Outcome::Refused(_) | Outcome::Panicked | Outcome::TimedOut | Outcome::WatchLost(_) => false,
        Outcome::NoAccount(fault) => will_pass(fault.class),
        _ => true,
    };
    let message = format!("the ClusterIdentity {}: {message}", full_name(identity));
    let look = Look::NoRoles { reason: outcome.reason(), message, passing };
    let mut all = Ok(());
    for mut check in of(shared, identity) {
        shared.publisher.freshen(&mut check);
        all = all.and(Box::pin(publish(shared, identity, &check, &look, &Ahead::default(), now)).await);
    }
    all
}

async fn publish(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    check: &UpgradeCheck,
    look: &Look,
    ahead: &Ahead,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let observes = identity.spec.management_policy == ManagementPolicy::Observe;
    let issuer = desired_issuer(&identity.spec, "").url;
    let next = status::after_look(check, look, ahead, Told::AsBefore, now);
    let told = Box::pin(annotate(shared, check, &issuer, status::says_ready(&next.conditions), observes)).await;
    let next = status::after_look(check, look, ahead, told, now);
    shared.publisher.check(check, &next).await
}

/// What `UpgradeReady` of a check says, as a word for metrics.
pub fn verdict(check: &UpgradeCheck) -> &'static str {
    let conditions = check.status.iter().flat_map(|status| &status.conditions);
    match conditions.clone().find(|condition| condition.type_ == types::UPGRADE_READY).map(|c| c.status.as_str()) {
        Some("True") => "true",
        Some("False") => "false",
        _ => "unknown",
    }
}

/// How often checks are looked at that no pass looks at.
const STRAY_INTERVAL: Duration = Duration::from_secs(5);

/// Sees to the checks that no pass sees to: those that are being deleted, and those without a ClusterIdentity.
pub async fn tend_strays(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(STRAY_INTERVAL).await;
        for mut check in shared.stores.well_formed_checks() {
            let name = full_name(&check);
            shared.publisher.freshen(&mut check);
            if let Err(error) = Box::pin(tend(&shared, &check, Timestamp::now())).await {
                tracing::warn!(check = name, %error, "an UpgradeCheck could not be seen to; it is tried again");
            }
        }
        for decoded in shared.stores.checks.state() {
            let Err(undecodable) = &decoded.0 else { continue };
            // What it says upgradeable is no longer known to be so, and its finalizer must not keep it for ever.
            if UPGRADEABLE.is_set(&*decoded)
                && let Err(fault) = Box::pin(annotate::withdraw(&shared, &*decoded, "")).await
            {
                tracing::warn!(check = full_name(&*decoded), error = %fault, "an annotation could not be withdrawn");
            }
            if let Err(error) = unreadable::tell_check(&shared.publisher, undecodable, Timestamp::now()).await {
                tracing::warn!(check = full_name(&*decoded), %error, "a status could not be written");
            }
        }
    }
}

async fn tend(shared: &Shared, check: &UpgradeCheck, now: Timestamp) -> Result<(), kube::Error> {
    if check.metadata.deletion_timestamp.is_some() {
        let Err(fault) = Box::pin(withdraw_if_set(shared, check)).await else { return Ok(()) };
        let next = status::after_look(
            check,
            &gone("the check is being deleted"),
            &Ahead::default(),
            annotate::held(&fault),
            now,
        );
        return shared.publisher.check(check, &next).await;
    }
    if shared.health.is_failing(Watch::ClusterIdentities) {
        // A ClusterIdentity that is not seen may be there.
        return Ok(());
    }
    let found = shared.stores.identities.get(&check_reference(check));
    let identity = &check.spec.cluster_identity_ref.name;
    let message = match found.as_deref().map(|decoded| &decoded.0) {
        Some(Ok(found)) if found.metadata.deletion_timestamp.is_none() => return Ok(()),
        Some(Ok(_)) => format!("the ClusterIdentity {identity} is being deleted"),
        Some(Err(invalid)) => format!("the ClusterIdentity {identity} cannot be read: {}", invalid.error),
        None => format!("there is no ClusterIdentity {identity} in this namespace"),
    };
    let told = Box::pin(annotate(shared, check, "", Some(false), false)).await;
    let next = status::after_look(check, &gone(&message), &Ahead::default(), told, now);
    shared.publisher.check(check, &next).await
}

fn gone(message: &str) -> Look {
    Look::NoRoles { reason: "NoClusterIdentity", message: message.to_owned(), passing: false }
}

async fn withdraw_if_set(shared: &Shared, check: &UpgradeCheck) -> Result<(), Fault> {
    if !UPGRADEABLE.is_set(check) {
        return Ok(());
    }
    annotate::withdraw(shared, check, &check.spec.release.version).await
}
