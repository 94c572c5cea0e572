//! Chooses an instruction set and an instance of a kernel body at run time.

use super::dequantize::dequantize_rows;
use super::fake_quantize::fake_rows;
use super::isa::Isa;
use super::lanes::{
    AWAY, EVEN, HALF_TO_ZERO, STOCHASTIC, TABLE, TORCH_AWAY, TORCH_EVEN, TOWARD_ZERO,
};
use super::matmul::{
    self, Arrangement, Fused, IntegerJob, IntegerPath, Job, Path, Seen, StridedProduct,
    multiply_integers_portable, multiply_rows,
};
use super::plan::{Kernel, Plan};
use super::quantize::quantize_rows;
use super::scalar::{fake_rows_scalar, quantize_rows_scalar};
use super::scale;
use super::simd::Portable;
#[cfg(doc)]
use super::simd::Simd;
#[cfg(target_arch = "x86_64")]
use super::{
    matmul::{IntegerOperand, NarrowBytes, Pairs, Tiles, Vnni, Words, multiply_integers},
    simd::{Avx2, Avx512, Simd as _},
};
use crate::format::PackedTensor;
use std::ops::Range;

/// Compiles the bodies for a vector type, under the target features that it stands for. Slices are
/// parameters here, not captures as in [`Simd::outline`], so that the compiler knows that they do
/// not overlap.
macro_rules! compile_for {
    ($isa:ident, $simd:expr $(, $features:literal)?) => {
        mod $isa {
            use super::*;

            $(#[target_feature(enable = $features)])?
            pub fn quantize<const ROUNDING: u8, const SIGNED: bool>(
                plan: &Plan,
                x: &[f32],
                cols: usize,
                first_row: usize,
                codes: &mut [u8],
                scales: &mut [u8],
            ) {
                quantize_rows::<_, ROUNDING, SIGNED>(
                    $simd, plan, x, cols, first_row, codes, scales,
                );
            }

            $(#[target_feature(enable = $features)])?
            pub fn fake_quantize<const ROUNDING: u8, const SIGNED: bool>(
                plan: &Plan,
                x: &mut [f32],
                cols: usize,
                first_row: usize,
            ) {
                fake_rows::<_, ROUNDING, SIGNED>($simd, plan, x, cols, first_row);
            }

            $(#[target_feature(enable = $features)])?
            pub fn dequantize(packed: &PackedTensor, rows: Range<usize>, out: &mut [f32]) {
                dequantize_rows($simd, packed, rows, out);
            }

            $(#[target_feature(enable = $features)])?
            pub fn pack_pairs(x: &[f32], words: &mut [f32], seen: Seen) -> Seen {
                matmul::pack_pairs(x, words, seen)
            }

            $(#[target_feature(enable = $features)])?
            pub fn seen(x: &[f32]) -> Seen {
                matmul::seen(x)
            }

            $(#[target_feature(enable = $features)])?
            pub fn finite_amax(x: &[f32]) -> f32 {
                scale::finite_amax($simd, x)
            }

            $(#[target_feature(enable = $features)])?
            pub fn multiply_strided(product: &StridedProduct, out: &mut [f32], stride: usize) {
                matmul::multiply_strided($simd, product, out, stride);
            }

            /// Outlines its parts itself.
            $(#[target_feature(enable = $features)])?
            pub fn multiply(job: &Job, rows: Range<usize>) {
                multiply_rows($simd, Fused, job, rows);
            }
        }
    };
}

compile_for!(portable, Portable::<8>);
#[cfg(target_arch = "x86_64")]
compile_for!(
    avx2,
    // SAFETY: the function enables the features, so it only runs where the CPU has them.
    unsafe { Avx2::new() },
    "avx2,fma,bmi2"
);
#[cfg(target_arch = "x86_64")]
compile_for!(
    avx512,
    // SAFETY: the function enables the features, so it only runs where the CPU has them.
    unsafe { Avx512::new() },
    "avx512f,avx512bw,avx512dq,avx512vl,bmi2"
);

/// Calls `$name` compiled for `$isa`, after checking once more that the CPU has it.
macro_rules! call {
    ($isa:expr, $name:ident $(::<$rounding:ident, $signed:literal>)?, $($argument:expr),*) => {{
        let isa: Isa = $isa;
        assert!(isa.is_available(), "this CPU has no {isa}");
        match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the assertion above found the features on this CPU.
            Isa::Avx512 => unsafe { avx512::$name$(::<$rounding, $signed>)?($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the assertion above found the features on this CPU.
            Isa::Avx2 => unsafe { avx2::$name$(::<$rounding, $signed>)?($($argument),*) },
            _ => portable::$name$(::<$rounding, $signed>)?($($argument),*),
        }
    }};
}

/// Calls `$name` with the rounding of the plan's kernel, or `$scalar`.
macro_rules! call_kernel {
    ($isa:expr, $kernel:expr, $name:ident, $scalar:path, $arguments:tt) => {
        match $kernel {
            Kernel::EvenSigned => call_kernel!(@ $isa, $name, EVEN, true, $arguments),
            Kernel::Even => call_kernel!(@ $isa, $name, EVEN, false, $arguments),
            Kernel::Away => call_kernel!(@ $isa, $name, AWAY, false, $arguments),
            Kernel::HalfToZero => call_kernel!(@ $isa, $name, HALF_TO_ZERO, false, $arguments),
            Kernel::TowardZero => call_kernel!(@ $isa, $name, TOWARD_ZERO, false, $arguments),
            Kernel::Stochastic => call_kernel!(@ $isa, $name, STOCHASTIC, false, $arguments),
            Kernel::TorchEven => call_kernel!(@ $isa, $name, TORCH_EVEN, false, $arguments),
            Kernel::TorchAway => call_kernel!(@ $isa, $name, TORCH_AWAY, false, $arguments),
            Kernel::Table => call_kernel!(@ $isa, $name, TABLE, true, $arguments),
            Kernel::Scalar => $scalar $arguments,
        }
    };
    (@ $isa:expr, $name:ident, $rounding:ident, $signed:literal, ($($argument:expr),*)) => {
        call!($isa, $name::<$rounding, $signed>, $($argument),*)
    };
}

/// Rows to packed codes and scales.
pub(super) fn quantize(
    isa: Isa,
    plan: &Plan,
    x: &[f32],
    cols: usize,
    first_row: usize,
    codes: &mut [u8],
    scales: &mut [u8],
) {
    let block_size = plan.format.block_size();
    let is_whole = plan.layout.is_whole(block_size);
    let is_aligned = is_whole || cols <= block_size;
    let kernel = if is_aligned {
        plan.kernel
    } else {
        Kernel::Scalar
    };
    let scalar = quantize_rows_scalar;
    call_kernel!(
        isa,
        kernel,
        quantize,
        scalar,
        (plan, x, cols, first_row, codes, scales)
    );
}

/// Rows quantised and dequantised in place.
pub(super) fn fake_quantize(isa: Isa, plan: &Plan, x: &mut [f32], cols: usize, first_row: usize) {
    let scalar = fake_rows_scalar;
    call_kernel!(
        isa,
        plan.kernel,
        fake_quantize,
        scalar,
        (plan, x, cols, first_row)
    );
}

/// Some rows of a packed tensor to values.
pub(super) fn dequantize(isa: Isa, packed: &PackedTensor, rows: Range<usize>, out: &mut [f32]) {
    call!(isa, dequantize, packed, rows, out);
}

/// A row of x as bf16 pairs.
pub(super) fn pack_pairs(isa: Isa, x: &[f32], words: &mut [f32], seen: Seen) -> Seen {
    call!(isa, pack_pairs, x, words, seen)
}

/// A summary of the elements of x.
pub(super) fn seen(isa: Isa, x: &[f32]) -> Seen {
    call!(isa, seen, x)
}

/// Some rows of W times all tokens.
pub(super) fn multiply(path: Path, job: &Job, rows: Range<usize>) {
    assert!(path.is_available(), "this CPU has no {path}");
    match path {
        #[cfg(target_arch = "x86_64")]
        Path::Avx512Bf16 => {
            // SAFETY: the assertion above found the features on this CPU.
            let (s, step) = unsafe { (Avx512::new(), Pairs::new()) };
            multiply_rows(s, step, job, rows);
        }
        #[cfg(target_arch = "x86_64")]
        Path::Amx => {
            // SAFETY: as above.
            let (s, step) = unsafe { (Avx512::new(), Tiles::new()) };
            multiply_rows(s, step, job, rows);
        }
        _ => call!(path.isa(), multiply, job, rows),
    }
}

/// A product of strided matrices.
pub(super) fn multiply_strided(isa: Isa, product: &StridedProduct, out: &mut [f32], stride: usize) {
    call!(isa, multiply_strided, product, out, stride);
}

/// The integers of a token's codes; see [`matmul::arrange_portable`].
pub(super) fn arrange(
    isa: Isa,
    arrangement: Arrangement,
    integers: &[i32; 256],
    codes: &[u8],
    words: &mut [f32],
    sums: &mut [[i32; 2]],
) {
    assert!(isa.is_available(), "this CPU has no {isa}");
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            // SAFETY: the assertion above found the features on this CPU.
            let s = unsafe { Avx512::new() };
            s.outline(
                #[inline(always)]
                || matmul::arrange(s, arrangement, integers, codes, words, sums),
            );
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            // SAFETY: as above.
            let s = unsafe { Avx2::new() };
            s.outline(
                #[inline(always)]
                || matmul::arrange(s, arrangement, integers, codes, words, sums),
            );
        }
        _ => matmul::arrange_portable(arrangement, integers, codes, words, sums),
    }
}

/// Some rows of W times all tokens, in integers.
pub(super) fn multiply_integers_by(job: &IntegerJob, rows: Range<usize>) {
    let path = job.path;
    assert!(path.is_available(), "this CPU has no {path}");
    #[cfg(target_arch = "x86_64")]
    {
        use IntegerOperand as Operand;
        match (path, job.operand()) {
            (IntegerPath::Portable, _) => {}
            (IntegerPath::Avx512Vnni, Operand::Bytes) => {
                // SAFETY: the assertion above found the features on this CPU.
                let (s, dot) = unsafe { (Avx512::new(), Vnni::new()) };
                return multiply_integers(s, dot, job, rows);
            }
            (IntegerPath::AvxVnni, Operand::Bytes) => {
                // SAFETY: as above.
                let (s, dot) = unsafe { (Avx2::new(), Vnni::new()) };
                return multiply_integers(s, dot, job, rows);
            }
            (IntegerPath::Avx512, Operand::Bytes) => {
                // SAFETY: as above.
                let s = unsafe { Avx512::new() };
                return multiply_integers(s, NarrowBytes, job, rows);
            }
            (IntegerPath::Avx2, Operand::Bytes) => {
                // SAFETY: as above.
                let s = unsafe { Avx2::new() };
                return multiply_integers(s, NarrowBytes, job, rows);
            }
            (IntegerPath::Avx512Vnni | IntegerPath::Avx512, Operand::Words) => {
                // SAFETY: as above.
                let s = unsafe { Avx512::new() };
                return multiply_integers(s, Words, job, rows);
            }
            (IntegerPath::AvxVnni | IntegerPath::Avx2, Operand::Words) => {
                // SAFETY: as above.
                let s = unsafe { Avx2::new() };
                return multiply_integers(s, Words, job, rows);
            }
        }
    }
    multiply_integers_portable(job, rows);
}

/// The largest finite magnitude of a tensor, or 0.
pub(super) fn finite_amax(isa: Isa, x: &[f32]) -> f32 {
    call!(isa, finite_amax, x)
}
