//! OpenID Connect providers.

use std::sync::Arc;

use super::super::refusal::{Outcome, Refusal};
use super::super::resources::Provider;
use super::super::world::{Call, World};
use super::super::xml::Xml;
use super::tags;

const ARN: &str = "OpenIDConnectProviderArn";

/// The provider of a call, as a read sees it.
pub fn seen<'w>(world: &'w World, call: &Call<'_>) -> Outcome<&'w Arc<Provider>> {
    let arn = call.required(ARN)?;
    world.account(call.account()).providers.at(arn, call.as_of).ok_or_else(|| missing(arn))
}

/// Alters the provider of a call.
pub fn change<R>(world: &mut World, call: &Call<'_>, alter: impl FnOnce(&mut Provider) -> R) -> Outcome<R> {
    let arn = call.required(ARN)?;
    let providers = &mut world.account_mut(call.account()).providers;
    providers.change(arn, call.moment, alter).ok_or_else(|| missing(arn))
}

pub fn create(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let url = call.required("Url")?;
    let bare = url.strip_prefix("https://").filter(|bare| !bare.is_empty() && !bare.contains(['?', '#', ' ']));
    let bare = bare.ok_or_else(|| Refusal::validation("Invalid Open ID Connect Provider URL"))?;
    let audiences: Vec<String> = call.form.list("ClientIDList").into_iter().map(str::to_owned).collect();
    for audience in &audiences {
        check_audience(audience)?;
    }
    let thumbprints = thumbprints(call)?;
    let created = world.clock.iso(call.moment.now);

    let account = world.account_mut(call.account());
    let tags = tags::of_new(call.form, account.quotas.tags, true)?;
    let arn = account.arn(&format!("oidc-provider/{bare}"));
    if account.providers.get(&arn).is_some() {
        return Err(Refusal::exists(format!("Provider with url {url} already exists.")));
    }
    if account.providers.len() >= account.quotas.providers {
        return Err(Refusal::quota("OpenIdConnectProvidersPerAccount", account.quotas.providers));
    }
    if audiences.len() > account.quotas.audiences {
        return Err(Refusal::quota("ClientIdsPerOpenIdConnectProvider", account.quotas.audiences));
    }
    xml.leaf(ARN, &arn);
    if !tags.is_empty() {
        tags::write(xml, &tags);
    }
    let url = bare.to_owned();
    let provider = Provider { arn: arn.clone(), url, audiences, thumbprints, tags, created: created.into() };
    account.providers.put(&arn, provider, call.moment);
    Ok(())
}

pub fn get(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let provider = seen(world, call)?;
    xml.leaf("Url", &provider.url);
    xml.list("ClientIDList", &provider.audiences, |xml, audience| xml.text(audience));
    xml.list("ThumbprintList", &provider.thumbprints, |xml, thumbprint| xml.text(thumbprint));
    xml.leaf("CreateDate", &provider.created);
    tags::write(xml, &provider.tags);
    Ok(())
}

/// Deleting what is not there is no error: "This operation is idempotent".
pub fn delete(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let arn = call.required(ARN)?;
    world.account_mut(call.account()).providers.remove(arn, call.moment);
    Ok(())
}

pub fn list(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let providers = world.account(call.account()).providers.after("", call.as_of);
    xml.list("OpenIDConnectProviderList", providers, |xml, (arn, _)| {
        xml.leaf("Arn", arn);
    });
    Ok(())
}

/// Adding what is there already is no error.
pub fn add_audience(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let audience = call.required("ClientID")?.to_owned();
    check_audience(&audience)?;
    let quota = world.account(call.account()).quotas.audiences;
    change(world, call, |provider| {
        if provider.audiences.contains(&audience) {
            return Ok(());
        }
        if provider.audiences.len() >= quota {
            return Err(Refusal::quota("ClientIdsPerOpenIdConnectProvider", quota));
        }
        provider.audiences.push(audience);
        Ok(())
    })?
}

/// Removing what is not there is no error.
pub fn remove_audience(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let audience = call.required("ClientID")?.to_owned();
    change(world, call, |provider| provider.audiences.retain(|known| *known != audience))
}

pub fn update_thumbprints(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let thumbprints = thumbprints(call)?;
    change(world, call, |provider| provider.thumbprints = thumbprints)
}

fn check_audience(audience: &str) -> Outcome<()> {
    if audience.chars().count() <= 255 {
        return Ok(());
    }
    let constraint = "Member must have length less than or equal to 255";
    Err(Refusal::constraint(audience, "clientID", constraint))
}

/// The given thumbprints. Without any, AWS fetches that of the issuer's top certificate; the model makes one up.
fn thumbprints(call: &Call<'_>) -> Outcome<Vec<String>> {
    let given: Vec<String> = call.form.list("ThumbprintList").into_iter().map(str::to_owned).collect();
    if let Some(odd) = given.iter().find(|thumbprint| thumbprint.len() != 40) {
        let constraint = "Member must have length equal to 40";
        return Err(Refusal::constraint(odd, "thumbprintList", constraint));
    }
    if given.len() > 5 {
        return Err(Refusal::invalid_input("Thumbprint list must contain fewer than 5 entries."));
    }
    Ok(if given.is_empty() { vec!["9e99a48a9960b14926bb7f3b02e22da2b0ab7280".to_owned()] } else { given })
}

fn missing(arn: &str) -> Refusal {
    Refusal::no_such_entity(format!("OpenIDConnect Provider not found for arn {arn}"))
}
