//! The device engine: every operation of the forward pass is a PTX kernel. Weights stay packed in
//! the device's memory. Activations are quantised by the kernels that produce them. Keys and values
//! are written and read packed.
//!
//! The arithmetic is bf16 and rounds where the CPU engine rounds in that type, with two exceptions:
//! sums have their own order, and attention scores stay f32. The memory of an engine is planned
//! before any weight is loaded, see [`plan`].

mod activations;
mod attention;
mod backend;
mod cache;
mod engine;
pub mod features;
mod generator;
pub mod input;
mod kernels;
mod matrix;
pub mod plan;
mod products;
mod results;
mod rows;
mod scoring;
mod stack;
mod staging;
mod stepper;
mod store;

pub use activations::Activation;
pub use backend::{DeviceBackend, DeviceVector};
pub use cache::DeviceCache;
pub use engine::{DeviceEngine, Loaded};
pub use matrix::DeviceMatrix;
pub use stack::DeviceStack;
