//! How large a status may become. etcd takes 1.5 MiB for a whole object, and every reader of the kind carries every status.

use serde::Serialize;
use serde_json::Value;

use crate::api::credentials_request::AwsProviderStatus;
use crate::api::upgrade_check::CheckedComponent;
use crate::api::{ClusterIdentityStatus, UpgradeCheckStatus};

/// Most bytes of JSON in the details of a status of a ClusterIdentity or an UpgradeCheck.
const BUDGET: usize = 256 * 1024;
/// Most bytes of JSON in the `providerStatus` of a CredentialsRequest: there are many of these.
const PROVIDER_BUDGET: usize = 64 * 1024;
/// Most bytes of JSON in the unknown keys of a ClusterIdentity's status: over a hundred of them, which is as many as IAM reads.
const KEYS_BUDGET: usize = 64 * 1024;
/// From this size on, conditions are written before details.
const LARGE: usize = 32 * 1024;
/// Longest explanation of a component in a status that has to be cut, in characters.
const LONGEST_EXPLANATION: usize = 600;

/// Whether a status is so large that its verdict is written first.
pub fn is_large(status: &Value) -> bool {
    size(status) > LARGE
}

/// The length of a value as JSON. What cannot be serialized has none, and is refused where it is written.
fn size(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => 0,
    }
}

/// Keeps from the front of a list what fits into `left` bytes; how many are left out.
fn keep<T: Serialize>(list: &mut Vec<T>, left: &mut usize) -> usize {
    let fits = list.iter().take_while(|entry| {
        let size = size(entry) + 1;
        let fits = size <= *left;
        *left = if fits { *left - size } else { 0 };
        fits
    });
    let kept = fits.count();
    let omitted = list.len() - kept;
    list.truncate(kept);
    omitted
}

/// Cuts the lists of drift and of pending changes, of which the conditions have said how many there are, and those of Secrets and
/// of keys: Secrets beyond it are put back as long as this process remembers them, keys are kept as long as `keys.json` has them.
pub fn cut_identity(status: &mut ClusterIdentityStatus) {
    if size(&status.drift) + size(&status.pending_changes) > BUDGET {
        let mut left = BUDGET;
        keep(&mut status.drift, &mut left);
        keep(&mut status.pending_changes, &mut left);
    }
    let mut left = BUDGET;
    keep(&mut status.retained_secrets, &mut left);
    keep(&mut status.provisioned_secrets, &mut left);
    let mut left = KEYS_BUDGET;
    keep(&mut status.unknown_keys, &mut left);
}

/// Cuts what the role grants beyond the request.
pub fn cut_provider_status(status: &mut AwsProviderStatus) {
    let mut left = PROVIDER_BUDGET;
    keep(&mut status.drift, &mut left);
    let omitted = keep(&mut status.surplus, &mut left);
    if omitted > 0 {
        let before = status.omitted_surplus.unwrap_or_default();
        status.omitted_surplus = Some(before.saturating_add(count(omitted)));
    }
}

/// Cuts the findings of an UpgradeCheck: the worst components first, of each at least what it is about, then their findings
/// in turn. The rest is counted.
pub fn cut_check(status: &mut UpgradeCheckStatus) {
    if size(&status.components) <= BUDGET {
        return;
    }
    let whole = std::mem::take(&mut status.components);
    let mut order: Vec<&CheckedComponent> = whole.iter().collect();
    // Stable: equally bad ones stay in the order of their Secrets.
    order.sort_by_key(|component| std::cmp::Reverse(severity(&component.verdict)));
    let mut kept: Vec<CheckedComponent> = order.iter().map(|component| outline(component)).collect();
    let mut left = BUDGET;
    keep(&mut kept, &mut left);
    let mut parts: Vec<Parts<'_>> = order.iter().take(kept.len()).map(|component| Parts::of(component)).collect();
    while parts.iter().any(|parts| !parts.is_empty()) {
        for (component, parts) in kept.iter_mut().zip(&mut parts) {
            if !parts.move_one(component, &mut left) {
                // What does not fit here would not fit later.
                *parts = Parts::default();
            }
        }
    }
    let findings = |components: &[CheckedComponent]| components.iter().map(number_of_findings).sum::<usize>();
    status.omitted_findings = Some(count(findings(&whole) - findings(&kept)));
    status.components = kept;
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A component counts as a finding itself, so that one that is left out altogether is missed.
fn number_of_findings(component: &CheckedComponent) -> usize {
    1 + component.missing.len() + component.trust.len() + component.surplus.len() + component.simulated.len()
}

fn severity(verdict: &str) -> usize {
    // As `plan::upgrade::ComponentVerdict` orders them, the worst last.
    let order = ["Retired", "Covered", "Conditional", "Indeterminate", "TrustMissing", "NewRole", "Missing"];
    order.iter().position(|known| *known == verdict).unwrap_or(order.len())
}

/// A component without its findings.
fn outline(component: &CheckedComponent) -> CheckedComponent {
    CheckedComponent {
        request: component.request.clone(),
        credentials_request: component.credentials_request.clone(),
        role: component.role.clone(),
        verdict: component.verdict.clone(),
        because: crate::plan::drift::cut(&component.because, LONGEST_EXPLANATION),
        ..CheckedComponent::default()
    }
}

/// The findings of a component that are not kept yet, the most important last.
#[derive(Default)]
struct Parts<'a>(Vec<Part<'a>>);

