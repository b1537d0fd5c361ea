//! A local cloud in a process of its own, the command line against it, and a WebSocket client.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Long enough for a loaded machine; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the command line with an environment that has nothing of the machine's AWS settings.
pub(crate) fn xtask() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Returns the last line of stdout as JSON, after the command has succeeded: the result, whatever came before.
    pub(crate) fn json(&self) -> Json {
        assert_eq!(self.code, 0, "{}\n{}", self.stderr, self.stdout);
        self.events()
            .pop()
            .unwrap_or_else(|| panic!("no line: {:?}", self.stdout))
    }

    /// Returns each line of stdout as JSON.
    pub(crate) fn events(&self) -> Vec<Json> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// Asserts the exit code and that stderr contains all of `words`.
    pub(crate) fn fails_with(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        // Reports wrap lines and draw bars beside them.
        let text: String = self
            .stderr
            .split(|c: char| c.is_whitespace() || "│╰─▶├".contains(c))
            .collect();
        for word in words {
            let bare: String = word.split_whitespace().collect();
            assert!(text.contains(&bare), "{word:?} is not in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// A stage of its own, whose file is gone when this is dropped.
pub(crate) struct StageFile {
    pub(crate) name: String,
}

impl StageFile {
    pub(crate) fn write(&self, settings: &str) {
        let text = format!("buildProfile: dev\nremovalPolicy: delete\n{settings}");
        std::fs::write(self.path(), text).unwrap();
    }

    fn path(&self) -> PathBuf {
        root().join(format!("infra/stages/{}.yml", self.name))
    }
}

impl Drop for StageFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path());
    }
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `cargo xtask local`, until it is dropped.
#[derive(Debug)]
pub(crate) struct LocalCloud {
    runs: Runs,
    pub(crate) endpoint: String,
    pub(crate) scratch: tempfile::TempDir,
}

/// Where a local cloud runs.
#[derive(Debug)]
enum Runs {
    There(Child),
    Here(infra_local::LocalCloud),
}

impl LocalCloud {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts it in this process, where its unkindness can be changed.
    pub(crate) async fn start_here(unkindness: &str) -> Self {
        let options = infra_local::Options {
            port: 0,
            unkindness: unkindness.parse().unwrap(),
            ..infra_local::Options::default()
        };
        let cloud = infra_local::LocalCloud::start(options).await.unwrap();
        let endpoint = cloud.endpoint().to_owned();
        let scratch = tempfile::tempdir().unwrap();
        let address =
            json!({"endpoint": endpoint, "region": "us-east-1", "account": "000000000000", "pid": std::process::id()});
        std::fs::write(scratch.path().join("local.json"), address.to_string()).unwrap();
        Self {
            runs: Runs::Here(cloud),
            endpoint,
            scratch,
        }
    }

    /// Changes the unkindness of a cloud in this process.
    pub(crate) fn be(&self, unkindness: &str) {
        match &self.runs {
            Runs::Here(cloud) => cloud.set_unkindness(unkindness.parse().unwrap()),
            Runs::There(_) => panic!("only a cloud in this process can be changed"),
        }
    }

    /// Starts it with more arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut process = xtask()
            .args(["local", "--port", "0", "--output", "json"])
            .args(arguments)
            .env("STACKWRIGHT_SCRATCH", scratch.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let endpoint = ready["endpoint"].as_str().unwrap().to_owned();
        Self {
            runs: Runs::There(process),
            endpoint,
            scratch,
        }
    }

    /// Returns the command line for the stage `local` of this cloud, found by its file as in another terminal.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = xtask();
        command
            .args(arguments)
            .args(["--stage", "local"])
            .env("STACKWRIGHT_SCRATCH", self.scratch.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments))
    }

    pub(crate) fn deploy(&self) -> Json {
        self.run(&["deploy", "--yes", "--output", "json"]).json()
    }

    pub(crate) fn token(&self, arguments: &[&str]) -> String {
        let finished = self.run(&[&["token"], arguments].concat());
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished.stdout.trim().to_owned()
    }

    /// Calls a service that speaks AWS JSON.
    pub(crate) async fn aws_json(&self, service: &str, target: &str, input: Json) -> Json {
        let authorization = authorization(service);
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-amz-target", target),
            ("content-type", "application/x-amz-json-1.1"),
        ];
        let (status, body) = http(&self.endpoint, "POST", "/", &headers, &input.to_string()).await;
        assert_eq!(status, 200, "{target}: {body}");
        // Some operations answer nothing.
        serde_json::from_str(&body).unwrap_or(Json::Null)
    }

    /// Calls a service that speaks REST JSON.
    pub(crate) async fn rest(&self, service: &str, method: &str, path: &str) -> (u16, Json) {
        let (status, body) = http(
            &self.endpoint,
            method,
            path,
            &[("authorization", &authorization(service))],
            "",
        )
        .await;
        (status, serde_json::from_str(&body).unwrap_or(Json::Null))
    }

    /// Changes environment variables of a function that is deployed, as somebody could by hand: callers meet a new version
    /// only when the alias is moved to it.
    pub(crate) async fn set_variables(&self, function: &str, changes: &[(&str, &str)]) {
        let path = format!("/2015-03-31/functions/{function}/configuration");
        let (_, configuration) = self.rest("lambda", "GET", &path).await;
        let mut variables = configuration["Environment"]["Variables"].clone();
        for (name, value) in changes {
            variables[*name] = json!(value);
        }
        let input = json!({"Environment": {"Variables": variables}});
        self.lambda("PUT", &path, &input).await;
        eventually("the function is updated", || async {
            let (_, configuration) = self.rest("lambda", "GET", &path).await;
            (configuration["LastUpdateStatus"] == "Successful").then_some(())
        })
        .await;
        let path = format!("/2015-03-31/functions/{function}");
        let version = self.lambda("POST", &format!("{path}/versions"), &json!({})).await["Version"].clone();
        let input = json!({"FunctionVersion": version});
        self.lambda("PUT", &format!("{path}/aliases/live"), &input).await;
    }

    /// Calls Lambda with an input.
    async fn lambda(&self, method: &str, path: &str, input: &Json) -> Json {
        let authorization = authorization("lambda");
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        let (status, answer) = http(&self.endpoint, method, path, &headers, &input.to_string()).await;
        assert!((200..300).contains(&status), "{method} {path}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Returns everything that a stack could have left: resources by type, empty lists left out.
    pub(crate) async fn inventory(&self) -> Vec<String> {
        let mut found = Vec::new();
        let tables = self
            .aws_json("dynamodb", "DynamoDB_20120810.ListTables", json!({}))
            .await;
        found.extend(names(&tables["TableNames"], None));
        let groups = self
            .aws_json("logs", "Logs_20140328.DescribeLogGroups", json!({}))
            .await;
        found.extend(names(&groups["logGroups"], Some("logGroupName")));
        let parameters = self.aws_json("ssm", "AmazonSSM.DescribeParameters", json!({})).await;
        found.extend(names(&parameters["Parameters"], Some("Name")));
        let (_, functions) = self.rest("lambda", "GET", "/2015-03-31/functions").await;
        found.extend(names(&functions["Functions"], Some("FunctionName")));
        let (_, apis) = self.rest("apigateway", "GET", "/v2/apis").await;
        found.extend(names(&apis["items"], Some("name")));
        let headers = [
            ("authorization", authorization("iam")),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (_, roles) = http(
            &self.endpoint,
            "POST",
            "/",
            &headers,
            "Action=ListRoles&Version=2010-05-08",
        )
        .await;
        found.extend(
            roles
                .split("<RoleName>")
                .skip(1)
                .map(|role| role.split('<').next().unwrap().to_owned()),
        );
        found
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        if let Runs::There(process) = &mut self.runs {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn names(list: &Json, key: Option<&str>) -> Vec<String> {
    let items = list.as_array().unwrap_or_else(|| panic!("{list} is not a list"));
    items
        .iter()
        .map(|item| key.map_or(item, |key| &item[key]).as_str().unwrap().to_owned())
        .collect()
}

/// Returns a signature's shape; the local cloud reads only its scope.
fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

/// One HTTP/1.1 exchange on a connection of its own.
pub(crate) async fn http(
    endpoint: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let (status, _, body) = http_with_head(endpoint, method, path, headers, body).await;
    (status, body)
}

/// As [`http`], with status line and headers in between.
pub(crate) async fn http_with_head(
    endpoint: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    (status, head.to_owned(), body)
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// How a client shows its token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carrier {
    Header,
    Bearer,
    Query,
    Subprotocol,
}

/// A connected client.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) protocol: Option<String>,
}

impl Client {
    pub(crate) async fn connect(url: &str, token: &str, carrier: Carrier) -> Result<Self, u16> {
        let url = match carrier {
            Carrier::Query => format!("{url}?token={token}"),
            Carrier::Header | Carrier::Bearer | Carrier::Subprotocol => url.to_owned(),
        };
        let mut request = url.into_client_request().unwrap();
        let header = match carrier {
            Carrier::Header => Some(("authorization", token.to_owned())),
            Carrier::Bearer => Some(("authorization", format!("Bearer {token}"))),
            Carrier::Subprotocol => Some(("sec-websocket-protocol", format!("chat.v1, auth.{token}"))),
            Carrier::Query => None,
        };
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        Self::open(request).await
    }

    pub(crate) async fn connect_without_token(url: &str) -> Result<Self, u16> {
        Self::open(url.into_client_request().unwrap()).await
    }

    /// Connects with any headers.
    pub(crate) async fn connect_with(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Self::open(request).await
    }

    async fn open(request: tokio_tungstenite::tungstenite::handshake::client::Request) -> Result<Self, u16> {
        match connect_async(request).await {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                Ok(Self {
                    socket,
                    protocol: protocol.map(|value| value.to_str().unwrap().to_owned()),
                })
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, text: impl ToString) {
        self.socket.send(Message::text(text.to_string())).await.unwrap();
    }

    /// Returns the next text frame that is not about who comes and goes.
    pub(crate) async fn receive(&mut self) -> Json {
        loop {
            let frame = self.receive_any().await;
            if frame["type"] != "presence" {
                return frame;
            }
        }
    }

    /// Sends a frame and returns the answer to it.
    pub(crate) async fn ask(&mut self, frame: Json) -> Json {
        self.send(frame).await;
        self.receive().await
    }

    /// Sends bytes as a text frame, whatever they are.
    pub(crate) async fn send_raw(&mut self, bytes: &'static [u8]) {
        let frame = Frame::message(bytes, OpCode::Data(Data::Text), true);
        self.socket.send(Message::Frame(frame)).await.unwrap();
    }

    /// Waits until the other side has ended the connection, before which nothing more comes. Returns the close code.
    pub(crate) async fn ended(&mut self) -> Option<u16> {
        let frame = tokio::time::timeout(PATIENCE, self.socket.next())
            .await
            .expect("the end comes in time");
        match frame {
            Some(Ok(Message::Close(frame))) => frame.map(|frame| frame.code.into()),
            None | Some(Err(_)) => None,
            Some(Ok(other)) => panic!("{other:?}"),
        }
    }

    /// Returns the next text frame.
    pub(crate) async fn receive_any(&mut self) -> Json {
        let frame = tokio::time::timeout(PATIENCE, self.socket.next())
            .await
            .expect("a frame comes in time");
        match frame.expect("the connection stays open").unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

/// Repeats `check` until it returns something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns a token with the given header and payload, signed with nothing.
pub(crate) fn unsigned_token(header: &Json, payload: &str) -> String {
    let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    format!("{}.{payload}.", base64.encode(header.to_string()))
}

/// Returns this checkout's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Reads what a child has written until now or writes until `needle` appears.
pub(crate) fn read_until(reader: &mut impl Read, needle: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0_u8];
    while reader.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
        if text.ends_with(needle.as_bytes()) {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
