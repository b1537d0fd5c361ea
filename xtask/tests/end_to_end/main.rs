//! The real command line, the real function binaries and real sockets, from nothing to nothing.
//!
//! Each test starts a local cloud of its own on a free port. Nothing leaves loopback.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bad_input;
mod chat;
mod deploy;
mod fan_out;
mod gate;
mod going_back;
mod history;
mod interrupts;
mod kill;
mod limits;
mod logs;
mod looking;
mod observability;
mod overlap;
mod planning;
mod refusals;
mod rooms;
mod support;
mod talk;
mod tokens;
mod unkind;
mod updates;
mod web;
