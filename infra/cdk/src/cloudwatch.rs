//! CloudWatch: metrics, alarms on them, and a dashboard.
//!
//! Names and ARNs are computed, so that alarms and dashboards are made beside everything else; only what shows an API
//! waits for its id. Each alarm costs $0.10 a month, each dashboard $3 (<https://aws.amazon.com/cloudwatch/pricing/>).

use std::collections::BTreeMap;

use crate::stack::Draft;
use crate::{Kind, LogicalId, Resource, Value, physical_name};

/// Longest names of alarms and dashboards (CloudWatch API Reference, `PutMetricAlarm` and `PutDashboard`).
const NAME_LENGTH_MAX: usize = 255;

/// Where each widget stands: two beside each other on a dashboard that is 24 units wide.
const WIDGET_WIDTH: u32 = 12;
const WIDGET_HEIGHT: u32 = 6;

/// One metric, and how its data points are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    namespace: String,
    name: String,
    dimensions: BTreeMap<String, Value>,
    statistic: String,
}

impl Metric {
    /// Names a metric, for example `Errors` of `AWS/Lambda`. Its data points are added up.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions: BTreeMap::new(),
            statistic: "Sum".to_owned(),
        }
    }

    /// Says of what: metrics with other dimensions are other metrics.
    #[must_use]
    pub fn dimension(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.dimensions.insert(name.to_owned(), value.into());
        self
    }

    /// Puts data points together otherwise: `Average`, `Maximum`, or a percentile such as `p99`.
    #[must_use]
    pub fn statistic(mut self, statistic: &str) -> Self {
        statistic.clone_into(&mut self.statistic);
        self
    }

    /// Returns the metric as dashboards name it: `[namespace, name, dimension, value, …, {"stat": …}]`.
    fn of_widget(&self) -> Value {
        let dimensions = self.dimensions.iter();
        let mut parts = vec![Value::from(self.namespace.as_str()), self.name.as_str().into()];
        parts.extend(dimensions.flat_map(|(name, value)| [name.as_str().into(), value.clone()]));
        parts.push(Value::map([("stat", self.statistic.as_str())]));
        Value::List(parts)
    }
}

/// A rule by which somebody is told. Without data there is no alarm.
#[derive(Clone, Debug)]
pub struct Alarm {
    metric: Metric,
    at_least: u32,
    period_seconds: u32,
    evaluation_periods: u32,
    datapoints_to_alarm: u32,
    description: String,
    actions: Vec<String>,
}

impl Alarm {
    /// Raises an alarm when the metric reaches a value within five minutes.
    #[must_use]
    pub fn new(metric: Metric, at_least: u32) -> Self {
        Self {
            metric,
            at_least,
            period_seconds: 300,
            evaluation_periods: 1,
            datapoints_to_alarm: 1,
            description: String::new(),
            actions: Vec::new(),
        }
    }

    /// Looks at periods of another length, in seconds: 10, 30, or a multiple of 60.
    #[must_use]
    pub fn period_seconds(mut self, seconds: u32) -> Self {
        self.period_seconds = seconds;
        self
    }

    /// Raises the alarm only when `datapoints` of the last `periods` periods reach the value.
    #[must_use]
    pub fn datapoints(mut self, datapoints: u32, periods: u32) -> Self {
        (self.datapoints_to_alarm, self.evaluation_periods) = (datapoints, periods);
        self
    }

    /// Says what it means, and what to do: whoever is told reads this.
    #[must_use]
    pub fn description(mut self, text: &str) -> Self {
        text.clone_into(&mut self.description);
        self
    }

    /// Tells an SNS topic, or whatever else has one of these ARNs, when the alarm begins and when it ends.
    #[must_use]
    pub fn notify(mut self, arns: impl IntoIterator<Item = String>) -> Self {
        self.actions.extend(arns);
        self
    }

