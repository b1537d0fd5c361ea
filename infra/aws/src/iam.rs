//! Roles and their inline policies.
//!
//! IAM answers in XML; documents inside it are percent-encoded JSON (IAM API Reference, `GetRole`, `GetRolePolicy`).

use std::collections::BTreeSet;

use infra_engine::{Class, CloudError, Desired, Live, Ownership, Target};
use roxmltree::{Document, Node};
use serde_json::Value as Json;

use crate::Session;
use crate::error::{found, gone, is_already_there, refused};
use crate::shape::{
    Shape, Tags, as_desired, changed_tags, declared_tags, differs, incomplete, name_of, ownership, required, text,
    unrecorded,
};

/// Reads a role; `GetRole` brings its tags.
pub(crate) async fn observe_role(session: &Session, target: &Target) -> Result<Option<Live>, CloudError> {
    let Some(name) = name_of(target, "RoleName") else {
        return Ok(None);
    };
    let Some(answer) = found(session.iam("GetRole", &[("RoleName", name)]).await)? else {
        return Ok(None);
    };
    let xml = parse("iam:GetRole", &answer)?;
    let tags = tags(&xml);
    let mut shape = Shape::default();
    shape
        .set("RoleName", Some(name))
        .set("AssumeRolePolicyDocument", document(&xml, "AssumeRolePolicyDocument"))
        .set_tags(Some(&tags), target);
    Ok(Some(Live {
        physical_id: name.to_owned(),
        attributes: session.computed_attributes(target.kind, &shape.0),
        properties: shape.0,
        ownership: match target.physical_id {
            Some(_) => Ownership::Ours,
            None => ownership(&tags, &target.stack, &target.id),
        },
    }))
}

/// Returns the names of all roles, unless they are too many for one page.
pub(crate) async fn list_roles(session: &Session) -> Result<Option<BTreeSet<String>>, CloudError> {
    let answer = session.iam("ListRoles", &[("MaxItems", "1000")]).await?;
    let xml = parse("iam:ListRoles", &answer)?;
    let is_whole = elements(&xml, "IsTruncated").all(|truncated| truncated.text() != Some("true"));
    let names = elements(&xml, "RoleName").filter_map(|name| name.text());
    Ok(is_whole.then(|| names.map(str::to_owned).collect()))
}

/// Creates a role, or brings trust policy and tags up to date.
pub(crate) async fn reconcile_role(
    session: &Session,
    desired: &Desired,
    live: Option<&Live>,
) -> Result<Live, CloudError> {
    let name = required(desired, "RoleName")?;
    let trust = json_text(desired, "AssumeRolePolicyDocument")?;
    let adopted;
    let live = match live {
        Some(live) => live,
        None => {
            let tags = declared_tags(&desired.properties);
            let mut parameters = vec![("RoleName", name), ("AssumeRolePolicyDocument", &trust)];
            let tag_parameters = tag_parameters(&tags);
            parameters.extend(tag_parameters.iter().map(|(key, value)| (key.as_str(), *value)));
            match session.iam("CreateRole", &parameters).await {
                Ok(_) => {
                    let attributes = session.computed_attributes(desired.kind, &desired.properties);
                    return Ok(as_desired(desired, name, attributes));
                }
                Err(error) if is_already_there(&error) => {
                    adopted = ours(error, observe_role(session, &unrecorded(desired)).await?)?;
                    &adopted
                }
                Err(error) => return Err(error),
            }
        }
    };
    if differs(desired, live, "AssumeRolePolicyDocument") {
        let parameters = [("RoleName", name), ("PolicyDocument", &trust)];
        session.iam("UpdateAssumeRolePolicy", &parameters).await?;
    }
    if let Some(tags) = changed_tags(desired, live) {
        let mut parameters = vec![("RoleName", name)];
        let tag_parameters = tag_parameters(&tags);
        parameters.extend(tag_parameters.iter().map(|(key, value)| (key.as_str(), *value)));
        session.iam("TagRole", &parameters).await?;
    }
    let attributes = session.computed_attributes(desired.kind, &desired.properties);
    Ok(as_desired(desired, name, attributes))
}

