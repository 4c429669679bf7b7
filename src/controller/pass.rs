//! One pass over one ClusterIdentity: inputs, desired, observed, plan, evidence, statuses.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use kube::Client;
use tokio::sync::Mutex;

use super::checks::{self, Check, Live, Releases};
use super::consents::StandingConsents;
use super::gather::{self, Requests, full_name};
use super::look::observe_all;
use super::outcome::Outcome;
use super::owners::{self, OwnerSettings};
use super::status_writer::StatusWriter;
use super::verdicts::{RequestState, outcome, states};
use super::watch_health::{LostWatch, WatchHealth};
use super::watches::{Stores, reference};
use super::{effective, request_status, status, teardown, unseen};
use crate::api::cluster_identity::ManagementPolicy;
use crate::api::{ClusterIdentity, CredentialsRequestStatus};
use crate::apply::{Evidence, Targets, carry_out};
use crate::aws::anonymous::AnonymousReader;
use crate::aws::observe::trust_limit;
use crate::aws::snapshot::Freshness;
use crate::aws::{Access, Connection, Session};
use crate::desired::names::role_prefix;
use crate::desired::pregrant::{Fate, NotGranted};
use crate::desired::request::RequestRefused;
use crate::desired::retained::ProvisionedSecret;
use crate::desired::secret::SecretKey;
use crate::desired::{Desired, IdentityRefused, Inputs, RequestInput, RequestVerdict, desire};
use crate::kubernetes;
use crate::kubernetes::served::StatusKind;
use crate::observed::{FaultClass, ObservedSecret};
use crate::plan::{Change, Effectiveness, Obstacle, Plan, Prior, Settling, plan};

/// How long an account's quota is believed: people have it raised when a request was refused for it.
const TRUST_LIMIT_AGE: Duration = Duration::from_mins(5);

/// How long a change is remembered after reads surely show it.
const REMEMBERED: Duration = Duration::from_mins(1);

/// From so many Secrets on that are known and gone, they are forgotten.
const MANY_GONE: usize = 100;

/// How many Secrets are read, and statuses written, side by side.
pub const SIDE_BY_SIDE: usize = 8;

/// Everything that passes share.
pub struct Shared {
    /// The management cluster, which is the target cluster too.
    pub client: Client,
    /// AWS.
    pub aws: Connection,
    /// The anonymous reader.
    pub reader: AnonymousReader,
    /// The stores of the watches.
    pub stores: Stores,
    /// The releases that UpgradeChecks are about.
    pub releases: Releases,
    /// Writes statuses and events.
    pub publisher: StatusWriter,
    /// How the watches are that fill the stores.
    pub health: WatchHealth,
    /// Secrets as they were last read, valid while their resource version is that of the watch. Values are not in it.
    pub secrets: Mutex<BTreeMap<SecretKey, ObservedSecret>>,
    /// Quotas on trust policies, by account; read only when a trust policy is longer than AWS's default.
    pub trust_limits: Mutex<BTreeMap<String, (Instant, usize)>>,
    /// What was changed a moment ago, by ClusterIdentity.
    pub recent: std::sync::Mutex<HashMap<String, Recent>>,
    /// Roles that AWS has refused with what was to be granted ahead, by ClusterIdentity and fingerprint.
    pub refused: std::sync::Mutex<HashMap<String, BTreeMap<String, String>>>,
    /// What was provisioned, by ClusterIdentity: a Secret may go with its request, and then nothing else tells what it was.
    pub provisioned: std::sync::Mutex<HashMap<String, BTreeMap<SecretKey, ProvisionedSecret>>>,
    /// Held while the CloudCredential's annotation is looked at and changed.
    pub annotating: Mutex<()>,
    /// How long AWS's reads may lag behind its writes.
    pub settle_time: Duration,
    /// The OIDC provider of each ClusterIdentity beside which the account was seen to have no other of the cluster.
    pub without_other_providers: std::sync::Mutex<HashMap<String, String>>,
    /// What the operator may take over, and whether it sees all ClusterIdentities.
    pub owner_settings: OwnerSettings,
    /// Whether nothing is written but statuses.
    pub read_only: bool,
    /// The consents that were given, and since when.
    pub standing_consents: StandingConsents,
    /// When this replica began to act: what one before it made a moment earlier is not in `settling`.
    pub begun: tokio::time::Instant,
}

