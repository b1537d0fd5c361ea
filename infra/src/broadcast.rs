//! A second, smaller stack: what most tools show as their WebSocket example.
//!
//! Four functions with a role and a log group each, four routes, one table; no versions, and nobody is asked who they are. `cargo xtask
//! bench deploy` measures it, because others have measured the same. It is not deployed otherwise: to use it, call it
//! where `xtask/src/target.rs` calls [`crate::chat`].

use infra_cdk::{Graph, Mistakes, Stack, Stage, Table};

/// Declares the stack.
///
/// # Errors
/// All mistakes of the declaration together.
pub fn broadcast(stage: &Stage) -> Result<Graph, Mistakes> {
    let mut stack = Stack::new("broadcast", stage);
    let connections = stack.table("Connections", Table::keyed_by("connectionId").expiring_by("expiresAt"));

    let mut function = |name| {
        stack
            .function(name)
            .without_alias()
            .env("CONNECTIONS_TABLE", &connections)
    };
    let connect = function("connect");
    let disconnect = function("disconnect");
    let send_message = function("send-message");
    let default = function("default");

    let api = stack
        .web_socket_api("Broadcast")
        .route("$connect", &connect)
        .route("$disconnect", &disconnect)
        .route("$default", &default)
        .route("sendMessage", &send_message);

    connections.grant_put(&connect);
    connections.grant_delete(&disconnect);
    connections.grant_query(&send_message);
    api.grant_post_to_connections(&send_message);
    api.grant_post_to_connections(&default);

    stack.output("webSocketUrl", api.url());
    stack.build()
}
