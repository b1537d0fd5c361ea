//! The record of what is deployed, in a DynamoDB table beside it.
//!
//! One table per account and Region for all stacks. Partition key `stack` (`chat/dev`), sort key `item`: `header`, and
//! `resource#{LogicalId}` for each resource. Their content is JSON text in `json`; the header repeats in attributes of
//! its own what conditions look at: `fence`, `owner`, `leaseUntil`. Every write is conditional on the stored fence.
//!
//! Never holds a secret: properties of parameters do not contain their values.

mod item;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TableStatus, TransactWriteItem,
};
use infra_cdk::{LogicalId, StackId};
use infra_engine::{Class, CloudError, Header, Outcome, Record, Store, StoreError};

use self::item::{Condition, HEADER, ITEM, Item, JSON, STACK, header_item, key, outcome_item, read, read_header, text};
use crate::dynamodb::{describe, incorrect, set_recovery, settled};
use crate::error::{found, gone, is_already_there, is_not_found};
use crate::repeat::repeated;
use crate::throttle::Service;
use crate::{Connection, Session, SessionError};

/// Name of the table.
pub const STATE_TABLE: &str = "stackwright-state";

/// A transaction has at most 100 actions, and one of them looks at the header.
const OUTCOMES_PER_TRANSACTION: usize = 99;
/// Attempts to make the table, while one of the same name is being deleted.
const ATTEMPTS_TO_MAKE: u32 = 60;
/// Pause between two looks at a table that must go before it can be made again.
const PAUSE: Duration = Duration::from_millis(500);

/// Keeps records in DynamoDB.
#[derive(Clone, Debug)]
pub struct StateTable {
    connection: Connection,
    /// What [`StateTable::read_ahead`] has found.
    ahead: Arc<Mutex<Option<Ahead>>>,
    /// Whether this process has made the table.
    made: Arc<AtomicBool>,
    /// Whether the table shall be made as soon as it is found missing.
    makes_early: Arc<AtomicBool>,
}

/// A stack, and what its record consists of; `None` where there is no table.
type Ahead = (StackId, Option<Vec<Item>>);

/// What a conditional write met.
enum Met {
    Written,
    /// The stored header is not as expected; it is given where DynamoDB gave it.
    Other(Option<Item>),
}

