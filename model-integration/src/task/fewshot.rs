//! Solved examples before the one that is scored.
//!
//! They are rendered as lm-evaluation-harness does with `sampler: first_n`: each is its context,
//! a space, its target and a blank line. A target that brings its own leading space is preceded
//! by two spaces; that is how the harness writes it too.

use anyhow::ensure;

use super::{Example, Kind, Task};

const TARGET_DELIMITER: &str = " ";
const EXAMPLE_DELIMITER: &str = "\n\n";

/// How many solved examples come first, and where they are taken from.
#[derive(Clone, Debug, Default)]
pub struct FewShot {
    /// How many; `None` for as many as a task has by itself.
    pub count: Option<usize>,
    /// The task whose first examples they are; `None` for the scored task itself, without
    /// the example that is scored.
    pub pool: Option<Task>,
}

impl FewShot {
    /// How many come before each example of a task.
    pub fn count(&self, task: &Task) -> usize {
        self.count.unwrap_or(task.num_fewshot)
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
        let pool = self.pool.as_ref().unwrap_or(task);
        // Of the task itself the scored example must be left out, and so must its duplicates.
        let needed = count + usize::from(self.pool.is_none() && count > 0);
        ensure!(
            needed <= pool.examples.len(),
            "--num-fewshot {}: `{}` has only {} examples{}",
            count,
            pool.source,
            pool.examples.len(),
            if self.pool.is_none() {
                ", and the scored one is left out"
            } else {
                ""
            }
        );
        Ok(())
    }

    /// The context of an example of `task`, after the solved ones.
    ///
    /// # Errors
    /// If the task has too few examples that differ from this one.
    pub fn context(&self, task: &Task, example: &Example) -> anyhow::Result<String> {
        let (pool, count) = (self.pool.as_ref().unwrap_or(task), self.count(task));
        let shots: Vec<&Example> = pool
            .examples
            .iter()
            .filter(|shot| self.pool.is_some() || shot.doc != example.doc)
            .take(count)
            .collect();
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
    }
}
