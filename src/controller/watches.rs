//! What the controller watches, the stores that the watches keep, and which ClusterIdentities an event concerns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::PartialObjectMeta;
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::mpsc;

use super::watch_health::{UnreadableObject, Watch, WatchHealth};
use crate::api::credentials_request::ObjectReference;
use crate::api::{ClusterIdentity, CredentialsRequest, RELEASE_LABEL, SIGNING_KEY_LABEL, UpgradeCheck};
use crate::desired::owner::{OWNER_MARK, secret_mark};
use crate::desired::secret::{IDENTITY_ANNOTATION, MANAGED_BY_LABEL, SecretKey};
use crate::kubernetes::decoded::{Decoded, DecodedKind};
use crate::observed::LeftoverSecret;

/// A ClusterIdentity as it is watched: one that cannot be decoded does not stop the others.
pub type DecodedIdentity = Decoded<ClusterIdentity>;
/// A CredentialsRequest as it is watched.
pub type DecodedRequest = Decoded<CredentialsRequest>;
/// An UpgradeCheck as it is watched.
pub type DecodedCheck = Decoded<UpgradeCheck>;
/// The metadata of an object as it is watched.
pub type DecodedMeta<K> = Decoded<PartialObjectMeta<K>>;
/// An object's labels.
type Labels = BTreeMap<String, String>;
/// What a pass is triggered for.
pub type IdentityRef = ObjectRef<DecodedIdentity>;

/// The stores.
#[derive(Clone)]
pub struct Stores {
    /// All ClusterIdentities that are watched.
    pub identities: Store<DecodedIdentity>,
    /// All CredentialsRequests.
    pub requests: Store<DecodedRequest>,
    /// All UpgradeChecks.
    pub checks: Store<DecodedCheck>,
    /// All namespaces, their metadata alone.
    pub namespaces: Store<DecodedMeta<Namespace>>,
    /// The Secrets that carry our label, their metadata alone: contents never enter a cache.
    pub secrets: Store<DecodedMeta<Secret>>,
}

impl Stores {
    /// What a look at each well-formed ClusterIdentity finds. They are lent, not copied: each has a status, and each event
    /// looks at all of them.
    pub fn among_identities<T>(&self, look: impl Fn(&ClusterIdentity) -> Option<T>) -> Vec<T> {
        self.identities.state().iter().filter_map(|guarded| look(guarded.0.as_ref().ok()?)).collect()
    }