/// What was changed a moment ago for a ClusterIdentity.
pub struct Recent {
    settling: Settling,
    /// When there was last something that reads may not show.
    at: tokio::time::Instant,
    /// `status.lastChangedTime` as this process has set it: what it tells of is in `settling`.
    own_change: Option<String>,
}

impl Recent {
    fn new() -> Self {
        Self { settling: Settling::default(), at: tokio::time::Instant::now(), own_change: None }
    }
}

/// What a pass is made under.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How old what is known of the account's roles may be.
    pub freshness: Freshness,
    /// When no further change is begun.
    pub until: tokio::time::Instant,
    /// Whether what this pass changes is looked at by the next one at once.
    pub followed: bool,
    /// The time.
    pub now: Timestamp,
}

impl Shared {
    /// What was changed a moment ago for a ClusterIdentity.
    pub fn settling_of(&self, identity: &ClusterIdentity, now: Timestamp) -> Settling {
        let mut all = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get_mut(&full_name(identity)).map(|recent| {
            recent.settling.expire(now, self.settle_time);
            (recent.settling.clone(), recent.own_change.clone())
        });
        drop(all);
        let (mut settling, own_change) = known.unwrap_or_default();
        let changed = identity.status.as_ref().and_then(|status| status.last_changed_time.clone());
        let of_another = changed.filter(|changed| own_change.as_ref() != Some(changed));
        if let Some(changed) = of_another {
            settling.changed_before(&changed, self.began(now));
            settling.expire(now, self.settle_time);
        }
        settling
    }

    /// When this replica began to act.
    pub fn began(&self, now: Timestamp) -> Timestamp {
        let age = jiff::SignedDuration::try_from(self.begun.elapsed()).unwrap_or(jiff::SignedDuration::MAX);
        now.checked_sub(age).unwrap_or(Timestamp::MIN)
    }

    /// When there was last something of a ClusterIdentity that reads may not show, if that is not long ago.
    pub fn last_changed(&self, identity: &ClusterIdentity) -> Option<tokio::time::Instant> {
        let all = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&full_name(identity)).map(|recent| recent.at)
    }

    /// Remembers what a pass left unseen, and what it made.
    pub fn remember_settling(&self, identity: &ClusterIdentity, evidence: &Evidence, now: Timestamp) {
        let (settling, name) = (evidence.settling(now), full_name(identity));
        let mut all = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if !settling.is_empty() {
            let recent = all.entry(name).or_insert_with(Recent::new);
            (recent.settling, recent.at) = (settling, tokio::time::Instant::now());
        } else if let Some(recent) = all.get_mut(&name) {
            recent.settling = settling;
        }
        // No listing is used that is so old.
        all.retain(|_, recent| !recent.settling.is_empty() || recent.at.elapsed() < self.settle_time + REMEMBERED);
    }

    /// Notes that this process sets `status.lastChangedTime`. Where the time stays the same, an earlier process changed
    /// something within the same second, and that is not known here.
    fn remember_own_change(&self, identity: &ClusterIdentity, previous: Option<&str>, next: Option<&str>) {
        if let Some(next) = next.filter(|next| previous != Some(next)) {
            let mut all = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(full_name(identity)).or_insert_with(Recent::new).own_change = Some(next.to_owned());
        }
    }

    /// Notes that a pass was given up: nobody knows what it made.
    pub fn remember_given_up(&self, identity: &ClusterIdentity) {
        let at = tokio::time::Instant::now();
        let mut all = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = all.entry(full_name(identity)).or_insert_with(Recent::new);
        recent.settling.may_have_made(Timestamp::now());
        recent.settling.changed_unknown(Timestamp::now());
        recent.at = at;
    }

    fn refused_by_aws(&self, identity: &ClusterIdentity) -> BTreeMap<String, String> {
        let all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&full_name(identity)).cloned().unwrap_or_default()
    }

    /// Remembers what AWS will refuse again, so that the request in force alone is served in the next pass.
    fn remember_refused(&self, identity: &ClusterIdentity, desired: &Desired, evidence: &Evidence) {
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if desired.pre_granted.is_empty() {
            all.remove(&full_name(identity));
            return;
        }
        for (step, fault) in evidence.failures() {
            let Some(id) = step.subject.request() else { continue };
            let of_request = desired.wanted().find(|(of, _)| *of == id).map(|(_, wanted)| wanted);
            let ahead = of_request.filter(|wanted| wanted.secret.is_none() || wanted.read != wanted.in_force);
            let final_ = matches!(fault.class, FaultClass::Limit | FaultClass::Malformed);
            if let Some(wanted) = ahead.filter(|_| final_) {
                let refused = all.entry(full_name(identity)).or_default();
                refused.insert(wanted.role.fingerprint(), fault.to_string());
            }
        }
    }

    /// Forgets a ClusterIdentity that is gone.
    pub fn forget_settling(&self, identity: &ClusterIdentity) {
        self.provisioned.lock().unwrap_or_else(PoisonError::into_inner).remove(&full_name(identity));
        self.without_other_providers.lock().unwrap_or_else(PoisonError::into_inner).remove(&full_name(identity));
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).remove(&full_name(identity));
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).remove(&full_name(identity));
    }
}

