//! Which kernels and operands support a format. This is the only place that refuses one.
//!
//! [`support`] answers for each [`Taker`]; kernels, fragment orders and the engines ask it, and
//! `mxlab formats` prints it. A refusal is an [`Unsupported`], which says what was found, what was
//! expected and what to do.
//!
//! # A new part of a format
//! [`Support::check`] destructures a [`BlockFormat`] without `..`: a new field fails to compile
//! here until each taker handles it. These parts fit in without another design:
//!
//! - Zero points: a field with the format of a block's zero point, or none. First on the CPU; in
//!   PTX for operands that come with a sum of x to correct by.
//! - A second level of scales: `tensor_scale` becomes none, tensor, or a super-block with its size
//!   and the formats of its scale and minimum. First on the CPU; in PTX it is a factor of sums.
//! - Scales per channel or per tensor: `block_size` becomes k, a row, or the tensor. First wherever
//!   scales are applied to sums.
//! - Other widths: a [`CodeLayout`], and its arm in [`Support::check`]. First in PTX, whose
//!   templates follow the layout; as operands once a run of codes fills whole words.

mod error;

pub use error::{Part, Unsupported};

use crate::format::{
    BlockFormat, CodeLayout, Dialect, ElementFormat, FloatGrid, Grid, MatrixFormat, NegativeZero,
    Rounding, ScaleFormat, ScaleRule, Specials,
};
use crate::fragment::OperandType;
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::CacheFormat;
use std::fmt;

/// Block sizes k of the PTX kernels: lanes of a warp share a block, 8 elements each.
pub const PTX_BLOCK_SIZES: [usize; 4] = [16, 32, 64, 128];

/// A user of formats, which may support one or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taker {
    /// The CPU kernels.
    Cpu,
    /// The PTX kernels that choose scales or round elements.
    Quantize,
    /// The PTX kernels that dequantise.
    Dequantize,
    /// The PTX kernels for the scale of a tensor as a whole.
    TensorScale,
    /// Tensor cores, for weights as operands of this type.
    Weights(OperandType),
    /// Tensor cores, for activations as operands of this type.
    Activations(OperandType),
    /// The kernels that write the KV cache.
    CacheWrite,
    /// The attention kernels, which read it.
    CacheRead,
    /// A chip's conversions: to an element if it `rounds`, else from it.
    Conversion {
        /// The elements that are converted.
        set: ConversionSet,
        /// To the element.
        rounds: bool,
    },
}

/// Elements that the same chips convert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConversionSet {
    /// E4M3 and E5M2.
    Fp8,
    /// E2M1, E2M3 and E3M2.
    Fp4Fp6,
}

/// The support of one format.
#[derive(Clone, Copy, Debug)]
pub struct Support {
    format: BlockFormat,
}

/// The support of `format`.
pub const fn support(format: &BlockFormat) -> Support {
    Support { format: *format }
}

/// Refuses a format of weights for a taker that does not support it: ggml's are the CPU's alone.
///
/// # Errors
/// [`Unsupported`], with the first unsupported part.
pub fn check_matrix(format: &MatrixFormat, taker: Taker) -> Result<(), Unsupported> {
    match (format, taker) {
        (MatrixFormat::Block(format), _) => support(format).check(taker),
        (MatrixFormat::Ggml(_), Taker::Cpu) => Ok(()),
        (MatrixFormat::Ggml(_), _) => Err(Unsupported {
            format: Box::new(*format),
            taker,
            part: Part::Structure,
            expected: "blocks of codes, each with one scale",
        }),
    }
}

