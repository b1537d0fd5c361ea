//! The Runtime API of one function process, version 2018-06-01.
//!
//! Each process has a listener of its own, as runtimes know no other address than `host:port`. What the process says
//! becomes an [`Event`]; what it is to do arrives as a [`Job`].

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::host::Invocation;
use super::invocation::SYNCHRONOUS_BYTES_MAX;

/// One invocation for the process.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) invocation: Invocation,
    /// Milliseconds since 1970.
    pub(super) deadline_ms: u128,
}

/// What the process reports.
#[derive(Debug)]
pub(super) enum Event {
    /// It waits for work: initialised, or done with the last invocation.
    Polling,
    /// It answered the invocation.
    Returned { request_id: String, payload: Bytes },
    /// The handler failed.
    Failed { request_id: String, payload: Bytes },
    /// It could not initialise.
    InitFailed { payload: Bytes },
}

/// The server of one process; it ends when dropped.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    pub(super) address: SocketAddr,
    pub(super) jobs: mpsc::UnboundedSender<Job>,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct Channel {
    jobs: Mutex<mpsc::UnboundedReceiver<Job>>,
    events: mpsc::UnboundedSender<Event>,
}

impl RuntimeApi {
    /// Listens on a free port of 127.0.0.1.
    pub(super) fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let (jobs, job_queue) = mpsc::unbounded_channel();
        let (event_queue, events) = mpsc::unbounded_channel();
        let channel = Arc::new(Channel {
            jobs: Mutex::new(job_queue),
            events: event_queue,
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, channel));
        Ok(Self {
            address,
            jobs,
            events,
            _server: server,
        })
    }
}

async fn serve(listener: TcpListener, channel: Arc<Channel>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        // Small answers must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let channel = Arc::clone(&channel);
        connections.spawn(async move {
            let service = service_fn(|request| answer(&channel, request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a function closed its connection");
            }
        });
    }
}

async fn answer(channel: &Channel, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let method = request.method().clone();
    Ok(match (&method, segments.as_slice()) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => next(channel).await,
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
            let event = match read(request).await {
                Some(payload) => Event::Returned {
                    request_id: (*id).to_owned(),
                    payload,
                },
                None => {
                    let payload = too_large();
                    report(
                        channel,
                        Event::Failed {
                            request_id: (*id).to_owned(),
                            payload: payload.clone(),
                        },
                    );
                    return Ok(respond(StatusCode::PAYLOAD_TOO_LARGE, payload));
                }
            };
            report(channel, event)
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => {
            let payload = read(request).await.unwrap_or_else(too_large);
            report(
                channel,
                Event::Failed {
                    request_id: (*id).to_owned(),
                    payload,
                },
            )
        }
        (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => {
            let payload = read(request).await.unwrap_or_else(too_large);
            report(channel, Event::InitFailed { payload })
        }
        (_, ["2020-01-01", "extension", ..]) => respond(
            StatusCode::FORBIDDEN,
            error("Extension.Forbidden", "the local cloud runs no extensions"),
        ),
        _ => respond(
            StatusCode::NOT_FOUND,
            error("InvalidRequest", "no such operation of the Runtime API"),
        ),
    })
}

async fn next(channel: &Channel) -> Response<Full<Bytes>> {
    let mut jobs = channel.jobs.lock().await;
    let _ = channel.events.send(Event::Polling);
    let Some(Job {
        invocation,
        deadline_ms,
    }) = jobs.recv().await
    else {
        return respond(
            StatusCode::INTERNAL_SERVER_ERROR,
            error("Runtime.Gone", "the local cloud is shutting down"),
        );
    };
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("Lambda-Runtime-Aws-Request-Id", invocation.request_id)
        .header("Lambda-Runtime-Deadline-Ms", deadline_ms.to_string())
        .header("Lambda-Runtime-Invoked-Function-Arn", invocation.invoked_arn)
        .header("Lambda-Runtime-Trace-Id", trace_id())
        .body(Full::new(invocation.payload));
    response.unwrap_or_else(|failure| {
        respond(
            StatusCode::INTERNAL_SERVER_ERROR,
            error("Runtime.Unknown", &failure.to_string()),
        )
    })
}

fn report(channel: &Channel, event: Event) -> Response<Full<Bytes>> {
    let _ = channel.events.send(event);
    respond(StatusCode::ACCEPTED, Bytes::from_static(b"{\"status\":\"OK\"}"))
}

/// Reads a payload; `None` if it is larger than Lambda returns.
async fn read(request: Request<Incoming>) -> Option<Bytes> {
    // 100 bytes of grace, as in AWS's message.
    let limited = Limited::new(request.into_body(), SYNCHRONOUS_BYTES_MAX + 100);
    limited.collect().await.ok().map(http_body_util::Collected::to_bytes)
}

fn too_large() -> Bytes {
    let message = format!(
        "Response payload size exceeded maximum allowed payload size ({} bytes).",
        SYNCHRONOUS_BYTES_MAX + 100
    );
    error("Function.ResponseSizeTooLarge", &message)
}

/// Renders an error as Lambda does.
pub(super) fn error(kind: &str, message: &str) -> Bytes {
    serde_json::json!({ "errorType": kind, "errorMessage": message })
        .to_string()
        .into()
}

/// X-Ray's form: version, epoch seconds, 96 random bits; never sampled here.
fn trace_id() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    let random = uuid::Uuid::new_v4().simple().to_string();
    let parent = &uuid::Uuid::new_v4().simple().to_string()[..16];
    format!("Root=1-{seconds:08x}-{};Parent={parent};Sampled=0", &random[..24])
}

fn respond(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}
