//! Invocations: what the processes see, say and do.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;

use super::*;

const F: &str = "/2015-03-31/functions/f";

#[tokio::test]
async fn a_function_gets_its_event_and_its_answer_comes_back() {
    let cloud = cloud().await;
    assert_eq!(create(&cloud, "f", json!({})).await.status, 201);
    assert_eq!(
        success(run(&cloud, "f", json!({ "a": [1, "ä"] })).await),
        json!({ "a": [1, "ä"] })
    );
    cloud.lambda.shutdown().await;
}

#[tokio::test]
async fn sequential_invocations_share_a_process_and_parallel_ones_do_not() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    let describe = json!({ "describe": true });
    let mut pids = HashSet::new();
    for _ in 0..5 {
        pids.insert(
            success(run(&cloud, "f", describe.clone()).await)["pid"]
                .as_u64()
                .unwrap(),
        );
    }
    assert_eq!(pids.len(), 1);
    let slow = json!({ "describe": true, "sleep_ms": 300 });
    let answers = join_all((0..4).map(|_| run(&cloud, "f", slow.clone()))).await;
    let pids: HashSet<u64> = answers
        .into_iter()
        .map(|answer| success(answer)["pid"].as_u64().unwrap())
        .collect();
    assert_eq!(pids.len(), 4);
}

#[tokio::test]
async fn the_environment_is_lambdas_and_the_functions_and_nothing_else() {
    let cloud = cloud().await;
    let logging = json!({ "LogFormat": "JSON", "ApplicationLogLevel": "DEBUG", "LogGroup": "/chat/f" });
    let own = json!({ "Variables": { "TABLE": "chat" } });
    create(
        &cloud,
        "f",
        json!({ "Environment": own, "LoggingConfig": logging, "MemorySize": 256 }),
    )
    .await;
    let seen = success(run(&cloud, "f", json!({ "describe": true })).await);
    let environment = &seen["environment"];
    assert_eq!(environment["TABLE"], "chat");
    assert_eq!(environment["AWS_REGION"], "us-east-1");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "f");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_VERSION"], "$LATEST");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    assert_eq!(environment["AWS_LAMBDA_LOG_GROUP_NAME"], "/chat/f");
    assert_eq!(environment["AWS_LAMBDA_LOG_FORMAT"], "JSON");
    assert_eq!(environment["AWS_LAMBDA_LOG_LEVEL"], "DEBUG");
    assert_eq!(environment["AWS_ENDPOINT_URL"], "http://127.0.0.1:4566");
    assert_eq!(environment["_HANDLER"], "bootstrap");
    assert_eq!(environment["LAMBDA_TASK_ROOT"], seen["folder"]);
    assert_eq!(seen["arn"], "arn:aws:lambda:us-east-1:000000000000:function:f");
    // Cargo sets it for this test, so it would show if our own environment got through.
    assert!(environment.get("CARGO_MANIFEST_DIR").is_none());
}

