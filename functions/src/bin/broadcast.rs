//! Legs of broadcasts to large rooms; see [`functions::handlers::broadcast`].

use functions::adapters::{Aws, SystemClock};
use functions::{handlers, runtime};
use functions_domain::RunLeg;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    let environment = runtime::start();
    let aws = Aws::new(&environment)?;
    let run = RunLeg {
        broadcast: aws.broadcast(SystemClock)?,
        others: aws.legs()?,
        posts_per_second: environment.posts_per_second_of_a_leg()?,
    };
    aws.prime().await;
    runtime::serve_until(|event, deadline_ms| handlers::broadcast(&run, event, deadline_ms)).await
}
