//! The vector operations on bytes and 16-bit integers that products of integers are written in.

use crate::cpu::simd::{Avx2, Avx512, Simd};
use std::arch::x86_64::*;

/// Lanes of [`Simd`] as bytes or as 16-bit integers.
pub(in crate::cpu) trait Bytes: Simd<Bytes = <Self as Simd>::U> {
    /// Bytes of `b` where the high bit of `choice` is set, else of `a`.
    fn choose(self, choice: Self::U, a: Self::U, b: Self::U) -> Self::U;
    /// Sums of two neighbouring products of an unsigned and a signed byte, as i16, saturating.
    fn multiply_bytes(self, unsigned: Self::U, signed: Self::U) -> Self::U;
    /// Sums of two neighbouring products of i16, as i32.
    fn multiply_i16(self, a: Self::U, b: Self::U) -> Self::U;
    /// i16 sums.
    fn add_i16(self, a: Self::U, b: Self::U) -> Self::U;
    /// i16 shifted up by eight bits.
    fn raise_i16(self, x: Self::U) -> Self::U;
    /// i16 shifted down by eight bits, with the sign.
    fn lower_i16(self, x: Self::U) -> Self::U;
    /// Four bytes for each lane.
    fn load_byte_vector(self, bytes: &[u8]) -> Self::U;

    /// i16 of low and high bytes: those of bytes 0 and 2 of every lane, and those of 1 and 3.
    #[inline(always)]
    fn join_bytes(self, low: Self::U, high: Self::U) -> [Self::U; 2] {
        let first = self.splat_bits(0x00FF_00FF);
        let even = self.or(self.and(low, first), self.raise_i16(high));
        let low = self.and(self.shift_right(low, 8), first);
        let odd = self.or(low, self.and(high, self.splat_bits(0xFF00_FF00)));
        [even, odd]
    }
}

/// The entries of four tables of 16 for codes below 64.
#[inline(always)]
pub(super) fn one_of_64<S: Bytes>(s: S, tables: &[S::U; 4], codes: S::U) -> S::U {
    let [fourth, fifth] = [s.shift_left(codes, 3), s.shift_left(codes, 2)];
    let [a, b, c, d] = *tables;
    let low = s.choose(fourth, s.look_up_bytes(a, codes), s.look_up_bytes(b, codes));
    let high = s.choose(fourth, s.look_up_bytes(c, codes), s.look_up_bytes(d, codes));
    s.choose(fifth, low, high)
}

/// Calls an intrinsic.
macro_rules! op {
    ($($call:tt)*) => {{
        // SAFETY: a value of this type exists only where the CPU has the features, and loads stay
        // inside the slices whose lengths were checked.
        unsafe { $($call)* }
    }};
}

impl Bytes for Avx2 {
    #[inline(always)]
    fn load_byte_vector(self, bytes: &[u8]) -> __m256i {
        let bytes = &bytes[..4 * Self::LANES];
        op!(_mm256_loadu_si256(bytes.as_ptr().cast()))
    }

    #[inline(always)]
    fn choose(self, choice: __m256i, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_blendv_epi8(a, b, choice))
    }

    #[inline(always)]
    fn multiply_bytes(self, unsigned: __m256i, signed: __m256i) -> __m256i {
        op!(_mm256_maddubs_epi16(unsigned, signed))
    }

    #[inline(always)]
    fn multiply_i16(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_madd_epi16(a, b))
    }

    #[inline(always)]
    fn add_i16(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_add_epi16(a, b))
    }

    #[inline(always)]
    fn raise_i16(self, x: __m256i) -> __m256i {
        op!(_mm256_slli_epi16::<8>(x))
    }

    #[inline(always)]
    fn lower_i16(self, x: __m256i) -> __m256i {
        op!(_mm256_srai_epi16::<8>(x))
    }
}

impl Bytes for Avx512 {
    #[inline(always)]
    fn load_byte_vector(self, bytes: &[u8]) -> __m512i {
        let bytes = &bytes[..4 * Self::LANES];
        op!(_mm512_loadu_si512(bytes.as_ptr().cast()))
    }

    #[inline(always)]
    fn choose(self, choice: __m512i, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_mask_blend_epi8(_mm512_movepi8_mask(choice), a, b))
    }

    #[inline(always)]
    fn multiply_bytes(self, unsigned: __m512i, signed: __m512i) -> __m512i {
        op!(_mm512_maddubs_epi16(unsigned, signed))
    }

    #[inline(always)]
    fn multiply_i16(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_madd_epi16(a, b))
    }

    #[inline(always)]
    fn add_i16(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_add_epi16(a, b))
    }

    #[inline(always)]
    fn raise_i16(self, x: __m512i) -> __m512i {
        op!(_mm512_slli_epi16::<8>(x))
    }

    #[inline(always)]
    fn lower_i16(self, x: __m512i) -> __m512i {
        op!(_mm512_srai_epi16::<8>(x))
    }
}
