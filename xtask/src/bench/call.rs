//! One call to AWS: its name, read off the request, and what happened to it.

use std::time::Duration;

use hyper::Request;
use infra_aws::STATE_TABLE;
use serde::Serialize;

/// One call as the proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// From 1, in the order of arrival.
    pub(crate) seq: usize,
    /// For example `lambda:CreateFunction`.
    pub(crate) operation: String,
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// Arrival, since the proxy was last cleared.
    pub(crate) start: Duration,
    /// End of the answer, or of the connection.
    pub(crate) end: Duration,
    /// HTTP status; `None` where no answer was given.
    pub(crate) status: Option<u16>,
    /// Calls in flight at its arrival, itself included.
    pub(crate) in_flight: usize,
}

impl Call {
    /// Returns how long it took.
    pub(crate) fn duration(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Purpose {
    /// Looks at the account.
    Read,
    /// Changes the account.
    Mutating,
    /// Reads or writes the deployment record.
    State,
}

impl Purpose {
    /// Judges a call by its operation and body.
    pub(crate) fn of(operation: &str, body: &[u8]) -> Self {
        let verb = operation.split_once(':').map_or(operation, |(_, verb)| verb);
        let is_read = ["Get", "List", "Describe", "Query", "Scan", "BatchGet"]
            .iter()
            .any(|prefix| verb.starts_with(prefix));
        let is_state = operation.starts_with("dynamodb:")
            && body
                .windows(STATE_TABLE.len())
                .any(|window| window == STATE_TABLE.as_bytes());
        match (is_state, is_read) {
            (true, _) => Self::State,
            (false, true) => Self::Read,
            (false, false) => Self::Mutating,
        }
    }
}

/// Names a call: by its target header, its `Action` parameter, or method and path.
pub(crate) fn operation<B>(request: &Request<B>, body: &[u8]) -> String {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    // The credential scope of a signature names the service: KEY/DATE/REGION/SERVICE/aws4_request.
    let service = header("authorization")
        .and_then(|value| {
            value
                .split_once("Credential=")?
                .1
                .split([',', ' '])
                .next()?
                .rsplit('/')
                .nth(1)
        })
        .unwrap_or("unsigned");
    let (method, path) = (request.method().as_str(), request.uri().path());
    let verb = if let Some(target) = header("x-amz-target") {
        target.rsplit('.').next().map(str::to_owned)
    } else {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match service {
            "lambda" => lambda(method, &segments),
            "apigateway" => apigateway(method, &segments),
            _ => query_action(body),
        }
    };
    format!("{service}:{}", verb.unwrap_or_else(|| format!("{method} {path}")))
}

fn query_action(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let action = text.split('&').find_map(|pair| pair.strip_prefix("Action="))?;
    Some(action.to_owned())
}

/// Lambda API Reference, "Actions": the paths begin with the date of the version that brought them.
fn lambda(method: &str, segments: &[&str]) -> Option<String> {
    let name = match (method, segments.get(1..)?) {
        ("GET", ["functions"]) => "ListFunctions",
        ("POST", ["functions"]) => "CreateFunction",
        ("GET", ["functions", _]) => "GetFunction",
        ("DELETE", ["functions", _]) => "DeleteFunction",
        ("GET", ["functions", _, "configuration"]) => "GetFunctionConfiguration",
        ("PUT", ["functions", _, "configuration"]) => "UpdateFunctionConfiguration",
        ("PUT", ["functions", _, "code"]) => "UpdateFunctionCode",
        ("GET", ["functions", _, "policy"]) => "GetPolicy",
        ("POST", ["functions", _, "policy"]) => "AddPermission",
        ("DELETE", ["functions", _, "policy", _]) => "RemovePermission",
        ("GET", ["functions", _, "versions"]) => "ListVersionsByFunction",
        ("POST", ["functions", _, "versions"]) => "PublishVersion",
        ("GET", ["functions", _, "aliases"]) => "ListAliases",
        ("POST", ["functions", _, "aliases"]) => "CreateAlias",
        ("GET", ["functions", _, "aliases", _]) => "GetAlias",
        ("PUT", ["functions", _, "aliases", _]) => "UpdateAlias",
        ("DELETE", ["functions", _, "aliases", _]) => "DeleteAlias",
        ("GET", ["functions", _, "url"]) => "GetFunctionUrlConfig",
        ("POST", ["functions", _, "url"]) => "CreateFunctionUrlConfig",
        ("PUT", ["functions", _, "url"]) => "UpdateFunctionUrlConfig",
        ("DELETE", ["functions", _, "url"]) => "DeleteFunctionUrlConfig",
        ("GET", ["tags", ..]) => "ListTags",
        ("POST", ["tags", ..]) => "TagResource",
        ("DELETE", ["tags", ..]) => "UntagResource",
        _ => return None,
    };
    Some(name.to_owned())
}

/// API Gateway v2 API Reference: collections of an API, and of a route in it.
fn apigateway(method: &str, segments: &[&str]) -> Option<String> {
    let (collection, is_one) = match segments.get(1..)? {
        [collection] | [_, _, collection] | [_, _, _, _, collection] => (*collection, false),
        [collection, _] | [_, _, collection, _] | [_, _, _, _, collection, _] => (*collection, true),
        _ => return None,
    };
    let (one, many) = match collection {
        "apis" => ("Api", "Apis"),
        "authorizers" => ("Authorizer", "Authorizers"),
        "deployments" => ("Deployment", "Deployments"),
        "integrations" => ("Integration", "Integrations"),
        "routes" => ("Route", "Routes"),
        "routeresponses" => ("RouteResponse", "RouteResponses"),
        "stages" => ("Stage", "Stages"),
        "tags" => ("Tags", "Tags"),
        _ => return None,
    };
    Some(match (method, is_one, one) {
        ("POST", _, "Tags") => "TagResource".to_owned(),
        ("DELETE", _, "Tags") => "UntagResource".to_owned(),
        ("GET", true, _) => format!("Get{one}"),
        ("GET", false, _) => format!("Get{many}"),
        ("POST", _, _) => format!("Create{one}"),
        ("PATCH", _, _) => format!("Update{one}"),
        ("DELETE", _, _) => format!("Delete{one}"),
        _ => return None,
    })
}

/// Returns how many calls had to wait for one another: the most calls of which no two overlap.
pub(crate) fn sequential(calls: &[Call]) -> usize {
    let mut by_end: Vec<&Call> = calls.iter().collect();
    by_end.sort_by_key(|call| call.end);
    let mut free_at = Duration::ZERO;
    let mut count = 0;
    for call in by_end {
        if call.start >= free_at {
            count += 1;
            free_at = call.end;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn named(method: &str, path: &str, service: &str, target: &str, body: &str) -> String {
        let mut request = Request::builder().method(method).uri(path).header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host"),
        );
        if !target.is_empty() {
            request = request.header("x-amz-target", target);
        }
        operation(&request.body(()).unwrap(), body.as_bytes())
    }

    #[test]
    fn calls_of_all_protocols_have_names() {
        for (method, path, service, target, body, expected) in [
            (
                "POST",
                "/",
                "dynamodb",
                "DynamoDB_20120810.GetItem",
                "{}",
                "dynamodb:GetItem",
            ),
            ("POST", "/", "iam", "", "Action=CreateRole&Version=1", "iam:CreateRole"),
            ("GET", "/2015-03-31/functions/f", "lambda", "", "", "lambda:GetFunction"),
            (
                "POST",
                "/2015-03-31/functions/f/policy",
                "lambda",
                "",
                "",
                "lambda:AddPermission",
            ),
            ("POST", "/v2/apis", "apigateway", "", "", "apigateway:CreateApi"),
            ("GET", "/v2/apis/a/routes", "apigateway", "", "", "apigateway:GetRoutes"),
            (
                "PATCH",
                "/v2/apis/a/stages/s",
                "apigateway",
                "",
                "",
                "apigateway:UpdateStage",
            ),
            (
                "POST",
                "/v2/apis/a/routes/r/routeresponses",
                "apigateway",
                "",
                "",
                "apigateway:CreateRouteResponse",
            ),
            ("POST", "/v2/tags/arn", "apigateway", "", "", "apigateway:TagResource"),
            ("PUT", "/odd", "lambda", "", "", "lambda:PUT /odd"),
        ] {
            assert_eq!(named(method, path, service, target, body), expected);
        }
    }

    #[test]
    fn the_record_is_told_apart() {
        let body = format!("{{\"TableName\":\"{STATE_TABLE}\"}}");
        assert_eq!(Purpose::of("dynamodb:Query", body.as_bytes()), Purpose::State);
        assert_eq!(Purpose::of("dynamodb:DescribeTable", b"{}"), Purpose::Read);
        assert_eq!(Purpose::of("dynamodb:CreateTable", b"{}"), Purpose::Mutating);
        assert_eq!(Purpose::of("apigateway:CreateApi", b""), Purpose::Mutating);
    }

    #[test]
    fn calls_that_overlap_count_once() {
        let call = |start, end| Call {
            seq: 0,
            operation: String::new(),
            purpose: Purpose::Read,
            start: Duration::from_millis(start),
            end: Duration::from_millis(end),
            status: None,
            in_flight: 1,
        };
        assert_eq!(sequential(&[call(0, 10), call(1, 11), call(11, 20), call(12, 30)]), 2);
        assert_eq!(sequential(&[]), 0);
    }
}
