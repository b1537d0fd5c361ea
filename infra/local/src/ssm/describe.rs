//! The list of parameters, without their values.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Parameter, Parameters, arn, constraint, seconds};
use crate::cloud::Account;
use crate::wire::ApiError;

const PAGE_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    #[serde(default)]
    parameter_filters: Vec<Filter>,
    max_results: Option<usize>,
    /// The last name of the page before.
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    option: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

pub(super) fn describe(state: &Parameters, account: &Account, input: Describe) -> Result<Value, ApiError> {
    let size = input.max_results.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&size) {
        let expected = format!("Member must have value between 1 and {PAGE_MAX}");
        return Err(constraint("maxResults", &size.to_string(), &expected));
    }
    for filter in &input.parameter_filters {
        filter.check()?;
    }
    let after = input.next_token.unwrap_or_default();
    let mut rest = state
        .iter()
        .filter(|(name, parameter)| {
            **name > after
                && input
                    .parameter_filters
                    .iter()
                    .all(|filter| filter.holds(name, parameter))
        })
        .peekable();
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let described: Vec<Value> = page
        .iter()
        .map(|(name, parameter)| metadata(account, name, parameter))
        .collect();
    let mut output = json!({ "Parameters": described });
    if let (Some(_), Some((last, _))) = (rest.peek(), page.last()) {
        output["NextToken"] = json!(last);
    }
    Ok(output)
}

impl Filter {
    fn check(&self) -> Result<(), ApiError> {
        if self.key != "Name" && self.key != "Type" {
            let message = format!(
                "the local cloud filters parameters by Name and Type, not by {}",
                self.key
            );
            return Err(ApiError::new(400, "InvalidFilterKey", message));
        }
        match self.option.as_deref() {
            None | Some("Equals" | "BeginsWith" | "Contains") => Ok(()),
            Some(other) => Err(ApiError::new(
                400,
                "InvalidFilterOption",
                format!(
                    "The following filter option is not valid: {other}. Valid options include: [BeginsWith, Equals, Contains]"
                ),
            )),
        }
    }

    fn holds(&self, name: &str, parameter: &Parameter) -> bool {
        let subject = if self.key == "Name" { name } else { &parameter.kind };
        self.values.iter().any(|value| match self.option.as_deref() {
            Some("BeginsWith") => subject.starts_with(value.as_str()),
            Some("Contains") => subject.contains(value.as_str()),
            _ => subject == value,
        })
    }
}

fn metadata(account: &Account, name: &str, parameter: &Parameter) -> Value {
    let (number, modified) = parameter
        .versions
        .last()
        .map_or((0, 0), |version| (version.number, version.modified));
    let mut output = json!({
        "Name": name,
        "ARN": arn(account, name),
        "Type": parameter.kind,
        "LastModifiedDate": seconds(modified),
        "LastModifiedUser": format!("arn:{}:iam::{}:root", Account::PARTITION, account.id),
        "Version": number,
        "Tier": "Standard",
        "Policies": [],
        "DataType": "text",
    });
    if let Some(description) = &parameter.description {
        output["Description"] = json!(description);
    }
    if let Some(key_id) = &parameter.key_id {
        output["KeyId"] = json!(key_id);
    }
    output
}
