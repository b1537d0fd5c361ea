//! `cargo xtask chat`: a client of the chat for terminals and scripts.
//!
//! Read next: [`typed`] for what a line means, [`shown`] for what a frame looks like, [`console`] for terminal and stdin,
//! [`editor`] for keys, [`connection`] for the socket.

mod connection;
mod console;
mod editor;
mod shown;
mod typed;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use self::connection::Connection;
use self::console::Console;
use self::typed::{HELP, Typed};
use crate::cli::{Chat, TokenClaims};
use crate::commands::{App, DEFAULT_STAGE, outputs, token};
use crate::failure::{Exit, Failure};
use crate::target::Target;
use crate::ui::{DIM, paint};

/// API Gateway ends a connection after 10 minutes without a frame.
const HEARTBEAT: Duration = Duration::from_secs(4 * 60);
/// After the end of stdin, answers are waited for so long: functions have 30 s at most.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// A minted token counts as long as API Gateway keeps a connection.
const TOKEN_LIFETIME_S: i64 = 2 * 3_600;
/// Copies of a message come soon after it, if at all.
const REMEMBERED: usize = 1_000;

/// Runs it.
///
/// # Errors
/// When nobody can connect so, or the connection ends before stdin does.
pub(crate) async fn run(app: &App, options: Chat) -> Result<Exit, Failure> {
    let (url, token) = app.interrupt.or(Box::pin(address(app, &options))).await?;
    let room = options.room.as_deref();
    let connection = app.interrupt.or(Box::pin(connection::open(&url, &token, room))).await?;
    let console = Console::open()?;
    if console.is_terminal() {
        let room = room.unwrap_or("lobby");
        console.print(&paint(
            DIM,
            format_args!("connected to {room}; /help for help, Ctrl-D to leave"),
        ))?;
    }
    let conversation = Conversation {
        as_json: app.wants_json(),
        linger: options.linger,
        connection,
        console,
        awaited: BTreeSet::new(),
        sent: 0,
        seen: BTreeSet::new(),
        any_refused: false,
    };
    let outcome = app.interrupt.or(Box::pin(conversation.hold())).await;
    match outcome {
        // In a terminal, Ctrl-C is how it may end.
        Err(failure) if failure.exit() == Exit::Interrupted && options.linger.is_some() => Ok(Exit::Ok),
        other => other,
    }
}

/// Returns where to connect, and the token.
async fn address(app: &App, options: &Chat) -> Result<(String, String), Failure> {
    if let (Some(url), Some(token)) = (&options.url, &options.token) {
        return Ok((url.clone(), token.clone()));
    }
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let (session, outputs) = outputs::open(&target).await?;
    let token = match &options.token {
        Some(token) => token.clone(),
        None => {
            let me = || std::env::var("USER").ok().filter(|name| !name.is_empty());
            let claims = TokenClaims {
                sub: options.user.clone().or_else(me).unwrap_or_else(|| "me".to_owned()),
                name: None,
                roles: options.roles.clone(),
                expires_in: TOKEN_LIFETIME_S,
            };
            token::of_stage(&target, &session, &outputs, &claims).await?
        }
    };
    let url = options.url.clone().or(outputs.web_socket_url).ok_or_else(|| {
        Failure::new(format!("{} has no output `webSocketUrl`", target.graph.stack()))
            .help(format!("deploy it with: {}", target.scope().command("deploy")))
    })?;
    Ok((url, token))
}

struct Conversation {
    as_json: bool,
    linger: Option<Duration>,
    connection: Connection,
    console: Console,
    /// Ids of frames without an answer.
    awaited: BTreeSet<String>,
    sent: u64,
    /// Ids of messages that were shown.
    seen: BTreeSet<String>,
    any_refused: bool,
}

impl Conversation {
    /// Passes lines to the chat and frames to the reader, until one side ends.
    async fn hold(mut self) -> Result<Exit, Failure> {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Once stdin has ended: when to leave at the latest.
        let mut until: Option<Instant> = None;
        loop {
            if until.is_some() && self.awaited.is_empty() && self.linger.is_none() {
                break;
            }
            tokio::select! {
                line = self.console.line(), if until.is_none() => match line {
                    Some(line) => {
                        if self.say(&line).await? {
                            break;
                        }
                    }
                    // Who leaves a terminal waits for nothing.
                    None if self.console.is_terminal() => break,
                    None => until = Some(Instant::now() + self.linger.unwrap_or(ANSWERS_WITHIN)),
                },
                frame = self.connection.next() => match frame {
                    Ok(frame) => self.hear(&frame)?,
                    Err(why) => {
                        return Err(Failure::new(format!("the connection has ended: {why}"))
                            .help("connect again; what was said meanwhile is shown by /history"));
                    }
                },
                _ = heartbeat.tick() => self.connection.send(r#"{"action":"ping"}"#).await,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
            }
        }
        self.connection.close().await;
        if !self.awaited.is_empty() && !self.console.is_terminal() {
            return Err(Failure::new(format!("{} frames were not answered", self.awaited.len()))
                .help("see what the functions say: cargo xtask logs --level warn"));
        }
        let has_failed = self.any_refused && !self.console.is_terminal();
        Ok(if has_failed { Exit::Failed } else { Exit::Ok })
    }

    /// Obeys a line; returns whether it says to leave.
    async fn say(&mut self, line: &str) -> Result<bool, Failure> {
        self.sent += 1;
        let id = format!("line-{}", self.sent);
        match typed::read(line, &id) {
            Typed::Nothing => {}
            Typed::Leave => return Ok(true),
            Typed::Help => self.console.print(HELP)?,
            Typed::Unknown(why) => {
                self.any_refused = true;
                self.console.print(&why)?;
            }
            Typed::Frame(frame) => {
                let id = frame.get("id").and_then(Json::as_str);
                self.awaited.extend(id.map(str::to_owned));
                self.connection.send(&frame.to_string()).await;
            }
        }
        Ok(false)
    }

    fn hear(&mut self, text: &str) -> Result<(), Failure> {
        let frame: Json = serde_json::from_str(text).unwrap_or_else(|_| json!({ "data": text }));
        let kind = frame["type"].as_str().unwrap_or_default();
        match frame["id"].as_str() {
            Some(id) if matches!(kind, "message" | "announcement") => {
                let is_new = self.seen.insert(id.to_owned());
                if self.seen.len() > REMEMBERED {
                    self.seen.pop_first();
                }
                if !is_new && !self.as_json {
                    return Ok(());
                }
            }
            Some(id) => {
                self.awaited.remove(id);
            }
            // API Gateway's own errors name no frame.
            None if kind.is_empty() => {
                self.awaited.pop_first();
            }
            None => {}
        }
        self.any_refused |= matches!(kind, "error" | "");
        if self.as_json {
            return self.console.print(text);
        }
        match shown::human(&frame) {
            Some(line) => self.console.print(&line),
            None => Ok(()),
        }
    }
}
