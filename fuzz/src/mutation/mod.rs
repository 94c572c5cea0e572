//! The mutation score: how many planted faults does verification catch?
//!
//! [`mutants`] plants the faults, [`score`] runs each on the problems that verification
//! would give it until one goes wrong. A mutant that computes the same as the kernel on every
//! input, an *equivalent* one, cannot be caught; those that are understood are listed with the
//! reason in `equivalent.toml`, and do not count. All others that live are survivors.

mod equivalent;
mod plant;
mod score;

pub use equivalent::{Equivalents, EquivalentsError};
pub use plant::{Fault, Mutant, mutants};
pub use score::{Score, ScoreError, Survivor, score};
