//! What is in an account, listed through AWS's own calls and not through our record. For local clouds only: calls are
//! not really signed.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use infra_aws::STATE_TABLE;
use infra_cdk::StackId;
use serde_json::{Value as Json, json};

use crate::failure::Failure;

/// The account at an endpoint.
#[derive(Debug)]
pub(crate) struct Account {
    endpoint: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Account {
    /// Returns the account at `http://HOST:PORT`.
    pub(crate) fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Returns one line for everything that belongs to a stack, sorted. What AWS assigns is left out.
    ///
    /// # Errors
    /// When something cannot be listed.
    pub(crate) async fn inventory(&self, stack: &StackId) -> Result<Vec<String>, Failure> {
        let prefix = format!("{}-{}-", stack.app, stack.stage);
        let mut found = Vec::new();
        let tables = self
            .json("dynamodb", "DynamoDB_20120810.ListTables", &json!({}))
            .await?;
        if texts(&tables["TableNames"]).any(|name| name == STATE_TABLE) {
            found.push(format!("table {STATE_TABLE}"));
        }
        for name in texts(&tables["TableNames"]).filter(|name| name.starts_with(&prefix)) {
            let input = json!({ "TableName": name });
            let table = self.json("dynamodb", "DynamoDB_20120810.DescribeTable", &input).await?;
            let expiry = self
                .json("dynamodb", "DynamoDB_20120810.DescribeTimeToLive", &input)
                .await?;
            found.push(format!(
                "table {name} {} {} {}",
                table["Table"]["KeySchema"],
                table["Table"]["GlobalSecondaryIndexes"].as_array().map_or(0, Vec::len),
                expiry["TimeToLiveDescription"]["AttributeName"]
            ));
        }
        let input = json!({ "logGroupNamePrefix": format!("/aws/lambda/{prefix}") });
        let groups = self.json("logs", "Logs_20140328.DescribeLogGroups", &input).await?;
        for group in list(&groups["logGroups"]) {
            found.push(format!(
                "log group {} {}",
                group["logGroupName"], group["retentionInDays"]
            ));
        }
        let parameters = self.json("ssm", "AmazonSSM.DescribeParameters", &json!({})).await?;
        for parameter in list(&parameters["Parameters"]) {
            if parameter["Name"].as_str().is_some_and(|name| name.contains(&stack.app)) {
                found.push(format!("parameter {} {}", parameter["Name"], parameter["Type"]));
            }
        }
        let mut assigned = self.apis(&prefix, &mut found).await?;
        self.urls(&prefix, &mut assigned, &mut found).await?;
        self.functions(&prefix, &assigned, &mut found).await?;
        self.roles(&prefix, &assigned, &mut found).await?;
        let rows = self.rows(stack).await?;
        found.extend(rows.into_iter().map(|row| format!("recorded {row}")));
        found.sort();
        Ok(found)
    }

    /// Notes APIs with what is in them, and returns what AWS assigned.
    async fn apis(&self, prefix: &str, found: &mut Vec<String>) -> Result<Assigned, Failure> {
        let apis = self.rest("apigateway", "/v2/apis").await?;
        let mut assigned = Assigned::default();
        for api in list(&apis["items"]) {
            let is_ours = api["name"]
                .as_str()
                .is_some_and(|name| format!("{name}-").starts_with(prefix));
            let (Some(id), true) = (api["apiId"].as_str(), is_ours) else {
                continue;
            };
            assigned.note(api, "apiId", "name");
            found.push(format!("api {}", assigned.neutral(&lasting(api))));
            // What mentions ids comes after what has them.
            for (collection, id_of, known_by) in [
                ("authorizers", "authorizerId", "name"),
                ("integrations", "integrationId", "integrationUri"),
                ("routes", "routeId", "routeKey"),
                ("deployments", "deploymentId", "description"),
                ("stages", "", ""),
            ] {
                let items = self.rest("apigateway", &format!("/v2/apis/{id}/{collection}")).await?;
                for item in list(&items["items"]) {
                    assigned.note(item, id_of, known_by);
                    found.push(format!("{collection} {}", assigned.neutral(&lasting(item))));
                    if let Some(route) = item["routeId"].as_str() {
                        let path = format!("/v2/apis/{id}/routes/{route}/routeresponses");
                        let responses = self.rest("apigateway", &path).await?;
                        found.extend(list(&responses["items"]).map(|_| format!("response of {}", item[known_by])));
                    }
                }
            }
        }
        Ok(assigned)
    }

    /// Notes function URLs, and their addresses as what AWS assigned.
    async fn urls(&self, prefix: &str, assigned: &mut Assigned, found: &mut Vec<String>) -> Result<(), Failure> {
        let functions = self.rest("lambda", "/2015-03-31/functions").await?;
        let names = list(&functions["Functions"]).filter_map(|function| function["FunctionName"].as_str());
        for name in names.filter(|name| name.starts_with(prefix)) {
            let urls = self
                .rest("lambda", &format!("/2021-10-31/functions/{name}/urls"))
                .await?;
            for url in list(&urls["FunctionUrlConfigs"]) {
                assigned.note(url, "FunctionUrl", "FunctionArn");
                found.push(format!("url {} {}", url["FunctionArn"], url["AuthType"]));
            }
        }
        Ok(())
    }

    async fn functions(&self, prefix: &str, assigned: &Assigned, found: &mut Vec<String>) -> Result<(), Failure> {
        let functions = self.rest("lambda", "/2015-03-31/functions").await?;
        let names = list(&functions["Functions"]).filter_map(|function| function["FunctionName"].as_str());
        for name in names.filter(|name| name.starts_with(prefix)) {
            let path = format!("/2015-03-31/functions/{name}");
            let versions = self.rest("lambda", &format!("{path}/versions")).await?;
            // Numbers are AWS's: a version is what is in it.
            let mut published = BTreeMap::new();
            for version in list(&versions["Versions"]) {
                let variables = assigned.neutral(&version["Environment"]["Variables"]);
                let content = format!(
                    "{} {} {} {} {variables}",
                    version["CodeSha256"], version["MemorySize"], version["Timeout"], version["Role"]
                );
                let number = version["Version"].as_str().unwrap_or_default();
                let kind = if number == "$LATEST" { "function" } else { "version" };
                found.push(format!("{kind} {name} {content}"));
                published.insert(number.to_owned(), content);
            }
            let aliases = self.rest("lambda", &format!("{path}/aliases")).await?;
            let mut qualifiers = vec![String::new()];
            for alias in list(&aliases["Aliases"]) {
                let version = alias["FunctionVersion"].as_str().unwrap_or_default();
                let alias = alias["Name"].as_str().unwrap_or_default();
                found.push(format!("alias {name} {alias} {:?}", published.get(version)));
                qualifiers.push(format!("?Qualifier={alias}"));
            }
            for qualifier in qualifiers {
                let policy = self.rest("lambda", &format!("{path}/policy{qualifier}")).await?;
                let policy: Json = serde_json::from_str(policy["Policy"].as_str().unwrap_or("{}")).unwrap_or_default();
                for statement in list(&policy["Statement"]) {
                    let condition = assigned.neutral(&statement["Condition"]);
                    found.push(format!("permission {name}{qualifier} {} {condition}", statement["Sid"]));
                }
            }
        }
        Ok(())
    }

    async fn roles(&self, prefix: &str, assigned: &Assigned, found: &mut Vec<String>) -> Result<(), Failure> {
        let roles = self.query("Action=ListRoles&Version=2010-05-08").await?;
        for role in tagged(&roles, "RoleName").filter(|role| role.starts_with(prefix)) {
            found.push(format!("role {role}"));
            let policies = format!("Action=ListRolePolicies&Version=2010-05-08&RoleName={role}");
            for policy in tagged(&self.query(&policies).await?, "member") {
                let one = format!("Action=GetRolePolicy&Version=2010-05-08&RoleName={role}&PolicyName={policy}");
                let document = self.query(&one).await?;
                let document = Json::String(tagged(&document, "PolicyDocument").collect());
                found.push(format!("policy {role} {policy} {}", assigned.neutral(&document)));
            }
        }
        Ok(())
    }

    /// Returns the sort keys of a stack's rows in the state table, and whether its last deployment is closed.
    async fn rows(&self, stack: &StackId) -> Result<Vec<String>, Failure> {
        let input = json!({
            "TableName": STATE_TABLE,
            "KeyConditionExpression": "#stack = :stack",
            "ExpressionAttributeNames": {"#stack": "stack"},
            "ExpressionAttributeValues": {":stack": {"S": stack.to_string()}},
        });
        let rows = self.json("dynamodb", "DynamoDB_20120810.Query", &input).await?;
        Ok(list(&rows["Items"])
            .filter_map(|row| {
                let content: Json = serde_json::from_str(row["json"]["S"].as_str()?).ok()?;
                let open = ["lock", "intents", "lastGood"].map(|part| content[part].to_string());
                let item = row["item"]["S"].as_str()?;
                Some(match item {
                    "header" => format!("{item} {}", open.join(" ")),
                    _ => item.to_owned(),
                })
            })
            .collect())
    }

    /// Lets the lease of a killed deployment end now, instead of waiting for it.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) async fn end_lease(&self, stack: &StackId) -> Result<(), Failure> {
        let key = json!({"stack": {"S": stack.to_string()}, "item": {"S": "header"}});
        let input = json!({"TableName": STATE_TABLE, "Key": key, "ConsistentRead": true});
        let header = self.json("dynamodb", "DynamoDB_20120810.GetItem", &input).await?;
        let Some(text) = header["Item"]["json"]["S"].as_str() else {
            return Ok(());
        };
        let mut content: Json = serde_json::from_str(text).unwrap_or_default();
        if content["lock"].is_null() {
            return Ok(());
        }
        content["lock"]["leaseUntil"] = json!(0);
        let input = json!({
            "TableName": STATE_TABLE,
            "Key": key,
            "UpdateExpression": "SET leaseUntil = :zero, #json = :json",
            "ExpressionAttributeNames": {"#json": "json"},
            "ExpressionAttributeValues": {":zero": {"N": "0"}, ":json": {"S": content.to_string()}},
        });
        self.json("dynamodb", "DynamoDB_20120810.UpdateItem", &input).await?;
        Ok(())
    }

