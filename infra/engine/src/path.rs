//! How long a plan takes at least: its longest chain of steps that wait for one another. Pure.

use std::collections::BTreeMap;

use crate::plan::{Plan, Step, StepId};

impl Plan {
    /// Returns the critical path: the chain of steps, in order, that costs most by `cost`. Empty for an empty plan.
    ///
    /// With everything else in parallel, no deployment can be faster.
    pub fn critical_path(&self, cost: impl Fn(&Step) -> u32) -> Vec<&Step> {
        // Steps come in an order in which each follows those that it waits for.
        let mut ends: BTreeMap<StepId, (u32, Option<StepId>)> = BTreeMap::new();
        for step in &self.steps {
            let slowest = step
                .after
                .iter()
                .filter_map(|before| Some((ends.get(before)?.0, before)))
                .max();
            let (start, before) = slowest.map_or((0, None), |(end, before)| (end, Some(before.clone())));
            ends.insert(step.step_id(), (start + cost(step), before));
        }
        let mut last = ends.iter().max_by_key(|(_, (end, _))| *end).map(|(id, _)| id.clone());
        let mut path = Vec::new();
        while let Some(id) = last {
            path.extend(self.steps.iter().find(|step| step.step_id() == id));
            last = ends.get(&id).and_then(|(_, before)| before.clone());
        }
        path.reverse();
        path
    }

    /// Returns for each step how many others, at most, follow one another after it.
    pub(crate) fn followers(&self) -> Vec<usize> {
        let index: BTreeMap<StepId, usize> = (0..).zip(&self.steps).map(|(at, step)| (step.step_id(), at)).collect();
        let mut followers = vec![0; self.steps.len()];
        for (at, step) in self.steps.iter().enumerate().rev() {
            for before in step.after.iter().filter_map(|before| index.get(before)) {
                followers[*before] = followers[*before].max(followers[at] + 1);
            }
        }
        followers
    }
}
