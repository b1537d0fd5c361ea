//! DynamoDB tables.
//!
//! A table takes one kind of change at a time and must be active for each (DynamoDB API Reference, `UpdateTable`);
//! expiry and point-in-time recovery have calls of their own.

mod table;

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    BillingMode, CreateGlobalSecondaryIndexAction, DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndex,
    GlobalSecondaryIndexUpdate, IndexStatus, PointInTimeRecoverySpecification, PointInTimeRecoveryStatus,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use aws_smithy_types::error::operation::BuildError;
use futures_util::future::try_join4;
use infra_cdk::Kind;
use infra_engine::{Class, CloudError, Desired, Live, Ownership, Properties, Target};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use self::table::{attribute_definitions, items, key_schema, projection, shape, tag_list};
use crate::error::{found, gone, is_already_there, refused};
use crate::iam::ours;
use crate::shape::{
    Tags, as_desired, changed_tags, declared_tags, differs, name_of, ownership, required, text, unrecorded,
};
use crate::throttle::Service;
use crate::{Connection, Session};

const POLL_FIRST: Duration = Duration::from_millis(200);
const POLL_LAST: Duration = Duration::from_millis(500);
/// As long as AWS's own waiter waits (`table-exists`: 25 times 20 seconds).
const SETTLED_WITHIN: Duration = Duration::from_secs(500);

/// Reads a table.
pub(crate) async fn observe(session: &Session, target: &Target) -> Result<Option<Live>, CloudError> {
    let Some(name) = name_of(target, "TableName") else {
        return Ok(None);
    };
    // What is recorded is there, unless somebody has deleted it: all is asked at once. Anything else is looked for first.
    let is_recorded = target.physical_id.is_some();
    let located = match is_recorded {
        true => None,
        false => match describe(session, name).await? {
            None => return Ok(None),
            table => table,
        },
    };
    let table = async {
        match located {
            None => describe(session, name).await,
            table => Ok(table),
        }
    };
    let tags = async {
        match target.physical_id {
            Some(_) => Ok(None),
            None => tags(session, name).await.map(Some),
        }
    };
    let recovery = async {
        match target.properties.get("PointInTimeRecoverySpecification") {
            Some(_) => recovery(session, name).await,
            None => Ok(None),
        }
    };
    let (table, expiry, recovery, tags) = try_join4(table, expiry(session, name), recovery, tags).await?;
    let Some(table) = table else {
        return Ok(None);
    };
    let mut shape = shape(&table);
    shape
        .set("TimeToLiveSpecification", expiry)
        .set("PointInTimeRecoverySpecification", recovery)
        .set_tags(tags.as_ref(), target);
    Ok(Some(Live {
        physical_id: name.to_owned(),
        attributes: session.computed_attributes(target.kind, &shape.0),
        properties: shape.0,
        ownership: tags.map_or(Ownership::Ours, |tags| ownership(&tags, &target.stack, &target.id)),
    }))
}

/// Creates a table and waits until it is active, or brings what can be changed up to date.
pub(crate) async fn reconcile(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let name = required(desired, "TableName")?;
    let live = match live {
        Some(live) => live.clone(),
        None => match create(session, desired).await {
            Ok(()) => {
                // It has everything that `CreateTable` sets, and nothing else.
                let mut live = as_desired(desired, name, Default::default());
                live.properties.remove("TimeToLiveSpecification");
                live.properties.remove("PointInTimeRecoverySpecification");
                live
            }
            Err(error) if is_already_there(&error) => {
                settled(session, name).await?;
                ours(error, observe(session, &unrecorded(desired)).await?)?
            }
            Err(error) => return Err(error),
        },
    };
    sync_billing(session, desired, &live).await?;
    sync_indexes(session, desired, &live).await?;
    sync_expiry(session, desired, &live).await?;
    sync_recovery(session, desired, &live).await?;
    if let Some(tags) = changed_tags(desired, &live) {
        let call = session
            .dynamodb()
            .tag_resource()
            .resource_arn(session.arn(Kind::Table, name)?)
            .set_tags(Some(tag_list(&tags)?));
        session
            .sdk(Service::DynamoDb, "dynamodb:TagResource", call.send())
            .await?;
    }
    let attributes = session.computed_attributes(desired.kind, &desired.properties);
    Ok(as_desired(desired, name, attributes))
}