    pub(crate) fn add_to(self, draft: &Draft, id: &str) -> AlarmRef {
        let id = LogicalId::from_words(&[id]);
        let mut draft = draft.borrow_mut();
        let name = physical_name(&[&draft.id.app, &draft.id.stage, id.as_str()], NAME_LENGTH_MAX);
        let dimensions = self.metric.dimensions.into_iter();
        let dimensions = dimensions.map(|(name, value)| Value::map([("Name", Value::from(name)), ("Value", value)]));
        let is_percentile = self.metric.statistic.starts_with('p');
        let mut resource = Resource::new(Kind::Alarm)
            .with("AlarmName", name)
            .with("Namespace", self.metric.namespace)
            .with("MetricName", self.metric.name)
            .with("Dimensions", Value::List(dimensions.collect()))
            .with(
                if is_percentile {
                    "ExtendedStatistic"
                } else {
                    "Statistic"
                },
                self.metric.statistic,
            )
            .with("Period", self.period_seconds)
            .with("EvaluationPeriods", self.evaluation_periods)
            .with("DatapointsToAlarm", self.datapoints_to_alarm)
            .with("Threshold", self.at_least)
            .with("ComparisonOperator", "GreaterThanOrEqualToThreshold")
            .with("TreatMissingData", "notBreaching");
        if !self.description.is_empty() {
            resource = resource.with("AlarmDescription", self.description);
        }
        if !self.actions.is_empty() {
            resource = resource
                .with("AlarmActions", self.actions.clone())
                .with("OKActions", self.actions);
        }
        draft.add(id.clone(), resource);
        AlarmRef { id }
    }
}

/// An alarm in a stack.
#[derive(Clone, Debug)]
pub struct AlarmRef {
    id: LogicalId,
}

impl AlarmRef {
    /// Returns the alarm's ARN.
    #[must_use]
    pub fn arn(&self) -> Value {
        Value::Attribute {
            of: self.id.clone(),
            name: "Arn",
        }
    }
}

/// A page of graphs in the CloudWatch console.
#[derive(Clone, Debug, Default)]
pub struct Dashboard {
    widgets: Vec<(&'static str, BTreeMap<String, Value>)>,
}

impl Dashboard {
    /// Returns an empty page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a graph. Widgets stand in twos, in the order in which they are added.
    #[must_use]
    pub fn graph(mut self, title: &str, metrics: impl IntoIterator<Item = Metric>) -> Self {
        let metrics = metrics.into_iter().map(|metric| metric.of_widget()).collect();
        let properties = [
            ("title", Value::from(title)),
            ("region", Value::Region),
            ("view", "timeSeries".into()),
            ("period", 60.into()),
            ("metrics", Value::List(metrics)),
        ];
        self.widgets.push(("metric", owned(properties)));
        self
    }

    /// Adds the states of alarms.
    #[must_use]
    pub fn alarms<'a>(mut self, title: &str, alarms: impl IntoIterator<Item = &'a AlarmRef>) -> Self {
        let arns: Vec<_> = alarms.into_iter().map(AlarmRef::arn).collect();
        self.widgets
            .push(("alarm", owned([("title", title.into()), ("alarms", Value::List(arns))])));
        self
    }

    pub(crate) fn add_to(self, draft: &Draft, id: &str) {
        let id = LogicalId::from_words(&[id]);
        let mut draft = draft.borrow_mut();
        // Dashboards are not regional, and carry no tags everywhere: the first line of the text says whose this one is.
        let parts = [&draft.id.app, &draft.id.stage, id.as_str(), &draft.stage.region];
        let name = physical_name(&parts, NAME_LENGTH_MAX);
        let mark = format!("stackwright {}/{id}", draft.id);
        let mut widgets = vec![widget(0, 0, 24, 1, "text", owned([("markdown", mark.into())]))];
        for (index, (kind, properties)) in (0..).zip(self.widgets) {
            let (x, y) = (index % 2 * WIDGET_WIDTH, 1 + index / 2 * WIDGET_HEIGHT);
            widgets.push(widget(x, y, WIDGET_WIDTH, WIDGET_HEIGHT, kind, properties));
        }
        let body = Value::map([("widgets", Value::List(widgets))]);
        let resource = Resource::new(Kind::Dashboard)
            .with("DashboardName", name)
            .with("DashboardBody", body.into_json_text());
        draft.add(id, resource);
    }
}

fn widget(x: u32, y: u32, width: u32, height: u32, kind: &str, properties: BTreeMap<String, Value>) -> Value {
    Value::map([
        ("type", Value::from(kind)),
        ("x", x.into()),
        ("y", y.into()),
        ("width", width.into()),
        ("height", height.into()),
        ("properties", Value::Map(properties)),
    ])
}

