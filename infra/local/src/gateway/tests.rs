//! The data plane through real sockets, with functions that are closures.

#![allow(clippy::unwrap_used, reason = "tests")]

mod connect;
mod connections;
mod messages;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::backend::Backend;
use super::{Address, Gateway, Limits, serve};
use crate::apigatewayv2::ApiGateway;
use crate::apigatewayv2::snapshot::Live;
use crate::apigatewayv2::tests::{Caller, account};
use crate::cloud::Account;
use crate::lambda::{Invoker, Outcome};
use crate::wire::{ApiError, Response};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Function = Arc<dyn Fn(Value) -> BoxFuture<'static, Result<Outcome, ApiError>> + Send + Sync>;

/// One invocation, as a function and its resource policy see it.
#[derive(Clone, Debug)]
struct Call {
    function: String,
    event: Value,
    source_arn: String,
}

/// A cloud whose functions are closures.
struct TestCloud {
    account: Account,
    endpoint: String,
    control: ApiGateway,
    gateway: Gateway,
    functions: Mutex<HashMap<String, Function>>,
    calls: Mutex<Vec<Call>>,
    access_log: Mutex<Vec<(String, String)>>,
}

impl Backend for TestCloud {
    fn account(&self) -> &Account {
        &self.account
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    fn live(&self, api_id: &str, stage: &str) -> Option<Live> {
        self.control.live(api_id, stage)
    }

    fn log(&self, group: &str, line: String) {
        self.access_log.lock().unwrap().push((group.to_owned(), line));
    }

    async fn invoke(self: Arc<Self>, function: String, payload: Bytes, invoker: Invoker) -> Result<Outcome, ApiError> {
        let function = function.rsplit(':').next().unwrap().to_owned();
        let event: Value = serde_json::from_slice(&payload).unwrap();
        let Invoker::Service { principal, source_arn } = invoker else {
            panic!("API Gateway invokes as a service");
        };
        assert_eq!(principal, "apigateway.amazonaws.com");
        self.calls.lock().unwrap().push(Call {
            function: function.clone(),
            event: event.clone(),
            source_arn,
        });
        let run = self.functions.lock().unwrap().get(&function).cloned();
        match run {
            Some(run) => run(event).await,
            None => Err(ApiError::new(404, "ResourceNotFoundException", "no such function")),
        }
    }
}

/// A listening cloud with one API, `dev` being its stage.
struct Setup {
    cloud: Arc<TestCloud>,
    address: SocketAddr,
    api_id: String,
}

impl Setup {
    async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    async fn with_limits(limits: Limits) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let cloud = Arc::new(TestCloud {
            account: account(),
            endpoint: format!("http://{address}"),
            control: ApiGateway::default(),
            gateway: Gateway::with_limits(limits),
            functions: Mutex::default(),
            calls: Mutex::default(),
            access_log: Mutex::default(),
        });
        let app = Router::new().fallback(front).with_state(Arc::clone(&cloud));
        tokio::spawn(async move {
            axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
                .await
                .unwrap();
        });
        let setup = Self {
            api_id: String::new(),
            cloud,
            address,
        };
        let path = setup.control().api().await;
        let api_id = path.strip_prefix("/apis/").unwrap().to_owned();
        setup
            .control()
            .create(&format!("{path}/stages"), &json!({"stageName": "dev"}))
            .await;
        Self { api_id, ..setup }
    }

