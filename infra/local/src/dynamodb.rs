//! DynamoDB: an embedded library does the work; this module gives it our account's ARNs and what it lacks.
//!
//! The library speaks the whole wire protocol, with the service's own validation, only through its HTTP server. So that
//! server runs on a loopback port of its own, which nobody is told.
//!
//! Added here: ARNs of this account and region, continuous backups (the setting only), the refusal to enable
//! time to live twice, and the periodic deletion of expired items.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dynoxide::actions::describe_table::DescribeTableRequest;
use dynoxide::actions::describe_time_to_live::DescribeTimeToLiveRequest;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::cloud::{Account, SharedCloud};
use crate::json;
use crate::persist::{Kept, Store};
use crate::wire::{ApiError, Request, Response, respond};

/// What the library prints before the resource in every ARN.
const LIBRARY_ARN: &str = "arn:aws:dynamodb:dynoxide:000000000000:";
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";
/// AWS deletes expired items "within a few days"; readers must filter them anyway, so there is no need to hurry.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Days that a table can be restored to, where the caller does not say.
const DEFAULT_RECOVERY_DAYS: u64 = 35;

/// The embedded database.
pub(crate) struct DynamoDb {
    database: dynoxide::Database,
    server: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Point-in-time recovery of the tables that have it on, as days to go back.
    recovery: Kept<BTreeMap<String, u64>>,
    /// The server and the sweep; both end when this is dropped.
    _tasks: JoinSet<()>,
}

impl DynamoDb {
    /// Opens the database in memory, or in a file that survives.
    ///
    /// # Errors
    /// What the library or the operating system said, in words.
    pub(crate) async fn start(file: Option<&Path>) -> Result<Self, String> {
        let database = match file {
            None => dynoxide::Database::memory(),
            Some(file) => dynoxide::Database::new(&file.to_string_lossy()),
        }
        .map_err(|error| error.to_string())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|error| error.to_string())?;
        let server = listener.local_addr().map_err(|error| error.to_string())?;

        let mut tasks = JoinSet::new();
        let served = database.clone();
        tasks.spawn(async move {
            if let Err(error) = dynoxide::server::serve_with_shutdown(listener, served, std::future::pending()).await {
                tracing::error!(%error, "the embedded DynamoDB stopped");
            }
        });
        tasks.spawn(sweep(database.clone()));

        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Ok(Self {
            database,
            server,
            client: Client::builder(TokioExecutor::new()).build(connector),
            recovery: Kept::default(),
            _tasks: tasks,
        })
    }

    pub(crate) fn kept(&self) -> &dyn Store {
        &self.recovery
    }

    fn has_table(&self, table: &str) -> bool {
        let request = serde_json::from_value::<DescribeTableRequest>(json!({ "TableName": table }));
        request.is_ok_and(|request| self.database.describe_table(request).is_ok())
    }

    /// Refuses what the library lets pass: time to live that is already as asked.
    fn check_time_to_live(&self, request: &Request) -> Result<(), ApiError> {
        let Ok(input) = json::input::<UpdateTimeToLive>(request) else {
            return Ok(()); // The library finds better words for a malformed request.
        };
        let Ok(describe) =
            serde_json::from_value::<DescribeTimeToLiveRequest>(json!({ "TableName": input.table_name }))
        else {
            return Ok(());
        };
        let Ok(current) = self.database.describe_time_to_live(describe) else {
            return Ok(());
        };
        let current = current.time_to_live_description;
        let is_enabled = current.time_to_live_status == "ENABLED";
        let asked = input.time_to_live_specification;
        let message = match (is_enabled, asked.enabled) {
            (true, true) if current.attribute_name.as_deref() != Some(&asked.attribute_name) => format!(
                "TimeToLive is active on a different AttributeName: current AttributeName is {}",
                current.attribute_name.unwrap_or_default()
            ),
            (true, true) => "TimeToLive is already enabled".to_owned(),
            (false, false) => "TimeToLive is already disabled".to_owned(),
            (true, false) | (false, true) => return Ok(()),
        };
        Err(ApiError::new(400, "ValidationException", message))
    }

    /// Answers `UpdateContinuousBackups` and `DescribeContinuousBackups`.
    fn continuous_backups(&self, request: &Request, is_update: bool) -> Result<Value, ApiError> {
        let input = json::input::<ContinuousBackups>(request)?;
        let table = table_name(&input.table_name).to_owned();
        if !self.has_table(&table) {
            return Err(ApiError::new(
                400,
                "TableNotFoundException",
                format!("Table not found: {table}"),
            ));
        }
        let mut recovery = self.recovery.for_action(json::action(request));
        if is_update {
            let asked = input.point_in_time_recovery_specification.ok_or_else(|| {
                ApiError::new(
                    400,
                    "ValidationException",
                    "PointInTimeRecoverySpecification is required",
                )
            })?;
            let days = asked.recovery_period_in_days.unwrap_or(DEFAULT_RECOVERY_DAYS);
            if !(1..=DEFAULT_RECOVERY_DAYS).contains(&days) {
                return Err(ApiError::new(
                    400,
                    "ValidationException",
                    "RecoveryPeriodInDays must be between 1 and 35",
                ));
            }
            if asked.point_in_time_recovery_enabled {
                recovery.insert(table.clone(), days);
            } else {
                recovery.remove(&table);
            }
        }
        let description = recovery.get(&table).map_or_else(
            || json!({ "PointInTimeRecoveryStatus": "DISABLED" }),
            |days| {
                let now = jiff::Timestamp::now().as_second();
                json!({
                    "PointInTimeRecoveryStatus": "ENABLED",
                    "RecoveryPeriodInDays": days,
                    "EarliestRestorableDateTime": now,
                    "LatestRestorableDateTime": now,
                })
            },
        );
        Ok(json!({ "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": description,
        }}))
    }

    /// Hands a call to the library and returns its answer with our ARNs.
    async fn forward(&self, account: &Account, request: &Request) -> Result<(StatusCode, Bytes), ApiError> {
        let target = request.headers.get("x-amz-target").cloned();
        let our_arn = account.arn("dynamodb", "");
        let mut call = http::Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}/", self.server))
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            // The front has seen the caller's signature; the library only wants one that is complete.
            .header("x-amz-date", "20260101T000000Z")
            .header(
                header::AUTHORIZATION,
                "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
            );
        if let Some(target) = target {
            call = call.header("x-amz-target", target);
        }
        let body = replace(&request.body, &our_arn, LIBRARY_ARN);
        let call = call.body(Full::new(body)).map_err(internal)?;
        let answer = self.client.request(call).await.map_err(internal)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(internal)?.to_bytes();
        Ok((status, replace(&body, LIBRARY_ARN, &our_arn)))
    }
}

