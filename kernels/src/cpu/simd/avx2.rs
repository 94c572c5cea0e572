//! AVX2: 8 lanes.

use super::Simd;
use std::arch::x86_64::*;

/// Proof that the CPU has the features named in [`Avx2::new`].
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU must have AVX2, FMA and BMI2.
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

/// The lanes as bytes: the first four of each vector, then the others of each.
#[target_feature(enable = "avx2")]
#[inline]
fn bytes_of_32(x: &[__m256i; 4]) -> __m256i {
    _mm256_packus_epi16(
        _mm256_packus_epi32(x[0], x[1]),
        _mm256_packus_epi32(x[2], x[3]),
    )
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const DECODES_WORDS: bool = true;
    const LOOKS_UP_LANES: bool = false;
    type F = __m256;
    type U = __m256i;
    type M = __m256i;
    type Table = (__m256, __m256);
    type Bytes = __m256i;
    type E2m1 = Self;

    #[inline(always)]
    fn outline<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,bmi2")]
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
    fn load(self, x: &[f32]) -> __m256 {
        let x = &x[..Self::LANES];
        op!(_mm256_loadu_ps(x.as_ptr()))
    }

    #[inline(always)]
    fn prefetch<T>(self, x: &[T], ahead: usize) {
        op!(_mm_prefetch::<_MM_HINT_T0>(
            x.as_ptr().wrapping_add(ahead).cast()
        ))
    }

    #[inline(always)]
    fn store(self, x: __m256, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        op!(_mm256_storeu_ps(to.as_mut_ptr(), x))
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8]) -> __m256i {
        let x = &x[..Self::LANES];
        op!(_mm256_cvtepu8_epi32(_mm_loadl_epi64(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_nibbles(self, x: &[u8]) -> __m256i {
        let mut bytes = [0; 8];
        bytes[..Self::LANES / 2].copy_from_slice(&x[..Self::LANES / 2]);
        let bytes = i64::from_le_bytes(bytes);
        // Each byte in 64 bits; its high nibble moves to the odd lane.
        let pairs = op!(_mm256_cvtepu8_epi64(_mm_cvtsi64_si128(bytes)));
        let spread = op!(_mm256_or_si256(pairs, _mm256_slli_epi64::<28>(pairs)));
        op!(_mm256_and_si256(spread, _mm256_set1_epi32(15)))
    }

    #[inline(always)]
    fn load_halves(self, x: &[u16]) -> __m256i {
        let x = &x[..Self::LANES];
        op!(_mm256_cvtepu16_epi32(_mm_loadu_si128(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_bits(self, x: &[u32]) -> __m256i {
        let x = &x[..Self::LANES];
        op!(_mm256_loadu_si256(x.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_bytes(self, x: __m256i, to: &mut [u8]) {
        let to = &mut to[..Self::LANES];
        let halves = op!(_mm_packus_epi32(
            _mm256_castsi256_si128(x),
            _mm256_extracti128_si256::<1>(x)
        ));
        op!(_mm_storel_epi64(
            to.as_mut_ptr().cast(),
            _mm_packus_epi16(halves, halves)
        ))
    }

    #[inline(always)]
    fn store_nibbles(self, x: __m256i, to: &mut [u8]) {
        let to = &mut to[..Self::LANES / 2];
        // Bits 28.. of a 64-bit pair of lanes hold the odd code once shifted to bit 4.
        let pairs = op!(_mm256_or_si256(x, _mm256_srli_epi64::<28>(x)));
        let first_bytes = op!(_mm256_shuffle_epi8(
            pairs,
            _mm256_set1_epi32(0x8080_0800_u32 as i32)
        ));
        let (low, high) = op!((
            _mm256_castsi256_si128(first_bytes),
            _mm256_extracti128_si256::<1>(first_bytes)
        ));
        let word = op!(_mm_cvtsi128_si32(_mm_unpacklo_epi16(low, high)));
        to.copy_from_slice(&word.to_le_bytes());
    }

    #[inline(always)]
    fn store_nibbles_of_32(self, x: &[__m256i; 4], to: &mut [u8]) {
        let to = &mut to[..16];
        // low + 16 high of each pair, as bytes again.
        let pairs = op!(_mm256_maddubs_epi16(
            bytes_of_32(x),
            _mm256_set1_epi16(0x1001)
        ));
        let packed = op!(_mm256_packus_epi16(pairs, pairs));
        op!(_mm_storeu_si128(
            to.as_mut_ptr().cast(),
            _mm_unpacklo_epi16(
                _mm256_castsi256_si128(packed),
                _mm256_extracti128_si256::<1>(packed)
            )
        ))
    }

    #[inline(always)]
    fn store_bytes_of_32(self, x: &[__m256i; 4], to: &mut [u8]) {
        let to = &mut to[..32];
        op!(_mm256_storeu_si256(
            to.as_mut_ptr().cast(),
            _mm256_permutevar8x32_epi32(bytes_of_32(x), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
        ))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        op!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    fn splat_bits(self, x: u32) -> __m256i {
        op!(_mm256_set1_epi32(x as i32))
    }

    #[inline(always)]
    fn iota(self) -> __m256i {
        op!(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
    }

    #[inline(always)]
    fn bits(self, x: __m256) -> __m256i {
        op!(_mm256_castps_si256(x))
    }

    #[inline(always)]
    fn float(self, x: __m256i) -> __m256 {
        op!(_mm256_castsi256_ps(x))
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        op!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn convert(self, x: __m256i) -> __m256 {
        op!(_mm256_cvtepi32_ps(x))
    }

    #[inline(always)]
    fn add_bits(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_add_epi32(a, b))
    }

    #[inline(always)]
    fn sub_bits(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_sub_epi32(a, b))
    }

    #[inline(always)]
    fn mul_bits(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_mullo_epi32(a, b))
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_and_si256(a, b))
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_xor_si256(a, b))
    }

    #[inline(always)]
    fn max_bits(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_max_epu32(a, b))
    }

    #[inline(always)]
    fn shift_left(self, x: __m256i, count: u32) -> __m256i {
        op!(_mm256_sll_epi32(x, _mm_cvtsi32_si128(count as i32)))
    }

    #[inline(always)]
    fn shift_right(self, x: __m256i, count: u32) -> __m256i {
        op!(_mm256_srl_epi32(x, _mm_cvtsi32_si128(count as i32)))
    }

    #[inline(always)]
    fn largest(self, x: __m256i) -> u32 {
        let x = op!(_mm_max_epu32(
            _mm256_castsi256_si128(x),
            _mm256_extracti128_si256::<1>(x)
        ));
        let x = op!(_mm_max_epu32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x)));
        let x = op!(_mm_max_epu32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x)));
        op!(_mm_cvtsi128_si32(x)) as u32
    }

    #[inline(always)]
    fn largest_of_each(self, x: &[__m256i; 16]) -> __m256i {
        // A transposition that keeps only the larger of what it would put side by side.
        let mut pairs = [x[0]; 4];
        for (pair, x) in pairs.iter_mut().zip(x.as_chunks::<2>().0) {
            *pair = op!(_mm256_max_epu32(
                _mm256_unpacklo_epi32(x[0], x[1]),
                _mm256_unpackhi_epi32(x[0], x[1])
            ));
        }
        let mut fours = [x[0]; 2];
        for (four, x) in fours.iter_mut().zip(pairs.as_chunks::<2>().0) {
            *four = op!(_mm256_max_epu32(
                _mm256_unpacklo_epi64(x[0], x[1]),
                _mm256_unpackhi_epi64(x[0], x[1])
            ));
        }
        op!(_mm256_max_epu32(
            _mm256_permute2x128_si256::<0x20>(fours[0], fours[1]),
            _mm256_permute2x128_si256::<0x31>(fours[0], fours[1])
        ))
    }

    #[inline(always)]
    fn sum_of_each(self, x: &[__m256; 16]) -> __m256 {
        let add = |a, b| op!(_mm256_hadd_ps(a, b));
        let low = add(add(x[0], x[1]), add(x[2], x[3]));
        let high = add(add(x[4], x[5]), add(x[6], x[7]));
        op!(_mm256_add_ps(
            _mm256_permute2f128_ps::<0x20>(low, high),
            _mm256_permute2f128_ps::<0x31>(low, high)
        ))
    }

    #[inline(always)]
    fn equal(self, a: __m256, b: __m256) -> __m256i {
        op!(_mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)))
    }

    #[inline(always)]
    fn at_most(self, a: __m256, b: __m256) -> __m256i {
        op!(_mm256_castps_si256(_mm256_cmp_ps::<_CMP_LE_OQ>(a, b)))
    }

    #[inline(always)]
    fn exceeds(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_cmpgt_epi32(a, b))
    }

    #[inline(always)]
    fn both(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_and_si256(a, b))
    }

    #[inline(always)]
    fn either(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn not(self, a: __m256i) -> __m256i {
        op!(_mm256_xor_si256(a, _mm256_set1_epi32(-1)))
    }

    #[inline(always)]
    fn all(self, a: __m256i) -> bool {
        op!(_mm256_movemask_epi8(a)) == -1
    }

    #[inline(always)]
    fn keep_if(self, condition: __m256i, x: __m256i) -> __m256i {
        op!(_mm256_and_si256(condition, x))
    }

    #[inline(always)]
    fn keep_unless(self, condition: __m256i, x: __m256i) -> __m256i {
        op!(_mm256_andnot_si256(condition, x))
    }

    #[inline(always)]
    fn table(self, values: &[f32; 16]) -> (__m256, __m256) {
        (self.load(values), self.load(&values[8..]))
    }

    #[inline(always)]
    fn look_up(self, table: (__m256, __m256), index: __m256i) -> __m256 {
        let (low, high) = op!((
            _mm256_permutevar8x32_ps(table.0, index),
            _mm256_permutevar8x32_ps(table.1, index),
        ));
        // Bit 3 of the index, moved to the sign, chooses the half.
        op!(_mm256_blendv_ps(
            low,
            high,
            _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index))
        ))
    }

    #[inline(always)]
    fn sixteen_bytes(self, bytes: &[u8; 16]) -> __m256i {
        op!(_mm256_broadcastsi128_si256(_mm_loadu_si128(
            bytes.as_ptr().cast()
        )))
    }

    #[inline(always)]
    fn look_up_bytes(self, table: __m256i, index: __m256i) -> __m256i {
        op!(_mm256_shuffle_epi8(table, index))
    }

    #[inline(always)]
    fn add_bytes(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_add_epi8(a, b))
    }

    #[inline(always)]
    fn arrange_bytes(self, x: __m256i) -> __m256i {
        // Of each four lanes, bytes 0 and 1 before bytes 2 and 3.
        let order = [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15];
        op!(_mm256_shuffle_epi8(x, self.sixteen_bytes(&order)))
    }

    #[inline(always)]
    fn zip_bytes(self, low: __m256i, high: __m256i) -> [__m256i; 2] {
        op!([
            _mm256_unpacklo_epi8(low, high),
            _mm256_unpackhi_epi8(low, high),
        ])
    }

    #[inline(always)]
    fn lower_halves(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_subs_epu16(a, b))
    }
}
