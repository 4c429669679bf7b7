//! Counts every call that is really sent, retries too, by operation and outcome.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Labels of the counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// `iam`, `s3` or `sts`.
    pub service: String,
    /// The operation, such as `GetRole`.
    pub operation: String,
    /// `ok`, `error` (AWS answered with one) or `no_answer`.
    pub outcome: &'static str,
}

/// The counter, and the interceptor that feeds it.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// AWS calls.
    pub calls: Family<CallLabels, Counter>,
}

#[dyn_dispatch_hint]
impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "RolecallMeter"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(metadata) = cfg.load::<Metadata>() else { return Ok(()) };
        let outcome = match context.response().map(|response| response.status().is_success()) {
            Some(true) => "ok",
            Some(false) => "error",
            None => "no_answer",
        };
        let service = metadata.service().to_ascii_lowercase();
        let labels = CallLabels { service, operation: metadata.name().to_owned(), outcome };
        self.calls.get_or_create(&labels).inc();
        Ok(())
    }
}
