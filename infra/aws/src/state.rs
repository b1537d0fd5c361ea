//! The record of what is deployed, in a DynamoDB table beside it.
//!
//! One table per account and Region for all stacks. Partition key `stack` (`chat/dev`), sort key `item`: `header`, and
//! `resource#{LogicalId}` for each resource. Their content is JSON text in `json`; the header repeats in attributes of
//! its own what conditions look at: `fence`, `owner`, `leaseUntil`. Every write is conditional on the stored fence.
//!
//! Never holds a secret: properties of parameters do not contain their values.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConditionCheck, Delete, KeySchemaElement, KeyType, Put,
    ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TableStatus, TransactWriteItem,
};
use infra_cdk::StackId;
use infra_engine::record::SCHEMA;
use infra_engine::{Class, CloudError, Header, Outcome, Record, Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Session;
use crate::dynamodb::{describe, incorrect, set_recovery, settled};
use crate::error::{found, gone, is_already_there, is_not_found};
use crate::throttle::Service;

/// Name of the table.
pub const STATE_TABLE: &str = "stackwright-state";

const STACK: &str = "stack";
const ITEM: &str = "item";
const JSON: &str = "json";
const FENCE: &str = "fence";
const OWNER: &str = "owner";
const LEASE_UNTIL: &str = "leaseUntil";
const HEADER: &str = "header";
const RESOURCE: &str = "resource#";

/// A transaction has at most 100 actions, and one of them looks at the header.
const OUTCOMES_PER_TRANSACTION: usize = 99;
/// Attempts at a call that failed for a reason that passes. The engine repeats steps, not the writing of their outcomes.
const ATTEMPTS: u32 = 6;
/// Pause after the first failed attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

type Item = HashMap<String, AttributeValue>;

/// Keeps records in DynamoDB.
#[derive(Debug)]
pub struct StateTable {
    session: Session,
    /// Whether this process has made the table.
    made: AtomicBool,
}

/// What a conditional write met.
enum Met {
    Written,
    /// The stored header is not as expected; it is given where DynamoDB gave it.
    Other(Option<Item>),
}

impl StateTable {
    /// Returns the store in the account and Region of a session. The table is made when it is first written to.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self {
            session,
            made: AtomicBool::new(false),
        }
    }

    async fn query(&self, stack: &StackId, keys_only: bool) -> Result<Option<Vec<Item>>, CloudError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = repeated(|| {
                let mut call = self
                    .session
                    .dynamodb()
                    .query()
                    .table_name(STATE_TABLE)
                    .consistent_read(true)
                    .key_condition_expression("#stack = :stack")
                    .expression_attribute_names("#stack", STACK)
                    .expression_attribute_values(":stack", text(stack))
                    .set_exclusive_start_key(start.clone());
                if keys_only {
                    call = call
                        .projection_expression("#stack, #item")
                        .expression_attribute_names("#item", ITEM);
                }
                self.session.sdk(Service::DynamoDb, "dynamodb:Query", call.send())
            })
            .await;
            let Some(page) = found(page)? else {
                return Ok(None);
            };
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(Some(items));
            }
        }
    }

    async fn put_header(&self, item: Item, condition: &Condition) -> Result<Met, CloudError> {
        repeated(|| {
            let put = self
                .session
                .dynamodb()
                .put_item()
                .table_name(STATE_TABLE)
                .set_item(Some(item.clone()))
                .condition_expression(condition.expression)
                .set_expression_attribute_names(Some(condition.names()))
                .set_expression_attribute_values(Some(condition.values.clone()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let call = async move {
                match put.send().await {
                    Ok(_) => Ok(Met::Written),
                    Err(error) => match error.as_service_error() {
                        Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                            Ok(Met::Other(failed.item().cloned()))
                        }
                        Some(_) | None => Err(error),
                    },
                }
            };
            self.session.sdk(Service::DynamoDb, "dynamodb:PutItem", call)
        })
        .await
    }

    async fn transact(&self, items: &[TransactWriteItem]) -> Result<Met, CloudError> {
        repeated(|| {
            let transaction = self
                .session
                .dynamodb()
                .transact_write_items()
                .set_transact_items(Some(items.to_vec()));
            let call = async move {
                match transaction.send().await {
                    Ok(_) => Ok(Met::Written),
                    Err(error) => match error.as_service_error() {
                        Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                            if cancelled
                                .cancellation_reasons()
                                .iter()
                                .any(|reason| reason.code() == Some("ConditionalCheckFailed")) =>
                        {
                            Ok(Met::Other(None))
                        }
                        Some(_) | None => Err(error),
                    },
                }
            };
            self.session.sdk(Service::DynamoDb, "dynamodb:TransactWriteItems", call)
        })
        .await
    }

    async fn header(&self, stack: &StackId) -> Result<Option<Item>, CloudError> {
        let call = self
            .session
            .dynamodb()
            .get_item()
            .table_name(STATE_TABLE)
            .set_key(Some(key(stack, HEADER)))
            .consistent_read(true);
        let answer = self
            .session
            .sdk(Service::DynamoDb, "dynamodb:GetItem", call.send())
            .await;
        Ok(found(answer)?.and_then(|answer| answer.item))
    }

    /// Makes the table, or waits for one that somebody else is making or deleting.
    async fn make(&self) -> Result<(), CloudError> {
        let key = |name: &str, kind| {
            KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build()
                .map_err(incorrect)
        };
        let attribute = |name: &str| {
            AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S)
                .build()
                .map_err(incorrect)
        };
        let call = self
            .session
            .dynamodb()
            .create_table()
            .table_name(STATE_TABLE)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute(STACK)?)
            .attribute_definitions(attribute(ITEM)?)
            .key_schema(key(STACK, KeyType::Hash)?)
            .key_schema(key(ITEM, KeyType::Range)?);
        let answer = self
            .session
            .sdk(Service::DynamoDb, "dynamodb:CreateTable", call.send())
            .await;
        match answer {
            Ok(_) => self.made.store(true, Ordering::Relaxed),
            Err(error) if is_already_there(&error) => {
                let table = describe(&self.session, STATE_TABLE).await?;
                if table.is_none_or(|table| table.table_status() == Some(&TableStatus::Deleting)) {
                    return Err(CloudError {
                        class: Class::Busy,
                        ..error
                    });
                }
            }
            Err(error) => return Err(error),
        }
        settled(&self.session, STATE_TABLE).await
    }

    /// Writes a header that nobody else may have written meanwhile.
    async fn put_header_making_table(&self, item: &Item, condition: &Condition) -> Result<Met, CloudError> {
        // A table that is being deleted must go before it can be made again; that takes seconds.
        for attempt in 0..60 {
            match self.put_header(item.clone(), condition).await {
                Err(error) if is_not_found(&error) => {}
                result => return result,
            }
            match self.make().await {
                Err(error) if error.class == Class::Busy && attempt < 59 => tokio::time::sleep(PAUSE * 5).await,
                result => result?,
            }
        }
        self.put_header(item.clone(), condition).await
    }
}

