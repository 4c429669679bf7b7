//! Reads what is: AWS, the published documents, and the Secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use futures::{StreamExt, stream};

use super::pass::{SIDE_BY_SIDE, Shared};
use super::watch_health::Watch;
use crate::aws::Session;
use crate::aws::observe::{Extent, observe};
use crate::aws::snapshot::Freshness;
use crate::desired::Desired;
use crate::desired::secret::SecretKey;
use crate::kubernetes;
use crate::observed::{FaultClass, Observed, SecretState, Seen};
use crate::plan::{Prior, Subject};

/// Reads all that a plan needs.
pub async fn observe_all(
    shared: &Arc<Shared>,
    session: &Session,
    desired: &Desired,
    prior: &Prior,
    freshness: Freshness,
) -> Observed {
    let extent = Extent { freshness, other_providers: shared.looks_for_providers(desired, prior) };
    let url = &desired.issuer.url;
    // Documents that were published once are read as STS reads them, and not a second time when they are right.
    let published = [Subject::Discovery, Subject::Keys].iter().all(|subject| prior.verified.contains_key(subject));
    let aws = async {
        let fetched = if published { Some(shared.reader.fetch(url).await) } else { None };
        (Box::pin(observe(session, desired, fetched.as_ref(), extent)).await, fetched)
    };
    let secrets = stream::iter(desired.secrets_to_read())
        .map(|key| async move {
            let seen = secret(shared, &key).await;
            (key, seen)
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect();
    let ((aws, mut fetched), mut secrets): (_, BTreeMap<SecretKey, Seen<SecretState>>) = tokio::join!(aws, secrets);
    for kept in desired.retained.iter().filter(|kept| !shared.stores.keeps_namespace(&kept.secret.key.namespace)) {
        secrets.insert(kept.secret.key.clone(), Seen::Known(SecretState::NamespaceMissing));
    }
    if fetched.is_none() && aws.has_documents() {
        fetched = Some(shared.reader.fetch(url).await);
    }
    if aws.has_no_other_provider(desired) {
        let mut known = shared.without_other_providers.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(desired.identity.clone(), desired.issuer.provider.arn.clone());
    }
    let mut observed = aws.with_fetched(session, fetched);
    observed.leftovers.secrets = shared.stores.secrets_of(&desired.identity);
    observed.secrets = secrets;
    observed
}

async fn secret(shared: &Arc<Shared>, key: &SecretKey) -> Seen<SecretState> {
    let version = shared.stores.secret_version(&key.namespace, &key.name);
    // A watch that fails shows the version that was there when it last answered.
    if let Some(version) = version.filter(|_| !shared.health.is_failing(Watch::Secrets)) {
        let known = shared.secrets.lock().await.get(key).cloned();
        if let Some(known) = known.filter(|known| known.resource_version == version) {
            return Seen::Known(SecretState::Present(known));
        }
    }
    match kubernetes::secrets::read(&shared.client, key).await {
        Ok(Some(secret)) => {
            shared.secrets.lock().await.insert(key.clone(), secret.clone());
            Seen::Known(SecretState::Present(secret))
        }
        Ok(None) => {
            shared.secrets.lock().await.remove(key);
            let there = shared.stores.has_namespace(&key.namespace);
            Seen::Known(if there { SecretState::Absent } else { SecretState::NamespaceMissing })
        }
        Err(fault) if fault.class == FaultClass::NotFound => Seen::Known(SecretState::NamespaceMissing),
        Err(fault) => Seen::Unknown(fault),
    }
}

impl Shared {
    /// Whether the account's other OIDC providers are to be looked for: as long as this issuer was never verified, and until that has
    /// once shown none of the cluster's.
    fn looks_for_providers(&self, desired: &Desired, prior: &Prior) -> bool {
        let fingerprint = desired.issuer.discovery.fingerprint(&desired.issuer.bucket);
        let known = self.without_other_providers.lock().unwrap_or_else(PoisonError::into_inner);
        prior.verified.get(&Subject::Discovery) != Some(&fingerprint)
            && known.get(&desired.identity) != Some(&desired.issuer.provider.arn)
    }
}
