//! Sums of products of integers, by what the CPU multiplies them with.
//!
//! | operands | AVX2, AVX-512BW | with VNNI |
//! |---|---|---|
//! | bytes, W unsigned | `vpmaddubsw` into i16, `vpmaddwd` by 1 into i32 | `vpdpbusd` into i32 |
//! | i16 | `vpmaddwd` into i32 | the same |

use super::bytes::Bytes;
use super::operand::Operand;
use crate::cpu::simd::{Avx2, Avx512, Simd};
use std::arch::x86_64::*;

/// Adds the products of the columns of a word, in every lane.
pub(in crate::cpu) trait Dot<S: Simd>: Copy {
    /// The integers of a word.
    const OPERAND: Operand;
    /// As [`Simd::outline`], with what the products need beyond the vectors.
    fn outline<R>(self, s: S, f: impl FnOnce() -> R) -> R;

    /// `sum` plus the products of `w` and `x`.
    fn add(self, s: S, sum: S::U, w: S::U, x: S::U) -> S::U;

    /// Sums as i32, where they are i16.
    fn widen(self, s: S, sum: S::U) -> S::U;
}

/// Bytes by `vpmaddubsw`. The caller widens sums before they can overflow.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct NarrowBytes;

impl<S: Bytes> Dot<S> for NarrowBytes {
    const OPERAND: Operand = Operand::Bytes;

    #[inline(always)]
    fn outline<R>(self, s: S, f: impl FnOnce() -> R) -> R {
        s.outline(f)
    }

    #[inline(always)]
    fn add(self, s: S, sum: S::U, w: S::U, x: S::U) -> S::U {
        s.add_i16(sum, s.multiply_bytes(w, x))
    }

    #[inline(always)]
    fn widen(self, s: S, sum: S::U) -> S::U {
        s.multiply_i16(sum, s.splat_bits(0x0001_0001))
    }
}

/// i16 by `vpmaddwd`.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Words;

impl<S: Bytes> Dot<S> for Words {
    const OPERAND: Operand = Operand::Words;

    #[inline(always)]
    fn outline<R>(self, s: S, f: impl FnOnce() -> R) -> R {
        s.outline(f)
    }

    #[inline(always)]
    fn add(self, s: S, sum: S::U, w: S::U, x: S::U) -> S::U {
        s.add_bits(sum, s.multiply_i16(w, x))
    }

    #[inline(always)]
    fn widen(self, _: S, sum: S::U) -> S::U {
        sum
    }
}

/// Bytes by `vpdpbusd`. Proof that the CPU has AVX512_VNNI, or AVX_VNNI for [`Avx2`].
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Vnni(());

impl Vnni {
    /// # Safety
    /// The CPU must have AVX512_VNNI where the value is used with [`Avx512`], and AVX_VNNI where it
    /// is used with [`Avx2`].
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Self(())
    }
}

impl Dot<Avx512> for Vnni {
    const OPERAND: Operand = Operand::Bytes;

    #[inline(always)]
    fn outline<R>(self, _: Avx512, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,avx512vnni")]
        #[inline(never)]
        fn outlined<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: values of the two types exist only where the CPU has the features.
        unsafe { outlined(f) }
    }

    #[inline(always)]
    fn add(self, _: Avx512, sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: a value of this type exists only where the CPU has the instruction.
        unsafe { _mm512_dpbusd_epi32(sum, w, x) }
    }

    #[inline(always)]
    fn widen(self, _: Avx512, sum: __m512i) -> __m512i {
        sum
    }
}

impl Dot<Avx2> for Vnni {
    const OPERAND: Operand = Operand::Bytes;

    #[inline(always)]
    fn outline<R>(self, _: Avx2, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,bmi2,avxvnni")]
        #[inline(never)]
        fn outlined<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: values of the two types exist only where the CPU has the features.
        unsafe { outlined(f) }
    }

    #[inline(always)]
    fn add(self, _: Avx2, sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: a value of this type exists only where the CPU has the instruction.
        unsafe { _mm256_dpbusd_avx_epi32(sum, w, x) }
    }

    #[inline(always)]
    fn widen(self, _: Avx2, sum: __m256i) -> __m256i {
        sum
    }
}
