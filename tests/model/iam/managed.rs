//! Managed policies, and which of them roles have.

use super::super::document::{Document, check_permissions};
use super::super::refusal::{Outcome, Refusal};
use super::super::resources::Policy;
use super::super::world::{Call, World};
use super::super::xml::Xml;
use super::page::Page;
use super::roles::{change, key, seen};
use super::{check_name, check_path};

pub fn attach(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let arn = call.required("PolicyArn")?;
    let key = key(world, call)?;
    let account = world.account(call.account());
    if !account.has_policy(arn) {
        return Err(not_attachable(arn));
    }
    let role = account.roles.get(&key).ok_or_else(|| Refusal::no_role(call.form.text("RoleName")))?;
    let quota = account.quotas.attached_policies;
    if !role.attached.contains(arn) && role.attached.len() >= quota {
        return Err(Refusal::quota("PoliciesPerRole", quota));
    }
    change(world, call, |role| {
        role.attached.insert(arn.to_owned());
    })
}

pub fn detach(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let arn = call.required("PolicyArn")?;
    let was_attached = change(world, call, |role| role.attached.remove(arn))?;
    if was_attached { Ok(()) } else { Err(Refusal::no_such_entity(format!("Policy {arn} was not found."))) }
}

pub fn list_attached(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let page = Page::of(call)?;
    let role = seen(world, call)?;
    let arns = role.attached.iter().map(|arn| (arn.as_str(), arn));
    let (arns, last) = page.take(arns.filter(|(arn, _)| *arn > page.after.as_str()));
    xml.list("AttachedPolicies", arns, |xml, arn| write_attached(xml, arn));
    Page::finish(xml, last.as_deref());
    Ok(())
}

pub fn write_attached(xml: &mut Xml, arn: &str) {
    xml.leaf("PolicyName", arn.rsplit('/').next().unwrap_or_default()).leaf("PolicyArn", arn);
}

pub fn create(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let name = call.required("PolicyName")?;
    check_name(name, "policyName", 128)?;
    let path = call.form.get("Path").unwrap_or("/");
    check_path(path)?;
    let text = call.required("PolicyDocument")?;
    check_permissions(text)?;
    let document = Document::new(text);
    let (id, created) = (world.new_id("ANPA", 21), world.clock.iso(call.moment.now));

    let account = world.account_mut(call.account());
    if document.size() > account.quotas.managed_policy {
        return Err(Refusal::quota("PolicySize", account.quotas.managed_policy));
    }
    if account.policies.iter().any(|(_, policy)| policy.name.eq_ignore_ascii_case(name)) {
        let message = format!("A policy called {name} already exists. Duplicate names are not allowed.");
        return Err(Refusal::exists(message));
    }
    if account.policies.len() >= account.quotas.policies {
        return Err(Refusal::quota("PoliciesPerAccount", account.quotas.policies));
    }
    let arn = account.arn(&format!("policy{path}{name}"));
    let (name, path) = (name.to_owned(), path.to_owned());
    let description = call.form.get("Description").map(str::to_owned);
    let policy = Policy { arn, name, path, id, description, document, created: created.into() };
    xml.within("Policy", |xml| write(xml, &policy, 0));
    account.policies.put(&policy.arn.clone(), policy, call.moment);
    Ok(())
}

pub fn delete(world: &mut World, call: &Call<'_>, _: &mut Xml) -> Outcome<()> {
    let arn = call.required("PolicyArn")?;
    let account = world.account_mut(call.account());
    if account.policies.get(arn).is_none() {
        return Err(Refusal::no_such_entity(format!("Policy {arn} was not found.")));
    }
    if account.roles.iter().any(|(_, role)| role.attached.contains(arn)) {
        return Err(Refusal::conflict("Cannot delete a policy attached to entities."));
    }
    account.policies.remove(arn, call.moment);
    Ok(())
}

pub fn get(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let arn = call.required("PolicyArn")?;
    let account = world.account(call.account());
    let missing = || Refusal::no_such_entity(format!("Policy {arn} was not found."));
    let policy = account.policies.at(arn, call.as_of).ok_or_else(missing)?;
    let attached = account.roles.iter().filter(|(_, role)| role.attached.contains(arn)).count();
    xml.within("Policy", |xml| {
        write(xml, policy, attached);
        xml.maybe("Description", policy.description.as_deref());
    });
    Ok(())
}

pub fn get_version(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let (arn, version) = (call.required("PolicyArn")?, call.required("VersionId")?);
    let policy = world.account(call.account()).policies.at(arn, call.as_of);
    let policy = policy.filter(|_| version == "v1").ok_or_else(|| {
        Refusal::no_such_entity(format!("Policy {arn} version {version} does not exist or is not attachable."))
    })?;
    xml.within("PolicyVersion", |xml| write_version(xml, policy, world.options.reserialise_documents));
    Ok(())
}

/// The one version that a policy of the model has.
pub fn write_version(xml: &mut Xml, policy: &Policy, reserialised: bool) {
    xml.leaf("Document", &policy.document.shown(reserialised)).leaf("VersionId", "v1");
    xml.value("IsDefaultVersion", true).leaf("CreateDate", &policy.created);
}

pub fn write(xml: &mut Xml, policy: &Policy, attached: usize) {
    xml.leaf("PolicyName", &policy.name).leaf("PolicyId", &policy.id).leaf("Arn", &policy.arn);
    xml.leaf("Path", &policy.path).leaf("DefaultVersionId", "v1").value("AttachmentCount", attached);
    xml.value("PermissionsBoundaryUsageCount", 0).value("IsAttachable", true);
    xml.leaf("CreateDate", &policy.created).leaf("UpdateDate", &policy.created);
}

fn not_attachable(arn: &str) -> Refusal {
    Refusal::no_such_entity(format!("Policy {arn} does not exist or is not attachable."))
}
