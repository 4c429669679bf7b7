//! Which issuer is in force for a cluster: the one that its API server signs tokens for. Rolecall may not see that, so at first
//! contact it asks every witness: the published documents, the providers that the cluster's roles trust, owned providers, and the
//! bucket itself. One that names another issuer, or cannot be asked, keeps everything as it is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::draft::Draft;
use super::{Obstacle, Subject};
use crate::api::REPLACE_ISSUER;
use crate::desired::Desired;
use crate::desired::issuer::without_scheme;
use crate::desired::keys::{Number, named, published_entries};
use crate::desired::owner::{Holder, mark_in};
use crate::observed::usage::in_use;
use crate::observed::{
    BucketState, Fault, FaultClass, Observed, ObservedBucket, ObservedProvider, ObservedRole, Seen, trusted_providers,
};

/// What the witnesses say.
#[derive(Default)]
struct Testimony {
    /// Other issuers, each with who names it.
    others: BTreeMap<String, BTreeSet<String>>,
    /// What speaks against the issuer without naming another.
    against: Vec<String>,
    /// What could not be asked and passes by itself.
    passing: Option<Fault>,
    /// What could not be asked.
    unknown: Vec<String>,
    /// Whether a published document names the wanted issuer.
    confirmed: bool,
}

/// Sets what keeps issuer, trust policies and Secrets as they are, if anything does.
pub(super) fn judge(draft: &mut Draft, desired: &Desired, observed: &Observed) {
    draft.want(&Subject::Discovery, desired.issuer.discovery.fingerprint(&desired.issuer.bucket));
    if is_first_contact(draft, desired, observed) {
        let testimony = hear(desired, observed);
        draft.gate = testimony.verdict(draft, desired, observed);
    } else if let Some(issuer) = moved_to(desired, observed) {
        draft.gate = Some(Obstacle::IssuerMismatch(format!(
            "the discovery document and most roles of the cluster were moved to the issuer {issuer}, while the spec makes {}: somebody has moved the issuer, so nothing of it is changed back. Correct spec.region or spec.issuer, or move document and roles back",
            desired.issuer.url
        )));
    }
}

/// Whether this issuer was never verified here, or what carries it is about to be taken over.
fn is_first_contact(draft: &Draft, desired: &Desired, observed: &Observed) -> bool {
    let taken_over = |tags| draft.frame.owners.holder_by_tags(tags) == Holder::Former;
    let bucket = match &observed.bucket {
        Seen::Known(BucketState::Present(bucket)) => taken_over(&bucket.tags),
        _ => false,
    };
    let provider = matches!(&observed.provider, Seen::Known(Some(provider)) if taken_over(&provider.tags));
    let verified = was_verified(draft, desired) || draft.frame.owners.own.is_none() && is_marked(observed);
    !verified || bucket || provider
}

/// Whether the bucket carries a mark: whoever set it has verified the issuer.
fn is_marked(observed: &Observed) -> bool {
    matches!(&observed.bucket, Seen::Known(BucketState::Present(bucket)) if mark_in(&bucket.tags).is_some())
}

/// Whether the discovery document of this issuer was seen to be right.
fn was_verified(draft: &Draft, desired: &Desired) -> bool {
    let fingerprint = desired.issuer.discovery.fingerprint(&desired.issuer.bucket);
    draft.prior.verified.get(&Subject::Discovery) == Some(&fingerprint)
}

fn hear(desired: &Desired, observed: &Observed) -> Testimony {
    let mut testimony = Testimony::default();
    match &observed.bucket {
        Seen::Unknown(fault) => testimony.unread("the bucket", fault),
        Seen::Known(BucketState::Forbidden(fault)) if fault.class == FaultClass::Elsewhere => {
            testimony.against.push(format!(
                "the bucket {} is not in the region {} of the spec: set spec.region to the bucket's",
                desired.issuer.bucket.name, desired.issuer.bucket.region
            ));
        }
        Seen::Known(BucketState::Forbidden(fault)) => {
            testimony.unknown.push(format!("the bucket {} cannot be looked at: {fault}", desired.issuer.bucket.name));
        }
        Seen::Known(BucketState::Absent) => {}
        Seen::Known(BucketState::Present(bucket)) => testimony.hear_bucket(desired, observed, bucket),
    }
    testimony.hear_roles(desired, observed);
    testimony.hear_providers(desired, observed);
    testimony
}

impl Testimony {
    fn unread(&mut self, what: &str, fault: &Fault) {
        if fault.class.is_passing() {
            self.passing.get_or_insert_with(|| fault.clone());
        } else {
            self.unknown.push(format!("{what}: {fault}"));
        }
    }

    fn other(&mut self, issuer: &str, who: String) {
        self.others.entry(issuer.to_owned()).or_default().insert(who);
    }