    /// Deletes the state table.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub(crate) async fn lose_record(&self) -> Result<(), Failure> {
        let input = json!({ "TableName": STATE_TABLE });
        self.json("dynamodb", "DynamoDB_20120810.DeleteTable", &input).await?;
        Ok(())
    }

    async fn json(&self, service: &str, target: &str, input: &Json) -> Result<Json, Failure> {
        let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.0")];
        let answer = self.call(service, "POST", "/", &headers, input.to_string()).await?;
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    async fn rest(&self, service: &str, path: &str) -> Result<Json, Failure> {
        let answer = self.call(service, "GET", path, &[], String::new()).await?;
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    async fn query(&self, body: &str) -> Result<String, Failure> {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.call("iam", "POST", "/", &headers, body.to_owned()).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Makes one call. An answer "not found" is an answer like others.
    async fn call(
        &self,
        service: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Bytes, Failure> {
        let failed = |error: String| Failure::new(format!("{service} {path} cannot be listed: {error}"));
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header("authorization", scope);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(error.to_string()))?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let body = answer.into_body().collect().await;
        Ok(body.map_err(|error| failed(error.to_string()))?.to_bytes())
    }
}

/// What AWS assigned, and what is known by it.
#[derive(Debug, Default)]
struct Assigned(Vec<(String, String)>);

impl Assigned {
    fn note(&mut self, item: &Json, id: &str, known_by: &str) {
        if let Some(id) = item[id].as_str() {
            self.0.push((id.to_owned(), format!("ID OF {}", item[known_by])));
        }
    }

    /// Returns a text that is the same in every run.
    fn neutral(&self, json: &Json) -> String {
        let replace = |text: String, (id, name): &(String, String)| text.replace(id, &name.replace('"', ""));
        // Names hold ids of what was noted before them.
        let text = self.0.iter().rev().fold(json.to_string(), replace);
        // Addresses differ between runs, by their port at least, and those of functions by their ids, too.
        [
            ("http://", "ENDPOINT"),
            ("ws://", "ENDPOINT"),
            ("/lambda-url/", "/lambda-url/ID"),
        ]
        .into_iter()
        .fold(text, |text, (before, instead)| {
            let mut parts = text.split(before);
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |text, part| {
                let after = part.find(['/', '"']).map_or("", |end| &part[end..]);
                format!("{text}{instead}{after}")
            })
        })
    }
}

/// Leaves out dates, and how AWS came to be done.
fn lasting(item: &Json) -> Json {
    let mut item = item.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.retain(|name, _| !name.ends_with("Date") && !name.contains("DeploymentStatus") && name != "apiEndpoint");
    }
    item
}

fn list(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().into_iter().flatten()
}

fn texts(json: &Json) -> impl Iterator<Item = &str> {
    list(json).filter_map(Json::as_str)
}

/// Returns the texts of all elements of a name.
fn tagged<'t>(xml: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let open = format!("<{name}>");
    let parts: Vec<&str> = xml.split(open.as_str()).skip(1).collect();
    parts.into_iter().filter_map(|part| part.split('<').next())
}
