//! CloudWatch: alarms and dashboards, as declarations.
//!
//! Nothing is measured here, so no alarm is ever raised: each stays in the state that new ones have. What is put is
//! checked as AWS does, kept, described and deleted. The protocol is AWS JSON 1.0, which the AWS CLI and boto3 speak.
//!
//! Metrics that functions write into their logs stay there: `GetMetricData` is not implemented.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cloud::{Account, SharedCloud};
use crate::json;
use crate::persist::{Kept, Store};
use crate::wire::{ApiError, Request, Response, aws_json};

const NAME_MAX: usize = 255;
const PAGE_MAX: usize = 100;
const TAGS_MAX: usize = 50;
const DIMENSIONS_MAX: usize = 30;
const COMPARISONS: [&str; 4] = [
    "GreaterThanOrEqualToThreshold",
    "GreaterThanThreshold",
    "LessThanThreshold",
    "LessThanOrEqualToThreshold",
];
const STATISTICS: [&str; 5] = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"];
const MISSING: [&str; 4] = ["breaching", "notBreaching", "ignore", "missing"];

/// All alarms and dashboards.
#[derive(Debug, Default)]
pub(crate) struct CloudWatch {
    state: Kept<State>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    alarms: BTreeMap<String, Alarm>,
    /// Bodies by name, and when they were last put, in milliseconds since 1970.
    dashboards: BTreeMap<String, (String, i64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Alarm {
    #[serde(flatten)]
    put: PutMetricAlarm,
    tags: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    updated: i64,
}

impl CloudWatch {
    pub(crate) fn kept(&self) -> &dyn Store {
        &self.state
    }
}

/// Answers one call, for example `X-Amz-Target: GraniteServiceVersion20100801.PutMetricAlarm`.
pub(crate) async fn handle(cloud: &SharedCloud, request: Request) -> Response {
    match act(&cloud.cloudwatch, &cloud.account, &request) {
        Ok(output) => aws_json(&output),
        Err(error) => error.aws_json(),
    }
}

fn act(cloudwatch: &CloudWatch, account: &Account, request: &Request) -> Result<Value, ApiError> {
    let action = json::action(request);
    let mut state = cloudwatch.state.for_action(action);
    match action {
        "PutMetricAlarm" => put_alarm(&mut state, json::input(request)?),
        "DescribeAlarms" => describe_alarms(&state, account, &json::input(request)?),
        "DeleteAlarms" => delete_alarms(&mut state, &json::input(request)?),
        "PutDashboard" => put_dashboard(&mut state, json::input(request)?),
        "GetDashboard" => get_dashboard(&state, account, &json::input(request)?),
        "DeleteDashboards" => delete_dashboards(&mut state, &json::input(request)?),
        "ListDashboards" => list_dashboards(&state, account, &json::input(request)?),
        "TagResource" => tag(&mut state, account, json::input(request)?),
        "UntagResource" => untag(&mut state, account, &json::input(request)?),
        "ListTagsForResource" => list_tags(&mut state, account, &json::input(request)?),
        other => Err(json::unknown_action("monitoring", other)),
    }
}

/// Members are those of the call and of its answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutMetricAlarm {
    alarm_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm_description: Option<String>,
    #[serde(default = "yes")]
    actions_enabled: bool,
    #[serde(default, rename = "OKActions")]
    ok_actions: Vec<String>,
    #[serde(default)]
    alarm_actions: Vec<String>,
    #[serde(default)]
    insufficient_data_actions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extended_statistic: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u32>,
    evaluation_periods: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    datapoints_to_alarm: Option<u32>,
    threshold: f64,
    comparison_operator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    treat_missing_data: Option<String>,
    #[serde(default, skip_serializing)]
    tags: Vec<Tag>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dimension {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

fn yes() -> bool {
    true
}

fn put_alarm(state: &mut State, mut put: PutMetricAlarm) -> Result<Value, ApiError> {
    check_alarm(&put)?;
    let mut tags = BTreeMap::new();
    merge(&mut tags, std::mem::take(&mut put.tags))?;
    // Tags are taken from the first call only.
    if let Some(existing) = state.alarms.remove(&put.alarm_name) {
        tags = existing.tags;
    }
    let alarm = Alarm {
        tags,
        updated: now(),
        put,
    };
    state.alarms.insert(alarm.put.alarm_name.clone(), alarm);
    Ok(json!({}))
}

fn check_alarm(put: &PutMetricAlarm) -> Result<(), ApiError> {
    let one_of = |member: &str, value: Option<&str>, values: &[&str]| match value {
        Some(value) if !values.contains(&value) => Err(invalid(format!(
            "Value '{value}' at '{member}' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
            values.join(", ")
        ))),
        Some(_) | None => Ok(()),
    };
    if put.alarm_name.is_empty() || put.alarm_name.chars().count() > NAME_MAX {
        return Err(invalid(format!("alarmName must have 1 to {NAME_MAX} characters")));
    }
    one_of("comparisonOperator", Some(&put.comparison_operator), &COMPARISONS)?;
    one_of("statistic", put.statistic.as_deref(), &STATISTICS)?;
    one_of("treatMissingData", put.treat_missing_data.as_deref(), &MISSING)?;
    if put.metric_name.is_none() || put.namespace.is_none() {
        return Err(invalid(
            "the local cloud has alarms on one metric only: MetricName and Namespace are required",
        ));
    }
    if put.statistic.is_some() == put.extended_statistic.is_some() {
        return Err(invalid("exactly one of Statistic and ExtendedStatistic must be given"));
    }
    let period = put.period.unwrap_or_default();
    if !([10, 20, 30].contains(&period) || (period > 0 && period.is_multiple_of(60))) {
        return Err(invalid("Period must be 10, 20, 30, or a multiple of 60"));
    }
    let least = put.datapoints_to_alarm.unwrap_or(1);
    if put.evaluation_periods == 0 || least == 0 || least > put.evaluation_periods {
        return Err(invalid(
            "DatapointsToAlarm must be at least 1, and at most EvaluationPeriods",
        ));
    }
    if put.dimensions.len() > DIMENSIONS_MAX {
        return Err(invalid(format!("at most {DIMENSIONS_MAX} dimensions")));
    }
    let actions = put
        .alarm_actions
        .iter()
        .chain(&put.ok_actions)
        .chain(&put.insufficient_data_actions);
    if let Some(action) = actions.into_iter().find(|action| !action.starts_with("arn:")) {
        return Err(invalid(format!("Invalid arn syntax: {action}")));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeAlarms {
    alarm_names: Option<Vec<String>>,
    alarm_name_prefix: Option<String>,
    max_records: Option<usize>,
    next_token: Option<String>,
}

fn describe_alarms(state: &State, account: &Account, input: &DescribeAlarms) -> Result<Value, ApiError> {
    let names = input.alarm_names.as_deref();
    if names.is_some_and(|names| names.len() > PAGE_MAX) {
        return Err(invalid(format!("AlarmNames lists at most {PAGE_MAX} names")));
    }
    let size = input.max_records.unwrap_or(50);
    if !(1..=PAGE_MAX).contains(&size) {
        return Err(invalid(format!("MaxRecords must be between 1 and {PAGE_MAX}")));
    }
    let prefix = input.alarm_name_prefix.as_deref().unwrap_or_default();
    let after = input.next_token.as_deref().unwrap_or_default();
    let mut rest = state
        .alarms
        .iter()
        .filter(|(name, _)| names.is_none_or(|names| names.contains(name)))
        .filter(|(name, _)| name.starts_with(prefix) && (after.is_empty() || name.as_str() > after))
        .peekable();
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let mut answer = json!({ "CompositeAlarms": [], "MetricAlarms": [] });
    if let (Some(_), Some((last, _))) = (rest.peek(), page.last()) {
        answer["NextToken"] = json!(last);
    }
    answer["MetricAlarms"] = page.into_iter().map(|(_, alarm)| alarm.described(account)).collect();
    Ok(answer)
}

impl Alarm {
    fn described(&self, account: &Account) -> Value {
        let mut described = json!(self.put);
        let seconds = json!(self.updated as f64 / 1_000.0);
        described["AlarmArn"] = json!(account.arn("cloudwatch", &format!("alarm:{}", self.put.alarm_name)));
        described["AlarmConfigurationUpdatedTimestamp"] = seconds.clone();
        described["StateUpdatedTimestamp"] = seconds;
        described["StateValue"] = json!("INSUFFICIENT_DATA");
        described["StateReason"] = json!("Unchecked: Initial alarm creation");
        described
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AlarmNames {
    alarm_names: Vec<String>,
}

fn delete_alarms(state: &mut State, input: &AlarmNames) -> Result<Value, ApiError> {
    // Names that do not exist are no error, unless there is nothing else.
    let known = input
        .alarm_names
        .iter()
        .filter(|name| state.alarms.contains_key(*name))
        .count();
    if known == 0 {
        return Err(ApiError::new(404, "ResourceNotFound", "The alarms do not exist"));
    }
    state.alarms.retain(|name, _| !input.alarm_names.contains(name));
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutDashboard {
    dashboard_name: String,
    dashboard_body: String,
}

fn put_dashboard(state: &mut State, input: PutDashboard) -> Result<Value, ApiError> {
    let name = &input.dashboard_name;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
        return Err(invalid(format!(
            "The value {name} for field DashboardName is not valid"
        )));
    }
    let refused = |message: &str| Err(ApiError::new(400, "InvalidParameterInput", message));
    let Ok(body) = serde_json::from_str::<Value>(&input.dashboard_body) else {
        return refused("The dashboard body is not valid JSON");
    };
    let Some(widgets) = body.get("widgets").and_then(Value::as_array) else {
        return refused("The dashboard body has no widgets");
    };
    for widget in widgets {
        let kind = widget.get("type").and_then(Value::as_str).unwrap_or_default();
        let properties = widget.get("properties");
        let member = match kind {
            "metric" => "metrics",
            "alarm" => "alarms",
            "text" => "markdown",
            "log" => "query",
            "explorer" => "metrics",
            _ => return refused("A widget has an unknown type"),
        };
        if properties.is_none_or(|properties| properties.get(member).is_none()) {
            return refused(&format!("A widget of type {kind} has no {member}"));
        }
        if widget
            .get("width")
            .and_then(Value::as_u64)
            .is_some_and(|width| width > 24)
        {
            return refused("A widget is at most 24 units wide");
        }
    }
    state
        .dashboards
        .insert(input.dashboard_name, (input.dashboard_body, now()));
    Ok(json!({ "DashboardValidationMessages": [] }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DashboardName {
    dashboard_name: String,
}

fn get_dashboard(state: &State, account: &Account, input: &DashboardName) -> Result<Value, ApiError> {
    let name = &input.dashboard_name;
    let (body, _) = state.dashboards.get(name).ok_or_else(|| no_dashboard(name))?;
    Ok(json!({ "DashboardArn": dashboard_arn(account, name), "DashboardBody": body, "DashboardName": name }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DashboardNames {
    dashboard_names: Vec<String>,
}

fn delete_dashboards(state: &mut State, input: &DashboardNames) -> Result<Value, ApiError> {
    let missing = input
        .dashboard_names
        .iter()
        .find(|name| !state.dashboards.contains_key(*name));
    if let Some(name) = missing {
        return Err(no_dashboard(name));
    }
    state.dashboards.retain(|name, _| !input.dashboard_names.contains(name));
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListDashboards {
    dashboard_name_prefix: Option<String>,
}

fn list_dashboards(state: &State, account: &Account, input: &ListDashboards) -> Result<Value, ApiError> {
    let prefix = input.dashboard_name_prefix.as_deref().unwrap_or_default();
    let dashboards = state.dashboards.iter().filter(|(name, _)| name.starts_with(prefix));
    let entries: Vec<Value> = dashboards
        .map(|(name, (body, updated))| {
            json!({
                "DashboardArn": dashboard_arn(account, name),
                "DashboardName": name,
                "LastModified": *updated as f64 / 1_000.0,
                "Size": body.len(),
            })
        })
        .collect();
    Ok(json!({ "DashboardEntries": entries }))
}

#[derive(Deserialize)]
struct TagResource {
    #[serde(rename = "ResourceARN")]
    arn: String,
    #[serde(default, rename = "Tags")]
    tags: Vec<Tag>,
    #[serde(default, rename = "TagKeys")]
    keys: Vec<String>,
}

fn tag(state: &mut State, account: &Account, input: TagResource) -> Result<Value, ApiError> {
    merge(tags_of(state, account, &input.arn)?, input.tags)?;
    Ok(json!({}))
}

fn untag(state: &mut State, account: &Account, input: &TagResource) -> Result<Value, ApiError> {
    tags_of(state, account, &input.arn)?.retain(|key, _| !input.keys.contains(key));
    Ok(json!({}))
}

fn list_tags(state: &mut State, account: &Account, input: &TagResource) -> Result<Value, ApiError> {
    let tags = tags_of(state, account, &input.arn)?.iter();
    let tags: Vec<Value> = tags.map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(json!({ "Tags": tags }))
}

fn tags_of<'a>(
    state: &'a mut State,
    account: &Account,
    arn: &str,
) -> Result<&'a mut BTreeMap<String, String>, ApiError> {
    let name = arn
        .strip_prefix(&account.arn("cloudwatch", "alarm:"))
        .unwrap_or_default();
    let alarm = state.alarms.get_mut(name);
    alarm
        .map(|alarm| &mut alarm.tags)
        .ok_or_else(|| ApiError::new(404, "ResourceNotFoundException", format!("{arn} does not exist")))
}

fn merge(tags: &mut BTreeMap<String, String>, sent: Vec<Tag>) -> Result<(), ApiError> {
    for Tag { key, value } in sent {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 || key.starts_with("aws:") {
            return Err(invalid(format!(
                "the tag '{key}' must have a key of 1 to 128 characters that does not begin with aws:, and a value of up to 256"
            )));
        }
        tags.insert(key, value);
    }
    match tags.len() > TAGS_MAX {
        true => Err(invalid(format!("an alarm may have at most {TAGS_MAX} tags"))),
        false => Ok(()),
    }
}

/// Dashboards are not regional.
fn dashboard_arn(account: &Account, name: &str) -> String {
    format!("arn:{}:cloudwatch::{}:dashboard/{name}", Account::PARTITION, account.id)
}

fn no_dashboard(name: &str) -> ApiError {
    ApiError::new(404, "ResourceNotFound", format!("Dashboard {name} does not exist"))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ValidationError", message)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    fn call(cloudwatch: &CloudWatch, action: &str, input: Value) -> Result<Value, String> {
        let account = Account {
            id: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let target = HeaderValue::from_str(&format!("GraniteServiceVersion20100801.{action}")).unwrap();
        let request = Request {
            method: Method::POST,
            uri: "/".parse().unwrap(),
            headers: HeaderMap::from_iter([("x-amz-target".parse().unwrap(), target)]),
            body: Bytes::from(input.to_string()),
            access_key: None,
        };
        act(cloudwatch, &account, &request).map_err(|error| error.code)
    }

    fn alarm(change: impl FnOnce(&mut Value)) -> Value {
        let mut alarm = json!({
            "AlarmName": "a", "Namespace": "AWS/Lambda", "MetricName": "Errors", "Statistic": "Sum", "Period": 300,
            "EvaluationPeriods": 1, "Threshold": 3, "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "Dimensions": [{"Name": "FunctionName", "Value": "f"}], "Tags": [{"Key": "k", "Value": "1"}],
        });
        change(&mut alarm);
        alarm
    }

    #[test]
    fn an_alarm_is_put_described_and_deleted() {
        let cloudwatch = CloudWatch::default();
        call(&cloudwatch, "PutMetricAlarm", alarm(|_| {})).unwrap();
        let changed = alarm(|alarm| {
            alarm["Threshold"] = json!(5);
            alarm["Tags"] = json!([{"Key": "k", "Value": "2"}]);
        });
        call(&cloudwatch, "PutMetricAlarm", changed).unwrap();
        let described = call(&cloudwatch, "DescribeAlarms", json!({"AlarmNames": ["a", "b"]})).unwrap();
        let found = &described["MetricAlarms"][0];
        assert_eq!((&found["Threshold"], &found["Period"]), (&json!(5.0), &json!(300)));
        assert_eq!(found["StateValue"], "INSUFFICIENT_DATA");
        let arn = &found["AlarmArn"];
        assert_eq!(arn, "arn:aws:cloudwatch:us-east-1:000000000000:alarm:a");
        let tags = call(&cloudwatch, "ListTagsForResource", json!({"ResourceARN": arn})).unwrap();
        assert_eq!(
            tags,
            json!({"Tags": [{"Key": "k", "Value": "1"}]}),
            "tags are those of the first call"
        );
        call(&cloudwatch, "DeleteAlarms", json!({"AlarmNames": ["a"]})).unwrap();
        assert_eq!(
            call(&cloudwatch, "DeleteAlarms", json!({"AlarmNames": ["a"]})),
            Err("ResourceNotFound".to_owned())
        );
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        let cloudwatch = CloudWatch::default();
        for wrong in [
            alarm(|alarm| alarm["Period"] = json!(45)),
            alarm(|alarm| alarm["ExtendedStatistic"] = json!("p99")),
            alarm(|alarm| alarm["ComparisonOperator"] = json!(">=")),
            alarm(|alarm| alarm["DatapointsToAlarm"] = json!(2)),
            alarm(|alarm| alarm["AlarmActions"] = json!(["topic"])),
            alarm(|alarm| alarm["TreatMissingData"] = json!("never")),
        ] {
            let refused = call(&cloudwatch, "PutMetricAlarm", wrong.clone());
            assert_eq!(refused, Err("ValidationError".to_owned()), "{wrong}");
        }
        for body in [
            "{",
            "{}",
            r#"{"widgets":[{"type":"pie"}]}"#,
            r#"{"widgets":[{"type":"metric","properties":{}}]}"#,
        ] {
            let input = json!({"DashboardName": "d", "DashboardBody": body});
            let refused = call(&cloudwatch, "PutDashboard", input);
            assert_eq!(refused, Err("InvalidParameterInput".to_owned()), "{body}");
        }
    }

    #[test]
    fn alarms_are_listed_in_pages() {
        let cloudwatch = CloudWatch::default();
        for name in ["a1", "a2", "b"] {
            call(
                &cloudwatch,
                "PutMetricAlarm",
                alarm(|alarm| alarm["AlarmName"] = json!(name)),
            )
            .unwrap();
        }
        let first = call(
            &cloudwatch,
            "DescribeAlarms",
            json!({"AlarmNamePrefix": "a", "MaxRecords": 1}),
        )
        .unwrap();
        let input = json!({"AlarmNamePrefix": "a", "MaxRecords": 1, "NextToken": first["NextToken"]});
        let second = call(&cloudwatch, "DescribeAlarms", input).unwrap();
        assert_eq!(second["MetricAlarms"][0]["AlarmName"], "a2");
        assert_eq!(second.get("NextToken"), None);
    }

    #[test]
    fn a_dashboard_is_kept_as_it_was_written() {
        let cloudwatch = CloudWatch::default();
        let body = r#"{ "widgets": [ ] }"#;
        call(
            &cloudwatch,
            "PutDashboard",
            json!({"DashboardName": "d", "DashboardBody": body}),
        )
        .unwrap();
        let got = call(&cloudwatch, "GetDashboard", json!({"DashboardName": "d"})).unwrap();
        assert_eq!(got["DashboardBody"], body);
        assert_eq!(got["DashboardArn"], "arn:aws:cloudwatch::000000000000:dashboard/d");
        call(&cloudwatch, "DeleteDashboards", json!({"DashboardNames": ["d"]})).unwrap();
        assert_eq!(
            call(&cloudwatch, "GetDashboard", json!({"DashboardName": "d"})),
            Err("ResourceNotFound".to_owned())
        );
    }
}
