//! Reserved concurrency, and the limits of the account.

use serde::Deserialize;
use serde_json::json;

use super::name::FunctionRef;
use super::validation::invalid_parameter;
use super::{body, no_content};
use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response, rest_json};

/// Concurrent executions of an account; AWS's default quota.
pub(super) const ACCOUNT_CONCURRENCY: usize = 1000;

/// What AWS keeps for functions without reserved concurrency.
const UNRESERVED_CONCURRENCY_MIN: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutConcurrency {
    reserved_concurrent_executions: usize,
}

/// `PutFunctionConcurrency`.
pub(super) fn put(cloud: &SharedCloud, of: &FunctionRef, request: &Request) -> Result<Response, ApiError> {
    let put: PutConcurrency = body(request)?;
    let reserved = put.reserved_concurrent_executions;
    let mut store = cloud.lambda.store_mut();
    let others = store.functions.iter().filter(|(name, _)| **name != of.name);
    let total: usize = others
        .filter_map(|(_, function)| function.reserved_concurrency)
        .sum::<usize>()
        + reserved;
    let function = store.function_mut(of, &cloud.account)?;
    if total + UNRESERVED_CONCURRENCY_MIN > ACCOUNT_CONCURRENCY {
        return Err(invalid_parameter(format!(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_CONCURRENCY_MIN}]."
        )));
    }
    function.reserved_concurrency = Some(reserved);
    Ok(rest_json(200, &json!({ "ReservedConcurrentExecutions": reserved })))
}

/// `GetFunctionConcurrency`.
pub(super) fn get(cloud: &SharedCloud, of: &FunctionRef) -> Result<Response, ApiError> {
    let store = cloud.lambda.store();
    let answer = match store.function(of, &cloud.account)?.reserved_concurrency {
        Some(reserved) => json!({ "ReservedConcurrentExecutions": reserved }),
        None => json!({}),
    };
    Ok(rest_json(200, &answer))
}

/// `DeleteFunctionConcurrency`.
pub(super) fn delete(cloud: &SharedCloud, of: &FunctionRef) -> Result<Response, ApiError> {
    cloud
        .lambda
        .store_mut()
        .function_mut(of, &cloud.account)?
        .reserved_concurrency = None;
    Ok(no_content())
}

/// `GetAccountSettings`.
pub(super) fn account_settings(cloud: &SharedCloud) -> Response {
    let store = cloud.lambda.store();
    let reserved: usize = store
        .functions
        .values()
        .filter_map(|function| function.reserved_concurrency)
        .sum();
    let versions = store
        .functions
        .values()
        .flat_map(|function| function.versions.values().chain([&function.latest]));
    let size: usize = versions.map(|version| version.code_size).sum();
    let answer = json!({
        "AccountLimit": {
            "TotalCodeSize": 80_530_636_800_u64,
            "CodeSizeUnzipped": 262_144_000,
            "CodeSizeZipped": 52_428_800,
            "ConcurrentExecutions": ACCOUNT_CONCURRENCY,
            "UnreservedConcurrentExecutions": ACCOUNT_CONCURRENCY - reserved,
        },
        "AccountUsage": { "TotalCodeSize": size, "FunctionCount": store.functions.len() },
    });
    rest_json(200, &answer)
}
