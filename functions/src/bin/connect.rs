//! The route `$connect`; see [`functions::handlers::connect`].

use functions::adapters::{Aws, SystemClock};
use functions::{handlers, runtime};
use functions_domain::Connect;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let connect = Connect {
        presence: Aws::new(&environment)?.presence(SystemClock)?,
    };
    runtime::serve(|event| handlers::connect(&connect, event)).await
}
