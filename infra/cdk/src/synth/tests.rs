#![allow(clippy::unwrap_used, reason = "tests")]

mod stability;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::{Settings, Stack, StackId, Stage, Table};

fn id(text: &str) -> LogicalId {
    text.parse().unwrap()
}

fn attribute(of: &str, name: &'static str) -> Value {
    Value::Attribute { of: id(of), name }
}

fn graph(resources: impl IntoIterator<Item = (&'static str, Resource)>) -> Graph {
    let stack = StackId {
        app: "chat".into(),
        stage: "test".into(),
    };
    let resources = resources.into_iter().map(|(name, resource)| (id(name), resource));
    Graph::new(stack, resources.collect(), BTreeMap::new()).unwrap()
}

/// Returns the template as programs read it.
fn template(graph: &Graph, digests: &BTreeMap<String, String>) -> Json {
    serde_json::to_value(synth(graph, digests).unwrap()).unwrap()
}

/// Returns how a value is written inside a stack with one resource of every kind.
fn written(value: impl Into<Value>) -> Json {
    let graph = graph([
        ("Api", Resource::new(Kind::Api)),
        ("Authorizer", Resource::new(Kind::Authorizer)),
        ("Deployment", Resource::new(Kind::Deployment).with("Trigger", "abc123")),
        ("Integration", Resource::new(Kind::Integration)),
        ("Route", Resource::new(Kind::Route)),
        ("Stage", Resource::new(Kind::Stage)),
        ("Table", Resource::new(Kind::Table)),
        ("Role", Resource::new(Kind::Role)),
        ("Function", Resource::new(Kind::Function)),
        ("Logs", Resource::new(Kind::LogGroup)),
        ("Key", Resource::new(Kind::Parameter).with("Name", "/chat/test/Key")),
        ("User", Resource::new(Kind::RolePolicy).with("Value", value)),
    ]);
    let digests = BTreeMap::from([("connect".to_owned(), "0a1b".to_owned())]);
    template(&graph, &digests)["Resources"]["User"]["Properties"]["Value"].clone()
}

#[test]
fn values_are_written_in_the_shortest_form() {
    let sub = |text: &str| json!({ "Fn::Sub": text });
    let join = |parts: Vec<Value>| Value::Join(parts);
    let cases: Vec<(Value, Json)> = vec![
        (true.into(), json!(true)),
        (Value::Integer(-7), json!(-7)),
        ("${AWS::Region}".into(), json!("${AWS::Region}")),
        (Value::list(["a", "b"]), json!(["a", "b"])),
        (
            Value::map([("A", Value::Region)]),
            json!({ "A": { "Ref": "AWS::Region" } }),
        ),
        (Value::Partition, json!({ "Ref": "AWS::Partition" })),
        (Value::AccountId, json!({ "Ref": "AWS::AccountId" })),
        (join(vec![]), json!("")),
        (join(vec!["a".into(), 1_u32.into(), false.into()]), json!("a1false")),
        (
            join(vec!["".into(), attribute("Table", "TableName")]),
            json!({ "Ref": "Table" }),
        ),
        (
            join(vec![join(vec![Value::Region]), "-x".into()]),
            sub("${AWS::Region}-x"),
        ),
        // The text must stay a text, however it was put together.
        (join(vec!["$".into(), "{Api}".into()]), json!("${Api}")),
        (
            join(vec!["$".into(), "{Api}/".into(), Value::Region]),
            sub("${!Api}/${AWS::Region}"),
        ),
        (
            Value::Package("connect".into()),
            json!({ "S3Bucket": { "Ref": "AssetBucket" }, "S3Key": "chat/0a1b.zip" }),
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(written(value.clone()), expected, "{value:?}");
    }
}

#[test]
fn every_attribute_has_its_cloudformation_form() {
    let reference = |name: &str| json!({ "Ref": name });
    let get = |name: &str, attribute: &str| json!({ "Fn::GetAtt": [name, attribute] });
    let cases = [
        ("Api", "ApiId", reference("Api")),
        ("Api", "ApiEndpoint", get("Api", "ApiEndpoint")),
        (
            "Api",
            "ManagementEndpoint",
            json!({ "Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}" }),
        ),
        ("Authorizer", "AuthorizerId", reference("Authorizer")),
        ("Deployment", "DeploymentId", reference("Deploymentabc123")),
        ("Integration", "IntegrationId", reference("Integration")),
        ("Route", "RouteId", reference("Route")),
        ("Stage", "StageName", reference("Stage")),
        ("Table", "TableName", reference("Table")),
        ("Table", "Arn", get("Table", "Arn")),
        ("Role", "RoleName", reference("Role")),
        ("Role", "Arn", get("Role", "Arn")),
        ("Function", "FunctionName", reference("Function")),
        ("Function", "Arn", get("Function", "Arn")),
        ("Logs", "LogGroupName", reference("Logs")),
        (
            "Logs",
            "Arn",
            json!({ "Fn::Sub": "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${Logs}" }),
        ),
        ("Key", "Name", json!("/chat/test/Key")),
        (
            "Key",
            "Arn",
            json!({ "Fn::Sub": "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/chat/test/Key" }),
        ),
    ];
    for (of, name, expected) in cases {
        assert_eq!(written(attribute(of, name)), expected, "{of}.{name}");
    }
}

#[test]
fn a_dependency_is_written_only_where_no_reference_implies_it() {
    let template = template(
        &graph([
            ("Key", Resource::new(Kind::Parameter)),
            ("Role", Resource::new(Kind::Role)),
            ("Logs", Resource::new(Kind::LogGroup)),
            (
                "Function",
                Resource::new(Kind::Function)
                    .with("Role", attribute("Role", "Arn"))
                    .after([id("Role"), id("Logs"), id("Key")]),
            ),
        ]),
        &BTreeMap::new(),
    );
    assert_eq!(template["Resources"]["Function"]["DependsOn"], json!(["Logs"]));
    assert_eq!(template["Resources"]["Logs"].get("DependsOn"), None);
    assert_eq!(template.get("Parameters"), None, "nothing needs the bucket");
}

#[test]
fn a_version_is_another_resource_when_code_or_settings_change() {
    let stage = Stage {
        name: "test".into(),
        region: "us-east-1".into(),
        settings: Settings::default(),
    };
    let version_of = |memory_mb: u32, code: &str| {
        let mut stack = Stack::new("chat", &stage);
        let _ = stack.function("connect").memory_mb(memory_mb);
        let _ = stack.function("latest").without_alias();
        let digests = ["connect", "latest"].map(|function| (function.to_owned(), code.repeat(64)));
        let template = template(&stack.build().unwrap(), &BTreeMap::from(digests));
        let resources = template["Resources"].as_object().unwrap();
        let mut versions = resources
            .iter()
            .filter(|(_, resource)| resource["Type"] == "AWS::Lambda::Version");
        let (name, version) = versions.next().unwrap();
        assert!(versions.next().is_none(), "a function without alias has no version");
        assert_eq!(
            version["Properties"],
            json!({ "FunctionName": { "Ref": "ConnectFunction" } })
        );
        let named = &resources["ConnectAlias"]["Properties"]["FunctionVersion"];
        assert_eq!(named, &json!({ "Fn::GetAtt": [name, "Version"] }));
        assert_eq!(resources["ConnectFunction"]["Properties"].get("Publish"), None);
        name.clone()
    };
    let version = version_of(256, "0");
    assert_eq!(version, version_of(256, "0"));
    assert_ne!(version, version_of(512, "0"));
    assert_ne!(version, version_of(256, "1"));
}

#[test]
fn a_deployment_is_another_resource_when_its_snapshot_changes() {
    let of = |trigger: &str| {
        let mut deployment = Resource::new(Kind::Deployment)
            .with("ApiId", attribute("Api", "ApiId"))
            .with("Trigger", trigger)
            .inside(id("Api"));
        deployment.snapshot_of.insert(id("Route"));
        let stage = Resource::new(Kind::Stage).with("DeploymentId", attribute("Deployment", "DeploymentId"));
        template(
            &graph([
                ("Api", Resource::new(Kind::Api)),
                ("Route", Resource::new(Kind::Route).inside(id("Api"))),
                ("Deployment", deployment),
                ("Stage", stage),
            ]),
            &BTreeMap::new(),
        )
    };
    let template = of("abc");
    assert_eq!(
        template["Resources"]["Deploymentabc"],
        json!({
            "Type": "AWS::ApiGatewayV2::Deployment",
            "DependsOn": ["Route"],
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Metadata": { "stackwright:path": "chat/test/Api/Deployment" },
            "Properties": { "ApiId": { "Ref": "Api" }, "Description": "stackwright chat/test/Deployment abc" },
        })
    );
    assert_eq!(
        template["Resources"]["Stage"]["Properties"]["DeploymentId"],
        json!({ "Ref": "Deploymentabc" })
    );
    assert!(of("abd")["Resources"].get("Deploymentabc").is_none());
}

#[test]
fn tags_have_the_shape_of_their_type() {
    let tagged = |kind| Resource::new(kind).with("Tags", Value::map([("b", "2"), ("a", "1")]));
    let template = template(
        &graph([("Api", tagged(Kind::Api)), ("Role", tagged(Kind::Role))]),
        &BTreeMap::new(),
    );
    assert_eq!(
        template["Resources"]["Api"]["Properties"]["Tags"],
        json!({ "a": "1", "b": "2" })
    );
    assert_eq!(
        template["Resources"]["Role"]["Properties"]["Tags"],
        json!([{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }])
    );
}

#[test]
fn a_retained_resource_survives_its_stack_and_its_replacement() {
    let mut table = Resource::new(Kind::Table);
    table.removal_policy = RemovalPolicy::Retain;
    let template = template(&graph([("Table", table)]), &BTreeMap::new());
    assert_eq!(template["Resources"]["Table"]["DeletionPolicy"], "Retain");
    assert_eq!(template["Resources"]["Table"]["UpdateReplacePolicy"], "Retain");
}

#[test]
fn a_generated_secret_is_named_and_not_made() {
    let key = Resource::new(Kind::Parameter).with("Name", "/chat/test/Key");
    let template = template(&graph([("Key", key)]), &BTreeMap::new());
    assert_eq!(template["Resources"], json!({}));
    assert_eq!(
        template["Metadata"]["stackwright"]["OutsideOfTemplate"]["Key"]["Name"],
        "/chat/test/Key"
    );
}

#[test]
fn what_cloudformation_would_refuse_is_an_error() {
    let error = |resources: Vec<(&'static str, Resource)>| synth(&graph(resources), &BTreeMap::new()).unwrap_err();
    let function = Resource::new(Kind::Function).with("Code", Value::Package("connect".into()));
    assert_eq!(
        error(vec![("Function", function)]),
        SynthError::MissingPackage("connect".into())
    );
    let join = Resource::new(Kind::Role).with("X", Value::Join(vec![Value::list(["a"])]));
    assert_eq!(
        error(vec![("Role", join)]),
        SynthError::NotText {
            subject: "resource Role".into()
        }
    );
    assert_eq!(
        error(vec![("AssetBucket", Resource::new(Kind::Role))]),
        SynthError::NameTaken("AssetBucket".into())
    );
    let deployment = Resource::new(Kind::Deployment).with("Trigger", "X");
    assert_eq!(
        error(vec![("D", deployment), ("DX", Resource::new(Kind::Role))]),
        SynthError::NameTaken("DX".into())
    );
    let stack = graph([]).stack().clone();
    let many = (0..=500).map(|number| (id(&format!("R{number}")), Resource::new(Kind::Role)));
    let many = Graph::new(stack.clone(), many.collect(), BTreeMap::new()).unwrap();
    assert!(matches!(
        synth(&many, &BTreeMap::new()),
        Err(SynthError::TooMany { count: 501, .. })
    ));
    let outputs = BTreeMap::from([("web-url".to_owned(), Value::Region)]);
    let named = Graph::new(stack, BTreeMap::new(), outputs).unwrap();
    assert_eq!(
        synth(&named, &BTreeMap::new()),
        Err(SynthError::OutputName("web-url".into()))
    );
}

#[test]
fn the_size_decides_how_a_template_is_sent() {
    assert_eq!(Delivery::of(51_200), Ok(Delivery::Inline));
    assert_eq!(Delivery::of(51_201), Ok(Delivery::Upload));
    assert_eq!(Delivery::of(1_000_000), Ok(Delivery::Upload));
    assert_eq!(Delivery::of(1_000_001), Err(SynthError::TooLarge { bytes: 1_000_001 }));
}

/// What a random stack is made of.
#[derive(Clone, Debug)]
struct Recipe {
    functions: usize,
    tables: Vec<bool>,
    secrets: usize,
    /// Function, table or secret, and what is granted.
    grants: Vec<(usize, usize, u8)>,
    /// Routes by key: function, and whether it replies.
    routes: BTreeMap<String, (usize, bool)>,
    has_authorizer: bool,
    text: String,
    removal_policy: RemovalPolicy,
}

fn recipe() -> impl Strategy<Value = Recipe> {
    (
        1_usize..5,
        prop::collection::vec(any::<bool>(), 1..4),
        1_usize..3,
        prop::collection::vec((any::<usize>(), any::<usize>(), 0_u8..6), 0..12),
        prop::collection::btree_map("[a-z]{1,8}", (any::<usize>(), any::<bool>()), 1..6),
        any::<bool>(),
        ".{0,20}|\\$\\{[A-Za-z.:!]{0,8}\\}?",
        prop_oneof![Just(RemovalPolicy::Retain), Just(RemovalPolicy::Delete)],
    )
        .prop_map(
            |(functions, tables, secrets, grants, routes, has_authorizer, text, removal_policy)| Recipe {
                functions,
                tables,
                secrets,
                grants,
                routes,
                has_authorizer,
                text,
                removal_policy,
            },
        )
}

impl Recipe {
    fn build(&self) -> Graph {
        self.build_in_order(0)
    }

    /// Declares the same things in an order that `seed` chooses; 0 leaves them as they are.
    fn build_in_order(&self, seed: u64) -> Graph {
        let settings = Settings {
            removal_policy: self.removal_policy,
            ..Settings::default()
        };
        let stage = Stage {
            name: "test".into(),
            region: "us-east-1".into(),
            settings,
        };
        let mut stack = Stack::new("chat", &stage);
        let mut functions = BTreeMap::new();
        for number in shuffled(0..self.functions, seed) {
            functions.insert(number, stack.function(&format!("function-{number}")));
        }
        let mut tables = BTreeMap::new();
        for (number, has_index) in shuffled(self.tables.iter().enumerate(), seed) {
            let table = Table::keyed_by("id");
            let table = if *has_index { table.index("by", "a", "b") } else { table };
            tables.insert(number, stack.table(&format!("Table{number}"), table));
        }
        let mut secrets = BTreeMap::new();
        for number in shuffled(0..self.secrets, seed) {
            secrets.insert(number, stack.secret(&format!("Secret{number}")));
        }
        let mut api = stack.web_socket_api("Api");
        for (key, (function, replies)) in shuffled(&self.routes, seed) {
            let function = &functions[&(function % functions.len())];
            api = if *replies {
                api.replying_route(key, function)
            } else {
                api.route(key, function)
            };
        }
        if self.has_authorizer {
            api = api.authorizer(&functions[&0]).route("$connect", &functions[&0]);
        }
        for (function, other, grant) in shuffled(&self.grants, seed) {
            let function = &functions[&(function % functions.len())];
            let number = other % tables.len();
            let table = &tables[&number];
            match grant {
                0 => table.grant_put(function),
                1 => table.grant_query(function),
                2 => secrets[&(other % secrets.len())].grant_read(function),
                3 => api.grant_post_to_connections(function),
                4 => function.set_env(&format!("TABLE_{number}"), table),
                _ => function.set_env(
                    "TEXT",
                    Value::Join(vec![self.text.as_str().into(), api.management_url()]),
                ),
            }
        }
        stack.output("url", api.url());
        stack.output("secret", &secrets[&0]);
        stack.build().unwrap()
    }
}

/// Returns the items in an order that `seed` chooses; 0 leaves them as they are.
fn shuffled<T>(items: impl IntoIterator<Item = T>, seed: u64) -> Vec<T> {
    let mut numbered: Vec<_> = (0_u64..).zip(items).collect();
    numbered.sort_by_key(|(number, _)| match seed {
        0 => *number,
        seed => (number + 1).wrapping_mul(seed | 1).rotate_left(29),
    });
    numbered.into_iter().map(|(_, item)| item).collect()
}

/// Calls `visit` with every name that a `Ref`, `Fn::GetAtt` or `Fn::Sub` mentions.
fn mentions(value: &Json, visit: &mut impl FnMut(&str)) {
    match value {
        Json::Object(entries) => {
            for (key, entry) in entries {
                match (key.as_str(), entry) {
                    ("Ref", Json::String(name)) => visit(name),
                    ("Fn::GetAtt", Json::Array(path)) => visit(path[0].as_str().unwrap()),
                    ("Fn::Sub", Json::String(pattern)) => {
                        for part in pattern.split("${").skip(1).filter(|part| !part.starts_with('!')) {
                            let name = part.split('}').next().unwrap();
                            visit(name.split('.').next().unwrap());
                        }
                    }
                    _ => mentions(entry, visit),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| mentions(item, visit)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn templates_are_stable_and_refer_to_what_they_have(recipe in recipe()) {
        let digests = (0..recipe.functions).map(|number| (format!("function-{number}"), format!("{number:064x}"))).collect();
        let graph = recipe.build();
        let first = synth(&graph, &digests).unwrap();
        let again = synth(&recipe.build(), &digests).unwrap();
        let text = serde_json::to_string(&first).unwrap();
        prop_assert_eq!(&text, &serde_json::to_string(&again).unwrap());

        let template: Json = serde_json::from_str(&text).unwrap();
        let resources = template["Resources"].as_object().unwrap();
        let secrets = template["Metadata"]["stackwright"]["OutsideOfTemplate"].as_object().unwrap();
        let versions = resources.values().filter(|resource| resource["Type"] == "AWS::Lambda::Version").count();
        prop_assert_eq!(versions, recipe.functions);
        prop_assert_eq!(resources.len() + secrets.len(), graph.resources().len() + versions);
        let is_known = |name: &str| {
            name.starts_with("AWS::") || name == ASSET_BUCKET || resources.contains_key(name)
        };
        for part in [&template["Resources"], &template["Outputs"]] {
            let mut unknown = Vec::new();
            mentions(part, &mut |name| if !is_known(name) { unknown.push(name.to_owned()) });
            prop_assert!(unknown.is_empty(), "{:?}", unknown);
        }
        for (id, resource) in resources {
            let mut implied = BTreeSet::new();
            mentions(&resource["Properties"], &mut |name| { implied.insert(name.to_owned()); });
            for before in resource.get("DependsOn").and_then(Json::as_array).into_iter().flatten() {
                let before = before.as_str().unwrap();
                prop_assert!(resources.contains_key(before), "{} depends on {}", id, before);
                prop_assert!(!implied.contains(before), "{} need not depend on {}", id, before);
            }
        }
        prop_assert!(!text.contains("SecureString\""), "no parameter is made");
    }
}

#[test]
fn everything_in_a_template_can_be_retained() {
    let graph = graph([
        ("Role", Resource::new(Kind::Role).with("RoleName", "r")),
        ("Key", Resource::new(Kind::Parameter).with("Name", "/chat/test/Key")),
        (
            "Function",
            Resource::new(Kind::Function).with("Code", Value::Package("connect".into())),
        ),
    ]);
    let digests = BTreeMap::from([("connect".to_owned(), "0a1b".to_owned())]);
    let text = synth(&graph, &digests).unwrap().to_yaml().unwrap();
    assert_eq!(retained_names(&text).unwrap(), BTreeSet::new());
    let retaining = retained(&text).unwrap().unwrap();
    let all = BTreeSet::from(["Function".to_owned(), "Role".to_owned()]);
    assert_eq!(retained_names(&retaining).unwrap(), all);
    assert_eq!(retained(&retaining).unwrap(), None, "it is so already");
    assert_eq!(
        code_digests(&retaining).unwrap(),
        BTreeMap::from([("Function".to_owned(), "0a1b".to_owned())])
    );
    assert_eq!(types(&retaining).unwrap()["Role"], "AWS::IAM::Role");
    assert!(retained("- no template").is_err());
}

#[test]
fn what_cloudformation_cannot_make_is_a_graph_of_its_own() {
    let graph = graph([
        ("Role", Resource::new(Kind::Role)),
        ("Key", Resource::new(Kind::Parameter).with("Name", "/chat/test/Key")),
    ]);
    let outside = outside_of_template(&graph).unwrap();
    assert_eq!(outside.resources().keys().collect::<Vec<_>>(), [&id("Key")]);
}
