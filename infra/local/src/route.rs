//! Finds out where a request wants to go. Pure: looks at path, host and signature only.
//!
//! Signatures are not verified: whoever reaches this port already runs as the developer.

use http::{HeaderMap, Uri, header};

use crate::gateway::Address;
use crate::lambda::{URL_PATH, UrlAddress};

/// Path under which every API is reachable without name resolution.
const EXECUTE_API: &str = "/_aws/execute-api/";

/// Credential scope of a SigV4 signature: `AKID/20150830/us-east-1/iam/aws4_request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) access_key: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// Returns the credential scope from the `Authorization` header or, for presigned requests, from `X-Amz-Credential`.
pub(crate) fn scope(headers: &HeaderMap, uri: &Uri) -> Option<Scope> {
    let header = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("AWS4-HMAC-SHA256"))
        .and_then(|value| {
            value
                .split(',')
                .find_map(|part| part.trim().strip_prefix("Credential="))
        });
    if let Some(credential) = header {
        return parse_scope(credential);
    }
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("X-Amz-Credential="))
        .and_then(|value| parse_scope(&crate::query::percent_decode(value)))
}

fn parse_scope(credential: &str) -> Option<Scope> {
    let mut parts = credential.rsplitn(5, '/');
    let ("aws4_request", service, region, _date, access_key) = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
    ) else {
        return None;
    };
    (!access_key.is_empty()).then(|| Scope {
        access_key: access_key.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    })
}

/// Returns the address within an API, for `/_aws/execute-api/{api}/{stage}[/rest]` on any host and for
/// `/{stage}[/rest]` on the host `{api}.execute-api.localhost[:port]`.
///
/// `None` means that the request is for a control plane.
pub(crate) fn address(headers: &HeaderMap, uri: &Uri) -> Option<Address> {
    if let Some(path) = uri.path().strip_prefix(EXECUTE_API) {
        let (api_id, path) = path.split_once('/').unwrap_or((path, ""));
        return Some(in_api(api_id, path));
    }
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let name = host.split_once(':').map_or(host, |(name, _port)| name);
    let api_id = name.strip_suffix(".execute-api.localhost")?;
    Some(in_api(api_id, uri.path().trim_start_matches('/')))
}

/// Returns the address of a function URL, for `/_aws/lambda-url/{id}[/rest]` on any host and for all paths on the host
/// `{id}.lambda-url.{region}.localhost[:port]`.
pub(crate) fn function_url(headers: &HeaderMap, uri: &Uri) -> Option<UrlAddress> {
    if let Some(path) = uri.path().strip_prefix(URL_PATH) {
        let (id, path) = path.split_at(path.find('/').unwrap_or(path.len()));
        return Some(UrlAddress {
            id: id.to_owned(),
            path: path.to_owned(),
        });
    }
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let name = host.split_once(':').map_or(host, |(name, _port)| name);
    let (id, _region) = name.strip_suffix(".localhost")?.split_once(".lambda-url.")?;
    Some(UrlAddress {
        id: id.to_owned(),
        path: uri.path().to_owned(),
    })
}

fn in_api(api_id: &str, path: &str) -> Address {
    let (stage, rest) = path.split_once('/').unwrap_or((path, ""));
    let rest = if rest.is_empty() {
        String::new()
    } else {
        format!("/{rest}")
    };
    Address {
        api_id: api_id.to_owned(),
        stage: stage.to_owned(),
        rest,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_scope_names_key_region_and_service() {
        let signed = headers(
            header::AUTHORIZATION,
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/iam/aws4_request, SignedHeaders=host, Signature=0",
        );
        let expected = Scope {
            access_key: "AKID".into(),
            region: "eu-west-1".into(),
            service: "iam".into(),
        };
        assert_eq!(scope(&signed, &Uri::from_static("/")), Some(expected.clone()));
        let presigned = Uri::from_static("/?X-Amz-Credential=AKID%2F20260101%2Feu-west-1%2Fiam%2Faws4_request");
        assert_eq!(scope(&HeaderMap::new(), &presigned), Some(expected));
    }

    #[test]
    fn other_authorization_is_no_scope() {
        for value in ["Bearer x", "AWS4-HMAC-SHA256 Credential=AKID/1/iam, Signature=0", ""] {
            assert_eq!(
                scope(&headers(header::AUTHORIZATION, value), &Uri::from_static("/")),
                None,
                "{value}"
            );
        }
    }

    #[test]
    fn a_function_url_is_found_by_path_or_host() {
        let expected = |path: &str| {
            Some(UrlAddress {
                id: "abc".into(),
                path: path.into(),
            })
        };
        let by_path = |path: &str| function_url(&HeaderMap::new(), &path.parse().unwrap());
        assert_eq!(by_path("/_aws/lambda-url/abc"), expected(""));
        assert_eq!(by_path("/_aws/lambda-url/abc/?x=1"), expected("/"));
        assert_eq!(by_path("/_aws/lambda-url/abc/a/b%20c"), expected("/a/b%20c"));
        assert_eq!(by_path("/2021-10-31/functions/f/url"), None);
        let host = headers(header::HOST, "abc.lambda-url.us-east-1.localhost:4566");
        assert_eq!(function_url(&host, &Uri::from_static("/a")), expected("/a"));
        let host = headers(header::HOST, "abc.execute-api.localhost:4566");
        assert_eq!(function_url(&host, &Uri::from_static("/a")), None);
    }

    #[test]
    fn an_api_is_found_by_path_or_host() {
        let expected = |stage: &str, rest: &str| {
            Some(Address {
                api_id: "abc".into(),
                stage: stage.into(),
                rest: rest.into(),
            })
        };
        let none = HeaderMap::new();
        let by_path = |path: &str| address(&none, &path.parse().unwrap());
        assert_eq!(by_path("/_aws/execute-api/abc/dev"), expected("dev", ""));
        assert_eq!(by_path("/_aws/execute-api/abc/dev/?token=1"), expected("dev", ""));
        assert_eq!(by_path("/_aws/execute-api/abc"), expected("", ""));
        assert_eq!(
            by_path("/_aws/execute-api/abc/dev/@connections/x%3D"),
            expected("dev", "/@connections/x%3D")
        );
        assert_eq!(by_path("/v2/apis"), None);

        let host = headers(header::HOST, "abc.execute-api.localhost:4566");
        assert_eq!(address(&host, &Uri::from_static("/dev")), expected("dev", ""));
        assert_eq!(
            address(&host, &Uri::from_static("/dev/@connections/x")),
            expected("dev", "/@connections/x")
        );
    }
}
