//! Reads OIDC providers: the cluster's, and at first contact others that may be it.

use futures::{StreamExt, TryStreamExt, stream};

use super::Session;
use super::observe::found;
use crate::desired::Desired;
use crate::observed::{Fault, ObservedProvider};

/// How many providers are read at once.
const CONCURRENT_READS: usize = 4;

/// The provider of this ARN; `None` when there is none.
pub(super) async fn provider(session: &Session, arn: &str) -> Result<Option<ObservedProvider>, Fault> {
    let call = session.clients.iam.get_open_id_connect_provider().open_id_connect_provider_arn(arn);
    let answer = session.account.read("iam:GetOpenIDConnectProvider", arn, || call.clone().send()).await;
    Ok(found(answer)?.map(|provider| ObservedProvider {
        arn: arn.to_owned(),
        tags: provider.tags().iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        url: provider.url.unwrap_or_default(),
        audiences: provider.client_id_list.unwrap_or_default(),
    }))
}

/// The account's other providers that may be the cluster's by their names: the listing has no tags, and reading all of them
/// would be a call for each cluster of the account.
pub(super) async fn other_providers(session: &Session, desired: &Desired) -> Result<Vec<ObservedProvider>, Fault> {
    let call = session.clients.iam.list_open_id_connect_providers();
    let action = "iam:ListOpenIDConnectProviders";
    let listed = session.account.read(action, "the account", || call.clone().send()).await?;
    let arns = listed.open_id_connect_provider_list.unwrap_or_default().into_iter().filter_map(|entry| entry.arn);
    let others = arns.filter(|arn| *arn != desired.issuer.provider.arn && may_be_of(desired, arn));
    let read = stream::iter(others.collect::<Vec<_>>())
        .map(|arn| async move { provider(session, &arn).await })
        .buffer_unordered(CONCURRENT_READS)
        .try_collect::<Vec<_>>()
        .await?;
    let mut read: Vec<ObservedProvider> = read.into_iter().flatten().collect();
    read.sort_by(|one, other| one.arn.cmp(&other.arn));
    Ok(read)
}

/// Whether a provider's name speaks of the cluster, or is not of the form that an issuer in an S3 bucket has (one behind
/// CloudFront, for instance).
fn may_be_of(desired: &Desired, arn: &str) -> bool {
    let Some((_, name)) = arn.split_once(":oidc-provider/") else { return false };
    let host = name.split('/').next().unwrap_or_default();
    let of_s3 = host.contains(".s3.") || host.contains(".s3-") || host.starts_with("s3.") || host.starts_with("s3-");
    !of_s3 || name.contains(&desired.infra_name) || name.contains(&desired.issuer.bucket.name)
}
