//! What the stack promises in every stage: least privilege, and one description for both engines.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod compare;
mod grants;
mod template;

/// The folder of the stages.
const STAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/stages");
