//! A model: its one forward pass, and the engines that run it. What is to be run is
//! [`crate::description`].
//!
//! [`forward`] spells the model out once, over the operations of [`backend::Backend`]. An engine
//! implements the operations: [`cpu`] and [`device`] here, and the differentiable one that
//! [`crate::train`] keeps to itself. [`load`] is how parameters come from a checkpoint, [`context`]
//! how long sequences may be, [`ops`] the common arithmetic on plain slices, [`rope`] the rotary
//! tables, [`score`] turns logits into log-likelihoods.

pub mod backend;
pub mod context;
pub mod continuing;
pub mod cpu;
pub mod device;
mod error;
pub mod forward;
pub mod load;
pub mod ops;
pub mod rope;
pub mod score;

pub use backend::{Attention, Backend, Batch, Sequence};
pub use continuing::Continuing;
pub use error::LlamaError;
pub use forward::{Layer, Linear, Llama, Projections};
pub use rope::{Rope, RopeTable};
