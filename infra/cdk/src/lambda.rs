//! Lambda functions: each with its own log group, role and least-privilege policy, and an alias that callers use.
//!
//! Code and settings of a function are published as versions, which never change. The alias [`ALIAS`] names one of them:
//! it is moved to a new version when that is ready, so that a caller meets the old one or the new one, never a half.

use std::collections::BTreeMap;

use crate::function_url;
use crate::iam::{self, Statement};
use crate::stack::{Draft, DraftStack};
use crate::{FunctionUrl, FunctionUrlAuthType, Kind, LogicalId, Metric, RemovalPolicy, Resource, Value, physical_name};

/// Longest names that Lambda and IAM accept.
const NAME_LENGTH_MAX: usize = 64;

/// Name of the alias that callers use.
pub const ALIAS: &str = "live";

/// A function in a stack.
#[derive(Clone, Debug)]
pub struct Function {
    draft: Draft,
    name: String,
}

/// A function under construction.
#[derive(Clone, Debug)]
pub(crate) struct FunctionParts {
    name: String,
    memory_mb: u32,
    timeout_seconds: u32,
    has_alias: bool,
    url: Option<FunctionUrlAuthType>,
    environment: BTreeMap<String, Value>,
    statements: Vec<Statement>,
}

impl Function {
    pub(crate) fn add_to(draft: &Draft, name: &str) -> Self {
        let parts = FunctionParts {
            name: name.to_owned(),
            memory_mb: 256,
            timeout_seconds: 10,
            has_alias: true,
            url: None,
            environment: BTreeMap::new(),
            statements: Vec::new(),
        };
        let previous = draft.borrow_mut().functions.insert(name.to_owned(), parts);
        if previous.is_some() {
            let id = FunctionIds::of(name).function;
            draft.borrow_mut().mistakes.push(crate::Mistake::Duplicate { id });
        }
        Self {
            draft: draft.clone(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn all(draft: &Draft) -> Vec<Self> {
        let names: Vec<String> = draft.borrow().functions.keys().cloned().collect();
        let function = |name| Self {
            draft: draft.clone(),
            name,
        };
        names.into_iter().map(function).collect()
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(self, variable: &str, value: impl Into<Value>) -> Self {
        self.set_env(variable, value);
        self
    }

    /// Sets an environment variable, for values that are made after the function.
    pub fn set_env(&self, variable: &str, value: impl Into<Value>) {
        self.change(|parts| {
            parts.environment.insert(variable.to_owned(), value.into());
        });
    }

    /// Sets the memory in MB (128 to 10,240) for stages that do not say otherwise; 256 without it.
    #[must_use]
    pub fn memory_mb(self, memory_mb: u32) -> Self {
        self.change(|parts| parts.memory_mb = memory_mb);
        self
    }

    /// Sets the seconds until an invocation is ended (1 to 900) for stages that do not say otherwise; 10 without it.
    #[must_use]
    pub fn timeout_seconds(self, timeout_seconds: u32) -> Self {
        self.change(|parts| parts.timeout_seconds = timeout_seconds);
        self
    }

    /// Publishes no versions: callers meet `$LATEST`, whatever it is at the moment. It saves one call in a first deployment,
    /// and one resource; in exchange an update is seen half done, and cannot be rolled back.
    /// To be said before anybody refers to the function.
    #[must_use]
    pub fn without_alias(self) -> Self {
        self.change(|parts| parts.has_alias = false);
        self
    }

    /// Adds a statement to the policy of the function's role.
    pub fn allow(&self, statement: Statement) {
        self.change(|parts| {
            if !parts.statements.contains(&statement) {
                parts.statements.push(statement);
            }
        });
    }

    /// Lets another function, or this one itself, invoke this one under its [`Self::callee`].
    pub fn grant_invoke(&self, caller: &Self) {
        let arn = if self.has_alias() {
            Value::Join(vec![self.arn(), ":".into(), ALIAS.into()])
        } else {
            self.arn()
        };
        caller.allow(Statement::allow(
            format!("Invoke{}", self.id()),
            ["lambda:InvokeFunction"],
            [arn],
        ));
    }

    /// Returns what those call who invoke this function: `NAME:ALIAS`, or `NAME` where it has no alias. Its own
    /// environment may hold it, too: it is no reference.
    #[must_use]
    pub fn callee(&self) -> Value {
        let name = self.draft.borrow().function_name(&self.name);
        if self.has_alias() {
            format!("{name}:{ALIAS}").into()
        } else {
            name.into()
        }
    }

    /// Gives the function an HTTPS address of its own, or changes who may call it.
    #[must_use]
    pub fn add_function_url(&self, auth_type: FunctionUrlAuthType) -> FunctionUrl {
        self.change(|parts| parts.url = Some(auth_type));
        FunctionUrl::of(&self.name)
    }

    fn has_alias(&self) -> bool {
        let draft = self.draft.borrow();
        draft.functions.get(&self.name).is_some_and(|parts| parts.has_alias)
    }

    /// Returns the name of the function's binary.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the function's ARN, without version or alias.
    #[must_use]
    pub fn arn(&self) -> Value {
        Value::Attribute {
            of: self.id(),
            name: "Arn",
        }
    }

    /// Returns the function's name in AWS.
    #[must_use]
    pub fn function_name(&self) -> Value {
        Value::Attribute {
            of: self.id(),
            name: "FunctionName",
        }
    }

    /// Returns one of the metrics that Lambda keeps of the function, all its versions together: `Errors`, `Throttles`,
    /// `Duration`, `AsyncEventAge`, … (Lambda Developer Guide, "Types of metrics for Lambda functions").
    #[must_use]
    pub fn metric(&self, name: &str) -> Metric {
        Metric::new("AWS/Lambda", name).dimension("FunctionName", self.function_name())
    }

    pub(crate) fn id(&self) -> LogicalId {
        FunctionIds::of(&self.name).function
    }

    fn change(&self, change: impl FnOnce(&mut FunctionParts)) {
        if let Some(parts) = self.draft.borrow_mut().functions.get_mut(&self.name) {
            change(parts);
        }
    }
}

/// What callers of a function name: its alias, or the function itself where it has none.
pub(crate) struct Callee {
    /// `NAME` or `NAME:ALIAS`, as Lambda's calls take it.
    pub(crate) name: Value,
    /// The ARN of the same. It is computed: who only mentions it waits for nothing.
    pub(crate) arn: Value,
    /// The function itself, and its ARN without an alias.
    pub(crate) function: LogicalId,
    pub(crate) function_arn: Value,
    /// What a permission to call it lies in.
    pub(crate) container: LogicalId,
    /// Whether it is an alias.
    pub(crate) is_alias: bool,
}

impl Callee {
    /// Returns what callers of `function` (the name of its binary) name, after [`FunctionParts::finish`].
    pub(crate) fn of(function: &str, draft: &DraftStack) -> Self {
        let ids = FunctionIds::of(function);
        let is_alias = draft.resources.contains_key(&ids.alias);
        let qualified = |name| {
            let unqualified = Value::Attribute {
                of: ids.function.clone(),
                name,
            };
            if is_alias {
                Value::Join(vec![unqualified, ":".into(), ALIAS.into()])
            } else {
                unqualified
            }
        };
        Self {
            name: qualified("FunctionName"),
            arn: qualified("Arn"),
            function_arn: Value::Attribute {
                of: ids.function.clone(),
                name: "Arn",
            },
            container: if is_alias { ids.alias } else { ids.function.clone() },
            function: ids.function,
            is_alias,
        }
    }
}

/// Logical ids of a function's resources.
struct FunctionIds {
    function: LogicalId,
    alias: LogicalId,
    role: LogicalId,
    policy: LogicalId,
    log_group: LogicalId,
}

impl FunctionIds {
    fn of(name: &str) -> Self {
        Self {
            function: LogicalId::from_words(&[name, "function"]),
            alias: LogicalId::from_words(&[name, "alias"]),
            role: LogicalId::from_words(&[name, "role"]),
            policy: LogicalId::from_words(&[name, "policy"]),
            log_group: LogicalId::from_words(&[name, "logs"]),
        }
    }
}

impl DraftStack {
    /// Returns the name that AWS knows a function by.
    fn function_name(&self, name: &str) -> String {
        physical_name(&[&self.id.app, &self.id.stage, name], NAME_LENGTH_MAX)
    }
}

impl FunctionParts {
    /// Turns the function into resources.
    pub(crate) fn finish(self, draft: &mut DraftStack) {
        let ids = FunctionIds::of(&self.name);
        let settings = draft.stage.settings.clone();
        let of_stage = |read: fn(&crate::FunctionSettings) -> Option<u32>| {
            settings
                .function
                .get(&self.name)
                .and_then(read)
                .or_else(|| read(&settings.functions))
        };
        let memory_mb = of_stage(|function| function.memory_mb).unwrap_or(self.memory_mb);
        let timeout_seconds = of_stage(|function| function.timeout_seconds).unwrap_or(self.timeout_seconds);
        let log_level = settings
            .function
            .get(&self.name)
            .and_then(|function| function.log_level.clone())
            .or_else(|| settings.functions.log_level.clone())
            .unwrap_or_else(|| "INFO".to_owned());
        self.check(memory_mb, timeout_seconds, draft);

        let (app, stage) = (draft.id.app.clone(), draft.id.stage.clone());
        let function_name = draft.function_name(&self.name);
        let role_name = physical_name(&[&app, &stage, &self.name, &draft.stage.region], NAME_LENGTH_MAX);
        let log_group_name = format!("/aws/lambda/{function_name}");
        let attribute = |of: &LogicalId, name| Value::Attribute { of: of.clone(), name };

        let log_group = Resource::new(Kind::LogGroup)
            .with("LogGroupName", log_group_name)
            .with("RetentionInDays", settings.log_retention_days);
        let role = Resource::new(Kind::Role)
            .with("RoleName", role_name)
            .with("AssumeRolePolicyDocument", iam::trust_policy("lambda.amazonaws.com"));
        // `logs:CreateLogGroup` is not granted: a late line would bring a deleted group back, without its retention.
        let own_logs = Statement::allow(
            "WriteOwnLogs",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            [Value::Join(vec![attribute(&ids.log_group, "Arn"), ":*".into()])],
        );
        let statements: Vec<_> = std::iter::once(own_logs)
            .chain(self.statements.iter().cloned())
            .collect();
        let policy = Resource::new(Kind::RolePolicy)
            .with("RoleName", attribute(&ids.role, "RoleName"))
            .with("PolicyName", "grants")
            .with("PolicyDocument", iam::policy_document(&statements))
            .after([ids.role.clone()]);
        let mut function = Resource::new(Kind::Function)
            .with("FunctionName", function_name)
            .with("PackageType", "Zip")
            .with("Runtime", "provided.al2023")
            .with("Handler", "bootstrap")
            .with("Architectures", Value::list([settings.architecture.resolve().as_str()]))
            .with("MemorySize", memory_mb)
            .with("Timeout", timeout_seconds)
            .with("Role", attribute(&ids.role, "Arn"))
            .with("Code", Value::Package(self.name.clone()))
            .with(
                "LoggingConfig",
                Value::map([
                    ("LogFormat", Value::from("JSON")),
                    ("ApplicationLogLevel", log_level.into()),
                    ("SystemLogLevel", "INFO".into()),
                    ("LogGroup", attribute(&ids.log_group, "LogGroupName")),
                ]),
            )
            .after([ids.role.clone(), ids.log_group.clone()]);
        if !self.environment.is_empty() {
            let environment = Value::map([("Variables", Value::Map(self.environment))]);
            function = function.with("Environment", environment);
        }
        if self.has_alias {
            function = function.with("Publish", true);
            let alias = Resource::new(Kind::Alias)
                .with("FunctionName", attribute(&ids.function, "FunctionName"))
                .with("Name", ALIAS)
                .with("FunctionVersion", attribute(&ids.function, "Version"))
                .inside(ids.function.clone());
            draft.add(ids.alias, alias);
        }
        for (id, mut resource) in [
            (ids.log_group, log_group),
            (ids.role, role),
            (ids.policy, policy),
            (ids.function, function),
        ] {
            resource.removal_policy = RemovalPolicy::Delete;
            draft.add(id, resource);
        }
        if let Some(auth_type) = self.url {
            function_url::add_to(draft, &self.name, auth_type);
        }
    }

    /// Notes what Lambda would refuse.
    fn check(&self, memory_mb: u32, timeout_seconds: u32, draft: &mut DraftStack) {
        let subject = format!("function `{}`", self.name);
        let name_fits = !self.name.is_empty()
            && self
                .name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !name_fits {
            draft.invalid(&subject, "the name must be letters, digits, hyphens and underscores");
        }
        if !(128..=10_240).contains(&memory_mb) {
            draft.invalid(&subject, format!("memoryMb {memory_mb} is not between 128 and 10240"));
        }
        if !(1..=900).contains(&timeout_seconds) {
            draft.invalid(
                &subject,
                format!("timeoutSeconds {timeout_seconds} is not between 1 and 900"),
            );
        }
        for variable in self.environment.keys().filter(|variable| variable.starts_with("AWS_")) {
            draft.invalid(
                &subject,
                format!("environment variable {variable}: names beginning with AWS_ belong to Lambda"),
            );
        }
        for statement in &self.statements {
            if self
                .statements
                .iter()
                .filter(|other| other.sid() == statement.sid())
                .count()
                > 1
            {
                draft.invalid(
                    &subject,
                    format!("two different statements are called {}", statement.sid()),
                );
            }
        }
    }
}
