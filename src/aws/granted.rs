//! Reads all that roles are granted: inline and attached policies, and the boundary.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::Session;
use super::observe::found;
use super::roles::{attached_policies, inline_policies};
use super::snapshot::{Freshness, ListedRole, RoleDetails, listed};
use crate::observed::{Fault, FaultClass};
use crate::plan::upgrade::LiveRole;
use crate::policy::Document;
use crate::policy::coverage::{Granted, Source};

/// A role, with what belongs to it by its tags and description.
#[derive(Debug, Clone)]
pub struct GrantedRole {
    /// The role.
    pub live: LiveRole,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its path.
    pub path: String,
    /// The ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// Its description.
    pub description: String,
}

impl GrantedRole {
    /// Whether it has nothing but the inline policy of its own name.
    fn is_plain(&self) -> bool {
        let own = format!("inline policy {}", self.live.name);
        self.boundary.is_none() && self.live.granted.identity.iter().all(|source| source.name == own)
    }
}

/// The roles whose names begin so, by name in lower case; where the account may not be listed and the names are known, those
/// that are named. A role that cannot be read says why.
pub async fn granted_roles(
    session: &Session,
    prefix: &str,
    named: Option<&BTreeSet<String>>,
    freshness: Freshness,
) -> Result<GrantedRoles, Fault> {
    let account = &session.account;
    let mut managed = Managed::default();
    let mut roles = BTreeMap::new();
    let snapshot = match account.snapshot(&session.clients, prefix, freshness).await {
        Ok(snapshot) => snapshot,
        Err(fault) => {
            let Some(named) = named.filter(|_| fault.class == FaultClass::Denied) else { return Err(fault) };
            for name in named {
                roles.extend(apart(session, name, &mut managed).await);
            }
            return Ok(managed.with(roles));
        }
    };
    let written = account.written_since(prefix, snapshot.begun());
    for role in snapshot.beginning_with(prefix) {
        let key = role.name.to_ascii_lowercase();
        match &role.detail {
            _ if written.contains_key(&key) => {}
            Some(details) => {
                roles.insert(key, Ok(of_listing(session, role, details, &mut managed).await));
            }
            None => roles.extend(apart(session, &role.name, &mut managed).await),
        }
    }
    for name in written.keys() {
        roles.extend(apart(session, name, &mut managed).await);
    }
    Ok(managed.with(roles))
}

/// Roles with all that they are granted.
#[derive(Debug, Default)]
pub struct GrantedRoles {
    /// By name in lower case; or why that cannot be told.
    pub roles: BTreeMap<String, Result<GrantedRole, String>>,
    /// Names, in lower case, of roles that were seen to have nothing but the inline policy of their own name: neither other
    /// policies nor a permissions boundary.
    pub plain: BTreeSet<String>,
    /// Why a part could not be read, if that will pass: nothing should be concluded from that.
    pub passing: Option<Fault>,
}

/// What is asked of the roles in force, by name in lower case.
#[derive(Debug, Default)]
pub struct Asked {
    /// All of them.
    pub in_force: BTreeSet<String>,
    /// Those of which everything is to be told, whether they have more than the inline policy of their own name or not.
    pub whole: BTreeSet<String>,
}

/// Of the roles of the last listing those that have more than the inline policy of their own name, and those of which everything
/// is asked for. A managed policy is read once an hour, and so is a role in force of which the listing has no details. What was
/// written since the listing began is left out.
pub async fn roles_with_more(
    session: &Session,
    prefix: &str,
    freshness: Freshness,
    asked: &Asked,
) -> Result<GrantedRoles, Fault> {
    let account = &session.account;
    let snapshot = account.snapshot(&session.clients, prefix, freshness).await?;
    let written = account.written_since(prefix, snapshot.begun());
    // An organisation may attach policies to every role: what they hold is reported here, and no write rests on it.
    let mut managed = Managed { not_before: Some(freshness.rest_not_before()), ..Managed::default() };
    let (mut roles, mut plain) = (BTreeMap::new(), BTreeSet::new());
    for role in snapshot.beginning_with(prefix) {
        let key = role.name.to_ascii_lowercase();
        let whole = asked.whole.contains(&key);
        let read = match &role.detail {
            _ if written.contains_key(&key) => None,
            Some(details) if !whole && is_plain(&role.name, details) => {
                plain.insert(key.clone());
                None
            }
            Some(details) => Some(Ok(of_listing(session, role, details, &mut managed).await)),
            None if asked.in_force.contains(&key) => known_apart(session, &role.name, freshness, &mut managed).await,
            None => None,
        };
        match read {
            Some(Ok(role)) if !whole && role.is_plain() => drop(plain.insert(key)),
            Some(read) => drop(roles.insert(key, read)),
            None => {}
        }
    }
    Ok(GrantedRoles { plain, ..managed.with(roles) })
}

fn is_plain(name: &str, details: &RoleDetails) -> bool {
    details.attached.is_empty() && details.boundary.is_none() && details.inline.iter().all(|(policy, _)| policy == name)
}

/// A role that is read for itself: as it was read at most an hour ago, unless it was written since or something has happened.
async fn known_apart(
    session: &Session,
    name: &str,
    freshness: Freshness,
    managed: &mut Managed,
) -> Option<Result<GrantedRole, String>> {
    let account = &session.account;
    if let Some(known) = account.role_read_apart(name, freshness.rest_not_before()) {
        return Some(Ok(known));
    }
    let begun = Instant::now();
    let (_, read) = Box::pin(apart(session, name, managed)).await?;
    if let Ok(role) = &read {
        account.note_role_read_apart(name, begun, role);
    }
    Some(read)
}

