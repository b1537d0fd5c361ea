//! What CloudFormation says of change sets, and the plans that are made of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use infra_cdk::Difference;
use infra_engine::{Action, After, Plan};
use serde_json::json;

use super::*;

fn proposal<'a>(template: &'a Template, purpose: Purpose) -> Proposal<'a> {
    Proposal {
        template,
        purpose,
        bucket: "assets",
        options: Options::default(),
    }
}

fn change(name: &str, kind: &str, inner: &str) -> String {
    format!(
        "<member><Type>Resource</Type><ResourceChange><LogicalResourceId>{name}</LogicalResourceId>\
         <ResourceType>{kind}</ResourceType>{inner}</ResourceChange></member>"
    )
}

/// Returns the plan of a change set with these changes.
async fn plan_of(changes: String) -> Result<Plan, CloudError> {
    plan_beside(changes, BTreeMap::new()).await
}

/// As above, beside what the templates say.
async fn plan_beside(changes: String, differences: BTreeMap<String, Vec<Difference>>) -> Result<Plan, CloudError> {
    let (stack, _) = stack(move |action, _| match action {
        "CreateChangeSet" => format!("<Id>c-1</Id><StackId>{ID}</StackId>"),
        "DescribeChangeSet" => format!("<Status>CREATE_COMPLETE</Status><Changes>{changes}</Changes>"),
        other => format!("error {other} is not expected"),
    })
    .await;
    let template = Template::Inline("{}".into());
    match stack.propose(&proposal(&template, Purpose::Update)).await? {
        Proposed::Changes(changes) => changes.plan(&graph(), &names(&graph()), &differences),
        Proposed::NoChanges => panic!("there are changes"),
    }
}

#[tokio::test]
async fn no_change_is_no_failure_and_leaves_no_change_set() {
    for reason in [
        "The submitted information didn't contain changes. Submit different information to create a change set.",
        "No updates are to be performed.",
    ] {
        let (stack, log) = stack(move |action, _| match action {
            "CreateChangeSet" => format!("<Id>c-1</Id><StackId>{ID}</StackId>"),
            "DescribeChangeSet" => format!("<Status>FAILED</Status><StatusReason>{reason}</StatusReason>"),
            _ => String::new(),
        })
        .await;
        let template = Template::Inline("{}".into());
        let proposed = stack.propose(&proposal(&template, Purpose::Update)).await.unwrap();
        assert!(matches!(proposed, Proposed::NoChanges));
        assert_eq!(
            actions(&log),
            ["CreateChangeSet", "DescribeChangeSet", "DeleteChangeSet"]
        );
    }
}

#[tokio::test]
async fn what_validation_before_deployment_finds_is_told_and_nothing_is_left() {
    const REASON: &str = "The following hook(s)/validation failed: [AWS::EarlyValidation::ResourceExistenceCheck]. To \
         troubleshoot Early Validation errors, use the DescribeEvents API for detailed failure information.";
    let (stack, log) = stack(|action, asked| match (action, asked.parameter("NextToken").as_str()) {
        ("CreateChangeSet", _) => format!("<Id>c-1</Id><StackId>{ID}</StackId>"),
        ("DescribeChangeSet", _) => format!("<Status>FAILED</Status><StatusReason>{REASON}</StatusReason>"),
        ("DescribeEvents", "") => "<OperationEvents><member><EventType>VALIDATION_ERROR</EventType>\
             <LogicalResourceId>Rooms</LogicalResourceId>\
             <ValidationPath>/Resources/Rooms/Properties/TableName</ValidationPath>\
             <ValidationStatusReason>the name is taken</ValidationStatusReason></member></OperationEvents>\
             <NextToken>more</NextToken>"
            .into(),
        ("DescribeEvents", _) => "<OperationEvents><member><LogicalResourceId>SendRole</LogicalResourceId>\
             <HookStatusReason>no such boundary</HookStatusReason></member></OperationEvents>"
            .into(),
        ("DescribeStacks", _) => described("REVIEW_IN_PROGRESS"),
        _ => String::new(),
    })
    .await;
    let template = Template::Uploaded("https://s3.example/t.yaml".into());
    let error = stack.propose(&proposal(&template, Purpose::Create)).await.unwrap_err();
    let found = "Rooms /Resources/Rooms/Properties/TableName the name is taken; SendRole no such boundary";
    assert_eq!(error.message, format!("{REASON}: {found}"));
    assert_eq!(
        actions(&log),
        [
            "CreateChangeSet",
            "DescribeChangeSet",
            "DescribeEvents",
            "DescribeEvents",
            "DeleteChangeSet",
            "DescribeStacks",
            "DeleteStack"
        ]
    );
    let log = log.lock().unwrap();
    assert_eq!(log[0].parameter("TemplateURL"), "https://s3.example/t.yaml");
    assert_eq!(log[0].parameter("OnStackFailure"), "DELETE");
    assert_eq!(log[0].parameter("Capabilities.member.1"), "CAPABILITY_NAMED_IAM");
    assert_eq!(log[0].parameter("Parameters.member.1.ParameterValue"), "assets");
}

