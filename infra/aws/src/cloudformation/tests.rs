//! What CloudFormation answers, in each of the states that a stack can be stuck in, and what is made of it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod change_set;
mod follow;

use std::collections::BTreeMap;

use infra_cdk::{Graph, Settings, Stack, StackId, Stage, Table, synth};

use super::*;
use crate::stub::{self, Asked, Log};

const ID: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/chat-dev/1";

fn stack_id() -> StackId {
    StackId {
        app: "chat".into(),
        stage: "dev".into(),
    }
}

/// Opens a stack whose calls are answered with the content of their results, by their actions; or with `error MESSAGE`,
/// `code CODE`, or `lost`: CloudFormation has heard it, and nobody hears CloudFormation.
async fn stack(answer: impl Fn(&str, &Asked) -> String + Send + Sync + 'static) -> (CloudFormation, Log) {
    let error = |code: &str, message: &str| {
        let error = format!("<Code>{code}</Code><Message>{message}</Message>");
        (
            400,
            format!("<ErrorResponse><Error>{error}</Error><RequestId>r-1</RequestId></ErrorResponse>"),
        )
    };
    let (session, log) = stub::session(move |asked| {
        let action = asked.parameter("Action");
        let content = answer(&action, asked);
        match content.split_once(' ') {
            Some(("error", message)) => error("ValidationError", message),
            Some(("code", code)) => error(code, "no"),
            _ if content == "lost" => (502, String::new()),
            _ => (
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
