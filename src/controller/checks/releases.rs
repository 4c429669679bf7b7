//! Where the releases of UpgradeChecks are read: ConfigMaps, candidates in the cluster, release images.
//!
//! An image takes a while to read, and a registry may hang: it is read beside the passes, and brings one when it is there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::{Semaphore, mpsc};

use super::super::contain;
use super::super::watches::{IdentityRef, Stores, in_namespaces};
use crate::api::upgrade_check::{LocalReference, ReleaseImageSource, TargetRelease};
use crate::api::{ClusterIdentity, RELEASE_LABEL};
use crate::desired::request::{RequestId, provider_kind};
use crate::kubernetes::errors::fault;
use crate::observed::{Fault, FaultClass};
use crate::registry::{PullSecret, Reference, RegistryClient, RegistryError, ReleaseImage, read_release};
use crate::release::manifests::{Cloud, Manifest, read_file};

/// How long an image that a tag names is believed.
const TAG_AGE: Duration = Duration::from_mins(10);
/// When an image that could not be read is tried again; doubled with every failure.
const RETRY: Duration = Duration::from_mins(1);
/// Longest wait before an image is tried again.
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// How long what a tag named is believed while it cannot be looked up.
const BELIEVED: Duration = Duration::from_hours(1);
/// How many images are read side by side: each takes some memory.
const SIDE_BY_SIDE: usize = 2;
/// An image that no check has asked for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(25);
/// Longest time to read an image.
const LONGEST_READ: Duration = Duration::from_mins(10);
/// The key of a pull secret's data.
const PULL_SECRET_KEY: &str = ".dockerconfigjson";

/// A release as it was read.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its requests, for all clouds and clusters.
    pub manifests: Vec<Manifest>,
    /// Where they are from, in words.
    pub source: String,
    /// The version that the image names.
    pub version: Option<String>,
    /// The digest of what the image reference names.
    pub digest: Option<String>,
}

/// Why there is no release to judge by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// It is being read.
    Reading(String),
    /// It could not be read just now, and that may pass by itself.
    Away(String),
    /// It cannot be read, and why.
    Failed(String),
}

impl Unread {
    /// The sentence.
    pub fn message(&self) -> &str {
        match self {
            Self::Reading(message) | Self::Away(message) | Self::Failed(message) => message,
        }
    }
}

/// What an image is read with: another namespace's pull secret may see another image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ImageKey {
    namespace: String,
    reference: String,
    pull_secret: Option<String>,
}

struct Image {
    state: ImageState,
    /// Whether it is being read just now, for the first time or anew.
    reading: bool,
    /// Who waits for that.
    waiting: HashSet<IdentityRef>,
    asked: Instant,
}

enum ImageState {
    Unread,
    /// When it was read, and when it was last tried.
    Read {
        release: Arc<ReleaseImage>,
        at: Instant,
        tried: Instant,
        why: Option<Unread>,
    },
    Failed {
        why: Unread,
        at: Instant,
        failures: u32,
    },
}

impl ImageState {
    /// When it is to be tried again.
    fn retry(failures: u32) -> Duration {
        RETRY.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LONGEST_RETRY)
    }
}

/// The images that were read, and the way to read others.
pub struct Releases {
    client: Client,
    triggers: mpsc::UnboundedSender<IdentityRef>,
    images: Arc<Mutex<HashMap<ImageKey, Image>>>,
    slots: Arc<Semaphore>,
}

impl Releases {
    /// Nothing is read yet. Who waits for an image is named to `triggers` when it is there.
    pub fn new(client: Client, triggers: mpsc::UnboundedSender<IdentityRef>) -> Self {
        Self { client, triggers, images: Arc::default(), slots: Arc::new(Semaphore::new(SIDE_BY_SIDE)) }
    }

    /// Reads a release for a ClusterIdentity.
    pub async fn read(
        &self,
        stores: &Stores,
        identity: &ClusterIdentity,
        release: &TargetRelease,
    ) -> Result<Release, Unread> {
        let namespace = identity.namespace().unwrap_or_default();
        match (&release.image, &release.config_map_refs, &release.selector) {
            (Some(image), _, _) => self.image(&namespace, image, super::super::watches::reference(identity)),
            (None, Some(maps), _) => from_config_maps(&self.client, &namespace, maps).await,
            (None, None, Some(selector)) => match Selector::try_from(selector.clone()) {
                Ok(selector) => candidates(stores, identity, &selector).map_err(Unread::Failed),
                Err(error) => Err(Unread::Failed(format!("spec.release.selector: {error}"))),
            },
            (None, None, None) => Err(Unread::Failed("spec.release names no source".into())),
        }
    }

