//! Rounding and decoding of a vector of elements, as the head of [`super`] explains it.

use super::simd::{Portable, Simd};
use crate::format::{ElementFormat, FloatType, Grid, Rounding, ScaleFormat};

const EXPONENT_FIELD: u32 = 0x7F80_0000;
const MAGNITUDE: u32 = 0x7FFF_FFFF;
const SIGN: u32 = 0x8000_0000;
const ONE_BINADE: u32 = 1 << 23;

/// Roundings as const generic parameters.
pub(super) const EVEN: u8 = 0;
pub(super) const AWAY: u8 = 1;
pub(super) const HALF_TO_ZERO: u8 = 2;
pub(super) const TOWARD_ZERO: u8 = 3;
pub(super) const STOCHASTIC: u8 = 4;
pub(super) const TORCH_EVEN: u8 = 5;
pub(super) const TORCH_AWAY: u8 = 6;
/// Any rounding to a table of sixteen.
pub(super) const TABLE: u8 = 7;

/// A grid as numbers to compute with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec {
    /// The largest value.
    pub(crate) max: f32,
    /// The bits in which the largest negative magnitude differs from `max`.
    pub(crate) lowest_bits: u32,
    /// 2^emin, as f32 bits; for integers emin = 0.
    pub(crate) emin: u32,
    /// 23 - M: what separates the place of a step from that of an f32's last bit.
    pub(crate) shift: u32,
    /// Bits of a code.
    pub(crate) bits: u32,
    pub(crate) is_int: bool,
    /// The code of the largest magnitude; above are infinities and NaN.
    pub(crate) max_code: u32,
    /// The magnitude just below half the smallest step that counts as half; see
    /// [`crate::format::Dialect::lifts_to_one_step`].
    pub(crate) just_below_half: f32,
    /// A result of zero loses its minus sign if the scaled element's magnitude was at most this.
    pub(crate) sign_lost_up_to: f32,
    /// Value by code, for formats of at most four bits.
    pub(crate) values: [f32; 16],
    /// The smallest numbers that round to code 1, 2, ... of a table.
    pub(crate) thresholds: [f32; 15],
}

impl Codec {
    /// For the elements of a block. `sign_lost_up_to` as in [`super::plan`].
    pub fn of_element(element: ElementFormat, source: FloatType, sign_lost_up_to: f32) -> Self {
        let (emin, mantissa_bits, max_code) = match element.grid() {
            Grid::Float(grid) => (grid.emin(), grid.mantissa_bits, grid.max_code()),
            Grid::Int(grid) => (0, grid.fraction_bits, grid.max_code()),
            Grid::Table(_) => (0, 0, u32::MAX),
        };
        let half_step = crate::format::pow2(emin - mantissa_bits as i32 - 1);
        let ulp = match source {
            FloatType::F32 => f64::from(f32::EPSILON) / 2.0,
            _ => 1.0 / 256.0,
        };
        let mut values = [0.0; 16];
        for (value, code) in values.iter_mut().zip(element.codes().cycle()) {
            *value = element.decode(code);
        }
        Self {
            max: element.max_normal(),
            lowest_bits: element.max_normal().to_bits() ^ element.lowest().abs().to_bits(),
            emin: ((emin + 127) as u32) << 23,
            shift: 23 - mantissa_bits,
            bits: element.bits(),
            is_int: matches!(element.grid(), Grid::Int(_)),
            max_code,
            just_below_half: (half_step * (1.0 - ulp)) as f32,
            sign_lost_up_to,
            values,
            thresholds: [f32::INFINITY; 15],
        }
    }

    /// With the thresholds of a table under a rounding that draws no random number.
    pub fn with_thresholds(mut self, element: ElementFormat, rounding: Rounding) -> Self {
        if let Grid::Table(table) = element.grid() {
            for (code, threshold) in self.thresholds.iter_mut().enumerate().take(table.len() - 1) {
                let (low, high) = (table[code], table[code + 1]);
                let halfway = ((f64::from(low) + f64::from(high)) / 2.0) as f32;
                let candidates = [
                    low.next_up(),
                    halfway.next_down(),
                    halfway,
                    halfway.next_up(),
                ];
                let goes_up =
                    |&x: &f32| usize::from(element.encode(f64::from(x), rounding, 0)) > code;
                *threshold = candidates.into_iter().find(goes_up).unwrap_or(high);
            }
        }
        self
    }

