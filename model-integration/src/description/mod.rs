//! The description of a model as data, from which checkpoints are read and engines run.
//!
//! [`ModelConfig`] has the sizes and constants. [`parameters()`](parameters::parameters) derives
//! every weight from them, with name, shape and role. [`architecture`] has a row of data for each
//! architecture, made of the kinds of parts in [`kinds`].

pub mod architecture;
mod config;
pub mod kinds;
pub mod parameters;

pub use architecture::Architecture;
pub use config::{
    ExpertsConfig, Factors, LayerKind, ModelConfig, RopeParameters, RopeScaling, Routing,
};
