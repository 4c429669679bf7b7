//! The state of everything, and the calls that operate on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clock::{Clock, Moment};
use super::history::{AsOf, Table};
use super::refusal::{Outcome, Refusal};
use super::request::{Form, Request, Service};
use super::resources::{Bucket, Object, Policy, Provider, Role};
use super::switches::Chance;
use super::uses::Uses;

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub clock: Clock,
    pub accounts: BTreeMap<String, Account>,
    /// Who an access key belongs to.
    pub keys: HashMap<String, Arc<Caller>>,
    /// S3's names are one space over all accounts.
    pub buckets: Table<Bucket>,
    /// By `bucket/key`.
    pub objects: Table<Object>,
    /// External ids that roles require, by the role's ARN.
    pub external_ids: HashMap<String, String>,
    /// When roles were used.
    pub uses: Uses,
    pub options: Options,
    /// Where ids come from.
    pub ids: Chance,
}

/// How AWS shows things. All off by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Policy documents come back with the same meaning in another form.
    pub reserialise_documents: bool,
    /// When a role is deleted, trust policies that name it name its id (`AROA…`) from then on, also when a role of that
    /// name is made again.
    pub deleted_principals_become_ids: bool,
    /// `GetRole` and its like find a role only under the very name that it was made with. AWS says that names are not
    /// distinguished by case, but not what its lookups do.
    pub exact_names: bool,
    /// Sessions of assumed roles end no later than this, whatever was asked for: AWS has no such thing, but tests have
    /// no hour.
    pub longest_session: Option<Duration>,
    /// How long after a role was used IAM tells of it: "recent activity usually appears within four hours" (IAM User
    /// Guide, "Refine permissions in AWS using last accessed information").
    pub last_used_delay: Duration,
    pub conditional_writes: ConditionalWrites,
}

/// What S3 makes of `If-Match` and `If-None-Match` of a `PutObject`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConditionalWrites {
    /// It goes by them: AWS.
    #[default]
    Honoured,
    /// It refuses them, with `NotImplemented` (501).
    Refused,
    /// It does not look at them.
    Ignored,
}

/// An account's IAM.
#[derive(Debug)]
pub struct Account {
    pub id: String,
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// By name in lower case: names are unique without regard to case.
    pub roles: Table<Role>,
    /// By ARN.
    pub providers: Table<Provider>,
    /// Customer managed policies by ARN.
    pub policies: Table<Policy>,
    pub quotas: Quotas,
    /// S3 Block Public Access of the account: `BlockPublicPolicy`, the one of its four settings that is known here.
    pub blocks_public_policies: bool,
}

/// An account's limits: AWS's defaults.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    pub roles: usize,
    /// Characters of a trust policy, without white space.
    pub trust_policy: usize,
    /// Characters of all inline policies of a role together, without white space.
    pub inline_policies: usize,
    /// Characters of a managed policy, without white space.
    pub managed_policy: usize,
    pub attached_policies: usize,
    pub tags: usize,
    pub providers: usize,
    pub audiences: usize,
    pub policies: usize,
    pub buckets: usize,
}

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    pub account: String,
    pub arn: String,
    pub user_id: String,
    /// The session token that must come with the key, and when both end.
    pub session: Option<(String, Instant)>,
}

/// One call, read.
#[derive(Debug)]
pub struct Call<'a> {
    pub request: &'a Request,
    pub service: Service,
    /// IAM and STS: the body. S3: the query.
    pub form: &'a Form,
    pub bucket: &'a str,
    pub key: &'a str,
    /// The region that it was signed for.
    pub region: &'a str,
    /// `None`: anonymous.
    pub caller: Option<Arc<Caller>>,
    pub moment: Moment,
    /// Which state it reads.
    pub as_of: AsOf,
    /// The most that a page holds, whatever was asked for.
    pub page_size: Option<usize>,
}

