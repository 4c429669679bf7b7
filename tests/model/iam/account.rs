//! The account as a whole: all roles and policies in few calls, and its quotas.

use std::sync::Arc;

use super::super::refusal::{Outcome, Refusal};
use super::super::resources::{Policy, Role};
use super::super::world::{Account, Call, World};
use super::super::xml::Xml;
use super::page::Page;
use super::{managed, roles, tags};

/// Where policies begin in the one order that roles and policies have here.
const POLICIES: &str = "policy ";
const ROLES: &str = "role ";

/// What the details can be narrowed to.
const KINDS: [&str; 5] = ["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"];

/// Roles as everywhere in IAM, but without description and longest session, with all their policies; managed policies
/// with their document.
pub fn authorization_details(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let page = Page::of(call)?;
    let filter = call.form.list("Filter");
    if let Some(odd) = filter.iter().find(|kind| !KINDS.contains(kind)) {
        let constraint = format!("Member must satisfy enum value set: [{}]", KINDS.join(", "));
        return Err(Refusal::constraint(odd, "filter", &constraint));
    }
    let wants = |kind: &str| filter.is_empty() || filter.contains(&kind);
    let account = world.account(call.account());
    let reserialised = world.options.reserialise_documents;

    let roles_after = page.after.strip_prefix(ROLES).unwrap_or_default();
    let in_roles = wants("Role") && !page.after.starts_with(POLICIES);
    let mut roles_page = Page { after: roles_after.to_owned(), limit: page.limit };
    let (roles, mut last) = if in_roles {
        let (roles, last) = roles_page.take(account.roles.after(roles_after, call.as_of));
        (roles, last.map(|key| format!("{ROLES}{key}")))
    } else {
        (Vec::new(), None)
    };

    let mut policies: Vec<&Arc<Policy>> = Vec::new();
    if last.is_none() && wants("LocalManagedPolicy") {
        roles_page.limit = page.limit - roles.len();
        let after = page.after.strip_prefix(POLICIES).unwrap_or_default();
        let (found, more) = roles_page.take(account.policies.after(after, call.as_of));
        // With no room left, the last key is that of no policy, and the next page begins with the first.
        last = more.map(|key| format!("{POLICIES}{key}"));
        policies = found;
    }

    xml.within("UserDetailList", |_| {}).within("GroupDetailList", |_| {});
    xml.list("RoleDetailList", roles, |xml, role| {
        write_detail(xml, account, role, reserialised);
        world.write_last_used(xml, role);
    });
    xml.list("Policies", policies, |xml, policy| {
        managed::write(xml, policy, 0);
        xml.list("PolicyVersionList", [policy], |xml, policy| managed::write_version(xml, policy, reserialised));
    });
    Page::finish(xml, last.as_deref());
    Ok(())
}

fn write_detail(xml: &mut Xml, account: &Account, role: &Role, reserialised: bool) {
    xml.leaf("Path", &role.path).leaf("RoleName", &role.name).leaf("RoleId", &role.id).leaf("Arn", &role.arn);
    xml.leaf("CreateDate", &role.created);
    xml.leaf("AssumeRolePolicyDocument", &role.trust.shown(reserialised));
    xml.list("InstanceProfileList", &role.instance_profiles, |xml, name| {
        roles::write_profile(xml, account, name, role, reserialised);
    });
    xml.list("RolePolicyList", &role.inline, |xml, (name, document)| {
        xml.leaf("PolicyName", name).leaf("PolicyDocument", &document.shown(reserialised));
    });
    xml.list("AttachedManagedPolicies", &role.attached, |xml, arn| managed::write_attached(xml, arn));
    roles::write_boundary(xml, role);
    tags::write(xml, &role.tags);
}

pub fn summary(world: &mut World, call: &Call<'_>, xml: &mut Xml) -> Outcome<()> {
    let account = world.account(call.account());
    let quotas = &account.quotas;
    let entries = [
        ("Roles", account.roles.len()),
        ("RolesQuota", quotas.roles),
        ("Policies", account.policies.len()),
        ("PoliciesQuota", quotas.policies),
        ("PolicySizeQuota", quotas.managed_policy),
        ("Providers", account.providers.len()),
        ("AssumeRolePolicySizeQuota", quotas.trust_policy),
        ("AttachedPoliciesPerRoleQuota", quotas.attached_policies),
        ("RolePolicySizeQuota", quotas.inline_policies),
        ("VersionsPerPolicyQuota", 5),
        ("Users", 1),
        ("UsersQuota", 5000),
        ("Groups", 0),
        ("GroupsQuota", 300),
    ];
    xml.within("SummaryMap", |xml| {
        for (key, value) in entries {
            xml.within("entry", |xml| {
                xml.leaf("key", key).value("value", value);
            });
        }
    });
    Ok(())
}
