//! The chat's Lambda functions: adapters, thin handlers, one binary per function.
//!
//! | binary | API Gateway calls it for | handler |
//! |---|---|---|
//! | `authorize` | every handshake, before `$connect` | [`handlers::authorize`] |
//! | `connect` | route `$connect` | [`handlers::connect`] |
//! | `disconnect` | route `$disconnect` | [`handlers::disconnect`] |
//! | `send-message` | frames with `"action": "sendMessage"` | [`handlers::send_message`] |
//! | `room` | frames with `"action": "join"`, `"who"` or `"history"` | [`handlers::room`] |
//! | `admin` | frames with `"action": "announce"` or `"kick"` | [`handlers::admin`] |
//! | `default` | all other frames | [`handlers::default`] |
//! | `web` | nothing: browsers ask its function URL for the client | [`handlers::web`] |
//! | `broadcast` | nothing: `send-message`, `admin` and itself invoke it, with a leg of a broadcast to a large room | [`handlers::broadcast`] |
//!
//! An event flows through [`events`] (what API Gateway sends) into a handler, from there into a use case of
//! [`functions_domain`], whose ports the [`adapters`] implement, and back out through [`frames`] (what clients see).
//! Handlers know neither AWS nor the Lambda runtime, so their tests need neither.
//!
//! To add a function: a handler, a file in `src/bin` that puts its parts together, and two lines in the stack.
//!
//! Logged are routes, connection ids and numbers; never tokens, query strings, headers or message bodies. What is counted
//! is in [`metrics`].

pub mod adapters;
pub mod config;
pub mod events;
pub mod frames;
pub mod handlers;
pub mod legs;
pub mod metrics;
pub mod pages;
pub mod runtime;
