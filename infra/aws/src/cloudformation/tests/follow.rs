//! What happens to a stack, in the order in which CloudFormation tells it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use infra_engine::{Action, Class, Event};

use super::*;

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
    let seen = AtomicUsize::new(1);
    let (stack, _) = stack(move |_, _| {
        let shown = seen.fetch_add(2, Ordering::SeqCst).min(events.len());
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
async fn a_stack_that_could_not_be_made_and_was_deleted_did_not_end_well() {
    let (happenings, ended) = followed(&[
        ("chat-dev", "", "REVIEW_IN_PROGRESS", ""),
        ("chat-dev", "", "CREATE_IN_PROGRESS", "User Initiated"),
        ("SendRole", "AWS::IAM::Role", "CREATE_IN_PROGRESS", ""),
        ("SendRole", "AWS::IAM::Role", "CREATE_COMPLETE", ""),
        ("Rooms", "AWS::DynamoDB::Table", "CREATE_FAILED", "the name is taken"),
        (
            "chat-dev",
            "",
            "DELETE_IN_PROGRESS",
            "The following resource(s) failed to create: [Rooms]. Delete requested by user.",
        ),
        ("SendRole", "AWS::IAM::Role", "DELETE_IN_PROGRESS", ""),
        ("SendRole", "AWS::IAM::Role", "DELETE_COMPLETE", ""),
        ("chat-dev", "", "DELETE_COMPLETE", ""),
    ])
    .await;
    assert!(!ended.is_well());
    assert_eq!(ended.failed[0].2.message, "the name is taken");
    assert_eq!(ended.done, [("SendRole".parse().unwrap(), Action::Create)]);
    assert!(happenings.contains(&Happening::GoingBack));
}

#[tokio::test]
async fn an_update_that_somebody_cancelled_did_not_end_well() {
    let (_, ended) = followed(&[
        ("chat-dev", "", "REVIEW_IN_PROGRESS", ""),
        ("chat-dev", "", "UPDATE_IN_PROGRESS", "User Initiated"),
        ("chat-dev", "", "UPDATE_ROLLBACK_IN_PROGRESS", "cancelled by ada"),
        ("chat-dev", "", "UPDATE_ROLLBACK_COMPLETE", ""),
    ])
    .await;
    assert!(!ended.is_well());
    assert_eq!(ended.failed[0].2.message, "cancelled by ada");
}

#[tokio::test]
async fn what_failed_first_is_known_when_nothing_of_it_is_left() {
    let (stack, _) = stack(|_, asked| match asked.parameter("NextToken").as_str() {
        "" => {
            events_xml(&[
                ("Rooms", "AWS::DynamoDB::Table", "DELETE_COMPLETE", ""),
                ("chat-dev", "", "ROLLBACK_COMPLETE", ""),
            ]) + "<NextToken>older</NextToken>"
        }
        _ => events_xml(&[
            ("Rooms", "AWS::DynamoDB::Table", "CREATE_FAILED", "of another attempt"),
            ("chat-dev", "", "CREATE_IN_PROGRESS", "User Initiated"),
            ("Rooms", "AWS::DynamoDB::Table", "CREATE_FAILED", "the name is taken"),
            (
                "SendRole",
                "AWS::IAM::Role",
                "CREATE_FAILED",
                "Resource creation cancelled",
            ),
            ("OldRole", "AWS::IAM::Role", "CREATE_FAILED", "too late"),
            (
                "chat-dev",
                "",
                "ROLLBACK_IN_PROGRESS",
                "The following resource(s) failed: [Rooms].",
            ),
        ]),
    })
    .await;
    let failure = stack.first_failure(ID).await.unwrap().unwrap();
    assert_eq!(
        (failure.name.as_str(), failure.reason.as_deref()),
        ("Rooms", Some("the name is taken"))
    );
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
    let asked = AtomicUsize::new(0);
    let (stack, _) = stack(move |action, _| match action {
        "DescribeStackEvents" if asked.fetch_add(1, Ordering::SeqCst) < 2 => {
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
