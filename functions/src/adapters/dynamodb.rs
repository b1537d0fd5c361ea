//! The connections in a DynamoDB table.
//!
//! One item per connection: `connectionId` (S, the key), `room` (S), `sub` (S), `name` (S, if any), `roles` (L of S, if
//! any), `connectedAt`, `tokenExpiresAt` and `expiresAt` (N, seconds; `expiresAt` is the table's TTL attribute). The
//! index `by-room` (hash key `room`, range key `connectionId`, all attributes) lists a room; the table is never scanned.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use functions_domain::ports::{ConnectionRepository, Page, PortError};
use functions_domain::{Connection, ConnectionId, Identity, Room, Session};

use super::Aws;

/// Name of the index by which a room's connections are found.
const ROOM_INDEX: &str = "by-room";

/// All four operations may be repeated without harm.
const ATTEMPTS_MAX: u32 = 3;

type Item = HashMap<String, AttributeValue>;

/// A [`ConnectionRepository`] in one table.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    client: Client,
    table: String,
}

impl DynamoDb {
    pub(super) fn new(aws: &Aws<'_>, table: &str) -> Self {
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(aws.region.clone()))
            .credentials_provider(aws.credentials.clone())
            .http_client(aws.http.clone())
            .timeout_config(Aws::timeouts())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX));
        config.set_endpoint_url(aws.endpoint_url.clone());
        Self {
            client: Client::from_conf(config.build()),
            table: table.to_owned(),
        }
    }

    fn key(id: &ConnectionId) -> (&'static str, AttributeValue) {
        ("connectionId", AttributeValue::S(id.to_string()))
    }
}

impl ConnectionRepository for DynamoDb {
    async fn put(&self, connection: &Connection) -> Result<(), PortError> {
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(connection)));
        request
            .send()
            .await
            .map_err(|error| PortError::new("put the connection", error))?;
        Ok(())
    }

    async fn remove(&self, id: &ConnectionId) -> Result<(), PortError> {
        let (name, value) = Self::key(id);
        let request = self.client.delete_item().table_name(&self.table).key(name, value);
        request
            .send()
            .await
            .map_err(|error| PortError::new("delete the connection", error))?;
        Ok(())
    }

    async fn find(&self, id: &ConnectionId) -> Result<Option<Connection>, PortError> {
        let (name, value) = Self::key(id);
        let request = self.client.get_item().table_name(&self.table).key(name, value);
        let output = request
            .send()
            .await
            .map_err(|error| PortError::new("get the connection", error))?;
        Ok(output.item.as_ref().and_then(from_item))
    }

    async fn in_room(&self, room: &Room, after: Option<&ConnectionId>) -> Result<Page, PortError> {
        let room_value = || AttributeValue::S(room.to_string());
        let start = after.map(|id| Item::from([("room".to_owned(), room_value()), owned(Self::key(id))]));
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(ROOM_INDEX)
            .key_condition_expression("#room = :room")
            .expression_attribute_names("#room", "room")
            .expression_attribute_values(":room", room_value())
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| PortError::new(format!("query the connections of room {room}"), error))?;
        let connections = output.items().iter().filter_map(from_item).collect();
        let next = output
            .last_evaluated_key()
            .and_then(|key| Some(ConnectionId::new(text(key, "connectionId")?)));
        Ok(Page { connections, next })
    }
}

fn to_item(connection: &Connection) -> Item {
    let Connection {
        id,
        room,
        session: Session { user, token_expires_at },
        connected_at,
        expires_at,
    } = connection;
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let number = |value: &u64| AttributeValue::N(value.to_string());
    let mut item = Item::from([
        owned(DynamoDb::key(id)),
        owned(("room", text(room.as_str()))),
        owned(("sub", text(&user.sub))),
        owned(("connectedAt", number(connected_at))),
        owned(("tokenExpiresAt", number(token_expires_at))),
        owned(("expiresAt", number(expires_at))),
    ]);
    if let Some(name) = &user.name {
        item.extend([owned(("name", text(name)))]);
    }
    if !user.roles.is_empty() {
        let roles = user.roles.iter().map(|role| text(role)).collect();
        item.extend([owned(("roles", AttributeValue::L(roles)))]);
    }
    item
}

/// Returns nothing for an item that is not ours: it must not keep a broadcast from the others.
fn from_item(item: &Item) -> Option<Connection> {
    let connection = parse(item);
    if connection.is_none() {
        tracing::warn!(
            connectionId = text(item, "connectionId"),
            "ignored an unreadable connection item"
        );
    }
    connection
}

fn parse(item: &Item) -> Option<Connection> {
    let number = |name| item.get(name)?.as_n().ok()?.parse().ok();
    let roles = match item.get("roles") {
        Some(roles) => roles
            .as_l()
            .ok()?
            .iter()
            .filter_map(|role| role.as_s().ok().cloned())
            .collect(),
        None => Vec::new(),
    };
    let user = Identity {
        sub: text(item, "sub")?.to_owned(),
        name: text(item, "name").map(str::to_owned),
        roles,
    };
    Some(Connection {
        id: ConnectionId::new(text(item, "connectionId")?),
        room: Room::parse(text(item, "room")?).ok()?,
        session: Session {
            user,
            token_expires_at: number("tokenExpiresAt")?,
        },
        connected_at: number("connectedAt")?,
        expires_at: number("expiresAt")?,
    })
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn owned((name, value): (&str, AttributeValue)) -> (String, AttributeValue) {
    (name.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use functions_domain::testing::connection;

    use super::*;

    #[test]
    fn items_hold_all_that_is_known() {
        let mut full = connection("c=", "red");
        assert_eq!(parse(&to_item(&full)), Some(full.clone()));
        full.session.user.name = Some("Zoë".to_owned());
        full.session.user.roles = vec!["b".to_owned(), "a".to_owned()];
        assert_eq!(parse(&to_item(&full)), Some(full));
    }

    #[test]
    fn foreign_items_are_ignored() {
        let good = to_item(&connection("c=", "red"));
        for (name, value) in [
            ("room", AttributeValue::S("no room".to_owned())),
            ("sub", AttributeValue::N("1".to_owned())),
            ("expiresAt", AttributeValue::S("1".to_owned())),
            ("roles", AttributeValue::Bool(true)),
        ] {
            let mut item = good.clone();
            item.insert(name.to_owned(), value);
            assert_eq!(from_item(&item), None, "{name}");
        }
    }
}