    /// Whether a namespace exists.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.get(&ObjectRef::new(name)).is_some()
    }

    /// The resource version of a Secret that carries our label.
    pub fn secret_version(&self, namespace: &str, name: &str) -> Option<String> {
        let secret = self.secrets.get(&ObjectRef::new(name).within(namespace))?;
        secret.resource_version()
    }

    /// The Secrets that carry the mark of a ClusterIdentity (`namespace/name`).
    pub fn secrets_of(&self, identity: &str) -> Vec<LeftoverSecret> {
        let secrets = self.secrets.state();
        let marked = secrets.iter().filter(|secret| {
            secret.annotations().get(IDENTITY_ANNOTATION).is_some_and(|owner| owner == identity)
                && secret.meta().deletion_timestamp.is_none()
        });
        let mut secrets: Vec<LeftoverSecret> = marked
            .map(|secret| {
                let key = SecretKey { namespace: secret.namespace().unwrap_or_default(), name: secret.name_any() };
                let mark = secret.annotations().get(OWNER_MARK).and_then(|mark| secret_mark(mark, &key));
                (mark.map(str::to_owned), key, secret)
            })
            .map(|(mark, key, secret)| LeftoverSecret {
                mark,
                key,
                uid: secret.uid().unwrap_or_default(),
                resource_version: secret.resource_version().unwrap_or_default(),
            })
            .collect();
        secrets.sort_by(|a, b| a.key.cmp(&b.key));
        secrets
    }

    /// The ClusterIdentities that an object of this namespace with these labels would belong to, as a request.
    fn selecting(&self, namespace: &str, labels: &Labels) -> Vec<IdentityRef> {
        // A candidate is read by UpgradeChecks, whatever labels the requests in force have.
        let candidate = labels.contains_key(RELEASE_LABEL);
        self.among_identities(|identity| {
            let concerned = selects(identity, namespace, labels) || candidate && in_namespaces(identity, namespace);
            concerned.then(|| reference(identity))
        })
    }

    /// The ClusterIdentities with a request for such a Secret, each once.
    fn asking_for(&self, is_meant: impl Fn(&ObjectReference) -> bool) -> Vec<IdentityRef> {
        let mut concerned = Vec::new();
        for request in self.requests.state() {
            let Ok(request) = request.0.as_ref() else { continue };
            if is_meant(&request.spec.secret_ref) {
                concerned.extend(self.selecting(&request.namespace().unwrap_or_default(), request.labels()));
            }
        }
        once_each(concerned)
    }

    /// The Secrets that any request in force asks for, whoever serves it.
    pub fn secrets_asked_for(&self) -> BTreeSet<SecretKey> {
        let requests = self.requests.state();
        let in_force = requests.iter().filter_map(|request| request.0.as_ref().ok()).filter(|request| {
            request.metadata.deletion_timestamp.is_none() && !request.labels().contains_key(RELEASE_LABEL)
        });
        in_force.filter_map(|request| request.spec.secret_ref.key()).collect()
    }

    /// Whether a namespace is there and stays.
    pub fn keeps_namespace(&self, name: &str) -> bool {
        self.namespaces.get(&ObjectRef::new(name)).is_some_and(|found| found.meta().deletion_timestamp.is_none())
    }

    /// The well-formed UpgradeChecks, in the order of their names.
    pub fn well_formed_checks(&self) -> Vec<UpgradeCheck> {
        let checks = self.checks.state();
        let mut checks: Vec<UpgradeCheck> =
            checks.iter().filter_map(|guarded| guarded.0.as_ref().ok().cloned()).collect();
        checks.sort_by_key(|check| (check.namespace(), check.name_any()));
        checks
    }
}

/// Whether a ClusterIdentity selects a request of this namespace with these labels. A bad selector selects nothing.
pub fn selects(identity: &ClusterIdentity, namespace: &str, labels: &Labels) -> bool {
    in_namespaces(identity, namespace)
        && match &identity.spec.credentials_requests.selector {
            None => true,
            Some(selector) => {
                // Most have labels alone, which are compared without a copy.
                let mut wanted = selector.match_labels.iter().flatten();
                wanted.all(|(key, value)| labels.get(key) == Some(value))
                    && (selector.match_expressions.iter().flatten().next().is_none()
                        || Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels)))
            }
        }
}

/// Whether a ClusterIdentity takes its requests from a namespace.
pub fn in_namespaces(identity: &ClusterIdentity, namespace: &str) -> bool {
    match identity.spec.credentials_requests.namespaces.as_slice() {
        [] => identity.metadata.namespace.as_deref() == Some(namespace),
        namespaces => namespaces.iter().any(|allowed| allowed == namespace),
    }
}

/// A ClusterIdentity as a trigger.
pub fn reference(identity: &ClusterIdentity) -> IdentityRef {
    ObjectRef::new(&identity.name_any()).within(&identity.namespace().unwrap_or_default())
}