/// The conversions of an element, and the packed type in their names, as in `e2m1x2`.
pub const fn conversion(element: ElementFormat) -> Option<(ConversionSet, &'static str)> {
    let Grid::Float(FloatGrid {
        exponent_bits,
        mantissa_bits,
        specials,
        bias: _,
    }) = element.grid()
    else {
        return None;
    };
    match (exponent_bits, mantissa_bits, specials) {
        (2, 1, Specials::None) => Some((ConversionSet::Fp4Fp6, "e2m1x2")),
        (2, 3, Specials::None) => Some((ConversionSet::Fp4Fp6, "e2m3x2")),
        (3, 2, Specials::None) => Some((ConversionSet::Fp4Fp6, "e3m2x2")),
        (4, 3, Specials::Fn) => Some((ConversionSet::Fp8, "e4m3x2")),
        (5, 2, Specials::Ieee) => Some((ConversionSet::Fp8, "e5m2x2")),
        _ => None,
    }
}

/// Whether the PTX templates handle an element's layout.
pub const fn has_ptx(element: ElementFormat) -> bool {
    match (element.grid(), element.layout()) {
        // Their table has sixteen values.
        (Grid::Table(_), layout) => matches!(layout, CodeLayout::Bits4),
        (_, CodeLayout::Bits4 | CodeLayout::Bits6 | CodeLayout::Bits8) => true,
        (_, CodeLayout::Bits2 | CodeLayout::Bits3 | CodeLayout::Bits5 | CodeLayout::Bits7) => false,
    }
}

impl Support {
    /// Whether the taker supports the format.
    pub fn has(&self, taker: Taker) -> bool {
        self.check(taker).is_ok()
    }

    /// Refuses the format for a taker that does not support it.
    ///
    /// # Errors
    /// [`Unsupported`], with the first unsupported part.
    pub fn check(&self, taker: Taker) -> Result<(), Unsupported> {
        let BlockFormat {
            element,
            scale,
            rule,
            rounding,
            block_size,
            tensor_scale,
            dialect,
        } = self.format;
        let need = |is_taken: bool, part, expected| match is_taken {
            true => Ok(()),
            false => Err(Unsupported {
                format: Box::new(self.format.into()),
                taker,
                part,
                expected,
            }),
        };
        let element_of_ptx = || {
            let widths = "4, 6 or 8 bits, or a table of 16 values";
            need(has_ptx(element), Part::Element, widths)
        };
        let block_of_ptx = || {
            let is_taken = PTX_BLOCK_SIZES.contains(&block_size);
            need(is_taken, Part::BlockSize, "16, 32, 64 or 128")
        };
        let quantizable = || {
            element_of_ptx()?;
            block_of_ptx()?;
            let is_torch = dialect == Dialect::MicroxcalingTorch;
            let is_taken = match rounding {
                Rounding::Even | Rounding::Away => true,
                Rounding::HalfToZero | Rounding::TowardZero | Rounding::Stochastic { .. } => {
                    !is_torch
                }
            };
            let expected = "even or away under microxcaling-torch";
            need(is_taken, Part::Rounding, expected)
        };
        let stored = |operand| StoredBits::of_operand(element, operand).is_some();
        let element_of_cores = || {
            element_of_ptx()?;
            let expected = "an element whose 16 codes fill 32-bit words";
            need(stored(OperandType::Bf16), Part::Element, expected)
        };
        match taker {
            Taker::Cpu => Ok(()),
            Taker::Quantize => quantizable(),
            Taker::Dequantize => element_of_ptx().and_then(|()| block_of_ptx()),
            Taker::TensorScale => {
                element_of_ptx()?;
                block_of_ptx()?;
                need(
                    tensor_scale,
                    Part::TensorScale,
                    "an f32 scale of the whole tensor",
                )
            }
            Taker::Weights(operand) => {
                element_of_cores()?;
                let least = operand.least_block();
                let is_taken = block_size >= least && PTX_BLOCK_SIZES.contains(&block_size);
                let sizes = if least <= 16 {
                    "16, 32, 64 or 128"
                } else {
                    "32, 64 or 128"
                };
                need(is_taken, Part::BlockSize, sizes)?;
                need(
                    stored(operand),
                    Part::Element,
                    "an element that moving bits turns into an operand",
                )?;
                // All 24 bits of an f32 do not scale sums of integers exactly.
                let is_exact = (operand, scale) != (OperandType::S8, ScaleFormat::Fp32);
                need(is_exact, Part::Scale, "a scale of fewer bits than fp32")
            }
            Taker::Activations(OperandType::Bf16) => quantizable(),
            Taker::Activations(operand @ (OperandType::E4m3 | OperandType::S8)) => {
                let has_operand = operand.activation_exponent(element).is_some();
                let expected = "an element whose values are all operands";
                need(has_operand, Part::Element, expected)?;
                let is_taken = block_size >= operand.least_block();
                need(is_taken, Part::BlockSize, "32, 64 or 128")?;
                let expected = "no tensor scale: each row would need its own";
                need(!tensor_scale, Part::TensorScale, expected)?;
                let is_taken = match rounding {
                    Rounding::Stochastic { .. } => false,
                    Rounding::Even
                    | Rounding::Away
                    | Rounding::HalfToZero
                    | Rounding::TowardZero => true,
                };
                need(
                    is_taken,
                    Part::Rounding,
                    "a rounding without random numbers",
                )?;
                quantizable()
            }
            Taker::CacheWrite => {
                element_of_cores()?;
                let expected = "no tensor scale: each row of the cache would need its own";
                need(!tensor_scale, Part::TensorScale, expected)?;
                quantizable()
            }
            Taker::CacheRead => {
                element_of_cores()?;
                block_of_ptx()?;
                let expected = "no tensor scale: each row of the cache would need its own";
                need(!tensor_scale, Part::TensorScale, expected)?;
                let has_factor = CacheFormat::new(Some(&self.format)).factor().is_some();
                let expected = "a scale that is a bf16 factor of the cache";
                need(has_factor, Part::Scale, expected)
            }
            Taker::Conversion { set, rounds } => {
                let is_of_set = conversion(element).is_some_and(|(own, _)| own == set);
                need(is_of_set, Part::Element, set.elements())?;
                if !rounds {
                    return Ok(());
                }
                need(rounding == Rounding::Even, Part::Rounding, "even")?;
                let keeps = dialect.negative_zero() == NegativeZero::Kept;
                need(
                    keeps,
                    Part::Dialect,
                    "a dialect that keeps the sign of zero",
                )?;
                let is_plain = match rule {
                    // They round once for each of some scales.
                    ScaleRule::Mse | ScaleRule::FourOverSix => false,
                    ScaleRule::Floor
                    | ScaleRule::Ceil
                    | ScaleRule::Rceil
                    | ScaleRule::Even
                    | ScaleRule::Nearest
                    | ScaleRule::NearestFlush => true,
                };
                need(is_plain, Part::Rule, "a rule that rounds elements once")
            }
        }
    }
}

