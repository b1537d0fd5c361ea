//! The stack: what this application deploys.
