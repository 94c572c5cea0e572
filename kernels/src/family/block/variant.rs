//! The kernels there are: their names and launch geometry.

use super::Target;
use super::formats::formats;
use crate::format::{BlockFormat, FloatType, Rounding, ScaleRule};
use crate::kernel::Kernel;
use crate::kernel::{ElementType, VariantError};
use crate::support::{Taker, support};
use std::fmt;

/// The operation of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockOperation {
    /// Dense to the one scale of the tensor as a whole.
    TensorScale,
    /// Dense to scales.
    Scale,
    /// Dense and scales to codes.
    Round,
    /// Dense to codes and scales, in one pass.
    Quantize,
    /// Codes and scales to dense.
    Dequantize,
    /// `Quantize` and then `Dequantize` in one pass, optionally in place.
    FakeQuantize,
}

impl BlockOperation {
    /// Every operation there is.
    pub const ALL: [Self; 6] = [
        Self::TensorScale,
        Self::Scale,
        Self::Round,
        Self::Quantize,
        Self::Dequantize,
        Self::FakeQuantize,
    ];

    /// The name; also that of its template and its directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TensorScale => "tensor_scale",
            Self::Scale => "scale",
            Self::Round => "round",
            Self::Quantize => "quantize",
            Self::Dequantize => "dequantize",
            Self::FakeQuantize => "fake_quantize",
        }
    }

    /// The taker of these kernels in [`crate::support`].
    const fn taker(self) -> Taker {
        match self {
            Self::TensorScale => Taker::TensorScale,
            Self::Scale | Self::Round | Self::Quantize | Self::FakeQuantize => Taker::Quantize,
            Self::Dequantize => Taker::Dequantize,
        }
    }

    /// Whether the kernel chooses scales, so that its text depends on the scale rule.
    pub const fn chooses_scales(self) -> bool {
        matches!(self, Self::Scale | Self::Quantize | Self::FakeQuantize)
    }

    /// Whether the kernel rounds elements.
    pub const fn rounds(self) -> bool {
        matches!(self, Self::Round | Self::Quantize | Self::FakeQuantize)
    }

    /// Whether the kernel writes scales.
    pub const fn stores_scales(self) -> bool {
        matches!(self, Self::Scale | Self::Quantize)
    }

    /// Whether the kernel is given scales.
    pub const fn reads_scales(self) -> bool {
        matches!(self, Self::Round | Self::Dequantize)
    }
}

impl fmt::Display for BlockOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a kernel reaches its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addressing {
    /// Vectors: cols a multiple of k, rows contiguous, dense pointers 16-byte aligned, code
    /// pointers 8-byte aligned.
    Aligned,
    /// One element or byte at a time: any shape, any stride, elements at their natural alignment.
    Ragged,
}

impl Addressing {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Aligned, Self::Ragged];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aligned => "aligned",
            Self::Ragged => "ragged",
        }
    }
}

/// One kernel: an operation, a format, the type of its dense tensor, how it reaches its elements.
///
/// A thread has 8 consecutive elements of one block of k, so k/8 neighbouring lanes share a block
/// and k/8 divides a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockVariant {
    operation: BlockOperation,
    format: BlockFormat,
    dense: FloatType,
    addressing: Addressing,
    target: Target,
}

const ELEMENTS_PER_THREAD: usize = 8;

impl BlockVariant {
    /// The kernel of an operation for a format. `dense` is the type of the tensor that is not
    /// packed: read by all operations but `Dequantize`, which writes it; `FakeQuantize` does both.
    ///
    /// # Errors
    /// [`VariantError`] if there is none.
    pub fn new(
        operation: BlockOperation,
        format: BlockFormat,
        dense: FloatType,
        addressing: Addressing,
    ) -> Result<Self, VariantError> {
        support(&format).check(operation.taker())?;
        match operation {
            BlockOperation::TensorScale => return Self::of_tensor_scale(format, dense, addressing),
            BlockOperation::Dequantize => {}
            BlockOperation::Scale
            | BlockOperation::Round
            | BlockOperation::Quantize
            | BlockOperation::FakeQuantize => format.dialect().check_source(dense)?,
        }
        Ok(Self {
            operation,
            format,
            dense,
            addressing,
            target: Target::Sm80,
        })
    }

    /// The tensor scale depends on element, scale format and whether the rule leaves room: of the
    /// other parts, any will do.
    fn of_tensor_scale(
        format: BlockFormat,
        dense: FloatType,
        addressing: Addressing,
    ) -> Result<Self, VariantError> {
        let format = BlockFormat::new(format.element())
            .scale(format.scale())
            .rule(match format.rule() {
                ScaleRule::FourOverSix => ScaleRule::FourOverSix,
                _ => ScaleRule::Nearest,
            })
            .tensor_scale(true)
            .block_size(16)
            .build()?;
        Ok(Self {
            operation: BlockOperation::TensorScale,
            format,
            dense,
            addressing,
            target: Target::Sm80,
        })
    }

