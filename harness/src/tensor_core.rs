//! A bound on the error of sums on tensor cores that holds for every known chip.
//!
//! It is here, below the kernels, because two things need it: the registry of kernels and the
//! conformance suite of instructions.
//!
//! # How chips add
//!
//! An instruction adds its products in steps of n, and the sum so far with them. A term has an
//! exponent: that of a product is ea + eb, those of its operands, so that its significand lies in
//! [1, 4); a subnormal operand has the exponent emin of its format, however small it is. Let E be
//! the largest exponent of a step. Every term is cut toward zero to a multiple of 2^(E - F), the
//! cut terms are added exactly, and the sum, of exponent e, is cut toward zero to a multiple of
//! 2^(e - keep).
//!
//! | products | chips | n | F | keep |
//! |---|---|---|---|---|
//! | fp16 | V100 | 4 | 23 | 23 |
//! | bf16, fp16 | A100, A2, Ada, L40S | 8 | 24 | 23 |
//! | bf16, fp16 | H100, H200, B200 | 16 | 25 | 23 |
//! | tf32 | A100 to B200 | 4 or 8 | 24, 25 | 23 |
//! | FP8 | Ada, L40S | 16 | 13 | 13 |
//! | FP8, `wgmma` | H100, H200 | 32 | 13 | 13 |
//! | FP8, `mma.sync` | H100, H200, B200 | 16 as fp16, twice; then C by an f32 addition | 25 | 23 |
//! | FP8 | RTX Blackwell | 32 | 25 | 23 |
//!
//! # The bound
//!
//! Let B be the larger of the sum of the positive terms and that of the negative ones, without
//! signs; C counts as a term. Cutting toward zero never moves a sum out of the range from the one
//! to the other: no partial sum exceeds B, in whatever order. Let P be the largest 2^(ea + eb).
//! Then 2^E <= max(P, B) in every step, so that a step of t terms is off by less than
//!
//! ```text
//! t 2^-F max(P, B)  +  2^-keep B
//! ```
//!
//! t adds up, over all steps, to the N terms that are not zero and one carried sum a step. A step
//! of zeros changes nothing, so there are at most N steps. For f32 sums the most that any chip
//! loses is V100's, of 4 products a step and F = 23: for K products, in S = min(N, K / 4 + 16)
//! steps,
//!
//! ```text
//! (N + 2 S) 2^-23 max(P, B)
//! ```
//!
//! and A100's (N + S) / 2 + S and Hopper's (N + S) / 4 + S, with half and a quarter of the steps,
//! are less. The 16 are for a last tile that the order of operands scatters over its steps. For
//! FP8, Ada's S = min(N, 2 K / 32) steps lose the most:
//!
//! ```text
//! 2^-13 ((N + S) max(P, b) + S b)  +  2^-21 S B        b = 2^floor(log2 B)
//! ```
//!
//! The last term is what the chips lose that multiply by f16 instructions. Additions that f32
//! instructions make are off by 2^-23 B each. What is below the least subnormal is lost too.
//!
//! # Where there is no error
//!
//! Let every term be a multiple of q. No term is cut where 2^E <= 2^F q, no sum where it has at
//! most keep + 1 bits above q. So nothing is lost if `B < 2^(keep + 1) q` and `P <= 2^F q`, F and
//! keep those of the chip that keeps least: 23 and 23, 13 and 13. (The exponent of a carried sum is
//! then at most keep, in units of q.) A single product is never cut, since its own exponent is the
//! largest.

/// The least multiple of which all f32 are.
const F32_UNIT: f64 = exp2(-149);

/// 2^n.
const fn exp2(n: i32) -> f64 {
    f64::from_bits(((1023 + n) as u64) << 52)
}

/// The type of an operand of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// bfloat16.
    Bf16,
    /// IEEE binary16.
    F16,
    /// f32 of 10 bits of mantissa.
    Tf32,
    /// FP8, E4M3.
    E4m3,
    /// FP8, E5M2.
    E5m2,
}

impl Operand {
    /// The power of two that significands of the least binade are held to, subnormals too: 2^emin.
    pub const fn least_power(self) -> f64 {
        exp2(match self {
            Self::Bf16 | Self::Tf32 => -126,
            Self::F16 | Self::E5m2 => -14,
            Self::E4m3 => -6,
        })
    }
}

/// One term of a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// What it adds.
    pub value: f64,
    /// The power of two that its significand is held to, in a product 2^(ea + eb).
    pub power: f64,
}

impl Term {
    /// The product of two operands, whose least binades have the powers `least`; see
    /// [`Operand::least_power`]. Operands may be scaled, their least powers by the same factors.
    pub fn product([a, b]: [f64; 2], least: [f64; 2]) -> Self {
        let power = binade(a).max(least[0]) * binade(b).max(least[1]);
        let value = a * b;
        Self { value, power }
    }

    /// A sum that is carried on, in f32.
    pub fn carried(c: f64) -> Self {
        let power = binade(c).max(exp2(-126));
        Self { value: c, power }
    }
}

/// 2^floor(log2 |x|); 0 of 0, infinity of what is not finite.
fn binade(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & 0x7FF0_0000_0000_0000)
}

/// The power of two that the lowest set bit of `x` stands for; `x` is not zero.
pub fn lowest_bit(x: f64) -> f64 {
    let bits = x.to_bits();
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let exponent = (bits >> 52 & 0x7FF) as i32 - 1075 + mantissa.trailing_zeros() as i32;
    exp2(exponent)
}

