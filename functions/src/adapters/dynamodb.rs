//! The connections in a DynamoDB table, and the counts of users in another.
//!
//! One item per connection: `connectionId` (S, the key), `room` (S), `roomShard` (S, `{room}#{shard}`), `sub` (S), `name`
//! (S, if any), `roles` (L of S, if any), `connectedAt`, `tokenExpiresAt` and `expiresAt` (N, seconds; `expiresAt` is the
//! table's TTL attribute), and after the first action `rateWindow` (N, seconds) and `rateCount` (N).
//!
//! The index `by-room` (hash key `roomShard`, range key `connectionId`, all attributes) lists a room; the table is never
//! scanned. One partition of an index takes 1,000 writes and gives 12 MB of reads a second, and its pages come one after
//! another: shards multiply the first two and make the third parallel. The shard of a connection follows from its id, so
//! nobody has to look it up.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-sharding.html>
//!
//! The other table holds one item per user and window: `userWindow` (S, the key: `{window}#{sub}`), `actions` (N),
//! `expiresAt` (N, seconds, the TTL attribute).

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Region};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, Select};
use functions_domain::ports::{
    CountAction, Counted, ForgetConnection, ListRoom, MoveConnection, Page, PortError, RememberConnection,
};
use functions_domain::{Connection, ConnectionId, Identity, Peer, Room, Session};

use super::Aws;
use crate::config::ConfigError;

/// Name of the index by which a room's connections are found.
const ROOM_INDEX: &str = "by-room";

/// All operations may be repeated without harm; a count that is repeated after a lost answer counts twice.
const ATTEMPTS_MAX: u32 = 3;

/// A count begins anew with a window. Others may do that at the same time: then there is one more attempt.
const COUNT_ATTEMPTS_MAX: u32 = 3;

pub(super) type Item = HashMap<String, AttributeValue>;

/// A [`ConnectionRepository`](functions_domain::ports::ConnectionRepository).
#[derive(Clone, Debug)]
pub struct DynamoDb {
    client: Client,
    table: String,
    rates_table: String,
    shards: u32,
}

impl Aws<'_> {
    pub(super) fn dynamodb(&self) -> Result<Client, ConfigError> {
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(self.credentials.clone())
            .http_client(self.http()?.for_sdk())
            .timeout_config(Aws::timeouts())
            .retry_config(Aws::retries(ATTEMPTS_MAX));
        config.set_endpoint_url(self.endpoint_url.clone());
        Ok(Client::from_conf(config.build()))
    }
}

impl DynamoDb {
    pub(super) fn new(client: Client, table: &str, rates_table: &str, shards: u32) -> Self {
        Self {
            client,
            table: table.to_owned(),
            rates_table: rates_table.to_owned(),
            shards,
        }
    }

    fn query(&self, room: &Room, shard: u32, after: Option<&ConnectionId>, most: Option<usize>) -> QueryFluentBuilder {
        let room_shard = self.room_shard(room, shard);
        let start = after.map(|id| Item::from([owned(("roomShard", room_shard.clone())), owned(Self::key(id))]));
        self.client
            .query()
            .table_name(&self.table)
            .index_name(ROOM_INDEX)
            .key_condition_expression("roomShard = :shard")
            .expression_attribute_values(":shard", room_shard)
            .set_exclusive_start_key(start)
            .set_limit(most.map(|most| i32::try_from(most).unwrap_or(i32::MAX)))
    }

    async fn page<T>(
        &self,
        query: QueryFluentBuilder,
        room: &Room,
        row: impl Fn(&Item) -> Option<T>,
    ) -> Result<Page<T>, PortError> {
        let output = query.send().await;
        let output = output.map_err(|error| PortError::new(format!("query the connections of room {room}"), error))?;
        let next = output
            .last_evaluated_key()
            .and_then(|key| Some(ConnectionId::new(text(key, "connectionId")?)));
        let connections = output.items().iter().filter_map(row).collect();
        Ok(Page { connections, next })
    }

    fn room_shard(&self, room: &Room, shard: u32) -> AttributeValue {
        // No room's name has a `#`.
        AttributeValue::S(format!("{room}#{shard}"))
    }

    fn key(id: &ConnectionId) -> (&'static str, AttributeValue) {
        ("connectionId", AttributeValue::S(id.to_string()))
    }
}

impl RememberConnection for DynamoDb {
    async fn put(&self, connection: &Connection) -> Result<(), PortError> {
        let shard = connection.id.shard(self.shards);
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(connection)))
            .item("roomShard", self.room_shard(&connection.room, shard));
        request
            .send()
            .await
            .map_err(|error| PortError::new("put the connection", error))?;
        Ok(())
    }
}

impl ForgetConnection for DynamoDb {
    async fn remove(&self, id: &ConnectionId) -> Result<Option<Connection>, PortError> {
        let (name, value) = Self::key(id);
        let output = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key(name, value)
            .return_values(ReturnValue::AllOld)
            .send()
            .await
            .map_err(|error| PortError::new("delete the connection", error))?;
        Ok(output.attributes.as_ref().and_then(from_item))
    }
}

/// What an update came to.
enum Updated {
    /// Done; the item as the request asked for it.
    Done(Option<Item>),
    /// The condition does not hold; the item, if there is one.
    Refused(Option<Item>),
}

