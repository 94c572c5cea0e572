//! Rounding by its definition, on integers: what the tests compare with.

/// Rounding as the instruction's modifier names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Rn,
    Rna,
    Rz,
    Rm,
    Rp,
}

pub const MODES: [(Mode, &str); 4] = [
    (Mode::Rn, "rn"),
    (Mode::Rz, "rz"),
    (Mode::Rm, "rm"),
    (Mode::Rp, "rp"),
];

/// Mantissa bits without the leading one, exponents of the smallest normal and largest binade.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub mantissa: i32,
    pub lowest: i32,
    pub highest: i32,
}

pub const F64: Shape = Shape {
    mantissa: 52,
    lowest: -1022,
    highest: 1023,
};
pub const F32: Shape = Shape {
    mantissa: 23,
    lowest: -126,
    highest: 127,
};
pub const F16: Shape = Shape {
    mantissa: 10,
    lowest: -14,
    highest: 15,
};
pub const BF16: Shape = Shape {
    mantissa: 7,
    lowest: -126,
    highest: 127,
};
pub const TF32: Shape = Shape {
    mantissa: 10,
    lowest: -126,
    highest: 127,
};

/// `integer * 2^exponent` in steps that are each exact when the result is.
pub fn scale(integer: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    integer * 2f64.powi(half) * 2f64.powi(exponent - half)
}

/// `n * 2^unit` rounded; not for zero, whose sign is not known here.
pub fn round(n: i128, unit: i32, shape: Shape, mode: Mode) -> f64 {
    assert_ne!(n, 0);
    let magnitude = n.unsigned_abs();
    let top = 127 - magnitude.leading_zeros() as i32 + unit;
    let quantum = top.max(shape.lowest) - shape.mantissa;
    let is_negative = n < 0;
    let steps = if quantum <= unit {
        magnitude << (unit - quantum)
    } else {
        let shift = (quantum - unit).min(127);
        let (below, rest) = (magnitude >> shift, magnitude % (1 << shift));
        // Shifts beyond the value leave a rest that is under half.
        let is_capped = quantum - unit > 127;
        let half = 1u128 << (shift - 1);
        let above = below + 1;
        if rest == 0 {
            below
        } else {
            match mode {
                Mode::Rn if is_capped || rest < half => below,
                Mode::Rn if rest > half => above,
                Mode::Rn => below + below % 2,
                Mode::Rna => {
                    if !is_capped && rest >= half {
                        above
                    } else {
                        below
                    }
                }
                Mode::Rz => below,
                Mode::Rm => {
                    if is_negative {
                        above
                    } else {
                        below
                    }
                }
                Mode::Rp => {
                    if is_negative {
                        below
                    } else {
                        above
                    }
                }
            }
        }
    };
    let largest = scale(
        (2f64.powi(shape.mantissa + 1)) - 1.0,
        shape.highest - shape.mantissa,
    );
    let value = scale(steps as f64, quantum);
    let value = if value <= largest {
        value
    } else {
        match (mode, is_negative) {
            (Mode::Rz, _) | (Mode::Rm, false) | (Mode::Rp, true) => largest,
            _ => f64::INFINITY,
        }
    };
    if is_negative { -value } else { value }
}

/// A finite number as an integer and the weight of its unit.
pub fn split(x: f64) -> (i128, i32) {
    let bits = x.to_bits();
    let field = (bits >> 52 & 0x7ff) as i32;
    let mantissa = i128::from(bits & ((1 << 52) - 1));
    let (magnitude, unit) = if field == 0 {
        (mantissa, -1074)
    } else {
        (mantissa | 1 << 52, field - 1075)
    };
    let zeros = magnitude.trailing_zeros().min(60);
    let (magnitude, unit) = if magnitude == 0 {
        (0, 0)
    } else {
        (magnitude >> zeros, unit + zeros as i32)
    };
    (if x < 0.0 { -magnitude } else { magnitude }, unit)
}

/// The exact sum of `n * 2^unit` pairs.
pub fn sum(a: (i128, i32), b: (i128, i32)) -> (i128, i32) {
    if a.0 == 0 || b.0 == 0 {
        return if a.0 == 0 { b } else { a };
    }
    let unit = a.1.min(b.1);
    let at = |x: (i128, i32)| {
        let shift = (x.1 - unit) as u32;
        assert!(
            shift < x.0.unsigned_abs().leading_zeros() - 2,
            "{a:?} {b:?}"
        );
        x.0 << shift
    };
    (at(a) + at(b), unit)
}

/// Random bits: xorshift64*.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// An `f32` with an exponent in a range, and a mantissa that is often sparse.
    pub fn single(&mut self, exponents: std::ops::RangeInclusive<i32>) -> f32 {
        let span = (exponents.end() - exponents.start() + 1) as u64;
        let exponent = exponents.start() + (self.bits() % span) as i32;
        let bits = self.bits();
        let mantissa = match bits % 4 {
            0 => (bits >> 40) as u32,
            1 => (bits >> 40) as u32 & 0xff0000,
            2 => !(1 << (bits >> 8 & 31)),
            _ => 1 << (bits >> 8 & 31),
        } & 0x7f_ffff;
        f32::from_bits((bits as u32 & 0x80) << 24 | ((exponent + 127) as u32) << 23 | mantissa)
    }

    pub fn double(&mut self, exponents: std::ops::RangeInclusive<i32>) -> f64 {
        let single = self.single(0..=0);
        let span = (exponents.end() - exponents.start() + 1) as u64;
        let exponent = exponents.start() + (self.bits() % span) as i32;
        let low = if self.bits().is_multiple_of(2) {
            self.bits() & ((1 << 29) - 1)
        } else {
            0
        };
        let bits = f64::from(single).to_bits() & 0x800f_ffff_ffff_ffff;
        f64::from_bits(bits | low | ((exponent + 1023) as u64) << 52)
    }
}
