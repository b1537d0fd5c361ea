//! Credentials, Region and clients: opened once, cloned freely.
//!
//! All calls of this crate go through [`Connection::sdk`], [`Connection::iam`], [`Connection::s3`] and [`Connection::json`]: they wait for the
//! service's rate, name the operation and sort the error. What failed is repeated by the engine, which alone knows
//! what else is waiting; here only what a service's rate has refused. Read next: [`crate::AwsCloud`].

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use infra_cdk::{Context, Kind};
use infra_engine::{Class, CloudError, Properties};
use infra_sigv4::{Answer, Call, CallError, Method, Streamed};
use serde_json::Value as Json;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::assets::S3Request;
use crate::credentials::Cached;
use crate::error::{explain, from_call, from_sdk, refused};
use crate::probe::Probes;
use crate::repeat::repeated;
use crate::throttle::{Service, Throttle};
use crate::turns::Turns;

/// A connection stands within this time, or the endpoint is taken to be unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One call ends within this time.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A call that uploads a package of up to 50 MB ends within this time.
pub(crate) const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// One invocation of a function ends within this time: Lambda gives none more than 15 minutes.
pub(crate) const INVOKE_TIMEOUT: Duration = Duration::from_secs(910);
/// On a machine outside EC2 nobody answers at the metadata address, and nobody should wait for it.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// A signed call is made so often before the engine hears that it is throttled.
const THROTTLED_ATTEMPTS: u32 = 5;

/// What to connect to, and as whom.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// A profile of `~/.aws/config`. It wins over credentials in the environment; `None` uses the usual chain:
    /// environment, `AWS_PROFILE` or the default profile, web identity, container, instance.
    pub profile: Option<String>,
    /// For example `eu-central-1`.
    pub region: String,
    /// Where all services are instead of AWS, for example `http://127.0.0.1:4566`. It wins over `AWS_ENDPOINT_URL`.
    pub endpoint_url: Option<String>,
    /// Fixed credentials (access key id, secret access key), for local clouds that know no others.
    pub credentials: Option<(String, String)>,
}

/// Clients with credentials. Whose they are is not known yet, and some calls need not wait for that.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: Arc<Inner>,
}

/// A connection whose account is known.
#[derive(Clone, Debug)]
pub struct Session {
    connection: Connection,
    identity: Arc<Identity>,
}

#[derive(Debug)]
struct Identity {
    context: Context,
    caller: String,
}

impl Deref for Session {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

#[derive(Debug)]
struct Inner {
    region: String,
    sts: aws_sdk_sts::Client,
    endpoint_url: Option<String>,
    apigateway: aws_sdk_apigatewayv2::Client,
    cloudformation: aws_sdk_cloudformation::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    lambda: aws_sdk_lambda::Client,
    signed: infra_sigv4::Client,
    throttle: Throttle,
    calls: Mutex<BTreeMap<String, u32>>,
    turns: Turns,
    probes: Probes,
}

/// Who calls, as IAM's simulation takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The ARN of a user or role.
    Principal(String),
    /// The owner of the account, who may do everything.
    Root,
    /// Federated users, and what is not known.
    Other,
}

impl Caller {
    /// Reads the ARN that STS tells. Of a role with a path, STS leaves the path out, and IAM will not find it.
    pub(crate) fn of(arn: &str) -> Self {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, partition, service, _, account, resource] = parts[..] else {
            return Self::Other;
        };
        match (service, resource.split('/').collect::<Vec<_>>().as_slice()) {
            (_, ["root"]) => Self::Root,
            ("iam", ["user", ..]) => Self::Principal(arn.to_owned()),
            ("sts", ["assumed-role", role, _]) => {
                Self::Principal(format!("arn:{partition}:iam::{account}:role/{role}"))
            }
            _ => Self::Other,
        }
    }
}

