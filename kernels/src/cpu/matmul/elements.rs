//! Words of f32 of four codes a lane, by table look-ups: one code in every byte of a vector.
//!
//! Two look-ups find the low and the high byte of every value as bf16. Zipped, they are halves of
//! words, of which a shift and a mask make f32. Each lane keeps to its row of W all along.

use super::codecs::SplitTable;
use crate::cpu::simd::Simd;

/// Elements of one kind.
pub(super) trait Element<S: Simd>: Copy {
    /// Bits of a code.
    const BITS: usize;
    /// Whether scales are applied to exponents here.
    const IS_SCALED: bool = false;

    /// Whether values are made column by column.
    const IS_BY_COLUMN: bool = false;

    /// The values of the codes in bytes 0 to 3 of every lane.
    #[inline(always)]
    fn of_bytes(self, _: S, _codes: S::U) -> [S::U; 4] {
        unreachable!("codes of this kind are nibbles")
    }

    /// The values of the eight codes of four bits of every lane. `lower` is what a scale takes off
    /// the halves of words.
    #[inline(always)]
    fn of_nibbles(self, _: S, _codes: S::U, _lower: S::U) -> [S::U; 8] {
        unreachable!("codes of this kind are bytes, or found by column")
    }

    /// The values of the codes at `index` of the words.
    #[inline(always)]
    fn of_column(self, _: S, _codes: S::U, _index: u32) -> S::U {
        unreachable!("codes of this kind are found together")
    }
}

/// The high half of a word.
const HIGH_HALF: u32 = 0xFFFF_0000;
/// A code of six bits in every byte.
pub(super) const SIX_BITS: u32 = 0x3F3F_3F3F;
/// A code of four bits in every byte.
pub(super) const FOUR_BITS: u32 = 0x0F0F_0F0F;

/// f32 of bf16 whose bytes are given, arranged; `mask` is [`high_half`].
#[inline(always)]
fn widened<S: Simd>(s: S, halves: [S::U; 2], mask: S::U) -> [S::U; 4] {
    [
        s.shift_left(halves[0], 16),
        s.and(halves[0], mask),
        s.shift_left(halves[1], 16),
        s.and(halves[1], mask),
    ]
}

/// A mask of high halves. If it were a constant, the compiler would make blends of masks, which
/// fewer ports execute.
#[inline(always)]
fn high_half<S: Simd>(s: S) -> S::U {
    s.splat_bits(std::hint::black_box(HIGH_HALF))
}

/// bf16 of four bits: low and high bytes.
#[derive(Clone, Copy)]
pub(super) struct Small<S: Simd, const IS_LIFTED: bool> {
    low: S::Bytes,
    high: S::Bytes,
    mask: S::U,
}

impl<S: Simd, const IS_LIFTED: bool> Small<S, IS_LIFTED> {
    #[inline(always)]
    pub fn new(s: S, [low, high]: &[[u8; 16]; 2]) -> Self {
        Self {
            low: s.sixteen_bytes(low),
            high: s.sixteen_bytes(high),
            mask: high_half(s),
        }
    }

    #[inline(always)]
    fn four(self, s: S, codes: S::U, lower: S::U) -> [S::U; 4] {
        let low = s.look_up_bytes(self.low, codes);
        let mut halves = s.zip_bytes(low, s.look_up_bytes(self.high, codes));
        if IS_LIFTED {
            halves = [
                s.lower_halves(halves[0], lower),
                s.lower_halves(halves[1], lower),
            ];
        }
        widened(s, halves, self.mask)
    }
}

impl<S: Simd, const IS_LIFTED: bool> Element<S> for Small<S, IS_LIFTED> {
    const BITS: usize = 4;
    const IS_SCALED: bool = IS_LIFTED;