/// Starts every watch but that of the ClusterIdentities. Events go to `triggers` as the ClusterIdentities that they concern.
pub fn start(
    client: &Client,
    identities: Store<DecodedIdentity>,
    checks_of: impl FnOnce(Client) -> Api<DecodedCheck>,
    health: &WatchHealth,
    triggers: &mpsc::UnboundedSender<IdentityRef>,
) -> (Stores, Vec<tokio::task::JoinHandle<()>>) {
    let (requests, request_writer) = store();
    let (checks, check_writer) = store();
    let (namespaces, namespace_writer) = store();
    let (secrets, secret_writer) = store();
    let stores = Stores { identities, requests, checks, namespaces, secrets };
    let whole = |watch| health.client(client, watch, false);
    let metadata = |watch| health.client(client, watch, true);

    let api: Api<DecodedRequest> = Api::all(whole(Watch::CredentialsRequests));
    let stream = reflector(request_writer, observed(api, health, Watch::CredentialsRequests, None)).default_backoff();
    let mut tasks = vec![run(stream, requests_to_identities(stores.clone()), triggers.clone())];

    let api = checks_of(whole(Watch::UpgradeChecks));
    let stream = reflector(check_writer, observed(api, health, Watch::UpgradeChecks, None)).default_backoff();
    tasks.push(run(stream, checks_to_identities(), triggers.clone()));

    let api: Api<DecodedMeta<Namespace>> = Api::all(metadata(Watch::Namespaces));
    let stream = reflector(namespace_writer, observed(api, health, Watch::Namespaces, None)).default_backoff();
    tasks.push(run(stream, namespaces_to_identities(stores.clone()), triggers.clone()));

    let ours = format!("{}={}", MANAGED_BY_LABEL.0, MANAGED_BY_LABEL.1);
    let api: Api<DecodedMeta<Secret>> = Api::all(metadata(Watch::Secrets));
    let stream = reflector(secret_writer, observed(api, health, Watch::Secrets, Some(&ours))).default_backoff();
    tasks.push(run(stream, secrets_to_identities(stores.clone()), triggers.clone()));

    let (watch, label) = (Watch::SigningKeySecrets, Some(SIGNING_KEY_LABEL));
    let api: Api<DecodedMeta<Secret>> = Api::all(metadata(watch));
    let stream = observed(api, health, watch, label).default_backoff();
    tasks.push(run(stream, keys_to_identities(stores.clone()), triggers.clone()));

    let watch = Watch::SigningKeyConfigMaps;
    let api: Api<DecodedMeta<ConfigMap>> = Api::all(metadata(watch));
    let stream = observed(api, health, watch, label).default_backoff();
    tasks.push(run(stream, keys_to_identities(stores.clone()), triggers.clone()));

    let watch = Watch::ReleaseConfigMaps;
    let api: Api<DecodedMeta<ConfigMap>> = Api::all(metadata(watch));
    let stream = observed(api, health, watch, Some(RELEASE_LABEL)).default_backoff();
    tasks.push(run(stream, releases_to_identities(stores.clone()), triggers.clone()));
    (stores, tasks)
}

/// A watch whose events, errors and undecodable objects are noted.
pub fn observed<K>(
    api: Api<Decoded<K>>,
    health: &WatchHealth,
    watch: Watch,
    label: Option<&str>,
) -> impl Stream<Item = Result<Event<Decoded<K>>, watcher::Error>> + Send + use<K>
where
    K: DecodedKind + Clone + std::fmt::Debug + Send + 'static,
{
    let health = health.clone();
    let config = label.into_iter().fold(health.config(), watcher::Config::labels);
    watcher::watcher(api, config).inspect(move |event| match event {
        Err(error) => health.failed(watch, error),
        Ok(event) => {
            let named = |object: &Decoded<K>| UnreadableObject {
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
            };
            match event {
                Event::Init => return health.list_is(watch, false),
                Event::InitApply(object) => return health.listed(watch, named(object), object.problem()),
                Event::InitDone => health.list_is(watch, true),
                Event::Apply(object) => health.decoded(watch, named(object), object.problem()),
                Event::Delete(object) => health.decoded(watch, named(object), None),
            }
            health.answered(watch);
        }
    })
}

/// Drives one watch for the life of the process.
#[allow(clippy::disallowed_methods, reason = "the handle is supervised by the caller")]
fn run<K, S, F>(stream: S, concerns: F, triggers: mpsc::UnboundedSender<IdentityRef>) -> tokio::task::JoinHandle<()>
where
    K: 'static,
    S: Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    F: Fn(&Event<K>) -> Vec<IdentityRef> + Send + 'static,
{
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            // An error was noted when it came; the watch is tried again after a while.
            let Ok(event) = event else { continue };
            for identity in concerns(&event) {
                // A closed channel means that the process is stopping.
                let _ = triggers.send(identity);
            }
        }
    })
}