/// Why no session could be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// No credentials were found anywhere.
    #[error("no AWS credentials found")]
    NoCredentials,
    /// There are credentials, but they cannot be used: no such profile, an ended single sign-on, a failed command.
    #[error("cannot load AWS credentials: {message}")]
    Credentials {
        /// What went wrong.
        message: String,
    },
    /// Their time is over.
    #[error("the AWS credentials have expired")]
    Expired {
        /// AWS's answer.
        #[source]
        source: CloudError,
    },
    /// AWS does not know them.
    #[error("AWS does not accept the credentials")]
    Unauthenticated {
        /// AWS's answer.
        #[source]
        source: CloudError,
    },
    /// They may do nothing here.
    #[error("AWS denies access")]
    Denied {
        /// AWS's answer.
        #[source]
        source: CloudError,
    },
    /// Nobody answers.
    #[error("nobody answers at {endpoint}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What went wrong.
        #[source]
        source: CloudError,
    },
    /// The endpoint is no URL, or this machine has no root certificates.
    #[error("cannot make an AWS client")]
    Client {
        /// The cause.
        #[source]
        source: infra_sigv4::ClientError,
    },
    /// Any other failure to learn the account.
    #[error("cannot learn which AWS account this is")]
    Identity {
        /// AWS's answer.
        #[source]
        source: CloudError,
    },
}

impl Session {
    /// Returns partition, Region and account.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.identity.context
    }

    /// Returns the clients alone.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns the ARN of the user or role that calls, for people to read.
    #[must_use]
    pub fn caller(&self) -> &str {
        &self.identity.caller
    }

    /// Returns the attributes of a resource whose name we chose: all of them follow from the name.
    pub(crate) fn computed_attributes(&self, kind: Kind, properties: &Properties) -> BTreeMap<String, String> {
        kind.attributes()
            .iter()
            .filter_map(|name| {
                let value = self.context().computed_attribute(kind, name, properties)?;
                Some(((*name).to_owned(), value))
            })
            .collect()
    }

    /// Returns the ARN of a resource whose name we chose.
    pub(crate) fn arn(&self, kind: Kind, name: &str) -> Result<String, CloudError> {
        let named = kind
            .name_property()
            .map(|property| (property.to_owned(), Json::from(name)));
        self.context()
            .computed_attribute(kind, "Arn", &Properties::from_iter(named))
            .ok_or_else(|| refused("arn", Class::Permanent, format!("{kind:?} has no computed ARN")))
    }
}

