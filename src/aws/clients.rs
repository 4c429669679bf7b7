//! The SDK's clients, one set for each region, all with the same credentials.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use tokio::sync::Mutex;

use super::errors::fault;
use super::meter::Meter;
use crate::observed::{Fault, FaultClass};

/// Longest time for one attempt of a call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for a call with its retries.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts of one call, the first one included.
const ATTEMPTS: u32 = 3;

/// The clients of one region.
#[derive(Debug, Clone)]
pub struct Clients {
    /// IAM; its endpoint is that of the region's partition.
    pub iam: aws_sdk_iam::Client,
    /// S3.
    pub s3: aws_sdk_s3::Client,
    /// STS, regional.
    pub sts: aws_sdk_sts::Client,
}

/// The operator's connection to AWS: credentials from the ordinary chain, resolved once and renewed by the SDK.
pub struct Connection {
    base: SdkConfig,
    meter: Meter,
    regions: Mutex<HashMap<String, (Clients, Option<String>)>>,
}

impl Connection {
    /// Reads the configuration (environment, profile, web identity, …). No call is made yet.
    pub async fn new(meter: Meter) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts);
        if let Ok(name) = AppName::new("rolecall") {
            loader = loader.app_name(name);
        }
        Self { base: loader.load().await, meter, regions: Mutex::default() }
    }

    /// The clients for a region and the account that the credentials belong to (12 digits).
    pub async fn open(&self, region: &str) -> Result<(Clients, String), Fault> {
        let (clients, known) = {
            let mut regions = self.regions.lock().await;
            regions.entry(region.to_owned()).or_insert_with(|| (self.clients(region), None)).clone()
        };
        if let Some(account) = known {
            return Ok((clients, account));
        }
        let account = account_of(&clients).await?;
        if let Some(entry) = self.regions.lock().await.get_mut(region) {
            entry.1 = Some(account.clone());
        }
        Ok((clients, account))
    }

    fn clients(&self, region: &str) -> Clients {
        let config = self.base.to_builder().region(Region::new(region.to_owned())).build();
        let iam = aws_sdk_iam::config::Builder::from(&config).interceptor(self.meter.clone()).build();
        let s3 = aws_sdk_s3::config::Builder::from(&config).interceptor(self.meter.clone()).build();
        let sts = aws_sdk_sts::config::Builder::from(&config).interceptor(self.meter.clone()).build();
        Clients {
            iam: aws_sdk_iam::Client::from_conf(iam),
            s3: aws_sdk_s3::Client::from_conf(s3),
            sts: aws_sdk_sts::Client::from_conf(sts),
        }
    }
}

async fn account_of(clients: &Clients) -> Result<String, Fault> {
    let action = "sts:GetCallerIdentity";
    let identity =
        clients.sts.get_caller_identity().send().await.map_err(|e| fault(action, "the operator's own identity", &e))?;
    identity.account.ok_or_else(|| Fault {
        class: FaultClass::Server,
        action: action.into(),
        target: "the operator's own identity".into(),
        message: "the answer names no account".into(),
    })
}
