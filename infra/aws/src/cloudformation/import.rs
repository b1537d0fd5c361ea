//! What CloudFormation needs to know to take over resources that exist.

use std::collections::BTreeMap;

use infra_cdk::{Entry, Kind};
use infra_engine::{Class, CloudError, Record, Recorded};

use super::CloudFormation;
use super::change_set::{Imported, Template};
use super::names::VERSION;
use crate::error::refused;
use crate::repeat::repeated;
use crate::shape::text;
use crate::throttle::Service;

impl CloudFormation {
    /// Returns the types of a template that CloudFormation can import, each with the properties that identify a resource
    /// of it. What is missing cannot be imported. CloudFormation itself is asked: its documentation lags behind.
    ///
    /// # Errors
    /// When the template is refused.
    pub async fn importable(&self, template: &Template) -> Result<BTreeMap<String, Vec<String>>, CloudError> {
        let (body, url) = template.parts();
        let answer = repeated(|| {
            let client = self.session.cloudformation();
            let call = client
                .get_template_summary()
                .set_template_body(body.clone())
                .set_template_url(url.clone());
            self.session.sdk(
                Service::CloudFormation,
                "cloudformation:GetTemplateSummary",
                call.send(),
            )
        })
        .await?;
        let summaries = answer.resource_identifier_summaries.unwrap_or_default().into_iter();
        Ok(summaries
            .filter_map(|summary| {
                let identifiers = summary
                    .resource_identifiers
                    .filter(|identifiers| !identifiers.is_empty())?;
                Some((summary.resource_type?, identifiers))
            })
            .collect())
    }

    /// Returns what identifies each resource of a template, from the record of the direct engine.
    ///
    /// # Errors
    /// What is not recorded, or identified by something that this program does not know.
    pub fn identifiers(
        &self,
        entries: &BTreeMap<String, Entry>,
        importable: &BTreeMap<String, Vec<String>>,
        record: &Record,
    ) -> Result<Vec<Imported>, CloudError> {
        let import = |name: &String, entry: &Entry| {
            let (kind, recorded) = match entry {
                Entry::Resource(id) => {
                    let recorded = record.resources.get(id)?;
                    (recorded.kind.cloudformation_type(), recorded)
                }
                Entry::Version(function) => (VERSION, record.resources.get(function)?),
            };
            let names = importable.get(kind)?;
            let value = |property: &String| Some((property.clone(), self.identifier(entry, recorded, property)?));
            let identifier: Vec<_> = names.iter().filter_map(value).collect();
            // Some types offer several ways to be identified; one property is then enough.
            (!identifier.is_empty()).then(|| Imported {
                name: name.clone(),
                kind: kind.to_owned(),
                identifier: identifier.into_iter().collect(),
            })
        };
        entries
            .iter()
            .map(|(name, entry)| {
                import(name, entry).ok_or_else(|| {
                    let message = format!("{name} is not recorded, or nothing that is known identifies it");
                    refused("cloudformation:CreateChangeSet", Class::Permanent, message)
                })
            })
            .collect()
    }

    /// Returns the value of one identifying property.
    fn identifier(&self, entry: &Entry, recorded: &Recorded, property: &str) -> Option<String> {
        let function_arn = |name: &str| self.session.arn(Kind::Function, name).ok();
        let own = || text(&recorded.properties, property).map(str::to_owned);
        if let Entry::Version(_) = entry {
            let (function, version) = (&recorded.physical_id, recorded.attributes.get("Version")?);
            return match property {
                "FunctionArn" => function_arn(&format!("{function}:{version}")),
                "Version" => Some(version.clone()),
                "FunctionName" => Some(function.clone()),
                _ => None,
            };
        }
        match (recorded.kind, property) {
            (
                Kind::Api | Kind::Authorizer | Kind::Deployment | Kind::Integration | Kind::Route | Kind::RouteResponse,
                _,
                // `RouteId` of a route is its own; of a route's response it is a property.
            ) => own().or_else(|| Some(recorded.physical_id.clone())),
            (Kind::Permission, "Id") => Some(recorded.physical_id.clone()),
            // These are known by `FUNCTION:ALIAS` here.
            (Kind::Alias, "AliasArn") | (Kind::Url, "FunctionArn") => function_arn(&recorded.physical_id),
            _ => own(),
        }
    }
}
