//! What is known of each watch: when it last answered, what its last error was, and which objects it cannot decode.
//!
//! A store of a watch that fails says what was true when it last answered, and goes on saying it. So each watch is renewed
//! every minute, and one that fails for two minutes, or does not answer for five, is lost: nobody claims what it would have
//! to tell.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::runtime::watcher;
use tokio::time::Instant;

use super::outcome::fault_reason;
use super::watches::IdentityRef;
use crate::kubernetes::errors::fault;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watch {
    /// ClusterIdentities.
    ClusterIdentities,
    /// CredentialsRequests.
    CredentialsRequests,
    /// UpgradeChecks.
    UpgradeChecks,
    /// Namespaces, their metadata alone.
    Namespaces,
    /// The Secrets that Rolecall writes, their metadata alone.
    Secrets,
    /// Secrets with signing keys, their metadata alone.
    SigningKeySecrets,
    /// ConfigMaps with signing keys, their metadata alone.
    SigningKeyConfigMaps,
    /// ConfigMaps with a release's manifests, their metadata alone.
    ReleaseConfigMaps,
}

impl Watch {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ClusterIdentities,
        Self::CredentialsRequests,
        Self::UpgradeChecks,
        Self::Namespaces,
        Self::Secrets,
        Self::SigningKeySecrets,
        Self::SigningKeyConfigMaps,
        Self::ReleaseConfigMaps,
    ];

    /// Its label in metrics and its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIdentities => "clusteridentities",
            Self::CredentialsRequests => "credentialsrequests",
            Self::UpgradeChecks => "upgradechecks",
            Self::Namespaces => "namespaces",
            Self::Secrets => "secrets",
            Self::SigningKeySecrets => "signing-key-secrets",
            Self::SigningKeyConfigMaps => "signing-key-configmaps",
            Self::ReleaseConfigMaps => "release-configmaps",
        }
    }

    /// Whether verdicts rest on what it keeps. The others only tell earlier what each reconcile reads for itself.
    pub const fn feeds_verdicts(self) -> bool {
        matches!(
            self,
            Self::ClusterIdentities
                | Self::CredentialsRequests
                | Self::UpgradeChecks
                | Self::Namespaces
                | Self::Secrets
        )
    }
}

/// When a watch counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    /// How long a watch request lasts before it is made anew, in whole seconds.
    pub renewal: Duration,
    /// How long a watch may fail.
    pub failing: Duration,
    /// How long a watch may say nothing at all: neither an event nor a bookmark nor an answer to its renewal.
    pub silent: Duration,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self { renewal: Duration::from_mins(1), failing: Duration::from_mins(2), silent: Duration::from_mins(5) }
    }
}

/// A watch that is lost, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostWatch {
    /// Which.
    pub watch: Watch,
    /// What it last failed with, or that it does not answer. No times: the text is the same until the cause changes.
    pub cause: String,
}

impl std::fmt::Display for LostWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the watch of {}: {}", self.watch.name(), self.cause)
    }
}

/// How many unreadable objects of a watch `/readyz` and the metrics name, the rest being counted: whoever may create objects can
/// make any number of them.
pub const MOST_NAMED: usize = 20;

/// An object that a watch cannot decode, or of which a part cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnreadableObject {
    /// Its namespace; empty for a namespace itself.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

struct State {
    /// When it last answered; at first when it was started.
    answered: Instant,
    failing: Option<Failing>,
    recovered: Option<Recovered>,
    errors: BTreeMap<&'static str, u64>,
    unreadable: BTreeMap<UnreadableObject, String>,
    /// Those of the list that is being read; they replace the others when it is complete.
    listed: BTreeMap<UnreadableObject, String>,
}

/// A watch that fails so soon after it had recovered has not.
const RELAPSE: Duration = Duration::from_secs(10);

/// A failure that is over.
struct Recovered {
    at: Instant,
    /// Since when it had failed, and with what.
    since: Instant,
    cause: String,
}

