//! The one listener: finds the service of a request and hands it over.
//!
//! A WebSocket upgrade or `@connections` call goes to [`crate::gateway`], a request to a function URL to
//! [`crate::lambda`]; everything else to the service named in the
//! SigV4 credential scope. How both are found is in [`crate::route`].
//!
//! The listener is bound to the loopback interface only. Because anyone who may call it can run programs here (that is
//! what Lambda is), control-plane calls from web pages are refused.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::serve::ListenerExt;
use http::header;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::cloud::{Account, Cloud, SharedCloud};
use crate::iam::Access;
use crate::persist::Keeper;
use crate::route::{self, Scope};
use crate::unkind::{Call, Unkind, Unkindness};
use crate::wire::{ApiError, Request, Response, rest_json};
use crate::{apigatewayv2, cloudwatch, dynamodb, gateway, iam, lambda, logs, ssm, sts};

/// Larger bodies, such as packages, are decoded and digested on a thread of their own, so that no other call waits for it.
const LARGE_BODY_BYTES: usize = 100_000;

/// Bodies up to this size are read: a function's zip of up to 50 MB arrives in base64.
const BODY_BYTES_MAX: usize = 100 * 1024 * 1024;
/// How long [`LocalCloud::stop`] waits for requests in flight.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// The same in all regions: clients sign with the region of the global endpoint, or with their own.
const GLOBAL_SERVICES: [&str; 2] = ["iam", "sts"];
/// Names as they stand in a credential scope.
const SERVICES: [&str; 8] = [
    "apigateway",
    "dynamodb",
    "iam",
    "lambda",
    "logs",
    "monitoring",
    "ssm",
    "sts",
];

/// How to start a [`LocalCloud`].
#[derive(Clone, Debug)]
pub struct Options {
    /// TCP port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Region that ARNs and functions see.
    pub region: String,
    /// Twelve-digit account id.
    pub account: String,
    /// Folder that keeps the state between runs; in memory without it.
    pub persist: Option<PathBuf>,
    /// In which ways it makes things hard.
    pub unkindness: Unkindness,
}

/// A running local cloud. Dropping it stops the listener, kills all function processes and saves the state.
pub struct LocalCloud {
    cloud: SharedCloud,
    runtime: Handle,
    /// Tells the listener to stop when it is dropped.
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    /// Where the state is kept, and the task that does so.
    keeper: Option<(Arc<Keeper>, JoinHandle<()>)>,
}

/// Why the local cloud did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port could not be bound.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The folder of [`Options::persist`] cannot be used.
    #[error("cannot keep the state in `{}`", path.display())]
    Persist {
        /// The folder asked for.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The embedded DynamoDB did not start.
    #[error("cannot start the embedded DynamoDB: {0}")]
    DynamoDb(String),
    /// The account id does not have twelve digits.
    #[error("`{0}` is no account id: it takes twelve digits")]
    Account(String),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 4566,
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            persist: None,
            unkindness: Unkindness::default(),
        }
    }
}