/// Deletes a role and, where they keep it from being deleted, its inline policies.
pub(crate) async fn delete_role(session: &Session, name: &str) -> Result<(), CloudError> {
    match session.iam("DeleteRole", &[("RoleName", name)]).await {
        Err(error) if error.code == "DeleteConflict" => {}
        result => return gone(result),
    }
    let answer = session.iam("ListRolePolicies", &[("RoleName", name)]).await?;
    let xml = parse("iam:ListRolePolicies", &answer)?;
    let policies: Vec<String> = elements(&xml, "PolicyNames")
        .flat_map(|list| list.children())
        .filter_map(|member| member.text().map(str::to_owned))
        .collect();
    for policy in policies {
        delete_policy(session, name, &policy).await?;
    }
    gone(session.iam("DeleteRole", &[("RoleName", name)]).await)
}

/// Reads an inline policy. It belongs to whom its role belongs to.
pub(crate) async fn observe_policy(session: &Session, target: &Target) -> Result<Option<Live>, CloudError> {
    let (Some(role), Some(policy)) = (
        text(&target.properties, "RoleName"),
        text(&target.properties, "PolicyName"),
    ) else {
        return Ok(None);
    };
    let parameters = [("RoleName", role), ("PolicyName", policy)];
    let Some(answer) = found(session.iam("GetRolePolicy", &parameters).await)? else {
        return Ok(None);
    };
    let xml = parse("iam:GetRolePolicy", &answer)?;
    let mut shape = Shape::default();
    shape
        .set("RoleName", Some(role))
        .set("PolicyName", Some(policy))
        .set("PolicyDocument", document(&xml, "PolicyDocument"));
    Ok(Some(Live {
        physical_id: format!("{role}/{policy}"),
        properties: shape.0,
        attributes: Default::default(),
        ownership: Ownership::Ours,
    }))
}

/// Writes an inline policy, unless it says already what it should: creating and updating are the same call.
pub(crate) async fn reconcile_policy(
    session: &Session,
    desired: &Desired,
    live: Option<&Live>,
) -> Result<Live, CloudError> {
    let (role, policy) = (required(desired, "RoleName")?, required(desired, "PolicyName")?);
    let done = || as_desired(desired, &format!("{role}/{policy}"), Default::default());
    if live.is_some_and(|live| !differs(desired, live, "PolicyDocument")) {
        return Ok(done());
    }
    let document = json_text(desired, "PolicyDocument")?;
    let parameters = [
        ("RoleName", role),
        ("PolicyName", policy),
        ("PolicyDocument", &document),
    ];
    session.iam("PutRolePolicy", &parameters).await?;
    Ok(done())
}

/// Deletes an inline policy.
pub(crate) async fn delete_policy(session: &Session, role: &str, policy: &str) -> Result<(), CloudError> {
    let parameters = [("RoleName", role), ("PolicyName", policy)];
    gone(session.iam("DeleteRolePolicy", &parameters).await)
}

/// Returns what a create call found in its place, provided that it is ours.
pub(crate) fn ours(error: CloudError, live: Option<Live>) -> Result<Live, CloudError> {
    match live {
        Some(live) => match &live.ownership {
            Ownership::Ours => Ok(live),
            Ownership::Foreign(found) => Err(CloudError {
                class: Class::Permanent,
                message: format!("{}; {found}", error.message),
                ..error
            }),
        },
        // It exists to one call and not to the other: AWS is not of one mind yet.
        None => Err(CloudError {
            class: Class::Propagating,
            ..error
        }),
    }
}

/// Reads an answer of `SimulatePrincipalPolicy`: each action that is not allowed, with the resource that was tried.
pub(crate) fn not_allowed(answer: &str) -> Result<Vec<String>, CloudError> {
    let xml = parse("iam:SimulatePrincipalPolicy", answer)?;
    let results = elements(&xml, "EvalDecision").filter(|decision| decision.text() != Some("allowed"));
    let denied = results.filter_map(|decision| {
        let result = decision.parent()?;
        let text = |name: &str| {
            let mut children = result.children();
            children.find(|node| node.tag_name().name() == name)?.text()
        };
        let action = text("EvalActionName")?;
        Some(match text("EvalResourceName") {
            Some(resource) if resource != "*" => format!("{action} on {resource}"),
            Some(_) | None => action.to_owned(),
        })
    });
    Ok(denied.collect())
}

