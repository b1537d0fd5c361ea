//! The key is rotated while people are connected: nobody has to go, and nothing is deployed.

use crate::support::{Carrier, Client, LocalCloud, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_is_accepted_with_the_one_before() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let connects = |token: String| async move { Client::connect(url, &token, Carrier::Header).await.is_ok() };
    let rotate = || {
        let rotated = cloud.run(&["token", "rotate", "--output", "json"]).json();
        assert!(rotated["kid"].as_str().unwrap().starts_with('k'), "{rotated}");
        assert_eq!(rotated.as_object().unwrap().len(), 1, "names, no keys");
    };

    let first = cloud.token(&["--sub", "ana"]);
    assert!(connects(first.clone()).await);
    rotate();
    let second = cloud.token(&["--sub", "ana"]);
    // The authorizer looks for unknown keys every few seconds at most.
    eventually("a token of the new key counts", || async {
        connects(second.clone()).await.then_some(())
    })
    .await;
    assert!(connects(first.clone()).await, "the key before still counts");

    rotate();
    let third = cloud.token(&["--sub", "ana"]);
    eventually("a token of the third key counts", || async {
        connects(third.clone()).await.then_some(())
    })
    .await;
    assert!(connects(second).await);
    assert!(!connects(first).await, "the first key counts no more");
    // A deployment neither sees a difference nor brings the first key back.
    assert_eq!(cloud.run(&["diff", "--exit-code"]).code, 0);
}
