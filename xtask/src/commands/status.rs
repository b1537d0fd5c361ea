//! `cargo xtask status`: how a stage is doing, on one screen.
//!
//! Reads only. What an endpoint does not have is said in one line, and the rest is shown. Read next: [`drift`], [`health`],
//! [`view`].

mod drift;
mod health;
mod view;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use infra_aws::{Rows, Session};
use infra_engine::Record;
use serde::Serialize;

use self::drift::ResourceStatus;
use self::health::{Alarm, FunctionStatus};
use crate::cli::Status;
use crate::commands::{App, DEFAULT_STAGE, deploy};
use crate::failure::{Exit, Failure};
use crate::outputs::Outputs;
use crate::target::Target;
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
    let (session, engine, observed) = deploy::read(target, None).await?;
    let record = observed.record().clone();
    if record.resources.is_empty() {
        return Err(Failure::new(format!("{} is not deployed", target.graph.stack()))
            .help(format!("deploy it with: {}", target.scope().command("deploy"))));
    }
    let outputs = Outputs::read(&target.graph, &record);
    let packages = drift::recorded_packages(&target.graph, &record);
    let plan = deploy::plan(&engine, target, &packages, observed)?.plan;
    let mut notes = unfinished(target, &record);
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
        resources: drift::statuses(&record, &plan),
        functions,
        rooms,
        alarms,
        outputs,
        notes,
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
