//! The arithmetic of models on plain `f32` slices, shared by engines and training.
//!
//! Activations are `[tokens, features]`, row-major. Each function computes whole rows, and a row
//! does not depend on its neighbours, so results do not depend on batching. The loops are compiled
//! for several vector widths, and the CPU's is chosen at run time. They never reorder or fuse
//! operations, so results do not depend on the CPU either.

mod activation;
pub mod attention;
mod elementwise;
mod exponential;
mod hadamard;
mod matrix;
mod rounding;
mod routing;
mod table;

use activation::soft_cap_inline;
pub use activation::{activate, gate, map, tanh};
use elementwise::multiply_by;
pub use elementwise::{
    add, add_bias, add_residual, layer_norm, rms, rms_norm, rms_norm_once, rotate,
};
pub use exponential::exp;
pub use hadamard::hadamard;
pub use matrix::{Matrix, multiply};
pub use rounding::narrow;
pub use routing::{Chosen, add_chosen, route};
