//! The one listener: finds the service of a request and hands it over.
//!
//! A WebSocket upgrade or `@connections` call goes to [`crate::gateway`]; everything else to the service named in the
//! SigV4 credential scope.

use std::path::PathBuf;

/// How to start a [`LocalCloud`].
#[derive(Clone, Debug)]
pub struct Options {
    /// TCP port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Region that ARNs and functions see.
    pub region: String,
    /// Twelve-digit account id.
    pub account: String,
    /// Folder that keeps the state between runs; in memory without it.
    pub persist: Option<PathBuf>,
}

/// A running local cloud. Dropping it stops the listener and kills all function processes.
#[derive(Debug)]
pub struct LocalCloud {}

/// Why the local cloud did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port could not be bound.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}