fn parse<'a>(operation: &str, answer: &'a str) -> Result<Document<'a>, CloudError> {
    Document::parse(answer)
        .map_err(|error| refused(operation, Class::Permanent, format!("the answer is not XML: {error}")))
}

fn elements<'a, 'input>(xml: &'a Document<'input>, name: &'a str) -> impl Iterator<Item = Node<'a, 'input>> {
    xml.descendants()
        .filter(move |node| node.is_element() && node.tag_name().name() == name)
}

fn tags(xml: &Document<'_>) -> Tags {
    let child = |member: Node<'_, '_>, name: &str| {
        member
            .children()
            .find(|node| node.tag_name().name() == name)
            .and_then(|node| node.text().map(str::to_owned))
    };
    elements(xml, "Tags")
        .flat_map(|list| list.children())
        .filter_map(|member| Some((child(member, "Key")?, child(member, "Value").unwrap_or_default())))
        .collect()
}

fn tag_parameters(tags: &Tags) -> Vec<(String, &str)> {
    tags.iter()
        .enumerate()
        .flat_map(|(index, (key, value))| {
            let number = index + 1;
            [
                (format!("Tags.member.{number}.Key"), key.as_str()),
                (format!("Tags.member.{number}.Value"), value.as_str()),
            ]
        })
        .collect()
}

/// Returns a policy document.
fn document(xml: &Document<'_>, element: &str) -> Option<Json> {
    let encoded = elements(xml, element).next()?.text()?;
    let decoded = percent_decoded(encoded);
    Some(serde_json::from_str(&decoded).unwrap_or(Json::String(decoded)))
}

fn json_text(desired: &Desired, name: &str) -> Result<String, CloudError> {
    let value = desired.properties.get(name).ok_or_else(|| incomplete(desired, name))?;
    Ok(value.to_string())
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(hex.unwrap_or(byte));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    const ROLE: &str = r#"<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role>
        <RoleName>r</RoleName>
        <AssumeRolePolicyDocument>%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D</AssumeRolePolicyDocument>
        <Tags><member><Key>stackwright:app</Key><Value>chat</Value></member><member><Key>empty</Key><Value/></member></Tags>
        </Role></GetRoleResult></GetRoleResponse>"#;

    #[test]
    fn what_is_not_allowed_is_named() {
        let answer = r#"<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><SimulatePrincipalPolicyResult>
            <EvaluationResults>
              <member><EvalActionName>iam:GetRole</EvalActionName><EvalResourceName>arn:r</EvalResourceName><EvalDecision>allowed</EvalDecision></member>
              <member><EvalActionName>iam:PassRole</EvalActionName><EvalResourceName>arn:r</EvalResourceName><EvalDecision>implicitDeny</EvalDecision></member>
              <member><EvalActionName>lambda:ListFunctions</EvalActionName><EvalResourceName>*</EvalResourceName><EvalDecision>explicitDeny</EvalDecision></member>
            </EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"#;
        assert_eq!(
            not_allowed(answer).unwrap(),
            ["iam:PassRole on arn:r", "lambda:ListFunctions"]
        );
    }

    #[test]
    fn a_role_is_read_from_xml() {
        let xml = parse("iam:GetRole", ROLE).unwrap();
        let tags = tags(&xml);
        assert_eq!(tags.get("stackwright:app").map(String::as_str), Some("chat"));
        assert_eq!(tags.get("empty").map(String::as_str), Some(""));
        let encoded = elements(&xml, "AssumeRolePolicyDocument")
            .next()
            .unwrap()
            .text()
            .unwrap();
        let decoded: Json = serde_json::from_str(&percent_decoded(encoded)).unwrap();
        assert_eq!(decoded, json!({"Version": "2012-10-17", "Statement": []}));
    }

    #[test]
    fn percent_signs_without_digits_stay() {
        assert_eq!(percent_decoded("100% %C3%BC %zz%4"), "100% ü %zz%4");
    }
}
