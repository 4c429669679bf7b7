//! Roles: themselves, their trust policy, their boundary.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::document::{Document, check_trust};
use super::super::refusal::{Outcome, Refusal};
use super::super::resources::Role;
use super::super::world::{Account, Call, World};
use super::super::xml::Xml;
use super::page::Page;
use super::{check_name, check_path, tags};

/// A role by the name in a call, as a read sees it.
pub fn seen<'w>(world: &'w World, call: &Call<'_>) -> Outcome<&'w Arc<Role>> {
    let name = call.required("RoleName")?;
    let found = world.account(call.account()).roles.at(&name.to_ascii_lowercase(), call.as_of);
    let found = found.filter(|role| !world.options.exact_names || role.name == name);
    found.ok_or_else(|| Refusal::no_role(name))
}

/// The key of the role that a call alters; it must exist.
pub fn key(world: &World, call: &Call<'_>) -> Outcome<String> {
    let name = call.required("RoleName")?;
    let key = name.to_ascii_lowercase();
    let found = world.account(call.account()).roles.get(&key);
    let found = found.filter(|role| !world.options.exact_names || role.name == name);
    found.map(|_| key).ok_or_else(|| Refusal::no_role(name))
}

/// Alters the role of a call.
pub fn change<R>(world: &mut World, call: &Call<'_>, alter: impl FnOnce(&mut Role) -> R) -> Outcome<R> {
    let key = key(world, call)?;
    let roles = &mut world.account_mut(call.account()).roles;
    roles.change(&key, call.moment, alter).ok_or_else(|| Refusal::no_role(call.form.text("RoleName")))
}

pub fn create(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let name = call.required("RoleName")?;
    check_name(name, "roleName", 64)?;
    let path = call.form.get("Path").unwrap_or("/");
    check_path(path)?;
    let max_session_seconds = session_seconds(call)?.unwrap_or(3600);
    let description = description(call)?;
    let trust = trust(world, call, call.required("AssumeRolePolicyDocument")?)?;
    let (id, created) = (world.new_id("AROA", 21), world.clock.iso(call.moment.now));
    let reserialised = world.options.reserialise_documents;

    let account = world.account_mut(call.account());
    let tags = tags::of_new(call.form, account.quotas.tags, false)?;
    let boundary = call.form.get("PermissionsBoundary");
    boundary.map_or(Ok(()), |arn| check_boundary(account, arn))?;
    if account.roles.get(&name.to_ascii_lowercase()).is_some() {
        return Err(Refusal::exists(format!("Role with name {name} already exists.")));
    }
    if account.roles.len() >= account.quotas.roles {
        return Err(Refusal::quota("RolesPerAccount", account.quotas.roles));
    }
    let role = Role {
        name: name.to_owned(),
        path: path.to_owned(),
        arn: account.arn(&format!("role{path}{name}")),
        id,
        created: created.into(),
        description,
        max_session_seconds,
        trust,
        inline: BTreeMap::new(),
        attached: BTreeSet::new(),
        boundary: boundary.map(str::to_owned),
        tags,
        instance_profiles: BTreeSet::new(),
    };
    xml.within("Role", |xml| write(xml, &role, reserialised, true));
    account.roles.put(&name.to_ascii_lowercase(), role, call.moment);
    Ok(())
}

pub fn get(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let role = seen(world, call)?;
    xml.within("Role", |xml| {
        write(xml, role, world.options.reserialise_documents, true);
        world.write_last_used(xml, role);
    });
    Ok(())
}

pub fn delete(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let key = key(world, call)?;
    let account = world.account_mut(call.account());
    let role = account.roles.get(&key).ok_or_else(|| Refusal::no_role(call.form.text("RoleName")))?;
    let in_the_way = if !role.instance_profiles.is_empty() {
        Some("must remove roles from instance profile first")
    } else if !role.attached.is_empty() {
        Some("must detach all policies first")
    } else if !role.inline.is_empty() {
        Some("must delete policies first")
    } else {
        None
    };
    if let Some(why) = in_the_way {
        return Err(Refusal::conflict(format!("Cannot delete entity, {why}.")));
    }
    if let Some(role) = account.roles.remove(&key, call.moment) {
        forget_principal(world, call, &role);
    }
    Ok(())
}

/// Trust policies that name a deleted role name its id from now on, if that is switched on.
fn forget_principal(world: &mut World, call: &Call<'_>, deleted: &Role) {
    if !world.options.deleted_principals_become_ids {
        return;
    }
    for account in world.accounts.values_mut() {
        let named = account.roles.iter().filter_map(|(key, role)| {
            let trust = role.trust.with_principal(&deleted.arn, &deleted.id)?;
            Some((key.to_owned(), trust))
        });
        for (key, trust) in named.collect::<Vec<_>>() {
            account.roles.change(&key, call.moment, |role| role.trust = trust);
        }
    }
}

pub fn update(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let (seconds, description) = (session_seconds(call)?, description(call)?);
    change(world, call, |role| {
        // What is left out stays as it is.
        role.max_session_seconds = seconds.unwrap_or(role.max_session_seconds);
        if description.is_some() {
            role.description = description;
        }
    })
}

