//! Carries what a process prints, and what the platform says about it, into a log stream, in order.

use std::collections::VecDeque;
use std::sync::Weak;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::cloud::Cloud;

/// Largest log event: 256 KB. Longer lines are split.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// How much of an invocation's log `LogType=Tail` returns.
const TAIL_BYTES_MAX: usize = 4096;

/// Where lines go.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) cloud: Weak<Cloud>,
    pub(super) group: String,
    pub(super) stream: String,
}

/// Handle of the task that owns the pipes; the task ends when dropped.
#[derive(Debug)]
pub(super) struct Output {
    commands: mpsc::UnboundedSender<Command>,
    _task: JoinSet<()>,
}

#[derive(Debug)]
enum Command {
    /// Lines of the platform; they also begin a new tail.
    Begin(Vec<String>),
    /// Takes what the pipes hold, then appends these lines and answers with the tail.
    Finish(Vec<String>, oneshot::Sender<String>),
}

impl Output {
    /// Starts with lines of the platform, then carries what the pipes bring.
    pub(super) fn start(
        sink: Sink,
        first: Vec<String>,
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
    ) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        let pump = Pump {
            sink,
            stdout: Pipe::new(stdout),
            stderr: Pipe::new(stderr),
            batch: Vec::new(),
            tail: Tail::default(),
        };
        task.spawn(pump.run(queue));
        let output = Self { commands, _task: task };
        output.begin(first);
        output
    }

    /// Appends lines of the platform before anything that the process prints from now on.
    pub(super) fn begin(&self, lines: Vec<String>) {
        let _ = self.commands.send(Command::Begin(lines));
    }

    /// Appends all that was printed until now, then these lines; returns the end of the log since [`Self::begin`].
    pub(super) async fn finish(&self, lines: Vec<String>) -> String {
        let (reply, tail) = oneshot::channel();
        let _ = self.commands.send(Command::Finish(lines, reply));
        tail.await.unwrap_or_default()
    }
}

struct Pump {
    sink: Sink,
    stdout: Pipe<ChildStdout>,
    stderr: Pipe<ChildStderr>,
    /// Events not yet appended.
    batch: Vec<(i64, String)>,
    tail: Tail,
}

impl Pump {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            tokio::select! {
                // Commands first: what begins an invocation precedes what the invocation prints.
                biased;
                command = commands.recv() => match command {
                    Some(Command::Begin(lines)) => {
                        self.tail.clear();
                        self.add(lines);
                    }
                    Some(Command::Finish(lines, reply)) => {
                        self.drain().await;
                        self.add(lines);
                        self.append();
                        let _ = reply.send(self.tail.text());
                    }
                    None => break,
                },
                () = self.stdout.fill() => {}
                () = self.stderr.fill() => {}
            }
            self.collect();
            self.append();
        }
    }

    /// Takes everything that the process has written so far. Without the cooperative budget, as it would end early.
    async fn drain(&mut self) {
        tokio::task::unconstrained(async {
            while self.stdout.fill().now_or_never().is_some() {}
            while self.stderr.fill().now_or_never().is_some() {}
        })
        .await;
        self.collect();
        let rest = [self.stdout.rest(), self.stderr.rest()];
        self.add(rest.into_iter().flatten().collect());
    }

    fn collect(&mut self) {
        let mut lines = self.stdout.lines();
        lines.append(&mut self.stderr.lines());
        self.add(lines);
    }

    fn add(&mut self, lines: Vec<String>) {
        let now = Timestamp::now().as_millisecond();
        for line in lines {
            self.tail.add(&line);
            self.batch.push((now, line));
        }
    }

    fn append(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if let Some(cloud) = self.sink.cloud.upgrade()
            && let Err(error) = cloud.logs.append(&self.sink.group, &self.sink.stream, &self.batch)
        {
            // As on AWS a function runs without its log group; its lines are lost.
            tracing::debug!(group = %self.sink.group, %error, "function output has no log group");
        }
        self.batch.clear();
    }
}

/// One pipe of the process and its incomplete last line.
struct Pipe<R> {
    /// `None` once it is closed.
    reader: Option<R>,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(reader: Option<R>) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
        }
    }

    /// Reads once. Never completes on a closed pipe.
    async fn fill(&mut self) {
        let Some(reader) = &mut self.reader else {
            return std::future::pending().await;
        };
        self.buffer.reserve(8192);
        if !matches!(reader.read_buf(&mut self.buffer).await, Ok(read) if read > 0) {
            self.reader = None;
        }
    }

    /// Takes the complete lines.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) if end <= LINE_BYTES_MAX => {
                    lines.push(text(&self.buffer.split_to(end)));
                    self.buffer.advance(1);
                }
                Some(_) => lines.push(text(&self.buffer.split_to(LINE_BYTES_MAX))),
                None if self.buffer.len() > LINE_BYTES_MAX => lines.push(text(&self.buffer.split_to(LINE_BYTES_MAX))),
                None => break,
            }
        }
        lines.retain(|line| !line.is_empty());
        lines
    }

    /// Takes a last line without a line end.
    fn rest(&mut self) -> Option<String> {
        let rest = self.buffer.split();
        (!rest.is_empty()).then(|| text(&rest))
    }
}

fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}

/// The last lines of an invocation.
#[derive(Default)]
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    fn clear(&mut self) {
        self.lines.clear();
        self.bytes = 0;
    }

    fn add(&mut self, line: &str) {
        let mut start = line.len().saturating_sub(TAIL_BYTES_MAX - 1);
        while !line.is_char_boundary(start) {
            start += 1;
        }
        self.bytes += line.len() - start + 1;
        self.lines.push_back(line[start..].to_owned());
        while self.bytes > TAIL_BYTES_MAX {
            let first = self.lines.pop_front().unwrap_or_default();
            self.bytes -= first.len() + 1;
        }
    }

    fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}
