//! Query strings and pages of lists.

use axum::extract::Query;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use serde::Serialize;
use serde_json::{Value, json};

use super::body::{bad_request, to_json};
use crate::wire::ApiError;

/// Items of a page when the caller does not say. The API reference names no number: a small one shows callers that
/// forget the next page.
const DEFAULT_PAGE: usize = 25;
/// Most items that a caller may ask for.
const LARGEST_PAGE: usize = 500;

/// Decoded query parameters, in order.
pub(super) type QueryParameters = Vec<(String, String)>;

/// Returns the query parameters of a URI.
pub(super) fn query(uri: &Uri) -> Result<QueryParameters, ApiError> {
    Query::try_from_uri(uri)
        .map(|Query(parameters)| parameters)
        .map_err(|_| bad_request("the query string is malformed"))
}

/// Returns `{"items": […], "nextToken": …}`; `items` come with the keys that order them.
pub(super) fn page<'a, T: Serialize + 'a>(
    items: impl Iterator<Item = (&'a str, &'a T)>,
    query: &QueryParameters,
) -> Result<Value, ApiError> {
    let parameter = |name: &str| {
        query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let size = match parameter("maxResults") {
        None => DEFAULT_PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|size| (1..=LARGEST_PAGE).contains(size))
            .ok_or_else(|| bad_request(format!("maxResults must be a number from 1 to {LARGEST_PAGE}")))?,
    };
    let after = parameter("nextToken")
        .map(|token| {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok();
            bytes
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| bad_request("Invalid nextToken"))
        })
        .transpose()?;
    let mut rest = items.skip_while(|(key, _)| after.as_deref().is_some_and(|after| *key <= after));
    let taken: Vec<(&str, &T)> = rest.by_ref().take(size).collect();
    let values: Vec<Value> = taken.iter().map(|(_, item)| to_json(*item)).collect();
    match (rest.next(), taken.last()) {
        (Some(_), Some((last, _))) => Ok(json!({ "items": values, "nextToken": URL_SAFE_NO_PAD.encode(last) })),
        (_, _) => Ok(json!({ "items": values })),
    }
}
