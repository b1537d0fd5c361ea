//! The client against a real server on a loopback port.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::net::SocketAddr;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use infra_sigv4::{CallError, Client, Roots};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const SECRET: &str = "a-very-secret-access-key";
const SESSION: &str = "a-session-token";

/// One request as the server saw it.
struct Seen {
    uri: String,
    headers: HeaderMap,
    body: String,
}

/// Answers every request with `status`, `headers` and `body`, and reports what it saw.
async fn server(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let (parts, incoming) = request.into_parts();
                    let received = incoming.collect().await.unwrap().to_bytes();
                    let received = String::from_utf8(received.into()).unwrap();
                    let _ = sender.send(Seen {
                        uri: parts.uri.to_string(),
                        headers: parts.headers,
                        body: received,
                    });
                    let mut response = Response::builder().status(status);
                    for (name, value) in headers {
                        response = response.header(*name, *value);
                    }
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
                }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    (address, seen)
}

fn client(address: SocketAddr) -> Client {
    let credentials = Credentials::new("AKIDEXAMPLE", SECRET, Some(SESSION.to_owned()), None, "test");
    Client::new(
        SharedCredentialsProvider::new(credentials),
        "eu-west-1",
        Some(format!("http://{address}")),
        Roots::Machine,
    )
    .unwrap()
}

#[tokio::test]
async fn a_json_call_is_signed_and_decoded() {
    let (address, mut seen) = server(200, &[], r#"{"Parameter":{"Value":"v"}}"#).await;
    let input = json!({"Name": "/a/b"});
    let output = client(address)
        .aws_json("ssm", "AmazonSSM.GetParameter", &input)
        .await
        .unwrap();
    assert_eq!(output["Parameter"]["Value"], "v");

    let seen = seen.recv().await.unwrap();
    let authorization = seen.headers["authorization"].to_str().unwrap();
    assert!(
        authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
        "{authorization}"
    );
    assert!(authorization.contains("/eu-west-1/ssm/aws4_request"), "{authorization}");
    for signed in [
        "content-type",
        "host",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-target",
    ] {
        assert!(authorization.contains(signed), "{signed} in {authorization}");
    }
    assert_eq!(seen.headers["x-amz-security-token"], SESSION);
    assert_eq!(seen.headers["x-amz-target"], "AmazonSSM.GetParameter");
    assert_eq!(seen.headers["content-type"], "application/x-amz-json-1.1");
    assert_eq!(seen.body, r#"{"Name":"/a/b"}"#);
    assert_eq!(seen.uri, "/");
}

#[tokio::test]
async fn a_query_call_sends_a_form_and_returns_the_xml() {
    let (address, mut seen) = server(200, &[], "<GetRoleResponse/>").await;
    let xml = client(address)
        .query("iam", "2010-05-08", "GetRole", &[("RoleName", "a b")])
        .await
        .unwrap();
    assert_eq!(xml, "<GetRoleResponse/>");

    let seen = seen.recv().await.unwrap();
    assert_eq!(seen.body, "Action=GetRole&Version=2010-05-08&RoleName=a%20b");
    let authorization = seen.headers["authorization"].to_str().unwrap();
    assert!(authorization.contains("/us-east-1/iam/aws4_request"), "{authorization}");
}

#[tokio::test]
async fn an_empty_answer_is_an_empty_object() {
    let (address, _seen) = server(200, &[], "").await;
    let output = client(address)
        .aws_json("logs", "Logs_20140328.CreateLogGroup", &json!({}))
        .await
        .unwrap();
    assert_eq!(output, json!({}));
}

#[tokio::test]
async fn an_unreadable_answer_is_an_error() {
    let (address, _seen) = server(200, &[], "<html>").await;
    let error = client(address)
        .aws_json("ssm", "AmazonSSM.GetParameter", &json!({}))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Answer { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_carries_code_message_and_request() {
    let (address, _seen) = server(
        429,
        &[("x-amzn-requestid", "r-1"), ("retry-after", "3")],
        r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#,
    )
    .await;
    let error = client(address)
        .aws_json("ssm", "AmazonSSM.GetParameter", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("ThrottlingException"));
    assert_eq!(
        error.to_string(),
        "ssm GetParameter: ThrottlingException (HTTP 429): Rate exceeded, request r-1"
    );
    let CallError::Service { retry_after, .. } = error else {
        panic!("a service error")
    };
    assert_eq!(retry_after.map(|wait| wait.as_secs()), Some(3));
}

#[tokio::test]
async fn a_refused_connection_was_certainly_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address)
        .query("iam", "2010-05-08", "GetRole", &[])
        .await
        .unwrap_err();
    assert!(
        matches!(error, CallError::Transport { maybe_sent: false, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_connection_lost_after_the_request_was_maybe_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.readable().await.unwrap();
            let mut some = [0; 16];
            let _ = stream.try_read(&mut some);
        }
    });
    let error = client(address)
        .query("iam", "2010-05-08", "CreateRole", &[])
        .await
        .unwrap_err();
    assert!(
        matches!(error, CallError::Transport { maybe_sent: true, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn no_secret_shows_in_debug_output_or_errors() {
    let (address, _seen) = server(403, &[], r#"{"__type":"AccessDeniedException","message":"no"}"#).await;
    let client = client(address);
    let input = json!({"Value": "parameter-value"});
    let error = client
        .aws_json("ssm", "AmazonSSM.PutParameter", &input)
        .await
        .unwrap_err();
    let shown = format!("{client:?} {error:?} {error}");
    for secret in [SECRET, SESSION, "parameter-value"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn invalid_headers_are_reported_not_sent() {
    let (address, mut seen) = server(200, &[], "").await;
    let call = infra_sigv4::Call {
        service: "ssm",
        host_prefix: "",
        operation: "Nothing",
        method: http::Method::POST,
        path: "/",
        query: &[],
        headers: &[("x-bad", "line\nbreak")],
        body: Bytes::new(),
    };
    let error = client(address).send(call).await.err().unwrap();
    assert!(matches!(error, CallError::Request { .. }), "{error:?}");
    assert!(seen.try_recv().is_err());
}
