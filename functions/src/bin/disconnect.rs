//! The route `$disconnect`; see [`functions::handlers::disconnect`].

use functions::adapters::Aws;
use functions::{handlers, runtime};
use functions_domain::Disconnect;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let disconnect = Disconnect {
        connections: Aws::new(&environment)?.connections()?,
    };
    runtime::serve(|event| handlers::disconnect(&disconnect, event)).await
}
