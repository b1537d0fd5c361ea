//! Everything at once. Replay one seed: `cargo xtask sim --seed 7`; try more: `cargo xtask sim --seeds 1000`.

use infra_engine::sim::seed::live;

/// What every run of the tests can afford.
const BUDGET: u64 = 60;

#[test]
fn every_seed_ends_well_and_leaves_nothing() {
    let broken: Vec<_> = (0..BUDGET)
        .filter_map(|seed| {
            live(seed, false)
                .broken
                .map(|why| format!("cargo xtask sim --seed {seed}\n{why}"))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

#[test]
fn the_same_seed_gives_the_same_life() {
    for seed in 0..3 {
        let (one, two) = (live(seed, true), live(seed, true));
        assert!(!one.trace.is_empty());
        assert_eq!(one.trace, two.trace);
    }
}
