//! A proxy on loopback that counts AWS calls, delays them, and loses one on demand.
//!
//! It never looks into answers and keeps no credentials. A call that was begun upstream ends there, whatever becomes of
//! its client: a killed deployment does not stop AWS either. Read next: [`super::call`] for how calls are named.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::call::{Call, Purpose, operation};

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends, and the call never happened.
    LoseCall,
    /// The call happened, and the connection ends without an answer.
    LoseAnswer,
    /// [`Proxy::reached`] is told and the call waits for [`Proxy::go_on`]; it never happened.
    HoldCall,
    /// The call happened; [`Proxy::reached`] is told and the answer is never given.
    HoldAnswer,
}

/// A fault that waits for its call.
#[derive(Debug)]
struct Trap {
    call: usize,
    fault: Fault,
    reached: Notify,
    go_on: Notify,
}

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    log: Mutex<Log>,
    idle: Notify,
}

#[derive(Debug)]
struct Log {
    since: Instant,
    latency: Duration,
    trap: Option<Arc<Trap>>,
    in_flight: usize,
    seq: usize,
    calls: Vec<Call>,
}

impl Proxy {
    /// Listens on a free port of the loopback interface. `upstream`: `http://HOST:PORT`.
    ///
    /// # Errors
    /// When no port is free.
    pub(crate) async fn start(upstream: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            log: Mutex::new(Log {
                since: Instant::now(),
                latency: Duration::ZERO,
                trap: None,
                in_flight: 0,
                seq: 0,
                calls: Vec::new(),
            }),
            idle: Notify::new(),
        });
        let server = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self {
            shared,
            address,
            server,
        })
    }

    /// Returns where it listens.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets what every call takes longer.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.shared.log().latency = latency;
    }

    /// Forgets all calls, counts from 1 again, and lets `fault` befall the call of its number.
    pub(crate) fn clear(&self, fault: Option<(usize, Fault)>) {
        let mut log = self.shared.log();
        log.calls.clear();
        log.seq = 0;
        log.since = Instant::now();
        log.trap = fault.map(|(call, fault)| {
            Arc::new(Trap {
                call,
                fault,
                reached: Notify::new(),
                go_on: Notify::new(),
            })
        });
    }

    /// Returns the calls that have ended, in the order of their arrival.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let mut calls = self.shared.log().calls.clone();
        calls.sort_by_key(|call| call.seq);
        calls
    }

    /// Waits until a fault holds its call.
    pub(crate) async fn reached(&self) {
        let trap = self.shared.log().trap.clone();
        match trap {
            Some(trap) => trap.reached.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the held call, or the one that comes yet.
    pub(crate) fn go_on(&self) {
        if let Some(trap) = &self.shared.log().trap {
            trap.go_on.notify_one();
        }
    }

    /// Waits until no call is in flight.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.shared.idle.notified();
            if self.shared.log().in_flight == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        // A panic elsewhere leaves a list of whole calls.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the proxy has lost this call")]
struct Lost;

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| handle(shared.clone(), request));
            // A client that goes away is no error of the proxy.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let request = Request::from_parts(head, Full::new(body.clone()));
    let operation = operation(&request, &body);
    let purpose = Purpose::of(&operation, &body);
    // In a task of its own: hyper drops this future when its client is killed.
    let call = tokio::spawn(async move { carry(&shared, request, operation, purpose).await });
    call.await.map_err(|_| Lost)?
}

async fn carry(
    shared: &Shared,
    request: Request<Full<Bytes>>,
    operation: String,
    purpose: Purpose,
) -> Result<Response<Full<Bytes>>, Lost> {
    let (seq, start, in_flight, latency, trap) = {
        let mut log = shared.log();
        log.seq += 1;
        log.in_flight += 1;
        let trap = log.trap.clone().filter(|trap| trap.call == log.seq);
        (log.seq, log.since.elapsed(), log.in_flight, log.latency, trap)
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let answer = match trap {
        None => Ok(forward(shared, request).await),
        Some(trap) => {
            match trap.fault {
                Fault::LoseCall => {}
                Fault::LoseAnswer => drop(forward(shared, request).await),
                Fault::HoldCall => {
                    trap.reached.notify_one();
                    trap.go_on.notified().await;
                }
                Fault::HoldAnswer => {
                    forward(shared, request).await;
                    trap.reached.notify_one();
                    trap.go_on.notified().await;
                }
            }
            Err(Lost)
        }
    };
    let mut log = shared.log();
    log.in_flight -= 1;
    let call = Call {
        seq,
        operation,
        purpose,
        start,
        end: log.since.elapsed(),
        status: answer.as_ref().ok().map(|answer| answer.status().as_u16()),
        in_flight,
    };
    log.calls.push(call);
    if log.in_flight == 0 {
        shared.idle.notify_waiters();
    }
    answer
}

/// Sends a call on; an upstream that does not answer is a bad gateway.
async fn forward(shared: &Shared, mut request: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = format!("{}{path}", shared.upstream).parse::<Uri>() else {
        return bad_gateway();
    };
    *request.uri_mut() = uri;
    let Ok(answer) = shared.client.request(request).await else {
        return bad_gateway();
    };
    let (mut head, body) = answer.into_parts();
    // The body is sent as a whole, with its length.
    head.headers.remove(hyper::header::TRANSFER_ENCODING);
    match body.collect().await {
        Ok(body) => Response::from_parts(head, Full::new(body.to_bytes())),
        Err(_) => bad_gateway(),
    }
}

fn bad_gateway() -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(
        b"the upstream of the proxy does not answer",
    )));
    *answer.status_mut() = hyper::StatusCode::BAD_GATEWAY;
    answer
}
