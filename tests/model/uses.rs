//! When roles were used, and what IAM tells of it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::Model;
use super::clock::iso;
use super::resources::Role;
use super::world::World;
use super::xml::Xml;

/// How long IAM remembers a use: "activity is only reported for the trailing 400 days" (IAM API Reference, RoleLastUsed).
const REMEMBERED: Duration = Duration::from_hours(400 * 24);

/// A use of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub when: SystemTime,
    pub region: String,
}

/// All uses by the id of the role (`AROA…`): a role that is made again was never used.
#[derive(Debug, Default)]
pub struct Uses(HashMap<String, Vec<Use>>);

impl Uses {
    /// The last use that IAM tells of at a date, if it learns of uses so much later.
    pub fn last(&self, role: &Role, at: SystemTime, delay: Duration) -> Option<&Use> {
        let known = |used: &&Use| used.when + delay <= at && used.when + REMEMBERED >= at;
        self.0.get(&role.id)?.iter().filter(known).max_by_key(|used| used.when)
    }
}

impl World {
    /// `RoleLastUsed` as `GetRole` and `GetAccountAuthorizationDetails` show it, empty for a role that was never used.
    /// `ListRoles` has none.
    pub fn write_last_used(&self, xml: &mut Xml, role: &Role) {
        let last = self.uses.last(role, self.clock.today(), self.options.last_used_delay);
        xml.within("RoleLastUsed", |xml| {
            if let Some(Use { when, region }) = last {
                xml.leaf("LastUsedDate", &iso(*when)).leaf("Region", region);
            }
        });
    }
}

/// Dates of roles and providers.
impl Model {
    /// The date now, by the model's clock.
    pub fn today(&self) -> SystemTime {
        self.clock().today()
    }

    /// A role was used then and there. Older uses are not forgotten; IAM tells of the last that it knows
    /// ([`Options::last_used_delay`](super::Options)). Reads see it at once otherwise, also where they are stale.
    pub fn role_used(&self, account: &str, name: &str, when: SystemTime, region: &str) {
        let id = self.role(account, name).unwrap_or_else(|| panic!("there is no role {name}")).id.clone();
        let used = Use { when, region: region.to_owned() };
        self.lock().world.uses.0.entry(id).or_default().push(used);
    }

    /// The last use of a role that IAM tells of now.
    pub fn role_last_used(&self, account: &str, name: &str) -> Option<Use> {
        let role = self.role(account, name)?;
        let world = &self.lock().world;
        world.uses.last(&role, world.clock.today(), world.options.last_used_delay).cloned()
    }

    /// Sets when a role was made; whether there is one. Reads see it at once.
    pub fn role_created(&self, account: &str, name: &str, when: SystemTime) -> bool {
        self.alter_role(account, name, super::Visible::AtOnce, |role| role.created = iso(when).into())
    }

    /// Sets when a provider was made; whether there is one. Reads see it at once.
    pub fn provider_created(&self, account: &str, arn: &str, when: SystemTime) -> bool {
        self.alter_provider(account, arn, super::Visible::AtOnce, |provider| provider.created = iso(when).into())
    }
}