#[tokio::test]
async fn a_stack_that_somebody_has_filled_meanwhile_is_not_deleted_with_a_change_set() {
    let (stack, log) = stack(|action, _| match action {
        "DescribeStacks" => described("CREATE_IN_PROGRESS"),
        _ => String::new(),
    })
    .await;
    let proposed = ChangeSet {
        id: "c-1".into(),
        stack_id: ID.into(),
        changes: Vec::new(),
    };
    stack.withdraw(&proposed, &Purpose::Create).await.unwrap();
    assert_eq!(actions(&log), ["DeleteChangeSet", "DescribeStacks"]);
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_change_set_and_executes_none_twice() {
    let asked_before = AtomicUsize::new(0);
    let (stack, log) = stack(move |action, _| {
        let is_first = |action: &str| match action {
            "CreateChangeSet" => asked_before.fetch_or(1, Ordering::SeqCst) & 1 == 0,
            _ => asked_before.fetch_or(2, Ordering::SeqCst) & 2 == 0,
        };
        match action {
            "DescribeChangeSet" => format!(
                "<ChangeSetId>c-1</ChangeSetId><StackId>{ID}</StackId><Status>CREATE_COMPLETE</Status>\
                 <ExecutionStatus>EXECUTE_IN_PROGRESS</ExecutionStatus>"
            ),
            _ if is_first(action) => "lost".into(),
            "CreateChangeSet" => "code AlreadyExistsException".into(),
            "ExecuteChangeSet" => "code InvalidChangeSetStatus".into(),
            other => format!("error {other} is not expected"),
        }
    })
    .await;
    let template = Template::Inline("{}".into());
    let proposed = stack.propose(&proposal(&template, Purpose::Create)).await.unwrap();
    let Proposed::Changes(changes) = proposed else {
        panic!("there are changes")
    };
    assert_eq!((changes.id.as_str(), changes.stack_id.as_str()), ("c-1", ID));
    stack.execute(&changes, &Purpose::Create).await.unwrap();
    let log = log.lock().unwrap();
    for (action, token) in [
        ("CreateChangeSet", "ClientToken"),
        ("ExecuteChangeSet", "ClientRequestToken"),
    ] {
        let mut calls = log.iter().filter(|asked| asked.parameter("Action") == action);
        let (first, second) = (calls.next().unwrap(), calls.next().unwrap());
        assert_eq!(first.parameter(token), second.parameter(token), "{action}");
        assert_ne!(first.parameter(token), "", "{action}");
    }
}

#[tokio::test]
async fn a_change_set_that_may_not_be_executed_is_an_error() {
    let (stack, _) = stack(|action, _| match action {
        "ExecuteChangeSet" => "code InvalidChangeSetStatus".into(),
        _ => "<Status>CREATE_COMPLETE</Status><ExecutionStatus>OBSOLETE</ExecutionStatus>".into(),
    })
    .await;
    let proposed = ChangeSet {
        id: "c-1".into(),
        stack_id: ID.into(),
        changes: Vec::new(),
    };
    let error = stack.execute(&proposed, &Purpose::Update).await.unwrap_err();
    assert_eq!(error.code, "InvalidChangeSetStatus");
}

#[tokio::test]
async fn all_pages_of_a_change_set_are_read_however_busy_cloudformation_is() {
    let throttled = AtomicUsize::new(0);
    let (stack, _) = stack(
        move |action, asked| match (action, asked.parameter("NextToken").as_str()) {
            ("CreateChangeSet", _) => format!("<Id>c-1</Id><StackId>{ID}</StackId>"),
            ("DescribeChangeSet", _) if throttled.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => {
                "code Throttling".into()
            }
            ("DescribeChangeSet", "") => format!(
                "<Status>CREATE_COMPLETE</Status><Changes>{}</Changes><NextToken>2</NextToken>",
                change("Rooms", "AWS::DynamoDB::Table", "<Action>Add</Action>")
            ),
            _ => format!(
                "<Status>CREATE_COMPLETE</Status><Changes>{}</Changes>",
                change("SendRole", "AWS::IAM::Role", "<Action>Add</Action>")
            ),
        },
    )
    .await;
    let template = Template::Inline("{}".into());
    let proposed = stack.propose(&proposal(&template, Purpose::Create)).await.unwrap();
    let Proposed::Changes(changes) = proposed else {
        panic!("there are changes")
    };
    let plan = changes.plan(&graph(), &names(&graph()), &BTreeMap::new()).unwrap();
    assert_eq!(plan.steps.len(), 2, "{plan:?}");
}

#[tokio::test]
async fn express_mode_validation_drift_and_adoption_are_options() {
    let (stack, log) = stack(|action, _| match action {
        "CreateChangeSet" => format!("<Id>c-1</Id><StackId>{ID}</StackId>"),
        _ => "<Status>CREATE_COMPLETE</Status>".into(),
    })
    .await;
    let template = Template::Inline("{}".into());
    let options = Options {
        express: true,
        skip_validation: true,
        revert_drift: true,
        adopt: true,
    };
    let proposal = Proposal {
        options,
        ..proposal(&template, Purpose::Update)
    };
    stack.propose(&proposal).await.unwrap();
    let log = log.lock().unwrap();
    for (name, value) in [
        ("DeploymentConfig.Mode", "EXPRESS"),
        ("DisableValidation", "true"),
        ("DeploymentMode", "REVERT_DRIFT"),
        ("ImportExistingResources", "true"),
    ] {
        assert_eq!(log[0].parameter(name), value, "{name}");
    }
}

#[tokio::test]
async fn a_replacement_that_loses_data_is_shown_as_the_direct_engine_shows_it() {
    let detail = "<Details><member><Target><Attribute>Properties</Attribute><Name>KeySchema</Name>\
         <Path>/Properties/KeySchema/0/AttributeName</Path><RequiresRecreation>Always</RequiresRecreation>\
         <BeforeValue>\"a\"</BeforeValue><AfterValue>b</AfterValue></Target></member></Details>";
    for (policy, removal, loses) in [
        ("ReplaceAndDelete", Action::Delete, true),
        ("ReplaceAndRetain", Action::Retain, false),
    ] {
        let inner = format!(
            "<PolicyAction>{policy}</PolicyAction><Action>Modify</Action><Replacement>True</Replacement>{detail}"
        );
        let plan = plan_of(change("Rooms", "AWS::DynamoDB::Table", &inner)).await.unwrap();
        assert_eq!(plan.data_losses().count() > 0, loses, "{policy}");
        let [replace, old] = &plan.steps[..] else {
            panic!("{plan:?}")
        };
        assert_eq!((replace.action, old.action), (Action::Replace, removal));
        assert_eq!(replace.reason, "KeySchema.0.AttributeName cannot be changed in place");
        let [change] = &replace.changes[..] else {
            panic!("{replace:?}")
        };
        assert!(change.replaces);
        assert_eq!(
            (change.from.clone(), change.to.clone()),
            (Some(json!("a")), After::Value(json!("b")))
        );
    }
}

#[tokio::test]
async fn what_may_be_replaced_counts_as_replaced() {
    let inner =
        "<Action>Modify</Action><Replacement>Conditional</Replacement><PolicyAction>ReplaceAndDelete</PolicyAction>";
    let plan = plan_of(change("Rooms", "AWS::DynamoDB::Table", inner)).await.unwrap();
    assert_eq!(plan.data_losses().count(), 1);
}

#[tokio::test]
async fn where_cloudformation_gives_no_details_the_templates_do() {
    let modify = "<Action>Modify</Action><Replacement>Conditional</Replacement>";
    let difference = |property: &str| Difference {
        property: property.into(),
        from: Some(json!(1)),
        to: Some(json!(2)),
    };
    for (differences, action) in [
        (vec![], None),
        (
            vec![difference("TimeToLiveSpecification.Enabled")],
            Some(Action::Update),
        ),
        (vec![difference("TableName")], Some(Action::Replace)),
    ] {
        let changes = change("Rooms", "AWS::DynamoDB::Table", modify);
        let plan = plan_beside(changes, BTreeMap::from([("Rooms".to_owned(), differences)]))
            .await
            .unwrap();
        assert_eq!(plan.steps.first().map(|step| step.action), action);
        assert_eq!(plan.unchanged.contains(&"Rooms".parse().unwrap()), action.is_none());
    }
}

#[tokio::test]
async fn a_new_deployment_of_the_api_is_one_replacement_and_a_new_version_part_of_its_function() {
    let graph = graph();
    let digests = BTreeMap::from([("send".to_owned(), "0".repeat(64))]);
    let template = synth(&graph, &digests).unwrap();
    let of = |stem: &str| {
        template
            .entries()
            .keys()
            .find(|name| name.starts_with(stem))
            .unwrap()
            .clone()
    };
    let (deployment, version) = (of("ChatDeployment"), of("SendFunctionVersion"));
    let changes = [
        change(&deployment, "AWS::ApiGatewayV2::Deployment", "<Action>Add</Action>"),
        change(
            "ChatDeployment0123456789abcdef",
            "AWS::ApiGatewayV2::Deployment",
            "<Action>Remove</Action>",
        ),
        change(&version, "AWS::Lambda::Version", "<Action>Add</Action>"),
        change(
            "SendFunctionVersion0123456789abcdef",
            "AWS::Lambda::Version",
            "<Action>Remove</Action>",
        ),
        change("OldRole", "AWS::IAM::Role", "<Action>Remove</Action>"),
    ];
    let plan = plan_of(changes.concat()).await.unwrap();
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.id.as_str(), step.action)).collect();
    let expected = [
        ("ChatDeployment", Action::Replace),
        ("ChatDeployment", Action::Delete),
        ("SendFunction", Action::Update),
        ("OldRole", Action::Delete),
    ];
    assert_eq!(steps.len(), expected.len(), "{steps:?}");
    assert!(expected.iter().all(|step| steps.contains(step)), "{steps:?}");
    assert!(plan.unchanged.contains(&"Rooms".parse().unwrap()));
}

#[tokio::test]
async fn a_resource_that_no_stage_can_declare_is_refused() {
    let error = plan_of(change("Queue", "AWS::SQS::Queue", "<Action>Remove</Action>"))
        .await
        .unwrap_err();
    assert!(error.message.contains("Queue, of the type AWS::SQS::Queue"), "{error}");
}