    /// For an unsigned float or fp16 scale.
    pub fn of_scale(scale: ScaleFormat) -> Self {
        let bits = scale.float_bits();
        let (exponent_bits, mantissa_bits) = bits.expect("a scale that is a small float");
        let bias = (1 << (exponent_bits - 1)) - 1;
        Self {
            max: scale.max(),
            lowest_bits: 0,
            emin: (128 - bias) << 23,
            shift: 23 - mantissa_bits,
            // As if a sign, never set, stood above; fp16 has one.
            bits: scale.bits() + u32::from(scale != ScaleFormat::Fp16),
            is_int: false,
            max_code: scale.max_code(),
            just_below_half: 0.0,
            sign_lost_up_to: 0.0,
            values: [0.0; 16],
            thresholds: [0.0; 15],
        }
    }

    /// Value and code of a scale >= 0, half to even, saturating.
    #[inline(always)]
    pub fn round_scale(&self, x: f32) -> (f32, u32) {
        let one = Portable::<1>;
        let (value, code) = self.spread(one).round::<EVEN>([x.min(self.max)], [0]);
        (value[0], code[0])
    }

    /// The same in every lane.
    #[inline(always)]
    pub(super) fn spread<S: Simd>(&self, s: S) -> Lanes<'_, S> {
        Lanes {
            s,
            codec: self,
            max: s.splat(self.max),
            emin: s.splat_bits(self.emin),
            to_c: s.splat_bits(self.shift << 23),
            shift: self.shift,
            table: s.table(&self.values),
        }
    }
}

/// A [`Codec`] in registers.
#[derive(Clone, Copy)]
pub(super) struct Lanes<'a, S: Simd> {
    s: S,
    codec: &'a Codec,
    max: S::F,
    emin: S::U,
    to_c: S::U,
    shift: u32,
    table: S::Table,
}

