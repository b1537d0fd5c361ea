//! The control plane: what is stored is read back, and what AWS refuses is refused.

use super::*;

const F: &str = "/2015-03-31/functions/f";

#[tokio::test]
async fn a_created_function_reads_back_with_defaults() {
    let cloud = cloud().await;
    let created = create(&cloud, "f", json!({ "Tags": { "app": "chat" }, "Description": "d" })).await;
    assert_eq!(created.status, 201);
    let read = call(&cloud, "GET", F, json!({})).await.body;
    assert_eq!(read["Configuration"], created.body);
    assert_eq!(read["Tags"], json!({ "app": "chat" }));
    assert_eq!(read["Code"]["RepositoryType"], "S3");
    let expected = json!({
        "FunctionName": "f",
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "Runtime": "provided.al2023",
        "Role": ROLE,
        "Handler": "bootstrap",
        "Description": "d",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "TracingConfig": { "Mode": "PassThrough" },
        "EphemeralStorage": { "Size": 512 },
        "SnapStart": { "ApplyOn": "None", "OptimizationStatus": "Off" },
        "LoggingConfig": { "LogFormat": "Text", "LogGroup": "/aws/lambda/f" },
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&created.body[member], value, "{member}");
    }
    assert!(created.body.get("Environment").is_none());
    let modified = created.body["LastModified"].as_str().unwrap();
    assert!(modified.len() == 28 && modified.ends_with("+0000"), "{modified}");
    assert_eq!(
        create(&cloud, "f", json!({})).await.error(),
        (409, "ResourceConflictException")
    );
}

