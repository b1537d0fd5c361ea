//! Runs one function process as Lambda does, and measures it: Runtime API, CPU share, memory limit.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

use crate::cage::Cage;

/// As long as the function `send-message` may take, and a little more.
const INVOCATION_MAX: Duration = Duration::from_secs(29);

/// How a variant is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

/// A running function.
pub(crate) struct Function {
    child: Child,
    id: u32,
    events: mpsc::UnboundedReceiver<Event>,
    jobs: mpsc::UnboundedSender<Bytes>,
    cage: Option<Cage>,
}

enum Event {
    Polling,
    Answered { good: bool },
}

/// Time and processor time of something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    Failed,
    TimedOut,
    /// The process ended; with a memory limit, that was why.
    Killed,
}

impl Function {
    /// Starts it and waits until it asks for work. Lambda gives initialisation the full CPU, whatever the memory.
    pub(crate) async fn start(program: &Program, memory_mb: u32) -> Result<(Self, Cost), Box<dyn Error>> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?.to_string();
        let (event_queue, events) = mpsc::unbounded_channel();
        let (jobs, job_queue) = mpsc::unbounded_channel();
        tokio::spawn(runtime_api(listener, event_queue, Arc::new(Mutex::new(job_queue))));

        let (name, arguments) = program.command.split_first().ok_or("no command")?;
        let mut command = Command::new(name);
        command
            .args(arguments)
            .env_clear()
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", &address)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let begun = Instant::now();
        let child = command.spawn()?;
        let id = child.id().ok_or("the function ended at once")?;
        let mut function = Self {
            child,
            id,
            events,
            jobs,
            cage: None,
        };
        function.polling().await?;
        let cost = Cost {
            wall: begun.elapsed(),
            cpu: function.cpu(),
        };
        Ok((function, cost))
    }

    /// From now on it has the CPU share and the memory of a function of this size.
    pub(crate) fn confine(&mut self, memory_mb: u32, limit_memory: bool) -> Result<(), Box<dyn Error>> {
        self.cage = Some(Cage::around(self.id, memory_mb, limit_memory)?);
        Ok(())
    }

    /// Has it handle one event.
    pub(crate) async fn invoke(&mut self, event: &Bytes) -> Result<(End, Cost), Box<dyn Error>> {
        let (begun, cpu_before) = (Instant::now(), self.cpu());
        self.jobs.send(event.clone())?;
        let answer = tokio::select! {
            answer = self.events.recv() => answer,
            _ = self.child.wait() => None,
            () = tokio::time::sleep(INVOCATION_MAX) => {
                return Ok((End::TimedOut, Cost { wall: begun.elapsed(), cpu: self.cpu().saturating_sub(cpu_before) }));
            }
        };
        let cost = Cost {
            wall: begun.elapsed(),
            cpu: self.cpu().saturating_sub(cpu_before),
        };
        let end = match answer {
            Some(Event::Answered { good: true }) => End::Answered,
            Some(Event::Answered { good: false } | Event::Polling) => End::Failed,
            None => End::Killed,
        };
        if end == End::Answered {
            self.polling().await?;
        }
        Ok((end, cost))
    }

    /// Peak of its resident memory, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        kilobytes.unwrap_or_default() * 1024
    }

    async fn polling(&mut self) -> Result<(), Box<dyn Error>> {
        tokio::select! {
            event = self.events.recv() => match event {
                Some(Event::Polling) => Ok(()),
                Some(Event::Answered { .. }) | None => Err("the function reports a failure instead of asking for work".into()),
            },
            status = self.child.wait() => Err(format!("the function ended before it asked for work: {}", status?).into()),
            () = tokio::time::sleep(INVOCATION_MAX) => Err("the function never asks for work".into()),
        }
    }

    /// What all its threads have used; to the nanosecond, unlike `/proc/PID/stat`.
    fn cpu(&self) -> Duration {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.id)) else {
            return Duration::ZERO;
        };
        let of_task = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.flatten().filter_map(of_task).sum())
    }
}

async fn runtime_api(
    listener: TcpListener,
    events: mpsc::UnboundedSender<Event>,
    jobs: Arc<Mutex<mpsc::UnboundedReceiver<Bytes>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (events, jobs) = (events.clone(), jobs.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (events, jobs) = (events.clone(), jobs.clone());
            async move {
                let path = request.uri().path().to_owned();
                if path.ends_with("/invocation/next") {
                    let _ = events.send(Event::Polling);
                    let event = jobs.lock().await.recv().await.unwrap_or_default();
                    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + INVOCATION_MAX;
                    let response = Response::builder()
                        .header("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
                        .header("Lambda-Runtime-Deadline-Ms", deadline.as_millis().to_string())
                        .header(
                            "Lambda-Runtime-Invoked-Function-Arn",
                            "arn:aws:lambda:eu-west-1:123456789012:function:f",
                        )
                        .body(Full::new(event));
                    return Ok::<_, Infallible>(response.unwrap_or_default());
                }
                let _ = request.into_body().collect().await;
                let _ = events.send(Event::Answered {
                    good: path.ends_with("/response"),
                });
                Ok(Response::builder()
                    .status(202)
                    .body(Full::default())
                    .unwrap_or_default())
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