impl LocalCloud {
    /// Starts all services; they answer as soon as this returns.
    ///
    /// # Errors
    /// [`StartError::Listen`] when the port is taken; the others when the options cannot be used.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options {
            port,
            region,
            account,
            persist,
            unkindness,
        } = options;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(StartError::Account(account));
        }
        if let Some(path) = &persist {
            std::fs::create_dir_all(path).map_err(|source| StartError::Persist {
                path: path.clone(),
                source,
            })?;
        }
        let listen = |source| StartError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let database = persist.as_ref().map(|folder| folder.join("dynamodb.sqlite"));
        let cloud = Arc::new(Cloud {
            account: Account { id: account, region },
            endpoint: format!("http://{address}"),
            apigatewayv2: apigatewayv2::ApiGateway::default(),
            cloudwatch: cloudwatch::CloudWatch::default(),
            dynamodb: dynamodb::DynamoDb::start(database.as_deref())
                .await
                .map_err(StartError::DynamoDb)?,
            gateway: gateway::Gateway::default(),
            iam: iam::Iam::default(),
            lambda: lambda::Lambda::default(),
            logs: logs::Logs::default(),
            ssm: ssm::Ssm::default(),
            unkind: Unkind::new(unkindness),
        });
        let keeper = match persist {
            None => None,
            Some(folder) => {
                let keeper =
                    Keeper::open(&folder, &cloud).map_err(|(path, source)| StartError::Persist { path, source })?;
                cloud.apigatewayv2.move_to(&cloud.endpoint);
                let keeper = Arc::new(keeper);
                let task = tokio::spawn(Arc::clone(&keeper).keep_saving(Arc::clone(&cloud)));
                Some((keeper, task))
            }
        };
        let app = Router::new().fallback(front).with_state(Arc::clone(&cloud));
        let (stop, stopped) = oneshot::channel::<()>();
        // Small answers must not wait for the acknowledgement of the one before.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
        });
        let server = tokio::spawn(async move {
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            let served = axum::serve(listener, app).with_graceful_shutdown(async move {
                // An error means that the sender was dropped, which is the signal as well.
                let _ = stopped.await;
            });
            if let Err(error) = served.await {
                tracing::error!(%error, "the local cloud stopped listening");
            }
        });
        Ok(Self {
            cloud,
            runtime: Handle::current(),
            stop: Some(stop),
            server,
            keeper,
        })
    }

    /// Returns `http://127.0.0.1:PORT`, the endpoint of all services (`AWS_ENDPOINT_URL`).
    pub fn endpoint(&self) -> &str {
        &self.cloud.endpoint
    }

    /// Returns in which ways it makes things hard now.
    pub fn unkindness(&self) -> Unkindness {
        self.cloud.unkind.settings()
    }

    /// Makes it harder or easier from now on.
    pub fn set_unkindness(&self, unkindness: Unkindness) {
        self.cloud.unkind.set(unkindness);
    }

    /// Puts the clock forward, so that nobody waits for what roles, tables and rates need. Functions have a clock of
    /// their own.
    pub fn advance(&self, by: Duration) {
        self.cloud.unkind.advance(by);
    }

    /// Stops listening, closes all connections (their functions hear of it), lets requests in flight end for up to two
    /// seconds, and kills all function processes.
    pub async fn stop(mut self) {
        self.stop.take();
        self.cloud.logs.shutdown();
        self.cloud.gateway.shutdown(STOP_GRACE).await;
        self.cloud.lambda.shutdown().await;
        if tokio::time::timeout(STOP_GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        self.stop.take();
        if let Some((keeper, task)) = self.keeper.take() {
            task.abort();
            keeper.save(&self.cloud);
        }
        let cloud = Arc::clone(&self.cloud);
        // Where the runtime itself is shutting down this never runs; then the tasks that own the processes are dropped,
        // and the processes with them.
        self.runtime.spawn(async move { cloud.lambda.shutdown().await });
    }
}

impl std::fmt::Debug for LocalCloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCloud")
            .field("endpoint", &self.cloud.endpoint)
            .finish_non_exhaustive()
    }
}

async fn front(State(cloud): State<SharedCloud>, request: axum::extract::Request) -> Response {
    if let Some(address) = route::address(request.headers(), request.uri()) {
        if let Err(error) = may_connect(&cloud, &address, &request) {
            return error.rest_json();
        }
        let trouble = gateway::is_post(&address, &request)
            .then(|| cloud.unkind.post())
            .flatten();
        return match trouble {
            None => gateway::handle(&cloud, address, request).await,
            Some(trouble) => gateway::handle_badly(&cloud, address, request, trouble).await,
        };
    }
    if let Some(address) = route::function_url(request.headers(), request.uri()) {
        return lambda::call_url(&cloud, address, request).await;
    }
    if request.uri().path() == "/_local/health" {
        return health(&cloud);
    }
    let (parts, body) = request.into_parts();
    let protocol = Protocol::of(&parts.headers);
    let (service, scope) = match admit(&cloud, &parts) {
        Ok(admitted) => admitted,
        Err(error) => return protocol.render(&error),
    };
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        let message = format!("the body is larger than {BODY_BYTES_MAX} bytes, or was cut short");
        return protocol.render(&ApiError::new(413, "RequestEntityTooLargeException", message));
    };
    let request = Request {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body,
        access_key: Some(scope.access_key),
    };
    let call = Call::of(service, &request);
    let function = request.access_key.as_deref().and_then(|key| cloud.iam.session(key));
    let passage = if let Some(function) = function {
        let access = Access::of_call(&call, &request, &cloud.account);
        if let Err(error) = cloud.iam.authorize(&function, &access) {
            return protocol.render(&error);
        }
        cloud.unkind.call_of_function(service)
    } else {
        match cloud.unkind.admit(&call).await {
            Ok(passage) => passage,
            Err(error) => return protocol.render(&error),
        }
    };
    let instead = passage.instead(|error| protocol.render(error));
    if !passage.happens() {
        return instead.unwrap_or_default();
    }
    let served = if request.body.len() < LARGE_BODY_BYTES {
        serve(&cloud, service, request).await
    } else {
        let (runtime, cloud) = (Handle::current(), Arc::clone(&cloud));
        let serving = spawn_blocking(move || runtime.block_on(serve(&cloud, service, request)));
        serving
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    };
    instead.unwrap_or(served)
}

