//! DynamoDB tables.

use crate::iam::Statement;
use crate::stack::Draft;
use crate::{Function, Kind, LogicalId, Resource, Value};

/// A table to be added to a stack, billed per request.
#[derive(Clone, Debug)]
pub struct Table {
    partition_key: String,
    sort_key: Option<String>,
    expiry: Option<String>,
    indexes: Vec<(String, String, String)>,
}

impl Table {
    /// A table with a text partition key and no sort key.
    #[must_use]
    pub fn keyed_by(partition_key: &str) -> Self {
        Self {
            partition_key: partition_key.to_owned(),
            sort_key: None,
            expiry: None,
            indexes: Vec::new(),
        }
    }

    /// Adds a text sort key: items of one partition stand in its order.
    #[must_use]
    pub fn sorted_by(mut self, sort_key: &str) -> Self {
        self.sort_key = Some(sort_key.to_owned());
        self
    }

    /// Lets DynamoDB delete items some time after the moment in `attribute` (a number, seconds since 1970).
    ///
    /// It may take days: readers must filter (DynamoDB Developer Guide, "Time to Live").
    #[must_use]
    pub fn expiring_by(mut self, attribute: &str) -> Self {
        self.expiry = Some(attribute.to_owned());
        self
    }

    /// Adds a global secondary index with text keys and all attributes.
    #[must_use]
    pub fn index(mut self, name: &str, partition_key: &str, sort_key: &str) -> Self {
        self.indexes
            .push((name.to_owned(), partition_key.to_owned(), sort_key.to_owned()));
        self
    }

    pub(crate) fn add_to(self, draft: &Draft, id: &str) -> TableRef {
        let id = LogicalId::from_words(&[id]);
        let mut draft = draft.borrow_mut();
        let name = format!("{}-{}-{}", draft.id.app, draft.id.stage, id.as_str().to_lowercase());
        let keys: Vec<&String> = std::iter::once(&self.partition_key).chain(&self.sort_key).collect();
        let mut attributes: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        attributes.extend(
            self.indexes
                .iter()
                .flat_map(|(_, partition, sort)| [partition.as_str(), sort.as_str()]),
        );
        attributes.sort_unstable();
        attributes.dedup();
        let mut resource = Resource::new(Kind::Table)
            .with("TableName", name)
            .with("BillingMode", "PAY_PER_REQUEST")
            .with(
                "AttributeDefinitions",
                Value::list(attributes.iter().map(|attribute| {
                    Value::map([
                        ("AttributeName", Value::from(*attribute)),
                        ("AttributeType", "S".into()),
                    ])
                })),
            )
            .with("KeySchema", key_schema(&keys));
        if !self.indexes.is_empty() {
            let indexes = self.indexes.iter().map(|(name, partition, sort)| {
                Value::map([
                    ("IndexName", Value::from(name.as_str())),
                    ("KeySchema", key_schema(&[partition, sort])),
                    ("Projection", Value::map([("ProjectionType", "ALL")])),
                ])
            });
            resource = resource.with("GlobalSecondaryIndexes", Value::list(indexes));
        }
        if let Some(attribute) = &self.expiry {
            let specification = Value::map([
                ("AttributeName", Value::from(attribute.as_str())),
                ("Enabled", true.into()),
            ]);
            resource = resource.with("TimeToLiveSpecification", specification);
        }
        if let Some(days) = draft.stage.settings.point_in_time_recovery_days {
            if !(1..=35).contains(&days) {
                draft.invalid("pointInTimeRecoveryDays", format!("{days} is not between 1 and 35"));
            }
            let specification = Value::map([
                ("PointInTimeRecoveryEnabled", Value::from(true)),
                ("RecoveryPeriodInDays", days.into()),
            ]);
            resource = resource.with("PointInTimeRecoverySpecification", specification);
        }
        resource.removal_policy = draft.stage.settings.removal_policy;
        draft.add(id.clone(), resource);
        TableRef {
            id,
            has_indexes: !self.indexes.is_empty(),
        }
    }
}

/// A table in a stack.
#[derive(Clone, Debug)]
pub struct TableRef {
    id: LogicalId,
    has_indexes: bool,
}

impl TableRef {
    /// Returns the table's name.
    #[must_use]
    pub fn name(&self) -> Value {
        Value::Attribute {
            of: self.id.clone(),
            name: "TableName",
        }
    }

    /// Returns the table's ARN.
    #[must_use]
    pub fn arn(&self) -> Value {
        Value::Attribute {
            of: self.id.clone(),
            name: "Arn",
        }
    }

    /// Lets a function put items.
    pub fn grant_put(&self, function: &Function) {
        function.allow(Statement::allow(
            format!("Put{}", self.id),
            ["dynamodb:PutItem"],
            [self.arn()],
        ));
    }

    /// Lets a function delete items.
    pub fn grant_delete(&self, function: &Function) {
        function.allow(Statement::allow(
            format!("Delete{}", self.id),
            ["dynamodb:DeleteItem"],
            [self.arn()],
        ));
    }

    /// Lets a function update single items.
    pub fn grant_update(&self, function: &Function) {
        function.allow(Statement::allow(
            format!("Update{}", self.id),
            ["dynamodb:UpdateItem"],
            [self.arn()],
        ));
    }

    /// Lets a function get single items.
    pub fn grant_get(&self, function: &Function) {
        function.allow(Statement::allow(
            format!("Get{}", self.id),
            ["dynamodb:GetItem"],
            [self.arn()],
        ));
    }

    /// Lets a function query the table's indexes, or the table itself when it has none. There is no grant for `Scan`.
    pub fn grant_query(&self, function: &Function) {
        let resource = if self.has_indexes {
            Value::Join(vec![self.arn(), "/index/*".into()])
        } else {
            self.arn()
        };
        function.allow(Statement::allow(
            format!("Query{}", self.id),
            ["dynamodb:Query"],
            [resource],
        ));
    }
}

impl From<&TableRef> for Value {
    /// A table stands for its name.
    fn from(table: &TableRef) -> Self {
        table.name()
    }
}

fn key_schema(keys: &[&String]) -> Value {
    Value::list(keys.iter().zip(["HASH", "RANGE"]).map(|(attribute, key_type)| {
        Value::map([
            ("AttributeName", Value::from(attribute.as_str())),
            ("KeyType", key_type.into()),
        ])
    }))
}
