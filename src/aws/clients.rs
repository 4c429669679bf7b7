//! The SDK's clients, one set for each region and assumed role, and the accounts that they reach.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime::client::identity::IdentityCache;
use tokio::sync::Mutex;

use super::account::{Account, Budgets};
use super::errors::fault;
use super::meter::Meter;
use super::pulse::Pulse;
use crate::api::ClusterIdentitySpec;
use crate::observed::{Fault, FaultClass};

/// Longest time for a call. Calls are repeated by [`Account`], within its budget, and not by the SDK.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an assumed role's session lasts: the longest that AWS grants when the operator's own credentials are those
/// of an assumed role too (role chaining, IAM User Guide).
const SESSION: Duration = Duration::from_hours(1);
/// Credentials are renewed so long before they end: longer than any call.
const RENEWED_BEFORE: Duration = Duration::from_mins(5);
/// How many identities are kept: more than there will ever be roles to assume. The SDK's own limit is 64, and what is
/// above it throws any other out, so that every call would assume a role again.
const MOST_IDENTITIES: usize = 10_000;

/// The call that tells which account one is in.
const WHO: &str = "sts:GetCallerIdentity";
/// The call that gives the credentials of a role.
const ASSUME: &str = "sts:AssumeRole";

/// Where AWS is called, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// The region.
    pub region: String,
    /// The role to assume; `None` for the operator's own identity.
    pub assume: Option<AssumedRole>,
}

/// A role to assume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AssumedRole {
    /// Its ARN.
    pub arn: String,
    /// The external ID that its trust policy asks for.
    pub external_id: Option<String>,
}

impl Access {
    /// What a ClusterIdentity asks for.
    pub fn of(spec: &ClusterIdentitySpec) -> Self {
        let assume = spec.aws.assume_role_arn.clone();
        let external_id = spec.aws.external_id.clone();
        Self { region: spec.region.clone(), assume: assume.map(|arn| AssumedRole { arn, external_id }) }
    }
}

/// The clients of one region.
#[derive(Debug, Clone)]
pub struct Clients {
    /// IAM; its endpoint is that of the region's partition.
    pub iam: aws_sdk_iam::Client,
    /// S3.
    pub s3: aws_sdk_s3::Client,
}

/// A way into an account.
#[derive(Debug, Clone)]
pub struct Session {
    /// The clients.
    pub clients: Clients,
    /// The account that the credentials belong to.
    pub account: Arc<Account>,
}

/// An account's id, and the role through which it is seen: two roles may not see the same.
type SeenAs = (String, Option<String>);

/// The operator's connection to AWS: credentials from the ordinary chain, resolved once and renewed by the SDK.
pub struct Connection {
    base: SdkConfig,
    meter: Meter,
    pulse: Pulse,
    /// Each with a provider of its own, under which the cache keeps its credentials: also while a session cannot be opened.
    configs: Mutex<HashMap<Access, SdkConfig>>,
    sessions: Mutex<HashMap<Access, Session>>,
    accounts: Mutex<HashMap<SeenAs, Arc<Account>>>,
    budgets: Mutex<HashMap<String, Arc<Budgets>>>,
}

