//! What was said, in a DynamoDB table.
//!
//! One item per message: `room` (S, hash key), `id` (S, range key: a ULID, so items stand in the order of time), `kind`
//! (S, `message` or `announcement`), `sub` (S), `name` (S, if any), `data` (S), `expiresAt` (N, seconds, the table's TTL
//! attribute). A room is one partition: 1,000 messages a second, far more than its members could be sent.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use functions_domain::ports::{Excerpt, PortError, ReadHistory, RecordMessage};
use functions_domain::{Identity, Message, MessageId, MessageKind, Room};

use super::dynamodb::{Item, owned, seconds, text};

/// [`RecordMessage`] and [`ReadHistory`] in one table.
#[derive(Clone, Debug)]
pub struct Messages {
    client: Client,
    table: String,
}

impl Messages {
    pub(super) fn new(client: Client, table: &str) -> Self {
        Self {
            client,
            table: table.to_owned(),
        }
    }
}

impl RecordMessage for Messages {
    async fn record(&self, message: &Message, expires_at: u64) -> Result<(), PortError> {
        let request = self.client.put_item().table_name(&self.table);
        let request = request.set_item(Some(to_item(message, expires_at)));
        Box::pin(request.send())
            .await
            .map_err(|error| PortError::new("put the message", error))?;
        Ok(())
    }
}

impl ReadHistory for Messages {
    async fn read(&self, room: &Room, after: Option<&MessageId>, most: usize, now: u64) -> Result<Excerpt, PortError> {
        let mut messages = Vec::new();
        let mut next: Option<Item> = None;
        // Once as a rule: what has expired lies before all places that are asked for.
        let more = loop {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                // What was recorded is there: replicas that are behind would make gaps.
                .consistent_read(true)
                .expression_attribute_names("#room", "room")
                .expression_attribute_values(":room", AttributeValue::S(room.to_string()))
                .scan_index_forward(after.is_some())
                .limit(i32::try_from(most - messages.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(next.take());
            let query = match after {
                None => query.key_condition_expression("#room = :room"),
                Some(after) => query
                    .key_condition_expression("#room = :room AND id > :after")
                    .expression_attribute_values(":after", AttributeValue::S(after.to_string())),
            };
            let output = Box::pin(query.send())
                .await
                .map_err(|error| PortError::new(format!("query the messages of room {room}"), error))?;
            let alive = output
                .items()
                .iter()
                .filter(|item| seconds(item, "expiresAt") > Some(now));
            messages.extend(alive.filter_map(from_item));
            next = output.last_evaluated_key().cloned();
            if next.is_none() || messages.len() >= most {
                break next.is_some();
            }
        };
        if after.is_none() {
            messages.reverse();
        }
        Ok(Excerpt { messages, more })
    }
}

fn to_item(message: &Message, expires_at: u64) -> Item {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let mut item = Item::from([
        owned(("room", text(message.room.as_str()))),
        owned(("id", text(message.id.as_str()))),
        owned(("kind", text(kind(message.kind)))),
        owned(("sub", text(&message.from.sub))),
        owned(("data", text(&message.data))),
        owned(("expiresAt", AttributeValue::N(expires_at.to_string()))),
    ]);
    if let Some(name) = &message.from.name {
        item.extend([owned(("name", text(name)))]);
    }
    item
}

fn kind(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Message => "message",
        MessageKind::Announcement => "announcement",
    }
}

/// Returns nothing for an item that is not ours: it must not keep the others from their reader.
fn from_item(item: &Item) -> Option<Message> {
    let message = parse(item);
    if message.is_none() {
        tracing::warn!(messageId = text(item, "id"), "ignored an unreadable message item");
    }
    message
}

fn parse(item: &Item) -> Option<Message> {
    let id = MessageId::parse(text(item, "id")?).ok()?;
    let kinds = [MessageKind::Message, MessageKind::Announcement];
    Some(Message {
        kind: kinds
            .into_iter()
            .find(|known| text(item, "kind") == Some(kind(*known)))?,
        from: Identity {
            sub: text(item, "sub")?.to_owned(),
            name: text(item, "name").map(str::to_owned),
            // Roles are nobody's business but the authorizer's.
            roles: Vec::new(),
        },
        room: Room::parse(text(item, "room")?).ok()?,
        data: text(item, "data")?.to_owned(),
        at_ms: id.at_ms(),
        id,
    })
}

#[cfg(test)]
mod tests {
    use functions_domain::testing::message;

    use super::*;

    #[test]
    fn foreign_items_are_ignored() {
        let said = message("red", 1_000);
        let good = to_item(&said, 1);
        assert_eq!(from_item(&good), Some(said));
        for name in ["room", "id", "kind", "sub", "data"] {
            let mut item = good.clone();
            item.insert(name.to_owned(), AttributeValue::S("#".to_owned()));
            assert_eq!(from_item(&item).is_some(), ["sub", "data"].contains(&name), "{name}");
            item.remove(name);
            assert_eq!(from_item(&item), None, "{name}");
        }
    }
}
