//! A deployment that fails half-way, and the way back.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::support::{Carrier, Client, LocalCloud};

/// Writes the packages of the last build into `folder`, as `--packages` takes them.
fn copy_packages(cloud: &LocalCloud, folder: &Path) {
    let functions = std::fs::read_dir(cloud.scratch.path().join("packages/dev")).unwrap();
    for function in functions.map(|entry| entry.unwrap()) {
        let zip = std::fs::read_dir(function.path()).unwrap().next().unwrap().unwrap();
        let name = function.file_name().into_string().unwrap();
        std::fs::copy(zip.path(), folder.join(format!("{name}.zip"))).unwrap();
    }
}

/// Returns the digest of the code that each function is called with.
async fn code(cloud: &LocalCloud) -> BTreeMap<String, String> {
    let (_, list) = cloud.rest("lambda", "GET", "/2015-03-31/functions").await;
    let mut code = BTreeMap::new();
    for function in list["Functions"].as_array().unwrap() {
        let name = function["FunctionName"].as_str().unwrap();
        let path = format!("/2015-03-31/functions/{name}/configuration?Qualifier=live");
        let (_, live) = cloud.rest("lambda", "GET", &path).await;
        code.insert(name.to_owned(), live["CodeSha256"].to_string());
        code.insert(format!("{name}:$LATEST"), function["CodeSha256"].to_string());
    }
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_deployment_is_undone_with_its_code() {
    let cloud = LocalCloud::start();
    let url = cloud.deploy()["outputs"]["webSocketUrl"].as_str().unwrap().to_owned();
    let (before, inventory) = (code(&cloud).await, cloud.inventory().await);
    let nothing = cloud.run(&["deploy", "--rollback", "--yes"]);
    assert_eq!(nothing.code, 0, "{}", nothing.stderr);
    assert!(
        nothing.stderr.contains("there is nothing to undo"),
        "{}",
        nothing.stderr
    );

    let folder = tempfile::tempdir().unwrap();
    copy_packages(&cloud, folder.path());
    let good = folder.path().join("connect.zip");
    let mut zip = std::fs::read(&good).unwrap();
    // The last field of a zip file is the length of its comment.
    zip.truncate(zip.len() - 2);
    zip.extend([1, 0, b'2']);
    std::fs::write(&good, zip).unwrap();
    std::fs::write(folder.path().join("room.zip"), "no zip file").unwrap();

    let packages = folder.path().to_str().unwrap();
    let failed = cloud.run(&["deploy", "--packages", packages, "--yes"]);
    failed.fails_with(
        1,
        &[
            "RoomFunction",
            "or undo it with: cargo xtask deploy --rollback --stage local",
        ],
    );
    let after = code(&cloud).await;
    assert_ne!(
        after["chat-local-connect:$LATEST"],
        before["chat-local-connect:$LATEST"]
    );
    assert_eq!(
        after["chat-local-connect"], before["chat-local-connect"],
        "callers meet no new code unless all of it is there"
    );

    let back = cloud.run(&["deploy", "--rollback", "--yes"]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert_eq!(code(&cloud).await, before);
    assert_eq!(cloud.inventory().await, inventory);
    assert_eq!(cloud.run(&["diff", "--exit-code"]).code, 0);
    let nothing = cloud.run(&["deploy", "--rollback", "--yes"]);
    assert!(
        nothing.stderr.contains("there is nothing to undo"),
        "{}",
        nothing.stderr
    );

    let enter = async |sub: &str| {
        let token = cloud.token(&["--sub", sub]);
        Client::connect(&url, &token, Carrier::Header).await.unwrap()
    };
    let (mut ana, mut bo) = (enter("ana").await, enter("bo").await);
    ana.send(json!({"action": "sendMessage", "data": "as before"})).await;
    assert_eq!(bo.receive().await["data"], "as before");
}
