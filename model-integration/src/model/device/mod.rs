//! The device engine: every operation of the forward pass is a PTX kernel. Weights stay packed in
//! the device's memory, activations are quantised by the kernels that make them, keys and values
//! are written and read packed.
//!
//! The arithmetic is bf16, rounded where the CPU engine rounds in that type but for sums, which
//! each adds up in its own order, and for attention, whose scores stay f32. An engine and what
//! it works with are planned before a weight is loaded, see [`plan`].

mod activations;
mod backend;
mod cache;
mod engine;
mod generator;
pub mod input;
mod kernels;
mod matrix;
pub mod plan;
mod products;
mod results;
mod stack;
mod staging;
mod store;

pub use activations::Activation;
pub use backend::{DeviceBackend, DeviceVector};
pub use cache::DeviceCache;
pub use engine::{DeviceEngine, Loaded};
pub use matrix::DeviceMatrix;
pub use stack::DeviceStack;
