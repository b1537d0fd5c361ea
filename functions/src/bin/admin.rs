//! The routes `announce` and `kick`; see [`functions::handlers::admin`].

use functions::adapters::{Aws, RandomIds, SystemClock};
use functions::{frames, handlers, runtime};
use functions_domain::{Action, Broadcast, Kick, SendMessage};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let aws = Aws::new(&environment)?;
    let (connections, gateway) = (aws.connections()?, aws.gateway()?);
    let admin = handlers::Admin {
        announce: SendMessage {
            broadcast: Broadcast {
                connections: connections.clone(),
                gateway: gateway.clone(),
                clock: SystemClock,
            },
            action: Action::Announce,
            ids: RandomIds,
            encode: frames::announcement,
        },
        kick: Kick {
            connections,
            gateway,
            clock: SystemClock,
            encode: frames::kicked,
        },
    };
    aws.prime().await;
    runtime::serve(|event| handlers::admin(&admin, event)).await
}