impl<S: Simd> Lanes<'_, S> {
    /// Rounds magnitudes, at most `max`, to the grid: values and codes without sign.
    #[inline(always)]
    fn round<const ROUNDING: u8>(self, a: S::F, random: S::U) -> (S::F, S::U) {
        let s = self.s;
        let e = s.and(s.bits(a), s.splat_bits(EXPONENT_FIELD));
        let e = s.max_bits(e, self.emin);
        let c = s.add_bits(e, self.to_c);
        let sum = s.add(a, s.float(c));
        let value = s.sub(sum, s.float(c));
        let steps = s.sub_bits(s.bits(sum), c);
        let binades = s.shift_right(s.sub_bits(e, self.emin), self.shift);
        let code = s.add_bits(steps, binades);
        if ROUNDING == EVEN {
            return (value, code);
        }

        let rounded = Rounded {
            value,
            code,
            step: s.sub_bits(c, s.splat_bits(23 << 23)),
        };
        let half = s.float(s.sub_bits(rounded.step, s.splat_bits(ONE_BINADE)));
        let minus_half = s.float(s.xor(s.bits(half), s.splat_bits(SIGN)));
        let rest = s.sub(a, value);
        let is_below = s.at_most(s.splat(0.0), rest);
        let lifted = s.equal(a, s.splat(self.codec.just_below_half));
        let rounded = match ROUNDING {
            AWAY => rounded.up(s, s.equal(rest, half)),
            TORCH_EVEN => rounded.up(s, lifted),
            TORCH_AWAY => rounded.up(s, s.either(s.equal(rest, half), lifted)),
            HALF_TO_ZERO => rounded.down(s, s.equal(rest, minus_half)),
            TOWARD_ZERO => rounded.down(s, s.not(is_below)),
            // STOCHASTIC: fraction * 2^24 is compared with the top 24 bits, both whole; where
            // half to even went up already, the rest is negative and counts from below.
            _ => {
                let step = s.float(s.keep_unless(is_below, rounded.step));
                let fraction = s.add(rest, step);
                // 2^24 / step, from the exponents.
                let parts = s.sub_bits(s.splat_bits((127 + 127 + 24) << 23), rounded.step);
                let drawn = s.add_bits(s.shift_right(random, 8), s.splat_bits(1));
                let beats = s.at_most(s.convert(drawn), s.mul(fraction, s.float(parts)));
                let went_up = rounded.up(s, s.both(is_below, beats));
                went_up.down(s, s.not(s.either(is_below, beats)))
            }
        };
        (rounded.value, rounded.code)
    }

    /// Values and codes of scales >= 0, half to even, saturating.
    #[inline(always)]
    pub fn round_scales(self, x: S::F) -> (S::F, S::U) {
        let s = self.s;
        self.round::<EVEN>(s.min(x, self.max), s.splat_bits(0))
    }

    /// The table's value and code nearest to t, by counting thresholds.
    #[inline(always)]
    fn round_to_table(self, t: S::F) -> (S::F, S::U) {
        let s = self.s;
        let mut code = s.splat_bits(0);
        for threshold in self.codec.thresholds {
            let is_reached = s.at_most(s.splat(threshold), t);
            code = s.add_bits(code, s.keep_if(is_reached, s.splat_bits(1)));
        }
        (s.look_up(self.table, code), code)
    }

    /// Magnitudes `a` of elements `x`, at most the largest of the sign. All signs are kept of
    /// floats alone, which are symmetric.
    #[inline(always)]
    fn saturated<const SIGNED: bool>(self, x: S::F, a: S::F) -> S::F {
        let s = self.s;
        if SIGNED || self.codec.lowest_bits == 0 {
            return s.min(a, self.max);
        }
        let sign = s.shift_right(s.bits(x), 31);
        let is_negative = s.sub_bits(s.splat_bits(0), sign);
        let lowest = s.and(is_negative, s.splat_bits(self.codec.lowest_bits));
        s.min(a, s.float(s.xor(s.bits(self.max), lowest)))
    }

    /// The sign bits that results take from elements `x`, scaled to magnitude `a`.
    #[inline(always)]
    fn sign<const SIGNED: bool>(self, x: S::F, a: S::F, value: S::F) -> S::U {
        let s = self.s;
        let sign = s.and(s.bits(x), s.splat_bits(SIGN));
        if SIGNED {
            return sign;
        }
        let is_small = s.at_most(a, s.splat(self.codec.sign_lost_up_to));
        s.keep_unless(s.both(s.equal(value, s.splat(0.0)), is_small), sign)
    }

    /// The codes of elements `x` scaled to `t`.
    #[inline(always)]
    pub fn encode<const ROUNDING: u8, const SIGNED: bool>(
        self,
        x: S::F,
        t: S::F,
        random: S::U,
    ) -> S::U {
        let s = self.s;
        if ROUNDING == TABLE {
            return self.round_to_table(t).1;
        }
        let a = s.float(s.and(s.bits(t), s.splat_bits(MAGNITUDE)));
        let (value, code) = self.round::<ROUNDING>(self.saturated::<SIGNED>(x, a), random);
        if self.codec.is_int {
            let sign = s.shift_right(s.bits(x), 31);
            let minus = s.sub_bits(s.splat_bits(0), sign);
            let code = s.sub_bits(s.xor(code, minus), minus);
            return s.and(code, s.splat_bits(u32::MAX >> (32 - self.codec.bits)));
        }
        let sign = self.sign::<SIGNED>(x, a, value);
        s.or(code, s.shift_right(sign, 32 - self.codec.bits))
    }

    /// The values on the grid of elements `x` scaled to `t`.
    #[inline(always)]
    pub fn fake<const ROUNDING: u8, const SIGNED: bool>(
        self,
        x: S::F,
        t: S::F,
        random: S::U,
    ) -> S::F {
        let s = self.s;
        if ROUNDING == TABLE {
            return self.round_to_table(t).0;
        }
        let a = s.float(s.and(s.bits(t), s.splat_bits(MAGNITUDE)));
        let (value, _) = self.round::<ROUNDING>(self.saturated::<SIGNED>(x, a), random);
        s.float(s.or(s.bits(value), self.sign::<SIGNED>(x, a, value)))
    }

    /// The values of codes of at most four bits.
    #[inline(always)]
    pub fn decode_small(self, code: S::U) -> S::F {
        self.s.look_up(self.table, code)
    }

    /// The values of codes.
    #[inline(always)]
    pub fn decode(self, code: S::U) -> S::F {
        let (s, codec) = (self.s, self.codec);
        let sign_bit = s.splat_bits(1 << (codec.bits - 1));
        if codec.is_int {
            let signed = s.sub_bits(s.xor(code, sign_bit), sign_bit);
            // 23 - shift = fraction bits.
            let step = f32::from_bits((127 - 23 + codec.shift) << 23);
            return s.mul(s.convert(signed), s.splat(step));
        }
        let sign = s.and(code, sign_bit);
        let magnitude = s.xor(code, sign);
        let field = s.shift_left(magnitude, codec.shift);
        // A subnormal is a normal number of the first binade less that binade's one.
        let one_binade = s.splat_bits(ONE_BINADE);
        let is_subnormal = s.exceeds(one_binade, field);
        let bits = s.add_bits(field, s.splat_bits(codec.emin - ONE_BINADE));
        let bits = s.add_bits(bits, s.keep_if(is_subnormal, one_binade));
        let value = s.sub(s.float(bits), s.float(s.keep_if(is_subnormal, self.emin)));
        // Codes above the largest are an infinity with mantissa 0 and NaNs with others, as in f32.
        let is_special = s.exceeds(magnitude, s.splat_bits(codec.max_code));
        let special = s.keep_if(is_special, s.splat_bits(EXPONENT_FIELD));
        let sign = s.shift_left(sign, 32 - codec.bits);
        s.float(s.or(s.or(s.bits(value), special), sign))
    }
}

