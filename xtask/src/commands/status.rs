//! `cargo xtask status`: how a stage is doing, on one screen.
//!
//! Reads only. What an endpoint does not have is said in one line, and the rest is shown. Read next: [`drift`], [`stack`],
//! [`health`], [`view`].

mod drift;
mod health;
mod stack;
mod view;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use infra_aws::{Rows, Session};
use infra_engine::{Observed, Record};
use serde::Serialize;

use self::drift::ResourceStatus;
use self::health::{Alarm, FunctionStatus};
use crate::cli::Status;
use crate::commands::deploy::Found;
use crate::commands::{App, DEFAULT_STAGE, cloudformation, deploy, outputs};
use crate::failure::{Exit, Failure};
use crate::outputs::Outputs;
use crate::target::{AwsEngine, Target};
use crate::ui;

/// How far back figures and errors go.
const HOUR: Duration = Duration::from_secs(3_600);

/// Where the connections are: the table's logical id, its index by rooms and the hash key of that (`ROOM#SHARD`), and the
/// second after which a row does not count. As `functions` writes them.
const CONNECTIONS: (&str, &str, &str, &str) = ("Connections", "by-room", "roomShard", "expiresAt");

/// Everything that is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    stack: String,
    outputs: Outputs,
    resources: Vec<ResourceStatus>,
    functions: Vec<FunctionStatus>,
    rooms: Vec<Room>,
    alarms: Vec<Alarm>,
    /// What could not be read, and what else is to be known.
    notes: Vec<String>,
}

/// How many are connected to a room.
#[derive(Debug, Serialize)]
struct Room {
    room: String,
    connections: u64,
}

/// Runs it.
///
/// # Errors
/// When the stage is not deployed or cannot be read.
pub(crate) async fn run(app: &App, options: &Status) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let shown = app.interrupt.or(Box::pin(read(&target, &options.rooms))).await?;
    if app.wants_json() {
        ui::json(&serde_json::json!(shown))?;
    } else {
        ui::say(format!("{}\n", deploy::heading(&target)));
        ui::data(view::human(&shown))?;
    }
    Ok(Exit::Ok)
}

async fn read(target: &Target, rooms: &[String]) -> Result<Shown, Failure> {
    let (session, stage) = match deploy::read(target, None).await? {
        Found::Direct(session, engine, observed) => (session, direct(target, &engine, *observed)?),
        Found::CloudFormation(session) => {
            let stage = of_stack(target, &session).await?;
            (session, stage)
        }
    };
    let Stage {
        record,
        outputs,
        resources,
        mut notes,
    } = stage;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let looked_at = futures_util::future::join3(
        health::functions(&session, &outputs, &record, now),
        count(target, &session, &outputs, rooms, now.as_secs()),
        health::alarms(&session, &record),
    )
    .await;
    let ((functions, no_figures), (rooms, no_rooms), (alarms, no_alarms)) = looked_at;
    notes.extend([no_figures, no_rooms, no_alarms].into_iter().flatten());
    Ok(Shown {
        stack: target.graph.stack().to_string(),
        resources,
        functions,
        rooms,
        alarms,
        outputs,
        notes,
    })
}

/// What is deployed, by whichever engine.
struct Stage {
    record: Record,
    outputs: Outputs,
    resources: Vec<ResourceStatus>,
    notes: Vec<String>,
}

/// Compares what is recorded, live and declared.
fn direct(target: &Target, engine: &AwsEngine, observed: Observed) -> Result<Stage, Failure> {
    let record = observed.record().clone();
    if record.resources.is_empty() {
        return Err(outputs::not_deployed(target));
    }
    let packages = drift::recorded_packages(&target.graph, &record);
    let plan = deploy::plan(engine, target, &packages, observed)?.plan;
    Ok(Stage {
        outputs: Outputs::read(&target.graph, &record),
        resources: drift::statuses(&record, &plan),
        notes: unfinished(target, &record),
        record,
    })
}

/// Asks CloudFormation how the stack is.
async fn of_stack(target: &Target, session: &Session) -> Result<Stage, Failure> {
    let look = cloudformation::look(target, session).await?;
    let drift = "CloudFormation does not say what has drifted; ask it with: aws cloudformation detect-stack-drift";
    Ok(Stage {
        record: stack::record(&target.graph, look.resources()),
        resources: stack::statuses(look.resources()),
        notes: vec![
            look.human(&target.scope()),
            format!("{drift} --stack-name {}", look.name()),
        ],
        outputs: look.outputs(target)?,
    })
}

/// Says who deploys now, or that somebody did not end well.
fn unfinished(target: &Target, record: &Record) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(lock) = &record.header.lock {
        notes.push(format!("{} is deploying, or was until it was killed", lock.owner));
    } else if !record.header.intents.is_empty() {
        let again = target.scope().command("deploy");
        notes.push(format!(
            "the last deployment did not end well; to go on: {again}; to go back: {again} --rollback"
        ));
    }
    notes
}

/// Counts the connections of rooms: by queries of an index, never by reading the table.
async fn count(
    target: &Target,
    session: &Session,
    outputs: &Outputs,
    rooms: &[String],
    now_s: u64,
) -> (Vec<Room>, Option<String>) {
    let (id, index, key, expires) = CONNECTIONS;
    let Some((_, table)) = outputs.tables.iter().find(|(table, _)| table.as_str() == id) else {
        return (Vec::new(), None);
    };
    let mut counted = Vec::new();
    for room in rooms {
        let shards: Vec<String> = (0..target.stage.settings.rooms.shards)
            .map(|shard| format!("{room}#{shard}"))
            .collect();
        let counts = shards.iter().map(|shard| {
            let rows = Rows {
                table,
                index,
                key: (key, shard),
                expires: (expires, now_s),
            };
            infra_aws::count(session, rows)
        });
        match futures_util::future::try_join_all(counts).await {
            Ok(counts) => counted.push(Room {
                room: room.clone(),
                connections: counts.iter().sum(),
            }),
            Err(error) => return (counted, Some(format!("rooms cannot be counted: {error}"))),
        }
    }
    (counted, None)
}
