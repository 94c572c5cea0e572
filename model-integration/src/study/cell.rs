//! The units of work, and which shard takes which.

use std::fmt;
use std::str::FromStr;

use super::expand::{BASELINE, StudyConfig};
use crate::task::jsonl::file_name;

/// What is done of a configuration of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The model.
    pub model: String,
    /// The configuration.
    pub config: StudyConfig,
    /// What.
    pub work: Work,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Every task is scored.
    Score {
        /// Of stochastic rounding.
        seed: u32,
    },
    /// A generation is timed.
    Generate {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that follow.
        output: usize,
    },
}

impl Cell {
    /// Its name in the names of files.
    pub fn id(&self) -> String {
        let (model, config) = (file_name(&self.model), &self.config.config.name);
        match self.work {
            Work::Score { seed } => format!("score.{model}.{seed}.{config}"),
            Work::Generate { prompt, output } => {
                format!("speed.{model}.{prompt}x{output}.{config}")
            }
        }
    }

    /// Whether it is of the unquantised model.
    pub fn is_baseline(&self) -> bool {
        self.config.config.name == BASELINE
    }
}

/// A part of the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

impl Shard {
    /// All of them.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Whether it has the cell of that number, counted from 0.
    pub const fn has(self, number: usize) -> bool {
        number % self.count + 1 == self.index
    }

    /// Whether it has all.
    pub const fn is_whole(self) -> bool {
        self.count == 1
    }
}

impl FromStr for Shard {
    type Err = String;

    /// As in `2/4`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/');
        let parsed = parsed.and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((index, count)) if 1 <= index && index <= count => Ok(Self { index, count }),
            _ => Err("not i/n with i of 1 to n".into()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_the_cells() {
        let shards: Vec<Shard> = (1..=3).map(|index| Shard { index, count: 3 }).collect();
        for number in 0..10 {
            assert_eq!(shards.iter().filter(|shard| shard.has(number)).count(), 1);
        }
        assert_eq!("2/3".parse(), Ok(shards[1]));
        for wrong in ["0/3", "4/3", "3", "1/0", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
