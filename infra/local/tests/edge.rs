//! The local cloud over HTTP: routing, and the services that need no function.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use infra_local::{LocalCloud, Options, StartError};
use serde_json::{Value, json};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// A cloud and a client that claims to sign.
struct Caller {
    cloud: LocalCloud,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Caller {
    async fn start() -> Self {
        Self::with(Options {
            port: 0,
            ..Options::default()
        })
        .await
    }

    async fn with(options: Options) -> Self {
        Self {
            cloud: LocalCloud::start(options).await.unwrap(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    async fn send(&self, headers: &[(&str, &str)], path: &str, body: String) -> (u16, String) {
        let mut request = http::Request::post(format!("{}{path}", self.cloud.endpoint()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.client.request(request.body(body.into()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Calls an AWS JSON service; a failure is returned as its code.
    async fn json(&self, target: &str, input: Value) -> Result<Value, String> {
        let service = match target.split('_').next().unwrap() {
            "DynamoDB" => "dynamodb",
            "Logs" => "logs",
            _ => "ssm",
        };
        let authorization = authorization(service, "us-east-1");
        let headers = [("authorization", authorization.as_str()), ("x-amz-target", target)];
        let (status, body) = self.send(&headers, "/", input.to_string()).await;
        let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        if status == 200 {
            return Ok(body);
        }
        let code = body["__type"].as_str().unwrap();
        Err(code.rsplit('#').next().unwrap().to_owned())
    }

    async fn query(&self, service: &str, form: &str) -> (u16, String) {
        let authorization = authorization(service, "us-east-1");
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.send(&headers, "/", form.to_owned()).await
    }
}

fn authorization(service: &str, region: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKID/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn what_cannot_be_routed_is_refused_in_clear_words() {
    let caller = Caller::start().await;
    let (status, body) = caller.send(&[], "/", String::new()).await;
    assert_eq!(status, 403);
    assert!(body.contains("not signed"), "{body}");

    let unknown = authorization("sqs", "us-east-1");
    let (status, body) = caller.send(&[("authorization", &unknown)], "/", String::new()).await;
    assert_eq!(status, 400);
    assert!(body.contains("no service `sqs`"), "{body}");

    let elsewhere = authorization("dynamodb", "eu-west-1");
    let headers = [
        ("authorization", elsewhere.as_str()),
        ("x-amz-target", "DynamoDB_20120810.ListTables"),
    ];
    let (status, body) = caller.send(&headers, "/", "{}".to_owned()).await;
    assert_eq!(status, 403);
    assert!(body.contains("InvalidSignatureException"), "{body}");

    let page = authorization("dynamodb", "us-east-1");
    let headers = [("authorization", page.as_str()), ("origin", "http://example.com")];
    let (status, body) = caller.send(&headers, "/", "{}".to_owned()).await;
    assert_eq!(status, 403);
    assert!(body.contains("Origin"), "{body}");
    // A page that a function serves asks its own origin, which browsers do not tell when nothing is to be changed.
    let headers = [("authorization", page.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(caller.send(&headers, "/", "{}".to_owned()).await.0, 403);

    let (status, body) = caller.send(&[], "/_local/health", String::new()).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"dynamodb\":\"available\""), "{body}");
}

#[tokio::test]
async fn a_taken_port_is_an_error_and_a_stopped_cloud_frees_its_own() {
    let first = Caller::start().await;
    let port = first.cloud.endpoint().rsplit(':').next().unwrap().parse().unwrap();
    let options = || Options {
        port,
        ..Options::default()
    };
    let taken = LocalCloud::start(options()).await.unwrap_err();
    assert!(matches!(taken, StartError::Listen { port: asked, .. } if asked == port));
    first.cloud.stop().await;
    LocalCloud::start(options()).await.unwrap().stop().await;
}

#[tokio::test]
async fn unknown_actions_are_named() {
    let caller = Caller::start().await;
    for target in [
        "DynamoDB_20120810.DescribeLimits",
        "Logs_20140328.StartQuery",
        "AmazonSSM.SendCommand",
    ] {
        let refused = caller.json(target, json!({})).await;
        assert_eq!(refused, Err("UnknownOperationException".to_owned()), "{target}");
    }
    for service in ["iam", "sts"] {
        let (status, body) = caller.query(service, "Action=Nonsense").await;
        assert_eq!(status, 400);
        assert!(
            body.contains("<Code>InvalidAction</Code>") && body.contains("Nonsense"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn tables_carry_our_arn_and_settings_are_as_strict_as_aws() {
    let caller = Caller::start().await;
    let table = json!({ "TableName": "Rooms" });
    let create = json!({
        "TableName": "Rooms",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    let created = caller.json("DynamoDB_20120810.CreateTable", create).await.unwrap();
    let arn = &created["TableDescription"]["TableArn"];
    assert_eq!(arn, "arn:aws:dynamodb:us-east-1:000000000000:table/Rooms");
    let tag = json!({ "ResourceArn": arn, "Tags": [{ "Key": "a", "Value": "b" }] });
    caller.json("DynamoDB_20120810.TagResource", tag).await.unwrap();

    let ttl = |enabled: bool| {
        let specification = json!({ "AttributeName": "expiresAt", "Enabled": enabled });
        let input = json!({ "TableName": "Rooms", "TimeToLiveSpecification": specification });
        caller.json("DynamoDB_20120810.UpdateTimeToLive", input)
    };
    let refused = Err("ValidationException".to_owned());
    assert_eq!(ttl(false).await, refused);
    ttl(true).await.unwrap();
    assert_eq!(ttl(true).await, refused);

    let status = |answer: &Value| {
        answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"].clone()
    };
    let backups = caller.json("DynamoDB_20120810.DescribeContinuousBackups", table.clone());
    assert_eq!(status(&backups.await.unwrap()), "DISABLED");
    let enable = json!({
        "TableName": "Rooms",
        "PointInTimeRecoverySpecification": { "PointInTimeRecoveryEnabled": true },
    });
    let enabled = caller
        .json("DynamoDB_20120810.UpdateContinuousBackups", enable)
        .await
        .unwrap();
    assert_eq!(status(&enabled), "ENABLED");
    caller
        .json("DynamoDB_20120810.DeleteTable", table.clone())
        .await
        .unwrap();
    let gone = caller.json("DynamoDB_20120810.DescribeContinuousBackups", table).await;
    assert_eq!(gone, Err("TableNotFoundException".to_owned()));
}

#[tokio::test]
async fn unknown_keys_are_the_account_itself() {
    let caller = Caller::start().await;
    let (status, body) = caller.query("sts", "Action=GetCallerIdentity&Version=2011-06-15").await;
    assert_eq!(status, 200);
    assert!(body.contains("<Arn>arn:aws:iam::000000000000:root</Arn>"), "{body}");
}

#[tokio::test]
async fn a_role_lives_from_create_to_delete() {
    let caller = Caller::start().await;
    let trust = percent_encoded(TRUST);
    let policy = percent_encoded(r#"{"Statement":{"Effect":"Allow","Action":"dynamodb:PutItem","Resource":"*"}}"#);
    let create = format!("Action=CreateRole&RoleName=Worker&AssumeRolePolicyDocument={trust}");
    let put = format!("Action=PutRolePolicy&RoleName=Worker&PolicyName=inline&PolicyDocument={policy}");
    for (form, status, expected) in [
        (create.as_str(), 200, "<Arn>arn:aws:iam::000000000000:role/Worker</Arn>"),
        (
            &create.replace("Worker", "WORKER"),
            409,
            "<Code>EntityAlreadyExists</Code>",
        ),
        (&create.replace("Worker", "a%20b"), 400, "<Code>ValidationError</Code>"),
        (
            "Action=CreateRole&RoleName=x&AssumeRolePolicyDocument=%7B",
            400,
            "<Code>MalformedPolicyDocument</Code>",
        ),
        // Documents are answered percent-encoded.
        (
            "Action=GetRole&RoleName=Worker",
            200,
            "%7B%22Version%22%3A%222012-10-17%22",
        ),
        (&put, 200, "<PutRolePolicyResponse"),
        (
            "Action=GetRolePolicy&RoleName=Worker&PolicyName=inline",
            200,
            "%22dynamodb%3APutItem%22",
        ),
        ("Action=DeleteRole&RoleName=Worker", 409, "<Code>DeleteConflict</Code>"),
        ("Action=DeleteRolePolicy&RoleName=Worker&PolicyName=inline", 200, ""),
        (
            "Action=TagRole&RoleName=Worker&Tags.member.1.Key=a&Tags.member.1.Value=b+c",
            200,
            "",
        ),
        (
            "Action=ListRoleTags&RoleName=Worker",
            200,
            "<Key>a</Key><Value>b c</Value>",
        ),
        ("Action=ListRoles&MaxItems=1", 200, "<IsTruncated>false</IsTruncated>"),
        ("Action=DeleteRole&RoleName=Worker", 200, ""),
        ("Action=GetRole&RoleName=Worker", 404, "<Code>NoSuchEntity</Code>"),
    ] {
        let (answered, body) = caller.query("iam", form).await;
        assert_eq!(answered, status, "{form}: {body}");
        assert!(body.contains(expected), "{form}: {body}");
    }
}

#[tokio::test]
async fn a_secure_parameter_tells_its_value_only_when_asked() {
    let caller = Caller::start().await;
    let put = |extra: Value| {
        let mut input = json!({ "Name": "/chat/key", "Value": "hidden" });
        input
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        caller.json("AmazonSSM.PutParameter", input)
    };
    let create = json!({ "Type": "SecureString", "Tags": [{ "Key": "a", "Value": "b" }] });
    assert_eq!(put(create.clone()).await.unwrap()["Version"], 1);
    assert_eq!(put(create).await, Err("ParameterAlreadyExists".to_owned()));
    assert_eq!(put(json!({ "Overwrite": true })).await.unwrap()["Version"], 2);
    let tagged = json!({ "Overwrite": true, "Tags": [{ "Key": "a", "Value": "b" }] });
    assert_eq!(put(tagged).await, Err("ValidationException".to_owned()));

    let get = |with_decryption: bool| {
        let input = json!({ "Name": "/chat/key", "WithDecryption": with_decryption });
        caller.json("AmazonSSM.GetParameter", input)
    };
    assert_eq!(get(true).await.unwrap()["Parameter"]["Value"], "hidden");
    assert_ne!(get(false).await.unwrap()["Parameter"]["Value"], "hidden");
    let name = json!({ "Name": "/chat/key" });
    caller.json("AmazonSSM.DeleteParameter", name.clone()).await.unwrap();
    let gone = caller.json("AmazonSSM.DeleteParameter", name).await;
    assert_eq!(gone, Err("ParameterNotFound".to_owned()));
}

#[tokio::test]
async fn events_are_found_in_the_order_of_time_and_page_by_page() {
    let caller = Caller::start().await;
    let call = |action: &str, input: Value| {
        let target = format!("Logs_20140328.{action}");
        let caller = &caller;
        async move { caller.json(&target, input).await }
    };
    let group = json!({ "logGroupName": "/chat" });
    call("CreateLogGroup", group.clone()).await.unwrap();
    let again = call("CreateLogGroup", group.clone()).await;
    assert_eq!(again, Err("ResourceAlreadyExistsException".to_owned()));
    let retention = json!({ "logGroupName": "/chat", "retentionInDays": 2 });
    let refused = call("PutRetentionPolicy", retention).await;
    assert_eq!(refused, Err("InvalidParameterException".to_owned()));

    let now = jiff::Timestamp::now().as_millisecond();
    for (stream, times) in [("a", [now, now + 2]), ("b", [now + 1, now + 3])] {
        let name = json!({ "logGroupName": "/chat", "logStreamName": stream });
        call("CreateLogStream", name.clone()).await.unwrap();
        let events = times.map(|time| json!({ "timestamp": time, "message": format!("INFO {}", time - now) }));
        let mut input = name;
        input["logEvents"] = json!(events);
        call("PutLogEvents", input).await.unwrap();
    }
    let mut messages = Vec::new();
    let mut input = json!({ "logGroupName": "/chat", "limit": 3, "filterPattern": "INFO" });
    loop {
        let page = call("FilterLogEvents", input.clone()).await.unwrap();
        messages.extend(
            page["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| event["message"].clone()),
        );
        match page.get("nextToken") {
            Some(token) => input["nextToken"] = token.clone(),
            None => break,
        }
    }
    assert_eq!(messages, ["INFO 0", "INFO 1", "INFO 2", "INFO 3"]);
    call("DeleteLogGroup", group.clone()).await.unwrap();
    let gone = call("DeleteLogGroup", group).await;
    assert_eq!(gone, Err("ResourceNotFoundException".to_owned()));
}

#[tokio::test]
async fn state_survives_where_a_folder_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options {
        port: 0,
        persist: Some(folder.path().join("state")),
        ..Options::default()
    };
    let name = json!({ "Name": "/chat/key" });
    let table = json!({
        "TableName": "Rooms",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    let first = Caller::with(options()).await;
    first.json("DynamoDB_20120810.CreateTable", table).await.unwrap();
    let put = json!({ "Name": "/chat/key", "Value": "kept", "Type": "String" });
    first.json("AmazonSSM.PutParameter", put).await.unwrap();
    first
        .json("Logs_20140328.CreateLogGroup", json!({ "logGroupName": "/chat" }))
        .await
        .unwrap();
    first.cloud.stop().await;

    let second = Caller::with(options()).await;
    let tables = second.json("DynamoDB_20120810.ListTables", json!({})).await.unwrap();
    assert_eq!(tables["TableNames"], json!(["Rooms"]));
    let kept = second.json("AmazonSSM.GetParameter", name.clone()).await.unwrap();
    assert_eq!(kept["Parameter"]["Value"], "kept");
    let groups = second.json("Logs_20140328.DescribeLogGroups", json!({})).await.unwrap();
    assert_eq!(groups["logGroups"][0]["logGroupName"], "/chat");

    // A change is on the disk soon, not only at the end.
    second.json("AmazonSSM.DeleteParameter", name).await.unwrap();
    let file = folder.path().join("state/ssm.json");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::fs::read_to_string(&file).unwrap().contains("kept") {
        assert!(std::time::Instant::now() < deadline, "the deletion was not saved");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    second.cloud.stop().await;

    std::fs::write(&file, "torn").unwrap();
    let refused = LocalCloud::start(options()).await.unwrap_err();
    assert!(matches!(refused, StartError::Persist { path, .. } if path == file));
}