impl Connection {
    /// Loads credentials and makes clients. Calls no service, except what the credentials come from.
    ///
    /// # Errors
    /// See [`SessionError`]; missing credentials are noticed within about a second.
    pub async fn open(options: SessionOptions) -> Result<Self, SessionError> {
        let http = http_client();
        let credentials = credentials(&options, &http).await?;
        let config = sdk_config(&options, http, credentials.clone()).await;
        let endpoint_url = config.endpoint_url().map(str::to_owned);
        let signed = infra_sigv4::Client::new(credentials, options.region.clone(), endpoint_url.clone())
            .map_err(|source| SessionError::Client { source })?;
        let throttle = match endpoint_url {
            Some(_) => Throttle::when_told(),
            None => Throttle::at_quotas(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                region: options.region,
                sts: aws_sdk_sts::Client::new(&config),
                endpoint_url,
                apigateway: aws_sdk_apigatewayv2::Client::new(&config),
                cloudformation: aws_sdk_cloudformation::Client::new(&config),
                dynamodb: aws_sdk_dynamodb::Client::new(&config),
                lambda: aws_sdk_lambda::Client::new(&config),
                signed,
                throttle,
                calls: Mutex::default(),
                turns: Turns::default(),
                probes: Probes::default(),
            }),
        })
    }

    /// Asks AWS whose the credentials are. One call to STS; nothing is changed.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn identify(&self) -> Result<Session, SessionError> {
        let identity = repeated(|| {
            let call = self.inner.sts.get_caller_identity();
            self.sdk(Service::Sts, "sts:GetCallerIdentity", call.send())
        })
        .await
        .map_err(|error| refusal(error, self.endpoint_url()))?;
        let caller = identity.arn().unwrap_or_default().to_owned();
        let context = Context {
            partition: caller.split(':').nth(1).unwrap_or("aws").to_owned(),
            region: self.inner.region.clone(),
            account: identity.account().unwrap_or_default().to_owned(),
        };
        Ok(Session {
            connection: self.clone(),
            identity: Arc::new(Identity { context, caller }),
        })
    }

    /// Returns the address that stands for all services; `None` at AWS itself.
    #[must_use]
    pub fn endpoint_url(&self) -> Option<&str> {
        self.inner.endpoint_url.as_deref()
    }

    /// Returns how many calls were made so far by operation, such as `lambda:CreateFunction`; repeated ones count again.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u32> {
        let calls = self.inner.calls.lock();
        calls.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a call may be made, and counts it.
    async fn admit(&self, service: Service, operation: &str) {
        self.inner.throttle.acquire(service).await;
        let mut calls = self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry(operation.to_owned()).or_default() += 1;
    }

    /// Returns what functions that wait have in common.
    pub(crate) fn probes(&self) -> &Probes {
        &self.inner.probes
    }

    pub(crate) fn apigateway(&self) -> &aws_sdk_apigatewayv2::Client {
        &self.inner.apigateway
    }

    pub(crate) fn cloudformation(&self) -> &aws_sdk_cloudformation::Client {
        &self.inner.cloudformation
    }

    pub(crate) fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        &self.inner.dynamodb
    }

    pub(crate) fn lambda(&self) -> &aws_sdk_lambda::Client {
        &self.inner.lambda
    }

    /// Makes one call with an SDK client. `operation` is `service:Operation`.
    pub(crate) fn sdk<T, E>(
        &self,
        service: Service,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
    ) -> impl Future<Output = Result<T, CloudError>>
    where
        T: Send + 'static,
        E: ProvideErrorMetadata + Error + Send + 'static,
    {
        // SDK futures are large, and an `async fn` would hold this one twice.
        let call = Box::pin(call);
        async move {
            self.admit(service, operation).await;
            let result = on_any_core(call).await.map_err(|error| from_sdk(operation, &error));
            self.noted(service, result)
        }
    }

    /// Makes one call that changes an API or something in it; it waits its turn where such changes are in conflict.
    pub(crate) fn change_api<T, E>(
        &self,
        api: &str,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
    ) -> impl Future<Output = Result<T, CloudError>>
    where
        T: Send + 'static,
        E: ProvideErrorMetadata + Error + Send + 'static,
    {
        let service = match operation {
            "apigateway:CreateDeployment" => Service::ApiGatewayDeployment,
            _ => Service::ApiGateway,
        };
        let call = self.sdk(service, operation, call);
        async move {
            let _turn = self.inner.turns.take(api).await;
            let result = call.await;
            if result.as_ref().is_err_and(|error| error.class == Class::Busy) {
                self.inner.turns.conflicted(api);
            }
            result
        }
    }

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

    fn noted<T>(&self, service: Service, result: Result<T, CloudError>) -> Result<T, CloudError> {
        if result.as_ref().is_err_and(|error| error.class == Class::Throttled) {
            self.inner.throttle.throttled(service);
        }
        result
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

/// Runs a call in a task of its own, which ends with the returned future. All reads of a plan are made by one task, and
/// so are all steps of a deployment: signing, encoding and decoding would take turns on one core.
async fn on_any_core<T: Send + 'static>(call: Pin<Box<impl Future<Output = T> + Send + 'static>>) -> T {
    let mut tasks = JoinSet::new();
    tasks.spawn(call);
    match tasks.join_next().await {
        Some(Ok(output)) => output,
        // It is never cancelled while somebody waits for it.
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        None => std::future::pending().await,
    }
}

