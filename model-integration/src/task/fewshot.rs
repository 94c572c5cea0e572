//! Solved examples before the one that is scored.
//!
//! They are chosen and rendered as lm-evaluation-harness does: each is its context, a space, its
//! target and a blank line. A target that brings its own leading space is preceded by two spaces;
//! that is how the harness writes it too.

use anyhow::ensure;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::{Example, Kind, Task};

const TARGET_DELIMITER: &str = " ";
const EXAMPLE_DELIMITER: &str = "\n\n";

/// The harness' `--seed` of solved examples, where nobody says another.
const SEED: u32 = 1234;

/// Which of the solved examples are taken, in the harness' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Sampler {
    /// Others for each scored example, drawn at random by one seed.
    #[default]
    Default,
    /// The first ones.
    FirstN,
}

/// How many solved examples come first, and where they are taken from.
#[derive(Clone, Debug, Default)]
pub struct FewShot {
    /// How many; `None` for as many as a task has by itself.
    pub count: Option<usize>,
    /// The task whose examples they are; `None` for the training split of the scored one, or for
    /// itself without the example that is scored.
    pub pool: Option<Task>,
    /// Which of them.
    pub sampler: Sampler,
}

impl FewShot {
    /// How many come before each example of a task.
    pub fn count(&self, task: &Task) -> usize {
        self.count.unwrap_or(task.num_fewshot)
    }

    /// Whether they are of the task's training split, if it has one.
    pub fn is_of_training(&self, task: &Task) -> bool {
        self.pool.is_none() && self.count(task) > 0
    }

    /// Where they are taken from, if that is not the task itself.
    pub fn pool<'a>(&'a self, task: &'a Task) -> Option<&'a Task> {
        self.pool.as_ref().or(task.training.as_deref())
    }

    /// Checks that there are enough examples to take from.
    ///
    /// # Errors
    /// If there are not.
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
        // Of the task itself the scored example must be left out, and so must its duplicates.
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

    /// The context of each example of `task`, after the solved ones. [`FewShot::check`] holds.
    ///
    /// An item is an error if the task has too few examples that differ from the scored one.
    pub fn contexts<'a>(&'a self, task: &'a Task) -> impl Iterator<Item = anyhow::Result<String>> {
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
            let mut context = String::new();
            for shot in shots {
                context.push_str(shot.content.context());
                context.push_str(TARGET_DELIMITER);
                context.push_str(shot.content.solution());
                context.push_str(EXAMPLE_DELIMITER);
            }
            context.push_str(example.content.context());
            Ok(context)
        })
    }

    /// The solved examples before `example`; fewer than `count` if there are no more.
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
                // One more, so that the scored one may be among them.
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
