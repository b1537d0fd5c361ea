//! The route `$default`; see [`functions::handlers::default`].

use functions::{handlers, runtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::start();
    runtime::serve(|event| std::future::ready(Ok(handlers::default(&event)))).await
}
