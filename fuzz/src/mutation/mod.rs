//! The mutation score: how many planted faults does verification catch?
//!
//! [`mutants`] plants the faults. [`score`] runs each mutant on the problems of verification until
//! one fails. An *equivalent* mutant computes the same as the kernel on every input and cannot be
//! caught. `equivalent.toml` lists known ones with the reason; they do not count. All other mutants
//! that are not caught are survivors.

mod equivalent;
mod plant;
mod score;

pub use equivalent::{Equivalents, EquivalentsError};
pub use plant::{Fault, Mutant, mutants};
pub use score::{Score, ScoreError, Survivor, score};
