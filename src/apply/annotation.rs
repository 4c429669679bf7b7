//! Keeps the annotation on the CloudCredential in step with a roll call.

use kube::Client;

use crate::kubernetes::cloud_credential::{read, write};
use crate::observed::Fault;
use crate::plan::upgrade::annotation::{Annotate, Carried, decide};

/// Reads the annotation and sets or withdraws it; `None` where there is no CloudCredential. With `hands_off` nothing is
/// written.
pub async fn keep(
    client: &Client,
    check: &str,
    version: &str,
    ready: bool,
    hands_off: bool,
) -> Result<Option<Annotate>, Fault> {
    let Some(found) = read(client).await? else { return Ok(None) };
    let what = decide(&found.carried, check, version, ready);
    match &what {
        _ if hands_off => {}
        Annotate::Set(carry) => {
            write(client, &found, carry).await?;
            tracing::info!(check, value = carry.value, "the CloudCredential is annotated");
        }
        Annotate::Withdraw => {
            write(client, &found, &Carried::default()).await?;
            tracing::info!(check, "the CloudCredential's annotation is withdrawn");
        }
        Annotate::Right | Annotate::Absent | Annotate::Newer(_) | Annotate::NotOurs(_) => {}
    }
    Ok(Some(what))
}