/// Refuses calls to `@connections` that a function's role does not allow.
fn may_connect(cloud: &Cloud, address: &gateway::Address, request: &axum::extract::Request) -> Result<(), ApiError> {
    let scope = route::scope(request.headers(), request.uri());
    let Some(function) = scope.and_then(|scope| cloud.iam.session(&scope.access_key)) else {
        return Ok(());
    };
    let (api, stage, method) = (&address.api_id, &address.stage, request.method().as_str());
    let access = Access::to_connection(api, stage, method, &address.rest, &cloud.account);
    cloud.iam.authorize(&function, &access)
}

/// Hands a call to its service.
async fn serve(cloud: &SharedCloud, service: &str, request: Request) -> Response {
    match service {
        "apigateway" => apigatewayv2::handle(cloud, request).await,
        "dynamodb" => dynamodb::handle(cloud, request).await,
        "iam" => iam::handle(cloud, request).await,
        "lambda" => lambda::handle(cloud, request).await,
        "logs" => logs::handle(cloud, request).await,
        "monitoring" => cloudwatch::handle(cloud, request).await,
        "ssm" => ssm::handle(cloud, request).await,
        "sts" => sts::handle(cloud, request).await,
        other => Protocol::of(&request.headers).render(&unknown_service(other)),
    }
}

/// Returns service and scope of a control-plane call, or why it may not go on.
fn admit(cloud: &Cloud, parts: &http::request::Parts) -> Result<(&'static str, Scope), ApiError> {
    // Browsers send the first header with every call that changes something, the second with all, and pages cannot remove
    // them. Pages that functions serve come from this very origin.
    if parts.headers.contains_key(header::ORIGIN) || parts.headers.contains_key("sec-fetch-site") {
        return Err(ApiError::new(
            403,
            "AccessDeniedException",
            "the local cloud answers no control-plane calls from web pages (the request has the header Origin or Sec-Fetch-Site, as those of browsers have)",
        ));
    }
    let scope = route::scope(&parts.headers, &parts.uri).ok_or_else(|| {
        ApiError::new(
            403,
            "MissingAuthenticationToken",
            "the request is not signed: an AWS client signs it with any credentials, and names the service in the signature",
        )
    })?;
    let Some(service) = SERVICES.into_iter().find(|service| *service == scope.service) else {
        return Err(unknown_service(&scope.service));
    };
    let region = &cloud.account.region;
    if scope.region != *region && !GLOBAL_SERVICES.contains(&scope.service.as_str()) {
        return Err(ApiError::new(
            403,
            "InvalidSignatureException",
            format!(
                "Credential should be scoped to a valid region: this local cloud serves {region}, the request is for {}",
                scope.region
            ),
        ));
    }
    Ok((service, scope))
}

fn unknown_service(service: &str) -> ApiError {
    let message = format!(
        "the local cloud has no service `{service}`; it has {}",
        SERVICES.join(", ")
    );
    ApiError::new(400, "UnknownService", message)
}

fn health(cloud: &Cloud) -> Response {
    let services: serde_json::Map<_, _> = SERVICES
        .iter()
        .map(|service| ((*service).to_owned(), json!("available")))
        .collect();
    let body = json!({
        "services": services,
        "version": env!("CARGO_PKG_VERSION"),
        "region": cloud.account.region,
        "account": cloud.account.id,
    });
    rest_json(200, &body)
}

/// How to word a refusal before the service is known.
#[derive(Clone, Copy)]
enum Protocol {
    AwsJson,
    Query,
    RestJson,
}

impl Protocol {
    fn of(headers: &http::HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if headers.contains_key("x-amz-target") {
            Self::AwsJson
        } else if content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")) {
            Self::Query
        } else {
            Self::RestJson
        }
    }

    fn render(self, error: &ApiError) -> Response {
        match self {
            Self::AwsJson => error.aws_json(),
            Self::Query => error.query_xml("https://webservices.amazon.com/"),
            Self::RestJson => error.rest_json(),
        }
    }
}
