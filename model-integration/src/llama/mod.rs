//! The one Llama forward pass, and the engines that run it.
//!
//! [`forward`] spells the model out once, over the operations of [`backend::Backend`].
//! [`rope`] holds the rotary tables. Each engine implements the operations.

pub mod backend;
pub mod forward;
pub mod ops;
pub mod rope;

pub use backend::{AttentionShape, Backend, Batch};
pub use forward::{Layer, Linear, Llama};
pub use rope::RopeTable;
