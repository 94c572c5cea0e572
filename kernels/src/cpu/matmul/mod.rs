//! y = x W^T on the CPU. W is packed, in the order of [`Panels`], and is decoded in registers or
//! some rows at a time, never as a whole; or W is bf16, [`Bf16Rows`], and is interleaved some rows
//! at a time.
//!
//! **The order of sums.** A chain of fused multiply-adds, from zero and in the order of the
//! columns, takes 512 columns of a row of W. An element of y is the sum of its chains, added in
//! order. This definition does not depend on other tokens, other rows, threads or vector lengths.
//! So all paths except AMX give the same bits, apart from the sign and payload of a NaN. The lanes
//! of a vector are rows of W, whose chains are independent.
//!
//! **Values.** An element of W has the value that [`super::dequantize`] gives, rounded to the
//! model's type where that has fewer bits; x is used unchanged. Products are exact inside the fused
//! operation.
//!
//! **bf16 pairs.** `vdpbf16ps` adds two products of bf16 to an f32, that of the high halves first,
//! and rounds to nearest even after each. If pairs are stored with the even column high, this is
//! two steps of the chain in one instruction. It differs from f32 in two ways, which are ruled out
//! before it is used. First, x and W must be bf16 already; nothing is rounded to bf16. Second, it
//! flushes subnormals, so none may occur. All products are multiples of q, the product of the
//! lowest bits of W and of x, and so is every rounded sum; with q >= 2^-126 a sum is zero or
//! normal. Rows of W for which this does not hold take the f32 steps. Under power-of-two scales a
//! table turns codes into pairs (`pairs.rs`).
//!
//! **f32 from codes** (`columns.rs`, `elements.rs`). Byte shuffles look up the two bytes of an
//! element as bf16, which are zipped and widened. Scales that are powers of two lower the exponents
//! of elements of four bits, unless a product may be less than 2^-149: -0 becomes 0 so, and
//! a sum could be -0. Other elements are multiplied by their scale, and rounded in three operations
//! where the model's type is bf16 and does not hold them. Rows with special codes, or with scales
//! at the ends of the range of f32, are dequantised as rows.
//!
//! **AMX** multiplies the same pairs by tiles, in an order of its own: `amx`. It is used only on
//! request.

mod activations;
#[cfg(target_arch = "x86_64")]
mod amx;
mod body;
mod codecs;
mod coding;
mod columns;
mod dense;
mod elements;
mod integer;
mod order;
mod output;
mod paged;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod panels;
mod path;
mod range;
mod step;
mod strided;
mod vectors;
mod weights;
mod words;

pub(super) use activations::{Seen, pack_pairs, seen};
pub(super) use body::multiply_rows;
pub use dense::Bf16Rows;
pub(super) use integer::{
    Arrangement, IntegerJob, Operand as IntegerOperand, arrange_portable,
    multiply_integers_portable,
};
pub use integer::{CodeRows, CodeRowsMut, IntegerMatmul, IntegerPath};
#[cfg(target_arch = "x86_64")]
pub(super) use integer::{NarrowBytes, Vnni, Words, arrange, multiply_integers};
pub use paged::{Lines, PAGE, Paged, PagedValues};
pub use panels::Panels;
pub use path::Path;
pub(super) use step::Fused;
pub(super) use strided::multiply_strided;
pub use strided::{Strided, StridedProduct};
#[cfg(target_arch = "x86_64")]
pub(super) use {amx::Tiles, step::Pairs};

use super::dispatch;
use crate::format::{FloatType, FormatError};
use activations::Activations;
use output::Output;
use rayon::prelude::*;
use std::ops::Range;
use weights::{PackedWeights, Weights};

/// Products of one chain.
const CHAIN: usize = 512;

/// Rows of W of one task, a multiple of the rows that any path takes at a time.
pub(super) const TASK_ROWS: usize = 64;

/// Products below which sharing among threads costs more than it saves.
const LEAST_SHARED: usize = 1 << 17;