impl DynamoDb {
    fn update(&self, id: &ConnectionId) -> UpdateItemFluentBuilder {
        let (name, value) = Self::key(id);
        self.client
            .update_item()
            .table_name(&self.table)
            .key(name, value)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

async fn settle(request: UpdateItemFluentBuilder, operation: &str) -> Result<Updated, PortError> {
    match request.send().await {
        Ok(output) => Ok(Updated::Done(output.attributes)),
        Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
            match error.into_err() {
                UpdateItemError::ConditionalCheckFailedException(refusal) => Ok(Updated::Refused(refusal.item)),
                other => Err(PortError::new(operation, other)),
            }
        }
        Err(error) => Err(PortError::new(operation, error)),
    }
}

/// The count is part of the row, so that one write both counts and tells the caller's room; most of its cost (a unit for
/// the row and one for the index) replaces the read that would be needed without it.
impl CountAction for DynamoDb {
    async fn count(&self, id: &ConnectionId, window: u64, most: u64) -> Result<Counted, PortError> {
        const OPERATION: &str = "count an action of the connection";
        let number = |value: u64| AttributeValue::N(value.to_string());
        for _ in 0..COUNT_ATTEMPTS_MAX {
            let once_more = self
                .update(id)
                .update_expression("ADD rateCount :one")
                .condition_expression("rateWindow >= :window AND rateCount < :most")
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":window", number(window))
                .expression_attribute_values(":most", number(most))
                .return_values(ReturnValue::AllNew);
            match settle(once_more, OPERATION).await? {
                Updated::Done(item) => return Ok(counted(item.as_ref())),
                Updated::Refused(None) => return Ok(Counted::Unknown),
                Updated::Refused(Some(item)) if seconds(&item, "rateWindow").is_some_and(|known| known >= window) => {
                    return Ok(Counted::Exceeded);
                }
                Updated::Refused(Some(_)) => {}
            }
            let first = self
                .update(id)
                .update_expression("SET rateWindow = :window, rateCount = :one")
                .condition_expression(
                    "attribute_exists(connectionId) AND (attribute_not_exists(rateWindow) OR rateWindow < :window)",
                )
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":window", number(window))
                .return_values(ReturnValue::AllNew);
            match settle(first, OPERATION).await? {
                Updated::Done(item) => return Ok(counted(item.as_ref())),
                Updated::Refused(None) => return Ok(Counted::Unknown),
                Updated::Refused(Some(_)) => {}
            }
        }
        // Only a client that sends much at once races with itself so long.
        Ok(Counted::Exceeded)
    }

    async fn count_user(&self, sub: &str, window: u64, most: u64, expires_at: u64) -> Result<bool, PortError> {
        let number = |value: u64| AttributeValue::N(value.to_string());
        let request = self
            .client
            .update_item()
            .table_name(&self.rates_table)
            .key("userWindow", AttributeValue::S(format!("{window}#{sub}")))
            .update_expression("ADD actions :one SET expiresAt = :end")
            .condition_expression("attribute_not_exists(actions) OR actions < :most")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":end", number(expires_at))
            .expression_attribute_values(":most", number(most));
        Ok(match settle(request, "count an action of the user").await? {
            Updated::Done(_) => true,
            Updated::Refused(_) => false,
        })
    }
}

fn counted(item: Option<&Item>) -> Counted {
    item.and_then(from_item).map_or(Counted::Unknown, Counted::Within)
}

impl MoveConnection for DynamoDb {
    async fn move_to(&self, id: &ConnectionId, room: &Room) -> Result<Option<Connection>, PortError> {
        let request = self
            .update(id)
            .update_expression("SET #room = :room, roomShard = :shard")
            .condition_expression("attribute_exists(connectionId)")
            .expression_attribute_names("#room", "room")
            .expression_attribute_values(":room", AttributeValue::S(room.to_string()))
            .expression_attribute_values(":shard", self.room_shard(room, id.shard(self.shards)))
            .return_values(ReturnValue::AllOld);
        Ok(match settle(request, "move the connection").await? {
            Updated::Done(item) => item.as_ref().and_then(from_item),
            Updated::Refused(_) => None,
        })
    }
}

impl ListRoom for DynamoDb {
    fn shards(&self) -> u32 {
        self.shards
    }

    async fn in_shard(
        &self,
        room: &Room,
        shard: u32,
        after: Option<&ConnectionId>,
        most: Option<usize>,
    ) -> Result<Page, PortError> {
        self.page(self.query(room, shard, after, most), room, from_item).await
    }

    async fn peers_in_shard(
        &self,
        room: &Room,
        shard: u32,
        after: Option<&ConnectionId>,
        most: Option<usize>,
        now: u64,
    ) -> Result<Page<Peer>, PortError> {
        // A broadcast reads little else: to decode the attributes that it has no use for took a tenth of its time.
        let query = self
            .query(room, shard, after, most)
            .projection_expression("connectionId, connectedAt")
            .filter_expression("expiresAt > :now")
            .expression_attribute_values(":now", AttributeValue::N(now.to_string()));
        self.page(query, room, peer).await
    }

    async fn shows(&self, connection: &Connection) -> Result<bool, PortError> {
        let Connection { id, room, .. } = connection;
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(ROOM_INDEX)
            .key_condition_expression("roomShard = :shard AND connectionId = :id")
            .expression_attribute_values(":shard", self.room_shard(room, id.shard(self.shards)))
            .expression_attribute_values(":id", Self::key(id).1)
            .select(Select::Count)
            .send()
            .await
            .map_err(|error| PortError::new(format!("query a connection of room {room}"), error))?;
        Ok(output.count() > 0)
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
    let number = |name| seconds(item, name);
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

fn peer(item: &Item) -> Option<Peer> {
    Some(Peer {
        id: ConnectionId::new(text(item, "connectionId")?),
        connected_at: seconds(item, "connectedAt")?,
    })
}

pub(super) fn seconds(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(super) fn owned((name, value): (&str, AttributeValue)) -> (String, AttributeValue) {
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