/// How a pass ended, and when something falls due before the next interval.
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// What the status says of `Ready` now: `true`, `false` or `unknown`.
    pub ready: &'static str,
    /// When something is due before the next interval: a key to be dropped, a change that no read can be late for any more.
    pub due: Option<Timestamp>,
    /// What differs by someone else's doing: resource and field.
    pub drift: Vec<String>,
    /// How many changes were made.
    pub writes: usize,
    /// Why a status could not be written that is to be tried again soon.
    pub unwritten: Option<FaultClass>,
}

/// When a check is looked at again whose verdict waits for AWS's reads to show what was just granted.
const SHOWN_SOON: Duration = Duration::from_secs(1);

/// Makes a pass and writes the statuses.
pub async fn pass(shared: &Arc<Shared>, identity: &ClusterIdentity, terms: Terms) -> Result<Ended, kube::Error> {
    // Before anything is made that would have to be taken away again.
    if !shared.read_only && shared.health.blind().is_empty() {
        teardown::keep_finalizer(shared, identity).await?;
    }
    serve(shared, identity, terms).await
}

/// Makes true what a ClusterIdentity asks for, and writes the statuses: also of one that is being deleted, as long as that is held.
/// While a watch is lost that verdicts rest on, it only says so.
pub async fn serve(shared: &Arc<Shared>, identity: &ClusterIdentity, terms: Terms) -> Result<Ended, kube::Error> {
    let now = terms.now;
    // Before anything is taken from the stores: what a watch has missed may arrive while the pass goes on.
    let interrupted = shared.health.interrupted();
    let blind = shared.health.blind();
    if !blind.is_empty() {
        return Box::pin(unseen::pass(shared, identity, &blind, now)).await;
    }
    let mut requests = gather::requests(&shared.stores, identity);
    requests.objects.values_mut().for_each(|request| shared.publisher.freshen(request));
    let checks = Box::pin(checks::gather(shared, identity)).await;
    let inputs = std::mem::take(&mut requests.inputs);
    match Box::pin(look_and_act(shared, identity, &requests, (inputs, interrupted), &checks, terms)).await {
        Ok((desired, evidence, live)) => {
            Ok(Box::pin(report(shared, identity, &requests, checks, (&desired, &evidence, live), terms)).await)
        }
        Err(outcome) => {
            let message = message(&outcome);
            given_up(shared, identity, outcome, &message, now).await
        }
    }
}