impl Default for Quotas {
    fn default() -> Self {
        Quotas {
            roles: 1000,
            trust_policy: 2048,
            inline_policies: 10_240,
            managed_policy: 6144,
            attached_policies: 10,
            tags: 50,
            providers: 100,
            audiences: 100,
            policies: 1500,
            buckets: 10_000,
        }
    }
}

impl Account {
    pub fn new(id: &str) -> Self {
        Account {
            id: id.to_owned(),
            partition: "aws".to_owned(),
            roles: Table::default(),
            providers: Table::default(),
            policies: Table::default(),
            quotas: Quotas::default(),
            blocks_public_policies: false,
        }
    }

    /// `arn:aws:iam::123456789012:` and so on.
    pub fn arn(&self, resource: &str) -> String {
        format!("arn:{}:iam::{}:{resource}", self.partition, self.id)
    }

    /// Whether a managed policy can be attached: AWS's own always can.
    pub fn has_policy(&self, arn: &str) -> bool {
        arn.starts_with(&format!("arn:{}:iam::aws:policy/", self.partition)) || self.policies.get(arn).is_some()
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        World {
            clock: Clock::start(seed),
            accounts: BTreeMap::new(),
            keys: HashMap::new(),
            buckets: Table::default(),
            objects: Table::default(),
            external_ids: HashMap::new(),
            uses: Uses::default(),
            options: Options::default(),
            ids: Chance::from_seed(!seed),
        }
    }

    /// The account of this id, made if need be, and a user in it who may do everything.
    pub fn account_mut(&mut self, id: &str) -> &mut Account {
        if !self.accounts.contains_key(id) {
            self.accounts.insert(id.to_owned(), Account::new(id));
            self.let_operator_in(id);
        }
        self.accounts.get_mut(id).expect("just made")
    }

    /// Lets the account's first access key belong to its operator, whose ARN is of the account's partition.
    pub fn let_operator_in(&mut self, id: &str) {
        let (arn, account) = (self.account(id).arn("user/operator"), id.to_owned());
        let caller = Caller { account, arn, user_id: format!("AIDA{id}MODEL"), session: None };
        self.keys.insert(access_key(id), Arc::new(caller));
    }

    pub fn account(&self, id: &str) -> &Account {
        &self.accounts[id]
    }

    /// An id of IAM's form.
    pub fn new_id(&mut self, prefix: &str, length: usize) -> String {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut id = prefix.to_owned();
        while id.len() < length {
            let mut bits = self.ids.next();
            for _ in 0..8.min(length - id.len()) {
                id.push(char::from(LETTERS[(bits & 31) as usize]));
                bits >>= 5;
            }
        }
        id
    }

    /// A request id.
    pub fn request_id(&mut self) -> String {
        format!("{:016x}", self.ids.next())
    }

    /// Whether the account of an `AWS` principal knows it. Accounts that the model does not have know all of theirs.
    pub fn knows_principal(&self, arn: &str) -> bool {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, _, "iam", _, account, resource] = parts[..] else { return true };
        let Some(account) = self.accounts.get(account) else { return true };
        let Some(path) = resource.strip_prefix("role/") else { return true };
        let name = path.rsplit('/').next().unwrap_or_default();
        account.roles.get(&name.to_ascii_lowercase()).is_some_and(|role| role.arn == arn)
    }
}

impl Call<'_> {
    /// The account of the caller; empty when nobody signed.
    pub fn account(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| &caller.account)
    }

    /// A parameter that must be there.
    pub fn required(&self, name: &str) -> Outcome<&str> {
        self.form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let parameter = name[..1].to_ascii_lowercase() + &name[1..];
            Refusal::validation(format!(
                "1 validation error detected: Value null at '{parameter}' failed to satisfy constraint: Member must \
                 not be null"
            ))
        })
    }
}

/// The access key id that belongs to an account from the beginning.
pub fn access_key(account: &str) -> String {
    format!("AKIA{account}")
}
