//! The description of a model as data, from which checkpoints are read and engines run.
//!
//! [`ModelConfig`] has the sizes and constants. [`parameters()`](parameters::parameters) derives
//! every weight from them, with name, shape and role. [`architecture`] has the differences between
//! Llama and its relatives.

pub mod architecture;
mod config;
pub mod parameters;

pub use architecture::Architecture;
pub use config::{ModelConfig, RopeScaling};