/// Writes the statuses after a pass that got as far as a plan. One that cannot be written keeps none of the others back.
async fn report(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    requests: &Requests,
    checks: Vec<Check>,
    (desired, evidence, mut live): (&Desired, &Evidence, Live),
    terms: Terms,
) -> Ended {
    let now = terms.now;
    let mut effectiveness = std::mem::take(&mut live.effectiveness);
    effective::keep_older_verdicts(&mut effectiveness, &requests.objects);
    let states = states(desired, evidence, &effectiveness);
    let outcome = outcome(evidence, &states);
    let previous = identity.status.clone().unwrap_or_default();
    let generation = identity.metadata.generation;
    let next = status::after_pass(&previous, generation, desired, evidence, &states, &outcome, now);
    let untold = terms.followed && matches!(outcome, Outcome::Changed { .. });
    let of_requests =
        tell_requests(shared, requests, &states, (&desired.identity, evidence.plan(), &live), (now, untold)).await;
    shared.remember_own_change(identity, previous.last_changed_time.as_deref(), next.last_changed_time.as_deref());
    let told = shared.publisher.identity(identity, &previous, &next, evidence).await;
    let keeps_narrowed = effectiveness.values().any(|of| matches!(of, Effectiveness::Narrowed(_)));
    shared.tell_consents(identity, desired, evidence, keeps_narrowed).await;
    let judged = Box::pin(checks::tell(shared, identity, desired, evidence, checks, live, now)).await;
    let retirement = status::keys::next_retirement(desired, now);
    let deletion = status::deletions::next_due(evidence.plan(), now);
    // What waits for AWS's reads is looked at once these can no longer be late, however the pass has ended.
    let held = evidence.plan().obstacles.iter().any(|(_, obstacle)| matches!(obstacle, Obstacle::Settling(_)))
        || evidence.plan().settling.hides_the_unknown();
    let settled = held.then(|| evidence.plan().settling.next_expiry(shared.settle_time)).flatten();
    if evidence.plan().waits_for_a_watch() {
        shared.health.wait(reference(identity));
    }
    // A verdict that waits for what was just granted turns with the read that shows it, not with the next interval.
    let shown = judged.awaits_reads.then(|| now.checked_add(SHOWN_SOON).ok()).flatten();
    let marks = (!evidence.plan().later_marks.is_empty() && evidence.plan().management == ManagementPolicy::Enforce)
        .then_some(now);
    let due = retirement.into_iter().chain(deletion).chain(marks).chain(settled).chain(shown).min();
    let drift = evidence.plan().drift();
    let drift = drift.map(|(step, found)| format!("{} {}", step.change.target(), found.field.as_str()));
    let of_kept = evidence.plan().kept.values().flat_map(|kept| &kept.drift);
    let drift = drift.chain(of_kept.map(|(resource, found)| format!("{resource} {}", found.field.as_str())));
    let ineffective =
        status::effective::drift_of_all(&states).map(|entry| format!("{} {}", entry.resource, entry.field));
    let (drift, writes) = (drift.chain(ineffective).collect(), evidence.made().len());
    let unwritten = told.and(judged.written).err().map(|error| not_written(identity, &error));
    Ended {
        outcome: unwritten.map_or(outcome, Outcome::NotWritten),
        ready: if unwritten.is_some() { status::ready(&previous) } else { status::ready(&next) },
        due,
        drift,
        writes,
        unwritten: unwritten.or(of_requests),
    }
}

fn not_written(identity: &ClusterIdentity, error: &kube::Error) -> FaultClass {
    tracing::warn!(identity = full_name(identity), %error, "a status could not be written");
    kubernetes::errors::fault("patch status", "a status", error).class
}

/// Writes statuses that are the same for all requests of a ClusterIdentity; what an older one serves goes on being served. One
/// that cannot be written holds up nothing: it may be refused for ever.
pub async fn tell_served(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    next: &(impl Fn(&CredentialsRequestStatus, Option<i64>) -> CredentialsRequestStatus + Sync),
) {
    let mut requests = gather::requests(&shared.stores, identity);
    let claimed = requests.inputs.iter().filter(|input| input.claimed_by.is_some());
    for input in claimed {
        requests.objects.remove(&input.id);
    }
    stream::iter(requests.objects.into_values())
        .map(|mut request| {
            // Boxed: the compiler cannot see through a stream of borrowing futures that they may be sent.
            async move {
                shared.publisher.freshen(&mut request);
                let previous = request.status.clone().unwrap_or_default();
                let next = next(&previous, request.metadata.generation);
                if let Err(error) = shared.publisher.request(&request, &previous, &next).await {
                    tracing::warn!(request = full_name(&request), %error, "a status could not be written");
                }
            }
            .boxed()
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect::<()>()
        .await;
}

/// Writes the statuses of the requests side by side. One that cannot be written holds back no other; why, if that may pass by
/// itself. Those that have none can be left out, when the next pass is about to say more: a thousand new requests would each
/// be written to twice.
async fn tell_requests(
    shared: &Arc<Shared>,
    requests: &Requests,
    states: &[RequestState<'_>],
    of: (&str, &Plan, &Live),
    (now, first_left_out): (Timestamp, bool),
) -> Option<FaultClass> {
    // By number and boxed: the compiler cannot see through a stream of borrowing futures that they may be sent.
    let is_left_out = |state: &RequestState<'_>| {
        let status = requests.objects.get(state.id).and_then(|request| request.status.as_ref());
        first_left_out && status.is_none_or(|status| status.conditions.is_empty())
    };
    let told: Vec<usize> = (0..states.len()).filter(|at| !is_left_out(&states[*at])).collect();
    stream::iter(told)
        .map(|at| tell_request(shared, requests, &states[at], of, now).boxed())
        .buffer_unordered(SIDE_BY_SIDE)
        .fold(None, |all, one| std::future::ready(all.or(one)))
        .await
}

/// Whether a status that the API server has not taken may be taken later, as it is.
const fn may_be_written_later(class: FaultClass) -> bool {
    matches!(
        class,
        FaultClass::Conflict | FaultClass::Throttled | FaultClass::Server | FaultClass::Network | FaultClass::NotFound
    )
}

async fn tell_request(
    shared: &Arc<Shared>,
    requests: &Requests,
    state: &RequestState<'_>,
    of: (&str, &Plan, &Live),
    now: Timestamp,
) -> Option<FaultClass> {
    let request = requests.objects.get(state.id).filter(|_| !state.belongs_to_another())?;
    let previous = request.status.clone().unwrap_or_default();
    let next = request_status::after_pass(&previous, request.metadata.generation, state, of, now);
    let error = shared.publisher.request(request, &previous, &next).await.err()?;
    tracing::warn!(request = full_name(request), %error, "a status could not be written");
    let class = kubernetes::errors::fault("patch status", "a status", &error).class;
    may_be_written_later(class).then_some(class)
}

/// The sentence for a pass that ended before there was a plan.
pub fn message(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refused) => refused.to_string(),
        Outcome::NoAccount(fault) => fault.to_string(),
        Outcome::WatchLost(message) => message.clone(),
        other => other.reason().to_owned(),
    }
}

