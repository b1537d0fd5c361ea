//! The browser client, behind a function URL; see [`functions::handlers::web`].

use functions::pages::Pages;
use functions::{handlers, runtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let pages = Pages::new(&runtime::start())?;
    runtime::serve(|event| std::future::ready(Ok(handlers::web(&pages, &event)))).await
}