/// Managed policies that were read, by ARN: many roles may have the same.
#[derive(Default)]
struct Managed {
    documents: BTreeMap<String, Result<Document, String>>,
    passing: Option<Fault>,
    /// What was read at this time or later will do; `None` for nothing.
    not_before: Option<Instant>,
}

impl Managed {
    /// A fault in words; the first that will pass is remembered.
    fn note(&mut self, fault: Fault) -> String {
        let words = fault.to_string();
        if matches!(fault.class, FaultClass::Throttled | FaultClass::Server | FaultClass::Network) {
            self.passing.get_or_insert(fault);
        }
        words
    }

    fn with(self, roles: BTreeMap<String, Result<GrantedRole, String>>) -> GrantedRoles {
        GrantedRoles { roles, plain: BTreeSet::new(), passing: self.passing }
    }

    async fn source(&mut self, session: &Session, what: &str, arn: &str) -> Source {
        if !self.documents.contains_key(arn) {
            let known = self.not_before.and_then(|not_before| session.account.managed_policy(arn, not_before));
            let document = if let Some(known) = known {
                Ok(known)
            } else {
                let read = Box::pin(managed_policy(session, arn)).await.map_err(|fault| self.note(fault));
                read.and_then(|text| parse(&text))
                    .inspect(|document| session.account.note_managed_policy(arn, document))
            };
            self.documents.insert(arn.to_owned(), document);
        }
        let document = self.documents.get(arn).cloned().unwrap_or_else(|| Err("it was not read".into()));
        Source { name: format!("{what} {arn}"), document }
    }
}

fn parse(text: &str) -> Result<Document, String> {
    Document::parse_returned(text).map_err(|error| error.to_string())
}

async fn managed_policy(session: &Session, arn: &str) -> Result<String, Fault> {
    let (account, iam) = (&session.account, &session.clients.iam);
    let call = iam.get_policy().policy_arn(arn);
    let policy = account.read("iam:GetPolicy", arn, || call.clone().send()).await?;
    let version = policy.policy.and_then(|policy| policy.default_version_id).unwrap_or_default();
    let call = iam.get_policy_version().policy_arn(arn).version_id(version);
    let version = account.read("iam:GetPolicyVersion", arn, || call.clone().send()).await?;
    Ok(version.policy_version.and_then(|version| version.document).unwrap_or_default())
}

/// The default version of a managed policy.
pub(super) async fn managed_document(session: &Session, arn: &str) -> Result<Document, Fault> {
    let text = Box::pin(managed_policy(session, arn)).await?;
    Document::parse_returned(&text).map_err(|error| Fault {
        class: FaultClass::Malformed,
        action: "iam:GetPolicyVersion".into(),
        target: arn.to_owned(),
        message: error.to_string(),
    })
}

async fn of_listing(session: &Session, role: &ListedRole, details: &RoleDetails, managed: &mut Managed) -> GrantedRole {
    let mut identity: Vec<Source> = details.inline.iter().map(|(name, text)| inline(name, text)).collect();
    for arn in &details.attached {
        identity.push(managed.source(session, "attached policy", arn).await);
    }
    let boundary = match &details.boundary {
        Some(arn) => Some(managed.source(session, "permissions boundary", arn).await),
        None => None,
    };
    let trust = Document::parse_returned(&role.trust);
    GrantedRole {
        live: LiveRole { name: role.name.clone(), trust, granted: Granted { identity, boundary } },
        boundary: details.boundary.clone(),
        tags: details.tags.clone(),
        path: role.path.clone(),
        description: role.description.clone(),
    }
}

fn inline(name: &str, text: &str) -> Source {
    Source { name: format!("inline policy {name}"), document: parse(text) }
}

/// A role whose details the listing does not have; nothing when there is none.
async fn apart(session: &Session, name: &str, managed: &mut Managed) -> Option<(String, Result<GrantedRole, String>)> {
    let read = one(session, name, managed).await.map_err(|fault| managed.note(fault)).transpose()?;
    Some((name.to_ascii_lowercase(), read))
}

async fn one(session: &Session, name: &str, managed: &mut Managed) -> Result<Option<GrantedRole>, Fault> {
    let (account, iam) = (&session.account, &session.clients.iam);
    let target = format!("role {name}");
    let call = iam.get_role().role_name(name);
    let answer = found(account.read("iam:GetRole", &target, || call.clone().send()).await)?;
    let Some(role) = answer.and_then(|answer| answer.role) else { return Ok(None) };
    let mut details = RoleDetails {
        tags: role.tags().iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        boundary: role.permissions_boundary.as_ref().and_then(|boundary| boundary.permissions_boundary_arn.clone()),
        inline: Vec::new(),
        attached: Vec::new(),
        instance_profiles: Vec::new(),
        last_used: None,
    };
    for policy in inline_policies(session, name, &target).await? {
        let call = iam.get_role_policy().role_name(name).policy_name(&policy);
        let read = account.read("iam:GetRolePolicy", &target, || call.clone().send()).await?;
        details.inline.push((policy, read.policy_document));
    }
    details.attached = attached_policies(session, name, &target).await?;
    Ok(Some(of_listing(session, &listed(role), &details, managed).await))
}
