//! Measures the function binaries: cold start, warm calls, memory, and posts to many connections at the CPU share of small
//! functions. Beside them an equivalent Node handler, where Node is, and the least that posting can cost.
//!
//! `cargo xtask bench functions` builds everything and starts this. stdout is one JSON object or a table, stderr says what
//! is being measured. Trust processor time and ratios: wall times include whatever else the machine does.
//!
//! Read next: [`lambda`] for how a function is run, [`aws`] for what it calls, [`report`] for what is shown and which
//! targets are judged.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]

mod aws;
mod cage;
mod lambda;
mod node;
mod report;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use crate::aws::Aws;
use crate::lambda::{Cost, End, Function, Program};
use crate::report::{Fan, Report, Variant};

/// Cold starts of which the median counts.
const COLD_STARTS: usize = 31;
const WARM_CALLS: usize = 300;
const CONNECTIONS: [usize; 2] = [1_000, 10_000];
const MEMORY_MB: [u32; 3] = [128, 256, 512];
/// Broadcasts of which the best counts: whatever disturbs one only makes it slower.
const BROADCASTS: usize = 6;
/// After that long there is no further one.
const BROADCASTS_WITHIN: Duration = Duration::from_secs(15);

/// An id of the far future: an old message is not brought to anybody.
const MESSAGE: &str = "7ZZZZZZZZZ0123456789ABCDEF";

/// As long as those of a role on Lambda.
const SESSION_TOKEN_BYTES: usize = 900;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name| arguments.next().ok_or(format!("usage: bench-functions {name}"));
    let binaries = PathBuf::from(argument("BINARIES NODE_SOURCES human|json")?);
    let node_sources = PathBuf::from(argument("BINARIES NODE_SOURCES human|json")?);
    let wants_json = argument("BINARIES NODE_SOURCES human|json")? == "json";

    let scratch = binaries.join("bench-functions.tmp");
    std::fs::create_dir_all(&scratch)?;
    let aws = Aws::start(&scratch).await?;
    let environment = environment(&aws);
    let binary = |name: &str| Program {
        command: vec![binaries.join(name).display().to_string()],
        environment: environment.clone(),
    };
    let (event, leg) = (event()?, leg());

    let mut report = Report::new(&binaries);
    let rust = Subject {
        name: "rust",
        speaker: binary("send-message"),
        broadcaster: binary("broadcast"),
    };
    report.rust = Some(rust.measure(&aws, &event, |_| leg.clone()).await?);
    let floor = Subject {
        name: "floor",
        speaker: binary("floor"),
        broadcaster: binary("floor"),
    };
    let of_floor = |connections: usize| json!({ "connections": connections }).to_string().into();
    report.floor = Some(floor.measure(&aws, &of_floor(1), of_floor).await?);
    match node::build(&node_sources).await {
        Ok(command) => {
            let program = Program { command, environment };
            let node = Subject {
                name: "node",
                speaker: program.clone(),
                broadcaster: program,
            };
            report.node = Some(node.measure(&aws, &event, |_| event.clone()).await?);
        }
        Err(reason) => {
            eprintln!("\n*** NOTHING IS COMPARED WITH NODE: {reason} ***\n");
            report.without_node = Some(reason);
        }
    }
    if wants_json {
        println!("{}", report.json());
    } else {
        println!("{}", report.table());
    }
    Ok(())
}