    #[inline(always)]
    fn of_nibbles(self, s: S, codes: S::U, lower: S::U) -> [S::U; 8] {
        let (codes, mask) = (s.arrange_bytes(codes), s.splat_bits(FOUR_BITS));
        let [a, c, e, g] = self.four(s, s.and(codes, mask), lower);
        let [b, d, f, h] = self.four(s, s.and(s.shift_right(codes, 4), mask), lower);
        [a, b, c, d, e, f, g, h]
    }
}

/// f32 of four bits.
#[derive(Clone, Copy)]
pub(super) struct Wide<S: Simd>(S::Table);

impl<S: Simd> Wide<S> {
    #[inline(always)]
    pub fn new(s: S, values: &[f32; 16]) -> Self {
        Self(s.table(values))
    }
}

impl<S: Simd> Element<S> for Wide<S> {
    const BITS: usize = 4;
    const IS_BY_COLUMN: bool = true;

    #[inline(always)]
    fn of_column(self, s: S, codes: S::U, index: u32) -> S::U {
        s.bits(s.look_up(self.0, s.shift_right(codes, 4 * index)))
    }
}

/// [`SplitTable`].
#[derive(Clone, Copy)]
pub(super) struct Split<S: Simd, const BITS: usize> {
    upper: S::Bytes,
    lower: [S::Bytes; 2],
    correction: [S::Bytes; 2],
    magnitude: S::U,
    mask: S::U,
}

impl<S: Simd, const BITS: usize> Split<S, BITS> {
    #[inline(always)]
    pub fn new(s: S, table: &SplitTable) -> Self {
        let (lower, correction) = (&table.lower, &table.correction);
        Self {
            upper: s.sixteen_bytes(&table.upper),
            lower: [s.sixteen_bytes(&lower[0]), s.sixteen_bytes(&lower[1])],
            correction: [
                s.sixteen_bytes(&correction[0]),
                s.sixteen_bytes(&correction[1]),
            ],
            magnitude: s.splat_bits(u32::from_le_bytes([table.magnitude; 4])),
            mask: high_half(s),
        }
    }
}

impl<S: Simd, const BITS: usize> Element<S> for Split<S, BITS> {
    const BITS: usize = BITS;

    #[inline(always)]
    fn of_bytes(self, s: S, codes: S::U) -> [S::U; 4] {
        let codes = s.arrange_bytes(codes);
        let upper = s.and(s.shift_right(codes, 4), s.splat_bits(FOUR_BITS));
        let magnitude = s.and(codes, self.magnitude);
        // The highest bit of a byte is set where upper bits are.
        let small = s.add_bytes(magnitude, s.splat_bits(0x7070_7070));
        let mut bytes = [magnitude; 2];
        for (byte, (lower, correction)) in self.lower.into_iter().zip(self.correction).enumerate() {
            let lower = s.look_up_bytes(lower, magnitude);
            bytes[byte] = s.add_bytes(lower, s.look_up_bytes(correction, small));
        }
        let high = s.add_bytes(bytes[1], s.look_up_bytes(self.upper, upper));
        widened(s, s.zip_bytes(bytes[0], high), self.mask)
    }
}

/// Signed bytes, as integers that are larger by 2^24.
#[derive(Clone, Copy)]
pub(super) struct Integers;

impl<S: Simd> Element<S> for Integers {
    const BITS: usize = 8;
    const IS_BY_COLUMN: bool = S::LOOKS_UP_LANES;

    #[inline(always)]
    fn of_bytes(self, s: S, codes: S::U) -> [S::U; 4] {
        let mut words = [codes; 4];
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.of_column(s, codes, i as u32);
        }
        words
    }

    #[inline(always)]
    fn of_column(self, s: S, codes: S::U, index: u32) -> S::U {
        let mut top = codes;
        if index < 3 {
            top = s.shift_left(top, 24 - 8 * index);
        }
        if index > 0 {
            top = s.and(top, s.splat_bits(0xFF00_0000));
        }
        s.bits(s.convert(top))
    }
}
