//! The configuration of a function: what a request may set, the rules, and how it is read back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::model::merge;
use super::validation::{Violations, invalid_parameter};
use crate::wire::ApiError;

/// Runtimes that AWS accepts for a new function; only `provided.*` can be executed here.
const RUNTIMES: &[&str] = &[
    "dotnet10",
    "dotnet8",
    "java11",
    "java17",
    "java21",
    "java25",
    "java8.al2",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "provided.al2",
    "provided.al2023",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "python3.9",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
];

/// Names and values of all environment variables together, in bytes.
const ENVIRONMENT_BYTES_MAX: usize = 4096;

/// Variables that belong to the platform (Developer Guide, "Defined runtime environment variables").
const RESERVED_VARIABLES: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// Settings common to `CreateFunction` and `UpdateFunctionConfiguration`; absent means unchanged, or the default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Settings {
    pub(super) runtime: Option<String>,
    pub(super) role: Option<String>,
    pub(super) handler: Option<String>,
    description: Option<String>,
    timeout: Option<u64>,
    memory_size: Option<u64>,
    environment: Option<Environment>,
    tracing_config: Option<TracingConfig>,
    ephemeral_storage: Option<EphemeralStorage>,
    snap_start: Option<SnapStart>,
    logging_config: Option<LoggingConfig>,
}