    fn image(&self, namespace: &str, image: &ReleaseImageSource, waiting: IdentityRef) -> Result<Release, Unread> {
        let reference: Reference =
            image.reference.parse().map_err(|why| Unread::Failed(format!("spec.release.image.reference: {why}")))?;
        let key = ImageKey {
            namespace: namespace.to_owned(),
            reference: image.reference.clone(),
            pull_secret: image.pull_secret_ref.as_ref().map(|secret| secret.name.clone()),
        };
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.retain(|_, image| image.reading || image.asked.elapsed() < FORGOTTEN_AFTER);
        let known = images.entry(key.clone()).or_insert_with(|| Image {
            state: ImageState::Unread,
            reading: false,
            waiting: HashSet::new(),
            asked: Instant::now(),
        });
        known.asked = Instant::now();
        let stale = match &known.state {
            ImageState::Unread => true,
            ImageState::Read { tried, .. } => reference.digest.is_none() && tried.elapsed() >= TAG_AGE,
            ImageState::Failed { at, failures, .. } => at.elapsed() >= ImageState::retry(*failures),
        };
        if stale || known.reading {
            known.waiting.insert(waiting);
        }
        if stale && !known.reading {
            known.reading = true;
            self.start(key, reference);
        }
        match &known.state {
            ImageState::Unread => Err(Unread::Reading(format!("{} is being read", image.reference))),
            ImageState::Failed { why, .. } => Err(why.clone()),
            ImageState::Read { at, why: Some(why), .. } if at.elapsed() >= BELIEVED => Err(why.clone()),
            ImageState::Read { release, .. } => Ok(Release {
                manifests: release.manifests.clone(),
                source: format!("image {}", image.reference),
                version: release.version.clone(),
                digest: Some(release.digest.to_string()),
            }),
        }
    }

    /// Reads an image beside the passes.
    #[allow(clippy::disallowed_methods, reason = "the task ends by itself, and says so to who waits")]
    fn start(&self, key: ImageKey, reference: Reference) {
        let (client, images, triggers) = (self.client.clone(), self.images.clone(), self.triggers.clone());
        let slots = self.slots.clone();
        tokio::spawn(async move {
            let reading = async {
                let _slot = slots.acquire().await;
                let reading = Box::pin(read_image(&client, &key, &reference));
                let read = tokio::time::timeout(LONGEST_READ, contain(reading)).await;
                match read {
                    Ok(Ok(read)) => read,
                    Ok(Err(panic)) => {
                        Err(Unread::Failed(format!("reading {reference} ended in a defect of Rolecall: {panic}")))
                    }
                    Err(_) => {
                        let minutes = LONGEST_READ.as_secs() / 60;
                        Err(Unread::Away(format!("{reference} could not be read within {minutes} minutes")))
                    }
                }
            };
            let (waiting, again) = note(&images, &key, reading.await);
            // A closed channel means that the process is stopping.
            for identity in &waiting {
                let _ = triggers.send(identity.clone());
            }
            if let Some(wait) = again {
                tokio::time::sleep(wait).await;
                for identity in waiting {
                    let _ = triggers.send(identity);
                }
            }
        });
    }
}

/// Notes what was read; who waited for it, and when to try again. An image that was read once stays for a while when a later
/// look at its tag fails.
fn note(
    images: &Mutex<HashMap<ImageKey, Image>>,
    key: &ImageKey,
    read: Result<ReleaseImage, Unread>,
) -> (HashSet<IdentityRef>, Option<Duration>) {
    let mut images = images.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(image) = images.get_mut(key) else { return (HashSet::new(), None) };
    image.reading = false;
    let now = Instant::now();
    let mut again = None;
    match (read, &mut image.state) {
        (Ok(release), state) => {
            *state = ImageState::Read { release: Arc::new(release), at: now, tried: now, why: None };
        }
        (Err(problem), state) => {
            tracing::warn!(image = key.reference, why = problem.message(), "a release image could not be read");
            match state {
                ImageState::Read { tried, why, .. } => (*tried, *why) = (now, Some(problem)),
                ImageState::Failed { failures, .. } => {
                    let failures = failures.saturating_add(1);
                    again = Some(ImageState::retry(failures));
                    *state = ImageState::Failed { why: problem, at: now, failures };
                }
                ImageState::Unread => {
                    again = Some(ImageState::retry(1));
                    *state = ImageState::Failed { why: problem, at: now, failures: 1 };
                }
            }
        }
    }
    (std::mem::take(&mut image.waiting), again)
}

