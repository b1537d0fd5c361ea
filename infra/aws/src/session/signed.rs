//! Calls without a generated SDK, by [`infra_sigv4`]: few operations of each service are needed, and an SDK crate takes
//! longer to compile than all of them together.

use infra_engine::{Class, CloudError};
use infra_sigv4::{Answer, Call, CallError, Method, Streamed};
use serde_json::Value as Json;

use super::{Connection, on_any_core};
use crate::assets::S3Request;
use crate::error::from_call;
use crate::throttle::Service;

/// A signed call is made so often before the engine hears that it is throttled.
const THROTTLED_ATTEMPTS: u32 = 5;

impl Connection {
    /// Calls IAM and returns the answer, an XML text.
    pub(crate) async fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, CloudError> {
        let operation = format!("iam:{action}");
        self.signed(Service::Iam, &operation, || {
            let (client, action) = (self.inner.signed.clone(), action.to_owned());
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let parameters: Vec<(String, String)> = parameters.iter().map(own).collect();
            async move {
                let parameters: Vec<(&str, &str)> = parameters
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                client.query("iam", "2010-05-08", &action, &parameters).await
            }
        })
        .await
    }

    /// Calls CloudWatch Logs.
    pub(crate) async fn logs(&self, action: &str, input: &Json) -> Result<Json, CloudError> {
        self.json(Service::Logs, "logs", "Logs_20140328", action, input).await
    }

    /// Begins a live tail of CloudWatch Logs.
    pub(crate) async fn live_tail(&self, input: &Json) -> Result<Streamed, CloudError> {
        let operation = "logs:StartLiveTail";
        self.admit(Service::Logs, operation).await;
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "Logs_20140328.StartLiveTail"),
        ];
        let call = Call {
            service: "logs",
            host_prefix: "stream-",
            operation: "StartLiveTail",
            method: Method::POST,
            path: "/",
            query: &[],
            headers: &headers,
            body: input.to_string().into(),
        };
        let opened = self.inner.signed.open(call).await;
        self.noted(Service::Logs, opened.map_err(|error| from_call(operation, &error)))
    }

    /// Calls CloudWatch.
    pub(crate) async fn cloudwatch(&self, action: &str, input: &Json) -> Result<Json, CloudError> {
        let operation = format!("cloudwatch:{action}");
        self.rest(Service::CloudWatch, &operation, || Rest {
            service: "monitoring",
            method: Method::POST,
            path: "/",
            headers: vec![
                ("content-type", "application/x-amz-json-1.0".to_owned()),
                ("x-amz-target", format!("GraniteServiceVersion20100801.{action}")),
            ],
            body: input.to_string(),
        })
        .await
    }

    /// Reads or changes what API Gateway keeps for all APIs of the account and Region. That is not in the SDK of its second
    /// version.
    pub(crate) async fn apigateway_account(
        &self,
        service: Service,
        operation: &'static str,
        patch: Option<&Json>,
    ) -> Result<Json, CloudError> {
        self.rest(service, operation, || Rest {
            service: "apigateway",
            method: if patch.is_some() { Method::PATCH } else { Method::GET },
            path: "/account",
            headers: vec![("content-type", "application/json".to_owned())],
            body: patch.map(Json::to_string).unwrap_or_default(),
        })
        .await
    }

    /// Makes a signed call of any form, and returns its answer, which is JSON or nothing.
    async fn rest(&self, service: Service, operation: &str, call: impl Fn() -> Rest) -> Result<Json, CloudError> {
        self.signed(service, operation, || {
            let (client, call, name) = (self.inner.signed.clone(), call(), operation.to_owned());
            async move {
                let headers: Vec<(&str, &str)> = call
                    .headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                let call = Call {
                    service: call.service,
                    host_prefix: "",
                    operation: name.split_once(':').map_or(name.as_str(), |(_, action)| action),
                    method: call.method,
                    path: call.path,
                    query: &[],
                    headers: &headers,
                    body: call.body.into(),
                };
                client.json(call).await
            }
        })
        .await
    }

    /// Calls Systems Manager.
    pub(crate) async fn ssm(&self, action: &str, input: &Json) -> Result<Json, CloudError> {
        self.json(Service::Ssm, "ssm", "AmazonSSM", action, input).await
    }

    /// Calls S3; no answer where there is nothing (404) and S3 says no more, as to `HEAD`.
    pub(crate) async fn s3(&self, request: S3Request) -> Result<Option<Answer>, CloudError> {
        let operation = format!("s3:{}", request.operation);
        self.signed(Service::S3, &operation, || {
            let client = self.inner.signed.clone();
            let request = request.clone();
            async move {
                match request.send(&client).await {
                    Ok(answer) => Ok(Some(answer)),
                    Err(CallError::Service { status: 404, code, .. }) if code == "Unknown" || code == "NoSuchKey" => {
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            }
        })
        .await
    }

    async fn json(
        &self,
        service: Service,
        prefix: &'static str,
        target: &str,
        action: &str,
        input: &Json,
    ) -> Result<Json, CloudError> {
        let operation = format!("{prefix}:{action}");
        let target = format!("{target}.{action}");
        self.signed(service, &operation, || {
            let (client, target, input) = (self.inner.signed.clone(), target.clone(), input.clone());
            async move { client.aws_json(prefix, &target, &input).await }
        })
        .await
    }

    /// Makes one signed call, again where it was throttled: it had no effect then, and to begin the whole step anew would
    /// cost a service of few calls per second several more of them.
    async fn signed<T, F>(&self, service: Service, operation: &str, call: impl Fn() -> F) -> Result<T, CloudError>
    where
        F: Future<Output = Result<T, CallError>> + Send + 'static,
        T: Send + 'static,
    {
        let mut attempts = 1;
        loop {
            self.admit(service, operation).await;
            let result = on_any_core(Box::pin(call())).await;
            match self.noted(service, result.map_err(|error| from_call(operation, &error))) {
                Err(error) if error.class == Class::Throttled && attempts < THROTTLED_ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }
}

/// A signed call that belongs to nobody.
struct Rest {
    service: &'static str,
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}
