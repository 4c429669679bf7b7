//! UpgradeChecks: judged in the pass of their ClusterIdentity, against the roles as that pass has read them.

mod releases;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::gather::full_name;
use super::outcome::{Outcome, fault_reason};
use super::pass::Shared;
use super::verdicts::is_passing;
use super::watches::check_reference;
use crate::api::cluster_identity::ManagementPolicy;
use crate::api::upgrade_check::{Action, ReadRelease, Simulate, SurplusPart};
use crate::api::{ClusterIdentity, UpgradeCheck, conditions as types};
use crate::apply::annotation;
use crate::aws::Session;
use crate::aws::granted::{GrantedRoles, granted_roles, roles_with_more};
use crate::aws::simulate::simulate;
use crate::desired::pregrant::{Fate, PreGrant};
use crate::desired::request::{ReadRequest, RequestId};
use crate::desired::secret::SecretKey;
use crate::desired::{Desired, Wanted};
use crate::kubernetes::finalizer::UPGRADEABLE;
use crate::observed::Fault;
use crate::plan::upgrade::annotation::Annotate;
use crate::plan::upgrade::release::Included;
use crate::plan::upgrade::simulation::{answer, questions};
use crate::plan::upgrade::{self, Call, InForce, RollCall, Target, roll_call};
use crate::plan::{Plan, Subject};
use crate::policy::coverage::Required;
use crate::release::inclusion::Inclusion;