#[tokio::test]
async fn what_aws_refuses_is_refused() {
    let cloud = cloud().await;
    let variables = |key: &str, value: &str| json!({ "Environment": { "Variables": { key: value } } });
    let cases = [
        ("a b", json!({}), "ValidationException"),
        (&*"x".repeat(65), json!({}), "ValidationException"),
        ("f", json!({ "MemorySize": 127 }), "ValidationException"),
        ("f", json!({ "MemorySize": 10_241 }), "ValidationException"),
        ("f", json!({ "Timeout": 0 }), "ValidationException"),
        ("f", json!({ "Timeout": 901 }), "ValidationException"),
        ("f", json!({ "Timeout": "3" }), "SerializationException"),
        (
            "f",
            json!({ "Runtime": "provided.al2099" }),
            "InvalidParameterValueException",
        ),
        ("f", json!({ "Handler": null }), "InvalidParameterValueException"),
        ("f", json!({ "Role": "arn:aws:iam::1:role/x" }), "ValidationException"),
        (
            "f",
            json!({ "Role": "arn:aws:iam::000000000000:role/none" }),
            "InvalidParameterValueException",
        ),
        ("f", json!({ "Architectures": ["riscv"] }), "ValidationException"),
        (
            "f",
            json!({ "Architectures": ["x86_64", "arm64"] }),
            "ValidationException",
        ),
        ("f", variables("AWS_REGION", "x"), "InvalidParameterValueException"),
        ("f", variables("1A", "x"), "ValidationException"),
        (
            "f",
            variables("BIG", &"x".repeat(4096)),
            "InvalidParameterValueException",
        ),
        ("f", json!({ "Code": {} }), "InvalidParameterValueException"),
        (
            "f",
            json!({ "Code": { "ZipFile": "bm8gemlw" } }),
            "InvalidParameterValueException",
        ),
        (
            "f",
            json!({ "Code": { "S3Bucket": "b", "S3Key": "k" } }),
            "InvalidParameterValueException",
        ),
        (
            "f",
            json!({ "Layers": ["arn:aws:lambda:us-east-1:1:layer:l:1"] }),
            "InvalidParameterValueException",
        ),
        (
            "f",
            json!({ "LoggingConfig": { "SystemLogLevel": "INFO" } }),
            "InvalidParameterValueException",
        ),
    ];
    for (name, more, code) in cases {
        let answer = create(&cloud, name, more.clone()).await;
        assert_eq!(answer.error(), (400, code), "{more}: {}", answer.body);
    }
    let two = create(&cloud, "f", json!({ "Timeout": 0, "MemorySize": 1 })).await;
    assert!(
        two.body["message"]
            .as_str()
            .unwrap()
            .starts_with("2 validation errors detected: ")
    );
    assert_eq!(
        call(&cloud, "GET", F, json!({})).await.error(),
        (404, "ResourceNotFoundException")
    );
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_the_revision() {
    let cloud = cloud().await;
    let settings = json!({ "Environment": { "Variables": { "AA": "1", "BB": "2" } }, "Timeout": 9 });
    let first = create(&cloud, "f", settings).await.body;
    let update = json!({ "MemorySize": 256, "Environment": { "Variables": { "AA": "3" } } });
    let second = call(&cloud, "PUT", &format!("{F}/configuration"), update).await.body;
    assert_eq!(second["Environment"], json!({ "Variables": { "AA": "3" } }));
    assert_eq!((&second["Timeout"], &second["MemorySize"]), (&json!(9), &json!(256)));
    assert_ne!(first["RevisionId"], second["RevisionId"]);

    let stale = json!({ "Timeout": 5, "RevisionId": first["RevisionId"] });
    let answer = call(&cloud, "PUT", &format!("{F}/configuration"), stale).await;
    assert_eq!(answer.error(), (412, "PreconditionFailedException"));
    let answer = call(
        &cloud,
        "PUT",
        &format!("{F}/configuration"),
        json!({ "Architectures": ["arm64"] }),
    )
    .await;
    assert_eq!(answer.error(), (400, "InvalidParameterValueException"));

    let archive = STANDARD.encode(zip(&[("bootstrap", 0o755, b"other")]));
    let dry = json!({ "ZipFile": archive, "DryRun": true });
    let dry = call(&cloud, "PUT", &format!("{F}/code"), dry).await.body;
    assert_ne!(dry["CodeSha256"], second["CodeSha256"]);
    let unchanged = call(&cloud, "GET", &format!("{F}/configuration"), json!({})).await.body;
    assert_eq!(unchanged, second);
    let code = json!({ "ZipFile": archive, "Architectures": ["arm64"] });
    let third = call(&cloud, "PUT", &format!("{F}/code"), code).await.body;
    assert_eq!(third["CodeSha256"], dry["CodeSha256"]);
    assert_eq!(third["Architectures"], json!(["arm64"]));
    assert_eq!(third["MemorySize"], 256);
    assert_eq!(cloud.lambda.store().archives.len(), 1, "the first archive is not kept");
}

#[tokio::test]
async fn versions_are_snapshots_and_aliases_name_them() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    let versions = format!("{F}/versions");
    let one = call(&cloud, "POST", &versions, json!({ "Description": "one" })).await;
    assert_eq!((one.status, &one.body["Version"]), (201, &json!("1")));
    assert!(one.body["FunctionArn"].as_str().unwrap().ends_with(":f:1"));
    assert_eq!(
        call(&cloud, "POST", &versions, json!({})).await.body["Version"],
        "1",
        "nothing changed"
    );
    call(&cloud, "PUT", &format!("{F}/configuration"), json!({ "Timeout": 7 })).await;
    assert_eq!(call(&cloud, "POST", &versions, json!({})).await.body["Version"], "2");
    let read = call(&cloud, "GET", &format!("{F}/configuration?Qualifier=1"), json!({}))
        .await
        .body;
    assert_eq!((&read["Timeout"], &read["Description"]), (&json!(3), &json!("one")));
    let page = call(&cloud, "GET", &format!("{versions}?MaxItems=2"), json!({}))
        .await
        .body;
    assert_eq!(page["Versions"].as_array().unwrap().len(), 2);
    let marker = page["NextMarker"].as_str().unwrap();
    let rest = call(
        &cloud,
        "GET",
        &format!("{versions}?MaxItems=2&Marker={marker}"),
        json!({}),
    )
    .await
    .body;
    assert_eq!(
        (&rest["Versions"][0]["Version"], &rest["NextMarker"]),
        (&json!("2"), &Value::Null)
    );

    let aliases = format!("{F}/aliases");
    let live = json!({ "Name": "live", "FunctionVersion": "1" });
    assert_eq!(call(&cloud, "POST", &aliases, live.clone()).await.status, 201);
    assert_eq!(
        call(&cloud, "POST", &aliases, live).await.error(),
        (409, "ResourceConflictException")
    );
    let missing = json!({ "Name": "next", "FunctionVersion": "9" });
    assert_eq!(
        call(&cloud, "POST", &aliases, missing).await.error(),
        (404, "ResourceNotFoundException")
    );
    let number = json!({ "Name": "12", "FunctionVersion": "1" });
    assert_eq!(
        call(&cloud, "POST", &aliases, number).await.error(),
        (400, "ValidationException")
    );
    let moved = call(
        &cloud,
        "PUT",
        &format!("{aliases}/live"),
        json!({ "FunctionVersion": "2" }),
    )
    .await;
    assert_eq!(moved.body["FunctionVersion"], "2");
    let in_use = call(&cloud, "DELETE", &format!("{F}?Qualifier=2"), json!({})).await;
    assert_eq!(in_use.error(), (409, "ResourceConflictException"));
    assert_eq!(
        call(&cloud, "DELETE", &format!("{F}?Qualifier=1"), json!({}))
            .await
            .status,
        204
    );
    assert_eq!(
        call(&cloud, "DELETE", &format!("{aliases}/live"), json!({}))
            .await
            .status,
        204
    );
    assert_eq!(
        call(&cloud, "GET", &format!("{aliases}/live"), json!({})).await.status,
        404
    );
    assert_eq!(call(&cloud, "DELETE", F, json!({})).await.status, 204);
    assert_eq!(
        call(&cloud, "DELETE", F, json!({})).await.error(),
        (404, "ResourceNotFoundException")
    );
}

