//! The roles of an account as its listings tell them: read once, shared by all ClusterIdentities of the account.
//!
//! `ListRoles` has description and longest session, but neither tags, boundary nor policies;
//! `GetAccountAuthorizationDetails` has those, but neither description nor longest session. Both return up to 1,000
//! roles a page (IAM API reference), whoever's they are. When few roles are of interest in a large account, reading
//! those one by one is cheaper than the second listing. What `ListRoles` alone tells grants nothing and changes hardly ever,
//! so a sweep takes it from an earlier listing for a while: one listing instead of two.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_iam::types::{EntityType, Role, RoleDetail};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Clients;
use super::account::Account;
use super::role_usage::{RoleUsage, last_use, timestamp};
use crate::observed::{Fault, FaultClass, LastUse};

/// Most roles of one page (IAM API reference).
const PAGE: i32 = 1_000;

/// How old a snapshot may be for an interval: a tenth of it, and never more than half a minute.
const OLDEST: (u32, Duration) = (10, Duration::from_secs(30));
/// For how many intervals description and longest session are taken from an earlier listing, and never longer than that.
const OLDEST_REST: (u32, Duration) = (10, Duration::from_hours(1));
/// How long a listing may not show what was written: as long as `--aws-settle-time` can be.
const LONGEST_LAG: Duration = Duration::from_mins(10);

/// How old a snapshot may be.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// It must have begun at this time or later.
    not_before: Instant,
    /// So must the listing from which it has description and longest session.
    rest_not_before: Instant,
}

impl Freshness {
    /// Everything is looked at anew: something has happened.
    pub fn from_now_on() -> Self {
        Self::since(Instant::now())
    }

    /// Nothing is older than that.
    pub const fn since(time: Instant) -> Self {
        Self { not_before: time, rest_not_before: time }
    }

    /// How old what grants nothing by itself, or is only reported, may be.
    pub(super) const fn rest_not_before(self) -> Instant {
        self.rest_not_before
    }

    /// A look that is due, once in an interval: what another ClusterIdentity had read a little earlier will do, unless a
    /// change was made so shortly before (`changed`) that a listing of that age may not show it. Reads lag by `lag` at most.
    pub fn due(interval: Duration, changed: Option<Instant>, lag: Duration) -> Self {
        if changed.is_some_and(|changed| changed.elapsed() < lag + OLDEST.1) {
            return Self::from_now_on();
        }
        let now = Instant::now();
        let before = |age: Duration| now.checked_sub(age).unwrap_or(now);
        let (part, most) = OLDEST;
        let (times, longest) = OLDEST_REST;
        Self {
            not_before: before((interval / part).min(most)),
            rest_not_before: before(interval.saturating_mul(times).min(longest)),
        }
    }
}

/// The snapshots of one account: the last one, and what the next one should hold.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Held while a snapshot is made, so that one is made for all who wait.
    last: tokio::sync::Mutex<Option<Last>>,
    /// Beginnings of the role names that anyone asks for, in lower case.
    prefixes: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Last {
    ended: Instant,
    result: Result<Arc<Snapshot>, Fault>,
}

/// The roles of an account whose names begin with one of the prefixes.
#[derive(Debug)]
pub struct Snapshot {
    begun: Instant,
    prefixes: BTreeSet<String>,
    /// By name in lower case: IAM keeps names unique without regard to case.
    roles: HashMap<String, ListedRole>,
    /// Pages that the listing took.
    pages: usize,
    /// What `ListRoles` alone told; `None` where the details of the roles were not listed.
    rest: Option<Arc<Rest>>,
    /// How all roles of the account are used, whatever their names are.
    usage: RoleUsage,
}

/// What `ListRoles` alone tells of roles: enough for the next snapshots.
#[derive(Debug)]
struct Rest {
    begun: Instant,
    prefixes: BTreeSet<String>,
    /// Description and longest session by the role's unique id: one that was made anew has another.
    of_roles: HashMap<Box<str>, (Box<str>, Option<i32>)>,
}

