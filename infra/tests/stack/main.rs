//! What the stack promises in every stage: least privilege, and one description for both engines.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod grants;
mod template;
