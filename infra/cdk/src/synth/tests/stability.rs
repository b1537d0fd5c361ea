//! What makes a logical id another one, and what does not.

use super::*;
use crate::{Alarm, Dashboard, FunctionUrlAuthType, Throttling};

/// Returns the logical id of the deployment of a small chat, after `change`.
fn deployment(change: impl FnOnce(&mut Chat)) -> String {
    let mut chat = Chat {
        routes: vec![
            ("$connect", "connect", false),
            ("send", "send", true),
            ("who", "send", false),
        ],
        authorizer: Some("authorize"),
        settings: Settings::default(),
        memory_mb: 256,
        digest: "0",
        is_watched: false,
        has_more: false,
    };
    change(&mut chat);
    let template = chat.template();
    let resources = template["Resources"].as_object().unwrap();
    let mut deployments = resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == "AWS::ApiGatewayV2::Deployment");
    let (name, _) = deployments.next().unwrap();
    assert!(deployments.next().is_none());
    name.clone()
}

/// What a chat is declared by.
struct Chat {
    /// Key, function, whether it replies.
    routes: Vec<(&'static str, &'static str, bool)>,
    authorizer: Option<&'static str>,
    settings: Settings,
    memory_mb: u32,
    digest: &'static str,
    is_watched: bool,
    has_more: bool,
}

impl Chat {
    fn template(&self) -> Json {
        let stage = Stage {
            name: "test".into(),
            region: "us-east-1".into(),
            settings: self.settings.clone(),
        };
        let names = ["authorize", "check", "connect", "send", "web"];
        let digests = names.map(|name| (name.to_owned(), self.digest.repeat(64)));
        let mut stack = Stack::new("chat", &stage);
        let functions: BTreeMap<_, _> = names
            .iter()
            .map(|name| (*name, stack.function(name).memory_mb(self.memory_mb)))
            .collect();
        let mut api = stack.web_socket_api("Chat");
        for (key, function, replies) in &self.routes {
            api = match replies {
                true => api.replying_route(key, &functions[function]),
                false => api.route(key, &functions[function]),
            };
        }
        if let Some(authorizer) = self.authorizer {
            api = api.authorizer(&functions[authorizer]);
        }
        if self.is_watched {
            api.access_log();
            let alarm = stack.alarm("Errors", Alarm::new(functions["send"].metric("Errors"), 1));
            stack.dashboard("Dashboard", Dashboard::new().alarms("Alarms", [&alarm]));
        }
        if self.has_more {
            let table = stack.table("Rooms", Table::keyed_by("id"));
            table.grant_put(&functions["send"]);
            functions["send"].set_env("ROOMS", &table);
            api.grant_post_to_connections(&functions["send"]);
            let _ = functions["web"].add_function_url(FunctionUrlAuthType::None);
            stack.output("url", api.url());
        }
        template(&stack.build().unwrap(), &BTreeMap::from(digests))
    }
}

/// A change of the declaration, and its name.
type Changed = (&'static str, fn(&mut Chat));

#[test]
fn the_deployment_is_made_anew_when_routes_integrations_or_the_authorizer_change() {
    let changes: [Changed; 7] = [
        ("a route comes", |chat| chat.routes.push(("join", "send", false))),
        ("a route goes", |chat| chat.routes.truncate(2)),
        ("a route leads elsewhere", |chat| chat.routes[2].1 = "connect"),
        ("an integration is another function", |chat| chat.routes[0].1 = "check"),
        ("a route replies", |chat| chat.routes[2].2 = true),
        ("the authorizer is another function", |chat| {
            chat.authorizer = Some("check");
        }),
        ("there is no authorizer", |chat| chat.authorizer = None),
    ];
    let before = deployment(|_| {});
    let mut names = BTreeSet::from([before]);
    for (change, apply) in changes {
        assert!(names.insert(deployment(apply)), "{change}");
    }
}

#[test]
fn the_deployment_stays_when_anything_else_changes() {
    let changes: [Changed; 7] = [
        ("memory", |chat| chat.memory_mb = 512),
        ("code", |chat| chat.digest = "1"),
        ("order", |chat| chat.routes.reverse()),
        ("tables, grants, URLs, outputs", |chat| chat.has_more = true),
        ("access log, alarm, dashboard", |chat| chat.is_watched = true),
        ("limits of the stage", |chat| {
            chat.settings.throttling = Some(Throttling {
                rate_limit: 10,
                burst_limit: 20,
            });
        }),
        ("retention", |chat| {
            chat.settings.log_retention_days = 1;
            chat.settings.removal_policy = RemovalPolicy::Delete;
        }),
    ];
    for (change, apply) in changes {
        assert_eq!(deployment(|_| {}), deployment(apply), "{change}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Only the order of a policy's statements is that of their grants, and means nothing.
    #[test]
    fn the_order_of_declarations_changes_no_logical_id_and_nothing_but_the_order_of_statements(
        recipe in recipe(),
        seed in any::<u64>(),
    ) {
        let digests = (0..recipe.functions).map(|number| (format!("function-{number}"), format!("{number:064x}"))).collect();
        let declared = synth(&recipe.build(), &digests).unwrap();
        let reordered = synth(&recipe.build_in_order(seed), &digests).unwrap();
        prop_assert_eq!(declared.entries(), reordered.entries());
        prop_assert_eq!(with_statements_sorted(&declared), with_statements_sorted(&reordered));
    }
}

fn with_statements_sorted(template: &Template) -> Json {
    let mut template = serde_json::to_value(template).unwrap();
    for resource in template["Resources"].as_object_mut().unwrap().values_mut() {
        let statements = resource.pointer_mut("/Properties/PolicyDocument/Statement");
        if let Some(statements) = statements.and_then(Json::as_array_mut) {
            statements.sort_by_key(Json::to_string);
        }
    }
    template
}
