//! Reads roles: those that are wanted, and those that carry the cluster's mark and are wanted no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_iam::types::Role;
use futures::{FutureExt, StreamExt, stream};

use super::observe::found;
use super::role_usage::{last_use, timestamp};
use super::snapshot::{Freshness, ListedRole, RoleDetails, Snapshot};
use super::{Account, Session};
use crate::desired::owner::mark_in;
use crate::observed::{AccountUse, Fault, FaultClass, Leftover, ObservedRole, ReadPolicy, Seen, trusted_providers};
use crate::policy::Document;

/// How many roles are read side by side.
const SIDE_BY_SIDE: usize = 8;

/// What is asked about an account's roles.
#[derive(Debug)]
pub struct RoleQuery<'a> {
    /// What the names of all roles of the cluster begin with.
    pub prefix: &'a str,
    /// The names of the wanted roles.
    pub wanted: Vec<&'a str>,
    /// Names, in lower case, that are in use whether or not a role is wanted under them now.
    pub claimed: &'a BTreeSet<String>,
    /// Key of the tag that marks what belongs to the cluster.
    pub owner_tag: &'a str,
    /// The ClusterIdentity's own mark.
    pub mark: Option<&'a str>,
    /// Host and path of the cluster's OIDC provider.
    pub provider: &'a str,
    /// How old what is told may be.
    pub freshness: Freshness,
}

/// What the account has of a cluster's roles.
#[derive(Debug)]
pub struct ObservedRoles {
    /// The wanted roles, by name.
    pub wanted: BTreeMap<String, Seen<Option<ObservedRole>>>,
    /// The roles that belong to the cluster by their tags under names that nobody claims, by name.
    pub leftovers: Seen<Vec<Seen<Leftover>>>,
    /// How the roles of the account are used.
    pub account_use: AccountUse,
}

/// Reads what is asked for, by listing the account or, where that may not or need not be, one by one.
pub async fn roles(session: &Session, query: &RoleQuery<'_>) -> ObservedRoles {
    let account = &*session.account;
    match listing(session, query).await {
        Ok(snapshot) => {
            let wanted = wanted(session, query, &snapshot).await;
            let leftovers = leftovers(session, query, &snapshot).await;
            let usage = snapshot.usage();
            let known = |role: &Seen<Leftover>| matches!(role, Seen::Known(role) if role.last_used.is_some());
            let of_wanted =
                |role: &Seen<Option<ObservedRole>>| matches!(role, Seen::Known(Some(role)) if role.last_used.is_some());
            let any = usage.any() || leftovers.iter().any(known) || wanted.values().any(of_wanted);
            let namesakes = snapshot.beginning_with(query.prefix).map(|role| role.name.to_ascii_lowercase()).collect();
            let account_use = AccountUse { any, trusting: Seen::Known(usage.trusting(query.provider)), namesakes };
            ObservedRoles { wanted, leftovers: Seen::Known(leftovers), account_use }
        }
        // Without the listing nothing is known of leftovers, but what is wanted can be looked at.
        Err(fault) if fault.class == FaultClass::Denied => {
            let names = query.wanted.iter().map(|name| (*name).to_owned()).collect();
            let (wanted, account_use) = (one_by_one(session, names).await, AccountUse::unknown(fault.clone()));
            ObservedRoles { wanted, leftovers: Seen::Unknown(fault), account_use }
        }
        Err(fault) => {
            tracing::debug!(account = account.id, error = %fault, "the account's roles could not be listed");
            let unread = |name: &&str| ((*name).to_owned(), Seen::Unknown(fault.clone()));
            let wanted = query.wanted.iter().map(unread).collect();
            let account_use = AccountUse::unknown(fault.clone());
            ObservedRoles { wanted, leftovers: Seen::Unknown(fault), account_use }
        }
    }
}

/// A snapshot to judge by. When few roles were written since the last one, these are read apart; a new one costs more.
async fn listing(session: &Session, query: &RoleQuery<'_>) -> Result<Arc<Snapshot>, Fault> {
    let account = &session.account;
    let recent = account.snapshot(&session.clients, query.prefix, query.freshness).await?;
    let written = account.written_since(query.prefix, recent.begun());
    // One by one, a role takes two calls, as a page of both listings does.
    if written.len() < recent.pages() || written.is_empty() {
        return Ok(recent);
    }
    let freshness = written.values().copied().max().map_or(query.freshness, Freshness::since);
    account.snapshot(&session.clients, query.prefix, freshness).await
}

