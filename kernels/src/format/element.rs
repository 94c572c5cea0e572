//! Element formats P_i: the values of the codes of a block before scaling.

use super::error::{list, serde_as_name};
use super::grid::{FloatGrid, Grid, IntGrid, Specials, encode_in_table, exponent, pow2};
use super::{CodeLayout, FormatError, Rounding};
use std::fmt;
use std::str::FromStr;

/// An element format. Two are equal if their names are.
#[derive(Clone, Copy)]
pub struct ElementFormat {
    name: &'static str,
    grid: Grid,
}

/// The 16 values of NormalFloat4: quantiles of N(0, 1) scaled to [-1, 1] with an exact zero
/// (Dettmers et al., QLoRA, appendix E).
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

impl ElementFormat {
    /// OCP E2M1, the element of MXFP4 and NVFP4.
    pub const FP4_E2M1: Self = Self::float("fp4_e2m1", 2, 1, 1, Specials::None);
    /// OCP E2M3.
    pub const FP6_E2M3: Self = Self::float("fp6_e2m3", 2, 3, 1, Specials::None);
    /// OCP E3M2.
    pub const FP6_E3M2: Self = Self::float("fp6_e3m2", 3, 2, 3, Specials::None);
    /// OCP FP8 E4M3: no infinity, NaN 0x7F.
    pub const FP8_E4M3: Self = Self::float("fp8_e4m3", 4, 3, 7, Specials::Fn);
    /// OCP FP8 E5M2.
    pub const FP8_E5M2: Self = Self::float("fp8_e5m2", 5, 2, 15, Specials::Ieee);
    /// MXINT8: code / 64.
    pub const INT8: Self = Self::int("int8", 8);
    /// Symmetric INT4: code / 4, -7..7.
    pub const INT4: Self = Self::int("int4", 4);
    /// NormalFloat4.
    pub const NF4: Self = Self {
        name: "nf4",
        grid: Grid::Table(&NF4),
    };
    /// E2M0: 0 and ±{1, 2, 4}. The OCP specification stops at four bits; this goes on with its
    /// rules for E2M1 and E2M3: bias 2^(E-1) - 1 = 1, every code finite, and the one subnormal of a
    /// format without mantissa is zero. So with E2M1 it shares binades, emax and with them the E8M0
    /// scales. With one significant bit no neighbour of a tie between powers of two is even: it
    /// goes up, see [`Rounding::Even`].
    pub const FP3_E2M0: Self = Self::float("fp3_e2m0", 2, 0, 1, Specials::None);
    /// E1M1: ±{0, 1, 2, 3}, by the same rules (bias 2^0 - 1 = 0): the values of INT3 times 2, with
    /// a -0. Two values of one exponent field, subnormals below: the grid is uniform.
    pub const FP3_E1M1: Self = Self::float("fp3_e1m1", 1, 1, 0, Specials::None);
    /// Symmetric INT3: code / 2, -3..3.
    pub const INT3: Self = Self::int("int3", 3);
    /// INT2 of weight quantisers: all four of the two's complement, -2..1, under a symmetric scale.
    /// A scale maps amax to 1.5, half of what the codes span, as GPTQ (`sym`) and
    /// compressed-tensors (`symmetric`) have it; see [`ElementFormat::half_range`]. What
    /// microxcaling calls `int2` never has -2: that is [`ElementFormat::TERNARY`].
    pub const INT2: Self = Self {
        name: "int2",
        grid: Grid::Int(IntGrid {
            bits: 2,
            fraction_bits: 0,
            is_symmetric: false,
        }),
    };
    /// -1, 0 and 1, log2 3 = 1.58 bits of information stored in two, as symmetric integers are: the
    /// code of -2 is never produced.
    pub const TERNARY: Self = Self::int("ternary", 2);