/// The object of an event that speaks of one.
fn object<K>(event: &Event<K>) -> Option<(&K, bool)> {
    match event {
        Event::Apply(object) | Event::InitApply(object) => Some((object, false)),
        Event::Delete(object) => Some((object, true)),
        Event::Init | Event::InitDone => None,
    }
}

/// Requests concern those who select them, or did when they were last seen, unless only their status changed, which is our
/// own doing.
fn requests_to_identities(stores: Stores) -> impl Fn(&Event<DecodedRequest>) -> Vec<IdentityRef> + Send {
    // The labels are remembered, and not whom they concerned: at the start, requests are seen before ClusterIdentities.
    let news: News<_, Option<CompactLabels>> = News::default();
    move |event| {
        let Some((request, deleted)) = object(event) else { return Vec::new() };
        let meta = request.meta();
        let key = (meta.namespace.clone(), meta.name.clone());
        let shape = (meta.generation, &meta.labels, &meta.annotations, &meta.uid);
        let (namespace, labels) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.labels.as_ref().unwrap_or(&NONE));
        let Some(before) = news.replace(key, (!deleted).then_some(shape), || Some(compact(labels))) else {
            return Vec::new();
        };
        let mut concerned = stores.selecting(namespace, labels);
        let before = before.map(|before| before.into_iter().map(|(key, value)| (key.into(), value.into())).collect());
        if let Some(before) = before.filter(|before: &Labels| before != labels) {
            concerned.extend(stores.selecting(namespace, &before));
        }
        once_each(concerned)
    }
}

static NONE: Labels = Labels::new();

fn once_each(mut identities: Vec<IdentityRef>) -> Vec<IdentityRef> {
    identities.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    identities.dedup();
    identities
}

/// Labels in as little room as they need: there are thousands of requests.
type CompactLabels = Box<[(Box<str>, Box<str>)]>;

fn compact(labels: &Labels) -> CompactLabels {
    labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

/// Remembers what was last seen under a key, as a hash: thousands of objects would be held twice otherwise. A part may be
/// kept as it is.
struct News<K, P = ()> {
    seen: Mutex<HashMap<K, (u64, P)>>,
    hasher: RandomState,
}

impl<K, P> Default for News<K, P> {
    fn default() -> Self {
        Self { seen: Mutex::default(), hasher: RandomState::new() }
    }
}

impl<K: Hash + Eq> News<K> {
    fn is_new(&self, key: K, value: Option<impl Hash>) -> bool {
        self.replace(key, value, || ()).is_some()
    }
}

impl<K: Hash + Eq, P: Default> News<K, P> {
    /// The part that was kept under the key; `None` when this is no news.
    fn replace(&self, key: K, value: Option<impl Hash>, part: impl FnOnce() -> P) -> Option<P> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match value.map(|value| self.hasher.hash_one(value)) {
            None => seen.remove(&key),
            Some(hash) if seen.get(&key).is_some_and(|(before, _)| *before == hash) => return None,
            Some(hash) => seen.insert(key, (hash, part())),
        };
        Some(before.map(|(_, part)| part).unwrap_or_default())
    }
}

/// A namespace that comes or goes concerns those with a request whose Secret belongs there.
fn namespaces_to_identities(stores: Stores) -> impl Fn(&Event<DecodedMeta<Namespace>>) -> Vec<IdentityRef> + Send {
    let news = News::default();
    move |event| {
        let Some((namespace, deleted)) = object(event) else { return Vec::new() };
        let name = namespace.name_any();
        if !news.is_new(name.clone(), (!deleted).then_some(&namespace.meta().uid)) {
            return Vec::new();
        }
        stores.asking_for(|secret| secret.namespace.as_deref() == Some(&name))
    }
}