/// Says in the status that a pass was given up, and why.
pub async fn given_up(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    outcome: Outcome,
    message: &str,
    now: Timestamp,
) -> Result<Ended, kube::Error> {
    // What the pass noted before it made anything stays noted.
    let identity = &shared.publisher.fresh(identity);
    let previous = identity.status.clone().unwrap_or_default();
    let generation = identity.metadata.generation;
    let next = if matches!(outcome, Outcome::WatchLost(_)) {
        status::unseen(&previous, &outcome, message, now)
    } else if identity.metadata.deletion_timestamp.is_some() {
        status::held_in_teardown(&previous, generation, &outcome, message, now)
    } else {
        status::without_plan(&previous, generation, &outcome, message, now)
    };
    let next = status::deletions::with_use_unknown(next, identity, now);
    shared.publisher.identity_refused(identity, &previous, &next).await?;
    checks::tell_unread(shared, identity, &outcome, message, now).await?;
    Ok(Ended::with(outcome, status::ready(&next)))
}

impl Ended {
    /// A pass that changed nothing, and after which nothing is due early.
    pub const fn with(outcome: Outcome, ready: &'static str) -> Self {
        Self { outcome, ready, due: None, drift: Vec::new(), writes: 0, unwritten: None }
    }

    /// A pass whose status could not be written: what is known is what the status said before.
    pub fn without_status(outcome: Outcome, identity: &ClusterIdentity) -> Self {
        let ready = identity.status.as_ref().map_or("unknown", status::ready);
        let unwritten = if let Outcome::NotWritten(class) = outcome { Some(class) } else { None };
        Self { unwritten, ..Self::with(outcome, ready) }
    }
}

