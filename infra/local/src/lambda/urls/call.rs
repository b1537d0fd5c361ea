//! Requests to function URLs: who may, the invocation, the answer.
//!
//! Statuses: <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html>. What AWS does not tell its clients stands in the header
//! `x-local-cloud-error`, for the developer.

use axum::body::Body;
use bytes::Bytes;
use http::header;

use super::{AuthType, UrlAddress, answer, event, reference};
use crate::cloud::SharedCloud;
use crate::iam::Access;
use crate::lambda::invocation::SYNCHRONOUS_BYTES_MAX;
use crate::lambda::name::FunctionRef;
use crate::lambda::{Invoker, Outcome, invocation, policy};
use crate::route;
use crate::wire::{ApiError, Response, respond};

/// Tells a developer what the client is not told.
const WHY: &str = "x-local-cloud-error";

/// Answers one request to a function URL.
pub(crate) async fn handle(cloud: &SharedCloud, address: UrlAddress, request: axum::extract::Request) -> Response {
    if address.path.is_empty() {
        return with_slash(&request);
    }
    serve(cloud, &address, request)
        .await
        .unwrap_or_else(|refusal| refusal.respond())
}

/// A request that comes to no answer of the function.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    code: &'static str,
    message: &'static str,
    why: String,
}

impl Refusal {
    fn forbidden(why: impl Into<String>) -> Self {
        Self {
            status: 403,
            code: "AccessDeniedException",
            message: "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html",
            why: why.into(),
        }
    }

    /// The function failed, or what it answered cannot be understood.
    pub(super) fn bad_gateway(why: impl Into<String>) -> Self {
        Self {
            status: 502,
            code: "InternalServerException",
            message: "Internal Server Error",
            why: why.into(),
        }
    }

    fn respond(&self) -> Response {
        let body = serde_json::json!({ "Message": self.message }).to_string();
        // A header has one line.
        let why: String = self.why.chars().filter(|c| (' '..='~').contains(c)).collect();
        respond(
            self.status,
            "application/json",
            Bytes::from(body),
            &[("x-amzn-ErrorType", self.code), (WHY, &why)],
        )
    }
}

async fn serve(
    cloud: &SharedCloud,
    address: &UrlAddress,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let (of, auth_type) = find(cloud, &address.id)
        .ok_or_else(|| Refusal::forbidden(format!("no function has the URL {}", address.id)))?;
    let (parts, body) = request.into_parts();
    authorize(cloud, &of, auth_type, &parts)?;
    let too_large = || Refusal {
        status: 413,
        code: "RequestEntityTooLargeException",
        message: "Request Too Long",
        why: format!("the body is larger than {SYNCHRONOUS_BYTES_MAX} bytes, or was cut short"),
    };
    let body = axum::body::to_bytes(body, SYNCHRONOUS_BYTES_MAX)
        .await
        .map_err(|_| too_large())?;
    let caller = (auth_type == AuthType::AwsIam).then_some(cloud.account.id.as_str());
    let event = event::event(address, &cloud.account.region, caller, &parts, &body);
    // The permission is checked above: to the host this is a caller like any other.
    let finished = invocation::synchronous(cloud, &of, event.to_string().into(), &Invoker::Account);
    match finished.await.map_err(not_invoked)?.outcome {
        Outcome::Success(output) => answer::response(&output),
        Outcome::FunctionError(output) => {
            let output = String::from_utf8_lossy(&output).into_owned();
            Err(Refusal::bad_gateway(format!("the function failed: {output}")))
        }
    }
}

/// Returns the function or alias that a URL belongs to.
fn find(cloud: &SharedCloud, id: &str) -> Option<(FunctionRef, AuthType)> {
    let store = cloud.lambda.store();
    store.functions.iter().find_map(|(name, function)| {
        let (qualifier, url) = function.urls.iter().find(|(_, url)| url.id == id)?;
        Some((reference(name, qualifier), url.auth_type))
    })
}

fn authorize(
    cloud: &SharedCloud,
    of: &FunctionRef,
    auth_type: AuthType,
    parts: &http::request::Parts,
) -> Result<(), Refusal> {
    match auth_type {
        AuthType::None => {
            let store = cloud.lambda.store();
            let function = store
                .function(of, &cloud.account)
                .map_err(|error| Refusal::forbidden(error.message))?;
            policy::authorize_public_url(function, of, &cloud.account).map_err(Refusal::forbidden)
        }
        AuthType::AwsIam => {
            let scope = route::scope(&parts.headers, &parts.uri)
                .filter(|scope| scope.service == "lambda")
                .ok_or_else(|| {
                    Refusal::forbidden("the URL takes requests only that are signed for the service `lambda`")
                })?;
            // The developer's own keys may do everything.
            match cloud.iam.session(&scope.access_key) {
                Some(function) => cloud
                    .iam
                    .authorize(&function, &Access::to_function_url(&of.arn(&cloud.account)))
                    .map_err(|error| Refusal::forbidden(error.message)),
                None => Ok(()),
            }
        }
    }
}

fn not_invoked(error: ApiError) -> Refusal {
    match error.status {
        429 => Refusal {
            status: 429,
            code: "TooManyRequestsException",
            message: "Too Many Requests",
            why: error.message,
        },
        413 => Refusal {
            status: 413,
            code: "RequestEntityTooLargeException",
            message: "Request Too Long",
            why: error.message,
        },
        _ => Refusal::bad_gateway(format!("{}: {}", error.code, error.message)),
    }
}

/// Sends the client to the path with the slash: what a page refers to is relative to it.
fn with_slash(request: &axum::extract::Request) -> Response {
    let uri = request.uri();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}/{query}", uri.path());
    let built = http::Response::builder()
        .status(308)
        .header(header::LOCATION, target)
        .body(Body::empty());
    built.unwrap_or_else(|_| Refusal::forbidden("the path cannot be repeated in a header").respond())
}
