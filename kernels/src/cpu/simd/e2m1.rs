//! Whole numbers to packed E2M1 codes, 64 at a time.

use super::Simd;
#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::convert::Infallible;

/// What an instruction set has for [`super::super::e2m1`], beside products that are fused.
pub(in crate::cpu) trait PacksE2m1<S: Simd>: Copy {
    /// Whole numbers as signed integers; the lowest integer where there is none.
    fn integers(self, x: S::F) -> S::U;
    /// 32 numbers on the grid of doubled E2M1, where larger magnitudes count as 12, as pairs of
    /// codes. Signs are those of `x`.
    fn pair(self, doubled: &[S::U; 4], x: &[S::U; 4]) -> S::U;
    /// The codes of two such pairs, as 32 bytes.
    fn store(self, pairs: [S::U; 2], to: &mut [u8]);
}

/// Instruction sets without.
impl<S: Simd> PacksE2m1<S> for Infallible {
    #[inline(always)]
    fn integers(self, _x: S::F) -> S::U {
        match self {}
    }
    #[inline(always)]
    fn pair(self, _doubled: &[S::U; 4], _x: &[S::U; 4]) -> S::U {
        match self {}
    }
    #[inline(always)]
    fn store(self, _pairs: [S::U; 2], _to: &mut [u8]) {
        match self {}
    }
}

/// Calls intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! op {
    ($($call:tt)*) => {{
        // SAFETY: a value of the type exists only where the CPU has the features, and stores stay
        // inside the slices whose lengths were checked.
        unsafe { $($call)* }
    }};
}

/// The code of a doubled magnitude; entries that no number has are 0.
#[cfg(target_arch = "x86_64")]
const CODES: [u8; 16] = [0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7, 0, 0, 0];

#[cfg(target_arch = "x86_64")]
impl PacksE2m1<Self> for Avx2 {
    #[inline(always)]
    fn integers(self, x: __m256) -> __m256i {
        op!(_mm256_cvtps_epi32(x))
    }

    #[inline(always)]
    fn pair(self, doubled: &[__m256i; 4], x: &[__m256i; 4]) -> __m256i {
        // Bytes: the first four of each vector, then the others of each. Those of x keep its sign.
        let bytes = |[a, b, c, d]: [__m256i; 4]| {
            op!(_mm256_packs_epi16(
                _mm256_packs_epi32(a, b),
                _mm256_packs_epi32(c, d)
            ))
        };
        let (doubled, x) = (bytes(*doubled), bytes(*x));
        let index = op!(_mm256_min_epu8(
            _mm256_abs_epi8(doubled),
            _mm256_set1_epi8(12)
        ));
        // The sign bit is set in all, and cleared again where a byte of x is not negative: those
        // alone look up.
        let negative = self.sixteen_bytes(&CODES.map(|code| code | 8));
        let codes = op!(_mm256_xor_si256(
            _mm256_shuffle_epi8(negative, index),
            _mm256_shuffle_epi8(_mm256_set1_epi8(8), x)
        ));
        // low + 16 high.
        op!(_mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x1001)))
    }

    #[inline(always)]
    fn store(self, pairs: [__m256i; 2], to: &mut [u8]) {
        let to = &mut to[..32];
        // Of each of two 32, the halves of the vectors a..d as pairs of bytes: abcd abcd | abcd abcd,
        // brought to abcd abcd of the first 32, then aabbccdd.
        let order = [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15];
        op!(_mm256_storeu_si256(
            to.as_mut_ptr().cast(),
            _mm256_shuffle_epi8(
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(pairs[0], pairs[1])),
                self.sixteen_bytes(&order)
            )
        ));
    }
}

#[cfg(target_arch = "x86_64")]
impl PacksE2m1<Self> for Avx512 {
    #[inline(always)]
    fn integers(self, x: __m512) -> __m512i {
        op!(_mm512_cvtps_epi32(x))
    }

    #[inline(always)]
    fn pair(self, doubled: &[__m512i; 4], x: &[__m512i; 4]) -> __m512i {
        // Halves of lanes: four of the first vector, four of the second, and so on.
        let doubled = op!(_mm512_packs_epi32(doubled[0], doubled[1]));
        let is_negative = op!(_mm512_movepi16_mask(_mm512_packs_epi32(x[0], x[1])));
        let index = op!(_mm512_min_epu16(
            _mm512_abs_epi16(doubled),
            _mm512_set1_epi16(12)
        ));
        let table = op!(_mm512_cvtepu8_epi16(_mm256_zextsi128_si256(
            _mm_loadu_si128(CODES.as_ptr().cast())
        )));
        let codes = op!(_mm512_permutexvar_epi16(index, table));
        let codes = op!(_mm512_mask_add_epi16(
            codes,
            is_negative,
            codes,
            _mm512_set1_epi16(8)
        ));
        // low + 16 high.
        op!(_mm512_madd_epi16(codes, _mm512_set1_epi32(0x0010_0001)))
    }

    #[inline(always)]
    fn store(self, pairs: [__m512i; 2], to: &mut [u8]) {
        let to = &mut to[..32];
        let bytes = op!(_mm512_cvtepi16_epi8(_mm512_packus_epi32(
            pairs[0], pairs[1]
        )));
        // Quarters of the vectors a..d as pairs of bytes: abcd four times, brought to aaaabbbb...
        let order = op!(_mm256_setr_epi16(
            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15
        ));
        op!(_mm256_storeu_si256(
            to.as_mut_ptr().cast(),
            _mm256_permutexvar_epi16(order, bytes)
        ));
    }
}
