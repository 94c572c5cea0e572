//! `f16` and `bf16`, written so that loops over lanes become vector instructions.

/// IEEE 754 binary16, by its code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct F16(pub u16);

/// The upper half of binary32, by its code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bf16(pub u16);

impl F16 {
    /// The same value.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        let magnitude = u32::from(self.0 & 0x7fff) << 13;
        // Read as f32 the value is 2^112 too small, whether normal or not.
        let finite = (f32::from_bits(magnitude) * f32::from_bits((112 + 127) << 23)).to_bits();
        let bits = if magnitude >= 0x7c00 << 13 {
            magnitude | 0x7f80_0000
        } else {
            finite
        };
        f32::from_bits(bits | u32::from(self.0 & 0x8000) << 16)
    }

    /// The nearest value, ties to even.
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let magnitude = bits & 0x7fff_ffff;
        let normal = magnitude
            .wrapping_sub(112 << 23)
            .wrapping_add(0xfff + (magnitude >> 13 & 1))
            >> 13;
        // The last place of 0.5 is 2^-24, the subnormals' unit: the addition rounds.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits();
        let code = if magnitude > 0x7f80_0000 {
            return Self(0x7fff);
        } else if magnitude >= (127 + 16) << 23 {
            0x7c00
        } else if magnitude < (127 - 14) << 23 {
            subnormal
        } else {
            normal
        };
        Self((code | bits >> 16 & 0x8000) as u16)
    }
}

impl Bf16 {
    /// The same value.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    /// The nearest value, ties to even.
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        Self(if value.is_nan() {
            0x7fff
        } else {
            rounded as u16
        })
    }
}

/// Rounded to `f32`, to the odd neighbour where it is not exact: rounding that once more, to a
/// format with at most 22 bits of significand, is as good as rounding `value` itself.
#[inline(always)]
pub fn to_odd_f32(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    let bits = nearest.to_bits();
    // Equal also stands for NaN here: it is left alone.
    let is_above = back.abs() > value.abs();
    let is_below = back.abs() < value.abs();
    let step = if is_above {
        u32::MAX
    } else {
        u32::from(is_below)
    };
    f32::from_bits(if bits & 1 == 0 {
        bits.wrapping_add(step)
    } else {
        bits
    })
}

/// `a + b`, rounded to odd as in [`to_odd_f32`]. The sum must not overflow.
#[inline(always)]
pub fn add_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    // The error of a sum is a number (Knuth's two-sum).
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    let bits = sum.to_bits();
    let step = if error == 0.0 || !sum.is_finite() || bits & 1 == 1 {
        0
    } else if (error > 0.0) == (sum > 0.0) {
        1
    } else {
        u64::MAX
    };
    f64::from_bits(bits.wrapping_add(step))
}

/// `a * b + c` of values whose product is exact in `f64`, rounded to odd.
#[inline(always)]
pub fn fma_to_odd(a: f64, b: f64, c: f64) -> f64 {
    add_to_odd(a * b, c)
}
