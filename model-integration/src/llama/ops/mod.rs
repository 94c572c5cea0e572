//! The arithmetic of a Llama on plain `f32` slices: what engines and training share.
//!
//! Activations are `[tokens, features]` row-major. Each function computes whole rows and
//! nothing of a row depends on its neighbours, so results do not depend on batching.

pub mod attention;
mod elementwise;
mod matrix;

pub use elementwise::{narrow, rms, rms_norm, rotate, silu, swiglu};
pub use matrix::{Matrix, multiply};
