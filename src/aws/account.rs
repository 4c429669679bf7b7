//! An AWS account as it is called: with budgets for IAM's reads and writes and for S3, and a snapshot of its roles that all its
//! ClusterIdentities share.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

use super::budget::Budget;
use super::errors::fault;
use super::granted::GrantedRole;
use super::snapshot::Snapshots;
use crate::observed::{Fault, FaultClass};
use crate::policy::Document;

/// Calls to IAM that read, and as many that write, under way at once in one account.
const IAM_SLOTS: usize = 10;
/// Calls to S3 under way at once in one account. S3 counts by bucket, so one that hangs shall not hold up the others.
const S3_SLOTS: usize = 64;
/// Attempts of one call, the first one included.
const ATTEMPTS: u32 = 3;
/// How long a managed policy is kept that nobody reads.
const FORGOTTEN: Duration = Duration::from_hours(24);
/// Before the second attempt; doubled before the third.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The budgets of an account, for all that call it: AWS counts by account, whoever calls.
#[derive(Debug)]
pub struct Budgets {
    reads: Budget,
    writes: Budget,
    objects: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { reads: Budget::new(IAM_SLOTS), writes: Budget::new(IAM_SLOTS), objects: Budget::new(S3_SLOTS) }
    }
}

/// An account, as one set of credentials sees it.
#[derive(Debug)]
pub struct Account {
    /// Its id, 12 digits.
    pub id: String,
    /// What its roles were last seen to be.
    pub(super) snapshots: Snapshots,
    budgets: Arc<Budgets>,
    /// Managed policies as they were last read, by ARN.
    managed: Mutex<HashMap<String, (Instant, Document)>>,
    /// Roles that no listing has details of, as they were last read, by name in lower case.
    apart: Mutex<HashMap<String, (Instant, GrantedRole)>>,
    /// When roles were last written, by name in lower case: a snapshot that began before does not show it.
    written: Mutex<BTreeMap<String, Instant>>,
}

impl Account {
    /// An account of which nothing is known yet.
    pub fn new(id: String, budgets: Arc<Budgets>) -> Self {
        Self {
            id,
            snapshots: Snapshots::default(),
            budgets,
            managed: Mutex::default(),
            apart: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// A managed policy, if it was read at this time or later.
    pub(super) fn managed_policy(&self, arn: &str, not_before: Instant) -> Option<Document> {
        let managed = self.managed.lock().unwrap_or_else(PoisonError::into_inner);
        managed.get(arn).filter(|(read, _)| *read >= not_before).map(|(_, document)| document.clone())
    }

    /// Notes a managed policy that was read, and forgets those that nobody has read for a day.
    pub(super) fn note_managed_policy(&self, arn: &str, document: &Document) {
        let mut managed = self.managed.lock().unwrap_or_else(PoisonError::into_inner);
        managed.retain(|_, (read, _)| read.elapsed() < FORGOTTEN);
        managed.insert(arn.to_owned(), (Instant::now(), document.clone()));
    }

    /// A role with all that it is granted, if it was read for itself at this time or later and not written here since.
    pub(super) fn role_read_apart(&self, name: &str, not_before: Instant) -> Option<GrantedRole> {
        let key = name.to_ascii_lowercase();
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        let apart = self.apart.lock().unwrap_or_else(PoisonError::into_inner);
        let known = apart.get(&key).filter(|(read, _)| *read >= not_before && written.is_none_or(|at| at < *read));
        known.map(|(_, role)| role.clone())
    }

    /// Notes a role that was read for itself from this time on, and forgets those that nobody has read for a day.
    pub(super) fn note_role_read_apart(&self, name: &str, begun: Instant, role: &GrantedRole) {
        let mut apart = self.apart.lock().unwrap_or_else(PoisonError::into_inner);
        apart.retain(|_, (read, _)| read.elapsed() < FORGOTTEN);
        apart.insert(name.to_ascii_lowercase(), (begun, role.clone()));
    }

    /// Makes a call that reads, within the budget. `action` is the permission that it needs, `target` what it is made on.
    pub async fn read<T, E, F>(&self, action: &str, target: &str, call: impl Fn() -> F + Send) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + 'static,
        T: Send,
    {
        attempt(self.budget(action, &self.budgets.reads), action, target, call).await
    }

    /// Makes a call that writes, within the budget.
    pub async fn write<T, E, F>(&self, action: &str, target: &str, call: impl Fn() -> F + Send) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + 'static,
        T: Send,
    {
        attempt(self.budget(action, &self.budgets.writes), action, target, call).await
    }

    fn budget<'a>(&'a self, action: &str, of_iam: &'a Budget) -> &'a Budget {
        if action.starts_with("s3:") { &self.budgets.objects } else { of_iam }
    }

    /// Notes that a role was written, or may have been.
    pub fn note_written(&self, role: &str) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(role.to_ascii_lowercase(), Instant::now());
    }

    /// The roles whose names begin so and that were written since, by name in lower case, with the time.
    pub fn written_since(&self, prefix: &str, since: Instant) -> BTreeMap<String, Instant> {
        let prefix = prefix.to_ascii_lowercase();
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let of_prefix = written.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        of_prefix.filter(|(_, at)| **at >= since).map(|(name, at)| (name.clone(), *at)).collect()
    }

    /// Whether any role was written since.
    pub(super) fn has_written_since(&self, since: Instant) -> bool {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).values().any(|at| *at >= since)
    }

    /// Drops what every snapshot from this time on shows.
    pub(super) fn forget_written_before(&self, time: Instant) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, at| *at >= time);
    }

    /// Whether calls are held back, because AWS throttled some a moment ago.
    pub fn is_held_back(&self) -> bool {
        let Budgets { reads, writes, objects } = &*self.budgets;
        [reads, writes, objects].iter().any(|budget| budget.rate().is_some())
    }
}

/// Tries a few times what may pass by itself. The SDK's own retries are switched off, since they know no budget.
async fn attempt<T, E, F>(budget: &Budget, action: &str, target: &str, call: impl Fn() -> F + Send) -> Result<T, Fault>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    E: ProvideErrorMetadata + std::error::Error + Send + 'static,
{
    let mut made = 0;
    loop {
        let result = {
            let _slot = budget.admit().await;
            call().await.map_err(|error| fault(action, target, &error))
        };
        made += 1;
        let fault = match result {
            Ok(answer) => {
                budget.answered();
                return Ok(answer);
            }
            Err(fault) => fault,
        };
        match fault.class {
            FaultClass::Throttled => budget.throttled(),
            FaultClass::Server | FaultClass::Network => {}
            _ => {
                budget.answered();
                return Err(fault);
            }
        }
        if made == ATTEMPTS {
            return Err(fault);
        }
        tokio::time::sleep(wait(made)).await;
    }
}

/// Exponential, with as much again of jitter at most.
fn wait(made: u32) -> Duration {
    let base = FIRST_WAIT * 2_u32.pow(made.saturating_sub(1));
    let random = RandomState::new().hash_one(made) % 1024;
    base + base.saturating_mul(u32::try_from(random).unwrap_or(0)) / 1024
}
