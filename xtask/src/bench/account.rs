//! What is in an account, listed through AWS's own calls and not through our record. For local clouds only: calls are
//! not really signed.

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
        let ids = self.apis(&prefix, &mut found).await?;
        self.functions(&prefix, &ids, &mut found).await?;
        self.roles(&prefix, &ids, &mut found).await?;
        let rows = self.rows(stack).await?;
        found.extend(rows.into_iter().map(|row| format!("recorded {row}")));
        found.sort();
        Ok(found)
    }

    /// Notes APIs with what is in them, and returns the ids by which others mention these.
    async fn apis(&self, prefix: &str, found: &mut Vec<String>) -> Result<Vec<String>, Failure> {
        let apis = self.rest("apigateway", "/v2/apis").await?;
        let mut ids = Vec::new();
        for api in list(&apis["items"]) {
            let is_ours = api["name"]
                .as_str()
                .is_some_and(|name| format!("{name}-").starts_with(prefix));
            let (Some(id), true) = (api["apiId"].as_str(), is_ours) else {
                continue;
            };
            found.push(format!("api {}", api["name"]));
            ids.push(id.to_owned());
            for (collection, property) in [
                ("authorizers", "name"),
                ("routes", "routeKey"),
                ("integrations", "integrationUri"),
                ("stages", "stageName"),
                ("deployments", "description"),
            ] {
                let items = self.rest("apigateway", &format!("/v2/apis/{id}/{collection}")).await?;
                for item in list(&items["items"]) {
                    found.push(format!(
                        "{collection} {}",
                        self.neutral(&item[property].to_string(), &ids)
                    ));
                    ids.extend(
                        item["authorizerId"]
                            .as_str()
                            .filter(|_| collection == "authorizers")
                            .map(str::to_owned),
                    );
                    if let Some(route) = item["routeId"].as_str() {
                        let path = format!("/v2/apis/{id}/routes/{route}/routeresponses");
                        let responses = self.rest("apigateway", &path).await?;
                        found.extend(list(&responses["items"]).map(|_| format!("response of {}", item[property])));
                    }
                }
            }
        }
        Ok(ids)
    }

    async fn functions(&self, prefix: &str, ids: &[String], found: &mut Vec<String>) -> Result<(), Failure> {
        let functions = self.rest("lambda", "/2015-03-31/functions").await?;
        for function in list(&functions["Functions"]) {
            let Some(name) = function["FunctionName"]
                .as_str()
                .filter(|name| name.starts_with(prefix))
            else {
                continue;
            };
            let variables = self.neutral(&function["Environment"]["Variables"].to_string(), ids);
            found.push(format!(
                "function {name} {} {} {} {variables}",
                function["CodeSha256"], function["MemorySize"], function["Timeout"]
            ));
            let policy = self
                .rest("lambda", &format!("/2015-03-31/functions/{name}/policy"))
                .await?;
            let policy: Json = serde_json::from_str(policy["Policy"].as_str().unwrap_or("{}")).unwrap_or_default();
            for statement in list(&policy["Statement"]) {
                let condition = self.neutral(&statement["Condition"].to_string(), ids);
                found.push(format!("permission {name} {} {condition}", statement["Sid"]));
            }
        }
        Ok(())
    }

    async fn roles(&self, prefix: &str, ids: &[String], found: &mut Vec<String>) -> Result<(), Failure> {
        let roles = self.query("Action=ListRoles&Version=2010-05-08").await?;
        for role in tagged(&roles, "RoleName").filter(|role| role.starts_with(prefix)) {
            found.push(format!("role {role}"));
            let policies = format!("Action=ListRolePolicies&Version=2010-05-08&RoleName={role}");
            for policy in tagged(&self.query(&policies).await?, "member") {
                let one = format!("Action=GetRolePolicy&Version=2010-05-08&RoleName={role}&PolicyName={policy}");
                let document = self.query(&one).await?;
                let document: String = tagged(&document, "PolicyDocument").collect();
                found.push(format!("policy {role} {policy} {}", self.neutral(&document, ids)));
            }
        }
        Ok(())
    }

    /// Returns the sort keys of a stack's rows in the state table.
    async fn rows(&self, stack: &StackId) -> Result<Vec<String>, Failure> {
        let input = json!({
            "TableName": STATE_TABLE,
            "KeyConditionExpression": "#stack = :stack",
            "ExpressionAttributeNames": {"#stack": "stack"},
            "ExpressionAttributeValues": {":stack": {"S": stack.to_string()}},
        });
        let rows = self.json("dynamodb", "DynamoDB_20120810.Query", &input).await?;
        Ok(list(&rows["Items"])
            .filter_map(|row| row["item"]["S"].as_str().map(str::to_owned))
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

    /// Replaces ids that AWS assigned.
    fn neutral(&self, text: &str, ids: &[String]) -> String {
        let text = ids.iter().fold(text.to_owned(), |text, id| text.replace(id, "ID"));
        // Addresses differ between runs, by their port at least.
        match text.split_once("http://") {
            Some((before, rest)) => {
                let after = rest.find('/').map_or("", |end| &rest[end..]);
                format!("{before}ENDPOINT{after}")
            }
            None => text,
        }
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