impl ConversionSet {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fp8, Self::Fp4Fp6];

    /// The chips that have them.
    pub const fn chips(self) -> &'static str {
        match self {
            Self::Fp8 => "sm_89 and later",
            Self::Fp4Fp6 => "sm_100a, sm_120a",
        }
    }

    /// Their elements.
    const fn elements(self) -> &'static str {
        match self {
            Self::Fp8 => "fp8_e4m3 or fp8_e5m2",
            Self::Fp4Fp6 => "fp4_e2m1, fp6_e2m3 or fp6_e3m2",
        }
    }
}

impl fmt::Display for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("the CPU kernels"),
            Self::Quantize => f.pad("the PTX kernels that quantise"),
            Self::Dequantize => f.pad("the PTX kernels that dequantise"),
            Self::TensorScale => f.pad("the PTX kernels for a tensor's scale"),
            Self::Weights(operand) => write!(f, "{operand} operands of weights"),
            Self::Activations(operand) => write!(f, "{operand} operands of activations"),
            Self::CacheWrite => f.pad("the kernels that write the cache"),
            Self::CacheRead => f.pad("the attention kernels, which read the cache"),
            Self::Conversion { set, rounds } => {
                let direction = if *rounds { "to" } else { "from" };
                write!(f, "the chip's conversions {direction} {}", set.elements())
            }
        }
    }
}
