//! Positions of codes and scales in fragment order.

use super::OperandType;
use super::bits::StoredBits;
use crate::format::{BlockFormat, ElementFormat, Grid, ScaleFormat};
use crate::support::{Taker, Unsupported, support};

/// Rows of a tile.
pub const TILE: usize = 16;
/// Columns of a chunk.
pub const CHUNK: usize = 64;
/// Lanes of a warp.
const LANES: usize = 32;
/// Columns of a chunk that a lane holds of a row.
const LANE_COLUMNS: usize = 16;
/// Significant bits of a bf16.
const BF16_BITS: u32 = 8;

/// How a folded scale becomes a bf16, scale * 2^(P - A): the stored code shifted left into the
/// exponent and mantissa fields, then multiplied by two powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    /// Bits by which the code is shifted left.
    pub shift: u32,
    /// Exponents of the powers of two; both 0 where the bits are the number.
    pub exponents: [i32; 2],
    /// A: the result must be multiplied by 2^A. `None` if A is the exponent of the tensor's largest
    /// scale.
    pub excess: Option<i32>,
}

/// How weights are stored in fragment order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// bf16.
    Dense,
    /// Codes and scales.
    Packed(FragmentFormat),
}

impl WeightFormat {
    /// The operand type that weights become.
    pub const fn operand(&self) -> OperandType {
        match self {
            Self::Dense => OperandType::Bf16,
            Self::Packed(format) => format.operand(),
        }
    }

    /// Words of the 16 weights that a lane holds of a row.
    pub const fn row_words(&self) -> usize {
        match self {
            Self::Dense => LANE_COLUMNS / 2,
            Self::Packed(format) => format.row_words(),
        }
    }

    /// Bytes of the codes of a tile and chunk.
    pub const fn chunk_bytes(&self) -> usize {
        2 * self.row_words() * LANES * 4
    }

    /// L: consecutive columns that a lane holds.
    pub fn run(&self) -> usize {
        match self {
            Self::Dense => LANE_COLUMNS,
            Self::Packed(format) => format.run(),
        }
    }

    /// The column, in its chunk, of a lane's i-th weight.
    pub fn column(&self, t: usize, i: usize) -> usize {
        let run = self.run();
        4 * run * (i / run) + run * t + i % run
    }

    /// Bytes of codes and of scales of a [rows, cols] tensor.
    pub fn bytes(&self, rows: usize, cols: usize) -> (usize, usize) {
        let tiles = rows.div_ceil(TILE);
        let codes = tiles * cols.div_ceil(CHUNK) * self.chunk_bytes();
        let scales = match self {
            Self::Dense => 0,
            Self::Packed(format) => tiles * cols.div_ceil(format.slot()) * format.slot_bytes(),
        };
        (codes, scales)
    }

    /// The position of word `word` of row g, or of row g + 8, among a lane's words. For 8-bit
    /// operands the two rows alternate, as the registers of a product do, so that bytes which are
    /// operands already stay where they were loaded.
    pub const fn word_place(&self, half: usize, word: usize) -> usize {
        match self.operand() {
            OperandType::Bf16 => half * self.row_words() + word,
            OperandType::E4m3 | OperandType::S8 => 2 * word + half,
        }
    }

    /// The byte of word `word` of lane `lane` in a tile and chunk.
    pub const fn word_offset(&self, lane: usize, word: usize) -> usize {
        let words = 2 * self.row_words();
        let first = word / 4 * 4;
        let width = if words - first < 4 { words - first } else { 4 };
        4 * (LANES * first + width * lane + word - first)
    }
}

/// The fragment order of a block format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentFormat {
    element: ElementFormat,
    scale: ScaleFormat,
    block_size: usize,
    has_tensor_scale: bool,
    operand: OperandType,
}

impl FragmentFormat {
    /// The fragment order of a block format, for bf16 operands.
    ///
    /// # Errors
    /// [`Unsupported`] by [`Taker::Weights`].
    pub fn new(format: &BlockFormat) -> Result<Self, Unsupported> {
        Self::of_operand(format, OperandType::Bf16)
    }

    /// The fragment order of a block format, for operands of a type. A product of 8-bit operands
    /// has 32 columns, so blocks must have at least 32.
    ///
    /// # Errors
    /// [`Unsupported`] by [`Taker::Weights`].
    pub fn of_operand(format: &BlockFormat, operand: OperandType) -> Result<Self, Unsupported> {
        support(format).check(Taker::Weights(operand))?;
        Ok(Self {
            element: format.element(),
            scale: format.scale(),
            block_size: format.block_size(),
            has_tensor_scale: format.has_tensor_scale(),
            operand,
        })
    }

