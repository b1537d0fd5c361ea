//! What watches over the chat: access log, metrics, alarms, a dashboard. Each is switched by the stage's file, under
//! `observability`, because each costs money; see docs/operations.md.

use infra_cdk::{Alarm, AlarmRef, Dashboard, Function, Metric, Stack, Stage, WebSocketApi};

use crate::APP;

/// Adds what the stage asks for, after all functions.
pub(crate) fn add_to(stack: &mut Stack, stage: &Stage, api: &WebSocketApi, broadcast: &Function) {
    let functions = stack.functions();
    let wanted = &stage.settings.observability;
    if wanted.access_logs {
        api.access_log();
    }
    if wanted.metrics {
        for function in &functions {
            function.set_env("METRICS_NAMESPACE", APP);
            function.set_env("STAGE_NAME", stage.name.as_str());
        }
    }
    let alarms = match wanted.alarms {
        true => add_alarms(stack, &wanted.notify, broadcast, &functions),
        false => Vec::new(),
    };
    if wanted.dashboard {
        add_dashboard(stack, stage, api, broadcast, &functions, &alarms);
    }
}

fn add_alarms(stack: &mut Stack, notify: &[String], broadcast: &Function, functions: &[Function]) -> Vec<AlarmRef> {
    let mut alarms = Vec::new();
    let mut add = |words: [&str; 2], alarm: Alarm, description: &str| {
        let alarm = alarm.description(description).notify(notify.to_owned());
        alarms.push(stack.alarm(&words.join("-"), alarm));
    };
    for function in functions {
        // An error is how the authorizer has a client asked for its token: anybody can bring it about.
        if function.name() != "authorize" {
            let alarm = Alarm::new(function.metric("Errors"), 3);
            let description =
                "Invocations failed. Look at cargo xtask logs; cargo xtask rollback brings the code from before back.";
            add([function.name(), "errors"], alarm, description);
        }
        let alarm = Alarm::new(function.metric("Throttles"), 1);
        let description =
            "Invocations were refused: too many run at once. Look at the account's quota of concurrent executions.";
        add([function.name(), "throttles"], alarm, description);
    }
    // Lambda keeps what it could not begin: this is how old the oldest of it has become.
    let age = broadcast.metric("AsyncEventAge").statistic("Maximum");
    let alarm = Alarm::new(age, 10_000).period_seconds(60).datapoints(2, 3);
    let description =
        "Messages to large rooms wait for more than ten seconds. Look at throttles and errors of broadcast.";
    add([broadcast.name(), "age"], alarm, description);
    alarms
}

fn add_dashboard(
    stack: &mut Stack,
    stage: &Stage,
    api: &WebSocketApi,
    broadcast: &Function,
    functions: &[Function],
    alarms: &[AlarmRef],
) {
    let of_all = |metric: &str, statistic: &str| -> Vec<Metric> {
        let metrics = functions
            .iter()
            .map(|function| function.metric(metric).statistic(statistic));
        metrics.collect()
    };
    let ours = |name: &str| Metric::new(APP, name).dimension("Stage", stage.name.as_str());
    let mut dashboard = Dashboard::new();
    if !alarms.is_empty() {
        dashboard = dashboard.alarms("Alarms", alarms);
    }
    dashboard = dashboard
        .graph(
            "Connects and messages, in and out",
            ["ConnectCount", "MessageCount"].map(|name| api.metric(name)),
        )
        .graph(
            "Errors of the API",
            ["ClientError", "IntegrationError", "ExecutionError"].map(|name| api.metric(name)),
        );
    if stage.settings.observability.metrics {
        let counted = ["Connections", "MessagesIn", "Deliveries", "GonePeers", "SlowPeers"];
        let duration = ["p50", "p99"].map(|statistic| ours("FanOutDuration").statistic(statistic));
        dashboard = dashboard
            .graph("Chat", counted.map(ours))
            .graph("Fan-out, milliseconds", duration);
    }
    dashboard = dashboard
        .graph("Errors of functions", of_all("Errors", "Sum"))
        .graph("Throttles", of_all("Throttles", "Sum"))
        .graph("Duration p99, milliseconds", of_all("Duration", "p99"))
        .graph("Concurrent executions", of_all("ConcurrentExecutions", "Maximum"))
        .graph(
            "Age of broadcasts, milliseconds",
            [broadcast.metric("AsyncEventAge").statistic("Maximum")],
        );
    stack.dashboard("Dashboard", dashboard);
}
