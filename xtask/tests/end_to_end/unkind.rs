//! The whole chat in a cloud that is slow, busy and unreliable: the same resources in the end, and nothing left.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{Carrier, Client, LocalCloud};

/// Everything at once, and little of each, so that the test is quick.
const UNKIND: &str = "role=1s,pending=300ms,creating=500ms,throttle,conflict,latency=5ms,lost=0.04,error=0.04";

/// Returns what is deployed, but for what the cloud assigns.
async fn shape(cloud: &LocalCloud) -> BTreeMap<String, Vec<String>> {
    let mut shape = BTreeMap::from([("all".to_owned(), sorted(cloud.inventory().await))]);
    let (_, apis) = cloud.rest("apigateway", "GET", "/v2/apis").await;
    for api in apis["items"].as_array().unwrap() {
        for (children, key) in [
            ("routes", "routeKey"),
            ("integrations", "description"),
            ("authorizers", "name"),
            ("deployments", "deploymentStatus"),
            ("stages", "stageName"),
        ] {
            let path = format!("/v2/apis/{}/{children}", api["apiId"].as_str().unwrap());
            let (_, list) = cloud.rest("apigateway", "GET", &path).await;
            let names = list["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|child| child[key].to_string());
            shape.insert(children.to_owned(), sorted(names));
        }
    }
    let (_, functions) = cloud.rest("lambda", "GET", "/2015-03-31/functions").await;
    let functions = functions["Functions"].as_array().unwrap().iter();
    let settings = functions.map(|of| json!([of["FunctionName"], of["State"], of["LastUpdateStatus"]]).to_string());
    shape.insert("functions".to_owned(), sorted(settings));
    shape
}

fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unkind_cloud_ends_like_a_kind_one() {
    let kind = LocalCloud::start_here("").await;
    kind.deploy();
    let expected = shape(&kind).await;
    drop(kind);

    for seed in 1..=2 {
        let unkind = format!("{UNKIND},seed={seed}");
        let cloud = LocalCloud::start_here(&unkind).await;
        let first = cloud.deploy();
        cloud.be("");
        assert_eq!(shape(&cloud).await, expected, "seed {seed}");
        let token = cloud.token(&["--sub", "ada"]);
        let url = first["outputs"]["webSocketUrl"].as_str().unwrap();
        Client::connect(url, &token, Carrier::Header)
            .await
            .unwrap()
            .close()
            .await;

        // Two functions are gone, and a third is not as it was: all of it is mended.
        let functions = &first["outputs"]["functions"];
        let path = |name: &str| format!("/2015-03-31/functions/{}", functions[name].as_str().unwrap());
        for name in ["connect", "disconnect"] {
            assert_eq!(cloud.rest("lambda", "DELETE", &path(name)).await.0, 204);
        }
        cloud.be(&unkind);
        cloud.deploy();
        cloud.be("");
        assert_eq!(shape(&cloud).await, expected, "seed {seed}");

        cloud.be(&unkind);
        let destroyed = cloud.run(&["destroy", "--yes"]);
        assert_eq!(destroyed.code, 0, "seed {seed}: {}", destroyed.stderr);
        cloud.be("");
        assert_eq!(cloud.inventory().await, [""; 0], "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_for_it() {
    let cloud = LocalCloud::start_with(&["--unkind", "error=0.99"]);
    let mut failed = 0;
    for _ in 0..20 {
        let (status, _) = cloud.rest("lambda", "GET", "/2015-03-31/functions").await;
        failed += usize::from(status == 500);
    }
    assert!(failed > 10, "{failed} of 20");
    let wrong = crate::support::finish(crate::support::xtask().args(["local", "--unkind", "rolle=8s"]));
    wrong.fails_with(2, &["`rolle` is not known", "known are role=8s, pending=2s"]);
}
