//! What every service may reach: the account, and the other services.

use std::sync::Arc;

use crate::{apigatewayv2, cloudwatch, dynamodb, gateway, iam, lambda, logs, ssm, unkind};

/// Where this cloud pretends to be.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// Twelve digits; `000000000000` by default, as other emulators use.
    pub(crate) id: String,
    /// For example `us-east-1`.
    pub(crate) region: String,
}

impl Account {
    /// Partition of all ARNs here.
    pub(crate) const PARTITION: &'static str = "aws";

    /// Returns `arn:aws:{service}:{region}:{account}:{resource}`.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!(
            "arn:{}:{service}:{}:{}:{resource}",
            Self::PARTITION,
            self.region,
            self.id
        )
    }
}

/// All services of one local cloud. Each field owns its state behind its own lock; no lock is held across `.await`.
pub(crate) struct Cloud {
    pub(crate) account: Account,
    /// `http://127.0.0.1:PORT`, without a trailing slash.
    pub(crate) endpoint: String,
    pub(crate) apigatewayv2: apigatewayv2::ApiGateway,
    pub(crate) cloudwatch: cloudwatch::CloudWatch,
    pub(crate) dynamodb: dynamodb::DynamoDb,
    pub(crate) gateway: gateway::Gateway,
    pub(crate) iam: iam::Iam,
    pub(crate) lambda: lambda::Lambda,
    pub(crate) logs: logs::Logs,
    pub(crate) ssm: ssm::Ssm,
    /// What it does to its callers.
    pub(crate) unkind: unkind::Unkind,
}

/// How handlers hold the cloud.
pub(crate) type SharedCloud = Arc<Cloud>;
