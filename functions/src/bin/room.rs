//! The routes `join` and `who`; see [`functions::handlers::room`].

use functions::adapters::{Aws, SystemClock};
use functions::{handlers, runtime};
use functions_domain::Rooms;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let aws = Aws::new(&environment)?;
    let rooms = Rooms {
        presence: aws.presence(SystemClock)?,
    };
    aws.prime().await;
    runtime::serve(|event| handlers::room(&rooms, event)).await
}
