//! Resource types: what CloudFormation calls them, and what holds for a type as a whole. What holds for its properties is data:
//! see [`Kind::schema`].

use serde::{Deserialize, Serialize};

/// A type of resource. Adding one makes the compiler name every place that must handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `AWS::ApiGatewayV2::Api`
    Api,
    /// `AWS::ApiGatewayV2::Authorizer`
    Authorizer,
    /// `AWS::ApiGatewayV2::Deployment`
    Deployment,
    /// `AWS::ApiGatewayV2::Integration`
    Integration,
    /// `AWS::ApiGatewayV2::Route`
    Route,
    /// `AWS::ApiGatewayV2::RouteResponse`
    RouteResponse,
    /// `AWS::ApiGatewayV2::Stage`
    Stage,
    /// `AWS::DynamoDB::Table`
    Table,
    /// `AWS::IAM::Role`
    Role,
    /// `AWS::IAM::RolePolicy`: an inline policy.
    RolePolicy,
    /// `AWS::Lambda::Function`
    Function,
    /// `AWS::Lambda::Alias`: a name for one of a function's published versions.
    Alias,
    /// `AWS::Lambda::Permission`
    Permission,
    /// `AWS::Lambda::Url`: an HTTPS address of a function or of one of its aliases.
    Url,
    /// `AWS::Logs::LogGroup`
    LogGroup,
    /// `AWS::SSM::Parameter` of the type `SecureString`, whose value is generated at creation and never read back.
    Parameter,
    /// `AWS::ApiGateway::Account`: the role by which API Gateway writes logs, one for all APIs of an account and Region.
    Account,
    /// `AWS::CloudWatch::Alarm`
    Alarm,
    /// `AWS::CloudWatch::Dashboard`
    Dashboard,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; Self::Dashboard as usize + 1] = [
        Self::Api,
        Self::Authorizer,
        Self::Deployment,
        Self::Integration,
        Self::Route,
        Self::RouteResponse,
        Self::Stage,
        Self::Table,
        Self::Role,
        Self::RolePolicy,
        Self::Function,
        Self::Alias,
        Self::Permission,
        Self::Url,
        Self::LogGroup,
        Self::Parameter,
        Self::Account,
        Self::Alarm,
        Self::Dashboard,
    ];

    /// Returns CloudFormation's name of the type.
    #[must_use]
    pub const fn cloudformation_type(self) -> &'static str {
        match self {
            Self::Api => "AWS::ApiGatewayV2::Api",
            Self::Authorizer => "AWS::ApiGatewayV2::Authorizer",
            Self::Deployment => "AWS::ApiGatewayV2::Deployment",
            Self::Integration => "AWS::ApiGatewayV2::Integration",
            Self::Route => "AWS::ApiGatewayV2::Route",
            Self::RouteResponse => "AWS::ApiGatewayV2::RouteResponse",
            Self::Stage => "AWS::ApiGatewayV2::Stage",
            Self::Table => "AWS::DynamoDB::Table",
            Self::Role => "AWS::IAM::Role",
            Self::RolePolicy => "AWS::IAM::RolePolicy",
            Self::Function => "AWS::Lambda::Function",
            Self::Alias => "AWS::Lambda::Alias",
            Self::Permission => "AWS::Lambda::Permission",
            Self::Url => "AWS::Lambda::Url",
            Self::LogGroup => "AWS::Logs::LogGroup",
            Self::Parameter => "AWS::SSM::Parameter",
            Self::Account => "AWS::ApiGateway::Account",
            Self::Alarm => "AWS::CloudWatch::Alarm",
            Self::Dashboard => "AWS::CloudWatch::Dashboard",
        }
    }

    /// Returns the type that CloudFormation calls so.
    #[must_use]
    pub fn of_cloudformation_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.cloudformation_type() == name)
    }

    /// Returns whether a stack of ours makes such a resource at CloudFormation. Of the type `AWS::SSM::Parameter` it makes plain
    /// texts only, and what the whole account shares belongs to no stack.
    #[must_use]
    pub const fn is_made_by_cloudformation(self) -> bool {
        !matches!(self, Self::Parameter | Self::Account)
    }

    /// Returns the property that holds the name we choose, unique in its account and Region; `None` where AWS assigns
    /// an id or the name is only unique within a parent.
    #[must_use]
    pub const fn name_property(self) -> Option<&'static str> {
        match self {
            Self::Table => Some("TableName"),
            Self::Role => Some("RoleName"),
            Self::Function => Some("FunctionName"),
            Self::LogGroup => Some("LogGroupName"),
            Self::Parameter => Some("Name"),
            Self::Alarm => Some("AlarmName"),
            Self::Dashboard => Some("DashboardName"),
            Self::Account
            | Self::Api
            | Self::Authorizer
            | Self::Deployment
            | Self::Integration
            | Self::Route
            | Self::RouteResponse
            | Self::Stage
            | Self::RolePolicy
            | Self::Alias
            | Self::Permission
            | Self::Url => None,
        }
    }

    /// Returns whether a second one can exist beside the first while it is replaced, though all names stay the same:
    /// true where AWS assigns the id.
    #[must_use]
    pub const fn replaces_create_first(self) -> bool {
        match self {
            Self::Api | Self::Authorizer | Self::Deployment | Self::Integration => true,
            Self::Route
            | Self::RouteResponse
            | Self::Stage
            | Self::Table
            | Self::Role
            | Self::RolePolicy
            | Self::Function
            | Self::Alias
            | Self::Permission
            | Self::Url
            | Self::LogGroup
            | Self::Parameter
            | Self::Account
            | Self::Alarm
            | Self::Dashboard => false,
        }
    }

    /// Returns whether replacing or deleting one loses what users stored in it.
    #[must_use]
    pub const fn holds_data(self) -> bool {
        matches!(self, Self::Table | Self::Parameter)
    }

    /// Returns whether the resource carries ownership tags (property `Tags`); the others are known by their parent, a
    /// marker in their description, or their natural key.
    #[must_use]
    pub const fn is_taggable(self) -> bool {
        matches!(
            self,
            Self::Api
                | Self::Stage
                | Self::Table
                | Self::Role
                | Self::Function
                | Self::LogGroup
                | Self::Parameter
                | Self::Alarm
        )
    }

    /// Returns the attributes that other resources may refer to.
    #[must_use]
    pub const fn attributes(self) -> &'static [&'static str] {
        match self {
            // `ManagementEndpoint` is where functions call `@connections`, without the stage.
            Self::Api => &["ApiId", "ApiEndpoint", "ManagementEndpoint"],
            Self::Authorizer => &["AuthorizerId"],
            Self::Deployment => &["DeploymentId"],
            Self::Integration => &["IntegrationId"],
            Self::Route => &["RouteId"],
            Self::Stage => &["StageName"],
            Self::Table => &["TableName", "Arn"],
            Self::Role => &["RoleName", "Arn"],
            // `Version` is the last published one; only functions that publish versions have it.
            Self::Function => &["FunctionName", "Arn", "Version"],
            Self::LogGroup => &["LogGroupName", "Arn"],
            Self::Parameter => &["Name", "Arn"],
            // With a slash at its end.
            Self::Url => &["FunctionUrl"],
            Self::Alarm => &["AlarmName", "Arn"],
            Self::Dashboard => &["DashboardName"],
            Self::RouteResponse | Self::RolePolicy | Self::Alias | Self::Permission | Self::Account => &[],
        }
    }

    /// Returns the attributes that AWS assigns anew whenever the resource is updated in place: until then, nobody knows
    /// them.
    #[must_use]
    pub const fn attributes_of_update(self) -> &'static [&'static str] {
        match self {
            Self::Function => &["Version"],
            Self::Api
            | Self::Authorizer
            | Self::Deployment
            | Self::Integration
            | Self::Route
            | Self::RouteResponse
            | Self::Stage
            | Self::Table
            | Self::Role
            | Self::RolePolicy
            | Self::Alias
            | Self::Permission
            | Self::Url
            | Self::LogGroup
            | Self::Parameter
            | Self::Account
            | Self::Alarm
            | Self::Dashboard => &[],
        }
    }

    /// Returns whether the code of a function may need such a resource as soon as it is called, its own version included.
    /// Callers are sent to new code only when all of these are done.
    #[must_use]
    pub const fn is_needed_by_code(self) -> bool {
        match self {
            Self::Table | Self::Role | Self::RolePolicy | Self::Function | Self::LogGroup | Self::Parameter => true,
            Self::Api
            | Self::Authorizer
            | Self::Deployment
            | Self::Integration
            | Self::Route
            | Self::RouteResponse
            | Self::Stage
            | Self::Alias
            | Self::Permission
            | Self::Url
            | Self::Account
            | Self::Alarm
            | Self::Dashboard => false,
        }
    }

    /// Returns whether a property is ours, not CloudFormation's: `Trigger` of a deployment, the digest of everything that
    /// the deployment takes a snapshot of; and `Publish` of a function, whose changes are published as versions
    /// (`Publish` of Lambda's `CreateFunction` and `UpdateFunctionCode`).
    #[must_use]
    pub fn is_own_property(self, name: &str) -> bool {
        matches!(
            (self, name),
            (Self::Deployment, "Trigger") | (Self::Function, "Publish")
        )
    }
}
