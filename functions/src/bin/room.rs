//! The routes `join`, `who` and `history`; see [`functions::handlers::room`].

use functions::adapters::{Aws, SystemClock};
use functions::{handlers, runtime};
use functions_domain::{History, Rooms};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let aws = Aws::new(&environment)?;
    let presence = aws.presence(SystemClock)?;
    let actions = handlers::RoomActions {
        history: History {
            connections: presence.broadcast.connections.clone(),
            messages: aws.messages()?,
            clock: SystemClock,
        },
        rooms: Rooms { presence },
    };
    runtime::serve(|event| handlers::room(&actions, event)).await
}
