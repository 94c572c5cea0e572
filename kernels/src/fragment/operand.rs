//! The operand types of tensor cores.

use super::bits::StoredBits;
use crate::format::{ElementFormat, FloatType, Grid, pow2};
use std::fmt;

/// The type of both operands of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperandType {
    /// bf16, 16 columns a product; sums are f32.
    Bf16,
    /// E4M3, 32 columns a product; sums are f32, of which some chips keep fewer bits.
    E4m3,
    /// 8-bit integers, 32 columns a product; sums are 32-bit integers.
    S8,
}

impl OperandType {
    /// Every type there is.
    pub const ALL: [Self; 3] = [Self::Bf16, Self::E4m3, Self::S8];

    /// The name, as PTX has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::E4m3 => "e4m3",
            Self::S8 => "s8",
        }
    }

    /// Bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Bf16 => 16,
            Self::E4m3 | Self::S8 => 8,
        }
    }

    /// The least k of formats that become these operands: the columns of a product.
    pub const fn least_block(self) -> usize {
        match self {
            Self::Bf16 => 16,
            Self::E4m3 | Self::S8 => 32,
        }
    }

    /// Operands of a register.
    pub const fn per_register(self) -> usize {
        32 / self.bits() as usize
    }

    /// The value of an operand, given its bits.
    pub fn value(self, bits: u32) -> f64 {
        match self {
            Self::Bf16 => f64::from(FloatType::Bf16.from_bits(bits)),
            Self::E4m3 => ElementFormat::FP8_E4M3.decode(bits as u8).into(),
            Self::S8 => f64::from((bits as u8).cast_signed()),
        }
    }

    /// P for activations of an element: its values are operands times 2^P. `None` if some value is
    /// not. Weights may have another P, [`StoredBits::exponent`].
    pub fn activation_exponent(self, element: ElementFormat) -> Option<i32> {
        match self {
            Self::Bf16 => Some(0),
            Self::E4m3 => StoredBits::of_operand(element, self).map(|stored| stored.exponent()),
            Self::S8 => {
                let unit = match element.grid() {
                    Grid::Table(_) => return None,
                    Grid::Int(grid) => -(grid.fraction_bits as i32),
                    Grid::Float(grid) => grid.emin() - grid.mantissa_bits as i32,
                };
                let largest = f64::from(element.max_normal()) * pow2(-unit);
                (largest <= 127.0).then_some(unit)
            }
        }
    }
}

impl fmt::Display for OperandType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
