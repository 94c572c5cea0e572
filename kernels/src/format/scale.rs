//! Scale formats X: how the shared scale of a block is stored.

use super::error::{list, serde_as_name};
use super::grid::{FloatGrid, Specials, exponent, pow2};
use super::{FormatError, Rounding};
use std::fmt;
use std::str::FromStr;

/// A scale format. Scales are never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleFormat {
    /// A power of two, `2^(code - L)` with `L = 2^(bits-1) - 1`; all ones is NaN; no zero.
    /// 8 bits are OCP's E8M0; fewer (named e7m0 .. e2m0) are microxcaling's `scale_bits`.
    E8M0 {
        /// 2..=8.
        bits: u8,
    },
    /// An unsigned float with subnormals, the usual bias `2^(E-1) - 1`, and all ones as NaN.
    /// UE4M3 is the positive half of FP8 E4M3; UE5M3 has bias 15.
    Unsigned {
        /// Bits of the exponent field.
        exponent_bits: u8,
        /// Stored bits of the mantissa.
        mantissa_bits: u8,
    },
    /// IEEE binary16.
    Fp16,
    /// bfloat16.
    Bf16,
    /// IEEE binary32.
    Fp32,
}

impl ScaleFormat {
    /// OCP E8M0.
    pub const E8M0: Self = Self::E8M0 { bits: 8 };
    /// UE4M3, the block scale of NVFP4.
    pub const UE4M3: Self = Self::Unsigned {
        exponent_bits: 4,
        mantissa_bits: 3,
    };
    /// UE5M3.
    pub const UE5M3: Self = Self::Unsigned {
        exponent_bits: 5,
        mantissa_bits: 3,
    };

    /// Every scale format there is.
    pub fn all() -> impl Iterator<Item = Self> {
        let powers = (2..=8).rev().map(|bits| Self::E8M0 { bits });
        let five = (1..=10).map(|mantissa_bits| Self::Unsigned {
            exponent_bits: 5,
            mantissa_bits,
        });
        let wide = [Self::Fp16, Self::Bf16, Self::Fp32];
        powers.chain([Self::UE4M3]).chain(five).chain(wide)
    }

    /// Whether the scale is a power of two, chosen by a rule that chooses an exponent.
    pub const fn is_power_of_two(self) -> bool {
        matches!(self, Self::E8M0 { .. })
    }

    /// Bits of the exponent field and of the stored mantissa of a float, `None` for a power of two.
    pub const fn float_bits(self) -> Option<(u32, u32)> {
        match self {
            Self::E8M0 { .. } => None,
            Self::Unsigned {
                exponent_bits,
                mantissa_bits,
            } => Some((exponent_bits as u32, mantissa_bits as u32)),
            Self::Fp16 => Some((5, 10)),
            Self::Bf16 => Some((8, 7)),
            Self::Fp32 => Some((8, 23)),
        }
    }

    /// Bits of a code in use.
    pub const fn bits(self) -> u32 {
        match self {
            Self::E8M0 { bits } => bits as u32,
            Self::Unsigned {
                exponent_bits,
                mantissa_bits,
            } => exponent_bits as u32 + mantissa_bits as u32,
            Self::Fp16 | Self::Bf16 => 16,
            Self::Fp32 => 32,
        }
    }

    /// Bytes a code is stored in, little-endian.
    pub const fn storage_bytes(self) -> usize {
        (self.bits() as usize).div_ceil(8)
    }

    /// The largest exponent of a power-of-two scale, L; the smallest is -L.
    pub const fn exponent_limit(self) -> Option<i32> {
        match self {
            Self::E8M0 { bits } => Some((1 << (bits - 1)) - 1),
            Self::Unsigned { .. } | Self::Fp16 | Self::Bf16 | Self::Fp32 => None,
        }
    }

    const fn unsigned_grid(exponent_bits: u8, mantissa_bits: u8) -> FloatGrid {
        FloatGrid {
            exponent_bits: exponent_bits as u32,
            mantissa_bits: mantissa_bits as u32,
            bias: (1 << (exponent_bits - 1)) - 1,
            specials: Specials::Fn,
        }
    }

    /// The code that stands for NaN.
    pub const fn nan_code(self) -> u32 {
        match self {
            Self::E8M0 { .. } | Self::Unsigned { .. } => u32::MAX >> (32 - self.bits()),
            Self::Fp16 => 0x7E00,
            Self::Bf16 => 0x7FC0,
            Self::Fp32 => 0x7FC0_0000,
        }
    }

