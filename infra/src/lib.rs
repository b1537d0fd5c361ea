//! The stack: what this application deploys. This is the file to edit.
//!
//! [`chat`] declares functions, tables, secrets and routes; [`stage`] reads what differs between stages from
//! `infra/stages/NAME.yml`. [`broadcast()`] is a smaller example. See `infra-cdk` for the constructs.

mod broadcast;

pub use broadcast::broadcast;
use infra_cdk::{Graph, Mistakes, Settings, Stack, Stage, Table};

/// Name of the application; it begins the names of all resources.
pub const APP: &str = "chat";

/// Declares the chat.
///
/// # Errors
/// All mistakes of the declaration together.
pub fn chat(stage: &Stage) -> Result<Graph, Mistakes> {
    let mut stack = Stack::new(APP, stage);

    let connections = stack.table(
        "Connections",
        Table::keyed_by("connectionId")
            .expiring_by("expiresAt")
            .index("by-room", "room", "connectionId"),
    );
    let token_key = stack.secret("TokenKey");
    let token_audience = format!("{APP}-{}", stage.name);

    let authorize = stack
        .function("authorize")
        .timeout_seconds(5)
        .env("TOKEN_KEY_PARAMETER", &token_key)
        .env("TOKEN_AUDIENCE", token_audience)
        .env("ALLOWED_ORIGINS", stage.settings.allowed_origins.join(" "));
    token_key.grant_read(&authorize);

    let mut function = |name, timeout_seconds| {
        let function = stack.function(name).timeout_seconds(timeout_seconds);
        function.env("CONNECTIONS_TABLE", &connections)
    };
    let connect = function("connect", 5);
    let disconnect = function("disconnect", 5);
    let send_message = function("send-message", 25);
    let room = function("room", 10);
    let admin = function("admin", 25);
    let default = stack.function("default").timeout_seconds(5);

    let api = stack
        .web_socket_api("Chat")
        .authorizer(&authorize)
        .route("$connect", &connect)
        .route("$disconnect", &disconnect)
        .replying_route("$default", &default)
        .route("sendMessage", &send_message)
        .route("join", &room)
        .route("who", &room)
        .route("announce", &admin)
        .route("kick", &admin);

    connections.grant_put(&connect);
    for actions in [&send_message, &room, &admin] {
        // The rate of each connection is counted in its row, which also says in which room it is.
        connections.grant_update(actions);
        // A connection whose token has expired is told so, and ended.
        api.grant_disconnect(actions);
    }
    for talking in [&connect, &disconnect, &send_message, &room, &admin] {
        connections.grant_query(talking);
        // Who turns out to be gone is removed.
        connections.grant_delete(talking);
        api.grant_post_to_connections(talking);
        talking.set_env("MANAGEMENT_ENDPOINT", api.management_url());
    }

    stack.output("webSocketUrl", api.url());
    stack.output("managementUrl", api.management_url());
    stack.output("tokenKey", &token_key);
    stack.build()
}

/// Reads the settings of a stage.
///
/// # Errors
/// What is wrong in the text, with line and column.
pub fn stage(name: &str, region: Option<&str>, yaml: &str) -> Result<Stage, serde_yaml::Error> {
    let settings: Settings = serde_yaml::from_str(yaml)?;
    let region = region.or(settings.region.as_deref()).unwrap_or("us-east-1").to_owned();
    Ok(Stage {
        name: name.to_owned(),
        region,
        settings,
    })
}
