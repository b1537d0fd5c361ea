//! Law 11: two deployments never change one stack at the same time.

use std::time::Duration;

use infra_engine::sim::judge::{Judge, lawful};
use infra_engine::sim::{Ended, Fate, Job, World};
use infra_engine::{EngineError, StoreError};

use crate::{PAUSE, changed, small};

#[test]
fn law_11_of_two_deployments_one_waits_and_a_dead_owners_lock_expires() {
    let (first, second) = (small(), changed());
    let judge = Judge::new(&second).unwrap();
    for seed in 0..30 {
        let world = World::new(seed).unwrap();
        let fate = if seed % 2 == 0 {
            Fate::Dies { at: seed as usize * 3 }
        } else {
            Fate::Lives
        };
        let delay = Duration::from_millis(seed * 37);
        let [_, last] = world.run_both((Job::Deploy(&first), fate), (Job::Deploy(&second), Fate::Lives), delay);
        lawful(&world).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        assert!(!matches!(last, Ended::Killed));
        judge
            .demand(&world)
            .unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}

#[test]
fn law_11_who_sleeps_until_its_lease_is_over_changes_nothing_any_more() {
    let (first, second) = (small(), changed());
    let judge = Judge::new(&second).unwrap();
    let mut refused = 0;
    for at in 0.. {
        let world = World::new(11).unwrap();
        let sleeper = (Job::Deploy(&first), Fate::Sleeps { at, seconds: 120 });
        // What the sleeper has made is visible by then: the second one sees from the start which table it replaces.
        let [asleep, awake] = world.run_both(sleeper, (Job::Deploy(&second), Fate::Lives), PAUSE);
        lawful(&world).unwrap_or_else(|broken| panic!("asleep at {at}: {broken}"));
        let overtaken = matches!(asleep, Ended::Refused(EngineError::Store(StoreError::Overtaken { .. })));
        refused += usize::from(overtaken);
        assert!(
            overtaken || !matches!(asleep, Ended::Refused(_)),
            "asleep at {at}: {asleep}"
        );
        assert!(awake.is_complete(), "asleep at {at}: {awake}");
        // Where the sleeper had not begun, or had ended, it is not second; then the last one to come counts.
        judge
            .demand(&world)
            .unwrap_or_else(|broken| panic!("asleep at {at}: {broken}"));
        if at > 80 {
            break;
        }
    }
    assert!(refused > 20, "{refused}");
}
