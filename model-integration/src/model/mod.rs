//! The forward pass of a model, and the engines that run it. [`crate::description`] describes the
//! models.
//!
//! [`forward`] defines the model once, over the operations of [`backend::Backend`]. Engines
//! implement these operations: [`cpu`] and [`device`] here, and a differentiable one inside
//! [`crate::train`]. [`load`] reads parameters from a checkpoint, [`assemble`] makes a model of
//! them, [`stored_formats`] says how they are stored. `buffer` keeps memory,
//! [`context`] limits the length of sequences, [`merged`] rotates weights for good,
//! [`ops`] has arithmetic on plain slices, [`rope`] the rotary tables, and [`score`] computes
//! log-likelihoods from logits.

pub mod assemble;
pub mod backend;
mod buffer;
pub mod context;
pub mod continuing;
pub mod cpu;
pub mod device;
mod error;
pub mod forward;
mod llama;
pub mod load;
pub mod merged;
pub mod ops;
mod packed_weights;
pub mod rope;
mod rotated;
pub mod score;
pub mod stored_formats;

pub use backend::{Attention, Backend, Batch, Map, Norm, Sequence};
pub use context::Reach;
pub use continuing::Continuing;
pub use error::LlamaError;
pub use llama::{Expert, Layer, Linear, Llama, Mlp, Projections};
pub use rope::{Rope, RopeTable, Rotation};
