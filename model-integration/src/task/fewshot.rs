//! Solved examples before the scored one, chosen as in lm-evaluation-harness.

use anyhow::ensure;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::{Example, Kind, Task};

/// Default of the harness' `--seed` for solved examples.
const SEED: u32 = 1234;

/// How solved examples are chosen, in the harness' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Sampler {
    /// Drawn at random for each scored example, from one seed.
    #[default]
    Default,
    /// The first ones of the pool.
    FirstN,
}

/// Number and source of the solved examples.
#[derive(Clone, Debug, Default)]
pub struct FewShot {
    /// Number; `None` for the task's default.
    pub count: Option<usize>,
    /// The task that provides them; `None` for the training split of the scored task, or for the
    /// scored task itself without the scored example.
    pub pool: Option<Task>,
    /// How they are chosen.
    pub sampler: Sampler,
}

impl FewShot {
    /// Number of solved examples before each example of a task.
    pub fn count(&self, task: &Task) -> usize {
        self.count.unwrap_or(task.num_fewshot)
    }

    /// Whether they come from the task's training split.
    pub fn uses_training_split(&self, task: &Task) -> bool {
        self.pool.is_none() && self.count(task) > 0
    }

    /// The task that provides them, if it is not the scored task itself.
    pub fn pool<'a>(&'a self, task: &'a Task) -> Option<&'a Task> {
        self.pool.as_ref().or(task.training.as_deref())
    }

    /// Checks that the pool has enough examples.
    ///
    /// # Errors
    /// If it has too few.
    pub fn check(&self, task: &Task) -> anyhow::Result<()> {
        let count = self.count(task);
        ensure!(
            count == 0 || task.kind() != Kind::Document,
            "--num-fewshot {}: `{}` has documents, which have no context",
            count,
            task.source
        );
        let other = self.pool(task);
        let pool = other.unwrap_or(task);
        // From the task itself, the scored example and its duplicates must be left out.
        let needed = count + usize::from(other.is_none() && count > 0);
        ensure!(
            needed <= pool.examples.len(),
            "--num-fewshot {}: `{}` has only {} examples{}",
            count,
            pool.source,
            pool.examples.len(),
            if other.is_none() {
                ", and the scored one is left out"
            } else {
                ""
            }
        );
        Ok(())
    }

    /// The solved examples before each example of `task`. The caller has checked with
    /// [`FewShot::check`].
    ///
    /// An item is an error if the task has too few examples that differ from the scored one.
    pub fn of<'a>(
        &'a self,
        task: &'a Task,
    ) -> impl Iterator<Item = anyhow::Result<Vec<&'a Example>>> {
        let count = self.count(task);
        let mut draws = Draws::new(SEED);
        task.examples.iter().map(move |example| {
            let shots = self.shots(task, example, count, &mut draws);
            let pool = self.pool(task).unwrap_or(task);
            ensure!(
                shots.len() == count,
                "--num-fewshot {}: `{}` has only {} examples that differ from line {}",
                count,
                pool.source,
                shots.len(),
                example.line
            );
            Ok(shots)
        })
    }

    /// The solved examples before `example`; fewer than `count` if the pool is exhausted.
    fn shots<'a>(
        &'a self,
        task: &'a Task,
        example: &Example,
        count: usize,
        draws: &mut Draws,
    ) -> Vec<&'a Example> {
        let of = |pool: &'a Task, indices: Vec<usize>| -> Vec<&'a Example> {
            let shots = indices.into_iter().map(|index| &pool.examples[index]);
            shots.collect()
        };
        let differs = |shot: &&Example| shot.doc != example.doc;
        match (self.sampler, self.pool(task)) {
            _ if count == 0 => Vec::new(),
            (Sampler::FirstN, Some(pool)) => pool.examples.iter().take(count).collect(),
            (Sampler::FirstN, None) => task.examples.iter().filter(differs).take(count).collect(),
            (Sampler::Default, Some(pool)) => of(pool, draws.sample(pool.examples.len(), count)),
            (Sampler::Default, None) => {
                // One more, because the scored example may be among them.
                let mut shots = of(task, draws.sample(task.examples.len(), count + 1));
                shots.retain(differs);
                if shots.len() < count {
                    let others: Vec<&Example> = task.examples.iter().filter(differs).collect();
                    let drawn = draws.sample(others.len(), count.min(others.len()));
                    return drawn.into_iter().map(|index| others[index]).collect();
                }
                shots.truncate(count);
                shots
            }
        }
    }
}