#[tokio::test]
async fn failures_read_as_on_aws() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({ "Timeout": 1 })).await;
    let error = failure(run(&cloud, "f", json!({ "error": "no such room" })).await);
    assert_eq!(error["errorMessage"], "no such room");

    let panicked = failure(run(&cloud, "f", json!({ "panic": "oh" })).await);
    assert!(panicked["errorMessage"].as_str().unwrap().contains("oh"), "{panicked}");

    let exited = failure(run(&cloud, "f", json!({ "exit": 3 })).await);
    assert_eq!(exited["errorType"], "Runtime.ExitError");
    assert!(
        exited["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("Error: Runtime exited with error: exit status 3")
    );

    let late = failure(run(&cloud, "f", json!({ "sleep_ms": 60_000 })).await);
    assert_eq!(late["errorType"], "Sandbox.Timedout");
    assert!(
        late["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("Task timed out after 1.00 seconds")
    );

    let large = failure(run(&cloud, "f", json!({ "return_bytes": 6 * 1024 * 1024 + 200 })).await);
    assert_eq!(large["errorType"], "Function.ResponseSizeTooLarge");

    // None of this harms the next invocation.
    assert_eq!(success(run(&cloud, "f", json!(1)).await), 1);
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why() {
    let cloud = cloud().await;
    create(
        &cloud,
        "init",
        json!({ "Environment": { "Variables": { "FAIL_INIT": "7" } } }),
    )
    .await;
    let error = failure(run(&cloud, "init", json!({})).await);
    assert_eq!(error["errorType"], "Runtime.ExitError");
    assert!(error["errorMessage"].as_str().unwrap().ends_with("exit status 7"));

    for (name, archive, says) in [
        (
            "no-bootstrap",
            zip(&[("main", 0o755, b"")]),
            "Couldn't find valid bootstrap(s)",
        ),
        (
            "not-executable",
            zip(&[("bootstrap", 0o644, b"#!/bin/sh\n")]),
            "permission denied",
        ),
        (
            "no-program",
            zip(&[("bootstrap", 0o755, b"\x7fELF nonsense")]),
            "exec format error",
        ),
    ] {
        let created = call(
            &cloud,
            "POST",
            "/2015-03-31/functions",
            settings(name, &archive, json!({})),
        )
        .await;
        assert_eq!(created.status, 201, "AWS notices at the first invocation only");
        let error = failure(run(&cloud, name, json!({})).await);
        assert_eq!(error["errorType"], "Runtime.InvalidEntrypoint");
        assert!(error["errorMessage"].as_str().unwrap().contains(says), "{error}");
    }
    let archive = zip(&[("../escaped", 0o644, b""), ("bootstrap", 0o755, b"")]);
    call(
        &cloud,
        "POST",
        "/2015-03-31/functions",
        settings("slip", &archive, json!({})),
    )
    .await;
    let error = failure(run(&cloud, "slip", json!({})).await);
    assert!(
        error["errorMessage"].as_str().unwrap().contains("leaves its folder"),
        "{error}"
    );
}

#[tokio::test]
async fn an_update_reaches_the_next_invocation() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    let before = success(run(&cloud, "f", json!({ "describe": true })).await);
    let update = json!({ "Environment": { "Variables": { "COLOUR": "blue" } } });
    assert_eq!(
        call(&cloud, "PUT", &format!("{F}/configuration"), update).await.status,
        200
    );
    let after = success(run(&cloud, "f", json!({ "describe": true })).await);
    assert_eq!(after["environment"]["COLOUR"], "blue");
    assert_ne!(before["pid"], after["pid"]);
    wait_for_end(before["pid"].as_u64().unwrap()).await;
}

#[tokio::test]
async fn published_versions_and_aliases_keep_their_settings() {
    let cloud = cloud().await;
    let colour = |colour: &str| json!({ "Environment": { "Variables": { "COLOUR": colour } } });
    create(&cloud, "f", colour("red")).await;
    assert_eq!(
        call(&cloud, "POST", &format!("{F}/versions"), json!({})).await.body["Version"],
        "1"
    );
    call(&cloud, "PUT", &format!("{F}/configuration"), colour("blue")).await;
    call(
        &cloud,
        "POST",
        &format!("{F}/aliases"),
        json!({ "Name": "live", "FunctionVersion": "1" }),
    )
    .await;
    for (function, expected, version) in [("f", "blue", "$LATEST"), ("f:1", "red", "1"), ("f:live", "red", "1")] {
        let seen = success(run(&cloud, function, json!({ "describe": true })).await);
        assert_eq!(seen["environment"]["COLOUR"], expected);
        assert_eq!(seen["environment"]["AWS_LAMBDA_FUNCTION_VERSION"], version);
        assert!(seen["arn"].as_str().unwrap().ends_with(&format!("function:{function}")));
    }
}

#[tokio::test]
async fn a_moved_alias_lets_running_invocations_end_on_the_old_version() {
    let cloud = cloud().await;
    let colour = |colour: &str| json!({ "Environment": { "Variables": { "COLOUR": colour } } });
    create(&cloud, "f", colour("red")).await;
    call(&cloud, "POST", &format!("{F}/versions"), json!({})).await;
    let live = json!({ "Name": "live", "FunctionVersion": "1" });
    call(&cloud, "POST", &format!("{F}/aliases"), live).await;
    call(&cloud, "PUT", &format!("{F}/configuration"), colour("blue")).await;
    call(&cloud, "POST", &format!("{F}/versions"), json!({})).await;

    let slow = run(&cloud, "f:live", json!({ "describe": true, "sleep_ms": 1000 }));
    let update = async {
        // Not before the slow invocation has begun.
        tokio::task::yield_now().await;
        let moved = json!({ "FunctionVersion": "2" });
        let moved = call(&cloud, "PUT", &format!("{F}/aliases/live"), moved).await;
        assert_eq!(moved.status, 200);
        let deleted = call(&cloud, "DELETE", &format!("{F}?Qualifier=1"), json!({})).await;
        assert_eq!(deleted.status, 204);
        run(&cloud, "f:live", json!({ "describe": true })).await
    };
    let (old, new) = futures_util::future::join(slow, update).await;
    let (old, new) = (success(old), success(new));
    assert_eq!(old["environment"]["COLOUR"], "red");
    assert_eq!(new["environment"]["COLOUR"], "blue");
    wait_for_end(old["pid"].as_u64().unwrap()).await;
}

#[tokio::test]
async fn the_invoke_api_tells_version_error_and_log() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    let uri = format!("{F}/invocations");
    let payload = json!({ "print": ["first", "second"], "print_error": ["third"], "return": 1 }).to_string();
    let answer = call_with(&cloud, "POST", &uri, &[("x-amz-log-type", "Tail")], payload.into()).await;
    assert_eq!(
        (answer.status, answer.header("x-amz-executed-version")),
        (200, "$LATEST")
    );
    assert_eq!(answer.header("x-amz-function-error"), "");
    let log = String::from_utf8(STANDARD.decode(answer.header("x-amz-log-result")).unwrap()).unwrap();
    let mut words: Vec<&str> = log.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!((words.remove(0), words.split_off(3)), ("START", vec!["END", "REPORT"]));
    words.sort_unstable();
    assert_eq!(words, ["first", "second", "third"]);
    assert!(
        log.contains("Init Duration: ") && log.contains("Billed Duration: "),
        "{log}"
    );

    let answer = call_with(&cloud, "POST", &uri, &[], r#"{"error":"no"}"#.into()).await;
    assert_eq!(
        (answer.status, answer.header("x-amz-function-error")),
        (200, "Unhandled")
    );
    let answer = call_with(
        &cloud,
        "POST",
        &uri,
        &[("x-amz-invocation-type", "DryRun")],
        "{}".into(),
    )
    .await;
    assert_eq!(answer.status, 204);
    let answer = call_with(&cloud, "POST", &uri, &[], "no json".into()).await;
    assert_eq!(answer.error(), (400, "InvalidRequestContentException"));
    let large = format!("\"{}\"", "x".repeat(6 * 1024 * 1024));
    let answer = call_with(&cloud, "POST", &uri, &[], large.into()).await;
    assert_eq!(answer.error(), (413, "RequestTooLargeException"));
    let answer = call_with(&cloud, "POST", "/2015-03-31/functions/g/invocations", &[], "{}".into()).await;
    assert_eq!(answer.error(), (404, "ResourceNotFoundException"));
}

#[tokio::test]
async fn all_lines_are_in_the_log_group_when_the_answer_is_there() {
    let cloud = cloud().await;
    for format in ["Text", "JSON"] {
        let name = format!("f{format}");
        let logging = json!({ "LogGroup": "/aws/lambda/f", "LogFormat": format });
        create(&cloud, &name, json!({ "LoggingConfig": logging })).await;
        let lines: Vec<String> = (0..500).map(|line| format!("{name} {line:03}")).collect();
        run(&cloud, &name, json!({ "print": lines })).await;
        let events = messages(&cloud).await;
        let printed: Vec<&String> = events.iter().filter(|line| lines.contains(line)).collect();
        assert!(printed.iter().copied().eq(&lines), "all, in order: {printed:?}");
    }
    let events = messages(&cloud).await;
    for expected in [
        "INIT_START ",
        "START RequestId: ",
        "END RequestId: ",
        "REPORT RequestId: ",
    ] {
        assert_eq!(
            events.iter().filter(|line| line.starts_with(expected)).count(),
            1,
            "{expected}"
        );
    }
    for kind in ["platform.initStart", "platform.start", "platform.report"] {
        let of_kind = |line: &&String| serde_json::from_str::<Value>(line).is_ok_and(|event| event["type"] == kind);
        assert_eq!(events.iter().filter(of_kind).count(), 1, "{kind}");
    }
}

/// All messages of the group `/aws/lambda/f`, by stream.
async fn messages(cloud: &SharedCloud) -> Vec<String> {
    let mut messages = Vec::new();
    let mut token = Value::Null;
    loop {
        let mut input = json!({ "logGroupName": "/aws/lambda/f" });
        if !token.is_null() {
            input["nextToken"] = token;
        }
        let page = logs(cloud, "FilterLogEvents", input).await;
        let events = page["events"].as_array().unwrap();
        messages.extend(events.iter().map(|event| event["message"].as_str().unwrap().to_owned()));
        token = page["nextToken"].clone();
        if token.is_null() {
            return messages;
        }
    }
}

#[tokio::test]
async fn a_process_signs_with_its_role_while_it_lives() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    let seen = success(run(&cloud, "f", json!({ "describe": true })).await);
    let key = seen["environment"]["AWS_ACCESS_KEY_ID"].as_str().unwrap();
    let session = cloud.iam.session(key).unwrap();
    assert_eq!((session.role_arn.as_str(), session.session_name.as_str()), (ROLE, "f"));
    cloud.lambda.shutdown().await;
    eventually(|| cloud.iam.session(key).is_none()).await;
}

