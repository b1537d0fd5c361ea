//! `cargo xtask bench chat`: the chat on a local cloud under many users.

use crate::bench::chat::house::House;
use crate::bench::chat::{crowd, machine, soak};
use crate::cli::BenchChat;
use crate::commands::App;
use crate::failure::{Exit, Failure};
use crate::ui;

/// Runs it.
///
/// # Errors
/// When the chat cannot be deployed, or too few files may be open.
pub(super) async fn run(app: &App, options: &BenchChat) -> Result<Exit, Failure> {
    let (human, json, is_well) = match options.soak {
        None => {
            let connections = options.connections as usize;
            machine::allow_files(connections)?;
            let house = House::open(app, "").await?;
            let figures = crowd::run(&house, connections, options.messages as usize).await?;
            house.close().await;
            (figures.human(), figures.json(), figures.is_well())
        }
        Some(time) => {
            let clients = options.clients as usize;
            machine::allow_files(clients)?;
            let house = House::open(app, &options.unkindness.to_string()).await?;
            let figures = soak::run(&house, clients, time, options.seed).await?;
            house.close().await;
            (figures.human(), figures.json(), figures.is_well())
        }
    };
    if app.wants_json() {
        ui::json(&json)?;
    } else {
        ui::data(human)?;
    }
    Ok(if is_well { Exit::Ok } else { Exit::Failed })
}
