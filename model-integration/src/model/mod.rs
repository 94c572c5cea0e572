//! A model: its parameters as data, its one forward pass, and the engines that run it.
//!
//! [`ModelConfig`] is a model's sizes and constants, [`parameters()`](parameters::parameters) what follows
//! from them: every weight by name, shape and role. [`architecture`] has what differs between Llama
//! and its relatives.
//!
//! [`forward`] spells the model out once, over the operations of [`backend::Backend`].
//! An engine implements the operations: [`cpu`] and [`device`] here, and the differentiable one that
//! [`crate::train`] keeps to itself. [`load`] is how parameters come from a checkpoint, [`context`] how long sequences may be, [`ops`]
//! the common arithmetic on plain slices, [`rope`] the rotary tables, [`score`] turns logits into
//! log-likelihoods.

pub mod architecture;
pub mod backend;
mod config;
pub mod context;
pub mod continuing;
pub mod cpu;
pub mod device;
mod error;
pub mod forward;
pub mod load;
pub mod ops;
pub mod parameters;
pub mod rope;
pub mod score;

pub use architecture::Architecture;
pub use backend::{Attention, Backend, Batch, Sequence};
pub use config::{ModelConfig, RopeScaling};
pub use continuing::Continuing;
pub use error::LlamaError;
pub use forward::{Layer, Linear, Llama, Projections};
pub use rope::{Rope, RopeTable};
