//! Updates and rollbacks under people who go on talking: none of them notices.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{Carrier, Client, LocalCloud, eventually};

/// Pause between two messages of one client, well below the rate at which a connection is limited.
const PACE: Duration = Duration::from_millis(150);

/// Sends numbered messages, each after the acknowledgement of the one before, until told to stop; returns how many.
/// Anything but an acknowledgement or a message of others is a failure.
async fn talk(mut client: Client, sub: &'static str, stop: watch::Receiver<bool>) -> usize {
    let mut sent = 0;
    while !*stop.borrow() {
        sent += 1;
        client
            .send(json!({"action": "sendMessage", "data": format!("{sub} {sent}"), "id": sent.to_string()}))
            .await;
        loop {
            let frame = client.receive().await;
            match frame["type"].as_str() {
                Some("ack") => break,
                Some("message") => {}
                _ => panic!("{sub} {sent}: {frame}"),
            }
        }
        tokio::time::sleep(PACE).await;
    }
    sent
}

/// Comes, looks around and goes, until told to stop: the authorizer and the routes of connecting are in use too.
async fn come_and_go(url: String, token: String, stop: watch::Receiver<bool>) -> usize {
    let mut visits = 0;
    while !*stop.borrow() {
        let mut client = Client::connect(&url, &token, Carrier::Header).await.unwrap();
        client.send(json!({"action": "who"})).await;
        loop {
            let frame = client.receive().await;
            match frame["type"].as_str() {
                Some("message") => {}
                _ => break assert!(frame["members"].is_array(), "{frame}"),
            }
        }
        client.close().await;
        visits += 1;
    }
    visits
}

/// Collects the texts of all messages, for ever.
fn listen(mut client: Client) -> (Arc<Mutex<BTreeSet<String>>>, JoinHandle<()>) {
    let heard = Arc::new(Mutex::new(BTreeSet::new()));
    let into = heard.clone();
    let task = tokio::spawn(async move {
        loop {
            let frame = client.receive().await;
            assert_eq!(frame["type"], "message", "{frame}");
            into.lock().unwrap().insert(frame["data"].as_str().unwrap().to_owned());
        }
    });
    (heard, task)
}

/// Gives all functions other code: zip files that have what they had, and a comment.
fn change_code(cloud: &LocalCloud) {
    let folders = std::fs::read_dir(cloud.scratch.path().join("packages/dev")).unwrap();
    for zip in folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap()) {
        let path = zip.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        // The last field of a zip file is the length of its comment.
        let end = bytes.len() - 2;
        assert_eq!(bytes[end..], [0, 0], "{}", path.display());
        bytes.truncate(end);
        bytes.extend([1, 0, b'2']);
        std::fs::write(path, bytes).unwrap();
    }
}

/// Returns the version that each function is called in, and how many versions there are.
async fn versions(cloud: &LocalCloud, outputs: &Json) -> BTreeSet<(String, usize)> {
    let mut versions = BTreeSet::new();
    for function in outputs["functions"].as_object().unwrap().values() {
        let path = format!("/2015-03-31/functions/{}", function.as_str().unwrap());
        let (_, alias) = cloud.rest("lambda", "GET", &format!("{path}/aliases/live")).await;
        let (_, all) = cloud.rest("lambda", "GET", &format!("{path}/versions")).await;
        let published = all["Versions"].as_array().unwrap().len() - 1;
        versions.insert((alias["FunctionVersion"].as_str().unwrap().to_owned(), published));
    }
    versions
}

fn count(report: &Json, kind: &str) -> usize {
    let steps = report["changed"].as_array().unwrap().iter();
    steps
        .filter(|step| step["type"] == kind && step["action"] == "update")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_an_update_or_a_rollback() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let all = outputs["functions"].as_object().unwrap().len();
    cloud
        .run(&["rollback"])
        .fails_with(1, &["no function has an earlier version", "deploy --stage local"]);

    let enter = async |sub: &str| {
        let token = cloud.token(&["--sub", sub]);
        Client::connect(url, &token, Carrier::Header).await.unwrap()
    };
    let (stop, stopped) = watch::channel(false);
    let (heard, listening) = listen(enter("cy").await);
    let ana = tokio::spawn(talk(enter("ana").await, "ana", stopped.clone()));
    let bo = tokio::spawn(talk(enter("bo").await, "bo", stopped.clone()));
    let guest = cloud.token(&["--sub", "guest"]);
    let guests = tokio::spawn(come_and_go(url.to_owned(), guest, stopped));
    let at = |version: &str, kept| BTreeSet::from([(version.to_owned(), kept)]);
    // The traffic goes on while these block.
    let run = |arguments: &'static [&'static str]| tokio::task::block_in_place(|| cloud.run(arguments));
    let deploy = || run(&["deploy", "--yes", "--output", "json"]).json();
    let more = async || {
        let before = heard.lock().unwrap().len();
        eventually("people go on talking", || async {
            (heard.lock().unwrap().len() > before + 4).then_some(())
        })
        .await;
    };

    more().await;
    change_code(&cloud);
    let report = deploy();
    assert_eq!(count(&report, "AWS::Lambda::Function"), all, "{report}");
    assert_eq!(count(&report, "AWS::Lambda::Alias"), all, "{report}");
    assert_eq!(report["changed"].as_array().unwrap().len(), 2 * all, "{report}");
    assert_eq!(report["outputs"], outputs);
    assert_eq!(versions(&cloud, &outputs).await, at("2", 2));

    more().await;
    let back = run(&["rollback", "--output", "json"]).json();
    assert_eq!(back["rolledBack"].as_array().unwrap().len(), all, "{back}");
    assert_eq!(
        back["rolledBack"][0],
        json!({"id": "AdminAlias", "from": "2", "to": "1"})
    );
    assert_eq!(versions(&cloud, &outputs).await, at("1", 2));
    run(&["rollback"]).fails_with(1, &["no function has an earlier version"]);
    let diff = run(&["diff", "--exit-code"]);
    assert_eq!(diff.code, 3, "{}", diff.stderr);
    assert!(diff.stdout.contains("rolled back from version 2"), "{}", diff.stdout);

    more().await;
    let forward = deploy();
    assert_eq!(count(&forward, "AWS::Lambda::Alias"), all, "{forward}");
    assert_eq!(forward["changed"].as_array().unwrap().len(), all, "{forward}");
    assert_eq!(versions(&cloud, &outputs).await, at("2", 2));
    assert_eq!(run(&["diff", "--exit-code"]).code, 0);

    more().await;
    stop.send(true).unwrap();
    let (ana, bo) = (ana.await.unwrap(), bo.await.unwrap());
    assert!(guests.await.unwrap() > 3);
    let wanted: BTreeSet<String> = (1..=ana)
        .map(|number| format!("ana {number}"))
        .chain((1..=bo).map(|number| format!("bo {number}")))
        .collect();
    eventually("every message arrives", || async {
        (*heard.lock().unwrap() == wanted).then_some(())
    })
    .await;
    assert!(!listening.is_finished());
    listening.abort();
}