fn owned<const N: usize>(entries: [(&str, Value); N]) -> BTreeMap<String, Value> {
    entries.map(|(name, value)| (name.to_owned(), value)).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::{Context, Graph, Settings, Stack, Stage};

    fn graph(declare: impl FnOnce(&mut Stack)) -> Graph {
        let stage = Stage {
            name: "dev".into(),
            region: "us-east-1".into(),
            settings: Settings::default(),
        };
        let mut stack = Stack::new("chat", &stage);
        declare(&mut stack);
        stack.build().unwrap()
    }

    fn resolved(graph: &Graph, id: &str, property: &str) -> Json {
        let context = Context {
            partition: "aws".into(),
            region: "us-east-1".into(),
            account: "123456789012".into(),
        };
        let id: LogicalId = id.parse().unwrap();
        let value = &graph.resources()[&id].properties[property];
        value
            .resolve(&context, &|of, name| Some(format!("{of}.{name}")), &|_| None)
            .unwrap()
    }

    #[test]
    fn an_alarm_is_as_cloudformation_has_it_and_waits_for_nothing() {
        let graph = graph(|stack| {
            let function = stack.function("connect");
            let alarm = Alarm::new(function.metric("Errors"), 3).notify(["arn:aws:sns:us-east-1:1:ops".to_owned()]);
            stack.alarm("ConnectErrors", alarm);
        });
        let id = "ConnectErrors".parse().unwrap();
        assert!(graph.dependencies(&id).is_empty());
        assert_eq!(resolved(&graph, "ConnectErrors", "AlarmName"), "chat-dev-ConnectErrors");
        assert_eq!(
            resolved(&graph, "ConnectErrors", "Dimensions"),
            json!([{"Name": "FunctionName", "Value": "ConnectFunction.FunctionName"}])
        );
        let properties = &graph.resources()[&id].properties;
        assert_eq!(properties["Statistic"], "Sum".into());
        assert_eq!(properties["OKActions"], properties["AlarmActions"]);
    }

    #[test]
    fn a_percentile_is_an_extended_statistic() {
        let graph = graph(|stack| {
            stack.alarm(
                "Slow",
                Alarm::new(Metric::new("chat", "FanOutDuration").statistic("p99"), 5_000),
            );
        });
        let properties = &graph.resources()[&"Slow".parse().unwrap()].properties;
        assert_eq!(properties["ExtendedStatistic"], "p99".into());
        assert!(!properties.contains_key("Statistic"));
    }

    #[test]
    fn a_dashboard_is_json_with_references_in_it() {
        let graph = graph(|stack| {
            let function = stack.function("connect");
            let api = stack.web_socket_api("Chat").route("$connect", &function);
            let alarm = stack.alarm("Errors", Alarm::new(function.metric("Errors"), 1));
            let dashboard = Dashboard::new()
                .graph("\"Coming\" \\ going", [api.metric("ConnectCount")])
                .alarms("Alarms", [&alarm]);
            stack.dashboard("Dashboard", dashboard);
        });
        let body = resolved(&graph, "Dashboard", "DashboardBody");
        let body: Json = serde_json::from_str(body.as_str().unwrap()).unwrap();
        let widgets = body["widgets"].as_array().unwrap();
        assert_eq!(widgets[0]["properties"]["markdown"], "stackwright chat/dev/Dashboard");
        assert_eq!(widgets[1]["properties"]["title"], "\"Coming\" \\ going");
        assert_eq!(
            widgets[1]["properties"]["metrics"][0],
            json!(["AWS/ApiGateway", "ConnectCount", "ApiId", "ChatApi.ApiId", "Stage", "dev", {"stat": "Sum"}])
        );
        assert_eq!(widgets[2]["properties"]["alarms"], json!(["Errors.Arn"]));
        assert_eq!((&widgets[2]["x"], &widgets[2]["y"]), (&json!(12), &json!(1)));
        assert_eq!(
            resolved(&graph, "Dashboard", "DashboardName"),
            "chat-dev-Dashboard-us-east-1"
        );
    }
}
