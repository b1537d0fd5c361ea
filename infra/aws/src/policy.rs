//! What credentials must be allowed that deploy a stack: the smallest policy, made from what the stack declares.
//!
//! Pure: it knows which calls the modules beside it make for each type of resource; a test compares it with their sources.
//! Names follow from application and stage, so most statements are scoped by name. Where AWS makes up ids, or a list has no
//! narrower scope, they are not. See docs/ci.md for what each statement is for.

use std::collections::BTreeSet;

use infra_cdk::{Context, Graph, Kind};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::state::STATE_TABLE;

/// A policy document, whose members come in the order in which people read them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeployerPolicy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Json>,
}

impl DeployerPolicy {
    /// Returns the document as indented JSON.
    ///
    /// # Errors
    /// None: all members are texts.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// Returns the policy document for deploying `graphs`, stages of one application, in one account and Region: into all of
/// its stages if they are several.
#[must_use]
pub fn deployer_policy(graphs: &[&Graph], context: &Context) -> DeployerPolicy {
    let kinds: BTreeSet<Kind> = graphs
        .iter()
        .flat_map(|graph| graph.resources().values().map(|resource| resource.kind))
        .collect();
    let names = Names::of(graphs, context);
    let mut statements = Vec::new();
    let mut add = |when: &[Kind], statement: Statement| {
        if when.is_empty() || when.iter().any(|kind| kinds.contains(kind)) {
            statements.push(statement);
        }
    };
    add(
        &[],
        allow(
            "WhatExists",
            &[
                "dynamodb:ListTables",
                "iam:ListRoles",
                "lambda:ListFunctions",
                "logs:DescribeLogGroups",
            ],
            json!("*"),
        ),
    );
    add(
        &[Kind::Function],
        allow("Functions", FUNCTIONS, names.arn("lambda", "function:")),
    );
    add(&[Kind::Role], allow("Roles", ROLES, names.global("iam", "role/")));
    let passed = json!({"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}});
    add(
        &[Kind::Function],
        with_condition(
            allow("PassRolesToLambdaOnly", &["iam:PassRole"], names.global("iam", "role/")),
            passed,
        ),
    );
    add(&[Kind::Table], allow("Tables", TABLES, names.arn("dynamodb", "table/")));
    let record = names.exactly("dynamodb", &context.region, &format!("table/{STATE_TABLE}"));
    add(&[], allow("Record", RECORD, record));
    let groups = [
        (Kind::Function, names.arn("logs", "log-group:/aws/lambda/")),
        (Kind::Account, names.arn("logs", "log-group:/aws/apigateway/")),
    ];
    let groups = groups.into_iter().filter(|(kind, _)| kinds.contains(kind));
    add(
        &[Kind::LogGroup],
        allow(
            "LogGroups",
            LOG_GROUPS,
            one_or_list(groups.map(|(_, arn)| arn).collect()),
        ),
    );
    add(&[Kind::Parameter], allow("Parameters", PARAMETERS, names.parameters()));
    let apis = ["/apis", "/apis/*"].map(|path| names.apigateway(path));
    add(
        &[Kind::Api],
        allow(
            "Apis",
            &[
                "apigateway:DELETE",
                "apigateway:GET",
                "apigateway:PATCH",
                "apigateway:POST",
            ],
            json!(apis),
        ),
    );
    add(
        &[Kind::Api],
        allow(
            "ApiTags",
            &["apigateway:POST", "apigateway:PUT"],
            json!(names.apigateway("/tags/*")),
        ),
    );
    // API Gateway makes this role with the first API of an account.
    let linked = "role/aws-service-role/ops.apigateway.amazonaws.com/AWSServiceRoleForAPIGateway";
    add(
        &[Kind::Api],
        with_condition(
            allow(
                "FirstApiOfTheAccount",
                &["iam:CreateServiceLinkedRole"],
                names.exactly("iam", "", linked),
            ),
            json!({"StringEquals": {"iam:AWSServiceName": "ops.apigateway.amazonaws.com"}}),
        ),
    );
    for role in log_roles(graphs) {
        let arn = names.exactly("iam", "", &format!("role/{role}"));
        add(
            &[],
            allow(
                "ApiGatewayLogs",
                &["apigateway:GET", "apigateway:PATCH"],
                json!(names.apigateway("/account")),
            ),
        );
        add(&[], allow("ApiGatewayLogRole", &["iam:CreateRole"], arn.clone()));
        let managed = format!(
            "arn:{}:iam::aws:policy/{}",
            context.partition,
            crate::account::MANAGED_POLICY
        );
        add(
            &[],
            with_condition(
                allow(
                    "ApiGatewayLogRoleMayOnlyWriteLogs",
                    &["iam:AttachRolePolicy"],
                    arn.clone(),
                ),
                json!({"ArnEquals": {"iam:PolicyARN": managed}}),
            ),
        );
        add(
            &[],
            with_condition(
                allow("PassLogRoleToApiGatewayOnly", &["iam:PassRole"], arn),
                json!({"StringEquals": {"iam:PassedToService": "apigateway.amazonaws.com"}}),
            ),
        );
    }
    add(
        &[Kind::Alarm],
        allow("Alarms", ALARMS, names.arn("cloudwatch", "alarm:")),
    );
    let all_alarms = names.exactly("cloudwatch", &context.region, "alarm:*");
    add(
        &[Kind::Alarm],
        allow("WhichAlarmsExist", &["cloudwatch:DescribeAlarms"], all_alarms),
    );
    add(
        &[Kind::Dashboard],
        allow("Dashboards", DASHBOARDS, names.global("cloudwatch", "dashboard/")),
    );
    DeployerPolicy {
        version: "2012-10-17",
        statement: statements,
    }
}

const FUNCTIONS: &[&str] = &[
    "lambda:AddPermission",
    "lambda:CreateAlias",
    "lambda:CreateFunction",
    "lambda:CreateFunctionUrlConfig",
    "lambda:DeleteAlias",
    "lambda:DeleteFunction",
    "lambda:DeleteFunctionUrlConfig",
    "lambda:GetFunction",
    "lambda:GetFunctionUrlConfig",
    "lambda:GetPolicy",
    "lambda:ListTags",
    "lambda:ListVersionsByFunction",
    "lambda:PublishVersion",
    "lambda:RemovePermission",
    "lambda:TagResource",
    "lambda:UpdateAlias",
    "lambda:UpdateFunctionCode",
    "lambda:UpdateFunctionConfiguration",
    "lambda:UpdateFunctionUrlConfig",
];

const ROLES: &[&str] = &[
    "iam:CreateRole",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListRolePolicies",
    "iam:PutRolePolicy",
    "iam:TagRole",
    "iam:UpdateAssumeRolePolicy",
];

const TABLES: &[&str] = &[
    "dynamodb:CreateTable",
    "dynamodb:DeleteTable",
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:ListTagsOfResource",
    "dynamodb:TagResource",
    "dynamodb:UpdateContinuousBackups",
    "dynamodb:UpdateTable",
    "dynamodb:UpdateTimeToLive",
];

const RECORD: &[&str] = &[
    "dynamodb:ConditionCheckItem",
    "dynamodb:CreateTable",
    "dynamodb:DeleteItem",
    "dynamodb:DeleteTable",
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateContinuousBackups",
];

const LOG_GROUPS: &[&str] = &[
    "logs:CreateLogGroup",
    "logs:DeleteLogGroup",
    "logs:DeleteRetentionPolicy",
    "logs:FilterLogEvents",
    "logs:ListTagsForResource",
    "logs:PutRetentionPolicy",
    "logs:TagResource",
];

const PARAMETERS: &[&str] = &[
    "ssm:AddTagsToResource",
    "ssm:DeleteParameter",
    "ssm:GetParameter",
    "ssm:ListTagsForResource",
    "ssm:PutParameter",
];

const ALARMS: &[&str] = &[
    "cloudwatch:DeleteAlarms",
    "cloudwatch:ListTagsForResource",
    "cloudwatch:PutMetricAlarm",
    "cloudwatch:TagResource",
];

const DASHBOARDS: &[&str] = &[
    "cloudwatch:DeleteDashboards",
    "cloudwatch:GetDashboard",
    "cloudwatch:PutDashboard",
];

/// How ARNs of the application begin.
struct Names<'a> {
    context: &'a Context,
    app: String,
    /// Where the policy is for one stage only.
    stage: Option<String>,
}

impl<'a> Names<'a> {
    fn of(graphs: &[&Graph], context: &'a Context) -> Self {
        let first = graphs.first().map(|graph| graph.stack().clone());
        Self {
            context,
            app: first.as_ref().map(|stack| stack.app.clone()).unwrap_or_default(),
            stage: first.map(|stack| stack.stage).filter(|_| graphs.len() == 1),
        }
    }

    /// Returns the ARN of everything of a type: `{app}-{stage}-*`.
    fn arn(&self, service: &str, resource: &str) -> Json {
        self.exactly(service, &self.context.region, &format!("{resource}{}-*", self.prefix()))
    }

    fn global(&self, service: &str, resource: &str) -> Json {
        self.exactly(service, "", &format!("{resource}{}-*", self.prefix()))
    }

    fn parameters(&self) -> Json {
        let stage = self
            .stage
            .as_ref()
            .map_or_else(String::new, |stage| format!("{stage}/"));
        self.exactly("ssm", &self.context.region, &format!("parameter/{}/{stage}*", self.app))
    }

    fn apigateway(&self, path: &str) -> String {
        format!(
            "arn:{}:apigateway:{}::{path}",
            self.context.partition, self.context.region
        )
    }

    fn exactly(&self, service: &str, region: &str, resource: &str) -> Json {
        let Context { partition, account, .. } = self.context;
        json!(format!("arn:{partition}:{service}:{region}:{account}:{resource}"))
    }

    fn prefix(&self) -> String {
        match &self.stage {
            Some(stage) => format!("{}-{stage}", self.app),
            None => self.app.clone(),
        }
    }
}

/// Returns the roles that are made where an account has none for API Gateway's logs.
fn log_roles(graphs: &[&Graph]) -> BTreeSet<String> {
    let resources = graphs.iter().flat_map(|graph| graph.resources().values());
    resources
        .filter_map(|resource| match resource.properties.get("LogRoleName") {
            Some(infra_cdk::Value::String(name)) => Some(name.clone()),
            Some(_) | None => None,
        })
        .collect()
}

fn allow(sid: &'static str, actions: &[&'static str], resource: Json) -> Statement {
    Statement {
        sid,
        effect: "Allow",
        action: actions.to_vec(),
        resource,
        condition: None,
    }
}

fn with_condition(statement: Statement, condition: Json) -> Statement {
    Statement {
        condition: Some(condition),
        ..statement
    }
}

fn one_or_list(mut resources: Vec<Json>) -> Json {
    match resources.len() {
        1 => resources.remove(0),
        _ => json!(resources),
    }
}