/// A Secret of ours concerns the ClusterIdentity that its annotation names, or named when it was last seen. One that goes
/// makes way for whoever else has a request for it.
fn secrets_to_identities(stores: Stores) -> impl Fn(&Event<DecodedMeta<Secret>>) -> Vec<IdentityRef> + Send {
    let owners: Mutex<HashMap<String, IdentityRef>> = Mutex::default();
    move |event| {
        let Some((secret, deleted)) = object(event) else { return Vec::new() };
        let named = secret.annotations().get(IDENTITY_ANNOTATION).and_then(|owner| owner.split_once('/'));
        let named = named.map(|(namespace, name)| IdentityRef::new(name).within(namespace));
        let uid = secret.uid().unwrap_or_default();
        let mut owners = owners.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &named {
            Some(owner) if !deleted => owners.insert(uid, owner.clone()),
            _ => owners.remove(&uid),
        };
        drop(owners);
        let mut concerned: Vec<IdentityRef> = named.into_iter().chain(before).collect();
        if deleted {
            let (namespace, name) = (secret.meta().namespace.as_deref(), secret.meta().name.as_deref());
            concerned
                .extend(stores.asking_for(|of| of.namespace.as_deref() == namespace && of.name.as_deref() == name));
        }
        once_each(concerned)
    }
}

/// A source of signing keys concerns the ClusterIdentities of its namespace that name it.
fn keys_to_identities<K: Resource<DynamicType = ()>>(
    stores: Stores,
) -> impl Fn(&Event<DecodedMeta<K>>) -> Vec<IdentityRef> + Send {
    move |event| {
        let Some((source, _)) = object(event) else { return Vec::new() };
        let names = |identity: &ClusterIdentity| {
            identity.metadata.namespace == source.meta().namespace
                && identity.spec.issuer.signing_keys.iter().any(|key| {
                    let references = [key.secret_ref.as_ref(), key.config_map_ref.as_ref()];
                    references.into_iter().flatten().any(|r| Some(&r.name) == source.meta().name.as_ref())
                })
        };
        stores.among_identities(|identity| names(identity).then(|| reference(identity)))
    }
}

/// An UpgradeCheck concerns the ClusterIdentity that it names, unless only its status changed, which is our own doing.
fn checks_to_identities() -> impl Fn(&Event<DecodedCheck>) -> Vec<IdentityRef> + Send {
    let news = News::default();
    move |event| {
        let Some((check, deleted)) = object(event) else { return Vec::new() };
        let meta = check.meta();
        let key = (meta.namespace.clone(), meta.name.clone());
        let doomed = meta.deletion_timestamp.is_some();
        let shape = (meta.generation, &meta.uid, doomed, &meta.annotations);
        if !news.is_new(key, (!deleted).then_some(shape)) {
            return Vec::new();
        }
        check.0.iter().map(check_reference).collect()
    }
}

/// The ClusterIdentity of an UpgradeCheck.
pub fn check_reference(check: &UpgradeCheck) -> IdentityRef {
    IdentityRef::new(&check.spec.cluster_identity_ref.name).within(&check.namespace().unwrap_or_default())
}