fn environment(aws: &Aws) -> Vec<(String, String)> {
    [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        (
            "AWS_SESSION_TOKEN",
            &"IQoJb3JpZ2luX2VjEB".repeat(SESSION_TOKEN_BYTES / 18),
        ),
        ("AWS_LAMBDA_FUNCTION_NAME", "f"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_ENDPOINT_URL", &aws.url),
        ("MANAGEMENT_ENDPOINT", &format!("{}/prod", aws.url)),
        ("CONNECTIONS_TABLE", "connections"),
        ("RATES_TABLE", "rates"),
        ("MESSAGES_TABLE", "messages"),
        ("BROADCAST_FUNCTION", "broadcast"),
        // One shard is what one function serves; no rate keeps it from its best.
        ("ROOM_SHARDS", "1"),
        ("POSTS_PER_SECOND", "1000000"),
        ("SSL_CERT_FILE", &aws.ca.display().to_string()),
        // Its advice about newer versions would drown everything else.
        ("NODE_NO_WARNINGS", "1"),
        ("NODE_EXTRA_CA_CERTS", &aws.ca.display().to_string()),
        ("PATH", &std::env::var("PATH").unwrap_or_default()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The event of one message, as API Gateway sends it.
fn event() -> Result<Bytes, Box<dyn Error>> {
    let mut event: serde_json::Value =
        serde_json::from_str(include_str!("../../../../functions/tests/events/message.json"))?;
    event["requestContext"]["routeKey"] = json!("sendMessage");
    event["requestContext"]["authorizer"]["exp"] = json!("4000000000");
    event["body"] = json!(json!({ "action": "sendMessage", "data": "Hello, World!" }).to_string());
    Ok(event.to_string().into())
}

/// What the event of a leg says to `broadcast`: the whole room, on behalf of somebody else.
fn leg() -> Bytes {
    let frame = json!({
        "type": "message", "id": MESSAGE, "from": { "sub": "u1", "name": "Ada Lovelace" }, "room": "lobby",
        "data": "Hello, World!", "at": "2026-11-22T10:15:00.000Z",
    });
    json!({
        "messageId": MESSAGE, "room": "lobby", "shard": 0, "except": "BFaT_fALIAMCKug=", "frame": frame.to_string(),
    })
    .to_string()
    .into()
}

/// The programs of one variant.
struct Subject {
    name: &'static str,
    /// Handles a message in a small room.
    speaker: Program,
    /// Serves a large one.
    broadcaster: Program,
}

impl Subject {
    async fn measure(
        &self,
        aws: &Aws,
        event: &Bytes,
        of_broadcast: impl Fn(usize) -> Bytes,
    ) -> Result<Variant, Box<dyn Error>> {
        let (name, program) = (self.name, &self.speaker);
        let mut variant = Variant::default();
        aws.fill(1);
        eprintln!("{name}: cold starts");
        let (mut starts, mut firsts, mut throttled) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..COLD_STARTS {
            let (mut function, start) = Function::start(program, 128).await?;
            starts.push(start);
            firsts.push(answered(name, function.invoke(event).await?)?);
            let (mut function, _) = Function::start(program, 128).await?;
            if let Err(error) = function.confine(128, false) {
                variant.unconfined = Some(error.to_string());
                continue;
            }
            throttled.push(answered(name, function.invoke(event).await?)?.wall);
        }
        variant.init = median_cost(&starts);
        variant.first = median_cost(&firsts);
        variant.first_throttled = median(throttled);

        eprintln!("{name}: {WARM_CALLS} warm calls");
        let (mut function, _) = Function::start(program, 512).await?;
        let mut warm = Vec::new();
        for _ in 0..WARM_CALLS {
            warm.push(answered(name, function.invoke(event).await?)?.wall);
        }
        // The first ones are not warm yet.
        warm.drain(..10);
        warm.sort_unstable();
        variant.warm_p50 = warm.get(warm.len() / 2).copied();
        variant.warm_p99 = warm.get(warm.len() * 99 / 100).copied();
        variant.memory_peak = function.memory_peak();
        drop(function);

        for connections in CONNECTIONS {
            for memory_mb in MEMORY_MB {
                if variant.unconfined.is_some() {
                    continue;
                }
                eprintln!("{name}: {connections} connections with {memory_mb} MB");
                let fan = broadcast(&self.broadcaster, aws, &of_broadcast, connections, memory_mb).await?;
                variant.fans.push(fan);
            }
        }
        Ok(variant)
    }
}

/// Broadcasts to so many connections from a function of this size and returns the best run; one that fails is not
/// repeated.
async fn broadcast(
    program: &Program,
    aws: &Aws,
    event: &impl Fn(usize) -> Bytes,
    connections: usize,
    memory_mb: u32,
) -> Result<Fan, Box<dyn Error>> {
    let mut best: Option<Fan> = None;
    let begun = Instant::now();
    for _ in 0..BROADCASTS {
        if begun.elapsed() > BROADCASTS_WITHIN {
            break;
        }
        aws.fill(1);
        let (mut function, _) = Function::start(program, memory_mb).await?;
        function.confine(memory_mb, true)?;
        // The connections to AWS stand.
        let (warmed, _) = function.invoke(&event(1)).await?;
        aws.fill(connections);
        aws.take_posts();
        let (end, cost) = match warmed {
            End::Answered => function.invoke(&event(connections)).await?,
            End::Failed | End::TimedOut | End::Killed => (warmed, Cost::default()),
        };
        let fan = Fan {
            connections,
            memory_mb,
            end,
            cost,
            posts: aws.take_posts(),
            memory_peak: function.memory_peak(),
        };
        if end != End::Answered {
            return Ok(fan);
        }
        if best.as_ref().is_none_or(|best| fan.cost.wall < best.cost.wall) {
            best = Some(fan);
        }
    }
    best.ok_or_else(|| "no broadcast was measured".into())
}

fn answered(name: &str, (end, cost): (End, Cost)) -> Result<Cost, Box<dyn Error>> {
    match end {
        End::Answered => Ok(cost),
        End::Failed | End::TimedOut | End::Killed => Err(format!("{name} did not handle an event: {end:?}").into()),
    }
}

fn median_cost(costs: &[Cost]) -> Cost {
    Cost {
        wall: median(costs.iter().map(|cost| cost.wall).collect()).unwrap_or_default(),
        cpu: median(costs.iter().map(|cost| cost.cpu).collect()).unwrap_or_default(),
    }
}

fn median(mut durations: Vec<Duration>) -> Option<Duration> {
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied()
}

/// Returns the size of a file, for the report.
fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map(|about| about.len()).unwrap_or_default()
}