impl Store for StateTable {
    async fn load(&self, stack: &StackId) -> Result<Option<Record>, StoreError> {
        let Some(items) = self.query(stack, false).await? else {
            return Ok(None);
        };
        read(stack, &items)
    }

    async fn begin(&self, stack: &StackId, expected_fence: u64, now: u64, header: &Header) -> Result<(), StoreError> {
        let item = header_item(stack, header)?;
        let condition = Condition::begin(expected_fence, now, header);
        let stored = match self.put_header_making_table(&item, &condition).await? {
            Met::Written => return Ok(()),
            Met::Other(Some(stored)) => Some(stored),
            Met::Other(None) => self.header(stack).await?,
        };
        let Some(stored) = stored else {
            return Err(StoreError::Overtaken { stack: stack.clone() });
        };
        // An earlier attempt has succeeded, and its answer was lost.
        if stored.get(JSON) == item.get(JSON) {
            return Ok(());
        }
        let stored = read_header(stack, &stored)?;
        Err(match stored.lock.filter(|lock| lock.lease_until > now) {
            Some(lock) => StoreError::Locked {
                stack: stack.clone(),
                lock,
                now,
            },
            None => StoreError::Overtaken { stack: stack.clone() },
        })
    }

    async fn write(
        &self,
        stack: &StackId,
        fence: u64,
        outcomes: &[Outcome],
        header: Option<&Header>,
    ) -> Result<(), StoreError> {
        let condition = Condition::fence(fence);
        let overtaken = || StoreError::Overtaken { stack: stack.clone() };
        let mut chunks = outcomes.chunks(OUTCOMES_PER_TRANSACTION).peekable();
        while let Some(chunk) = chunks.next() {
            // The header goes with the last outcomes.
            let with_header = header.filter(|_| chunks.peek().is_none());
            let mut items = vec![match with_header {
                Some(header) => condition.put(header_item(stack, header)?)?,
                None => condition.check(key(stack, HEADER))?,
            }];
            for outcome in chunk {
                items.push(outcome_item(stack, outcome)?);
            }
            if let Met::Other(_) = self.transact(&items).await? {
                return Err(overtaken());
            }
        }
        if let Some(header) = header.filter(|_| outcomes.is_empty())
            && let Met::Other(_) = self.put_header(header_item(stack, header)?, &condition).await?
        {
            return Err(overtaken());
        }
        if header.is_some() && self.made.swap(false, Ordering::Relaxed) {
            // Best effort and late, because a new table refuses it for a while. Without it the record can still be made
            // anew from what is deployed.
            let _ = set_recovery(&self.session, STATE_TABLE, true, None).await;
        }
        Ok(())
    }