/// Runs a call with a large body on a thread of its own: to encode and digest megabytes would keep what is short, and what
/// the longest chain of steps waits for, from the cores.
pub(crate) async fn on_own_thread<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> T {
    let (runtime, call) = (Handle::current(), Box::pin(call));
    let running = tokio::task::spawn_blocking(move || runtime.block_on(call));
    running
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https()
}

/// Loads credentials once, so that their absence is told before anything else is tried.
async fn credentials(
    options: &SessionOptions,
    http: &SharedHttpClient,
) -> Result<SharedCredentialsProvider, SessionError> {
    if let Some((key_id, secret)) = &options.credentials {
        let fixed = Credentials::new(key_id, secret, None, None, "session options");
        return Ok(SharedCredentialsProvider::new(fixed));
    }
    let config = ProviderConfig::without_region()
        .with_region(Some(Region::new(options.region.clone())))
        .with_http_client(http.clone());
    let provider = match &options.profile {
        Some(profile) => SharedCredentialsProvider::new(
            ProfileFileCredentialsProvider::builder()
                .configure(&config)
                .profile_name(profile)
                .build(),
        ),
        None => {
            let metadata = imds::Client::builder()
                .configure(&config)
                .max_attempts(1)
                .connect_timeout(METADATA_TIMEOUT)
                .read_timeout(METADATA_TIMEOUT)
                .operation_timeout(METADATA_TIMEOUT)
                .build();
            let chain = DefaultCredentialsChain::builder()
                .region(Region::new(options.region.clone()))
                .imds_client(metadata)
                .configure(config)
                .build();
            SharedCredentialsProvider::new(chain.await)
        }
    };
    let cached = Cached::new(provider);
    let error = match cached.provide_credentials().await {
        Ok(_) => return Ok(SharedCredentialsProvider::new(cached)),
        Err(error) => error,
    };
    let message = explain(&error);
    let not_loaded = matches!(error, CredentialsError::CredentialsNotLoaded(_));
    Err(match &options.profile {
        Some(profile) if not_loaded => SessionError::Credentials {
            message: format!("profile `{profile}` does not exist or has no credentials"),
        },
        // The instance metadata service is the last to be asked: whatever it says, there is nothing else.
        None if not_loaded || message.contains("IMDS") => SessionError::NoCredentials,
        Some(_) | None => SessionError::Credentials { message },
    })
}

async fn sdk_config(
    options: &SessionOptions,
    http: SharedHttpClient,
    credentials: SharedCredentialsProvider,
) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(CALL_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(options.region.clone()))
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(endpoint_url) = &options.endpoint_url {
        loader = loader.endpoint_url(endpoint_url);
    }
    loader.load().await
}

/// Sorts the failure of the first call.
fn refusal(source: CloudError, endpoint_url: Option<&str>) -> SessionError {
    match source.class {
        Class::Unauthenticated if source.code.starts_with("ExpiredToken") => SessionError::Expired { source },
        Class::Unauthenticated => SessionError::Unauthenticated { source },
        Class::Denied => SessionError::Denied { source },
        Class::Unreachable => SessionError::Unreachable {
            endpoint: endpoint_url.unwrap_or("AWS").to_owned(),
            source,
        },
        Class::Throttled | Class::Busy | Class::Propagating | Class::Transient | Class::Quota | Class::Permanent => {
            SessionError::Identity { source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_users_roles_or_the_owner() {
        let principal = |arn: &str| Caller::Principal(arn.to_owned());
        for (arn, caller) in [
            (
                "arn:aws:iam::1:user/team/ada",
                principal("arn:aws:iam::1:user/team/ada"),
            ),
            (
                "arn:aws:sts::1:assumed-role/deploy/ci",
                principal("arn:aws:iam::1:role/deploy"),
            ),
            ("arn:aws:iam::1:root", Caller::Root),
            ("arn:aws:sts::1:federated-user/bo", Caller::Other),
            ("", Caller::Other),
        ] {
            assert_eq!(Caller::of(arn), caller, "{arn}");
        }
    }
}
