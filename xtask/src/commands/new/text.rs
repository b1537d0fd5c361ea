//! What a new function begins as: it answers its caller with the server's time, through a use case, a handler and a binary
//! like all others, each with what its tests need.

/// The forms of a function's name.
#[derive(Debug)]
pub(super) struct Names {
    /// `server-time`: the binary, and the function.
    pub(super) kebab: String,
    /// `server_time`: modules, functions, variables.
    pub(super) snake: String,
    /// `ServerTime`: the use case.
    pub(super) pascal: String,
    /// What clients ask for.
    pub(super) route: String,
}

impl Names {
    pub(super) fn new(name: &str, route: &str) -> Self {
        let capitalised = |word: &str| {
            let mut characters = word.chars();
            let first = characters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(characters).collect::<String>()
        };
        Self {
            kebab: name.to_owned(),
            snake: name.replace('-', "_"),
            pascal: name.split('-').map(capitalised).collect(),
            route: route.to_owned(),
        }
    }

    fn fill(&self, template: &str) -> String {
        template
            .replace("KEBAB", &self.kebab)
            .replace("SNAKE", &self.snake)
            .replace("PASCAL", &self.pascal)
            .replace("ROUTE", &self.route)
    }
}

/// Returns the use case.
pub(super) fn use_case(names: &Names) -> String {
    names.fill(
        r#"//! What somebody hears who asks for `ROUTE`.

use crate::ports::Clock;

/// Answers `ROUTE`. What it needs from outside is a port, see [`crate::ports`].
#[derive(Clone, Debug)]
pub struct PASCAL<C> {
    /// Tells the time.
    pub clock: C,
}

impl<C: Clock> PASCAL<C> {
    /// Returns the time in milliseconds since 1970.
    pub fn execute(&self) -> u64 {
        self.clock.now_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeClock;

    #[test]
    fn the_clock_is_asked() {
        let clock = FakeClock::at_seconds(1_000);
        assert_eq!(PASCAL { clock }.execute(), 1_000_000);
    }
}
"#,
    )
}

/// Returns the handler.
pub(super) fn handler(names: &Names) -> String {
    names.fill(
        r#"//! The route `ROUTE`.

use functions_domain::PASCAL;
use functions_domain::ports::Clock;
use serde_json::json;

use super::Response;
use crate::metrics;

/// Answers with a frame: the route has a route response, so that what the function returns reaches the caller.
#[must_use]
pub fn SNAKE<C: Clock>(use_case: &PASCAL<C>) -> Response {
    let frame = json!({ "type": "ROUTE", "nowMs": use_case.execute() });
    metrics::message_in();
    tracing::info!(route = "ROUTE", "answered");
    Response {
        body: Some(frame.to_string()),
        ..Response::status(200)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::FakeClock;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_caller_is_answered() {
        let clock = FakeClock::at_seconds(1_000);
        let body = SNAKE(&PASCAL { clock }).body.unwrap();
        let frame: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(frame, json!({ "type": "ROUTE", "nowMs": 1_000_000 }));
    }
}
"#,
    )
}

/// Returns the binary.
pub(super) fn binary(names: &Names) -> String {
    names.fill(
        r#"//! The route `ROUTE`; see [`functions::handlers::SNAKE`].

use functions::adapters::SystemClock;
use functions::events::WebSocketEvent;
use functions::{handlers, runtime};
use functions_domain::PASCAL;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::start();
    let use_case = PASCAL { clock: SystemClock };
    runtime::serve(|_: WebSocketEvent| std::future::ready(Ok(handlers::SNAKE(&use_case)))).await
}
"#,
    )
}