/// A role as the listings tell it, documents as returned (percent-encoded).
#[derive(Debug)]
pub struct ListedRole {
    /// Its unique id.
    pub id: String,
    /// Its name as it is written.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Its description.
    pub description: String,
    /// Its longest session, in seconds; IAM leaves out what was never set.
    pub max_session_seconds: Option<i32>,
    /// Its trust policy.
    pub trust: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What the second listing tells, when it was read.
    pub detail: Option<RoleDetails>,
}

/// What `GetAccountAuthorizationDetails` tells of a role.
#[derive(Debug)]
pub struct RoleDetails {
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// Its inline policies, name and document.
    pub inline: Vec<(String, String)>,
    /// The ARNs of the managed policies that are attached to it.
    pub attached: Vec<String>,
    /// The instance profiles that it is in.
    pub instance_profiles: Vec<String>,
    /// When it was last used.
    pub last_used: Option<LastUse>,
}

impl Snapshot {
    /// When its reading began: later writes are not in it.
    pub const fn begun(&self) -> Instant {
        self.begun
    }

    /// A role, whatever the case of its name.
    pub fn role(&self, name: &str) -> Option<&ListedRole> {
        self.roles.get(&name.to_ascii_lowercase())
    }

    /// The roles whose names begin so.
    pub fn beginning_with<'a>(&'a self, prefix: &str) -> impl Iterator<Item = &'a ListedRole> {
        let prefix = prefix.to_ascii_lowercase();
        self.roles.iter().filter(move |(name, _)| name.starts_with(&prefix)).map(|(_, role)| role)
    }

    fn serves(&self, prefix: &str, freshness: Freshness) -> bool {
        let rest = self.rest.as_ref().map_or(self.begun, |rest| rest.begun);
        self.begun >= freshness.not_before && rest >= freshness.rest_not_before && self.prefixes.contains(prefix)
    }

    /// How all roles of the account are used.
    pub const fn usage(&self) -> &RoleUsage {
        &self.usage
    }

    /// The pages that a listing takes.
    pub const fn pages(&self) -> usize {
        self.pages
    }
}

impl Account {
    /// A snapshot that is fresh enough and knows the roles whose names begin so. While one is being made, others wait for
    /// it instead of making their own; they share its failure too.
    pub async fn snapshot(
        &self,
        clients: &Clients,
        prefix: &str,
        freshness: Freshness,
    ) -> Result<Arc<Snapshot>, Fault> {
        let asked = Instant::now();
        let prefix = prefix.to_ascii_lowercase();
        let add = |prefixes: &Mutex<BTreeSet<String>>| {
            let mut prefixes = prefixes.lock().unwrap_or_else(PoisonError::into_inner);
            prefixes.insert(prefix.clone());
            prefixes.clone()
        };
        add(&self.snapshots.prefixes);
        let mut last = self.snapshots.last.lock().await;
        match last.as_ref().map(|last| (&last.result, last.ended)) {
            Some((Ok(snapshot), _)) if snapshot.serves(&prefix, freshness) => return Ok(snapshot.clone()),
            Some((Err(fault), ended)) if ended >= asked => return Err(fault.clone()),
            _ => {}
        }
        let before = last.as_ref().and_then(|last| last.result.as_ref().ok()).cloned();
        let prefixes = add(&self.snapshots.prefixes);
        let result = self.take(clients, prefixes, before.as_deref(), freshness).await.map(Arc::new);
        if let Ok(snapshot) = &result {
            let oldest = snapshot.rest.as_ref().map_or(snapshot.begun, |rest| rest.begun);
            self.forget_written_before(oldest.checked_sub(LONGEST_LAG).unwrap_or(oldest));
        }
        *last = Some(Last { ended: Instant::now(), result: result.clone() });
        result
    }

    /// Keeps no more prefixes than these: what a ClusterIdentity asked for that is gone need not be read any more.
    pub fn keep_prefixes(&self, known: &BTreeSet<String>) {
        let mut prefixes = self.snapshots.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        prefixes.retain(|prefix| known.contains(prefix));
    }

    /// Drops what no ClusterIdentity has asked for since: called when one goes.
    pub fn forget(&self, prefix: &str) {
        let mut prefixes = self.snapshots.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        prefixes.remove(&prefix.to_ascii_lowercase());
    }