struct Failing {
    since: Instant,
    cause: String,
}

/// What metrics tell of a watch.
#[derive(Debug, Clone)]
pub struct WatchReport {
    /// Which.
    pub watch: Watch,
    /// Whether it is lost.
    pub lost: bool,
    /// How long ago it last answered.
    pub age: Duration,
    /// How often it has failed, by reason.
    pub errors: BTreeMap<&'static str, u64>,
    /// The objects that it cannot decode, with what is wrong.
    pub unreadable: BTreeMap<UnreadableObject, String>,
}

/// The state of all watches.
#[derive(Clone)]
pub struct WatchHealth {
    limits: WatchLimits,
    states: Arc<Mutex<BTreeMap<Watch, State>>>,
    /// The ClusterIdentities that wait for a watch to answer again.
    waiting: Arc<Mutex<HashSet<IdentityRef>>>,
}

impl WatchHealth {
    /// Nothing is watched yet.
    pub fn new(limits: WatchLimits) -> Self {
        Self { limits, states: Arc::default(), waiting: Arc::default() }
    }

    /// All watches begin now.
    pub fn start(&self) {
        let begun = || State {
            answered: Instant::now(),
            failing: None,
            recovered: None,
            errors: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            listed: BTreeMap::new(),
        };
        *self.states() = Watch::ALL.into_iter().map(|watch| (watch, begun())).collect();
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<Watch, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, watch: Watch, update: impl FnOnce(&mut State)) {
        if let Some(state) = self.states().get_mut(&watch) {
            update(state);
        }
    }

    /// The configuration of a watch request that is renewed in time.
    pub fn config(&self) -> watcher::Config {
        let seconds = u32::try_from(self.limits.renewal.as_secs()).unwrap_or(u32::MAX).max(1);
        watcher::Config::default().timeout(seconds)
    }

    /// Notes that a watch was opened, or delivered an event or a bookmark.
    pub fn answered(&self, watch: Watch) {
        self.update(watch, |state| {
            state.answered = Instant::now();
            if let Some(failing) = state.failing.take() {
                state.recovered = Some(Recovered { at: Instant::now(), since: failing.since, cause: failing.cause });
                tracing::info!(watch = watch.name(), "the watch answers again");
            }
        });
    }

    /// Notes that a watch failed.
    pub fn failed(&self, watch: Watch, error: &watcher::Error) {
        let (reason, cause) = cause(watch, error);
        self.update(watch, |state| {
            let errors = state.errors.entry(reason).or_default();
            *errors = errors.saturating_add(1);
            match &mut state.failing {
                Some(failing) => failing.cause = cause,
                failing @ None => {
                    tracing::warn!(watch = watch.name(), cause, "a watch was interrupted; it is tried again");
                    // One that is opened and fails at once, again and again, has failed all the time.
                    let relapse = state.recovered.as_ref().filter(|recovered| recovered.at.elapsed() < RELAPSE);
                    let since = relapse.map_or_else(Instant::now, |recovered| recovered.since);
                    *failing = Some(Failing { since, cause });
                }
            }
        });
    }

    /// Notes what of an object cannot be decoded; `None` for an object that can, or that is gone.
    pub fn decoded(&self, watch: Watch, object: UnreadableObject, problem: Option<String>) {
        self.update(watch, |state| match problem {
            Some(problem) => drop(state.unreadable.insert(object, problem)),
            None => drop(state.unreadable.remove(&object)),
        });
    }

    /// Notes an object of a list that is being read.
    pub fn listed(&self, watch: Watch, object: UnreadableObject, problem: Option<String>) {
        if let Some(problem) = problem {
            self.update(watch, |state| drop(state.listed.insert(object, problem)));
        }
    }

    /// A list begins, or is complete.
    pub fn list_is(&self, watch: Watch, complete: bool) {
        self.update(watch, |state| {
            let listed = std::mem::take(&mut state.listed);
            if complete {
                state.unreadable = listed;
            }
        });
    }

