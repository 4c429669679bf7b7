//! What an UpgradeCheck keeps on the CloudCredential. Passes and the care for strays take turns: what one has withdrawn, the
//! other must not set again.

use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::super::gather::full_name;
use super::super::outcome::fault_reason;
use super::super::pass::Shared;
use super::status::{Annotated, Told};
use crate::api::{UPGRADEABLE_FINALIZER, UpgradeCheck};
use crate::apply::annotation::{Looked, look, make};
use crate::kubernetes::authentication;
use crate::kubernetes::errors::fault;
use crate::kubernetes::finalizer::UPGRADEABLE;
use crate::observed::Fault;
use crate::plan::upgrade::annotation::Annotate;

/// Keeps the CloudCredential in step, where the check asks for that. `ready` is `None` for a verdict of an older look, which
/// is no reason to change anything; `issuer` is that of the cluster which the verdict is about; with `hands_off` nothing is
/// written.
pub async fn annotate(
    shared: &Shared,
    check: &UpgradeCheck,
    issuer: &str,
    ready: Option<bool>,
    hands_off: bool,
) -> Told {
    if !check.spec.annotate_cloud_credential {
        if !UPGRADEABLE.is_set(check) || hands_off {
            return Told::Nothing;
        }
        return withdraw(shared, check, &check.spec.release.version)
            .await
            .map_or_else(|fault| says_fault(&fault), |()| Told::Nothing);
    }
    let Some(ready) = ready else { return Told::AsBefore };
    let _turn = shared.annotating.lock().await;
    // What is true of another cluster says nothing of this one.
    let here = if ready { authentication::issuer(&shared.client).await } else { Ok(None) };
    let here = match here {
        Ok(here) => here,
        Err(fault) => return says_fault(&fault),
    };
    let elsewhere = here.filter(|here| here.trim_end_matches('/') != issuer);
    let name = full_name(check);
    let looked = match look(&shared.client, &name, &check.spec.release.version, ready && elsewhere.is_none()).await {
        Ok(Some(looked)) => looked,
        Ok(None) => return no_cloud_credential(),
        Err(fault) => return says_fault(&fault),
    };
    if !hands_off {
        match carry_out(shared, check, &looked).await {
            Ok(true) => {}
            Ok(false) => return Told::AsBefore,
            Err(fault) => return says_fault(&fault),
        }
    }
    match elsewhere {
        Some(here) => other_cluster(&here, issuer),
        None => in_words(&looked.what, &check.spec.release.version, hands_off),
    }
}

/// Whether it was done: what is set has to be withdrawn one day, so the check must be there, as it was, and wait for that.
async fn carry_out(shared: &Shared, check: &UpgradeCheck, looked: &Looked) -> Result<bool, Fault> {
    if matches!(looked.what, Annotate::Set(_)) {
        if !is_as_it_was(shared, check).await? {
            return Ok(false);
        }
        if !UPGRADEABLE.is_set(check) {
            let set = UPGRADEABLE.set(&shared.client, check).await;
            set.map_err(|error| fault("patch upgradechecks", &full_name(check), &error))?;
        }
    }
    make(&shared.client, looked).await.map(|()| true)
}

async fn is_as_it_was(shared: &Shared, check: &UpgradeCheck) -> Result<bool, Fault> {
    let api: Api<UpgradeCheck> = Api::namespaced(shared.client.clone(), &check.namespace().unwrap_or_default());
    let now = api.get_metadata_opt(&check.name_any()).await;
    let now = now.map_err(|error| fault("get upgradechecks", &full_name(check), &error))?;
    Ok(now.is_some_and(|now| {
        now.metadata.uid == check.metadata.uid
            && now.metadata.generation == check.metadata.generation
            && now.metadata.deletion_timestamp.is_none()
    }))
}

/// Takes back what hangs on a check that goes, that no longer asks for it, or that cannot be read; `version` is the release that
/// it is about, as far as that is known.
pub async fn withdraw<K>(shared: &Shared, check: &K, version: &str) -> Result<(), Fault>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
{
    if shared.read_only {
        return Ok(());
    }
    let _turn = shared.annotating.lock().await;
    if let Some(looked) = look(&shared.client, &full_name(check), version, false).await? {
        make(&shared.client, &looked).await?;
    }
    let taken = UPGRADEABLE.take_back(&shared.client, check).await;
    taken.map_err(|error| fault("patch upgradechecks", &full_name(check), &error))
}

/// What keeps a check that is being deleted.
pub fn held(fault: &Fault) -> Told {
    says(
        None,
        fault_reason(fault.class),
        format!(
            "{fault}; until the annotation can be withdrawn, the finalizer {UPGRADEABLE_FINALIZER} keeps this object: to let it go all the same, remove the finalizer by hand and look at the CloudCredential"
        ),
    )
}

fn says(status: Option<bool>, reason: &'static str, message: String) -> Told {
    Told::Now(Annotated { status, reason, message })
}

fn says_fault(fault: &Fault) -> Told {
    says(None, fault_reason(fault.class), fault.to_string())
}

fn no_cloud_credential() -> Told {
    let message = "the cluster that Rolecall runs on has no CloudCredential named cluster (operator.openshift.io/v1)";
    says(None, "NoCloudCredential", message.into())
}

fn other_cluster(here: &str, issuer: &str) -> Told {
    let message = format!(
        "the verdict is about the cluster with the issuer {issuer}, and Rolecall runs on one with the issuer {here:?} (authentication.config.openshift.io cluster): set the annotation on that cluster by what this check says"
    );
    says(Some(false), "OtherCluster", message)
}

fn in_words(what: &Annotate, version: &str, hands_off: bool) -> Told {
    match what {
        Annotate::Set(_) | Annotate::Withdraw if hands_off => {
            says(Some(false), "ChangesPending", "managementPolicy of the ClusterIdentity is Observe".into())
        }
        Annotate::Right | Annotate::Set(_) => {
            says(Some(true), "Annotated", format!("it says upgradeable-to {version}"))
        }
        Annotate::Withdraw | Annotate::Absent => {
            says(Some(false), "NotReady", "it is not annotated, because the upgrade is not ready".into())
        }
        Annotate::Newer(value) => says(
            Some(false),
            "SetByOthers",
            format!("it says upgradeable-to {value:?}, which someone else has set, and is left alone"),
        ),
        Annotate::NotOurs(value) => says(
            Some(false),
            "SetByOthers",
            format!(
                "it says upgradeable-to {value:?}, which someone else has set, though the check for {version} is not ready"
            ),
        ),
    }
}