    async fn erase(&self, stack: &StackId, fence: u64) -> Result<(), StoreError> {
        let condition = Condition::fence(fence);
        let Some(items) = self.query(stack, true).await? else {
            return Ok(());
        };
        let is_header = |item: &&Item| item.get(ITEM) == Some(&text(HEADER));
        let resources: Vec<&Item> = items.iter().filter(|item| !is_header(item)).collect();
        let mut chunks = resources.chunks(OUTCOMES_PER_TRANSACTION).peekable();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let is_last = chunks.peek().is_none();
            let mut actions = vec![if is_last {
                condition.delete(key(stack, HEADER))?
            } else {
                condition.check(key(stack, HEADER))?
            }];
            for item in chunk {
                actions.push(delete_item((*item).clone())?);
            }
            // Without a header there is nothing to lose: an earlier attempt's answer was lost, or there never was a record.
            if let Met::Other(_) = self.transact(&actions).await?
                && self.header(stack).await?.is_some()
            {
                return Err(StoreError::Overtaken { stack: stack.clone() });
            }
            if is_last {
                break;
            }
        }
        // Another stack's first deployment may begin between the look and the deletion. It loses its record then, never a
        // resource: all of them carry names, tags and marks by which the next deployment finds them again.
        let call = self
            .session
            .dynamodb()
            .scan()
            .table_name(STATE_TABLE)
            .limit(1)
            .consistent_read(true);
        let rest = self
            .session
            .sdk(Service::DynamoDb, "dynamodb:Scan", call.send())
            .await?;
        if rest.items().is_empty() {
            let call = self.session.dynamodb().delete_table().table_name(STATE_TABLE);
            gone(
                self.session
                    .sdk(Service::DynamoDb, "dynamodb:DeleteTable", call.send())
                    .await,
            )?;
        }
        Ok(())
    }
}

/// What must be true of the stored header.
struct Condition {
    expression: &'static str,
    values: Item,
}

impl Condition {
    fn fence(fence: u64) -> Self {
        Self {
            expression: "#fence = :fence",
            values: HashMap::from([(":fence".to_owned(), number(fence))]),
        }
    }

    /// The fence has not moved, and whoever holds the lock is us or has let it expire.
    fn begin(expected_fence: u64, now: u64, header: &Header) -> Self {
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
    fn names(&self) -> HashMap<String, String> {
        [("#fence", FENCE), ("#lease", LEASE_UNTIL), ("#owner", OWNER)]
            .into_iter()
            .filter(|(name, _)| self.expression.contains(name))
            .map(|(name, attribute)| (name.to_owned(), attribute.to_owned()))
            .collect()
    }

    fn check(&self, key: Item) -> Result<TransactWriteItem, CloudError> {
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

    fn put(&self, item: Item) -> Result<TransactWriteItem, CloudError> {
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

    fn delete(&self, key: Item) -> Result<TransactWriteItem, CloudError> {
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

/// Repeats a call that fails for a reason that passes. All calls here may be repeated: they are conditional, or put what
/// is there already.
async fn repeated<T, F>(call: impl Fn() -> F) -> Result<T, CloudError>
where
    F: Future<Output = Result<T, CloudError>>,
{
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match call().await {
            Err(error) if error.class.is_retryable() => {}
            result => return result,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    call().await
}

fn read(stack: &StackId, items: &[Item]) -> Result<Option<Record>, StoreError> {
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

fn read_header(stack: &StackId, item: &Item) -> Result<Header, StoreError> {
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

fn header_item(stack: &StackId, header: &Header) -> Result<Item, StoreError> {
    let mut item = key(stack, HEADER);
    item.insert(JSON.to_owned(), json(stack, HEADER, header)?);
    item.insert(FENCE.to_owned(), number(header.fence));
    if let Some(lock) = &header.lock {
        item.insert(OWNER.to_owned(), text(&lock.owner));
        item.insert(LEASE_UNTIL.to_owned(), number(lock.lease_until));
    }
    Ok(item)
}

fn outcome_item(stack: &StackId, outcome: &Outcome) -> Result<TransactWriteItem, StoreError> {
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

fn delete_item(key: Item) -> Result<TransactWriteItem, CloudError> {
    let delete = Delete::builder()
        .table_name(STATE_TABLE)
        .set_key(Some(key))
        .build()
        .map_err(incorrect)?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}

fn key(stack: &StackId, item: &str) -> Item {
    HashMap::from([(STACK.to_owned(), text(stack)), (ITEM.to_owned(), text(item))])
}

fn json(stack: &StackId, name: &str, value: &impl Serialize) -> Result<AttributeValue, StoreError> {
    let json = serde_json::to_string(value).map_err(|error| damaged(stack, name, error))?;
    Ok(AttributeValue::S(json))
}

fn text(value: impl ToString) -> AttributeValue {
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