/// Answers one AWS JSON 1.0 call, for example `X-Amz-Target: DynamoDB_20120810.PutItem`.
pub(crate) async fn handle(cloud: &SharedCloud, request: Request) -> Response {
    match answer(cloud, &request).await {
        // The library's checksum (x-amz-crc32) is of its own body, so it is not passed on.
        Ok((status, body)) => respond(status.as_u16(), CONTENT_TYPE, body, &[]),
        Err(error) => error.aws_json(),
    }
}

async fn answer(cloud: &SharedCloud, request: &Request) -> Result<(StatusCode, Bytes), ApiError> {
    let action = json::action(request);
    let Ok(NamedTable {
        table_name: Some(table),
    }) = json::input(request)
    else {
        return act(cloud, request).await;
    };
    let table = table_name(&table);
    if let Some(body) = cloud.unkind.table_answer(action, table)? {
        return Ok((StatusCode::OK, Bytes::from(body.to_string())));
    }
    let (status, body) = act(cloud, request).await?;
    if status.is_success() {
        return Ok((status, cloud.unkind.table_answered(action, table, body)));
    }
    Ok((status, body))
}

async fn act(cloud: &SharedCloud, request: &Request) -> Result<(StatusCode, Bytes), ApiError> {
    let dynamodb = &cloud.dynamodb;
    let backups = |is_update| {
        let body = dynamodb.continuous_backups(request, is_update)?;
        Ok((StatusCode::OK, Bytes::from(body.to_string())))
    };
    match json::action(request) {
        "UpdateContinuousBackups" => backups(true),
        "DescribeContinuousBackups" => backups(false),
        "UpdateTimeToLive" => {
            dynamodb.check_time_to_live(request)?;
            dynamodb.forward(&cloud.account, request).await
        }
        "DeleteTable" => {
            let answer = dynamodb.forward(&cloud.account, request).await?;
            if answer.0.is_success()
                && let Ok(input) = json::input::<ContinuousBackups>(request)
            {
                dynamodb.recovery.write().remove(table_name(&input.table_name));
            }
            Ok(answer)
        }
        action => {
            let (status, body) = dynamodb.forward(&cloud.account, request).await?;
            if !status.is_success() && body.ends_with(b"#UnknownOperationException\"}") {
                return Err(json::unknown_action("dynamodb", action));
            }
            Ok((status, body))
        }
    }
}

async fn sweep(database: dynoxide::Database) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        let database = database.clone();
        match tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(deleted)) => tracing::debug!(deleted, "expired items deleted"),
            Ok(Err(error)) => tracing::warn!(%error, "expired items could not be deleted"),
            Err(_cancelled) => return,
        }
    }
}

/// Returns the name in a table's name or ARN.
fn table_name(name_or_arn: &str) -> &str {
    name_or_arn.split_once(":table/").map_or(name_or_arn, |(_, name)| name)
}

/// Replaces text in a body; the usual body has none of it and is not copied.
fn replace(body: &Bytes, from: &str, to: &str) -> Bytes {
    match std::str::from_utf8(body) {
        Ok(text) if text.contains(from) => Bytes::from(text.replace(from, to)),
        Ok(_) | Err(_) => body.clone(),
    }
}

fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        500,
        "InternalServerError",
        format!("the embedded DynamoDB did not answer: {error}"),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamedTable {
    table_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateTimeToLive {
    table_name: String,
    time_to_live_specification: TimeToLiveSpecification,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TimeToLiveSpecification {
    attribute_name: String,
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContinuousBackups {
    table_name: String,
    point_in_time_recovery_specification: Option<PointInTimeRecovery>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PointInTimeRecovery {
    point_in_time_recovery_enabled: bool,
    recovery_period_in_days: Option<u64>,
}
