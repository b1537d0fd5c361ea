//! `cargo xtask logs`: what was written, what is being written, for people and for programs.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use infra_aws::{Connection, Follow, Logs, Session, SessionOptions};
use serde_json::{Value as Json, json};

use crate::support::{Carrier, Client, LocalCloud, PATIENCE, eventually, read_until};

/// Waits for the end of a process and returns its exit code.
async fn ended(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(began.elapsed() < PATIENCE, "the process ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_understood_and_followed_and_each_comes_once() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let mut follower = cloud
        .command(&["logs", "--follow", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = follower.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = read_until(&mut stdout, "\"function\":\"disconnect\"");
        text += &read_until(&mut stdout, "\"report\"");
        text += &read_until(&mut stdout, "\n");
        (text, stdout)
    });
    let mut client = Client::connect(url, &cloud.token(&["--sub", "ana"]), Carrier::Header)
        .await
        .unwrap();
    client
        .ask(json!({"action": "sendMessage", "data": "hello", "ack": true}))
        .await;
    client.close().await;
    let (text, stdout) = tokio::task::spawn_blocking(move || reader.join().unwrap())
        .await
        .unwrap();

    // Ctrl-C is how following is meant to end.
    let killed = Command::new("kill").args(["-INT", &follower.id().to_string()]).status();
    assert!(killed.unwrap().success());
    assert_eq!(ended(&mut follower).await, Some(0));
    drop(stdout);

    let followed: Vec<&str> = text.lines().collect();
    let distinct: BTreeSet<&str> = followed.iter().copied().collect();
    assert_eq!(followed.len(), distinct.len(), "none comes twice: {text}");
    let read = cloud.run(&["logs", "--output", "json", "--since", "1h"]);
    let all: BTreeSet<&str> = read.stdout.lines().collect();
    assert!(distinct.is_subset(&all), "{text}\n{}", read.stdout);
    let missed: Vec<_> = all.difference(&distinct).collect();
    assert!(
        missed.iter().all(|line| line.contains("\"function\":\"disconnect\"")),
        "{missed:?}"
    );

    let lines = read.events();
    let mut times = lines.iter().map(|line| line["timestamp"].as_u64().unwrap());
    assert!(times.by_ref().is_sorted());
    let reports: Vec<&Json> = lines.iter().filter(|line| line["report"].is_object()).collect();
    let first = reports.iter().find(|line| line["function"] == "connect").unwrap();
    assert_eq!(first["report"]["coldStart"], true, "{first}");
    assert!(first["report"]["durationMs"].as_f64().unwrap() > 0.0, "{first}");
    assert!(first["requestId"].is_string() && first["level"] == "INFO", "{first}");

    let human = cloud.run(&["logs", "connect"]);
    assert!(human.stdout.contains("cold start"), "{}", human.stdout);
    let errors = cloud.run(&["logs", "--level", "error", "--output", "json"]);
    assert_eq!((errors.code, errors.stdout.as_str()), (0, ""), "{}", errors.stderr);
    let before = cloud.run(&["logs", "--since", "2h", "--until", "1h"]);
    assert_eq!((before.code, before.stdout.as_str()), (0, ""), "{}", before.stderr);
    assert!(before.stderr.contains("--since 1d"), "{}", before.stderr);
    let both = cloud.run(&["logs", "--follow", "--until", "1h"]);
    both.fails_with(2, &["--until"]);
    cloud
        .run(&["logs", "nobody"])
        .fails_with(2, &["there is no function `nobody`", "authorize"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_ends_when_nobody_reads_it() {
    let cloud = LocalCloud::start();
    cloud.deploy();
    let mut follower = cloud
        .command(&["logs", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(follower.stdout.take());
    // Nothing is logged: it ends all the same.
    assert_eq!(ended(&mut follower).await, Some(0));
}

/// A group with lines in it, and who follows it.
struct Written<'a> {
    cloud: &'a LocalCloud,
    session: Session,
}

impl<'a> Written<'a> {
    const GROUP: &'static str = "/test/many";

    async fn begin(cloud: &'a LocalCloud) -> Self {
        let session = Box::pin(Connection::open(SessionOptions {
            region: "us-east-1".to_owned(),
            endpoint_url: Some(cloud.endpoint.clone()),
            credentials: Some(("local".to_owned(), "local".to_owned())),
            ..SessionOptions::default()
        }));
        let group = json!({"logGroupName": Self::GROUP});
        cloud.aws_json("logs", "Logs_20140328.CreateLogGroup", group).await;
        let stream = json!({"logGroupName": Self::GROUP, "logStreamName": "s"});
        cloud.aws_json("logs", "Logs_20140328.CreateLogStream", stream).await;
        Self {
            cloud,
            session: Box::pin(session.await.unwrap().identify()).await.unwrap(),
        }
    }

    fn follow(&self, groups: &[&str]) -> Follow {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Follow::new(Logs::new(self.session.clone()), groups, 0, None)
    }

    /// Writes lines `from..to`, every tenth like the one before.
    async fn write(&self, from: usize, to: usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let now = u64::try_from(now).unwrap();
        let message = |n: usize| format!("line {}", if n % 10 == 9 { n - 1 } else { n });
        let events: Vec<_> = (from..to)
            .map(|n| json!({"timestamp": now, "message": message(n)}))
            .collect();
        let input = json!({"logGroupName": Self::GROUP, "logStreamName": "s", "logEvents": events});
        self.cloud.aws_json("logs", "Logs_20140328.PutLogEvents", input).await;
    }
}

/// Reads until so many lines have come, and for a while longer.
async fn read(follow: &mut Follow, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let began = Instant::now();
    while lines.len() < count {
        assert!(began.elapsed() < PATIENCE, "{} of {count} lines", lines.len());
        let Ok(next) = tokio::time::timeout(Duration::from_secs(1), follow.next()).await else {
            continue;
        };
        lines.extend(next.unwrap().into_iter().map(|event| event.message));
    }
    // Doubles would come with the next readings.
    while let Ok(next) = tokio::time::timeout(Duration::from_secs(1), follow.next()).await {
        lines.extend(next.unwrap().into_iter().map(|event| event.message));
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_tail_that_leaves_lines_out_loses_none() {
    let cloud = LocalCloud::start();
    let written = Written::begin(&cloud).await;
    written.write(0, 10).await;
    let mut follow = written.follow(&[Written::GROUP]);
    let mut lines = read(&mut follow, 10).await;
    // Many more than fit into updates.
    for batch in 0..6 {
        written.write(10 + batch * 1_000, 10 + (batch + 1) * 1_000).await;
    }
    lines.extend(read(&mut follow, 6_000).await);
    assert_eq!(lines.len(), 6_010);
    let distinct: BTreeSet<&String> = lines.iter().collect();
    assert_eq!(distinct.len(), 6_010 * 9 / 10);
    assert_eq!(written.session.calls()["logs:StartLiveTail"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_live_tails_groups_are_read_again_and_again() {
    let cloud = LocalCloud::start();
    let written = Written::begin(&cloud).await;
    // A live tail over a group that does not exist is refused.
    let mut follow = written.follow(&[Written::GROUP, "/test/absent"]);
    written.write(0, 100).await;
    let mut lines = read(&mut follow, 100).await;
    written.write(100, 200).await;
    lines.extend(read(&mut follow, 100).await);
    assert_eq!(lines.len(), 200);
    assert_eq!(written.session.calls()["logs:StartLiveTail"], 1);
    eventually("it goes on", || async {
        (written.session.calls()["logs:FilterLogEvents"] > 2).then_some(())
    })
    .await;
}
