//! One step of a chain: a product of f32, or two of bf16.

use super::panels::Panels;
use super::weights::Kind;
use super::words::{WordSink, decode_words};
use crate::cpu::simd::Simd;
use std::ops::Range;
#[cfg(target_arch = "x86_64")]
use {super::pairs, crate::cpu::simd::Avx512, std::arch::x86_64::*, std::sync::OnceLock};

/// Adds products to sums. Words hold an f32, or two bf16 with the first column high.
pub(in crate::cpu) trait Step<S: Simd>: Copy {
    /// Columns of a word: 1 or 2.
    const COLUMNS: usize;
    /// The tile that is multiplied at once; `None` where steps are added one by one, in the order
    /// of the chains.
    const TILES: Option<TileShape> = None;

    /// As [`Simd::outline`], with what the step needs beyond the vectors.
    fn outline<R>(self, s: S, f: impl FnOnce() -> R) -> R;

    /// `sum` plus the products of the words' columns, in order, rounded after each. Not where there
    /// are tiles.
    fn add(self, s: S, sum: S::F, w: S::U, x: S::U) -> S::F;

    /// Sums [tokens, rows of a tile] of a panel [steps, rows of a tile], whole tiles, and of the
    /// words of some tokens, rows `stride` apart. Where there are tiles.
    fn multiply_tiles(
        self,
        _panel: &[f32],
        _words: &[f32],
        _stride: usize,
        _tokens: usize,
        _sums: &mut [f32],
    ) {
        unreachable!("steps are added one by one")
    }

    /// Decodes `columns` of `V` vectors of rows from `first` on; see
    /// [`super::columns::decode_columns`].
    fn decode<const V: usize, const KIND: u8>(
        self,
        s: S,
        panels: &Panels,
        first: usize,
        columns: Range<usize>,
        rounds: bool,
        sink: &mut impl WordSink<S>,
    );
}

/// The tile that a step multiplies at once.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no tiles"))]
#[derive(Clone, Copy)]
pub(in crate::cpu) struct TileShape {
    /// At most.
    pub tokens: usize,
    /// Rows of W.
    pub rows: usize,
    /// Words of a row.
    pub steps: usize,
}

/// f32, fused.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Fused;

impl<S: Simd> Step<S> for Fused {
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn outline<R>(self, s: S, f: impl FnOnce() -> R) -> R {
        s.outline(f)
    }

    #[inline(always)]
    fn add(self, s: S, sum: S::F, w: S::U, x: S::U) -> S::F {
        s.fma(s.float(w), s.float(x), sum)
    }

    #[inline(always)]
    fn decode<const V: usize, const KIND: u8>(
        self,
        s: S,
        panels: &Panels,
        first: usize,
        columns: Range<usize>,
        rounds: bool,
        sink: &mut impl WordSink<S>,
    ) {
        decode_words::<S, V, 1, KIND>(s, panels, first, columns, rounds, sink);
    }
}

/// bf16 pairs by `vdpbf16ps`. Proof that the CPU has AVX512_BF16 and AVX512_VBMI.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Pairs(());

#[cfg(target_arch = "x86_64")]
impl Pairs {
    /// # Safety
    /// The CPU must have AVX512_BF16 and AVX512_VBMI.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
impl Step<Avx512> for Pairs {
    const COLUMNS: usize = 2;

    #[inline(always)]
    fn outline<R>(self, _: Avx512, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,avx512bf16,avx512vbmi")]
        #[inline(never)]
        fn outlined<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: values of the two types exist only where the CPU has the features.
        unsafe { outlined(f) }
    }

    #[inline(always)]
    fn add(self, _: Avx512, sum: __m512, w: __m512i, x: __m512i) -> __m512 {
        // SAFETY: a value of this type exists only where the CPU has the instruction; the two
        // vector types have the same bits.
        unsafe {
            let (w, x) = (
                std::mem::transmute::<__m512i, __m512bh>(w),
                std::mem::transmute::<__m512i, __m512bh>(x),
            );
            _mm512_dpbf16_ps(sum, w, x)
        }
    }

    #[inline(always)]
    fn decode<const V: usize, const KIND: u8>(
        self,
        s: Avx512,
        panels: &Panels,
        first: usize,
        columns: Range<usize>,
        rounds: bool,
        sink: &mut impl WordSink<Avx512>,
    ) {
        match KIND {
            Kind::PAIRS => pairs::decode::<V>(s, self, panels, first, columns, sink),
            Kind::LIFTED => unreachable!("pairs have tables of their own"),
            _ => decode_words::<Avx512, V, 2, KIND>(s, panels, first, columns, rounds, sink),
        }
    }
}

/// Whether this CPU has what [`Pairs`] stands for and `vdpbf16ps` rounds as two steps of a chain;
/// asked of itself, once.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_pairs() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512vbmi")
            // SAFETY: the features were just found.
            && unsafe { rounds_twice() }
    })
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_pairs() -> bool {
    false
}

/// Multiplies where the other ways to add three numbers (the low product first, or both products
/// before the sum) would end elsewhere.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounds_twice() -> bool {
    let half_ulp = f32::EPSILON / 2.0;
    // (sum, high, low): 1 + a half ulp is a tie, to even; ulps of the sums lie in between.
    [
        (1.0, half_ulp, half_ulp),
        (1.0, -half_ulp / 2.0, half_ulp),
        (1.0, half_ulp, -half_ulp / 2.0),
        (1.0, 3.0 * half_ulp, half_ulp),
        (-1.0, 1.0, half_ulp / 256.0),
        (16_777_216.0, 1.0, -16_777_216.0),
        (16_777_216.0, -16_777_216.0, 1.0),
    ]
    .into_iter()
    .all(|(sum, high, low): (f32, f32, f32)| {
        let pair = (high.to_bits() & 0xFFFF_0000) | low.to_bits() >> 16;
        let (w, x) = (
            _mm512_set1_epi32(pair as i32),
            _mm512_set1_epi32(0x3F80_3F80),
        );
        // SAFETY: the two vector types have the same bits.
        let (w, x) = unsafe {
            (
                std::mem::transmute::<__m512i, __m512bh>(w),
                std::mem::transmute::<__m512i, __m512bh>(x),
            )
        };
        let sums = _mm512_dpbf16_ps(_mm512_set1_ps(sum), w, x);
        let expected = _mm512_set1_ps(sum + high + low);
        _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(sums, expected) == 0xFFFF
    })
}
