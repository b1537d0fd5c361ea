//! The laws of `infra/ARCHITECTURE.md`, each as a test of its own in a simulated account; laws 9 and 10 speak of stacks
//! and templates and are tested in `infra/tests/stack`.
//!
//! Read next: [`seeds`], where everything goes wrong at once.
#![allow(clippy::unwrap_used, reason = "tests")]

mod faults;
mod lock;
mod plan;
mod seeds;

use infra_cdk::{FunctionUrlAuthType, Graph};
use infra_engine::sim::World;
use infra_engine::sim::stacks::Shape;

/// Longer than the longest pause between two calls of one process, shorter than a lease.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// A stack with one of everything that differs.
fn small() -> Graph {
    let shape = Shape {
        routes: vec![("$connect", "one", false), ("send", "one", true)],
        tables: vec![("Connections", "id")],
        has_secret: false,
        memory_mb: 128,
        url: Some(FunctionUrlAuthType::None),
        is_watched: false,
    };
    shape.graph().unwrap()
}

/// The same stack later: a route and a function are added, others go, a permission moves, a table is replaced, an address
/// is for signed requests only.
fn changed() -> Graph {
    let shape = Shape {
        routes: vec![("$connect", "two", false), ("who", "two", true)],
        tables: vec![("Connections", "name"), ("Rooms", "id")],
        has_secret: true,
        memory_mb: 256,
        url: Some(FunctionUrlAuthType::AwsIam),
        is_watched: false,
    };
    shape.graph().unwrap()
}

/// Returns a small number of random stacks, always the same.
fn random_graphs(count: usize) -> Vec<Graph> {
    let world = World::new(7).unwrap();
    let shapes = std::iter::repeat_with(|| Shape::random(&world));
    shapes.take(count).map(|shape| shape.graph().unwrap()).collect()
}