#[tokio::test]
async fn a_policy_renders_as_aws_writes_it() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({})).await;
    let policy = format!("{F}/policy");
    assert_eq!(
        call(&cloud, "GET", &policy, json!({})).await.error(),
        (404, "ResourceNotFoundException")
    );
    let permission = json!({
        "StatementId": "api",
        "Action": "lambda:InvokeFunction",
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": "arn:aws:execute-api:us-east-1:000000000000:abc/*/$connect",
        "SourceAccount": "000000000000",
    });
    let added = call(&cloud, "POST", &policy, permission.clone()).await;
    let statement: Value = serde_json::from_str(added.body["Statement"].as_str().unwrap()).unwrap();
    let expected = json!({
        "Sid": "api",
        "Effect": "Allow",
        "Principal": { "Service": "apigateway.amazonaws.com" },
        "Action": "lambda:InvokeFunction",
        "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "Condition": {
            "ArnLike": { "AWS:SourceArn": "arn:aws:execute-api:us-east-1:000000000000:abc/*/$connect" },
            "StringEquals": { "AWS:SourceAccount": "000000000000" },
        },
    });
    assert_eq!(statement, expected);
    assert_eq!(
        call(&cloud, "POST", &policy, permission.clone()).await.error(),
        (409, "ResourceConflictException")
    );
    let latest = call(
        &cloud,
        "POST",
        &format!("{policy}?Qualifier=$LATEST"),
        permission.clone(),
    )
    .await;
    assert_eq!(latest.error(), (400, "InvalidParameterValueException"));
    let missing = call(&cloud, "POST", &format!("{policy}?Qualifier=live"), permission).await;
    assert_eq!(missing.error(), (404, "ResourceNotFoundException"));
    let read: Value = serde_json::from_str(
        call(&cloud, "GET", &policy, json!({})).await.body["Policy"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(
        read,
        json!({ "Version": "2012-10-17", "Id": "default", "Statement": [expected] })
    );
    assert_eq!(
        call(&cloud, "DELETE", &format!("{policy}/other"), json!({}))
            .await
            .status,
        404
    );
    assert_eq!(
        call(&cloud, "DELETE", &format!("{policy}/api"), json!({})).await.status,
        204
    );
    assert_eq!(call(&cloud, "GET", &policy, json!({})).await.status, 404);
}

#[tokio::test]
async fn tags_concurrency_and_account_settings() {
    let cloud = cloud().await;
    create(&cloud, "f", json!({ "Tags": { "a": "1" } })).await;
    let tags = "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af";
    assert_eq!(
        call(&cloud, "POST", tags, json!({ "Tags": { "b": "2" } })).await.status,
        204
    );
    assert_eq!(
        call(&cloud, "DELETE", &format!("{tags}?tagKeys=a&tagKeys=c"), json!({}))
            .await
            .status,
        204
    );
    assert_eq!(
        call(&cloud, "GET", tags, json!({})).await.body,
        json!({ "Tags": { "b": "2" } })
    );
    let reserved = json!({ "Tags": { "aws:x": "2" } });
    assert_eq!(
        call(&cloud, "POST", tags, reserved).await.error(),
        (400, "InvalidParameterValueException")
    );

    let put = "/2017-10-31/functions/f/concurrency";
    let too_much = json!({ "ReservedConcurrentExecutions": 901 });
    assert_eq!(
        call(&cloud, "PUT", put, too_much).await.error(),
        (400, "InvalidParameterValueException")
    );
    let ten = json!({ "ReservedConcurrentExecutions": 10 });
    assert_eq!(call(&cloud, "PUT", put, ten.clone()).await.body, ten);
    assert_eq!(
        call(&cloud, "GET", "/2019-09-30/functions/f/concurrency", json!({}))
            .await
            .body,
        ten
    );
    let account = call(&cloud, "GET", "/2016-08-19/account-settings", json!({}))
        .await
        .body;
    assert_eq!(account["AccountLimit"]["UnreservedConcurrentExecutions"], 990);
    assert_eq!(account["AccountUsage"]["FunctionCount"], 1);
}

#[tokio::test]
async fn a_slow_cloud_shows_pending_and_refuses_updates_meanwhile() {
    let cloud = cloud().await;
    cloud.unkind.set("pending=60s".parse().unwrap());
    let created = create(&cloud, "f", json!({})).await.body;
    assert_eq!(
        (&created["State"], &created["LastUpdateStatus"]),
        (&json!("Pending"), &json!("InProgress"))
    );
    let update = call(&cloud, "PUT", &format!("{F}/configuration"), json!({ "Timeout": 5 })).await;
    assert_eq!(update.error(), (409, "ResourceConflictException"));
    let refused = invoke(&cloud, "f", Bytes::new(), Invoker::Account).await.unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (409, "ResourceConflictException")
    );
}

#[tokio::test]
async fn functions_are_listed_in_pages() {
    let cloud = cloud().await;
    for name in ["a", "b", "c"] {
        let archive = zip(&[("bootstrap", 0o755, b"")]);
        call(
            &cloud,
            "POST",
            "/2015-03-31/functions",
            settings(name, &archive, json!({})),
        )
        .await;
    }
    let mut names = Vec::new();
    let mut marker = String::new();
    loop {
        let uri = format!("/2015-03-31/functions?MaxItems=2&Marker={marker}");
        let page = call(&cloud, "GET", &uri, json!({})).await.body;
        names.extend(
            page["Functions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|f| f["FunctionName"].as_str().unwrap().to_owned()),
        );
        match page["NextMarker"].as_str() {
            Some(next) => marker = next.replace('$', "%24").replace(':', "%3A"),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
}