impl Connection {
    /// Reads the configuration (environment, profile, web identity, …). No call is made yet.
    pub async fn new(meter: Meter) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Ok(name) = AppName::new("rolecall") {
            loader = loader.app_name(name);
        }
        Self::with(&loader.load().await, meter)
    }

    /// A connection with a configuration that someone else has made.
    pub fn with(config: &SdkConfig, meter: Meter) -> Self {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(CALL_TIMEOUT).build();
        let base = config
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // One for all clients: each would resolve credentials of its own otherwise.
            .identity_cache(IdentityCache::lazy().buffer_time(RENEWED_BEFORE).max_partitions(MOST_IDENTITIES).build())
            .build();
        Self {
            base,
            meter,
            pulse: Pulse::default(),
            configs: Mutex::default(),
            sessions: Mutex::default(),
            accounts: Mutex::default(),
            budgets: Mutex::default(),
        }
    }

    /// A connection that sends nothing to IAM and S3 for a process that has slept since this last beat.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = pulse;
        self
    }

    /// A way into an account that was found before.
    pub async fn known(&self, access: &Access) -> Option<Session> {
        self.sessions.lock().await.get(access).cloned()
    }

    /// The way into the account that the credentials belong to. Asked once for each region and role.
    pub async fn open(&self, access: &Access) -> Result<Session, Fault> {
        if let Some(session) = self.sessions.lock().await.get(access) {
            return Ok(session.clone());
        }
        let config = self.config(access).await;
        let id = self.account_of(&config, access).await?;
        let seen_by = access.assume.as_ref().map(|role| role.arn.clone());
        let budgets = self.budgets.lock().await.entry(id.clone()).or_default().clone();
        let mut accounts = self.accounts.lock().await;
        let account = accounts.entry((id.clone(), seen_by));
        let account = account.or_insert_with(|| Arc::new(Account::new(id, budgets))).clone();
        drop(accounts);
        let session = Session { clients: self.clients(&config), account };
        self.sessions.lock().await.insert(access.clone(), session.clone());
        Ok(session)
    }

    /// Forgets the ways into accounts that nobody goes any more, if there are more than these.
    pub async fn keep(&self, wanted: impl Iterator<Item = Access> + Clone) {
        let mut sessions = self.sessions.lock().await;
        if sessions.len() <= wanted.clone().count() {
            return;
        }
        let wanted: HashSet<Access> = wanted.collect();
        sessions.retain(|access, _| wanted.contains(access));
        self.configs.lock().await.retain(|access, _| wanted.contains(access));
        // A pass that is under way may still hold one.
        self.accounts.lock().await.retain(|_, account| Arc::strong_count(account) > 1);
        self.budgets.lock().await.retain(|_, budgets| Arc::strong_count(budgets) > 1);
    }

    async fn config(&self, access: &Access) -> SdkConfig {
        // No call is made meanwhile.
        let mut configs = self.configs.lock().await;
        if let Some(config) = configs.get(access) {
            return config.clone();
        }
        let config = self.new_config(access).await;
        configs.insert(access.clone(), config.clone());
        config
    }

    async fn new_config(&self, access: &Access) -> SdkConfig {
        let region = Region::new(access.region.clone());
        let base = self.base.to_builder().region(region.clone()).build();
        let Some(role) = &access.assume else { return base };
        let mut provider = AssumeRoleProvider::builder(&role.arn)
            .configure(&patient(&base))
            .session_name("rolecall")
            .session_length(SESSION)
            .region(region);
        if let Some(external_id) = &role.external_id {
            provider = provider.external_id(external_id);
        }
        let provider = SharedCredentialsProvider::new(provider.build().await);
        base.to_builder().credentials_provider(provider).build()
    }

    fn clients(&self, config: &SdkConfig) -> Clients {
        let iam = aws_sdk_iam::config::Builder::from(config).interceptor(self.meter.clone());
        let iam = iam.interceptor(self.pulse.clone()).build();
        let s3 = aws_sdk_s3::config::Builder::from(config).interceptor(self.meter.clone());
        let s3 = s3.interceptor(self.pulse.clone()).build();
        Clients { iam: aws_sdk_iam::Client::from_conf(iam), s3: aws_sdk_s3::Client::from_conf(s3) }
    }

    async fn account_of(&self, config: &SdkConfig, access: &Access) -> Result<String, Fault> {
        let sts = aws_sdk_sts::config::Builder::from(&patient(config)).interceptor(self.meter.clone()).build();
        let sts = aws_sdk_sts::Client::from_conf(sts);
        let (action, target) = (WHO, "the operator's own identity");
        let identity = sts.get_caller_identity().send().await.map_err(|e| {
            let fault = fault(action, target, &e);
            match &access.assume {
                Some(role) => in_terms_of(role, fault),
                None => fault,
            }
        })?;
        identity.account.ok_or_else(|| Fault {
            class: FaultClass::Server,
            action: action.into(),
            target: target.into(),
            message: "the answer names no account".into(),
        })
    }
}

/// STS is called once in a while and within no budget: there the SDK may repeat what failed.
fn patient(config: &SdkConfig) -> SdkConfig {
    config.to_builder().retry_config(RetryConfig::standard()).build()
}

/// The first call with an assumed role is where assuming it fails.
fn in_terms_of(role: &AssumedRole, fault: Fault) -> Fault {
    let passes = !matches!(fault.class, FaultClass::Credentials | FaultClass::Denied);
    // What fails by itself is the call that it names, and the operator's own credentials are no matter of the role's.
    if fault.action != ASSUME && (passes || fault.action != WHO) {
        return fault;
    }
    let denied = fault.message.contains("AccessDenied") || fault.message.contains("not authorized");
    Fault {
        class: if denied && !passes { FaultClass::Denied } else { fault.class },
        action: ASSUME.into(),
        target: format!("{} (spec.aws)", role.arn),
        message: fault.message,
    }
}