    fn control(&self) -> Caller<'_> {
        Caller {
            control: &self.cloud.control,
            endpoint: &self.cloud.endpoint,
        }
    }

    /// Adds a function of the same name for a route; `more` are further members of the route.
    async fn route(&self, key: &str, more: &Value) -> String {
        let api = format!("/apis/{}", self.api_id);
        let integration = json!({"integrationType": "AWS_PROXY", "integrationUri": uri(key), "timeoutInMillis": 2000});
        let integration = self
            .control()
            .create(&format!("{api}/integrations"), &integration)
            .await;
        let target = format!("integrations/{}", integration["integrationId"].as_str().unwrap());
        let mut route = json!({"routeKey": key, "target": target});
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let route = self.control().create(&format!("{api}/routes"), &route).await;
        self.function(key, |_| ok(&json!({"statusCode": 200})));
        route["routeId"].as_str().unwrap().to_owned()
    }

    /// Adds `$connect` with an authorizer, and returns the authorizer's id.
    async fn authorized_connect(&self, sources: Value) -> String {
        let api = format!("/apis/{}", self.api_id);
        let authorizer = json!({
            "name": "token", "authorizerType": "REQUEST", "authorizerUri": uri("authorize"), "identitySource": sources,
        });
        let authorizer = self.control().create(&format!("{api}/authorizers"), &authorizer).await;
        let id = authorizer["authorizerId"].as_str().unwrap().to_owned();
        self.route("$connect", &json!({"authorizationType": "CUSTOM", "authorizerId": id}))
            .await;
        id
    }

    async fn deploy(&self) {
        let path = format!("/apis/{}/deployments", self.api_id);
        self.control().create(&path, &json!({"stageName": "dev"})).await;
    }

    fn function(&self, name: &str, run: impl Fn(Value) -> Result<Outcome, ApiError> + Send + Sync + 'static) {
        self.async_function(name, move |event| {
            let outcome = run(event);
            Box::pin(async move { outcome })
        });
    }

    fn async_function(
        &self,
        name: &str,
        run: impl Fn(Value) -> BoxFuture<'static, Result<Outcome, ApiError>> + Send + Sync + 'static,
    ) {
        self.cloud
            .functions
            .lock()
            .unwrap()
            .insert(name.to_owned(), Arc::new(run));
    }

    fn calls(&self, function: &str) -> Vec<Call> {
        let calls = self.cloud.calls.lock().unwrap();
        calls.iter().filter(|call| call.function == function).cloned().collect()
    }

    /// Waits for the first invocation of a function.
    async fn call(&self, function: &str) -> Call {
        let calls = self.calls_after(function, 1).await;
        calls[0].clone()
    }

    async fn calls_after(&self, function: &str, count: usize) -> Vec<Call> {
        let seen = || {
            let calls = self.calls(function);
            (calls.len() >= count).then_some(calls)
        };
        eventually(&format!("{count} invocations of {function}"), seen).await
    }

    fn url(&self) -> String {
        format!("ws://{}/_aws/execute-api/{}/dev", self.address, self.api_id)
    }

    async fn connect(&self) -> Client {
        connect_async(self.url()).await.unwrap().0
    }

    /// Connects with headers and a query, and returns status, headers and body of the refusal.
    async fn refused(&self, query: &str, headers: &[(&'static str, &str)]) -> (u16, http::HeaderMap, String) {
        let mut request = format!("{}{query}", self.url()).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let Err(Error::Http(response)) = connect_async(request).await else {
            panic!("the upgrade was not refused");
        };
        let (parts, body) = response.into_parts();
        (
            parts.status.as_u16(),
            parts.headers,
            String::from_utf8(body.unwrap_or_default()).unwrap(),
        )
    }

    /// Makes a signed `@connections` call.
    async fn manage(&self, method: &str, id: &str, data: impl Into<axum::body::Body>) -> (u16, String, Value) {
        self.manage_in("dev", method, id, true, data).await
    }

    async fn manage_in(
        &self,
        stage: &str,
        method: &str,
        id: &str,
        signed: bool,
        data: impl Into<axum::body::Body>,
    ) -> (u16, String, Value) {
        let mut request = axum::extract::Request::builder().method(method).uri("/");
        if signed {
            request = request.header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/execute-api/aws4_request",
            );
        }
        let rest = format!("/%40connections/{}", id.replace('=', "%3D"));
        let address = Address {
            api_id: self.api_id.clone(),
            stage: stage.to_owned(),
            rest,
        };
        let response = serve(&self.cloud, address, request.body(data.into()).unwrap()).await;
        let status = response.status().as_u16();
        let code = response
            .headers()
            .get("x-amzn-errortype")
            .map(|code| code.to_str().unwrap().to_owned());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        (status, code.unwrap_or_default(), body)
    }
}

/// The part of the cloud's front that these tests need.
async fn front(State(cloud): State<Arc<TestCloud>>, request: axum::extract::Request) -> Response {
    let path = request
        .uri()
        .path()
        .strip_prefix("/_aws/execute-api/")
        .unwrap()
        .to_owned();
    let mut parts = path.splitn(3, '/');
    let address = Address {
        api_id: parts.next().unwrap().to_owned(),
        stage: parts.next().unwrap().to_owned(),
        rest: parts.next().unwrap_or_default().to_owned(),
    };
    serve(&cloud, address, request).await
}

fn uri(function: &str) -> String {
    let function = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}");
    format!("arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{function}/invocations")
}

fn ok(output: &Value) -> Result<Outcome, ApiError> {
    Ok(Outcome::Success(output.to_string().into()))
}

fn failed(message: &str) -> Result<Outcome, ApiError> {
    let error = json!({"errorMessage": message, "errorType": "Error"});
    Ok(Outcome::FunctionError(error.to_string().into()))
}

fn allow(event: &Value) -> Value {
    let statement = json!({"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": event["methodArn"]});
    json!({
        "principalId": "u1", "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"name": "Ada", "level": 3, "admin": true},
    })
}

async fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).await.unwrap();
}

/// Returns the next text frame.
async fn hear(client: &mut Client) -> String {
    match within("a frame", client.next()).await {
        Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
        other => panic!("expected a text frame, got {other:?}"),
    }
}

async fn hear_json(client: &mut Client) -> Value {
    serde_json::from_str(&hear(client).await).unwrap()
}

/// Returns code and reason of the close frame.
async fn closed(client: &mut Client) -> (u16, String) {
    loop {
        match within("a close frame", client.next()).await {
            Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                return (code.into(), reason.as_str().to_owned());
            }
            Some(Ok(_)) => {}
            other => panic!("expected a close frame, got {other:?}"),
        }
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("no {what} in time"))
}

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// A function that waits until the test lets it go.
fn gate() -> (oneshot::Sender<()>, impl Fn() -> BoxFuture<'static, ()> + Send + Sync) {
    let (open, opened) = oneshot::channel();
    let opened = Mutex::new(Some(opened));
    let wait = move || -> BoxFuture<'static, ()> {
        let opened = opened.lock().unwrap().take();
        Box::pin(async move {
            if let Some(opened) = opened {
                let _ = opened.await;
            }
        })
    };
    (open, wait)
}
