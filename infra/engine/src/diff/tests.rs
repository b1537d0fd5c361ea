#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

/// Returns path and cause of what differs.
fn found(kind: Kind, desired: Json, live: Json, recorded: Option<Json>) -> Vec<(String, Cause)> {
    let map = |value: Json| value.as_object().unwrap().clone();
    let recorded = recorded.map(map);
    changes(kind, &map(desired), &BTreeSet::new(), &map(live), recorded.as_ref())
        .into_iter()
        .map(|change| (change.property, change.cause))
        .collect()
}

fn policies_differ(ours: Json, theirs: Json) -> bool {
    let [ours, theirs] = [ours, theirs].map(|statements| json!({"PolicyDocument": {"Statement": statements}}));
    !found(Kind::RolePolicy, ours, theirs, None).is_empty()
}

#[test]
fn policies_are_equal_however_they_are_written() {
    for (ours, theirs) in [
        (
            json!([{"Effect": "Allow", "Action": ["a:B", "a:A"], "Resource": "x"}]),
            json!({"Resource": ["x"], "Action": ["a:A", "A:b"], "Effect": "Allow"}),
        ),
        (
            json!([{"Action": "a"}, {"Action": "b"}]),
            json!([{"Action": "b"}, {"Action": "a"}]),
        ),
        (json!([{"Principal": "*"}]), json!([{"Principal": {"AWS": ["*"]}}])),
        (
            json!([{"Principal": {"AWS": "123456789012", "Service": ["x", "y"]}}]),
            json!([{"Principal": {"Service": ["y", "x"], "AWS": ["arn:aws:iam::123456789012:root"]}}]),
        ),
        (
            json!([{"Condition": {"Bool": {"aws:SecureTransport": true}, "NumericLessThan": {"a": 5}}}]),
            json!([{"Sid": "", "Condition": {"NumericLessThan": {"a": ["5"]}, "Bool": {"AWS:SecureTransport": "true"}}}]),
        ),
    ] {
        assert!(!policies_differ(ours.clone(), theirs.clone()), "{ours} {theirs}");
    }
    for (ours, theirs) in [
        (json!([{"Resource": "x"}]), json!([{"Resource": "X"}])),
        (json!([{"Action": "a"}]), json!([{"NotAction": "a"}])),
        (json!([{"Effect": "Allow"}]), json!([{"Effect": "Deny"}])),
        (
            json!([{"Principal": {"AWS": "arn:aws:iam::123456789012:role/root"}}]),
            json!([{"Principal": {"AWS": "123456789012"}}]),
        ),
        (json!([{"Sid": "A"}, {"Sid": "B"}]), json!([{"Sid": "A"}])),
    ] {
        assert!(policies_differ(ours.clone(), theirs.clone()), "{ours} {theirs}");
    }
}

#[test]
fn policies_differ_statement_by_statement() {
    let document = |statements: Json| json!({"PolicyDocument": {"Version": "2012-10-17", "Statement": statements}});
    let read = json!({"Sid": "Read", "Action": "a:Get"});
    let found = found(
        Kind::RolePolicy,
        document(json!([read, {"Sid": "Write", "Action": ["a:Put", "a:Delete"]}])),
        document(json!([{"Sid": "Write", "Action": "a:Put"}, {"Action": "*"}])),
        Some(document(json!([read, {"Sid": "Write", "Action": "a:Put"}]))),
    );
    let expected = [
        ("PolicyDocument.Read", Cause::Drift),
        ("PolicyDocument.Write", Cause::Declaration),
        ("PolicyDocument.Statement[1]", Cause::Drift),
    ];
    assert_eq!(found, expected.map(|(path, cause)| (path.to_owned(), cause)));
}

#[test]
fn defaults_that_a_service_fills_in_are_no_change() {
    let desired = json!({"DefaultRouteSettings": {"ThrottlingRateLimit": 500}});
    let live = json!({"DefaultRouteSettings": {"ThrottlingRateLimit": 500.0, "DetailedMetricsEnabled": false}});
    assert_eq!(found(Kind::Stage, desired, live, None), []);
    let live = json!({"DefaultRouteSettings": {"ThrottlingRateLimit": 10_000.0, "ThrottlingBurstLimit": 5000}});
    assert_eq!(found(Kind::Stage, json!({}), live, None), []);
    assert_eq!(
        found(Kind::Route, json!({"AuthorizationType": "NONE"}), json!({}), None),
        []
    );
    assert_eq!(
        found(Kind::Route, json!({}), json!({"AuthorizationType": "NONE"}), None),
        []
    );
}