/// Deletes a table and waits until it is gone, so that its name is free again.
pub(crate) async fn delete(session: &Session, name: &str) -> Result<(), CloudError> {
    let call = session.dynamodb().delete_table().table_name(name);
    let answer = session
        .sdk(Service::DynamoDb, "dynamodb:DeleteTable", call.send())
        .await;
    if let Err(error) = &answer
        && error.code == "ResourceInUseException"
        && matches!(describe(session, name).await?, Some(table) if table.table_status() == Some(&TableStatus::Deleting))
    {
        // An earlier attempt has begun it.
    } else {
        gone(answer)?;
    }
    poll(session, name, Until::Gone).await
}

/// Waits until a table and all its indexes are active.
pub(crate) async fn settled(session: &Connection, name: &str) -> Result<(), CloudError> {
    poll(session, name, Until::Active).await
}

/// What to wait for.
#[derive(Clone, Copy, Debug)]
enum Until {
    Active,
    Gone,
}

impl Until {
    fn holds(self, table: Option<&TableDescription>) -> bool {
        match (self, table) {
            (Self::Gone, table) => table.is_none(),
            // It may not be visible everywhere just after its creation.
            (Self::Active, None) => false,
            (Self::Active, Some(table)) => {
                let mut indexes = table.global_secondary_indexes().iter();
                table.table_status() == Some(&TableStatus::Active)
                    && indexes.all(|index| index.index_status() == Some(&IndexStatus::Active))
            }
        }
    }
}

async fn poll(session: &Connection, name: &str, until: Until) -> Result<(), CloudError> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    let mut pause = POLL_FIRST;
    while !until.holds(describe(session, name).await?.as_ref()) {
        if Instant::now() >= deadline {
            let state = match until {
                Until::Active => "is not active",
                Until::Gone => "is still there",
            };
            let message = format!("{name} {state} after {} s", SETTLED_WITHIN.as_secs());
            return Err(refused("dynamodb:DescribeTable", Class::Busy, message));
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(POLL_LAST);
    }
    Ok(())
}

