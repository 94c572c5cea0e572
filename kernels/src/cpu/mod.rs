//! SIMD kernels with run-time dispatch, bitwise equal to [`crate::reference`].
//!
//! There is one body per operation, written in a handful of vector operations (`simd/`) and
//! compiled once per instruction set (`dispatch.rs`). Formats differ only in the numbers of a
//! `Plan`, so a new element format needs no new kernel.
//!
//! How an element is rounded without a table (`lanes.rs`): a magnitude a in [2^e, 2^(e+1)) has
//! neighbours 2^(e-M) apart, and so have the f32 numbers from c = 2^(e-M+23) on. So the sum
//! a + c rounds a half to even at just the right place, (a + c) - c is the rounded value, and
//! the difference of the bit patterns of a + c and c counts the steps, which is the code.
//! Clamping e from below to the exponent of the smallest normal covers subnormals and integers.
//! The other roundings correct this one by a step where a - ((a + c) - c), which is exact, says so.
//! E2M1, rounded half to even, has a shorter way (`e2m1.rs`), and so has the choice between two
//! scales of it (`four_over_six.rs`).
//!
//! Every call is single-threaded, except products ([`Matmul`]). To use several threads for a
//! tensor, split its rows.

mod dequantize;
mod dispatch;
mod e2m1;
mod fake_quantize;
mod four_over_six;
mod group_scales;
mod isa;
pub(crate) mod lanes;
mod matmul;
mod pack;
pub(crate) mod plan;
mod quantize;
mod quantizer;
mod scalar;
mod scale;
mod simd;

pub use isa::{Isa, IsaError};
pub use matmul::{
    Bf16Rows, CodeRows, CodeRowsMut, IntegerMatmul, IntegerPath, Lines, Matmul, Operand, PAGE,
    Paged, PagedValues, Panels, Path, Strided, StridedProduct,
};
pub use quantizer::{CodeQuantizer, Quantizer};

use crate::format::{BlockFormat, FloatType, FormatError, PackedTensor};
use std::ops::Range;

/// Quantises a row-major [rows, cols] matrix; see [`crate::reference::quantize`].
///
/// # Errors
/// As the reference.
pub fn quantize(
    x: &[f32],
    rows: usize,
    cols: usize,
    format: &BlockFormat,
    source: FloatType,
) -> Result<PackedTensor, FormatError> {
    Quantizer::for_tensor(*format, source, x)?.quantize(x, rows, cols)
}

/// Quantises and dequantises a whole row-major matrix of `cols` columns in place.
///
/// # Errors
/// [`FormatError::Length`] unless `x` is a whole number of rows, and as the reference.
pub fn fake_quantize(
    x: &mut [f32],
    cols: usize,
    format: &BlockFormat,
    source: FloatType,
) -> Result<(), FormatError> {
    Quantizer::for_tensor(*format, source, x)?.fake_quantize_rows(x, cols, 0)
}

/// As [`fake_quantize`], from one slice to another.
///
/// # Errors
/// As [`fake_quantize`], and [`FormatError::Length`] if the slices differ in length.
pub fn fake_quantize_into(
    x: &[f32],
    out: &mut [f32],
    cols: usize,
    format: &BlockFormat,
    source: FloatType,
) -> Result<(), FormatError> {
    if x.len() != out.len() {
        return Err(FormatError::Length {
            what: "output",
            got: out.len(),
            expected: x.len(),
        });
    }
    out.copy_from_slice(x);
    fake_quantize(out, cols, format, source)
}

/// The values of a packed tensor, row-major.
///
/// # Errors
/// [`FormatError::Length`] unless `out` is rows * cols long.
pub fn dequantize(packed: &PackedTensor, out: &mut [f32]) -> Result<(), FormatError> {
    dequantize_rows(packed, 0..packed.rows(), out)
}

/// The values of some rows of a packed tensor; allocates nothing.
///
/// # Errors
/// [`FormatError::Length`] unless the rows exist and `out` has their size.
pub fn dequantize_rows(
    packed: &PackedTensor,
    rows: Range<usize>,
    out: &mut [f32],
) -> Result<(), FormatError> {
    dequantize_with(Isa::best(), packed, rows, out)
}

/// [`dequantize_rows`] with the kernel of a given instruction set.
///
/// # Errors
/// As [`dequantize_rows`].
///
/// # Panics
/// If this CPU lacks the instruction set.
pub fn dequantize_with(
    isa: Isa,
    packed: &PackedTensor,
    rows: Range<usize>,
    out: &mut [f32],
) -> Result<(), FormatError> {
    if rows.start > rows.end || rows.end > packed.rows() {
        return Err(FormatError::Length {
            what: "rows",
            got: rows.end,
            expected: packed.rows(),
        });
    }
    let expected = rows.len() * packed.cols();
    if out.len() != expected {
        return Err(FormatError::Length {
            what: "output",
            got: out.len(),
            expected,
        });
    }
    if expected > 0 {
        dispatch::dequantize(isa, packed, rows, out);
    }
    Ok(())
}
