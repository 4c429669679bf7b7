//! Keeps the annotation on the CloudCredential in step with a roll call.

use kube::Client;

use crate::kubernetes::cloud_credential::{Annotations, read, write};
use crate::observed::Fault;
use crate::plan::upgrade::annotation::{Annotate, Carried, decide};

/// What the CloudCredential carries, and what is to be done about it.
#[derive(Debug)]
pub struct Looked {
    found: Annotations,
    /// What is to be done.
    pub what: Annotate,
}

/// Reads the annotation and decides; `None` where there is no CloudCredential.
pub async fn look(client: &Client, check: &str, version: &str, ready: bool) -> Result<Option<Looked>, Fault> {
    let found = read(client).await?;
    Ok(found.map(|found| Looked { what: decide(&found.carried, check, version, ready), found }))
}

/// Does what was decided, unless someone has changed the CloudCredential since.
pub async fn make(client: &Client, looked: &Looked) -> Result<(), Fault> {
    match &looked.what {
        Annotate::Set(carry) => {
            write(client, &looked.found, carry).await?;
            tracing::info!(set_by = carry.set_by, "the CloudCredential is annotated");
        }
        Annotate::Withdraw => {
            write(client, &looked.found, &Carried::default()).await?;
            tracing::info!(was = looked.found.carried.set_by, "the CloudCredential's annotation is withdrawn");
        }
        Annotate::Right | Annotate::Absent | Annotate::Newer(_) | Annotate::NotOurs(_) => {}
    }
    Ok(())
}
