//! The route `$default`; see [`functions::handlers::default`].

use functions::adapters::Aws;
use functions::{handlers, runtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let gateway = Aws::new(&environment)?.gateway()?;
    runtime::serve(|event| handlers::default(&gateway, event)).await
}