/// A ConfigMap with a release's manifests concerns the ClusterIdentities of the UpgradeChecks that name it.
fn releases_to_identities(stores: Stores) -> impl Fn(&Event<DecodedMeta<ConfigMap>>) -> Vec<IdentityRef> + Send {
    move |event| {
        let Some((map, _)) = object(event) else { return Vec::new() };
        let names = |check: &&UpgradeCheck| {
            let maps = check.spec.release.config_map_refs.iter().flatten();
            check.namespace() == map.meta().namespace && maps.into_iter().any(|of| of.name == map.name_any())
        };
        stores.well_formed_checks().iter().filter(names).map(check_reference).collect()
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store::Writer;
    use serde_json::json;

    use super::*;

    fn stores() -> (Stores, Writer<DecodedIdentity>, Writer<DecodedRequest>) {
        let ((identities, of_identities), (requests, of_requests)) = (store(), store());
        let ((checks, _), (namespaces, _), (secrets, _)) = (store(), store(), store());
        (Stores { identities, requests, checks, namespaces, secrets }, of_identities, of_requests)
    }

    fn apply_identity(writer: &mut Writer<DecodedIdentity>, name: &str, selector: &serde_json::Value) {
        let identity = json!({
            "apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterIdentity",
            "metadata": {"name": name, "namespace": "prod"},
            "spec": {
                "infraName": name, "region": "eu-west-1", "credentialsRequests": {"selector": selector},
                "issuer": {"signingKeys": [{"secretRef": {"name": "signer", "key": "pub"}}]},
            },
        });
        let identity: DecodedIdentity = serde_json::from_value(identity).expect("an identity");
        assert!(identity.0.is_ok(), "{:?}", identity.0);
        writer.apply_watcher_event(&Event::Apply(identity));
    }

    fn request(labels: &serde_json::Value) -> DecodedRequest {
        let request = json!({
            "apiVersion": "cloudcredential.openshift.io/v1", "kind": "CredentialsRequest",
            "metadata": {"name": "a", "namespace": "prod", "labels": labels},
            "spec": {"secretRef": {"name": "a", "namespace": "prod"}},
        });
        serde_json::from_value(request).expect("a request")
    }

    fn names(concerned: Vec<IdentityRef>) -> Vec<String> {
        concerned.into_iter().map(|identity| identity.name).collect()
    }

    #[test]
    fn a_request_concerns_whom_it_leaves_and_whom_it_comes_to() {
        let (stores, mut writer, _) = stores();
        let concerns = requests_to_identities(stores);
        let (one, two) = (json!({"cluster": "one"}), json!({"cluster": "two"}));
        // The first lists may come in any order.
        assert_eq!(names(concerns(&Event::InitApply(request(&one)))), [""; 0]);
        apply_identity(&mut writer, "one", &json!({"matchLabels": one}));
        apply_identity(&mut writer, "two", &json!({"matchLabels": two}));
        let unclaimed = json!({"matchExpressions": [{"key": "cluster", "operator": "DoesNotExist"}]});
        apply_identity(&mut writer, "rest", &unclaimed);
        apply_identity(&mut writer, "bad", &json!({"matchExpressions": [{"key": "cluster", "operator": "Sometimes"}]}));

        assert_eq!(names(concerns(&Event::Apply(request(&two)))), ["one", "two"]);
        assert_eq!(names(concerns(&Event::Apply(request(&two)))), [""; 0]);
        assert_eq!(names(concerns(&Event::Apply(request(&json!({}))))), ["rest", "two"]);
        assert_eq!(names(concerns(&Event::Apply(request(&one)))), ["one", "rest"]);
        assert_eq!(names(concerns(&Event::Delete(request(&one)))), ["one"]);
        assert_eq!(names(concerns(&Event::Apply(request(&two)))), ["two"]);
    }

    /// While the old owner's Secret is there, the new one may not write its own.
    #[test]
    fn a_secret_that_goes_concerns_who_waits_for_its_place() {
        let (stores, mut identities, mut requests) = stores();
        apply_identity(&mut identities, "one", &json!({"matchLabels": {"cluster": "one"}}));
        apply_identity(&mut identities, "two", &json!({"matchLabels": {"cluster": "two"}}));
        requests.apply_watcher_event(&Event::Apply(request(&json!({"cluster": "two"}))));
        let concerns = secrets_to_identities(stores);
        let secret = |name: &str| {
            let annotations = json!({IDENTITY_ANNOTATION: "prod/one"});
            let metadata = json!({"name": name, "namespace": "prod", "uid": name, "annotations": annotations});
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata});
            serde_json::from_value::<DecodedMeta<Secret>>(secret).expect("a Secret")
        };
        assert_eq!(names(concerns(&Event::Apply(secret("a")))), ["one"]);
        assert_eq!(names(concerns(&Event::Delete(secret("a")))), ["one", "two"]);
        assert_eq!(names(concerns(&Event::Delete(secret("b")))), ["one"]);
    }
}