async fn read_image(client: &Client, key: &ImageKey, reference: &Reference) -> Result<ReleaseImage, Unread> {
    let pull_secret = match &key.pull_secret {
        Some(name) => pull_secret(client, &key.namespace, name).await?,
        None => PullSecret::default(),
    };
    let unread = |error: RegistryError| {
        let message = error.to_string();
        if error.will_pass() { Unread::Away(message) } else { Unread::Failed(message) }
    };
    let registry = RegistryClient::new(false).map_err(unread)?;
    read_release(&registry, reference, &pull_secret).await.map_err(unread)
}

/// What the API server did not give: it may do so the next time, unless it has said no.
fn not_given(fault: &Fault) -> Unread {
    match fault.class {
        FaultClass::Throttled | FaultClass::Server | FaultClass::Network => Unread::Away(fault.to_string()),
        _ => Unread::Failed(fault.to_string()),
    }
}

async fn pull_secret(client: &Client, namespace: &str, name: &str) -> Result<PullSecret, Unread> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let origin = format!("the pull secret {namespace}/{name}");
    let secret = api.get_opt(name).await.map_err(|error| not_given(&fault("get secrets", &origin, &error)))?;
    let secret = secret.ok_or_else(|| Unread::Failed(format!("{origin} does not exist")))?;
    let data = secret.data.unwrap_or_default();
    let no_entry = || Unread::Failed(format!("{origin} has no entry {PULL_SECRET_KEY}"));
    let entry = data.get(PULL_SECRET_KEY).ok_or_else(no_entry)?;
    let no_text = |_| Unread::Failed(format!("{origin}: {PULL_SECRET_KEY} is no text"));
    let text = std::str::from_utf8(&entry.0).map_err(no_text)?;
    PullSecret::parse(text, &origin).map_err(|error| Unread::Failed(error.to_string()))
}

async fn from_config_maps(client: &Client, namespace: &str, maps: &[LocalReference]) -> Result<Release, Unread> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let mut manifests = Vec::new();
    for map in maps {
        let origin = format!("ConfigMap {namespace}/{}", map.name);
        let found =
            api.get_opt(&map.name).await.map_err(|error| not_given(&fault("get configmaps", &origin, &error)))?;
        let found = found.ok_or_else(|| Unread::Failed(format!("{origin} does not exist")))?;
        for (entry, text) in found.data.unwrap_or_default() {
            let read = read_file(&format!("{origin}, entry {entry}"), &text);
            manifests.extend(read.map_err(|error| Unread::Failed(error.to_string()))?);
        }
    }
    let names: Vec<&str> = maps.iter().map(|map| map.name.as_str()).collect();
    let noun = if maps.len() == 1 { "ConfigMap" } else { "ConfigMaps" };
    Ok(Release { manifests, source: format!("{noun} {}", names.join(", ")), version: None, digest: None })
}

/// The candidates in the namespaces that a ClusterIdentity takes its requests from.
fn candidates(stores: &Stores, identity: &ClusterIdentity, selector: &Selector) -> Result<Release, String> {
    let mut manifests: Vec<Manifest> = Vec::new();
    for decoded in stores.requests.state() {
        let meta = decoded.meta();
        let labels = meta.labels.clone().unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let is_candidate = labels.contains_key(RELEASE_LABEL) && meta.deletion_timestamp.is_none();
        if !is_candidate || !in_namespaces(identity, &namespace) || !selector.matches(&labels) {
            continue;
        }
        // What tools that carried the object here have noted on it is no part of the release.
        let annotations = meta.annotations.clone().unwrap_or_default();
        let of_release = |key: &str| key.split('/').next().is_some_and(|domain| domain.ends_with("openshift.io"));
        manifests.push(Manifest {
            file: String::new(),
            id: RequestId { namespace, name: meta.name.clone().unwrap_or_default() },
            annotations: annotations.into_iter().filter(|(key, _)| of_release(key)).collect(),
            labels,
            cloud: match &decoded.0 {
                Ok(request) => Cloud::of_kind(provider_kind(&request.spec).as_deref()),
                Err(_) => Cloud::Unknown,
            },
            spec: decoded.0.as_ref().map(|request| request.spec.clone()).map_err(|invalid| invalid.error.clone()),
        });
    }
    manifests.sort_by(|a, b| a.id.cmp(&b.id));
    if manifests.is_empty() {
        return Err(format!(
            "no CredentialsRequest with the label {RELEASE_LABEL} matches spec.release.selector in the namespaces that the ClusterIdentity takes its requests from"
        ));
    }
    let source = format!("{} candidates in the cluster", manifests.len());
    Ok(Release { manifests, source, version: None, digest: None })
}