    /// The operation.
    pub const fn operation(&self) -> BlockOperation {
        self.operation
    }

    /// The format.
    pub const fn format(&self) -> &BlockFormat {
        &self.format
    }

    /// The type of the dense tensor; see [`BlockVariant::new`].
    pub const fn dense(&self) -> FloatType {
        self.dense
    }

    /// How the kernel reaches its elements.
    pub const fn addressing(&self) -> Addressing {
        self.addressing
    }

    /// The chip that the kernel is written for.
    pub const fn target(&self) -> Target {
        self.target
    }

    /// The same kernel by the conversions of a target, if that has any that the kernel can use. The
    /// results are the same.
    pub fn with_conversions(self, target: Target) -> Option<Self> {
        let has_any = target.has_conversions(self.operation, &self.format);
        has_any.then_some(Self { target, ..self })
    }

    /// Whether `tensor_scale` is read.
    pub fn reads_tensor_scale(&self) -> bool {
        self.format.has_tensor_scale() && self.operation != BlockOperation::TensorScale
    }

    /// Whether the last two parameters are `first_row` and `seed`.
    pub fn is_random(&self) -> bool {
        let tries = self.format.rule().is_least_error();
        self.format.rounding().draws()
            && (self.operation.rounds() || self.operation == BlockOperation::Scale && tries)
    }

    /// What follows the operation in ids: element, scale, what rounds, type and k; rule, rounding
    /// and dialect where the results depend on them. The seed of a stochastic rounding is a
    /// parameter, not part of the id.
    pub(crate) fn words(&self) -> String {
        let (operation, format) = (self.operation, &self.format);
        let (element, scale) = (format.element(), format.scale());
        let dense = ElementType::from(self.dense).name();
        if operation == BlockOperation::TensorScale {
            return match format.rule() {
                ScaleRule::FourOverSix => format!("{element}_{scale}_{}_{dense}", format.rule()),
                _ => format!("{element}_{scale}_{dense}"),
            };
        }
        let mut words = format!("{element}_{scale}");
        if format.has_tensor_scale() {
            words.push_str("_tensor");
        }
        if operation.chooses_scales() {
            words = format!("{words}_{}", format.rule());
        }
        if operation != BlockOperation::Dequantize {
            if operation.rounds() || format.rule().is_least_error() {
                words = match format.rounding() {
                    Rounding::Stochastic { .. } => format!("{words}_stochastic"),
                    rounding => format!("{words}_{rounding}"),
                };
            }
            words = format!("{words}_{}", format.dialect());
        }
        format!("{words}_{dense}_k{}", format.block_size())
    }

    /// Lanes that share a block of k.
    pub const fn lanes_per_block(&self) -> u32 {
        (self.format.block_size() / ELEMENTS_PER_THREAD) as u32
    }

    /// Threads of a thread block.
    pub const fn block_threads(&self) -> u32 {
        256
    }

    /// Every kernel that a registry walks, each id once: for all operations, elements of four bits
    /// and more, k, dense types and both accesses, the product of
    ///
    /// - E8M0 with each scale rule; UE4M3 with a tensor scale, UE5M3, UE5M5, FP16, BF16 and FP32
    ///   with `nearest`; for E2M1 also UE4M3, UE5M3 and FP32 with `four-over-six`
    ///   (operations that choose no scale: each scale format once);
    /// - (the scale of a tensor: UE4M3 only, once for all k;)
    /// - the roundings even, away, toward-zero and stochastic (operations that do not round: even);
    ///
    /// under the `ocp` dialect; of the others what they are by default: microxcaling's two over
    /// E8M0, ggml's MXFP4; with k = 32 and rounding even, E8M0 in 2 to 7 bits with each rule and
    /// the UE5Mx from none to 10 mantissa bits; and each of these once more for every target with
    /// conversions for it. Every other format that [`BlockVariant::new`] takes renders as well.
    pub fn all() -> impl Iterator<Item = Self> {
        let portable = BlockOperation::ALL.into_iter().flat_map(|operation| {
            formats(operation).flat_map(move |format| {
                FloatType::ALL.into_iter().flat_map(move |dense| {
                    Addressing::ALL.into_iter().filter_map(move |addressing| {
                        Self::new(operation, format, dense, addressing).ok()
                    })
                })
            })
        });
        portable.flat_map(|variant| {
            let converting = Target::ALL
                .into_iter()
                .filter_map(move |target| variant.with_conversions(target));
            std::iter::once(variant).chain(converting)
        })
    }
}

impl fmt::Display for BlockVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id())
    }
}
