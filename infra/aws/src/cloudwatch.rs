//! Alarms and dashboards.
//!
//! Both are written whole: creating and updating are the same call, and may be repeated. Read next: [`crate::iam`], whose
//! inline policies are alike.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use infra_cdk::{Kind, LogicalId};
use infra_engine::{CloudError, Desired, Live, Ownership, Properties, Target};
use serde_json::{Map, Value as Json, json};

use crate::Session;
use crate::error::{found, gone};
use crate::shape::{
    Shape, Tags, as_desired, changed_tags, declared_tags, differs, listed_tags, name_of, ownership, required, tag_list,
    text,
};

/// Most alarms that `DescribeAlarms` takes by name (CloudWatch API Reference).
const ALARMS_MAX: usize = 100;

/// The properties of an alarm that the API calls by the same names.
const ALARM_PROPERTIES: [&str; 14] = [
    "AlarmActions",
    "AlarmDescription",
    "ComparisonOperator",
    "DatapointsToAlarm",
    "Dimensions",
    "EvaluationPeriods",
    "ExtendedStatistic",
    "MetricName",
    "Namespace",
    "OKActions",
    "Period",
    "Statistic",
    "Threshold",
    "TreatMissingData",
];

/// Reads alarms, all with one call.
pub(crate) async fn observe_alarms(
    session: &Session,
    targets: &[&Target],
) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
    let named: Vec<(&Target, &str)> = targets
        .iter()
        .filter_map(|target| Some((*target, name_of(target, "AlarmName")?)))
        .collect();
    let names: Vec<&str> = named.iter().map(|(_, name)| *name).collect();
    let alarms = describe_alarms(session, &names).await?;
    let reads = named.into_iter().map(|(target, name)| {
        let alarm = alarms.get(name);
        async move {
            match alarm {
                Some(alarm) => live_alarm(session, target, name, alarm).await.map(Some),
                None => Ok(None),
            }
        }
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// Returns what CloudWatch says of alarms, by name; those that do not exist are absent.
pub(crate) async fn describe_alarms(
    session: &Session,
    names: &[&str],
) -> Result<BTreeMap<String, Map<String, Json>>, CloudError> {
    let answers = try_join_all(names.chunks(ALARMS_MAX).map(|names| async move {
        let input = json!({"AlarmNames": names, "AlarmTypes": ["MetricAlarm"], "MaxRecords": ALARMS_MAX});
        session.cloudwatch("DescribeAlarms", &input).await
    }));
    let answers = answers.await?;
    let alarms = answers
        .iter()
        .filter_map(|answer| answer.get("MetricAlarms")?.as_array());
    Ok(alarms
        .flatten()
        .filter_map(|alarm| Some((alarm.get("AlarmName")?.as_str()?.to_owned(), alarm.as_object()?.clone())))
        .collect())
}

async fn live_alarm(
    session: &Session,
    target: &Target,
    name: &str,
    alarm: &Map<String, Json>,
) -> Result<(LogicalId, Live), CloudError> {
    let tags = match target.physical_id {
        Some(_) => None,
        None => Some(tags(session, name).await?),
    };
    let mut shape = Shape::default();
    shape.set("AlarmName", Some(name)).set_tags(tags.as_ref(), target);
    for property in ALARM_PROPERTIES {
        shape.set(property, alarm.get(property).and_then(declared));
    }
    let live = Live {
        physical_id: name.to_owned(),
        attributes: session.computed_attributes(Kind::Alarm, &shape.0),
        properties: shape.0,
        ownership: tags.map_or(Ownership::Ours, |tags| ownership(&tags, &target.stack, &target.id)),
    };
    Ok((target.id.clone(), live))
}

/// Returns a value as it would be declared: thresholds are answered as fractions, and what is not set as nothing.
fn declared(value: &Json) -> Option<Json> {
    match value {
        Json::Null => None,
        Json::Array(items) if items.is_empty() => None,
        Json::Number(number) => Some(match number.as_f64() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "checked: equal to its rounding and small"
            )]
            Some(fraction) if fraction.fract() == 0.0 && fraction.abs() < 1e15 => json!(fraction as i64),
            Some(_) | None => value.clone(),
        }),
        Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => Some(value.clone()),
    }
}

