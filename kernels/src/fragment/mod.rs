//! Weights in the order in which tensor cores take them: a *shuffle* of a packed tensor, done once when
//! a model is loaded.
//!
//! `mma.m16n8k16` multiplies 16 rows of W by 16 columns. Which columns they are is free, as long as
//! both operands agree; so each lane is given columns that follow each other, and a load of 16 bytes
//! gives it what it needs of W, or of x, for several products.
//!
//! # Codes
//! W [rows, cols] is cut into *tiles* of 16 rows and *chunks* of 64 columns, padded with zeros. Of a tile
//! and chunk lane l = 4g + t has rows g and g + 8, and of each 16 columns, in 16 / L *runs* of L:
//!
//! ```text
//!     column(t, i) = 4L (i / L) + L t + i mod L          i = 0..15
//!
//!     L = 16   t=0 | t=1 | t=2 | t=3                     each 16 columns
//!     L =  8   t=0 | t=1 | t=2 | t=3 | t=0 | t=1 | ...   each 8 columns
//!     L =  4   t=0 | t=1 | t=2 | t=3 | t=0 | ...         each 4 columns
//!
//!     step j of 4 (one mma)    i = 4j, 4j+1      i = 4j+2, 4j+3
//!       row g                       a0                a2
//!       row g + 8                   a1                a3
//!       x of token g                b0                b1
//! ```
//!
//! The words of [`bits::StoredBits::store`] of row g and then of row g + 8, or for 8-bit operands in turns, are cut into vectors of four (the last may
//! be shorter); memory has `[tile][chunk][vector][lane][word of the vector]`.
//!
//! The 8-bit operands of `mma.m16n8k32` are dealt alike, in two steps a chunk:
//!
//! ```text
//!     step j of 2 (one mma)    i = 8j .. 8j+3    i = 8j+4 .. 8j+7
//!       row g                       a0                a2
//!       row g + 8                   a1                a3
//!       x of token g                b0                b1
//! ```
//!
//! # Scales
//! Scales that are *folded* are multiplied into the operand: exact if element and scale together have
//! no more than the 8 significant bits of a bf16. All others are applied to sums, in f32, and then no step may
//! span two blocks: L is 16 for k >= 64, 8 for 32, 4 for 16. With folding L is 16. For 8-bit operands all scales are
//! applied to sums.
//!
//! A *slot* is the scales of max(k, 64) columns. Memory has `[tile][slot][g][q][row half][run]`: q, the lanes t
//! that differ in scale, is 64 / k for folded scales and k <= 64, run is 16 / L where L < 16; both are 1
//! otherwise.
//!
//! An E8M0 scale 2^s is stored as the exponent field of the bf16, or f32, 2^(s + P - smax), 0 if there is none,
//! where smax is the largest s of the tensor; other scales as they are. The result is multiplied by
//! [`FragmentTensor::alphas`].

pub mod bits;
pub mod cache;
mod error;
mod groups;
mod layout;
mod operand;
#[cfg(test)]
mod search;
mod tensor;

pub use error::FragmentError;
pub use layout::{CHUNK, Factor, FragmentFormat, TILE, WeightFormat};
pub use operand::OperandType;
pub use tensor::FragmentTensor;