async fn look_and_act(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    requests: &Requests,
    (inputs, interrupted): (Vec<RequestInput>, Option<LostWatch>),
    checks: &[Check],
    Terms { freshness, until, now, .. }: Terms,
) -> Result<(Desired, Evidence, Live), Outcome> {
    gather::refuse_duplicate(&shared.stores, identity).map_err(Outcome::Refused)?;
    let namespace = identity.metadata.namespace.clone().unwrap_or_default();
    let access = Access::of(&identity.spec);
    let ((keys, keys_unread), opened) = tokio::join!(
        kubernetes::keys::read_all(&shared.client, &namespace, &identity.spec.issuer.signing_keys),
        shared.aws.open(&access),
    );
    let session = opened.map_err(Outcome::NoAccount)?;
    gather::refuse_other_account(identity, &requests.objects, &session.account.id).map_err(Outcome::Refused)?;
    let owners = shared.owners_of(identity).ok_or_else(|| Outcome::WatchLost(owners::not_seen()))?;
    let mut inputs = gather::inputs(identity, &session.account.id, keys, inputs, owners, now);
    shared.restore_provisioned(&mut inputs);
    let refused_by_aws = shared.refused_by_aws(identity);
    let provisioned = shared.no_longer_asked_for(&inputs);
    let inputs = Inputs { pre_grants: checks::pre_grants(checks, identity), refused_by_aws, provisioned, ..inputs };
    let desired = desire_within_quota(shared, &session, inputs).await.map_err(Outcome::Refused)?;
    let prior = gather::prior(identity, &requests.objects);
    let forgets_adopted = shared.publisher.forgets(StatusKind::ClusterIdentity, "adoptedSettings");
    let mut prior = Prior { settling: shared.settling_of(identity, now), forgets_adopted, ..prior };
    let mut observed = Box::pin(observe_all(shared, &session, &desired, &prior, freshness)).await;
    observed.keys_unread = keys_unread;
    prior.interrupted = interrupted.or_else(|| shared.health.interrupted()).map(|lost| lost.to_string());
    let unlisted = observed.leftovers.roles.known().err().cloned();
    let plan = plan(&desired, &observed, &prior);
    shared.publisher.begin(identity, &desired, &plan, now).await.map_err(|error| not_begun(&error))?;
    let evidence = carry_out(&Targets { aws: &session, cluster: Some(&shared.client), until: Some(until) }, plan).await;
    // A pass may take longer than reads lag: what it made last is as young as its end.
    shared.remember_settling(identity, &evidence, Timestamp::now());
    shared.remember_refused(identity, &desired, &evidence);
    shared.remember_provisioned(identity, &desired, &evidence);
    let mut known = shared.secrets.lock().await;
    for step in evidence.made() {
        // What was just written is read again, whatever the watch has brought so far.
        if let Change::WriteSecret { secret, .. } = &step.change {
            known.remove(&secret.key);
        }
    }
    drop(known);
    let live =
        Box::pin(checks::judge(&session, &desired, evidence.plan(), identity, checks, unlisted, freshness)).await;
    // A pass that looks at what was just made can use it once more.
    if evidence.made().is_empty() {
        shared.forget_what_is_gone(&session).await;
        session.account.let_snapshot_go().await;
    }
    Ok((desired, evidence, live))
}

impl Shared {
    /// Forgets what was known for ClusterIdentities and Secrets that are gone.
    async fn forget_what_is_gone(&self, session: &Session) {
        let identities = self.stores.identities.state();
        let named = identities.iter().filter_map(|guarded| guarded.0.as_ref().ok());
        let prefixes = named.map(|identity| role_prefix(&identity.spec.infra_name).to_ascii_lowercase()).collect();
        session.account.keep_prefixes(&prefixes);
        let named = identities.iter().filter_map(|guarded| guarded.0.as_ref().ok());
        self.aws.keep(named.map(|identity| Access::of(&identity.spec))).await;
        let mut known = self.secrets.lock().await;
        if known.len() > MANY_GONE + 2 * self.stores.secrets.len() {
            known.retain(|key, _| self.stores.secret_version(&key.namespace, &key.name).is_some());
        }
    }
}

/// The account's quota on trust policies is asked for only when AWS's default would refuse one.
async fn desire_within_quota(
    shared: &Arc<Shared>,
    session: &Session,
    mut inputs: Inputs,
) -> Result<Desired, IdentityRefused> {
    let known = shared.trust_limits.lock().await.get(&inputs.account).copied();
    let known = known.filter(|(asked, _)| asked.elapsed() < TRUST_LIMIT_AGE);
    inputs.trust_limit = known.map(|(_, limit)| limit);
    let desired = desire(&inputs)?;
    let is_too_long = |refused: &RequestRefused| matches!(refused, RequestRefused::TrustTooLong { .. });
    let too_long = desired
        .requests
        .iter()
        .any(|request| matches!(&request.verdict, RequestVerdict::Refused(refused) if is_too_long(refused)))
        || desired
            .pre_granted
            .iter()
            .any(|ahead| matches!(&ahead.fate, Fate::Refused(NotGranted::Refused(refused)) if is_too_long(refused)));
    if !too_long || inputs.trust_limit.is_some() {
        return Ok(desired);
    }
    match trust_limit(session).await {
        Ok(limit) => {
            shared.trust_limits.lock().await.insert(inputs.account.clone(), (Instant::now(), limit));
            inputs.trust_limit = Some(limit);
            desire(&inputs)
        }
        // Unknown, AWS's default stands: the request is refused with that number, nothing is written.
        Err(fault) => {
            tracing::warn!(error = %fault, "the account's quota on trust policies is unknown");
            Ok(desired)
        }
    }
}

/// What comes of a pass whose notes ahead of its changes could not be written.
pub(super) fn not_begun(error: &kube::Error) -> Outcome {
    Outcome::NotWritten(kubernetes::errors::fault("patch status", "a status", error).class)
}