    /// The code of the largest finite scale.
    pub const fn max_code(self) -> u32 {
        match self {
            Self::E8M0 { .. } | Self::Unsigned { .. } => self.nan_code() - 1,
            Self::Fp16 => 0x7BFF,
            Self::Bf16 => 0x7F7F,
            Self::Fp32 => 0x7F7F_FFFF,
        }
    }

    /// The code of the smallest scale above zero.
    pub const fn smallest_code(self) -> u32 {
        match self {
            Self::E8M0 { .. } => 0,
            Self::Unsigned { .. } | Self::Fp16 | Self::Bf16 | Self::Fp32 => 1,
        }
    }

    /// The largest finite scale.
    pub fn max(self) -> f32 {
        self.decode(self.max_code())
    }

    /// The smallest scale above zero.
    pub fn smallest(self) -> f32 {
        self.decode(self.smallest_code())
    }

    /// The scale that a code stands for; exact. Bits above [`ScaleFormat::bits`] are ignored.
    // Inlined, so that loops over blocks choose the format once: a quarter faster.
    #[inline(always)]
    pub fn decode(self, code: u32) -> f32 {
        let code = code & (u32::MAX >> (32 - self.bits()));
        match self {
            Self::E8M0 { .. } if code == self.nan_code() => f32::NAN,
            Self::E8M0 { bits } => pow2(code as i32 - ((1 << (bits - 1)) - 1)) as f32,
            Self::Unsigned {
                exponent_bits,
                mantissa_bits,
            } => Self::unsigned_grid(exponent_bits, mantissa_bits).decode(code) as f32,
            Self::Fp16 => half::f16::from_bits(code as u16).to_f32(),
            Self::Bf16 => half::bf16::from_bits(code as u16).to_f32(),
            Self::Fp32 => f32::from_bits(code),
        }
    }

    /// The code nearest to `x`, half to even, saturating (infinity too); negative is zero, NaN
    /// is the NaN code. A power-of-two scale has neither zero nor an even code in the usual
    /// sense: below the smallest is the smallest, and 1.5 * 2^e goes up.
    pub fn encode_nearest(self, x: f32) -> u32 {
        if x.is_nan() {
            return self.nan_code();
        }
        let x = x.max(0.0);
        if x >= self.max() {
            return self.max_code();
        }
        match self {
            Self::E8M0 { .. } if x == 0.0 => 0,
            Self::E8M0 { bits } => {
                let e = exponent(f64::from(x) * 4.0 / 3.0);
                (e + (1 << (bits - 1)) - 1).max(0) as u32
            }
            Self::Unsigned {
                exponent_bits,
                mantissa_bits,
            } => {
                let grid = Self::unsigned_grid(exponent_bits, mantissa_bits);
                grid.encode(f64::from(x), Rounding::Even, 0)
            }
            // Between the largest finite number and infinity the conversions round to infinity.
            Self::Fp16 => u32::from(half::f16::from_f32(x).to_bits()).min(self.max_code()),
            Self::Bf16 => u32::from(half::bf16::from_f32(x).to_bits()).min(self.max_code()),
            Self::Fp32 => x.to_bits(),
        }
    }

    /// The code of `2^e`, or the NaN code for an exponent above the largest. Exponents
    /// below the smallest are raised to it. `None` if this is no power-of-two scale.
    pub fn encode_exponent(self, e: i32) -> Option<u32> {
        let limit = self.exponent_limit()?;
        let code = if e > limit {
            self.nan_code()
        } else {
            (e.max(-limit) + limit) as u32
        };
        Some(code)
    }
}

impl fmt::Display for ScaleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::E8M0 { bits } => f.pad(&format!("e{bits}m0")),
            Self::Unsigned {
                exponent_bits,
                mantissa_bits,
            } => f.pad(&format!("ue{exponent_bits}m{mantissa_bits}")),
            Self::Fp16 => f.pad("fp16"),
            Self::Bf16 => f.pad("bf16"),
            Self::Fp32 => f.pad("fp32"),
        }
    }
}

impl FromStr for ScaleFormat {
    type Err = FormatError;

    /// The sign-less `ue5m3` may be written `e5m3`; without mantissa, `ue5m0` is `e5m0`.
    fn from_str(name: &str) -> Result<Self, FormatError> {
        let with_u = format!("u{name}");
        let without_u = name.strip_prefix('u').filter(|rest| rest.ends_with("m0"));
        let found = Self::all().find(|known| {
            let known = known.to_string();
            known == name || known == with_u || Some(known.as_str()) == without_u
        });
        found.ok_or_else(|| FormatError::UnknownScale {
            name: name.to_owned(),
            known: list(Self::all()),
        })
    }
}

serde_as_name!(ScaleFormat);
