//! The route `$connect`; see [`functions::handlers::connect`].

use functions::adapters::{Aws, SystemClock};
use functions::{handlers, runtime};
use functions_domain::Connect;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let aws = Aws::new(&environment)?;
    let connect = Connect {
        presence: aws.presence(SystemClock)?,
    };
    aws.prime().await;
    runtime::serve(|event| handlers::connect(&connect, event)).await
}
