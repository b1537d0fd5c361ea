//! How a deployed stack is doing: figures of its functions, states of its alarms, rows of an index. Nothing is changed.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, Select};
use infra_engine::CloudError;
use serde_json::{Map, Value as Json, json};

use crate::Session;
use crate::cloudwatch::describe_alarms;
use crate::throttle::Service;

/// Most queries of one `GetMetricData` (CloudWatch API Reference).
const QUERIES_MAX: usize = 500;

/// What is asked of each function: a metric of `AWS/Lambda` and a statistic.
const FIGURES: [(&str, &str); 5] = [
    ("Invocations", "Sum"),
    ("Errors", "Sum"),
    ("Throttles", "Sum"),
    ("Duration", "p50"),
    ("Duration", "p99"),
];

/// Figures of a function over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// How often it was called.
    pub invocations: f64,
    /// How often it failed.
    pub errors: f64,
    /// How often it was not run because too many ran already.
    pub throttles: f64,
    /// Milliseconds of the median call; `None` where there was none.
    pub p50_ms: Option<f64>,
    /// Milliseconds within which all but one in a hundred ended.
    pub p99_ms: Option<f64>,
}

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmState {
    /// Its name.
    pub name: String,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: String,
    /// Why, in CloudWatch's words.
    pub reason: String,
}

/// Returns the figures of functions by their names, between two moments (seconds since 1970). CloudWatch sums up by the
/// hour: of two hours that the time touches, percentiles are those of the slower.
///
/// # Errors
/// When CloudWatch is not there, or may not be asked.
pub async fn figures(
    session: &Session,
    functions: &[&str],
    since_s: u64,
    until_s: u64,
) -> Result<BTreeMap<String, Figures>, CloudError> {
    let asked: Vec<(&str, (&str, &str))> = functions
        .iter()
        .flat_map(|function| FIGURES.map(|figure| (*function, figure)))
        .collect();
    let mut figures = BTreeMap::new();
    for chunk in asked.chunks(QUERIES_MAX) {
        let queries = chunk.iter().enumerate();
        let queries: Vec<Json> = queries
            .map(|(index, (name, figure))| query(index, name, *figure))
            .collect();
        let mut input = json!({"MetricDataQueries": queries, "StartTime": since_s, "EndTime": until_s});
        loop {
            let answer = session.cloudwatch("GetMetricData", &input).await?;
            for result in answer["MetricDataResults"].as_array().into_iter().flatten() {
                let index = result["Id"]
                    .as_str()
                    .and_then(|id| id.strip_prefix('q')?.parse::<usize>().ok());
                let Some((function, (metric, statistic))) = index.and_then(|index| chunk.get(index)) else {
                    continue;
                };
                let values = result["Values"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Json::as_f64);
                let of: &mut Figures = figures.entry((*function).to_owned()).or_default();
                for value in values {
                    of.add(metric, statistic, value);
                }
            }
            match answer.get("NextToken").filter(|token| token.is_string()) {
                Some(token) => input["NextToken"] = token.clone(),
                None => break,
            }
        }
    }
    Ok(figures)
}

fn query(index: usize, function: &str, (metric, statistic): (&str, &str)) -> Json {
    json!({
        "Id": format!("q{index}"),
        "ReturnData": true,
        "MetricStat": {
            "Period": 3_600,
            "Stat": statistic,
            "Metric": {
                "Namespace": "AWS/Lambda",
                "MetricName": metric,
                "Dimensions": [{"Name": "FunctionName", "Value": function}],
            },
        },
    })
}

impl Figures {
    fn add(&mut self, metric: &str, statistic: &str, value: f64) {
        let slower = |before: Option<f64>| Some(before.map_or(value, |before| before.max(value)));
        match (metric, statistic) {
            ("Invocations", _) => self.invocations += value,
            ("Errors", _) => self.errors += value,
            ("Throttles", _) => self.throttles += value,
            (_, "p50") => self.p50_ms = slower(self.p50_ms),
            (_, _) => self.p99_ms = slower(self.p99_ms),
        }
    }
}

/// Returns the states of alarms, in the order of their names; those that do not exist are absent.
///
/// # Errors
/// When CloudWatch is not there, or may not be asked.
pub async fn alarms(session: &Session, names: &[String]) -> Result<Vec<AlarmState>, CloudError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let alarms = describe_alarms(session, &names).await?;
    let text = |alarm: &Map<String, Json>, name: &str| {
        let value = alarm.get(name).and_then(Json::as_str);
        value.unwrap_or_default().to_owned()
    };
    let alarms = alarms.into_iter().map(|(name, alarm)| AlarmState {
        name,
        state: text(&alarm, "StateValue"),
        reason: text(&alarm, "StateReason"),
    });
    Ok(alarms.collect())
}

/// Which rows of an index are counted.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The table.
    pub table: &'a str,
    /// An index of it.
    pub index: &'a str,
    /// The index's hash key, a text, and its value.
    pub key: (&'a str, &'a str),
    /// An attribute with the second since 1970 after which a row does not count any more.
    pub expires: (&'a str, u64),
}

/// Counts rows by queries of an index.
///
/// # Errors
/// When it may not be read.
pub async fn count(session: &Session, rows: Rows<'_>) -> Result<u64, CloudError> {
    let mut count = 0;
    let mut start = None;
    loop {
        let call = session
            .dynamodb()
            .query()
            .table_name(rows.table)
            .index_name(rows.index)
            .select(Select::Count)
            .key_condition_expression("#key = :key")
            .filter_expression("#expires > :now")
            .expression_attribute_names("#key", rows.key.0)
            .expression_attribute_names("#expires", rows.expires.0)
            .expression_attribute_values(":key", AttributeValue::S(rows.key.1.to_owned()))
            .expression_attribute_values(":now", AttributeValue::N(rows.expires.1.to_string()))
            .set_exclusive_start_key(start);
        let page = session
            .sdk(Service::DynamoDbItems, "dynamodb:Query", call.send())
            .await?;
        count += u64::try_from(page.count()).unwrap_or(0);
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(count);
        }
    }
}