    /// Drops the last snapshot when no other ClusterIdentity can have a use for it: it is as large as all roles.
    pub async fn let_snapshot_go(&self) {
        let alone = self.snapshots.prefixes.lock().unwrap_or_else(PoisonError::into_inner).len() < 2;
        let mut last = self.snapshots.last.lock().await;
        if let Some(Last { result: Ok(snapshot), .. }) = last.as_mut().filter(|_| alone) {
            let (begun, pages, rest) = (snapshot.begun, snapshot.pages, snapshot.rest.clone());
            // Without prefixes it answers nothing; how many pages there are is still worth knowing.
            let (prefixes, usage) = (BTreeSet::new(), RoleUsage::default());
            *snapshot = Arc::new(Snapshot { begun, prefixes, roles: HashMap::new(), pages, rest, usage });
        }
    }

    async fn take(
        &self,
        clients: &Clients,
        prefixes: BTreeSet<String>,
        before: Option<&Snapshot>,
        freshness: Freshness,
    ) -> Result<Snapshot, Fault> {
        let begun = Instant::now();
        let known = before.and_then(|before| before.rest.as_ref());
        if let Some(rest) = known.filter(|rest| self.still_holds(rest, &prefixes, freshness)) {
            match self.list_details(clients, &prefixes).await {
                Ok((details, pages, usage)) => {
                    if let Some(roles) = rest.complete(details) {
                        return Ok(Snapshot { begun, prefixes, roles, pages, rest: Some(rest.clone()), usage });
                    }
                }
                Err(fault) if fault.class == FaultClass::Denied => {}
                Err(fault) => return Err(fault),
            }
        }
        self.take_whole(clients, prefixes, before.map(|before| before.pages)).await
    }

    /// Whether what `ListRoles` alone told can be relied on: it is young enough, and shows all that was written here.
    fn still_holds(&self, rest: &Rest, prefixes: &BTreeSet<String>, freshness: Freshness) -> bool {
        rest.begun >= freshness.rest_not_before
            && prefixes.is_subset(&rest.prefixes)
            && !self.has_written_since(rest.begun.checked_sub(LONGEST_LAG).unwrap_or(rest.begun))
    }

    async fn take_whole(
        &self,
        clients: &Clients,
        prefixes: BTreeSet<String>,
        measured: Option<usize>,
    ) -> Result<Snapshot, Fault> {
        let begun = Instant::now();
        let (mut roles, listed_pages, usage) = self.list_roles(clients, &prefixes).await?;
        let pages = measured.unwrap_or(listed_pages).max(listed_pages);
        // One by one, a role takes two calls.
        if 2 * roles.len() < pages || roles.is_empty() {
            return Ok(Snapshot { begun, prefixes, roles, pages, rest: None, usage });
        }
        match self.list_details(clients, &prefixes).await {
            Ok((details, pages, usage)) => {
                for detail in details {
                    if let Some(role) = roles.get_mut(&key(&detail)) {
                        role.trust = detail.assume_role_policy_document.clone().unwrap_or_default();
                        role.detail = Some(self::details(detail));
                    }
                }
                let rest = Some(Arc::new(Rest::of(begun, &prefixes, roles.values())));
                Ok(Snapshot { begun, prefixes, roles, pages, rest, usage })
            }
            // The details can be had one by one: this listing shows the whole account, which not everybody allows.
            Err(fault) if fault.class == FaultClass::Denied => {
                tracing::debug!(error = %fault, "roles are read one by one");
                Ok(Snapshot { begun, prefixes, roles, pages, rest: None, usage })
            }
            Err(fault) => Err(fault),
        }
    }

    async fn list_roles(
        &self,
        clients: &Clients,
        prefixes: &BTreeSet<String>,
    ) -> Result<(HashMap<String, ListedRole>, usize, RoleUsage), Fault> {
        let (mut roles, mut pages, mut marker, mut usage) = (HashMap::new(), 0, None, RoleUsage::default());
        loop {
            let call = clients.iam.list_roles().max_items(PAGE).set_marker(marker);
            let page = self.read("iam:ListRoles", "the account", || call.clone().send()).await?;
            pages += 1;
            for role in page.roles {
                let key = role.role_name.to_ascii_lowercase();
                usage.note(&role.role_name, role.assume_role_policy_document.as_deref(), None);
                if begins_with_any(&key, prefixes) {
                    roles.insert(key, listed(role));
                }
            }
            match page.marker.filter(|_| page.is_truncated) {
                Some(next) => marker = Some(next),
                None => return Ok((roles, pages, usage)),
            }
        }
    }

