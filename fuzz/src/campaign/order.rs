//! The order of jobs, and the worker of each.

use super::{Job, case_seed};
use mxlab_harness::shard::Shard;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Jobs in the order in which they are done, in groups that stay together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Order {
    groups: Vec<Vec<usize>>,
}

impl Order {
    /// A random order, so that jobs of all kinds run early. `modules` has the module of each job;
    /// jobs of one module stay together, so that a worker loads it once.
    pub fn mixed(jobs: &[Box<dyn Job>], seed: u64, modules: &[Option<usize>]) -> Self {
        let mut groups: Vec<(u64, Vec<usize>)> = Vec::new();
        let mut of_module = HashMap::new();
        for (index, job) in jobs.iter().enumerate() {
            let Some(module) = modules.get(index).copied().flatten() else {
                groups.push((case_seed(seed, &job.id(), 0), vec![index]));
                continue;
            };
            let group = *of_module.entry(module).or_insert_with(|| {
                let key = case_seed(seed, &format!("module {module}"), 0);
                groups.push((key, Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(index);
        }
        groups.sort_by_key(|(key, _)| *key);
        Self {
            groups: groups.into_iter().map(|(_, group)| group).collect(),
        }
    }

    /// As they are listed.
    pub fn listed(jobs: &[Box<dyn Job>]) -> Self {
        Self {
            groups: (0..jobs.len()).map(|index| vec![index]).collect(),
        }
    }

    /// The numbers of a shard's jobs, in order.
    pub fn of(&self, shard: Shard) -> Vec<usize> {
        let groups = self.groups.iter().enumerate();
        let own = groups.filter(|(number, _)| shard.has(*number));
        own.flat_map(|(_, group)| group.iter().copied()).collect()
    }
}