/// The bits of a sum that a tensor core keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// f32, of products of bf16, fp16 or tf32.
    F32,
    /// f16, of products of fp16: as f32 sums, each step rounded to f16.
    F16,
    /// f32, of products of FP8: on some chips with 13 bits.
    Fp8,
}

impl Sums {
    /// F and keep of the chip that keeps least.
    const fn kept(self) -> [i32; 2] {
        match self {
            Self::F32 => [23, 23],
            Self::F16 => [23, 10],
            Self::Fp8 => [13, 13],
        }
    }

    /// The least power of two that the least results are multiples of.
    const fn least(self) -> f64 {
        match self {
            Self::F32 => F32_UNIT,
            Self::F16 => exp2(-24),
            // Results of a subnormal exponent are cut to 13 bits too.
            Self::Fp8 => exp2(-139),
        }
    }

    /// Steps that may lose something, of an instruction or a chain of them with so many products.
    fn steps(self, terms: usize, products: usize) -> f64 {
        let steps = match self {
            Self::F32 | Self::F16 => products / 4 + 16,
            Self::Fp8 => 2 * products.div_ceil(32),
        };
        steps.min(terms) as f64
    }
}

/// A sum, and how far from it a chip may end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The exact sum; in f64, whose own error is far below any bound that is not 0.
    pub exact: f64,
    /// The largest error of chips.
    pub error: f64,
}

impl Bound {
    /// Whether a chip may give `x`. Where the sum is NaN, that is NaN.
    pub fn accepts(self, x: f64) -> bool {
        match self.exact.is_finite() {
            true => (x - self.exact).abs() <= self.error,
            false => x == self.exact || (x.is_nan() && self.exact.is_nan()),
        }
    }
}

/// The properties of the terms of a sum that a bound needs.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    exact: f64,
    positive: f64,
    negative: f64,
    /// The lowest set bit of any.
    unit: f64,
    /// The largest power.
    power: f64,
    /// Terms that are not zero.
    count: usize,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            exact: 0.0,
            positive: 0.0,
            negative: 0.0,
            unit: f64::INFINITY,
            power: 0.0,
            count: 0,
        }
    }
}

impl FromIterator<Term> for Terms {
    fn from_iter<I: IntoIterator<Item = Term>>(terms: I) -> Self {
        let mut all = Self::default();
        terms.into_iter().for_each(|term| all.add(term));
        all
    }
}

impl Terms {
    /// Adds a term; zeros take no part.
    #[inline]
    pub fn add(&mut self, term: Term) {
        if term.value == 0.0 {
            return;
        }
        self.exact += term.value;
        // Without a branch: signs are random.
        self.positive += term.value.max(0.0);
        self.negative -= term.value.min(0.0);
        self.unit = self.unit.min(lowest_bit(term.value));
        self.power = self.power.max(term.power);
        self.count += 1;
    }

    /// No partial sum exceeds it.
    fn largest(&self) -> f64 {
        self.positive.max(self.negative)
    }

    /// Whether every chip gives the exact sum.
    fn is_exact(&self, sums: Sums) -> bool {
        let [fraction, keep] = sums.kept();
        let fits = self.largest() < exp2(keep + 1) * self.unit && self.unit >= sums.least();
        fits && (self.count <= 1 || self.power <= exp2(fraction) * self.unit)
    }

    /// The bound for a chain of instructions with so many products in all, zeros included, and so
    /// many additions by f32 instructions, whatever the order.
    pub fn bound(&self, sums: Sums, products: usize, additions: usize) -> Bound {
        match !self.exact.is_finite() || self.is_exact(sums) {
            true => Bound {
                exact: self.exact,
                error: 0.0,
            },
            false => self.rounded(sums, products, additions),
        }
    }

    /// [`Terms::bound`] where the terms are not those that are added, but near to them: it does not
    /// look at which are exact.
    pub fn rounded(&self, sums: Sums, products: usize, additions: usize) -> Bound {
        if self.count == 0 {
            let exact = self.exact;
            return Bound { exact, error: 0.0 };
        }
        let (terms, additions) = (self.count as f64, additions as f64);
        let steps = sums.steps(self.count, products);
        let largest = self.largest();
        let held = self.power.max(largest);
        let cuts = terms + steps;
        let unit = exp2(-23);
        // Relative to the largest; what sums grow by when they are rounded up goes through the
        // rest.
        let (error, least) = match sums {
            Sums::F32 => ((cuts + steps + additions) * unit * held, F32_UNIT),
            Sums::F16 => {
                let rounded = steps * exp2(-11) * largest;
                ((cuts + additions) * unit * held + rounded, exp2(-25))
            }
            Sums::Fp8 => {
                let below = binade(largest);
                let cut = cuts * self.power.max(below) + steps * below;
                let rest = steps * exp2(-21) + additions * unit;
                (exp2(-13) * cut + rest * largest, exp2(-139))
            }
        };
        let growth = match sums {
            Sums::F32 => (cuts + steps + additions) * unit,
            Sums::F16 => (cuts + additions) * unit + steps * exp2(-11),
            Sums::Fp8 => steps * exp2(-21) + additions * unit,
        };
        let error = match growth < 0.5 {
            true => error / (1.0 - growth) + (cuts + steps + additions) * least,
            false => f64::INFINITY,
        };
        Bound {
            exact: self.exact,
            error,
        }
    }
}
