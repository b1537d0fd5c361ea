//! What CloudFormation answers, in each of the states that a stack can be stuck in, and what is made of it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use infra_cdk::{Difference, Graph, Settings, Stack, StackId, Stage, Table, synth};
use infra_engine::{Action, After, Class, Event, Plan};
use serde_json::json;

use super::*;
use crate::stub::{self, Asked, Log};

const ID: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/chat-dev/1";

fn stack_id() -> StackId {
    StackId {
        app: "chat".into(),
        stage: "dev".into(),
    }
}

/// Opens a stack whose calls are answered with the content of their results, by their actions.
async fn stack(answer: impl Fn(&str, &Asked) -> String + Send + Sync + 'static) -> (CloudFormation, Log) {
    let (session, log) = stub::session(move |asked| {
        let action = asked.parameter("Action");
        let content = answer(&action, asked);
        match content.strip_prefix("error ") {
            Some(message) => {
                let error = format!("<Code>ValidationError</Code><Message>{message}</Message>");
                (
                    400,
                    format!("<ErrorResponse><Error>{error}</Error><RequestId>r-1</RequestId></ErrorResponse>"),
                )
            }
            None => (
                200,
                format!("<{action}Response><{action}Result>{content}</{action}Result></{action}Response>"),
            ),
        }
    })
    .await
    .unwrap();
    (CloudFormation::new(session, &stack_id()), log)
}

fn actions(log: &Log) -> Vec<String> {
    log.lock()
        .unwrap()
        .iter()
        .map(|asked| asked.parameter("Action"))
        .collect()
}

fn described(status: &str) -> String {
    format!(
        "<Stacks><member><StackId>{ID}</StackId><StackName>chat-dev</StackName><StackStatus>{status}</StackStatus>\
         <StackStatusReason>because</StackStatusReason><CreationTime>2026-11-01T00:00:00Z</CreationTime>\
         <Outputs><member><OutputKey>webSocketUrl</OutputKey><OutputValue>wss://a</OutputValue></member></Outputs>\
         <Tags><member><Key>stackwright:app</Key><Value>chat</Value></member>\
         <member><Key>stackwright:stage</Key><Value>dev</Value></member></Tags></member></Stacks>"
    )
}

/// A table, a function and an API.
fn graph() -> Graph {
    let stage = Stage {
        name: "dev".into(),
        region: "eu-west-1".into(),
        settings: Settings::default(),
    };
    let mut stack = Stack::new("chat", &stage);
    let rooms = stack.table("Rooms", Table::keyed_by("id"));
    let send = stack.function("send").env("ROOMS", &rooms);
    let _ = stack.web_socket_api("Chat").route("send", &send);
    stack.build().unwrap()
}

fn names(graph: &Graph) -> Names {
    let digests = BTreeMap::from([("send".to_owned(), "0".repeat(64))]);
    Names::new(graph, synth(graph, &digests).unwrap().entries())
}

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
async fn a_stack_that_does_not_exist_is_no_error() {
    let (stack, _) = stack(|_, _| "error Stack with id chat-dev does not exist".into()).await;
    assert_eq!(stack.read().await.unwrap(), None);
}

#[tokio::test]
async fn every_stuck_state_is_recognised_with_its_way_out() {
    for (status, standing, way_out) in [
        ("REVIEW_IN_PROGRESS", Standing::InReview, Some("deploy")),
        ("CREATE_FAILED", Standing::FailedCreation, Some("destroy")),
        ("ROLLBACK_COMPLETE", Standing::FailedCreation, Some("destroy")),
        ("ROLLBACK_FAILED", Standing::FailedCreation, Some("destroy")),
        ("UPDATE_FAILED", Standing::FailedUpdate, Some("deploy --rollback")),
        (
            "UPDATE_ROLLBACK_FAILED",
            Standing::FailedRollback,
            Some("deploy --rollback"),
        ),
        ("DELETE_FAILED", Standing::FailedDeletion, Some("destroy")),
        (
            "IMPORT_ROLLBACK_FAILED",
            Standing::FailedImport,
            Some("migrate --to cloudformation"),
        ),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Standing::Busy, None),
        ("UPDATE_ROLLBACK_COMPLETE", Standing::Settled, None),
        ("IMPORT_ROLLBACK_COMPLETE", Standing::Settled, None),
        ("SOMETHING_NEW", Standing::Unknown, None),
    ] {
        let (stack, _) = stack(move |_, _| described(status)).await;
        let info = stack.read().await.unwrap().unwrap();
        assert_eq!(
            (info.standing(), info.standing().way_out()),
            (standing, way_out),
            "{status}"
        );
        assert_eq!(
            (info.status.as_str(), info.reason.as_deref()),
            (status, Some("because"))
        );
        assert_eq!(info.outputs["webSocketUrl"], "wss://a");
    }
}

