//! Credentials, Region and clients: opened once, cloned freely.
//!
//! All calls of this crate go through [`Connection::sdk`] or one of those in [`signed`]: they wait for the service's rate,
//! name the operation and sort the error. What failed is repeated by the engine, which alone knows what else is waiting;
//! here only what a service's rate has refused. Read next: [`open`], then [`crate::AwsCloud`].

mod caller;
mod open;
mod signed;

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use infra_cdk::{Context, Kind};
use infra_engine::{Class, CloudError, Properties};
use serde_json::Value as Json;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

pub(crate) use self::caller::Caller;
pub use self::open::{SessionError, SessionOptions};
use self::open::{credentials, http_client, refusal, sdk_config};
use crate::error::{from_sdk, refused};
use crate::probe::Probes;
use crate::repeat::repeated;
use crate::throttle::{Service, Throttle};
use crate::turns::Turns;

/// A call that uploads a package of up to 50 MB ends within this time.
pub(crate) const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// One invocation of a function ends within this time: Lambda gives none more than 15 minutes.
pub(crate) const INVOKE_TIMEOUT: Duration = Duration::from_secs(910);

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
        let region = options.region.clone();
        let signed = infra_sigv4::Client::new(credentials, region, endpoint_url.clone(), infra_sigv4::Roots::Machine)
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

    /// Returns how long to pause between two looks: shorter where the endpoint is not AWS's, and nobody counts calls.
    pub(crate) fn pace(&self, at_aws: Duration, elsewhere: Duration) -> Duration {
        match self.endpoint_url() {
            None => at_aws,
            Some(_) => elsewhere,
        }
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

    fn noted<T>(&self, service: Service, result: Result<T, CloudError>) -> Result<T, CloudError> {
        if result.as_ref().is_err_and(|error| error.class == Class::Throttled) {
            self.inner.throttle.throttled(service);
        }
        result
    }
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
