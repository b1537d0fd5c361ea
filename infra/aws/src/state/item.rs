//! Items of the state table: how a record is written and read, and on what condition.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem};
use infra_cdk::StackId;
use infra_engine::record::SCHEMA;
use infra_engine::{CloudError, Header, Outcome, Record, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::STATE_TABLE;
use crate::dynamodb::incorrect;

/// One item, as DynamoDB has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Partition key.
pub(super) const STACK: &str = "stack";
/// Sort key.
pub(super) const ITEM: &str = "item";
/// Content.
pub(super) const JSON: &str = "json";
const FENCE: &str = "fence";
const OWNER: &str = "owner";
const LEASE_UNTIL: &str = "leaseUntil";
/// Sort key of a stack's header.
pub(super) const HEADER: &str = "header";
const RESOURCE: &str = "resource#";

/// What must be true of the stored header.
pub(super) struct Condition {
    /// DynamoDB's condition expression.
    pub(super) expression: &'static str,
    /// The values that it names.
    pub(super) values: Item,
}

impl Condition {
    /// Nobody else has begun since.
    pub(super) fn fence(fence: u64) -> Self {
        Self {
            expression: "#fence = :fence",
            values: HashMap::from([(":fence".to_owned(), number(fence))]),
        }
    }

    /// The fence has not moved, and whoever holds the lock is us or has let it expire.
    pub(super) fn begin(expected_fence: u64, now: u64, header: &Header) -> Self {
        let owner = header.lock.as_ref().map_or("", |lock| lock.owner.as_str());
        let expression = if expected_fence == 0 {
            "attribute_not_exists(#fence) OR (#fence = :fence AND \
             (attribute_not_exists(#lease) OR #lease <= :now OR #owner = :owner))"
        } else {
            "#fence = :fence AND (attribute_not_exists(#lease) OR #lease <= :now OR #owner = :owner)"
        };
        Self {
            expression,
            values: HashMap::from([
                (":fence".to_owned(), number(expected_fence)),
                (":now".to_owned(), number(now)),
                (":owner".to_owned(), text(owner)),
            ]),
        }
    }

    /// DynamoDB refuses names that an expression does not use.
    pub(super) fn names(&self) -> HashMap<String, String> {
        [("#fence", FENCE), ("#lease", LEASE_UNTIL), ("#owner", OWNER)]
            .into_iter()
            .filter(|(name, _)| self.expression.contains(name))
            .map(|(name, attribute)| (name.to_owned(), attribute.to_owned()))
            .collect()
    }

    /// Looks at the header.
    pub(super) fn check(&self, key: Item) -> Result<TransactWriteItem, CloudError> {
        let check = ConditionCheck::builder()
            .table_name(STATE_TABLE)
            .set_key(Some(key))
            .condition_expression(self.expression)
            .set_expression_attribute_names(Some(self.names()))
            .set_expression_attribute_values(Some(self.values.clone()))
            .build()
            .map_err(incorrect)?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// Writes the header.
    pub(super) fn put(&self, item: Item) -> Result<TransactWriteItem, CloudError> {
        let put = Put::builder()
            .table_name(STATE_TABLE)
            .set_item(Some(item))
            .condition_expression(self.expression)
            .set_expression_attribute_names(Some(self.names()))
            .set_expression_attribute_values(Some(self.values.clone()))
            .build()
            .map_err(incorrect)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Deletes the header.
    pub(super) fn delete(&self, key: Item) -> Result<TransactWriteItem, CloudError> {
        let delete = Delete::builder()
            .table_name(STATE_TABLE)
            .set_key(Some(key))
            .condition_expression(self.expression)
            .set_expression_attribute_names(Some(self.names()))
            .set_expression_attribute_values(Some(self.values.clone()))
            .build()
            .map_err(incorrect)?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}

/// Returns a record from the items of a stack, or `None` without a header.
pub(super) fn read(stack: &StackId, items: &[Item]) -> Result<Option<Record>, StoreError> {
    let mut record = Record::default();
    let mut has_header = false;
    let name = |item: &Item| string(item, ITEM).unwrap_or_default().to_owned();
    // The header first: it tells whether this version understands the rest.
    for item in items.iter().filter(|item| name(item) == HEADER) {
        record.header = read_header(stack, item)?;
        has_header = true;
    }
    for item in items {
        let name = name(item);
        if let Some(id) = name.strip_prefix(RESOURCE) {
            let id = id.parse().map_err(|error| damaged(stack, &name, error))?;
            record.resources.insert(id, parse(stack, &name, item)?);
        }
    }
    Ok(has_header.then_some(record))
}

/// Returns a header, unless a newer version has written it.
pub(super) fn read_header(stack: &StackId, item: &Item) -> Result<Header, StoreError> {
    /// The one field that every format has.
    #[derive(serde::Deserialize)]
    struct Format {
        schema: u32,
    }
    let Format { schema: found } = parse(stack, HEADER, item)?;
    if found > SCHEMA {
        return Err(StoreError::Newer {
            stack: stack.clone(),
            found,
        });
    }
    parse(stack, HEADER, item)
}

fn parse<T: DeserializeOwned>(stack: &StackId, name: &str, item: &Item) -> Result<T, StoreError> {
    let json = string(item, JSON).ok_or_else(|| damaged(stack, name, "it has no content"))?;
    serde_json::from_str(json).map_err(|error| damaged(stack, name, error))
}

fn damaged(stack: &StackId, item: &str, message: impl ToString) -> StoreError {
    StoreError::Damaged {
        stack: stack.clone(),
        item: item.to_owned(),
        message: message.to_string(),
    }
}

/// Returns the item of a header.
pub(super) fn header_item(stack: &StackId, header: &Header) -> Result<Item, StoreError> {
    let mut item = key(stack, HEADER);
    item.insert(JSON.to_owned(), json(stack, HEADER, header)?);
    item.insert(FENCE.to_owned(), number(header.fence));
    if let Some(lock) = &header.lock {
        item.insert(OWNER.to_owned(), text(&lock.owner));
        item.insert(LEASE_UNTIL.to_owned(), number(lock.lease_until));
    }
    Ok(item)
}

/// Returns the action that records an outcome.
pub(super) fn outcome_item(stack: &StackId, outcome: &Outcome) -> Result<TransactWriteItem, StoreError> {
    match outcome {
        Outcome::Put(id, recorded) => {
            let name = format!("{RESOURCE}{id}");
            let mut item = key(stack, &name);
            item.insert(JSON.to_owned(), json(stack, &name, recorded)?);
            let put = Put::builder()
                .table_name(STATE_TABLE)
                .set_item(Some(item))
                .build()
                .map_err(incorrect)?;
            Ok(TransactWriteItem::builder().put(put).build())
        }
        Outcome::Removed(id) => Ok(delete_item(key(stack, &format!("{RESOURCE}{id}")))?),
    }
}

/// Returns the action that deletes an item.
fn delete_item(key: Item) -> Result<TransactWriteItem, CloudError> {
    let delete = Delete::builder()
        .table_name(STATE_TABLE)
        .set_key(Some(key))
        .build()
        .map_err(incorrect)?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}

/// Returns an item's key.
pub(super) fn key(stack: &StackId, item: &str) -> Item {
    HashMap::from([(STACK.to_owned(), text(stack)), (ITEM.to_owned(), text(item))])
}

fn json(stack: &StackId, name: &str, value: &impl Serialize) -> Result<AttributeValue, StoreError> {
    let json = serde_json::to_string(value).map_err(|error| damaged(stack, name, error))?;
    Ok(AttributeValue::S(json))
}

/// Returns a text.
pub(super) fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn string<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use infra_cdk::{Kind, RemovalPolicy};
    use infra_engine::Recorded;

    use super::*;

    fn stack() -> StackId {
        StackId {
            app: "chat".into(),
            stage: "dev".into(),
        }
    }

    fn resource_item() -> Item {
        let recorded = Recorded {
            kind: Kind::Table,
            physical_id: "chat-dev-connections".into(),
            properties: Default::default(),
            attributes: BTreeMap::from([("TableName".into(), "chat-dev-connections".into())]),
            dependencies: Default::default(),
            snapshot_of: Default::default(),
            parent: None,
            removal_policy: RemovalPolicy::Delete,
        };
        let outcome = Outcome::Put("Connections".parse().unwrap(), recorded);
        let item = outcome_item(&stack(), &outcome).unwrap();
        item.put().unwrap().item().clone()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let header = Header {
            fence: 7,
            ..Header::default()
        };
        let items = [resource_item(), header_item(&stack(), &header).unwrap()];
        let record = read(&stack(), &items).unwrap().unwrap();
        assert_eq!(record.header, header);
        let recorded = &record.resources[&"Connections".parse().unwrap()];
        assert_eq!(recorded.physical_id, "chat-dev-connections");
        assert_eq!(read(&stack(), &[]).unwrap(), None);
    }

    #[test]
    fn newer_formats_are_refused_whatever_they_contain() {
        let mut item = key(&stack(), HEADER);
        item.insert(JSON.into(), text(r#"{"schema": 99, "fence": "a word"}"#));
        let error = read(&stack(), &[item]).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    }

    #[test]
    fn damage_names_the_item() {
        let mut item = resource_item();
        item.insert(JSON.into(), text("{"));
        let header = header_item(&stack(), &Header::default()).unwrap();
        let error = read(&stack(), &[header, item]).unwrap_err();
        assert!(
            matches!(&error, StoreError::Damaged { item, .. } if item == "resource#Connections"),
            "{error}"
        );
    }

    #[test]
    fn conditions_name_only_what_they_use() {
        assert_eq!(Condition::fence(1).names().len(), 1);
        assert_eq!(Condition::begin(0, 1, &Header::default()).names().len(), 3);
    }
}
