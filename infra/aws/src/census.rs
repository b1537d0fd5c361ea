//! Which functions, roles and tables exist at all: a listing of each instead of a question about each.
//!
//! A first deployment has nothing recorded and would ask for every function, its policy, every role, its policy and every
//! table, to hear of each that it does not exist. A name that is missing from a listing is taken not to exist. Should it exist
//! nevertheless, since listings may lag behind, its creation is refused as a duplicate, and that is looked into then.

use std::collections::BTreeSet;

use futures_util::future::{OptionFuture, join3};
use infra_cdk::Kind;
use infra_engine::{CloudError, Target};

use crate::shape::text;
use crate::throttle::Service;
use crate::{Session, iam};

/// Fewer functions or roles than this are asked for one by one. A single table is worth a listing, since one that does not
/// exist need not be asked for after it.
const WORTH_LISTING: usize = 3;

/// Names that exist; `None` where that is not known.
#[derive(Debug, Default)]
pub(crate) struct Census {
    functions: Option<BTreeSet<String>>,
    roles: Option<BTreeSet<String>>,
    tables: Option<BTreeSet<String>>,
}

impl Census {
    /// Lists what is worth it. What cannot be listed, or not in one page, is not known: then each is asked for.
    pub(crate) async fn take(session: &Session, targets: &[Target]) -> Self {
        let is_worth = |kind, least| {
            let unrecorded = targets
                .iter()
                .filter(|target| target.kind == kind && target.physical_id.is_none());
            unrecorded.count() >= least
        };
        let functions = OptionFuture::from(is_worth(Kind::Function, WORTH_LISTING).then(|| functions(session)));
        let roles = OptionFuture::from(is_worth(Kind::Role, WORTH_LISTING).then(|| iam::list_roles(session)));
        let tables = OptionFuture::from(is_worth(Kind::Table, 1).then(|| tables(session)));
        let (functions, roles, tables) = join3(functions, roles, tables).await;
        Self {
            tables: tables.and_then(Result::ok).flatten(),
            functions: functions.and_then(Result::ok).flatten(),
            roles: roles.and_then(Result::ok).flatten(),
        }
    }

    /// Returns whether an unrecorded resource cannot exist, because it, or what it lies in, is not listed.
    pub(crate) fn rules_out(&self, target: &Target) -> bool {
        if target.physical_id.is_some() {
            return false;
        }
        let (listed, name) = match target.kind {
            Kind::Function | Kind::Alias | Kind::Permission => (&self.functions, "FunctionName"),
            Kind::Url => (&self.functions, "TargetFunctionArn"),
            Kind::Role | Kind::RolePolicy => (&self.roles, "RoleName"),
            Kind::Table => (&self.tables, "TableName"),
            Kind::Parameter
            | Kind::LogGroup
            | Kind::Account
            | Kind::Alarm
            | Kind::Dashboard
            | Kind::Api
            | Kind::Authorizer
            | Kind::Deployment
            | Kind::Integration
            | Kind::Route
            | Kind::RouteResponse
            | Kind::Stage => return false,
        };
        match (listed, text(&target.properties, name)) {
            (Some(listed), Some(name)) => !listed.contains(bare(name)),
            _ => false,
        }
    }
}

/// Returns the name in what Lambda accepts as one: a name or an ARN, with or without a version.
pub(crate) fn bare(function: &str) -> &str {
    let mut parts = function.split(':');
    match function.starts_with("arn:") {
        true => parts.nth(6),
        false => parts.next(),
    }
    .unwrap_or(function)
}

/// Returns the names of all functions, unless they are too many for one page.
async fn functions(session: &Session) -> Result<Option<BTreeSet<String>>, CloudError> {
    let call = session.lambda().list_functions();
    let answer = session
        .sdk(Service::Lambda, "lambda:ListFunctions", call.send())
        .await?;
    let is_whole = answer.next_marker().is_none_or(str::is_empty);
    let names = answer.functions.unwrap_or_default().into_iter();
    Ok(is_whole.then(|| names.filter_map(|function| function.function_name).collect()))
}

/// Returns the names of all tables, unless they are too many for one page.
async fn tables(session: &Session) -> Result<Option<BTreeSet<String>>, CloudError> {
    let call = session.dynamodb().list_tables();
    let answer = session
        .sdk(Service::DynamoDb, "dynamodb:ListTables", call.send())
        .await?;
    let is_whole = answer.last_evaluated_table_name.is_none();
    Ok(is_whole.then(|| answer.table_names.unwrap_or_default().into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_in_many_ways() {
        for name in [
            "f",
            "f:live",
            "arn:aws:lambda:us-east-1:1:function:f",
            "arn:aws:lambda:us-east-1:1:function:f:3",
        ] {
            assert_eq!(bare(name), "f");
        }
    }
}