#[tokio::test]
async fn functions_and_their_code_survive_a_restart() {
    let first = cloud().await;
    create(&first, "f", json!({ "MemorySize": 256 })).await;
    let state = first.lambda.kept().take_changed().unwrap().unwrap();
    let second = cloud().await;
    second.lambda.kept().load(&state).unwrap();
    assert_eq!(success(run(&second, "f", json!(1)).await), 1);
    let read = call(&second, "GET", F, json!({})).await.body;
    assert_eq!(
        read["Configuration"],
        call(&first, "GET", F, json!({})).await.body["Configuration"]
    );
}

#[tokio::test]
async fn an_event_is_answered_at_once_and_tried_again_when_it_fails() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    let folder = std::env::temp_dir().join(format!("lambda-event-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let script = format!("#!/bin/sh\nmktemp -p {} >/dev/null\nexit 1\n", folder.display());
    let archive = zip(&[("bootstrap", 0o755, script.as_bytes())]);
    call(
        &cloud,
        "POST",
        "/2015-03-31/functions",
        settings("g", &archive, json!({})),
    )
    .await;
    let event = [("x-amz-invocation-type", "Event")];
    let answer = call_with(
        &cloud,
        "POST",
        "/2015-03-31/functions/g/invocations",
        &event,
        "{}".into(),
    )
    .await;
    assert_eq!((answer.status, answer.body), (202, Value::Null));
    eventually(|| std::fs::read_dir(&folder).unwrap().count() == 3).await;
    std::fs::remove_dir_all(folder).unwrap();
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    let answer = call_with(&cloud, "POST", &format!("{F}/invocations"), &event, large.into()).await;
    assert_eq!(answer.error(), (413, "RequestTooLargeException"));
}

#[tokio::test]
async fn an_event_that_is_throttled_waits_longer_than_one_that_fails() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    // Its log group is there then.
    run(&cloud, "f", json!(1)).await;
    let concurrency = "/2017-10-31/functions/f/concurrency";
    call(&cloud, "PUT", concurrency, json!({ "ReservedConcurrentExecutions": 0 })).await;
    let event = [("x-amz-invocation-type", "Event")];
    let payload = Bytes::from_static(br#"{"print":["at last"]}"#);
    call_with(&cloud, "POST", &format!("{F}/invocations"), &event, payload).await;
    // By then an event that fails has been dropped.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!messages(&cloud).await.iter().any(|line| line.contains("at last")));
    call(&cloud, "DELETE", concurrency, json!({})).await;
    let told = async {
        while !messages(&cloud).await.iter().any(|line| line.contains("at last")) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
}

#[tokio::test]
async fn reserved_concurrency_throttles() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    let uri = "/2017-10-31/functions/f/concurrency";
    call(&cloud, "PUT", uri, json!({ "ReservedConcurrentExecutions": 1 })).await;
    let invoke = || invoke(&cloud, "f", r#"{"sleep_ms":300}"#.into(), Invoker::Account);
    let codes: Vec<Option<String>> = join_all([invoke(), invoke()])
        .await
        .into_iter()
        .map(|answer| answer.err().map(|error| error.code))
        .collect();
    assert_eq!(codes, [None, Some("TooManyRequestsException".to_owned())]);
    call(&cloud, "DELETE", uri, json!({})).await;
    assert!(
        join_all([invoke(), invoke()])
            .await
            .into_iter()
            .all(|answer| answer.is_ok())
    );
}

#[tokio::test]
async fn a_service_needs_a_permission() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    let source = |arn: &str| Invoker::Service {
        principal: "apigateway.amazonaws.com",
        source_arn: arn.to_owned(),
    };
    let connect = "arn:aws:execute-api:us-east-1:000000000000:abc/dev/$connect";
    let denied = invoke(&cloud, "f", Bytes::new(), source(connect)).await.unwrap_err();
    assert_eq!((denied.status, denied.code.as_str()), (403, "AccessDeniedException"));
    let permission = json!({
        "StatementId": "api",
        "Action": "lambda:InvokeFunction",
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": "arn:aws:execute-api:us-east-1:000000000000:abc/*/$connect",
        "SourceAccount": "000000000000",
    });
    assert_eq!(
        call(&cloud, "POST", &format!("{F}/policy"), permission.clone())
            .await
            .status,
        201
    );
    assert!(invoke(&cloud, "f", Bytes::new(), source(connect)).await.is_ok());
    let other_route = "arn:aws:execute-api:us-east-1:000000000000:abc/dev/$default";
    let other_account = "arn:aws:execute-api:us-east-1:111111111111:abc/dev/$connect";
    for arn in [other_route, other_account] {
        assert_eq!(
            invoke(&cloud, "f", Bytes::new(), source(arn)).await.unwrap_err().status,
            403
        );
    }
    call(&cloud, "POST", &format!("{F}/versions"), json!({})).await;
    let qualified = invoke(&cloud, "f:1", Bytes::new(), source(connect)).await;
    assert_eq!(
        qualified.unwrap_err().status,
        403,
        "a permission does not extend to versions"
    );

    // An alias has a policy of its own, and keeps it when it is moved.
    let live = json!({ "Name": "live", "FunctionVersion": "1" });
    call(&cloud, "POST", &format!("{F}/aliases"), live).await;
    let through_alias = || invoke(&cloud, "f:live", Bytes::new(), source(connect));
    assert_eq!(through_alias().await.unwrap_err().status, 403);
    let added = call(&cloud, "POST", &format!("{F}/policy?Qualifier=live"), permission).await;
    assert_eq!(added.status, 201);
    assert!(through_alias().await.is_ok());
    let memory = json!({ "MemorySize": 512 });
    call(&cloud, "PUT", &format!("{F}/configuration"), memory).await;
    call(&cloud, "POST", &format!("{F}/versions"), json!({})).await;
    let moved = json!({ "FunctionVersion": "2" });
    call(&cloud, "PUT", &format!("{F}/aliases/live"), moved).await;
    assert!(through_alias().await.is_ok());
    let removed = call(&cloud, "DELETE", &format!("{F}/policy/api?Qualifier=live"), json!({})).await;
    assert_eq!(removed.status, 204);
    assert_eq!(through_alias().await.unwrap_err().status, 403);
    assert!(invoke(&cloud, "f", Bytes::new(), source(connect)).await.is_ok());
}

#[tokio::test]
async fn shutdown_and_drop_end_all_processes() {
    for shut_down in [true, false] {
        let cloud = cloud().await;
        create(&cloud, "f", json!({})).await;
        let idle = success(run(&cloud, "f", json!({ "describe": true })).await);
        let folder = idle["folder"].as_str().unwrap().to_owned();
        if shut_down {
            cloud.lambda.shutdown().await;
            let refused = invoke(&cloud, "f", Bytes::new(), Invoker::Account).await.unwrap_err();
            assert_eq!(refused.status, 503);
        }
        drop(cloud);
        wait_for_end(idle["pid"].as_u64().unwrap()).await;
        eventually(|| !Path::new(&folder).exists()).await;
    }
}

async fn wait_for_end(pid: u64) {
    let status = format!("/proc/{pid}/stat");
    // A zombie has ended; tokio collects it in its own time.
    let ended = || std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
    eventually(ended).await;
}

async fn eventually(done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("it happens within 20 seconds");
}
