//! The route `$disconnect`; see [`functions::handlers::disconnect`].

use functions::adapters::{Aws, SystemClock};
use functions::{handlers, runtime};
use functions_domain::Disconnect;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let aws = Aws::new(&environment)?;
    let disconnect = Disconnect {
        presence: aws.presence(SystemClock)?,
    };
    aws.prime().await;
    runtime::serve(|event| handlers::disconnect(&disconnect, event)).await
}
