//! The adding rule of each chip in exact integers, as its words show it; see
//! [`mxlab_harness::tensor_core`] for the table.

/// An operand or a sum: `significand` times 2^`lowest`, held to the exponent `exponent`.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    pub significand: i128,
    pub lowest: i32,
    pub exponent: i32,
}

impl Number {
    /// A code of a format: sign, exponent field, mantissa. Subnormals keep the exponent emin.
    pub fn of_fields(negative: bool, field: i32, mantissa: i128, bits: i32, emin: i32) -> Self {
        let (magnitude, exponent) = match field {
            0 => (mantissa, emin),
            field => (mantissa | 1 << bits, emin - 1 + field),
        };
        Self {
            significand: if negative { -magnitude } else { magnitude },
            lowest: exponent - bits,
            exponent,
        }
    }

    pub fn of_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let (field, mantissa) = (bits >> 23 & 0xFF, bits & 0x7F_FFFF);
        Self::of_fields(bits >> 31 == 1, field as i32, mantissa.into(), 23, -126)
    }

    pub fn times(self, other: Self) -> Self {
        Self {
            significand: self.significand * other.significand,
            lowest: self.lowest + other.lowest,
            exponent: self.exponent + other.exponent,
        }
    }

    pub fn value(self) -> f64 {
        self.significand as f64 * 2f64.powi(self.lowest)
    }
}

/// One step: terms cut to 2^(E - `fraction`), their sum to `keep` bits behind its first.
fn step(terms: &[Number], fraction: i32, keep: i32) -> f32 {
    let terms = || terms.iter().filter(|term| term.significand != 0);
    let Some(largest) = terms().map(|term| term.exponent).max() else {
        return 0.0;
    };
    let unit = largest - fraction;
    let cut = |term: &Number| {
        let (magnitude, sign) = (term.significand.abs(), term.significand.signum());
        match term.lowest - unit {
            up @ 0.. => sign * (magnitude << up),
            down @ -127..0 => sign * (magnitude >> -down),
            _ => 0,
        }
    };
    let sum: i128 = terms().map(cut).sum();
    if sum == 0 {
        return 0.0;
    }
    let exponent = (127 - sum.abs().leading_zeros() as i32 + unit).max(-126);
    let drop = (exponent - keep - unit).clamp(0, 127);
    let kept = sum.abs() >> drop << drop;
    (sum.signum() as f64 * kept as f64 * 2f64.powi(unit)) as f32
}

/// How a chip does an instruction.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// In steps of so many products, the sum so far in each: F, keep.
    Steps(usize, i32, i32),
    /// FP8 as two products of f16, k mod 4 of 0 and 1 first, and an addition of C in f32.
    Halves,
}

impl Rule {
    /// D of one instruction.
    pub fn instruction(self, products: &[Number], c: f32) -> f32 {
        match self {
            Self::Steps(count, fraction, keep) => {
                let add = |sum: f32, products: &[Number]| {
                    let mut terms = products.to_vec();
                    terms.push(Number::of_f32(sum));
                    step(&terms, fraction, keep)
                };
                products.chunks(count).fold(c, add)
            }
            Self::Halves => {
                let half = |parts: [usize; 2]| -> Vec<Number> {
                    let indexed = products.iter().enumerate();
                    let part = indexed.filter(|(k, _)| parts.contains(&(k % 4)));
                    part.map(|(_, product)| *product).collect()
                };
                let first = Self::Steps(16, 25, 23).instruction(&half([0, 1]), 0.0);
                Self::Steps(16, 25, 23).instruction(&half([2, 3]), first) + c
            }
        }
    }

    /// D of a chain of instructions of `width` products, each with the result before as C.
    pub fn chain(self, products: &[Number], width: usize, c: f32) -> f32 {
        let chunks = products.chunks(width);
        chunks.fold(c, |sum, products| self.instruction(products, sum))
    }
}

/// Products of 16 bits and tf32: V100, A100 to L40S, H100 to B200, and tf32 of both kinds.
pub const WIDE: [Rule; 6] = [
    Rule::Steps(4, 23, 23),
    Rule::Steps(8, 24, 23),
    Rule::Steps(16, 25, 23),
    Rule::Steps(4, 24, 23),
    Rule::Steps(4, 25, 23),
    Rule::Steps(8, 25, 23),
];

/// FP8: Ada and L40S, `wgmma` of H100 and H200, `mma.sync` there and of B200, RTX Blackwell.
pub const NARROW: [Rule; 4] = [
    Rule::Steps(16, 13, 13),
    Rule::Steps(32, 13, 13),
    Rule::Halves,
    Rule::Steps(32, 25, 23),
];
