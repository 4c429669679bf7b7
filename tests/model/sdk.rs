//! The model as the HTTP client of the SDK: its clients serialise, sign, page and retry as ever, but nothing leaves the
//! process.

use std::time::Duration;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_iam::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Model;
use super::request::{Answer, Request};
use super::world::access_key;

impl Model {
    /// A configuration for SDK clients that call the model, with the credentials of an account. Retries are the SDK's
    /// own until the caller says otherwise: `config.into_builder().retry_config(…).build()`.
    pub fn sdk_config(&self, account: &str, region: &str) -> SdkConfig {
        self.add_account(account);
        let credentials = Credentials::new(access_key(account), "a secret of the model", None, None, "the model");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(self.clone())
            .time_source(self.clock())
            .sleep_impl(TokioSleep::new())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }
}

impl HttpClient for Model {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector { model: self.clone(), read_timeout: settings.read_timeout() })
    }
}

#[derive(Debug)]
struct Connector {
    model: Model,
    read_timeout: Option<Duration>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (model, timeout) = (self.model.clone(), self.read_timeout);
        HttpConnectorFuture::new(async move {
            let call = async {
                let request = taken_over(request).await?;
                let answer = model.call(request).await;
                let broken = || ConnectorError::io("the connection closed before an answer came".into());
                answer.ok_or_else(broken).and_then(given_back)
            };
            match timeout {
                None => call.await,
                Some(timeout) => tokio::time::timeout(timeout, call)
                    .await
                    .unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into()))),
            }
        })
    }
}

async fn taken_over(request: HttpRequest) -> Result<Request, ConnectorError> {
    let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
    let mut headers = HeaderMap::with_capacity(16);
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| user(error.into()))?;
        headers.append(name, HeaderValue::from_str(value).map_err(|error| user(error.into()))?);
    }
    let method = Method::from_bytes(request.method().as_bytes()).map_err(|error| user(error.into()))?;
    let uri = request.uri().parse().map_err(|error: axum::http::uri::InvalidUri| user(error.into()))?;
    let body = request.into_body();
    let body = match body.bytes() {
        Some(bytes) => Bytes::copy_from_slice(bytes),
        None => ByteStream::new(body).collect().await.map_err(|error| user(error.into()))?.into_bytes(),
    };
    Ok(Request { method, uri, headers, body })
}

fn given_back(answer: Answer) -> Result<HttpResponse, ConnectorError> {
    let status = answer.status.try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
    for (name, value) in answer.headers {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}
