//! Which operation of which service a request is. Pure.

use http::Method;

use crate::query::Form;
use crate::{json, wire::Request};

/// One call to a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// As in the credential scope, for example `apigateway`.
    pub(super) service: &'static str,
    /// The action, for example `CreateRole`; for REST services the method and the path without its ids, for example
    /// `POST apis/routes` or `GET functions/*`.
    pub(super) operation: String,
    /// The API that the call changes.
    pub(super) changed_api: Option<String>,
}

impl Call {
    /// Looks at a request to one of the services of the local cloud.
    pub(crate) fn of(service: &'static str, request: &Request) -> Self {
        let segments: Vec<&str> = request.uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let operation = match service {
            "iam" | "sts" => Form::read(request).get("Action").unwrap_or_default().to_owned(),
            "apigateway" | "lambda" => rest(&request.method, &segments),
            _ => json::action(request).to_owned(),
        };
        let changed_api = match (service, segments.as_slice()) {
            ("apigateway", ["v2", "apis", api, ..]) if request.method != Method::GET => Some((*api).to_owned()),
            _ => None,
        };
        Self {
            service,
            operation,
            changed_api,
        }
    }

    /// Returns the service's name.
    pub(crate) const fn service(&self) -> &'static str {
        self.service
    }

    /// Returns the operation's name.
    pub(crate) fn operation(&self) -> &str {
        &self.operation
    }
}

/// Paths are a version, then names of collections and ids in turn.
fn rest(method: &Method, segments: &[&str]) -> String {
    let collections: Vec<&str> = segments.iter().skip(1).step_by(2).copied().collect();
    let one = if segments.len() > 1 && segments.len() % 2 == 1 {
        "/*"
    } else {
        ""
    };
    format!("{method} {}{one}", collections.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    #[test]
    fn an_operation_is_named_without_ids() {
        for (service, method, path, operation, api) in [
            ("apigateway", "POST", "/v2/apis", "POST apis", None),
            ("apigateway", "GET", "/v2/apis/a1", "GET apis/*", None),
            ("apigateway", "DELETE", "/v2/apis/a1", "DELETE apis/*", Some("a1")),
            (
                "apigateway",
                "POST",
                "/v2/apis/a1/deployments",
                "POST apis/deployments",
                Some("a1"),
            ),
            (
                "apigateway",
                "PATCH",
                "/v2/apis/a1/routes/r1",
                "PATCH apis/routes/*",
                Some("a1"),
            ),
            ("lambda", "GET", "/2015-03-31/functions/f", "GET functions/*", None),
            (
                "lambda",
                "GET",
                "/2015-03-31/functions/f/policy",
                "GET functions/policy",
                None,
            ),
            (
                "lambda",
                "POST",
                "/2015-03-31/functions/f/invocations",
                "POST functions/invocations",
                None,
            ),
            ("iam", "POST", "/?Action=CreateRole", "CreateRole", None),
        ] {
            let request = Request {
                method: method.parse().unwrap(),
                uri: path.parse().unwrap(),
                headers: HeaderMap::new(),
                body: Bytes::new(),
                access_key: None,
            };
            let expected = Call {
                service,
                operation: operation.to_owned(),
                changed_api: api.map(str::to_owned),
            };
            assert_eq!(Call::of(service, &request), expected);
        }
    }
}