/// Magnitudes rounded half to even, for the other roundings to correct.
#[derive(Clone, Copy)]
struct Rounded<S: Simd> {
    value: S::F,
    code: S::U,
    /// The distance to the next value, as bits.
    step: S::U,
}

impl<S: Simd> Rounded<S> {
    /// One step further from zero where the condition holds.
    #[inline(always)]
    fn up(self, s: S, condition: S::M) -> Self {
        let value = s.add(self.value, s.float(s.keep_if(condition, self.step)));
        let code = s.add_bits(self.code, s.keep_if(condition, s.splat_bits(1)));
        Self {
            value,
            code,
            ..self
        }
    }

    /// One step back to zero where the condition holds.
    #[inline(always)]
    fn down(self, s: S, condition: S::M) -> Self {
        let value = s.sub(self.value, s.float(s.keep_if(condition, self.step)));
        let code = s.sub_bits(self.code, s.keep_if(condition, s.splat_bits(1)));
        Self {
            value,
            code,
            ..self
        }
    }
}

/// |x| as integers that order like it, NaN above all.
#[inline(always)]
pub(super) fn magnitude_bits<S: Simd>(s: S, x: S::F) -> S::U {
    s.and(s.bits(x), s.splat_bits(MAGNITUDE))
}

/// [`crate::format::random_at`] of the positions from `index` on.
#[inline(always)]
pub(super) fn random_from<S: Simd>(s: S, seed: u32, index: u64) -> S::U {
    let first = s.splat_bits(index as u32);
    let low = s.add_bits(first, s.iota());
    // Where the low half wrapped, the high half is one more; compared with the top bit flipped.
    let flip = s.splat_bits(SIGN);
    let wrapped = s.exceeds(s.xor(first, flip), s.xor(low, flip));
    let high = s.add_bits(
        s.splat_bits((index >> 32) as u32),
        s.keep_if(wrapped, s.splat_bits(1)),
    );
    let stream = mix(s, s.splat_bits(seed.wrapping_add(0x9E37_79B9)));
    let mixed = mix(s, s.add_bits(stream, low));
    mix(s, s.add_bits(mixed, high))
}

/// The 32-bit finaliser of MurmurHash3.
#[inline(always)]
fn mix<S: Simd>(s: S, h: S::U) -> S::U {
    let h = s.xor(h, s.shift_right(h, 16));
    let h = s.mul_bits(h, s.splat_bits(0x85EB_CA6B));
    let h = s.xor(h, s.shift_right(h, 13));
    let h = s.mul_bits(h, s.splat_bits(0xC2B2_AE35));
    s.xor(h, s.shift_right(h, 16))
}