    /// Every element format there is. To add a format, add its constant above and its line here.
    pub const ALL: &'static [Self] = &[
        Self::FP4_E2M1,
        Self::FP6_E2M3,
        Self::FP6_E3M2,
        Self::FP8_E4M3,
        Self::FP8_E5M2,
        Self::INT8,
        Self::INT4,
        Self::NF4,
        Self::FP3_E2M0,
        Self::FP3_E1M1,
        Self::INT3,
        Self::INT2,
        Self::TERNARY,
    ];

    const fn float(name: &'static str, e: u32, m: u32, bias: i32, specials: Specials) -> Self {
        let grid = FloatGrid {
            exponent_bits: e,
            mantissa_bits: m,
            bias,
            specials,
        };
        Self {
            name,
            grid: Grid::Float(grid),
        }
    }

    /// Symmetric: one sign bit, one bit before the point, the rest behind it, as MXINT8.
    const fn int(name: &'static str, bits: u32) -> Self {
        Self {
            name,
            grid: Grid::Int(IntGrid {
                bits,
                fraction_bits: bits - 2,
                is_symmetric: true,
            }),
        }
    }

    /// The name, as in `fp4_e2m1`.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The values.
    pub const fn grid(self) -> Grid {
        self.grid
    }

    /// Bits of a code.
    pub const fn bits(self) -> u32 {
        match self.grid {
            Grid::Float(grid) => 1 + grid.exponent_bits + grid.mantissa_bits,
            Grid::Int(grid) => grid.bits,
            Grid::Table(table) => table.len().ilog2(),
        }
    }

    /// The layout of codes in bytes.
    ///
    /// # Panics
    /// Never for an element of [`ElementFormat::ALL`]: the compiler checks them.
    pub const fn layout(self) -> CodeLayout {
        CodeLayout::from_bits(self.bits()).expect("an element has 2 to 8 bits")
    }

    /// Every code, finite or not.
    pub fn codes(self) -> std::ops::RangeInclusive<u8> {
        0..=self.layout().mask()
    }

    /// The code of +0.
    pub fn zero_code(self) -> u8 {
        self.encode(0.0, Rounding::Even, 0)
    }

    /// The largest finite value.
    pub fn max_normal(self) -> f32 {
        match self.grid {
            Grid::Float(grid) => grid.decode(grid.max_code()) as f32,
            Grid::Int(grid) => grid.decode(grid.max_code()) as f32,
            Grid::Table(table) => table
                .iter()
                .fold(0.0, |max: f32, value| max.max(value.abs())),
        }
    }

    /// The lowest finite value that a quantiser produces: minus the largest, except for `int2`.
    pub fn lowest(self) -> f32 {
        match self.grid {
            Grid::Float(_) => -self.max_normal(),
            Grid::Int(grid) => -(grid.most_steps(true) * pow2(-(grid.fraction_bits as i32))) as f32,
            Grid::Table(table) => table[0],
        }
    }

    /// Half the distance from the lowest to the largest value; scales map amax to it. For a
    /// symmetric format this is the largest value.
    pub fn half_range(self) -> f32 {
        ((f64::from(self.max_normal()) - f64::from(self.lowest())) / 2.0) as f32
    }

    /// `floor(log2 half_range)`: what the `floor` scale rule subtracts.
    pub fn emax(self) -> i32 {
        exponent(f64::from(self.half_range()))
    }

    /// Bits behind the leading one in the top binade, or `None` for a table.
    pub const fn mantissa_bits(self) -> Option<u32> {
        match self.grid {
            Grid::Float(grid) => Some(grid.mantissa_bits),
            Grid::Int(grid) => Some(grid.fraction_bits),
            Grid::Table(_) => None,
        }
    }

    /// The value of a code; bits above [`ElementFormat::bits`] are ignored.
    pub fn decode(self, code: u8) -> f32 {
        let code = u32::from(code & self.layout().mask());
        match self.grid {
            Grid::Float(grid) => {
                let sign_bit = u32::from(self.layout().top_bit());
                let magnitude = grid.decode(code & (sign_bit - 1)) as f32;
                if code & sign_bit == 0 {
                    magnitude
                } else {
                    -magnitude
                }
            }
            Grid::Int(grid) => grid.decode(code) as f32,
            Grid::Table(table) => table[code as usize],
        }
    }

    /// The code that `t` rounds to, saturating (infinities too); float formats keep the sign
    /// of zero. NaN becomes the NaN code 0x7F, or the largest value in a format without NaN,
    /// or zero in an integer format or table. `random` is the number that a stochastic
    /// rounding draws, [`Rounding::random`].
    pub fn encode(self, t: f64, rounding: Rounding, random: u32) -> u8 {
        match self.grid {
            Grid::Float(grid) if t.is_nan() => grid.nan_code().unwrap_or(grid.max_code()) as u8,
            Grid::Float(grid) => self.with_sign(grid.encode(t.abs(), rounding, random), t),
            Grid::Int(_) if t.is_nan() => 0,
            Grid::Int(grid) => {
                let steps = rounding.round(t.abs() * pow2(grid.fraction_bits as i32), random);
                grid.code_of_steps(steps, t.is_sign_negative()) as u8
            }
            Grid::Table(table) => {
                let t = if t.is_nan() { 0.0 } else { t };
                encode_in_table(table, t, rounding, random) as u8
            }
        }
    }

    /// Puts the sign of `t` above the code of a float magnitude.
    pub(crate) fn with_sign(self, magnitude: u32, t: f64) -> u8 {
        let sign = u8::from(t.is_sign_negative()) * self.layout().top_bit();
        sign | magnitude as u8
    }
}

/// Every element has a layout.
const _: () = {
    let mut index = 0;
    while index < ElementFormat::ALL.len() {
        ElementFormat::ALL[index].layout();
        index += 1;
    }
};

impl PartialEq for ElementFormat {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ElementFormat {}

impl std::hash::Hash for ElementFormat {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for ElementFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for ElementFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl FromStr for ElementFormat {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        let found = Self::ALL.iter().copied().find(|known| known.name == name);
        found.ok_or_else(|| FormatError::UnknownElement {
            name: name.to_owned(),
            known: list(Self::ALL),
        })
    }
}

serde_as_name!(ElementFormat);
