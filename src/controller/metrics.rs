//! Counters and gauges. Labels are fixed words, and names of objects only where there are few.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::outcome::{Outcome, fault_reason};
use super::watch_health::{MOST_NAMED, WatchHealth};
use crate::aws::meter::Meter;
use crate::kubernetes::served::{ServedSchemas, StatusKind};
use crate::observed::FaultClass;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadyLabel {
    ready: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabel {
    watch: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchErrorLabel {
    watch: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabel {
    watch: &'static str,
    namespace: String,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CrdLabel {
    crd: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusErrorLabel {
    crd: &'static str,
    reason: &'static str,
}

/// What is known of watches and statuses, as metrics.
#[derive(Default)]
struct KubernetesMetrics {
    watch_up: Family<WatchLabel, Gauge>,
    watch_age: Family<WatchLabel, Gauge>,
    watch_errors: Family<WatchErrorLabel, Counter>,
    unreadable: Family<WatchLabel, Gauge>,
    unreadable_objects: Family<ObjectLabel, Gauge>,
    missing_fields: Family<CrdLabel, Gauge>,
    status_errors: Family<StatusErrorLabel, Counter>,
}

impl KubernetesMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("watch_up", "1 while a watch answers; 0 when it is lost", self.watch_up.clone());
        registry.register(
            "watch_last_answer_age_seconds",
            "How long ago a watch was opened or delivered an event or a bookmark",
            self.watch_age.clone(),
        );
        registry.register("watch_errors", "Errors of a watch since the start, by reason", self.watch_errors.clone());
        registry.register("unreadable_objects", "Objects that a watch cannot decode", self.unreadable.clone());
        registry.register(
            "unreadable_object_info",
            "1 for each object that a watch cannot decode; the first 20 of each watch",
            self.unreadable_objects.clone(),
        );
        registry.register(
            "crd_missing_fields",
            "Fields that this version of Rolecall knows and the served CustomResourceDefinition does not declare",
            self.missing_fields.clone(),
        );
        registry.register(
            "status_update_errors",
            "Statuses that could not be written, by CustomResourceDefinition and reason",
            self.status_errors.clone(),
        );
    }

    fn collect(&self, health: &WatchHealth, schemas: &ServedSchemas) {
        self.unreadable_objects.clear();
        for report in health.report() {
            let watch = report.watch.name();
            let label = WatchLabel { watch };
            let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
            self.watch_up.get_or_create(&label).set(i64::from(!report.lost));
            let age = i64::try_from(report.age.as_secs()).unwrap_or(i64::MAX);
            self.watch_age.get_or_create(&label).set(age);
            self.unreadable.get_or_create(&label).set(number(report.unreadable.len()));
            for (reason, errors) in report.errors {
                let counter = self.watch_errors.get_or_create(&WatchErrorLabel { watch, reason });
                counter.inner().store(errors, Ordering::Relaxed);
            }
            for object in report.unreadable.into_keys().take(MOST_NAMED) {
                let label = ObjectLabel { watch, namespace: object.namespace, name: object.name };
                self.unreadable_objects.get_or_create(&label).set(1);
            }
        }
        let outdated = schemas.outdated();
        for kind in StatusKind::ALL {
            let missing = outdated.iter().find(|(of, _)| *of == kind).map_or(0, |(_, fields)| fields.len());
            let label = CrdLabel { crd: kind.crd_name() };
            self.missing_fields.get_or_create(&label).set(i64::try_from(missing).unwrap_or(i64::MAX));
        }
    }
}

/// What the gauges are made of, for each ClusterIdentity.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// `true`, `false` or `unknown`.
    pub ready: &'static str,
    /// How many of its resources differ from what was last made true.
    pub drifted: i64,
    /// When everything was last seen to be true.
    pub verified_at: Option<Timestamp>,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// AWS calls.
    pub aws: Meter,
    passes: Family<OutcomeLabel, Counter>,
    durations: Histogram,
    identities: Family<ReadyLabel, Gauge>,
    checks: Family<ReadyLabel, Gauge>,
    drifted: Gauge,
    oldest_verified: Gauge,
    leader: Gauge,
    kubernetes: KubernetesMetrics,
    sources: Mutex<Option<(WatchHealth, Arc<ServedSchemas>)>>,
    standings: Mutex<HashMap<String, Standing>>,
    known: Mutex<Option<Known>>,
    verdicts: Mutex<Option<Verdicts>>,
}

/// Tells which ClusterIdentities there are.
type Known = Box<dyn Fn() -> BTreeSet<String> + Send + Sync>;
/// Tells what each UpgradeCheck says: `true`, `false` or `unknown`.
type Verdicts = Box<dyn Fn() -> Vec<&'static str> + Send + Sync>;

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("rolecall")),
            aws: Meter::default(),
            passes: Family::default(),
            durations: Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]),
            identities: Family::default(),
            checks: Family::default(),
            drifted: Gauge::default(),
            oldest_verified: Gauge::default(),
            leader: Gauge::default(),
            kubernetes: KubernetesMetrics::default(),
            sources: Mutex::default(),
            standings: Mutex::default(),
            known: Mutex::default(),
            verdicts: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register("passes", "Passes over a ClusterIdentity, by outcome", self.passes.clone());
        registry.register_with_unit("pass_duration", "Duration of a pass", Unit::Seconds, self.durations.clone());
        registry.register(
            "aws_calls",
            "Calls to AWS, retries included, by operation and outcome",
            self.aws.calls.clone(),
        );
        registry.register("cluster_identities", "ClusterIdentities, by readiness", self.identities.clone());
        registry.register("upgrade_checks", "UpgradeChecks, by what UpgradeReady says", self.checks.clone());
        registry.register("drifted_resources", "Differences from what was last made true", self.drifted.clone());
        registry.register(
            "last_verified_timestamp_seconds",
            "When the ClusterIdentity that was verified longest ago was verified",
            self.oldest_verified.clone(),
        );
        registry.register("leader", "1 while this replica holds the lease (or needs none)", self.leader.clone());
        self.kubernetes.register(&mut registry);
    }

    /// Counts a status that could not be written.
    pub fn status_update_failed(&self, kind: StatusKind, class: FaultClass) {
        let label = StatusErrorLabel { crd: kind.crd_name(), reason: fault_reason(class) };
        self.kubernetes.status_errors.get_or_create(&label).inc();
    }

    /// Says where to learn how the watches are, and what the served schemas lack.
    pub fn set_kubernetes(&self, health: WatchHealth, schemas: Arc<ServedSchemas>) {
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = Some((health, schemas));
    }

    /// Counts a pass.
    pub fn pass(&self, identity: &str, outcome: &Outcome, took: Duration, mut standing: Standing) {
        self.passes.get_or_create(&OutcomeLabel { outcome: outcome.label() }).inc();
        self.durations.observe(took.as_secs_f64());
        let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        // A pass that verified nothing leaves the time of the last one that did.
        standing.verified_at = standing.verified_at.or(standings.get(identity).and_then(|before| before.verified_at));
        standings.insert(identity.to_owned(), standing);
    }

    /// Counts a ClusterIdentity that cannot be read.
    pub fn unreadable_identity(&self, identity: &str) {
        let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = standings.entry(identity.to_owned()).or_default();
        (standing.ready, standing.drifted) = ("false", 0);
    }

    /// Says where to learn which ClusterIdentities there are; the gauges leave out those that are gone.
    pub fn set_known(&self, known: impl Fn() -> BTreeSet<String> + Send + Sync + 'static) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(known));
    }

    /// Says where to learn what the UpgradeChecks say.
    pub fn set_verdicts(&self, verdicts: impl Fn() -> Vec<&'static str> + Send + Sync + 'static) {
        *self.verdicts.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(verdicts));
    }

    /// Says whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    fn regauge(&self) {
        if let Some((health, schemas)) = self.sources.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            self.kubernetes.collect(health, schemas);
        }
        let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            let known = known();
            standings.retain(|identity, _| known.contains(identity));
        }
        for ready in ["true", "false", "unknown"] {
            let count = standings.values().filter(|standing| standing.ready == ready).count();
            self.identities.get_or_create(&ReadyLabel { ready }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|verdicts| verdicts());
        for ready in ["true", "false", "unknown"] {
            let count = verdicts.iter().flatten().filter(|verdict| **verdict == ready).count();
            self.checks.get_or_create(&ReadyLabel { ready }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.drifted.set(standings.values().map(|standing| standing.drifted).sum());
        let oldest = standings.values().map(|standing| standing.verified_at.map_or(0, Timestamp::as_second)).min();
        self.oldest_verified.set(oldest.unwrap_or(0));
    }

    /// The metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        self.regauge();
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match encode(&mut text, &registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
