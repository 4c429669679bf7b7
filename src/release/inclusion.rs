//! Which of a release's requests a cluster gets: what `oc adm release extract --included` decides.
//!
//! Source: openshift/library-go `pkg/manifest/manifest.go` (`Manifest.Include`).

use std::collections::{BTreeMap, BTreeSet};

/// What decides for a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    /// The cluster's feature set; empty, as in a FeatureGate that names none, is `Default`.
    pub feature_set: String,
    /// The feature gates that are on.
    pub feature_gates: BTreeSet<String>,
    /// The capabilities that are enabled; `None` for all.
    pub capabilities: Option<BTreeSet<String>>,
    /// The cluster profile.
    pub profile: String,
}

impl Default for Inclusion {
    fn default() -> Self {
        Self {
            feature_set: "Default".into(),
            feature_gates: BTreeSet::new(),
            capabilities: None,
            profile: "self-managed-high-availability".into(),
        }
    }
}

/// Why a request is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Excluded {
    /// Not for this profile.
    #[error("not included in profile {0}")]
    Profile(String),
    /// For other feature sets.
    #[error("only in feature set {0}")]
    FeatureSet(String),
    /// A feature gate is in the wrong position.
    #[error("only with feature gate {0}")]
    FeatureGate(String),
    /// Feature set and feature gate exclude each other.
    #[error("both a feature set and a feature gate are required, which nothing satisfies")]
    SetAndGate,
    /// A capability is not enabled.
    #[error("only with capability {0}")]
    Capability(String),
}

impl Inclusion {
    /// Decides by a manifest's annotations. A manifest without any is for every cluster.
    pub fn decide(&self, annotations: &BTreeMap<String, String>) -> Result<(), Excluded> {
        if annotations.is_empty() {
            return Ok(());
        }
        let set = annotations.get("release.openshift.io/feature-set");
        let gate = annotations.get("release.openshift.io/feature-gate");
        if set.is_some() && gate.is_some() {
            return Err(Excluded::SetAndGate);
        }
        if let Some(sets) = set {
            self.decide_feature_set(sets)?;
        }
        if let Some(gates) = gate {
            self.decide_feature_gates(gates)?;
        }
        let yes = |key: String| annotations.get(&key).is_some_and(|value| value == "true");
        if yes(format!("exclude.release.openshift.io/{}", self.profile))
            || !yes(format!("include.release.openshift.io/{}", self.profile))
        {
            return Err(Excluded::Profile(self.profile.clone()));
        }
        match annotations.get("capability.openshift.io/name") {
            Some(names) => self.decide_capabilities(names),
            None => Ok(()),
        }
    }

    fn decide_feature_set(&self, sets: &str) -> Result<(), Excluded> {
        if sets.split(',').any(|set| named(set) == named(&self.feature_set)) {
            return Ok(());
        }
        Err(Excluded::FeatureSet(sets.split(',').map(named).collect::<Vec<_>>().join(", ")))
    }

    fn decide_feature_gates(&self, gates: &str) -> Result<(), Excluded> {
        let holds = |gate: &str| match gate.strip_prefix('-') {
            Some(off) => !self.feature_gates.contains(off),
            None => self.feature_gates.contains(gate),
        };
        match gates.split(',').map(str::trim).find(|gate| !holds(gate)) {
            Some(gate) => Err(Excluded::FeatureGate(gate.into())),
            None => Ok(()),
        }
    }

    fn decide_capabilities(&self, names: &str) -> Result<(), Excluded> {
        let Some(enabled) = &self.capabilities else { return Ok(()) };
        match names.split('+').find(|name| !enabled.contains(*name)) {
            Some(name) => Err(Excluded::Capability(name.into())),
            None => Ok(()),
        }
    }
}

/// A feature set's name: the default one has an empty one, too.
const fn named(set: &str) -> &str {
    if set.is_empty() { "Default" } else { set }
}