async fn create(session: &Session, desired: &Desired) -> Result<(), CloudError> {
    let name = required(desired, "TableName")?;
    let indexes = items(&desired.properties, "GlobalSecondaryIndexes")
        .iter()
        .map(|index| {
            GlobalSecondaryIndex::builder()
                .set_index_name(index.get("IndexName").and_then(Json::as_str).map(str::to_owned))
                .set_key_schema(Some(key_schema(index)?))
                .projection(projection(index))
                .build()
                .map_err(incorrect)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let call = session
        .dynamodb()
        .create_table()
        .table_name(name)
        .set_billing_mode(text(&desired.properties, "BillingMode").map(BillingMode::from))
        .set_attribute_definitions(Some(attribute_definitions(desired)?))
        .set_key_schema(Some(key_schema(&Json::Object(desired.properties.clone()))?))
        .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
        .set_tags(Some(tag_list(&declared_tags(&desired.properties))?).filter(|tags| !tags.is_empty()));
    let answer = session
        .sdk(Service::DynamoDb, "dynamodb:CreateTable", call.send())
        .await?;
    match answer.table_description().and_then(TableDescription::table_status) {
        Some(TableStatus::Active) => Ok(()),
        Some(_) | None => settled(session, name).await,
    }
}

async fn sync_billing(session: &Session, desired: &Desired, live: &Live) -> Result<(), CloudError> {
    let (name, mode) = (
        required(desired, "TableName")?,
        text(&desired.properties, "BillingMode"),
    );
    let Some(mode) = mode.filter(|_| differs(desired, live, "BillingMode")) else {
        return Ok(());
    };
    let call = session
        .dynamodb()
        .update_table()
        .table_name(name)
        .billing_mode(BillingMode::from(mode));
    session
        .sdk(Service::DynamoDb, "dynamodb:UpdateTable", call.send())
        .await?;
    settled(session, name).await
}

/// Deletes and creates indexes, one by one. An index of the same name with other keys is both.
async fn sync_indexes(session: &Session, desired: &Desired, live: &Live) -> Result<(), CloudError> {
    let name = required(desired, "TableName")?;
    let (wanted, existing) = (
        items(&desired.properties, "GlobalSecondaryIndexes"),
        items(&live.properties, "GlobalSecondaryIndexes"),
    );
    for index in existing.iter().filter(|index| !wanted.contains(index)) {
        let action = DeleteGlobalSecondaryIndexAction::builder()
            .set_index_name(index.get("IndexName").and_then(Json::as_str).map(str::to_owned))
            .build()
            .map_err(incorrect)?;
        let update = GlobalSecondaryIndexUpdate::builder().delete(action).build();
        update_index(session, desired, name, update).await?;
    }
    for index in wanted.iter().filter(|index| !existing.contains(index)) {
        let action = CreateGlobalSecondaryIndexAction::builder()
            .set_index_name(index.get("IndexName").and_then(Json::as_str).map(str::to_owned))
            .set_key_schema(Some(key_schema(index)?))
            .projection(projection(index))
            .build()
            .map_err(incorrect)?;
        let update = GlobalSecondaryIndexUpdate::builder().create(action).build();
        update_index(session, desired, name, update).await?;
    }
    Ok(())
}

async fn update_index(
    session: &Session,
    desired: &Desired,
    name: &str,
    update: GlobalSecondaryIndexUpdate,
) -> Result<(), CloudError> {
    // Definitions are those of keys only; DynamoDB drops what no key uses and refuses what none will use.
    let definitions = update
        .create()
        .is_some()
        .then(|| attribute_definitions(desired))
        .transpose()?;
    let call = session
        .dynamodb()
        .update_table()
        .table_name(name)
        .set_attribute_definitions(definitions)
        .global_secondary_index_updates(update);
    session
        .sdk(Service::DynamoDb, "dynamodb:UpdateTable", call.send())
        .await?;
    settled(session, name).await
}

/// Switches expiry on or off. It works within an hour; nothing waits for it.
async fn sync_expiry(session: &Session, desired: &Desired, live: &Live) -> Result<(), CloudError> {
    const PROPERTY: &str = "TimeToLiveSpecification";
    if !differs(desired, live, PROPERTY) {
        return Ok(());
    }
    let attribute = |properties: &Properties| {
        let declared = properties.get(PROPERTY)?;
        let enabled = declared.get("Enabled").and_then(Json::as_bool) == Some(true);
        enabled.then(|| declared.get("AttributeName")?.as_str().map(str::to_owned))?
    };
    let (wanted, existing) = (attribute(&desired.properties), attribute(&live.properties));
    if wanted == existing {
        return Ok(());
    }
    let specification = TimeToLiveSpecification::builder()
        .enabled(wanted.is_some())
        .set_attribute_name(wanted.or(existing))
        .build()
        .map_err(incorrect)?;
    let call = session
        .dynamodb()
        .update_time_to_live()
        .table_name(required(desired, "TableName")?)
        .time_to_live_specification(specification);
    let answer = session
        .sdk(Service::DynamoDb, "dynamodb:UpdateTimeToLive", call.send())
        .await;
    match answer {
        // An earlier attempt's answer was lost.
        Err(error) if error.code == "ValidationException" && error.message.contains("already") => Ok(()),
        answer => answer.map(|_| ()),
    }
}

async fn sync_recovery(session: &Session, desired: &Desired, live: &Live) -> Result<(), CloudError> {
    const PROPERTY: &str = "PointInTimeRecoverySpecification";
    if !differs(desired, live, PROPERTY) {
        return Ok(());
    }
    let declared = desired.properties.get(PROPERTY);
    let enabled = declared
        .and_then(|declared| declared.get("PointInTimeRecoveryEnabled"))
        .and_then(Json::as_bool)
        .unwrap_or(false);
    let days = declared
        .and_then(|declared| declared.get("RecoveryPeriodInDays"))
        .and_then(Json::as_i64)
        .and_then(|days| days.try_into().ok());
    set_recovery(session, required(desired, "TableName")?, enabled, days).await
}

/// Switches point-in-time recovery on or off.
pub(crate) async fn set_recovery(
    session: &Connection,
    name: &str,
    enabled: bool,
    days: Option<i32>,
) -> Result<(), CloudError> {
    let specification = PointInTimeRecoverySpecification::builder()
        .point_in_time_recovery_enabled(enabled)
        .set_recovery_period_in_days(days.filter(|_| enabled))
        .build()
        .map_err(incorrect)?;
    let call = session
        .dynamodb()
        .update_continuous_backups()
        .table_name(name)
        .point_in_time_recovery_specification(specification);
    session
        .sdk(Service::DynamoDb, "dynamodb:UpdateContinuousBackups", call.send())
        .await
        .map(|_| ())
}

/// Returns a table, or `None` when there is none of the name.
pub(crate) async fn describe(session: &Connection, name: &str) -> Result<Option<TableDescription>, CloudError> {
    let call = session.dynamodb().describe_table().table_name(name);
    let answer = session
        .sdk(Service::DynamoDb, "dynamodb:DescribeTable", call.send())
        .await;
    Ok(found(answer)?.and_then(|answer| answer.table))
}

async fn expiry(session: &Session, name: &str) -> Result<Option<Json>, CloudError> {
    let call = session.dynamodb().describe_time_to_live().table_name(name);
    let answer = session
        .sdk(Service::DynamoDb, "dynamodb:DescribeTimeToLive", call.send())
        .await;
    let description = found(answer)?.and_then(|answer| answer.time_to_live_description);
    Ok(
        description.and_then(|description| match description.time_to_live_status()? {
            TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling => {
                Some(json!({"AttributeName": description.attribute_name()?, "Enabled": true}))
            }
            _ => None,
        }),
    )
}

async fn recovery(session: &Session, name: &str) -> Result<Option<Json>, CloudError> {
    let call = session.dynamodb().describe_continuous_backups().table_name(name);
    let answer = session
        .sdk(Service::DynamoDb, "dynamodb:DescribeContinuousBackups", call.send())
        .await;
    let description = found(answer)?
        .and_then(|answer| answer.continuous_backups_description)
        .and_then(|backups| backups.point_in_time_recovery_description);
    Ok(description.and_then(|description| {
        let enabled = description.point_in_time_recovery_status() == Some(&PointInTimeRecoveryStatus::Enabled);
        enabled.then(|| match description.recovery_period_in_days() {
            Some(days) => json!({"PointInTimeRecoveryEnabled": true, "RecoveryPeriodInDays": days}),
            None => json!({"PointInTimeRecoveryEnabled": true}),
        })
    }))
}

async fn tags(session: &Session, name: &str) -> Result<Tags, CloudError> {
    let arn = session.arn(Kind::Table, name)?;
    let mut tags = Tags::new();
    let mut next_token = None;
    loop {
        let call = session
            .dynamodb()
            .list_tags_of_resource()
            .resource_arn(&arn)
            .set_next_token(next_token);
        let page = session
            .sdk(Service::DynamoDb, "dynamodb:ListTagsOfResource", call.send())
            .await?;
        tags.extend(page.tags().iter().map(|tag| (tag.key.clone(), tag.value.clone())));
        next_token = page.next_token;
        if next_token.is_none() {
            return Ok(tags);
        }
    }
}

/// A declaration that the client itself refuses.
pub(crate) fn incorrect(error: BuildError) -> CloudError {
    refused("dynamodb", Class::Permanent, error.to_string())
}
