//! Holds back the calls of a process that was halted while it made them.
//!
//! A node that is starved or a virtual machine that is moved halts a process anywhere, also between the moment when it was
//! found to lead and the one when its next call is sent. When it goes on, another replica may lead.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use tokio::time::Instant;

/// Who has slept so long may have lost the lease: less than what lies between the renewal's deadline and the lease's end.
pub const LONG: Duration = Duration::from_secs(4);

/// When the process was last seen to be awake, and the interceptor that sends nothing for one that has slept since.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

/// A call was about to be sent by a process that has slept. It has not been sent.
#[derive(Debug, thiserror::Error)]
#[error("the process was halted for {0:?} while it made this call, which was not sent; it is made again")]
struct Slept(Duration);

impl Pulse {
    /// The process is awake. How long ago it was last seen to be; nothing at the first beat.
    pub fn beat(&self) -> Duration {
        let now = Instant::now();
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        last.map_or(Duration::ZERO, |last| now.duration_since(last))
    }

    /// Fails if the process has slept since the last beat; never before the first one.
    fn feel(&self) -> Result<(), Slept> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last.map(|last| last.elapsed()) {
            Some(slept) if slept >= LONG => Err(Slept(slept)),
            _ => Ok(()),
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Pulse {
    fn name(&self) -> &'static str {
        "RolecallPulse"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Ok(self.feel()?)
    }
}