    /// The details of the roles whose names begin with one of the prefixes, and the pages that it took.
    async fn list_details(
        &self,
        clients: &Clients,
        prefixes: &BTreeSet<String>,
    ) -> Result<(Vec<RoleDetail>, usize, RoleUsage), Fault> {
        let (mut details, mut pages, mut marker, mut usage) = (Vec::new(), 0, None, RoleUsage::default());
        loop {
            let call = clients.iam.get_account_authorization_details();
            let call = call.filter(EntityType::Role).max_items(PAGE).set_marker(marker);
            let action = "iam:GetAccountAuthorizationDetails";
            let page = self.read(action, "the account", || call.clone().send()).await?;
            pages += 1;
            let of_page = page.role_detail_list.unwrap_or_default();
            for detail in &of_page {
                let name = detail.role_name.as_deref().unwrap_or_default();
                let last_used = last_use(detail.role_last_used.as_ref());
                usage.note(name, detail.assume_role_policy_document.as_deref(), last_used.as_ref());
            }
            let of_page = of_page.into_iter();
            details.extend(of_page.filter(|detail| begins_with_any(&key(detail), prefixes)));
            match page.marker.filter(|_| page.is_truncated) {
                Some(next) => marker = Some(next),
                None => return Ok((details, pages, usage)),
            }
        }
    }
}

impl Rest {
    fn of<'a>(begun: Instant, prefixes: &BTreeSet<String>, roles: impl Iterator<Item = &'a ListedRole>) -> Self {
        let rest =
            |role: &ListedRole| (role.id.as_str().into(), (role.description.as_str().into(), role.max_session_seconds));
        Self { begun, prefixes: prefixes.clone(), of_roles: roles.map(rest).collect() }
    }

    /// The roles with what was known of them; `None` when one of them is new.
    fn complete(&self, details: Vec<RoleDetail>) -> Option<HashMap<String, ListedRole>> {
        let with_rest = |detail: RoleDetail| {
            let (description, max_session_seconds) = self.of_roles.get(detail.role_id.as_deref()?)?;
            let role = ListedRole {
                id: detail.role_id.clone()?,
                name: detail.role_name.clone()?,
                path: detail.path.clone().unwrap_or_default(),
                description: description.to_string(),
                max_session_seconds: *max_session_seconds,
                trust: detail.assume_role_policy_document.clone().unwrap_or_default(),
                created: timestamp(detail.create_date.as_ref()),
                detail: None,
            };
            Some((key(&detail), ListedRole { detail: Some(self::details(detail)), ..role }))
        };
        details.into_iter().map(with_rest).collect()
    }
}

/// A role's name in lower case.
fn key(detail: &RoleDetail) -> String {
    detail.role_name.as_deref().unwrap_or_default().to_ascii_lowercase()
}

fn begins_with_any(name: &str, prefixes: &BTreeSet<String>) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// A role as a listing, or an answer about it alone, tells it.
pub(super) fn listed(role: Role) -> ListedRole {
    ListedRole {
        id: role.role_id,
        name: role.role_name,
        path: role.path,
        description: role.description.unwrap_or_default(),
        max_session_seconds: role.max_session_duration,
        trust: role.assume_role_policy_document.unwrap_or_default(),
        created: timestamp(Some(&role.create_date)),
        detail: None,
    }
}

fn details(detail: RoleDetail) -> RoleDetails {
    let inline = detail.role_policy_list.unwrap_or_default().into_iter();
    let attached = detail.attached_managed_policies.unwrap_or_default().into_iter();
    let profiles = detail.instance_profile_list.unwrap_or_default().into_iter();
    RoleDetails {
        last_used: last_use(detail.role_last_used.as_ref()),
        tags: detail.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect(),
        boundary: detail.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn),
        inline: inline.filter_map(|policy| Some((policy.policy_name?, policy.policy_document?))).collect(),
        attached: attached.filter_map(|policy| policy.policy_arn).collect(),
        instance_profiles: profiles.map(|profile| profile.instance_profile_name).collect(),
    }
}
