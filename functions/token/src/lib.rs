//! The chat's tokens.