enum Part<'a> {
    Missing(&'a crate::api::upgrade_check::MissingPart),
    Trust(&'a crate::api::upgrade_check::UnadmittedAccount),
    Simulated(&'a crate::api::upgrade_check::SimulatedPart),
    Surplus(&'a crate::api::upgrade_check::SurplusPart),
}

impl<'a> Parts<'a> {
    fn of(component: &'a CheckedComponent) -> Self {
        let missing = component.missing.iter().map(Part::Missing);
        let trust = component.trust.iter().map(Part::Trust);
        let simulated = component.simulated.iter().map(Part::Simulated);
        let surplus = component.surplus.iter().map(Part::Surplus);
        let mut parts: Vec<Part<'a>> = missing.chain(trust).chain(simulated).chain(surplus).collect();
        parts.reverse();
        Self(parts)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves the next finding into the component, if it fits into `left` bytes.
    fn move_one(&mut self, component: &mut CheckedComponent, left: &mut usize) -> bool {
        let Some(part) = self.0.pop() else { return true };
        let size = 1 + match part {
            Part::Missing(part) => size(part),
            Part::Trust(part) => size(part),
            Part::Simulated(part) => size(part),
            Part::Surplus(part) => size(part),
        };
        if size > *left {
            return false;
        }
        *left -= size;
        match part {
            Part::Missing(part) => component.missing.push(part.clone()),
            Part::Trust(part) => component.trust.push(part.clone()),
            Part::Simulated(part) => component.simulated.push(part.clone()),
            Part::Surplus(part) => component.surplus.push(part.clone()),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::cluster_identity::DriftEntry;
    use crate::api::upgrade_check::{MissingPart, SurplusPart};

    fn component(number: usize, verdict: &str, findings: usize) -> CheckedComponent {
        let missing = |at: usize| MissingPart {
            verdict: "Missing".into(),
            actions: vec![format!("s3:Action{at}")],
            resource: format!("arn:aws:s3:::{}", "x".repeat(300)),
            condition: json!({}),
            because: "no statement of the inline policy or of an attached policy allows it".into(),
            example: None,
        };
        CheckedComponent {
            request: Some(format!("n/{number:03}")),
            role: format!("role-{number}"),
            verdict: verdict.into(),
            missing: (0..findings).map(missing).collect(),
            because: "y".repeat(5_000),
            ..CheckedComponent::default()
        }
    }

    #[test]
    fn a_small_status_is_left_as_it_is() {
        let components = vec![component(0, "Covered", 0), component(1, "Missing", 3)];
        let mut status = UpgradeCheckStatus { components, ..UpgradeCheckStatus::default() };
        let before = status.clone();
        cut_check(&mut status);
        assert_eq!(status, before);
    }

    /// 60 requests with 100 statements each: 2.6 MB of findings.
    #[test]
    fn of_a_large_status_the_worst_is_kept_and_the_rest_is_counted() {
        let mut components: Vec<CheckedComponent> = (0..60)
            .map(|number| component(number, if number < 20 { "Indeterminate" } else { "Missing" }, 100))
            .collect();
        components.push(component(99, "Covered", 0));
        assert!(size(&components) > 2_600_000);
        let mut status = UpgradeCheckStatus { components, ..UpgradeCheckStatus::default() };
        cut_check(&mut status);
        assert!(size(&status) <= BUDGET + 1_024, "{}", size(&status));
        let verdicts: Vec<&str> = status.components.iter().map(|component| component.verdict.as_str()).collect();
        assert_eq!(verdicts.len(), 61, "every component is named");
        assert!(verdicts[..40].iter().all(|verdict| *verdict == "Missing") && verdicts[60] == "Covered");
        assert_eq!(status.components[0].request.as_deref(), Some("n/020"));
        let kept: usize = status.components.iter().map(|component| component.missing.len()).sum();
        assert!(status.components.iter().take(60).all(|component| !component.missing.is_empty()));
        assert_eq!(status.omitted_findings, Some(count(6_000 - kept)));
        let once = status.clone();
        cut_check(&mut status);
        assert_eq!(status.components, once.components);
    }

    #[test]
    fn components_that_do_not_fit_even_in_outline_are_counted() {
        let components = (0..1_000).map(|number| component(number, "NewRole", 1)).collect();
        let mut status = UpgradeCheckStatus { components, ..UpgradeCheckStatus::default() };
        cut_check(&mut status);
        assert!(size(&status) <= BUDGET + 1_024);
        assert!(!status.components.is_empty());
        let kept: usize = status.components.iter().map(number_of_findings).sum();
        assert_eq!(status.omitted_findings, Some(count(2_000 - kept)));
    }

    #[test]
    fn drift_and_surplus_are_bounded() {
        let entry = || DriftEntry { resource: "r".repeat(10_000), ..DriftEntry::default() };
        let mut identity = ClusterIdentityStatus { drift: vec![entry(); 100], ..ClusterIdentityStatus::default() };
        cut_identity(&mut identity);
        assert!(identity.drift.len() > 20 && size(&identity) <= BUDGET + 1_024);
        let part = SurplusPart { actions: vec!["a".repeat(1_000)], resource: "*".into(), condition: json!({}) };
        let mut provider = AwsProviderStatus { surplus: vec![part; 100], ..AwsProviderStatus::new() };
        cut_provider_status(&mut provider);
        assert!(size(&provider) <= PROVIDER_BUDGET + 1_024);
        assert_eq!(provider.omitted_surplus, Some(count(100 - provider.surplus.len())));
        let once = provider.clone();
        cut_provider_status(&mut provider);
        assert_eq!(provider, once);
    }
}