#[test]
fn lists_without_order_are_compared_without_it() {
    let keys = json!([{"AttributeName": "a", "KeyType": "HASH"}, {"AttributeName": "b", "KeyType": "RANGE"}]);
    let back = json!([{"AttributeName": "b", "KeyType": "RANGE"}, {"AttributeName": "a", "KeyType": "HASH"}]);
    let indexes = |keys: &Json, attributes: Json| {
        json!({"GlobalSecondaryIndexes": [{"IndexName": "i", "KeySchema": keys,
            "Projection": {"NonKeyAttributes": attributes}}]})
    };
    let (ours, theirs) = (indexes(&keys, json!(["x", "y"])), indexes(&back, json!(["y", "x"])));
    assert_eq!(found(Kind::Table, ours, theirs, None), []);
    let layers = |layers: Json| json!({"Layers": layers});
    assert_eq!(
        found(
            Kind::Function,
            layers(json!(["x", "y"])),
            layers(json!(["y", "x"])),
            None
        )
        .len(),
        1
    );
}

#[test]
fn environments_are_compared_whole_and_leaf_by_leaf() {
    let desired = json!({"Environment": {"Variables": {"A": "1", "B": "2"}}});
    let live = json!({"Environment": {"Variables": {"A": "1", "B": "3", "C": "4"}}});
    let drift = [
        ("Environment.Variables.B".to_owned(), Cause::Drift),
        ("Environment.Variables.C".to_owned(), Cause::Drift),
    ];
    assert_eq!(found(Kind::Function, desired.clone(), live, Some(desired)), drift);
}

#[test]
fn what_the_declaration_changed_is_told_from_what_somebody_changed() {
    let memory = |megabytes: u32| json!({"MemorySize": megabytes});
    for (desired, live, recorded, cause) in [
        (512, 256, Some(256), Cause::Declaration),
        (512, 256, None, Cause::Declaration),
        (256, 512, Some(256), Cause::Drift),
        (512, 1024, Some(256), Cause::Both),
    ] {
        let found = found(Kind::Function, memory(desired), memory(live), recorded.map(memory));
        assert_eq!(found, [("MemorySize".to_owned(), cause)]);
    }
}

#[test]
fn what_is_not_declared_any_more_is_cleared_and_so_is_what_somebody_added() {
    let days = json!({"RetentionInDays": 7});
    let one = |cause| [("RetentionInDays".to_owned(), cause)];
    let declared_before = found(Kind::LogGroup, json!({}), days.clone(), Some(days.clone()));
    assert_eq!(declared_before, one(Cause::Declaration));
    assert_eq!(
        found(Kind::LogGroup, json!({}), days.clone(), Some(json!({}))),
        one(Cause::Drift)
    );
    assert_eq!(found(Kind::LogGroup, json!({}), days, None), one(Cause::Declaration));
    // What is not known to be from outside is left alone.
    assert_eq!(
        found(Kind::Function, json!({}), json!({"Runtime": "x"}), Some(json!({}))),
        []
    );
}

#[test]
fn a_part_that_is_not_declared_any_more_goes_back_to_its_default() {
    let limits = |limits: Json| json!({"DefaultRouteSettings": limits});
    let both = limits(json!({"ThrottlingRateLimit": 5, "ThrottlingBurstLimit": 6}));
    let found = found(
        Kind::Stage,
        limits(json!({"ThrottlingRateLimit": 5})),
        both.clone(),
        Some(both),
    );
    assert_eq!(
        found,
        [(
            "DefaultRouteSettings.ThrottlingBurstLimit".to_owned(),
            Cause::Declaration
        )]
    );
    assert_eq!(value_that_clears(Kind::Stage, &found[0].0), Some(&json!(5000)));
}

#[test]
fn what_cannot_be_read_is_compared_with_the_record() {
    let bytes = |length: u32| json!({"GeneratedBytes": length});
    assert_eq!(found(Kind::Parameter, bytes(32), json!({}), Some(bytes(32))), []);
    assert_eq!(found(Kind::Parameter, bytes(32), json!({}), None), []);
    assert_eq!(found(Kind::Parameter, bytes(64), json!({}), Some(bytes(32))).len(), 1);
}
