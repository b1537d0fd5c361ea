//! The routes `announce` and `kick`; see [`functions::handlers::admin`].

use functions::adapters::{Aws, RandomIds, SystemClock};
use functions::{frames, handlers, runtime};
use functions_domain::{Kick, MessageKind, SendMessage};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let aws = Aws::new(&environment)?;
    let fan_out = aws.fan_out(SystemClock)?;
    let admin = handlers::Admin {
        kick: Kick {
            connections: fan_out.broadcast.connections.clone(),
            gateway: fan_out.broadcast.gateway.clone(),
            clock: SystemClock,
            encode: frames::kicked,
        },
        announce: SendMessage {
            fan_out,
            messages: aws.messages()?,
            kind: MessageKind::Announcement,
            ids: RandomIds,
            encode: frames::message,
        },
    };
    runtime::serve(|event| handlers::admin(&admin, event)).await
}
