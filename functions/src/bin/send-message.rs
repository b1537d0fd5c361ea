//! The route `sendMessage`; see [`functions::handlers::send_message`].

use functions::adapters::{Aws, RandomIds, SystemClock};
use functions::{frames, handlers, runtime};
use functions_domain::{Action, Broadcast, SendMessage};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let aws = Aws::new(&environment)?;
    let broadcast = Broadcast {
        connections: aws.connections()?,
        gateway: aws.gateway()?,
        clock: SystemClock,
    };
    let send_message = SendMessage {
        broadcast,
        action: Action::SendMessage,
        ids: RandomIds,
        encode: frames::message,
    };
    aws.prime().await;
    runtime::serve(|event| handlers::send_message(&send_message, event)).await
}
