//! What a model is, as data: checkpoints are read by it, engines run it.
//!
//! [`ModelConfig`] is a model's sizes and constants, [`parameters()`](parameters::parameters) what
//! follows from them: every weight by name, shape and role. [`architecture`] has what differs
//! between Llama and its relatives.

pub mod architecture;
mod config;
pub mod parameters;

pub use architecture::Architecture;
pub use config::{ModelConfig, RopeScaling};