pub use releases::Releases;
use releases::{Release, Unread};
use status::{Annotated, Look};

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
    if included.is_empty() {
        return Err(Unread::Failed(format!(
            "{} holds no CredentialsRequest for AWS that this cluster would get ({} are for other clusters); is it a release's manifests?",
            release.source,
            included.excluded.len()
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
        .map(|check| PreGrant {
            check: full_name(&check.object),
            targets: match &check.release {
                Ok(target) => Ok(asked(&target.included.targets(&identity.spec))),
                Err(unread) => Err(unread.message().to_owned()),
            },
            begun: begun(&check.object),
        })
        .collect()
}

/// What each component of a release asks for, where that can be told.
fn asked(targets: &[Target]) -> Vec<ReadRequest> {
    targets.iter().filter_map(|target| target.asks.clone().ok()).collect()
}

/// What the status remembers; a changed spec begins anew.
fn begun(check: &UpgradeCheck) -> BTreeMap<SecretKey, String> {
    let status = check.status.as_ref().filter(|status| status.observed_generation == check.metadata.generation);
    let remembered = status.iter().flat_map(|status| &status.pre_grant);
    let pairs = remembered.filter_map(|component| {
        let (namespace, name) = component.request.split_once('/')?;
        Some((SecretKey { namespace: namespace.into(), name: name.into() }, component.in_force.clone()))
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
}

/// Reads what the live roles grant, and judges. Without a listing of the account's roles (`listed`), only checks are worth
/// the calls.
pub async fn judge(
    session: &Session,
    desired: &Desired,
    plan: &Plan,
    identity: &ClusterIdentity,
    checks: &[Check],
    listed: bool,
    not_before: Instant,
) -> Live {
    if checks.is_empty() && !listed {
        return Live { roll_calls: Vec::new(), unread: None, surplus: BTreeMap::new() };
    }
    let wanted: BTreeSet<String> = desired.wanted().map(|(_, wanted)| wanted.role.name.clone()).collect();
    let read = if checks.is_empty() {
        let wrong = desired.wanted().filter(|(id, _)| !plan.is_true(&Subject::Role((*id).clone())));
        let wrong = wrong.map(|(_, wanted)| wanted.role.name.to_ascii_lowercase()).collect();
        roles_with_more(session, &desired.role_prefix, not_before, &wrong).await
    } else {
        let targets = checks.iter().filter_map(|check| check.release.as_ref().ok());
        let of_targets = targets.flat_map(|target| target.included.targets(&identity.spec)).map(|target| target.role);
        let named = wanted.into_iter().chain(of_targets).collect();
        Box::pin(granted_roles(session, &desired.role_prefix, Some(&named), not_before)).await
    };
    let live = match read {
        Ok(live) => live,
        Err(fault) => {
            let roll_calls = checks.iter().map(|_| None).collect();
            return Live { roll_calls, unread: Some(fault), surplus: BTreeMap::new() };
        }
    };
    let mut roll_calls = Vec::new();
    for check in checks {
        roll_calls.push(match &check.release {
            Ok(target) => Some(Box::pin(call(session, desired, identity, check, target, &live)).await),
            Err(_) => None,
        });
    }
    Live { roll_calls, unread: None, surplus: surplus(desired, identity, checks, &live) }
}

async fn call(
    session: &Session,
    desired: &Desired,
    identity: &ClusterIdentity,
    check: &Check,
    target: &ReleaseForCluster,
    live: &GrantedRoles,
) -> RollCall {
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
    if check.object.spec.simulate == Simulate::WhenIndeterminate {
        Box::pin(ask_aws(session, desired, live, &mut result)).await;
    }
    result
}

/// Has AWS decide what the policies at hand cannot.
async fn ask_aws(session: &Session, desired: &Desired, live: &GrantedRoles, result: &mut RollCall) {
    let account = desired.issuer.provider.arn.split_once(":oidc-provider/").map_or("", |(account, _)| account);
    for component in &mut result.components {
        let questions = questions(component);
        let Some(Ok(role)) = live.get(&component.role.to_ascii_lowercase()).filter(|_| !questions.is_empty()) else {
            continue;
        };
        let arn = format!("{account}:role{}{}", role.path, role.live.name);
        match simulate(session, &arn, &questions).await {
            Ok(answers) => answer(component, &answers),
            Err(fault) => component.because = format!("{}; AWS could not be asked: {fault}", component.because),
        }
    }
}

/// What the live roles grant and neither a request in force nor a check asks for.
fn surplus(
    desired: &Desired,
    identity: &ClusterIdentity,
    checks: &[Check],
    live: &GrantedRoles,
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
    let mut found = BTreeMap::new();
    for (id, wanted) in desired.wanted() {
        let parts = match live.get(&wanted.role.name.to_ascii_lowercase()) {
            None => Vec::new(),
            Some(Err(_)) => continue,
            Some(Ok(role)) => {
                let required = wanted.read.required().into_iter().chain(asked_by_checks(wanted)).collect();
                upgrade::surplus(&role.live.granted, required)
            }
        };
        found.insert(id.clone(), parts.iter().map(status::surplus).collect());
    }
    found
}

/// Writes the statuses of the checks after a pass, and what hangs on them.
pub async fn tell(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    desired: &Desired,
    checks: Vec<Check>,
    live: Live,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let mut all = Ok(());
    for (check, roll_call) in checks.into_iter().zip(live.roll_calls) {
        let look = match (check.release, roll_call, &live.unread) {
            (Err(unread), ..) => Look::NoRelease(unread),
            (Ok(target), Some(roll_call), _) => Look::Judged(roll_call, target.read),
            (Ok(_), None, fault) => no_roles(fault.as_ref()),
        };
        let written = Box::pin(publish(shared, identity, &check.object, &look, Some(desired), now)).await;
        all = all.and(written);
    }
    all
}

fn no_roles(fault: Option<&Fault>) -> Look {
    match fault {
        Some(fault) => Look::NoRoles {
            reason: fault_reason(fault.class),
            message: fault.to_string(),
            passing: is_passing(fault.class),
        },
        None => Look::NoRoles { reason: "NotRead", message: "the live roles were not read".into(), passing: true },
    }
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
        Outcome::Refused(_) => false,
        Outcome::NoAccount(fault) => is_passing(fault.class),
        _ => true,
    };
    let message = format!("the ClusterIdentity {}: {message}", full_name(identity));
    let look = Look::NoRoles { reason: outcome.reason(), message, passing };
    let mut all = Ok(());
    for mut check in of(shared, identity) {
        shared.publisher.freshen(&mut check);
        all = all.and(Box::pin(publish(shared, identity, &check, &look, None, now)).await);
    }
    all
}

async fn publish(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    check: &UpgradeCheck,
    look: &Look,
    desired: Option<&Desired>,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let name = full_name(check);
    let observes = identity.spec.management_policy == ManagementPolicy::Observe;
    let mut pre_granted: Vec<_> = desired.iter().flat_map(|desired| desired.pre_granted.iter().cloned()).collect();
    pre_granted.retain(|component| component.check == name);
    if observes {
        // Nothing is written, so nothing has begun.
        for component in pre_granted.iter_mut().filter(|component| component.fate == Fate::Granted) {
            component.fate = Fate::Refused("managementPolicy is Observe".into());
        }
    }
    let pre_granted: Vec<_> = pre_granted.iter().collect();
    let next = status::after_look(check, look, &pre_granted, None, now);
    let annotated = annotate(shared, check, status::says_ready(&next.conditions), observes).await?;
    let next = match annotated {
        None => next,
        annotated => status::after_look(check, look, &pre_granted, annotated, now),
    };
    shared.publisher.check(check, &next).await
}

/// Keeps the CloudCredential in step, where the check asks for that.
async fn annotate(
    shared: &Shared,
    check: &UpgradeCheck,
    ready: bool,
    hands_off: bool,
) -> Result<Option<Annotated>, kube::Error> {
    if !check.spec.annotate_cloud_credential {
        if UPGRADEABLE.is_set(check) {
            withdraw(shared, check).await?;
        }
        return Ok(None);
    }
    // Before anything is set that would have to be withdrawn.
    if !UPGRADEABLE.is_set(check) && !hands_off {
        UPGRADEABLE.set(&shared.client, check).await?;
    }
    let version = &check.spec.release.version;
    let kept = annotation::keep(&shared.client, &full_name(check), version, ready, hands_off).await;
    let says = |status, reason, message| Some(Annotated { status, reason, message });
    Ok(match kept {
        Err(fault) => says(None, fault_reason(fault.class), fault.to_string()),
        Ok(None) => says(
            None,
            "NoCloudCredential",
            "the cluster that Rolecall runs on has no CloudCredential named cluster (operator.openshift.io/v1)".into(),
        ),
        Ok(Some(Annotate::Set(_) | Annotate::Withdraw)) if hands_off => {
            says(Some(false), "ChangesPending", "managementPolicy of the ClusterIdentity is Observe".into())
        }
        Ok(Some(Annotate::Right | Annotate::Set(_))) => {
            says(Some(true), "Annotated", format!("it says upgradeable-to {version}"))
        }
        Ok(Some(Annotate::Withdraw | Annotate::Absent)) => {
            says(Some(false), "NotReady", "it is not annotated, because the upgrade is not ready".into())
        }
        Ok(Some(Annotate::Newer(value))) => says(
            Some(false),
            "SetByOthers",
            format!("it says upgradeable-to {value:?}, which someone else has set, and is left alone"),
        ),
        Ok(Some(Annotate::NotOurs(value))) => says(
            Some(false),
            "SetByOthers",
            format!(
                "it says upgradeable-to {value:?}, which someone else has set, though the check for {version} is not ready"
            ),
        ),
    })
}

/// Takes back what hangs on a check that goes, or that no longer asks for it.
async fn withdraw(shared: &Shared, check: &UpgradeCheck) -> Result<(), kube::Error> {
    let version = &check.spec.release.version;
    match annotation::keep(&shared.client, &full_name(check), version, false, false).await {
        Ok(_) => UPGRADEABLE.take_back(&shared.client, check).await,
        Err(fault) => {
            tracing::warn!(check = full_name(check), error = %fault, "an annotation could not be withdrawn; it is tried again");
            Ok(())
        }
    }
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
    }
}

async fn tend(shared: &Shared, check: &UpgradeCheck, now: Timestamp) -> Result<(), kube::Error> {
    if check.metadata.deletion_timestamp.is_some() {
        return if UPGRADEABLE.is_set(check) { withdraw(shared, check).await } else { Ok(()) };
    }
    let found = shared.stores.identities.get(&check_reference(check));
    let identity = &check.spec.cluster_identity_ref.name;
    let message = match found.as_deref().map(|guarded| &guarded.0) {
        Some(Ok(_)) => return Ok(()),
        Some(Err(invalid)) => format!("the ClusterIdentity {identity} cannot be read: {}", invalid.error),
        None => format!("there is no ClusterIdentity {identity} in this namespace"),
    };
    let look = Look::NoRoles { reason: "NoClusterIdentity", message, passing: false };
    let annotated = annotate(shared, check, false, false).await?;
    let next = status::after_look(check, &look, &[], annotated, now);
    shared.publisher.check(check, &next).await
}