#[tokio::test]
async fn a_stack_of_the_same_name_that_is_not_ours_is_refused() {
    let (stack, _) = stack(|_, _| described("CREATE_COMPLETE").replace(">chat<", ">shop<")).await;
    let error = stack.read().await.unwrap_err();
    assert!(error.message.contains("no tags of chat/dev"), "{error}");
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
    let (stack, log) = stack(|action, _| match action {
        "CreateChangeSet" => format!("<Id>c-1</Id><StackId>{ID}</StackId>"),
        "DescribeChangeSet" => "<Status>FAILED</Status><StatusReason>validation failed</StatusReason>".into(),
        "DescribeEvents" => "<OperationEvents><member><LogicalResourceId>Rooms</LogicalResourceId>\
             <ValidationPath>/Resources/Rooms/Properties/TableName</ValidationPath>\
             <ValidationStatusReason>the name is taken</ValidationStatusReason></member></OperationEvents>"
            .into(),
        _ => String::new(),
    })
    .await;
    let template = Template::Uploaded("https://s3.example/t.yaml".into());
    let error = stack.propose(&proposal(&template, Purpose::Create)).await.unwrap_err();
    let expected = "validation failed: Rooms /Resources/Rooms/Properties/TableName the name is taken";
    assert_eq!(error.message, expected);
    assert_eq!(
        actions(&log),
        [
            "CreateChangeSet",
            "DescribeChangeSet",
            "DescribeEvents",
            "DeleteChangeSet",
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

/// Events in the order in which they happen: name, type, status, reason. The name `chat-dev` is the stack itself.
type Events = &'static [(&'static str, &'static str, &'static str, &'static str)];

fn events_xml(events: Events) -> String {
    let mut text = String::new();
    // The newest first.
    for (at, (name, kind, status, reason)) in events.iter().enumerate().rev() {
        let (kind, physical) = match *name {
            "chat-dev" => ("AWS::CloudFormation::Stack", ID),
            _ => (*kind, "physical"),
        };
        write!(
            text,
            "<member><EventId>e-{at}</EventId><StackId>{ID}</StackId><StackName>chat-dev</StackName>\
             <LogicalResourceId>{name}</LogicalResourceId><PhysicalResourceId>{physical}</PhysicalResourceId>\
             <ResourceType>{kind}</ResourceType><Timestamp>2026-11-01T00:00:{at:02}Z</Timestamp>\
             <ResourceStatus>{status}</ResourceStatus><ResourceStatusReason>{reason}</ResourceStatusReason></member>"
        )
        .unwrap();
    }
    format!("<StackEvents>{text}</StackEvents>")
}

/// Follows a stack whose events come two at a time, after one that happened before.
async fn followed(events: Events) -> (Vec<Happening>, Ended) {
    const BEFORE: Events = &[("chat-dev", "", "REVIEW_IN_PROGRESS", "")];
    assert_eq!(BEFORE[0], events[0], "the first event has happened before");
    let seen = std::sync::atomic::AtomicUsize::new(1);
    let (stack, _) = stack(move |_, _| {
        let shown = seen.fetch_add(2, std::sync::atomic::Ordering::SeqCst).min(events.len());
        events_xml(&events[..shown])
    })
    .await;
    let mut follow = Follow::from_now(&stack, ID, names(&graph())).await.unwrap();
    let mut all = Vec::new();
    loop {
        for happening in follow.next().await.unwrap() {
            if let Happening::Ended(ended) = happening {
                return (all, ended);
            }
            all.push(happening);
        }
    }
}

#[tokio::test]
async fn what_goes_well_is_told_step_by_step() {
    let (happenings, ended) = followed(&[
        ("chat-dev", "", "REVIEW_IN_PROGRESS", ""),
        ("chat-dev", "", "CREATE_IN_PROGRESS", ""),
        ("Rooms", "AWS::DynamoDB::Table", "CREATE_IN_PROGRESS", ""),
        (
            "Rooms",
            "AWS::DynamoDB::Table",
            "CREATE_IN_PROGRESS",
            "Resource creation Initiated",
        ),
        (
            "SendFunctionVersion0123",
            "AWS::Lambda::Version",
            "CREATE_IN_PROGRESS",
            "",
        ),
        ("Rooms", "AWS::DynamoDB::Table", "CREATE_COMPLETE", ""),
        ("chat-dev", "", "CREATE_COMPLETE", ""),
    ])
    .await;
    assert!(ended.is_well());
    assert_eq!(ended.done, [("Rooms".parse().unwrap(), Action::Create)]);
    let [
        Happening::Step(Event::Started { .. }),
        Happening::Step(Event::Finished { elapsed_ms, .. }),
    ] = &happenings[..]
    else {
        panic!("{happenings:?}")
    };
    assert_eq!(*elapsed_ms, 3_000);
}

#[tokio::test]
async fn the_first_cause_is_told_apart_from_what_follows_from_it() {
    let (happenings, ended) = followed(&[
        ("chat-dev", "", "REVIEW_IN_PROGRESS", ""),
        ("chat-dev", "", "UPDATE_IN_PROGRESS", ""),
        ("SendRole", "AWS::IAM::Role", "UPDATE_IN_PROGRESS", ""),
        ("Rooms", "AWS::DynamoDB::Table", "UPDATE_IN_PROGRESS", ""),
        (
            "SendRole",
            "AWS::IAM::Role",
            "UPDATE_FAILED",
            "not allowed (RequestToken: t-1, HandlerErrorCode: AccessDenied)",
        ),
        (
            "Rooms",
            "AWS::DynamoDB::Table",
            "UPDATE_FAILED",
            "Resource update cancelled",
        ),
        (
            "chat-dev",
            "",
            "UPDATE_ROLLBACK_IN_PROGRESS",
            "The following resource(s) failed to update: [SendRole].",
        ),
        ("SendRole", "AWS::IAM::Role", "UPDATE_IN_PROGRESS", ""),
        ("SendRole", "AWS::IAM::Role", "UPDATE_COMPLETE", ""),
        ("chat-dev", "", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", ""),
        ("chat-dev", "", "UPDATE_ROLLBACK_COMPLETE", ""),
    ])
    .await;
    assert!(!ended.is_well());
    assert_eq!(ended.standing(), Standing::Settled);
    let [(id, Action::Update, error)] = &ended.failed[..] else {
        panic!("{ended:?}")
    };
    assert_eq!(
        (id.as_str(), error.class, error.code.as_str()),
        ("SendRole", Class::Denied, "AccessDenied")
    );
    assert_eq!(error.request_id.as_deref(), Some("t-1"));
    assert_eq!(ended.skipped, [("Rooms".parse().unwrap(), Action::Update)]);
    assert_eq!(ended.done, [], "what is undone does not count as done");
    let going_back = happenings
        .iter()
        .filter(|happening| **happening == Happening::GoingBack);
    assert_eq!(going_back.count(), 1);
}

#[tokio::test]
async fn every_way_to_end_badly_is_recognised() {
    const FAILS: (&str, &str, &str, &str) = ("Rooms", "AWS::DynamoDB::Table", "CREATE_FAILED", "the name is taken");
    for (status, standing) in [
        ("ROLLBACK_COMPLETE", Standing::FailedCreation),
        ("ROLLBACK_FAILED", Standing::FailedCreation),
        ("CREATE_FAILED", Standing::FailedCreation),
        ("UPDATE_FAILED", Standing::FailedUpdate),
        ("UPDATE_ROLLBACK_FAILED", Standing::FailedRollback),
        ("DELETE_FAILED", Standing::FailedDeletion),
        ("IMPORT_ROLLBACK_COMPLETE", Standing::Settled),
        ("IMPORT_ROLLBACK_FAILED", Standing::FailedImport),
    ] {
        let events = vec![
            ("chat-dev", "", "REVIEW_IN_PROGRESS", ""),
            FAILS,
            ("chat-dev", "", status, "The following resource(s) failed: [Rooms]."),
        ];
        let (_, ended) = followed(events.leak()).await;
        assert_eq!((ended.standing(), ended.is_well()), (standing, false), "{status}");
        assert_eq!(ended.failed[0].2.message, "the name is taken", "{status}");
    }
}

#[tokio::test]
async fn a_stack_that_fails_without_a_resource_says_why() {
    let (_, ended) = followed(&[
        ("chat-dev", "", "REVIEW_IN_PROGRESS", ""),
        ("chat-dev", "", "UPDATE_FAILED", "the hook `Policy` refused it"),
    ])
    .await;
    assert_eq!(ended.failed[0].2.message, "the hook `Policy` refused it");
}

#[tokio::test]
async fn a_deletion_is_followed_by_the_stacks_own_id_and_what_stays_is_said() {
    let (happenings, ended) = followed(&[
        ("chat-dev", "", "REVIEW_IN_PROGRESS", ""),
        ("chat-dev", "", "DELETE_IN_PROGRESS", ""),
        ("Rooms", "AWS::DynamoDB::Table", "DELETE_SKIPPED", ""),
        ("SendRole", "AWS::IAM::Role", "DELETE_IN_PROGRESS", ""),
        ("SendRole", "AWS::IAM::Role", "DELETE_COMPLETE", ""),
        ("chat-dev", "", "DELETE_COMPLETE", ""),
    ])
    .await;
    assert!(ended.is_well());
    let expected = [
        ("Rooms".parse().unwrap(), Action::Retain),
        ("SendRole".parse().unwrap(), Action::Delete),
    ];
    assert_eq!(ended.done, expected);
    assert_eq!(happenings.len(), 3);
}

#[tokio::test]
async fn a_stack_that_is_gone_without_a_word_is_deleted() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let (stack, _) = stack(move |action, _| match action {
        "DescribeStackEvents" if asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 => {
            events_xml(&[("chat-dev", "", "DELETE_IN_PROGRESS", "")])
        }
        _ => "error Stack with id chat-dev does not exist".into(),
    })
    .await;
    let mut follow = Follow::from_now(&stack, ID, names(&graph())).await.unwrap();
    loop {
        if let Some(Happening::Ended(ended)) = follow.next().await.unwrap().pop() {
            assert!(ended.is_well());
            return;
        }
    }
}

#[tokio::test]
async fn a_failed_rollback_is_continued_and_a_failed_update_is_rolled_back() {
    for (standing, action) in [
        (Standing::FailedRollback, "ContinueUpdateRollback"),
        (Standing::FailedUpdate, "RollbackStack"),
    ] {
        let (stack, log) = stack(|_, _| String::new()).await;
        stack.roll_back(standing).await.unwrap();
        assert_eq!(actions(&log), [action]);
    }
}

#[tokio::test]
async fn types_that_cannot_be_imported_are_missing_from_the_answer() {
    let (stack, _) = stack(|_, _| {
        "<ResourceIdentifierSummaries><member><ResourceType>AWS::DynamoDB::Table</ResourceType>\
         <ResourceIdentifiers><member>TableName</member></ResourceIdentifiers></member></ResourceIdentifierSummaries>"
            .into()
    })
    .await;
    let importable = stack.importable(&Template::Inline("{}".into())).await.unwrap();
    assert_eq!(importable["AWS::DynamoDB::Table"], ["TableName"]);
    assert!(!importable.contains_key("AWS::ApiGatewayV2::Stage"));
}