    /// The watches that are lost.
    pub fn lost(&self) -> Vec<LostWatch> {
        let states = self.states();
        states.iter().filter_map(|(watch, state)| self.lost_of(*watch, state)).collect()
    }

    fn lost_of(&self, watch: Watch, state: &State) -> Option<LostWatch> {
        let cause = match &state.failing {
            Some(failing) if failing.since.elapsed() >= self.limits.failing => failing.cause.clone(),
            _ if state.answered.elapsed() >= self.limits.silent => {
                "the API server has sent nothing for too long".to_owned()
            }
            _ => return None,
        };
        Some(LostWatch { watch, cause })
    }

    /// The lost watches that verdicts rest on.
    pub fn blind(&self) -> Vec<LostWatch> {
        let mut lost = self.lost();
        lost.retain(|lost| lost.watch.feeds_verdicts());
        lost
    }

    /// The first watch that verdicts rest on and that fails just now, lost or not, or that did so until a moment ago, so that what
    /// it has missed may not have arrived: nothing is deleted on the strength of what it does not show.
    pub fn interrupted(&self) -> Option<LostWatch> {
        let states = self.states();
        let fails = |(watch, state): (&Watch, &State)| {
            let failing = state.failing.as_ref().filter(|_| watch.feeds_verdicts());
            let recovered = state.recovered.as_ref().filter(|recovered| recovered.at.elapsed() < RELAPSE);
            let recovered = recovered.filter(|_| watch.feeds_verdicts());
            let cause = failing.map(|failing| &failing.cause).or(recovered.map(|recovered| &recovered.cause));
            let now = cause.map(|cause| LostWatch { watch: *watch, cause: cause.clone() });
            now.or_else(|| self.lost_of(*watch, state).filter(|_| watch.feeds_verdicts()))
        };
        states.iter().find_map(fails)
    }

    /// Notes that something of a ClusterIdentity waits for a watch to answer again.
    pub fn wait(&self, identity: IdentityRef) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(identity);
    }

    /// The ClusterIdentities that wait, once no watch fails any more.
    pub fn waited(&self) -> HashSet<IdentityRef> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() || self.interrupted().is_some() { HashSet::new() } else { std::mem::take(&mut *waiting) }
    }

    /// Whether a watch fails just now.
    pub fn is_failing(&self, watch: Watch) -> bool {
        let states = self.states();
        states.get(&watch).is_none_or(|state| state.failing.is_some() || self.lost_of(watch, state).is_some())
    }

    /// What each watch last failed with, whether it is lost or not.
    pub fn failing(&self) -> Vec<LostWatch> {
        let states = self.states();
        let failing = states.iter().filter_map(|(watch, state)| {
            Some(LostWatch { watch: *watch, cause: state.failing.as_ref()?.cause.clone() })
        });
        failing.collect()
    }

    /// What metrics and `/readyz` tell.
    pub fn report(&self) -> Vec<WatchReport> {
        let states = self.states();
        let report = |(watch, state): (&Watch, &State)| WatchReport {
            watch: *watch,
            lost: self.lost_of(*watch, state).is_some(),
            age: state.answered.elapsed(),
            errors: state.errors.clone(),
            unreadable: state.unreadable.clone(),
        };
        states.iter().map(report).collect()
    }

    /// A client for one watch: it notes when a watch request is answered, and each event and bookmark that arrives. kube's
    /// watcher tells neither. With `metadata_only` the API server is asked for no more than metadata.
    pub fn client(&self, client: &Client, watch: Watch, metadata_only: bool) -> Client {
        let (health, inner) = (self.clone(), client.clone());
        let namespace = client.default_namespace().to_owned();
        let service = tower::service_fn(move |mut request: http::Request<Body>| {
            let (health, inner) = (health.clone(), inner.clone());
            let is_watch = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
            if metadata_only {
                let accept = if is_watch { METADATA } else { METADATA_LIST };
                request.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static(accept));
            }
            async move {
                let response = inner.send(request).await?;
                let is_opened = is_watch && response.status().is_success();
                if is_opened {
                    health.answered(watch);
                }
                let noted = move |frame: http_body::Frame<bytes::Bytes>| {
                    if is_opened && frame.data_ref().is_some_and(|data| !data.starts_with(ERROR_EVENT)) {
                        health.answered(watch);
                    }
                    frame
                };
                Ok::<_, kube::Error>(response.map(|body| body.map_frame(noted)))
            }
        });
        Client::new(service, namespace)
    }
}

