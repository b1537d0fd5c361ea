//! Makes the local cloud as hard as AWS can be, where [`Unkindness`] asks for it: slow to settle, throttled, unreliable.
//!
//! [`Unkind::admit`] stands before every call to a control plane; services ask here how long their resources take. What
//! deployed functions call is left alone, except where their posts and tables are named. Nothing here knows a service's
//! state; a kind cloud, the default, changes nothing.
//!
//! Read next: [`settings`] for what can be asked, [`faults`] and [`rates`] for calls, [`tables`] for DynamoDB.

mod call;
mod faults;
mod rates;
mod settings;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{future, stream};
use serde_json::Value;

use self::faults::{Fate, Faults};
use self::rates::Rates;
use self::tables::Tables;
use crate::wire::{ApiError, Response};

pub(crate) use self::call::Call;
pub(crate) use self::faults::Trouble;
pub use self::settings::{REALISTIC, Unkindness, UnkindnessError};

/// How long API Gateway takes for a change, during which another one of the same API is a conflict.
const CHANGE_TIME: Duration = Duration::from_millis(50);

/// What the cloud does to its callers.
#[derive(Debug, Default)]
pub(crate) struct Unkind {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    settings: Unkindness,
    /// How far this cloud's clock is ahead of the machine's.
    ahead: Duration,
    rates: Rates,
    faults: Faults,
    /// APIs that are being changed.
    changing: BTreeSet<String>,
    /// When roles were made, by ARN.
    roles: BTreeMap<String, Instant>,
    tables: Tables,
}

/// Leave to go on with a call.
#[derive(Debug)]
pub(crate) struct Passage<'a> {
    service: &'static str,
    fate: Fate,
    /// The API that counts as being changed until this is dropped.
    _change: Option<Change<'a>>,
}

#[derive(Debug)]
struct Change<'a> {
    unkind: &'a Unkind,
    api: String,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.unkind.state().changing.remove(&self.api);
    }
}

impl Unkind {
    /// Returns an unkindness as asked for.
    pub(crate) fn new(settings: Unkindness) -> Self {
        let unkind = Self::default();
        unkind.set(settings);
        unkind
    }

    /// Changes what is asked for; what has begun to settle is not slowed down.
    pub(crate) fn set(&self, settings: Unkindness) {
        self.state().settings = settings;
    }

    pub(crate) fn settings(&self) -> Unkindness {
        self.state().settings.clone()
    }

    /// Puts the clock forward for roles, tables and rates.
    pub(crate) fn advance(&self, by: Duration) {
        self.state().ahead += by;
    }

    /// Delays a call, and decides whether it may go on.
    ///
    /// # Errors
    /// The service's own refusal: too many calls, or another change of the same API.
    pub(crate) async fn admit(&self, call: &Call) -> Result<Passage<'_>, ApiError> {
        let latency = self.settings().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let fate = {
            let mut state = self.state();
            let now = state.now();
            let state = &mut *state;
            if state.settings.throttle {
                state.rates.admit(call, now)?;
            }
            state.faults.decide(&state.settings, call)
        };
        let change = match &call.changed_api {
            Some(api) if fate.happens() => self.change(api)?,
            Some(_) | None => None,
        };
        if change.is_some() {
            tokio::time::sleep(CHANGE_TIME).await;
        }
        Ok(Passage {
            service: call.service,
            fate,
            _change: change,
        })
    }

    /// Decides about a function's post to a connection.
    pub(crate) fn post(&self) -> Option<Trouble> {
        let state = &mut *self.state();
        state.faults.post(&state.settings)
    }

    /// Decides about a function's call of a service.
    pub(crate) fn call_of_function(&self, service: &'static str) -> Passage<'_> {
        let state = &mut *self.state();
        let fate = match service {
            "dynamodb" => state.faults.table_call(&state.settings),
            _ => Fate::Answered,
        };
        Passage {
            service,
            fate,
            _change: None,
        }
    }

    /// Begins a change of an API, where such changes take time.
    fn change(&self, api: &str) -> Result<Option<Change<'_>>, ApiError> {
        let mut state = self.state();
        if !state.settings.conflict {
            return Ok(None);
        }
        if !state.changing.insert(api.to_owned()) {
            return Err(ApiError::new(
                409,
                "ConflictException",
                "Unable to complete operation due to concurrent modification. Please try again later.",
            ));
        }
        drop(state);
        Ok(Some(Change {
            unkind: self,
            api: api.to_owned(),
        }))
    }

    /// Notes that a role was made.
    pub(crate) fn role_created(&self, arn: &str) {
        let mut state = self.state();
        if !state.settings.role.is_zero() {
            let now = state.now();
            state.roles.insert(arn.to_owned(), now);
        }
    }

    /// Returns whether the other services know of a role already.
    pub(crate) fn is_propagated(&self, role_arn: &str) -> bool {
        let state = self.state();
        let age = |created: &Instant| state.now().saturating_duration_since(*created);
        state
            .roles
            .get(role_arn)
            .is_none_or(|created| age(created) >= state.settings.role)
    }

    /// Returns how long a function takes to settle.
    pub(crate) fn pending(&self) -> Duration {
        self.state().settings.pending
    }

    /// Answers, or refuses, a call on a table that is being created, changed or deleted.
    ///
    /// # Errors
    /// DynamoDB's refusal.
    pub(crate) fn table_answer(&self, action: &str, table: &str) -> Result<Option<Value>, ApiError> {
        let mut state = self.state();
        let now = state.now();
        state.tables.answer(action, table, now)
    }

    /// Notes what a successful call has done to a table, and returns its answer with the state that others see.
    pub(crate) fn table_answered(&self, action: &str, table: &str, answer: Bytes) -> Bytes {
        let mut state = self.state();
        let (now, time) = (state.now(), state.settings.creating);
        state.tables.answered(action, table, answer, time, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves counts and moments, never a half-written state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }
}

impl Passage<'_> {
    /// Returns whether the call shall have its effect.
    pub(crate) fn happens(&self) -> bool {
        self.fate.happens()
    }

    /// Returns what the caller gets instead of the service's answer; `render` words an error for the service's protocol.
    pub(crate) fn instead(&self, render: impl Fn(&ApiError) -> Response) -> Option<Response> {
        match self.fate {
            Fate::Answered => None,
            Fate::Lost { .. } => Some(lost()),
            Fate::Failed { .. } => Some(render(&faults::failure(self.service))),
        }
    }
}

/// Returns an answer that ends the connection before its first byte.
fn lost() -> Response {
    let error = std::io::Error::other("the local cloud loses this answer, as it was asked to");
    Response::new(Body::from_stream(stream::once(future::ready(Err::<Bytes, _>(error)))))
}
