//! Inline policies of roles.

use super::super::document::{Document, check_permissions};
use super::super::refusal::{Outcome, Refusal};
use super::super::world::{Call, World};
use super::super::xml::Xml;
use super::check_name;
use super::page::Page;
use super::roles::{change, key, seen};

pub fn put(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let name = call.required("PolicyName")?;
    check_name(name, "policyName", 128)?;
    let text = call.required("PolicyDocument")?;
    let key = key(world, call)?;
    check_permissions(text)?;
    let document = Document::new(text);

    let account = world.account(call.account());
    let role = account.roles.get(&key).ok_or_else(|| Refusal::no_role(call.form.text("RoleName")))?;
    let others = role.inline.iter().filter(|(other, _)| *other != name).map(|(_, document)| document.size());
    let quota = account.quotas.inline_policies;
    if others.sum::<usize>() + document.size() > quota {
        let message = format!("Maximum policy size of {quota} bytes exceeded for role {}", role.name);
        return Err(Refusal::new(409, "LimitExceeded", message));
    }
    change(world, call, |role| {
        role.inline.insert(name.to_owned(), document);
    })
}

pub fn get(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let name = call.required("PolicyName")?;
    let role = seen(world, call)?;
    let document = role.inline.get(name).ok_or_else(|| missing(name))?;
    xml.leaf("RoleName", &role.name).leaf("PolicyName", name);
    xml.leaf("PolicyDocument", &document.shown(world.options.reserialise_documents));
    Ok(())
}

pub fn delete(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let name = call.required("PolicyName")?;
    let removed = change(world, call, |role| role.inline.remove(name))?;
    removed.map(drop).ok_or_else(|| missing(name))
}

pub fn list(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let page = Page::of(call)?;
    let role = seen(world, call)?;
    let names = role.inline.keys().map(|name| (name.as_str(), name));
    let (names, last) = page.take(names.filter(|(name, _)| *name > page.after.as_str()));
    xml.list("PolicyNames", names, |xml, name| xml.text(name));
    Page::finish(xml, last.as_deref());
    Ok(())
}

fn missing(name: &str) -> Refusal {
    Refusal::no_such_entity(format!("The role policy with name {name} cannot be found."))
}