/// How the API server begins the line of an error in a watch.
const ERROR_EVENT: &[u8] = br#"{"type":"ERROR""#;
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Reason and text of an error.
fn cause(watch: Watch, error: &watcher::Error) -> (&'static str, String) {
    let kube = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(status) => {
            let error = kube::Error::Api(status.clone());
            let fault = fault("watch", watch.name(), &error);
            return (fault_reason(fault.class), fault.message);
        }
        watcher::Error::NoResourceVersion => return ("InvalidResponse", error.to_string()),
    };
    let fault = fault("watch", watch.name(), kube);
    (fault_reason(fault.class), fault.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden() -> watcher::Error {
        let status = kube::core::Status::failure("requests is forbidden", "Forbidden").with_code(403);
        watcher::Error::WatchStartFailed(kube::Error::Api(status.boxed()))
    }

    fn started() -> WatchHealth {
        let health = WatchHealth::new(WatchLimits::default());
        health.start();
        health
    }

    fn object(name: &str) -> UnreadableObject {
        UnreadableObject { namespace: "n".into(), name: name.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_for_two_minutes_is_lost_until_it_answers() {
        let health = started();
        let requests = Watch::CredentialsRequests;
        health.failed(requests, &forbidden());
        assert_eq!(health.lost(), []);
        assert_eq!(health.interrupted().unwrap().watch, requests);
        assert!(health.is_failing(requests) && !health.is_failing(Watch::Secrets));
        tokio::time::advance(Duration::from_secs(119)).await;
        health.failed(requests, &forbidden());
        assert_eq!(health.lost(), []);
        tokio::time::advance(Duration::from_secs(1)).await;
        let lost = health.lost();
        assert_eq!(lost[0].to_string(), "the watch of credentialsrequests: requests is forbidden");
        assert_eq!(lost, health.blind());
        health.answered(requests);
        assert_eq!(health.lost(), []);
        assert!(health.interrupted().is_some(), "what it has missed may not have arrived");
        tokio::time::advance(RELAPSE).await;
        assert_eq!(health.interrupted(), None);
        let report = health.report().into_iter().find(|report| report.watch == requests).unwrap();
        assert_eq!(report.errors, [("AccessDenied", 2)].into());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_opened_and_fails_again_and_again_is_lost() {
        let health = started();
        for _ in 0..5 {
            health.failed(Watch::Secrets, &forbidden());
            tokio::time::advance(Duration::from_secs(29)).await;
            health.answered(Watch::Secrets);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(health.lost(), []);
        health.failed(Watch::Secrets, &forbidden());
        assert_eq!(health.lost().len(), 1);
        health.answered(Watch::Secrets);
        tokio::time::advance(Duration::from_secs(11)).await;
        health.failed(Watch::Secrets, &forbidden());
        assert_eq!(health.lost(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_says_nothing_for_five_minutes_is_lost() {
        let health = started();
        tokio::time::advance(Duration::from_secs(299)).await;
        assert_eq!(health.lost(), []);
        for watch in Watch::ALL.into_iter().filter(|watch| *watch != Watch::Namespaces) {
            health.answered(watch);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        let lost: Vec<Watch> = health.lost().into_iter().map(|lost| lost.watch).collect();
        assert_eq!(lost, [Watch::Namespaces]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_named_once_when_no_watch_fails_any_more() {
        let health = started();
        let identity = IdentityRef::new("a").within("n");
        health.failed(Watch::Secrets, &forbidden());
        health.wait(identity.clone());
        health.wait(identity.clone());
        assert!(health.waited().is_empty());
        health.answered(Watch::Secrets);
        assert!(health.waited().is_empty(), "what it has missed may not have arrived");
        tokio::time::advance(RELAPSE).await;
        assert_eq!(health.waited(), HashSet::from([identity]));
        assert!(health.waited().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_feeds_no_verdict_makes_nobody_blind() {
        let health = started();
        health.failed(Watch::SigningKeyConfigMaps, &forbidden());
        tokio::time::advance(Duration::from_mins(3)).await;
        assert_eq!((health.lost().len(), health.blind().len()), (1, 0));
        assert_eq!(health.interrupted(), None);
    }

    /// An API server that answers every watch with two lines, and the `Accept` headers that it was sent.
    fn answering(lines: &'static [&'static str]) -> (Client, Arc<Mutex<Vec<String>>>) {
        let accepted: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = accepted.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let accept = request.headers().get(http::header::ACCEPT).map(|value| value.to_str().unwrap().to_owned());
            seen.lock().unwrap().push(accept.unwrap_or_default());
            async move { Ok::<_, kube::Error>(http::Response::new(Body::from(lines.concat().into_bytes()))) }
        });
        (Client::new(service, "default"), accepted)
    }

    async fn read(client: &Client, url: &str) {
        let request = http::Request::get(url).body(Body::empty()).unwrap();
        let response = client.send(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_answers_when_it_is_opened_and_a_list_alone_does_not_count() {
        let health = started();
        let (inner, accepted) = answering(&[r#"{"type":"BOOKMARK"}"#]);
        let client = health.client(&inner, Watch::Secrets, true);
        health.failed(Watch::Secrets, &forbidden());
        read(&client, "/api/v1/secrets?limit=500").await;
        assert!(health.is_failing(Watch::Secrets), "the items may be what cannot be read");
        read(&client, "/api/v1/secrets?watch=true&allowWatchBookmarks=true").await;
        assert!(!health.is_failing(Watch::Secrets));
        assert_eq!(*accepted.lock().unwrap(), [METADATA_LIST, METADATA]);
        read(&health.client(&inner, Watch::UpgradeChecks, false), "/x?watch=true").await;
        assert_eq!(accepted.lock().unwrap()[2], "", "whole objects are asked for as kube does");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_a_watch_delivers_is_no_answer() {
        let health = started();
        let (inner, _) = answering(&[r#"{"type":"ERROR","object":{}}"#]);
        let client = health.client(&inner, Watch::Secrets, true);
        let request = http::Request::get("/x?watch=true").body(Body::empty()).unwrap();
        let response = client.send(request).await.unwrap();
        health.failed(Watch::Secrets, &forbidden());
        response.into_body().collect().await.unwrap();
        assert!(health.is_failing(Watch::Secrets));
    }

    #[tokio::test]
    async fn unreadable_objects_are_those_of_the_last_list_and_of_later_events() {
        let health = started();
        let watch = Watch::CredentialsRequests;
        let unreadable = || {
            let report = health.report().into_iter().find(|report| report.watch == watch).unwrap();
            report.unreadable.into_keys().map(|object| object.name).collect::<Vec<_>>()
        };
        health.list_is(watch, false);
        health.listed(watch, object("a"), Some("too deep".into()));
        health.listed(watch, object("b"), None);
        assert_eq!(unreadable(), [""; 0]);
        health.list_is(watch, true);
        assert_eq!(unreadable(), ["a"]);
        health.decoded(watch, object("c"), Some("too deep".into()));
        health.decoded(watch, object("a"), None);
        assert_eq!(unreadable(), ["c"]);
        // A list that is given up half way leaves nothing behind.
        health.list_is(watch, false);
        health.listed(watch, object("d"), Some("too deep".into()));
        health.list_is(watch, false);
        health.list_is(watch, true);
        assert_eq!(unreadable(), [""; 0]);
    }
}