async fn wanted(
    session: &Session,
    query: &RoleQuery<'_>,
    snapshot: &Snapshot,
) -> BTreeMap<String, Seen<Option<ObservedRole>>> {
    let written = session.account.written_since(query.prefix, snapshot.begun());
    let mut roles = BTreeMap::new();
    let mut apart = Vec::new();
    for name in &query.wanted {
        let listed = snapshot.role(name);
        match listed.map(|role| (role, &role.detail)) {
            _ if written.contains_key(&name.to_ascii_lowercase()) => apart.push((*name).to_owned()),
            None => drop(roles.insert((*name).to_owned(), Seen::Known(None))),
            Some((role, Some(details))) => {
                roles.insert((*name).to_owned(), Seen::Known(Some(of_listing(name, role, details))));
            }
            Some((_, None)) => apart.push((*name).to_owned()),
        }
    }
    roles.extend(one_by_one(session, apart).await);
    roles
}

async fn one_by_one(session: &Session, names: Vec<String>) -> BTreeMap<String, Seen<Option<ObservedRole>>> {
    stream::iter(names)
        .map(|name| async move {
            let role = role(session, &name).await.into();
            (name, role)
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await
}

async fn leftovers(session: &Session, query: &RoleQuery<'_>, snapshot: &Snapshot) -> Vec<Seen<Leftover>> {
    let written = session.account.written_since(query.prefix, snapshot.begun());
    let unclaimed = |role: &&ListedRole| !query.claimed.contains(&role.name.to_ascii_lowercase());
    let mut candidates: Vec<&ListedRole> = snapshot.beginning_with(query.prefix).filter(unclaimed).collect();
    candidates.sort_by(|a, b| a.name.cmp(&b.name));
    let looks = candidates.into_iter().map(|role| {
        let apart = written.contains_key(&role.name.to_ascii_lowercase());
        // Boxed: the compiler cannot see through a stream of borrowing futures that they may be sent.
        async move {
            match &role.detail {
                Some(details) if !apart => Ok(leftover(role, details, query)),
                _ => Box::pin(leftover_apart(session, &role.name, query)).await,
            }
        }
        .boxed()
    });
    let looks: Vec<_> = looks.collect();
    let seen: Vec<Result<Option<Leftover>, Fault>> = stream::iter(looks).buffered(SIDE_BY_SIDE).collect().await;
    seen.into_iter().filter_map(|seen| seen.transpose().map(Seen::from)).collect()
}

/// Whether a role belongs to the cluster by its tags: by ccoctl's, or by the mark of the ClusterIdentity itself.
fn belongs(tags: &BTreeMap<String, String>, query: &RoleQuery<'_>) -> bool {
    tags.contains_key(query.owner_tag) || query.mark.is_some() && mark_in(tags).map(String::as_str) == query.mark
}

fn leftover(role: &ListedRole, details: &RoleDetails, query: &RoleQuery<'_>) -> Option<Leftover> {
    if !belongs(&details.tags, query) {
        return None;
    }
    let inline = details.inline.iter().map(|(policy, _)| policy.as_str());
    let leftover = Leftover {
        name: role.name.clone(),
        tags: details.tags.clone(),
        created: role.created,
        last_used: details.last_used.clone(),
        trusted: trusted_providers(&Document::parse_returned(&role.trust)),
        own_policy: false,
        others: Vec::new(),
    };
    Some(leftover.having(inline, &details.attached, &details.instance_profiles))
}

async fn leftover_apart(session: &Session, name: &str, query: &RoleQuery<'_>) -> Result<Option<Leftover>, Fault> {
    let (account, iam) = (&*session.account, &session.clients.iam);
    let target = format!("role {name}");
    let call = iam.get_role().role_name(name);
    let role = found(account.read("iam:GetRole", &target, || call.clone().send()).await)?;
    let Some(role) = role.and_then(|answer| answer.role) else { return Ok(None) };
    let tags: BTreeMap<String, String> = role.tags().iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
    if !belongs(&tags, query) {
        return Ok(None);
    }
    let profiles = iam.list_instance_profiles_for_role().role_name(&role.role_name);
    let (inline, attached, profiles) = tokio::try_join!(
        inline_policies(session, &role.role_name, &target),
        attached_policies(session, &role.role_name, &target),
        account.read("iam:ListInstanceProfilesForRole", &target, || profiles.clone().send()),
    )?;
    // A role is in few profiles, and whether there is any is what matters.
    let profiles = profiles.instance_profiles.into_iter().map(|profile| profile.instance_profile_name);
    let (inline, profiles) = (inline.iter().map(String::as_str), profiles.collect::<Vec<_>>());
    let trust = Document::parse_returned(role.assume_role_policy_document.as_deref().unwrap_or_default());
    let leftover = Leftover {
        created: timestamp(Some(&role.create_date)),
        last_used: last_use(role.role_last_used.as_ref()),
        trusted: trusted_providers(&trust),
        name: role.role_name,
        tags,
        own_policy: false,
        others: Vec::new(),
    };
    Ok(Some(leftover.having(inline, &attached, &profiles)))
}

async fn role(session: &Session, name: &str) -> Result<Option<ObservedRole>, Fault> {
    let (account, iam): (&Account, _) = (&session.account, &session.clients.iam);
    let target = format!("role {name}");
    let call = iam.get_role().role_name(name);
    let answer = found(account.read("iam:GetRole", &target, || call.clone().send()).await)?;
    let Some(role) = answer.and_then(|answer| answer.role) else { return Ok(None) };
    let call = iam.get_role_policy().role_name(name).policy_name(name);
    let policy = found(account.read("iam:GetRolePolicy", &target, || call.clone().send()).await);
    let permissions = policy.map(|policy| policy.map(|policy| Document::parse_returned(&policy.policy_document)));
    Ok(Some(of_answer(role, permissions.into())))
}

fn of_answer(role: Role, permissions: Seen<Option<ReadPolicy>>) -> ObservedRole {
    ObservedRole {
        trust: Document::parse_returned(role.assume_role_policy_document.as_deref().unwrap_or_default()),
        boundary: role.permissions_boundary.as_ref().and_then(|b| b.permissions_boundary_arn.clone()),
        tags: role.tags().iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        description: role.description.unwrap_or_default(),
        max_session_seconds: max_session(role.max_session_duration),
        path: role.path,
        name: role.role_name,
        id: role.role_id,
        created: timestamp(Some(&role.create_date)),
        last_used: last_use(role.role_last_used.as_ref()),
        permissions,
    }
}

fn of_listing(wanted: &str, role: &ListedRole, details: &RoleDetails) -> ObservedRole {
    let own = details.inline.iter().find(|(name, _)| name == wanted);
    ObservedRole {
        name: role.name.clone(),
        path: role.path.clone(),
        description: role.description.clone(),
        max_session_seconds: max_session(role.max_session_seconds),
        trust: Document::parse_returned(&role.trust),
        permissions: Seen::Known(own.map(|(_, document)| Document::parse_returned(document))),
        boundary: details.boundary.clone(),
        tags: details.tags.clone(),
        id: role.id.clone(),
        created: role.created,
        last_used: details.last_used.clone(),
    }
}

/// IAM leaves out what was never set; its default is one hour.
fn max_session(seconds: Option<i32>) -> i32 {
    seconds.unwrap_or(3600)
}

/// The names of all inline policies. IAM may return fewer than a page holds although there are more (IAM API reference,
/// `IsTruncated`), and the one that is left out may deny.
pub(super) async fn inline_policies(session: &Session, role: &str, target: &str) -> Result<Vec<String>, Fault> {
    let (mut names, mut marker) = (Vec::new(), None);
    loop {
        let call = session.clients.iam.list_role_policies().role_name(role).set_marker(marker);
        let page = session.account.read("iam:ListRolePolicies", target, || call.clone().send()).await?;
        names.extend(page.policy_names);
        match page.marker.filter(|_| page.is_truncated) {
            Some(next) => marker = Some(next),
            None => return Ok(names),
        }
    }
}

/// The ARNs of all attached policies.
pub(super) async fn attached_policies(session: &Session, role: &str, target: &str) -> Result<Vec<String>, Fault> {
    let (mut arns, mut marker) = (Vec::new(), None);
    loop {
        let call = session.clients.iam.list_attached_role_policies().role_name(role).set_marker(marker);
        let page = session.account.read("iam:ListAttachedRolePolicies", target, || call.clone().send()).await?;
        arns.extend(page.attached_policies.unwrap_or_default().into_iter().filter_map(|policy| policy.policy_arn));
        match page.marker.filter(|_| page.is_truncated) {
            Some(next) => marker = Some(next),
            None => return Ok(arns),
        }
    }
}