impl StateTable {
    /// Returns the store in the account and Region of a connection. The table is made when it is first written to.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            ahead: Arc::default(),
            made: Arc::default(),
            makes_early: Arc::default(),
        }
    }

    /// Begins to make the table once a record is looked for and there is no table, and keeps nobody waiting: whoever
    /// writes the record first waits for it, and says what is wrong.
    pub fn make_early(&self) {
        self.makes_early.store(true, Ordering::Relaxed);
    }

    /// Makes the table where there is none, so that no deployment waits for it later. Safe beside others that do the same.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub async fn prepare(&self) -> Result<(), CloudError> {
        match repeated(|| describe(&self.connection, STATE_TABLE)).await? {
            Some(table) if table.table_status() == Some(&TableStatus::Active) => Ok(()),
            Some(_) | None => self.make_patiently().await,
        }
    }

    /// Finds out whose account this is, and meanwhile reads a stack's record: the first who asks the table for it waits for
    /// no call.
    ///
    /// # Errors
    /// As [`Connection::identify`]; what goes wrong with the record is told to whoever asks for it.
    pub async fn open(connection: Connection, stack: &StackId) -> Result<(Session, Self), SessionError> {
        let table = Self::new(connection.clone());
        let (session, ()) = tokio::join!(connection.identify(), table.read_ahead(stack));
        Ok((session?, table))
    }

    async fn read_ahead(&self, stack: &StackId) {
        if let Ok(items) = self.query(stack).await {
            *self.ahead() = Some((stack.clone(), items));
        }
    }

    fn ahead(&self) -> MutexGuard<'_, Option<Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn query(&self, stack: &StackId) -> Result<Option<Vec<Item>>, CloudError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = repeated(|| {
                let call = self
                    .connection
                    .dynamodb()
                    .query()
                    .table_name(STATE_TABLE)
                    .consistent_read(true)
                    .key_condition_expression("#stack = :stack")
                    .expression_attribute_names("#stack", STACK)
                    .expression_attribute_values(":stack", text(stack))
                    .set_exclusive_start_key(start.clone());
                self.connection
                    .sdk(Service::DynamoDbItems, "dynamodb:Query", call.send())
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
                .connection
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
            self.connection.sdk(Service::DynamoDbItems, "dynamodb:PutItem", call)
        })
        .await
    }

    async fn transact(&self, items: &[TransactWriteItem]) -> Result<Met, CloudError> {
        repeated(|| {
            let transaction = self
                .connection
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
            self.connection
                .sdk(Service::DynamoDbItems, "dynamodb:TransactWriteItems", call)
        })
        .await
    }

    async fn header(&self, stack: &StackId) -> Result<Option<Item>, CloudError> {
        let answer = repeated(|| {
            let call = self
                .connection
                .dynamodb()
                .get_item()
                .table_name(STATE_TABLE)
                .set_key(Some(key(stack, HEADER)))
                .consistent_read(true);
            self.connection
                .sdk(Service::DynamoDbItems, "dynamodb:GetItem", call.send())
        })
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
            .connection
            .dynamodb()
            .create_table()
            .table_name(STATE_TABLE)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute(STACK)?)
            .attribute_definitions(attribute(ITEM)?)
            .key_schema(key(STACK, KeyType::Hash)?)
            .key_schema(key(ITEM, KeyType::Range)?);
        let answer = self
            .connection
            .sdk(Service::DynamoDb, "dynamodb:CreateTable", call.send())
            .await;
        match answer {
            Ok(_) => self.made.store(true, Ordering::Relaxed),
            Err(error) if is_already_there(&error) => {
                let table = describe(&self.connection, STATE_TABLE).await?;
                if table.is_none_or(|table| table.table_status() == Some(&TableStatus::Deleting)) {
                    return Err(CloudError {
                        class: Class::Busy,
                        ..error
                    });
                }
            }
            Err(error) => return Err(error),
        }
        settled(&self.connection, STATE_TABLE).await
    }

    /// Deletes a stack's items, the header last.
    async fn erase_items(
        &self,
        stack: &StackId,
        fence: u64,
        resources: &BTreeSet<LogicalId>,
    ) -> Result<(), StoreError> {
        let condition = Condition::fence(fence);
        let resources: Vec<&LogicalId> = resources.iter().collect();
        let mut chunks = resources.chunks(OUTCOMES_PER_TRANSACTION).peekable();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let is_last = chunks.peek().is_none();
            let mut actions = vec![if is_last {
                condition.delete(key(stack, HEADER))?
            } else {
                condition.check(key(stack, HEADER))?
            }];
            for id in chunk {
                actions.push(outcome_item(stack, &Outcome::Removed((*id).clone()))?);
            }
            // Without a header there is nothing to lose: an earlier attempt's answer was lost, or there never was a record.
            if let Met::Other(_) = self.transact(&actions).await?
                && self.header(stack).await?.is_some()
            {
                return Err(StoreError::Overtaken { stack: stack.clone() });
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Returns whether any other stack is recorded; any at all without one to leave out.
    async fn has_others(&self, stack: Option<&StackId>) -> Result<bool, CloudError> {
        let mut start = None;
        loop {
            let page = repeated(|| {
                let mut call = self
                    .connection
                    .dynamodb()
                    .scan()
                    .table_name(STATE_TABLE)
                    .consistent_read(true)
                    .projection_expression("#stack")
                    .expression_attribute_names("#stack", STACK)
                    .set_exclusive_start_key(start.clone());
                if let Some(stack) = stack {
                    call = call
                        .filter_expression("#stack <> :stack")
                        .expression_attribute_values(":stack", text(stack));
                }
                self.connection.sdk(Service::DynamoDb, "dynamodb:Scan", call.send())
            })
            .await?;
            start = page.last_evaluated_key;
            if !page.items.unwrap_or_default().is_empty() {
                return Ok(true);
            }
            if start.is_none() {
                return Ok(false);
            }
        }
    }

    async fn delete(&self) -> Result<(), CloudError> {
        repeated(|| async {
            let call = self.connection.dynamodb().delete_table().table_name(STATE_TABLE);
            let answer = self
                .connection
                .sdk(Service::DynamoDb, "dynamodb:DeleteTable", call.send());
            match answer.await {
                // Being deleted already: an earlier attempt's answer was lost.
                Err(error) if error.code == "ResourceInUseException" => Ok(()),
                answer => gone(answer),
            }
        })
        .await
    }

    /// Makes the table. One that is being deleted must go before it can be made again; that takes seconds.
    async fn make_patiently(&self) -> Result<(), CloudError> {
        for _ in 1..ATTEMPTS_TO_MAKE {
            match repeated(|| self.make()).await {
                Err(error) if error.class == Class::Busy => tokio::time::sleep(PAUSE).await,
                result => return result,
            }
        }
        repeated(|| self.make()).await
    }

    /// Writes a header that nobody else may have written meanwhile.
    async fn put_header_making_table(&self, item: &Item, condition: &Condition) -> Result<Met, CloudError> {
        match self.put_header(item.clone(), condition).await {
            Err(error) if is_not_found(&error) => {}
            result => return result,
        }
        self.make_patiently().await?;
        self.put_header(item.clone(), condition).await
    }
}

impl Store for StateTable {
    async fn load(&self, stack: &StackId) -> Result<Option<Record>, StoreError> {
        let ahead = self.ahead().take_if(|(read, _)| read == stack);
        let items = match ahead {
            Some((_, items)) => items,
            None => self.query(stack).await?,
        };
        let Some(items) = items else {
            if self.makes_early.swap(false, Ordering::Relaxed) {
                let table = self.clone();
                tokio::spawn(async move { table.make_patiently().await });
            }
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
            let _ = set_recovery(&self.connection, STATE_TABLE, true, None).await;
        }
        Ok(())
    }

    async fn erase(&self, stack: &StackId, fence: u64, resources: &BTreeSet<LogicalId>) -> Result<(), StoreError> {
        let (erased, has_others) =
            tokio::join!(self.erase_items(stack, fence, resources), self.has_others(Some(stack)));
        erased?;
        // Another stack's first deployment may begin between the look and the deletion. It loses its record then, never a
        // resource: all of them carry names, tags and marks by which the next deployment finds them again.
        if !has_others? {
            self.delete().await?;
        }
        Ok(())
    }

    async fn remove_if_empty(&self) -> Result<(), StoreError> {
        if found(self.has_others(None).await)? == Some(false) {
            self.delete().await?;
        }
        Ok(())
    }
}