/// Writes an alarm, unless it is already as it should be. Its state stays; tags are only taken from the first call.
pub(crate) async fn reconcile_alarm(
    session: &Session,
    desired: &Desired,
    live: Option<&Live>,
) -> Result<Live, CloudError> {
    let name = required(desired, "AlarmName")?;
    let changed = ALARM_PROPERTIES
        .iter()
        .any(|property| live.is_none_or(|live| differs(desired, live, property)));
    if changed {
        let mut input = Properties::from_iter([("AlarmName".to_owned(), json!(name))]);
        for property in ALARM_PROPERTIES {
            input.extend(
                desired
                    .properties
                    .get(property)
                    .map(|value| (property.to_owned(), value.clone())),
            );
        }
        if live.is_none() {
            input.insert("Tags".to_owned(), tag_list(&declared_tags(&desired.properties)));
        }
        session.cloudwatch("PutMetricAlarm", &Json::Object(input)).await?;
    }
    if let Some(tags) = live.and_then(|live| changed_tags(desired, live)) {
        let input = json!({"ResourceARN": session.arn(Kind::Alarm, name)?, "Tags": tag_list(&tags)});
        session.cloudwatch("TagResource", &input).await?;
    }
    let attributes = session.computed_attributes(desired.kind, &desired.properties);
    Ok(as_desired(desired, name, attributes))
}

/// Deletes an alarm.
pub(crate) async fn delete_alarm(session: &Session, name: &str) -> Result<(), CloudError> {
    gone(session.cloudwatch("DeleteAlarms", &json!({"AlarmNames": [name]})).await)
}

/// Reads a dashboard. It carries no tags; the text at its head says whose it is.
pub(crate) async fn observe_dashboard(session: &Session, target: &Target) -> Result<Option<Live>, CloudError> {
    let Some(name) = name_of(target, "DashboardName") else {
        return Ok(None);
    };
    let Some(answer) = found(
        session
            .cloudwatch("GetDashboard", &json!({"DashboardName": name}))
            .await,
    )?
    else {
        return Ok(None);
    };
    let body = answer.get("DashboardBody").and_then(Json::as_str).unwrap_or_default();
    let mark = target.stack.mark(&target.id);
    let is_ours = target.physical_id.is_some() || body.contains(&mark);
    // The same page, written with other spaces or in another order, is the same.
    let parsed = |text: &str| serde_json::from_str::<Json>(text).ok();
    let body = match text(&target.properties, "DashboardBody") {
        Some(declared) if parsed(declared).is_some() && parsed(declared) == parsed(body) => declared,
        Some(_) | None => body,
    };
    let mut shape = Shape::default();
    shape.set("DashboardName", Some(name)).set("DashboardBody", Some(body));
    Ok(Some(Live {
        physical_id: name.to_owned(),
        attributes: session.computed_attributes(target.kind, &shape.0),
        properties: shape.0,
        ownership: match is_ours {
            true => Ownership::Ours,
            false => Ownership::Foreign(format!("it does not say `{mark}`")),
        },
    }))
}

/// Writes a dashboard, unless it is already as it should be.
pub(crate) async fn reconcile_dashboard(
    session: &Session,
    desired: &Desired,
    live: Option<&Live>,
) -> Result<Live, CloudError> {
    let name = required(desired, "DashboardName")?;
    if live.is_none_or(|live| differs(desired, live, "DashboardBody")) {
        let input = json!({"DashboardName": name, "DashboardBody": required(desired, "DashboardBody")?});
        session.cloudwatch("PutDashboard", &input).await?;
    }
    let attributes = session.computed_attributes(desired.kind, &desired.properties);
    Ok(as_desired(desired, name, attributes))
}

/// Deletes a dashboard.
pub(crate) async fn delete_dashboard(session: &Session, name: &str) -> Result<(), CloudError> {
    gone(
        session
            .cloudwatch("DeleteDashboards", &json!({"DashboardNames": [name]}))
            .await,
    )
}

async fn tags(session: &Session, name: &str) -> Result<Tags, CloudError> {
    let input = json!({"ResourceARN": session.arn(Kind::Alarm, name)?});
    let answer = session.cloudwatch("ListTagsForResource", &input).await?;
    Ok(listed_tags(answer.get("Tags")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_declared() {
        for (answered, expected) in [
            (json!(3.0), Some(json!(3))),
            (json!(0.5), Some(json!(0.5))),
            (json!([]), None),
            (Json::Null, None),
            (json!("Sum"), Some(json!("Sum"))),
        ] {
            assert_eq!(declared(&answered), expected, "{answered}");
        }
    }
}