    /// The element format.
    pub const fn element(&self) -> ElementFormat {
        self.element
    }

    /// The scale format.
    pub const fn scale(&self) -> ScaleFormat {
        self.scale
    }

    /// k.
    pub const fn block_size(&self) -> usize {
        self.block_size
    }

    /// Whether the tensor has a scale of its own.
    pub const fn has_tensor_scale(&self) -> bool {
        self.has_tensor_scale
    }

    /// The operand type that codes become.
    pub const fn operand(&self) -> OperandType {
        self.operand
    }

    /// How codes are stored.
    ///
    /// # Panics
    /// Never: an element without such bits has no format.
    pub fn stored(&self) -> StoredBits {
        StoredBits::of_operand(self.element, self.operand).expect("the format was built with them")
    }

    /// A, given the largest scale code: operands times stored scales are weights over 2^A.
    pub fn excess(&self, largest: u32) -> i32 {
        match (self.scale.exponent_limit(), self.operand) {
            (Some(limit), _) => largest.cast_signed() - limit,
            (None, OperandType::Bf16) => self.factor().and_then(|f| f.excess).unwrap_or(0),
            (None, _) => self.stored().exponent(),
        }
    }

    /// How scales are folded into operands; `None` if they are applied to sums.
    pub fn factor(&self) -> Option<Factor> {
        if self.operand != OperandType::Bf16 {
            return None;
        }
        let exponent = self.stored().exponent();
        match self.scale {
            ScaleFormat::E8M0 { .. } => Some(Factor {
                shift: 7,
                exponents: [0, 0],
                excess: None,
            }),
            ScaleFormat::Unsigned {
                exponent_bits,
                mantissa_bits,
            } if self.significant_bits()? + u32::from(mantissa_bits) < BF16_BITS => {
                // The fields of the code, read as those of a bf16, are the scale times 2^(bias -
                // 127).
                let bias = (1 << (exponent_bits - 1)) - 1;
                let excess = 1 << (exponent_bits - 1);
                let total = exponent - excess + 127 - bias;
                Some(Factor {
                    shift: 7 - u32::from(mantissa_bits),
                    exponents: [total.min(127), total - total.min(127)],
                    excess: Some(excess),
                })
            }
            ScaleFormat::Unsigned { .. }
            | ScaleFormat::Fp16
            | ScaleFormat::Bf16
            | ScaleFormat::Fp32 => None,
        }
    }

    /// Significant bits of an element; `None` for a table, whose values use all bits of bf16.
    fn significant_bits(&self) -> Option<u32> {
        match self.element.grid() {
            Grid::Int(grid) => Some(grid.bits - 1),
            Grid::Float(grid) => Some(grid.mantissa_bits + 1),
            Grid::Table(_) => None,
        }
    }

    /// L: consecutive columns that a lane holds.
    pub fn run(&self) -> usize {
        match self.factor() {
            Some(_) => LANE_COLUMNS,
            None => (self.block_size / 4).min(LANE_COLUMNS),
        }
    }

    /// Words of the 16 codes that a lane holds of a row.
    ///
    /// # Panics
    /// Never: codes that do not fill whole words have no stored bits, and so no format.
    pub const fn row_words(&self) -> usize {
        let words = self.element.layout().words(LANE_COLUMNS);
        words.expect("the format was built with whole words")
    }

    /// Columns of a slot of scales.
    pub fn slot(&self) -> usize {
        self.block_size.max(CHUNK)
    }

    /// How many lanes t differ in scale.
    pub fn scale_lanes(&self) -> usize {
        match self.factor() {
            Some(_) => (CHUNK / self.block_size).max(1),
            None => 1,
        }
    }

    /// Scales of a row in a slot, for a lane.
    pub fn scale_runs(&self) -> usize {
        LANE_COLUMNS / self.run()
    }

    /// Bytes of a stored scale.
    pub const fn scale_bytes(&self) -> usize {
        self.scale.storage_bytes()
    }

    /// Bytes of the scales of a tile and slot.
    pub fn slot_bytes(&self) -> usize {
        8 * self.scale_lanes() * 2 * self.scale_runs() * self.scale_bytes()
    }
}
