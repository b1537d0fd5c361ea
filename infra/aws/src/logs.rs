//! Log groups.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use infra_cdk::{Kind, LogicalId};
use infra_engine::{CloudError, Desired, Live, Ownership, Target};
use serde_json::{Value as Json, json};

use crate::Session;
use crate::error::{gone, is_already_there};
use crate::iam::ours;
use crate::shape::{
    Shape, Tags, as_desired, changed_tags, declared_tags, differs, integer, is_cleared, ownership, required, text,
    unrecorded,
};

/// Pages of the shared listing; beyond them the prefix is not as selective as thought and groups are read singly.
const PAGES_MAX: usize = 10;

/// Reads log groups: those of one stack's functions share a prefix and one listing.
pub(crate) async fn observe(session: &Session, targets: &[&Target]) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
    let named: Vec<(&Target, &str)> = targets
        .iter()
        .filter_map(|target| {
            let name = target.physical_id.as_deref();
            Some((*target, name.or_else(|| text(&target.properties, "LogGroupName"))?))
        })
        .collect();
    let prefix_of = |target: &Target| format!("/aws/lambda/{}-{}-", target.stack.app, target.stack.stage);
    let mut prefixes: Vec<String> = named
        .iter()
        .map(|(target, name)| {
            let prefix = prefix_of(target);
            if name.starts_with(&prefix) {
                prefix
            } else {
                (*name).to_owned()
            }
        })
        .collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    let listed = try_join_all(prefixes.iter().map(|prefix| list(session, prefix))).await?;
    let groups: BTreeMap<String, Json> = listed.into_iter().flatten().collect();

    let reads = named.into_iter().map(|(target, name)| {
        let group = groups.get(name);
        async move {
            match group {
                Some(group) => live(session, target, name, group).await.map(Some),
                None => Ok(None),
            }
        }
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

async fn live(session: &Session, target: &Target, name: &str, group: &Json) -> Result<(LogicalId, Live), CloudError> {
    let tags = match target.physical_id {
        Some(_) => None,
        None => Some(tags(session, name).await?),
    };
    let mut shape = Shape::default();
    shape
        .set("LogGroupName", Some(name))
        .set("RetentionInDays", group.get("retentionInDays").cloned())
        .set_tags(tags.as_ref(), target);
    let live = Live {
        physical_id: name.to_owned(),
        attributes: session.computed_attributes(Kind::LogGroup, &shape.0),
        properties: shape.0,
        ownership: tags.map_or(Ownership::Ours, |tags| ownership(&tags, &target.stack, &target.id)),
    };
    Ok((target.id.clone(), live))
}

async fn list(session: &Session, prefix: &str) -> Result<Vec<(String, Json)>, CloudError> {
    let mut groups = Vec::new();
    let mut next_token = Json::Null;
    for _ in 0..PAGES_MAX {
        let mut input = json!({"logGroupNamePrefix": prefix, "limit": 50});
        if next_token.is_string() {
            input["nextToken"] = next_token;
        }
        let mut answer = session.logs("DescribeLogGroups", &input).await?;
        if let Some(Json::Array(page)) = answer.get_mut("logGroups").map(Json::take) {
            groups.extend(page.into_iter().filter_map(|group| {
                let name = group.get("logGroupName")?.as_str()?.to_owned();
                Some((name, group))
            }));
        }
        next_token = answer.get_mut("nextToken").map(Json::take).unwrap_or_default();
        if !next_token.is_string() {
            break;
        }
    }
    Ok(groups)
}

/// Creates a log group, or brings retention and tags up to date.
pub(crate) async fn reconcile(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let name = required(desired, "LogGroupName")?;
    let attributes = session.computed_attributes(desired.kind, &desired.properties);
    let adopted;
    let live = match live {
        Some(live) => Some(live),
        None => {
            let input = json!({"logGroupName": name, "tags": declared_tags(&desired.properties)});
            match session.logs("CreateLogGroup", &input).await {
                Ok(_) => None,
                Err(error) if is_already_there(&error) => {
                    let found = observe(session, &[&unrecorded(desired)]).await?;
                    adopted = ours(error, found.into_values().next())?;
                    Some(&adopted)
                }
                Err(error) => return Err(error),
            }
        }
    };
    if live.is_none_or(|live| differs(desired, live, "RetentionInDays")) {
        if let Some(days) = integer(&desired.properties, "RetentionInDays") {
            let input = json!({"logGroupName": name, "retentionInDays": days});
            session.logs("PutRetentionPolicy", &input).await?;
        } else if is_cleared(desired, "RetentionInDays") {
            let input = json!({"logGroupName": name});
            gone(session.logs("DeleteRetentionPolicy", &input).await)?;
        }
    }
    if let Some(tags) = live.and_then(|live| changed_tags(desired, live)) {
        let input = json!({"resourceArn": session.arn(Kind::LogGroup, name)?, "tags": tags});
        session.logs("TagResource", &input).await?;
    }
    Ok(as_desired(desired, name, attributes))
}

/// Deletes a log group and its lines.
pub(crate) async fn delete(session: &Session, name: &str) -> Result<(), CloudError> {
    gone(session.logs("DeleteLogGroup", &json!({"logGroupName": name})).await)
}

async fn tags(session: &Session, name: &str) -> Result<Tags, CloudError> {
    let input = json!({"resourceArn": session.arn(Kind::LogGroup, name)?});
    let answer = session.logs("ListTagsForResource", &input).await?;
    let tags = answer.get("tags").and_then(Json::as_object);
    Ok(tags
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect())
}