/// Products of activations with a matrix; see the head of this module.
#[derive(Clone, Copy, Debug)]
pub struct Matmul<'a> {
    weights: Operand<'a>,
    value_type: FloatType,
    path: Path,
}

/// A matrix [rows, cols] that activations are multiplied with.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// Codes and scales.
    Packed(&'a Panels),
    /// bf16. It does not pay for a few tokens, since rows are interleaved again for each product.
    Dense(Bf16Rows<'a>),
}

impl<'a> From<&'a Panels> for Operand<'a> {
    fn from(panels: &'a Panels) -> Self {
        Self::Packed(panels)
    }
}

impl<'a> From<Bf16Rows<'a>> for Operand<'a> {
    fn from(rows: Bf16Rows<'a>) -> Self {
        Self::Dense(rows)
    }
}

/// The state that the tasks of a product share.
pub(super) struct Job<'a> {
    weights: Weights<'a>,
    x: Activations<'a>,
    /// Where steps are added one by one.
    tokens_at_once: usize,
    y: Output<'a>,
}

impl<'a> Matmul<'a> {
    /// With `weights` [rows, cols], by the fastest path that this CPU has.
    pub fn new(weights: impl Into<Operand<'a>>) -> Self {
        Self {
            weights: weights.into(),
            value_type: FloatType::F32,
            path: Path::best(),
        }
    }

    /// Rounds the values of packed weights to the type that a model computes in.
    #[must_use]
    pub fn rounded_to(self, value_type: FloatType) -> Self {
        Self { value_type, ..self }
    }

    /// Sets the path.
    ///
    /// # Panics
    /// If this CPU lacks it.
    #[must_use]
    pub fn with_path(self, path: Path) -> Self {
        assert!(path.is_available(), "this CPU has no {path}");
        Self { path, ..self }
    }

    /// y [tokens, rows] = x [tokens, cols] W^T, rows of W shared among the threads of the current
    /// rayon pool.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless `x` is whole rows of `cols` and `y` as many of `rows`.
    pub fn multiply(&self, x: &[f32], y: &mut [f32]) -> Result<(), FormatError> {
        let weights = match self.weights {
            Operand::Packed(panels) => Weights::Packed(PackedWeights {
                panels,
                value_type: self.value_type,
            }),
            Operand::Dense(rows) => Weights::Dense(rows),
        };
        let (rows, cols) = (weights.rows(), weights.cols());
        let tokens = y.len().checked_div(rows).unwrap_or(0);
        for (what, got, expected) in [("y", y.len(), tokens * rows), ("x", x.len(), tokens * cols)]
        {
            if got != expected {
                return Err(FormatError::Length {
                    what,
                    got,
                    expected,
                });
            }
        }
        if cols == 0 {
            y.fill(0.0);
        }
        if y.is_empty() || cols == 0 {
            return Ok(());
        }
        let may_pair = self.path.has_pairs() && weights.is_bf16();
        let job = Job {
            weights,
            x: Activations::new(x, cols, self.path.isa(), may_pair),
            tokens_at_once: self.path.tokens(),
            y: Output::new(y, rows),
        };
        share_rows(rows, tokens * cols, |rows| {
            dispatch::multiply(self.path, &job, rows);
        });
        Ok(())
    }
}

/// Calls `task` for all rows of W, `products` a row, shared among threads if there are many.
fn share_rows(rows: usize, products: usize, task: impl Fn(Range<usize>) + Sync) {
    if rows.saturating_mul(products) < LEAST_SHARED || rayon::current_num_threads() == 1 {
        task(0..rows);
    } else {
        let tasks = (0..rows.div_ceil(TASK_ROWS)).into_par_iter();
        tasks.for_each(|index| task(rows_of(index, rows)));
    }
}

/// The rows of a task.
fn rows_of(task: usize, rows: usize) -> Range<usize> {
    task * TASK_ROWS..rows.min((task + 1) * TASK_ROWS)
}
