//! The route `sendMessage`; see [`functions::handlers::send_message`].

use functions::adapters::{Aws, RandomIds, SystemClock};
use functions::{frames, handlers, runtime};
use functions_domain::{MessageKind, SendMessage};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let aws = Aws::new(&environment)?;
    let send_message = SendMessage {
        fan_out: aws.fan_out(SystemClock)?,
        messages: aws.messages()?,
        kind: MessageKind::Message,
        ids: RandomIds,
        encode: frames::message,
    };
    runtime::serve(|event| handlers::send_message(&send_message, event)).await
}