    fn hear_bucket(&mut self, desired: &Desired, observed: &Observed, bucket: &ObservedBucket) {
        let name = &desired.issuer.bucket.name;
        match bucket.discovery.known() {
            Err(fault) => self.unread("the discovery document", fault),
            Ok(None) => {}
            Ok(Some(document)) => match issuer_named_by(&document.body) {
                Some(issuer) if issuer == desired.issuer.url => self.confirmed = true,
                Some(issuer) => self.other(&issuer, format!("the discovery document in bucket {name}")),
                None => self.unknown.push(format!(
                    "the discovery document in bucket {name} cannot be read as one; restore it, or delete the object"
                )),
            },
        }
        let published = match bucket.keys.known() {
            Err(fault) => {
                self.confirmed = false;
                return self.unread("keys.json", fault);
            }
            Ok(None) => return,
            Ok(Some(document)) => published_entries(&document.body),
        };
        let Some(published) = published else {
            self.confirmed = false;
            return self.unknown.push(format!(
                "keys.json in bucket {name} cannot be read as a JWKS; restore it, or delete the object"
            ));
        };
        match &desired.keys {
            _ if published.is_empty() => {}
            Err(_) if observed.keys_unread.is_some() => self.passing.clone_from(&observed.keys_unread),
            Err(refused) => {
                self.confirmed = false;
                self.unknown.push(refused.to_string());
            }
            Ok(keys) => {
                let ours: BTreeSet<Number> = keys.keys.iter().map(|key| key.key.number()).collect();
                let common = |number: &Option<Number>| number.as_ref().is_some_and(|number| ours.contains(number));
                if !published.iter().any(|entry| common(&entry.number)) {
                    self.confirmed = false;
                    self.against.push(format!(
                        "keys.json in bucket {name} publishes {}, and no source of signing keys holds any of them: add the key that the cluster signs with to issuer.signingKeys",
                        named(published.iter().map(|entry| entry.name.as_str()))
                    ));
                }
            }
        }
    }

    fn hear_roles(&mut self, desired: &Desired, observed: &Observed) {
        for (name, role) in &observed.roles {
            match role.known() {
                Err(fault) => self.unread(&format!("role {name}"), fault),
                Ok(Some(role)) if belongs(desired, role) => {
                    self.hear_trust(desired, name, &trusted_providers(&role.trust));
                }
                Ok(_) => {}
            }
        }
        match observed.leftovers.roles.known() {
            // Where they may not be listed at all, the other witnesses have to do.
            Err(fault) if !fault.class.is_passing() => {}
            Err(fault) => self.unread("the cluster's roles", fault),
            Ok(roles) => {
                for role in roles {
                    match role {
                        Seen::Known(role) => self.hear_trust(desired, &role.name, &role.trusted),
                        Seen::Unknown(fault) => self.unread("a role of the cluster", fault),
                    }
                }
            }
        }
    }

    /// A role is a witness against the wanted issuer only if no statement of it trusts that one.
    fn hear_trust(&mut self, desired: &Desired, role: &str, trusted: &BTreeSet<String>) {
        if !trusted.contains(&desired.issuer.provider.arn) {
            for provider in trusted {
                self.other(&issuer_of(provider), format!("role {role}"));
            }
        }
    }

    /// So is another owned provider, if there is none of the wanted issuer.
    fn hear_providers(&mut self, desired: &Desired, observed: &Observed) {
        if matches!(observed.provider.known(), Ok(Some(_))) {
            return;
        }
        match observed.other_providers.as_ref().map(Seen::known) {
            None => {}
            Some(Err(fault)) => self.unread("the account's OIDC providers", fault),
            Some(Ok(providers)) => {
                let owned = |provider: &&ObservedProvider| provider.tags.contains_key(&desired.owner_tag);
                for provider in providers.iter().filter(owned) {
                    self.other(&issuer_of(&provider.arn), "an OIDC provider with the cluster's tag".to_owned());
                }
            }
        }
    }

    /// What keeps everything as it is; `None` when nothing speaks against the wanted issuer.
    fn verdict(mut self, draft: &mut Draft, desired: &Desired, observed: &Observed) -> Option<Obstacle> {
        let url = &desired.issuer.url;
        let replaced = self.others.keys().filter(|issuer| draft.frame.consents.replaces_issuer(issuer)).cloned();
        let replaced: Vec<String> = replaced.collect();
        if let Some(used) = used_role(desired, observed).filter(|_| !replaced.is_empty()) {
            return Some(Obstacle::IssuerMismatch(format!(
                "{REPLACE_ISSUER} names {}, but {used}: a component that still uses it would be cut off. Stop it and wait for guardrails.inUseWindow (0s where no component of the cluster runs), or correct the spec",
                named(replaced.iter().map(String::as_str))
            )));
        }
        if !replaced.is_empty() {
            draft.plan.consents.push((REPLACE_ISSUER, format!("the issuer {url} replaces {}", replaced.join(", "))));
        }
        self.others.retain(|issuer, _| !replaced.contains(issuer));
        if !self.others.is_empty() || !self.against.is_empty() {
            return Some(Obstacle::IssuerMismatch(self.mismatch(url)));
        }
        if let Some(fault) = self.passing {
            return Some(Obstacle::Unreadable(fault));
        }
        // Where the published documents name the wanted issuer, a role that may not be read tells nothing else.
        if self.confirmed || self.unknown.is_empty() {
            None
        } else {
            Some(Obstacle::IssuerUnknown(self.unknown.join("; ")))
        }
    }

