//! Weights in the order that tensor cores take: a *shuffle* of a packed tensor, done once when a
//! model is loaded.
//!
//! `mma.m16n8k16` multiplies 16 rows of W by 16 columns. Any 16 columns will do, as long as both
//! operands agree. So each lane gets consecutive columns, and one load of 16 bytes brings its part
//! of W, or of x, for several products.
//!
//! # Codes
//! W [rows, cols] is cut into *tiles* of 16 rows and *chunks* of 64 columns, padded with zeros.
//! Lane l = 4g + t holds rows g and g + 8 of a tile. Of a chunk it holds 16 columns of each row, in
//! 16 / L *runs* of L:
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
//! [`bits::StoredBits::store`] turns each row's codes into words. A lane's words are those of row
//! g, then those of row g + 8; for 8-bit operands the two rows alternate. They are cut into vectors
//! of four (the last may be shorter). The order in memory is `[tile][chunk][vector][lane][word of
//! the vector]`.
//!
//! The 8-bit operands of `mma.m16n8k32` are distributed in the same way, in two steps a chunk:
//!
//! ```text
//!     step j of 2 (one mma)    i = 8j .. 8j+3    i = 8j+4 .. 8j+7
//!       row g                       a0                a2
//!       row g + 8                   a1                a3
//!       x of token g                b0                b1
//! ```
//!
//! # Scales
//! A scale is *folded* into the operand if the product is exact: element and scale together have at
//! most the 8 significant bits of a bf16. With folding L is 16. All other scales are applied to
//! sums, in f32. Then no step may span two blocks: L is 16 for k >= 64, 8 for 32, 4 for 16. For
//! 8-bit operands all scales are applied to sums.
//!
//! A *slot* is the scales of max(k, 64) columns. Memory has `[tile][slot][g][q][row half][run]`.
//! The index q numbers the lanes t that differ in scale: 64 / k of them for folded scales and
//! k <= 64. The index run has 16 / L values where L < 16. Otherwise both have one.
//!
//! An E8M0 scale 2^s is stored as the exponent field of the bf16, or f32, 2^(s + P - smax), where
//! smax is the largest s of the tensor; a power below that range is stored as 0. Other scales are
//! stored unchanged. Results are multiplied by [`FragmentTensor::alphas`].

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
