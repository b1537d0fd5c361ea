//! The stack: what this application deploys. This is the file to edit.
//!
//! [`chat`] declares functions, tables, secrets and routes; [`stage`] reads what differs between stages from
//! `infra/stages/NAME.yml`. What watches over it is in `observability.rs`. [`broadcast()`] is a smaller example. See `infra-cdk` for the constructs.

mod broadcast;
mod observability;

pub use broadcast::broadcast;
use infra_cdk::{FunctionUrlAuthType, Graph, Mistakes, Settings, Stack, Stage, Table, Value};

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
            .index("by-room", "roomShard", "connectionId"),
    );
    let messages = stack.table(
        "Messages",
        Table::keyed_by("room").sorted_by("id").expiring_by("expiresAt"),
    );
    let rates = stack.table("Rates", Table::keyed_by("userWindow").expiring_by("expiresAt"));
    let token_key = stack.secret("TokenKey");
    let token_audience = format!("{APP}-{}", stage.name);

    let rooms = stage.settings.rooms;

    let authorize = stack
        .function("authorize")
        .timeout_seconds(5)
        .env("TOKEN_KEY_PARAMETER", &token_key)
        .env("TOKEN_AUDIENCE", token_audience);
    token_key.grant_read(&authorize);

    let mut function = |name, timeout_seconds| {
        let function = stack.function(name).timeout_seconds(timeout_seconds);
        function
            .env("CONNECTIONS_TABLE", &connections)
            .env("RATES_TABLE", &rates)
            .env("ROOM_SHARDS", rooms.shards.to_string())
    };
    // Whoever is killed at its time-out leaves a row behind: far above what their slowest calls take.
    let connect = function("connect", 10);
    let disconnect = function("disconnect", 10);
    let send_message = function("send-message", 25);
    let room = function("room", 10);
    let admin = function("admin", 25);
    // Long enough to serve 180,000 connections of one shard; its work stops half a minute earlier.
    let broadcast = function("broadcast", 120).env("POSTS_PER_SECOND", rooms.posts_per_second.to_string());
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
        .route("history", &room)
        .route("announce", &admin)
        .route("kick", &admin);

    connections.grant_put(&connect);
    for actions in [&send_message, &room, &admin] {
        // The rate of each connection is counted in its row, which also says in which room it is.
        connections.grant_update(actions);
        rates.grant_update(actions);
        // A connection whose token has expired is told so, and ended.
        api.grant_disconnect(actions);
    }
    for talking in [&connect, &disconnect, &send_message, &room, &admin, &broadcast] {
        connections.grant_query(talking);
        // Who turns out to be gone is removed.
        connections.grant_delete(talking);
        api.grant_post_to_connections(talking);
        talking.set_env("MANAGEMENT_ENDPOINT", api.management_url());
    }
    for speaking in [&send_message, &admin] {
        messages.grant_put(speaking);
        speaking.set_env("MESSAGES_TABLE", &messages);
        // Large rooms are served by others.
        broadcast.grant_invoke(speaking);
        speaking.set_env("BROADCAST_FUNCTION", broadcast.callee());
        speaking.set_env("INLINE_CONNECTIONS", rooms.inline_connections.to_string());
    }
    // What it cannot finish it leaves to itself.
    broadcast.grant_invoke(&broadcast);
    broadcast.set_env("BROADCAST_FUNCTION", broadcast.callee());
    messages.grant_query(&room);
    room.set_env("MESSAGES_TABLE", &messages);

    let web = stack
        .function("web")
        .timeout_seconds(5)
        .env("WEB_SOCKET_URL", api.url())
        .env("APP_NAME", APP)
        .env("STAGE_NAME", stage.name.as_str());
    let page = web.add_function_url(FunctionUrlAuthType::None);
    // Where any page may connect, the authorizer need not wait until AWS has made up the address of ours.
    if !stage.settings.allowed_origins.is_empty() {
        let listed = format!("{},", stage.settings.allowed_origins.join(","));
        authorize.set_env("ALLOWED_ORIGINS", Value::Join(vec![listed.into(), page.url()]));
    }

    observability::add_to(&mut stack, stage, &api, &broadcast);

    stack.output("webSocketUrl", api.url());
    stack.output("webUrl", page.url());
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