pub fn update_trust(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    key(world, call)?;
    let trust = trust(world, call, call.required("PolicyDocument")?)?;
    change(world, call, |role| role.trust = trust)
}

pub fn put_boundary(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let arn = call.required("PermissionsBoundary")?;
    key(world, call)?;
    check_boundary(world.account(call.account()), arn)?;
    change(world, call, |role| role.boundary = Some(arn.to_owned()))
}

pub fn delete_boundary(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    change(world, call, |role| role.boundary = None)
}

pub fn list(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let page = Page::of(call)?;
    let prefix = call.form.get("PathPrefix").unwrap_or("/");
    let reserialised = world.options.reserialise_documents;
    let roles = world.account(call.account()).roles.after(&page.after, call.as_of);
    let (roles, last) = page.take(roles.filter(|(_, role)| role.path.starts_with(prefix)));
    xml.list("Roles", roles, |xml, role| write(xml, role, reserialised, false));
    Page::finish(xml, last.as_deref());
    Ok(())
}

pub fn list_instance_profiles(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let page = Page::of(call)?;
    let role = seen(world, call)?;
    let profiles = role.instance_profiles.iter().map(|name| (name.as_str(), name));
    let (profiles, last) = page.take(profiles.filter(|(name, _)| *name > page.after.as_str()));
    let (account, reserialised) = (world.account(call.account()), world.options.reserialise_documents);
    xml.list("InstanceProfiles", profiles, |xml, name| write_profile(xml, account, name, role, reserialised));
    Page::finish(xml, last.as_deref());
    Ok(())
}

/// An instance profile with its role.
pub fn write_profile(xml: &mut Xml, account: &Account, name: &str, role: &Role, reserialised: bool) {
    xml.leaf("Path", "/").leaf("InstanceProfileName", name);
    xml.leaf("InstanceProfileId", &format!("AIPA{}", &role.id[4..]));
    xml.leaf("Arn", &account.arn(&format!("instance-profile/{name}"))).leaf("CreateDate", &role.created);
    xml.list("Roles", [role], |xml, role| write(xml, role, reserialised, false));
}

/// A role as `GetRole` (whole) or `ListRoles` (without tags and boundary) shows it.
pub fn write(xml: &mut Xml, role: &Role, reserialised: bool, whole: bool) {
    xml.leaf("Path", &role.path).leaf("RoleName", &role.name).leaf("RoleId", &role.id).leaf("Arn", &role.arn);
    xml.leaf("CreateDate", &role.created);
    xml.leaf("AssumeRolePolicyDocument", &role.trust.shown(reserialised));
    xml.maybe("Description", role.description.as_deref());
    xml.value("MaxSessionDuration", role.max_session_seconds);
    if whole {
        write_boundary(xml, role);
        if !role.tags.is_empty() {
            tags::write(xml, &role.tags);
        }
    }
}

pub fn write_boundary(xml: &mut Xml, role: &Role) {
    if let Some(arn) = &role.boundary {
        xml.within("PermissionsBoundary", |xml| {
            xml.leaf("PermissionsBoundaryType", "Policy").leaf("PermissionsBoundaryArn", arn);
        });
    }
}

fn session_seconds(call: &Call<'_>) -> Outcome<Option<i32>> {
    let Some(text) = call.form.get("MaxSessionDuration") else { return Ok(None) };
    let constraint = match text.parse::<i32>() {
        Ok(seconds @ 3600..=43200) => return Ok(Some(seconds)),
        Ok(seconds) if seconds > 43200 => "Member must have value less than or equal to 43200",
        _ => "Member must have value greater than or equal to 3600",
    };
    Err(Refusal::constraint(text, "maxSessionDuration", constraint))
}

fn description(call: &Call<'_>) -> Outcome<Option<String>> {
    let Some(text) = call.form.get("Description") else { return Ok(None) };
    if text.chars().count() > 1000 {
        let constraint = "Member must have length less than or equal to 1000";
        return Err(Refusal::constraint(text, "description", constraint));
    }
    Ok(Some(text.to_owned()))
}

fn trust(world: &World, call: &Call<'_>, text: &str) -> Outcome<Document> {
    let principals = check_trust(text)?;
    if let Some(unknown) = principals.iter().find(|arn| !world.knows_principal(arn)) {
        return Err(Refusal::malformed_document(format!("Invalid principal in policy: \"AWS\":\"{unknown}\"")));
    }
    let document = Document::new(text);
    let quota = world.account(call.account()).quotas.trust_policy;
    if document.size() > quota {
        return Err(Refusal::quota("ACLSizePerRole", quota));
    }
    Ok(document)
}

fn check_boundary(account: &Account, arn: &str) -> Outcome<()> {
    if !arn.starts_with("arn:") {
        return Err(Refusal::validation(format!("ARN {arn} is not valid.")));
    }
    if account.has_policy(arn) {
        return Ok(());
    }
    Err(Refusal::no_such_entity(format!("Scope ARN: {arn} does not exist or is not attachable.")))
}
