//! A post of ours beside one of the SDK: what API Gateway sees is the same.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::error::Error;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_apigatewaymanagement::config::{BehaviorVersion, Builder, Region};
use aws_sdk_apigatewaymanagement::primitives::{Blob, DateTime, DateTimeFormat};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use common::Server;
use functions::adapters::{ApiGateway, Aws};
use functions::config::Environment;
use functions_domain::ConnectionId;
use functions_domain::ports::SendFrame;
use http::{HeaderMap, Request};

const TOKEN: &str = "IQoJb3JpZ2luX2VjEB//+==";

fn credentials() -> Credentials {
    Credentials::new(
        "ASIAEXAMPLE",
        "wJalrXUtnFEMI/K7MDENG",
        Some(TOKEN.to_owned()),
        None,
        "test",
    )
}

fn sdk(endpoint: &str) -> aws_sdk_apigatewaymanagement::Client {
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(credentials())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint);
    aws_sdk_apigatewaymanagement::Client::from_conf(config.build())
}

fn ours(endpoint: &str) -> ApiGateway {
    let environment = Environment::of([
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG"),
        ("AWS_SESSION_TOKEN", TOKEN),
        ("MANAGEMENT_ENDPOINT", endpoint),
    ]);
    Aws::new(&environment).unwrap().gateway().unwrap()
}

/// Returns the `authorization` that `aws-sigv4` gives a request that was received, for the headers that are signed in it.
fn expected_authorization(request: &Request<String>) -> String {
    let text = |name: &str| request.headers()[name].to_str().unwrap();
    let stamp = text("x-amz-date");
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &stamp[..4],
        &stamp[4..6],
        &stamp[6..8],
        &stamp[9..11],
        &stamp[11..13],
        &stamp[13..15]
    );
    let time = DateTime::from_str(&iso, DateTimeFormat::DateTime).unwrap();
    let identity = credentials().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("execute-api")
        .time(SystemTime::try_from(time).unwrap())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let names = text("authorization").split("SignedHeaders=").nth(1).unwrap();
    let names = names.split(',').next().unwrap().split(';');
    // These the signer adds itself.
    let headers: Vec<_> = names
        .filter(|name| !["host", "x-amz-date", "x-amz-security-token"].contains(name))
        .map(|name| (name, text(name)))
        .collect();
    let url = format!("http://{}{}", text("host"), request.uri().path());
    let body = SignableBody::Bytes(request.body().as_bytes());
    let signable = SignableRequest::new(request.method().as_str(), url.as_str(), headers.into_iter(), body).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let mut authorization = instructions.headers().filter(|(name, _)| *name == "authorization");
    authorization.next().unwrap().1.to_owned()
}

fn names(headers: &HeaderMap) -> BTreeSet<&str> {
    headers.keys().map(http::HeaderName::as_str).collect()
}

#[tokio::test]
async fn our_posts_are_the_sdks_posts() {
    let server = Server::start(|_, _| (200, String::new())).await;
    for stage in ["/prod", "", "/_aws/execute-api/abc/local"] {
        let endpoint = format!("{}{stage}", server.url);
        let (sdk, ours) = (sdk(&endpoint), ours(&endpoint));
        for (id, frame) in [
            ("BFaT_fALIAMCKug=", r#"{"type":"message"}"#),
            ("a+b/c==", "Grüße, 世界"),
            ("-._~!$&'()*,;:@ %41", ""),
            ("BFaT_fALIAMCKug=", r#"{"type":"message"}"#),
        ] {
            let before = server.requests().len();
            let post = sdk.post_to_connection().connection_id(id).data(Blob::new(frame));
            post.send().await.unwrap();
            ours.send(&ConnectionId::new(id), frame).await.unwrap();
            let seen = server.requests().split_off(before);
            let [theirs, ours] = seen.as_slice() else {
                panic!("two posts, not {}", seen.len());
            };

            assert_eq!(
                (ours.method(), ours.uri(), ours.body()),
                (theirs.method(), theirs.uri(), theirs.body())
            );
            for name in ["host", "content-type", "content-length", "x-amz-security-token"] {
                assert_eq!(ours.headers().get(name), theirs.headers().get(name), "{name} for {id}");
            }
            // What only the SDK sends is about the SDK.
            let (ours_has, theirs_has) = (names(ours.headers()), names(theirs.headers()));
            assert_eq!(ours_has.difference(&theirs_has).count(), 0, "{ours_has:?}");
            for extra in theirs_has.difference(&ours_has) {
                assert!(
                    ["amz-sdk-invocation-id", "amz-sdk-request", "x-amz-user-agent"].contains(extra),
                    "{extra}"
                );
            }
            for request in [ours, theirs] {
                let authorization = request.headers()["authorization"].to_str().unwrap();
                assert_eq!(authorization, expected_authorization(request), "{id}");
            }
        }
    }
}

#[tokio::test]
async fn errors_say_what_aws_said_and_hold_no_frame() {
    let told = r#"{"message":"Invalid connectionId: ManageConnections"}"#;
    let server = Server::start(|_, _| (400, told.to_owned())).await;
    let gateway = ours(&format!("{}/prod", server.url));
    let error = gateway
        .send(&ConnectionId::new("c="), "private words")
        .await
        .unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("400") && cause.contains("ManageConnections"), "{cause}");
    let shown = format!("{error:?}");
    assert!(!shown.contains("private") && !shown.contains("wJalrX"), "{shown}");
}
