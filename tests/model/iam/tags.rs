//! Tags of roles and providers. Keys of a role's tags are not distinguished by case, those of a provider's are (IAM User
//! Guide, "Rules for tagging").

use super::super::refusal::{Outcome, Refusal};
use super::super::request::Form;
use super::super::resources::Tags;
use super::super::world::{Call, World};
use super::super::xml::Xml;
use super::page::Page;
use super::{providers, roles};

/// The tags in a request that makes something.
pub fn of_new(form: &Form, quota: usize, by_case: bool) -> Outcome<Tags> {
    let mut tags = Tags::new();
    add(&mut tags, &checked(form, by_case)?, quota, by_case)?;
    Ok(tags)
}

pub fn write(xml: &mut Xml, tags: &Tags) {
    xml.list("Tags", tags, |xml, (key, value)| {
        xml.leaf("Key", key).leaf("Value", value);
    });
}

pub fn tag_role(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let new = checked(call.form, false)?;
    let quota = world.account(call.account()).quotas.tags;
    let key = roles::key(world, call)?;
    let mut tags = world.account(call.account()).roles.get(&key).map(|role| role.tags.clone()).unwrap_or_default();
    add(&mut tags, &new, quota, false)?;
    roles::change(world, call, |role| role.tags = tags)
}

pub fn untag_role(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let keys = call.form.list("TagKeys");
    roles::change(world, call, |role| {
        role.tags.retain(|key, _| !keys.iter().any(|gone| gone.eq_ignore_ascii_case(key)));
    })
}

pub fn list_role_tags(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let role = roles::seen(world, call)?.clone();
    list(call, &role.tags, xml)
}

pub fn tag_provider(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let new = checked(call.form, true)?;
    let quota = world.account(call.account()).quotas.tags;
    providers::change(world, call, |provider| add(&mut provider.tags, &new, quota, true))?
}

pub fn untag_provider(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let keys = call.form.list("TagKeys");
    providers::change(world, call, |provider| provider.tags.retain(|key, _| !keys.contains(&key.as_str())))
}

pub fn list_provider_tags(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let provider = providers::seen(world, call)?.clone();
    list(call, &provider.tags, xml)
}

fn list(call: &Call<'_>, tags: &Tags, xml: &mut Xml) -> Outcome<()> {
    let page = Page::of(call)?;
    let tags = tags.iter().map(|(key, value)| (key.as_str(), (key, value)));
    let (tags, last) = page.take(tags.filter(|(key, _)| *key > page.after.as_str()));
    xml.list("Tags", tags, |xml, (key, value)| {
        xml.leaf("Key", key).leaf("Value", value);
    });
    Page::finish(xml, last.as_deref());
    Ok(())
}

fn checked(form: &Form, by_case: bool) -> Outcome<Vec<(&str, &str)>> {
    let tags = form.tags();
    if tags.len() > 50 {
        return Err(Refusal::constraint("[...]", "tags", "Member must have length less than or equal to 50"));
    }
    for (n, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 {
            let constraint = "Member must have length less than or equal to 128";
            return Err(Refusal::constraint(key, &format!("tags.{}.member.key", n + 1), constraint));
        }
        if value.chars().count() > 256 {
            let constraint = "Member must have length less than or equal to 256";
            return Err(Refusal::constraint(value, &format!("tags.{}.member.value", n + 1), constraint));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            let message = "The caller is not authorized to change tag keys with the prefix aws:";
            return Err(Refusal::invalid_input(message));
        }
        if tags[..n].iter().any(|(other, _)| same(other, key, by_case)) {
            let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(Refusal::invalid_input(message));
        }
    }
    Ok(tags)
}

/// Adds tags; one with the key of another takes its place.
fn add(tags: &mut Tags, new: &[(&str, &str)], quota: usize, by_case: bool) -> Outcome<()> {
    let replaced = |key: &String| new.iter().any(|(other, _)| same(other, key, by_case));
    if tags.keys().filter(|key| !replaced(key)).count() + new.len() > quota {
        let message = format!("The number of tags has reached the maximum limit: {quota}");
        return Err(Refusal::new(409, "LimitExceeded", message));
    }
    tags.retain(|key, _| !replaced(key));
    tags.extend(new.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Ok(())
}

fn same(one: &str, other: &str, by_case: bool) -> bool {
    if by_case { one == other } else { one.eq_ignore_ascii_case(other) }
}
