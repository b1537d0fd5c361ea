//! Tables and their parts in CloudFormation's shapes and in the client's types.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, IndexStatus, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TableDescription, Tag,
};
use infra_engine::{CloudError, Desired, Properties};
use serde_json::{Value as Json, json};

use super::incorrect;
use crate::shape::{Shape, Tags, incomplete};

/// Returns what is live of a table, but for expiry, recovery and tags: they have calls of their own.
pub(super) fn shape(table: &TableDescription) -> Shape {
    let definitions: Json = table
        .attribute_definitions()
        .iter()
        .map(|definition| {
            json!({"AttributeName": definition.attribute_name, "AttributeType": definition.attribute_type.as_str()})
        })
        .collect();
    let indexes: Json = table
        .global_secondary_indexes()
        .iter()
        .filter(|index| index.index_status() != Some(&IndexStatus::Deleting))
        .map(|index| {
            let mut inner = Shape::default();
            inner
                .set("IndexName", index.index_name())
                .set("KeySchema", Some(key_schema_shape(index.key_schema())));
            if let Some(projection) = index.projection() {
                let mut projected = Shape::default();
                let attributes = projection.non_key_attributes();
                projected
                    .set(
                        "ProjectionType",
                        projection.projection_type().map(ProjectionType::as_str),
                    )
                    .set("NonKeyAttributes", (!attributes.is_empty()).then(|| json!(attributes)));
                inner.set("Projection", Some(projected.0));
            }
            Json::Object(inner.0)
        })
        .collect();
    // Tables that were never switched have no summary and are provisioned.
    let billing_mode = table
        .billing_mode_summary()
        .and_then(|summary| summary.billing_mode())
        .map_or("PROVISIONED", BillingMode::as_str);
    let mut shape = Shape::default();
    shape
        .set("TableName", table.table_name())
        .set("BillingMode", Some(billing_mode))
        .set("AttributeDefinitions", Some(definitions))
        .set("KeySchema", Some(key_schema_shape(table.key_schema())));
    if indexes != json!([]) {
        shape.set("GlobalSecondaryIndexes", Some(indexes));
    }
    shape
}

fn key_schema_shape(keys: &[KeySchemaElement]) -> Json {
    keys.iter()
        .map(|key| json!({"AttributeName": key.attribute_name, "KeyType": key.key_type.as_str()}))
        .collect()
}

/// Returns the declared types of key attributes.
pub(super) fn attribute_definitions(desired: &Desired) -> Result<Vec<AttributeDefinition>, CloudError> {
    items(&desired.properties, "AttributeDefinitions")
        .iter()
        .map(|definition| {
            let part = |name: &str| definition.get(name)?.as_str();
            AttributeDefinition::builder()
                .set_attribute_name(part("AttributeName").map(str::to_owned))
                .set_attribute_type(part("AttributeType").map(ScalarAttributeType::from))
                .build()
                .map_err(|_| incomplete(desired, "AttributeDefinitions"))
        })
        .collect()
}

/// Returns the declared keys of a table or an index.
pub(super) fn key_schema(of: &Json) -> Result<Vec<KeySchemaElement>, CloudError> {
    let keys = of.get("KeySchema").and_then(Json::as_array);
    keys.into_iter()
        .flatten()
        .map(|key| {
            let part = |name: &str| key.get(name)?.as_str();
            KeySchemaElement::builder()
                .set_attribute_name(part("AttributeName").map(str::to_owned))
                .set_key_type(part("KeyType").map(KeyType::from))
                .build()
                .map_err(incorrect)
        })
        .collect()
}

/// Returns what an index is declared to hold.
pub(super) fn projection(index: &Json) -> Projection {
    let declared = index.get("Projection");
    let attributes = declared
        .and_then(|projection| projection.get("NonKeyAttributes"))
        .and_then(Json::as_array)
        .map(|list| list.iter().filter_map(Json::as_str).map(str::to_owned).collect());
    Projection::builder()
        .set_projection_type(
            declared
                .and_then(|projection| projection.get("ProjectionType"))
                .and_then(Json::as_str)
                .map(ProjectionType::from),
        )
        .set_non_key_attributes(attributes)
        .build()
}

/// Returns tags as DynamoDB takes them.
pub(super) fn tag_list(tags: &Tags) -> Result<Vec<Tag>, CloudError> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build().map_err(incorrect))
        .collect()
}

/// Returns a declared list.
pub(super) fn items<'a>(properties: &'a Properties, name: &str) -> &'a [Json] {
    properties.get(name).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use aws_sdk_dynamodb::types::{BillingModeSummary, GlobalSecondaryIndexDescription};

    use super::*;

    #[test]
    fn a_live_table_has_the_shape_of_a_declared_one() {
        let key = |name: &str, kind| {
            KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build()
                .unwrap()
        };
        let attribute = |name: &str| {
            let builder = AttributeDefinition::builder().attribute_name(name);
            builder.attribute_type(ScalarAttributeType::S).build().unwrap()
        };
        let index = |name: &str, status| {
            GlobalSecondaryIndexDescription::builder()
                .index_name(name)
                .index_status(status)
                .key_schema(key("room", KeyType::Hash))
                .projection(Projection::builder().projection_type(ProjectionType::All).build())
                .build()
        };
        let table = TableDescription::builder()
            .table_name("t")
            .billing_mode_summary(
                BillingModeSummary::builder()
                    .billing_mode(BillingMode::PayPerRequest)
                    .build(),
            )
            .attribute_definitions(attribute("id"))
            .attribute_definitions(attribute("room"))
            .key_schema(key("id", KeyType::Hash))
            .global_secondary_indexes(index("by-room", IndexStatus::Active))
            .global_secondary_indexes(index("going", IndexStatus::Deleting))
            .build();
        let expected = json!({
            "TableName": "t", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}, {"AttributeName": "room", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "GlobalSecondaryIndexes": [{"IndexName": "by-room", "KeySchema": [{"AttributeName": "room", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"}}],
        });
        assert_eq!(Json::Object(shape(&table).0), expected);
    }
}
