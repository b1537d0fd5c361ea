//! The authorizer of `$connect`; see [`functions::handlers::authorize`].

use functions::adapters::{Aws, SystemClock};
use functions::{handlers, runtime};
use functions_domain::Authorize;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let tokens = Aws::new(&environment)?.tokens()?;
    tokens.prime().await;
    let authorize = Authorize {
        tokens,
        clock: SystemClock,
        origins: environment.allowed_origins(),
    };
    runtime::serve(|event| handlers::authorize(&authorize, event)).await
}
