//! The floating-point type a tensor is stored or computed in.

use super::FormatError;
use super::error::{list, serde_as_name};
use std::fmt;
use std::str::FromStr;

/// The type of a dense tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE binary32.
    F32,
    /// bfloat16: binary32 cut to 8 significant bits.
    Bf16,
    /// IEEE binary16.
    F16,
}

impl FloatType {
    /// Every type there is.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The name that lm-evaluation-harness and PyTorch use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// Bytes an element takes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// `x` rounded to this type, half to even, as an f32.
    #[inline]
    pub fn round(self, x: f32) -> f32 {
        match self {
            Self::F32 => x,
            Self::Bf16 => half::bf16::from_f32(x).to_f32(),
            Self::F16 => half::f16::from_f32(x).to_f32(),
        }
    }

    /// The bits of `x` rounded to this type, in the low end.
    pub fn to_bits(self, x: f32) -> u32 {
        match self {
            Self::F32 => x.to_bits(),
            Self::Bf16 => u32::from(half::bf16::from_f32(x).to_bits()),
            Self::F16 => u32::from(half::f16::from_f32(x).to_bits()),
        }
    }

    /// The value of such bits; those above the type's width are ignored.
    pub fn from_bits(self, bits: u32) -> f32 {
        match self {
            Self::F32 => f32::from_bits(bits),
            Self::Bf16 => half::bf16::from_bits(bits as u16).to_f32(),
            Self::F16 => half::f16::from_bits(bits as u16).to_f32(),
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FloatType {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        let found = Self::ALL.into_iter().find(|known| known.name() == name);
        found.ok_or_else(|| FormatError::UnknownFloatType {
            name: name.to_owned(),
            known: list(Self::ALL),
        })
    }
}

serde_as_name!(FloatType);
