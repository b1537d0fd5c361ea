//! The browser client: served, kept by browsers, and allowed to connect.

use serde_json::{Value as Json, json};

use crate::support::{Carrier, Client, LocalCloud, StageFile, finish, http_with_head, xtask};

/// Asks for something below a URL.
async fn ask(url: &str, method: &str, name: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    http_with_head(&format!("http://{host}"), method, &format!("{path}{name}"), headers, "").await
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_from_its_own_function_with_all_that_a_browser_must_know() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let (url, socket) = (
        outputs["webUrl"].as_str().unwrap(),
        outputs["webSocketUrl"].as_str().unwrap(),
    );

    let (status, head, page) = ask(url, "GET", "", &[]).await;
    assert_eq!((status, page.starts_with("<!doctype html>")), (200, true), "{head}");
    assert_eq!(header(&head, "content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"));
    assert_eq!(header(&head, "referrer-policy"), Some("no-referrer"));
    let policy = header(&head, "content-security-policy").unwrap();
    let origin = socket.split("/_aws").next().unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(policy.contains(&format!("connect-src 'self' {origin};")), "{policy}");

    let tag = header(&head, "etag").unwrap();
    let (status, head, body) = ask(url, "GET", "index.html", &[("if-none-match", tag)]).await;
    assert_eq!((status, body.as_str()), (304, ""));
    assert_eq!(header(&head, "etag"), Some(tag));
    let (status, _, body) = ask(url, "HEAD", "", &[]).await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(ask(url, "GET", "tests/", &[]).await.0, 404);
    assert_eq!(ask(url, "POST", "", &[]).await.0, 405);

    let (_, head, config) = ask(url, "GET", "config.json", &[]).await;
    assert_eq!(header(&head, "content-type"), Some("application/json"));
    let config: Json = serde_json::from_str(&config).unwrap();
    assert_eq!(config, json!({"webSocketUrl": socket, "app": "chat", "stage": "local"}));

    let link = cloud.token(&["--sub", "ada", "--link"]);
    assert!(link.starts_with(&format!("{url}#token=ey")), "{link}");

    // Without either statement AWS answers 403; the next deployment mends it.
    let function = outputs["functions"]["web"].as_str().unwrap();
    for statement in ["WebUrlLivePermission", "WebUrlInvokeLivePermission"] {
        let path = format!("/2015-03-31/functions/{function}/policy/{statement}?Qualifier=live");
        assert_eq!(cloud.rest("lambda", "DELETE", &path).await.0, 204);
        assert_eq!(ask(url, "GET", "", &[]).await.0, 403, "{statement}");
        assert_eq!(cloud.deploy()["outputs"]["webUrl"], url);
        assert_eq!(ask(url, "GET", "", &[]).await.0, 200, "{statement}");
    }
    // A new URL has another address.
    let path = format!("/2021-10-31/functions/{function}/url?Qualifier=live");
    assert_eq!(cloud.rest("lambda", "DELETE", &path).await.0, 204);
    let moved = cloud.deploy()["outputs"]["webUrl"].clone();
    assert_ne!(moved, url);
    assert_eq!(ask(moved.as_str().unwrap(), "GET", "", &[]).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_connect_where_others_must_be_listed() {
    let cloud = LocalCloud::start();
    let stage = StageFile {
        name: format!("origins-{}", std::process::id()),
    };
    stage.write("region: us-east-1\nallowedOrigins: [https://chat.example.com]\n");
    let run = |arguments: &[&str]| {
        let mut command = xtask();
        command
            .args(arguments)
            .args(["--stage", &stage.name])
            .env("AWS_ENDPOINT_URL", &cloud.endpoint)
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "y");
        finish(&mut command)
    };
    let outputs = run(&["deploy", "--yes", "--output", "json"]).json()["outputs"].clone();
    let socket = outputs["webSocketUrl"].as_str().unwrap();
    let token = run(&["token", "--sub", "ada"]).stdout.trim().to_owned();
    let page = cloud.endpoint.as_str();
    for (origin, admitted) in [
        (page, true),
        ("https://chat.example.com", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let headers = [("authorization", token.as_str()), ("origin", origin)];
        let answer = Client::connect_with(socket, &headers).await.map(drop);
        assert_eq!(answer, if admitted { Ok(()) } else { Err(403) }, "{origin}");
    }
    // No page at all is no foreign page.
    assert!(Client::connect(socket, &token, Carrier::Subprotocol).await.is_ok());
}
