//! Runs the local cloud alone until Ctrl-C, to try other clients against it.
//!
//! `cargo run -p infra-local --example serve [PORT] [FOLDER]` prints the endpoint; then for example
//! `aws --endpoint-url http://127.0.0.1:PORT sts get-caller-identity`.

use std::io::Write;

use infra_local::{LocalCloud, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let persist = arguments.next().map(Into::into);
    let cloud = LocalCloud::start(Options {
        port,
        persist,
        ..Options::default()
    })
    .await?;
    writeln!(std::io::stdout(), "{}", cloud.endpoint())?;
    tokio::signal::ctrl_c().await?;
    cloud.stop().await;
    Ok(())
}