/// All settings of one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Configuration {
    pub(super) runtime: String,
    pub(super) role: String,
    pub(super) handler: String,
    pub(super) description: String,
    /// Seconds.
    pub(super) timeout: u64,
    /// Megabytes.
    pub(super) memory_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) environment: Option<Environment>,
    pub(super) tracing_config: TracingConfig,
    pub(super) ephemeral_storage: EphemeralStorage,
    pub(super) snap_start: SnapStart,
    pub(super) logging_config: LoggingConfig,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Environment {
    #[serde(default)]
    pub(super) variables: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TracingConfig {
    mode: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EphemeralStorage {
    /// Megabytes.
    size: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SnapStart {
    apply_on: String,
}

/// Where the log lines go, and in which form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LoggingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) application_log_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) system_log_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_group: Option<String>,
}

impl LoggingConfig {
    pub(super) fn is_json(&self) -> bool {
        self.log_format.as_deref() == Some("JSON")
    }

    /// Fills what AWS fills: the group of the function, and the levels of the JSON format.
    fn completed(mut self, function: &str) -> Self {
        self.log_format.get_or_insert_with(|| "Text".to_owned());
        self.log_group.get_or_insert_with(|| format!("/aws/lambda/{function}"));
        if self.is_json() {
            self.application_log_level.get_or_insert_with(|| "INFO".to_owned());
            self.system_log_level.get_or_insert_with(|| "INFO".to_owned());
        }
        self
    }
}

impl Configuration {
    /// Returns AWS's defaults for a new function with these settings, which must name runtime, handler and role.
    pub(super) fn new(function: &str, settings: Settings) -> Self {
        let mut configuration = Self {
            runtime: String::new(),
            role: String::new(),
            handler: String::new(),
            description: String::new(),
            timeout: 3,
            memory_size: 128,
            environment: None,
            tracing_config: TracingConfig {
                mode: "PassThrough".to_owned(),
            },
            ephemeral_storage: EphemeralStorage { size: 512 },
            snap_start: SnapStart {
                apply_on: "None".to_owned(),
            },
            logging_config: LoggingConfig::default().completed(function),
        };
        configuration.apply(function, settings);
        configuration
    }

    /// Changes what `settings` name. `Environment` and `LoggingConfig` replace the former value as a whole.
    pub(super) fn apply(&mut self, function: &str, settings: Settings) {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut self.runtime, settings.runtime);
        set(&mut self.role, settings.role);
        set(&mut self.handler, settings.handler);
        set(&mut self.description, settings.description);
        set(&mut self.timeout, settings.timeout);
        set(&mut self.memory_size, settings.memory_size);
        set(&mut self.tracing_config, settings.tracing_config);
        set(&mut self.ephemeral_storage, settings.ephemeral_storage);
        set(&mut self.snap_start, settings.snap_start);
        set(
            &mut self.logging_config,
            settings.logging_config.map(|config| config.completed(function)),
        );
        if let Some(environment) = settings.environment {
            self.environment = Some(environment).filter(|environment| !environment.variables.is_empty());
        }
    }

    /// Renders the members of `FunctionConfiguration` that come from here.
    pub(super) fn describe(&self) -> Value {
        let mut described = serde_json::to_value(self).unwrap_or_else(|_| json!({}));
        let snap_start = json!({ "ApplyOn": self.snap_start.apply_on, "OptimizationStatus": "Off" });
        merge(&mut described, json!({ "SnapStart": snap_start }));
        described
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&String, &String)> {
        self.environment.iter().flat_map(|environment| &environment.variables)
    }
}

impl Settings {
    /// Checks every rule that needs nothing but the request.
    ///
    /// # Errors
    /// `ValidationException` with all violations of the model, or `InvalidParameterValueException` for what Lambda
    /// itself refuses.
    pub(super) fn validate(&self) -> Result<(), ApiError> {
        let mut violations = Violations::default();
        violations.range("timeout", self.timeout, 1, 900);
        violations.range("memorySize", self.memory_size, 128, 10_240);
        let storage = self.ephemeral_storage.as_ref().map(|storage| storage.size);
        violations.range("ephemeralStorage.size", storage, 512, 10_240);
        violations.length("description", self.description.as_deref(), 256);
        violations.length("handler", self.handler.as_deref(), 128);
        if let Some(handler) = &self.handler {
            let ok = !handler.is_empty() && !handler.contains(char::is_whitespace);
            violations.pattern("handler", handler, ok, "[^\\s]+");
        }
        if let Some(role) = &self.role {
            violations.pattern(
                "role",
                role,
                is_role_arn(role),
                "arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+",
            );
        }
        if let Some(tracing) = &self.tracing_config {
            violations.one_of("tracingConfig.mode", Some(&tracing.mode), &["Active", "PassThrough"]);
        }
        if let Some(snap_start) = &self.snap_start {
            violations.one_of(
                "snapStart.applyOn",
                Some(&snap_start.apply_on),
                &["PublishedVersions", "None"],
            );
        }
        if let Some(logging) = &self.logging_config {
            check_members(logging, &mut violations);
        }
        for key in self
            .environment
            .iter()
            .flat_map(|environment| environment.variables.keys())
        {
            violations.pattern(
                "environment.variables",
                key,
                is_variable(key),
                "[a-zA-Z]([a-zA-Z0-9_])+",
            );
        }
        violations.finish()?;
        self.check_runtime()?;
        self.check_logging()?;
        self.environment.as_ref().map_or(Ok(()), check_environment)
    }

    fn check_runtime(&self) -> Result<(), ApiError> {
        match &self.runtime {
            Some(runtime) if !RUNTIMES.contains(&runtime.as_str()) => Err(invalid_parameter(format!(
                "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{}] or be a valid ARN",
                RUNTIMES.join(", ")
            ))),
            _ => Ok(()),
        }
    }

    fn check_logging(&self) -> Result<(), ApiError> {
        let Some(logging) = &self.logging_config else {
            return Ok(());
        };
        let levels = logging.application_log_level.is_some() || logging.system_log_level.is_some();
        if levels && !logging.is_json() {
            let message = "To set the log level, the log format of the function must be JSON.";
            return Err(invalid_parameter(message));
        }
        Ok(())
    }
}

fn check_members(logging: &LoggingConfig, violations: &mut Violations) {
    const LEVELS: &[&str] = &["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    violations.one_of(
        "loggingConfig.logFormat",
        logging.log_format.as_deref(),
        &["JSON", "Text"],
    );
    violations.one_of(
        "loggingConfig.applicationLogLevel",
        logging.application_log_level.as_deref(),
        LEVELS,
    );
    violations.one_of(
        "loggingConfig.systemLogLevel",
        logging.system_log_level.as_deref(),
        &["DEBUG", "INFO", "WARN"],
    );
    if let Some(group) = &logging.log_group {
        let ok = (1..=512).contains(&group.len())
            && group
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte));
        violations.pattern("loggingConfig.logGroup", group, ok, "[\\.\\-_/#A-Za-z0-9]+");
    }
}

fn check_environment(environment: &Environment) -> Result<(), ApiError> {
    let variables = &environment.variables;
    let reserved: Vec<&str> = variables
        .keys()
        .map(String::as_str)
        .filter(|key| RESERVED_VARIABLES.contains(key))
        .collect();
    if !reserved.is_empty() {
        return Err(invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: {}",
            reserved.join(", ")
        )));
    }
    let size: usize = variables.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > ENVIRONMENT_BYTES_MAX {
        return Err(invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: {size} bytes"
        )));
    }
    Ok(())
}

fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else {
        return false;
    };
    partition.starts_with("aws")
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && resource.strip_prefix("role/").is_some_and(|path| {
            let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@-_/".contains(&byte);
            !path.is_empty() && path.bytes().all(ok)
        })
}

fn is_variable(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|first: char| {
            first.is_ascii_alphabetic() || RESERVED_VARIABLES.contains(&name) && first == '_'
        })
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
