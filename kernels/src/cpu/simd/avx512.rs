//! AVX-512: 16 lanes.

use super::Simd;
use std::arch::x86_64::*;

/// Proof that the CPU has the features named in [`Avx512::new`].
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The CPU must have AVX-512 F, BW, DQ and VL, and BMI2.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Self(())
    }
}

/// Calls an intrinsic.
macro_rules! op {
    ($($call:tt)*) => {{
        // SAFETY: a value of this type exists only where the CPU has the features, and loads
        // and stores stay inside the slices whose lengths were checked.
        unsafe { $($call)* }
    }};
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const DECODES_WORDS: bool = true;
    const LOOKS_UP_LANES: bool = true;
    type F = __m512;
    type U = __m512i;
    type M = __mmask16;
    type Table = __m512;
    type Bytes = __m512i;
    type E2m1 = Self;

    #[inline(always)]
    fn outline<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2")]
        #[inline(never)]
        fn outlined<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: a value of this type exists only where the CPU has the features.
        unsafe { outlined(f) }
    }

    #[inline(always)]
    fn e2m1(self) -> Option<Self::E2m1> {
        Some(self)
    }

    #[inline(always)]
    fn load(self, x: &[f32]) -> __m512 {
        let x = &x[..Self::LANES];
        op!(_mm512_loadu_ps(x.as_ptr()))
    }

    #[inline(always)]
    fn prefetch<T>(self, x: &[T], ahead: usize) {
        op!(_mm_prefetch::<_MM_HINT_T0>(
            x.as_ptr().wrapping_add(ahead).cast()
        ))
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        op!(_mm512_storeu_ps(to.as_mut_ptr(), x))
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8]) -> __m512i {
        let x = &x[..Self::LANES];
        op!(_mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_nibbles(self, x: &[u8]) -> __m512i {
        let mut bytes = [0; 8];
        bytes[..Self::LANES / 2].copy_from_slice(&x[..Self::LANES / 2]);
        let bytes = i64::from_le_bytes(bytes);
        // Each byte in 64 bits; its high nibble moves to the odd lane.
        let pairs = op!(_mm512_cvtepu8_epi64(_mm_cvtsi64_si128(bytes)));
        let spread = op!(_mm512_or_si512(pairs, _mm512_slli_epi64::<28>(pairs)));
        op!(_mm512_and_si512(spread, _mm512_set1_epi32(15)))
    }

    #[inline(always)]
    fn load_halves(self, x: &[u16]) -> __m512i {
        let x = &x[..Self::LANES];
        op!(_mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_bits(self, x: &[u32]) -> __m512i {
        let x = &x[..Self::LANES];
        op!(_mm512_loadu_si512(x.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_bytes(self, x: __m512i, to: &mut [u8]) {
        let to = &mut to[..Self::LANES];
        op!(_mm_storeu_si128(
            to.as_mut_ptr().cast(),
            _mm512_cvtepi32_epi8(x)
        ))
    }

    #[inline(always)]
    fn store_nibbles(self, x: __m512i, to: &mut [u8]) {
        let to = &mut to[..Self::LANES / 2];
        // Bits 28.. of a 64-bit pair of lanes hold the odd code once shifted to bit 4.
        op!(_mm_storel_epi64(
            to.as_mut_ptr().cast(),
            _mm512_cvtepi64_epi8(_mm512_or_si512(x, _mm512_srli_epi64::<28>(x)))
        ))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        op!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn splat_bits(self, x: u32) -> __m512i {
        op!(_mm512_set1_epi32(x as i32))
    }

    #[inline(always)]
    fn iota(self) -> __m512i {
        op!(_mm512_setr_epi32(
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        ))
    }

    #[inline(always)]
    fn bits(self, x: __m512) -> __m512i {
        op!(_mm512_castps_si512(x))
    }

    #[inline(always)]
    fn float(self, x: __m512i) -> __m512 {
        op!(_mm512_castsi512_ps(x))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn convert(self, x: __m512i) -> __m512 {
        op!(_mm512_cvtepi32_ps(x))
    }

    #[inline(always)]
    fn add_bits(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn sub_bits(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_sub_epi32(a, b))
    }

    #[inline(always)]
    fn mul_bits(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_mullo_epi32(a, b))
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_and_si512(a, b))
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_xor_si512(a, b))
    }

    #[inline(always)]
    fn max_bits(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_max_epu32(a, b))
    }

    #[inline(always)]
    fn shift_left(self, x: __m512i, count: u32) -> __m512i {
        op!(_mm512_sll_epi32(x, _mm_cvtsi32_si128(count as i32)))
    }

    #[inline(always)]
    fn shift_right(self, x: __m512i, count: u32) -> __m512i {
        op!(_mm512_srl_epi32(x, _mm_cvtsi32_si128(count as i32)))
    }

    #[inline(always)]
    fn largest(self, x: __m512i) -> u32 {
        op!(_mm512_reduce_max_epu32(x))
    }

    #[inline(always)]
    fn largest_of_each(self, x: &[__m512i; 16]) -> __m512i {
        // A transposition that keeps only the larger of what it would put side by side.
        let mut pairs = [x[0]; 8];
        for (pair, x) in pairs.iter_mut().zip(x.as_chunks::<2>().0) {
            *pair = op!(_mm512_max_epu32(
                _mm512_unpacklo_epi32(x[0], x[1]),
                _mm512_unpackhi_epi32(x[0], x[1])
            ));
        }
        let mut fours = [x[0]; 4];
        for (four, x) in fours.iter_mut().zip(pairs.as_chunks::<2>().0) {
            *four = op!(_mm512_max_epu32(
                _mm512_unpacklo_epi64(x[0], x[1]),
                _mm512_unpackhi_epi64(x[0], x[1])
            ));
        }
        // A quarter has what is left of four vectors, of a quarter of their lanes.
        let quarters = |a, b| {
            op!(_mm512_max_epu32(
                _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b)
            ))
        };
        quarters(quarters(fours[0], fours[1]), quarters(fours[2], fours[3]))
    }

    #[inline(always)]
    fn sum_of_each(self, x: &[__m512; 16]) -> __m512 {
        // As the largest of each, with sums.
        let mut pairs = [x[0]; 8];
        for (pair, x) in pairs.iter_mut().zip(x.as_chunks::<2>().0) {
            *pair = op!(_mm512_add_ps(
                _mm512_unpacklo_ps(x[0], x[1]),
                _mm512_unpackhi_ps(x[0], x[1])
            ));
        }
        let mut fours = [x[0]; 4];
        for (four, x) in fours.iter_mut().zip(pairs.as_chunks::<2>().0) {
            let [a, b] = [x[0], x[1]].map(|x| op!(_mm512_castps_pd(x)));
            *four = op!(_mm512_add_ps(
                _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(a, b))
            ));
        }
        let quarters = |a, b| {
            op!(_mm512_add_ps(
                _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b)
            ))
        };
        quarters(quarters(fours[0], fours[1]), quarters(fours[2], fours[3]))
    }

    #[inline(always)]
    fn equal(self, a: __m512, b: __m512) -> __mmask16 {
        op!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b))
    }

    #[inline(always)]
    fn at_most(self, a: __m512, b: __m512) -> __mmask16 {
        op!(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b))
    }

    #[inline(always)]
    fn exceeds(self, a: __m512i, b: __m512i) -> __mmask16 {
        op!(_mm512_cmpgt_epi32_mask(a, b))
    }

    #[inline(always)]
    fn both(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a & b
    }

    #[inline(always)]
    fn either(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a | b
    }

    #[inline(always)]
    fn not(self, a: __mmask16) -> __mmask16 {
        !a
    }

    #[inline(always)]
    fn all(self, a: __mmask16) -> bool {
        a == u16::MAX
    }

    #[inline(always)]
    fn keep_if(self, condition: __mmask16, x: __m512i) -> __m512i {
        op!(_mm512_maskz_mov_epi32(condition, x))
    }

    #[inline(always)]
    fn keep_unless(self, condition: __mmask16, x: __m512i) -> __m512i {
        op!(_mm512_maskz_mov_epi32(!condition, x))
    }

    #[inline(always)]
    fn table(self, values: &[f32; 16]) -> __m512 {
        self.load(values)
    }

    #[inline(always)]
    fn look_up(self, table: __m512, index: __m512i) -> __m512 {
        op!(_mm512_permutexvar_ps(index, table))
    }

    #[inline(always)]
    fn sixteen_bytes(self, bytes: &[u8; 16]) -> __m512i {
        op!(_mm512_broadcast_i32x4(_mm_loadu_si128(
            bytes.as_ptr().cast()
        )))
    }

    #[inline(always)]
    fn look_up_bytes(self, table: __m512i, index: __m512i) -> __m512i {
        op!(_mm512_shuffle_epi8(table, index))
    }

    #[inline(always)]
    fn add_bytes(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_add_epi8(a, b))
    }

    #[inline(always)]
    fn arrange_bytes(self, x: __m512i) -> __m512i {
        // Of each four lanes, bytes 0 and 1 before bytes 2 and 3.
        let order = [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15];
        op!(_mm512_shuffle_epi8(x, self.sixteen_bytes(&order)))
    }

    #[inline(always)]
    fn zip_bytes(self, low: __m512i, high: __m512i) -> [__m512i; 2] {
        op!([
            _mm512_unpacklo_epi8(low, high),
            _mm512_unpackhi_epi8(low, high),
        ])
    }

    #[inline(always)]
    fn lower_halves(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_subs_epu16(a, b))
    }
}
