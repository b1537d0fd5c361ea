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
}