    fn mismatch(&self, url: &str) -> String {
        let mut parts = self.against.clone();
        for (issuer, who) in &self.others {
            let who = named(who.iter().map(String::as_str).collect::<Vec<_>>().into_iter());
            parts.push(format!("the issuer in force is {issuer}, according to {who}"));
        }
        let remedy = match self.others.keys().next() {
            Some(issuer) => format!(
                ". Correct spec.region or spec.issuer so that they make the issuer in force; to replace it, once no component uses it, set the annotation {REPLACE_ISSUER}: {issuer} on the ClusterIdentity"
            ),
            None => String::new(),
        };
        format!(
            "the spec makes the issuer {url}, but {}{remedy}. Nothing of the issuer, of trust policies or of Secrets is changed",
            parts.join("; ")
        )
    }
}

/// Whether a role belongs to the cluster by its tags.
fn belongs(desired: &Desired, role: &ObservedRole) -> bool {
    role.tags.contains_key(&desired.owner_tag) || desired.owners.holder_by_tags(&role.tags) == Holder::Own
}

/// Why one of the cluster's roles that trust another issuer counts as used, or why that is not known.
fn used_role(desired: &Desired, observed: &Observed) -> Option<String> {
    let (window, any) = (desired.deletion.in_use_window, observed.account_use.any);
    if window.is_zero() {
        return None;
    }
    let left_over = match observed.leftovers.roles.known() {
        Ok(roles) => roles,
        Err(fault) => return Some(format!("the cluster's roles cannot be listed ({fault})")),
    };
    let unread = |name: &str, fault: &Fault| Some(format!("{name} cannot be read ({fault})"));
    let of_wanted = observed.roles.iter().find_map(|(name, role)| unread(&format!("role {name}"), role.known().err()?));
    let of_left_over = || left_over.iter().find_map(|role| unread("a role of the cluster", role.known().err()?));
    if let Some(unread) = of_wanted.or_else(of_left_over) {
        return Some(unread);
    }
    let of_wanted = observed.roles.values().filter_map(|role| role.known().ok()?.as_ref());
    let of_wanted =
        of_wanted.map(|role| (&role.name, role.created, role.last_used.as_ref(), trusted_providers(&role.trust)));
    let left_over = left_over.iter().filter_map(|role| role.known().ok());
    let left_over = left_over.map(|role| (&role.name, role.created, role.last_used.as_ref(), role.trusted.clone()));
    let trusts_another = |trusted: &BTreeSet<String>| trusted.iter().any(|arn| *arn != desired.issuer.provider.arn);
    let mut used = of_wanted.chain(left_over).filter(|(.., trusted)| trusts_another(trusted));
    used.find_map(|(name, created, last, _)| in_use(name, (created, last), any, window, desired.now))
}

/// The issuer to which the document and most roles were moved.
fn moved_to(desired: &Desired, observed: &Observed) -> Option<String> {
    let Seen::Known(BucketState::Present(bucket)) = &observed.bucket else { return None };
    let document = bucket.discovery.known().ok()?.as_ref()?;
    let issuer = issuer_named_by(&document.body).filter(|issuer| *issuer != desired.issuer.url)?;
    let roles: Vec<&ObservedRole> = observed.roles.values().filter_map(|role| role.known().ok()?.as_ref()).collect();
    let moved = roles.iter().filter(|role| {
        let trusted = trusted_providers(&role.trust);
        !trusted.contains(&desired.issuer.provider.arn) && trusted.iter().any(|arn| issuer_of(arn) == issuer)
    });
    (2 * moved.count() > roles.len()).then_some(issuer)
}

/// The issuer that a discovery document names.
fn issuer_named_by(document: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(document).ok()?;
    document["issuer"].as_str().map(|issuer| issuer.chars().take(500).collect())
}

/// The issuer of a provider's ARN.
fn issuer_of(provider: &str) -> String {
    let name = provider.split_once(":oidc-provider/").map_or(provider, |(_, name)| name);
    format!("https://{}", without_scheme(name))
}
