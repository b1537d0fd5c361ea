//! Random stacks: routes to functions, tables, memory; small enough to be deployed hundreds of times.

use std::collections::BTreeMap;

use infra_cdk::{Alarm, Dashboard, FunctionUrlAuthType, Graph, Mistakes, RemovalPolicy, Settings, Stack, Stage, Table};

use super::World;

/// What routes may be called.
const ROUTES: [&str; 4] = ["$connect", "$disconnect", "send", "who"];

/// Which functions they may lead to. A route that moves to another one takes its permission along.
pub const FUNCTIONS: [&str; 3] = ["one", "two", "three"];

/// What tables may be called, and by what their items may be keyed: another key is another table.
const TABLES: [&str; 2] = ["Connections", "Rooms"];
const KEYS: [&str; 2] = ["id", "name"];

/// What a stack declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Routes, each with its function and whether that replies.
    pub routes: Vec<(&'static str, &'static str, bool)>,
    /// Tables, each with its key. All functions of routes may put items into them.
    pub tables: Vec<(&'static str, &'static str)>,
    /// Whether there is a secret, which the authorizer may read.
    pub has_secret: bool,
    /// Memory of the authorizer.
    pub memory_mb: u32,
    /// Whether there is a function with an address of its own, and who may call it. The authorizer knows the address.
    pub url: Option<FunctionUrlAuthType>,
    /// Whether there are an access log, an alarm and a dashboard.
    pub is_watched: bool,
}

impl Shape {
    /// Returns a stack that the account's chance has chosen.
    #[must_use]
    pub fn random(world: &World) -> Self {
        let mut routes: Vec<_> = ROUTES
            .into_iter()
            .filter(|_| world.random(3) > 0)
            .map(|route| (route, pick(world, &FUNCTIONS), world.random(2) == 0))
            .collect();
        if routes.is_empty() {
            routes.push(("send", "one", true));
        }
        let tables = TABLES.into_iter().filter(|_| world.random(2) == 0);
        Self {
            routes,
            tables: tables.map(|table| (table, pick(world, &KEYS))).collect(),
            has_secret: world.random(2) == 0,
            memory_mb: pick(world, &[128, 256]),
            url: pick(
                world,
                &[None, Some(FunctionUrlAuthType::None), Some(FunctionUrlAuthType::AwsIam)],
            ),
            is_watched: world.random(2) == 0,
        }
    }

    /// Returns the stack.
    ///
    /// # Errors
    /// What is wrong with the declaration.
    pub fn graph(&self) -> Result<Graph, Mistakes> {
        let settings = Settings {
            removal_policy: RemovalPolicy::Delete,
            ..Settings::default()
        };
        let stage = Stage {
            name: "test".into(),
            region: "eu-west-1".into(),
            settings,
        };
        let mut stack = Stack::new("chat", &stage);
        let authorize = stack.function("authorize").memory_mb(self.memory_mb);
        if self.has_secret {
            let secret = stack.secret("TokenKey");
            secret.grant_read(&authorize);
            authorize.set_env("KEY", &secret);
        }
        let mut api = stack.web_socket_api("Chat").authorizer(&authorize);
        if let Some(auth_type) = self.url {
            let web = stack.function("web");
            authorize.set_env("ORIGIN", web.add_function_url(auth_type).url());
        }
        let mut functions = BTreeMap::new();
        for (route, name, replies) in &self.routes {
            let function = functions.entry(*name).or_insert_with(|| stack.function(name));
            api = if *replies {
                api.replying_route(route, function)
            } else {
                api.route(route, function)
            };
        }
        for (table, key) in &self.tables {
            let table = stack.table(table, Table::keyed_by(key));
            for function in functions.values() {
                table.grant_put(function);
                function.set_env("TABLE", &table);
            }
        }
        if self.is_watched {
            api.access_log();
            let alarm = stack.alarm("Errors", Alarm::new(authorize.metric("Errors"), 1));
            let dashboard = Dashboard::new().graph("Messages", [api.metric("MessageCount")]);
            stack.dashboard("Dashboard", dashboard.alarms("Alarms", [&alarm]));
        }
        stack.output("url", api.url());
        stack.build()
    }
}

/// Returns one of several; the first of them is never missing.
fn pick<T: Copy>(world: &World, all: &[T]) -> T {
    let number = world.random(all.len() as u64);
    all[usize::try_from(number).unwrap_or_default()]
}
